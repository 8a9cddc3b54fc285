//! The driver: carries out what the coordinator says, with the sinks and the manifest of one job.
//!
//! It has no thread and waits for nothing. Commits are for others to make: it hands out orders, and is told what came of them.
//! [`super::Attempt::run`] gives it threads, [`super::stepped::SteppedJob`] is the same job in the caller's hands.

use super::coordinator::{Action, Coordinator, End, Input, Now, Positioned};
use super::keeping::Keeper;
use super::late::LateRecords;
use super::reader::{Outlet, Reader};
use super::refused::{joins_state, refuse_ended, refuse_other};
use super::rules::Rules;
use super::{Committers, Ended, Kept, Orders, Publish, Rows, Unread};
use crate::chunk::{Chunk, DeadLetter};
use crate::connector::{CommitOutcome, ConnectorError, ErrorKind, Sink, Staged};
use crate::job::{JobStatus, Save};
use crate::manifest::{Manifest, SplitOffset, TableChain};
use crate::operator::{AtSinks, Downstream};
use crate::origins::Runs;
use crate::state::{Share, StateError};
use crate::store::{ManifestStore, StoreError};
use lw_stdx::clock::Clock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A commit to be made.
pub(super) struct Order {
    sink: usize,
    table: String,
    chain: TableChain,
}

/// What came of it.
pub(super) struct Answer {
    sink: usize,
    table: String,
    outcome: Result<CommitOutcome, ConnectorError>,
    took: Duration,
}

impl Order {
    pub(super) fn carry_out(self, committers: &mut Committers, clock: &dyn Clock) -> Answer {
        let begun = clock.elapsed();
        let outcome = committers[self.sink].commit(&self.table, &self.chain);
        Answer {
            sink: self.sink,
            table: self.table,
            outcome,
            took: clock.elapsed().saturating_sub(begun),
        }
    }
}

pub(super) struct Driver {
    pub(super) rules: Rules,
    pub(super) coordinator: Coordinator,
    /// In the order of the graph's sinks.
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) downstream: Downstream,
    /// As a manifest calls them, where there are several.
    pub(super) scans: Vec<String>,
    pub(super) keeper: Keeper,
    /// What sinks made durable and when that began, while states are still on their way.
    pub(super) sealing: Option<(Vec<Vec<Staged>>, Duration)>,
    pub(super) late: LateRecords,
    /// Who wants the manifest once nothing in it is pending.
    pub(super) saves: Vec<Save>,
    pub(super) store: ManifestStore,
    pub(super) status: Arc<JobStatus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) memory: Share,
    /// A bounded read ends where more would come, were it not bounded.
    pub(super) ends_open: bool,
    /// There is none for more rows.
    pub(super) waits_for_memory: bool,
    pub(super) new_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    pub(super) publish: Publish,
    pub(super) orders: Orders,
    /// By sink: below these offsets dead letters are kept already. Only after a rewind does reading come by there again.
    pub(super) buried: Vec<BTreeMap<(String, i32), i64>>,
}

impl Driver {
    pub(super) fn manifest(&self) -> &Manifest {
        self.coordinator.manifest()
    }

    pub(super) fn now(&self) -> Now {
        Now {
            elapsed: self.clock.elapsed(),
            wall_ms: self.clock.now_ms(),
        }
    }

