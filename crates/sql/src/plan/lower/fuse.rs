//! Relations into stages: what is computed from the scan up to the first operator with state, from there to the next, and so on.
//!
//! In each stage all projections and filters become expressions over what its operator below gives, in an arena that holds each
//! once. A window function right below a grouping of its windows is no operator of its own: the aggregate gives rows their windows.

use super::super::algebra::{Algebra, Attribute, Ranks, Relation};
use super::super::arena::{Arena, Id};
use super::super::group::endless;
use super::prune::map_columns;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{AggregateCall, Operator, OperatorUid, SortKey, Window, WindowProperty, Windowing};
use std::collections::{BTreeSet, HashSet};

/// All that is computed over one scan.
pub(super) struct Fused {
    /// The first is over the scan, and all branches share it; each of the others is over one operator with state.
    pub arenas: Vec<Arena>,
    pub watermark: Option<Watermark>,
}

#[derive(Clone, Copy)]
pub(super) struct Watermark {
    pub column: Id,
    pub expression: Id,
}

/// What a branch computes.
pub(super) struct Computed {
    /// From the scan upwards.
    pub stages: Vec<Stage>,
    /// Above the last of them.
    pub top: Segment,
}

/// Between two operators with state.
#[derive(Clone)]
pub(super) struct Segment {
    pub arena: usize,
    pub condition: Option<Id>,
    /// What the operator above reads, in the order of its input's columns.
    pub columns: Vec<Id>,
}

/// An operator with state, and what is computed below it.
pub(super) struct Stage {
    pub below: Segment,
    /// Its columns are those of `below`.
    pub operator: Operator,
    /// What each column that it gives is called in the arena above.
    pub gives: Vec<Id>,
    /// What it computes, and all below it.
    pub uid: OperatorUid,
}

impl Segment {
    pub(super) fn roots(&self) -> impl Iterator<Item = Id> {
        self.condition
            .into_iter()
            .chain(self.columns.iter().copied())
    }
}

impl Computed {
    /// What is computed above a stage's operator, up to the next.
    pub(super) fn above(&self, stage: usize) -> &Segment {
        let next = self.stages.get(stage + 1);
        next.map_or(&self.top, |next| &next.below)
    }

    /// What is computed from the scan's columns.
    pub(super) fn bottom(&self) -> &Segment {
        self.stages.first().map_or(&self.top, |stage| &stage.below)
    }
}

/// A branch while its relations are read from below.
struct Reading<'f> {
    fused: &'f mut Fused,
    stages: Vec<Stage>,
    /// The arena of the stage that is read.
    arena: usize,
    conditions: Vec<Id>,
}

/// A window function whose windows the aggregate above it gives.
struct Folded {
    window: Window,
    time: Id,
    partition: Vec<Id>,
}

impl Fused {
    pub(super) fn new() -> Fused {
        Fused {
            arenas: vec![Arena::default()],
            watermark: None,
        }
    }

    /// # Errors
    /// A rank that nothing bounds, windows of sessions that are grouped otherwise than they are cut.
    pub(super) fn branch(&mut self, relation: &Relation) -> Result<Computed> {
        let mut reading = Reading {
            fused: self,
            stages: Vec::new(),
            arena: 0,
            conditions: Vec::new(),
        };
        let columns = reading.read(relation)?;
        let top = reading.segment(columns);
        let mut computed = Computed {
            stages: reading.stages,
            top,
        };
        computed.prune(&self.arenas);
        Ok(computed)
    }
}

