//! `lakeward pipeline list|show|stop|savepoint|resume|drop`.

mod state;
mod time;

use super::{say, show, text};
use crate::args::{Output, Pipeline, PipelineVerb};
use crate::client::{Client, segment};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What the words do for a pipeline that paused.
pub(super) const ADOPT: &str = "accepts the table as it is: rows that it lost stay away, reading goes on at the last commit's end";
pub(super) const REWIND: &str =
    "goes back to where the table ends: rows that it lost are read again";

pub fn pipeline(args: Pipeline) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let path = |name: &str| format!("/api/v1/pipelines/{}", segment(name));
    let answer = match &args.verb {
        PipelineVerb::List => client.get("/api/v1/pipelines")?,
        PipelineVerb::Show { name } => client.get(&path(name))?,
        PipelineVerb::Stop {
            name,
            savepoint,
            drain,
            to,
        } => {
            let to = to.as_deref().map(std::path::absolute).transpose()?;
            let body = json!({ "savepoint": savepoint, "drain": drain, "to": to });
            let mut answer = client.post(&format!("{}/stop", path(name)), &body)?;
            if *savepoint {
                tell_savepoint(args.server.output, &answer, &answer["savepoint"]);
                if args.server.output == Output::Json {
                    return Ok(ExitCode::SUCCESS);
                }
                answer = answer["pipeline"].take();
            }
            answer
        }
        PipelineVerb::Savepoint { name, to } => {
            let to = to.as_deref().map(std::path::absolute).transpose()?;
            let answer = client.post(&format!("{}/savepoint", path(name)), &json!({ "to": to }))?;
            tell_savepoint(args.server.output, &answer, &answer);
            return Ok(ExitCode::SUCCESS);
        }
        PipelineVerb::Resume {
            name,
            adopt,
            rewind,
            skip_lost,
        } => client.post(
            &format!("{}/resume", path(name)),
            &json!({ "adopt": adopt, "rewind": rewind, "skip_lost": skip_lost }),
        )?,
        PipelineVerb::Drop { name } => {
            let answer = client.delete(&path(name))?;
            match args.server.output {
                Output::Json => say(answer),
                Output::Table | Output::Csv => say(format!("dropped {name}; its table stays")),
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let pipelines = match &answer {
        Value::Array(pipelines) => pipelines.clone(),
        one => vec![one.clone()],
    };
    let columns = [
        "pipeline",
        "state",
        "table",
        "records_in",
        "rows_out",
        "dead_letters",
        "lag",
        "commits",
        "id",
    ];
    show(
        args.server.output,
        &answer,
        &columns,
        pipelines.iter().flat_map(rows).collect(),
    );
    if args.server.output == Output::Table && !matches!(args.verb, PipelineVerb::List) {
        pipelines.iter().for_each(explain);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a savepoint is, and what is in it.
fn tell_savepoint(output: Output, answer: &Value, savepoint: &Value) {
    if output == Output::Json {
        return say(format!("{answer:#}"));
    }
    say(format!("savepoint: {}", text(&savepoint["folder"])));
    say(format!(
        "  stands at {}, with {} bytes of state",
        offsets(&savepoint["offsets"]),
        savepoint["state_bytes"]
    ));
}

/// A row for each table. What is read is read once for all tables of a job.
fn rows(pipeline: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for job in each(&pipeline["jobs"]) {
        for sink in each(&job["sinks"]) {
            let mut row = vec![text(&pipeline["name"]), text(&pipeline["state"])];
            row.push(text(&sink["table"]));
            row.push(text(&job["records_in"]));
            row.extend(["rows_out", "dead_letters"].map(|key| text(&sink[key])));
            row.push(text(&job["lag"]));
            row.push(text(&sink["commits"]));
            row.push(text(&pipeline["id"]));
            rows.push(row);
        }
    }
    rows
}

/// The elements of an array; one that is nothing where there are none.
fn each(array: &Value) -> Vec<Value> {
    let elements = array.as_array().filter(|elements| !elements.is_empty());
    elements.cloned().unwrap_or_else(|| vec![json!({})])
}

/// Where a pipeline's time stands; why it does not run, and what to do.
fn explain(pipeline: &Value) {
    let replay = &pipeline["replay"];
    if !replay.is_null() {
        say(format!(
            "replays {} into branch {}: {} of {} offsets are done",
            text(&replay["table"]),
            text(&replay["branch"]),
            replay["done"],
            replay["offsets"]
        ));
    }
    for job in pipeline["jobs"].as_array().into_iter().flatten() {
        time::time(job).into_iter().for_each(say);
        time::late(job).into_iter().for_each(say);
        state::state(job).into_iter().for_each(say);
        state::lookups(job).into_iter().for_each(say);
        match job["state"].as_str() {
            Some("failed") => {
                for key in ["error", "detail", "hint"] {
                    if job[key].as_str().is_some_and(|text| !text.is_empty()) {
                        say(format!("{key}: {}", text(&job[key])));
                    }
                }
            }
            Some("paused") => {
                say(format!("paused: {}", text(&job["reason"])));
                let words = job["words"].as_array();
                let helps = |word: &str| words.is_none_or(|words| words.contains(&json!(word)));
                for (what, key) in [
                    ("the table ends at", "table_offsets"),
                    ("the last commit ended at", "marker_offsets"),
                    ("the checkpoint stands at", "checkpoint_offsets"),
                ] {
                    if helps("adopt") {
                        say(format!("  {what:<24} {}", offsets(&job[key])));
                    }
                }
                let name = text(&pipeline["name"]);
                for (word, what) in [
                    ("adopt", ADOPT),
                    ("rewind", REWIND),
                    (
                        "skip-lost",
                        "goes on where the log begins: the records that were removed are in no table",
                    ),
                ] {
                    if helps(word) {
                        say(format!(
                            "  `lakeward pipeline resume {name} --{word}` {what}"
                        ));
                    }
                }
            }
            _ => {}
        }
    }
}

pub(super) fn offsets(value: &Value) -> String {
    let offsets = value.as_array().into_iter().flatten();
    let texts: Vec<String> = offsets
        .map(|at| format!("{}[{}]@{}", text(&at["topic"]), at["partition"], at["next"]))
        .collect();
    if texts.is_empty() {
        "no offsets".into()
    } else {
        texts.join(", ")
    }
}
