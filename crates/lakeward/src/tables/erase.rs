//! Erasures as the API asks for them: what can be refused is refused first, then the table is erased from, and the server goes on with what
//! a crash has interrupted.
//!
//! Nobody replays or compacts meanwhile: a branch that begins, or a file that is copied, might take rows along. Catalogs elsewhere
//! have others who commit to their tables and hold on to their files, so only the embedded catalog's tables are erased from.

use super::periodic::Turn;
use super::{Tables, ledgers, refused};
use lw_gateway::{Erase, Refusal};
use lw_lakehouse::erasure::{
    EraseError, Eraser, Erasure, Left, Mention, Pipelines, Predicate, Tags,
};
use lw_lakehouse::error::Kind;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{Ids, TableCatalog, TableView, parse_table};
use lw_ops::audit::ledger::Taken;
use lw_query::{Catalogs, TableIdent, table_in_catalog};
use lw_runtime::connector::LATE;
use lw_runtime::pipelines::Writer;
use lw_storage::Uuid;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Tables {
    /// Removes the rows of a key from a table for good, or says what that would mean.
    pub fn erase(&self, table: &str, asked: &Erase) -> Result<Value, Refusal> {
        let ident = self.erasable(table)?;
        let table = ident.to_string();
        let _replays = self.replays.lock();
        self.refuse_replays(&table)?;
        let _compactions = self.compactions.asked_for();
        let mut eraser = self.eraser();
        let tags = match asked.and_tags {
            true => Tags::Go,
            false => Tags::Stay,
        };
        let predicate = match (&asked.predicate, asked.go_on) {
            (Some(text), false) => {
                let predicate = Predicate::parse(text);
                Some(predicate.map_err(|misread| not_erased(misread.into()))?)
            }
            (None, true) => None,
            _ => {
                return Err(Refusal::new(
                    400,
                    "an erasure is of a key, or goes on: one of both",
                ));
            }
        };
        let executed = asked.execute || asked.go_on;
        let done = match &predicate {
            Some(predicate) if !executed => eraser.plan(&ident, predicate),
            Some(predicate) => {
                let id = eraser.begin(&ident, predicate).map_err(not_erased)?;
                self.go_on(&mut eraser, &ident, &[id], tags)
            }
            None => {
                let open = eraser.open(&ident).map_err(not_erased)?;
                self.go_on(&mut eraser, &ident, &open, tags)
            }
        };
        let mut done = done.map_err(not_erased)?;
        let mut notices = self.notices(&table, &done);
        let sides = self.sides(&table, predicate.as_ref())?;
        match executed {
            true => done.left.extend(sides),
            false => notices.extend(
                sides
                    .iter()
                    .map(|side| format!("{}: {}", side.what, side.why)),
            ),
        }
        let mut answer = json!(done);
        answer["table"] = json!(table);
        answer["executed"] = json!(executed);
        answer["notices"] = json!(notices);
        Ok(answer)
    }

    /// Goes on with the erasures that were begun before this server was started. Once.
    pub fn finish_erasures(&self, turn: &Turn<'_>) {
        if self.erasures.swap(true, Ordering::AcqRel) {
            return;
        }
        let tables = self.wiring.embedded().all_tables();
        for ident in tables.unwrap_or_default() {
            if turn.is_over() {
                return;
            }
            let open = self.eraser().open(&ident).unwrap_or_default();
            if open.is_empty() {
                continue;
            }
            let _replays = self.replays.lock();
            let _compactions = self.compactions.asked_for();
            match self.go_on(&mut self.eraser(), &ident, &open, Tags::Stay) {
                Ok(done) if done.left.is_empty() => {
                    tracing::info!(table = %ident, files = done.removed, "an erasure that was begun is done");
                }
                Ok(done) => {
                    let left: Vec<&str> = done.left.iter().map(|left| &*left.what).collect();
                    let left = left.join(", ");
                    tracing::warn!(table = %ident, left, "an erasure that was begun is not done");
                }
                Err(error) => {
                    tracing::warn!(table = %ident, %error, "an erasure that was begun cannot be gone on with");
                }
            }
        }
    }

    fn eraser(&self) -> Eraser {
        let catalog = Arc::new(self.wiring.embedded().clone());
        Eraser::new(catalog, self.wiring.clock(), Ids::random())
    }

    /// A table that can be erased from.
    fn erasable(&self, table: &str) -> Result<TableIdent, Refusal> {
        let names = self.names();
        let (within, table) = table_in_catalog(&names, table);
        if within.is_none() {
            self.refuse_delta(table)?;
        }
        let is_elsewhere = match within {
            None => self.elsewhere(table).is_some(),
            Some(name) => !self.wiring.keeps_views(Some(name)),
        };
        if is_elsewhere {
            let refusal = Refusal::new(
                400,
                format!(
                    "{table} is in a catalog elsewhere, and only tables of the embedded one are erased from"
                ),
            );
            return Err(refusal.detail("Others commit to its tables and read their files: nobody here knows when a file may go."));
        }
        let ident = parse_table(table).map_err(refused)?;
        let Some(writer) = self.pipelines.writer_of(table) else {
            return Ok(ident);
        };
        let view = TableView::open_with(self.wiring.embedded(), &ident, &self.footers);
        if self.has_state(&view.map_err(refused)?, &writer) {
            let refusal = Refusal::new(
                400,
                format!("{table} cannot be erased from: the query that fills it keeps state"),
            );
            return Err(refusal.detail("What it has read of a key stands in checkpoints, and goes into rows that come later; which of them, no record says."));
        }
        Ok(ident)
    }

    /// A replay that is not over has files with rows of the key that nobody has committed yet.
    fn refuse_replays(&self, table: &str) -> Result<(), Refusal> {
        let all = self.pipelines.list();
        for of in all
            .iter()
            .filter_map(|view| Some(&view.replay.as_ref()?.of))
        {
            let is_its = of.table == table;
            if is_its
                && of
                    .promotion
                    .is_some_and(|uuid| self.pipelines.is_promoting(table, uuid))
            {
                let message = format!("the branch '{}' of {table} is being promoted", of.branch);
                let hint = "Try again once the pipeline has committed it: `lakeward pipeline show` says what is pending.";
                return Err(Refusal::new(409, message).hint(hint));
            }
        }
        let runs = all.iter().find(|view| {
            let of = view.replay.as_ref().map(|replay| &replay.of);
            of.is_some_and(|of| of.table == table) && view.state != "finished"
        });
        match runs {
            None => Ok(()),
            Some(view) => {
                let (name, state) = (&view.name, &view.state);
                let message = format!("a replay of {table} is not over: {name} ({state})");
                let hint = format!("Let it finish, or end it: `lakeward pipeline drop '{name}'`.");
                Err(Refusal::new(409, message).hint(hint))
            }
        }
    }

    fn go_on(
        &self,
        eraser: &mut Eraser,
        ident: &TableIdent,
        ids: &[Uuid],
        tags: Tags,
    ) -> Result<Erasure, EraseError> {
        let table = ident.to_string();
        for writer in self.pipelines.writers() {
            let is_beside = table.strip_suffix(DEAD_LETTERS) == Some(&*writer.table);
            if writer.table == table || is_beside {
                self.take_off(eraser, ident, ids, &writer)?;
            }
        }
        let manifests = |pipeline| self.pipelines.manifests_of(pipeline);
        let pipelines = Pipelines {
            manifests: &manifests,
        };
        eraser.go_on(ident, ids, tags, &pipelines)
    }

    /// What the log said of the rows, where it has let them go, is taken off the ledger: before anything goes, and once.
    fn take_off(
        &self,
        eraser: &Eraser,
        ident: &TableIdent,
        ids: &[Uuid],
        writer: &Writer,
    ) -> Result<(), EraseError> {
        let (storage, table) = (self.wiring.storage(), &writer.table);
        let Some(mut ledger) = ledgers::load(storage, writer.pipeline, table) else {
            return Ok(());
        };
        for id in ids
            .iter()
            .filter(|id| !ledger.knows_erasure(&id.to_string()))
            .collect::<Vec<_>>()
        {
            let mut taken = Vec::new();
            eraser.rows_that_go(ident, &[*id], &mut |rows, from| {
                let from = from.into_iter();
                let from = from
                    .map(|(topic, partition, offset, is_own)| ((topic, partition), offset, is_own));
                taken.push(Taken {
                    rows,
                    from: from.collect(),
                });
            })?;
            let id = id.to_string();
            let kept = if ident.to_string() == *table {
                let kept = ledger.erase(&id, &taken);
                kept.map_err(|error| error.to_string())
            } else {
                let letters = taken.into_iter().flat_map(|taken| taken.from);
                let letters = letters.map(|(key, offset, _)| (key, offset));
                ledger.erase_letters(&id, &letters.collect::<Vec<_>>());
                Ok(())
            };
            let kept = kept.and_then(|()| {
                let stored = ledgers::store(storage, writer.pipeline, table, &ledger);
                stored.map_err(|error| error.to_string())
            });
            kept.map_err(|why| EraseError::Busy(format!("the ledger of its audits: {why}")))?;
        }
        Ok(())
    }

    /// What may be of the key in the tables beside it, which have records as they came: whether it is, somebody has to say.
    fn sides(&self, table: &str, predicate: Option<&Predicate>) -> Result<Vec<Left>, Refusal> {
        let mut left = Vec::new();
        for side in [DEAD_LETTERS, LATE] {
            let name = format!("{table}{side}");
            let ident = parse_table(&name).map_err(refused)?;
            let view = match TableView::open_with(self.wiring.embedded(), &ident, &self.footers) {
                Err(error) if error.kind == Kind::NoSuchTable => continue,
                view => view.map_err(refused)?,
            };
            let rows: u64 = view.data_files.iter().map(|file| file.rows).sum();
            let why = match predicate {
                _ if rows == 0 => continue,
                Some(predicate) => {
                    let mentions = predicate.mentions(&view).map_err(refused)?;
                    if mentions.is_empty() {
                        continue;
                    }
                    mentioned(&name, &mentions)
                }
                None => format!(
                    "it has {rows} records as they came: say --where once more to see which may be of the key"
                ),
            };
            left.push(Left { what: name, why });
        }
        Ok(left)
    }

    /// Where else the records are, or may be.
    fn notices(&self, table: &str, done: &Erasure) -> Vec<String> {
        let topics: BTreeSet<&str> = done.below.iter().map(|at| &*at.topic).collect();
        let mut notices = Vec::new();
        for topic in &topics {
            notices.push(format!(
                "topic {topic} has the records until its retention takes them"
            ));
        }
        for writer in self.pipelines.writers() {
            let mut sources = writer.graph.sources();
            let reads = sources.any(|source| topics.iter().any(|topic| source.reads(topic)));
            if reads && writer.table != table {
                let (name, other) = (&writer.name, &writer.table);
                notices.push(format!("{other} is filled from the same topic, by {name}, and is not erased from with this one"));
            }
        }
        notices
    }
}

