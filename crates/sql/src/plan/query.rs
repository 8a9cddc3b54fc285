//! A query as one scan, one condition and one list of columns.
//!
//! Subqueries, views and `WITH` of projections and filters are folded into that shape by substitution: a column of the inner
//! query *is* its expression. Everything that needs state (joins, groups, windows, order) is refused (`refuse`).

use super::Planner;
use super::coerce::must_be_boolean;
use super::expr::{Binder, joined};
use super::scope::{Scope, ScopeColumn};
use super::table::scope_column;
use crate::Result;
use crate::catalog::{Object, Table, View};
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::{Ident, Name, OptionText, Query};
use lw_graph::{Expr, Function, LogicalType, TypeKind};
use sqlparser::ast::{self, SetExpr, TableFactor};
use std::rc::Rc;

/// A planned query; all expressions are over the positions of the scanned table.
pub(super) struct Relation {
    pub table: Rc<Table>,
    pub options: Vec<OptionText>,
    /// Where the table is named.
    pub table_span: Span,
    pub filters: Vec<Expr>,
    pub columns: Vec<OutputColumn>,
}

pub(super) struct OutputColumn {
    pub name: String,
    /// `None` where it was refused.
    pub expr: Option<Expr>,
    pub span: Span,
}

/// Views, subqueries and `WITH` queries within each other; planning them is recursive.
const MOST_QUERIES: usize = 16;

/// What is visible around a query: its place, its database, the `WITH` names.
#[derive(Clone, Default)]
pub(super) struct Around {
    pub span: Span,
    ctes: Vec<Cte>,
    /// Queries around this one: subqueries, views, `WITH` queries.
    depth: usize,
}

#[derive(Clone)]
struct Cte {
    name: String,
    columns: Vec<Ident>,
    query: Box<ast::Query>,
}

