//! Two folders and a topic: in which order they are read, where they go on, and what of them has an end.

use super::*;
use crate::filesystem::Filesystem;
use crate::kafka::{EmbeddedKafka, EmbeddedLog};
use arrow_cast::display::array_value_to_string;
use lw_graph::{
    Field, FileFormat, FileSource, FormatSpec, KafkaSource, Schema, SourceColumn, StartupMode,
    TypeKind,
};
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{Config, Op, Storage};

/// `a` and `b` are folders of files, `t` is a topic of one partition.
struct World {
    folder: tempfile::TempDir,
    storage: Storage,
}

struct Log(Storage);

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.0
    }

    fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }
}

impl World {
    fn new(files: &[(&str, &str)]) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Config::new(folder.path().join("log"));
        let storage = Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), log);
        let storage = storage.expect("a log");
        let create = Op::CreateTopic {
            name: "t".to_string(),
            id: Uuid::from_u128(7),
            partitions: 1,
            config: BTreeMap::new(),
            internal: false,
        };
        storage.commit_blocking(vec![create]).expect("it is made");
        let world = World { folder, storage };
        for name in ["a", "b"] {
            std::fs::create_dir(world.folder.path().join(name)).expect("made");
        }
        files
            .iter()
            .for_each(|(name, text)| world.write(name, text));
        world
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }

    fn append(&self, value: &str) {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1000, None, Some(value.as_bytes()), &[]);
        let batches = batch.build().expect("a batch").into_bytes();
        let append = Op::Append {
            topic: Uuid::from_u128(7),
            partition: 0,
            batches,
        };
        self.storage
            .commit_blocking(vec![append])
            .expect("it is there");
    }

    fn columns() -> (Schema, Vec<SourceColumn>) {
        let fields = vec![Field::new("v", TypeKind::string().nullable())];
        (Schema::new(fields), vec![SourceColumn::Value(0)])
    }

    fn files(&self, name: &str) -> FileSource {
        let (value_schema, columns) = World::columns();
        FileSource {
            table: name.to_string(),
            path: self.folder.path().join(name).display().to_string(),
            format: FileFormat::Lines(FormatSpec::Raw),
            value_schema,
            partitions: Schema::default(),
            null_partition: String::new(),
            pattern: None,
            watch: None,
            columns,
        }
    }

    /// Folder `a`, folder `b`, and then the topic.
    fn source(&self, bounded: bool) -> InTurn {
        let (value_schema, columns) = World::columns();
        let topic = KafkaSource {
            table: "t".to_string(),
            topics: vec!["t".to_string()],
            bootstrap: "here".to_string(),
            group_id: None,
            startup: StartupMode::Earliest,
            bounded,
            format: FormatSpec::Raw,
            value_schema,
            key: None,
            columns,
        };
        let mut parts: Vec<(Box<dyn Source>, Vec<SourceSpec>)> = Vec::new();
        for name in ["a", "b"] {
            let files = self.files(name);
            let source =
                Filesystem::new(&files, Arc::new(SystemClock::new())).expect("it can be read");
            parts.push((Box::new(source), vec![SourceSpec::Files(files)]));
        }
        let log = Arc::new(Log(self.storage.clone()));
        let source = EmbeddedKafka::new(&topic, "g", log, None, Arc::default());
        let source = source.expect("it can be read");
        parts.push((Box::new(source), vec![SourceSpec::Kafka(topic)]));
        InTurn::new(parts).expect("they have nothing in common")
    }

    /// `topic@offset=value` of each row of some polls, and where they ended.
    fn read(&self, source: &mut InTurn, polls: usize) -> (Vec<String>, bool) {
        let (mut rows, mut finished) = (Vec::new(), false);
        let root = format!("{}/", self.folder.path().display());
        for _ in 0..polls {
            let polled = source.poll(1, Duration::ZERO).expect("it reads");
            for chunk in &polled.batches {
                let runs = chunk.origins.runs().expect("rows of records");
                for (row, origin) in runs.iter().enumerate() {
                    let topic = &chunk.splits[origin.split as usize].topic;
                    let topic = topic.strip_prefix(&*root).unwrap_or(topic);
                    let value = array_value_to_string(chunk.columns.column(0), row);
                    let value = value.expect("it has a text");
                    rows.push(format!("{topic}@{}={value}", origin.offset));
                }
            }
            finished = polled.finished;
        }
        (rows, finished)
    }
}

const FILES: &[(&str, &str)] = &[("a/1", "x\ny\n"), ("a/2", "z\n"), ("b/1", "u\n")];

