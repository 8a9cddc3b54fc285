//! The source over a real log in a temporary folder. Rows are shown as `topic/partition@offset=value`.

mod tables;

use super::*;
use arrow_array::cast::AsArray;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use lw_graph::{Field, FormatSpec, MetadataKey, Schema, SourceColumn, TypeKind};
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

#[test]
fn every_startup_mode_begins_where_it_says() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c", "d"]);
    world.append("t", 1, &["x", "y"]);
    world.commit(Op::DeleteRecords {
        topic: world.id("t"),
        partition: 0,
        before: 1,
    });
    let specific =
        |offsets: &[(i32, i64)]| StartupMode::Specific(offsets.iter().copied().collect());
    type Case<'a> = (StartupMode, &'a [(i32, i64)], &'a str);
    let cases: [Case<'_>; 8] = [
        (
            StartupMode::Earliest,
            &[],
            "t/0@1=b t/0@2=c t/0@3=d t/1@0=x t/1@1=y",
        ),
        (StartupMode::Latest, &[], ""),
        (
            StartupMode::GroupOffsets,
            &[(0, 3)],
            "t/0@3=d t/1@0=x t/1@1=y",
        ),
        // Committed before retention went past it.
        (
            StartupMode::GroupOffsets,
            &[(0, 0), (1, 2)],
            "t/0@1=b t/0@2=c t/0@3=d",
        ),
        (
            StartupMode::Timestamp(1001),
            &[],
            "t/0@1=b t/0@2=c t/0@3=d t/1@1=y",
        ),
        (StartupMode::Timestamp(9999), &[], ""),
        // As in Flink, what is not named goes by the group's offsets.
        (specific(&[(0, 2)]), &[(1, 1)], "t/0@2=c t/0@3=d t/1@1=y"),
        (specific(&[(0, 0), (1, 2)]), &[], "t/0@1=b t/0@2=c t/0@3=d"),
    ];
    for (startup, committed, expected) in cases {
        let shown = format!("{startup:?}, committed {committed:?}");
        let spec = KafkaSource {
            startup,
            ..raw(&["t"])
        };
        let mut source = world.source(&spec, committed);
        source.open(&[], None).unwrap();
        assert_eq!(rows_of(&drain(&mut source, 1 << 20)), expected, "{shown}");
    }
    let spec = KafkaSource {
        startup: specific(&[(1, 3)]),
        ..raw(&["t"])
    };
    let error = world.source(&spec, &[]).open(&[], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(
        error.message,
        "'scan.startup.specific-offsets' begins partition 1 of 't' at 3, behind its end"
    );
}

#[test]
fn a_checkpoint_wins_over_the_startup_mode_and_may_stand_inside_a_batch() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c", "d"]);
    world.append("t", 1, &["x"]);
    let spec = KafkaSource {
        startup: StartupMode::Latest,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[at("t", 0, 2)], None).unwrap();
    // The checkpoint is not empty, so the partition that it does not know is new: nothing of it was read or passed over.
    assert_eq!(source.positions(), [at("t", 0, 2), at("t", 1, 0)]);
    assert_eq!(source.lag(), 3);
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@2=c t/0@3=d t/1@0=x");
    assert_eq!(progress_of(&polls), ["0: 2..4 c0 s0", "1: 0..1 c0 s0"]);
    assert_eq!(source.positions(), [at("t", 0, 4), at("t", 1, 1)]);
}

#[test]
fn a_bounded_read_ends_where_the_log_ended_when_it_began() {
    let world = World::new(&[("t", 3)]);
    // Partition 0 is empty, 1 ends long before 2.
    world.append("t", 1, &["a"]);
    for value in ["b", "c", "d"] {
        world.append("t", 2, &[value]);
    }
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    world.append("t", 0, &["late"]);
    world.append("t", 2, &["late"]);
    let (mut polls, mut finished) = (Vec::new(), false);
    while !finished {
        let polled = source.poll(1, NOW).unwrap();
        finished = polled.finished;
        assert!(
            finished || !polled.progress.is_empty(),
            "a poll that neither moves nor ends"
        );
        polls.push(polled);
    }
    assert_eq!(rows_of(&polls), "t/1@0=a t/2@0=b t/2@1=c t/2@2=d");
    assert_eq!(
        source.positions(),
        [at("t", 0, 0), at("t", 1, 1), at("t", 2, 3)]
    );
}

