//! Why an erasure is not made, in the user's words.

use super::predicate::Misread;
use crate::error::CatalogError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum EraseError {
    #[error("the predicate names no key: {0}")]
    Predicate(Misread),
    #[error("{path} has rows of aggregates, which are of no single record")]
    Derived { path: String },
    #[error(
        "{path} has rows of the key, and it is not known which of them are of records before {topic}[{partition}]@{below}"
    )]
    Uncut {
        path: String,
        topic: String,
        partition: i32,
        below: i64,
    },
    #[error("rows of {path}, which has some of the key, are hidden by deletes of another writer")]
    Hidden { path: String },
    #[error("{count} files of equality deletes are in '{branch}', and they have values of keys")]
    EqualityDeletes { branch: String, count: usize },
    #[error("{path}, which has rows of the key, is listed twice")]
    Doubled { path: String },
    #[error("{path} cannot be looked into: {why}")]
    Closed { path: String, why: String },
    #[error("the table says gc.enabled = false: none of its snapshots and files may go")]
    Kept,
    #[error(
        "the table has Iceberg format version {0}, and only tables of version 2 are erased from"
    )]
    Version(u8),
    #[error("the table was rolled back, and its pipeline has not read again what was taken away")]
    Behind,
    #[error("there is no erasure of this table to go on with")]
    Nothing,
    #[error("others changed the table each time: {0}")]
    Busy(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<Misread> for EraseError {
    fn from(misread: Misread) -> EraseError {
        EraseError::Predicate(misread)
    }
}

impl EraseError {
    /// Sentences with more; empty where there is no more.
    pub fn detail(&self) -> String {
        match self {
            EraseError::Derived { .. } => {
                "A replay computes such rows again from records that the predicate does not name.".into()
            }
            EraseError::Uncut { .. } => {
                "Records of it became several rows each, or its footer only counts the offsets that have none.".into()
            }
            EraseError::Hidden { .. } => {
                "A file without the rows that are hidden would need other deletes.".into()
            }
            EraseError::Kept => "That is Iceberg's word for files which may be another table's.".into(),
            EraseError::Behind => {
                "Its records may come again as new ones, or not: that is decided with the pipeline first.".into()
            }
            _ => String::new(),
        }
    }

    /// Something to type; empty where there is nothing.
    pub fn hint(&self) -> String {
        match self {
            EraseError::Predicate(_) => {
                "A key is `column = value`, `column IN (value, …)`, or several of these with AND.".into()
            }
            EraseError::Hidden { .. } | EraseError::EqualityDeletes { .. } => {
                "Let the engine that made the deletes carry them out first: `CALL system.rewrite_data_files(…)` in Spark, with 'delete-file-threshold' = '1'.".into()
            }
            EraseError::Uncut { .. } => {
                "It is known once the pipeline has read further than the file: try again later, or after a compaction.".into()
            }
            EraseError::Kept => "ALTER TABLE … SET ('gc.enabled' = 'true') allows it.".into(),
            EraseError::Behind => {
                "`lakeward pipeline show` says where it stands; `pipeline resume NAME --adopt` or `--rewind` goes on.".into()
            }
            EraseError::Nothing => "Say --where, and which key.".into(),
            _ => String::new(),
        }
    }
}
