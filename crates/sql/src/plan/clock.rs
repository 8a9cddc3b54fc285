//! The functions of the clock, written as a column of what is read.
//!
//! `NOW()` and its kin are of each row, as Flink's are in a stream, and they have to be the same whenever the row is read again: they are when
//! our log took its record in, which the source gives as one more column behind the table's own. So each call becomes an expression of that
//! column, which is handed up from the scan to where it is asked for. What is not there is refused: rows of many records have no
//! such time, nor have rows that no log has taken in.
//!
//! This comes before the session's zone is written in (`zone`), since some of these functions show what a clock on the wall does.

use super::algebra::{Algebra, Attribute, Relation};
use super::literal::cast;
use crate::connector;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, SourceColumn, Syntax, TypeKind, WindowShape};
use std::mem;

/// What the column is called where a plan is shown.
pub(super) const COLUMN: &str = "NOW()";

/// A function of the clock that has no value.
pub(super) struct Unclocked {
    pub function: Function,
    why: Why,
    /// The column that asks for it, if it is one that does.
    column: Option<Span>,
}

enum Why {
    /// A row of many records.
    Many,
    /// No log took in what this connector gives.
    Unlogged(String),
    /// A condition of elements, which is about columns alone.
    OfElements,
}

impl Unclocked {
    /// `place` is where the function is called, as far as that is known.
    pub(super) fn told(self, place: Span) -> Diagnostic {
        let name = self.function.name();
        let function = match self.function.definition().syntax {
            Syntax::Word => name.to_string(),
            _ => format!("{name}()"),
        };
        let span = self.column.unwrap_or(place);
        match self.why {
            Why::Many => {
                let message = format!(
                    "{function} has no value behind an aggregate, a join, a session or OVER"
                );
                Diagnostic::error("clock", span, message)
                    .detail("It is when the log took a row's record in, and there a row is of many records.")
                    .hint("compute it below: MAX(came) FROM (SELECT *, NOW() AS came FROM t) is when the last record came")
            }
            Why::Unlogged(connector) => {
                let message =
                    format!("{function} has no value in a table with 'connector' = '{connector}'");
                Diagnostic::error("clock", span, message)
                    .detail("It is when the log took a row's record in, so that a replay gives the same; no log has taken these rows in.")
                    .hint("bring the rows into a topic, and read that; or leave the column out")
            }
            Why::OfElements => {
                let message = format!(
                    "{function} in the condition of a LEFT JOIN UNNEST, or of a join FOR SYSTEM_TIME AS OF, is"
                );
                Diagnostic::unsupported(span, message)
                    .hint("make it a column before: FROM (SELECT *, NOW() AS came FROM t) LEFT JOIN UNNEST(xs) AS u (x) ON x > came")
            }
        }
    }
}

impl Relation {
    /// The same relation with the functions of the clock as columns of what it reads.
    ///
    /// # Errors
    /// Where one has no value.
    pub(super) fn clocked(mut self) -> Result<Relation, Unclocked> {
        for input in self.inputs_mut() {
            *input = input.taken().clocked()?;
        }
        let asked = match &self.operator {
            Algebra::Project(_, exprs) => {
                let mut asking = exprs.iter().zip(&self.columns);
                asking.find_map(|(expr, column)| Some((asks(expr)?, Some(column.span))))
            }
            Algebra::Filter(_, expression) | Algebra::Watermark { expression, .. } => {
                asks(expression).map(|function| (function, None))
            }
            Algebra::Join { condition, .. } => {
                let function = condition.as_ref().and_then(asks);
                function.map(|function| (function, None))
            }
            Algebra::Unnest { on, .. } => {
                let function = on.as_ref().and_then(|on| asks(&on.is));
                function.map(|function| (function, None))
            }
            Algebra::Lookup { lookup, .. } => {
                let on = lookup.on.as_ref().map(|on| &on.is);
                let mut said = on.into_iter().chain(&lookup.filter);
                said.find_map(asks).map(|function| (function, None))
            }
            _ => None,
        };
        let Some((function, column)) = asked else {
            return Ok(self);
        };
        self.reading_the_clock().map_err(|why| Unclocked {
            function,
            why,
            column,
        })
    }

