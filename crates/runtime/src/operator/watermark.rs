//! Says how far event time has come: a partition's watermark is the greatest value of the expression over its rows so far,
//! the source's the least of its partitions' (Flink's `WATERMARK FOR`, on event); which of them count, [`SplitTimes`] says.
//!
//! A row goes first, then the mark that it raised. Only rises are marks. A row whose expression is NULL raises nothing. Where no
//! operator asks for marks there are none, and nothing is done row by row.
//!
//! A partition that a bounded read is done with holds nothing back, whether it ever had a row or not. That counts from the
//! next chunk on; a source ends its poll where a partition ends, so polls of any size say the same.

use super::batches::{Piece, pieces};
use super::row_wise::{RowWise, each_row};
use super::split_times::{Others, SplitTimes};
use super::{Operator, OperatorError, Out};
use crate::chunk::{Chunk, Mark, push_mark};
use crate::connector::Appended;
use crate::kernel::{Evaluator, RowError};
use crate::origins::{Run, Runs};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{ArrowError, DataType, TimeUnit};

pub(super) struct Watermark {
    /// The event time.
    column: usize,
    expression: Evaluator,
    /// Some operator asks for marks.
    marks: bool,
    /// Splits without rows are idle behind so many milliseconds.
    idle: Option<i64>,
    times: SplitTimes,
    /// When the batches of the poll were appended.
    appended: Vec<Appended>,
    /// The last mark.
    marked: Option<i64>,
    max_event_time: Option<i64>,
}

impl Watermark {
    pub(super) fn new(column: usize, expression: Evaluator, marks: bool) -> Watermark {
        Watermark {
            column,
            expression,
            marks,
            idle: None,
            times: SplitTimes::default(),
            appended: Vec::new(),
            marked: None,
            max_event_time: None,
        }
    }

    /// A split that had no row for so many milliseconds is not waited for.
    pub(super) fn with_idle(self, idle: Option<i64>) -> Watermark {
        Watermark {
            idle,
            times: self.times.idle_after(idle),
            ..self
        }
    }

    /// When the batches that the next rows are of were appended, in their order.
    pub(super) fn appended(&mut self, appended: Vec<Appended>) {
        self.appended = appended;
    }

    /// When batches were appended is of use.
    pub(super) fn goes_by_time(&self) -> bool {
        self.idle.is_some()
    }

    /// Goes on where a checkpoint stood.
    pub(super) fn go_on_from(&mut self, times: SplitTimes, marked: Option<i64>) {
        self.times = times.idle_after(self.idle);
        self.marked = marked;
    }

    pub(super) fn times(&self) -> &SplitTimes {
        &self.times
    }

    pub(super) fn times_mut(&mut self) -> &mut SplitTimes {
        &mut self.times
    }

