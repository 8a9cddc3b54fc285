//! `lakeward audit TABLE`: exit 0 only when the table holds exactly what the log says, all of it verified.
//!
//! | exit | |
//! |---|---|
//! | 0 | every offset was verified, and is right |
//! | 1 | something is wrong, or no audit could be made |
//! | 2 | the command was not understood |
//! | 3 | nothing is wrong as far as could be verified, and that is not all |

use super::{show, text};
use crate::args::{Audit, Output};
use crate::client::{Client, segment};
use serde_json::Value;
use std::process::ExitCode;

const COUNTS: [&str; 11] = [
    "start",
    "end",
    "rows",
    "filtered",
    "erased",
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
    if args.server.output == Output::Table {
        super::say(format!("{}: {}", args.table, verdict(&report)));
        for told in others(&report) {
            super::say(format!("  {told}"));
        }
        for key in ["findings", "notes"] {
            for sentence in report[key].as_array().into_iter().flatten() {
                super::say(format!("  {}", text(sentence)));
            }
        }
    }
    Ok(ExitCode::from(exit_code(&report)))
}

/// What other writers have there, a sentence each.
fn others(report: &Value) -> Vec<String> {
    let rows = |key: &str| report[key].as_u64().filter(|rows| *rows > 0);
    let added = rows("foreign_rows")
        .map(|rows| format!("{rows} rows are other writers': they came through no pipeline"));
    let anew = rows("rewritten_rows")
        .map(|rows| format!("{rows} rows stand in files that other writers wrote anew"));
    added.into_iter().chain(anew).collect()
}

fn exit_code(report: &Value) -> u8 {
    match report["verdict"].as_str() {
        Some("right") => 0,
        Some("right_as_far_as_verified") => 3,
        _ => 1,
    }
}

/// One sentence: how much was verified, and what it comes to.
fn verdict(report: &Value) -> String {
    let total = |key: &str| report["totals"][key].as_u64().unwrap_or(0);
    let (verified, offsets) = (total("verified"), total("offsets"));
    let extent = format!("verified {verified} of {offsets} offsets");
    match exit_code(report) {
        0 => format!("{extent}, and every one is accounted for"),
        3 if offsets == 0 => {
            "the table accounts for no offsets yet: nothing could be verified".into()
        }
        3 if verified == 0 && report["notes"].as_array().is_none_or(Vec::is_empty) => {
            format!("{extent}: the log no longer has any of them, so nothing is known to be right")
        }
        3 if !report["notes"].as_array().is_none_or(Vec::is_empty) => {
            format!("{extent}, right as far as verified; what could not be known follows")
        }
        3 => format!("{extent}, right as far as verified; the others are no longer in the log"),
        _ => format!("{extent}; NOT clean"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_verdict_says_how_much_was_verified() {
        let cases = [
            (
                "right",
                5,
                5,
                0,
                "verified 5 of 5 offsets, and every one is accounted for",
            ),
            (
                "right_as_far_as_verified",
                3,
                5,
                3,
                "verified 3 of 5 offsets, right as far as verified; the others are no longer in the log",
            ),
            (
                "right_as_far_as_verified",
                0,
                5,
                3,
                "verified 0 of 5 offsets: the log no longer has any of them, so nothing is known to be right",
            ),
            (
                "right_as_far_as_verified",
                0,
                0,
                3,
                "the table accounts for no offsets yet: nothing could be verified",
            ),
            ("wrong", 5, 5, 1, "verified 5 of 5 offsets; NOT clean"),
        ];
        let noted = json!({
            "verdict": "right_as_far_as_verified", "notes": ["the script is gone"],
            "totals": { "verified": 3, "offsets": 5 },
        });
        assert_eq!(
            verdict(&noted),
            "verified 3 of 5 offsets, right as far as verified; what could not be known follows"
        );
        for (word, verified, offsets, code, expected) in cases {
            let report =
                json!({ "verdict": word, "totals": { "verified": verified, "offsets": offsets } });
            assert_eq!(
                (exit_code(&report), verdict(&report).as_str()),
                (code, expected)
            );
        }
    }
}
