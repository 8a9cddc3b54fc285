//! Operators over windows against a row-by-row reading of what they say, over random rows, watermarks, cuts and restarts.

mod changes;
mod large;
mod over;
mod pieces;

use super::aggregate::WindowAggregate;
use super::assign::WindowAssign;
use super::rank::{Ranks, WindowRank};
use super::session::SessionAggregate;
use super::session_rows::SessionRows;
use crate::chunk::{Chunk, Mark};
use crate::operator::{Operator, Out};
use crate::origins::{Origin, Runs};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::DataType;
use lw_formats::arrow_schema;
use lw_graph::{
    AggregateCall, AggregateFunction, Field, Schema, SortKey, TypeKind, Window, WindowProperty,
    WindowShape, Windowing,
};
use pieces::{Cuts, in_pieces, some_cuts, some_shards};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Event time and key; the watermark behind it, where that rises.
type Row = (i64, i64, Option<i64>);
/// Key, number of rows, sum of their places, start and end of the window.
type Result = (i64, i64, i64, i64, i64);

fn input() -> Schema {
    Schema::new(vec![
        Field::new("ts", TypeKind::Timestamp(3).nullable()),
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("place", TypeKind::BigInt.nullable()),
    ])
}

fn output() -> Schema {
    let time = || TypeKind::Timestamp(3).not_null();
    Schema::new(vec![
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("count", TypeKind::BigInt.not_null()),
        Field::new("sum", TypeKind::BigInt.nullable()),
        Field::new("start", time()),
        Field::new("end", time()),
    ])
}

fn operator(windowing: &Windowing) -> Box<dyn Operator> {
    let call = |function, arguments, ty: TypeKind| AggregateCall {
        function,
        arguments,
        distinct: false,
        filter: None,
        ty: ty.nullable(),
    };
    let calls = [
        call(AggregateFunction::Count, vec![], TypeKind::BigInt),
        call(AggregateFunction::Sum, vec![2], TypeKind::BigInt),
    ];
    let properties = [WindowProperty::Start, WindowProperty::End];
    let columns = (arrow_schema(&input()), arrow_schema(&output()));
    match windowing {
        Windowing::Assign(
            window @ Window {
                shape: WindowShape::Session { gap },
                ..
            },
        ) => {
            let window = (window, *gap);
            let sessions = SessionAggregate::new(window, &[1], &calls, &properties, columns);
            Box::new(sessions.expect("a window"))
        }
        _ => {
            let windows = WindowAggregate::new(windowing, &[1], &calls, &properties, columns);
            Box::new(windows.expect("a window"))
        }
    }
}

fn assign(shape: WindowShape, offset: i64) -> Windowing {
    Windowing::Assign(Window {
        shape,
        offset,
        time: 0,
        zone: None,
    })
}

/// Rows and their marks as chunks, cut at the places.
fn chunk(rows: &[Row], first: usize) -> Chunk {
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * 1000 + 7));
    let keys = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let places = Int64Array::from_iter_values((first..).take(rows.len()).map(|place| place as i64));
    let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(keys), Arc::new(places)];
    let columns = RecordBatch::try_new(arrow_schema(&input()), columns).expect("three columns");
    let marks = rows
        .iter()
        .enumerate()
        .filter_map(|(row, (_, _, watermark))| {
            let watermark = (*watermark)?;
            Some(Mark {
                row: row + 1,
                watermark,
            })
        });
    let origin = |place| Origin {
        split: 0,
        offset: place as i64,
    };
    let origins: Runs = (first..first + rows.len()).map(origin).collect();
    let origins = crate::chunk::Origins::Of(origins);
    Chunk::with(columns, marks.collect(), origins, Arc::new([]))
}

/// What came out: results in their order, and the places of late rows.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    results: Vec<Result>,
    late: Vec<usize>,
}