impl Planner<'_> {
    pub(super) fn create_view(&mut self, create: crate::parse::CreateView) -> Result<()> {
        let Some(path) = self.catalog.prepare(&create.name, create.if_not_exists)? else {
            return Ok(());
        };
        let relation = self.relation(&create.query)?;
        let given = create.columns.len();
        if given > 0 && given != relation.columns.len() {
            let message = format!(
                "the view names {given} columns, its query has {}",
                relation.columns.len()
            );
            return Err(Diagnostic::error("type", create.name.span, message));
        }
        let view = View {
            columns: create.columns,
            query: create.query,
            database: self.catalog.current.clone(),
        };
        let view = Object::View(view.into());
        self.catalog.insert(path, view, self.statement);
        Ok(())
    }

    pub(super) fn relation(&mut self, query: &Query) -> Result<Relation> {
        let around = Around {
            span: query.span,
            ..Around::default()
        };
        self.query(&query.ast, &around)
    }

    fn query(&mut self, query: &ast::Query, around: &Around) -> Result<Relation> {
        if around.depth == MOST_QUERIES {
            let message = format!("more than {MOST_QUERIES} queries within each other");
            return Err(Diagnostic::error("too-long", around.span, message)
                .hint("land an inner query in a table of its own"));
        }
        self.refuse_query_clauses(query, around)?;
        let mut around = around.clone();
        around.depth += 1;
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(self.refuse(&around, "RECURSIVE", "WITH RECURSIVE is"));
            }
            for cte in &with.cte_tables {
                around.ctes.push(Cte {
                    name: cte.alias.name.value.clone(),
                    columns: self.idents(cte.alias.columns.iter().map(|column| &column.name)),
                    query: cte.query.clone(),
                });
            }
        }
        match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, &around),
            SetExpr::Query(inner) => self.query(inner, &around),
            SetExpr::SetOperation { op, .. } => {
                let word = op.to_string();
                Err(self.refuse(&around, &word, &format!("{word} is")))
            }
            SetExpr::Values(_) => Err(self
                .refuse(&around, "VALUES", "INSERT … VALUES is")
                .hint("produce the rows to a topic; a pipeline reads topics")),
            _ => Err(self.refuse(&around, "TABLE", "this form of query is")),
        }
    }

    fn select(&mut self, select: &ast::Select, around: &Around) -> Result<Relation> {
        let window = select
            .from
            .iter()
            .find(|from| matches!(from.relation, TableFactor::TableFunction { .. }));
        if let Some(window) = window {
            return Err(self.refuse_table_factor(&window.relation, around));
        }
        self.refuse_select_clauses(select, around)?;
        let [from] = select.from.as_slice() else {
            return Err(self.refuse_from(select, around));
        };
        if let Some(join) = from.joins.first() {
            return Err(self.refuse_join(join, around));
        }
        let (mut relation, scope) = self.table_factor(&from.relation, around)?;
        self.rows_and_columns(select, &mut relation, &scope, around)?;
        Ok(relation)
    }

    /// What WHERE and SELECT make of a relation. (Not in `select`, which is recursive: its frame must be small.)
    fn rows_and_columns(
        &mut self,
        select: &ast::Select,
        relation: &mut Relation,
        scope: &Scope,
        around: &Around,
    ) -> Result<()> {
        let binder = Binder::new(self.script, scope, around.span);
        if let Some(condition) = &select.selection {
            let mut parts = Vec::new();
            for part in conditions(condition) {
                let place = binder.place(part);
                let bound = binder.bind(part);
                let bound = bound.and_then(|bound| must_be_boolean(bound, "WHERE", place));
                parts.extend(self.told.settle(bound));
            }
            if !parts.is_empty() {
                let all = joined(Function::And, parts, binder.place(condition))?;
                relation.filters.push(all);
            }
        }
        relation.columns = project(&binder, scope, &select.projection, &mut self.told);
        Ok(())
    }

    fn table_factor(&mut self, factor: &TableFactor, around: &Around) -> Result<(Relation, Scope)> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                version: None,
                sample: None,
                ..
            } => self.named(name, alias.as_ref(), around),
            TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                sample: None,
            } => {
                let relation = self.query(subquery, around)?;
                let alias_name = alias.as_ref().map(|alias| alias.name.value.clone());
                let renamed = self.alias_columns(alias.as_ref());
                self.over(relation, alias_name, &renamed, around.span)
            }
            other => Err(self.refuse_table_factor(other, around)),
        }
    }

    fn named(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        around: &Around,
    ) -> Result<(Relation, Scope)> {
        let parts = self.idents(name.0.iter().filter_map(|part| part.as_ident()));
        let span = parts
            .iter()
            .map(|p| p.span)
            .reduce(Span::to)
            .unwrap_or(around.span);
        let alias_name = alias.map(|alias| alias.name.value.clone());
        let renamed = self.alias_columns(alias);
        if let [single] = parts.as_slice()
            && let Some(at) = around.ctes.iter().rposition(|cte| cte.name == single.value)
        {
            let cte = around.ctes[at].clone();
            // A WITH query sees only those before it.
            let inner = Around {
                ctes: around.ctes[..at].to_vec(),
                ..around.clone()
            };
            let relation = self.query(&cte.query, &inner)?;
            let columns = if renamed.is_empty() {
                cte.columns
            } else {
                renamed
            };
            return self.over(relation, alias_name.or(Some(cte.name)), &columns, span);
        }
        let (path, object) = self.catalog.get(&Name { parts, span })?;
        match object {
            Object::Broken => Err(Diagnostic::told_before(span)),
            Object::View(view) => {
                let relation = self.view(&view, around)?;
                let columns = if renamed.is_empty() {
                    view.columns.clone()
                } else {
                    renamed
                };
                self.over(relation, alias_name.or(Some(path.object)), &columns, span)
            }
            Object::Table(table) => {
                let mut options = table.options.clone();
                let hinted = self.options_hint(span)?;
                options.retain(|o| hinted.iter().all(|h| h.key.value != o.key.value));
                options.extend(hinted);
                let relation = Relation {
                    columns: scan_columns(&table),
                    table,
                    options,
                    table_span: span,
                    filters: Vec::new(),
                };
                let qualifier = match alias_name {
                    Some(alias) => vec![alias],
                    None => vec!["default_catalog".to_string(), path.database, path.object],
                };
                self.scoped(relation, qualifier, &renamed, span)
            }
        }
    }

    /// A view's query, in the database in which it was written.
    fn view(&mut self, view: &View, around: &Around) -> Result<Relation> {
        let database = std::mem::replace(&mut self.catalog.current, view.database.clone());
        let inner = Around {
            span: view.query.span,
            ctes: Vec::new(),
            depth: around.depth,
        };
        let relation = self.query(&view.query.ast, &inner);
        self.catalog.current = database;
        relation
    }

    /// Names and types of a view's columns.
    pub(super) fn view_columns(&mut self, view: &View) -> Result<Vec<(String, LogicalType)>> {
        let relation = self.view(view, &Around::default())?;
        let named = relation.columns.into_iter().enumerate();
        named
            .map(|(at, column)| {
                let given = view.columns.get(at).map(|name| name.value.clone());
                let expr = column.expr.ok_or(Diagnostic::told_before(column.span))?;
                Ok((given.unwrap_or(column.name), expr.ty().clone()))
            })
            .collect()
    }

    fn over(
        &self,
        relation: Relation,
        alias: Option<String>,
        renamed: &[Ident],
        span: Span,
    ) -> Result<(Relation, Scope)> {
        self.scoped(relation, alias.into_iter().collect(), renamed, span)
    }

    /// The names under which a relation's columns are known outside.
    fn scoped(
        &self,
        relation: Relation,
        qualifier: Vec<String>,
        renamed: &[Ident],
        span: Span,
    ) -> Result<(Relation, Scope)> {
        if !renamed.is_empty() && renamed.len() != relation.columns.len() {
            let message = format!(
                "{} names for {} columns",
                renamed.len(),
                relation.columns.len()
            );
            return Err(Diagnostic::error("type", span, message));
        }
        let columns = relation.columns.iter().enumerate();
        let columns = columns.map(|(i, column)| ScopeColumn {
            name: renamed
                .get(i)
                .map_or(&column.name, |name| &name.value)
                .clone(),
            qualifier: qualifier.clone(),
            expr: column.expr.clone(),
        });
        let scope = Scope::new(columns.collect());
        Ok((relation, scope))
    }

    fn alias_columns(&self, alias: Option<&ast::TableAlias>) -> Vec<Ident> {
        let columns = alias
            .map(|alias| alias.columns.as_slice())
            .unwrap_or_default();
        self.idents(columns.iter().map(|column| &column.name))
    }

    fn idents<'i>(&self, idents: impl Iterator<Item = &'i ast::Ident>) -> Vec<Ident> {
        idents
            .map(|ident| Ident {
                value: ident.value.clone(),
                span: self.script.span(ident.span),
            })
            .collect()
    }
}

