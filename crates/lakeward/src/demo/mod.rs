//! `lakeward demo`: the whole stack on free loopback ports in a temporary folder, with everything that can go wrong.
//!
//! 1. A server starts as a process of its own, so that it can be killed for real.
//! 2. A schema is registered; an incompatible one is refused.
//! 3. The article's script runs, verbatim, and beside it one that counts windows of event time; events stream in: out of order,
//!    retried, some malformed, some later than their window.
//! 4. Half way the server gets SIGKILL, and comes back on the same folder.
//! 5. When the tables have caught up, the audit executes their queries again and compares every offset and every window.

#![expect(
    clippy::disallowed_methods,
    reason = "a demonstration: it waits for a real server, and tells how long things took"
)]

mod events;
mod process;
mod producer;
mod stock;

use crate::args::Demo;
use crate::client::{Client, segment};
use crate::failure::{Failure, failure};
use crate::verbs::{say, table_text, text};
use anyhow::Context;
use events::Events;
use lw_stdx::clock::{Clock, SystemClock};
use process::Server;
use producer::Producer;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("../../../../examples/inventory/inventory.sql");
const TOPIC: &str = "inventory-events";
const TABLE: &str = "lakehouse.inventory_events";
const PIPELINE: &str = "inventory";
const PARTITIONS: i32 = 48;
/// Events per batch and partition.
const BATCH: usize = 200;
/// How long the table may take to catch up with the last event.
const CATCH_UP: Duration = Duration::from_secs(120);

pub fn demo(args: Demo) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("lakeward-demo-")
        .tempdir()
        .context("no temporary folder")?;
    let screen = Screen::new(args.json);
    write_config(folder.path())?;
    let mut server = Server::start(folder.path())?;
    screen.line(&format!(
        "server     ready in {} ms: kafka {}, catalog {}",
        server.ready.as_millis(),
        server.kafka,
        server.catalog
    ));
    let blocked = block_a_schema(&server, &screen)?;
    create_topic(&server)?;
    let client = Client::new(&server.http)?;
    let submission = json!({ "name": PIPELINE, "sql": SCRIPT });
    client.post("/api/v1/pipelines", &submission)?;
    screen.line("pipeline   the article's script runs, verbatim");
    stock::submit(&client, &screen)?;
    let (acked, malformed, retries) = produce(&args, &mut server, &screen)?;
    screen.line(&format!(
        "produced   {acked} events acknowledged, {retries} sends repeated, {malformed} malformed"
    ));
    let report = settle(&server, TABLE, acked, &screen)?;
    let windows = settle(&server, stock::TABLE, acked, &screen)?;
    let mut result = result(&args, &report, acked, blocked);
    result["windows"] = stock::result(&windows);
    result["seconds"] = json!((begun.elapsed().as_secs_f64() * 10.0).round() / 10.0);
    if args.json {
        say(&result);
    } else {
        tell(&server, &report, &windows, &result)?;
    }
    let ok = report["ok"] == true
        && windows["ok"] == true
        && result["lost"] == 0
        && result["duplicates"] == 0;
    if args.keep {
        let place = folder.keep();
        screen.line(&format!(
            "kept       {} (process {})",
            place.display(),
            server.leave()
        ));
    } else {
        server.stop();
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Progress on standard error; one line that changes on a terminal.
struct Screen {
    quiet: bool,
    live: bool,
}

impl Screen {
    fn new(quiet: bool) -> Screen {
        Screen {
            quiet,
            live: !quiet && std::io::stderr().is_terminal(),
        }
    }

    fn line(&self, line: &str) {
        if !self.quiet {
            let clear = if self.live { "\r\x1b[K" } else { "" };
            eprintln!("{clear}{line}");
        }
    }

    fn status(&self, line: &str) {
        if self.live {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        }
    }
}

fn write_config(folder: &Path) -> anyhow::Result<()> {
    let config = format!(
        "[bootstrap]\n\"kafka-1:9092,kafka-2:9092\" = \"embedded\"\n\n[catalogs]\nhive = \"embedded\"\n\n[warehouses]\n\"s3://lakehouse/\" = \"file://{}/warehouse/\"\n",
        folder.display()
    );
    std::fs::write(folder.join("lakeward.toml"), config).context("cannot write the configuration")
}

/// Registers a schema and then one that would break its readers; returns how many were blocked.
fn block_a_schema(server: &Server, screen: &Screen) -> anyhow::Result<u64> {
    let registry = Client::new(&server.registry)?;
    let price = |field: &str, kind: &str| {
        let schema = json!({ "type": "record", "name": "Price", "fields": [{ "name": "sku", "type": "string" }, { "name": field, "type": kind }] });
        json!({ "schema": schema.to_string() })
    };
    registry.post(
        "/subjects/sku-prices-value/versions",
        &price("price_cents", "long"),
    )?;
    match registry.post(
        "/subjects/sku-prices-value/versions",
        &price("price", "double"),
    ) {
        Ok(answer) => Err(failure(
            format!("an incompatible schema was accepted: {answer}"),
            "This is a bug; please report it.",
        )),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(Failure(refusal)) if refusal.status == 409 => {
                screen.line(&format!(
                    "schema     blocked: {}",
                    in_short(&refusal.message)
                ));
                Ok(1)
            }
            _ => Err(error),
        },
    }
}

