//! System tables: what a table's metadata says about itself, by the names that Spark and Trino give them.
//!
//! | `t$…` | a row per | as of |
//! |---|---|---|
//! | `snapshots` | snapshot, on whatever branch | |
//! | `history` | head that `main` had | |
//! | `refs` | branch and tag | |
//! | `offsets` | snapshot and partition of a topic: which offsets made the table | the ancestors of the version |
//! | `manifests` | manifest | the version |
//! | `files` | data file and delete file | the version |
//! | `partitions` | partition of the table | the version |
//!
//! Columns are Spark's where both have a name for them, and behind them stands what our own commits say.

mod commits;
mod files;
mod values;

use crate::as_of::{Seen, Version};
use arrow_array::builder::TimestampMillisecondBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use datafusion::catalog::TableProvider;
use datafusion::common::plan_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use iceberg::table::Table;
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::view;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Snapshots,
    History,
    Refs,
    Offsets,
    Manifests,
    Files,
    Partitions,
}

const ALL: [(&str, System); 7] = [
    ("snapshots", System::Snapshots),
    ("history", System::History),
    ("refs", System::Refs),
    ("offsets", System::Offsets),
    ("manifests", System::Manifests),
    ("files", System::Files),
    ("partitions", System::Partitions),
];

/// A name, and which system table of it is meant.
pub(crate) fn split(name: &str) -> (&str, Option<System>) {
    let found = name.rsplit_once('$').and_then(|(table, wanted)| {
        let system = ALL.iter().find(|(name, _)| *name == wanted)?;
        Some((table, system.1))
    });
    found.map_or((name, None), |(table, system)| (table, Some(system)))
}

/// What system tables are made from.
struct About<'a> {
    loaded: &'a LoadedTable,
    table: &'a Table,
    seen: &'a Seen,
}

impl System {
    /// The rows, as of `version` where the system table has versions.
    ///
    /// # Errors
    /// When it has none, or a manifest cannot be read.
    pub(crate) async fn provide(
        self,
        name: &str,
        version: Option<&Version>,
        loaded: &LoadedTable,
        table: &Table,
        seen: &Seen,
    ) -> Result<Arc<dyn TableProvider>> {
        let of_all_versions = matches!(self, System::Snapshots | System::History | System::Refs);
        if let (true, Some(version)) = (of_all_versions, version) {
            let system = self.name();
            return plan_err!(
                "'{name}${system}' is about all versions of the table: leave out '{}'",
                version.to_string().trim()
            );
        }
        let about = About {
            loaded,
            table,
            seen,
        };
        let batch = match self {
            System::Snapshots => commits::snapshots(&about)?,
            System::History => commits::history(&about)?,
            System::Refs => commits::refs(&view::refs(&loaded.metadata))?,
            System::Offsets => commits::offsets(&about)?,
            System::Manifests => files::manifests(&about).await?,
            System::Files => files::files(&about).await?,
            System::Partitions => files::partitions(&about).await?,
        };
        Ok(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?))
    }

    fn name(self) -> &'static str {
        let found = ALL.iter().find(|(_, system)| *system == self);
        found.expect("each has a name").0
    }
}

fn time() -> TimestampMillisecondBuilder {
    TimestampMillisecondBuilder::new().with_timezone("UTC")
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
