//! The verbs that ask a server: each turns arguments into a request and the answer into a table or JSON. `test` asks none.

pub mod audit;
pub mod catalog;
pub mod check;
pub mod dbt;
pub mod dlq;
pub mod group;
pub mod pipeline;
pub mod records;
pub mod replay;
mod rows;
pub mod run;
pub mod schema;
pub mod sql;
pub mod table;
pub mod test;
pub mod topic;

use crate::args::Output;
use serde_json::Value;
use std::io::Write;

/// Writes a line to standard output; a reader that went away ends the command quietly.
pub fn say(line: impl std::fmt::Display) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Writes rows as a table, or the whole value as JSON.
pub fn show(output: Output, value: &Value, columns: &[&str], rows: Vec<Vec<String>>) {
    match output {
        Output::Json => say(format!("{value:#}")),
        Output::Table => say(table_text(columns, &rows)),
        Output::Csv => {
            say(csv_line(columns.iter().map(|column| Some(*column))));
            rows.iter()
                .for_each(|row| say(csv_line(row.iter().map(|cell| Some(cell.as_str())))));
        }
    }
}

/// A line of RFC 4180 without its end. What is missing stays empty; an empty text is quoted, so that the two differ.
pub fn csv_line<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> String {
    let cells: Vec<String> = cells
        .map(|cell| match cell {
            None => String::new(),
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Some(text) => text.to_owned(),
        })
        .collect();
    cells.join(",")
}

/// Left-aligned columns, two spaces apart.
pub fn table_text(columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| column.chars().count())
        .collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_string()
    };
    let mut lines = vec![line(columns.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// What was done, or not yet, on standard error: the table on standard output is the same.
fn tell_outcome(execute: bool, done: &str) {
    match execute {
        true => eprintln!("{done}"),
        false => eprintln!("nothing was changed; --execute does it"),
    }
}

/// A JSON scalar as people read it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
