//! `UNNEST(…)` beside a table: a row for each element of an ARRAY, for each entry of a MAP.
//!
//! What the columns are called and whether they may be NULL is Flink's: an element is called as the alias is, unless it is a ROW, whose
//! fields are the columns, or an entry, which is KEY and VALUE. The number of an element is ORDINALITY. A condition of CROSS and INNER JOIN
//! is one on rows; that of a LEFT JOIN says which elements a row has, and one that has none is there all the same.

use super::Planner;
use super::algebra::{Algebra, Attribute, Output, Relation};
use super::call::Below;
use super::expr::{Binder, joined};
use super::from::From;
use super::join::columns_of;
use super::query::Around;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{
    AggregateFunction, ElementCondition, Expr, Function, JoinKind, LogicalType, TypeKind, Value,
};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor};

/// An UNNEST of a value of what stands before it.
pub(super) struct Unnest {
    value: Expr,
    pub alias: Option<String>,
    /// Those that it adds.
    pub columns: Vec<Attribute>,
    outer: bool,
    ordinality: bool,
    /// Which elements a row has, over all columns up to its own.
    on: Option<Expr>,
}

/// The arguments of a call of UNNEST, whether numbers are asked for, and its alias.
type Parts<'q> = (&'q [FunctionArg], bool, Option<&'q ast::TableAlias>);

fn parts(factor: &TableFactor) -> Option<Parts<'_>> {
    let (name, args, ordinality, alias) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            with_ordinality,
            alias,
            ..
        } => (name, &args.args, *with_ordinality, alias),
        TableFactor::Function {
            name, args, alias, ..
        } => (name, args, false, alias),
        _ => return None,
    };
    let is_unnest = name.to_string().eq_ignore_ascii_case("UNNEST");
    is_unnest.then_some((args, ordinality, alias.as_ref()))
}

pub(super) fn is_unnest(factor: &TableFactor) -> bool {
    parts(factor).is_some()
}

impl Planner<'_> {
    /// The step that an UNNEST is; `None` for another table.
    pub(super) fn unnest(
        &self,
        factor: &TableFactor,
        from: &From,
        kind: JoinKind,
        around: &Around,
    ) -> Result<Option<Unnest>> {
        let Some((args, ordinality, alias)) = parts(factor) else {
            return Ok(None);
        };
        let span = self.factor_span(factor, around);
        let outer = match kind {
            JoinKind::Inner => false,
            JoinKind::Left => true,
            _ => {
                let message = format!("{} JOIN of an UNNEST has no meaning", kind.name());
                return Err(Diagnostic::error("unnest", span, message)
                    .detail("Its elements are those of the row before it.")
                    .hint("CROSS JOIN UNNEST(…), LEFT JOIN UNNEST(…) ON TRUE"));
            }
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] = args else {
            let message = "UNNEST takes one ARRAY or MAP";
            return Err(Diagnostic::error("unnest", span, message)
                .hint("CROSS JOIN UNNEST(items) AS t (item)"));
        };
        let binder = Binder::new(self.script, &from.scope, around.span);
        let value = binder.bind(of)?;
        from.check_collected(&value, binder.place(of))?;
        let mut columns = elements(value.ty(), alias, binder.place(of))?;
        if ordinality {
            let ty = TypeKind::Int.not_null();
            columns.push(("ORDINALITY".to_string(), ty));
        }
        let renamed = self.alias_columns(alias);
        if !renamed.is_empty() && renamed.len() != columns.len() {
            let message = format!("{} names for {} columns", renamed.len(), columns.len());
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Diagnostic::error("type", span, message)
                .detail(format!("An element is ({}).", names.join(", "))));
        }
        for ((name, _), given) in columns.iter_mut().zip(&renamed) {
            name.clone_from(&given.value);
        }
        let columns = columns.into_iter().map(|(name, ty)| Attribute {
            name,
            ty: Some(ty.clone().with_nullable(ty.nullable || outer)),
            rowtime: false,
            window: None,
            span,
        });
        Ok(Some(Unnest {
            value,
            alias: alias.map(|alias| alias.name.value.clone()),
            columns: columns.collect(),
            outer,
            ordinality,
            on: None,
        }))
    }
}

impl From {
    /// What COLLECT gathered is a MULTISET, of which a value is as many elements as it was there; here it is a MAP.
    fn check_collected(&self, value: &Expr, span: Span) -> Result<()> {
        let Expr::Column { index, .. } = value else {
            return Ok(());
        };
        match self.collected(*index) {
            false => Ok(()),
            true => Err(
                Diagnostic::unsupported(span, "UNNEST of what COLLECT gathered is")
                    .detail("It is a MULTISET, whose elements are values; here they are kept as a MAP of each value and how often it was there.")
                    .hint("gather with ARRAY_AGG"),
            ),
        }
    }
}

