//! Numbers that stand side by side in the log's files, and must never be taken for one another.
//!
//! Each has a type of its own: a byte position in the place of a file's number, and a file is removed that is still needed;
//! a time for an offset, and retention takes what was to be kept; an lsn for an order, and partitions interleave differently
//! at the next replay. They are made where bytes are read, where a caller's number comes in, and where the next one is given;
//! elsewhere they are only compared.

use std::fmt;

use crate::codec::Damaged;

/// The number of a record in its log. Beside it stand times and counts of records, which are as wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Offset(pub(crate) i64);

impl Offset {
    pub(crate) const FIRST: Offset = Offset(0);

    pub(crate) fn next(self) -> Offset {
        self.plus(1)
    }

    pub(crate) fn plus(self, records: i64) -> Offset {
        Offset(self.0 + records)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a WAL file: what it is called by. The first is 1; 0 stands for "before all files".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct FileNumber(pub(crate) u64);

impl FileNumber {
    pub(crate) const NONE: FileNumber = FileNumber(0);

    pub(crate) fn next(self) -> FileNumber {
        FileNumber(self.0 + 1)
    }
}

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a frame in the one history; the first has 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lsn(pub(crate) u64);

impl Lsn {
    pub(crate) fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

/// Where a batch stands in the one history: its frame, and its number in it. Grows from batch to batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Order(pub(crate) u64);

impl Order {
    /// Bits that number the batches of one frame; the lsn stands above them.
    const BATCH_BITS: u32 = 20;
    /// Batches of one frame.
    pub(crate) const MAX_BATCHES: usize = 1 << Order::BATCH_BITS;

    /// Of a frame's batch, counted from 0. One that would be numbered into the next frame is no batch of ours.
    pub(crate) fn of(frame: Lsn, batch: usize) -> Result<Order, Damaged> {
        match batch < Order::MAX_BATCHES {
            true => Ok(Order(frame.0 << Order::BATCH_BITS | batch as u64)),
            false => Err(Damaged("number of batches in the frame")),
        }
    }

    /// The frame that the batch is in.
    pub(crate) fn frame(self) -> Lsn {
        Lsn(self.0 >> Order::BATCH_BITS)
    }

    /// For those who write it down: it stays what it is for as long as the log is there.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_ordered_by_frame_and_within_it() {
        let last = Order::MAX_BATCHES - 1;
        let places = [
            (Lsn(6), last),
            (Lsn(7), 0),
            (Lsn(7), 1),
            (Lsn(7), last),
            (Lsn(8), 0),
        ];
        let orders = places.map(|(frame, batch)| Order::of(frame, batch).unwrap());
        assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
        let frames = orders.map(|order| order.frame());
        assert_eq!(frames, places.map(|(frame, _)| frame));
    }

    #[test]
    fn a_frame_never_numbers_into_the_next_one() {
        assert!(Order::of(Lsn(7), Order::MAX_BATCHES).is_err());
    }
}
