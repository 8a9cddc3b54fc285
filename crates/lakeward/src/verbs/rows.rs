//! Queries of verbs: what a server answers to one, line by line or as a whole, and names and texts as SQL quotes them.

use super::text;
use crate::client::Client;
use crate::failure::{Failure, failure};
use serde_json::{Map, Value, json};

/// A line of an answer: the first names the columns, the last is its end.
pub(super) enum Line {
    Columns(Vec<String>),
    Row(Vec<Value>),
    End {
        truncated: bool,
        notices: Vec<String>,
    },
}

impl Line {
    /// # Errors
    /// What the query failed with.
    pub(super) fn read(line: &str) -> anyhow::Result<Line> {
        let line: Value = serde_json::from_str(line)?;
        if let Value::Array(row) = line {
            return Ok(Line::Row(row));
        }
        if let Some(columns) = line["columns"].as_array() {
            let names = columns.iter().map(|column| text(&column["name"]));
            return Ok(Line::Columns(names.collect()));
        }
        if let Ok(refusal) = serde_json::from_value(line["error"].clone()) {
            return Err(anyhow::Error::new(Failure(refusal)));
        }
        let notices = line["end"]["notices"].as_array().into_iter().flatten();
        Ok(Line::End {
            truncated: line["end"]["truncated"] == true,
            notices: notices.map(text).collect(),
        })
    }
}

/// For an answer without an end.
pub(super) fn cut_off() -> anyhow::Error {
    failure("the answer was cut off: the server went away", "Ask again.")
}

/// All rows of an answer.
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// Notices are told.
    ///
    /// # Errors
    /// What the query failed with.
    pub(super) fn ask(client: &Client, sql: &str) -> anyhow::Result<Rows> {
        let (mut columns, mut rows, mut whole) = (Vec::new(), Vec::new(), false);
        let body = json!({ "sql": sql, "max_rows": 0 });
        client.post_for_lines("/api/v1/sql", &body, |line| {
            match Line::read(line)? {
                Line::Columns(names) => columns = names,
                Line::Row(row) => rows.push(row),
                Line::End { notices, .. } => {
                    whole = true;
                    notices
                        .iter()
                        .for_each(|notice| eprintln!("notice: {notice}"));
                }
            }
            Ok(())
        })?;
        match whole {
            true => Ok(Rows { columns, rows }),
            false => Err(cut_off()),
        }
    }

    pub(super) fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let members = self.columns.iter().cloned().zip(row.iter().cloned());
            Value::Object(members.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// `namespace.table` as a query names it, with something behind the table's name: whatever stands before the last dot is the
/// namespace.
///
/// # Errors
/// When it has no namespace.
pub(super) fn named(table: &str, behind: &str) -> anyhow::Result<String> {
    let Some((namespace, name)) = table.rsplit_once('.') else {
        return Err(failure(
            format!("\"{table}\" is not the name of a table"),
            "Write namespace.table; `lakeward table list` shows them.",
        ));
    };
    Ok(format!(
        "{}.{}",
        quoted(namespace, '"'),
        quoted(&format!("{name}{behind}"), '"')
    ))
}

pub(super) fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}