    /// Whether a column is a processing time: `PROCTIME()`, handed on as it is.
    pub(super) fn is_proctime(&self, index: usize) -> bool {
        let passed = |input: &Relation| index < input.columns.len() && input.is_proctime(index);
        match &self.operator {
            Algebra::Scan(_) | Algebra::Aggregate { .. } => false,
            Algebra::Project(input, exprs) => match exprs.get(index) {
                Some(Expr::Column { index, .. }) => input.is_proctime(*index),
                expr => expr.is_some_and(is_proctime),
            },
            Algebra::Union(inputs) => inputs.iter().all(|input| input.is_proctime(index)),
            Algebra::Join { inputs, .. } => {
                let [left, right] = &**inputs;
                let of_right = index.checked_sub(left.columns.len());
                of_right.map_or_else(|| left.is_proctime(index), |at| right.is_proctime(at))
            }
            Algebra::Filter(input, _)
            | Algebra::Watermark { input, .. }
            | Algebra::Expand { input, .. }
            | Algebra::Windows { input, .. }
            | Algebra::Numbered { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input)
            | Algebra::Over { input, .. } => passed(input),
        }
    }

    /// Its own expressions are over the column, which the relation below gives.
    fn reading_the_clock(self) -> Result<Relation, Why> {
        let Relation { operator, columns } = self;
        let width = columns.len();
        Ok(match operator {
            Algebra::Project(input, mut exprs) => {
                let (input, at) = input.with_appended()?;
                exprs.iter_mut().for_each(|expr| write(expr, at));
                Relation {
                    operator: Algebra::Project(Box::new(input), exprs),
                    columns,
                }
            }
            Algebra::Filter(input, mut condition) => {
                let (input, at) = input.with_appended()?;
                write(&mut condition, at);
                input.filter(condition).only(0..width)
            }
            Algebra::Watermark {
                input,
                column,
                mut expression,
                idle,
            } => {
                let (input, at) = input.with_appended()?;
                write(&mut expression, at);
                let mut columns = input.columns.clone();
                columns[column].rowtime = true;
                let operator = Algebra::Watermark {
                    input: Box::new(input),
                    column,
                    expression,
                    idle,
                };
                Relation { operator, columns }.only(0..width)
            }
            Algebra::Unnest { .. } | Algebra::Lookup { .. } => return Err(Why::OfElements),
            _ => return Err(Why::Many),
        })
    }

    /// With the time of each row's record, and the column that it is: the last one, if it was not there already.
    fn with_appended(self) -> Result<(Relation, usize), Why> {
        if let Some(at) = self.appended_at() {
            return Ok((self, at));
        }
        let Relation {
            operator,
            mut columns,
        } = self;
        let width = columns.len();
        let with = |input: Box<Relation>| -> Result<Box<Relation>, Why> {
            Ok(Box::new(input.with_appended()?.0))
        };
        let operator = match operator {
            Algebra::Scan(scan) => match connector::named(&scan.options) {
                Some("kafka") => Algebra::Scan(scan),
                other => return Err(Why::Unlogged(other.unwrap_or_default().to_string())),
            },
            Algebra::Filter(input, condition) => Algebra::Filter(with(input)?, condition),
            Algebra::Watermark {
                input,
                column,
                expression,
                idle,
            } => Algebra::Watermark {
                input: with(input)?,
                column,
                expression,
                idle,
            },
            Algebra::Project(input, mut exprs) => {
                let (input, at) = input.with_appended()?;
                exprs.push(appended(at));
                Algebra::Project(Box::new(input), exprs)
            }
            Algebra::Union(inputs) => {
                let inputs = inputs.into_iter().map(|input| {
                    let (input, at) = input.with_appended()?;
                    Ok(input.only((0..width).chain([at])))
                });
                Algebra::Union(inputs.collect::<Result<_, Why>>()?)
            }
            Algebra::Windows { ref window, .. }
                if matches!(window.shape, WindowShape::Session { .. }) =>
            {
                return Err(Why::Many);
            }
            operator @ (Algebra::Windows { .. }
            | Algebra::Expand { .. }
            | Algebra::Unnest { .. }
            | Algebra::Lookup { .. }
            | Algebra::CurrentWatermark(_)) => {
                return Relation { operator, columns }.with_appended_before_its_own();
            }
            Algebra::Aggregate { .. }
            | Algebra::Numbered { .. }
            | Algebra::Over { .. }
            | Algebra::Join { .. } => return Err(Why::Many),
        };
        let span = columns.first().map_or(Span::default(), |first| first.span);
        columns.push(Attribute {
            name: COLUMN.to_string(),
            ty: Some(SourceColumn::appended()),
            rowtime: false,
            window: None,
            span,
        });
        Ok((Relation { operator, columns }, width))
    }

    /// The same of an operator that gives its input's columns and then its own.
    fn with_appended_before_its_own(mut self) -> Result<(Relation, usize), Why> {
        let width = self.columns.len();
        let mut inputs = self.inputs_mut();
        let input = inputs.pop().expect("it has one");
        let own = input.columns.len();
        let (below, at) = input.taken().with_appended()?;
        assert_eq!(at, own, "who does not have the column gives it last");
        let added = below.columns[at].clone();
        *input = below;
        self.columns.insert(own, added);
        let behind = (0..own).chain(own + 1..=width).chain([own]);
        Ok((self.only(behind), width))
    }

