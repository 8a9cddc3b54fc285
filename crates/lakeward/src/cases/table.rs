//! Where the rows of a case go: a sink that writes them down as text, and a table that remembers every commit.
//!
//! They take part in the exactly-once protocol as a real table does: rows are staged at a seal, travel in the manifest, and
//! are in the table when the committer put them there, each commit once.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use lw_graph::{Expr, Function, Schema, TypeKind, Value};
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, LateRow, Sink, Staged,
};
use lw_runtime::kernel::Evaluator;
use lw_runtime::manifest::TableChain;
use lw_runtime::{Chunk, DeadLetter};
use lw_stdx::calendar::utc;
use lw_storage::Uuid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// What unwinds in the place of a process that is gone: nothing that would have come after is done.
pub struct Gone;

/// A row, or a dead letter, and where in the log it came from; a row of an aggregate stands at no place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The columns of a row as text; of a dead letter, what is told of it.
    pub cells: Vec<String>,
}

impl Line {
    /// The row as Flink's `print` shows one.
    pub fn row(&self) -> String {
        format!("+I[{}]", self.cells.join(", "))
    }

    /// The dead letter: `topic/partition@offset stage code: error`. The late row: `topic/partition@offset event time, watermark`.
    pub fn located(&self) -> String {
        let Line {
            topic,
            partition,
            offset,
            cells,
        } = self;
        let cells = cells.concat();
        match *partition {
            -1 => format!("behind an aggregate {cells}"),
            partition => format!("{topic}/{partition}@{offset} {cells}"),
        }
    }
}

/// What tables hold, by name. A side table stands under `<table>__dead_letters`.
#[derive(Debug, Default)]
pub struct Tables {
    lines: BTreeMap<String, Vec<Line>>,
    /// Commits that are in.
    known: BTreeSet<Uuid>,
}

impl Tables {
    pub fn lines(&self, table: &str) -> &[Line] {
        self.lines.get(table).map_or(&[], Vec::as_slice)
    }
}

/// The table beside `table` that holds its dead letters.
pub fn letters_of(table: &str) -> String {
    format!("{table}__dead_letters")
}

/// The table beside `table` that holds its late rows.
pub fn late_of(table: &str) -> String {
    format!("{table}__late")
}

/// Writes rows down.
pub struct TextSink {
    table: String,
    columns: Vec<Column>,
    rows: Vec<Line>,
    letters: Vec<Line>,
    late: Vec<Line>,
}

struct Column {
    kind: TypeKind,
    text: Evaluator,
}

impl TextSink {
    /// # Errors
    /// [`ErrorKind::Bug`] when a column's type cannot be written as text.
    pub fn new(
        table: &str,
        schema: &Schema,
        zone: Option<&str>,
    ) -> Result<TextSink, ConnectorError> {
        let columns = schema.fields.iter().enumerate().map(|(index, field)| {
            let column = Expr::Column {
                index,
                name: field.name.clone(),
                ty: field.ty.clone(),
            };
            let text = Evaluator::new(&Expr::Cast {
                expr: Box::new(in_zone(column, zone)?),
                ty: TypeKind::string().nullable(),
                or_null: false,
            });
            Ok(Column {
                kind: field.ty.kind.clone(),
                text: text.map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?,
            })
        });
        Ok(TextSink {
            table: table.to_string(),
            columns: columns.collect::<Result<_, ConnectorError>>()?,
            rows: Vec::new(),
            letters: Vec::new(),
            late: Vec::new(),
        })
    }
}

/// An instant as a clock of the session shows it.
fn in_zone(column: Expr, zone: Option<&str>) -> Result<Expr, ConnectorError> {
    let instant = matches!(column.ty().kind, TypeKind::TimestampLtz(_));
    let Some(zone) = zone.filter(|zone| instant && *zone != "UTC") else {
        return Ok(column);
    };
    let zone = Expr::Literal {
        value: Value::String(zone.to_string()),
        ty: TypeKind::string().not_null(),
    };
    let local = Expr::call(Function::LocalTime, vec![column, zone]);
    local.map_err(|error| ConnectorError::new(ErrorKind::Bug, error.to_string()))
}

impl Sink for TextSink {
    fn table(&self) -> &str {
        &self.table
    }

