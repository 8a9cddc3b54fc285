//! Files of a folder, read in pieces, from wherever it went on, and changed behind the reader's back.

mod columns;
mod partitions;
mod watched;

use super::*;
use arrow_cast::display::array_value_to_string;
use lw_graph::{CsvSpec, Field, FormatSpec, TypeKind};
use lw_stdx::clock::SystemClock;
use std::collections::BTreeSet;

const JSON: FormatSpec = FormatSpec::Json {
    fail_on_missing_field: false,
    ignore_parse_errors: false,
    iso_timestamps: false,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a folder"));
        files
            .iter()
            .for_each(|(name, text)| folder.write(name, text));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// A table `a INT, b STRING`.
    fn table(&self, format: FileFormat) -> FileSource {
        let columns = [
            ("a", TypeKind::Int.nullable()),
            ("b", TypeKind::string().nullable()),
        ];
        let fields = columns.map(|(name, ty)| Field::new(name, ty));
        FileSource {
            table: "t".into(),
            path: self.0.path().display().to_string(),
            format,
            value_schema: Schema::new(fields.into()),
            partitions: Schema::default(),
            null_partition: "__DEFAULT_PARTITION__".to_string(),
            pattern: None,
            watch: None,
            columns: vec![SourceColumn::Value(0), SourceColumn::Value(1)],
        }
    }

    fn source(&self, format: FormatSpec) -> Filesystem {
        let table = self.table(FileFormat::Lines(format));
        Filesystem::new(&table, Arc::new(SystemClock::new())).expect("it can be decoded")
    }

    /// A file's name without the folder's.
    fn short(&self, topic: &str) -> String {
        let folder = format!("{}/", self.0.path().display());
        topic
            .strip_prefix(&folder)
            .expect("it is in it")
            .to_string()
    }
}

/// `file@offset: a|b|…` of each row, and `file@offset! code` of each dead letter; polls until nothing is left.
fn read(folder: &Folder, source: &mut Filesystem, max_bytes: usize) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let polled = source.poll(max_bytes, Duration::ZERO).expect("it reads");
        for chunk in &polled.batches {
            for (row, origin) in chunk
                .origins
                .runs()
                .expect("rows of a file")
                .iter()
                .enumerate()
            {
                let text = |column: usize| {
                    let column = chunk.columns.column(column);
                    array_value_to_string(column, row).expect("it has a text")
                };
                let file = folder.short(&chunk.splits[origin.split as usize].topic);
                let texts: Vec<String> = (0..chunk.columns.num_columns()).map(text).collect();
                lines.push(format!("{file}@{}: {}", origin.offset, texts.join("|")));
            }
        }
        for letter in &polled.dead_letters {
            let file = folder.short(&letter.topic);
            lines.push(format!("{file}@{}! {}", letter.offset, letter.code));
        }
        if polled.finished {
            return lines;
        }
    }
}

fn opened(folder: &Folder, format: FormatSpec) -> Filesystem {
    let mut source = folder.source(format);
    source.open(&[], None).expect("the files are there");
    source
}

#[test]
fn what_is_known_of_a_file_is_a_column_of_its_rows() {
    let folder = Folder::of(&[("sub/a b.csv", "1,x\n2,y\n"), ("c.csv", "3,z")]);
    let metadata = [
        MetadataKey::FileSize,
        MetadataKey::FileName,
        MetadataKey::FilePath,
    ];
    let mut columns: Vec<SourceColumn> = metadata.map(SourceColumn::Metadata).into();
    columns.insert(1, SourceColumn::Value(0));
    let table = FileSource {
        columns,
        ..folder.table(FileFormat::Lines(FormatSpec::Csv(CsvSpec::default())))
    };
    let path = folder.0.path().display();
    let expected = [
        format!("c.csv@0: 3|3|c.csv|{path}/c.csv"),
        format!("sub/a b.csv@0: 8|1|a b.csv|{path}/sub/a b.csv"),
        format!("sub/a b.csv@1: 8|2|a b.csv|{path}/sub/a b.csv"),
    ];
    for max_bytes in [1, 1 << 20] {
        let source = Filesystem::new(&table, Arc::new(SystemClock::new()));
        let mut source = source.expect("it can be decoded");
        source.open(&[], None).expect("the files are there");
        assert_eq!(read(&folder, &mut source, max_bytes), expected);
    }
}

