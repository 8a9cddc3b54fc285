//! `lakeward test`: the cases of `tests/stream` hold, and a case that does not is told with what came instead.

use crate::{lakeward, text};
use std::path::Path;

/// Two partitions, one record that fails, one that is filtered.
const CASE: &str = "\
CREATE TABLE words (w STRING) WITH (
  'connector' = 'kafka', 'topic' = 'words', 'properties.bootstrap.servers' = 'anywhere:9092', 'format' = 'json'
);
CREATE TABLE lake.numbers (n INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'c', 'warehouse' = 's3://w/');
INSERT INTO lake.numbers SELECT CAST(w AS INT) FROM words WHERE w <> 'skip';

---- records words, 2 partitions
{\"w\": \"12\"}
@partition=1 {\"w\": \"x\"}
{\"w\": \"skip\"}
@partition=1 {\"w\": \"7\"}

---- rows lake.numbers
+I[12]
+I[7]

---- dead letters lake.numbers
words/1@0 evaluate cast: For input string: 'x'. Invalid character found.
";

/// What `lakeward test` says to a case, and its exit code.
fn told(folder: &Path, case: &str, more: &[&str]) -> (String, Option<i32>) {
    let path = folder.join("a.case");
    std::fs::write(&path, case).expect("written");
    let path = path.display().to_string();
    let output = lakeward(&[&["test", &path], more].concat());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    (text(&output.stdout), output.status.code())
}

#[test]
fn the_cases_of_tests_stream_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stream");
    let output = lakeward(&["test", &folder.display().to_string()]);
    let told = text(&output.stdout);
    let wrong: Vec<&str> = told
        .lines()
        .filter(|line| !line.starts_with("ok "))
        .collect();
    assert_eq!(output.status.code(), Some(0), "{}", wrong.join("\n"));
    assert!(told.ends_with(" cases, 0 failed\n"), "{told}");
}

#[test]
fn a_case_that_does_not_hold_is_told_with_what_came_instead() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (said, code) = told(folder.path(), CASE, &[]);
    assert_eq!(code, Some(0), "{said}");
    let ways = [
        "run plainly",
        "with polls of one record",
        "with one poll of all records",
        "with a restart at every barrier",
    ];
    let wrong = CASE.replace("+I[7]", "+I[8]");
    let junit = folder.path().join("junit.xml");
    let (said, code) = told(
        folder.path(),
        &wrong,
        &["--junit", &junit.display().to_string()],
    );
    assert_eq!(code, Some(1));
    for way in ways {
        let finding = format!(
            "rows lake.numbers, {way}:\n         (1 as expected)\n       - +I[8]\n       + +I[7]\n"
        );
        assert!(said.contains(&finding), "{said}");
    }
    assert!(said.ends_with("1 cases, 1 failed\n"), "{said}");
    let junit = std::fs::read_to_string(junit).expect("the report");
    assert!(
        junit.contains("<testsuite name=\"lakeward\" tests=\"1\" failures=\"1\">"),
        "{junit}"
    );
    let entry = format!(
        "<testcase classname=\"{}\" name=\"",
        folder.path().display()
    );
    assert!(junit.contains(&entry), "{junit}");
    assert!(
        junit.contains("<failure>rows lake.numbers, run plainly:"),
        "{junit}"
    );
    let lost = CASE.replace("words/1@0 evaluate", "words/1@0 decode");
    let (said, code) = told(folder.path(), &lost, &[]);
    assert_eq!(
        (
            code,
            said.contains("dead letters lake.numbers, run plainly:")
        ),
        (Some(1), true),
        "{said}"
    );
}

#[test]
fn what_cannot_be_run_says_where_and_what_to_type() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        (
            CASE.replace("---- rows", "---- row"),
            "a.case:13: there is no section 'row lake.numbers'",
        ),
        (
            CASE.replace("rows lake.numbers", "rows numbers"),
            "a.case:13: the script writes to no table 'numbers'\nhint: It writes to lake.numbers.",
        ),
        (CASE.replace("CAST(w", "CAST(v"), "there is no column 'v'"),
        (
            CASE.replace("{\"w\": \"12\"}", "@avro=words-value {}"),
            "a.case:8: the case has no schema 'words-value'\nhint: ---- schema words-value",
        ),
    ];
    for (case, expected) in cases {
        let (said, code) = told(folder.path(), &case, &[]);
        assert_eq!(code, Some(1), "{said}");
        // Reasons are indented below the case's line.
        let said: Vec<&str> = said.lines().map(str::trim).collect();
        let said = said.join("\n");
        assert!(said.contains(expected), "{said}");
    }
}

/// What stands already, Flink's words below a dead letter and comments stay; what is missing is added.
#[test]
fn update_writes_what_came_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (head, _) = CASE.split_once("---- rows").expect("a section");
    let (said, code) = told(folder.path(), head, &["--update"]);
    assert_eq!(code, Some(0), "{said}");
    let path = folder.path().join("a.case");
    assert_eq!(std::fs::read_to_string(&path).expect("the case"), CASE);
    let changed =
        CASE.replace("'x'. Invalid", "'y'. Invalid") + "    Flink: NumberFormatException\n";
    let (said, code) = told(
        folder.path(),
        &changed.replace("+I[12]", "# twelve\n+I[13]"),
        &["--update"],
    );
    assert_eq!(code, Some(0), "{said}");
    let expected =
        CASE.replace("+I[12]", "# twelve\n+I[12]") + "    Flink: NumberFormatException\n";
    assert_eq!(std::fs::read_to_string(&path).expect("the case"), expected);
    // What was captured is not ours to write.
    let captured = format!(
        "-- Captured from Apache Flink 2.3.0.\n{}",
        CASE.replace("+I[12]", "+I[13]")
    );
    let (_, code) = told(folder.path(), &captured, &["--update"]);
    assert_eq!(code, Some(1));
    assert_eq!(std::fs::read_to_string(&path).expect("the case"), captured);
}

/// A script that is refused is a case, and what only we refuse is noticed when we no longer do.
#[test]
fn refusals_are_held_to_what_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.case");
    let (head, rows) = CASE.split_once("---- rows").expect("a section");
    let refused = |words: &str| head.replace("CAST(w", "CAST(v") + words;
    let (said, code) = told(
        folder.path(),
        &refused("---- refused\n    Flink: ValidationException: v\n"),
        &["--update"],
    );
    assert_eq!(code, Some(0), "{said}");
    let written = std::fs::read_to_string(&path).expect("the case");
    let expected =
        refused("---- refused\nthere is no column 'v'\n    Flink: ValidationException: v\n");
    assert_eq!(written, expected);
    let (said, code) = told(
        folder.path(),
        &refused("---- refused\nsomething else\n"),
        &[],
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("- something else"), "{said}");
    // We do not refuse this one.
    let ours = format!("{head}---- ours: refused\n# not there yet\n\n---- rows{rows}");
    let (said, code) = told(folder.path(), &ours, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it runs: `lakeward test --update`"), "{said}");
    let (said, code) = told(folder.path(), &ours, &["--update"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::read_to_string(&path).expect("the case"), CASE);
}
