//! A query as relational algebra: which operator stands on which, and the columns that each gives.
//!
//! It is bound and typed, and no rule has touched it: an operator stands for a clause of the script, a view is its query, and a
//! column is a position of the operator below it. What may be moved, merged and shared is `lower`'s business.
//!
//! A table is read as `Scan → Project → Watermark`: the scan gives what a record holds, the projection adds what is computed
//! from it (and casts metadata to the declared type), the watermark makes one column the event time. An operator hands the
//! event time on as long as the column is not changed.

use super::lookup::LookedUp;
use crate::Result;
use crate::catalog::{ColumnSource, Path, Table};
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::OptionText;
use lw_graph::{AggregateCall, ElementCondition, Expr, Frame, JoinKind};
use lw_graph::{LogicalType, SortKey, TypeKind, Value};
use lw_graph::{Window, WindowProperty, WindowShape, Windowing};
use std::collections::BTreeMap;
use std::rc::Rc;

mod show;

/// An operator over others, with what it gives.
#[derive(Debug)]
pub(super) struct Relation {
    pub operator: Algebra,
    pub columns: Vec<Attribute>,
}

#[derive(Debug)]
pub(super) enum Algebra {
    Scan(Scan),
    /// One expression per column, over the input's columns.
    Project(Box<Relation>, Vec<Expr>),
    /// Rows for which the condition is TRUE.
    Filter(Box<Relation>, Expr),
    /// `max(expression)` over the rows so far is the watermark of the column.
    Watermark {
        input: Box<Relation>,
        column: usize,
        expression: Expr,
        /// Milliseconds without a row behind which a partition is not waited for.
        idle: Option<i64>,
    },
    /// Each row once for each set of keys: behind the input's columns the keys, NULL where the set is without them, and the set's number.
    Expand {
        input: Box<Relation>,
        keys: Vec<usize>,
        sets: Vec<Vec<bool>>,
    },
    /// Each row with each of its windows: `window_start`, `window_end` and `window_time` behind the input's columns.
    Windows {
        input: Box<Relation>,
        window: Window,
        /// Of a session.
        partition: Vec<usize>,
    },
    /// One row for each combination of keys in each window: the keys, the window's start, end and time, the aggregates.
    Aggregate {
        input: Box<Relation>,
        windowing: Windowing,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        span: Span,
    },
    /// The rows of each combination of keys in each window, numbered from 1; the number behind the input's columns.
    Numbered {
        input: Box<Relation>,
        windowing: Windowing,
        keys: Vec<usize>,
        order: Vec<SortKey>,
        /// The numbers that somebody reads, from and to.
        ranks: Ranks,
        span: Span,
    },
    /// Aggregates of each row and of those of its key before it, behind the input's columns.
    Over {
        input: Box<Relation>,
        keys: Vec<usize>,
        time: usize,
        frame: Frame,
        calls: Vec<AggregateCall>,
        /// The column that is the row's number.
        number: Option<usize>,
        /// Milliseconds without a row behind which a key is forgotten.
        ttl: Option<i64>,
        span: Span,
    },
    /// The rows of all of them, which have columns of the same types.
    Union(Vec<Relation>),
    /// A row for each element of a column; behind the input's columns those of the element, then its number from 1.
    Unnest {
        input: Box<Relation>,
        column: usize,
        outer: bool,
        ordinality: bool,
        on: Option<ElementCondition>,
    },
    /// Each row with the rows of a table that have its keys, the table's columns behind the input's.
    Lookup {
        input: Box<Relation>,
        lookup: Box<LookedUp>,
    },
    /// The watermark before each row, behind the input's columns.
    CurrentWatermark(Box<Relation>),
    /// Rows of two inputs that are in the same window and have the same keys: the left one's columns, then the right one's.
    Join {
        inputs: Box<[Relation; 2]>,
        kind: JoinKind,
        windows: [Windowing; 2],
        keys: Vec<(usize, usize)>,
        condition: Option<Expr>,
        span: Span,
    },
}

/// A range of ranks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranks {
    pub first: u64,
    pub last: Option<u64>,
}

impl Ranks {
    pub(super) const ALL: Ranks = Ranks {
        first: 1,
        last: None,
    };

