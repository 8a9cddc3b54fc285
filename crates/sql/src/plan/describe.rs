//! `DESCRIBE` and `SHOW`: what a script has declared so far, as Flink's columns of text.

use super::algebra::Attribute;
use super::{Explanation, Planner};
use crate::Result;
use crate::catalog::{Column, ColumnSource, Object, Table};
use crate::connector::key_name;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Name, Show, Shown};

impl Planner<'_> {
    /// `DESCRIBE t`: name, type, whether NULL is in it, key, where it comes from, watermark.
    pub(super) fn describe(&mut self, name: &Name) -> Result<()> {
        let rows = self.described(name)?;
        self.answer(name.span, &DESCRIBED, rows);
        Ok(())
    }

    fn described(&mut self, name: &Name) -> Result<Vec<[String; 6]>> {
        match self.catalog.get(name)?.1 {
            Object::Table(table) => {
                let columns = table.columns.iter().enumerate();
                let rows = columns.map(|(position, column)| row(&table, position, column));
                Ok(rows.collect())
            }
            Object::View(view) => {
                let relation = self.view_columns(&view)?;
                let columns = relation.columns.iter().enumerate();
                let typed = |(at, column)| typed(column, relation.is_proctime(at));
                Ok(columns.map(typed).collect())
            }
            Object::Broken => Err(Diagnostic::told_before(name.span)),
        }
    }

    pub(super) fn show(&mut self, show: &Show) -> Result<()> {
        let is_view = |object: &Object| matches!(object, Object::View(_));
        let catalog = &self.catalog;
        let (head, names) = match &show.what {
            Shown::Tables(database) => ("table name", catalog.names(database.as_ref(), |_| true)?),
            Shown::Views(database) => ("view name", catalog.names(database.as_ref(), is_view)?),
            Shown::Databases => ("database name", catalog.databases()),
            Shown::Catalogs => ("catalog name", catalog.catalogs()),
            Shown::CurrentDatabase => {
                let current = catalog.current.database.clone();
                ("current database name", vec![current])
            }
            Shown::CurrentCatalog => {
                let current = catalog.current.catalog.clone();
                ("current catalog name", vec![current])
            }
            Shown::Columns(table) => {
                let mut rows = self.described(table)?;
                rows.retain(|[name, ..]| is_shown(show, name));
                self.answer(show.span, &DESCRIBED, rows);
                return Ok(());
            }
            Shown::Settings => {
                let settings = self.plan.settings.iter();
                let rows = settings.map(|(key, value)| [key.clone(), value.clone()]);
                self.answer(show.span, &["key", "value"], rows.collect());
                return Ok(());
            }
        };
        let names = names.into_iter().filter(|name| is_shown(show, name));
        let rows = names.map(|name| [name]).collect();
        self.answer(show.span, &[head], rows);
        Ok(())
    }

    fn answer<const N: usize>(
        &mut self,
        text_span: Span,
        head: &[&str; N],
        rows: Vec<[String; N]>,
    ) {
        let head = std::iter::once(head.map(String::from));
        let text = columns(&head.chain(rows).collect::<Vec<_>>());
        self.plan.explanations.push(Explanation { text, text_span });
    }
}

const DESCRIBED: [&str; 6] = ["name", "type", "null", "key", "extras", "watermark"];

fn is_shown(show: &Show, name: &str) -> bool {
    let Some(pattern) = &show.like else {
        return true;
    };
    let folded = |text: &str| match pattern.ignore_case {
        true => text.to_lowercase(),
        false => text.to_string(),
    };
    let pattern_of: Vec<char> = folded(&pattern.text).chars().collect();
    let name: Vec<char> = folded(name).chars().collect();
    is_like(&pattern_of, &name) != pattern.negated
}

/// `%` is any text, `_` any one letter. Each `%` is tried once: the shortest text that lets the rest go on will do.
fn is_like(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut any: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                any = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '_' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match any.as_mut() {
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

fn typed(column: &Attribute, is_proctime: bool) -> [String; 6] {
    let ty = column.ty.as_ref();
    let ty = ty.expect("whoever describes a column has looked whether it was refused");
    let attribute = match (column.rowtime, is_proctime) {
        (true, _) => " *ROWTIME*",
        (_, true) => " *PROCTIME*",
        _ => "",
    };
    let null = if ty.nullable { "TRUE" } else { "FALSE" };
    let none = String::new;
    [
        column.name.clone(),
        format!("{}{attribute}", ty.kind),
        null.to_string(),
        none(),
        none(),
        none(),
    ]
}

fn row(table: &Table, position: usize, column: &Column) -> [String; 6] {
    let watermark = table.watermark.as_ref().filter(|w| w.column == position);
    let attribute = Attribute {
        name: column.name.clone(),
        ty: Some(column.ty.clone()),
        rowtime: watermark.is_some(),
        window: None,
        span: column.span,
    };
    let mut row = typed(&attribute, column.is_proctime());
    if table
        .primary_key
        .iter()
        .any(|part| part.value == column.name)
    {
        let key: Vec<&str> = table
            .primary_key
            .iter()
            .map(|part| part.value.as_str())
            .collect();
        row[3] = format!("PRI({})", key.join(", "));
    }
    row[4] = match &column.source {
        ColumnSource::Physical | ColumnSource::Broken => String::new(),
        ColumnSource::Metadata(key) => format!("METADATA FROM '{}'", key_name(*key)),
        ColumnSource::Computed(expr) => format!("AS {expr}"),
    };
    if let Some(watermark) = watermark {
        row[5] = watermark.expression.to_string();
    }
    row
}

/// Columns of text, two blanks apart.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_like_a_pattern_or_not() {
        for (pattern, name, expected) in [
            ("like1%", "like10", true),
            ("like1%", "like1", true),
            ("like1%", "alike1", false),
            ("%a%b", "aab", true),
            ("%a%b", "ba", false),
            ("_b", "ab", true),
            ("_b", "b", false),
            ("%", "", true),
            ("", "a", false),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(
                is_like(&chars(pattern), &chars(name)),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