    /// A batch of some scan comes that was appended at `at`. How far event time has come by that, where it is farther than before.
    pub(super) fn passes(&mut self, at: i64) -> Option<i64> {
        if !self.times.passes(at) {
            return None;
        }
        let to = self.times.watermark();
        let rose = to.filter(|to| self.marked.is_none_or(|marked| marked < *to));
        self.marked = self.marked.max(rose);
        rose
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub(super) fn max_event_time(&self) -> Option<i64> {
        self.max_event_time
    }

    /// Raises the splits' watermarks, and marks where the source's rose.
    fn mark(&mut self, times: &dyn Array, origins: &Runs) -> Vec<Mark> {
        let mut marks = Vec::new();
        self.rise(self.times.watermark(), 0, &mut marks);
        let Some(micros) = timestamps(times) else {
            return marks;
        };
        let values = micros.values();
        let mut row = 0;
        for Piece { split, rows, at } in self.pieces(origins) {
            if self.times.passes(at) {
                self.rise(self.times.watermark(), row, &mut marks);
            }
            self.times.comes(split);
            let others = self.times.least_of_others(split);
            let mut own = self.times.by_split().get(&split).copied();
            for at in row..row + rows {
                if micros.is_null(at) {
                    continue;
                }
                let millis = values[at].div_euclid(1000);
                if own.is_none_or(|own| own < millis) {
                    own = Some(millis);
                    match others {
                        Others::Least(least) => {
                            self.rise(Some(millis.min(least)), at + 1, &mut marks)
                        }
                        Others::None => self.rise(own, at + 1, &mut marks),
                        Others::Missing => {}
                    }
                }
            }
            if let Some(own) = own {
                self.times.raise(split, own);
            }
            row += rows;
        }
        marks
    }

    /// The rows in pieces of one split; where time is of any use, of one batch.
    fn pieces(&self, origins: &Runs) -> Vec<Piece> {
        if self.idle.is_none() {
            let of_splits = origins.runs().chunk_by(|one, next| one.split == next.split);
            let piece = |of_split: &[Run]| Piece {
                split: of_split[0].split,
                rows: of_split.iter().map(Run::rows).sum(),
                at: 0,
            };
            return of_splits.map(piece).collect();
        }
        pieces(origins, &self.appended)
    }

    fn rise(&mut self, to: Option<i64>, row: usize, marks: &mut Vec<Mark>) {
        if let Some(to) = to.filter(|to| self.marked.is_none_or(|marked| marked < *to)) {
            self.marked = Some(to);
            push_mark(marks, row, to);
        }
    }
}

impl RowWise for Watermark {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        let times = match self.expression.evaluate(&chunk.columns) {
            Ok(times) => times,
            Err(error) => return Ok(Err(error)),
        };
        let origins = chunk
            .origins
            .runs()
            .expect("a source gives rows of the log");
        let mut done = chunk.clone();
        if self.marks {
            done.marks = self.mark(&times, origins);
        } else {
            rise(&mut self.times, &times, origins);
        }
        let event_time = greatest_millis(chunk.columns.column(self.column));
        self.max_event_time = self.max_event_time.max(event_time);
        Ok(Ok(done))
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty
    }
}

impl Operator for Watermark {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        each_row(self, chunk, out)
    }
}

/// Raises each split's watermark to the greatest of its rows'.
fn rise(of_splits: &mut SplitTimes, times: &dyn Array, origins: &Runs) {
    let mut from = 0;
    for of_split in origins.runs().chunk_by(|one, next| one.split == next.split) {
        let rows = of_split.iter().map(Run::rows).sum();
        if let Some(greatest) = greatest_millis(&times.slice(from, rows)) {
            of_splits.raise(of_split[0].split, greatest);
        }
        from += rows;
    }
}

fn greatest_millis(array: &ArrayRef) -> Option<i64> {
    let micros = arrow_arith::aggregate::max(timestamps(array)?)?;
    Some(micros.div_euclid(1000))
}

