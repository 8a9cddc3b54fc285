//! Relations as text: the first half of `EXPLAIN`.

use super::super::lookup::LookedUp;
use super::{Algebra, Attribute, Relation};
use crate::explain::{Names, idle_after};
use lw_graph::Expr;
use std::fmt::{self, Write};

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Some(ty) if self.rowtime && !ty.nullable => {
                write!(f, "{} {} *ROWTIME* NOT NULL", self.name, ty.kind)
            }
            Some(ty) if self.rowtime => write!(f, "{} {} *ROWTIME*", self.name, ty.kind),
            Some(ty) => write!(f, "{} {ty}", self.name),
            None => write!(f, "{} ?", self.name),
        }
    }
}

/// One operator per line, its inputs below it; behind an operator the columns that it makes or changes.
impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each with what stands before it, and before what it stands on.
        let mut open = vec![(self, String::new(), String::new())];
        while let Some((relation, before, below)) = open.pop() {
            let Relation { operator, columns } = relation;
            let inputs = relation.inputs();
            let made = match (operator, inputs.as_slice()) {
                (Algebra::Filter(..), _) => &[][..],
                (Algebra::Watermark { column, .. }, _) => &columns[*column..=*column],
                (
                    Algebra::Expand { .. }
                    | Algebra::Windows { .. }
                    | Algebra::Numbered { .. }
                    | Algebra::Unnest { .. }
                    | Algebra::Lookup { .. }
                    | Algebra::CurrentWatermark(_)
                    | Algebra::Over { .. },
                    [input],
                ) => &columns[input.columns.len()..],
                _ => &columns[..],
            };
            let made: Vec<String> = made.iter().map(Attribute::to_string).collect();
            match made.is_empty() {
                true => writeln!(f, "{before}{operator}")?,
                false => writeln!(f, "{before}{operator} -> [{}]", made.join(", "))?,
            }
            for (at, input) in inputs.iter().enumerate().rev() {
                let is_last = at + 1 == inputs.len();
                let (branch, bar) = if is_last {
                    ("+- ", "   ")
                } else {
                    (":- ", ":  ")
                };
                open.push((input, format!("{below}{branch}"), format!("{below}{bar}")));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Algebra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algebra::Scan(scan) => {
                write!(f, "Scan({}", scan.table.path)?;
                if scan.options.len() != scan.table.options.len() {
                    f.write_str(", with hints")?;
                }
                f.write_char(')')
            }
            Algebra::Project(_, exprs) => {
                let exprs: Vec<String> = exprs.iter().map(Expr::to_string).collect();
                write!(f, "Project({})", exprs.join(", "))
            }
            Algebra::Filter(_, condition) => write!(f, "Filter({condition})"),
            Algebra::Watermark {
                column,
                expression,
                input,
                idle,
            } => {
                let name = &input.columns[*column].name;
                write!(f, "Watermark({name} AS {expression}{})", idle_after(*idle))
            }
            Algebra::Expand { input, keys, sets } => {
                write!(f, "Expand({})", input.names().sets(keys, sets))
            }
            Algebra::Windows {
                input,
                window,
                partition,
                ..
            } => {
                let names = input.names();
                let partition = listed(&names, ", partition", partition);
                write!(f, "Windows({}{partition})", names.window(window))
            }
            Algebra::Aggregate {
                input,
                windowing,
                keys,
                calls,
                ..
            } => {
                let names = input.names();
                let keys = listed(&names, ", groupBy", keys);
                let calls: Vec<String> = calls.iter().map(|call| names.call(call)).collect();
                let (window, calls) = (names.windowing(windowing), calls.join(", "));
                write!(f, "Aggregate({window}{keys}, select=[{calls}])")
            }
            Algebra::Over {
                input,
                keys,
                time,
                frame,
                calls,
                ..
            } => {
                let names = input.names();
                let keys = names.listed("partitionBy", keys).map(|keys| keys + ", ");
                let calls: Vec<String> = calls.iter().map(|call| names.call(call)).collect();
                let (over, calls) = (names.over(*time, frame), calls.join(", "));
                write!(
                    f,
                    "Over({}{over}, select=[{calls}])",
                    keys.unwrap_or_default()
                )
            }
            Algebra::Union(_) => f.write_str("Union"),
            Algebra::CurrentWatermark(_) => f.write_str("CurrentWatermark"),
            Algebra::Unnest {
                input,
                column,
                outer,
                ordinality,
                on,
            } => {
                let join = if *outer { "LEFT, " } else { "" };
                let with = if *ordinality { " WITH ORDINALITY" } else { "" };
                write!(f, "Unnest({join}{}{with}", input.columns[*column].name)?;
                if let Some(on) = on {
                    write!(f, ", on=[{}]", on.is)?;
                }
                f.write_char(')')
            }
            Algebra::Lookup { input, lookup } => {
                let LookedUp {
                    table,
                    kind,
                    keys,
                    filter,
                    on,
                    ..
                } = &**lookup;
                let by = input.names().lookup(&table.id(), *kind, keys, (filter, on));
                write!(f, "LookupJoin({by})")
            }
            Algebra::Join {
                inputs,
                kind,
                windows,
                keys,
                condition,
                ..
            } => {
                let [left, right] = &**inputs;
                let by = left.names().join(&right.names(), *kind, windows, keys);
                write!(f, "WindowJoin({by}")?;
                if let Some(condition) = condition {
                    write!(f, ", where=[{condition}]")?;
                }
                f.write_char(')')
            }
            Algebra::Numbered {
                input,
                windowing,
                keys,
                order,
                ranks,
                ..
            } => {
                let names = input.names();
                let keys = listed(&names, ", partitionBy", keys);
                let order: Vec<String> = order.iter().map(|key| names.sort_key(key)).collect();
                let (window, order) = (names.windowing(windowing), order.join(", "));
                write!(
                    f,
                    "Numbered({window}{keys}, orderBy=[{order}], ranks=[{}",
                    ranks.first
                )?;
                match ranks.last {
                    Some(last) => write!(f, " to {last}])"),
                    None => f.write_str(" and more])"),
                }
            }
        }
    }
}

impl Relation {
    fn names(&self) -> Names {
        Names(
            self.columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
        )
    }
}

fn listed(names: &Names, what: &str, columns: &[usize]) -> String {
    let listed = names.listed(what, columns);
    listed.unwrap_or_default()
}
