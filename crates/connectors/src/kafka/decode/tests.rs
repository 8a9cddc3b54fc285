//! What several threads decode is what one does.

use super::*;
use crate::kafka::positions::Positions;
use arrow_array::cast::AsArray;
use bytes::Bytes;
use lw_graph::{Field, FormatSpec, MetadataKey, Schema, SourceColumn, StartupMode, TypeKind};
use lw_protocol::BatchBuilder;
use lw_runtime::Origin;
use lw_storage::source::{Order, SourceBatch};
use std::fmt::Write;

/// A table of a value, its offset and its partition over the topic `t`.
fn table() -> KafkaSource {
    KafkaSource {
        table: "t".to_string(),
        topics: vec!["t".to_string()],
        bootstrap: "here".to_string(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Json {
            fail_on_missing_field: false,
            ignore_parse_errors: false,
            iso_timestamps: false,
        },
        key: None,
        value_schema: Schema::new(vec![Field::new("n", TypeKind::Int.nullable())]),
        columns: vec![
            SourceColumn::Value(0),
            SourceColumn::Metadata(MetadataKey::Offset),
            SourceColumn::Metadata(MetadataKey::Partition),
            SourceColumn::Appended,
        ],
    }
}

/// Half a kilobyte for each record, so that some hundred of them are worth a thread: mostly rows, some that are none.
fn value(offset: i64) -> Option<String> {
    let padding = "x".repeat(490);
    match offset % 50 {
        7 => None,
        11 => Some(format!(r#"{{"n":"no number","x":"{padding}"}}"#)),
        13 => Some(format!(
            r#"[{{"n":{offset}}},{{"n":{offset},"x":"{padding}"}}]"#
        )),
        _ => Some(format!(r#"{{"x":"{padding}","n":{offset}}}"#)),
    }
}

/// A batch of records from an offset on.
fn batch(compression: Compression, from: i64, records: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression).base_offset(from);
    for offset in from..from + records {
        let value = value(offset);
        builder.push(
            1000 + offset,
            None,
            value.as_deref().map(str::as_bytes),
            &[],
        );
    }
    builder
        .build()
        .expect("it has records")
        .into_bytes()
        .to_vec()
}

/// Damages the record at an offset of a batch that lies open, so that the walk ends there and the lengths stay right.
fn damage(bytes: &mut [u8], offset: i64) {
    let written = format!(r#""n":{offset}}}"#);
    let at = bytes
        .windows(written.len())
        .position(|here| here == written.as_bytes());
    let value = at.expect("the record is there");
    // Its number of headers stands behind the value.
    bytes[value + written.len()] = 2;
}

struct Log {
    batches: Vec<(i32, i64, Bytes)>,
}

impl Log {
    /// Partition, offset behind it, bytes.
    fn of(batches: Vec<(i32, i64, Vec<u8>)>) -> Log {
        let batches = batches.into_iter();
        Log {
            batches: batches
                .map(|(partition, next, bytes)| (partition, next, bytes.into()))
                .collect(),
        }
    }

    fn read(&self, positions: &Positions) -> Vec<TopicBatch> {
        let left = self.batches.iter().filter(|(partition, next, _)| {
            let split = positions.find("t", *partition).expect("it is there");
            positions.next(split) < *next
        });
        let batches = left.map(|(partition, next, bytes)| TopicBatch {
            topic: "t".into(),
            batch: SourceBatch {
                appended_at: 0,
                // Of some batches the log does not say it.
                wall: (*partition == 0).then_some(7_000_000 + next),
                partition: *partition,
                order: Order::default(),
                next: *next,
                bytes: bytes.clone(),
            },
        });
        batches.collect()
    }

    /// All that polls of all that is left give: rows, letters, offsets and how they were passed over; and how many polls that took.
    fn decoded(&self, threads: usize, from: [i64; 2], cut: Option<i64>) -> (String, usize) {
        let mut decoding = Decoding::new(&table(), None, Arc::default()).expect("it is json");
        decoding.in_pool(Pool::new(threads));
        let mut positions = Positions::default();
        for (partition, next) in (0..).zip(from) {
            let split = positions.add("t", partition, next);
            if let Some(cut) = cut {
                positions.cut_at(split, cut);
            }
        }
        let (mut out, mut letters, mut passed, mut polls) =
            (String::new(), String::new(), BTreeMap::new(), 0);
        loop {
            let batches = self.read(&positions);
            if batches.is_empty() {
                break;
            }
            polls += 1;
            let (polled, _) = decoding
                .decode(&mut positions, &mut BTreeMap::new(), batches)
                .expect("it decodes");
            for chunk in &polled.batches {
                let origins = chunk.origins.runs().expect("rows of the log");
                for (row, Origin { split, offset }) in origins.iter().enumerate() {
                    let cells = chunk.columns.columns().iter();
                    let cells = cells.map(|column| {
                        format!(
                            "{:?}",
                            column.slice(row, 1).to_data().buffers()[0]
                                .as_slice()
                                .first_chunk::<4>()
                        )
                    });
                    let _ = writeln!(out, "{split}@{offset} {}", cells.collect::<String>());
                }
            }
            for letter in &polled.dead_letters {
                let _ = writeln!(
                    letters,
                    "{}@{} {} {:?}",
                    letter.partition,
                    letter.offset,
                    letter.code,
                    letter.value.as_ref().map(Vec::len)
                );
            }
            for progress in polled.progress {
                let so_far =
                    passed
                        .entry(progress.split)
                        .or_insert((progress.from, progress.from, 0));
                assert_eq!(so_far.1, progress.from, "nothing is left out");
                *so_far = (so_far.0, progress.to, so_far.2 + progress.skipped);
            }
        }
        (format!("{out}{letters}{passed:?}"), polls)
    }

    fn check(&self, from: [i64; 2], cut: Option<i64>) {
        let (one, _) = self.decoded(1, from, cut);
        for threads in [2, 3, 8] {
            let (several, _) = self.decoded(threads, from, cut);
            let mut lines = several.lines().zip(one.lines());
            let differ = lines.find(|(several, one)| several != one);
            assert!(
                several == one,
                "{threads} threads, from {from:?}: {differ:?}"
            );
        }
    }
}

/// Open and compressed batches of two partitions, large and small, and a gap.
fn batches() -> Vec<(i32, i64, Vec<u8>)> {
    let (open, packed) = (Compression::None, Compression::Zstd);
    vec![
        (0, 700, batch(open, 0, 700)),
        (1, 300, batch(packed, 0, 300)),
        (1, 310, Vec::new()),
        (1, 311, batch(open, 310, 1)),
        (0, 1_400, batch(open, 700, 700)),
        (1, 900, batch(open, 311, 589)),
    ]
}

#[test]
fn pieces_give_what_the_whole_gives() {
    let log = Log::of(batches());
    log.check([0, 0], None);
    log.check([333, 17], None);
    log.check([0, 0], Some(450));
}

/// Milliseconds at which the records of a batch came, whose own times are 1000, 1001, …
fn came(wall: Option<i64>) -> Vec<i64> {
    let mut decoding = Decoding::new(&table(), None, Arc::default()).expect("it is json");
    let mut positions = Positions::default();
    positions.add("t", 0, 0);
    let read = TopicBatch {
        topic: "t".into(),
        batch: SourceBatch {
            appended_at: 9,
            wall,
            partition: 0,
            order: Order::default(),
            next: 3,
            bytes: batch(Compression::None, 0, 3).into(),
        },
    };
    let decoded = decoding.decode(&mut positions, &mut BTreeMap::new(), vec![read]);
    let (polled, _) = decoded.expect("it decodes");
    let column = polled.batches[0].columns.column(3);
    let micros = column.as_primitive::<arrow_array::types::TimestampMicrosecondType>();
    let millis = micros.values().iter().map(|micros| micros / 1000);
    millis.collect()
}

#[test]
fn when_a_record_came_is_by_the_log_and_else_by_the_record() {
    let taken_in = 1_767_225_600_123;
    assert_eq!(came(Some(taken_in)), [taken_in; 3]);
    assert_eq!(came(None), [1000, 1001, 1002]);
}

#[test]
fn work_is_shared_and_small_polls_are_not_cut() {
    let mut positions = Positions::default();
    for partition in 0..2 {
        positions.add("t", partition, 0);
    }
    let pieces = |log: Log, threads| {
        let (parts, _) =
            plan(&positions, &mut BTreeMap::new(), log.read(&positions)).expect("whole batches");
        let pieces = cut(parts, threads);
        pieces
            .iter()
            .map(|piece| piece.iter().map(Part::bytes).sum::<usize>())
            .collect::<Vec<_>>()
    };
    for threads in [2, 4] {
        let sizes = pieces(Log::of(batches()), threads);
        assert!(
            sizes.len() > threads,
            "who is done early finds another: {sizes:?}"
        );
        let (least, most) = (
            sizes.iter().min().expect("some"),
            sizes.iter().max().expect("some"),
        );
        assert!(least * 2 > *most, "they are of about one size: {sizes:?}");
    }
    let one_open = || Log::of(vec![(0, 700, batch(Compression::None, 0, 700))]);
    assert!(
        pieces(one_open(), 2).len() > 1,
        "a batch that lies open is cut"
    );
    assert_eq!(pieces(one_open(), 1).len(), 1);
    let packed = Log::of(vec![(0, 700, batch(Compression::Zstd, 0, 700))]);
    assert_eq!(pieces(packed, 2).len(), 1, "one that does not is not");
    let small = Log::of(vec![(0, 100, batch(Compression::None, 0, 100))]);
    assert_eq!(pieces(small, 2).len(), 1);
}

/// The first piece finds it, and the others have decoded by then what stands behind it.
#[test]
fn a_batch_that_breaks_off_in_one_piece_is_buried_to_its_end() {
    for at in [0, 20, 349, 350, 351, 690, 699] {
        let mut all = batches();
        damage(&mut all[0].2, at);
        damage(&mut all[4].2, 700 + at);
        Log::of(all).check([0, 0], None);
    }
}
