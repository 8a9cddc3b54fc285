//! Where rows stand that an operator with keys gives, as bytes: how the rows of several instances become those of one.
//!
//! ```text
//! place    mark, times   8 bytes each, sign flipped, big-endian     the watermark that let the row go, then what comes before keys
//!          key           as the operator encodes it
//! ```
//!
//! Rows of one key are given by one instance, in their order; between rows of different keys the bytes decide.

use crate::aggregate::groups::Groups;
use crate::aggregate::key::places;
use arrow_array::{Array, ArrayRef};

/// The places of rows, in the order in which they are given.
#[derive(Default)]
pub(crate) struct Places {
    /// Where each place ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Places {
    /// The next row is of a key.
    pub(crate) fn push(&mut self, mark: i64, times: &[i64], groups: &Groups, group: u32) {
        for time in [&mark].into_iter().chain(times) {
            self.bytes.extend((time ^ i64::MIN).to_be_bytes());
        }
        groups.append_key(group, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Where a row stands that is of these times and of the key in these columns.
    pub(crate) fn alone(times: &[i64], keys: &[ArrayRef], row: usize) -> Vec<u8> {
        let times = times
            .iter()
            .flat_map(|time| (time ^ i64::MIN).to_be_bytes());
        let of_row = keys.iter().map(|key| (key.slice(row, 1), true, true));
        let key = places(&of_row.collect::<Vec<_>>(), 1).remove(0);
        times.chain(key).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn of(&self, row: usize) -> &[u8] {
        let from = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[from..self.ends[row]]
    }

    /// The watermark that let a row go.
    pub(crate) fn mark(&self, row: usize) -> i64 {
        let mark = self.of(row).first_chunk().expect("S3: a place has a mark");
        i64::from_be_bytes(*mark) ^ i64::MIN
    }
}
