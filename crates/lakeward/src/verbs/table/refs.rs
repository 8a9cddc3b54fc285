//! `lakeward table branch|tag|rollback`: what is asked of the server, and in which words its answer is told.

use super::super::pipeline::{ADOPT, REWIND, offsets};
use super::super::{say, tell_outcome, text};
use crate::args::{Branch, Output, Reference, Rollback, Tag};
use crate::client::{Client, segment};
use lw_stdx::calendar::utc;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) fn branch(client: &Client, branch: &Branch, output: Output) -> anyhow::Result<ExitCode> {
    let mut body = body("branch", &branch.reference);
    body["min_snapshots_to_keep"] = json!(branch.min_snapshots_to_keep);
    body["max_snapshot_age_ms"] = json!(branch.max_snapshot_age_ms);
    change(client, &branch.reference, &body, output)
}

pub(super) fn tag(client: &Client, tag: &Tag, output: Output) -> anyhow::Result<ExitCode> {
    change(client, &tag.reference, &body("tag", &tag.reference), output)
}

fn body(kind: &str, reference: &Reference) -> Value {
    json!({
        "kind": kind,
        "name": reference.name,
        "drop": reference.drop,
        "at": reference.at,
        "as_of_ms": reference.as_of,
        "replace": reference.replace,
        "max_ref_age_ms": reference.max_ref_age_ms,
    })
}

fn change(
    client: &Client,
    reference: &Reference,
    body: &Value,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/tables/{}/refs", segment(&reference.table));
    let answer = client.post(&path, body)?;
    match output {
        Output::Json => say(format!("{answer:#}")),
        Output::Table | Output::Csv => say(moved(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn moved(answer: &Value) -> String {
    let name = format!("{} {}", text(&answer["kind"]), text(&answer["name"]));
    let (before, now) = (text(&answer["before"]), text(&answer["snapshot_id"]));
    match answer["outcome"].as_str() {
        Some("created") => format!("created {name} at snapshot {now}"),
        Some("moved") => format!("moved {name} from snapshot {before} to {now}"),
        Some("retained") => format!("changed the retention of {name}, at snapshot {now}"),
        Some("dropped") => format!("dropped {name}, which was at snapshot {before}"),
        _ => format!("{name} was at snapshot {now} already"),
    }
}

pub(super) fn rollback(
    client: &Client,
    back: &Rollback,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/tables/{}/rollback", segment(&back.table));
    let body = json!({ "to": back.to, "as_of_ms": back.as_of, "execute": back.execute });
    let answer = client.post(&path, &body)?;
    match output {
        Output::Json => say(format!("{answer:#}")),
        Output::Table | Output::Csv => rolled_back(&answer).into_iter().for_each(say),
    }
    if answer["from"] == answer["to"] {
        eprintln!("main is there already");
    } else {
        tell_outcome(back.execute, "rolled back");
    }
    Ok(ExitCode::SUCCESS)
}

fn rolled_back(answer: &Value) -> Vec<String> {
    let of_rows = match (
        answer["rows_before"].as_u64(),
        answer["rows_after"].as_u64(),
    ) {
        (Some(before), Some(after)) => format!("; rows {before} -> {after}"),
        _ => String::new(),
    };
    let committed = answer["committed_at"].as_i64().map(utc);
    let mut lines = vec![format!(
        "{}: main from snapshot {} back to {} of {}, by {}{of_rows}",
        text(&answer["table"]),
        text(&answer["from"]),
        text(&answer["to"]),
        committed.unwrap_or_default(),
        text(&answer["snapshots"]),
    )];
    let pipeline = &answer["pipeline"];
    if pipeline.is_null() {
        lines.push("no pipeline writes this table".to_owned());
        return lines;
    }
    let name = text(&pipeline["name"]);
    let state = pipeline["state"].as_str();
    let state = state.unwrap_or("not of this server, or dropped");
    if pipeline["fate"] == "goes-on" {
        lines.push(format!(
            "pipeline {name} ({state}) goes on: all that it committed stays"
        ));
        return lines;
    }
    lines.push(format!(
        "pipeline {name} ({state}) pauses at its next commit, and asks what becomes of the rows between:"
    ));
    for (what, key) in [
        ("the table ends at", "table_offsets"),
        ("the last commit ended at", "marker_offsets"),
    ] {
        lines.push(format!("  {what:<24} {}", offsets(&pipeline[key])));
    }
    for (word, what) in [("adopt", ADOPT), ("rewind", REWIND)] {
        lines.push(format!(
            "  `lakeward pipeline resume {name} --{word}` {what}"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_reference_is_told() {
        let told = |outcome: &str| {
            let answer = json!({ "kind": "tag", "name": "t", "outcome": outcome, "before": 1, "snapshot_id": 2 });
            moved(&answer)
        };
        assert_eq!(told("created"), "created tag t at snapshot 2");
        assert_eq!(told("moved"), "moved tag t from snapshot 1 to 2");
        assert_eq!(
            told("retained"),
            "changed the retention of tag t, at snapshot 2"
        );
        assert_eq!(told("dropped"), "dropped tag t, which was at snapshot 1");
        assert_eq!(told("unchanged"), "tag t was at snapshot 2 already");
    }

    #[test]
    fn a_rollback_is_told_with_what_the_pipeline_makes_of_it() {
        let mut answer = json!({
            "table": "a.t", "from": 9, "to": 7, "committed_at": 0, "snapshots": 2,
            "rows_before": 40, "rows_after": 10,
            "pipeline": {
                "name": "p", "state": "running", "fate": "pauses",
                "table_offsets": [{ "topic": "in", "partition": 0, "next": 5 }], "marker_offsets": [],
            },
        });
        assert_eq!(
            rolled_back(&answer)[..4],
            [
                "a.t: main from snapshot 9 back to 7 of 1970-01-01T00:00:00.000Z, by 2; rows 40 -> 10",
                "pipeline p (running) pauses at its next commit, and asks what becomes of the rows between:",
                "  the table ends at        in[0]@5",
                "  the last commit ended at no offsets",
            ]
        );
        assert!(rolled_back(&answer)[5].contains("pipeline resume p --rewind` goes back"));
        answer["pipeline"]["fate"] = json!("goes-on");
        answer["pipeline"]["state"] = Value::Null;
        assert_eq!(
            rolled_back(&answer)[1],
            "pipeline p (not of this server, or dropped) goes on: all that it committed stays"
        );
        answer["pipeline"] = Value::Null;
        assert_eq!(rolled_back(&answer)[1], "no pipeline writes this table");
    }
}