/// The columns of an element.
fn elements(
    ty: &LogicalType,
    alias: Option<&ast::TableAlias>,
    span: Span,
) -> Result<Vec<(String, LogicalType)>> {
    match &ty.kind {
        TypeKind::Array(of) => match &of.kind {
            TypeKind::Row(fields) => {
                let fields = fields.iter().map(|field| {
                    let nullable = field.ty.nullable || of.nullable;
                    let ty = field.ty.clone().with_nullable(nullable);
                    (field.name.clone(), ty)
                });
                Ok(fields.collect())
            }
            _ => {
                let name = alias.map_or("EXPR$0", |alias| alias.name.value.as_str());
                Ok(vec![(name.to_string(), (**of).clone())])
            }
        },
        TypeKind::Map(key, value) => Ok(vec![
            ("KEY".to_string(), (**key).clone()),
            ("VALUE".to_string(), (**value).clone()),
        ]),
        other => {
            let message = format!("UNNEST takes an ARRAY or a MAP, this is {other}");
            Err(Diagnostic::error("unnest", span, message))
        }
    }
}

impl Unnest {
    /// The conditions of ON that rows must meet. Where a row without elements is there too, they say instead which elements it has.
    pub(super) fn take_on(&mut self, on: Vec<Expr>, span: Span) -> Result<Vec<Expr>> {
        let is_true = |expr: &Expr| {
            matches!(
                expr,
                Expr::Literal {
                    value: Value::Boolean(true),
                    ..
                }
            )
        };
        let on: Vec<Expr> = on.into_iter().filter(|expr| !is_true(expr)).collect();
        if !self.outer || on.is_empty() {
            return Ok(on);
        }
        self.on = Some(joined(Function::And, on, span)?);
        Ok(Vec::new())
    }

    /// Its condition, where `width` columns stand before those of the element.
    fn condition(&self, width: usize) -> Option<ElementCondition> {
        let on = self.on.as_ref()?;
        let reads = columns_of(on).into_iter().filter(|column| *column < width);
        let reads: Vec<usize> = reads.collect();
        let is = on.map_columns(&mut |column| match reads.binary_search(&column) {
            Ok(place) => place,
            Err(_) => reads.len() + column - width,
        });
        Some(ElementCondition { reads, is })
    }
}

impl Relation {
    /// A row for each element, its columns behind those that are there.
    pub(super) fn unnest(self, unnest: Unnest) -> Relation {
        let width = self.columns.len();
        let on = unnest.condition(width);
        let mut below = Below::all(&self);
        let column = match &unnest.value {
            Expr::Column { index, .. } => *index,
            value => below.push("", value),
        };
        let input = match column < width {
            true => self,
            false => below.over(self),
        };
        let mut columns = input.columns.clone();
        columns.extend(unnest.columns);
        let unnested = Relation {
            operator: Algebra::Unnest {
                input: Box::new(input),
                column,
                outer: unnest.outer,
                ordinality: unnest.ordinality,
                on,
            },
            columns,
        };
        match column < width {
            true => unnested,
            false => unnested.without(width..column + 1),
        }
    }

    /// All columns but these.
    pub(super) fn without(self, dropped: std::ops::Range<usize>) -> Relation {
        let kept = self.columns.iter().enumerate();
        let kept = kept.filter(|(at, _)| !dropped.contains(at));
        let outputs = kept.map(|(index, attribute)| {
            let column = attribute.ty.clone().map(|ty| Expr::Column {
                index,
                name: attribute.name.clone(),
                ty,
            });
            (attribute.clone(), column)
        });
        let outputs: Vec<Output> = outputs.collect();
        self.project(outputs)
    }

    /// Whether a column is what COLLECT gathered.
    pub(super) fn is_collected(&self, column: usize) -> bool {
        let of_call = |call: &lw_graph::AggregateCall| call.function == AggregateFunction::Collect;
        match &self.operator {
            Algebra::Scan(_) => false,
            Algebra::Project(input, exprs) => match &exprs[column] {
                Expr::Column { index, .. } => input.is_collected(*index),
                _ => false,
            },
            Algebra::Aggregate {
                input, keys, calls, ..
            } => match keys.get(column) {
                Some(key) => input.is_collected(*key),
                None => {
                    let call = column.checked_sub(keys.len() + 3);
                    call.is_some_and(|call| of_call(&calls[call]))
                }
            },
            Algebra::Over { input, calls, .. } => match column.checked_sub(input.columns.len()) {
                Some(call) => of_call(&calls[call]),
                None => input.is_collected(column),
            },
            Algebra::Union(inputs) => inputs.iter().any(|input| input.is_collected(column)),
            Algebra::Join { inputs, .. } => {
                let [left, right] = &**inputs;
                match column.checked_sub(left.columns.len()) {
                    Some(column) => right.is_collected(column),
                    None => left.is_collected(column),
                }
            }
            _ => {
                let input = self.inputs()[0];
                column < input.columns.len() && input.is_collected(column)
            }
        }
    }
}