#[test]
fn files_are_chosen_by_their_whole_paths() {
    let files = ["a.csv", "ab.csv", "b.csv", "sub/a.csv", "sub/c.txt"];
    let folder = Folder::of(&files.map(|name| (name, "1,x\n")));
    let path = folder.0.path().display().to_string();
    let here = format!("{path}/[ab]+[.]csv");
    // As Flink 2.3.0 chooses them.
    for (pattern, chosen) in [
        (".*/a.csv", &["a.csv", "sub/a.csv"][..]),
        ("a.csv", &[]),
        (&here, &["a.csv", "ab.csv", "b.csv"]),
        (".*txt", &["sub/c.txt"]),
        (".*/sub/.*", &["sub/a.csv", "sub/c.txt"]),
        (&format!("{path}/sub"), &[]),
    ] {
        let table = FileSource {
            pattern: Some(pattern.to_string()),
            ..folder.table(FileFormat::Lines(FormatSpec::Csv(CsvSpec::default())))
        };
        let source = Filesystem::new(&table, Arc::new(SystemClock::new()));
        let mut source = source.expect("it is a pattern");
        source.open(&[], None).expect("the folder is there");
        let positions = source.positions().into_iter();
        let found = positions.map(|at| folder.short(&at.topic));
        assert_eq!(found.collect::<Vec<_>>(), chosen, "{pattern}");
    }
    let table = FileSource {
        pattern: Some("(".to_string()),
        ..folder.table(FileFormat::Lines(FormatSpec::Csv(CsvSpec::default())))
    };
    assert!(Filesystem::new(&table, Arc::new(SystemClock::new())).is_err());
}

#[test]
fn files_are_read_by_path_and_hidden_ones_are_not() {
    let folder = Folder::of(&[
        (
            "b.json",
            "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2}\r\n   \n{\"a\":3,\"b\":null}",
        ),
        ("a.json", "{\"a\":10,\"b\":\"first\"}\n"),
        ("_hidden.json", "{\"a\":99}\n"),
        (".dot.json", "{\"a\":98}\n"),
        ("_temporary/x.json", "{\"a\":97}\n"),
        ("sub/s.json", "{\"a\":50,\"b\":\"sub\"}\n"),
        ("empty.json", ""),
    ]);
    let expected = [
        "a.json@0: 10|first",
        "b.json@0: 1|x",
        "b.json@2: 2|",
        "b.json@4: 3|",
        "b.json@3! json.row",
        "sub/s.json@0: 50|sub",
    ];
    for max_bytes in [1, 20, 1 << 20] {
        let lines = read(&folder, &mut opened(&folder, JSON), max_bytes);
        let found: BTreeSet<String> = lines.iter().cloned().collect();
        assert_eq!(found, expected.map(String::from).into());
    }
    let lines = read(&folder, &mut opened(&folder, JSON), 1 << 20);
    assert_eq!(lines, expected);
}

