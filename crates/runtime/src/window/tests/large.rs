//! Checkpoints and restores of a large state; how long they take is `cargo xtask bench state --bytes 1g --changed 1%`.
//!
//! One window of counts and sums by a 64-bit key, in as many shards as there are cores, on the real disk. Printed is what the driver is held up for (freezing), what is done
//! beside it (encoding and storing, until all is durable; folding), and what a start waits for (restoring).

#![expect(clippy::print_stdout, reason = "what was measured is told")]

use super::super::aggregate::WindowAggregate;
use crate::chunk::Chunk;
use crate::operator::sharded::{ShardKey, Sharded};
use crate::operator::{Operator, Out, Parallelism};
use crate::pool::Pool;
use crate::state::{OperatorState, StateFiles, StateWriter, StoredSection};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_formats::arrow_schema;
use lw_graph::{
    AggregateCall, AggregateFunction, Field, Schema, TypeKind, Window, WindowProperty, WindowShape,
    Windowing,
};
use lw_stdx::clock::{Clock, SystemClock};
use lw_stdx::disk::RealDisk;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// Rows of a chunk.
const CHUNK: i64 = 1 << 16;

fn input() -> Schema {
    Schema::new(vec![
        Field::new("ts", TypeKind::Timestamp(3).nullable()),
        Field::new("k", TypeKind::BigInt.nullable()),
    ])
}

fn operator(bytes: usize, pool: &Pool) -> Sharded {
    let call = |function, arguments, ty: TypeKind| AggregateCall {
        function,
        arguments,
        distinct: false,
        filter: None,
        ty: ty.nullable(),
    };
    let calls = [
        call(AggregateFunction::Count, vec![], TypeKind::BigInt),
        call(AggregateFunction::Sum, vec![1], TypeKind::BigInt),
    ];
    let output = Schema::new(vec![
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("count", TypeKind::BigInt.not_null()),
        Field::new("sum", TypeKind::BigInt.nullable()),
        Field::new("end", TypeKind::Timestamp(3).not_null()),
    ]);
    let window = Windowing::Assign(Window {
        shape: WindowShape::Tumble { size: 3_600_000 },
        offset: 0,
        time: 0,
        zone: None,
    });
    let (from, to) = (arrow_schema(&input()), arrow_schema(&output));
    let parallelism = Parallelism::of_state(bytes as u64, pool);
    let instances = (0..parallelism.shards).map(|_| -> Box<dyn Operator> {
        let (properties, columns) = (&[WindowProperty::End], (from.clone(), to.clone()));
        let operator = WindowAggregate::new(&window, &[1], &calls, properties, columns);
        Box::new(operator.expect("a window"))
    });
    let key = ShardKey::new(&[1], &from).expect("a key");
    Sharded::new(instances.collect(), vec![key], to, &parallelism)
}

/// A row of each of these keys.
fn take(operator: &mut Sharded, mut keys: impl Iterator<Item = i64>) {
    loop {
        let some: Vec<i64> = keys.by_ref().take(CHUNK as usize).collect();
        if some.is_empty() {
            return;
        }
        let times = TimestampMicrosecondArray::from(vec![1_000; some.len()]);
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(Int64Array::from(some))];
        let rows = RecordBatch::try_new(arrow_schema(&input()), columns).expect("two columns");
        let chunk = Chunk::derived(rows, Vec::new(), Arc::new([]));
        let taken = operator.data(0, chunk, &mut Out::default());
        taken.expect("rows have times");
    }
}

/// What was asked for: bytes of state, and the part of it that changes between two checkpoints.
fn asked() -> (usize, f64) {
    let text = |name: &str| std::env::var(name).ok();
    let bytes = text("LAKEWARD_BENCH_BYTES").and_then(|text| text.parse().ok());
    let changed = text("LAKEWARD_BENCH_CHANGED").and_then(|text| text.parse().ok());
    (bytes.unwrap_or(1 << 20), changed.unwrap_or(0.01))
}

fn timed<T>(clock: &SystemClock, work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = clock.elapsed();
    let done = work();
    (clock.elapsed().saturating_sub(begun), done)
}

#[test]
fn checkpoints_and_restores_of_a_large_state() {
    let ((bytes, part), clock) = (asked(), SystemClock::new());
    let folder = tempfile::tempdir().expect("there is room");
    let files = StateFiles::under(Arc::new(RealDisk), folder.path(), "bench");
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let pool = Pool::new(cores);
    let (mut running, mut keys) = (operator(bytes, &pool), 0);
    while running.state_bytes() < bytes {
        take(&mut running, keys..keys + CHUNK);
        keys += CHUNK;
    }
    let changed = ((keys as f64 * part) as i64).max(1);
    println!(
        "{keys} keys in {} shards, {} MiB of memory, {changed} of them change between two checkpoints",
        running.groups().len(),
        running.state_bytes() >> 20
    );
    println!("checkpoint   rows      driver ms   beside it ms   stored KiB   links");
    let mut stored: Option<OperatorState> = None;
    for number in 0..8_u64 {
        if number > 0 {
            let step = keys / changed;
            take(
                &mut running,
                (0..changed).map(|n| n * step + number as i64 % step),
            );
        }
        let mut to = StateWriter::default();
        if stored.is_some() {
            to = to.asking_for_changes();
        }
        let (froze, written) = timed(&clock, || running.snapshot(&mut to).map(|()| to));
        let written = written.expect("a state");
        let rows: usize = written
            .sections
            .iter()
            .flat_map(|section| &section.rows)
            .map(RecordBatch::num_rows)
            .sum();
        let before = stored.as_ref().map_or(0, OperatorState::bytes);
        let mut writing = files.writing(1, &number.to_string());
        let (stores, next) = timed(&clock, || {
            OperatorState::behind(stored.as_ref(), written, &mut writing)
        });
        let next = next.expect("it can be stored");
        println!(
            "{number:>10} {rows:>10} {:>11} {:>14} {:>12} {:>7}",
            froze.as_millis(),
            stores.as_millis(),
            (next.bytes() - before) >> 10,
            next.sections
                .iter()
                .map(|section| section.links.len())
                .max()
                .unwrap_or(0),
        );
        stored = Some(next);
    }
    let mut stored = stored.expect("there is a checkpoint");
    let restore = |stored: &OperatorState, what: &str| {
        let mut next = operator(bytes, &pool);
        let (reads, read) = timed(&clock, || stored.read(&files, &pool));
        let read = read.expect("it is there");
        let (restores, restored) = timed(&clock, || next.restore(&read));
        restored.expect("its own state");
        assert_eq!(
            next.state_bytes() >> 20,
            running.state_bytes() >> 20,
            "all of it is there"
        );
        println!(
            "restore {what}: {} ms ({} ms reading, {} ms taking up)",
            (reads + restores).as_millis(),
            reads.as_millis(),
            restores.as_millis()
        );
    };
    restore(&stored, "of all links");
    let long = stored
        .sections
        .iter()
        .filter(|section| section.links.len() > 1);
    let long: Vec<StoredSection> = long.cloned().collect();
    let (folds, ()) = timed(&clock, || {
        for (n, section) in long.iter().enumerate() {
            let folded = section.folded(&files, &mut files.writing(1, &format!("fold{n}")));
            assert!(stored.fold(section, folded.expect("folded")));
        }
    });
    println!("folded in {} ms", folds.as_millis());
    restore(&stored, "of what was folded");
}
