//! A table that rows are looked up in: `JOIN t FOR SYSTEM_TIME AS OF o.proc_time AS t ON …`.
//!
//! What a row is joined with hangs on when it is computed, so a job reads the table at one version at a time, and writes down which
//! one: its checkpoints name the versions by [`LookupTable::id`].

use crate::{ElementCondition, Expr, IcebergSink, JobGraph, JoinKind, Operator, Schema};
use serde::{Deserialize, Serialize};

/// A join of each row with the rows of a table that have its keys. Gives the input's columns, then the table's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    pub table: LookupTable,
    /// `Inner`, or `Left`: a row that finds nothing is there once, with NULL for the table's columns.
    pub kind: JoinKind,
    /// The columns that are read of the table, as the script declares them.
    pub columns: Schema,
    /// What is equal, one at least: a column of the input, and something over the table's columns. NULL is equal to nothing.
    pub keys: Vec<(usize, Expr)>,
    /// Over the table's columns: rows of it for which this is not TRUE are not there.
    pub filter: Option<Expr>,
    /// With which rows of its keys a row is joined, over columns of the input and behind them the table's; all of them without.
    pub on: Option<ElementCondition>,
}

/// The table, and how its rows are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookupTable {
    /// As the script calls it, for messages.
    pub name: String,
    pub place: LookupPlace,
    /// Milliseconds between two looks whether it has changed.
    pub refresh: i64,
    /// Its rows may take so many bytes of memory.
    pub max_bytes: u64,
}

/// Where the rows are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LookupPlace {
    /// A table of an Iceberg catalog. Only what says where it is counts.
    Iceberg(IcebergSink),
}

impl LookupTable {
    /// What checkpoints call it. Two joins with one table see one version of it.
    pub fn id(&self) -> String {
        match &self.place {
            LookupPlace::Iceberg(table) => {
                format!("{}.{}.{}", table.catalog, table.namespace, table.table)
            }
        }
    }
}

impl JobGraph {
    /// The joins with tables that rows are looked up in, with their nodes.
    pub fn lookups(&self) -> impl Iterator<Item = (usize, &Lookup)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(id, node)| match &node.operator {
            Operator::Lookup(lookup) => Some((id, &**lookup)),
            _ => None,
        })
    }
}
