//! GROUP BY and aggregates, over windows.
//!
//! What SELECT and HAVING may name behind GROUP BY are its expressions, the window, and aggregates. So a query that groups is bound
//! twice: what stands in an aggregate is over the input, all around it over what the groups give. Groups are of windows: a group
//! that no window ends would have to be corrected with every row, which no operator here does yet.

use super::algebra::{Algebra, Attribute, Relation, WindowColumn, WindowOf};
use super::call::{Below, Call, arguments, call_columns};
use super::clock::{is_proctime, refuse_proctime};
use super::expr::Binder;
use super::query::{name_of, output};
use super::sets::{alternatives, crossed, grouping};
use super::tvf::{check_shape, check_time, millis, window_columns};
use super::{Planner, query::Around};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{AggregateCall, AggregateFunction, Expr, TypeKind, Window};
use lw_graph::{WindowProperty, WindowShape, Windowing};
use sqlparser::ast;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// What the groups of a query give: keys, then the window's start, end and time, then aggregates.
pub(super) struct Grouped<'q> {
    /// Binds over the input.
    inner: Binder<'q>,
    keys: Vec<Key<'q>>,
    /// Which of the keys that some set is without each set has; none where there is one set. Their number is the last key.
    sets: Vec<Vec<bool>>,
    /// How many of the keys are not of the window.
    count: usize,
    windows: Windows<'q>,
    columns: [Attribute; 3],
    calls: RefCell<Vec<Call>>,
    span: Span,
}

struct Key<'q> {
    ast: &'q ast::Expr,
    expr: Expr,
    /// Among what the groups give.
    column: usize,
    /// Among the keys that some set is without.
    set: Option<usize>,
    attribute: Attribute,
}

enum Windows<'q> {
    /// Columns of the input.
    Columns { start: usize, end: usize },
    /// `GROUP BY TUMBLE(…)`.
    Function {
        call: &'q ast::Function,
        window: Window,
    },
}

/// What the older window functions and those beside them are called: `TUMBLE_START` tells of `TUMBLE`.
const OLDER: [&str; 3] = ["TUMBLE", "HOP", "SESSION"];

/// The group window and what of it a function like `TUMBLE_START` tells.
pub(super) fn auxiliary(name: &str) -> Option<(&'static str, WindowProperty)> {
    let (window, what) = name.split_once('_')?;
    let window = OLDER.iter().find(|known| **known == window)?;
    let property = match what {
        "START" => WindowProperty::Start,
        "END" => WindowProperty::End,
        "ROWTIME" => WindowProperty::Time,
        _ => return None,
    };
    Some((window, property))
}

pub(super) fn stripped(expr: &ast::Expr) -> &ast::Expr {
    match expr {
        ast::Expr::Nested(inner) => stripped(inner),
        other => other,
    }
}

fn group_window(expr: &ast::Expr) -> Option<&ast::Function> {
    match stripped(expr) {
        ast::Expr::Function(f) => {
            let name = f.name.to_string().to_ascii_uppercase();
            OLDER.contains(&name.as_str()).then_some(f)
        }
        _ => None,
    }
}