    /// The column of the record's time, if it is given.
    fn appended_at(&self) -> Option<usize> {
        match &self.operator {
            Algebra::Scan(scan) => {
                let own = scan.positions.len();
                (self.columns.len() > own).then_some(own)
            }
            Algebra::Project(input, exprs) => {
                let at = input.appended_at()?;
                let is_it =
                    |expr: &Expr| matches!(expr, Expr::Column { index, .. } if *index == at);
                exprs.iter().position(is_it)
            }
            Algebra::Windows { input, window, .. } => match window.shape {
                WindowShape::Session { .. } => None,
                _ => input.appended_at(),
            },
            Algebra::Filter(input, _)
            | Algebra::Watermark { input, .. }
            | Algebra::Expand { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input) => input.appended_at(),
            Algebra::Aggregate { .. }
            | Algebra::Numbered { .. }
            | Algebra::Over { .. }
            | Algebra::Join { .. }
            | Algebra::Union(_) => None,
        }
    }

    /// Only these of its columns.
    fn only(self, kept: impl Iterator<Item = usize>) -> Relation {
        let (exprs, columns) = kept
            .map(|index| {
                let column = self.columns[index].clone();
                let ty = column.ty.clone();
                let expr = Expr::Column {
                    index,
                    name: column.name.clone(),
                    ty: ty.unwrap_or_else(|| TypeKind::Null.nullable()),
                };
                (expr, column)
            })
            .unzip();
        Relation {
            operator: Algebra::Project(Box::new(self), exprs),
            columns,
        }
    }

    /// The relation; a union of nothing stays in its place, until another one is put there.
    fn taken(&mut self) -> Relation {
        let nothing = Relation {
            operator: Algebra::Union(Vec::new()),
            columns: Vec::new(),
        };
        mem::replace(self, nothing)
    }
}

/// Whether it is `PROCTIME()` itself.
pub(super) fn is_proctime(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Call {
            function: Function::ProcTime,
            ..
        }
    )
}

/// Why nothing is cut or ordered by processing time.
pub(super) fn refuse_proctime(span: Span, what: &str) -> Diagnostic {
    Diagnostic::unsupported(span, what)
        .detail("What comes of it would hang on when the rows are read, so that neither a restart nor an audit could give the same.")
        .hint("by when the log took the records in, which stays as it is: came AS NOW(), WATERMARK FOR came AS came")
}

/// The record's time, as a column of the operator below.
fn appended(index: usize) -> Expr {
    Expr::Column {
        index,
        name: COLUMN.to_string(),
        ty: SourceColumn::appended(),
    }
}

/// The function, if the expression is a call of the clock.
fn call_of(expr: &Expr) -> Option<Function> {
    match expr {
        Expr::Call { function, args, .. } if args.is_empty() => {
            let is_of_clock = !function.definition().deterministic;
            (is_of_clock || *function == Function::UnixTimestamp).then_some(*function)
        }
        _ => None,
    }
}

/// The first function of the clock in an expression.
fn asks(expr: &Expr) -> Option<Function> {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Some(function) = call_of(expr) {
            return Some(function);
        }
        match expr {
            Expr::Column { .. } | Expr::Literal { .. } => {}
            Expr::Field { row: inner, .. } | Expr::Cast { expr: inner, .. } => open.push(inner),
            Expr::Call { args, .. } => open.extend(args),
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                open.extend(branches.iter().flat_map(|(when, then)| [when, then]));
                open.push(otherwise);
            }
        }
    }
    None
}

/// Writes the clock's functions over the record's time, which is this column.
fn write(expr: &mut Expr, at: usize) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Some(function) = call_of(expr) {
            *expr = written(function, appended(at));
            continue;
        }
        match expr {
            Expr::Column { .. } | Expr::Literal { .. } => {}
            Expr::Field { row: inner, .. } | Expr::Cast { expr: inner, .. } => open.push(inner),
            Expr::Call { args, .. } => open.extend(args),
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                open.extend(branches.iter_mut().flat_map(|(when, then)| [when, then]));
                open.push(otherwise);
            }
        }
    }
}

fn written(function: Function, came: Expr) -> Expr {
    match function {
        Function::LocalTimestamp => cast(came, &TypeKind::Timestamp(3)),
        Function::CurrentDate => cast(came, &TypeKind::Date),
        Function::LocalTimeOfDay | Function::CurrentTime => cast(came, &TypeKind::Time(0)),
        Function::UnixTimestamp => Expr::call(Function::UnixSeconds, vec![came])
            .expect("a TIMESTAMP_LTZ has seconds since 1970"),
        _ => came,
    }
}
