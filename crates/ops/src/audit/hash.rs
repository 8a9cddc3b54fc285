//! Rows as numbers: two multisets of rows are the same when their counts and the sums of their rows' hashes are.

use super::AuditError;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_row::{RowConverter, SortField};
use arrow_schema::SchemaRef;
use std::hash::{BuildHasher, Hasher};

/// Count and multiset hash of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    hash: u128,
}

impl Sum {
    pub(super) fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(u128::from(hash));
    }
}

/// Hashes rows by their values: equal rows give equal hashes, whichever side they come from.
pub(super) struct RowHashes {
    converter: RowConverter,
    hasher: ahash::RandomState,
}

impl RowHashes {
    pub(super) fn new(schema: &SchemaRef) -> Result<RowHashes, AuditError> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        Ok(RowHashes {
            converter: RowConverter::new(fields)?,
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        })
    }

    pub(super) fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u64>, AuditError> {
        self.hash_columns(batch.columns())
    }

    pub(super) fn hash_columns(&self, columns: &[ArrayRef]) -> Result<Vec<u64>, AuditError> {
        let rows = self.converter.convert_columns(columns)?;
        Ok(rows
            .iter()
            .map(|row| {
                let mut hasher = self.hasher.build_hasher();
                hasher.write(row.as_ref());
                hasher.finish()
            })
            .collect())
    }
}