impl Planner<'_> {
    /// What GROUP BY makes of a relation; `None` where a query has none.
    pub(super) fn grouping<'q>(
        &self,
        select: &'q ast::Select,
        inner: Binder<'q>,
        relation: &Relation,
        around: &Around,
    ) -> Result<Option<Grouped<'q>>> {
        let by = match &select.group_by {
            ast::GroupByExpr::Expressions(by, modifiers) if modifiers.is_empty() => by,
            _ => return Err(self.refuse(around, "GROUP", "this GROUP BY is")),
        };
        if by.is_empty() {
            return Ok(None);
        }
        let group = self.find_word(around, "GROUP").unwrap_or(around.span);
        let mut keys: Vec<Key<'q>> = Vec::new();
        let mut function = None;
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        for ast in by {
            if let Some(call) = group_window(ast) {
                if function.is_some() {
                    let message = "GROUP BY takes one window function";
                    return Err(Diagnostic::error("window", inner.place(ast), message));
                }
                function = Some(self.older(call, &inner, relation)?);
                continue;
            }
            let element = alternatives(ast, group)?.unwrap_or_else(|| vec![vec![ast]]);
            let mut more = Vec::new();
            for set in element {
                let of_set = set
                    .into_iter()
                    .map(|ast| key(&mut keys, ast, &inner, relation));
                more.push(of_set.collect::<Result<Vec<usize>>>()?);
            }
            sets = crossed(&sets, &more, group)?;
        }
        let (windows, of, time) = match function {
            Some((call, window)) => {
                let of = Rc::new(WindowOf {
                    zone: window.zone.clone(),
                    cut: None,
                });
                let time = relation.columns[window.time].ty.clone();
                let time = time.expect("the time column was checked").kind;
                (Windows::Function { call, window }, of, time)
            }
            None => {
                let (windows, of) = window_of(&keys, group)?;
                let time = match of.zone {
                    Some(_) => TypeKind::TimestampLtz(3),
                    None => TypeKind::Timestamp(3),
                };
                (windows, of, time)
            }
        };
        let mut columns = window_columns(&of, &time, group);
        if let Windows::Function { .. } = windows {
            let time = &mut columns[2];
            time.ty = time.ty.take().map(|ty| ty.with_nullable(true));
        }
        let is_own = |key: &Key<'_>| {
            let own = key.attribute.window.as_ref();
            own.filter(|own| Rc::ptr_eq(&own.of, &of))
                .map(|own| own.property)
        };
        let missing = |at: usize| sets.iter().any(|set| !set.contains(&at));
        let own_missing = keys.iter().enumerate().find(|(at, key)| {
            matches!(
                is_own(key),
                Some(WindowProperty::Start | WindowProperty::End)
            ) && missing(*at)
        });
        if let Some((_, key)) = own_missing {
            return Err(endless(
                key.attribute.span,
                "a set of keys without its window is",
            ));
        }
        let optional: Vec<usize> = (0..keys.len())
            .filter(|at| is_own(&keys[*at]).is_none() && missing(*at))
            .collect();
        let sets: Vec<Vec<bool>> = match optional.is_empty() && sets.len() == 1 {
            true => Vec::new(),
            false => {
                let has = |set: &Vec<usize>| optional.iter().map(|key| set.contains(key)).collect();
                sets.iter().map(has).collect()
            }
        };
        let told: HashSet<&Vec<bool>> = sets.iter().collect();
        if told.len() < sets.len() {
            let what = "the same set of keys twice is";
            return Err(Diagnostic::unsupported(group, what).hint("leave one of them out"));
        }
        let mut count = 0;
        for (at, key) in keys.iter_mut().enumerate() {
            if is_own(key).is_none() {
                key.column = count;
                count += 1;
            }
            key.set = optional.iter().position(|optional| *optional == at);
            if key.set.is_some() {
                key.attribute.ty = key.attribute.ty.take().map(|ty| ty.with_nullable(true));
            }
        }
        // What tells the sets apart is a key too.
        count += usize::from(!sets.is_empty());
        for key in &mut keys {
            if let Some(property) = is_own(key) {
                key.column = count + property as usize;
            }
        }
        Ok(Some(Grouped {
            inner,
            keys,
            sets,
            count,
            windows,
            columns,
            calls: RefCell::default(),
            span: group,
        }))
    }

    /// `TUMBLE(time, size)`, `HOP(time, slide, size)`, `SESSION(time, gap)`.
    fn older<'q>(
        &self,
        call: &'q ast::Function,
        inner: &Binder<'q>,
        relation: &Relation,
    ) -> Result<(&'q ast::Function, Window)> {
        let name = call.name.to_string().to_ascii_uppercase();
        let span = inner.place(&call.name);
        let args = arguments(call).unwrap_or_default();
        let usage = match name.as_str() {
            "HOP" => "HOP(event_time, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
            "SESSION" => "SESSION(event_time, INTERVAL '5' MINUTE)",
            _ => "TUMBLE(event_time, INTERVAL '1' MINUTE)",
        };
        let wrong = |message: String| Diagnostic::error("window", span, message).hint(usage);
        let [time, lengths @ ..] = args.as_slice() else {
            return Err(wrong(format!("{name} needs the event time and lengths")));
        };
        let index = match inner.bind(time)? {
            Expr::Column { index, .. } => index,
            expr if is_proctime(&expr) => {
                return Err(refuse_proctime(span, "windows by processing time are"));
            }
            _ => return Err(wrong(format!("{name} needs a column of event time"))),
        };
        check_time(index, relation, inner.place(*time))?;
        let lengths = lengths.iter().map(|length| millis(inner, length));
        let lengths = lengths.collect::<Result<Vec<i64>>>()?;
        let shape = match (name.as_str(), lengths.as_slice()) {
            ("TUMBLE", [size]) => WindowShape::Tumble { size: *size },
            ("HOP", [slide, size]) => WindowShape::Hop {
                slide: *slide,
                size: *size,
            },
            ("SESSION", [gap]) => WindowShape::Session { gap: *gap },
            _ => {
                let error = wrong(format!(
                    "{name} in GROUP BY takes no {} lengths",
                    lengths.len()
                ));
                return Err(error.detail("An offset has only the table function of this name."));
            }
        };
        check_shape(shape, 0, span)?;
        let window = Window {
            shape,
            offset: 0,
            time: index,
            zone: self.zone_of(&relation.columns[index]),
        };
        Ok((call, window))
    }
}

