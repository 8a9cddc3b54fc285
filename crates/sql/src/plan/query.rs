//! A query, read clause by clause into relational algebra.
//!
//! A subquery, a view and a `WITH` name are the relation that their query is. Several tables in FROM are `from`'s, a window function there is
//! `tvf`'s, UNION `union`'s, a subquery in WHERE `semi`'s, GROUP BY `group`'s, OVER `over`'s; order is refused (`refuse`).

use super::Planner;
use super::algebra::{Attribute, Output, Relation};
use super::coerce::must_be_boolean;
use super::distinct::distinct;
use super::expr::{Binder, joined};
use super::from::From;
use super::group::{endless, stripped};
use super::over::{Overs, place_all, placed};
use super::pattern::with_patterns;
use super::rank::range;
use super::scope::{Scope, ScopeColumn};
use super::semi::Asked;
use super::tvf::Call;
use super::unnest::is_unnest;
use super::watermark::Watermarked;
use crate::Result;
use crate::catalog::{Object, View};
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::{Ident, Name, Query};
use crate::settings;
use lw_graph::{Expr, Function, TypeKind};
use sqlparser::ast::{self, SetExpr, TableFactor};

/// Views, subqueries and `WITH` queries within each other; planning them is recursive.
const MOST_QUERIES: usize = 16;

/// Tables that a query names, those of its views among them.
const MOST_READS: usize = 256;

/// What is visible around a query: its place, its database, the `WITH` names.
#[derive(Clone, Default)]
pub(super) struct Around {
    pub span: Span,
    ctes: Vec<Cte>,
    /// Queries around this one: subqueries, views, `WITH` queries.
    depth: usize,
}

impl Around {
    /// Nothing is around what stands there.
    pub(super) fn of(span: Span) -> Around {
        Around {
            span,
            ..Around::default()
        }
    }
}

#[derive(Clone)]
struct Cte {
    name: String,
    columns: Vec<Ident>,
    query: Box<ast::Query>,
}

