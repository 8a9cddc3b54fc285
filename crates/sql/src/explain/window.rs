//! Operators that give more than rows of their input, as Flink prints them as far as they are the same.

use lw_graph::{
    AggregateCall, AggregateFunction, ElementCondition, Expr, Frame, FrameUnit, JobGraph, JoinKind,
    Lookup, Node, Operator,
};
use lw_graph::{SortKey, Window, WindowShape, Windowing};

/// # Panics
/// When the node's operator is none of them.
pub(super) fn operator(graph: &JobGraph, node: &Node) -> String {
    let input = &graph.nodes[node.inputs[0]].schema;
    let names = Names(input.names().map(String::from).collect());
    match &node.operator {
        Operator::Expand { keys, sets } => return format!("Expand({})", names.sets(keys, sets)),
        Operator::Unnest {
            column,
            outer,
            ordinality,
            on,
        } => {
            let added = node.schema.names().skip(names.0.len());
            let on = on.as_ref().map(|on| &on.is);
            return names.unnest(*column, added, (*outer, *ordinality), on);
        }
        Operator::Lookup(lookup) => {
            let Lookup {
                table,
                kind,
                keys,
                columns,
                filter,
                on,
            } = &**lookup;
            let by = names.lookup(&table.id(), *kind, keys, (filter, on));
            let columns: Vec<&str> = columns.names().collect();
            return format!(
                "LookupJoin({by}, select=[{}], reload=[{} ms])",
                columns.join(", "),
                table.refresh
            );
        }
        _ => {}
    }
    let (of, uid) = node.operator.windowed().expect("it has a uid");
    let mut parts: Vec<String> = Vec::new();
    match &node.operator {
        Operator::WindowAssign {
            window, partition, ..
        } => {
            parts.push(format!("window=[{}]", names.window(window)));
            parts.extend(names.listed("partition", partition));
        }
        Operator::WindowAggregate {
            windowing,
            keys,
            aggregates,
            properties,
            ..
        } => {
            parts.push(format!("window=[{}]", names.windowing(windowing)));
            parts.extend(names.listed("groupBy", keys));
            let given = node.schema.names().skip(keys.len());
            let calls = aggregates.iter().map(|call| names.call(call));
            let properties = properties.iter();
            let properties = properties.map(|property| format!("{property:?}").to_lowercase());
            let made = calls.chain(properties).zip(given);
            let made: Vec<String> = made
                .map(|(made, name)| format!("{made} AS {name}"))
                .collect();
            parts.push(format!("select=[{}]", made.join(", ")));
        }
        Operator::WindowRank {
            windowing,
            keys,
            order,
            first,
            last,
            ..
        } => {
            parts.push(format!("window=[{}]", names.windowing(windowing)));
            parts.extend(names.listed("partitionBy", keys));
            let order: Vec<String> = order.iter().map(|key| names.sort_key(key)).collect();
            parts.push(format!("orderBy=[{}]", order.join(", ")));
            parts.push(format!("ranks=[{first} to {last}]"));
        }
        Operator::Over {
            keys,
            time,
            frame,
            aggregates,
            ttl,
            ..
        } => {
            parts.extend(names.listed("partitionBy", keys));
            parts.push(names.over(*time, frame));
            parts.extend(ttl.map(|millis| format!("ttl=[{millis} ms]")));
            let given = node.schema.names().skip(names.0.len());
            let made = aggregates.iter().map(|call| names.call(call)).zip(given);
            let made: Vec<String> = made
                .map(|(made, name)| format!("{made} AS {name}"))
                .collect();
            parts.push(format!("select=[{}]", made.join(", ")));
        }
        Operator::WindowJoin {
            kind,
            windows,
            keys,
            condition,
            ..
        } => {
            let right = &graph.nodes[node.inputs[1]].schema;
            let right = Names(right.names().map(String::from).collect());
            parts.push(names.join(&right, *kind, windows, keys));
            parts.extend(
                condition
                    .as_ref()
                    .map(|condition| format!("where=[{condition}]")),
            );
        }
        _ => unreachable!("the caller has looked"),
    }
    format!("{of}({}, uid=[{uid}])", parts.join(", "))
}

/// The names of an input's columns, for what is said of an operator over it.
pub(crate) struct Names(pub Vec<String>);

impl Names {
    fn name(&self, column: usize) -> &str {
        &self.0[column]
    }

    pub(super) fn names(&self, columns: &[usize]) -> String {
        let names: Vec<&str> = columns.iter().map(|column| self.name(*column)).collect();
        names.join(", ")
    }

    pub(crate) fn listed(&self, what: &str, columns: &[usize]) -> Option<String> {
        let names = self.names(columns);
        (!columns.is_empty()).then(|| format!("{what}=[{names}]"))
    }

    pub(crate) fn window(&self, window: &Window) -> String {
        let Window {
            shape,
            offset,
            time,
            zone,
        } = window;
        let lengths = match shape {
            WindowShape::Tumble { size } => format!("size=[{size} ms]"),
            WindowShape::Hop { slide, size } => format!("size=[{size} ms], slide=[{slide} ms]"),
            WindowShape::Cumulate { step, size } => {
                format!("max_size=[{size} ms], step=[{step} ms]")
            }
            WindowShape::Session { gap } => format!("gap=[{gap} ms]"),
        };
        let mut text = format!(
            "{}(time_col=[{}], {lengths}",
            shape.name(),
            self.name(*time)
        );
        if *offset != 0 {
            text += &format!(", offset=[{offset} ms]");
        }
        text + &of_zone(zone) + ")"
    }

