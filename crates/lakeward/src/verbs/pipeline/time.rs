//! Where a job's event time stands, and why: the watermark of a source is the least of its partitions', and there is none
//! before each of them has one. So one partition that is behind, or has no row, holds all windows back.

use super::super::text;
use lw_stdx::calendar::utc;
use serde_json::Value;

/// Partitions that are told one by one.
const TOLD: usize = 8;

/// A line for the watermark, and one for each partition that holds it back; none where there is no event time.
pub(super) fn time(job: &Value) -> Vec<String> {
    let partitions = Partition::all(job);
    if partitions.is_empty() {
        return Vec::new();
    }
    let at = |millis: Option<i64>| millis.map_or_else(|| "none yet".to_string(), utc);
    let watermark = job["watermark"].as_i64();
    let furthest = partitions.iter().filter_map(|it| it.watermark).max();
    let mut lines = vec![match (watermark, furthest) {
        (Some(watermark), Some(furthest)) if furthest > watermark => {
            let behind = span(furthest - watermark);
            format!(
                "watermark {}, {behind} behind the partition that is furthest",
                utc(watermark)
            )
        }
        _ => format!("watermark {}", at(watermark)),
    }];
    let mut holding: Vec<&Partition> = partitions
        .iter()
        .filter(|it| it.holds(&partitions))
        .collect();
    holding.sort_by_key(|it| (it.watermark, &it.name));
    // Where they are all alike, none is to blame.
    if holding.len() == partitions.len() && furthest == partitions[0].watermark {
        return lines;
    }
    let silent = partitions.iter().filter_map(Partition::silent);
    for it in holding.iter().take(TOLD) {
        lines.push(match it.watermark {
            Some(watermark) => format!("  {} holds it back at {}", it.name, utc(watermark)),
            None => format!(
                "  {} holds it back: it has no row with an event time yet",
                it.name
            ),
        });
    }
    if holding.len() > TOLD {
        lines.push(format!(
            "  and {} more partitions hold it back",
            holding.len() - TOLD
        ));
    }
    lines.extend(silent.take(TOLD));
    lines
}

/// How many rows of each table came too late, and the newest of them.
pub(super) fn late(job: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for sink in job["sinks"].as_array().into_iter().flatten() {
        let Some(rows) = sink["late_rows"].as_u64().filter(|rows| *rows > 0) else {
            continue;
        };
        lines.push(format!(
            "{}: {rows} rows came too late",
            text(&sink["table"])
        ));
        for it in sink["last_late"].as_array().into_iter().flatten() {
            let millis = |key: &str| it[key].as_i64().unwrap_or_default();
            lines.push(format!(
                "  {}[{}]@{}, of {}, {} behind the watermark",
                text(&it["topic"]),
                it["partition"],
                it["offset"],
                utc(millis("event_time")),
                span(millis("watermark") - millis("event_time")),
            ));
        }
    }
    lines
}

/// How far event time has come in a partition.
struct Partition {
    /// `topic[partition]`
    name: String,
    watermark: Option<i64>,
    /// Event time waits for it.
    counts: bool,
    idle: bool,
    done: bool,
}

impl Partition {
    fn all(job: &Value) -> Vec<Partition> {
        let partitions = job["partitions"].as_array().into_iter().flatten();
        let partitions = partitions.map(|it| Partition {
            name: format!("{}[{}]", text(&it["topic"]), it["partition"]),
            watermark: it["watermark"].as_i64(),
            counts: it["counts"] == true,
            idle: it["idle"] == true,
            done: it["done"] == true,
        });
        partitions.collect()
    }

    /// Why it holds nothing back though it is read on.
    fn silent(&self) -> Option<String> {
        let why = match (self.done || self.counts, self.idle) {
            (true, _) => return None,
            (false, true) => "is idle: nothing came for longer than it is waited for",
            (false, false) => "is waited for from its first row on: it appeared later",
        };
        Some(format!("  {} {why}", self.name))
    }

