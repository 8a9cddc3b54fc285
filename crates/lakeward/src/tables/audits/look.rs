//! A look at a table ahead of retention: what the log says of the next offsets goes to the table's ledger, and the log can let them go.
//!
//! Of a query without state a part of the log gives a part of the table, and that is looked at. Of one with state the ledger has a word
//! on all of it, and goes on with that.

use super::others::others;
use super::recomputation::recomputation;
use super::{Split, Tables, UNAVAILABLE, audited, ends, ledgers, marked};
use lw_lakehouse::TableView;
use lw_lakehouse::view::{Accounted, Hidden};
use lw_ops::audit::ahead::{Ends, next_look};
use lw_ops::audit::ledger::{Entry, Ledger};
use lw_ops::audit::{
    AuditError, AuditedFile, Evidence, Extent, MarkedRange, Recomputation, Report, Run, Verdict,
    Word, audit_for_ledger, audit_recomputed_for_ledger,
};
use lw_runtime::manifest::Manifest;
use lw_runtime::pipelines::Writer;
use std::collections::BTreeMap;
use std::ops::Range;

/// A table that is looked at.
struct Looking<'a> {
    view: &'a TableView,
    hidden: &'a Hidden,
    writer: &'a Writer,
    manifest: Option<Manifest>,
    ledger: &'a Ledger,
    cancelled: &'a dyn Fn() -> bool,
}