/// The key that an expression of GROUP BY is.
fn key<'q>(
    keys: &mut Vec<Key<'q>>,
    ast: &'q ast::Expr,
    inner: &Binder<'_>,
    relation: &Relation,
) -> Result<usize> {
    let expr = inner.bind(ast)?;
    if let Some(known) = keys.iter().position(|key| key.expr == expr) {
        return Ok(known);
    }
    if expr.ty().kind == TypeKind::Null {
        let message = "a bare NULL has no type";
        return Err(Diagnostic::error("type", inner.place(ast), message));
    }
    let name = name_of(ast).unwrap_or_else(|| format!("EXPR${}", keys.len()));
    let mut attribute = output(name, Some(expr.clone()), inner.place(ast)).0;
    if let Expr::Column { index, .. } = &expr {
        let of = &relation.columns[*index].window;
        attribute.window.clone_from(of);
    }
    keys.push(Key {
        ast: stripped(ast),
        expr,
        column: 0,
        set: None,
        attribute,
    });
    Ok(keys.len() - 1)
}

/// The window of which both the start and the end are keys.
fn window_of<'q>(keys: &[Key<'q>], group: Span) -> Result<(Windows<'q>, Rc<WindowOf>)> {
    let columns = || {
        keys.iter()
            .filter_map(|key| match (&key.expr, &key.attribute.window) {
                (Expr::Column { index, .. }, Some(window)) => Some((*index, window, key)),
                _ => None,
            })
    };
    let property = |of: &Rc<WindowOf>, wanted: WindowProperty| {
        let mut columns = columns();
        let found = columns.find(|(_, w, _)| Rc::ptr_eq(&w.of, of) && w.property == wanted);
        found.map(|(index, _, _)| index)
    };
    for (_, WindowColumn { of, .. }, _) in columns() {
        let start = property(of, WindowProperty::Start);
        let end = property(of, WindowProperty::End);
        if let (Some(start), Some(end)) = (start, end) {
            return Ok((Windows::Columns { start, end }, of.clone()));
        }
    }
    if let Some((_, window, key)) = columns().next() {
        let missing = match window.property {
            WindowProperty::Start => "window_end",
            WindowProperty::End => "window_start",
            WindowProperty::Time => "window_start and window_end",
        };
        let name = &key.attribute.name;
        let message = format!("GROUP BY {name} without {missing} is no window");
        return Err(Diagnostic::error("window", key.attribute.span, message)
            .detail("Flink takes it for a group like any other: it counts on for ever, corrects its result with every row, and drops nothing that is late.")
            .hint("GROUP BY window_start, window_end"));
    }
    Err(endless(group, "GROUP BY without a window is"))
}

