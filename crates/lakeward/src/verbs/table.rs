//! `lakeward table …`: tables, and what their metadata says of them.
//!
//! `list` and `show` are answers of their own, `branch`, `tag` and `rollback` [change](refs) something, as do [`compact`](compact) and [`erase`](mod@erase); the others are queries over the system tables, and their JSON has the names
//! of the queries' columns.

mod compact;
mod erase;
mod refs;

use super::rows::{Rows, named, quoted};
use super::{show, text};
use crate::args::{AsOf, Find, Offsets, Table, TableVerb};
use crate::client::{Client, segment};
use lw_stdx::calendar::{parse_utc, utc};
use serde_json::{Value, json};
use std::process::ExitCode;

pub fn table(args: Table) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let output = args.server.output;
    match &args.verb {
        TableVerb::Branch(branch) => return refs::branch(&client, branch, output),
        TableVerb::Tag(tag) => return refs::tag(&client, tag, output),
        TableVerb::Rollback(back) => return refs::rollback(&client, back, output),
        TableVerb::Erase(erase) => return erase::erase(&client, erase, output),
        TableVerb::Compact { table, dry_run } => {
            return compact::compact(&client, table, *dry_run, output);
        }
        _ => {}
    }
    let Asked {
        answer,
        rows,
        columns,
    } = ask(&client, &args.verb)?;
    let cells = rows.iter().map(|row| {
        let cells = columns.iter().map(|column| cell(row, column));
        cells.collect()
    });
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    show(output, &answer, &columns, cells.collect());
    Ok(ExitCode::SUCCESS)
}

struct Asked {
    /// As JSON.
    answer: Value,
    rows: Vec<Value>,
    /// Those that people are shown.
    columns: Vec<String>,
}

impl Asked {
    fn new(answer: Value, rows: Value, columns: &[&str]) -> Asked {
        let Value::Array(rows) = rows else {
            unreachable!("the API answers with a list");
        };
        Asked {
            answer,
            rows,
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        }
    }
}

fn ask(client: &Client, verb: &TableVerb) -> anyhow::Result<Asked> {
    let whole = |table: &str, system| -> anyhow::Result<String> {
        Ok(format!(
            "SELECT * FROM {}",
            named(table, &format!("${system}"))?
        ))
    };
    let as_of = |of: &AsOf, system| -> anyhow::Result<String> {
        Ok(whole(&of.table, system)? + &version(of.as_of.as_deref()))
    };
    match verb {
        TableVerb::List => {
            let answer = client.get("/api/v1/tables")?;
            let columns = [
                "table",
                "rows",
                "files",
                "snapshot_id",
                "pipeline",
                "location",
            ];
            Ok(Asked::new(answer.clone(), answer, &columns))
        }
        TableVerb::Show { table } => {
            let answer = client.get(&format!("/api/v1/tables/{}", segment(table)))?;
            let snapshots = answer["snapshots"].clone();
            let columns = [
                "snapshot_id",
                "committed_at",
                "operation",
                "pipeline",
                "sequence",
                "rows",
                "offsets",
            ];
            Ok(Asked::new(answer, snapshots, &columns))
        }
        TableVerb::Snapshots { table } => {
            let shown = [
                "committed_at",
                "snapshot_id",
                "parent_id",
                "operation",
                "pipeline",
                "sequence",
                "max_event_time",
                "watermark",
            ];
            query(client, &whole(table, "snapshots")?, &shown)
        }
        TableVerb::History { table } => query(client, &whole(table, "history")?, &[]),
        TableVerb::Refs { table } => query(client, &whole(table, "refs")?, &[]),
        TableVerb::Offsets(offsets) => {
            let sql = as_of(&offsets.of, "offsets")? + &only(offsets);
            query(client, &sql, &[])
        }
        TableVerb::Files(of) => {
            let shown = [
                "content",
                "partition",
                "record_count",
                "file_size_in_bytes",
                "added_snapshot_id",
                "file_path",
            ];
            query(client, &as_of(of, "files")?, &shown)
        }
        TableVerb::Manifests(of) => {
            let shown = [
                "content",
                "length",
                "added_snapshot_id",
                "added_data_files_count",
                "existing_data_files_count",
                "added_delete_files_count",
                "path",
            ];
            query(client, &as_of(of, "manifests")?, &shown)
        }
        TableVerb::Partitions(of) => query(client, &as_of(of, "partitions")?, &[]),
        TableVerb::Find(record) => query(client, &find(record), &[]),
        TableVerb::Branch(_)
        | TableVerb::Tag(_)
        | TableVerb::Rollback(_)
        | TableVerb::Erase(_)
        | TableVerb::Compact { .. } => {
            unreachable!("they have answers of their own")
        }
    }
}

/// The rows of a query as objects; of their columns `shown` are for people, all where that is empty.
fn query(client: &Client, sql: &str, shown: &[&str]) -> anyhow::Result<Asked> {
    let answer = Rows::ask(client, sql)?;
    let rows = answer.objects();
    let names = answer.columns;
    let columns = match shown.is_empty() {
        true => names,
        // A table without partitions has no column of them.
        false => shown
            .iter()
            .filter(|wanted| names.iter().any(|name| name == *wanted))
            .map(|name| (*name).to_owned())
            .collect(),
    };
    Ok(Asked {
        answer: json!(rows),
        rows,
        columns,
    })
}