impl Tables {
    /// Looks at the next offsets of a table, and keeps the log's word on them. Says whether there was something to look at.
    pub(super) fn look(
        &self,
        writer: &Writer,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<bool, String> {
        let (storage, table) = (self.wiring.storage(), writer.table.as_str());
        let view = match self.view(table) {
            Err(refusal) if refusal.status != UNAVAILABLE => {
                // It was dropped, or is damaged: waiting mends neither.
                ledgers::release(storage, writer.pipeline, table);
                return Err(format!("{}; retention does not wait", refusal.message));
            }
            view => view.map_err(|refusal| refusal.message)?,
        };
        let mut ledger = self.ledger(&view, writer);
        let Some(marker) = &view.marker else {
            return Ok(false);
        };
        // A rewind fills again what lies above the marker.
        ledger.forget_above(&ends(marker.ends()));
        let commits: Vec<Ends> = view
            .snapshots
            .iter()
            .filter_map(|snapshot| Some(ends(snapshot.marker.as_ref()?.ends())))
            .collect();
        let manifest = self.pipelines.manifest_of_writer(writer);
        let log_starts = self.log_starts(&marker.ends(), writer, manifest.as_ref()).0;
        let begins = ends(marker.begins());
        let Some(look) = next_look(&ledger.looked_at(), &begins, &commits, &log_starts) else {
            return Ok(false);
        };
        let looked_at: Ends = look
            .iter()
            .map(|(key, range)| (key.clone(), range.end))
            .collect();
        let hidden = view.hidden().map_err(|error| error.to_string())?;
        let looking = Looking {
            view: &view,
            hidden: &hidden,
            writer,
            manifest,
            ledger: &ledger,
            cancelled,
        };
        let has_state = self.has_state(&view, writer);
        let kept = match has_state {
            false => self.look_at_a_part(looking, &look).map(Kept::Entries),
            true => {
                let is_it = |commit: &&Ends| {
                    look.iter()
                        .all(|(key, range)| commit.get(key) == Some(&range.end))
                };
                let commit = commits.iter().find(is_it);
                let commit = commit.expect("a look ends where a commit does");
                let word = self.look_at_all(looking, commit);
                word.map(|word| Kept::Word(Box::new(word)))
            }
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(AuditError::Cancelled) => return Ok(false),
            Err(error @ (AuditError::Log(_) | AuditError::State(_))) => {
                return Err(error.to_string());
            }
            Err(error) => {
                // It would fail again: retention does not wait for that.
                tracing::error!(table, %error, "what retention is to take stays unverified");
                Kept::Entries(Vec::new())
            }
        };
        let offsets = kept.offsets(&look);
        match kept {
            Kept::Entries(entries) => ledger.keep(entries, &looked_at),
            Kept::Word(word) => ledger.keep_word(*word, &looked_at),
        }
        let stored = ledgers::store(storage, writer.pipeline, table, &ledger);
        stored.map_err(|error| format!("the ledger cannot be written: {error}"))?;
        if has_state {
            let shelf = ledgers::shelf(storage, writer.pipeline, table);
            shelf.keep_only(ledger.word().map(Word::flow).into_iter());
        }
        tracing::info!(table, kept = offsets, "audited before retention takes it");
        self.hold(writer);
        Ok(true)
    }

    /// What the log says of a part of a table.
    fn look_at_a_part(
        &self,
        looking: Looking<'_>,
        look: &BTreeMap<Split, Range<i64>>,
    ) -> Result<Vec<Entry>, AuditError> {
        let Looking {
            view,
            hidden,
            writer,
            manifest,
            cancelled,
            ..
        } = looking;
        let evidence = Evidence {
            ranges: look.iter().map(looked).collect(),
            files: files_within(view, look),
            others: others(view, hidden),
            cancelled,
            ..self.evidence(&writer.table, (view, hidden), writer, manifest.as_ref())
        };
        let (report, entries) = audit_for_ledger(evidence)?;
        tell(&report);
        Ok(entries)
    }

    /// What the log says of all of a table up to the end of one of its commits.
    fn look_at_all(&self, looking: Looking<'_>, commit: &Ends) -> Result<Option<Word>, AuditError> {
        let Looking {
            view,
            hidden,
            writer,
            manifest,
            ledger,
            cancelled,
        } = looking;
        let is_within = |range: &Accounted| {
            let end = commit.get(&(range.topic.clone(), range.partition));
            end.is_some_and(|end| range.end <= *end)
        };
        let (ranges, later): (Vec<Accounted>, Vec<Accounted>) =
            view.accounted().into_iter().partition(is_within);
        let files: Vec<AuditedFile> = view.data_files.iter().filter_map(audited).collect();
        // The table has no more than this commit, and nobody else wrote to it: then it can be compared.
        let extent = match later.is_empty() && files.len() == view.data_files.len() {
            true => Extent::Table,
            false => Extent::Ranges,
        };
        let evidence = Evidence {
            ranges: ranges.into_iter().map(marked).collect(),
            files,
            extent,
            cancelled,
            ledger: ledger.clone(),
            ..self.evidence(&writer.table, (view, hidden), writer, manifest.as_ref())
        };
        let shelf = ledgers::shelf(self.wiring.storage(), writer.pipeline, &writer.table);
        let how = Recomputation {
            shelf: Some(shelf),
            ..recomputation(view, writer, manifest.as_ref())
        };
        let (report, word) = audit_recomputed_for_ledger(evidence, &how)?;
        tell(&report);
        if word.is_none() {
            let (table, why) = (&writer.table, report.notes.join("; "));
            tracing::warn!(table, why, "what retention is to take stays unverified");
        }
        Ok(word)
    }
}

/// What a look gives the ledger.
enum Kept {
    Entries(Vec<Entry>),
    Word(Box<Option<Word>>),
}

impl Kept {
    /// Of how many of the offsets that were looked at it is.
    fn offsets(&self, look: &BTreeMap<Split, Range<i64>>) -> u64 {
        let size = |(start, end): (i64, i64)| (end - start).unsigned_abs();
        match self {
            Kept::Entries(entries) => {
                let entries = entries.iter();
                entries.map(|entry| size((entry.start, entry.end))).sum()
            }
            Kept::Word(word) if word.is_none() => 0,
            Kept::Word(_) => {
                let ranges = look.values();
                ranges.map(|range| size((range.start, range.end))).sum()
            }
        }
    }
}

fn tell(report: &Report) {
    if report.verdict == Verdict::Wrong {
        let (table, findings) = (&report.table, report.findings.join("; "));
        tracing::error!(table, findings, "the table does not hold what the log says");
    }
}

fn looked(((topic, partition), range): (&Split, &Range<i64>)) -> MarkedRange {
    MarkedRange {
        topic: topic.clone(),
        partition: *partition,
        start: range.start,
        end: range.end,
        follows: true,
    }
}

/// The data files with rows of these offsets.
fn files_within(view: &TableView, look: &BTreeMap<Split, Range<i64>>) -> Vec<AuditedFile> {
    let within = |run: &Run| {
        let range = look.get(&(run.topic.clone(), run.partition));
        range.is_some_and(|range| run.first < range.end && range.start <= run.last)
    };
    let files = view.data_files.iter().filter_map(audited);
    files.filter(|file| file.runs.iter().any(within)).collect()
}
