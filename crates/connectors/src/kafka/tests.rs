//! The source over a real log in a temporary folder. Rows are shown as `topic/partition@offset=value`.

mod decoding;
mod elsewhere;
mod order;
mod startup;
mod tables;

use super::*;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use lw_graph::{Field, FormatSpec, Schema, SourceColumn, TypeKind};
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Op, Storage};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use uuid::Uuid;

const NOW: Duration = Duration::ZERO;

struct World {
    storage: Storage,
    _folder: tempfile::TempDir,
}

/// The log with the offsets that groups have committed.
struct Log {
    storage: Storage,
    committed: BTreeMap<i32, i64>,
}

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.storage
    }

    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError> {
        let topic = self.storage.topic(topic).unwrap().id;
        let found = self.storage.offset_for_time(topic, partition, timestamp);
        Ok(found.unwrap().map(|(offset, _)| offset))
    }

    fn committed(&self, group: &str, _: &str, partition: i32) -> Result<Option<i64>, SourceError> {
        let known = self.committed.get(&partition).copied();
        Ok(known.filter(|_| group == "group"))
    }
}

impl World {
    fn new(topics: &[(&str, i32)]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let storage = Storage::open(Arc::new(RealDisk), clock, Config::new(folder.path())).unwrap();
        let world = World {
            storage,
            _folder: folder,
        };
        for (topic, partitions) in topics {
            world.create(topic, *partitions);
        }
        world
    }

    fn commit(&self, op: Op) {
        self.storage.commit_blocking(vec![op]).unwrap();
    }

    fn create(&self, name: &str, partitions: i32) {
        self.commit(Op::CreateTopic {
            name: name.to_string(),
            id: Uuid::new_v4(),
            partitions,
            config: BTreeMap::new(),
            internal: false,
        });
    }

    fn id(&self, topic: &str) -> Uuid {
        self.storage.topic(topic).unwrap().id
    }

    fn append_bytes(&self, topic: &str, partition: i32, batches: Bytes) {
        self.commit(Op::Append {
            topic: self.id(topic),
            partition,
            batches,
        });
    }

    /// One batch of these values; record `n` of it has the timestamp `1000 + n`.
    fn append(&self, topic: &str, partition: i32, values: &[&str]) {
        let values: Vec<Option<&str>> = values.iter().copied().map(Some).collect();
        let bytes = batch(Compression::None, &values)
            .build()
            .unwrap()
            .into_bytes();
        self.append_bytes(topic, partition, bytes);
    }

    fn source(&self, spec: &KafkaSource, committed: &[(i32, i64)]) -> EmbeddedKafka {
        let log = Log {
            storage: self.storage.clone(),
            committed: committed.iter().copied().collect(),
        };
        EmbeddedKafka::new(spec, "group", Arc::new(log), None, Arc::default()).unwrap()
    }

    /// All that a source opened like this gives now.
    fn read(
        &self,
        spec: &KafkaSource,
        from: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> String {
        let mut source = self.source(spec, &[]);
        source.open(from, until).unwrap();
        rows_of(&drain(&mut source, 1 << 20))
    }

    /// All that there is, and how many values were ignored and rounded.
    fn read_counting(
        &self,
        spec: &KafkaSource,
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> (Vec<Polled>, (u64, u64)) {
        let log = Log {
            storage: self.storage.clone(),
            committed: BTreeMap::new(),
        };
        let altered = Arc::new(Altered::default());
        let mut source =
            EmbeddedKafka::new(spec, "group", Arc::new(log), lookup, altered.clone()).unwrap();
        source.open(&[], None).unwrap();
        let polls = drain(&mut source, 1 << 20);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (polls, (count(&altered.ignored), count(&altered.rounded)))
    }
}

fn batch(compression: Compression, values: &[Option<&str>]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(compression);
    for (n, value) in values.iter().enumerate() {
        builder.push(1000 + n as i64, Some(b"key"), value.map(str::as_bytes), &[]);
    }
    builder
}

/// A table `v STRING` over the topics.
fn raw(topics: &[&str]) -> KafkaSource {
    KafkaSource {
        table: "t".to_string(),
        topics: topics.iter().map(ToString::to_string).collect(),
        bootstrap: "here".to_string(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        key: None,
        value_schema: Schema::new(vec![Field::new("v", TypeKind::string().nullable())]),
        columns: vec![SourceColumn::Value(0)],
    }
}

/// A table `a INT` over the topic `t`.
fn json(ignore_parse_errors: bool) -> KafkaSource {
    KafkaSource {
        format: FormatSpec::Json {
            fail_on_missing_field: false,
            ignore_parse_errors,
            iso_timestamps: false,
        },
        value_schema: Schema::new(vec![Field::new("a", TypeKind::Int.nullable())]),
        ..raw(&["t"])
    }
}

fn at(topic: &str, partition: i32, next: i64) -> SplitOffset {
    SplitOffset {
        topic: topic.to_string(),
        partition,
        next,
    }
}

/// Polls until nothing comes any more.
fn drain(source: &mut EmbeddedKafka, max_bytes: usize) -> Vec<Polled> {
    let mut polls = Vec::new();
    loop {
        let polled = source.poll(max_bytes, NOW).unwrap();
        let last = polled.progress.is_empty();
        polls.push(polled);
        if last {
            return polls;
        }
    }
}

fn rows_of(polls: &[Polled]) -> String {
    let mut shown = Vec::new();
    for batch in polls.iter().flat_map(|polled| &polled.batches) {
        let options = FormatOptions::default().with_null("null");
        let value = ArrayFormatter::try_new(batch.columns.column(0), &options).unwrap();
        for (row, origin) in batch
            .origins
            .runs()
            .expect("rows of the log")
            .iter()
            .enumerate()
        {
            let Split { topic, partition } = &batch.splits[origin.split as usize];
            shown.push(format!(
                "{topic}/{partition}@{}={}",
                origin.offset,
                value.value(row)
            ));
        }
    }
    shown.join(" ")
}

fn letters_of(polls: &[Polled]) -> Vec<&DeadLetter> {
    polls
        .iter()
        .flat_map(|polled| &polled.dead_letters)
        .collect()
}

/// `partition: from..to`, then how many control records and how many passed over.
fn progress_of(polls: &[Polled]) -> Vec<String> {
    let progress = polls.iter().flat_map(|polled| &polled.progress);
    progress
        .map(|p| {
            format!(
                "{}: {}..{} c{} s{}",
                p.split, p.from, p.to, p.control, p.skipped
            )
        })
        .collect()
}