#[test]
fn a_read_goes_on_behind_any_record() {
    let csv = FormatSpec::Csv(CsvSpec::default());
    let folder = Folder::of(&[
        ("a.csv", "1,x\n2,\"multi\nline\"\n3,\"q\"\"q\"\r\n5,\"z\""),
        ("b.csv", "6,b\n7,it\"s\n8,c\n"),
    ]);
    let all = read(&folder, &mut opened(&folder, csv.clone()), 1 << 20);
    assert_eq!(
        all,
        [
            "a.csv@0: 1|x",
            "a.csv@1: 2|multi\nline",
            "a.csv@2: 3|q\"q",
            "a.csv@3: 5|z",
            "b.csv@0: 6|b",
            "b.csv@1: 7|it\"s",
            "b.csv@2: 8|c",
        ]
    );
    for before in 0..=all.len() {
        let mut source = opened(&folder, csv.clone());
        let mut lines = Vec::new();
        while lines.len() < before {
            let polled = source.poll(1, Duration::ZERO).expect("it reads");
            assert_eq!(polled.progress[0].to - polled.progress[0].from, 1);
            lines.push(all[lines.len()].clone());
        }
        let (positions, ends) = (source.positions(), source.ends().expect("it is bounded"));
        let mut again = folder.source(csv.clone());
        again
            .open(&positions, Some(&ends))
            .expect("it is as it was");
        assert_eq!(again.lag(), (all.len() - before) as u64);
        lines.extend(read(&folder, &mut again, 1 << 20));
        assert_eq!(lines, all);
    }
}

#[test]
fn no_poll_reads_over_a_cut() {
    let folder = Folder::of(&[("a.json", "{}\n{}\n{}\n{}\n")]);
    let mut source = opened(&folder, JSON);
    let at = |next| SplitOffset {
        next,
        ..source.positions()[0].clone()
    };
    source.cut_at(&[at(3)]);
    let polled = source.poll(1 << 20, Duration::ZERO).expect("it reads");
    assert_eq!((polled.progress[0].to, polled.finished), (3, false));
}

#[test]
fn what_a_file_holds_is_its_id() {
    let folder = Folder::of(&[("a.json", "{\"a\":1}\n{\"a\":2}\n"), ("b.json", "{}\n")]);
    let mut source = opened(&folder, JSON);
    let (positions, ends) = (source.positions(), source.ends().expect("it is bounded"));
    let ids = source.topics();
    source.open(&positions, Some(&ends)).expect("it is there");
    assert_eq!(source.topics(), ids);
    // One that came meanwhile is none of this read, and one that was changed is another.
    folder.write("c.json", "{}\n");
    folder.write("a.json", "{\"a\":1}\n{\"a\":3}\n");
    source.open(&positions, Some(&ends)).expect("it is there");
    assert_eq!(source.ends(), Some(ends.clone()));
    let changed = source.topics();
    let file = &positions[0].topic;
    assert_ne!(changed[file], ids[file]);
    let error = source.another(file).expect("it has words for it");
    assert_eq!(error.message, format!("file '{file}' was changed"));
    // One that is gone is missed as long as something of it is unread.
    std::fs::remove_file(file).expect("it was there");
    let error = source
        .open(&positions, Some(&ends))
        .expect_err("it is gone");
    assert!(
        error
            .message
            .starts_with(&format!("file '{file}' cannot be read"))
    );
    source.open(&ends, Some(&ends)).expect("all of it is read");
    assert!(source.poll(1, Duration::ZERO).expect("nothing").finished);
    // The next read has the new one, and goes on in the others.
    source.open(&ends, None).expect("it lists them anew");
    assert_eq!(source.lag(), 1);
}

#[test]
fn a_record_can_be_read_again_for_its_dead_letter() {
    let folder = Folder::of(&[("a.json", "{\"a\":1}\n{\"a\":2}\n")]);
    let mut source = opened(&folder, JSON);
    let origin = |offset| Origin { split: 0, offset };
    let letters = source
        .records(&[origin(1), origin(9)])
        .expect("it is there");
    assert_eq!(letters[0].value.as_deref(), Some(&b"{\"a\":2}"[..]));
    assert_eq!(letters[1].value, None);
}

#[test]
fn a_folder_that_is_not_there_says_where_it_was_looked_for() {
    let folder = Folder::of(&[]);
    let mut source = folder.source(JSON);
    source.spec.path += "/nothing";
    let error = source.open(&[], None).expect_err("it is not there");
    let path = folder.0.path().join("nothing");
    assert!(
        error
            .message
            .starts_with(&format!("file '{}' cannot be read", path.display()))
    );
    assert!(error.hint.contains("the machine that the server runs on"));
}
