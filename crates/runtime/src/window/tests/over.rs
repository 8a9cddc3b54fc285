//! OVER against a row-by-row reading of what it says.

use super::super::over::Over;
use super::pieces::{Cuts, in_pieces, some_cuts, some_shards};
use super::{Row, chunk, input, numbers, some_rows};
use crate::operator::{Operator, Out};
use crate::state::tests::Checkpoints;
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

fn operator(frame: Frame, ttl: Option<i64>) -> Over {
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
    Over::new((&[1], 0), (frame, ttl), &calls, columns).expect("aggregates of numbers")
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

/// When keys are forgotten, and when each row comes.
#[derive(Clone, Debug)]
struct Times {
    ttl: Option<i64>,
    came: Vec<i64>,
}

impl Times {
    /// Nothing is forgotten.
    fn none() -> Times {
        Times {
            ttl: None,
            came: vec![0; 60],
        }
    }
}

/// Over rows in pieces, which end where time goes on too.
fn run((frame, times): (Frame, &Times), rows: &[Row], cuts: &Cuts, shards: &[usize]) -> Seen {
    let goes_on = |row: &usize| times.came[*row] != times.came[row - 1];
    let moments = (1..rows.len()).filter(goes_on);
    let mut cuts = cuts.to_vec();
    cuts.extend(moments.map(|row| (row, false)));
    let mut seen = Seen::default();
    in_pieces(
        (rows.len(), &cuts),
        shards,
        columns(),
        || Box::new(operator(frame, times.ttl)),
        |piece| {
            let came = times.came.get(piece.start).copied();
            chunk(&rows[piece.clone()], piece.start).come(came.unwrap_or(0))
        },
        |mut out, first| seen.take(&mut out, first),
    );
    seen
}

/// A key of the model.
#[derive(Default)]
struct Plain {
    last: i64,
    over: Option<i64>,
    forget: Option<i64>,
    /// Time and place of the rows that were given, since it was forgotten last.
    given: Vec<(i64, i64)>,
}

/// The keys of the model, and what of them goes off by the log's own time.
struct Keys {
    ttl: Option<i64>,
    now: i64,
    by_name: BTreeMap<i64, Plain>,
    timers: BTreeSet<(i64, i64)>,
}

impl Keys {
    /// Time goes on; `waits` says whether rows of a key wait.
    fn pass(&mut self, came: i64, waits: impl Fn(i64) -> bool) {
        let Some(ttl) = self.ttl else { return };
        let begins = self.now == 0;
        self.now = self.now.max(came);
        if begins {
            let keys = self.by_name.iter();
            let is_known = |name: i64, key: &Plain| !key.given.is_empty() || waits(name);
            let known = keys.filter(|(name, key)| is_known(**name, key));
            let known: Vec<i64> = known.map(|(name, _)| *name).collect();
            known.into_iter().for_each(|name| self.touch(name));
        }
        while let Some((at, name)) = self.timers.first().copied().filter(|at| at.0 <= self.now) {
            self.timers.pop_first();
            let key = self.by_name.get_mut(&name).expect("a key with a timer");
            if key.forget != Some(at) {
                continue;
            }
            *key = match waits(name) {
                true => Plain {
                    forget: Some(at + ttl + ttl / 2),
                    ..std::mem::take(key)
                },
                false => Plain::default(),
            };
            self.timers.extend(key.forget.map(|at| (at, name)));
        }
    }

    fn touch(&mut self, name: i64) {
        let key = self.by_name.entry(name).or_default();
        let Some(ttl) = self.ttl.filter(|_| self.now > 0) else {
            return;
        };
        if key.forget.is_none_or(|at| self.now + ttl > at) {
            let at = self.now + ttl + ttl / 2;
            key.forget = Some(at);
            self.timers.insert((at, name));
        }
    }
}

/// The same, row by row: each row and each look is a timer of its key.
fn plainly(frame: Frame, times: &Times, rows: &[Row]) -> Seen {
    let (mut seen, mut watermark) = (Seen::default(), i64::MIN);
    let mut keys = Keys {
        ttl: times.ttl.filter(|_| frame.interval().is_none()),
        now: 0,
        by_name: BTreeMap::new(),
        timers: BTreeSet::new(),
    };
    let mut timers: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut waiting: Vec<(i64, i64, i64)> = Vec::new();
    let end = (i64::MIN, 0, Some(i64::MAX));
    for (place, (time, name, mark)) in rows.iter().chain([&end]).enumerate() {
        if place < rows.len() {
            let waits = |name| waiting.iter().any(|row| row.1 == name);
            keys.pass(times.came[place], waits);
            keys.touch(*name);
        }
        let key = keys.by_name.entry(*name).or_default();
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
            keys.touch(name);
            let key = keys.by_name.get_mut(&name).expect("a key with a timer");
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

/// Rows that come together and far from each other; of the first the time may not be known.
fn some_times() -> impl Strategy<Value = Times> {
    let pause = prop_oneof![3 => Just(0_i64), 1 => 1..30_i64];
    let pauses = proptest::collection::vec(pause, 60);
    (pauses, 0..8_usize, 2..24_i64).prop_map(|(pauses, untold, ttl)| {
        let mut at = 1000;
        let came = pauses.into_iter().enumerate().map(|(row, pause)| {
            at += pause;
            if row < untold { 0 } else { at }
        });
        Times {
            came: came.collect(),
            ttl: Some(ttl),
        }
    })
}

/// Rows that are given soon, so that what their keys came to is seen, with a restart every few rows.
fn some_use() -> impl Strategy<Value = (Vec<Row>, Vec<(usize, bool)>)> {
    let row = (-2..5_i64, 0..3_i64, any::<bool>(), 0..4_i64);
    let rows = proptest::collection::vec(row, 0..60).prop_map(|steps| {
        let (mut now, mut last) = (0, 0);
        let timed = steps.into_iter().map(|(step, key, mark, behind)| {
            now += step;
            let mark = Some(now - behind).filter(|watermark| mark && *watermark > last);
            last = mark.unwrap_or(last);
            (now, key, mark)
        });
        timed.collect()
    });
    let cuts = proptest::collection::vec((0..60_usize, any::<bool>()), 0..24);
    (rows, cuts)
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
        let times = Times::none();
        prop_assert_eq!(run((frame, &times), &rows, &cuts, &shards), plainly(frame, &times, &rows));
    }

    #[test]
    fn keys_that_nothing_comes_of_are_forgotten(
        frame in some_frame(), times in some_times(), rows in some_rows(), cuts in some_cuts(), shards in some_shards(),
    ) {
        prop_assert_eq!(run((frame, &times), &rows, &cuts, &shards), plainly(frame, &times, &rows));
    }

    #[test]
    fn keys_in_use_are_forgotten_no_later_behind_a_restart(
        frame in some_frame(), times in some_times(), (rows, cuts) in some_use(), shards in some_shards(),
    ) {
        prop_assert_eq!(run((frame, &times), &rows, &cuts, &shards), plainly(frame, &times, &rows));
    }
}

/// A key is there as long as something of it comes, and begins anew behind its time.
#[test]
fn a_key_is_kept_while_it_is_in_use() {
    let frame = Frame {
        unit: FrameUnit::Rows,
        preceding: None,
    };
    let row = |time| (time, 7, Some(time));
    let rows: Vec<Row> = (1..9).map(row).collect();
    // It is kept for 10 behind the last of it, and for 15 at most.
    let times = Times {
        ttl: Some(10),
        came: vec![100, 109, 118, 127, 137, 151, 175, 189],
    };
    let counts = |seen: Seen| -> Vec<i64> { seen.rows.iter().map(|row| row[1]).collect() };
    let found = counts(run((frame, &times), &rows, &[], &[1]));
    // Set at 100 to 115, at 109 to 124, at 118 to 133, at 127 to 142, at 137 to 152, at 151 to 166.
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 1, 2]);
    let late: Vec<Row> = vec![row(1), (1, 7, None), row(2)];
    let times = Times {
        ttl: Some(10),
        came: vec![100, 112, 120],
    };
    let seen = run((frame, &times), &late, &[], &[1]);
    assert_eq!(seen.late, [1]);
    assert_eq!(
        counts(seen),
        [1, 2],
        "a row that is late is something of it"
    );
}

