//! Each operator with state gives what somebody reads, and keeps no more than that; then it is known what it is called.

use super::super::arena::{Arena, Form, Id};
use super::fuse::{Computed, Segment, Stage};
use lw_graph::{AggregateCall, FrameUnit, Operator, OperatorUid, SortKey, Window, Windowing};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

impl Computed {
    pub(super) fn prune(&mut self, arenas: &[Arena]) {
        let mut above = self.top.clone();
        for stage in self.stages.iter_mut().rev() {
            let read = columns_of(&above, &arenas[above.arena]);
            stage.keep(&read);
            above = stage.below.clone();
        }
    }
}

/// The columns of the operator below that a segment reads.
fn columns_of(segment: &Segment, arena: &Arena) -> HashSet<Id> {
    let mut seen = HashSet::new();
    let mut open: Vec<Id> = segment.roots().collect();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let operands = arena.node(id).form.operands();
            open.extend(operands.into_iter().map(|(operand, _)| operand));
        }
    }
    seen.retain(|id| matches!(arena.node(*id).form, Form::Column(..)));
    seen
}

impl Stage {
    /// Leaves out what nobody reads.
    fn keep(&mut self, read: &HashSet<Id>) {
        let given = self.below.columns.len();
        let is_read: Vec<bool> = self.gives.iter().map(|id| read.contains(id)).collect();
        let from = match &self.operator {
            Operator::WindowAggregate { keys, .. } => keys.len(),
            _ => given,
        };
        match &mut self.operator {
            Operator::WindowAggregate { aggregates, .. } | Operator::Over { aggregates, .. } => {
                let mut at = 0;
                aggregates.retain(|_| {
                    at += 1;
                    is_read[from + at - 1]
                });
                let calls = from..from + at;
                let mut column = 0;
                self.gives.retain(|_| {
                    column += 1;
                    !calls.contains(&(column - 1)) || is_read[column - 1]
                });
            }
            Operator::WindowRank { rank, .. } => {
                *rank = is_read[given];
                if !*rank {
                    self.gives.pop();
                }
            }
            _ => {}
        }
        let mut wanted: BTreeSet<usize> = columns_of_operator(&self.operator);
        if !matches!(self.operator, Operator::WindowAggregate { .. }) {
            wanted.extend((0..given).filter(|at| is_read[*at]));
            let mut at = 0;
            self.gives.retain(|_| {
                at += 1;
                at > given || wanted.contains(&(at - 1))
            });
        }
        self.narrow(&wanted);
    }

    /// Only these columns of the input.
    fn narrow(&mut self, wanted: &BTreeSet<usize>) {
        let places: BTreeMap<usize, usize> = wanted.iter().copied().zip(0..).collect();
        let columns = wanted.iter().map(|at| self.below.columns[*at]);
        self.below.columns = columns.collect();
        map_columns(&mut self.operator, &|column| places[&column]);
    }
}

/// The columns of the input that an operator itself reads.
fn columns_of_operator(operator: &Operator) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut copy = operator.clone();
    let seen = std::cell::RefCell::new(&mut found);
    map_columns(&mut copy, &|column| {
        seen.borrow_mut().insert(column);
        column
    });
    found
}

pub(super) fn map_columns(operator: &mut Operator, to: &impl Fn(usize) -> usize) {
    let of_window = |windowing: &mut Windowing| match windowing {
        Windowing::Assign(window) => window.time = to(window.time),
        Windowing::Attached { start, end, .. } => {
            *start = to(*start);
            *end = to(*end);
        }
    };
    let all = |columns: &mut [usize]| columns.iter_mut().for_each(|column| *column = to(*column));
    let of_call = |call: &mut AggregateCall| {
        all(&mut call.arguments);
        call.filter = call.filter.map(to);
    };
    match operator {
        Operator::Expand { keys, .. } => all(keys),
        Operator::WindowAssign {
            window: Window { time, .. },
            partition,
            ..
        } => {
            *time = to(*time);
            all(partition);
        }
        Operator::WindowAggregate {
            windowing,
            keys,
            aggregates,
            ..
        } => {
            of_window(windowing);
            all(keys);
            aggregates.iter_mut().for_each(of_call);
        }
        Operator::Over {
            keys,
            time,
            aggregates,
            ..
        } => {
            all(keys);
            *time = to(*time);
            aggregates.iter_mut().for_each(of_call);
        }
        Operator::WindowRank {
            windowing,
            keys,
            order,
            ..
        } => {
            of_window(windowing);
            all(keys);
            for SortKey { column, .. } in order {
                *column = to(*column);
            }
        }
        Operator::Unnest { column, .. } => *column = to(*column),
        Operator::Union | Operator::CurrentWatermark => {}
        Operator::Source(_)
        | Operator::Filter(_)
        | Operator::Project(_)
        | Operator::Watermark { .. }
        | Operator::WindowJoin { .. }
        | Operator::Sink(_) => unreachable!("no operator of one input that ends a stage"),
    }
}

/// What the uids of a branch are made of: the text of each operator, and of all that it stands on.
pub(super) struct Lineage {
    /// What the columns of the operator below are, by their index there.
    base: HashMap<usize, String>,
    below: String,
}

impl Lineage {
    pub(super) fn new(base: HashMap<usize, String>, below: String) -> Lineage {
        Lineage { base, below }
    }