    /// Nobody is further behind. A partition that has no watermark is behind all that have one.
    fn holds(&self, all: &[Partition]) -> bool {
        let open = all.iter().filter(|it| it.counts);
        self.counts && open.map(|it| it.watermark).min() == Some(self.watermark)
    }
}

/// `250 ms`, `4.5 s`, `3 min`, `2 h`, `5 d`
fn span(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..120 => format!("{}.{} s", seconds, millis % 1000 / 100),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `partition: watermark in seconds`, `-` for none, `.` behind one that is done, `~` behind one that is idle, `+` behind one that
    /// appeared later.
    fn told(watermark: Option<i64>, partitions: &str) -> Vec<String> {
        let partitions = partitions.split(' ').enumerate().map(|(partition, at)| {
            let watermark = at.trim_end_matches(['.', '~', '+']).parse::<i64>().ok();
            let is = |sign| at.ends_with(sign);
            json!({
                "topic": "t", "partition": partition, "counts": !is('.') && !is('~') && !is('+'),
                "done": is('.'), "idle": is('~'), "watermark": watermark.map(|at| at * 1000),
            })
        });
        let partitions: Vec<Value> = partitions.collect();
        time(&json!({ "watermark": watermark.map(|at| at * 1000), "partitions": partitions }))
    }

    #[test]
    fn who_holds_time_back_is_told() {
        assert_eq!(time(&json!({ "partitions": [] })), [""; 0]);
        assert_eq!(told(Some(5), "5 5"), ["watermark 1970-01-01T00:00:05.000Z"]);
        assert_eq!(
            told(Some(5), "9 5 65"),
            [
                "watermark 1970-01-01T00:00:05.000Z, 60.0 s behind the partition that is furthest",
                "  t[1] holds it back at 1970-01-01T00:00:05.000Z",
            ]
        );
        assert_eq!(
            told(None, "9 - 7 -"),
            [
                "watermark none yet",
                "  t[1] holds it back: it has no row with an event time yet",
                "  t[3] holds it back: it has no row with an event time yet",
            ]
        );
        // What a bounded read is done with does not count.
        assert_eq!(
            told(Some(7), "3. 7 -. 9"),
            [
                "watermark 1970-01-01T00:00:07.000Z, 2.0 s behind the partition that is furthest",
                "  t[1] holds it back at 1970-01-01T00:00:07.000Z",
            ]
        );
        assert_eq!(
            told(Some(7), "9 7 3~ -+"),
            [
                "watermark 1970-01-01T00:00:07.000Z, 2.0 s behind the partition that is furthest",
                "  t[1] holds it back at 1970-01-01T00:00:07.000Z",
                "  t[2] is idle: nothing came for longer than it is waited for",
                "  t[3] is waited for from its first row on: it appeared later",
            ]
        );
        let many = told(None, &format!("1{}", " -".repeat(11)));
        assert_eq!(many.len(), 10);
        assert_eq!(many[9], "  and 3 more partitions hold it back");
    }

    #[test]
    fn late_rows_are_located() {
        let none = json!({ "sinks": [{ "table": "lake.a", "late_rows": 0, "last_late": [] }] });
        assert_eq!(late(&none), [""; 0]);
        let last = json!({ "topic": "t", "partition": 1, "offset": 7, "event_time": 1_000, "watermark": 4_500 });
        let some = json!({ "sinks": [{ "table": "lake.a", "late_rows": 3, "last_late": [last] }] });
        assert_eq!(
            late(&some),
            [
                "lake.a: 3 rows came too late",
                "  t[1]@7, of 1970-01-01T00:00:01.000Z, 3.5 s behind the watermark"
            ]
        );
    }

    #[test]
    fn spans_of_time_are_told_in_one_unit() {
        let told = [999, 4_510, 200_000, 10_000_000, 400_000_000].map(span);
        assert_eq!(told, ["999 ms", "4.5 s", "3 min", "2 h", "4 d"]);
    }
}