    /// Tells the coordinator, and does what it wants. `Some` when the attempt ends here.
    pub(super) fn handle(&mut self, input: Input) -> Result<Option<Ended>, ConnectorError> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let mut sealed = match &input {
                Input::Sealed { .. } => self.sealing.take(),
                _ => None,
            };
            for action in self.coordinator.handle(now, input, &*self.new_id) {
                match action {
                    Action::Seal => inputs.extend(self.seal(now.elapsed)?),
                    Action::Save => {
                        if let Some(fenced) = self.save()? {
                            return Ok(Some(fenced));
                        }
                        if let Some((_, begun)) = sealed.take() {
                            self.keeper.keep(self.coordinator.manifest().states());
                            self.show_checkpoint(begun);
                            self.fold();
                        }
                    }
                    Action::Commit { sink, table, chain } => {
                        (self.orders.commit)(Order { sink, table, chain });
                    }
                    Action::Publish(ends) => (self.publish)(&ends),
                    Action::Savepoint => {
                        let saves = std::mem::take(&mut self.saves).into_iter();
                        saves.for_each(|save| save(self.coordinator.manifest()));
                    }
                    Action::Confirmed { sink, confirmation } => {
                        let now = self.clock.now_ms();
                        self.status.update_sink(sink, |status| {
                            status.commits += 1;
                            status.committed_rows += confirmation.rows;
                            status.commit_at_ms = now;
                            status.snapshot_id = confirmation.snapshot_id.or(status.snapshot_id);
                            status.committed_event_time =
                                status.committed_event_time.max(confirmation.event_time);
                        });
                    }
                    Action::Retried { sink, table, error } => {
                        tracing::warn!(table, error = %error, detail = error.detail, "commit failed; trying again");
                        self.status.update(|status| {
                            status.sinks[sink].commit_retries += 1;
                            status.last_error = Some(error.to_string());
                        });
                    }
                    Action::End(end) => return end.map(Some),
                }
            }
        }
        Ok(None)
    }

    /// Makes durable what the sinks hold, and lets operators write down what they have. Where that has to be stored, what came of the
    /// seal is said later.
    fn seal(&mut self, begun: Duration) -> Result<Option<Input>, ConnectorError> {
        let sinks = self.sinks.iter_mut();
        let staged = sinks.map(|sink| (self.rules.seal)(&mut **sink));
        let staged: Vec<Vec<Staged>> = staged.collect::<Result<_, _>>()?;
        let manifest = self.coordinator.manifest();
        let states = manifest.state.as_ref().map(|state| &state.operators);
        let before = self.keeper.standing(states);
        let frozen = self.downstream.freeze(before.as_ref(), &self.rules.state)?;
        if frozen.is_empty() {
            self.sealing = Some((Vec::new(), begun));
            let states = BTreeMap::new();
            return Ok(Some(Input::Sealed { staged, states }));
        }
        let frozen = (self.rules.frozen)(frozen);
        let order = self.keeper.write(before, frozen, manifest.checkpoint_id);
        self.sealing = Some((staged, begun));
        (self.orders.keep)(order);
        Ok(None)
    }

    /// States were stored, or links of them folded.
    pub(super) fn kept(&mut self, kept: Kept) -> Result<Option<Ended>, ConnectorError> {
        match kept {
            Kept::Written(states) => {
                let states = states?;
                self.keeper.written(&states);
                let sealing = self.sealing.as_mut();
                let (staged, _) = sealing.expect("K2: what was not asked for is not sealed");
                let staged = std::mem::take(staged);
                self.handle(Input::Sealed { staged, states })
            }
            Kept::Arranged(states) => {
                self.keeper.arranged(states?);
                self.handle(Input::Arranged)
            }
            Kept::Folded(fold, folded) => {
                self.keeper.folded(fold, folded);
                Ok(None)
            }
        }
    }

    /// Lets operators write down all that they have, where the first checkpoint could not write what changed behind what stands in the
    /// manifest.
    pub(super) fn arrange(&mut self) -> Result<(), StateError> {
        let Some(state) = &self.coordinator.manifest().state else {
            return Ok(());
        };
        let limits = &self.rules.state;
        let frozen = self.downstream.freeze_displaced(&state.operators, limits)?;
        if !frozen.is_empty() {
            self.coordinator.arranges();
            (self.orders.keep)(self.keeper.arrange(frozen));
        }
        Ok(())
    }

    fn fold(&mut self) {
        let state = self.coordinator.manifest().state.as_ref();
        if let Some(order) = state.and_then(|state| self.keeper.fold(&state.operators)) {
            (self.orders.keep)(order);
        }
    }

    /// A commit that was ordered is over.
    pub(super) fn answered(&mut self, answer: Answer) -> Result<Option<Ended>, ConnectorError> {
        if answer.table == self.sinks[answer.sink].table() && answer.outcome.is_ok() {
            let took = answer.took;
            self.status
                .update_sink(answer.sink, |status| status.commit_duration = took);
        }
        let mine = self.store.is_mine();
        self.handle(Input::Committed {
            sink: answer.sink,
            table: answer.table,
            outcome: answer.outcome,
            mine,
        })
    }

    /// Positions the source where the manifest stands.
    pub(super) fn position(
        &mut self,
        unread: &mut Unread,
    ) -> Result<Option<Ended>, ConnectorError> {
        let source = &mut unread.source;
        self.coordinator.computes();
        if self.coordinator.has_newcomers() {
            if self.manifest().state.is_some() {
                return Err(joins_state());
            }
            // Without offsets the source stands where its startup mode says.
            source.open(&[], None)?;
            self.coordinator.newcomers_begin(&source.positions());
        }
        let manifest = self.coordinator.manifest();
        source.open(&manifest.known(), manifest.ends().as_deref())?;
        refuse_other(manifest, &**source)?;
        if !self.downstream.is_empty() {
            let scans = unread.upstream.scans();
            let scans: Vec<Vec<String>> = scans.map(|(_, topics)| topics.to_vec()).collect();
            refuse_ended(manifest, &scans, &**source)?;
        }
        self.handle(Input::Positioned(Positioned {
            topics: source.topics(),
            ends: source.ends(),
            offsets: source.positions(),
        }))
    }

    /// What reads, from where the source was positioned. Sinks that have more than the others get nothing of it again.
    pub(super) fn reader(&mut self, mut unread: Unread) -> Reader {
        let ahead = self.coordinator.ahead();
        let cuts: Vec<SplitOffset> = ahead.iter().flatten().cloned().collect();
        unread.source.cut_at(&cuts);
        let outlets = self.downstream.outlets_of_sinks().into_iter();
        let outlets = outlets.map(|outlets| match outlets.as_slice() {
            [at] if self.downstream.is_sink(*at) => Outlet::Sink(*at),
            _ => Outlet::State(outlets),
        });
        let sinks = outlets.zip(ahead.iter().zip(self.coordinator.topics()));
        let sinks = sinks.map(|(outlet, (ahead, topics))| (outlet, ahead.clone(), topics.clone()));
        let status = self.status.clone();
        if unread.upstream.scans().len() > 1 {
            let scans = unread.upstream.scans();
            self.scans = scans.map(|(scan, _)| scan.to_string()).collect();
        }
        let reader = Reader::new(unread, self.coordinator.manifest(), sinks.collect(), status);
        self.downstream.go_on_from(&reader.at_outlets());
        reader
    }

    /// Takes rows through the operators with state, and to the sinks.
    pub(super) fn take(&mut self, rows: Rows) -> Result<Option<Ended>, ConnectorError> {
        let mut at = self.downstream.at_sinks();
        let mut account = rows.account;
        // By sink: the rows that were on their way to it.
        let mut landed = vec![Runs::default(); self.sinks.len()];
        for (outlet, chunk) in rows.leaving {
            let runs = chunk.origins.runs();
            let runs = runs.expect("they are rows of the log up to here");
            for sink in self.downstream.sinks_behind(outlet) {
                landed[sink].extend(runs);
            }
            self.downstream.take(outlet, chunk, &mut at)?;
        }
        for (sink, landed) in landed.iter().enumerate() {
            let late = (self.rules.late)(&at.late[sink]);
            let splits = &account.standing.splits;
            account.ledgers[sink].late(landed, splits, &late);
        }
        for (sink, rows) in rows.sinks.into_iter().enumerate() {
            self.write(sink, rows.batches, rows.dead_letters)?;
        }
        let mut at = Some(at);
        if self.rules.lands_first {
            at.take().map_or(Ok(()), |at| self.land(at))?;
        }
        let held = self.held();
        let account = Box::new(account);
        let ended = self.handle(Input::Read { account, held })?;
        at.map_or(Ok(()), |at| self.land(at))?;
        Ok(ended)
    }

    /// Event time is at its end, with a bounded read or because it was drained; unless what is open is to stay so.
    pub(super) fn finish(&mut self, end: End) -> Result<Option<Ended>, ConnectorError> {
        if self.ends_open {
            return self.handle(Input::Ended(end));
        }
        let mut at = self.downstream.at_sinks();
        self.downstream.end(&mut at)?;
        self.coordinator.scans_end(&self.scans);
        if at.rows.iter().any(|rows| !rows.is_empty()) {
            self.land(at)?;
            let held = self.held();
            if let Some(ended) = self.handle(Input::Fired { held })? {
                return Ok(Some(ended));
            }
        }
        self.handle(Input::Ended(end))
    }

    /// Hands what operators with state gave to the sinks.
    fn land(&mut self, at: AtSinks) -> Result<(), ConnectorError> {
        self.measure();
        let late = at.late.into_iter().enumerate();
        for (sink, late) in late.filter(|(_, late)| !late.is_empty()) {
            self.late
                .tell(late, sink, &mut *self.sinks[sink], &self.status)?;
        }
        for (sink, rows) in at.rows.into_iter().enumerate() {
            self.write(sink, rows, Vec::new())?;
        }
        Ok(())
    }

    /// What states take now.
    pub(super) fn measure(&mut self) {
        if self.downstream.is_empty() {
            return;
        }
        let operators = self.downstream.sizes();
        let bytes = operators.iter().map(|of| of.state_bytes).sum();
        self.memory.take(bytes);
        self.status.update(|status| {
            status.state_bytes = bytes;
            status.operators = operators;
            status.waits_for_memory = self.waits_for_memory;
        });
    }

    /// Rows are taken now.
    pub(super) fn takes_rows(&mut self) -> bool {
        self.coordinator.wants_rows() && self.has_room()
    }

    /// Whether the states of all jobs leave room for more; says so when that changes.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.memory.has_room();
        if self.waits_for_memory == has_room {
            self.waits_for_memory = !has_room;
            let (pipeline, state_bytes) = (self.manifest().pipeline, self.memory.bytes());
            match has_room {
                true => {
                    tracing::info!(%pipeline, state_bytes, "there is memory for the state again: rows are taken")
                }
                false => {
                    tracing::warn!(%pipeline, state_bytes, "no rows are taken: the states of all jobs take more memory than there is for them")
                }
            }
            self.status
                .update(|status| status.waits_for_memory = !has_room);
        }
        has_room
    }

    fn held(&self) -> usize {
        self.sinks.iter().map(|sink| sink.buffered_bytes()).sum()
    }

    fn write(
        &mut self,
        sink: usize,
        batches: Vec<Chunk>,
        mut letters: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let rows: usize = batches.iter().map(Chunk::rows).sum();
        letters.retain(|letter| {
            let end = self.buried[sink].get(&(letter.topic.to_string(), letter.partition));
            !end.is_some_and(|end| (self.rules.is_buried)(letter.offset, *end))
        });
        let dead = letters.len() as u64;
        for batch in batches {
            self.sinks[sink].write(batch)?;
        }
        if !letters.is_empty() {
            self.sinks[sink].dead_letters(letters)?;
        }
        self.status.update_sink(sink, |status| {
            status.rows_out += rows as u64;
            status.dead_letters += dead;
        });
        Ok(())
    }

    fn save(&mut self) -> Result<Option<Ended>, ConnectorError> {
        match self.store.save(self.coordinator.manifest()) {
            Ok(()) => Ok(None),
            Err(StoreError::Fenced) => Ok(Some(Ended::Fenced)),
            Err(error) => {
                Err(ConnectorError::new(ErrorKind::Retry, &error).detail(source_text(&error)))
            }
        }
    }

    fn show_checkpoint(&self, begun: Duration) {
        let (id, at) = (self.manifest().checkpoint_id, self.clock.now_ms());
        let took = self.clock.elapsed().saturating_sub(begun);
        self.status.update(|status| {
            status.checkpoint_id = id;
            status.checkpoint_at_ms = at;
            status.checkpoint_duration = took;
        });
    }
}

fn source_text(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}
