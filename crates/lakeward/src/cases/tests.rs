//! The runner notices what a job does wrong: the exactly-once protocol is broken on purpose, and a case must not hold.

use super::*;

const CASE: &str = "\
CREATE TABLE words (w STRING) WITH (
  'connector' = 'kafka', 'topic' = 'words', 'properties.bootstrap.servers' = 'anywhere:9092', 'format' = 'json'
);
CREATE TABLE numbers (n INT) WITH ('connector' = 'print');
INSERT INTO numbers SELECT CAST(w AS INT) FROM words;

---- records words
{\"w\": \"1\"}
{\"w\": \"2\"}
{\"w\": \"x\"}
{\"w\": \"3\"}
{\"w\": \"4\"}

---- rows numbers
+I[1]
+I[2]
+I[3]
+I[4]

---- dead letters numbers
words/0@2 evaluate cast: For input string: 'x'. Invalid character found.
";

/// The ways in which the case does not hold.
fn caught(case: &str, rules: Rules) -> Vec<Way> {
    let (text, case) = (case.to_string(), Case::parse(case).unwrap());
    let Script::Inline(sql) = case.script.clone() else {
        panic!("the script stands in the case")
    };
    let file = CaseFile {
        name: "planted".to_string(),
        path: "planted.case".into(),
        text,
        case,
        sql,
    };
    let findings = file.judge_under(rules).unwrap();
    let mut ways: Vec<Way> = findings.iter().map(|finding| finding.way).collect();
    ways.dedup();
    ways
}

#[test]
fn broken_protocols_are_noticed_by_the_way_that_restarts() {
    assert_eq!(caught(CASE, Rules::OURS), []);
    let planted = [
        (
            "the catalog hears of what is not durable yet",
            Rules {
                saves_first: false,
                ..Rules::OURS
            },
        ),
        (
            "a seal forgets what it made durable",
            Rules {
                seal: |sink| sink.seal().map(|_| Vec::new()),
                ..Rules::OURS
            },
        ),
    ];
    for (what, rules) in planted {
        let ways = caught(CASE, rules);
        assert!(
            ways.contains(&Way::RestartAtEveryBarrier),
            "{what}: {ways:?}"
        );
    }
}

const WINDOWS: &str = "\
CREATE TABLE words (w STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
  'connector' = 'kafka', 'topic' = 'words', 'properties.bootstrap.servers' = 'anywhere:9092', 'format' = 'json'
);
CREATE TABLE counts (w STRING, n BIGINT) WITH ('connector' = 'print');
INSERT INTO counts SELECT w, COUNT(*) FROM TUMBLE(TABLE words, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY w, window_start, window_end;

---- records words
{\"w\": \"d\", \"ts\": \"2026-01-01 00:00:01\"}
{\"w\": \"c\", \"ts\": \"2026-01-01 00:00:02\"}
{\"w\": \"a\", \"ts\": \"2026-01-01 00:00:03\"}
{\"w\": \"b\", \"ts\": \"2026-01-01 00:00:04\"}
{\"w\": \"c\", \"ts\": \"2026-01-01 00:00:05\"}
{\"w\": \"e\", \"ts\": \"2026-01-01 00:00:15\"}

---- rows counts
+I['a', 1]
+I['b', 1]
+I['c', 2]
+I['d', 1]
+I['e', 1]
";

#[test]
fn rows_in_the_order_of_shards_are_noticed_by_the_ways_that_have_some() {
    assert_eq!(caught(WINDOWS, Rules::OURS), []);
    let rules = Rules {
        gathers_in_order: false,
        ..Rules::OURS
    };
    let ways = caught(WINDOWS, rules);
    assert!(ways.contains(&Way::Shards(2)), "{ways:?}");
    assert!(ways.contains(&Way::Shards(7)), "{ways:?}");
    assert!(!ways.contains(&Way::Plain), "{ways:?}");
}
