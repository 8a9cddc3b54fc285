//! `lakeward sql -e`: a batch query over tables.

use super::{show, text};
use crate::args::Sql;
use crate::client::Client;
use serde_json::json;
use std::process::ExitCode;

pub fn sql(args: Sql) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let answer = client.post("/api/v1/sql", &json!({ "sql": args.execute }))?;
    let columns: Vec<String> = answer["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    let rows = answer["rows"].as_array().into_iter().flatten();
    let rows = rows
        .map(|row| row.as_array().into_iter().flatten().map(text).collect())
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    show(args.server.output, &answer, &columns, rows);
    Ok(ExitCode::SUCCESS)
}
