//! The sink task: write … seal → manifest → commit → manifest → group offsets.

use super::enlist::{Sealed, enlist, pass};
use super::{Ended, Message, POLL_TIMEOUT, Publish, Rows, SEAL_BYTES};
use crate::batch::{Batch, DeadLetter, Split, SplitId};
use crate::connector::{CommitOutcome, Committer, ConnectorError, ErrorKind, Sink, Source};
use crate::job::{Control, JobStatus, Settings};
use crate::ledger::Ledger;
use crate::manifest::{Manifest, Place, SinkState, SplitOffset};
use crate::queue::{Popped, Queue};
use crate::store::{ManifestStore, StoreError};
use lw_stdx::clock::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The sink task.
pub(super) struct Writer {
    pub(super) sink: Box<dyn Sink>,
    pub(super) committer: Box<dyn Committer>,
    pub(super) store: ManifestStore,
    pub(super) manifest: Manifest,
    /// What the manifest calls the sink.
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) control: Arc<Control>,
    pub(super) status: Arc<JobStatus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) publish: Publish,
    pub(super) ledger: Ledger,
    pub(super) splits: Arc<[Split]>,
    /// Below these offsets dead letters are kept already: only after a rewind does reading come by there again.
    pub(super) buried: BTreeMap<(String, i32), i64>,
    pub(super) watermarks: BTreeMap<SplitId, i64>,
    /// The source's, never going back.
    pub(super) watermark: Option<i64>,
    pub(super) place: Option<Place>,
    pub(super) max_event_time: Option<i64>,
    pub(super) last_seal: Instant,
}

impl Writer {
    /// Positions the source where the manifest stands, and writes down what must be decided once and never again: where
    /// reading begins, where a bounded read ends, which topics these offsets are of.
    pub(super) fn position(
        &mut self,
        source: &mut dyn Source,
        plan: String,
    ) -> Result<Option<Ended>, ConnectorError> {
        let before = self.sink_state().plan.replace(plan.clone());
        let manifest = &mut self.manifest;
        if before.is_some_and(|before| before != plan) {
            // Another query ends where it says, not where the one before did.
            manifest.forget_ends();
        }
        source.open(&manifest.known(), manifest.ends().as_deref())?;
        let topics = source.topics();
        for (topic, id) in &topics {
            if manifest.topics.get(topic).is_some_and(|known| known != id) {
                return Err(recreated(topic, &manifest.known()));
            }
        }
        manifest.opened(topics, &source.positions(), source.ends().as_deref());
        self.save()
    }

    pub(super) fn run(&mut self, queue: &Queue<Message>) -> Result<Ended, ConnectorError> {
        loop {
            let due = self.last_seal + self.settings.commit_interval;
            let wait = due
                .saturating_duration_since(Instant::now())
                .min(POLL_TIMEOUT);
            let last = match queue.pop(wait) {
                Popped::Item(Message::Rows(rows)) => {
                    self.take(rows)?;
                    None
                }
                Popped::Item(Message::End { finished }) => Some(finished),
                Popped::Item(Message::Failed(error)) => return self.source_failed(error),
                Popped::Nothing => None,
                Popped::Closed => {
                    let message = "the source ended without saying why";
                    return Err(ConnectorError::new(ErrorKind::Bug, message));
                }
            };
            let full = self.sink.buffered_bytes() >= SEAL_BYTES;
            if last.is_some() || full || Instant::now() >= due {
                if let Some(ended) = self.checkpoint()? {
                    return Ok(ended);
                }
                self.last_seal = Instant::now();
            }
            match last {
                Some(true) => return Ok(Ended::Finished),
                Some(false) => return Ok(Ended::Stopped),
                None => {}
            }
        }
    }

    fn take(&mut self, rows: Rows) -> Result<(), ConnectorError> {
        self.write(rows.batches, rows.dead_letters)?;
        self.ledger.append(rows.ledger);
        self.splits = rows.splits;
        self.watermarks = rows.watermarks;
        self.watermark = rows.watermark;
        self.place = rows.place;
        self.max_event_time = rows.max_event_time;
        Ok(())
    }

    /// What was read before the source failed is right, and perhaps nowhere else any more: it is committed first.
    fn source_failed(&mut self, error: ConnectorError) -> Result<Ended, ConnectorError> {
        if error.kind != ErrorKind::Bug
            && let Some(ended) = self.checkpoint()?
        {
            return Ok(ended);
        }
        Err(error)
    }

    fn write(
        &mut self,
        batches: Vec<Batch>,
        mut letters: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let rows: usize = batches.iter().map(Batch::rows).sum();
        letters.retain(|letter| {
            let split = (letter.topic.to_string(), letter.partition);
            self.buried
                .get(&split)
                .is_none_or(|end| letter.offset >= *end)
        });
        let dead = letters.len() as u64;
        for batch in batches {
            self.sink.write(batch)?;
        }
        if !letters.is_empty() {
            self.sink.dead_letters(letters)?;
        }
        self.status.update(|status| {
            status.rows_out += rows as u64;
            status.dead_letters += dead;
        });
        Ok(())
    }

