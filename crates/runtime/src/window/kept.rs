//! How aggregates of windows stand in a checkpoint.
//!
//! A section's rows are one for each key of each window or slice:
//!
//! ```text
//! end, start (milliseconds on the wall clock) │ the key's columns │ what each aggregate holds
//! ```

use super::output::joined;
use super::place::Slice;
use crate::aggregate::Calls;
use crate::aggregate::key::KeyCodec;
use crate::state::{Section, StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow_schema::{ArrowError, Field, Schema};
use arrow_select::filter::filter_record_batch;
use std::sync::Arc;

/// Rows of so many are written as one: what is small is joined, what is large is cut.
pub(super) const PIECE: usize = 1 << 18;

/// A section on its way into a checkpoint, a part behind the other: all of its rows, or those of what changed.
pub(super) struct Parts<'a> {
    name: &'static str,
    /// The columns that name what a row is of, where it is written by what changed.
    ids: Option<Vec<u16>>,
    to: &'a mut StateWriter,
    joining: Vec<Vec<ArrayRef>>,
    rows: usize,
}

impl<'a> Parts<'a> {
    /// Without `ids` all rows are of one thing, and it is written as a whole each time.
    pub(super) fn new(
        name: &'static str,
        ids: impl IntoIterator<Item = usize>,
        to: &'a mut StateWriter,
    ) -> Parts<'a> {
        let ids = ids.into_iter().map(|id| id as u16);
        let ids: Vec<u16> = ids.collect();
        let ids = (to.is_delta() && !ids.is_empty()).then_some(ids);
        if let Some(ids) = &ids {
            to.changes(name, ids);
        }
        Parts {
            name,
            ids,
            to,
            joining: Vec::new(),
            rows: 0,
        }
    }

    /// All of the section is wanted.
    pub(super) fn is_whole(&self) -> bool {
        self.ids.is_none()
    }

    pub(super) fn add(&mut self, columns: Vec<ArrayRef>) -> Result<(), StateError> {
        let rows = columns.first().map_or(0, |column| column.len());
        if self.rows + rows > PIECE {
            self.write()?;
        }
        self.rows += rows;
        self.joining.push(columns);
        Ok(())
    }

    fn write(&mut self) -> Result<(), StateError> {
        if self.rows > 0 {
            let rows = batch(&std::mem::take(&mut self.joining)).map_err(unwritable)?;
            match &self.ids {
                None => self.to.section(self.name, rows),
                Some(ids) => self.to.changes(self.name, ids).rows(rows),
            }
        }
        self.joining.clear();
        self.rows = 0;
        Ok(())
    }

    /// `dropped` has no rows any more, by all ids or the first of them.
    pub(super) fn finish(mut self, dropped: &[ArrayRef]) -> Result<(), StateError> {
        self.write()?;
        let any = dropped.first().is_some_and(|ids| !ids.is_empty());
        if let Some(ids) = self.ids.filter(|_| any) {
            let dropped = batch(&[dropped.to_vec()]).map_err(unwritable)?;
            self.to.changes(self.name, &ids).dropped(dropped);
        }
        Ok(())
    }
}