    /// Names the stage's operator; what stands on it has another lineage.
    pub(super) fn name(&mut self, stage: &mut Stage, arena: &Arena, above: &Arena) {
        let mut digests = arena.digests(&self.base);
        let columns: Vec<String> = {
            let columns = stage.below.columns.iter();
            columns.map(|id| digests.of(*id)).collect()
        };
        let condition = stage.below.condition.map(|id| digests.of(id));
        let of = described(&stage.operator, &columns);
        let text = format!(
            "{of} where {} over {}",
            condition.unwrap_or_default(),
            self.below
        );
        let named = OperatorUid::of(&text);
        stage.uid = named;
        if let Operator::WindowAssign { uid, .. }
        | Operator::WindowAggregate { uid, .. }
        | Operator::WindowRank { uid, .. }
        | Operator::Over { uid, .. } = &mut stage.operator
        {
            *uid = named;
        }
        self.below = named.to_string();
        let windows = || ["start", "end", "time"].map(String::from);
        let given: Vec<String> = match &stage.operator {
            Operator::WindowAggregate {
                keys, aggregates, ..
            } => {
                let keys = keys.iter().map(|key| columns[*key].clone());
                let calls = aggregates.iter().map(|call| call_text(call, &columns));
                keys.chain(calls).chain(windows()).collect()
            }
            Operator::Over { aggregates, .. } => {
                let calls = aggregates.iter().map(|call| call_text(call, &columns));
                let calls: Vec<String> = calls.collect();
                columns.into_iter().chain(calls).collect()
            }
            Operator::WindowRank { .. } => {
                columns.into_iter().chain(["rank".to_string()]).collect()
            }
            Operator::Expand { keys, .. } => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| format!("set {}", columns[*key]))
                    .collect();
                let number = "number".to_string();
                columns.into_iter().chain(keys).chain([number]).collect()
            }
            _ => columns.into_iter().chain(windows()).collect(),
        };
        let given = stage.gives.iter().zip(given);
        let given = given.map(|(id, column)| match &above.node(*id).form {
            Form::Column(index, _) => (*index, format!("{column} of {named}")),
            _ => unreachable!("what an operator gives is a column to those above"),
        });
        self.base = given.collect();
    }
}

fn described(operator: &Operator, columns: &[String]) -> String {
    let list = |of: &[usize]| {
        let of: Vec<&str> = of.iter().map(|column| columns[*column].as_str()).collect();
        of.join(",")
    };
    let zone = |zone: &Option<String>| zone.clone().unwrap_or_default();
    let window = |window: &Window| {
        let of = &columns[window.time];
        format!(
            "{} {} {of} {}",
            lengths(window),
            window.offset,
            zone(&window.zone)
        )
    };
    let windowing = |of: &Windowing| match of {
        Windowing::Assign(of) => window(of),
        Windowing::Attached {
            start,
            end,
            zone: of,
        } => {
            format!(
                "attached {} {} {}",
                columns[*start],
                columns[*end],
                zone(of)
            )
        }
    };
    match operator {
        Operator::Expand { keys, sets } => {
            let sets: Vec<String> = sets
                .iter()
                .map(|set| Operator::set_number(set).to_string())
                .collect();
            format!(
                "expand {} into {} of {}",
                list(keys),
                sets.join(","),
                columns.join(",")
            )
        }
        Operator::WindowAssign {
            window: of,
            partition,
            ..
        } => format!(
            "assign {} by {} of {}",
            window(of),
            list(partition),
            columns.join(",")
        ),
        Operator::WindowAggregate {
            windowing: of,
            keys,
            aggregates,
            ..
        } => {
            let calls: Vec<String> = aggregates
                .iter()
                .map(|call| call_text(call, columns))
                .collect();
            format!(
                "aggregate {} by {}: {}",
                windowing(of),
                list(keys),
                calls.join(",")
            )
        }
        Operator::WindowRank {
            windowing: of,
            keys,
            order,
            first,
            last,
            rank,
            ..
        } => {
            let order = order.iter().map(|key| {
                let SortKey {
                    column,
                    ascending,
                    nulls_first,
                } = key;
                format!("{} {ascending} {nulls_first}", columns[*column])
            });
            let order: Vec<String> = order.collect();
            let (of, keys, order) = (windowing(of), list(keys), order.join(","));
            let columns = columns.join(",");
            format!("rank {of} by {keys} order {order} {first} {last} {rank} of {columns}")
        }
        Operator::Over {
            keys,
            time,
            frame,
            aggregates,
            ..
        } => {
            let calls: Vec<String> = aggregates
                .iter()
                .map(|call| call_text(call, columns))
                .collect();
            let unit = match frame.unit {
                FrameUnit::Rows => "rows",
                FrameUnit::Range => "range",
            };
            let (keys, calls) = (list(keys), calls.join(","));
            let (time, columns) = (&columns[*time], columns.join(","));
            format!(
                "over {unit} {:?} by {keys} {time}: {calls} of {columns}",
                frame.preceding
            )
        }
        _ => unreachable!("no operator with state"),
    }
}

fn lengths(window: &Window) -> String {
    use lw_graph::WindowShape as Shape;
    match window.shape {
        Shape::Tumble { size } => format!("tumble {size}"),
        Shape::Hop { slide, size } => format!("hop {slide} {size}"),
        Shape::Cumulate { step, size } => format!("cumulate {step} {size}"),
        Shape::Session { gap } => format!("session {gap}"),
    }
}

fn call_text(call: &AggregateCall, columns: &[String]) -> String {
    use lw_graph::AggregateFunction as F;
    let arguments: Vec<&str> = call
        .arguments
        .iter()
        .map(|at| columns[*at].as_str())
        .collect();
    let separator = match &call.function {
        F::ListAgg { separator } => separator.as_str(),
        _ => "",
    };
    let filter = call.filter.map(|filter| columns[filter].as_str());
    let name = match call.function {
        F::Lag { offset } => format!("LAG {offset}"),
        _ => call.function.name().to_string(),
    };
    format!(
        "{name}({}){separator:?} {} {} {}",
        arguments.join(","),
        call.distinct,
        filter.unwrap_or_default(),
        call.ty
    )
}
