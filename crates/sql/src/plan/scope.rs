//! What names mean at one place of a query.

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::reserved;
use lw_graph::{Expr, TypeKind};
use lw_stdx::suggest::nearest;
use sqlparser::ast;
use std::collections::HashMap;

/// The columns that names may mean, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    columns: Vec<ScopeColumn>,
    by_name: HashMap<String, Vec<usize>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub name: String,
    /// What may stand before it: an alias, or the parts of the table's path.
    pub qualifier: Vec<String>,
    /// What it means in terms of the scanned table.
    pub expr: Expr,
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
        Scope { columns, by_name }
    }

    pub(crate) fn columns(&self) -> &[ScopeColumn] {
        &self.columns
    }

    /// What a name, perhaps with its table before it, means.
    pub(super) fn column(&self, parts: &[ast::Ident], span: Span) -> Result<&Expr> {
        let Some((name, qualifier)) = parts.split_last() else {
            return Err(Diagnostic::error("syntax", span, "a name is missing"));
        };
        if name.quote_style.is_none() && qualifier.is_empty() {
            reserved::check(&name.value, span)?;
        }
        let of_name = self.by_name.get(&name.value).into_iter().flatten();
        let mut found = of_name
            .map(|position| &self.columns[*position])
            .filter(|column| ends_with(&column.qualifier, qualifier));
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(&column.expr),
            (Some(_), Some(_)) => {
                let message = format!("column '{}' is ambiguous", name.value);
                Err(Diagnostic::error("ambiguous-column", span, message)
                    .detail("Two columns of the subquery have this name.")
                    .hint("give one of them another alias"))
            }
            (None, _) => Err(self.unknown(parts, span)),
        }
    }

    fn unknown(&self, parts: &[ast::Ident], span: Span) -> Diagnostic {
        let (name, qualifier) = parts.split_last().expect("a name has a last part");
        let qualified: Vec<&str> = self
            .columns
            .iter()
            .filter(|column| ends_with(&column.qualifier, qualifier))
            .map(|column| column.name.as_str())
            .collect();
        if qualified.is_empty() && !qualifier.is_empty() {
            return self.unknown_qualifier(parts, span);
        }
        unknown_column(&name.value, qualified.into_iter(), span)
    }

    fn unknown_qualifier(&self, parts: &[ast::Ident], span: Span) -> Diagnostic {
        let first = &parts[0].value;
        if let Some(column) = self.columns.iter().find(|c| c.name == *first)
            && matches!(column.expr.ty().kind, TypeKind::Row(_))
        {
            return Diagnostic::unsupported(span, "reading a field of a ROW is")
                .hint("write the whole column, and take the field out when reading the table");
        }
        let known: Vec<&str> = self
            .columns
            .iter()
            .filter_map(|column| column.qualifier.last().map(String::as_str))
            .collect();
        let error = Diagnostic::error(
            "unknown-table",
            span,
            format!("there is no table '{first}' in this query"),
        );
        match known.first() {
            Some(known) => error.hint(format!("the query reads '{known}'")),
            None => error,
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
