//! Says how far event time has come: a partition's watermark is the greatest value of the expression over its rows so far,
//! the source's the least of its partitions', none before each of them has one (Flink's `WATERMARK FOR`, on event).
//!
//! A row goes first, then the mark that it raised. Only rises are marks. A row whose expression is NULL raises nothing. Where no
//! operator asks for marks there are none, and nothing is done row by row.
//!
//! A partition that a bounded read is done with holds nothing back, whether it ever had a row or not. That counts from the
//! next chunk on; a source ends its poll where a partition ends, so polls of any size say the same.

use super::row_wise::{RowWise, each_row};
use super::{Operator, OperatorError, Out};
use crate::chunk::{Chunk, Mark, SplitId, push_mark};
use crate::kernel::{Evaluator, RowError};
use crate::origins::{Run, Runs};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Watermark {
    /// The event time.
    column: usize,
    expression: Evaluator,
    /// Some operator asks for marks.
    marks: bool,
    /// By split, milliseconds since 1970; without those that had no row with an event time yet.
    by_split: BTreeMap<SplitId, i64>,
    /// The last mark.
    marked: Option<i64>,
    done: BTreeSet<SplitId>,
    max_event_time: Option<i64>,
}

impl Watermark {
    pub(super) fn new(column: usize, expression: Evaluator, marks: bool) -> Watermark {
        Watermark {
            column,
            expression,
            marks,
            by_split: BTreeMap::new(),
            marked: None,
            done: BTreeSet::new(),
            max_event_time: None,
        }
    }

    /// Goes on where a checkpoint stood.
    pub(super) fn go_on_from(&mut self, by_split: BTreeMap<SplitId, i64>, marked: Option<i64>) {
        self.by_split = by_split;
        self.marked = marked;
    }

    pub(super) fn by_split(&self) -> &BTreeMap<SplitId, i64> {
        &self.by_split
    }

    /// The last mark.
    pub(super) fn marked(&self) -> Option<i64> {
        self.marked
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub(super) fn max_event_time(&self) -> Option<i64> {
        self.max_event_time
    }

    /// These splits are read to the end of a bounded read.
    pub(super) fn done(&mut self, done: BTreeSet<SplitId>) {
        self.done = done;
    }

    /// Raises the splits' watermarks, and marks where the source's rose.
    fn mark(&mut self, times: &dyn Array, origins: &Runs, splits: usize) -> Vec<Mark> {
        let mut marks = Vec::new();
        let now = source_watermark(&self.by_split, splits, &self.done);
        self.rise(now, 0, &mut marks);
        let Some(micros) = timestamps(times) else {
            return marks;
        };
        let values = micros.values();
        let mut row = 0;
        for of_split in origins.runs().chunk_by(|one, next| one.split == next.split) {
            let split = of_split[0].split;
            let rows: usize = of_split.iter().map(Run::rows).sum();
            let others = self.least_of_others(split, splits);
            let mut own = self.by_split.get(&split).copied();
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
                self.by_split.insert(split, own);
            }
            row += rows;
        }
        marks
    }

    fn rise(&mut self, to: Option<i64>, row: usize, marks: &mut Vec<Mark>) {
        if let Some(to) = to.filter(|to| self.marked.is_none_or(|marked| marked < *to)) {
            self.marked = Some(to);
            push_mark(marks, row, to);
        }
    }

    /// What the splits that still have something to read, but for this one, allow.
    fn least_of_others(&self, split: SplitId, splits: usize) -> Others {
        let open = (0..splits as SplitId).filter(|id| *id != split && !self.done.contains(id));
        let mut least = Others::None;
        for id in open {
            least = match (least, self.by_split.get(&id)) {
                (_, None) => return Others::Missing,
                (Others::Least(least), Some(own)) => Others::Least(least.min(*own)),
                (_, Some(own)) => Others::Least(*own),
            };
        }
        least
    }
}

