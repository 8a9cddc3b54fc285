//! What names mean at one place of a query.

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::reserved;
use crate::suggest::near_or_all;
use lw_graph::{Expr, TypeKind};
use lw_stdx::suggest::nearest;
use sqlparser::ast;
use std::collections::HashMap;

/// The columns that names may mean, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    columns: Vec<ScopeColumn>,
    by_name: HashMap<String, Vec<usize>>,
    /// Columns of several tables that are one, because the tables are joined by them.
    merged: Vec<Merged>,
    /// Of the query around a subquery: what names mean that mean nothing here.
    outer: Option<Box<Scope>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub name: String,
    /// What may stand before it: an alias, or the parts of the table's path.
    pub qualifier: Vec<String>,
    /// What it means over the relation that the names are of; `None` where that was refused.
    pub expr: Option<Expr>,
}

/// What `JOIN … USING (name)` and `NATURAL JOIN` make of two columns of one name.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub name: String,
    /// Their places among the columns.
    pub of: Vec<usize>,
    /// What the name means without a table before it.
    pub expr: Option<Expr>,
}

impl Scope {
    pub(crate) fn new(columns: Vec<ScopeColumn>) -> Scope {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, column) in columns.iter().enumerate() {
            by_name
                .entry(column.name.clone())
                .or_default()
                .push(position);
        }
        Scope {
            columns,
            by_name,
            merged: Vec::new(),
            outer: None,
        }
    }

    pub(super) fn merging(self, merged: Vec<Merged>) -> Scope {
        Scope { merged, ..self }
    }

    pub(super) fn merged(&self) -> &[Merged] {
        &self.merged
    }

    /// As the scope of a subquery of what has another one.
    pub(super) fn within(self, outer: Scope) -> Scope {
        Scope {
            outer: Some(Box::new(outer)),
            ..self
        }
    }

    pub(crate) fn columns(&self) -> &[ScopeColumn] {
        &self.columns
    }

    /// What a name means, perhaps with its table before it and fields of a ROW behind it.
    ///
    /// As in Calcite: the longest beginning that names the table is the table, the next part is its column and the rest are
    /// fields; where no beginning names the table the first part is the column.
    pub(super) fn column(&self, parts: &[ast::Ident], span: Span) -> Result<Expr> {
        match (self.own_column(parts, span), &self.outer) {
            (Err(error), Some(outer)) if error.code.starts_with("unknown-") => {
                outer.column(parts, span).map_err(|_| error)
            }
            (found, _) => found,
        }
    }

    fn own_column(&self, parts: &[ast::Ident], span: Span) -> Result<Expr> {
        let Some((first, rest)) = parts.split_first() else {
            return Err(Diagnostic::error("syntax", span, "a name is missing"));
        };
        if first.quote_style.is_none() && rest.is_empty() {
            reserved::check(&first.value, span)?;
        }
        let is_table = |length: &usize| {
            let mut columns = self.columns.iter();
            columns.any(|column| ends_with(&column.qualifier, &parts[..*length]))
        };
        let qualifier = (1..parts.len()).rev().find(is_table).unwrap_or(0);
        let (qualifier, path) = parts.split_at(qualifier);
        if qualifier.is_empty() && !rest.is_empty() && !self.by_name.contains_key(&first.value) {
            return Err(self.unknown_qualifier(first, span));
        }
        let column = self.of_table(&path[0], qualifier, span)?;
        path[1..]
            .iter()
            .try_fold(column.clone(), |row, field| field_of(row, field, span))
    }

    fn of_table(&self, name: &ast::Ident, qualifier: &[ast::Ident], span: Span) -> Result<&Expr> {
        let mut merged = self.merged.iter();
        if let Some(merged) = merged.find(|of| qualifier.is_empty() && of.name == name.value) {
            return merged.expr.as_ref().ok_or(Diagnostic::told_before(span));
        }
        let of_name = self.by_name.get(&name.value).into_iter().flatten();
        let mut found = of_name
            .map(|position| &self.columns[*position])
            .filter(|column| ends_with(&column.qualifier, qualifier));
        match (found.next(), found.next()) {
            (Some(column), None) => column.expr.as_ref().ok_or(Diagnostic::told_before(span)),
            (Some(one), Some(other)) if one.qualifier != other.qualifier => {
                let message = format!("column '{}' is ambiguous", name.value);
                let error = Diagnostic::error("ambiguous-column", span, message)
                    .detail("Two tables of the query have a column of this name.");
                Err(match one.qualifier.last() {
                    Some(table) => error.hint(format!("write of which: {table}.{}", name.value)),
                    None => error.hint("give the subqueries aliases"),
                })
            }
            (Some(_), Some(_)) => {
                let message = format!("column '{}' is ambiguous", name.value);
                Err(Diagnostic::error("ambiguous-column", span, message)
                    .detail("Two columns of the subquery have this name.")
                    .hint("give one of them another alias"))
            }
            (None, _) if self.by_name.contains_key("") => Err(Diagnostic::told_before(span)),
            (None, _) => {
                let of_table = self.columns.iter();
                let of_table = of_table.filter(|column| ends_with(&column.qualifier, qualifier));
                let names = of_table.map(|column| column.name.as_str());
                Err(unknown_column(&name.value, names, span))
            }
        }
    }

    /// The places of the column that a name without a table before it means; several where tables are joined by it.
    pub(super) fn places(&self, name: &str, span: Span) -> Result<Vec<usize>> {
        if let Some(merged) = self.merged.iter().find(|of| of.name == name) {
            return Ok(merged.of.clone());
        }
        match self.by_name.get(name).map_or(&[][..], Vec::as_slice) {
            [] => {
                let names = self.columns.iter().map(|column| column.name.as_str());
                Err(unknown_column(name, names, span))
            }
            [at] => Ok(vec![*at]),
            _ => {
                let message = format!("column '{name}' is ambiguous");
                Err(Diagnostic::error("ambiguous-column", span, message)
                    .detail("One side of the join has two columns of this name.")
                    .hint("JOIN … ON a.key = b.key AND …"))
            }
        }
    }

    /// What stands at such places means.
    pub(super) fn meant(&self, places: &[usize]) -> Option<Expr> {
        if let [at] = places {
            return self.columns[*at].expr.clone();
        }
        let merged = self.merged.iter().find(|of| of.of == places);
        merged.and_then(|of| of.expr.clone())
    }

    /// `*`: what is merged first, as it was merged; then the other columns.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, Option<Expr>)> {
        let merged = self.merged.iter();
        let merged = merged.map(|of| (of.name.clone(), of.expr.clone()));
        let is_merged = |at: &usize| self.merged.iter().any(|of| of.of.contains(at));
        let columns = self.columns.iter().enumerate();
        let others = columns.filter(move |(at, _)| !is_merged(at));
        merged.chain(others.map(|(_, column)| (column.name.clone(), column.expr.clone())))
    }

    /// `table.*`, and `row.*`: the fields of a ROW as columns. Each with its name.
    pub(super) fn star(
        &self,
        parts: &[ast::Ident],
        span: Span,
    ) -> Result<Vec<(String, Option<Expr>)>> {
        let of_table = self.columns.iter();
        let of_table = of_table.filter(|column| ends_with(&column.qualifier, parts));
        let columns: Vec<_> = of_table
            .map(|column| (column.name.clone(), column.expr.clone()))
            .collect();
        if !columns.is_empty() {
            return Ok(columns);
        }
        let row = self.column(parts, span)?;
        let TypeKind::Row(fields) = &row.ty().kind else {
            let name = parts.last().map_or("", |part| part.value.as_str());
            let message = format!("'{name}' is {}, which has no fields", row.ty().kind);
            return Err(Diagnostic::error("type", span, message));
        };
        let columns = fields.iter().enumerate().map(|(index, field)| {
            let value = Expr::field(row.clone(), index);
            (field.name.clone(), Some(value))
        });
        Ok(columns.collect())
    }

    fn unknown_qualifier(&self, first: &ast::Ident, span: Span) -> Diagnostic {
        if self.by_name.contains_key("") {
            return Diagnostic::told_before(span);
        }
        let tables = self.columns.iter().filter_map(|c| c.qualifier.last());
        let rows = self.columns.iter().filter(|column| {
            let ty = column.expr.as_ref().map(Expr::ty);
            ty.is_some_and(|ty| matches!(ty.kind, TypeKind::Row(_)))
        });
        let mut known: Vec<&str> = tables.map(String::as_str).collect();
        known.dedup();
        known.extend(rows.map(|column| column.name.as_str()));
        let message = format!("there is no table or row '{}' in this query", first.value);
        let error = Diagnostic::error("unknown-table", span, message);
        match (nearest(&first.value, known.iter().copied()), known.first()) {
            (Some(near), _) => error.hint(format!("did you mean '{near}'?")),
            (None, Some(known)) => error.hint(format!("the query reads '{known}'")),
            (None, None) => error,
        }
    }
}