impl Seen {
    fn take(&mut self, out: &mut Out, first: usize) {
        self.late
            .extend(out.late.drain(..).map(|late| first + late.row));
        for chunk in out.chunks.drain(..) {
            let number = |column: usize| {
                chunk
                    .columns
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .clone()
            };
            let time = |column: usize| {
                chunk
                    .columns
                    .column(column)
                    .as_primitive::<TimestampMicrosecondType>()
                    .clone()
            };
            let (keys, counts, sums, starts, ends) =
                (number(0), number(1), number(2), time(3), time(4));
            for row in 0..chunk.rows() {
                let (start, end) = (starts.value(row) / 1000, ends.value(row) / 1000);
                self.results.push((
                    keys.value(row),
                    counts.value(row),
                    sums.value(row),
                    start,
                    end,
                ));
            }
        }
    }
}

/// Over rows in pieces.
fn run(windowing: &Windowing, rows: &[Row], cuts: &Cuts, shards: &[usize]) -> Seen {
    let mut seen = Seen::default();
    let last = in_pieces(
        (rows.len(), cuts),
        shards,
        (input(), output()),
        || operator(windowing),
        |piece| chunk(&rows[piece.clone()], piece.start),
        |mut out, first| seen.take(&mut out, first),
    );
    assert_eq!(
        last.state_bytes(),
        0,
        "nothing is kept of windows that have fired"
    );
    seen
}

/// The windows of a time, by definition, as (end, start).
fn windows_of(shape: WindowShape, offset: i64, time: i64) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    // As far as times go (`some_rows`), be a window as short as it can.
    for line in -60..130 {
        match shape {
            WindowShape::Tumble { size } => all.push(((line + 1) * size, line * size)),
            WindowShape::Hop { slide, size } => all.push((line * slide + size, line * slide)),
            WindowShape::Cumulate { step, size } => {
                all.extend((1..=size / step).map(|n| (line * size + n * step, line * size)));
            }
            WindowShape::Session { .. } => {}
        }
    }
    let moved = all
        .into_iter()
        .map(|(end, start)| (end + offset, start + offset));
    moved
        .filter(|(end, start)| *start <= time && time < *end)
        .collect()
}

/// Number of rows and sum of their places, by window (its end and start) and key.
type Open = BTreeMap<(i64, i64), BTreeMap<i64, (i64, i64)>>;

/// The same, row by row: a window that has not fired takes the row; a mark fires what it has passed, in the order of the ends.
fn plainly(shape: WindowShape, offset: i64, rows: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let mut open = Open::new();
    let mut watermark = i64::MIN;
    let fire = |open: &mut Open, watermark: i64, seen: &mut Seen| {
        while let Some(first) = open.first_entry()
            && first.key().0 - 1 <= watermark
        {
            let ((end, start), keys) = first.remove_entry();
            let results = keys
                .into_iter()
                .map(|(key, (count, sum))| (key, count, sum, start, end));
            seen.results.extend(results);
        }
    };
    for (place, (time, key, mark)) in rows.iter().enumerate() {
        let mut windows = windows_of(shape, offset, *time);
        windows.retain(|(end, _)| end - 1 > watermark);
        if windows.is_empty() {
            seen.late.push(place);
        }
        for window in windows {
            let (count, sum) = open.entry(window).or_default().entry(*key).or_default();
            *count += 1;
            *sum += place as i64;
        }
        if let Some(mark) = mark {
            watermark = *mark;
            fire(&mut open, watermark, &mut seen);
        }
    }
    fire(&mut open, i64::MAX, &mut seen);
    seen
}

fn some_shape() -> impl Strategy<Value = WindowShape> {
    (1..8_i64, 1..5_i64, 0..3).prop_map(|(step, times, kind)| match kind {
        0 => WindowShape::Tumble { size: step * times },
        1 => WindowShape::Hop {
            slide: step,
            size: step * times,
        },
        _ => WindowShape::Cumulate {
            step,
            size: step * times,
        },
    })
}