fn version(as_of: Option<&str>) -> String {
    let Some(version) = as_of else {
        return String::new();
    };
    match (version.parse::<i64>(), parse_utc(version)) {
        (Ok(id), _) => format!(" FOR VERSION AS OF {id}"),
        (_, Some(millis)) => format!(" FOR TIMESTAMP AS OF '{}'", utc(millis)),
        _ => format!(" FOR VERSION AS OF {}", quoted(version, '\'')),
    }
}

/// Which of the offsets.
fn only(offsets: &Offsets) -> String {
    let mut terms = Vec::new();
    terms.extend(
        offsets
            .topic
            .as_ref()
            .map(|topic| format!("topic = {}", quoted(topic, '\''))),
    );
    terms.extend(
        offsets
            .partition
            .map(|partition| format!("\"partition\" = {partition}")),
    );
    terms.extend(
        offsets
            .offset
            .map(|offset| format!("\"start\" <= {offset} AND {offset} < \"end\"")),
    );
    match terms.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", terms.join(" AND ")),
    }
}

fn find(record: &Find) -> String {
    let Find {
        topic,
        partition,
        offset,
        table,
    } = record;
    let table = table
        .iter()
        .map(|table| format!(", {}", quoted(table, '\'')));
    let table: String = table.collect();
    format!(
        "SELECT * FROM snapshots_for({}, {partition}, {offset}{table})",
        quoted(topic, '\'')
    )
}

/// A value as people read it: times as such, offsets in one word a partition.
fn cell(row: &Value, column: &str) -> String {
    match (column, &row[column]) {
        ("committed_at", Value::Number(millis)) => millis.as_i64().map_or_else(String::new, utc),
        ("offsets", Value::Array(ranges)) => offsets(ranges),
        ("content", Value::Number(content)) => content_of(row, content.as_i64()),
        // A table that cannot be read has nothing else to show.
        ("location", Value::Null) => text(&row["error"]),
        (_, value) => text(value),
    }
}

/// What a file or manifest holds, by Iceberg's number for it.
fn content_of(row: &Value, number: Option<i64>) -> String {
    let is_file = row["file_path"].is_string();
    let name = match (number, is_file) {
        (Some(0), _) => "data",
        (Some(1), true) => "position deletes",
        (Some(2), true) => "equality deletes",
        (Some(1), false) => "deletes",
        _ => "unknown",
    };
    name.to_owned()
}

/// Most partitions that are told one by one.
const TOLD: usize = 4;

/// `orders 0:[10,20) 1:[7,9)`; of many partitions only how many, and how many offsets.
fn offsets(ranges: &[Value]) -> String {
    let number = |range: &Value, key: &str| range[key].as_i64().unwrap_or(0);
    let moved: Vec<&Value> = ranges
        .iter()
        .filter(|range| number(range, "start") < number(range, "end"))
        .collect();
    if moved.len() > TOLD {
        let count: i64 = moved
            .iter()
            .map(|range| number(range, "end") - number(range, "start"))
            .sum();
        return format!("{count} in {} partitions", moved.len());
    }
    let mut words = Vec::new();
    let mut topic = "";
    for range in moved {
        let name = range["topic"].as_str().unwrap_or("");
        if name != topic {
            topic = name;
            words.push(name.to_owned());
        }
        let (start, end) = (number(range, "start"), number(range, "end"));
        words.push(format!("{}:[{start},{end})", number(range, "partition")));
    }
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_versions_are_quoted() {
        assert_eq!(
            named("a.b.t\"", "$files").expect("it has a namespace"),
            r#""a.b"."t""$files""#
        );
        assert!(named("t", "$files").is_err());
        let versions = [
            ("12", " FOR VERSION AS OF 12"),
            ("it's", " FOR VERSION AS OF 'it''s'"),
            (
                "2024-02-29T12:00",
                " FOR TIMESTAMP AS OF '2024-02-29T12:00:00.000Z'",
            ),
        ];
        for (as_of, sql) in versions {
            assert_eq!(version(Some(as_of)), sql);
        }
        let offsets = Offsets {
            of: AsOf {
                table: "a.t".to_owned(),
                as_of: None,
            },
            topic: Some("o".to_owned()),
            partition: None,
            offset: Some(7),
        };
        assert_eq!(
            only(&offsets),
            " WHERE topic = 'o' AND \"start\" <= 7 AND 7 < \"end\""
        );
    }

    #[test]
    fn times_and_offsets_are_readable() {
        let range = |partition: i32, start: i64, end: i64| json!({ "topic": "orders", "partition": partition, "start": start, "end": end });
        let row = json!({
            "committed_at": 1_709_208_000_007_i64,
            "offsets": [range(0, 10, 20), range(1, 7, 9), range(2, 5, 5)],
            "location": null,
            "error": "its metadata is gone",
        });
        assert_eq!(cell(&row, "committed_at"), "2024-02-29T12:00:00.007Z");
        assert_eq!(cell(&row, "offsets"), "orders 0:[10,20) 1:[7,9)");
        assert_eq!(cell(&row, "location"), "its metadata is gone");
        let many: Vec<Value> = (0..48).map(|partition| range(partition, 0, 3)).collect();
        assert_eq!(offsets(&many), "144 in 48 partitions");
        assert_eq!(offsets(&[]), "-");
    }
}
