//! What the state of a job's operators takes, in how many shards it is, and whether it waits for memory; and what it looks rows up in.

use super::super::text;
use serde_json::Value;

/// A line for all of it, one for each operator where there are several, and one where no rows are taken for it.
pub(super) fn state(job: &Value) -> Vec<String> {
    let bytes = |of: &Value| of["state_bytes"].as_u64().unwrap_or(0);
    let operators = job["operators"].as_array().into_iter().flatten();
    let operators: Vec<&Value> = operators.collect();
    let mut lines = Vec::new();
    match operators.as_slice() {
        [] => {}
        [one] => lines.push(format!(
            "state of its windows: {} bytes{}",
            bytes(job),
            shards(one)
        )),
        several => {
            lines.push(format!("state of its windows: {} bytes", bytes(job)));
            lines.extend(several.iter().map(|operator| {
                let uid = text(&operator["uid"]);
                format!(
                    "  operator {uid}: {} bytes{}",
                    bytes(operator),
                    shards(operator)
                )
            }));
        }
    }
    if job["waits_for_memory"] == true {
        lines.push("no rows are taken: the states of all pipelines take more memory than there is for them.".to_string());
        lines.push("  It goes on when windows fire, or a pipeline stops; or start the server with more: `lakeward up --state-memory`.".to_string());
    }
    lines
}

/// A line for each table that rows are looked up in, and one for what is wrong with it.
pub(super) fn lookups(job: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for looked_up in job["lookups"].as_array().into_iter().flatten() {
        let of = |key: &str| text(&looked_up[key]);
        lines.push(format!(
            "rows are looked up in {}, version {}: {} rows, {} bytes",
            of("table"),
            of("version"),
            of("rows"),
            of("bytes")
        ));
        if let Some(note) = looked_up["note"].as_str() {
            lines.push(format!("  {note}"));
        }
    }
    lines
}

/// How many instances share an operator's keys, as a server says that counts them.
fn shards(operator: &Value) -> String {
    match operator["shards"].as_u64() {
        None => String::new(),
        Some(1) => ", in one shard".to_string(),
        Some(shards) => format!(", in {shards} shards"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_operator_is_told_where_there_are_several() {
        let operator = |uid: &str, bytes: u64, shards: u64| json!({ "uid": uid, "state_bytes": bytes, "shards": shards });
        let mut job = json!({ "state_bytes": 0, "operators": [] });
        assert_eq!(state(&job), Vec::<String>::new());
        job = json!({ "state_bytes": 0, "operators": [operator("a", 0, 2)] });
        assert_eq!(state(&job), ["state of its windows: 0 bytes, in 2 shards"]);
        job = json!({ "state_bytes": 7, "operators": [operator("a", 3, 1), operator("b", 4, 7)] });
        assert_eq!(
            state(&job),
            [
                "state of its windows: 7 bytes",
                "  operator a: 3 bytes, in one shard",
                "  operator b: 4 bytes, in 7 shards"
            ]
        );
    }

    #[test]
    fn tables_that_rows_are_looked_up_in_are_told_with_what_is_wrong() {
        let looked_up =
            json!({ "table": "hive.db.d", "version": "7", "rows": 2, "bytes": 64, "note": null });
        let mut job = json!({ "lookups": [looked_up] });
        let line = "rows are looked up in hive.db.d, version 7: 2 rows, 64 bytes";
        assert_eq!(lookups(&job), [line]);
        job["lookups"][0]["note"] = json!("cannot be loaded again: it is gone");
        let note = "  cannot be loaded again: it is gone";
        assert_eq!(lookups(&job), [line, note]);
        assert_eq!(lookups(&json!({})), Vec::<String>::new());
    }

    #[test]
    fn a_job_that_waits_for_memory_says_what_to_do() {
        let operators = json!([{ "uid": "a", "state_bytes": 7, "shards": 1 }]);
        let job = json!({ "state_bytes": 7, "operators": operators, "waits_for_memory": true });
        let lines = state(&job);
        assert!(lines[1].starts_with("no rows are taken"), "{lines:?}");
        assert!(lines[2].contains("--state-memory"), "{lines:?}");
    }
}
