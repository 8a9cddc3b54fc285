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
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the pipeline is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub fn run(args: Run) -> anyhow::Result<ExitCode> {
    let sql = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let name = args.file.file_stem().map_or_else(
        || "pipeline".into(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    if sql.len() > lw_sql::MAX_SCRIPT_BYTES {
        return Err(failure(
            format!(
                "{} has {} bytes, a script has at most {}",
                args.file.display(),
                sql.len(),
                lw_sql::MAX_SCRIPT_BYTES
            ),
            "Cut it into scripts of some INSERTs each: each is a pipeline of its own.",
        ));
    }
    let interrupted = on_interrupt()?;
    let remote = Client::new(&args.server.server)?;
    let (client, own) = if remote.is_up() {
        (remote, None)
    } else if args.detach {
        return Err(failure(
            format!("no Lakeward server answers at {}", args.server.server),
            "--detach leaves the pipeline to a server: start one with `lakeward up`.",
        ));
    } else {
        let own = own_server(&args)?;
        (Client::new(&own.status().http)?, Some(own))
    };
    let body = json!({
        "name": name,
        "file": args.file.display().to_string(),
        "sql": sql,
        "replace": args.replace,
        "adopt": args.adopt,
    });
    let submitted = client
        .post("/api/v1/pipelines", &body)
        .inspect_err(|error| tell_programs(error, args.server.output))?;
    for notice in submitted["notices"].as_array().into_iter().flatten() {
        eprintln!("{}", text(notice));
    }
    for explanation in submitted["explanations"].as_array().into_iter().flatten() {
        say(text(explanation));
    }
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
    let code = follow(&client, &name, &interrupted)?;
    if let Some(own) = own {
        if interrupted.load(Ordering::Relaxed) {
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
    Ok(code)
}

/// With `-o json` a refusal is data too: `{"error": {…}}`, where each message has its file, line and column.
fn tell_programs(error: &anyhow::Error, output: Output) {
    if let (Output::Json, Some(Failure(refusal))) = (output, error.downcast_ref()) {
        say(format!("{:#}", json!({ "error": refusal })));
    }
}

fn own_server(args: &Run) -> anyhow::Result<Serving> {
    let any = || "127.0.0.1:0".parse().expect("a valid address");
    let serving = server::start(&Up {
        data_dir: args.data_dir.clone(),
        config: args.config.clone(),
        kafka: any(),
        registry: any(),
        catalog: any(),
        http: any(),
        insecure_no_token: false,
        ready_file: None,
        commit_interval: args.commit_interval,
        query_memory: crate::args::QUERY_MEMORY,
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

/// Shows the pipeline until it ends or `Ctrl-C`.
fn follow(client: &Client, name: &str, interrupted: &AtomicBool) -> anyhow::Result<ExitCode> {
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
        if ended.is_some() || interrupted.load(Ordering::Relaxed) {
            if live {
                eprintln!();
            }
            return Ok(report(&pipeline, ended));
        }
        std::thread::sleep(LOOK);
    }
}

fn progress(pipeline: &Value) -> String {
    let sum = |key: &str| -> u64 {
        let jobs = pipeline["jobs"].as_array().into_iter().flatten();
        jobs.filter_map(|job| job[key].as_u64()).sum()
    };
    format!(
        "{}: {} in, {} committed, {} dead letters, lag {}",
        text(&pipeline["state"]),
        sum("records_in"),
        sum("committed_rows"),
        sum("dead_letters"),
        sum("lag")
    )
}

fn report(pipeline: &Value, ended: Option<ExitCode>) -> ExitCode {
    let Some(code) = ended else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{}", progress(pipeline));
    for job in pipeline["jobs"].as_array().into_iter().flatten() {
        for key in ["error", "detail", "hint", "reason"] {
            if job[key].as_str().is_some_and(|text| !text.is_empty()) {
                eprintln!("{key}: {}", text(&job[key]));
            }
        }
    }
    code
}

/// A flag that `Ctrl-C` raises.
fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                raised.store(true, Ordering::Relaxed);
            }
        })?;
    Ok(flag)
}