/// The registry's message without the two schemas that it quotes: the sentence, and the kind of the first incompatibility.
fn in_short(message: &str) -> String {
    let (sentence, details) = message.split_once(", details: ").unwrap_or((message, ""));
    let kind = details.split('\'').nth(1).unwrap_or("incompatible");
    format!("{sentence}: {kind}")
}

fn create_topic(server: &Server) -> anyhow::Result<()> {
    let mut kafka = lw_client::Client::connect(&server.kafka)?;
    let config = [
        ("retention.ms", "259200000"),
        ("cleanup.policy", "delete"),
        ("compression.type", "lz4"),
    ];
    let config: Vec<(String, String)> = config
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    kafka.create_topic(TOPIC, PARTITIONS, 3, &config)?;
    Ok(())
}

/// Streams the events in; kills the server once, half way. Returns acknowledged, malformed, and repeated sends.
fn produce(args: &Demo, server: &mut Server, screen: &Screen) -> anyhow::Result<(u64, u64, u64)> {
    let mut producer = Producer::new(&server.kafka, TOPIC, PARTITIONS)?;
    let (begun, mut shown, mut malformed) = (Instant::now(), Instant::now(), 0);
    for (index, event) in Events::new(args.seed, SystemClock::new().now_ms())
        .take(args.events as usize)
        .enumerate()
    {
        malformed += u64::from(event.malformed);
        producer.send(event, BATCH)?;
        if index as u64 == args.events / 2 {
            let took = server.kill_and_restart()?;
            screen.line(&format!(
                "killed     SIGKILL in mid stream; ready again after {} ms",
                took.as_millis()
            ));
        }
        if shown.elapsed() > Duration::from_millis(200) {
            shown = Instant::now();
            let rate = producer.acked as f64 / begun.elapsed().as_secs_f64();
            screen.status(&format!(
                "produced {} of {} ({rate:.0}/s)  {}",
                producer.acked,
                args.events,
                progress(server)
            ));
        }
    }
    producer.flush()?;
    Ok((producer.acked, malformed, producer.retries))
}

/// Rates, lag, checkpoint and freshness, as the pipeline shows them now.
fn progress(server: &Server) -> String {
    let show = || -> anyhow::Result<Value> {
        Client::new(&server.http)?.get(&format!("/api/v1/pipelines/{}", segment(PIPELINE)))
    };
    let Ok(pipeline) = show() else {
        return "server is coming back".into();
    };
    let job = &pipeline["jobs"][0];
    let sink = &job["sinks"][0];
    let now = SystemClock::new().now_ms();
    let ago = |millis: &Value| match millis.as_i64() {
        Some(millis) if millis > 0 => format!("{:.1} s", (now - millis) as f64 / 1000.0),
        _ => "-".into(),
    };
    format!(
        "{}: {} rows committed, lag {}, checkpoint {} ago, freshness {}; {}",
        text(&pipeline["state"]),
        text(&sink["committed_rows"]),
        text(&job["lag"]),
        ago(&job["checkpoint_at_ms"]),
        ago(&sink["committed_event_time"]),
        stock::progress(server)
    )
}

