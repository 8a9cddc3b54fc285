//! `lakeward table compact`: what it did, or would do, in figures; and what stays small, with the reason.

use super::super::{show, text};
use crate::args::Output;
use crate::client::{Client, segment};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What people are shown.
const SHOWN: [&str; 8] = [
    "files_before",
    "files_after",
    "bytes_before",
    "bytes_after",
    "replaced",
    "made",
    "rows",
    "left_out",
];

/// Fails where others were in the way until it gave up.
pub(super) fn compact(
    client: &Client,
    table: &str,
    dry_run: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/tables/{}/compact", segment(table));
    let answer = client.post(&path, &json!({ "dry_run": dry_run }))?;
    let cells = SHOWN.map(|column| match &answer[column] {
        Value::Object(reasons) => left_out(reasons),
        other => text(other),
    });
    show(output, &answer, &SHOWN, vec![cells.to_vec()]);
    let Some(why) = answer["gave_up"].as_str() else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("others who changed the table were in the way: {why}\ntry again when it is quieter");
    Ok(ExitCode::FAILURE)
}

/// `5: rows may be deleted`
fn left_out(reasons: &serde_json::Map<String, Value>) -> String {
    let words = reasons.iter().map(|(why, files)| format!("{files}: {why}"));
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_small_is_told_with_the_reason() {
        let told = |reasons: Value| left_out(reasons.as_object().expect("an object"));
        let reasons = json!({ "not Parquet": 2, "encrypted": 1 });
        assert_eq!(told(reasons), "1: encrypted; 2: not Parquet");
        assert_eq!(told(json!({})), "-");
    }
}