/// A result that every row changes.
pub(super) fn endless(span: Span, what: &str) -> Diagnostic {
    Diagnostic::unsupported(span, what)
        .detail("Its result changes with every row; what is written here is never corrected.")
        .hint("group by windows: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(event_time), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end")
}

impl<'q> Grouped<'q> {
    /// The key that an expression is, if it is more than a name.
    pub(super) fn key(&self, expr: &ast::Expr) -> Option<Expr> {
        let computed = |key: &&Key<'_>| !matches!(key.expr, Expr::Column { .. });
        let mut keys = self.keys.iter().filter(computed);
        keys.find(|key| key.ast == expr).map(Key::expr)
    }

    /// A column of the input, as the groups give it.
    pub(super) fn column(&self, of: Expr, span: Span) -> Result<Expr> {
        if let Some(key) = self.keys.iter().find(|key| key.expr == of) {
            return Ok(key.expr());
        }
        match of {
            Expr::Literal { .. } => Ok(of),
            Expr::Field { row, index, .. } => {
                let row = self.column(*row, span)?;
                Ok(Expr::field(row, index))
            }
            other => {
                let message = format!("'{other}' is neither grouped nor aggregated");
                Err(Diagnostic::error("group", span, message)
                    .detail("A group has many rows, and each may have another value of it.")
                    .hint(format!(
                        "GROUP BY {other}, …, or an aggregate: MAX({other})"
                    )))
            }
        }
    }

