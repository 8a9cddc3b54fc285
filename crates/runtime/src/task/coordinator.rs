//! The checkpoint coordinator: when what was read is sealed, written down and committed. Sans IO.
//!
//! ```text
//! Begin ─► commit what a crash left pending ─► positioning ─► Positioned, Save ─► reading
//!
//!             due, nothing pending │ full │ asked for                        confirmed
//! reading ─────────────────────────────────────────► Seal … Sealed ─► Save ─► Commit … ──────────► Save ─► Publish
//! ```
//!
//! Inputs say what has happened, actions say what has to be done, in this order and before the next input; only
//! [`Action::Seal`] and [`Action::Commit`] are answered later, and rows are taken meanwhile: epoch `n` is written down and committed
//! while `n + 1` is computed. What a seal is of is decided when it is ordered. While a catalog is slow nothing new is sealed for its time alone, so that an outage leaves no pile of
//! small files; a sink that is full is sealed behind the pending ones, up to [`MOST_PENDING`], and then nothing is taken any
//! more. What was read and not sealed is in memory only, and is read again after a crash.
//!
//! The order is the exactly-once protocol: files are durable before the manifest names them, the manifest is durable before a
//! catalog hears of them, and nothing is dropped from it before its table confirmed it.

mod commits;
#[cfg(test)]
mod tests;

use super::account::{Account, Epoch};
use super::enlist::{Sealed, enlist, pass};
use super::rules::Rules;
use super::{Ended, SEAL_BYTES};
use crate::chunk::Mark;
use crate::connector::{CommitOutcome, ConnectorError, ErrorKind, Staged};
use crate::ledger::Ledger;
use crate::lookup::Pins;
use crate::manifest::{Manifest, NOTHING_READ, SplitOffset, State, TableChain};
use crate::operator::Topics;
use crate::state::OperatorState;
use commits::Commit;
use lw_graph::OperatorUid;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How many sealed epochs may wait for their tables.
const MOST_PENDING: usize = 16;

/// The time of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Never goes back.
    pub(super) elapsed: Duration,
    /// Wall clock, milliseconds since 1970.
    pub(super) wall_ms: i64,
}

/// What has happened.
pub(super) enum Input {
    /// The attempt begins.
    Begin,
    /// The source stands where the manifest says.
    Positioned(Positioned),
    /// Rows are with the sinks, which hold so many bytes now.
    Read { account: Box<Account>, held: usize },
    /// Time has let operators give rows to the sinks, which hold so many bytes now: rows that no offset has just brought.
    Fired { held: usize },
    /// What the sinks held is durable, by sink, and what operators have of the rows so far.
    Sealed {
        staged: Vec<Vec<Staged>>,
        states: BTreeMap<OperatorUid, OperatorState>,
    },
    /// What operators have stands where the first seal can go on from.
    Arranged,
    /// A commit that was ordered is over. `mine`: this process still owns the manifest.
    Committed {
        sink: usize,
        table: String,
        outcome: Result<CommitOutcome, ConnectorError>,
        mine: bool,
    },
    /// Nothing more is read.
    Ended(End),
    /// Rows that come from now on are joined with these versions of tables.
    Pinned(Pins),
    /// A seal is asked for, however long ago the last one was.
    Barrier,
    /// A savepoint is asked for: a seal, and nothing pending after it.
    Savepoint,
    /// A stop is asked for: no failed commit is waited out any more.
    Stop,
    /// Time has passed.
    Tick,
}

/// What has to be done, in this order.
#[derive(Debug)]
pub(super) enum Action {
    /// Make durable what the sinks hold, let operators write their states down, and say [`Input::Sealed`].
    Seal,
    /// Replace the manifest; an attempt that cannot ends.
    Save,
    /// Commit the chain to its table, and say [`Input::Committed`] when that is over.
    Commit {
        sink: usize,
        table: String,
        chain: TableChain,
    },
    /// Show confirmed offsets as a consumer group's.
    Publish(Vec<SplitOffset>),
    /// The manifest is on disk, and nothing in it is pending: take it as a savepoint.
    Savepoint,
    /// A table has what was pending.
    Confirmed {
        sink: usize,
        confirmation: Confirmation,
    },
    /// A commit failed and is tried again.
    Retried {
        sink: usize,
        table: String,
        error: ConnectorError,
    },
    /// The attempt ends so.
    End(Result<Ended, ConnectorError>),
}