/// Times that go on, jump ahead and fall back; watermarks that only rise, and not behind every row.
fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (-12..9_i64, -1..3_i64, any::<bool>(), 0..12_i64);
    proptest::collection::vec(row, 0..60).prop_map(|steps| {
        let (mut now, mut last) = (0, 0);
        let mut rows = Vec::new();
        for (step, key, mark, behind) in steps {
            now = (now + step).clamp(-20, 120);
            let mark = Some(now - behind).filter(|watermark| mark && *watermark > last);
            last = mark.unwrap_or(last);
            rows.push((now, key, mark));
        }
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn windows_are_what_they_say(shape in some_shape(), offset in -3..4_i64, rows in some_rows(), cuts in some_cuts(), shards in some_shards()) {
        let found = run(&assign(shape, offset), &rows, &cuts, &shards);
        prop_assert_eq!(found, plainly(shape, offset, &rows));
    }
}

/// Sessions row by row: end, start, number of rows and sum of their places, by key.
fn sessions_plainly(gap: i64, rows: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let mut open: Vec<Result> = Vec::new();
    let mut watermark = i64::MIN;
    let fire = |open: &mut Vec<Result>, watermark: i64, seen: &mut Seen| {
        let mut ended: Vec<Result> = open
            .extract_if(.., |(_, _, _, _, end)| *end - 1 <= watermark)
            .collect();
        ended.sort_by_key(|(key, _, _, _, end)| (*end, *key));
        seen.results.extend(ended);
    };
    for (place, (time, key, mark)) in rows.iter().enumerate() {
        let (start, end) = (*time, *time + gap);
        let mut one = (*key, 1, place as i64, start, end);
        let met = open.extract_if(.., |(of, _, _, from, to)| {
            of == key && start <= *to && *from <= end
        });
        let met: Vec<Result> = met.collect();
        for (_, count, sum, from, to) in &met {
            one = (
                *key,
                one.1 + count,
                one.2 + sum,
                one.3.min(*from),
                one.4.max(*to),
            );
        }
        if met.is_empty() && end - 1 <= watermark {
            seen.late.push(place);
        } else {
            open.push(one);
        }
        if let Some(mark) = mark {
            watermark = *mark;
            fire(&mut open, watermark, &mut seen);
        }
    }
    fire(&mut open, i64::MAX, &mut seen);
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn sessions_are_what_they_say(gap in 1..12_i64, rows in some_rows(), cuts in some_cuts(), shards in some_shards()) {
        let found = run(&assign(WindowShape::Session { gap }, 0), &rows, &cuts, &shards);
        prop_assert_eq!(found, sessions_plainly(gap, &rows));
    }
}

/// Places of rows in their order, each with its session's end and start; and the places of late rows.
fn rows_of_sessions_plainly(gap: i64, rows: &[Row]) -> (Vec<(i64, i64, i64)>, Vec<i64>) {
    type Open = (i64, i64, i64, Vec<i64>);
    let (mut open, mut given, mut late): (Vec<Open>, Vec<_>, Vec<i64>) = Default::default();
    let mut watermark = i64::MIN;
    let end_of_input = (0, 0, Some(i64::MAX));
    for (place, (time, key, mark)) in rows.iter().chain([&end_of_input]).enumerate() {
        if place < rows.len() {
            let mut one: Open = (*time + gap, *key, *time, vec![place as i64]);
            let met = open.extract_if(.., |(end, of, start, _)| {
                of == key && one.2 <= *end && *start <= one.0
            });
            let met: Vec<Open> = met.collect();
            if met.is_empty() && one.0 - 1 <= watermark {
                late.push(place as i64);
            } else {
                for (end, _, start, places) in met {
                    (one.0, one.2) = (one.0.max(end), one.2.min(start));
                    one.3.extend(places);
                }
                one.3.sort_unstable();
                open.push(one);
            }
        }
        let Some(mark) = *mark else { continue };
        watermark = mark;
        let ended = open.extract_if(.., |(end, ..)| *end - 1 <= watermark);
        let mut ended: Vec<Open> = ended.collect();
        ended.sort_unstable();
        for (end, _, start, places) in ended {
            given.extend(places.into_iter().map(|place| (place, end, start)));
        }
    }
    (given, late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn rows_of_sessions_are_what_they_say(gap in 1..12_i64, rows in some_rows(), cuts in some_cuts(), shards in some_shards()) {
        let one = || -> Box<dyn Operator> {
            let Windowing::Assign(window) = assign(WindowShape::Session { gap }, 0) else {
                unreachable!("a window function");
            };
            let columns = (arrow_schema(&input()), arrow_schema(&with_windows(false)));
            Box::new(SessionRows::new((&window, gap), &[1], columns).expect("a window"))
        };
        let (mut found, mut late): (Vec<(i64, i64, i64)>, Vec<i64>) = Default::default();
        let take = |out: Out, from: usize| {
            late.extend(out.late.iter().map(|late| (from + late.row) as i64));
            for chunk in out.chunks {
                let (places, starts, ends) = (numbers(&chunk, 2), numbers(&chunk, 3), numbers(&chunk, 4));
                assert!(numbers(&chunk, 5).iter().zip(&ends).all(|(time, end)| *time == end - 1));
                found.extend((0..chunk.rows()).map(|row| (places[row], ends[row], starts[row])));
            }
        };
        let columns = (input(), with_windows(false));
        let piece = |piece: Range<usize>| chunk(&rows[piece.clone()], piece.start);
        in_pieces((rows.len(), &cuts), &shards, columns, one, piece, take);
        prop_assert_eq!((found, late), rows_of_sessions_plainly(gap, &rows));
    }
}

fn with_windows(rank: bool) -> Schema {
    let mut schema = input();
    for name in ["window_start", "window_end", "window_time"] {
        let time = TypeKind::Timestamp(3).not_null();
        schema.fields.push(Field::new(name, time));
    }
    if rank {
        schema
            .fields
            .push(Field::new("rank", TypeKind::BigInt.not_null()));
    }
    schema
}

fn assigned(shape: WindowShape, offset: i64, chunk: Chunk) -> Chunk {
    let Windowing::Assign(window) = assign(shape, offset) else {
        unreachable!("a window function");
    };
    let columns = (arrow_schema(&input()), arrow_schema(&with_windows(false)));
    let mut operator = WindowAssign::new(&window, columns).expect("a grid");
    let mut out = Out::default();
    operator.data(0, chunk, &mut out).expect("rows have times");
    out.chunks.remove(0)
}

fn numbers(chunk: &Chunk, column: usize) -> Vec<i64> {
    let column = chunk.columns.column(column);
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
        _ => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            times
                .values()
                .iter()
                .map(|micros| micros.div_euclid(1000))
                .collect()
        }
    }
}

