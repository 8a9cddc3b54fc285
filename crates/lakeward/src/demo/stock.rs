//! The demo's second pipeline: what moves in each warehouse, in windows of event time, and which events came too late for theirs.

use super::process::Server;
use super::{Screen, answer, tell_audit};
use crate::client::{Client, segment};
use crate::verbs::{say, text};
use serde_json::{Value, json};

const SCRIPT: &str = include_str!("../../../../examples/inventory/stock.sql");
const PIPELINE: &str = "stock";
pub const TABLE: &str = "lakehouse.stock_movements";

pub fn submit(client: &Client, screen: &Screen) -> anyhow::Result<()> {
    let submission = json!({ "name": PIPELINE, "sql": SCRIPT });
    client.post("/api/v1/pipelines", &submission)?;
    screen.line(
        "pipeline   beside it, five-second windows of event time count what moves in each warehouse",
    );
    Ok(())
}

/// How far event time has come, and how many rows were late by it.
pub fn progress(server: &Server) -> String {
    let path = format!("/api/v1/pipelines/{}", segment(PIPELINE));
    let show = Client::new(&server.http).and_then(|client| client.get(&path));
    let Ok(pipeline) = show else {
        return "windows are coming back".into();
    };
    let job = &pipeline["jobs"][0];
    let watermark = match job["watermark"].as_i64() {
        Some(millis) => lw_stdx::calendar::utc(millis),
        None => "-".into(),
    };
    let late = text(&job["sinks"][0]["late_rows"]);
    format!("windows: watermark {watermark}, {late} late")
}

/// What is said of the windows in the demo's last line.
pub fn result(report: &Value) -> Value {
    json!({
        "compared": report["windows"]["compared"],
        "differ": report["windows"]["differ"],
        "late": report["totals"]["late"],
    })
}

pub fn tell(client: &Client, report: &Value) -> anyhow::Result<()> {
    let newest = format!(
        "SELECT window_end, count(*) AS warehouses, sum(events) AS events, sum(movement) AS movement FROM {TABLE} GROUP BY window_end ORDER BY window_end DESC LIMIT 3"
    );
    say(format!(
        "\nthe newest windows, of all warehouses:\n\n{}\n",
        answer(client, &newest)?
    ));
    tell_audit(report);
    let compared = text(&report["windows"]["compared"]);
    say(format!(
        "           {compared} windows were computed again from the log, and compared one by one"
    ));
    if report["totals"]["late"].as_u64() > Some(0) {
        let latest = format!(
            "SELECT partition, \"offset\", event_time, watermark, late_by FROM {TABLE}__late ORDER BY late_by DESC, partition LIMIT 3"
        );
        say(format!(
            "\nthe latest of the late events, by the records they came in ({TABLE}__late):\n\n{}\n",
            answer(client, &latest)?
        ));
    }
    Ok(())
}
