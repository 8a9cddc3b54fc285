//! `lakeward audit TABLE`: exit 0 only when the table holds exactly what the log says.

use super::{show, text};
use crate::args::{Audit, Output};
use crate::client::{Client, segment};
use std::process::ExitCode;

const COUNTS: [&str; 10] = [
    "start",
    "end",
    "rows",
    "filtered",
    "late",
    "dead_letters",
    "control",
    "open",
    "unverified",
    "gaps",
];

pub fn audit(args: Audit) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let report = client.get(&format!("/api/v1/audit/{}", segment(&args.table)))?;
    let mut columns = vec!["topic", "partition"];
    columns.extend(COUNTS);
    columns.push("duplicates");
    let rows: Vec<Vec<String>> = report["partitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|partition| {
            columns
                .iter()
                .map(|column| text(&partition[*column]))
                .collect()
        })
        .collect();
    show(args.server.output, &report, &columns, rows);
    let ok = report["ok"] == true;
    if args.server.output == Output::Table {
        super::say(format!(
            "{}: {}",
            args.table,
            if ok {
                "every offset is accounted for"
            } else {
                "NOT clean"
            }
        ));
        for finding in report["findings"].as_array().into_iter().flatten() {
            super::say(format!("  {}", text(finding)));
        }
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
