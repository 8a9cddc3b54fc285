//! `lakeward table list|show`.

use super::{show, text};
use crate::args::{Table, TableVerb};
use crate::client::{Client, segment};
use std::process::ExitCode;

pub fn table(args: Table) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let (answer, list, columns): (_, _, &[&str]) = match &args.verb {
        TableVerb::List => {
            let answer = client.get("/api/v1/tables")?;
            (
                answer.clone(),
                answer,
                &[
                    "table",
                    "rows",
                    "files",
                    "snapshot_id",
                    "pipeline",
                    "location",
                ],
            )
        }
        TableVerb::Show { table } => {
            let answer = client.get(&format!("/api/v1/tables/{}", segment(table)))?;
            let snapshots = answer["snapshots"].clone();
            (
                answer,
                snapshots,
                &[
                    "snapshot_id",
                    "committed_at",
                    "operation",
                    "pipeline",
                    "sequence",
                    "rows",
                    "offsets",
                ],
            )
        }
    };
    let rows = list.as_array().into_iter().flatten();
    let rows = rows
        .map(|row| columns.iter().map(|column| text(&row[*column])).collect())
        .collect();
    show(args.server.output, &answer, columns, rows);
    Ok(ExitCode::SUCCESS)
}