    fn side_tables(&self) -> Vec<String> {
        vec![letters_of(&self.table), late_of(&self.table)]
    }

    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        let mut columns = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let text = column.text.evaluate(&batch.columns);
            let text = text.map_err(|error| ConnectorError::new(ErrorKind::Bug, error.message))?;
            columns.push((&column.kind, batch.columns.column(index).clone(), text));
        }
        let mut origins = batch.origins.runs().map(|runs| runs.iter());
        for row in 0..batch.rows() {
            let cells = columns.iter();
            let cells = cells.map(|(kind, values, text)| cell(kind, values, text, row));
            let origin = origins.as_mut().and_then(Iterator::next);
            let split = origin.map(|origin| &batch.splits[origin.split as usize]);
            self.rows.push(Line {
                topic: split.map_or_else(String::new, |split| split.topic.to_string()),
                partition: split.map_or(-1, |split| split.partition),
                offset: origin.map_or(-1, |origin| origin.offset),
                cells: cells.collect(),
            });
        }
        Ok(())
    }

    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        self.letters.extend(letters.into_iter().map(|letter| {
            let DeadLetter {
                topic,
                partition,
                offset,
                stage,
                code,
                error,
                ..
            } = letter;
            Line {
                cells: vec![format!("{stage} {code}: {error}")],
                topic: topic.to_string(),
                partition,
                offset,
            }
        }));
        Ok(())
    }

    fn late(&mut self, rows: Vec<LateRow>) -> Result<(), ConnectorError> {
        for row in rows {
            let record = row.record.as_ref();
            self.late.push(Line {
                topic: record.map_or_else(String::new, |(split, _)| split.topic.to_string()),
                partition: record.map_or(-1, |(split, _)| split.partition),
                offset: record.map_or(-1, |(_, offset)| *offset),
                cells: vec![format!(
                    "{}, watermark {}",
                    utc(row.event_time),
                    utc(row.watermark)
                )],
            });
        }
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        let rows = staged(self.table.clone(), std::mem::take(&mut self.rows))?;
        let letters = staged(letters_of(&self.table), std::mem::take(&mut self.letters))?;
        let late = staged(late_of(&self.table), std::mem::take(&mut self.late))?;
        // A side table is told of when it got something.
        let beside = [letters, late].into_iter().filter(|table| table.rows > 0);
        Ok([rows].into_iter().chain(beside).collect())
    }
}

fn staged(table: String, lines: Vec<Line>) -> Result<Staged, ConnectorError> {
    let files = lines.iter().map(serde_json::to_value);
    let files = files.collect::<Result<Vec<_>, _>>();
    Ok(Staged {
        table,
        rows: lines.len() as u64,
        files: files.map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?,
        bytes: 0,
        schema_id: 0,
    })
}

/// Puts rows into [`Tables`].
pub struct TextCommitter {
    pub tables: Arc<Mutex<Tables>>,
    /// The process is gone as soon as the table has a commit.
    pub crash: bool,
}

impl Committer for TextCommitter {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        let mut tables = self.tables.lock();
        for pending in &chain.chain {
            if !tables.known.insert(pending.uuid) {
                continue;
            }
            for file in &pending.files {
                let line: Line = serde_json::from_value(file.clone())
                    .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
                let lines = tables.lines.entry(table.to_string()).or_default();
                lines.push(line);
            }
        }
        if self.crash {
            std::panic::resume_unwind(Box::new(Gone));
        }
        Ok(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: None,
        })
    }
}

/// A value as a case shows it: text in quotes, bytes as `x'4865'`, anything else as it is cast to text.
fn cell(kind: &TypeKind, values: &ArrayRef, text: &ArrayRef, row: usize) -> String {
    if values.is_null(row) || text.is_null(row) {
        return "NULL".to_string();
    }
    let shown = || text.as_string::<i32>().value(row);
    match kind {
        TypeKind::Char(_) | TypeKind::Varchar(_) => quoted(shown()),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let mut out = String::from("x'");
            for byte in values.as_binary::<i32>().value(row) {
                let _ = write!(out, "{byte:02x}");
            }
            out + "'"
        }
        _ => shown().to_string(),
    }
}

/// As a literal of SQL: `'it''s'`, and `U&'a\000Ab'` where it has characters that cannot be seen.
fn quoted(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("U&'");
    for c in text.chars() {
        match c {
            '\'' => out += "''",
            '\\' => out += "\\\\",
            c if c.is_control() => {
                let _ = write!(out, "\\{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "'"
}
