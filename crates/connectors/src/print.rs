//! `print` and `blackhole`: sinks that keep nothing, for looking at a stream and for measuring one.
//!
//! Their rows are out when they are written, so after a crash some are printed again: these two are at-least-once, as
//! Flink's are. Nothing is committed, so the committer confirms whatever it is asked.

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use lw_runtime::connector::{CommitOutcome, Committer, ConnectorError, ErrorKind, Sink, Staged};
use lw_runtime::manifest::TableChain;
use lw_runtime::{Chunk, DeadLetter};
use std::sync::Arc;

/// Takes the lines of a `print` sink; given by the shell that owns standard output.
pub type Lines = Arc<dyn Fn(&str) + Send + Sync>;

/// Writes each row as Flink's `print` does: `+I[a, 1]`, with the identifier in front where one is set.
pub struct Print {
    table: String,
    identifier: String,
    lines: Lines,
}

impl Print {
    pub fn new(table: &str, identifier: &str, lines: Lines) -> Print {
        Print {
            table: table.to_string(),
            identifier: match identifier {
                "" => String::new(),
                identifier => format!("{identifier}> "),
            },
            lines,
        }
    }
}

impl Sink for Print {
    fn table(&self) -> &str {
        &self.table
    }

    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        let options = FormatOptions::default().with_null("null");
        let columns = batch.columns.columns();
        let formatters: Vec<ArrayFormatter> = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
        for row in 0..batch.rows() {
            let values: Vec<String> = formatters
                .iter()
                .map(|formatter| formatter.value(row).to_string())
                .collect();
            (self.lines)(&format!("{}+I[{}]", self.identifier, values.join(", ")));
        }
        Ok(())
    }

    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        warn_of(&letters);
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        Ok(Vec::new())
    }
}

/// Counts rows and drops them.
pub struct Blackhole {
    table: String,
}

impl Blackhole {
    pub fn new(table: &str) -> Blackhole {
        Blackhole {
            table: table.to_string(),
        }
    }
}

impl Sink for Blackhole {
    fn table(&self) -> &str {
        &self.table
    }

    fn write(&mut self, _batch: Chunk) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        warn_of(&letters);
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        Ok(Vec::new())
    }
}

/// There is no table beside such a sink to keep dead letters in: the log names the first of each batch, the counter all.
fn warn_of(letters: &[DeadLetter]) {
    if let Some(letter) = letters.first() {
        tracing::warn!(
            topic = %letter.topic,
            partition = letter.partition,
            offset = letter.offset,
            count = letters.len(),
            error = letter.error,
            "records could not be processed; this sink keeps no dead letters"
        );
    }
}

/// The committer of a sink that has nothing to commit.
pub struct NothingToCommit;

impl Committer for NothingToCommit {
    fn commit(
        &mut self,
        _table: &str,
        chain: &TableChain,
    ) -> Result<CommitOutcome, ConnectorError> {
        Ok(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: None,
        })
    }
}

#[cfg(test)]
mod tests;
