//! A table over files of the machine (`'connector' = 'filesystem'`).

use crate::{FormatSpec, Schema, SourceColumn};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSource {
    /// The table's name as the script has it, for messages and metrics.
    pub table: String,
    /// A file, or the folder that holds them, on the machine that reads.
    pub path: String,
    pub format: FileFormat,
    /// The columns of the files, in the order of the DDL.
    pub value_schema: Schema,
    /// The columns that the path of a file says, `path/name=value/…`, from the outermost folder to the innermost.
    #[serde(default)]
    pub partitions: Schema,
    /// What a folder has instead of a value for NULL (`'partition.default-name'`).
    #[serde(default)]
    pub null_partition: String,
    /// What the whole path of a file matches, as Java does (`'source.path.regex-pattern'`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// How many milliseconds pass before it is looked whether there are new files; `None`: those that are there are all.
    #[serde(default)]
    pub watch: Option<u64>,
    /// The output: which of them each output column is. Only what the plan needs.
    pub columns: Vec<SourceColumn>,
}

/// How the rows of a file are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFormat {
    /// Each line is a record, but for those that a quoted field of CSV goes over.
    Lines(FormatSpec),
    /// Apache Parquet: a record is a row.
    Parquet,
}
