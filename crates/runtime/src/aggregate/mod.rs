//! Aggregates: rows of groups to one value per group.
//!
//! A chunk's rows are first given the numbers of their groups ([`groups::Groups`]); each call of the query is then an
//! [`Accumulator`], an array of intermediate results indexed by those numbers, which takes whole columns at a time. What it
//! holds can be had as columns ([`Accumulator::state`]) and merged into another: that is how windows share slices, how
//! sessions become one, and how a checkpoint is written and read.
//!
//! Results are Flink's: whole numbers wrap and averages of them are cut, DECIMAL that does not fit is NULL, NULLs are no
//! values, floating-point numbers are added in the order of the rows.

mod calls;
mod count;
mod distinct;
mod extremes;
pub(crate) mod groups;
pub(crate) mod key;
mod lag;
mod list;
mod sum;
mod variance;

pub(crate) use calls::{Aggregates, Calls};

use crate::kernel::RowError;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use std::ops::Range;
use thiserror::Error;

/// The intermediate results of one aggregate call, by group.
pub(crate) trait Accumulator: Send {
    /// Makes room for groups below `groups`.
    fn grow(&mut self, groups: usize);
    /// Takes rows in their order.
    fn update(&mut self, rows: &Rows<'_>);
    /// Whether it takes stretches of rows for what it takes their rows for once.
    fn slides(&self) -> bool {
        false
    }
    /// Takes stretches of rows that follow on each other, which may overlap: each into the group of its number, which is empty. Asked
    /// only where it [`Accumulator::slides`]. The rows' own groups mean nothing.
    fn slide(&mut self, _rows: &Rows<'_>, _stretches: &[Range<usize>]) {
        unreachable!("asked of what slides");
    }
    /// What it holds of some groups, a row each; [`Accumulator::merge`] of another reads it.
    fn state(&self, groups: &[u32]) -> Vec<ArrayRef>;
    /// Takes row `i` of a state into `groups[i]`, behind what that group has.
    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]);
    /// The results of some groups.
    ///
    /// # Errors
    /// [`RowError`] names the place, among `groups`, of one that has no result.
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError>;
    /// What it holds in memory, about.
    fn size(&self) -> usize;
}

/// Some rows of a chunk, each with its group.
pub(crate) struct Rows<'a> {
    /// The call's arguments, whole columns of the chunk.
    pub(crate) arguments: &'a [ArrayRef],
    /// Which rows of them, rising.
    pub(crate) rows: &'a [u32],
    /// The group of each of `rows`.
    pub(crate) groups: &'a [u32],
    /// What the operator's rows are counted from: row `i` of the chunk came as its `first + i`th.
    pub(crate) first: u64,
}

impl Rows<'_> {
    /// Row and group of each.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let groups = self.groups.iter().map(|group| *group as usize);
        self.rows.iter().map(|row| *row as usize).zip(groups)
    }

    /// As [`Rows::pairs`], without rows in which the column is NULL.
    fn of_values(&self, column: &dyn Array) -> impl Iterator<Item = (usize, usize)> {
        let nulls = column.logical_nulls();
        let pairs = self.pairs();
        pairs.filter(move |(row, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)))
    }
}

/// An aggregate that this runtime cannot compute. The planner refuses such queries first.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoAggregate {
    #[error("{function} of {argument} is not supported")]
    Argument {
        function: &'static str,
        argument: DataType,
    },
    #[error(transparent)]
    Distinct(#[from] key::NoKey),
}

#[cfg(test)]
mod tests;
