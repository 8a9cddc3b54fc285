//! Joins of windows: rows of two tables that are in the same window, cut from both in the same way.
//!
//! A join is of windows when both the start and the end of one call of a window function on each side are equal by its conditions. What
//! else is equal are its keys, the rest a condition on each pair of rows; what is said of one side alone is asked below, where that
//! changes nothing. Any other join would have to keep its rows for ever, and is refused.

use super::algebra::{Algebra, Attribute, Relation, WindowColumn, WindowOf};
use super::call::Below;
use super::expr::joined;
use super::query::keep;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, JoinKind, TypeKind, Value, WindowProperty, Windowing};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The columns of both sides, as they are behind a join.
pub(super) struct Sides {
    left: Vec<Attribute>,
    right: Vec<Attribute>,
    pads: [bool; 2],
}

impl Sides {
    pub(super) fn new(kind: JoinKind, left: &[Attribute], right: &[Attribute]) -> Sides {
        let pads = kind.pads();
        let of_side = |columns: &[Attribute], pads: bool| {
            let columns = columns.iter().cloned();
            let columns = columns.map(|column| if pads { padded(column) } else { column });
            columns.collect()
        };
        Sides {
            left: of_side(left, pads[0]),
            right: of_side(right, pads[1]),
            pads,
        }
    }

    pub(super) fn columns(self) -> Vec<Attribute> {
        self.left.into_iter().chain(self.right).collect()
    }

    /// What an expression over a side's columns is behind the join: it may be NULL where the side may have no row.
    pub(super) fn moved(&self, expr: &Expr, side: usize) -> Expr {
        let from = if side == 0 { 0 } else { self.left.len() };
        let mut moved = expr.map_columns(&mut |index| index + from);
        if self.pads[side]
            && let Expr::Column { ty, .. } | Expr::Call { ty, .. } = &mut moved
        {
            ty.nullable = true;
        }
        moved
    }

    /// What a name that means a column of a side means behind the join; a constant of a side that may have no row is none.
    pub(super) fn seen(&self, expr: &Expr, side: usize, column: usize) -> Expr {
        let from = if side == 0 { 0 } else { self.left.len() };
        if !self.pads[side] {
            return expr.map_columns(&mut |index| index + from);
        }
        let attribute = if side == 0 {
            &self.left[column]
        } else {
            &self.right[column]
        };
        Expr::Column {
            index: from + column,
            name: attribute.name.clone(),
            ty: expr.ty().clone().with_nullable(true),
        }
    }
}

/// A column of a side that may have no row.
fn padded(column: Attribute) -> Attribute {
    Attribute {
        ty: column.ty.map(|ty| ty.with_nullable(true)),
        rowtime: false,
        window: None,
        ..column
    }
}

pub(super) fn columns_of(expr: &Expr) -> BTreeSet<usize> {
    let mut columns = BTreeSet::new();
    expr.visit_columns(&mut |column| {
        columns.insert(column);
    });
    columns
}

/// What conditions say of two sides.
#[derive(Default)]
pub(super) struct Said {
    pub of_left: Vec<Expr>,
    /// Over the right side's columns.
    pub of_right: Vec<Expr>,
    /// Each over its side's columns.
    pub equal: Vec<(Expr, Expr)>,
    pub others: Vec<Expr>,
}

impl Said {
    pub(super) fn of(conditions: Vec<Expr>, kind: JoinKind, left: usize) -> Said {
        let mut said = Said::default();
        let is_true = |expr: &Expr| {
            matches!(
                expr,
                Expr::Literal {
                    value: Value::Boolean(true),
                    ..
                }
            )
        };
        for condition in conditions.into_iter().filter(|said| !is_true(said)) {
            let columns = columns_of(&condition);
            let of_left = columns.first().is_some_and(|first| *first < left);
            let of_right = columns.last().is_some_and(|last| *last >= left);
            let shifted = |expr: &Expr| expr.map_columns(&mut |column| column - left);
            match (of_left, of_right) {
                // A row that none fits is there all the same.
                (true, false)
                    if !matches!(kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti) =>
                {
                    said.of_left.push(condition);
                }
                (false, true) if !matches!(kind, JoinKind::Right | JoinKind::Full) => {
                    said.of_right.push(shifted(&condition));
                }
                _ => match equality(&condition, left) {
                    Some((a, b)) => said.equal.push((a.clone(), shifted(b))),
                    None => said.others.push(condition),
                },
            }
        }
        said
    }
}

