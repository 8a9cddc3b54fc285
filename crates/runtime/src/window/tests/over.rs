//! OVER against a row-by-row reading of what it says.

use super::super::over::Over;
use super::pieces::{Cuts, in_pieces, some_cuts, some_shards};
use super::{Row, chunk, input, numbers, some_rows};
use crate::operator::{Operator, Out};
use lw_formats::arrow_schema;
use lw_graph::{AggregateCall, AggregateFunction, Field, Frame, FrameUnit, Schema, TypeKind};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn columns() -> (Schema, Schema) {
    let mut fields = input().fields;
    let names = ["count", "sum", "first", "last", "lag"];
    fields.extend(names.map(|name| Field::new(name, TypeKind::BigInt.nullable())));
    (input(), Schema::new(fields))
}

fn operator(frame: Frame) -> Over {
    let functions = [
        AggregateFunction::Count,
        AggregateFunction::Sum,
        AggregateFunction::FirstValue,
        AggregateFunction::LastValue,
        AggregateFunction::Lag { offset: 2 },
    ];
    let calls = functions.map(|function| AggregateCall {
        // What there is where no row was is the key.
        arguments: match function {
            AggregateFunction::Lag { .. } => vec![2, 1],
            _ => vec![2],
        },
        function,
        distinct: false,
        filter: None,
        ty: TypeKind::BigInt.nullable(),
    });
    let (input, output) = columns();
    let columns = (arrow_schema(&input), arrow_schema(&output));
    Over::new((&[1], 0), frame, &calls, columns).expect("aggregates of numbers")
}

/// Places of rows in their order, each with number, sum, first, last and last but two of its frame's places; and the places of late rows.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    rows: Vec<[i64; 6]>,
    late: Vec<usize>,
}

impl Seen {
    fn take(&mut self, out: &mut Out, first: usize) {
        self.late
            .extend(out.late.drain(..).map(|late| first + late.row));
        for chunk in out.chunks.drain(..) {
            let columns: Vec<Vec<i64>> = (2..8).map(|column| numbers(&chunk, column)).collect();
            let row = |row| std::array::from_fn(|column| columns[column][row]);
            self.rows.extend((0..chunk.rows()).map(row));
        }
    }
}

/// Over rows in pieces.
fn run(frame: Frame, rows: &[Row], cuts: &Cuts, shards: &[usize]) -> Seen {
    let mut seen = Seen::default();
    in_pieces(
        (rows.len(), cuts),
        shards,
        columns(),
        || Box::new(operator(frame)),
        |piece| chunk(&rows[piece.clone()], piece.start),
        |mut out, first| seen.take(&mut out, first),
    );
    seen
}

/// A key of the model.
#[derive(Default)]
struct Plain {
    last: i64,
    over: Option<i64>,
    /// Time and place of the rows that were given, since it was forgotten last.
    given: Vec<(i64, i64)>,
}

/// The same, row by row: each row and each look is a timer of its key.
fn plainly(frame: Frame, rows: &[Row]) -> Seen {
    let (mut seen, mut watermark) = (Seen::default(), i64::MIN);
    let mut keys: BTreeMap<i64, Plain> = BTreeMap::new();
    let mut timers: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut waiting: Vec<(i64, i64, i64)> = Vec::new();
    let end = (i64::MIN, 0, Some(i64::MAX));
    for (place, (time, name, mark)) in rows.iter().chain([&end]).enumerate() {
        let key = keys.entry(*name).or_default();
        let late = match frame.preceding {
            None => *time <= watermark,
            Some(_) => *time <= key.last,
        };
        if place == rows.len() {
            // The end.
        } else if late {
            seen.late.push(place);
        } else {
            waiting.push((*time, *name, place as i64));
            timers.insert((*time, *name));
            if let (FrameUnit::Range, Some(back)) = (frame.unit, frame.preceding)
                && key.over.is_none_or(|over| over < time + back + 1)
            {
                let over = time + back + back / 2 + 1;
                key.over = Some(over);
                timers.insert((over, *name));
            }
        }
        let Some(mark) = *mark else { continue };
        watermark = mark;
        while let Some((time, name)) = timers.first().copied().filter(|first| first.0 <= watermark)
        {
            timers.pop_first();
            let key = keys.get_mut(&name).expect("a key with a timer");
            if key.over.is_some_and(|over| over <= time) {
                *key = Plain::default();
                continue;
            }
            key.last = time;
            let now = waiting.extract_if(.., |row| (row.0, row.1) == (time, name));
            let now: Vec<i64> = now.map(|row| row.2).collect();
            let first = key.given.len();
            key.given.extend(now.iter().map(|place| (time, *place)));
            for (nth, place) in (first..).zip(now) {
                let frame: Vec<i64> = match (frame.unit, frame.preceding) {
                    (FrameUnit::Rows, back) => {
                        let back = back.map_or(nth, |back| nth.min(back as usize));
                        key.given[nth - back..=nth]
                            .iter()
                            .map(|row| row.1)
                            .collect()
                    }
                    (FrameUnit::Range, back) => {
                        let reached =
                            |row: &&(i64, i64)| back.is_none_or(|back| time - row.0 <= back);
                        key.given.iter().filter(reached).map(|row| row.1).collect()
                    }
                };
                let (count, sum) = (frame.len() as i64, frame.iter().sum());
                let last = frame[frame.len() - 1];
                let lag = frame.iter().nth_back(2).copied().unwrap_or(name);
                seen.rows.push([place, count, sum, frame[0], last, lag]);
            }
        }
    }
    seen
}

fn some_frame() -> impl Strategy<Value = Frame> {
    let unit = prop_oneof![Just(FrameUnit::Rows), Just(FrameUnit::Range)];
    let preceding = proptest::option::of(0..12_i64);
    (unit, preceding).prop_map(|(unit, preceding)| Frame { unit, preceding })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn over_is_what_it_says(frame in some_frame(), rows in some_rows(), cuts in some_cuts(), shards in some_shards()) {
        prop_assert_eq!(run(frame, &rows, &cuts, &shards), plainly(frame, &rows));
    }
}

#[test]
fn keys_out_of_a_ranges_reach_are_forgotten() {
    let frame = Frame {
        unit: FrameUnit::Range,
        preceding: Some(4),
    };
    let (mut over, mut out, mut seen) = (operator(frame), Out::default(), Seen::default());
    for first in (0..50_000).step_by(1000) {
        let rows: Vec<Row> = (first..first + 1000)
            .map(|place| (place + 1, place / 2, Some(place + 1)))
            .collect();
        let rows = chunk(&rows, first as usize);
        over.data(0, rows, &mut out).expect("rows have times");
        seen.take(&mut out, first as usize);
    }
    let expected = |place: i64| {
        [
            place,
            place % 2 + 1,
            place + (place % 2) * (place - 1),
            place - place % 2,
            place,
            place / 2,
        ]
    };
    assert_eq!(seen.rows, (0..50_000).map(expected).collect::<Vec<_>>());
    let bytes = over.state_bytes();
    assert!(bytes < 1_000_000, "{bytes} bytes are kept of 2 keys");
}