    pub(crate) fn windowing(&self, windowing: &Windowing) -> String {
        match windowing {
            Windowing::Assign(window) => self.window(window),
            Windowing::Attached { start, end, zone } => {
                let (start, end, zone) = (self.name(*start), self.name(*end), of_zone(zone));
                format!("win_start=[{start}], win_end=[{end}]{zone}")
            }
        }
    }

    pub(crate) fn sets(&self, keys: &[usize], sets: &[Vec<bool>]) -> String {
        let sets = sets.iter().map(|set| {
            let of_set = keys.iter().zip(set).filter(|(_, has)| **has);
            let of_set: Vec<usize> = of_set.map(|(key, _)| *key).collect();
            format!("({})", self.names(&of_set))
        });
        format!("sets=[{}]", sets.collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn unnest<'n>(
        &self,
        column: usize,
        added: impl Iterator<Item = &'n str>,
        (outer, ordinality): (bool, bool),
        on: Option<&Expr>,
    ) -> String {
        let join = if outer { "LEFT, " } else { "" };
        let with = if ordinality { " WITH ORDINALITY" } else { "" };
        let (of, added) = (self.name(column), added.collect::<Vec<_>>().join(", "));
        let on = on.map_or_else(String::new, |on| format!(", on=[{on}]"));
        format!("Unnest({join}{of}{with} AS [{added}]{on})")
    }

    /// What rows are looked up in, and by what.
    pub(crate) fn lookup(
        &self,
        table: &str,
        kind: JoinKind,
        keys: &[(usize, Expr)],
        (filter, on): (&Option<Expr>, &Option<ElementCondition>),
    ) -> String {
        let keys = keys.iter();
        let keys: Vec<String> = keys
            .map(|(of_row, of_table)| format!("{of_table} = {}", self.name(*of_row)))
            .collect();
        let mut text = format!(
            "table=[{table}], type=[{}], lookup=[{}]",
            kind.name(),
            keys.join(", ")
        );
        if let Some(filter) = filter {
            text += &format!(", where=[{filter}]");
        }
        if let Some(on) = on {
            text += &format!(", on=[{}]", on.is);
        }
        text
    }

    /// What two inputs are joined by, besides a condition.
    pub(crate) fn join(
        &self,
        right: &Names,
        kind: JoinKind,
        windows: &[Windowing; 2],
        keys: &[(usize, usize)],
    ) -> String {
        let [left_window, right_window] = windows;
        let mut text = format!(
            "type=[{}], left=[{}], right=[{}]",
            kind.name(),
            self.windowing(left_window),
            right.windowing(right_window)
        );
        if !keys.is_empty() {
            let keys = keys.iter();
            let keys = keys.map(|(left, of)| format!("{} = {}", self.name(*left), right.name(*of)));
            text += &format!(", on=[{}]", keys.collect::<Vec<_>>().join(", "));
        }
        text
    }

    pub(crate) fn over(&self, time: usize, frame: &Frame) -> String {
        let unit = match frame.unit {
            FrameUnit::Rows => "ROWS",
            FrameUnit::Range => "RANGE",
        };
        let from = match (frame.unit, frame.preceding) {
            (_, None) => "UNBOUNDED PRECEDING".to_string(),
            (FrameUnit::Rows, Some(rows)) => format!("{rows} PRECEDING"),
            (FrameUnit::Range, Some(millis)) => format!("{millis} ms PRECEDING"),
        };
        let time = self.name(time);
        format!("orderBy=[{time} ASC], window=[{unit} BETWEEN {from} AND CURRENT ROW]")
    }

    pub(crate) fn call(&self, call: &AggregateCall) -> String {
        let mut arguments = match call.arguments.is_empty() {
            true => "*".to_string(),
            false => self.names(&call.arguments),
        };
        if let AggregateFunction::ListAgg { separator } = &call.function {
            arguments += &format!(", '{}'", separator.replace('\'', "''"));
        }
        if let AggregateFunction::Lag { offset } = call.function {
            let mut names = call.arguments.iter().map(|column| self.name(*column));
            arguments = names.next().unwrap_or_default().to_string();
            arguments += &format!(", {offset}");
            names.for_each(|default| arguments += &format!(", {default}"));
        }
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let mut text = format!("{}({distinct}{arguments})", call.function.name());
        if let Some(filter) = call.filter {
            text += &format!(" FILTER {}", self.name(filter));
        }
        text
    }

    pub(crate) fn sort_key(&self, key: &SortKey) -> String {
        let direction = if key.ascending { "ASC" } else { "DESC" };
        let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
        format!("{} {direction} NULLS {nulls}", self.name(key.column))
    }
}

fn of_zone(zone: &Option<String>) -> String {
    zone.as_ref()
        .map_or_else(String::new, |zone| format!(", zone=[{zone}]"))
}
