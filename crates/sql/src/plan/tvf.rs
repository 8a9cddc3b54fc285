//! The window functions of FROM: `TUMBLE`, `HOP`, `CUMULATE`, `SESSION`, with and without `TABLE(…)`, arguments by place or by name.
//!
//! Checks and messages are Flink's, as far as it checks: it refuses most of them only when the query is run.

use super::Planner;
use super::algebra::{Algebra, Attribute, Relation, WindowColumn, WindowOf};
use super::clock::refuse_proctime;
use super::expr::Binder;
use super::query::Around;
use super::scope::{Scope, unknown_column};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::dialect::TABLE;
use lw_graph::{Expr, TypeKind, Value, Window, WindowProperty, WindowShape};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};
use std::rc::Rc;

/// A call in FROM.
pub(super) struct Call<'q> {
    name: String,
    args: &'q [FunctionArg],
    span: Span,
}

/// The parameters behind DATA and TIMECOL; the last of those that take an offset may be left out.
const FUNCTIONS: [(&str, &[&str]); 4] = [
    ("TUMBLE", &["SIZE", "OFFSET"]),
    ("HOP", &["SLIDE", "SIZE", "OFFSET"]),
    ("CUMULATE", &["STEP", "SIZE", "OFFSET"]),
    ("SESSION", &["GAP"]),
];

const MINUTE: &str = "INTERVAL '1' MINUTE";

impl<'q> Call<'q> {
    /// What stands in `TABLE(…)`, if it is a call.
    pub(super) fn of_table(planner: &Planner<'_>, expr: &'q ast::Expr) -> Option<Call<'q>> {
        let ast::Expr::Function(function) = expr else {
            return None;
        };
        let FunctionArguments::List(list) = &function.args else {
            return None;
        };
        Some(Call::named(planner, &function.name, &list.args))
    }

    pub(super) fn named(
        planner: &Planner<'_>,
        name: &ast::ObjectName,
        args: &'q [FunctionArg],
    ) -> Call<'q> {
        let scope = Scope::default();
        let span = Binder::new(planner.script, &scope, Span::default()).place(name);
        Call {
            name: name.to_string().to_ascii_uppercase(),
            args,
            span,
        }
    }

    fn parameters(&self) -> Result<Vec<&'static str>> {
        let known = FUNCTIONS.iter().find(|(name, _)| *name == self.name);
        let Some((_, own)) = known else {
            let message = format!("there is no table function {}", self.name);
            return Err(Diagnostic::error("unknown-function", self.span, message)
                .hint("window functions are TUMBLE, HOP, CUMULATE and SESSION"));
        };
        Ok(["DATA", "TIMECOL"].iter().chain(*own).copied().collect())
    }

    /// How it is called.
    fn usage(&self) -> String {
        let own = match self.name.as_str() {
            "HOP" | "CUMULATE" => format!("INTERVAL '10' SECOND, {MINUTE}"),
            _ => MINUTE.to_string(),
        };
        let partition = if self.name == "SESSION" {
            " PARTITION BY key"
        } else {
            ""
        };
        let name = &self.name;
        format!("TABLE({name}(TABLE t{partition}, DESCRIPTOR(event_time), {own}))")
    }

    fn error(&self, span: Span, message: String) -> Diagnostic {
        Diagnostic::error("window", span, message).hint(self.usage())
    }

    /// The arguments in the order of the parameters.
    fn arguments(&self) -> Result<Vec<Option<&'q ast::Expr>>> {
        let parameters = self.parameters()?;
        let least = parameters.len() - usize::from(parameters.contains(&"OFFSET"));
        let mut given = vec![None; parameters.len()];
        for (at, arg) in self.args.iter().enumerate() {
            let (at, arg) = match arg {
                FunctionArg::Unnamed(arg) => (Some(at), arg),
                FunctionArg::Named { name, arg, .. } => {
                    let name = name.value.to_ascii_uppercase();
                    (parameters.iter().position(|p| *p == name), arg)
                }
                FunctionArg::ExprNamed { arg, .. } => (None, arg),
            };
            let FunctionArgExpr::Expr(arg) = arg else {
                return Err(self.error(self.span, format!("{} takes no *", self.name)));
            };
            let slot = at.and_then(|at| given.get_mut(at));
            if slot.is_none_or(|slot| slot.replace(arg).is_some()) {
                let list = parameters.join(", ");
                let message = format!("{} takes {list}, each once", self.name);
                return Err(self.error(self.span, message));
            }
        }
        match given[..least].iter().position(Option::is_none) {
            None => Ok(given),
            Some(missing) => {
                let message = format!("{} is called without {}", self.name, parameters[missing]);
                Err(self.error(self.span, message))
            }
        }
    }
}