/// What a main table confirmed.
#[derive(Clone, Debug)]
pub(super) struct Confirmation {
    pub(super) rows: u64,
    pub(super) event_time: Option<i64>,
    pub(super) snapshot_id: Option<i64>,
}

/// How reading ended.
pub(super) enum End {
    /// A bounded source is read to its end.
    Finished,
    Stopped,
    Failed(ConnectorError),
}

/// Where a source stands after it was positioned.
pub(super) struct Positioned {
    pub(super) topics: BTreeMap<String, Uuid>,
    pub(super) ends: Option<Vec<SplitOffset>>,
    pub(super) offsets: Vec<SplitOffset>,
}

/// One `INSERT` of the job.
pub(super) struct Insert {
    /// What the manifest calls its sink.
    pub(super) name: String,
    /// `namespace.table` of the main output, as the sink says it.
    pub(super) main: String,
    /// Id of the plan.
    pub(super) plan: String,
    /// What it gets comes from operators with state.
    pub(super) has_state: bool,
    /// What it gets is of these.
    pub(super) topics: Topics,
}

/// The coordinator of one attempt.
pub(super) struct Coordinator {
    /// The shortest time between two seals that nothing else asks for.
    interval: Duration,
    /// In the order of the graph's sinks.
    inserts: Vec<Insert>,
    rules: Rules,

    phase: Phase,
    manifest: Manifest,
    account: Account,
    /// Bytes that the sinks hold.
    held: usize,
    /// They hold rows that no offset brought.
    fired: bool,
    sealed_at: Duration,
    barrier: bool,
    /// With what rows are joined once what was read before them is sealed; until then none is taken.
    repin: Option<Pins>,
    /// What was sealed and is not written down yet.
    sealing: Option<Epoch>,
    /// States are on their way to where the first seal goes on from.
    arranging: bool,
    savepoint: Wish,
    /// Sinks and tables of theirs with a commit under way or to be tried again.
    commits: BTreeMap<(usize, String), Commit>,
    /// The manifest in memory has confirmed commits that the one on disk has pending.
    unsaved: bool,
    stopping: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// What a crash left pending is decided before anything is read: its rows need no log any more.
    Recovering,
    /// The source has to be positioned.
    Positioning,
    Reading,
    Over,
}

/// Whether a savepoint is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    None,
    Asked,
    /// The seal is on its way.
    Ordered,
    /// What was read until then is sealed, and nothing more is until all of it is committed.
    Sealed,
}

impl Coordinator {
    pub(super) fn new(
        manifest: Manifest,
        inserts: Vec<Insert>,
        interval: Duration,
        rules: Rules,
    ) -> Coordinator {
        Coordinator {
            interval,
            inserts,
            rules,
            phase: Phase::Recovering,
            manifest,
            account: Account::default(),
            held: 0,
            fired: false,
            sealed_at: Duration::ZERO,
            barrier: false,
            repin: None,
            sealing: None,
            arranging: false,
            savepoint: Wish::None,
            commits: BTreeMap::new(),
            unsaved: false,
            stopping: false,
            end: None,
        }
    }

    /// Nothing is sealed before [`Input::Arranged`]; rows are taken meanwhile.
    pub(super) fn arranges(&mut self) {
        self.arranging = true;
    }

    /// Rows are joined with these versions of tables.
    pub(super) fn looks_up(&mut self, pins: &Pins) {
        self.account.pins = pins.clone();
    }

