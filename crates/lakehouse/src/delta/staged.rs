//! A data file between its seal and its commit: durable on disk, named only by the manifest of its pipeline.
//!
//! Layout: JSON inside `Pending.files`, frozen: the `add` action as it will stand in the log, and by which columns it was written.

use super::action::{Add, Metadata};
use super::log::{DeltaLog, Snapshot};
use super::schema;
use crate::error::{CatalogError, Kind};
use crate::view::builder;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StagedFile {
    pub(super) add: Add,
    pub(super) rows: u64,
    /// [`columns_of`] the table when it was written.
    pub(super) columns: String,
}

impl StagedFile {
    pub(super) fn from_json(value: &serde_json::Value) -> Result<StagedFile, CatalogError> {
        StagedFile::deserialize(value).map_err(|error| {
            CatalogError::caused(
                Kind::Internal,
                "a staged file in the checkpoint cannot be read",
                error,
            )
        })
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a staged file is plain data")
    }

    /// Whether the file is there, and its rows are rows of the table as it is now (`None`: one that is made anew with the
    /// sink's columns).
    pub(super) fn fits(
        &self,
        log: &DeltaLog,
        table: Option<&Snapshot>,
    ) -> Result<bool, CatalogError> {
        let location = self.location(log);
        if !log.files.exists(&location)? {
            return Ok(false);
        }
        let Some(table) = table else {
            return Ok(true);
        };
        if self.columns == columns_of(&table.metadata) {
            return Ok(true);
        }
        let by = &table.metadata.partition_columns;
        let values = &self.add.partition_values;
        if by.len() != values.len() || !by.iter().all(|column| values.contains_key(column)) {
            return Ok(false);
        }
        let file = builder(&log.files, &location)?;
        let columns = schema::read(&table.metadata.schema_string)?;
        let wanted = schema::to_arrow(&columns)?;
        let known = file.schema().fields();
        let right = known.iter().all(|field| {
            let column = wanted.field_with_name(field.name());
            column.is_ok_and(|column| {
                column.data_type() == field.data_type()
                    && (column.is_nullable() || !field.is_nullable())
            })
        });
        let complete = columns.iter().all(|column| {
            column.nullable
                || by.contains(&column.name)
                || known.iter().any(|field| *field.name() == column.name)
        });
        Ok(right && complete)
    }

    pub(super) fn location(&self, log: &DeltaLog) -> String {
        self.add.location(&log.location)
    }
}

/// By what a table's files are written; the same text for the same columns and partitions. (FNV-1a: nobody makes collisions
/// here, and equal texts save a look into the file.)
pub(super) fn columns_of(metadata: &Metadata) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let by = metadata.partition_columns.join("\0");
    for byte in metadata.schema_string.bytes().chain([0]).chain(by.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{}/{hash:016x}", metadata.id)
}
