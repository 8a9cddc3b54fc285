//! `lakeward run FILE.sql`: submit, follow, end.
//!
//! With a server at `--server` the pipeline belongs to it: `Ctrl-C` or `--detach` return and it goes on. Without one, a
//! server is started in this process on `--data-dir`; `Ctrl-C` then takes a checkpoint and leaves the pipeline `stopped`.

use super::{say, text};
use crate::args::{Output, Run, Up};
use crate::client::{Client, segment};
use crate::failure::{Failure, failure};
use crate::server::{self, Serving};
use anyhow::Context;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How often the pipeline is looked at: a bounded one may be over in a second, and nobody should wait for being told so.
const LOOK: Duration = Duration::from_millis(50);

pub fn run(args: Run) -> anyhow::Result<ExitCode> {
    let sql = read_script(&args.file)?;
    let interrupt = Interrupt::listen()?;
    let (client, own) = server_of(&args)?;
    let submitted = submit(&client, &args, &sql)?;
    if submitted["pipeline"].is_null() {
        // A script that only asks.
        own.into_iter().for_each(Serving::drain);
        return Ok(ExitCode::SUCCESS);
    }
    let name = text(&submitted["pipeline"]);
    match args.server.output {
        Output::Json => say(&submitted),
        Output::Table | Output::Csv => {
            eprintln!("pipeline {name}: {}", text(&submitted["outcome"]))
        }
    }
    if args.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = follow(&client, &name, &interrupt)?;
    if let Some(own) = own {
        if ended.is_none() {
            client.post(
                &format!("/api/v1/pipelines/{}/stop", segment(&name)),
                &json!({}),
            )?;
            eprintln!(
                "stopped after a checkpoint; `lakeward run` or `lakeward pipeline resume {name}` goes on"
            );
        }
        own.drain();
    }
    Ok(ended.unwrap_or(ExitCode::SUCCESS))
}

pub(super) fn read_script(file: &Path) -> anyhow::Result<String> {
    let sql =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    if sql.len() > lw_sql::MAX_SCRIPT_BYTES {
        return Err(failure(
            format!(
                "{} has {} bytes, a script has at most {}",
                file.display(),
                sql.len(),
                lw_sql::MAX_SCRIPT_BYTES
            ),
            "Cut it into scripts of some INSERTs each: each is a pipeline of its own.",
        ));
    }
    Ok(sql)
}

/// The server at `--server`, else one of our own.
fn server_of(args: &Run) -> anyhow::Result<(Client, Option<Serving>)> {
    let remote = Client::new(&args.server.server)?;
    if remote.is_up() {
        return Ok((remote, None));
    }
    if args.detach {
        return Err(failure(
            format!("no Lakeward server answers at {}", args.server.server),
            "--detach leaves the pipeline to a server: start one with `lakeward up`.",
        ));
    }
    let own = own_server(args)?;
    Ok((Client::new(&own.status().http)?, Some(own)))
}