    /// A bounded read is at its end, and with it the event time of these scans.
    pub(super) fn scans_end(&mut self, scans: &[String]) {
        let ended = scans.iter().map(|scan| (scan.clone(), Mark::END));
        self.account.standing.marks.extend(ended);
    }

    /// By sink: the topics that it gets something of.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topics> {
        self.inserts.iter().map(|insert| &insert.topics)
    }

    /// What is to be saved.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The plans of this attempt compute what is read from now on.
    pub(super) fn computes(&mut self) {
        for Insert { name, plan, .. } in &self.inserts {
            let state = self.manifest.sinks.entry(name.clone()).or_default();
            let before = state.plan.replace(plan.clone());
            if before.is_some_and(|before| before != *plan) {
                // Another query ends where it says, not where the one before did.
                self.manifest.forget_ends();
            }
        }
    }

    /// Whether sinks that have nothing of any partition yet stand beside others that have: they do not begin where the others are.
    pub(super) fn has_newcomers(&self) -> bool {
        let mut sinks = self.manifest.sinks.values();
        !self.manifest.known().is_empty() && sinks.any(|sink| sink.splits.is_empty())
    }

    /// Lets them begin there.
    pub(super) fn newcomers_begin(&mut self, offsets: &[SplitOffset]) {
        for Insert { name, topics, .. } in &self.inserts {
            if self.manifest.sinks[name].splits.is_empty() {
                let own = offsets.iter().filter(|at| topics.has(&at.topic));
                let own: Vec<SplitOffset> = own.cloned().collect();
                self.manifest.stand_at(name, &own);
            }
        }
    }

    /// By sink: where it stands in the partitions of which it has more than the job's position says.
    pub(super) fn ahead(&self) -> Vec<Vec<SplitOffset>> {
        let position = self.manifest.position();
        let of_sink = |insert: &Insert| {
            let state = &self.manifest.sinks[&insert.name];
            let ahead = position.iter().filter_map(|at| {
                let split = state.split(&at.topic, at.partition)?;
                (split.written_until > at.next).then(|| SplitOffset {
                    next: split.written_until,
                    ..at.clone()
                })
            });
            ahead.collect()
        };
        self.inserts.iter().map(of_sink).collect()
    }

    /// The source is to be positioned now.
    pub(super) fn wants_position(&self) -> bool {
        self.phase == Phase::Positioning
    }

    /// Rows are taken; otherwise whoever has some keeps them.
    pub(super) fn wants_rows(&self) -> bool {
        let is_open = self.phase == Phase::Reading && self.end.is_none();
        is_open && self.repin.is_none() && self.held < SEAL_BYTES
    }

    /// When it wants to hear [`Input::Tick`], by [`Now::elapsed`].
    pub(super) fn wakes(&self) -> Duration {
        let waits = self.commits.values().filter_map(|commit| match commit {
            Commit::Waits { until, .. } => Some(*until),
            Commit::UnderWay { .. } => None,
        });
        // A seal that is due waits for the commits and the seal before it, which say when they are over.
        let seals = self.commits.is_empty() && self.sealing.is_none() && !self.arranging;
        let due = seals.then(|| self.due());
        waits.chain(due).min().unwrap_or(Duration::MAX)
    }

    fn due(&self) -> Duration {
        self.sealed_at.saturating_add(self.interval)
    }

    /// Takes an input in, and says what has to be done.
    ///
    /// # Panics
    /// When offsets would be lost or counted twice (L1, L2), or a commit is answered that was not ordered.
    pub(super) fn handle(
        &mut self,
        now: Now,
        input: Input,
        new_id: &dyn Fn() -> Uuid,
    ) -> Vec<Action> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match input {
            Input::Begin | Input::Tick => {}
            Input::Positioned(at) => self.positioned(now, at, &mut actions),
            Input::Read { account, held } => {
                assert!(
                    self.repin.is_none(),
                    "K6: no row is taken before what was joined with another version is sealed"
                );
                self.account.append(*account);
                self.held = held;
            }
            Input::Fired { held } => {
                self.account
                    .ledgers
                    .resize_with(self.inserts.len(), Ledger::default);
                self.held = held;
                self.fired = true;
            }
            Input::Sealed { staged, states } => {
                self.sealed(now, staged, states, new_id, &mut actions);
            }
            Input::Committed {
                sink,
                table,
                outcome,
                mine,
            } => self.committed(now, (sink, table), outcome, mine, &mut actions),
            Input::Ended(End::Failed(error)) if error.kind == ErrorKind::Bug => {
                self.over(Err(error), &mut actions);
            }
            Input::Ended(end) => self.end = Some(end),
            Input::Arranged => self.arranging = false,
            Input::Pinned(pins) => self.pinned(pins, &mut actions),
            Input::Barrier => self.barrier = true,
            Input::Savepoint => {
                self.barrier = true;
                self.savepoint = Wish::Asked;
            }
            Input::Stop => self.stop(now),
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// What has to be done now that nobody said anything more.
    fn go_on(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        self.order_commits(now, actions);
        if self.unsaved && self.commits.is_empty() {
            self.unsaved = false;
            actions.push(Action::Save);
            let ends = self.confirmed_by_all();
            if !ends.is_empty() {
                actions.push(Action::Publish(ends));
            }
        }
        let mut seals = self.phase == Phase::Reading && self.seals(now);
        if self.phase == Phase::Reading && self.savepoint == Wish::Sealed && self.commits.is_empty()
        {
            assert!(
                crate::savepoint::pending(&self.manifest).is_none(),
                "K5: what is pending has a commit under way"
            );
            self.savepoint = Wish::None;
            actions.push(Action::Savepoint);
            seals = self.seals(now);
        }
        match self.phase {
            Phase::Recovering if self.commits.is_empty() => self.phase = Phase::Positioning,
            Phase::Reading if seals => {
                self.sealing = Some(self.account.epoch(self.fired));
                self.held = 0;
                self.fired = false;
                self.barrier = false;
                self.sealed_at = now.elapsed;
                if let Some(pins) = self.repin.take() {
                    self.account.pins = pins;
                }
                if self.savepoint == Wish::Asked {
                    self.savepoint = Wish::Ordered;
                }
                actions.push(Action::Seal);
            }
            Phase::Reading if self.sealing.is_some() || self.arranging => {}
            Phase::Reading if self.commits.is_empty() => match self.end.take() {
                Some(End::Finished) => self.over(Ok(Ended::Finished), actions),
                Some(End::Stopped) => self.over(Ok(Ended::Stopped), actions),
                // What was read before the source failed is right, and perhaps nowhere else any more: it was committed.
                Some(End::Failed(error)) => self.over(Err(error), actions),
                None => {}
            },
            _ => {}
        }
    }

    /// Nothing came since the last seal.
    fn has_nothing(&self) -> bool {
        !self.fired && self.account.ledgers.iter().all(Ledger::is_empty)
    }

    /// A commit is of one version of each table: what was read so far is sealed first, and then it is known with what the rest is joined.
    fn pinned(&mut self, pins: Pins, actions: &mut Vec<Action>) {
        if !self.has_nothing() {
            self.repin = Some(pins);
            self.barrier = true;
            return;
        }
        self.account.pins = pins;
        // What is being sealed is not behind the position of the manifest that says so.
        if self.sealing.is_none() {
            self.manifest.lookups.clone_from(&self.account.pins);
            actions.push(Action::Save);
        }
    }

    /// Whether what was read is sealed now.
    fn seals(&mut self, now: Now) -> bool {
        if self.sealing.is_some() || self.arranging || self.savepoint == Wish::Sealed {
            return false;
        }
        if self.has_nothing() {
            if self.savepoint == Wish::Asked {
                self.savepoint = Wish::Sealed;
            }
            self.barrier = false;
            if now.elapsed >= self.due() {
                self.sealed_at = now.elapsed;
            }
            return false;
        }
        let idle = self.commits.is_empty();
        let due = now.elapsed >= self.due() || self.end.is_some();
        let full = self.held >= SEAL_BYTES;
        self.barrier || due && idle || full && self.pending() < MOST_PENDING
    }

    /// Writes down what must be decided once and never again: where reading begins, where a bounded read ends, which topics
    /// these offsets are of.
    fn positioned(&mut self, now: Now, at: Positioned, actions: &mut Vec<Action>) {
        assert_eq!(
            self.phase,
            Phase::Positioning,
            "K1: a source is positioned once, when nothing is pending any more"
        );
        let manifest = &mut self.manifest;
        for (topic, id) in &at.topics {
            if manifest.topics.get(topic).is_some_and(|known| known != id) {
                let error = recreated(topic, &manifest.known());
                return self.over(Err(error), actions);
            }
        }
        let gets = |sink: &str, topic: &str| {
            let insert = self.inserts.iter().find(|insert| insert.name == sink);
            insert.is_none_or(|insert| insert.topics.has(topic))
        };
        manifest.opened(at.topics, &at.offsets, at.ends.as_deref(), gets);
        manifest.lookups.clone_from(&self.account.pins);
        self.phase = Phase::Reading;
        self.sealed_at = now.elapsed;
        actions.push(Action::Save);
    }

    fn sealed(
        &mut self,
        now: Now,
        staged: Vec<Vec<Staged>>,
        states: BTreeMap<OperatorUid, OperatorState>,
        new_id: &dyn Fn() -> Uuid,
        actions: &mut Vec<Action>,
    ) {
        let epoch = self.sealing.take();
        let epoch = epoch.expect("K2: what was not asked for is not sealed");
        let mut standing = epoch.standing;
        standing.meetings = (self.rules.meetings)(standing.meetings);
        self.manifest.reaches(standing.reached());
        let of_sinks = epoch.ranges.into_iter().zip(staged);
        for (insert, (ranges, staged)) in self.inserts.iter().zip(of_sinks) {
            let without_files = staged.iter().all(|staged| staged.files.is_empty());
            if ranges.is_empty() && without_files {
                continue;
            }
            assert!(
                !ranges.is_empty() || epoch.fired,
                "K4: no file is without the offsets that it is of, unless time alone made its rows"
            );
            let sealed = Sealed {
                main: &insert.main,
                staged,
                ranges,
                watermark: standing.watermark,
                max_event_time: standing.max_event_time,
                reached: self.manifest.reached.filter(|at| *at > NOTHING_READ),
                lookups: epoch.pins.clone(),
            };
            let state = self.manifest.sinks.entry(insert.name.clone()).or_default();
            enlist(state, sealed, new_id);
        }
        pass(&mut self.manifest, standing);
        self.manifest.lookups.clone_from(&self.account.pins);
        for (end, id) in epoch.appeared {
            self.manifest.appeared(end, id);
        }
        self.keep(states);
        self.manifest.created_ms = now.wall_ms;
        if self.savepoint == Wish::Ordered {
            self.savepoint = Wish::Sealed;
        }
        // Whatever was confirmed meanwhile is saved with it.
        self.unsaved = false;
        if self.rules.saves_first {
            actions.push(Action::Save);
            self.order_commits(now, actions);
        } else {
            self.order_commits(now, actions);
            actions.push(Action::Save);
        }
    }

    /// Writes down what operators have of the rows below the position.
    fn keep(&mut self, states: BTreeMap<OperatorUid, OperatorState>) {
        let inserts = self.inserts.iter().filter(|insert| insert.has_state);
        let sinks = inserts.map(|insert| insert.name.clone()).collect();
        let state = State::new(self.manifest.position(), sinks, states);
        self.manifest.state = (!state.operators.is_empty()).then_some(state);
    }

    fn over(&mut self, end: Result<Ended, ConnectorError>, actions: &mut Vec<Action>) {
        self.phase = Phase::Over;
        actions.push(Action::End(end));
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