/// What a checkpoint without a time to live has counts from when one goes on from it; and one without takes no notice of one with.
#[test]
fn a_time_to_live_may_come_and_go() {
    let frame = Frame {
        unit: FrameUnit::Rows,
        preceding: None,
    };
    let mut seen = Seen::default();
    let mut last: Option<Checkpoints> = None;
    // The second row is later than the first would be kept for.
    for (place, ttl, came) in [
        (0, None, 100),
        (1, Some(10), 200),
        (2, Some(10), 214),
        (3, Some(10), 229),
        (4, None, 900),
    ] {
        let mut over = operator(frame, ttl);
        if let Some(checkpoints) = &last {
            over.restore(&checkpoints.last()).expect("its own state");
        }
        let mut out = Out::default();
        let row = chunk(&[(place + 1, 7, Some(place + 1))], place as usize);
        over.data(0, row.come(came), &mut out)
            .expect("it has a time");
        seen.take(&mut out, place as usize);
        let mut checkpoints = Checkpoints::new();
        checkpoints.take(&mut over);
        last = Some(checkpoints);
    }
    let counts: Vec<i64> = seen.rows.iter().map(|row| row[1]).collect();
    assert_eq!(counts, [1, 2, 3, 1, 2]);
}

#[test]
fn what_is_forgotten_takes_no_memory() {
    let frame = Frame {
        unit: FrameUnit::Range,
        preceding: None,
    };
    let (mut over, mut seen) = (operator(frame, Some(1000)), Seen::default());
    let mut checkpoints = Checkpoints::new();
    for first in (0..50_000).step_by(1000) {
        let rows: Vec<Row> = (first..first + 1000)
            .map(|place| (place + 1, place / 2, Some(place + 1)))
            .collect();
        let mut out = Out::default();
        let rows = chunk(&rows, first as usize).come(first + 1);
        over.data(0, rows, &mut out).expect("rows have times");
        seen.take(&mut out, first as usize);
        checkpoints.take(&mut over);
    }
    assert!(seen.rows.iter().all(|row| row[1] == row[0] % 2 + 1));
    let bytes = over.state_bytes();
    assert!(bytes < 1_500_000, "{bytes} bytes are kept of 1000 keys");
    let kept = checkpoints.last();
    let kept = kept.sections("keys").map(|section| section.rows.num_rows());
    assert_eq!(kept.sum::<usize>(), 1000, "of 25,000 that were there");
}

#[test]
fn keys_out_of_a_ranges_reach_are_forgotten() {
    let frame = Frame {
        unit: FrameUnit::Range,
        preceding: Some(4),
    };
    let (mut over, mut out, mut seen) = (operator(frame, None), Out::default(), Seen::default());
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
