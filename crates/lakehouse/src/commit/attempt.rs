//! Attempts: commits that were sent and not confirmed, and what becomes of the files that they wrote.
//!
//! A catalog's reply does not say what happened. "Conflict" may be the answer to a copy that a proxy sent again after the
//! first had landed; no answer may mean either. So nothing is removed on a reply. Once the table is loaded again, the facts
//! decide, in this order:
//!
//! 1. a kept snapshot is the attempt's, or lists one of its manifests: it **landed**. Only snapshots of its sequence number or
//!    a later one can;
//! 2. the table has given out the attempt's sequence number: it is **dead**, because every catalog refuses a snapshot that is
//!    not newer than all others, whenever the request arrives;
//! 3. neither, or it is another table by now: it is **open**, may still be under way, and is asked again after the next load.
//!
//! Only the dead leave files that may go; and only with one that landed go the files of the snapshots that it expired, be its
//! reply lost or not. After a crash nobody asks any more; then they stay: only space.

use super::manifests;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, TableMetadata};
use std::sync::Arc;
use uuid::Uuid;

/// A commit on its way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) table: TableIdent,
    pub(crate) table_uuid: Uuid,
    pub(crate) snapshot_id: i64,
    pub(crate) sequence: i64,
    /// Manifests and their list.
    pub(crate) written: Vec<String>,
    /// The table that it was made for, and the snapshots of it that end with it.
    pub(crate) before: Arc<TableMetadata>,
    pub(crate) expired: Vec<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Landed,
    Dead,
    Open,
}

impl Attempt {
    /// What `table`, loaded after the reply, says of it.
    pub(crate) fn fate(&self, files: &Files, table: &TableMetadata) -> Result<Fate, CatalogError> {
        if table.uuid() != self.table_uuid {
            // The one that it was made for may be registered again elsewhere.
            return Ok(Fate::Open);
        }
        for snapshot in table.snapshots() {
            if snapshot.snapshot_id() == self.snapshot_id
                || self
                    .written
                    .iter()
                    .any(|file| file == snapshot.manifest_list())
            {
                return Ok(Fate::Landed);
            }
            if snapshot.sequence_number() >= self.sequence {
                let listed = manifests::load_list(files, table, snapshot)?;
                if listed
                    .iter()
                    .any(|one| self.written.contains(&one.manifest_path))
                {
                    return Ok(Fate::Landed);
                }
            }
        }
        // Version 1 has no sequence numbers.
        let passed = table.format_version() != FormatVersion::V1
            && table.last_sequence_number() >= self.sequence;
        Ok(if passed { Fate::Dead } else { Fate::Open })
    }
}

/// Best effort, for files that nobody names.
pub(crate) fn remove(files: &Files, unnamed: &[String]) {
    for file in unnamed {
        if let Err(error) = files.remove(file) {
            tracing::warn!(file, %error, "a file that nobody names stays");
        }
    }
}