impl Planner<'_> {
    pub(super) fn create_view(&mut self, create: crate::parse::CreateView) -> Result<()> {
        let (lifetime, if_not_exists) = (create.lifetime, create.if_not_exists);
        let path = self
            .catalog
            .prepare(&create.name, lifetime, if_not_exists)?;
        let Some(path) = path else {
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
            place: self.catalog.current.clone(),
        };
        let view = Object::View(view.into());
        self.catalog
            .insert(path, lifetime, view, self.statement, Vec::new());
        Ok(())
    }

    pub(super) fn relation(&mut self, query: &Query) -> Result<Relation> {
        let around = Around::of(query.span);
        self.reads = 0;
        self.query(&query.ast, &around)
    }

    pub(super) fn query(&mut self, query: &ast::Query, around: &Around) -> Result<Relation> {
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
            SetExpr::SetOperation { .. } => self.set_operation(&query.body, &around),
            SetExpr::Values(_) => Err(self
                .refuse(&around, "VALUES", "INSERT … VALUES is")
                .hint("produce the rows to a topic; a pipeline reads topics")),
            _ => Err(self.refuse(&around, "TABLE", "this form of query is")),
        }
    }

    pub(super) fn select(&mut self, select: &ast::Select, around: &Around) -> Result<Relation> {
        self.refuse_select_clauses(select, around)?;
        let from = self.from(select, around)?;
        self.rows_and_columns(select, from, around)
    }

    /// What WHERE and SELECT make of tables. (Not in `select`, which is recursive: its frame must be small.)
    fn rows_and_columns(
        &mut self,
        select: &ast::Select,
        from: From,
        around: &Around,
    ) -> Result<Relation> {
        let scope = &from.scope.clone();
        let watermark = &Watermarked::of(&from.columns);
        let mut relation = self.rows(select, from, watermark, around)?;
        let mut inner = Binder::new(self.script, scope, around.span);
        inner.no_aggregate = Some([
            "an aggregate is of rows, not of groups",
            "aggregate in a subquery, and its results around it",
        ]);
        inner.watermark = Some(watermark);
        let grouped = self.grouping(select, inner, &relation, around)?;
        let overs = Overs::new(select, settings::state_ttl(&self.plan.settings));
        let mut binder = Binder::new(self.script, scope, around.span);
        binder.grouped = grouped.as_ref();
        binder.watermark = Some(watermark);
        let having = match &select.having {
            None => None,
            Some(having) if grouped.is_none() => {
                let place = binder.place(having);
                return Err(endless(place, "HAVING without windows in GROUP BY is"));
            }
            Some(having) => {
                let bound = binder.bind(having)?;
                Some(must_be_boolean(bound, "HAVING", binder.place(having))?)
            }
        };
        binder.overs = Some(&overs);
        let mut outputs = project(&binder, scope, &select.projection, &mut self.told);
        for (attribute, expr) in &mut outputs {
            let checked = expr
                .take()
                .map(|expr| self.computable(expr, attribute.span));
            *expr = checked.and_then(|checked| self.told.settle(checked));
            attribute.ty = attribute.ty.take().filter(|_| expr.is_some());
        }
        let qualify = match &select.qualify {
            None => Vec::new(),
            Some(qualify) => self.bound_conditions(qualify, "QUALIFY", &binder),
        };
        relation = watermark.put(relation)?;
        if let Some(grouped) = grouped {
            relation = grouped.finish(relation);
        }
        if let Some(having) = having {
            relation = relation.filter(having);
        }
        let (mut relation, first) = overs.finish(relation)?;
        place_all(&mut outputs, first);
        let qualify = qualify.iter().map(|condition| placed(condition, first));
        relation = keep(relation, qualify.collect(), around.span)?;
        hand_on(&mut outputs, &relation);
        let relation = relation.project(outputs);
        match select.distinct {
            Some(ast::Distinct::Distinct) => {
                if let Some(refused) = relation.columns.iter().find(|c| c.ty.is_none()) {
                    return Err(Diagnostic::told_before(refused.span));
                }
                let span = self.find_word(around, "DISTINCT").unwrap_or(around.span);
                distinct(relation, span)
            }
            _ => Ok(relation),
        }
    }

    /// The rows for which WHERE holds.
    fn rows(
        &mut self,
        select: &ast::Select,
        from: From,
        watermark: &Watermarked,
        around: &Around,
    ) -> Result<Relation> {
        let Some(condition) = &select.selection else {
            return Ok(from.finish(Vec::new(), around.span)?.0);
        };
        let scope = from.scope.clone();
        let mut binder = Binder::new(self.script, &scope, around.span);
        binder.watermark = Some(watermark);
        binder.no_aggregate = Some([
            "WHERE is asked of each row, before there are groups",
            "GROUP BY window_start, window_end HAVING …",
        ]);
        let place = binder.place(condition);
        let (asked, others): (Vec<_>, Vec<_>) = conditions(condition)
            .into_iter()
            .partition(|condition| Asked::of(condition).is_some());
        let parts = self.bound_all(others, "WHERE", &binder);
        let (of_watermark, parts): (Vec<Expr>, Vec<Expr>) =
            parts.into_iter().partition(|part| watermark.is_in(part));
        let (relation, mut left) = from.finish(parts, place)?;
        left.extend(of_watermark);
        let mut relation = keep(watermark.put(relation)?, left, place)?;
        for asked in asked.into_iter().filter_map(Asked::of) {
            relation = self.asked(relation, &scope, &asked, around)?;
        }
        Ok(relation)
    }

    /// The conditions that all must hold. One that is refused is told and left out.
    pub(super) fn bound_conditions(
        &mut self,
        condition: &ast::Expr,
        clause: &str,
        binder: &Binder<'_>,
    ) -> Vec<Expr> {
        self.bound_all(conditions(condition), clause, binder)
    }

    /// The same expression, if its patterns are patterns to the engine.
    fn computable(&self, expr: Expr, span: Span) -> Result<Expr> {
        let mut problems = with_patterns(&expr).into_iter();
        match problems.find_map(|call| self.env.problem_of(call)) {
            None => Ok(expr),
            Some(problem) => Err(Diagnostic::error("pattern", span, problem)),
        }
    }

    fn bound_all(
        &mut self,
        conditions: Vec<&ast::Expr>,
        clause: &str,
        binder: &Binder<'_>,
    ) -> Vec<Expr> {
        let mut parts = Vec::new();
        for part in conditions {
            let place = binder.place(part);
            let bound = binder.bind(part);
            let bound = bound.and_then(|bound| must_be_boolean(bound, clause, place));
            let bound = bound.and_then(|bound| self.computable(bound, place));
            parts.extend(self.told.settle(bound));
        }
        parts
    }

    pub(super) fn table_factor(
        &mut self,
        factor: &TableFactor,
        around: &Around,
    ) -> Result<(Relation, Scope)> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                version: None,
                sample: None,
                ..
            } => self.named(name, alias.as_ref(), around),
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                version: None,
                sample: None,
                ..
            } if !is_unnest(factor) => {
                let call = Call::named(self, name, &args.args);
                self.window_function(&call, alias.as_ref(), around)
            }
            TableFactor::TableFunction { expr, alias } => match Call::of_table(self, expr) {
                Some(call) => self.window_function(&call, alias.as_ref(), around),
                None => Err(self.refuse_table_factor(factor, around)),
            },
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

    pub(super) fn named(
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
                self.reads += 1;
                if self.reads > MOST_READS {
                    let message = format!("a query that names more than {MOST_READS} tables");
                    return Err(Diagnostic::error("too-long", span, message)
                        .detail("A view counts as often as it is named.")
                        .hint("land an inner query in a table of its own"));
                }
                let mut options = table.options.clone();
                let hinted = self.options_hint(span)?;
                options.retain(|o| hinted.iter().all(|h| h.key.value != o.key.value));
                options.extend(hinted);
                let idle = self.idle_after(&options);
                let relation = Relation::of_table(table, options, idle, span);
                let qualifier = match alias_name {
                    Some(alias) => vec![alias],
                    None => vec![path.place.catalog, path.place.database, path.object],
                };
                self.scoped(relation, qualifier, &renamed, span)
            }
        }
    }

    /// A view's query, in the database in which it was written.
    fn view(&mut self, view: &View, around: &Around) -> Result<Relation> {
        let place = std::mem::replace(&mut self.catalog.current, view.place.clone());
        let inner = Around {
            span: view.query.span,
            ctes: Vec::new(),
            depth: around.depth,
        };
        let relation = self.query(&view.query.ast, &inner);
        self.catalog.current = place;
        relation
    }

    /// What a view gives, under the names that it gives its columns.
    pub(super) fn view_columns(&mut self, view: &View) -> Result<Relation> {
        let mut relation = self.view(view, &Around::default())?;
        for (column, given) in relation.columns.iter_mut().zip(&view.columns) {
            column.name.clone_from(&given.value);
        }
        match relation.columns.iter().find(|column| column.ty.is_none()) {
            Some(refused) => Err(Diagnostic::told_before(refused.span)),
            None => Ok(relation),
        }
    }

    pub(super) fn over(
        &self,
        relation: Relation,
        alias: Option<String>,
        renamed: &[Ident],
        span: Span,
    ) -> Result<(Relation, Scope)> {
        self.scoped(relation, alias.into_iter().collect(), renamed, span)
    }

    /// The names under which a relation's columns are known outside.
    pub(super) fn scoped(
        &self,
        mut relation: Relation,
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
        for (column, name) in relation.columns.iter_mut().zip(renamed) {
            column.name.clone_from(&name.value);
        }
        let columns = relation.columns.iter().enumerate();
        let columns = columns.map(|(index, column)| ScopeColumn {
            name: column.name.clone(),
            qualifier: qualifier.clone(),
            expr: relation.column(index),
        });
        let scope = Scope::new(columns.collect());
        Ok((relation, scope))
    }

    pub(super) fn alias_columns(&self, alias: Option<&ast::TableAlias>) -> Vec<Ident> {
        let columns = alias
            .map(|alias| alias.columns.as_slice())
            .unwrap_or_default();
        self.idents(columns.iter().map(|column| &column.name))
    }

    pub(super) fn idents<'i>(&self, idents: impl Iterator<Item = &'i ast::Ident>) -> Vec<Ident> {
        idents
            .map(|ident| Ident {
                value: ident.value.clone(),
                span: self.script.span(ident.span),
            })
            .collect()
    }
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