impl Reading<'_> {
    fn arena(&mut self) -> &mut Arena {
        &mut self.fused.arenas[self.arena]
    }

    fn segment(&mut self, columns: Vec<Id>) -> Segment {
        let conditions = std::mem::take(&mut self.conditions);
        Segment {
            arena: self.arena,
            condition: self.arena().all(&conditions),
            columns,
        }
    }

    fn read(&mut self, relation: &Relation) -> Result<Vec<Id>> {
        match &relation.operator {
            Algebra::Scan(_) => {
                let columns = relation.columns.iter().enumerate();
                let columns = columns.map(|(index, column)| {
                    let ty = column.ty.as_ref().expect("a refused column is in no job");
                    self.arena().column(index, &column.name, ty)
                });
                Ok(columns.collect())
            }
            Algebra::Project(input, _) | Algebra::Filter(input, _) => {
                let input = self.read(input)?;
                Ok(self.stateless(relation, input))
            }
            Algebra::Watermark {
                input,
                column,
                expression,
            } => {
                let input = self.read(input)?;
                self.fused.watermark = Some(Watermark {
                    column: input[*column],
                    expression: self.arena().add(expression, &input),
                });
                Ok(input)
            }
            Algebra::Expand { input, .. } => {
                let input = self.read(input)?;
                Ok(self.expanded(relation, input))
            }
            Algebra::Windows {
                input,
                window,
                partition,
                ..
            } => {
                let input = self.read(input)?;
                let operator = Operator::WindowAssign {
                    uid: unnamed(),
                    window: window.clone(),
                    partition: partition.clone(),
                };
                Ok(self.stage(relation, operator, input))
            }
            Algebra::Aggregate {
                input,
                windowing,
                keys,
                calls,
                span,
            } => self.aggregate(relation, (input, windowing, keys, calls), *span),
            Algebra::Over {
                input,
                keys,
                time,
                frame,
                calls,
                ..
            } => {
                let input = self.read(input)?;
                let operator = Operator::Over {
                    uid: unnamed(),
                    keys: keys.clone(),
                    time: *time,
                    frame: *frame,
                    aggregates: calls.clone(),
                };
                Ok(self.stage(relation, operator, input))
            }
            Algebra::Numbered {
                input,
                windowing,
                keys,
                order,
                ranks,
                span,
            } => {
                let latest = is_latest(order, *ranks, &input.columns);
                let operator = rank((windowing, keys, order), *ranks, latest, *span)?;
                let input = self.read(input)?;
                Ok(self.stage(relation, operator, input))
            }
        }
    }

    fn stateless(&mut self, relation: &Relation, input: Vec<Id>) -> Vec<Id> {
        match &relation.operator {
            Algebra::Project(_, exprs) => {
                let columns = exprs.iter().zip(&relation.columns).map(|(expr, column)| {
                    let id = self.arena().add(expr, &input);
                    self.arena().give_name(id, &column.name);
                    id
                });
                columns.collect()
            }
            Algebra::Filter(_, condition) => {
                let condition = self.arena().add(condition, &input);
                self.conditions.push(condition);
                input
            }
            _ => unreachable!("the caller has looked"),
        }
    }

    /// Ends a stage with an operator that gives the relation's columns.
    fn stage(&mut self, relation: &Relation, mut operator: Operator, read: Vec<Id>) -> Vec<Id> {
        let mut columns: Vec<Id> = Vec::new();
        let mut place = |id: Id| {
            let known = columns.iter().position(|known| *known == id);
            known.unwrap_or_else(|| {
                columns.push(id);
                columns.len() - 1
            })
        };
        let places: Vec<usize> = read.into_iter().map(&mut place).collect();
        map_columns(&mut operator, &|column| places[column]);
        let below = self.segment(columns);
        self.fused.arenas.push(Arena::default());
        self.arena = self.fused.arenas.len() - 1;
        // What is passed on twice is the same column above too.
        let passed = match operator {
            Operator::WindowAggregate { .. } => 0,
            _ => places.len(),
        };
        let mut given: Vec<Id> = Vec::new();
        let mut gives: Vec<Id> = Vec::new();
        for (index, column) in relation.columns.iter().enumerate() {
            let first = places[..passed].get(index).copied();
            if let Some(known) = first.and_then(|place| gives.get(place)) {
                given.push(*known);
                continue;
            }
            let ty = column.ty.as_ref().expect("a refused column is in no job");
            let id = self.arena().column(index, &column.name, ty);
            given.push(id);
            gives.push(id);
        }
        self.stages.push(Stage {
            below,
            operator,
            gives,
            uid: unnamed(),
        });
        given
    }

    /// The relation gives keys, the window, aggregates; the operator gives the window last.
    fn aggregate(
        &mut self,
        relation: &Relation,
        (input, windowing, keys, calls): (&Relation, &Windowing, &[usize], &[AggregateCall]),
        span: Span,
    ) -> Result<Vec<Id>> {
        let mut windowing = windowing.clone();
        let read = columns_read(keys, calls);
        let input = match &windowing {
            Windowing::Attached { .. } if folds(input, &read) => {
                let (mut ids, folded) = self.read_folded(input)?;
                check_session(&folded, keys.iter().map(|key| ids[*key]), span)?;
                windowing = Windowing::Assign(Window {
                    time: ids.len(),
                    ..folded.window
                });
                ids.push(folded.time);
                ids
            }
            _ => self.read(input)?,
        };
        let operator = Operator::WindowAggregate {
            uid: unnamed(),
            windowing,
            keys: keys.to_vec(),
            aggregates: calls.to_vec(),
            properties: PROPERTIES.to_vec(),
        };
        let given = self.stage(relation, operator, input);
        let stage = self.stages.last_mut().expect("one was pushed");
        stage.gives[keys.len()..].rotate_left(PROPERTIES.len());
        Ok(given)
    }

    fn expanded(&mut self, relation: &Relation, input: Vec<Id>) -> Vec<Id> {
        let Algebra::Expand { keys, sets, .. } = &relation.operator else {
            unreachable!("the caller has looked");
        };
        let operator = Operator::Expand {
            keys: keys.clone(),
            sets: sets.clone(),
        };
        self.stage(relation, operator, input)
    }

    /// Reads down to the window function. Nothing reads its columns but those that group by them.
    fn read_folded(&mut self, relation: &Relation) -> Result<(Vec<Id>, Folded)> {
        match &relation.operator {
            Algebra::Project(input, _) | Algebra::Filter(input, _) => {
                let (input, folded) = self.read_folded(input)?;
                Ok((self.stateless(relation, input), folded))
            }
            Algebra::Expand { input, .. } => {
                let (input, folded) = self.read_folded(input)?;
                // Those that group by the window's columns have it read on the way.
                let time = input.iter().position(|id| *id == folded.time);
                let given = self.expanded(relation, input);
                let time = time.map(|at| given[at]);
                let time =
                    time.expect("the window's columns are handed on to those that group by them");
                Ok((given, Folded { time, ..folded }))
            }
            Algebra::Windows {
                input,
                window,
                partition,
                ..
            } => {
                let mut ids = self.read(input)?;
                let folded = Folded {
                    window: window.clone(),
                    time: ids[window.time],
                    partition: partition.iter().map(|column| ids[*column]).collect(),
                };
                // In place of the window's columns, which nobody reads.
                ids.extend([folded.time; PROPERTIES.len()]);
                Ok((ids, folded))
            }
            _ => unreachable!("the caller has looked for the window function"),
        }
    }
}