/// Ids that came together from several places.
pub(super) fn joined_ids(parts: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>, StateError> {
    joined(parts).map_err(unwritable)
}

/// Windows as ids.
pub(super) fn ids_of(windows: &[Slice]) -> Vec<ArrayRef> {
    let ends = Int64Array::from_iter_values(windows.iter().map(|window| window.end));
    let starts = Int64Array::from_iter_values(windows.iter().map(|window| window.start));
    vec![Arc::new(ends), Arc::new(starts)]
}

fn batch(parts: &[Vec<ArrayRef>]) -> Result<RecordBatch, ArrowError> {
    let columns = joined(parts)?;
    let types = columns.iter().map(|column| column.data_type().clone());
    let fields = (0..)
        .zip(types)
        .map(|(n, ty): (usize, _)| Field::new(n.to_string(), ty, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns)
}

fn unwritable(error: ArrowError) -> StateError {
    StateError::new(error.to_string())
}

/// Keys of windows, and what their aggregates hold.
pub(super) struct Kept {
    pub(super) windows: Vec<Slice>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) state: Vec<Vec<ArrayRef>>,
}

impl Kept {
    /// As they stand in a section.
    pub(super) fn columns(&self) -> Vec<ArrayRef> {
        let mut columns = ids_of(&self.windows);
        columns.extend(self.keys.iter().cloned());
        columns.extend(self.state.iter().flatten().cloned());
        columns
    }

    /// # Errors
    /// When they are not of such an operator.
    pub(super) fn read(rows: &RecordBatch, keys: usize, calls: &Calls) -> Result<Kept, StateError> {
        let widths: Vec<usize> = calls.start().state(&[]).iter().map(Vec::len).collect();
        let foreign = || StateError::new("the state of an aggregate is not of this query");
        if rows.num_columns() != 2 + keys + widths.iter().sum::<usize>() {
            return Err(foreign());
        }
        let times = |column: usize| rows.column(column).as_primitive_opt::<Int64Type>();
        let (ends, starts) = times(0).zip(times(1)).ok_or_else(foreign)?;
        let windows = ends.values().iter().zip(starts.values());
        let mut columns = rows.columns().iter().skip(2).cloned();
        Ok(Kept {
            windows: windows
                .map(|(end, start)| Slice {
                    end: *end,
                    start: *start,
                })
                .collect(),
            keys: columns.by_ref().take(keys).collect(),
            state: widths
                .iter()
                .map(|width| columns.by_ref().take(*width).collect())
                .collect(),
        })
    }

    /// Each stretch of rows of one window.
    pub(super) fn by_window(&self) -> impl Iterator<Item = (Slice, Kept)> {
        let mut from = 0;
        self.windows
            .chunk_by(|one, next| one == next)
            .map(move |same| {
                let (at, count) = (from, same.len());
                from += count;
                let part = |column: &ArrayRef| column.slice(at, count);
                let kept = Kept {
                    windows: same.to_vec(),
                    keys: self.keys.iter().map(part).collect(),
                    state: self
                        .state
                        .iter()
                        .map(|call| call.iter().map(part).collect())
                        .collect(),
                };
                (same[0], kept)
            })
    }
}

/// Those of a section's rows whose keys the operator has. The keys stand in `columns` of them.
///
/// # Errors
/// When there are no such columns.
pub(super) fn mine(
    from: &StateReader,
    section: &Section,
    codec: &KeyCodec,
    columns: &[usize],
) -> Result<RecordBatch, StateError> {
    let rows = &section.rows;
    let groups = || {
        let keys = rows.project(columns).map_err(unwritable)?;
        Ok(codec.key_groups(keys.columns(), rows.num_rows()))
    };
    match from.mine(section, groups)? {
        None => Ok(rows.clone()),
        Some(mine) => filter_record_batch(rows, &mine).map_err(unwritable),
    }
}

/// How many rows an operator has seen.
pub(super) fn write_count(count: u64, to: &mut StateWriter) -> Result<(), StateError> {
    let count: ArrayRef = Arc::new(UInt64Array::from(vec![count]));
    let count = RecordBatch::try_from_iter([("count", count)]).map_err(unwritable)?;
    to.section("rows", count);
    Ok(())
}

/// As [`write_count`] wrote it; the greatest of several.
pub(super) fn read_count(from: &StateReader) -> Result<u64, StateError> {
    let mut counts = from.sections("rows").map(|section| {
        let count = section.rows.column(0).as_primitive_opt::<UInt64Type>();
        let count = count
            .filter(|count| count.len() == 1)
            .map(|count| count.value(0));
        count.ok_or_else(|| StateError::new("an operator's state says how many rows it is of"))
    });
    counts.try_fold(0, |most, count| Ok(count?.max(most)))
}
