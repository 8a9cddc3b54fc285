//! `SELECT DISTINCT` and `UNION`, over windows: a group by all columns, without an aggregate.

use super::algebra::{Algebra, Attribute, Output, Relation};
use super::call::Below;
use super::group::endless;
use super::tvf::window_columns;
use crate::Result;
use crate::diagnostic::Span;
use lw_graph::{Expr, TypeKind, WindowProperty, Windowing};
use std::rc::Rc;

/// Each combination of columns once in each window.
pub(super) fn distinct(relation: Relation, span: Span) -> Result<Relation> {
    let of_window = |property: WindowProperty| {
        let columns = relation.columns.iter().enumerate();
        columns.filter_map(move |(at, column)| {
            let window = column.window.as_ref()?;
            (window.property == property).then_some((at, window))
        })
    };
    let found = of_window(WindowProperty::Start).find_map(|(start, window)| {
        let mut ends = of_window(WindowProperty::End);
        let (end, _) = ends.find(|(_, end)| Rc::ptr_eq(&end.of, &window.of))?;
        Some((start, end, window.of.clone()))
    });
    let Some((start, end, of)) = found else {
        return Err(endless(
            span,
            "SELECT DISTINCT without window_start and window_end is",
        ));
    };
    let mut below = Below::default();
    let all = 0..relation.columns.len();
    let own = |at: &usize| {
        let window = relation.columns[*at].window.as_ref();
        window
            .filter(|window| Rc::ptr_eq(&window.of, &of))
            .map(|window| window.property)
    };
    let keys: Vec<usize> = all.clone().filter(|at| own(at).is_none()).collect();
    let windowing = Windowing::Attached {
        start: below.column(start, &relation),
        end: below.column(end, &relation),
        zone: of.zone.clone(),
    };
    let key_columns: Vec<usize> = keys.iter().map(|at| below.column(*at, &relation)).collect();
    let time = match of.zone {
        Some(_) => TypeKind::TimestampLtz(3),
        None => TypeKind::Timestamp(3),
    };
    let mut columns: Vec<Attribute> = keys
        .iter()
        .map(|at| relation.columns[*at].clone())
        .collect();
    columns.extend(window_columns(&of, &time, span));
    let outputs = all.map(|at| {
        let index = match own(&at) {
            Some(property) => keys.len() + property as usize,
            None => keys.iter().position(|key| *key == at).expect("it is a key"),
        };
        let attribute = relation.columns[at].clone();
        let column = Expr::Column {
            index,
            name: attribute.name.clone(),
            ty: attribute
                .ty
                .clone()
                .expect("what is refused is not grouped"),
        };
        (attribute, Some(column))
    });
    let outputs: Vec<Output> = outputs.collect();
    let grouped = Relation {
        columns,
        operator: Algebra::Aggregate {
            input: Box::new(below.over(relation)),
            windowing,
            keys: key_columns,
            calls: Vec::new(),
            span,
        },
    };
    Ok(grouped.project(outputs))
}