    /// Seal → manifest → commit. `Some` when the attempt ends here.
    fn checkpoint(&mut self) -> Result<Option<Ended>, ConnectorError> {
        if self.ledger.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let staged = self.sink.seal()?;
        let ranges = self.ledger.take(&self.splits);
        let sealed = Sealed {
            main: self.sink.table(),
            staged,
            ranges,
            watermark: self.watermark,
            max_event_time: self.max_event_time,
        };
        let state = self.manifest.sinks.entry(self.name.clone()).or_default();
        enlist(state, sealed, Uuid::new_v4);
        pass(
            &mut self.manifest,
            &self.splits,
            &self.watermarks,
            self.place,
        );
        self.manifest.created_ms = self.clock.now_ms();
        if let Some(ended) = self.save()? {
            return Ok(Some(ended));
        }
        let (id, now) = (self.manifest.checkpoint_id, self.clock.now_ms());
        self.status.update(|status| {
            status.checkpoint_id = id;
            status.checkpoint_at_ms = now;
            status.checkpoint_duration = begun.elapsed();
        });
        self.commit()
    }

    fn sink_state(&mut self) -> &mut SinkState {
        self.manifest.sinks.entry(self.name.clone()).or_default()
    }

    fn save(&mut self) -> Result<Option<Ended>, ConnectorError> {
        match self.store.save(&self.manifest) {
            Ok(()) => Ok(None),
            Err(StoreError::Fenced) => Ok(Some(Ended::Fenced)),
            Err(error) => {
                Err(ConnectorError::new(ErrorKind::Retry, &error).detail(source_text(&error)))
            }
        }
    }

    /// Brings every table up to its chain's end; waits and tries again while a catalog cannot be reached.
    pub(super) fn commit(&mut self) -> Result<Option<Ended>, ConnectorError> {
        let main = self.sink.table().to_string();
        let state = self.sink_state();
        let chains = std::iter::once((&main, &state.chain)).chain(&state.sides);
        let pending = chains.filter(|(_, chain)| !chain.chain.is_empty());
        let tables: Vec<String> = pending.map(|(table, _)| table.clone()).collect();
        if tables.is_empty() {
            return Ok(None);
        }
        for table in tables {
            if let Some(ended) = self.commit_table(&table)? {
                return Ok(Some(ended));
            }
        }
        if let Some(ended) = self.save()? {
            return Ok(Some(ended));
        }
        let confirmed = self.sink_state().chain.last.clone();
        if let Some(confirmed) = confirmed {
            (self.publish)(&confirmed.ends);
        }
        Ok(None)
    }

    fn commit_table(&mut self, table: &str) -> Result<Option<Ended>, ConnectorError> {
        let mut backoff = Duration::from_millis(100);
        loop {
            let state = self.manifest.sinks.entry(self.name.clone()).or_default();
            let chain = match table == self.sink.table() {
                true => &mut state.chain,
                false => state.sides.get_mut(table).expect("listed by the caller"),
            };
            let begun = Instant::now();
            match self.committer.commit(table, chain) {
                Ok(CommitOutcome::Confirmed {
                    confirmed,
                    snapshot_id,
                }) => {
                    let rows: u64 = chain.chain[..confirmed]
                        .iter()
                        .flat_map(|pending| &pending.ranges)
                        .map(|range| range.rows)
                        .sum();
                    let event_time = chain.chain[..confirmed]
                        .iter()
                        .filter_map(|pending| pending.max_event_time)
                        .max();
                    chain.confirm(confirmed);
                    let left = chain.chain.len();
                    if table == self.sink.table() {
                        let now = self.clock.now_ms();
                        self.status.update(|status| {
                            status.commits += 1;
                            status.committed_rows += rows;
                            status.commit_at_ms = now;
                            status.commit_duration = begun.elapsed();
                            status.snapshot_id = snapshot_id.or(status.snapshot_id);
                            status.committed_event_time =
                                status.committed_event_time.max(event_time);
                        });
                    }
                    if left == 0 {
                        return Ok(None);
                    }
                }
                Ok(CommitOutcome::Paused(pause)) => {
                    // A fenced process must not bother its user: the new owner decides.
                    return Ok(Some(if self.store.is_mine() {
                        Ended::Paused(pause)
                    } else {
                        Ended::Fenced
                    }));
                }
                Err(error) if error.kind == ErrorKind::Retry && !self.control.stopping() => {
                    tracing::warn!(table, error = %error, detail = error.detail, "commit failed; trying again");
                    self.status.update(|status| {
                        status.commit_retries += 1;
                        status.last_error = Some(error.to_string());
                    });
                    self.control.wait(backoff);
                    backoff = (backoff * 2).min(Duration::from_secs(10));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The checkpoint's offsets are of a topic that is gone; one of the same name is there now.
fn recreated(topic: &str, offsets: &[SplitOffset]) -> ConnectorError {
    let of_topic: Vec<SplitOffset> = offsets
        .iter()
        .filter(|at| at.topic == topic)
        .cloned()
        .collect();
    ConnectorError::new(
        ErrorKind::Fix,
        format!("topic '{topic}' was deleted and created again"),
    )
    .detail(format!(
        "The checkpoint stands at {} of the topic that is gone; nothing was read of the new one.",
        crate::pipelines::offsets_text(&of_topic)
    ))
    .hint("To read the new topic from its beginning, drop the pipeline (`lakeward pipeline drop`) and run its script with another table.")
}

fn source_text(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}