fn timestamps(array: &dyn Array) -> Option<&arrow_array::PrimitiveArray<TimestampMicrosecondType>> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(array.as_primitive()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Split, SplitId};
    use crate::origins::Origin;
    use arrow_array::TimestampMicrosecondArray;
    use proptest::prelude::*;

    fn watermark() -> Watermark {
        let expression = lw_graph::Expr::Column {
            index: 0,
            name: "ts".into(),
            ty: lw_graph::TypeKind::Timestamp(3).nullable(),
        };
        Watermark::new(0, Evaluator::new(&expression).expect("a column"), true)
    }

    /// What a row-by-row reading of the head of this file gives: split, millis → the mark behind the row.
    fn one_by_one(rows: &[(SplitId, Option<i64>)], awaited: SplitId) -> Vec<Option<i64>> {
        let (mut times, mut last) = (awaiting(awaited), i64::MIN);
        let mut marks = Vec::new();
        for (split, millis) in rows {
            if let Some(millis) = millis {
                times.raise(*split, *millis);
            }
            let rose = times.watermark().filter(|now| *now > last);
            last = rose.unwrap_or(last);
            marks.push(rose);
        }
        marks
    }

    fn awaiting(splits: SplitId) -> SplitTimes {
        SplitTimes::awaiting((0..splits).collect())
    }

    /// `row:millis` of the marks of a chunk whose rows come in these batches: split, rows, when it was appended.
    fn marks_of(operator: &mut Watermark, batches: &[(SplitId, usize, i64)]) -> Vec<String> {
        let splits: std::sync::Arc<[Split]> = (0..2)
            .map(|partition| Split {
                topic: "t".into(),
                partition,
            })
            .collect();
        let (mut origins, mut appended) = (Vec::new(), Vec::new());
        let mut next = [0; 2];
        for (split, rows, at) in batches {
            let offset = &mut next[*split as usize];
            origins.extend((0..*rows as i64).map(|row| Origin {
                split: *split,
                offset: *offset + row,
            }));
            *offset += *rows as i64;
            appended.push(Appended {
                split: *split,
                to: *offset,
                at: *at,
            });
        }
        let times = (1..=origins.len() as i64).map(|millis| Some(millis * 1000));
        let times = std::sync::Arc::new(times.collect::<TimestampMicrosecondArray>());
        let columns = arrow_array::RecordBatch::try_from_iter([("ts", times as ArrayRef)]);
        let chunk = Chunk::new(
            columns.expect("one column"),
            origins.into_iter().collect(),
            splits,
        );
        operator.appended(appended);
        let done = operator
            .apply(&chunk)
            .expect("arrays fit")
            .expect("nothing fails");
        let marks = done.marks.iter();
        marks
            .map(|mark| format!("{}:{}", mark.row, mark.watermark))
            .collect()
    }

    /// The rows of two batches that follow each other in a partition are one run, and time passes between them.
    #[test]
    fn the_mark_of_an_idle_partition_stands_before_the_batch_that_its_time_is_over_with() {
        let batches = [
            (0, 1, 100),
            (0, 1, 140),
            (0, 2, 151),
            (1, 1, 160),
            (0, 2, 170),
        ];
        let mut waits = watermark();
        waits.go_on_from(awaiting(2), None);
        assert_eq!(marks_of(&mut waits, &batches), ["5:4", "6:5"]);
        let mut idle = watermark().with_idle(Some(50));
        idle.go_on_from(awaiting(2), None);
        // Partition 1 holds nothing back from 151 on, and then goes on where it is.
        assert_eq!(marks_of(&mut idle, &batches), ["2:2", "3:3", "4:4", "6:5"]);
    }

    proptest! {
        #[test]
        fn marks_stand_where_the_least_of_the_partitions_rises(
            rows in proptest::collection::vec((0..3_u32, proptest::option::weighted(0.9, -3..40_i64)), 0..60),
            cut in 0..60_usize,
            awaited in 1..=3_u32,
        ) {
            let splits: std::sync::Arc<[Split]> = (0..3).map(|partition| Split { topic: "t".into(), partition }).collect();
            let mut operator = watermark();
            operator.go_on_from(awaiting(awaited), None);
            let mut marks = vec![None; rows.len()];
            let mut before = 0;
            let (first, second) = rows.split_at(cut.min(rows.len()));
            for part in [first, second] {
                let times: TimestampMicrosecondArray = part.iter().map(|(_, at)| at.map(|at| at * 1000 + 7)).collect();
                let origins = (before..).zip(part).map(|(offset, (split, _))| Origin { split: *split, offset: offset as i64 });
                let columns = arrow_array::RecordBatch::try_from_iter([("ts", std::sync::Arc::new(times) as ArrayRef)]);
                let chunk = Chunk::new(columns.expect("one column"), origins.collect(), splits.clone());
                let done = operator.apply(&chunk).expect("arrays fit").expect("nothing fails");
                for mark in done.marks {
                    marks[before + mark.row - 1] = Some(mark.watermark);
                }
                before += part.len();
            }
            prop_assert_eq!(marks, one_by_one(&rows, awaited));
        }
    }
}
