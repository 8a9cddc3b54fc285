//! What the state of a job's operators takes, and whether it waits for memory.

use super::super::text;
use serde_json::Value;

/// A line for all of it, one for each operator where there are several, and one where no rows are taken for it.
pub(super) fn state(job: &Value) -> Vec<String> {
    let bytes = |of: &Value| of["state_bytes"].as_u64().filter(|bytes| *bytes > 0);
    let mut lines = Vec::new();
    if let Some(bytes) = bytes(job) {
        lines.push(format!("state of its windows: {bytes} bytes"));
    }
    let operators = job["operators"].as_array().into_iter().flatten();
    let operators: Vec<&Value> = operators.collect();
    if operators.len() > 1 {
        lines.extend(operators.iter().map(|operator| {
            let bytes = bytes(operator).unwrap_or(0);
            format!("  operator {}: {bytes} bytes", text(&operator["uid"]))
        }));
    }
    if job["waits_for_memory"] == true {
        lines.push("no rows are taken: the states of all pipelines take more memory than there is for them.".to_string());
        lines.push("  It goes on when windows fire, or a pipeline stops; or start the server with more: `lakeward up --state-memory`.".to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_operator_is_told_where_there_are_several() {
        let operator = |uid: &str, bytes: u64| json!({ "uid": uid, "state_bytes": bytes });
        let mut job = json!({ "state_bytes": 0, "operators": [operator("a", 0)] });
        assert_eq!(state(&job), Vec::<String>::new());
        job = json!({ "state_bytes": 7, "operators": [operator("a", 3), operator("b", 4)] });
        assert_eq!(
            state(&job),
            [
                "state of its windows: 7 bytes",
                "  operator a: 3 bytes",
                "  operator b: 4 bytes"
            ]
        );
    }

    #[test]
    fn a_job_that_waits_for_memory_says_what_to_do() {
        let job = json!({ "state_bytes": 7, "operators": [], "waits_for_memory": true });
        let lines = state(&job);
        assert!(lines[1].starts_with("no rows are taken"), "{lines:?}");
        assert!(lines[2].contains("--state-memory"), "{lines:?}");
    }
}