fn scan_columns(table: &Table) -> Vec<OutputColumn> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(position, column)| OutputColumn {
            name: column.name.clone(),
            expr: scope_column(position, column).expr,
            span: column.span,
        })
        .collect()
}

/// The conditions that must all hold, each to be checked by itself.
fn conditions(expr: &ast::Expr) -> Vec<&ast::Expr> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let ast::Expr::BinaryOp {
        left,
        op: ast::BinaryOperator::And,
        right,
    } = rest
    {
        found.push(&**right);
        rest = left;
    }
    found.push(rest);
    found.reverse();
    found
}

/// The SELECT list. A column without a name is `EXPR$` and its position, as in Flink. One that is refused is told and keeps
/// its place.
fn project(
    binder: &Binder<'_>,
    scope: &Scope,
    items: &[ast::SelectItem],
    told: &mut Told,
) -> Vec<OutputColumn> {
    let mut columns = Vec::new();
    for item in items {
        let span = binder.place(item);
        match item {
            ast::SelectItem::UnnamedExpr(expr) => {
                let name = name_of(expr).unwrap_or_else(|| format!("EXPR${}", columns.len()));
                columns.push(output(binder, expr, name, told));
            }
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                if alias.quote_style.is_none() {
                    let span = binder.script.span(alias.span);
                    told.settle(crate::reserved::check(&alias.value, span));
                }
                columns.push(output(binder, expr, alias.value.clone(), told));
            }
            ast::SelectItem::Wildcard(_) => {
                columns.extend(scope.columns().iter().map(|column| star(column, span)));
            }
            ast::SelectItem::QualifiedWildcard(
                ast::SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) => {
                let parts: Vec<ast::Ident> = name
                    .0
                    .iter()
                    .filter_map(|p| p.as_ident().cloned())
                    .collect();
                let starred = scope.star(&parts, span);
                columns.extend(told.settle(starred).unwrap_or_else(|| vec![refused(span)]));
            }
            ast::SelectItem::QualifiedWildcard(..) => {
                told.tell(Diagnostic::unsupported(span, "this `*` is"));
                columns.push(refused(span));
            }
        }
    }
    columns
}

/// Nameless, so that nobody is told that a column is missing which may be meant to be here.
fn refused(span: Span) -> OutputColumn {
    OutputColumn {
        name: String::new(),
        expr: None,
        span,
    }
}

pub(super) fn star(column: &ScopeColumn, span: Span) -> OutputColumn {
    OutputColumn {
        name: column.name.clone(),
        expr: column.expr.clone(),
        span,
    }
}

fn output(binder: &Binder<'_>, expr: &ast::Expr, name: String, told: &mut Told) -> OutputColumn {
    let span = binder.place(expr);
    let typed = |expr: Expr| match expr.ty().kind {
        TypeKind::Null => {
            let error = Diagnostic::error("type", span, "a bare NULL has no type");
            Err(error.hint("CAST(NULL AS STRING)"))
        }
        _ => Ok(expr),
    };
    let expr = told.settle(binder.bind(expr).and_then(typed));
    OutputColumn { name, expr, span }
}

fn name_of(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Identifier(name) => Some(name.value.clone()),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        ast::Expr::Nested(inner) => name_of(inner),
        _ => None,
    }
}
