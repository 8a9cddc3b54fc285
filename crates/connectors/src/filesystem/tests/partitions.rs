//! What paths say: which files are of a table that is partitioned, and what their columns are.

use super::*;

/// A table `a INT, b STRING` partitioned by `day DATE, kind STRING`, of which `columns` are read.
fn partitioned(folder: &Folder, columns: Vec<SourceColumn>) -> Filesystem {
    let fields = vec![
        Field::new("day", TypeKind::Date.nullable()),
        Field::new("kind", TypeKind::string().nullable()),
    ];
    let table = FileSource {
        partitions: Schema::new(fields),
        columns,
        ..folder.table(FileFormat::Lines(JSON))
    };
    Filesystem::new(&table, Arc::new(SystemClock::new())).expect("it can be decoded")
}

fn all() -> Vec<SourceColumn> {
    vec![
        SourceColumn::Key(1),
        SourceColumn::Value(0),
        SourceColumn::Key(0),
    ]
}

#[test]
fn the_folders_say_what_a_file_is_of() {
    let folder = Folder::of(&[
        ("day=2026-01-02/kind=b/1.json", "{\"a\":1}\n{\"a\":2}\n"),
        ("day=2026-01-02/kind=a/deep/2.json", "{\"a\":3}\n"),
        ("day=2026-01-01/kind=a%3A%2Fx/3.json", "{\"a\":4}\n"),
        ("day=__DEFAULT_PARTITION__/kind=1/4.json", "{\"a\":5}\n{\n"),
        ("_SUCCESS", "{\"a\":6}\n"),
        ("_tmp/day=x/7.json", "{\"a\":8}\n"),
    ]);
    let expected = [
        "day=2026-01-01/kind=a%3A%2Fx/3.json@0: a:/x|4|2026-01-01",
        "day=2026-01-02/kind=a/deep/2.json@0: a|3|2026-01-02",
        "day=2026-01-02/kind=b/1.json@0: b|1|2026-01-02",
        "day=2026-01-02/kind=b/1.json@1: b|2|2026-01-02",
        "day=__DEFAULT_PARTITION__/kind=1/4.json@0: 1|5|",
    ];
    let mut source = partitioned(&folder, all());
    source.open(&[], None).expect("the files are there");
    let mut lines = read(&folder, &mut source, 1);
    let code = lines.pop().expect("a letter");
    assert!(code.starts_with("day=__DEFAULT_PARTITION__/kind=1/4.json@1! "));
    assert_eq!(lines, expected);
    // Going on needs no folder but the file's own name.
    let (positions, ends) = (source.positions(), source.ends().expect("it is bounded"));
    let begin: Vec<SplitOffset> = positions
        .iter()
        .map(|at| SplitOffset {
            next: 0,
            ..at.clone()
        })
        .collect();
    let mut again = partitioned(&folder, all());
    again.open(&begin, Some(&ends)).expect("it is as it was");
    assert_eq!(read(&folder, &mut again, 1 << 20)[..5], expected);
}

#[test]
fn nothing_of_the_files_need_be_read() {
    let folder = Folder::of(&[("day=2026-01-02/kind=b/1.json", "{}\n{}\n")]);
    let mut source = partitioned(&folder, vec![SourceColumn::Key(1)]);
    source.open(&[], None).expect("the files are there");
    let lines = read(&folder, &mut source, 1 << 20);
    let expected = [0, 1].map(|n| format!("day=2026-01-02/kind=b/1.json@{n}: b"));
    assert_eq!(lines, expected);
}

#[test]
fn a_folder_that_says_nothing_is_refused() {
    for (name, message) in [
        ("day=2026-01-02/other/1.json", "says no value of 'kind'"),
        ("kind=x/day=2026-01-02/1.json", "says no value of 'day'"),
        ("day=2026-01-02/kind=/1.json", "says no value of 'kind'"),
        ("1.json", "says no value of 'day'"),
        ("day=2026-01-02/1.json", "says no value of 'kind'"),
        ("day=soon/kind=x/1.json", "says 'soon', which is no DATE"),
    ] {
        let folder = Folder::of(&[(name, "{}\n")]);
        let mut source = partitioned(&folder, all());
        let refused = source.open(&[], None).expect_err("it says nothing");
        assert!(refused.message.contains(message), "{refused}");
        assert_eq!(refused.kind, ErrorKind::Fix);
    }
}

#[test]
fn paths_are_read_as_the_types_of_their_columns() {
    let read = |text: &str, kind: TypeKind| {
        let value = folder::value(Some(text), &kind.nullable())?;
        Some(array_value_to_string(&value, 0).expect("it has a text"))
    };
    for (text, kind, expected) in [
        ("-7", TypeKind::TinyInt, Some("-7")),
        ("300", TypeKind::TinyInt, None),
        (" 5", TypeKind::Int, None),
        ("7", TypeKind::BigInt, Some("7")),
        ("1.5", TypeKind::Double, Some("1.5")),
        ("TRUE", TypeKind::Boolean, Some("true")),
        ("yes", TypeKind::Boolean, Some("false")),
        ("2026-02-30", TypeKind::Date, None),
        (
            "2026-01-01T10:00:00.123",
            TypeKind::Timestamp(3),
            Some("2026-01-01T10:00:00.123"),
        ),
        (
            "2026-01-01T10:00:00.987",
            TypeKind::Timestamp(0),
            Some("2026-01-01T10:00:00"),
        ),
        ("x y", TypeKind::string(), Some("x y")),
    ] {
        assert_eq!(
            read(text, kind.clone()).as_deref(),
            expected,
            "{text} as {kind}"
        );
    }
}