/// The watermark before each row.
fn before(chunk: &Chunk) -> Vec<i64> {
    let before = |row| {
        let marks = chunk.marks.iter().take_while(|mark| mark.row <= row);
        marks.last().map_or(i64::MIN, |mark| mark.watermark)
    };
    (0..chunk.rows()).map(before).collect()
}

proptest! {
    #[test]
    fn a_window_function_gives_each_row_for_each_window(shape in some_shape(), offset in -3..4_i64, rows in some_rows()) {
        let found = assigned(shape, offset, chunk(&rows, 0));
        let mut expected = Vec::new();
        let mut watermark = i64::MIN;
        for (place, (time, _, mark)) in rows.iter().enumerate() {
            let mut windows = windows_of(shape, offset, *time);
            windows.sort_unstable();
            if matches!(shape, WindowShape::Hop { .. }) {
                windows.reverse();
            }
            expected.extend(windows.into_iter().map(|(end, start)| (place as i64, start, end, end - 1, watermark)));
            watermark = mark.unwrap_or(watermark);
        }
        let (starts, ends, times) = (numbers(&found, 3), numbers(&found, 4), numbers(&found, 5));
        let places = numbers(&found, 2);
        let marks = before(&found);
        let found_rows: Vec<_> = (0..found.rows()).map(|row| (places[row], starts[row], ends[row], times[row], marks[row])).collect();
        prop_assert_eq!(found_rows, expected);
        let origins: Vec<i64> = found.origins.runs().expect("of the log").iter().map(|origin| origin.offset).collect();
        prop_assert_eq!(origins, places);
        prop_assert_eq!(found.marks.last().map(|mark| mark.watermark), rows.iter().rev().find_map(|row| row.2));
    }

    #[test]
    fn a_windows_best_rows_are_what_they_say(
        size in 1..20_i64,
        first in 1..3_u64,
        more in 0..4_u64,
        (ascending, nulls_first) in any::<(bool, bool)>(),
        rows in some_rows(),
        cuts in some_cuts(),
        shards in some_shards(),
    ) {
        let shape = WindowShape::Tumble { size };
        let latest = more == 0 && first == 1;
        let ranks = (first, first + more);
        // By key, the least or greatest time first; of equal times the earlier row.
        let order = [SortKey { column: 0, ascending, nulls_first }];
        let one = || -> Box<dyn Operator> {
            let columns = (arrow_schema(&with_windows(false)), arrow_schema(&with_windows(true)));
            let windowing = Windowing::Attached { start: 3, end: 4, zone: None };
            let rank = WindowRank::new(&windowing, (&[1], &order), Ranks::new(ranks.0, ranks.1, latest), true, columns);
            Box::new(rank.expect("attached windows"))
        };
        let mut found: Vec<(i64, i64, i64, i64)> = Vec::new();
        let mut late: Vec<i64> = Vec::new();
        let take = |out: Out, from: usize| {
            late.extend(out.late.iter().map(|late| (from + late.row) as i64));
            for chunk in out.chunks {
                let (keys, places, ends, ranks) = (numbers(&chunk, 1), numbers(&chunk, 2), numbers(&chunk, 4), numbers(&chunk, 6));
                found.extend((0..chunk.rows()).map(|row| (ends[row], keys[row], ranks[row], places[row])));
            }
        };
        let columns = (with_windows(false), with_windows(true));
        let piece = |piece: Range<usize>| assigned(shape, 0, chunk(&rows[piece.clone()], piece.start));
        let last = in_pieces((rows.len(), &cuts), &shards, columns, one, piece, take);
        prop_assert_eq!(last.state_bytes(), 0);

        // Row by row: the windows' rows, those that came when it had fired left out.
        let mut windows: BTreeMap<(i64, i64), Vec<(i64, i64)>> = BTreeMap::new();
        let (mut watermark, mut expected_late) = (i64::MIN, Vec::new());
        for (place, (time, key, mark)) in rows.iter().enumerate() {
            let end = time.div_euclid(size) * size + size;
            if end - 1 <= watermark {
                expected_late.push(place as i64);
            } else {
                let sort = if ascending { *time } else { -*time };
                let place = place as i64;
                // Of equal rows the earlier is first, or where the latest is kept the later.
                windows.entry((end, *key)).or_default().push((sort, if latest { -place } else { place }));
            }
            watermark = mark.unwrap_or(watermark);
        }
        let mut expected = Vec::new();
        for ((end, key), mut rows) in windows {
            rows.sort_unstable();
            let ranked = rows.into_iter().zip(1..).filter(|(_, rank)| (ranks.0 as i64..=ranks.1 as i64).contains(rank));
            expected.extend(ranked.map(|((_, place), rank)| (end, key, rank, place.abs())));
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(late, expected_late);
    }
}