#[test]
fn until_is_exact_inside_a_batch_and_nothing_is_read_of_other_partitions() {
    let world = World::new(&[("t", 3)]);
    for partition in 0..3 {
        world.append("t", partition, &["a", "b", "c", "d"]);
    }
    let from = [at("t", 0, 1), at("t", 1, 4)];
    let until = [at("t", 0, 3), at("t", 1, 4)];
    assert_eq!(
        world.read(&raw(&["t"]), &from, Some(&until)),
        "t/0@1=b t/0@2=c"
    );

    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&from, Some(&until)).unwrap();
    assert!(source.poll(1 << 20, NOW).unwrap().finished);
    // What the log does not have yet is never reached, nor taken for reached.
    for beyond in [at("t", 0, 5), at("t", 9, 1)] {
        source
            .open(&from, Some(std::slice::from_ref(&beyond)))
            .unwrap();
        assert!(
            !drain(&mut source, 1 << 20)
                .iter()
                .any(|polled| polled.finished),
            "{beyond:?}"
        );
    }
}

#[test]
fn several_topics_come_in_the_order_in_which_they_became_durable() {
    let world = World::new(&[("a", 2), ("b", 1)]);
    let mut expected = Vec::new();
    let mut next = BTreeMap::new();
    for n in 0..20 {
        let (topic, partition) = [("a", 1), ("b", 0), ("a", 0)][n * n % 7 % 3];
        let offset: &mut i64 = next.entry((topic, partition)).or_default();
        world.append(topic, partition, &[&n.to_string()]);
        expected.push(format!("{topic}/{partition}@{offset}={n}"));
        *offset += 1;
    }
    for max_bytes in [1, 300, 1 << 20] {
        let mut source = world.source(&raw(&["b", "a"]), &[]);
        source.open(&[], None).unwrap();
        assert_eq!(rows_of(&drain(&mut source, max_bytes)), expected.join(" "));
    }
}

#[test]
fn a_place_is_the_same_however_much_a_poll_takes() {
    let world = World::new(&[("t", 2)]);
    for n in 0..6 {
        world.append("t", n * n % 3 % 2, &[&n.to_string()]);
    }
    let places = |max_bytes| {
        let mut source = world.source(&raw(&["t"]), &[]);
        source.open(&[], None).unwrap();
        assert_eq!(source.place(), None, "nothing is read yet");
        let mut places = Vec::new();
        while !source.poll(max_bytes, NOW).unwrap().progress.is_empty() {
            places.push(source.place().expect("something was read"));
        }
        places
    };
    let (each, all) = (places(1), places(1 << 20));
    assert_eq!(each.len(), 6);
    assert!(
        each.is_sorted_by(|before, after| before < after),
        "{each:?}"
    );
    assert_eq!(all, [each[5]]);
}

#[test]
fn a_partition_that_appears_is_read_from_its_start() {
    let world = World::new(&[("t", 1)]);
    let spec = KafkaSource {
        startup: StartupMode::Latest,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    world.commit(Op::CreatePartitions {
        id: world.id("t"),
        total: 2,
    });
    world.append("t", 1, &["a", "b"]);
    // Sooner than the next look for new partitions.
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "t/1@0=a t/1@1=b");
    assert_eq!(source.splits().len(), 2);

    // A crash before the first checkpoint that knows it, or partitions that were added while nobody read.
    let mut reopened = world.source(&spec, &[]);
    reopened.open(&[at("t", 0, 0)], None).unwrap();
    assert_eq!(rows_of(&drain(&mut reopened, 1 << 20)), "t/1@0=a t/1@1=b");

    let mut bounded = world.source(
        &KafkaSource {
            bounded: true,
            ..spec
        },
        &[],
    );
    bounded.open(&[], None).unwrap();
    world.commit(Op::CreatePartitions {
        id: world.id("t"),
        total: 3,
    });
    world.append("t", 2, &["x"]);
    assert_eq!(rows_of(&drain(&mut bounded, 1 << 20)), "");
}