/// A field of a ROW.
pub(super) fn field_of(row: Expr, field: &ast::Ident, span: Span) -> Result<Expr> {
    let TypeKind::Row(fields) = &row.ty().kind else {
        let message = format!(
            "{row} is {}, which has no field '{}'",
            row.ty().kind,
            field.value
        );
        return Err(Diagnostic::error("type", span, message));
    };
    match fields.iter().position(|known| known.name == field.value) {
        Some(index) => Ok(Expr::field(row, index)),
        None => {
            let message = format!("row {row} has no field '{}'", field.value);
            let names = fields.iter().map(|field| field.name.as_str());
            let error = Diagnostic::error("unknown-column", span, message);
            Err(error.hint_if(near_or_all(&field.value, names, "fields")))
        }
    }
}

fn ends_with(path: &[String], qualifier: &[ast::Ident]) -> bool {
    let Some(from) = path.len().checked_sub(qualifier.len()) else {
        return false;
    };
    path[from..]
        .iter()
        .zip(qualifier)
        .all(|(part, ident)| *part == ident.value)
}

pub(super) fn unknown_column<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
    span: Span,
) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let error = Diagnostic::error(
        "unknown-column",
        span,
        format!("there is no column '{name}'"),
    );
    match nearest(name, known.iter().copied()) {
        Some(near) if near.eq_ignore_ascii_case(name) => error
            .detail("Names are case-sensitive.")
            .hint(format!("did you mean '{near}'?")),
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if known.is_empty() => error,
        None => error.hint(format!("columns: {}", listed(&known))),
    }
}

/// The first names; a table may have thousands.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 40;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}
