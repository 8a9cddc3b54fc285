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
fn caught(rules: Rules) -> Vec<Way> {
    let case = Case::parse(CASE).unwrap();
    let Script::Inline(sql) = case.script.clone() else {
        panic!("the script stands in the case")
    };
    let file = CaseFile {
        name: "planted".to_string(),
        path: "planted.case".into(),
        text: CASE.to_string(),
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
    assert_eq!(caught(Rules::OURS), []);
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
        let ways = caught(rules);
        assert!(
            ways.contains(&Way::RestartAtEveryBarrier),
            "{what}: {ways:?}"
        );
    }
}
