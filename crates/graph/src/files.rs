//! A table over files of the machine (`'connector' = 'filesystem'`).

use crate::{FormatSpec, Schema, SourceColumn};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSource {
    /// The table's name as the script has it, for messages and metrics.
    pub table: String,
    /// A file, or the folder that holds them, on the machine that reads.
    pub path: String,
    pub format: FormatSpec,
    /// The columns of the files, in the order of the DDL.
    pub value_schema: Schema,
    /// The output: which of them each output column is. Only what the plan needs.
    pub columns: Vec<SourceColumn>,
}