/// Hands the script in, and says what the planner said to it.
fn submit(client: &Client, args: &Run, sql: &str) -> anyhow::Result<Value> {
    let name = args.file.file_stem().map_or_else(
        || "pipeline".into(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let from = args.from_savepoint.as_deref();
    let body = json!({
        "name": name,
        "file": args.file.display().to_string(),
        "sql": sql,
        "replace": args.replace,
        "adopt": args.adopt,
        "drop_state": args.drop_state,
        "from_savepoint": from.map(std::path::absolute).transpose()?,
    });
    let submitted = client
        .post("/api/v1/pipelines", &body)
        .inspect_err(|error| tell_programs(error, args.server.output))?;
    for notice in submitted["notices"].as_array().into_iter().flatten() {
        eprintln!("{}", text(notice));
    }
    for fate in submitted["state"].as_array().into_iter().flatten() {
        eprintln!("{}", state_line(fate));
    }
    for explanation in submitted["explanations"].as_array().into_iter().flatten() {
        say(text(explanation));
    }
    Ok(submitted)
}

/// What becomes of an operator's state: `state of WindowAggregate 0123456789abcdef (lake.t): kept`.
fn state_line(fate: &Value) -> String {
    let tables = fate["tables"].as_array().into_iter().flatten();
    let tables = tables.map(text).collect::<Vec<String>>().join(", ");
    let what = match fate["fate"].as_str() {
        Some("kept") => "kept",
        Some("dropped") => "dropped",
        Some("begins_empty") => {
            "begins empty where the reading goes on: its first windows miss what is read already"
        }
        _ => "new",
    };
    let (operator, uid) = (text(&fate["operator"]), text(&fate["uid"]));
    format!("state of {operator} {uid} ({tables}): {what}")
}

/// With `-o json` a refusal is data too: `{"error": {…}}`, where each message has its file, line and column.
pub(super) fn tell_programs(error: &anyhow::Error, output: Output) {
    if let (Output::Json, Some(Failure(refusal))) = (output, error.downcast_ref()) {
        say(format!("{:#}", json!({ "error": refusal })));
    }
}

fn own_server(args: &Run) -> anyhow::Result<Serving> {
    let any = || "127.0.0.1:0".parse().expect("a valid address");
    let serving = server::start(&Up {
        data_dir: args.data_dir.clone(),
        config: args.config.clone(),
        warehouse: args.warehouse.clone(),
        kafka: any(),
        registry: any(),
        catalog: any(),
        http: any(),
        insecure_no_token: false,
        ready_file: None,
        commit_interval: args.commit_interval,
        query_memory: crate::args::QUERY_MEMORY,
        state_memory: None,
    })?;
    let status = serving.status();
    eprintln!(
        "no server at {}: started one on {} (kafka {}, catalog {})",
        args.server.server,
        args.data_dir.display(),
        status.kafka,
        status.catalog
    );
    Ok(serving)
}

/// Shows the pipeline until it ends; `None` when `Ctrl-C` came first.
fn follow(client: &Client, name: &str, interrupt: &Interrupt) -> anyhow::Result<Option<ExitCode>> {
    let path = format!("/api/v1/pipelines/{}", segment(name));
    let live = std::io::stderr().is_terminal();
    let mut line = 0;
    loop {
        let pipeline = client.get(&path)?;
        let output = client.get(&format!("{path}/output?from={line}"))?;
        output["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|line| say(text(line)));
        line = output["next"].as_u64().unwrap_or(line);
        if live {
            eprint!("\r\x1b[K{}", progress(&pipeline));
            let _ = std::io::stderr().flush();
        }
        let ended = match pipeline["state"].as_str() {
            Some("finished" | "stopped") => Some(ExitCode::SUCCESS),
            Some("failed" | "paused") => Some(ExitCode::from(1)),
            _ => None,
        };
        if ended.is_some() || interrupt.within(LOOK) {
            if live {
                eprintln!();
            }
            if ended.is_some() {
                report(&pipeline);
            }
            return Ok(ended);
        }
    }
}

fn progress(pipeline: &Value) -> String {
    let jobs = || pipeline["jobs"].as_array().into_iter().flatten();
    let sinks = || jobs().flat_map(|job| job["sinks"].as_array().into_iter().flatten());
    let of_jobs = |key: &str| -> u64 { jobs().filter_map(|job| job[key].as_u64()).sum() };
    let of_sinks = |key: &str| -> u64 { sinks().filter_map(|sink| sink[key].as_u64()).sum() };
    format!(
        "{}: {} in, {} committed, {} dead letters, lag {}",
        text(&pipeline["state"]),
        of_jobs("records_in"),
        of_sinks("committed_rows"),
        of_sinks("dead_letters"),
        of_jobs("lag")
    )
}

fn report(pipeline: &Value) {
    eprintln!("{}", progress(pipeline));
    for job in pipeline["jobs"].as_array().into_iter().flatten() {
        for key in ["error", "detail", "hint", "reason"] {
            if job[key].as_str().is_some_and(|text| !text.is_empty()) {
                eprintln!("{key}: {}", text(&job[key]));
            }
        }
    }
}

/// `Ctrl-C`, once.
pub(super) struct Interrupt(Receiver<()>);

impl Interrupt {
    pub(super) fn listen() -> anyhow::Result<Interrupt> {
        let (raised, interrupt) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                    // Nobody waits any more when the pipeline has just ended.
                    let _ = raised.send(());
                }
                // While the sender lives, waiting for it takes its time, also where no signal can be had.
                loop {
                    std::thread::park();
                }
            })?;
        Ok(Interrupt(interrupt))
    }

    /// Waits that long for it.
    pub(super) fn within(&self, time: Duration) -> bool {
        self.0.recv_timeout(time).is_ok()
    }
}
