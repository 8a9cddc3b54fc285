//! The order in which a table's rows have to come.
//!
//! A row of one record comes where the record does. What several records make together, the rows of a window say, comes with
//! others of the same moment, and Flink does not say in which order those are.

use super::format::{CaseError, What};
use crate::failure::failure;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they stand.
    #[default]
    Exact,
    /// Rows that follow each other and are equal in these columns come in any order; none is named where all do.
    Groups(Vec<String>),
}

impl Order {
    /// The table of a section's head, and what the head says of its order.
    ///
    /// # Errors
    /// When it says something else.
    pub fn behind(what: What, head: &str, number: usize) -> Result<(String, Order), CaseError> {
        let Some((table, order)) = head.split_once(',') else {
            return Ok((head.to_string(), Order::Exact));
        };
        let order = order.trim();
        let columns = match order.strip_prefix("by ") {
            Some(columns) => Some(columns.split(',').map(|c| c.trim().to_string()).collect()),
            None => (order == "in any order").then(Vec::new),
        };
        match columns.filter(|_| what == What::Rows) {
            Some(columns) => Ok((table.trim().to_string(), Order::Groups(columns))),
            None => Err(CaseError::new(
                number,
                format!("'{order}' is no order of {what}"),
                "---- rows t, by window_end  or  ---- rows t, in any order",
            )),
        }
    }

    /// The rows with those sorted whose order means nothing. `names` are the table's columns.
    ///
    /// # Errors
    /// When the table has no such column.
    pub fn settled(&self, mut rows: Vec<String>, names: &[String]) -> anyhow::Result<Vec<String>> {
        let Order::Groups(columns) = self else {
            return Ok(rows);
        };
        let places = columns.iter().map(|column| {
            names.iter().position(|name| name == column).ok_or_else(|| {
                let hint = format!("It has {}.", names.join(", "));
                failure(format!("the table has no column '{column}'"), hint)
            })
        });
        let places: Vec<usize> = places.collect::<anyhow::Result<_>>()?;
        let key = |row: &String| -> Vec<String> {
            let cells = cells(row);
            let key = places.iter().map(|place| cells.get(*place).copied());
            key.map(|cell| cell.unwrap_or_default().to_string())
                .collect()
        };
        for group in rows.chunk_by_mut(|a, b| key(a) == key(b)) {
            group.sort();
        }
        Ok(rows)
    }
}

/// The columns of a row: `+I[1, 'a, b', [1, 2]]` has three.
fn cells(row: &str) -> Vec<&str> {
    let inside = row.split_once('[').map_or("", |(_, inside)| inside);
    let inside = inside.strip_suffix(']').unwrap_or(inside);
    let (mut cells, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, c) in inside.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            ',' if depth == 0 => {
                cells.push(inside[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    cells.push(inside[start..].trim());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_of_one_group_come_in_any_order_and_groups_do_not() {
        let names = lines(&["k", "window_end"]);
        let by = Order::Groups(lines(&["window_end"]));
        let one = lines(&["+I['b, [', 10]", "+I['a', 10]", "+I['a', 20]"]);
        let two = lines(&["+I['a', 10]", "+I['b, [', 10]", "+I['a', 20]"]);
        let three = lines(&["+I['a', 20]", "+I['a', 10]", "+I['b, [', 10]"]);
        let settled =
            |order: &Order, rows: &[String]| order.settled(rows.to_vec(), &names).unwrap();
        assert_eq!(settled(&by, &one), settled(&by, &two));
        assert_ne!(settled(&by, &one), settled(&by, &three));
        let any = Order::Groups(Vec::new());
        assert_eq!(settled(&any, &one), settled(&any, &three));
        assert_ne!(settled(&Order::Exact, &one), settled(&Order::Exact, &two));
        assert!(by.settled(one, &names[..1]).is_err());
    }
}
