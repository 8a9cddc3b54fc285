//! A flow that is written down goes on as one that was not interrupted; its files are its own.

use super::graph::{counted, graph};
use crate::chunk::{Chunk, Split, SplitId};
use crate::operator::{AtSinks, Flow, Meetings, SplitTimes};
use crate::origins::Origin;
use crate::state::{Limits, StateError};
use crate::task::apart::{FlowState, Shelf};
use arrow_array::cast::AsArray;
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_formats::arrow_schema;
use lw_graph::{Field, JobGraph, Schema, TypeKind};
use lw_sim::{SimClock, SimDisk};
use lw_stdx::disk::Disk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn schema() -> Schema {
    Schema::new(vec![Field::new("at", TypeKind::Timestamp(3).nullable())])
}

fn counting() -> JobGraph {
    counted(graph(&schema(), 1), Vec::new())
}

fn splits() -> Arc<[Split]> {
    let split = |partition| Split {
        topic: "in".into(),
        partition,
    };
    [0, 1].map(split).into()
}

fn begun() -> Flow {
    let mut flow = Flow::compile(&counting()).expect("a tree");
    let awaited = SplitTimes::awaiting([0, 1].into());
    let nothing = Meetings::default();
    flow.upstream
        .go_on_from(&awaited, &splits(), |_| None, &nothing);
    flow
}

/// `start=count` of the windows that a record of a split lets fire, and how many were late.
fn give(flow: &mut Flow, (split, millis): (SplitId, i64)) -> (Vec<String>, usize) {
    let micros = TimestampMicrosecondArray::from(vec![millis * 1000]);
    let columns = RecordBatch::try_new(arrow_schema(&schema()), vec![Arc::new(micros)]);
    let origin = Origin { split, offset: 0 };
    let columns = columns.expect("one column");
    let chunk = Chunk::new(columns, [origin].into_iter().collect(), splits());
    let mut at = flow.downstream.at_sinks();
    for round in flow.upstream.process(chunk).expect("it can be computed") {
        for (outlet, done) in round.into_outlets() {
            let taken = flow.downstream.take(outlet, done.chunk, &mut at);
            taken.expect("it can be computed");
        }
    }
    let AtSinks { rows, late } = at;
    let mut fired = Vec::new();
    for chunk in rows.into_iter().flatten() {
        let counts: &Int64Array = chunk.columns.column(0).as_primitive();
        let starts: &TimestampMicrosecondArray = chunk.columns.column(1).as_primitive();
        let rows = starts.values().iter().zip(counts.values());
        fired.extend(rows.map(|(start, count)| format!("{}={count}", start / 1000)));
    }
    (fired, late.into_iter().flatten().count())
}

/// 3 is late, and would not be if it were forgotten how far event time had come.
const RECORDS: [(SplitId, i64); 9] = [
    (0, 1),
    (1, 5),
    (0, 12),
    (1, 14),
    (0, 3),
    (1, 25),
    (0, 31),
    (1, 38),
    (0, 55),
];

fn shelf(disk: &SimDisk, limits: Limits) -> Shelf {
    let mut shelf = Shelf::under(Arc::new(disk.clone()), Path::new("/data"), "audit/p/t");
    shelf.0.limits = limits;
    shelf
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let folder = Path::new("/data/audit/state");
    let there = disk.list(folder).unwrap_or_default().into_iter();
    there.map(|entry| folder.join(entry.name)).collect()
}

#[test]
fn a_flow_that_was_written_down_goes_on_where_it_was() {
    let mut whole = begun();
    let expected: Vec<_> = RECORDS.map(|record| give(&mut whole, record)).to_vec();
    assert_eq!(expected.iter().map(|(_, late)| late).sum::<usize>(), 1);
    for limits in [Limits::OURS, Limits::NONE] {
        let disk = SimDisk::new(7, Arc::new(SimClock::new()));
        let shelf = shelf(&disk, limits);
        let (mut flow, mut given) = (begun(), Vec::new());
        for (number, record) in (0..).zip(RECORDS) {
            given.push(give(&mut flow, record));
            let state = flow.write_down(&splits(), &shelf, number);
            let state = state.expect("it can be written");
            shelf.keep_only(std::iter::once(&state));
            let json = serde_json::to_vec(&state).expect("plain data");
            let read: FlowState = serde_json::from_slice(&json).expect("it was just written");
            assert_eq!(read, state);
            flow = Flow::compile(&counting()).expect("a tree");
            flow.restore(&read, &shelf).expect("it can be read");
            flow.go_on_from(&read, &splits());
        }
        assert_eq!(given, expected);
    }
}

#[test]
fn files_that_no_state_names_go_and_damaged_ones_are_told() {
    let disk = SimDisk::new(7, Arc::new(SimClock::new()));
    let shelf = shelf(&disk, Limits::NONE);
    let mut flow = begun();
    give(&mut flow, RECORDS[0]);
    let first = flow.write_down(&splits(), &shelf, 0).expect("written");
    let of_first = files(&disk);
    assert!(!of_first.is_empty());
    let second = flow.write_down(&splits(), &shelf, 1).expect("written");
    shelf.keep_only(std::iter::once(&second));
    assert!(files(&disk).iter().all(|file| !of_first.contains(file)));
    let mut other = Flow::compile(&counting()).expect("a tree");
    let gone = other.restore(&first, &shelf);
    assert!(matches!(gone, Err(StateError::Disk(_))), "{gone:?}");
    other.restore(&second, &shelf).expect("it is there");
    shelf.keep_only(std::iter::empty());
    assert_eq!(files(&disk), [""; 0].map(PathBuf::from));
}
