//! Relations into stages: what is computed from the scans up to the first operator that ends one, from there to the next, and so on.
//!
//! In each stage all projections and filters become expressions over what its operator below gives, in an arena that holds each
//! once. Operators with state end a stage, and those whose rows are not those of their input: a union, an unnest. A window function right
//! below a grouping of its windows is no operator of its own: the aggregate gives rows their windows.

use super::super::algebra::{Algebra, Attribute, Ranks, Relation, Scan, ScanKey};
use super::super::arena::{Arena, Id};
use super::super::group::endless;
use super::super::lookup::LookedUp;
use super::prune::map_columns;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{
    AggregateCall, Lookup, Operator, OperatorUid, SortKey, Window, WindowProperty, Windowing,
};
use std::collections::{BTreeSet, HashSet};

/// All that is computed in a job.
#[derive(Default)]
pub(super) struct Fused<'r> {
    /// Those over a scan are shared by all branches; each of the others is over what one operator gives.
    pub arenas: Vec<Arena>,
    /// In the order in which the branches name them.
    pub scans: Vec<Scanned<'r>>,
}

/// A scan that branches read.
pub(super) struct Scanned<'r> {
    pub scan: &'r Scan,
    key: ScanKey,
    /// Of the expressions over it.
    pub arena: usize,
    pub watermark: Option<Watermark>,
}

#[derive(Clone, Copy)]
pub(super) struct Watermark {
    pub column: Id,
    pub expression: Id,
    pub idle: Option<i64>,
}

/// What a branch computes.
pub(super) struct Computed {
    /// From the scans upwards: each behind those that it stands on.
    pub stages: Vec<Stage>,
    /// Above the last of them.
    pub top: Segment,
}

/// What a segment stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Scan(usize),
    Stage(usize),
}

/// Between two operators that end a stage.
#[derive(Clone)]
pub(super) struct Segment {
    pub on: Base,
    pub arena: usize,
    pub condition: Option<Id>,
    /// What the operator above reads, in the order of its input's columns.
    pub columns: Vec<Id>,
}

/// An operator that ends a stage, and what is computed below it.
pub(super) struct Stage {
    /// One for each input.
    pub below: Vec<Segment>,
    /// Its columns are those of `below`, one input's behind the other's.
    pub operator: Operator,
    /// What each column that it gives is called in the arena above.
    pub gives: Vec<Id>,
    /// The arena above.
    pub above: usize,
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
    /// All segments, the top one last.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        let below = self.stages.iter().flat_map(|stage| &stage.below);
        below.chain([&self.top])
    }
}

/// A branch while its relations are read from below.
struct Reading<'f, 'r> {
    fused: &'f mut Fused<'r>,
    stages: Vec<Stage>,
}

/// A segment while it is read.
struct Open {
    on: Base,
    arena: usize,
    conditions: Vec<Id>,
    columns: Vec<Id>,
}

/// A window function whose windows the aggregate above it gives.
struct Folded {
    window: Window,
    time: Id,
    partition: Vec<Id>,
}

impl<'r> Fused<'r> {
    /// # Errors
    /// A rank that nothing bounds, windows of sessions that are grouped otherwise than they are cut.
    pub(super) fn branch(&mut self, relation: &'r Relation) -> Result<Computed> {
        let mut reading = Reading {
            fused: self,
            stages: Vec::new(),
        };
        let open = reading.read(relation)?;
        let top = reading.segment(open);
        let mut computed = Computed {
            stages: reading.stages,
            top,
        };
        computed.prune(&self.arenas);
        Ok(computed)
    }

    fn new_arena(&mut self) -> usize {
        self.arenas.push(Arena::default());
        self.arenas.len() - 1
    }

    /// The scan of this key; branches share it.
    fn scanned(&mut self, scan: &'r Scan) -> usize {
        let key = scan.key();
        let known = self.scans.iter().position(|known| known.key == key);
        known.unwrap_or_else(|| {
            let arena = self.new_arena();
            self.scans.push(Scanned {
                scan,
                key,
                arena,
                watermark: None,
            });
            self.scans.len() - 1
        })
    }
}

