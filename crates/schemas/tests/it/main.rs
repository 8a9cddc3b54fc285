//! The compatibility matrix: `tests/compat/*.txt`, one file per topic, each stating where its verdicts come from.
//!
//! ```text
//! # comments; the first lines name the source of the verdicts
//! == a fact, as the name of the case
//! reader: "long"
//! writer: "int"
//! compatible
//! ```
//!
//! An incompatible case lists what the check must find instead, in order: `KIND /path message`.
//! `<=>` in place of `compatible` says that each side can read the other.

mod captured;
mod hostile;

use std::fmt::Write;
use std::path::Path;

use lw_schemas::{AvroSchema, compat};

struct Case {
    name: String,
    reader: String,
    writer: String,
    expected: Vec<String>,
}

#[test]
fn the_matrix_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    let (mut cases, mut failures) = (0, String::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for case in parse(&text) {
            cases += 1;
            if let Some(failure) = judge(&case) {
                writeln!(
                    failures,
                    "{}: {}\n{failure}",
                    file.file_name().unwrap().display(),
                    case.name
                )
                .unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(cases >= 90, "only {cases} cases were found");
}

fn judge(case: &Case) -> Option<String> {
    let reader =
        AvroSchema::parse(&case.reader).unwrap_or_else(|e| panic!("{}: reader: {e}", case.name));
    let writer =
        AvroSchema::parse(&case.writer).unwrap_or_else(|e| panic!("{}: writer: {e}", case.name));
    let found: Vec<String> = compat::check(&reader, &writer)
        .iter()
        .map(|f| format!("{} {} {}", f.kind, f.path, f.message))
        .collect();
    let shown = if found.is_empty() {
        vec!["compatible".to_owned()]
    } else {
        found
    };
    if case.expected == ["<=>"] {
        let back = compat::check(&writer, &reader);
        return (shown != ["compatible"] || !back.is_empty())
            .then(|| format!("  forth {shown:?}, back {back:?}"));
    }
    (shown != case.expected).then(|| format!("  expected {:#?}\n  found {shown:#?}", case.expected))
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix("== ") {
            let (name, empty) = (name.to_owned(), String::new());
            cases.push(Case {
                name,
                reader: empty.clone(),
                writer: empty,
                expected: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a line before the first case");
        if let Some(reader) = line.strip_prefix("reader: ") {
            case.reader = reader.to_owned();
        } else if let Some(writer) = line.strip_prefix("writer: ") {
            case.writer = writer.to_owned();
        } else {
            case.expected.push(line.to_owned());
        }
    }
    for case in &cases {
        assert!(
            !case.reader.is_empty() && !case.writer.is_empty() && !case.expected.is_empty(),
            "{} is unfinished",
            case.name
        );
    }
    cases
}