#[test]
fn control_records_and_tombstones_are_passed_over_and_counted() {
    let world = World::new(&[("t", 1)]);
    let values = [Some(r#"{"a":1}"#), None, Some(r#"{"a":2}"#)];
    let data = batch(Compression::Lz4, &values).build().unwrap();
    world.append_bytes("t", 0, data.into_bytes());
    let mut marker = BatchBuilder::new(Compression::None)
        .transactional()
        .control();
    marker.push(1, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
    world.append_bytes("t", 0, marker.build().unwrap().into_bytes());
    world.append("t", 0, &[r#"{"a":3}"#]);
    let mut source = world.source(&json(false), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=1 t/0@2=2 t/0@4=3");
    assert_eq!(progress_of(&polls), ["0: 0..5 c1 s1"]);
    // To the format raw a record without a value is a row.
    assert!(world.read(&raw(&["t"]), &[], None).contains("t/0@1=null"));
}

#[test]
fn a_bad_record_is_a_dead_letter_with_its_bytes_among_good_rows() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &[r#"{"a":1}"#, "garbage", r#"{"a":3}"#]);
    world.append("t", 1, &["more"]);
    let mut source = world.source(&json(false), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=1 t/0@2=3");
    let [first, second] = letters_of(&polls)[..] else {
        panic!("two letters");
    };
    assert_eq!(
        (first.partition, first.offset, first.timestamp),
        (0, 1, 1001)
    );
    assert_eq!((first.stage, first.code.as_str()), ("decode", "json.row"));
    assert_eq!(first.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(first.value.as_deref(), Some(&b"garbage"[..]));
    assert_eq!((second.partition, second.offset), (1, 0));
    assert_eq!(progress_of(&polls), ["0: 0..3 c0 s0", "1: 0..1 c0 s0"]);
}

#[test]
fn the_bytes_of_a_record_that_an_operator_failed_on_are_found_again() {
    let world = World::new(&[("t", 3), ("u", 1)]);
    world.append("t", 0, &["first in the log"]);
    world.append("u", 0, &["of another topic"]);
    world.append("t", 2, &["a", "b", "c"]);
    let mut source = world.source(&raw(&["t", "u"]), &[]);
    source.open(&[], None).unwrap();
    let splits = source.splits();
    for (topic, partition, offset, value) in [
        ("t", 2, 1, "b"),
        ("t", 0, 0, "first in the log"),
        ("u", 0, 0, "of another topic"),
    ] {
        let split = splits
            .iter()
            .position(|split| &*split.topic == topic && split.partition == partition);
        let split = u32::try_from(split.unwrap()).unwrap();
        let letter = source
            .records(&[Origin { split, offset }])
            .unwrap()
            .remove(0);
        assert_eq!(
            (&*letter.topic, letter.partition, letter.offset),
            (topic, partition, offset)
        );
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
        assert_eq!(letter.timestamp, 1000 + offset);
    }
}

/// A batch of one record under a header that claims `count`, compressed by nothing that inflates.
fn damaged_batch(count: i32) -> Bytes {
    let whole = batch(Compression::Zstd, &[Some("x")]).build().unwrap();
    let mut bytes = whole.into_bytes().to_vec();
    let payload = bytes.len() - 10;
    bytes[payload..].fill(0xee);
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_damaged_batch_becomes_dead_letters_a_bounded_number_at_a_time() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["before"]);
    world.append_bytes("t", 0, damaged_batch(25_000));
    world.append("t", 1, &["beside"]);
    world.append("t", 0, &["after"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=before t/1@0=beside t/0@25001=after");
    assert!(
        polls
            .iter()
            .all(|polled| polled.dead_letters.len() <= 10_000)
    );
    let letters = letters_of(&polls);
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(offsets, (1..=25_000).collect::<Vec<_>>());
    assert!(letters.iter().all(|letter| letter.code == "batch.damaged"));
}

#[test]
fn what_the_script_ignores_is_counted() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &[r#"{"a":"x"}"#, "garbage", r#"{"a":1}"#]);
    let (polls, altered) = world.read_counting(&json(true), None);
    assert_eq!(rows_of(&polls), "t/0@0=null t/0@2=1");
    assert_eq!(progress_of(&polls), ["0: 0..3 c0 s1"]);
    assert_eq!(altered, (2, 0));
}

/// A registry of one schema, whose id is 7.
struct OneSchema(&'static str);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, id: u32) -> Option<Arc<str>> {
        (id == 7).then(|| self.0.into())
    }

    fn subject_latest(&self, _: &str) -> Option<(u32, i32, Arc<str>)> {
        None
    }

    fn has_subject(&self, _: &str) -> bool {
        false
    }
}

#[test]
fn decimals_that_lose_a_digit_are_counted() {
    let writer = r#"{"type":"record","name":"E","fields":[{"name":"a","type":
        {"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}]}"#;
    let two_digits = TypeKind::Decimal {
        precision: 9,
        scale: 2,
    };
    let spec = KafkaSource {
        format: FormatSpec::AvroConfluent {
            url: None,
            subject: None,
        },
        value_schema: Schema::new(vec![Field::new("a", two_digits.not_null())]),
        ..raw(&["t"])
    };
    let world = World::new(&[("t", 1)]);
    let mut builder = BatchBuilder::new(Compression::None);
    for unscaled in [1230_i16, 1234, -5] {
        let [high, low] = unscaled.to_be_bytes();
        // The frame's zero, the schema's id, two bytes: Avro writes their number as twice itself.
        let value = [0, 0, 0, 0, 7, 4, high, low];
        builder.push(0, None, Some(&value), &[]);
    }
    world.append_bytes("t", 0, builder.build().unwrap().into_bytes());
    let (polls, altered) = world.read_counting(&spec, Some(Arc::new(OneSchema(writer))));
    assert_eq!(rows_of(&polls), "t/0@0=1.23 t/0@1=1.23 t/0@2=-0.01");
    assert_eq!(altered, (0, 2));
}

#[test]
fn metadata_columns_say_where_a_record_came_from() {
    let world = World::new(&[("t", 2)]);
    let mut builder = BatchBuilder::new(Compression::None);
    let headers: [(&str, Option<&[u8]>); 3] = [("k", Some(b"1")), ("n", None), ("k", Some(b"2"))];
    builder.push(1_767_225_600_123, None, Some(b"v"), &headers);
    world.append_bytes("t", 1, builder.build().unwrap().into_bytes());
    let keys = [
        MetadataKey::Topic,
        MetadataKey::Partition,
        MetadataKey::Offset,
        MetadataKey::Timestamp,
        MetadataKey::TimestampType,
        MetadataKey::Headers,
    ];
    let spec = KafkaSource {
        columns: keys.map(SourceColumn::Metadata).to_vec(),
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    let polled = source.poll(1 << 20, NOW).unwrap();
    let columns = &polled.batches[0].columns;
    let shown: Vec<String> = columns.columns()[..5]
        .iter()
        .map(|column| {
            match column.as_primitive_opt::<arrow_array::types::TimestampMicrosecondType>() {
                Some(micros) => micros.value(0).to_string(),
                None => {
                    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default());
                    formatter.unwrap().value(0).to_string()
                }
            }
        })
        .collect();
    assert_eq!(shown, ["t", "1", "0", "1767225600123000", "CreateTime"]);
    let headers = columns.column(5).as_map().value(0);
    let (keys, values) = (
        headers.column(0).as_string::<i32>(),
        headers.column(1).as_binary::<i32>(),
    );
    let headers: Vec<_> = keys
        .iter()
        .zip(values)
        .map(|(k, v)| (k.unwrap(), v))
        .collect();
    // Of a key that stands twice the last value counts; a header without a value is NULL.
    assert_eq!(headers, [("k", Some(&b"2"[..])), ("n", None)]);
}

#[test]
fn errors_say_what_happened_to_the_log() {
    let world = World::new(&[("orders", 1)]);
    let error = world
        .source(&raw(&["ordres"]), &[])
        .open(&[], None)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, "there is no topic `ordres`");
    assert_eq!(
        error.hint,
        "Did you mean 'orders'? Otherwise create it: lakeward topic create ordres --partitions 1"
    );

    world.append("orders", 0, &["a", "b"]);
    world.commit(Op::DeleteRecords {
        topic: world.id("orders"),
        partition: 0,
        before: 1,
    });
    let mut source = world.source(&raw(&["orders"]), &[]);
    for (next, detail) in [
        (
            0,
            "The records of 'orders', partition 0, from 0 to 1 were removed before this pipeline read them: they are in no table.",
        ),
        (
            7,
            "The checkpoint is behind the end of the log: 'orders' was deleted and created again.",
        ),
    ] {
        source.open(&[at("orders", 0, next)], None).unwrap();
        let error = source.poll(1 << 20, NOW).unwrap_err();
        let lost = next == 0;
        assert_eq!(error.kind == ErrorKind::Pause, lost);
        assert_eq!(
            error.message,
            format!("`orders`, partition 0: offset {next} is outside the log, which starts at 1")
        );
        assert_eq!(error.detail, detail);
    }
}

#[test]
fn a_format_that_cannot_carry_the_columns_is_refused_with_its_reason() {
    let world = World::new(&[("t", 1)]);
    let mut spec = raw(&["t"]);
    spec.value_schema = Schema::new(vec![Field::new("v", TypeKind::Int.nullable())]);
    let log = Log {
        storage: world.storage.clone(),
        committed: BTreeMap::new(),
    };
    let error = EmbeddedKafka::new(&spec, "group", Arc::new(log), None, Arc::default())
        .err()
        .unwrap();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(
        error.message,
        "column 'v' of type INT cannot be read from raw"
    );
    assert_eq!(error.detail, "Only BYTES and STRING are supported.");
    assert_eq!(error.hint, "declare `v` BYTES or STRING");
}

#[test]
fn a_topic_that_is_made_again_under_a_running_source_is_told() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a", "b"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "t/0@0=a t/0@1=b");
    let before = source.topics();
    world.commit(Op::DeleteTopic { id: world.id("t") });
    world.create("t", 1);
    world.append("t", 0, &["c", "d", "e"]);
    let error = source.poll(1 << 20, NOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(error.message, "topic 't' was deleted and created again");
    source.open(&[], None).unwrap();
    assert_ne!(source.topics(), before);
}

#[test]
fn a_topic_that_is_deleted_under_a_running_source_is_told() {
    let world = World::new(&[("orders", 1), ("clicks", 1)]);
    world.append("orders", 0, &["a"]);
    let mut source = world.source(&raw(&["orders", "clicks"]), &[]);
    source.open(&[], None).unwrap();
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "orders/0@0=a");
    world.commit(Op::DeleteTopic {
        id: world.id("orders"),
    });
    world.append("clicks", 0, &["b"]);
    let error = source.poll(1 << 20, NOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, "there is no topic `orders`");
    assert_eq!(
        error.hint,
        "Create it: lakeward topic create orders --partitions 1"
    );
}

#[test]
fn a_poll_says_when_its_batches_were_appended() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b"]);
    world.append("t", 1, &["c"]);
    world.append("t", 0, &["d"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    let told = source.poll(1 << 20, NOW).unwrap().appended;
    let batches: Vec<_> = told.iter().map(|batch| (batch.split, batch.to)).collect();
    assert_eq!(batches, [(0, 2), (1, 1), (0, 3)]);
    assert!(told[0].at > 0 && told.is_sorted_by_key(|batch| batch.at));
    // As often as it is read.
    source.open(&[], None).unwrap();
    let mut again = Vec::new();
    for _ in 0..3 {
        again.extend(source.poll(1, NOW).unwrap().appended);
    }
    assert_eq!(again, told);
}

#[test]
fn where_a_bounded_read_ends_can_be_said_again() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a", "b"]);
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    let ends = source.ends().unwrap();
    world.append("t", 0, &["later"]);
    assert_eq!(world.read(&spec, &[], Some(&ends)), "t/0@0=a t/0@1=b");
}

#[test]
fn a_letter_whose_record_is_gone_has_no_bytes() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a"]);
    world.append("t", 0, &["b"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    world.commit(Op::DeleteRecords {
        topic: world.id("t"),
        partition: 0,
        before: 1,
    });
    let origins = [0, 1].map(|offset| Origin { split: 0, offset });
    let letters = source.records(&origins).unwrap();
    assert_eq!(letters[0].value, None);
    assert_eq!(letters[1].value.as_deref(), Some(&b"b"[..]));
}

/// In the middle of a batch, at its end, and where nothing is.
#[test]
fn no_poll_reads_over_a_cut() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c"]);
    world.append("t", 1, &["x"]);
    world.append("t", 0, &["d", "e"]);
    world.append("t", 1, &["y"]);
    let read = |cuts: &[SplitOffset]| {
        let mut source = world.source(&raw(&["t"]), &[]);
        source.open(&[], None).unwrap();
        source.cut_at(cuts);
        let polls = drain(&mut source, 1 << 20);
        let polls = polls.iter().map(|poll| rows_of(std::slice::from_ref(poll)));
        polls.filter(|rows| !rows.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        read(&[at("t", 0, 1), at("t", 0, 3), at("t", 1, 7)]),
        [
            "t/0@0=a",
            "t/0@1=b t/0@2=c t/1@0=x",
            "t/0@3=d t/0@4=e t/1@1=y"
        ]
    );
    assert_eq!(
        read(&[]),
        ["t/0@0=a t/0@1=b t/0@2=c t/1@0=x t/0@3=d t/0@4=e t/1@1=y"]
    );
}

/// One partition of another cluster that ends at 5, and what its fetches bring.
struct Elsewhere(parking_lot::Mutex<Vec<TopicBatch>>);

impl LogSource for Elsewhere {
    fn look(&self, _: &[String]) -> Result<Vec<TopicBounds>, SourceError> {
        Ok(vec![TopicBounds {
            id: Uuid::nil(),
            partitions: vec![PartitionBounds {
                partition: 0,
                start: 0,
                end: 5,
            }],
        }])
    }

    fn topic_id(&self, _: &str) -> Result<Uuid, SourceError> {
        Ok(Uuid::nil())
    }

    fn read(
        &self,
        _: &str,
        _: &BTreeMap<i32, i64>,
        _: usize,
    ) -> Result<Vec<lw_storage::source::SourceBatch>, SourceError> {
        unreachable!("a source reads topics together")
    }

    fn wait(&self, _: &str, _: &BTreeMap<i32, i64>, _: Duration) -> bool {
        unreachable!("a source waits for its topics together")
    }

    fn read_topics(&self, _: &TopicOffsets, _: usize) -> Result<Vec<TopicBatch>, SourceError> {
        Ok(self.0.lock().pop().into_iter().collect())
    }

    fn wait_topics(&self, _: &TopicOffsets, _: Duration) -> bool {
        !self.0.lock().is_empty()
    }
}

impl EmbeddedLog for Elsewhere {
    fn log(&self) -> &dyn LogSource {
        self
    }

    fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn in_one_order(&self) -> bool {
        false
    }
}

#[test]
fn offsets_that_no_reader_is_shown_are_passed_over_and_a_bounded_read_ends_behind_them() {
    let read = |bytes, next| TopicBatch {
        topic: "t".into(),
        batch: lw_storage::source::SourceBatch {
            partition: 0,
            order: lw_storage::source::Order::default(),
            appended_at: 0,
            next,
            bytes,
        },
    };
    let records = batch(Compression::None, &[Some("a"), Some("b")]);
    let records = records.build().unwrap().into_bytes();
    // The last one first: two records, then three offsets of a transaction that was aborted, and its marker.
    let log = Elsewhere(parking_lot::Mutex::new(vec![
        read(Bytes::new(), 5),
        read(records, 2),
    ]));
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source =
        EmbeddedKafka::new(&spec, "group", Arc::new(log), None, Arc::default()).unwrap();
    source.open(&[], None).unwrap();
    let first = source.poll(1 << 20, NOW).unwrap();
    assert!(!first.finished, "three offsets are missing to the end");
    let second = source.poll(1 << 20, NOW).unwrap();
    assert!(second.finished);
    let polls = [first, second];
    assert_eq!(rows_of(&polls), "t/0@0=a t/0@1=b");
    assert_eq!(progress_of(&polls), ["0: 0..2 c0 s0", "0: 2..5 c0 s0"]);
    assert_eq!(source.place(), None, "its partitions have no order");
}