impl<'r> Reading<'_, 'r> {
    fn arena(&mut self, open: &Open) -> &mut Arena {
        &mut self.fused.arenas[open.arena]
    }

    fn segment(&mut self, open: Open) -> Segment {
        Segment {
            on: open.on,
            arena: open.arena,
            condition: self.fused.arenas[open.arena].all(&open.conditions),
            columns: open.columns,
        }
    }

    fn read(&mut self, relation: &'r Relation) -> Result<Open> {
        match &relation.operator {
            Algebra::Scan(scan) => {
                let at = self.fused.scanned(scan);
                let mut open = Open {
                    on: Base::Scan(at),
                    arena: self.fused.scans[at].arena,
                    conditions: Vec::new(),
                    columns: Vec::new(),
                };
                open.columns = self.fresh(&open, relation);
                Ok(open)
            }
            Algebra::Project(input, _) | Algebra::Filter(input, _) => {
                let open = self.read(input)?;
                Ok(self.stateless(relation, open))
            }
            Algebra::Watermark {
                input,
                column,
                expression,
                idle,
            } => {
                let open = self.read(input)?;
                let Base::Scan(at) = open.on else {
                    unreachable!("a watermark stands above a scan");
                };
                let expression = self.arena(&open).add(expression, &open.columns);
                self.fused.scans[at].watermark = Some(Watermark {
                    column: open.columns[*column],
                    expression,
                    idle: *idle,
                });
                Ok(open)
            }
            Algebra::Expand { input, .. } => {
                let input = self.read(input)?;
                Ok(self.expanded(relation, input))
            }
            Algebra::Union(inputs) => {
                let inputs = inputs.iter().map(|input| self.read(input));
                let inputs = inputs.collect::<Result<Vec<Open>>>()?;
                let below = inputs.into_iter().map(|open| self.segment(open)).collect();
                Ok(self.ended(relation, Operator::Union, below))
            }
            Algebra::Join { .. } => self.joined(relation),
            Algebra::Aggregate {
                input,
                windowing,
                keys,
                calls,
                span,
            } => self.aggregate(relation, (input, windowing, keys, calls), *span),
            Algebra::Windows { input, .. }
            | Algebra::Over { input, .. }
            | Algebra::Unnest { input, .. }
            | Algebra::Lookup { input, .. }
            | Algebra::CurrentWatermark(input)
            | Algebra::Numbered { input, .. } => {
                let operator = operator_of(relation, input)?;
                let input = self.read(input)?;
                Ok(self.stage(relation, operator, input))
            }
        }
    }

    /// The columns that a relation gives, as columns of its arena.
    fn fresh(&mut self, open: &Open, relation: &Relation) -> Vec<Id> {
        let columns = relation.columns.iter().enumerate();
        let columns = columns.map(|(index, column)| {
            let ty = column.ty.as_ref().expect("a refused column is in no job");
            self.arena(open).column(index, &column.name, ty)
        });
        columns.collect()
    }

    fn stateless(&mut self, relation: &Relation, mut open: Open) -> Open {
        match &relation.operator {
            Algebra::Project(_, exprs) => {
                let columns = exprs.iter().zip(&relation.columns).map(|(expr, column)| {
                    let id = self.arena(&open).add(expr, &open.columns);
                    self.arena(&open).give_name(id, &column.name);
                    id
                });
                open.columns = columns.collect();
            }
            Algebra::Filter(_, condition) => {
                let condition = self.arena(&open).add(condition, &open.columns);
                open.conditions.push(condition);
            }
            _ => unreachable!("the caller has looked"),
        }
        open
    }

    /// Ends a stage with an operator that gives the relation's columns.
    fn stage(&mut self, relation: &Relation, mut operator: Operator, mut open: Open) -> Open {
        let read = std::mem::take(&mut open.columns);
        let places = each_once(&read, &mut open.columns);
        map_columns(&mut operator, &|column| places[column]);
        // What is passed on twice is the same column above too.
        let passed = match operator {
            Operator::WindowAggregate { .. } => 0,
            _ => places.len(),
        };
        let below = vec![self.segment(open)];
        self.ended_with(relation, operator, below, &places[..passed])
    }

    /// Ends stages with an operator that gives each of the relation's columns for itself.
    fn ended(&mut self, relation: &Relation, operator: Operator, below: Vec<Segment>) -> Open {
        self.ended_with(relation, operator, below, &[])
    }

    /// As [`Reading::ended`], with what it passes on at these places.
    fn ended_with(
        &mut self,
        relation: &Relation,
        operator: Operator,
        below: Vec<Segment>,
        passed: &[usize],
    ) -> Open {
        let above = self.fused.new_arena();
        let mut given: Vec<Id> = Vec::new();
        let mut gives: Vec<Id> = Vec::new();
        for (index, column) in relation.columns.iter().enumerate() {
            let first = passed.get(index).copied();
            if let Some(known) = first.and_then(|place| gives.get(place)) {
                given.push(*known);
                continue;
            }
            let ty = column.ty.as_ref().expect("a refused column is in no job");
            let id = self.fused.arenas[above].column(index, &column.name, ty);
            given.push(id);
            gives.push(id);
        }
        self.stages.push(Stage {
            below,
            operator,
            gives,
            above,
            uid: unnamed(),
        });
        Open {
            on: Base::Stage(self.stages.len() - 1),
            arena: above,
            conditions: Vec::new(),
            columns: given,
        }
    }

    fn joined(&mut self, relation: &'r Relation) -> Result<Open> {
        let Algebra::Join {
            inputs,
            kind,
            windows,
            keys,
            condition,
            ..
        } = &relation.operator
        else {
            unreachable!("the caller has looked");
        };
        let [left, right] = &**inputs;
        let (left, right) = (self.read(left)?, self.read(right)?);
        let operator = Operator::WindowJoin {
            uid: unnamed(),
            kind: *kind,
            windows: windows.clone(),
            keys: keys.clone(),
            condition: condition.clone(),
        };
        let below = vec![self.segment(left), self.segment(right)];
        Ok(self.ended(relation, operator, below))
    }

    /// The relation gives keys, the window, aggregates; the operator gives the window last.
    fn aggregate(
        &mut self,
        relation: &Relation,
        (input, windowing, keys, calls): (&'r Relation, &Windowing, &[usize], &[AggregateCall]),
        span: Span,
    ) -> Result<Open> {
        let mut windowing = windowing.clone();
        let read = columns_read(keys, calls);
        let input = match &windowing {
            Windowing::Attached { .. } if folds(input, &read) => {
                let (mut open, folded) = self.read_folded(input)?;
                check_session(&folded, keys.iter().map(|key| open.columns[*key]), span)?;
                windowing = Windowing::Assign(Window {
                    time: open.columns.len(),
                    ..folded.window
                });
                open.columns.push(folded.time);
                open
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

    fn expanded(&mut self, relation: &Relation, input: Open) -> Open {
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
    fn read_folded(&mut self, relation: &'r Relation) -> Result<(Open, Folded)> {
        match &relation.operator {
            Algebra::Project(input, _) | Algebra::Filter(input, _) => {
                let (input, folded) = self.read_folded(input)?;
                Ok((self.stateless(relation, input), folded))
            }
            Algebra::Expand { input, .. } => {
                let (input, folded) = self.read_folded(input)?;
                // Those that group by the window's columns have it read on the way.
                let time = input.columns.iter().position(|id| *id == folded.time);
                let given = self.expanded(relation, input);
                let time = time.map(|at| given.columns[at]);
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
                let mut open = self.read(input)?;
                // It stands for other columns from here on, whose names are not its own.
                let (time, name) = (open.columns[window.time], &input.columns[window.time].name);
                self.arena(&open).give_name(time, name);
                let ids = &mut open.columns;
                let folded = Folded {
                    window: window.clone(),
                    time: ids[window.time],
                    partition: partition.iter().map(|column| ids[*column]).collect(),
                };
                // In place of the window's columns, which nobody reads.
                ids.extend([folded.time; PROPERTIES.len()]);
                Ok((open, folded))
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

/// Each of these once, and where each is.
fn each_once(read: &[Id], columns: &mut Vec<Id>) -> Vec<usize> {
    let places = read.iter().map(|id| {
        let known = columns.iter().position(|known| known == id);
        known.unwrap_or_else(|| {
            columns.push(*id);
            columns.len() - 1
        })
    });
    places.collect()
}

/// The operator of a relation over one other that ends a stage.
fn operator_of(relation: &Relation, input: &Relation) -> Result<Operator> {
    Ok(match &relation.operator {
        Algebra::Windows {
            window, partition, ..
        } => Operator::WindowAssign {
            uid: unnamed(),
            window: window.clone(),
            partition: partition.clone(),
        },
        Algebra::Over {
            keys,
            time,
            frame,
            calls,
            ttl,
            ..
        } => Operator::Over {
            uid: unnamed(),
            keys: keys.clone(),
            time: *time,
            frame: *frame,
            aggregates: calls.clone(),
            ttl: *ttl,
        },
        Algebra::Numbered {
            windowing,
            keys,
            order,
            ranks,
            span,
            ..
        } => {
            let latest = is_latest(order, *ranks, &input.columns);
            rank((windowing, keys, order), *ranks, latest, *span)?
        }
        Algebra::Unnest {
            column,
            outer,
            ordinality,
            on,
            ..
        } => Operator::Unnest {
            column: *column,
            outer: *outer,
            ordinality: *ordinality,
            on: on.clone(),
        },
        Algebra::CurrentWatermark(_) => Operator::CurrentWatermark,
        Algebra::Lookup { lookup, .. } => {
            let LookedUp {
                table,
                kind,
                columns,
                keys,
                filter,
                on,
            } = (**lookup).clone();
            Operator::Lookup(Box::new(Lookup {
                table,
                kind,
                columns,
                keys,
                filter,
                on,
            }))
        }
        _ => unreachable!("the caller has looked"),
    })
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