impl Planner<'_> {
    pub(super) fn window_function(
        &mut self,
        call: &Call<'_>,
        alias: Option<&ast::TableAlias>,
        around: &Around,
    ) -> Result<(Relation, Scope)> {
        let arguments = call.arguments()?;
        let [Some(data), Some(time), lengths @ ..] = arguments.as_slice() else {
            unreachable!("both are never left out");
        };
        let (input, partition) = self.data(call, data, around)?;
        let time = self.time_column(call, time, &input)?;
        let lengths = lengths.iter().map(|length| match length {
            Some(length) => self.length(call, length),
            None => Ok(0),
        });
        let lengths = lengths.collect::<Result<Vec<i64>>>()?;
        let window = Window {
            shape: shape(call, &lengths)?,
            offset: match call.name.as_str() {
                "SESSION" => 0,
                _ => lengths[lengths.len() - 1],
            },
            time,
            zone: self.zone_of(&input.columns[time]),
        };
        let relation = input.windows(window, partition, call.span);
        let qualifier = alias.map(|alias| alias.name.value.clone());
        let renamed = self.alias_columns(alias);
        self.over(relation, qualifier, &renamed, call.span)
    }

    /// The session's time zone, if the column is an instant.
    pub(super) fn zone_of(&self, time: &Attribute) -> Option<String> {
        let ty = time.ty.as_ref()?;
        let zone = self.plan.settings.get("table.local-time-zone");
        let zone = zone.map_or("UTC", String::as_str);
        matches!(ty.kind, TypeKind::TimestampLtz(_)).then(|| zone.to_string())
    }

    /// The rows that windows are given to, and the columns of a PARTITION BY.
    fn data(
        &mut self,
        call: &Call<'_>,
        data: &ast::Expr,
        around: &Around,
    ) -> Result<(Relation, Vec<usize>)> {
        let wanted = || call.error(call.span, format!("{} needs a table", call.name));
        match data {
            ast::Expr::Nested(inner) => self.data(call, inner, around),
            ast::Expr::Subquery(query) => Ok((self.query(query, around)?, Vec::new())),
            ast::Expr::Prefixed { prefix, value } if prefix.value == TABLE => {
                let ast::Expr::Tuple(list) = value.as_ref() else {
                    return Err(wanted());
                };
                let [ast::Expr::CompoundIdentifier(name), partition @ ..] = list.as_slice() else {
                    return Err(wanted());
                };
                let name = ast::ObjectName::from(name.clone());
                let (relation, scope) = self.named(&name, None, around)?;
                let binder = Binder::new(self.script, &scope, call.span);
                let partition = partition.iter().map(|column| match binder.bind(column)? {
                    Expr::Column { index, .. } => Ok(index),
                    _ => {
                        let message = "PARTITION BY takes columns".to_string();
                        Err(call.error(binder.place(column), message))
                    }
                });
                let partition = partition.collect::<Result<Vec<usize>>>()?;
                if !partition.is_empty() && call.name != "SESSION" {
                    let message = format!("{} has no PARTITION BY", call.name);
                    return Err(Diagnostic::error("window", call.span, message)
                        .detail("Its windows are the same for every key.")
                        .hint("GROUP BY key, window_start, window_end"));
                }
                Ok((relation, partition))
            }
            _ => Err(wanted()),
        }
    }

    /// The column of `DESCRIPTOR(column)`.
    fn time_column(&self, call: &Call<'_>, time: &ast::Expr, input: &Relation) -> Result<usize> {
        let scope = Scope::default();
        let span = Binder::new(self.script, &scope, call.span).place(time);
        let column = match time {
            ast::Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
                single_name(f)
            }
            _ => None,
        };
        let Some(column) = column else {
            let message = format!("{} needs DESCRIPTOR and one column in it", call.name);
            return Err(call.error(span, message));
        };
        let names = || input.columns.iter().map(|column| column.name.as_str());
        let span = self.script.span(column.span);
        let Some(index) = names().position(|name| name == column.value) else {
            return Err(match names().any(str::is_empty) {
                true => Diagnostic::told_before(span),
                false => unknown_column(&column.value, names(), span),
            });
        };
        check_time(index, input, span)?;
        Ok(index)
    }

    fn length(&self, call: &Call<'_>, length: &ast::Expr) -> Result<i64> {
        let scope = Scope::default();
        let binder = Binder::new(self.script, &scope, call.span);
        millis(&binder, length)
    }
}

fn single_name(descriptor: &ast::Function) -> Option<&ast::Ident> {
    let FunctionArguments::List(list) = &descriptor.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(column)))] => {
            Some(column)
        }
        _ => None,
    }
}

/// A constant length of time.
pub(super) fn millis(binder: &Binder<'_>, length: &ast::Expr) -> Result<i64> {
    let span = binder.place(length);
    match binder.bind(length)? {
        Expr::Literal {
            value: Value::IntervalMillis(millis),
            ..
        } => Ok(millis),
        Expr::Literal {
            value: Value::IntervalMonths(_),
            ..
        } => Err(
            Diagnostic::error("window", span, "a window has no length in months or years")
                .detail("They are not all of one length.")
                .hint("INTERVAL '30' DAY"),
        ),
        other => {
            let message = format!(
                "a window's length is an interval, this is {}",
                other.ty().kind
            );
            Err(Diagnostic::error("window", span, message).hint(MINUTE))
        }
    }
}

