//! Calls with OVER: what they ask for, and aggregates of each row and those of its key before it.
//!
//! All calls of one SELECT are over the same window, as in Flink. What they give are columns behind those of the query's input; until
//! it is known how many those are, a call is a column far beyond. ROW_NUMBER in a window of event time is `rank`'s.

use super::algebra::{Algebra, Attribute, Output, Relation};
use super::call::{Below, Call, call_columns};
use super::clock::refuse_proctime;
use super::expr::{Binder, run_on_flink};
use super::rank;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::Value;
use lw_graph::{AggregateCall, AggregateFunction, Expr, Frame, FrameUnit, LogicalType, TypeKind};
use sqlparser::ast;
use std::cell::RefCell;

/// The calls with OVER in one SELECT.
pub(super) struct Overs<'q> {
    named: &'q [ast::NamedWindowDefinition],
    /// Milliseconds without a row behind which a key is forgotten.
    ttl: Option<i64>,
    asked: RefCell<Option<Asked>>,
}

/// A window and what is asked of it.
pub(super) struct Asked {
    pub partition: Vec<Expr>,
    pub order: Vec<Ordered>,
    frame: Frame,
    asks: Vec<Ask>,
    pub span: Span,
}

#[derive(Clone, PartialEq)]
pub(super) struct Ordered {
    pub by: Expr,
    pub ascending: bool,
    pub nulls_first: bool,
}

#[derive(PartialEq)]
enum Ask {
    Number,
    Aggregate(Box<Call>),
}

/// The first of the columns that stand for calls.
const CALLS: usize = usize::MAX / 2;

/// From the first row on.
const ALL_ROWS: Frame = Frame {
    unit: FrameUnit::Rows,
    preceding: None,
};

