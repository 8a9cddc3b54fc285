//! Tables whose rows are made up (`'connector' = 'datagen'`), with options that were checked.

use crate::{Schema, SourceColumn};
use serde::{Deserialize, Serialize};

/// A table without data: row number n is a function of n.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatagenSource {
    /// The table's name as the script has it; the random fields of two tables of one name are the same.
    pub table: String,
    /// `'rows-per-second'`.
    pub rows_per_second: u64,
    /// After that many the table is at its end; `None`: it has none.
    pub rows: Option<u64>,
    /// The columns of the table, in the order of the DDL, and how each is made.
    pub value_schema: Schema,
    pub fields: Vec<Generator>,
    /// The output: which of them each output column is. Only what the plan needs.
    pub columns: Vec<SourceColumn>,
}

/// How a field is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Generator {
    /// `start`, `start + 1`, … up to `end`, with which the table ends.
    Sequence {
        start: i64,
        end: i64,
    },
    /// A whole number from `min` to `max`, both inclusive.
    Whole {
        min: i64,
        max: i64,
    },
    /// A number from `min` up to `max`.
    Real {
        #[serde(with = "exact")]
        min: f64,
        #[serde(with = "exact")]
        max: f64,
    },
    Truth,
    /// Text of that many hexadecimal digits, or that many bytes.
    Letters {
        length: u32,
    },
}

/// Numbers as text: JSON's readers do not give every double back as it was written.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:?}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }
}
