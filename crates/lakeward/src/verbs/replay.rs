//! `lakeward replay TABLE`: hand in, follow, end; `diff` and `promote` are about the branch that it fills.

mod diff;

use super::run::{Interrupt, read_script};
use super::{say, text};
use crate::args::{Begin, Output, Promote, Replay, ReplayVerb};
use crate::client::{Client, segment};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub fn replay(args: Replay) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    match &args.verb {
        Some(ReplayVerb::Diff(diff)) => diff::diff(&client, diff, args.server.output),
        Some(ReplayVerb::Promote(asked)) => promote(&client, asked, args.server.output),
        None => begin(&client, &args.begin, args.server.output),
    }
}

fn begin(client: &Client, asked: &Begin, output: Output) -> anyhow::Result<ExitCode> {
    let table = asked.table.as_deref().expect("it is required");
    let script = asked.script.as_deref();
    let interrupt = Interrupt::listen()?;
    let body = json!({
        "branch": asked.branch,
        "from": asked.from,
        "to": asked.to,
        "sql": script.map(read_script).transpose()?,
        "file": script.map(|file| file.display().to_string()),
    });
    let path = format!("/api/v1/tables/{}/replay", segment(table));
    let mut answer = client
        .post(&path, &body)
        .inspect_err(|error| super::run::tell_programs(error, output))?;
    for notice in answer["notices"].as_array().into_iter().flatten() {
        eprintln!("notice: {}", text(notice));
    }
    eprintln!("replay {}: {}", text(&answer["pipeline"]), ranges(&answer));
    let ended = match asked.detach {
        true => None,
        false => follow(client, &text(&answer["pipeline"]), &interrupt)?,
    };
    let Some(pipeline) = ended else {
        answer["state"] = json!("running");
        tell(output, &answer);
        return Ok(ExitCode::SUCCESS);
    };
    answer["state"] = pipeline["state"].clone();
    answer["offsets"] = pipeline["replay"]["offsets"].clone();
    tell(output, &answer);
    Ok(match pipeline["state"].as_str() {
        Some("finished") => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Asks for it, and again until it is over: the pipeline commits it.
fn promote(client: &Client, asked: &Promote, output: Output) -> anyhow::Result<ExitCode> {
    let (table, branch) = (&asked.of.table, &asked.of.branch);
    let interrupt = Interrupt::listen()?;
    let path = format!("/api/v1/tables/{}/promote", segment(table));
    let body = json!({ "branch": branch, "discard": asked.discard });
    loop {
        let answer = client.post(&path, &body)?;
        let is_over = answer["state"] == "promoted";
        if !is_over && !interrupt.within(LOOK) {
            continue;
        }
        match (output, is_over) {
            (Output::Json, _) => say(format!("{answer:#}")),
            (_, true) => say(format!("main of {table} has the rows of branch {branch}")),
            (_, false) => say(format!(
                "main of {table} gets the rows of branch {branch}; `lakeward replay promote {table} --branch {branch}` says whether it has"
            )),
        }
        return Ok(ExitCode::SUCCESS);
    }
}

/// `orders[0] 100…999, orders[1] 90…880`
fn ranges(answer: &Value) -> String {
    let ranges = answer["ranges"].as_array().into_iter().flatten();
    let ranges = ranges.map(|range| {
        let last = range["until"].as_i64().unwrap_or_default() - 1;
        let (topic, partition) = (text(&range["topic"]), &range["partition"]);
        format!("{topic}[{partition}] {}…{last}", range["from"])
    });
    ranges.collect::<Vec<String>>().join(", ")
}

fn tell(output: Output, answer: &Value) {
    let (table, branch) = (text(&answer["table"]), text(&answer["branch"]));
    match (output, answer["state"].as_str()) {
        (Output::Json, _) => say(format!("{answer:#}")),
        (_, Some("finished")) => {
            say(format!("{table} is replayed into branch {branch}"));
            say(format!(
                "  `lakeward replay diff {table} --branch {branch}` compares it with main"
            ));
        }
        (_, Some("running")) => {
            let name = text(&answer["pipeline"]);
            say(format!(
                "{table} is being replayed into branch {branch}; `lakeward pipeline show '{name}'` says how far it is"
            ));
        }
        _ => {}
    }
}

/// Shows the replay until it ends; `None` when `Ctrl-C` came first.
fn follow(client: &Client, name: &str, interrupt: &Interrupt) -> anyhow::Result<Option<Value>> {
    let path = format!("/api/v1/pipelines/{}", segment(name));
    let live = std::io::stderr().is_terminal();
    let mut pace: Option<Pace> = None;
    let mut told = String::new();
    loop {
        let pipeline = client.get(&path)?;
        let replay = &pipeline["replay"];
        let done = replay["done"].as_u64().unwrap_or(0);
        let offsets = replay["offsets"].as_u64().unwrap_or(0);
        let begun = pace.get_or_insert_with(|| Pace::new(done));
        let line = begun.line(&text(&pipeline["state"]), done, offsets);
        let state = pipeline["state"].as_str();
        let is_over = matches!(state, Some("finished" | "stopped" | "failed" | "paused"));
        if live {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else if done != begun.seen || is_over && line != told {
            eprintln!("{line}");
            told = line;
        }
        begun.seen = done;
        if is_over || interrupt.within(LOOK) {
            if live {
                eprintln!();
            }
            if is_over && state != Some("finished") {
                why(&pipeline);
            }
            return Ok(is_over.then_some(pipeline));
        }
    }
}

/// Why it does not go on.
fn why(pipeline: &Value) {
    for job in pipeline["jobs"].as_array().into_iter().flatten() {
        for key in ["error", "detail", "hint", "reason"] {
            if job[key].as_str().is_some_and(|text| !text.is_empty()) {
                eprintln!("{key}: {}", text(&job[key]));
            }
        }
    }
}

/// How fast it goes.
struct Pace {
    since: Instant,
    /// Offsets that were done when it was looked at first, and last.
    first: u64,
    seen: u64,
}

impl Pace {
    #[expect(
        clippy::disallowed_methods,
        reason = "a shell: how long somebody waits"
    )]
    fn new(done: u64) -> Pace {
        Pace {
            since: Instant::now(),
            first: done,
            seen: done,
        }
    }

    fn line(&self, state: &str, done: u64, offsets: u64) -> String {
        let left = left(
            done - self.first.min(done),
            offsets - done.min(offsets),
            self.since.elapsed(),
        );
        let percent = (100 * done).checked_div(offsets).unwrap_or(100);
        let eta = match left {
            Some(left) if state == "running" => format!(", about {} s to go", left.as_secs() + 1),
            _ => String::new(),
        };
        format!("{state}: {done} of {offsets} offsets ({percent} %){eta}")
    }
}

/// How long the rest takes at this pace.
fn left(done: u64, rest: u64, took: Duration) -> Option<Duration> {
    if done == 0 || rest == 0 {
        return None;
    }
    Duration::try_from_secs_f64(took.as_secs_f64() * rest as f64 / done as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let second = Duration::from_secs(1);
        assert_eq!(left(0, 10, second), None);
        assert_eq!(left(10, 0, second), None);
        assert_eq!(left(10, 30, second), Some(3 * second));
    }

    #[test]
    fn a_range_is_told_by_its_last_offset() {
        let answer = json!({ "ranges": [
            { "topic": "in", "partition": 0, "from": 5, "until": 9 },
            { "topic": "in", "partition": 2, "from": 0, "until": 1 },
        ] });
        assert_eq!(ranges(&answer), "in[0] 5…8, in[2] 0…0");
    }
}
