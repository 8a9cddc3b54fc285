//! Rows that were erased and stand in the table nevertheless.

use super::TableView;
use crate::erasure::files::DataFile;
use crate::erasure::{Entry, EraseError, Erased, Stage};
use crate::error::{CatalogError, Kind};
use crate::upkeep::compaction::files::Origins;

impl TableView {
    /// What was erased from the table.
    ///
    /// # Errors
    /// When the record of it cannot be read.
    pub fn erased(&self) -> Result<Erased, CatalogError> {
        Erased::of(&self.table.metadata)
    }

    /// The files that have rows which an erasure took out, a sentence each. Rows of other writers came from no record, so nobody knows
    /// whether they were there before.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn came_back(&self, erased: &Erased) -> Result<Vec<String>, CatalogError> {
        let entries = erased.entries().iter();
        let entries = entries.filter(|entry| entry.stage() > Stage::Recorded);
        let entries: Vec<&Entry> = entries.collect();
        let mut found = Vec::new();
        for file in &self.data_files {
            let Some(runs) = file.runs.as_ref().filter(|runs| !runs.is_empty()) else {
                continue;
            };
            let origins = Origins::Listed(runs.to_vec());
            let looked = DataFile {
                path: &file.path,
                origins: &origins,
                sequence: None,
            };
            let part = looked
                .part(&self.files, &entries)
                .map_err(|error| match error {
                    EraseError::Catalog(error) => error,
                    other => CatalogError::new(Kind::Internal, other.to_string()),
                })?;
            if part.rows() > 0 {
                let (rows, path) = (part.rows(), &file.path);
                found.push(format!("{path}: {rows} rows are there that were erased"));
            }
        }
        Ok(found)
    }
}