/// Rows for which all conditions hold. Those on a rank say which ranks there are.
pub(super) fn keep(mut relation: Relation, conditions: Vec<Expr>, span: Span) -> Result<Relation> {
    let mut others = Vec::new();
    for condition in conditions {
        let is_rank = match range(&condition) {
            Some((column, ranks)) => relation.keep_ranks(column, ranks)?,
            None => false,
        };
        if !is_rank {
            others.push(condition);
        }
    }
    if others.is_empty() {
        return Ok(relation);
    }
    Ok(relation.filter(joined(Function::And, others, span)?))
}

/// A column that is only named hands on its event time and its window; whatever is computed from it is a time like any other.
fn hand_on(outputs: &mut [Output], relation: &Relation) {
    for (attribute, expr) in outputs {
        let named = match expr {
            Some(Expr::Column { index, .. }) if attribute.rowtime => {
                Some(&relation.columns[*index])
            }
            _ => None,
        };
        attribute.rowtime = named.is_some_and(|named| named.rowtime);
        attribute.window = named.and_then(|named| named.window.clone());
    }
}

/// The SELECT list over a relation. A column without a name is `EXPR$` and its position, as in Flink. One that is refused is
/// told and keeps its place.
fn project(
    binder: &Binder<'_>,
    scope: &Scope,
    items: &[ast::SelectItem],
    told: &mut Told,
) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for item in items {
        let span = binder.place(item);
        let mut named = |(name, expr): (String, Option<Expr>)| {
            let seen = expr.map(|expr| binder.seen(expr, span));
            let seen = seen.and_then(|seen| told.settle(seen));
            let mut output = output(name, seen, span);
            output.0.rowtime = true;
            output
        };
        match item {
            ast::SelectItem::UnnamedExpr(expr) => {
                let name = name_of(expr).unwrap_or_else(|| format!("EXPR${}", outputs.len()));
                outputs.push(selected(binder, expr, name, told));
            }
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                if alias.quote_style.is_none() {
                    let span = binder.script.span(alias.span);
                    told.settle(crate::reserved::check(&alias.value, span));
                }
                let name = alias.value.clone();
                outputs.push(selected(binder, expr, name, told));
            }
            ast::SelectItem::Wildcard(_) => {
                outputs.extend(scope.all().map(&mut named));
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
                match scope.star(&parts, span) {
                    Ok(starred) => outputs.extend(starred.into_iter().map(&mut named)),
                    Err(error) => {
                        told.tell(error);
                        outputs.push(refused(span));
                    }
                }
            }
            ast::SelectItem::QualifiedWildcard(..) => {
                told.tell(Diagnostic::unsupported(span, "this `*` is"));
                outputs.push(refused(span));
            }
        }
    }
    outputs
}