const PROPERTIES: [WindowProperty; 3] = [
    WindowProperty::Start,
    WindowProperty::End,
    WindowProperty::Time,
];

/// Its uid is known when all below it is.
fn unnamed() -> OperatorUid {
    OperatorUid::of("")
}

fn columns_read(keys: &[usize], calls: &[AggregateCall]) -> BTreeSet<usize> {
    let arguments = calls
        .iter()
        .flat_map(|call| call.arguments.iter().chain(&call.filter));
    keys.iter().chain(arguments).copied().collect()
}

/// Whether a window function is below, and nothing on the way computes with its columns.
fn folds(relation: &Relation, read: &BTreeSet<usize>) -> bool {
    match &relation.operator {
        Algebra::Project(input, exprs) => {
            let mut below = BTreeSet::new();
            for column in read {
                exprs[*column].visit_columns(&mut |index| {
                    below.insert(index);
                });
            }
            folds(input, &below)
        }
        Algebra::Filter(input, condition) => {
            let mut below = read.clone();
            condition.visit_columns(&mut |index| {
                below.insert(index);
            });
            folds(input, &below)
        }
        Algebra::Expand { input, keys, .. } => {
            let width = input.columns.len();
            let of_input = |column: &usize| match column.checked_sub(width) {
                None => Some(*column),
                Some(key) => keys.get(key).copied(),
            };
            folds(input, &read.iter().filter_map(of_input).collect())
        }
        Algebra::Windows { input, .. } => read.iter().all(|column| *column < input.columns.len()),
        _ => false,
    }
}

/// Sessions are cut for each key by itself.
fn check_session(folded: &Folded, keys: impl Iterator<Item = Id>, span: Span) -> Result<()> {
    let lw_graph::WindowShape::Session { .. } = folded.window.shape else {
        return Ok(());
    };
    let keys: HashSet<Id> = keys.collect();
    let partition: HashSet<Id> = folded.partition.iter().copied().collect();
    if keys == partition {
        return Ok(());
    }
    Err(endless(
        span,
        "grouping sessions by other columns than they are cut by is",
    )
    .hint("SESSION(TABLE t PARTITION BY key, …) … GROUP BY key, window_start, window_end"))
}

fn rank(
    (windowing, keys, order): (&Windowing, &[usize], &[SortKey]),
    ranks: Ranks,
    latest: bool,
    span: Span,
) -> Result<Operator> {
    let Some(last) = ranks.last else {
        let message = "nothing says how many rows of a window are wanted";
        return Err(Diagnostic::error("rank", span, message)
            .detail("Without an end all rows of a window would have to be kept.")
            .hint("SELECT … FROM (SELECT *, ROW_NUMBER() OVER (…) AS rn FROM …) WHERE rn <= 3"));
    };
    if last < ranks.first {
        let message = format!("there is no rank from {} to {last}", ranks.first);
        return Err(Diagnostic::error("rank", span, message).hint("ranks begin with 1"));
    }
    Ok(Operator::WindowRank {
        uid: unnamed(),
        windowing: windowing.clone(),
        keys: keys.to_vec(),
        order: order.to_vec(),
        first: ranks.first,
        last,
        rank: true,
        latest,
    })
}

/// Whether the one row with the greatest event time is asked for.
fn is_latest(order: &[SortKey], ranks: Ranks, columns: &[Attribute]) -> bool {
    let alone = ranks.first == 1 && ranks.last == Some(1);
    let by_time = |key: &SortKey| !key.ascending && columns[key.column].rowtime;
    alone && matches!(order, [key] if by_time(key))
}