impl<'q> Overs<'q> {
    pub(super) fn new(select: &'q ast::Select, ttl: Option<i64>) -> Overs<'q> {
        Overs {
            named: &select.named_window,
            ttl,
            asked: RefCell::default(),
        }
    }

    pub(super) fn call(&self, binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Expr> {
        let name = f.name.to_string().to_ascii_uppercase();
        if matches!(name.as_str(), "RANK" | "DENSE_RANK") {
            return Err(Diagnostic::unsupported(span, format!("{name} is"))
                .detail("Flink has only ROW_NUMBER for the first rows of a window.")
                .hint("ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY …)"));
        }
        if f.filter.is_some() {
            let message = format!("{name} OVER has no FILTER");
            return Err(Diagnostic::error("over", span, message)
                .detail("Flink refuses it too.")
                .hint(format!(
                    "{name}(CASE WHEN condition THEN value END) OVER (…)"
                )));
        }
        let spec = self.spec(f, span)?;
        let (ask, frame) = match AggregateFunction::named(&name) {
            _ if name == "ROW_NUMBER" => {
                if spec.window_frame.is_some() {
                    let message = "ROW_NUMBER has no frame: each row has one number";
                    return Err(Diagnostic::error("over", span, message));
                }
                (Ask::Number, ALL_ROWS)
            }
            _ if name == "LAG" => {
                if spec.window_frame.is_some() {
                    let message = "LAG has no frame: it looks back as far as it is told";
                    return Err(Diagnostic::error("over", span, message));
                }
                let call = Call::lag(binder, f, span)?;
                // The rows of one time are all before each other, as Flink has it.
                let of_all = Frame {
                    unit: FrameUnit::Range,
                    preceding: None,
                };
                (Ask::Aggregate(Box::new(call)), of_all)
            }
            None if matches!(
                name.as_str(),
                "LEAD" | "NTILE" | "CUME_DIST" | "PERCENT_RANK"
            ) =>
            {
                let what = format!("{name} OVER is");
                return Err(Diagnostic::unsupported(span, what)
                    .detail(
                        "It is of rows that are not there yet. Flink refuses it for streams too.",
                    )
                    .hint(
                        "LAG(value) OVER (PARTITION BY key ORDER BY event_time) in the later row",
                    ));
            }
            Some(function) => {
                let frame = frame(spec.window_frame.as_ref(), binder, span)?;
                let call = Call::bind(binder, function, f, span)?;
                let call = match frame.preceding {
                    None => call,
                    Some(_) => call.of_any(),
                };
                (Ask::Aggregate(Box::new(call)), frame)
            }
            None => {
                let what = format!("{name} OVER is");
                return Err(run_on_flink(Diagnostic::unsupported(span, what)));
            }
        };
        let asked = self.window(spec, frame, binder, span)?;
        self.ask(asked, ask, f)
    }

    fn window(
        &self,
        spec: &ast::WindowSpec,
        frame: Frame,
        binder: &Binder<'_>,
        span: Span,
    ) -> Result<Asked> {
        if spec.order_by.is_empty() {
            return Err(Diagnostic::error("over", span, "OVER needs an order")
                .hint("OVER (PARTITION BY key ORDER BY event_time)"));
        }
        let partition = spec.partition_by.iter().map(|by| binder.bind(by));
        let order = spec.order_by.iter().map(|by| {
            let ascending = by.options.asc.unwrap_or(true);
            Ok(Ordered {
                by: binder.bind(&by.expr)?,
                ascending,
                // NULL is less than anything.
                nulls_first: by.options.nulls_first.unwrap_or(ascending),
            })
        });
        Ok(Asked {
            partition: partition.collect::<Result<_>>()?,
            order: order.collect::<Result<_>>()?,
            frame,
            asks: Vec::new(),
            span,
        })
    }

    /// The column of a call. All are over one window.
    fn ask(&self, asked: Asked, ask: Ask, f: &ast::Function) -> Result<Expr> {
        let mut known = self.asked.borrow_mut();
        let span = asked.span;
        if let Some(known) = known.as_ref()
            && (&known.partition, &known.order, known.frame)
                != (&asked.partition, &asked.order, asked.frame)
        {
            let what = "calls with OVER of two windows in one query are";
            return Err(Diagnostic::unsupported(span, what)
                .detail("Flink refuses them too.")
                .hint("give each window a subquery of its own"));
        }
        let known = known.get_or_insert(asked);
        let ty = match &ask {
            Ask::Number => TypeKind::BigInt.not_null(),
            Ask::Aggregate(call) => call.ty.clone(),
        };
        let at = known.asks.iter().position(|known| *known == ask);
        let at = at.unwrap_or(known.asks.len());
        if at == known.asks.len() {
            known.asks.push(ask);
        }
        Ok(standing_for(at, f.name.to_string(), ty))
    }

    fn spec<'s>(&self, f: &'s ast::Function, span: Span) -> Result<&'s ast::WindowSpec>
    where
        'q: 's,
    {
        let spec = match &f.over {
            Some(ast::WindowType::WindowSpec(spec)) => spec,
            Some(ast::WindowType::NamedWindow(name)) => {
                let mut named = self.named.iter();
                let named = named.find(|window| window.0.value == name.value);
                match named {
                    Some(ast::NamedWindowDefinition(_, ast::NamedWindowExpr::WindowSpec(spec))) => {
                        spec
                    }
                    _ => {
                        let message = format!("there is no window '{name}'");
                        let hint = format!("FROM … WINDOW {name} AS (PARTITION BY … ORDER BY …)");
                        return Err(Diagnostic::error("window", span, message).hint(hint));
                    }
                }
            }
            None => unreachable!("the caller has looked for OVER"),
        };
        match spec.window_name {
            None => Ok(spec),
            Some(_) => {
                let what = "a window made of another is";
                Err(Diagnostic::unsupported(span, what).hint("write it out"))
            }
        }
    }

    /// The relation with the calls' columns, and the first of them.
    pub(super) fn finish(self, relation: Relation) -> Result<(Relation, usize)> {
        let columns = relation.columns.len();
        let Some(asked) = self.asked.into_inner() else {
            return Ok((relation, columns));
        };
        if asked.asks == [Ask::Number] && rank::is_windowed(&asked, &relation) {
            return rank::numbered(&asked, relation);
        }
        over(asked, relation, self.ttl)
    }
}

fn standing_for(call: usize, name: String, ty: LogicalType) -> Expr {
    let index = CALLS + call;
    Expr::Column { index, name, ty }
}

/// How far back the frame reaches. Without one it is all that is not later.
fn frame(given: Option<&ast::WindowFrame>, binder: &Binder<'_>, span: Span) -> Result<Frame> {
    use ast::{WindowFrameBound as Bound, WindowFrameUnits as Units};
    let Some(given) = given else {
        return Ok(Frame {
            unit: FrameUnit::Range,
            preceding: None,
        });
    };
    let wrong = |message: &str| Err(Diagnostic::error("over", span, message.to_string()));
    let unit = match given.units {
        Units::Rows => FrameUnit::Rows,
        Units::Range => FrameUnit::Range,
        Units::Groups => return wrong("a frame is of ROWS or of a RANGE"),
    };
    if !matches!(given.end_bound, None | Some(Bound::CurrentRow)) {
        return wrong("a frame ends with CURRENT ROW: rows that follow are not there yet");
    }
    let preceding = match &given.start_bound {
        Bound::CurrentRow => Some(0),
        Bound::Preceding(None) => None,
        Bound::Following(_) => return wrong("a frame begins before its row"),
        Bound::Preceding(Some(length)) => match (unit, binder.bind(length)?) {
            (
                FrameUnit::Rows,
                Expr::Literal {
                    value: Value::Integer(rows),
                    ..
                },
            ) if rows >= 0 => Some(rows),
            (
                FrameUnit::Range,
                Expr::Literal {
                    value: Value::IntervalMillis(millis),
                    ..
                },
            ) if millis >= 0 => Some(millis),
            (FrameUnit::Rows, _) => return wrong("ROWS PRECEDING takes a number"),
            (FrameUnit::Range, _) => return wrong("RANGE PRECEDING takes an interval"),
        },
    };
    Ok(Frame { unit, preceding })
}

fn over(asked: Asked, relation: Relation, ttl: Option<i64>) -> Result<(Relation, usize)> {
    let time = time_of(&asked, &relation)?;
    let mut below = Below::all(&relation);
    let keys: Vec<usize> = asked
        .partition
        .iter()
        .map(|by| below.push("", by))
        .collect();
    let numbered = asked.asks.contains(&Ask::Number);
    let calls = asked.asks.into_iter().map(|ask| match ask {
        Ask::Number => Call::of_rows(),
        Ask::Aggregate(call) => *call,
    });
    let calls: Vec<AggregateCall> = calls.map(|call| call.over(&mut below)).collect();
    let input = below.over(relation);
    let first = input.columns.len();
    let mut columns = input.columns.clone();
    columns.extend(call_columns(&calls, &input, asked.span));
    let relation = Relation {
        operator: Algebra::Over {
            input: Box::new(input),
            keys,
            time,
            frame: asked.frame,
            calls,
            number: numbered.then_some(first),
            // What an interval of event time bounds is let go by that.
            ttl: ttl.filter(|_| asked.frame.interval().is_none()),
            span: asked.span,
        },
        columns,
    };
    Ok((relation, first))
}

/// OVER is ordered by event time, rising: so it is known when no row can come in between.
fn time_of(asked: &Asked, relation: &Relation) -> Result<usize> {
    let by_time = |order: &Ordered| match &order.by {
        Expr::Column { index, .. } => relation
            .columns
            .get(*index)
            .filter(|c| c.rowtime)
            .map(|_| *index),
        _ => None,
    };
    let [order] = asked.order.as_slice() else {
        return Err(by_other(asked, "OVER by more than the event time is"));
    };
    match by_time(order) {
        Some(_) if !order.ascending => {
            let message = "OVER is ordered by rising event time";
            Err(Diagnostic::error("over", asked.span, message)
                .detail("The rows that come later are not there yet.")
                .hint("ORDER BY event_time"))
        }
        Some(time) => Ok(time),
        None if matches!(&order.by, Expr::Column { index, .. } if relation.is_proctime(*index)) => {
            Err(refuse_proctime(asked.span, "OVER by processing time is"))
        }
        None => Err(by_other(
            asked,
            "OVER by something else than the event time is",
        )),
    }
}

fn by_other(asked: &Asked, what: &str) -> Diagnostic {
    Diagnostic::unsupported(asked.span, what)
        .detail("Only of event time is it known when no row can come in between; any other result would have to be corrected.")
        .hint("ORDER BY event_time; the first rows by another order are those of a window: PARTITION BY window_start, window_end")
}

/// The calls' columns in place of what stood for them.
pub(super) fn placed(expr: &Expr, first: usize) -> Expr {
    expr.map_columns(&mut |index| match index.checked_sub(CALLS) {
        Some(call) => first + call,
        None => index,
    })
}

pub(super) fn place_all(outputs: &mut [Output], first: usize) {
    for (_, expr) in outputs.iter_mut() {
        *expr = expr.take().map(|expr| placed(&expr, first));
    }
}

/// The number of a row: a column like others.
pub(super) fn number_column(span: Span) -> Attribute {
    Attribute {
        name: "ROW_NUMBER()".to_string(),
        ty: Some(TypeKind::BigInt.not_null()),
        rowtime: false,
        window: None,
        span,
    }
}
