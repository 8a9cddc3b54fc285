//! `lakeward table erase`: what went, or would go, and what has rows of the key yet.

use super::super::{say, tell_outcome, text};
use crate::args::{Erase, Output};
use crate::client::{Client, segment};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Fails where something has rows of the key yet.
pub(super) fn erase(client: &Client, erase: &Erase, output: Output) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/tables/{}/erase", segment(&erase.table));
    let body = json!({
        "where": erase.predicate,
        "continue": erase.go_on,
        "and_tags": erase.and_tags,
        "execute": erase.execute,
    });
    let answer = client.post(&path, &body)?;
    match output {
        Output::Json => say(format!("{answer:#}")),
        Output::Table | Output::Csv => erased(&answer).into_iter().for_each(say),
    }
    tell_outcome(answer["executed"] == true, "erased");
    let left = left(&answer);
    if left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("rows of the key stay in:");
    left.iter().for_each(|line| eprintln!("  {line}"));
    Ok(ExitCode::FAILURE)
}

fn erased(answer: &Value) -> Vec<String> {
    let number = |key: &str| answer[key].as_u64().unwrap_or(0);
    let is_done = answer["executed"] == true;
    let rows = answer["rows"].as_object().into_iter().flatten();
    let rows = rows.map(|(branch, rows)| format!("{rows} in {branch}"));
    let rows: Vec<String> = rows.collect();
    let snapshots = number("snapshots");
    let (go, end) = match is_done {
        true => ("went", "ended"),
        false => ("go", "end"),
    };
    let mut lines = vec![
        format!(
            "{}: rows that {go}: {}",
            text(&answer["table"]),
            rows.join(", ")
        ),
        format!(
            "{} files had them; {snapshots} snapshots {end}",
            number("files")
        ),
    ];
    if is_done {
        lines.push(format!("{} files were removed", number("removed")));
    }
    for (tag, snapshot) in answer["tags"].as_object().into_iter().flatten() {
        lines.push(format!(
            "tag {tag} is at snapshot {snapshot}, which holds some: --and-tags drops it"
        ));
    }
    let notices = answer["notices"].as_array().into_iter().flatten();
    lines.extend(notices.map(text));
    lines
}

fn left(answer: &Value) -> Vec<String> {
    let left = answer["left"].as_array().into_iter().flatten();
    left.map(|one| format!("{}: {}", text(&one["what"]), text(&one["why"])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_stays_is_told() {
        let mut answer = json!({
            "table": "a.t", "executed": false, "rows": { "fix": 2, "main": 3 }, "files": 2, "snapshots": 4, "removed": 0,
            "tags": { "monthly": 9 }, "notices": ["the log has them"], "left": [],
        });
        assert_eq!(
            erased(&answer),
            [
                "a.t: rows that go: 2 in fix, 3 in main",
                "2 files had them; 4 snapshots end",
                "tag monthly is at snapshot 9, which holds some: --and-tags drops it",
                "the log has them",
            ]
        );
        answer["executed"] = json!(true);
        answer["left"] = json!([{ "what": "tag monthly", "why": "it names one" }]);
        assert_eq!(erased(&answer)[2], "0 files were removed");
        assert_eq!(left(&answer), ["tag monthly: it names one"]);
    }
}