    pub(super) fn and(self, other: Ranks) -> Ranks {
        Ranks {
            first: self.first.max(other.first),
            last: match (self.last, other.last) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// Which window a column is of, and what it tells of it.
#[derive(Clone, Debug)]
pub(super) struct WindowColumn {
    pub of: Rc<WindowOf>,
    pub property: WindowProperty,
}

/// One call of a window function: columns of it are known by it, wherever they are handed on to.
#[derive(Debug)]
pub(super) struct WindowOf {
    /// Of a TIMESTAMP_LTZ: the session's time zone.
    pub zone: Option<String>,
    /// How time is cut, and by how much that is moved; `None` of the older form, whose windows are not joined.
    pub cut: Option<(WindowShape, i64)>,
}

impl WindowOf {
    /// Whether both cut event time in the same way.
    pub(super) fn is_same(&self, other: &WindowOf) -> bool {
        self.cut.is_some() && (self.cut, &self.zone) == (other.cut, &other.zone)
    }
}

/// A table, where a query reads it.
#[derive(Debug)]
pub(super) struct Scan {
    pub table: Rc<Table>,
    /// The table's options, with those of a hint over them.
    pub options: Vec<OptionText>,
    /// Where the table is named.
    pub span: Span,
    /// The columns that are read, by their position in the table: all that are not computed.
    pub positions: Vec<usize>,
}

/// What is read: a table with its options. Two scans of one key read the same.
pub(super) type ScanKey = (Path, BTreeMap<String, String>);

impl Scan {
    pub(super) fn key(&self) -> ScanKey {
        let options = self.options.iter();
        let options = options.map(|option| (option.key.value.clone(), option.value.value.clone()));
        (self.table.path.clone(), options.collect())
    }
}

/// A column that an operator gives.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub name: String,
    /// `None` where it was refused.
    pub ty: Option<LogicalType>,
    /// Whether the watermark is about it (Flink's `*ROWTIME*`).
    pub rowtime: bool,
    /// What it tells of a window, where a window function made it.
    pub window: Option<WindowColumn>,
    pub span: Span,
}

/// A column of a projection, and what it is computed by; `None` where that was refused.
pub(super) type Output = (Attribute, Option<Expr>);

impl Relation {
    /// What reads a table: its scan, its computed columns, its watermark.
    pub(super) fn of_table(
        table: Rc<Table>,
        options: Vec<OptionText>,
        idle: Option<i64>,
        span: Span,
    ) -> Relation {
        let scan = Relation::scan(table.clone(), options, span);
        let plain = table.columns.iter();
        let mut plain = plain.map(|column| matches!(column.source, ColumnSource::Physical));
        let declared = if plain.all(|plain| plain) {
            scan
        } else {
            Relation::declared(scan, &table)
        };
        let Some(watermark) = &table.watermark else {
            return declared;
        };
        let mut columns = declared.columns.clone();
        columns[watermark.column].rowtime = true;
        Relation {
            operator: Algebra::Watermark {
                input: Box::new(declared),
                column: watermark.column,
                expression: watermark.expression.clone(),
                idle,
            },
            columns,
        }
    }

    fn scan(table: Rc<Table>, options: Vec<OptionText>, span: Span) -> Relation {
        let held = table.columns.iter().enumerate();
        let held = held.filter(|(_, c)| !matches!(c.source, ColumnSource::Computed(_)));
        let (positions, columns) = held
            .map(|(position, column)| {
                let ty = match &column.source {
                    ColumnSource::Metadata(key) => Some(key.ty()),
                    ColumnSource::Physical => Some(column.ty.clone()),
                    ColumnSource::Computed(_) | ColumnSource::Broken => None,
                };
                let attribute = Attribute {
                    name: column.name.clone(),
                    ty,
                    rowtime: false,
                    window: None,
                    span: column.span,
                };
                (position, attribute)
            })
            .unzip();
        Relation {
            operator: Algebra::Scan(Scan {
                table,
                options,
                span,
                positions,
            }),
            columns,
        }
    }

    /// The columns as the table declares them.
    fn declared(scan: Relation, table: &Table) -> Relation {
        let Algebra::Scan(Scan { positions, .. }) = &scan.operator else {
            unreachable!("the caller has made a scan");
        };
        let given = |position: usize| {
            let given = positions.binary_search(&position);
            given.expect("an expression of a table is over columns that are not computed")
        };
        let declared = table.columns.iter().enumerate().map(|(position, column)| {
            let expr = column.expr(position);
            let attribute = Attribute {
                name: column.name.clone(),
                ty: expr.as_ref().map(|expr| expr.ty().clone()),
                rowtime: false,
                window: None,
                span: column.span,
            };
            let expr = expr.map(|expr| expr.map_columns(&mut |at| given(at)));
            (expr.unwrap_or_else(refused), attribute)
        });
        let (exprs, columns) = declared.unzip();
        Relation {
            operator: Algebra::Project(Box::new(scan), exprs),
            columns,
        }
    }

    pub(super) fn filter(self, condition: Expr) -> Relation {
        Relation {
            columns: self.columns.clone(),
            operator: Algebra::Filter(Box::new(self), condition),
        }
    }

    pub(super) fn project(self, outputs: Vec<Output>) -> Relation {
        let outputs = outputs.into_iter();
        let (columns, exprs) = outputs
            .map(|(attribute, expr)| (attribute, expr.unwrap_or_else(refused)))
            .unzip();
        Relation {
            operator: Algebra::Project(Box::new(self), exprs),
            columns,
        }
    }

    /// A reference to a column; the constant itself where the column is one, so that what asks for a constant finds it.
    pub(super) fn column(&self, index: usize) -> Option<Expr> {
        let Attribute { name, ty, .. } = &self.columns[index];
        let ty = ty.clone()?;
        if let Some(constant) = self.constant(index) {
            return Some(constant.clone());
        }
        let name = name.clone();
        Some(Expr::Column { index, name, ty })
    }

    fn constant(&self, index: usize) -> Option<&Expr> {
        match &self.operator {
            Algebra::Scan(_)
            | Algebra::Aggregate { .. }
            | Algebra::Union(_)
            | Algebra::Join { .. } => None,
            Algebra::Expand { input, .. }
            | Algebra::Windows { input, .. }
            | Algebra::Numbered { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input)
            | Algebra::Over { input, .. } => {
                (index < input.columns.len()).then(|| input.constant(index))?
            }
            Algebra::Filter(input, _) | Algebra::Watermark { input, .. } => input.constant(index),
            Algebra::Project(_, exprs) => {
                Some(&exprs[index]).filter(|expr| matches!(expr, Expr::Literal { .. }))
            }
        }
    }

    /// What it stands on; a scan on nothing.
    pub(super) fn inputs(&self) -> Vec<&Relation> {
        match &self.operator {
            Algebra::Scan(_) => Vec::new(),
            Algebra::Project(input, _)
            | Algebra::Filter(input, _)
            | Algebra::Watermark { input, .. }
            | Algebra::Expand { input, .. }
            | Algebra::Windows { input, .. }
            | Algebra::Aggregate { input, .. }
            | Algebra::Numbered { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input)
            | Algebra::Over { input, .. } => vec![input],
            Algebra::Union(inputs) => inputs.iter().collect(),
            Algebra::Join { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// As [`Relation::inputs`].
    pub(super) fn inputs_mut(&mut self) -> Vec<&mut Relation> {
        match &mut self.operator {
            Algebra::Scan(_) => Vec::new(),
            Algebra::Project(input, _)
            | Algebra::Filter(input, _)
            | Algebra::Watermark { input, .. }
            | Algebra::Expand { input, .. }
            | Algebra::Windows { input, .. }
            | Algebra::Aggregate { input, .. }
            | Algebra::Numbered { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input)
            | Algebra::Over { input, .. } => vec![input],
            Algebra::Union(inputs) => inputs.iter_mut().collect(),
            Algebra::Join { inputs, .. } => inputs.iter_mut().collect(),
        }
    }

    /// It, and all that it stands on, each before what it stands on.
    pub(super) fn all(&self) -> Vec<&Relation> {
        let (mut open, mut all) = (vec![self], Vec::new());
        while let Some(relation) = open.pop() {
            all.push(relation);
            open.extend(relation.inputs().into_iter().rev());
        }
        all
    }

    /// The tables that are read, each where it is first.
    pub(super) fn scans(&self) -> Vec<&Scan> {
        let mut scans: Vec<&Scan> = Vec::new();
        for relation in self.all() {
            if let Algebra::Scan(scan) = &relation.operator
                && scans.iter().all(|known| known.key() != scan.key())
            {
                scans.push(scan);
            }
        }
        scans
    }

    /// Whether a column is the rank of a row; nobody reads others than these from here on. Rows between a rank and the condition on
    /// it may be filtered: which rows have which rank was settled before.
    ///
    /// # Errors
    /// Where rows are numbered by event time alone.
    pub(super) fn keep_ranks(&mut self, column: usize, kept: Ranks) -> Result<bool> {
        Ok(match &mut self.operator {
            Algebra::Filter(input, _) => input.keep_ranks(column, kept)?,
            Algebra::Project(input, exprs) => match &exprs[column] {
                Expr::Column { index, .. } => input.keep_ranks(*index, kept)?,
                _ => false,
            },
            Algebra::Over { number, span, .. } if *number == Some(column) => {
                let what = "taking the first rows of each key without a window is";
                return Err(Diagnostic::unsupported(*span, what)
                    .detail("What has been a first row is kept for ever, for each key.")
                    .hint("PARTITION BY key, window_start, window_end"));
            }
            Algebra::Numbered { input, ranks, .. } if column == input.columns.len() => {
                *ranks = ranks.and(kept);
                true
            }
            _ => false,
        })
    }
}

/// Stands where an expression was refused; a statement that was refused is never run.
fn refused() -> Expr {
    Expr::Literal {
        value: Value::Null,
        ty: TypeKind::Null.nullable(),
    }
}
