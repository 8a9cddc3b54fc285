//! Statements of Flink SQL as data, by recursive descent over the script's tokens.
//!
//! Everything that Flink adds to SQL (DDL, statement sets, SET) is read here; a query and an expression are handed to
//! `sqlparser` as a slice of the same tokens, so their places are places of the script.

mod cursor;
mod ddl;
mod depth;
mod statement;
mod types;

pub(crate) use cursor::Cursor;
pub(crate) use types::parse_type;

use crate::diagnostic::{Span, Told};
use lw_graph::LogicalType;
use sqlparser::ast;

/// A name as it is written, without its backticks.
#[derive(Clone, Debug)]
pub(crate) struct Ident {
    pub value: String,
    pub span: Span,
}

/// `[[catalog.]database.]object`.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub parts: Vec<Ident>,
    pub span: Span,
}

/// `'key' = 'value'` of a WITH clause or an OPTIONS hint.
#[derive(Clone, Debug)]
pub(crate) struct OptionText {
    pub key: Ident,
    pub value: Ident,
}

#[derive(Debug)]
pub(crate) enum Statement {
    CreateTable(Box<CreateTable>),
    CreateView(CreateView),
    CreateDatabase {
        name: Name,
        if_not_exists: bool,
    },
    CreateCatalog(CreateCatalog),
    Use(Name),
    UseCatalog(Ident),
    Set {
        key: Ident,
        value: Ident,
    },
    Reset(Option<Ident>),
    Drop {
        noun: Noun,
        lifetime: Lifetime,
        name: Name,
        if_exists: bool,
    },
    /// One INSERT, or the members of a statement set, each read or refused by itself.
    Inserts(Vec<crate::Result<Insert>>),
    Explain(Vec<crate::Result<Insert>>),
    Describe(Name),
    Show(Show),
    /// A question to tables (`SELECT`, `EXPLAIN SELECT`).
    Query(Span),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Table,
    View,
    Database { cascade: bool },
    Catalog,
}

/// Whether a table or view was declared as TEMPORARY. One of each may have the same name; the temporary one is the one that is
/// meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifetime {
    Permanent,
    Temporary,
}

/// `SHOW …`, and `SET` alone.
#[derive(Debug)]
pub(crate) struct Show {
    pub what: Shown,
    /// Only the names that are like this.
    pub like: Option<Pattern>,
    pub span: Span,
}

/// What `SHOW` lists.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Of the current database, or of another.
    Tables(Option<Name>),
    Views(Option<Name>),
    Columns(Name),
    Databases,
    Catalogs,
    CurrentDatabase,
    CurrentCatalog,
    Settings,
}

/// `[NOT] LIKE 'pattern'`, or `ILIKE` without regard to case.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub text: String,
    pub ignore_case: bool,
    pub negated: bool,
}

#[derive(Debug)]
pub(crate) struct CreateTable {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
    pub primary_key: Vec<Ident>,
    pub partitioned: Option<Partitioned>,
    pub options: Vec<OptionText>,
    pub like: Option<Like>,
    pub lifetime: Lifetime,
    /// Where `WITH` would stand, for messages about options that are missing.
    pub span: Span,
    /// What was refused in it; the columns and options that could be read are there nevertheless.
    pub mistakes: Told,
}

/// `PARTITIONED BY (column, …)`.
#[derive(Clone, Debug)]
pub(crate) struct Partitioned {
    pub columns: Vec<Ident>,
    pub span: Span,
}

/// `LIKE table (…)`: the other table is the beginning of this one.
#[derive(Debug)]
pub(crate) struct Like {
    pub table: Name,
    pub rules: Vec<LikeRule>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LikeRule {
    pub merge: Merge,
    /// `None` for ALL.
    pub feature: Option<Feature>,
}

/// What becomes of the other table's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    Including,
    Excluding,
    /// As `Including`, and this table's own counts where both have one.
    Overwriting,
}

/// A part of a table's declaration that LIKE may treat by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    Constraints,
    Distribution,
    Generated,
    Metadata,
    Options,
    Partitions,
    Watermarks,
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnDef {
    pub name: Ident,
    pub kind: ColumnKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ColumnKind {
    Physical(LogicalType),
    Metadata {
        ty: LogicalType,
        /// The key, where it is not the column's name.
        key: Option<Ident>,
    },
    Computed(Box<ast::Expr>, Span),
    /// Its declaration was refused.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) struct WatermarkDef {
    pub column: Ident,
    pub expression: ast::Expr,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) struct CreateCatalog {
    pub name: Ident,
    pub if_not_exists: bool,
    pub options: Vec<OptionText>,
    pub mistakes: Told,
}

#[derive(Debug)]
pub(crate) struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub query: Query,
    pub lifetime: Lifetime,
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub ast: Box<ast::Query>,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) struct Insert {
    pub target: Name,
    pub columns: Option<Vec<Ident>>,
    pub query: Query,
    pub span: Span,
}

impl Statement {
    /// Reads one statement.
    pub(crate) fn parse(mut cursor: Cursor<'_>) -> crate::Result<Statement> {
        let statement = statement::parse(&mut cursor)?;
        cursor.expect_end()?;
        Ok(statement)
    }
}