/// Windows are of event time: of the column that a watermark is about.
pub(super) fn check_time(index: usize, input: &Relation, span: Span) -> Result<()> {
    let time = &input.columns[index];
    let Some(ty) = &time.ty else {
        return Err(Diagnostic::told_before(span));
    };
    let name = &time.name;
    if !ty.kind.is_timestamp() {
        let message = format!(
            "windows are of a TIMESTAMP or TIMESTAMP_LTZ, '{name}' is {}",
            ty.kind
        );
        return Err(Diagnostic::error("window", span, message)
            .hint("declare the column as TIMESTAMP(3), or compute one: event_time AS TO_TIMESTAMP_LTZ(millis, 3)"));
    }
    if time.rowtime {
        return Ok(());
    }
    if input.is_proctime(index) {
        return Err(refuse_proctime(span, "windows by processing time are"));
    }
    let message = format!("'{name}' is no event time: no watermark is about it");
    let error = Diagnostic::error("window", span, message);
    let table = &input.scans()[0].table;
    Err(match &table.watermark {
        None => error
            .detail(format!("Without a watermark on table '{}' nobody knows when a window is over.", table.path.object))
            .hint(format!("WATERMARK FOR `{name}` AS `{name}` - INTERVAL '5' SECOND")),
        Some(watermark) => error
            .detail("A column keeps its event time as long as it is handed on as it is; a CAST or a computation ends it.")
            .hint(format!("the event time of table '{}' is '{}'", table.path.object, table.columns[watermark.column].name)),
    })
}

/// The lengths, in the order in which the function takes them; the offset is the last.
fn shape(call: &Call<'_>, lengths: &[i64]) -> Result<WindowShape> {
    let shape = match (call.name.as_str(), lengths) {
        ("TUMBLE", [size, _]) => WindowShape::Tumble { size: *size },
        ("HOP", [slide, size, _]) => WindowShape::Hop {
            slide: *slide,
            size: *size,
        },
        ("CUMULATE", [step, size, _]) => WindowShape::Cumulate {
            step: *step,
            size: *size,
        },
        ("SESSION", [gap]) => WindowShape::Session { gap: *gap },
        _ => unreachable!("the arguments were counted"),
    };
    let offset = match shape {
        WindowShape::Session { .. } => 0,
        _ => lengths[lengths.len() - 1],
    };
    check_shape(shape, offset, call.span)?;
    Ok(shape)
}

/// What Flink checks when the query is run.
pub(super) fn check_shape(shape: WindowShape, offset: i64, span: Span) -> Result<()> {
    let name = shape.name();
    let (lengths, size): (&[(&str, i64)], i64) = match &shape {
        WindowShape::Tumble { size } => (&[("size", *size)], *size),
        WindowShape::Hop { slide, size } => (&[("slide", *slide), ("size", *size)], *size),
        WindowShape::Cumulate { step, size } => (&[("step", *step), ("size", *size)], *size),
        WindowShape::Session { gap } => (&[("gap", *gap)], *gap),
    };
    let error = |message: String| Diagnostic::error("window", span, message);
    if let Some((what, length)) = lengths.iter().find(|(_, length)| *length <= 0) {
        return Err(error(format!(
            "the {what} of {name} must be positive, this is {length} ms"
        )));
    }
    if let [(what, step), _] = *lengths
        && size % step != 0
    {
        let message = format!(
            "the size of {name} must be a multiple of its {what}: {size} ms is none of {step} ms"
        );
        return Err(error(message).detail("Windows share what they count of each step."));
    }
    if offset.saturating_abs() >= size && offset != 0 {
        let message =
            format!("the offset of {name} must be less than its size: {offset} ms, {size} ms");
        return Err(error(message));
    }
    Ok(())
}

impl Relation {
    fn windows(self, window: Window, partition: Vec<usize>, span: Span) -> Relation {
        let time = self.columns[window.time].ty.clone();
        let time = time.expect("the time column was checked").kind;
        let of = Rc::new(WindowOf {
            zone: window.zone.clone(),
            cut: Some((window.shape, window.offset)),
        });
        let mut columns = self.columns.clone();
        columns.extend(window_columns(&of, &time, span));
        Relation {
            operator: Algebra::Windows {
                input: Box::new(self),
                window,
                partition,
            },
            columns,
        }
    }
}

/// `window_start`, `window_end` and `window_time`; the last is the event time of what is made of the window.
pub(super) fn window_columns(of: &Rc<WindowOf>, time: &TypeKind, span: Span) -> [Attribute; 3] {
    let column = |name: &str, property: WindowProperty, kind: TypeKind| Attribute {
        name: name.to_string(),
        ty: Some(kind.not_null()),
        rowtime: property == WindowProperty::Time,
        window: Some(WindowColumn {
            of: of.clone(),
            property,
        }),
        span,
    };
    let time = match time {
        TypeKind::TimestampLtz(_) => TypeKind::TimestampLtz(3),
        _ => TypeKind::Timestamp(3),
    };
    [
        column(
            "window_start",
            WindowProperty::Start,
            TypeKind::Timestamp(3),
        ),
        column("window_end", WindowProperty::End, TypeKind::Timestamp(3)),
        column("window_time", WindowProperty::Time, time),
    ]
}