#[test]
fn files_are_read_before_topics_wherever_reading_goes_on() {
    let expected = ["a/1@0=x", "a/1@1=y", "a/2@0=z", "b/1@0=u", "t@0=m", "t@1=n"];
    for before in 0..=expected.len() {
        let world = World::new(FILES);
        world.append("m");
        let mut source = world.source(false);
        source.open(&[], None).expect("all is there");
        world.append("n");
        let (mut rows, _) = world.read(&mut source, before);
        assert_eq!(rows, expected[..before]);
        let (positions, ends) = (source.positions(), source.ends().expect("files have ends"));
        // Files that come meanwhile are not of this read, however often it is gone on with.
        world.write("a/0", "later\n");
        let mut again = world.source(false);
        again
            .open(&positions, Some(&ends))
            .expect("all is as it was");
        assert_eq!(again.lag(), (expected.len() - before) as u64);
        let (rest, finished) = world.read(&mut again, expected.len() - before + 3);
        rows.extend(rest);
        assert_eq!(rows, expected);
        assert!(!finished, "a topic has no end");
        world.append("o");
        assert_eq!(world.read(&mut again, 1).0, ["t@2=o"]);
    }
}

#[test]
fn the_ends_of_a_read_are_those_of_its_files_unless_the_topics_have_some() {
    let world = World::new(FILES);
    world.append("m");
    let ends = |bounded| {
        let mut source = world.source(bounded);
        source.open(&[], None).expect("all is there");
        let ends = source.ends().expect("files have ends").into_iter();
        let of_topic = ends.filter(|end| end.topic == "t").map(|end| end.next);
        (of_topic.collect::<Vec<_>>(), source)
    };
    assert_eq!(ends(false).0, [0; 0]);
    let (of_topic, mut source) = ends(true);
    assert_eq!(of_topic, [1]);
    world.append("later");
    let (rows, finished) = world.read(&mut source, 6);
    assert_eq!((rows.len(), finished), (5, true));
}

#[test]
fn an_audit_reads_what_it_asks_for_and_no_more() {
    let world = World::new(FILES);
    world.append("m");
    world.append("n");
    let at = |topic: &str, next| SplitOffset {
        topic: match topic {
            "t" => topic.to_string(),
            file => world.folder.path().join(file).display().to_string(),
        },
        partition: 0,
        next,
    };
    let read = |from: &[SplitOffset], to: &[SplitOffset]| {
        let mut source = world.source(false);
        source.open(from, Some(to)).expect("all is there");
        world.read(&mut source, 4)
    };
    let files = [at("a/1", 1), at("a/2", 0)];
    let until = [at("a/1", 2), at("a/2", 1)];
    let rows = |rows: &[&str]| {
        (
            rows.iter().map(ToString::to_string).collect::<Vec<_>>(),
            true,
        )
    };
    assert_eq!(read(&files, &until), rows(&["a/1@1=y", "a/2@0=z"]));
    assert_eq!(read(&[at("t", 0)], &[at("t", 1)]), rows(&["t@0=m"]));
}

#[test]
fn a_folder_without_files_is_at_its_end() {
    let world = World::new(&[("b/1", "u\n")]);
    world.append("m");
    let mut source = world.source(true);
    source.open(&[], None).expect("all is there");
    assert_eq!(
        world.read(&mut source, 3),
        (vec!["b/1@0=u".into(), "t@0=m".into()], true)
    );
}

#[test]
fn records_are_found_again_in_their_tables() {
    let world = World::new(FILES);
    world.append("m");
    let mut source = world.source(false);
    source.open(&[], None).expect("all is there");
    let splits = source.splits();
    assert_eq!(splits.len(), 4);
    let origins = (0..)
        .zip(&*splits)
        .map(|(split, _)| Origin { split, offset: 0 });
    let letters = source
        .records(&origins.collect::<Vec<_>>())
        .expect("they are there");
    let found = letters
        .iter()
        .map(|letter| letter.value.clone().expect("it has bytes"));
    assert_eq!(found.collect::<Vec<_>>(), [b"x", b"z", b"u", b"m"]);
}

#[test]
fn no_file_is_of_two_tables() {
    let world = World::new(FILES);
    let inner = FileSource {
        table: "inner".to_string(),
        path: format!("{}/1", world.files("a").path),
        ..world.files("a")
    };
    let parts = [world.files("a"), inner].map(|files| {
        let source = Filesystem::new(&files, Arc::new(SystemClock::new())).expect("it can be read");
        let source: Box<dyn Source> = Box::new(source);
        (source, vec![SourceSpec::Files(files)])
    });
    let refused = InTurn::new(parts.into())
        .err()
        .expect("a file would be read twice");
    assert!(
        refused
            .message
            .starts_with("tables a and inner have files in common"),
        "{refused}"
    );
}