/// The sides of an equation between something of the left and something of the right.
fn equality(condition: &Expr, left: usize) -> Option<(&Expr, &Expr)> {
    let Expr::Call { function, args, .. } = condition else {
        return None;
    };
    let ([a, b], Function::Equal) = (args.as_slice(), *function) else {
        return None;
    };
    let alike =
        a.ty().kind == b.ty().kind || a.ty().kind.is_character() && b.ty().kind.is_character();
    // Numbers that are equal and not written alike are no keys.
    if !alike || a.ty().kind.is_approximate() {
        return None;
    }
    let side = |expr: &Expr| {
        let columns = columns_of(expr);
        let (first, last) = (columns.first()?, columns.last()?);
        match (*first < left, *last < left) {
            (true, true) => Some(0),
            (false, false) => Some(1),
            _ => None,
        }
    };
    match (side(a)?, side(b)?) {
        (0, 1) => Some((a, b)),
        (1, 0) => Some((b, a)),
        _ => None,
    }
}

/// # Errors
/// A join that is none of windows.
pub(super) fn join(
    (left, right): (Relation, Relation),
    kind: JoinKind,
    conditions: Vec<Expr>,
    span: Span,
) -> Result<Relation> {
    let widths = [left.columns.len(), right.columns.len()];
    let mut said = Said::of(conditions, kind, widths[0]);
    let Some((windows, of)) = windows(&left, &right, &mut said.equal) else {
        return Err(refuse(&left, &right, span));
    };
    let left = keep(left, said.of_left, span)?;
    let right = keep(right, said.of_right, span)?;
    let columns = behind(kind, [&left, &right], &of);
    let (of_left, of_right): (Vec<Expr>, Vec<Expr>) = said.equal.into_iter().unzip();
    let (left, left_keys) = with_keys(left, &of_left);
    let (right, right_keys) = with_keys(right, &of_right);
    let added = [
        left.columns.len() - widths[0],
        right.columns.len() - widths[1],
    ];
    let condition = match said.others.is_empty() {
        true => None,
        false => {
            let all = joined(Function::And, said.others, span)?;
            let moved = |column: usize| column + if column < widths[0] { 0 } else { added[0] };
            Some(all.map_columns(&mut |column| moved(column)))
        }
    };
    let mut given = behind(kind, [&left, &right], &of);
    if added == [0, 0] {
        given = columns;
    }
    let relation = Relation {
        operator: Algebra::Join {
            inputs: Box::new([left, right]),
            kind,
            windows,
            keys: left_keys.into_iter().zip(right_keys).collect(),
            condition,
            span,
        },
        columns: given,
    };
    let relation = match (added[1], kind.gives_right()) {
        (1.., true) => {
            let end = relation.columns.len();
            relation.without(end - added[1]..end)
        }
        _ => relation,
    };
    Ok(match added[0] {
        0 => relation,
        more => relation.without(widths[0]..widths[0] + more),
    })
}

/// Keys as columns; such as are computed stand behind a side's own.
pub(super) fn with_keys(side: Relation, keys: &[Expr]) -> (Relation, Vec<usize>) {
    let width = side.columns.len();
    let mut below = Below::all(&side);
    let keys = keys.iter().map(|key| match key {
        Expr::Column { index, .. } => *index,
        key => below.push("", key),
    });
    let keys: Vec<usize> = keys.collect();
    let side = match keys.iter().all(|key| *key < width) {
        true => side,
        false => below.over(side),
    };
    (side, keys)
}