/// Waits until a table accounts for every acknowledged event; returns the audit.
fn settle(server: &Server, table: &str, acked: u64, screen: &Screen) -> anyhow::Result<Value> {
    let client = Client::new(&server.http)?;
    let begun = Instant::now();
    loop {
        let report = client.get(&format!("/api/v1/audit/{table}"));
        if let Ok(report) = &report
            && report["totals"]["offsets"].as_u64().unwrap_or(0) >= acked
        {
            return Ok(report.clone());
        }
        if begun.elapsed() > CATCH_UP {
            let last = report.map_or_else(
                |error| error.to_string(),
                |report| report["totals"].to_string(),
            );
            return Err(failure(
                format!(
                    "{table} did not catch up with {acked} events within {} s: {last}",
                    CATCH_UP.as_secs()
                ),
                progress(server),
            ));
        }
        screen.status(&progress(server));
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn result(args: &Demo, report: &Value, acked: u64, blocked: u64) -> Value {
    let total = |key: &str| report["totals"][key].as_u64().unwrap_or(0);
    let accounted = total("rows") + total("filtered") + total("late") + total("dead_letters");
    json!({
        "produced": args.events,
        "acked": acked,
        "rows": total("table_rows"),
        "duplicates": total("duplicates"),
        "lost": acked.saturating_sub(accounted),
        "late": total("late"),
        "dead_letters": total("dead_letters"),
        "blocked_schemas": blocked,
        "recoveries": 1,
    })
}

fn tell(server: &Server, report: &Value, windows: &Value, result: &Value) -> anyhow::Result<()> {
    let client = Client::new(&server.http)?;
    let query = format!(
        "SELECT event_type, count(*) AS events, sum(quantity) AS quantity, max(event_time) AS newest FROM {TABLE} GROUP BY event_type ORDER BY events DESC"
    );
    say(format!("\n{}\n", answer(&client, &query)?));
    tell_audit(report);
    stock::tell(&client, windows)?;
    say(format!("result     {result}\n"));
    say("With --keep the server stays, and these read the same table:");
    say(format!(
        "  DuckDB     LOAD iceberg; ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{}', AUTHORIZATION_TYPE 'none'); SELECT count(*) FROM ice.{TABLE};",
        server.catalog
    ));
    say(format!(
        "  PyIceberg  from pyiceberg.catalog import load_catalog; load_catalog('lw', type='rest', uri='{}').load_table('{TABLE}').scan().to_arrow()",
        server.catalog
    ));
    say(format!(
        "  kcat       kcat -b {} -t {TOPIC} -C -c 5 -f '%p %o %k\\n'",
        server.kafka
    ));
    Ok(())
}

/// What a query gives, as a table of text.
fn answer(client: &Client, query: &str) -> anyhow::Result<String> {
    let answer = client.post("/api/v1/sql", &json!({ "sql": query }))?;
    let columns: Vec<String> = answer["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = answer["rows"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = rows
        .map(|row| row.as_array().into_iter().flatten().map(text).collect())
        .collect();
    Ok(table_text(&columns, &rows))
}

/// An audit's verdict, its counts, and what it found.
fn tell_audit(report: &Value) {
    let totals = report["totals"].as_object().cloned().unwrap_or_default();
    let counts: Vec<String> = totals
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let verdict = match report["ok"] == true {
        true => "clean",
        false => "NOT clean",
    };
    say(format!("audit      {verdict}: {}", counts.join(", ")));
    for finding in report["findings"].as_array().into_iter().flatten() {
        say(format!("           {}", text(finding)));
    }
}