/// How many records are shown to be erased by one command.
const SHOWN: usize = 100;

/// Which records those are, and what erases them.
fn mentioned(table: &str, mentions: &[Mention]) -> String {
    let mut by_partition: BTreeMap<(&str, i32), Vec<String>> = BTreeMap::new();
    for mention in mentions.iter().take(SHOWN) {
        let offsets = by_partition.entry((&mention.topic, mention.partition));
        offsets.or_default().push(mention.offset.to_string());
    }
    let commands = by_partition.iter().map(|((topic, partition), offsets)| {
        let offsets = offsets.join(", ");
        format!("\n    lakeward table erase {table} --where \"topic = '{topic}' AND partition = {partition} AND offset IN ({offsets})\" --execute")
    });
    let commands: String = commands.collect();
    let count = mentions.len();
    format!(
        "{count} records that may be of the key stand in it as they came; look at them with `lakeward dlq`, and erase those that are:{commands}"
    )
}

pub(super) fn not_erased(error: EraseError) -> Refusal {
    let (detail, hint) = (error.detail(), error.hint());
    let status = match error {
        EraseError::Catalog(error) => return refused(error),
        EraseError::Predicate(_) | EraseError::Version(_) => 400,
        EraseError::Nothing => 404,
        EraseError::Busy(_) => 503,
        _ => 409,
    };
    Refusal::new(status, error).detail(detail).hint(hint)
}