/// Nameless, so that nobody is told that a column is missing which may be meant to be here.
fn refused(span: Span) -> Output {
    output(String::new(), None, span)
}

pub(super) fn output(name: String, expr: Option<Expr>, span: Span) -> Output {
    let attribute = Attribute {
        name,
        ty: expr.as_ref().map(|expr| expr.ty().clone()),
        rowtime: false,
        window: None,
        span,
    };
    (attribute, expr)
}

fn selected(binder: &Binder<'_>, expr: &ast::Expr, name: String, told: &mut Told) -> Output {
    let span = binder.place(expr);
    let typed = |expr: Expr| match expr.ty().kind {
        TypeKind::Null => {
            let error = Diagnostic::error("type", span, "a bare NULL has no type");
            Err(error.hint("CAST(NULL AS STRING)"))
        }
        _ => Ok(expr),
    };
    let bound = told.settle(binder.bind(expr).and_then(typed));
    let mut output = output(name, bound, span);
    // `CAST(ts AS TIMESTAMP(3))` is the same column without its event time.
    output.0.rowtime = !matches!(stripped(expr), ast::Expr::Cast { .. });
    output
}

pub(super) fn name_of(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Identifier(name) => Some(name.value.clone()),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        ast::Expr::Nested(inner) => name_of(inner),
        // A word of the clock is a name too: CURRENT_DATE.
        ast::Expr::Function(f) if matches!(f.args, ast::FunctionArguments::None) => {
            Some(f.name.to_string())
        }
        _ => None,
    }
}