enum Others {
    /// There are none.
    None,
    /// One has no watermark yet.
    Missing,
    Least(i64),
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
            done.marks = self.mark(&times, origins, chunk.splits.len());
        } else {
            rise(&mut self.by_split, &times, origins);
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

/// The watermark of a source of `splits` partitions: the least of those that still have something to read, none before each
/// of them has one. Once all are `done`, event time has come as far as it ever will.
pub(crate) fn source_watermark(
    watermarks: &BTreeMap<SplitId, i64>,
    splits: usize,
    done: &BTreeSet<SplitId>,
) -> Option<i64> {
    if done.len() == splits {
        return watermarks.values().max().copied();
    }
    let open = watermarks.iter().filter(|(split, _)| !done.contains(split));
    let least = open.clone().map(|(_, watermark)| *watermark).min();
    least.filter(|_| open.count() == splits - done.len())
}

/// Raises each split's watermark to the greatest of its rows'.
fn rise(watermarks: &mut BTreeMap<SplitId, i64>, times: &dyn Array, origins: &Runs) {
    let mut from = 0;
    for of_split in origins.runs().chunk_by(|one, next| one.split == next.split) {
        let rows = of_split.iter().map(Run::rows).sum();
        if let Some(greatest) = greatest_millis(&times.slice(from, rows)) {
            let known = watermarks.entry(of_split[0].split).or_insert(greatest);
            *known = greatest.max(*known);
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
    use crate::chunk::Split;
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
    fn one_by_one(rows: &[(SplitId, Option<i64>)], splits: usize) -> Vec<Option<i64>> {
        let (mut by_split, mut last) = (BTreeMap::new(), i64::MIN);
        let mut marks = Vec::new();
        for (split, millis) in rows {
            if let Some(millis) = millis {
                let known = by_split.entry(*split).or_insert(*millis);
                *known = (*millis).max(*known);
            }
            let now = source_watermark(&by_split, splits, &BTreeSet::new());
            let rose = now.filter(|now| *now > last);
            last = rose.unwrap_or(last);
            marks.push(rose);
        }
        marks
    }

    #[test]
    fn a_sources_watermark_is_the_least_of_its_partitions() {
        let origins = [0, 0, 1, 0].map(|split| Origin { split, offset: 0 });
        let micros = [5_000, 9_000, 3_000, 7_000];
        let times = TimestampMicrosecondArray::from(micros.to_vec());
        let (mut watermarks, none) = (BTreeMap::new(), BTreeSet::new());
        rise(
            &mut watermarks,
            &times.slice(0, 2),
            &origins[..2].iter().copied().collect(),
        );
        assert_eq!(
            source_watermark(&watermarks, 2, &none),
            None,
            "one has no row yet"
        );
        rise(
            &mut watermarks,
            &times.slice(2, 2),
            &origins[2..].iter().copied().collect(),
        );
        assert_eq!(watermarks, BTreeMap::from([(0, 9), (1, 3)]));
        assert_eq!(source_watermark(&watermarks, 2, &none), Some(3));
        assert_eq!(source_watermark(&watermarks, 3, &none), None);
    }

    /// As Flink, whose splits give up their output when they are read to their end.
    #[test]
    fn a_partition_that_is_read_to_its_end_holds_no_watermark_back() {
        let watermarks = BTreeMap::from([(0, 9), (1, 3)]);
        let after = |done: &[SplitId]| {
            let done = done.iter().copied().collect();
            source_watermark(&watermarks, 3, &done)
        };
        assert_eq!(after(&[]), None, "2 has something to read and no row yet");
        assert_eq!(after(&[2]), Some(3), "2 was empty");
        assert_eq!(after(&[1, 2]), Some(9), "1 had less than 0");
        assert_eq!(after(&[0, 1, 2]), Some(9));
        assert_eq!(after(&[0, 1]), None);
    }

    proptest! {
        #[test]
        fn marks_stand_where_the_least_of_the_partitions_rises(
            rows in proptest::collection::vec((0..3_u32, proptest::option::weighted(0.9, -3..40_i64)), 0..60),
            cut in 0..60_usize,
        ) {
            let splits: std::sync::Arc<[Split]> = (0..3).map(|partition| Split { topic: "t".into(), partition }).collect();
            let mut operator = watermark();
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
            prop_assert_eq!(marks, one_by_one(&rows, 3));
        }
    }
}
