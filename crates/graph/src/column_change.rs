//! What `ALTER TABLE` asks of a table's columns: read by `sql`, carried out by `lakehouse`.

use crate::types::LogicalType;
use std::fmt;

/// One change; those of a statement are made one after the other, and all of them or none.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnChange {
    Add(ColumnDeclared),
    Modify(ColumnDeclared),
    Drop(String),
    Rename { from: String, to: String },
}

/// A column as `ADD` and `MODIFY` declare it.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDeclared {
    pub name: String,
    pub ty: LogicalType,
    pub comment: Option<String>,
    /// `None`: at the end, or where it is.
    pub place: Option<ColumnPlace>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnPlace {
    First,
    After(String),
}

/// As the statement says it.
impl fmt::Display for ColumnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnChange::Add(column) => write!(f, "ADD {column}"),
            ColumnChange::Modify(column) => write!(f, "MODIFY {column}"),
            ColumnChange::Drop(name) => write!(f, "DROP {name}"),
            ColumnChange::Rename { from, to } => write!(f, "RENAME {from} TO {to}"),
        }
    }
}

impl fmt::Display for ColumnDeclared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.ty)?;
        if let Some(comment) = &self.comment {
            write!(f, " COMMENT '{}'", comment.replace('\'', "''"))?;
        }
        match &self.place {
            None => Ok(()),
            Some(ColumnPlace::First) => f.write_str(" FIRST"),
            Some(ColumnPlace::After(name)) => write!(f, " AFTER {name}"),
        }
    }
}