    /// `GROUPING(key, …)`, `GROUPING_ID(key, …)`.
    pub(super) fn grouping(&self, f: &ast::Function, span: Span) -> Result<Expr> {
        let args = arguments(f).filter(|args| !args.is_empty());
        let Some(args) = args else {
            let message = format!("{} takes keys of GROUP BY", f.name);
            return Err(Diagnostic::error("group", span, message));
        };
        let keys = args.into_iter().map(|arg| {
            let expr = self.inner.bind(arg)?;
            match self.keys.iter().find(|key| key.expr == expr) {
                Some(key) => Ok(key.set),
                None => {
                    let message = format!("'{arg}' is no key of GROUP BY");
                    Err(Diagnostic::error("group", span, message))
                }
            }
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let number = (!self.sets.is_empty()).then(|| Expr::Column {
            index: self.count - 1,
            name: NUMBER.to_string(),
            ty: TypeKind::BigInt.not_null(),
        });
        grouping(number.as_ref(), &self.sets, &keys, span)
    }

    /// `TUMBLE_START(…)` and the like.
    pub(super) fn property(
        &self,
        f: &ast::Function,
        window: &str,
        property: WindowProperty,
        span: Span,
    ) -> Result<Expr> {
        if let Windows::Function { call, .. } = &self.windows
            && call.name.to_string().eq_ignore_ascii_case(window)
            && arguments(call) == arguments(f)
        {
            return Ok(self.given(
                self.count + property as usize,
                &self.columns[property as usize],
            ));
        }
        let message = format!("{} needs the same {window} in GROUP BY", f.name);
        Err(Diagnostic::error("window", span, message)
            .hint(format!("GROUP BY {window}({})", written(f))))
    }

    fn given(&self, index: usize, attribute: &Attribute) -> Expr {
        let ty = attribute.ty.clone().expect("it has a type");
        let name = attribute.name.clone();
        Expr::Column { index, name, ty }
    }

    /// An aggregate: its column among what the groups give.
    pub(super) fn aggregate(
        &self,
        function: AggregateFunction,
        f: &ast::Function,
        span: Span,
    ) -> Result<Expr> {
        let call = Call::bind(&self.inner, function, f, span)?;
        let mut calls = self.calls.borrow_mut();
        let known = calls.iter().position(|known| *known == call);
        let at = known.unwrap_or_else(|| {
            calls.push(call);
            calls.len() - 1
        });
        Ok(Expr::Column {
            index: self.count + self.columns.len() + at,
            name: f.to_string(),
            ty: calls[at].ty.clone(),
        })
    }

    /// The groups' operator over what it needs of the input.
    pub(super) fn finish(self, relation: Relation) -> Relation {
        let mut below = Below::default();
        let keys: Vec<&Key<'q>> = {
            let mut keys: Vec<_> = self
                .keys
                .iter()
                .filter(|key| key.column < self.count)
                .collect();
            keys.sort_by_key(|key| key.column);
            keys
        };
        let key_columns: Vec<usize> = keys
            .iter()
            .map(|key| below.push(&key.attribute.name, &key.expr))
            .collect();
        let windowing = match &self.windows {
            Windows::Columns { start, end } => Windowing::Attached {
                start: below.column(*start, &relation),
                end: below.column(*end, &relation),
                zone: self.columns[0]
                    .window
                    .as_ref()
                    .and_then(|w| w.of.zone.clone()),
            },
            Windows::Function { window, .. } => Windowing::Assign(Window {
                time: below.column(window.time, &relation),
                ..window.clone()
            }),
        };
        let calls = self.calls.into_inner().into_iter();
        let calls: Vec<AggregateCall> = calls.map(|call| call.over(&mut below)).collect();
        let mut columns: Vec<Attribute> = keys.iter().map(|key| key.attribute.clone()).collect();
        let mut key_columns = key_columns;
        let mut input = below.over(relation);
        if !self.sets.is_empty() {
            let optional = keys.iter().zip(&key_columns);
            let optional = optional.filter(|(key, _)| key.set.is_some());
            let optional: Vec<usize> = optional.map(|(_, column)| *column).collect();
            let width = input.columns.len();
            for (key, column) in keys.iter().zip(&mut key_columns) {
                *column = key.set.map_or(*column, |set| width + set);
            }
            key_columns.push(width + optional.len());
            columns.push(number_of_set(self.span));
            input = input.expand(optional, self.sets, self.span);
        }
        columns.extend(self.columns);
        columns.extend(call_columns(&calls, &input, self.span));
        Relation {
            operator: Algebra::Aggregate {
                input: Box::new(input),
                windowing,
                keys: key_columns,
                calls,
                span: self.span,
            },
            columns,
        }
    }
}

/// What tells the sets of keys apart.
const NUMBER: &str = "$e";

fn number_of_set(span: Span) -> Attribute {
    Attribute {
        name: NUMBER.to_string(),
        ty: Some(TypeKind::BigInt.not_null()),
        rowtime: false,
        window: None,
        span,
    }
}

impl Relation {
    fn expand(self, keys: Vec<usize>, sets: Vec<Vec<bool>>, span: Span) -> Relation {
        let mut columns = self.columns.clone();
        for key in &keys {
            let mut column = self.columns[*key].clone();
            column.ty = column.ty.map(|ty| ty.with_nullable(true));
            column.rowtime = false;
            columns.push(column);
        }
        columns.push(number_of_set(span));
        Relation {
            operator: Algebra::Expand {
                input: Box::new(self),
                keys,
                sets,
            },
            columns,
        }
    }
}

impl Key<'_> {
    fn expr(&self) -> Expr {
        Expr::Column {
            index: self.column,
            name: self.attribute.name.clone(),
            ty: self.attribute.ty.clone().expect("a key has a type"),
        }
    }
}

fn written(f: &ast::Function) -> String {
    let args = arguments(f).unwrap_or_default();
    let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
    args.join(", ")
}
