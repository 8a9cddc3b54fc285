//! Relations as text: the first half of `EXPLAIN`.

use super::{Algebra, Attribute, Relation};
use crate::explain::Names;
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

/// One operator per line, its input below it; behind an operator the columns that it makes or changes.
impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut relation = Some(self);
        let mut depth = 0;
        while let Some(Relation { operator, columns }) = relation {
            if let Some(indents) = usize::checked_sub(depth, 1) {
                write!(f, "{}+- ", "   ".repeat(indents))?;
            }
            depth += 1;
            let (input, made) = match operator {
                Algebra::Scan(_) => (None, &columns[..]),
                Algebra::Project(input, _) => (Some(&**input), &columns[..]),
                Algebra::Filter(input, _) => (Some(&**input), &[][..]),
                Algebra::Watermark { input, column, .. } => {
                    (Some(&**input), &columns[*column..=*column])
                }
                Algebra::Expand { input, .. }
                | Algebra::Windows { input, .. }
                | Algebra::Numbered { input, .. }
                | Algebra::Over { input, .. } => (Some(&**input), &columns[input.columns.len()..]),
                Algebra::Aggregate { input, .. } => (Some(&**input), &columns[..]),
            };
            relation = input;
            let made: Vec<String> = made.iter().map(Attribute::to_string).collect();
            match made.is_empty() {
                true => writeln!(f, "{operator}")?,
                false => writeln!(f, "{operator} -> [{}]", made.join(", "))?,
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
            } => {
                let name = &input.columns[*column].name;
                write!(f, "Watermark({name} AS {expression})")
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
