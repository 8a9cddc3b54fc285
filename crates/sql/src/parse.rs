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
    Use(Name),
    UseCatalog(Ident),
    Set {
        key: Ident,
        value: Ident,
    },
    Reset(Option<Ident>),
    Drop {
        noun: Noun,
        name: Name,
        if_exists: bool,
    },
    /// One INSERT, or the members of a statement set, each read or refused by itself.
    Inserts(Vec<crate::Result<Insert>>),
    Explain(Vec<crate::Result<Insert>>),
    Describe(Name),
    Show(Shown, Span),
    /// A question to tables (`SELECT`, `EXPLAIN SELECT`).
    Query(Span),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Table,
    View,
    Database,
}

/// What `SHOW` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Tables,
    Views,
    Databases,
    Catalogs,
    CurrentDatabase,
    CurrentCatalog,
}

#[derive(Debug)]
pub(crate) struct CreateTable {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
    pub primary_key: Vec<Ident>,
    pub options: Vec<OptionText>,
    /// Where `WITH` would stand, for messages about options that are missing.
    pub span: Span,
    /// What was refused in it; the columns and options that could be read are there nevertheless.
    pub mistakes: Told,
}

#[derive(Debug)]
pub(crate) struct ColumnDef {
    pub name: Ident,
    pub kind: ColumnKind,
}

#[derive(Debug)]
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

#[derive(Debug)]
pub(crate) struct WatermarkDef {
    pub column: Ident,
    pub expression: ast::Expr,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub query: Query,
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