/// What a join gives: the windows of both sides are one.
fn behind(kind: JoinKind, sides: [&Relation; 2], of: &[Rc<WindowOf>; 2]) -> Vec<Attribute> {
    let [left, right] = sides;
    if !kind.gives_right() {
        return left.columns.clone();
    }
    let one = Rc::new(WindowOf {
        zone: of[0].zone.clone(),
        cut: of[0].cut,
    });
    let width = left.columns.len();
    let mut columns = Sides::new(kind, &left.columns, &right.columns).columns();
    for (at, column) in columns.iter_mut().enumerate() {
        let own = &of[usize::from(at >= width)];
        if let Some(window) = &mut column.window
            && Rc::ptr_eq(&window.of, own)
        {
            window.of = one.clone();
        }
    }
    columns
}

/// What a column that is named tells of a window.
fn told<'r>(side: &'r Relation, expr: &Expr) -> Option<(usize, &'r WindowColumn)> {
    let Expr::Column { index, .. } = expr else {
        return None;
    };
    Some((*index, side.columns[*index].window.as_ref()?))
}

/// The windows that both sides' rows are in, by what is equal; that is taken out.
fn windows(
    left: &Relation,
    right: &Relation,
    equal: &mut Vec<(Expr, Expr)>,
) -> Option<([Windowing; 2], [Rc<WindowOf>; 2])> {
    let pair = |at: usize, wanted: WindowProperty| {
        let (a, b) = &equal[at];
        let ((a, of_a), (b, of_b)) = (told(left, a)?, told(right, b)?);
        let is_it = of_a.property == wanted && of_b.property == wanted;
        (is_it && of_a.of.is_same(&of_b.of)).then(|| ([a, b], [of_a.of.clone(), of_b.of.clone()]))
    };
    let both = |start: usize| {
        let (starts, of) = pair(start, WindowProperty::Start)?;
        let end = (0..equal.len()).find_map(|end| {
            let (ends, of_ends) = pair(end, WindowProperty::End)?;
            let same = of.iter().zip(&of_ends).all(|(a, b)| Rc::ptr_eq(a, b));
            same.then_some((end, ends))
        });
        let (end, ends) = end?;
        Some((start, end, starts, ends, of))
    };
    let (start, end, starts, ends, of) = (0..equal.len()).find_map(both)?;
    equal.remove(start.max(end));
    equal.remove(start.min(end));
    let windowing = |side: usize| Windowing::Attached {
        start: starts[side],
        end: ends[side],
        zone: of[side].zone.clone(),
    };
    Some(([windowing(0), windowing(1)], of))
}

fn refuse(left: &Relation, right: &Relation, span: Span) -> Diagnostic {
    let cuts = |side: &Relation| {
        let windows = side
            .columns
            .iter()
            .filter_map(|column| column.window.as_ref());
        let windows: Vec<Rc<WindowOf>> = windows.map(|window| window.of.clone()).collect();
        windows
    };
    let (of_left, of_right) = (cuts(left), cuts(right));
    let older = |of: &[Rc<WindowOf>]| of.iter().all(|of| of.cut.is_none());
    let what = match (of_left.is_empty(), of_right.is_empty()) {
        (true, true) => "a join of tables without windows is",
        (true, false) | (false, true) => "a join of windows with a table that has none is",
        (false, false) => {
            let alike = |a: &Rc<WindowOf>| of_right.iter().any(|b| a.is_same(b));
            match of_left.iter().any(alike) {
                true => "a join of windows by less than their start and their end is",
                false if older(&of_left) || older(&of_right) => {
                    "a join of windows of the older form, GROUP BY TUMBLE(…), is"
                }
                false => "a join of windows that are cut in two ways is",
            }
        }
    };
    Diagnostic::unsupported(span, what)
        .detail("Every row of both tables would have to be kept for ever.")
        .hint("both tables in the same windows, and ON a.key = b.key AND a.window_start = b.window_start AND a.window_end = b.window_end; or land both and join them with `lakeward sql` or dbt")
}

/// What a condition must be so that NULL on a side counts as equal: what NOT IN takes for a row that it may be.
pub(super) fn or_unknown(equal: Expr, sides: [Expr; 2], span: Span) -> Result<Expr> {
    let mut any = vec![equal];
    for side in sides {
        if side.ty().nullable && side.ty().kind != TypeKind::Null {
            any.push(super::coerce::call(Function::IsNull, vec![side], span)?);
        }
    }
    joined(Function::Or, any, span)
}
