//! The unit that flows between operators: Arrow columns, and for every row where in the log it came from.
//!
//! Origins travel with rows through filters and projections, because the sink writes them down (DESIGN: every offset is
//! traceable). A `Batch` in this version is insert-only; changelog row kinds join it with the first updating operator.

use crate::origins::Runs;
use arrow_array::RecordBatch;
use std::sync::Arc;

/// One partition of one topic that a source reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// Index of a [`Split`] in [`Batch::splits`]. Stable while a task runs; new partitions are appended.
pub type SplitId = u32;

/// Rows and their origins: `columns.num_rows() == origins.rows()`.
#[derive(Clone, Debug)]
pub struct Batch {
    pub columns: RecordBatch,
    pub origins: Runs,
    pub splits: Arc<[Split]>,
}

impl Batch {
    /// # Panics
    /// When the number of origins is not the number of rows.
    pub fn new(columns: RecordBatch, origins: Runs, splits: Arc<[Split]>) -> Batch {
        assert_eq!(
            columns.num_rows(),
            origins.rows(),
            "every row has exactly one origin"
        );
        Batch {
            columns,
            origins,
            splits,
        }
    }

    pub fn rows(&self) -> usize {
        self.origins.rows()
    }

    pub fn bytes(&self) -> usize {
        self.columns.get_array_memory_size() + self.origins.bytes()
    }
}

/// A record that could not be decoded, as it is kept in `<table>__dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's timestamp, milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Where it failed: `decode` or `evaluate`.
    pub stage: &'static str,
    /// Short and stable, for grouping: `avro.truncated`.
    pub code: String,
    pub error: String,
}
