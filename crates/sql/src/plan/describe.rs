//! `DESCRIBE` and `SHOW`: what a script has declared so far, as Flink's columns of text.

use super::algebra::Attribute;
use super::{Explanation, Planner};
use crate::Result;
use crate::catalog::{Column, ColumnSource, Object, Table};
use crate::connector::key_name;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Name, Shown};

impl Planner<'_> {
    /// `DESCRIBE t`: name, type, whether NULL is in it, key, where it comes from, watermark.
    pub(super) fn describe(&mut self, name: &Name) -> Result<()> {
        let mut rows =
            vec![["name", "type", "null", "key", "extras", "watermark"].map(String::from)];
        match self.catalog.get(name)?.1 {
            Object::Table(table) => {
                let columns = table.columns.iter().enumerate();
                rows.extend(columns.map(|(position, column)| row(&table, position, column)));
            }
            Object::View(view) => {
                let columns = self.view_columns(&view)?;
                rows.extend(columns.iter().map(typed));
            }
            Object::Broken => {
                return Err(Diagnostic::told_before(name.span));
            }
        }
        self.answer(name.span, &rows);
        Ok(())
    }

    pub(super) fn show(&mut self, shown: Shown, span: Span) {
        let (head, names) = match shown {
            Shown::Tables => ("table name", self.catalog.names(|_| true)),
            Shown::Views => (
                "view name",
                self.catalog.names(|o| matches!(o, Object::View(_))),
            ),
            Shown::Databases => ("database name", self.catalog.databases()),
            Shown::Catalogs => ("catalog name", vec![crate::catalog::CATALOG.to_string()]),
            Shown::CurrentDatabase => ("current database name", vec![self.catalog.current.clone()]),
            Shown::CurrentCatalog => (
                "current catalog name",
                vec![crate::catalog::CATALOG.to_string()],
            ),
        };
        let rows: Vec<[String; 1]> = std::iter::once(head.to_string())
            .chain(names)
            .map(|name| [name])
            .collect();
        self.answer(span, &rows);
    }

    fn answer<const N: usize>(&mut self, text_span: Span, rows: &[[String; N]]) {
        let text = columns(rows);
        self.plan.explanations.push(Explanation { text, text_span });
    }
}

fn typed(column: &Attribute) -> [String; 6] {
    let ty = column.ty.as_ref();
    let ty = ty.expect("whoever describes a column has looked whether it was refused");
    let rowtime = if column.rowtime { " *ROWTIME*" } else { "" };
    let null = if ty.nullable { "TRUE" } else { "FALSE" };
    let none = String::new;
    [
        column.name.clone(),
        format!("{}{rowtime}", ty.kind),
        null.to_string(),
        none(),
        none(),
        none(),
    ]
}

fn row(table: &Table, position: usize, column: &Column) -> [String; 6] {
    let watermark = table.watermark.as_ref().filter(|w| w.column == position);
    let mut row = typed(&Attribute {
        name: column.name.clone(),
        ty: Some(column.ty.clone()),
        rowtime: watermark.is_some(),
        span: column.span,
    });
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
