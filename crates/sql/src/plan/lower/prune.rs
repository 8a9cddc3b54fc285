//! Each operator that ends a stage gives what somebody reads, and keeps no more than that; then it is known what it is called.

use super::super::arena::{Arena, Form, Id};
use super::fuse::{Base, Computed, Segment, Stage};
use lw_graph::{
    AggregateCall, Expr, FrameUnit, Lookup, Operator, OperatorUid, SortKey, Window, Windowing,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

impl Computed {
    pub(super) fn prune(&mut self, arenas: &[Arena]) {
        for at in (0..self.stages.len()).rev() {
            let above = self.segments().filter(|above| above.on == Base::Stage(at));
            let read = above.flat_map(|above| columns_of(above, &arenas[above.arena]));
            let read: HashSet<Id> = read.collect();
            self.stages[at].keep(&read);
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
        match self.operator {
            Operator::Union => return self.keep_of_union(read),
            Operator::WindowJoin { .. } => return self.keep_of_join(read),
            _ => {}
        }
        let given = self.below[0].columns.len();
        let is_read: Vec<bool> = self.gives.iter().map(|id| read.contains(id)).collect();
        let from = match &self.operator {
            Operator::WindowAggregate { keys, .. } => keys.len(),
            _ => given,
        };
        match &mut self.operator {
            Operator::Lookup(lookup) => {
                let kept = keep_of_table(lookup, &is_read[given..]);
                let mut at = 0;
                self.gives.retain(|_| {
                    at += 1;
                    at <= given || kept[at - 1 - given]
                });
            }
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
        if let Operator::CurrentWatermark = self.operator
            && !is_read[..given].contains(&true)
        {
            // A row has a column, whatever is read of it.
            wanted.insert(0);
        }
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
        let columns = wanted.iter().map(|at| self.below[0].columns[*at]);
        self.below[0].columns = columns.collect();
        map_columns(&mut self.operator, &|column| places[&column]);
    }

    fn keep_of_union(&mut self, read: &HashSet<Id>) {
        let mut is_read: Vec<bool> = self.gives.iter().map(|id| read.contains(id)).collect();
        if !is_read.contains(&true) {
            // A row has a column, whatever is read of it.
            is_read[0] = true;
        }
        retain(&mut self.gives, &is_read);
        for below in &mut self.below {
            retain(&mut below.columns, &is_read);
        }
    }

    /// Of each input what the join reads and what is read above.
    fn keep_of_join(&mut self, read: &HashSet<Id>) {
        let Operator::WindowJoin {
            windows,
            keys,
            condition,
            ..
        } = &mut self.operator
        else {
            unreachable!("the caller has looked");
        };
        let width = self.below[0].columns.len();
        let mut wanted = vec![false; width + self.below[1].columns.len()];
        for (at, id) in self.gives.iter().enumerate() {
            wanted[at] = read.contains(id);
        }
        for (window, from) in windows.iter_mut().zip([0, width]) {
            of_windowing(window, &mut |column| {
                wanted[from + column] = true;
                column
            });
        }
        for (left, right) in keys.iter() {
            wanted[*left] = true;
            wanted[width + *right] = true;
        }
        if let Some(condition) = condition.as_ref() {
            condition.visit_columns(&mut |column| wanted[column] = true);
        }
        let place = |column: usize| wanted[..column].iter().filter(|wanted| **wanted).count();
        let left = place(width);
        for (window, from) in windows.iter_mut().zip([0, width]) {
            of_windowing(window, &mut |column| place(from + column) - place(from));
        }
        for (of_left, of_right) in keys {
            *of_left = place(*of_left);
            *of_right = place(width + *of_right) - left;
        }
        *condition = condition
            .take()
            .map(|condition| condition.map_columns(&mut |column| place(column)));
        retain(&mut self.gives, &wanted);
        retain(&mut self.below[0].columns, &wanted[..width]);
        retain(&mut self.below[1].columns, &wanted[width..]);
    }
}

/// Reads of a table what is asked for above, and what the join itself asks for. Says of each column whether it does.
fn keep_of_table(lookup: &mut Lookup, is_read: &[bool]) -> Vec<bool> {
    let mut kept = is_read.to_vec();
    let keys = lookup.keys.iter().map(|(_, of_table)| of_table);
    for expr in keys.chain(&lookup.filter) {
        expr.visit_columns(&mut |column| kept[column] = true);
    }
    if let Some(on) = &lookup.on {
        let rows = on.reads.len();
        on.is.visit_columns(&mut |column| {
            if let Some(column) = column.checked_sub(rows) {
                kept[column] = true;
            }
        });
    }
    let place = |column: usize| kept[..column].iter().filter(|kept| **kept).count();
    let keys = lookup.keys.iter_mut().map(|(_, of_table)| of_table);
    for expr in keys.chain(&mut lookup.filter) {
        *expr = expr.map_columns(&mut |column| place(column));
    }
    if let Some(on) = &mut lookup.on {
        let rows = on.reads.len();
        on.is = on
            .is
            .map_columns(&mut |column| match column.checked_sub(rows) {
                Some(column) => rows + place(column),
                None => column,
            });
    }
    let mut at = kept.iter();
    let keeps = |_: &lw_graph::Field| at.next().is_some_and(|kept| *kept);
    lookup.columns.fields.retain(keeps);
    kept
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

fn retain(ids: &mut Vec<Id>, kept: &[bool]) {
    let mut kept = kept.iter();
    ids.retain(|_| kept.next().is_some_and(|kept| *kept));
}

fn of_windowing(windowing: &mut Windowing, to: &mut dyn FnMut(usize) -> usize) {
    match windowing {
        Windowing::Assign(window) => window.time = to(window.time),
        Windowing::Attached { start, end, .. } => {
            *start = to(*start);
            *end = to(*end);
        }
    }
}

/// Other columns of its one input.
pub(super) fn map_columns(operator: &mut Operator, to: &impl Fn(usize) -> usize) {
    let of_window = |windowing: &mut Windowing| of_windowing(windowing, &mut |at| to(at));
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
        Operator::Unnest { column, on, .. } => {
            *column = to(*column);
            if let Some(on) = on {
                all(&mut on.reads);
            }
        }
        Operator::Lookup(lookup) => {
            lookup
                .keys
                .iter_mut()
                .for_each(|(of_row, _)| *of_row = to(*of_row));
            if let Some(on) = &mut lookup.on {
                all(&mut on.reads);
            }
        }
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
#[derive(Clone)]
pub(super) struct Lineage {
    /// What the columns of the operator below are, by their index there.
    base: HashMap<usize, String>,
    below: String,
}

impl Lineage {
    pub(super) fn new(base: HashMap<usize, String>, below: String) -> Lineage {
        Lineage { base, below }
    }

    /// What a segment over this reads, each of its columns; and which rows of what.
    fn read(&self, segment: &Segment, arenas: &[Arena]) -> (Vec<String>, String) {
        let mut digests = arenas[segment.arena].digests(&self.base);
        let columns = segment.columns.iter().map(|id| digests.of(*id)).collect();
        let condition = segment.condition.map(|id| digests.of(id));
        let rows = format!(
            "where {} over {}",
            condition.unwrap_or_default(),
            self.below
        );
        (columns, rows)
    }

    /// Names a stage's operator, which stands on these; what stands on it has the lineage that this gives.
    pub(super) fn of(stage: &mut Stage, inputs: &[Lineage], arenas: &[Arena]) -> Lineage {
        let inputs = inputs.iter().zip(&stage.below);
        let (read, rows): (Vec<Vec<String>>, Vec<String>) = inputs
            .map(|(below, segment)| below.read(segment, arenas))
            .unzip();
        let of = match &stage.operator {
            Operator::Union => described_union(&read),
            Operator::WindowJoin { .. } => described_join(&stage.operator, &read),
            _ => described(&stage.operator, &read[0]),
        };
        let named = OperatorUid::of(&format!("{of} {}", rows.join(" and ")));
        stage.uid = named;
        if let Operator::WindowAssign { uid, .. }
        | Operator::WindowAggregate { uid, .. }
        | Operator::WindowRank { uid, .. }
        | Operator::WindowJoin { uid, .. }
        | Operator::Over { uid, .. } = &mut stage.operator
        {
            *uid = named;
        }
        let given = given(&stage.operator, read, stage.gives.len());
        let given = stage.gives.iter().zip(given);
        let given = given.map(|(id, column)| match &arenas[stage.above].node(*id).form {
            Form::Column(index, _) => (*index, format!("{column} of {named}")),
            _ => unreachable!("what an operator gives is a column to those above"),
        });
        Lineage::new(given.collect(), named.to_string())
    }
}

/// What the columns are that an operator gives of those that it reads: so many at least.
fn given(operator: &Operator, mut read: Vec<Vec<String>>, count: usize) -> Vec<String> {
    let windows = || ["start", "end", "time"].map(String::from);
    match operator {
        Operator::Union => {
            let width = read[0].len();
            return (0..width)
                .map(|column| format!("column {column}"))
                .collect();
        }
        Operator::WindowJoin { .. } => {
            let sides = ["left", "right"].iter().zip(read);
            let of_side = |(side, columns): (&&str, Vec<String>)| {
                let named = columns.iter().map(|column| format!("{side} {column}"));
                named.collect::<Vec<String>>()
            };
            return sides.flat_map(of_side).collect();
        }
        _ => {}
    }
    let columns = read.remove(0);
    match operator {
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
        Operator::WindowRank { .. } => columns.into_iter().chain(["rank".to_string()]).collect(),
        Operator::Unnest { .. } => {
            let parts = (1..=count).map(|part| format!("element {part}"));
            columns.into_iter().chain(parts).collect()
        }
        Operator::Lookup(lookup) => {
            let found = lookup.columns.names().map(|name| format!("found {name}"));
            columns.into_iter().chain(found).collect()
        }
        Operator::CurrentWatermark => {
            let watermark = "watermark".to_string();
            columns.into_iter().chain([watermark]).collect()
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
    }
}

fn described_union(read: &[Vec<String>]) -> String {
    let inputs: Vec<String> = read.iter().map(|columns| columns.join(",")).collect();
    format!("union of {}", inputs.join("; "))
}

fn described_join(operator: &Operator, read: &[Vec<String>]) -> String {
    let Operator::WindowJoin {
        kind,
        windows,
        keys,
        condition,
        ..
    } = operator
    else {
        unreachable!("the caller has looked");
    };
    let [left, right] = read else {
        unreachable!("a join has two inputs");
    };
    let windows = windows.iter().zip(read);
    let windows: Vec<String> = windows
        .map(|(window, columns)| windowing_text(window, columns))
        .collect();
    let keys = keys.iter();
    let keys: Vec<String> = keys
        .map(|(of_left, of_right)| format!("{}={}", left[*of_left], right[*of_right]))
        .collect();
    let condition = condition.as_ref();
    let condition =
        condition.map(|condition| expression_text(condition, left.iter().chain(right).cloned()));
    format!(
        "join {} {} by {} if {} of {} with {}",
        kind.name(),
        windows.join(" "),
        keys.join(","),
        condition.unwrap_or_default(),
        left.join(","),
        right.join(",")
    )
}

/// How often the table is looked at, and how much of it there may be, is no part of it.
fn described_lookup(lookup: &Lookup, columns: &[String]) -> String {
    let of_table = || {
        let fields = lookup.columns.fields.iter();
        fields.map(|field| format!("found {} {}", field.name, field.ty))
    };
    let keys = lookup.keys.iter().map(|(of_row, key)| {
        let key = expression_text(key, of_table());
        format!("{}={key}", columns[*of_row])
    });
    let keys: Vec<String> = keys.collect();
    let filter = lookup.filter.as_ref();
    let filter = filter.map(|filter| expression_text(filter, of_table()));
    let on = lookup.on.as_ref().map(|on| {
        let read = on.reads.iter().map(|column| columns[*column].clone());
        expression_text(&on.is, read.chain(of_table()))
    });
    format!(
        "lookup {} in {} by {} where {} if {} of {}",
        lookup.kind.name(),
        lookup.table.id(),
        keys.join(","),
        filter.unwrap_or_default(),
        on.unwrap_or_default(),
        columns.join(",")
    )
}

/// An expression over columns that are these.
fn expression_text(expr: &Expr, columns: impl Iterator<Item = String>) -> String {
    let mut count = 0;
    expr.visit_columns(&mut |column| count = count.max(column + 1));
    let base: HashMap<usize, String> = columns.take(count).enumerate().collect();
    let mut arena = Arena::default();
    let any = lw_graph::TypeKind::Null.nullable();
    let columns = (0..count).map(|at| arena.column(at, "", &any));
    let columns: Vec<Id> = columns.collect();
    let id = arena.add(expr, &columns);
    arena.digests(&base).of(id)
}

fn described(operator: &Operator, columns: &[String]) -> String {
    let list = |of: &[usize]| {
        let of: Vec<&str> = of.iter().map(|column| columns[*column].as_str()).collect();
        of.join(",")
    };
    let window = |of: &Window| window_text(of, columns);
    let windowing = |of: &Windowing| windowing_text(of, columns);
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
        Operator::Unnest {
            column,
            outer,
            ordinality,
            on,
        } => {
            let on = on.as_ref().map(|on| {
                let read = on.reads.iter().map(|column| columns[*column].clone());
                let elements = (1..).map(|part| format!("element {part}"));
                format!("on {} ", expression_text(&on.is, read.chain(elements)))
            });
            let (of, columns) = (&columns[*column], columns.join(","));
            let on = on.unwrap_or_default();
            format!("unnest {of} {outer} {ordinality} {on}of {columns}")
        }
        Operator::Lookup(lookup) => described_lookup(lookup, columns),
        Operator::CurrentWatermark => format!("current watermark of {}", columns.join(",")),
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

fn window_text(window: &Window, columns: &[String]) -> String {
    let of = &columns[window.time];
    let zone = window.zone.as_deref().unwrap_or_default();
    format!("{} {} {of} {zone}", lengths(window), window.offset)
}

fn windowing_text(windowing: &Windowing, columns: &[String]) -> String {
    match windowing {
        Windowing::Assign(of) => window_text(of, columns),
        Windowing::Attached { start, end, zone } => {
            let zone = zone.as_deref().unwrap_or_default();
            format!("attached {} {} {zone}", columns[*start], columns[*end])
        }
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
