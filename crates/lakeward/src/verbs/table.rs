//! `lakeward table list|show`.

use super::{show, text};
use crate::args::{Table, TableVerb};
use crate::client::{Client, segment};
use lw_stdx::calendar::utc;
use serde_json::Value;
use std::process::ExitCode;

pub fn table(args: Table) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let (answer, list, columns): (_, _, &[&str]) = match &args.verb {
        TableVerb::List => {
            let answer = client.get("/api/v1/tables")?;
            (
                answer.clone(),
                answer,
                &[
                    "table",
                    "rows",
                    "files",
                    "snapshot_id",
                    "pipeline",
                    "location",
                ],
            )
        }
        TableVerb::Show { table } => {
            let answer = client.get(&format!("/api/v1/tables/{}", segment(table)))?;
            let snapshots = answer["snapshots"].clone();
            (
                answer,
                snapshots,
                &[
                    "snapshot_id",
                    "committed_at",
                    "operation",
                    "pipeline",
                    "sequence",
                    "rows",
                    "offsets",
                ],
            )
        }
    };
    let rows = list.as_array().into_iter().flatten();
    let rows = rows
        .map(|row| columns.iter().map(|column| cell(row, column)).collect())
        .collect();
    show(args.server.output, &answer, columns, rows);
    Ok(ExitCode::SUCCESS)
}

/// A value as people read it: times as such, offsets in one word a partition.
fn cell(row: &Value, column: &str) -> String {
    match (column, &row[column]) {
        ("committed_at", Value::Number(millis)) => millis.as_i64().map_or_else(String::new, utc),
        ("offsets", Value::Array(ranges)) => offsets(ranges),
        // A table that cannot be read has nothing else to show.
        ("location", Value::Null) => text(&row["error"]),
        (_, value) => text(value),
    }
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
