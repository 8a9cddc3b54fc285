//! The simulation: writer → manifest → commit under power cuts, lost replies, foreign writers, rollbacks and words, from a seed.
//!
//! One seed is one history, over the real storage, catalog and files on a simulated disk. A pipeline reads, seals, writes its
//! manifest (compare-and-swap in the log) and commits; a user rolls its table back and then says adopt or rewind. Other engines
//! append, overwrite, delete and compact, commit to a branch and tag, before the pipeline came and since. The power
//! may go at any disk operation in between, and requests and replies may get lost. After a cut everything is opened again
//! from what the disk kept. After each step the table is read back, file by file, and the invariants are asked:
//!
//! - S1: no row is doubled; a row that is missing below another was taken out by a rollback, or deleted by others;
//! - S2: the table never goes past what the manifest has sealed;
//! - S3: rows that a user rolled back or deleted do not return unless the user said rewind;
//! - S4: what a commit confirmed stays, whatever happens next, unless a rollback or a delete takes it;
//! - S5: undisturbed, everything that was sealed arrives, and after a rewind what was rolled back too; it pauses only after a
//!   rollback, and not again after a word;
//! - S6: of the files that aborted checkpoints left, none is there when the next process writes;
//! - S7: every snapshot that the table keeps, whoever made it and on whatever branch, can be read down to its data files;
//! - S8: a snapshot that a user tagged stays, though only three of ours are kept;
//! - S9: every snapshot holds what it must: one of ours what its parent held and the offsets that it lists, no row of others
//!   more or less;
//! - S10: a snapshot that others made stays;
//! - S11: a table of version 3 is left alone, in words.
//!
//! Planted bugs (`defects`) must be caught, each by its invariant, or the simulation proves nothing. Seeds come from
//! `LAKEWARD_SIM_SEED` (one) or `LAKEWARD_SIM_SEEDS` (how many); a failure prints the seed and the history.

mod defects;
mod meddling;

use super::foreign::{Reader, Row};
use super::world::{
    Fault, HandClock, Network, TABLE, World, asked, batch, columns, manifest, offsets, owner,
    position, spec,
};
use crate::commit::rules::Rules;
use crate::{CatalogError, IcebergCommitter, IcebergTableSink, Ids};
use bytes::Bytes;
use lw_runtime::connector::{CommitOutcome, Committer, ConnectorError, ErrorKind, Sink};
use lw_runtime::manifest::{Manifest, Pending, SplitOffset, SplitRange, TableChain};
use lw_runtime::pipelines::takeover;
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_storage::{Expect, Op, Storage, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const STEPS: usize = 60;
const POWER_STAYS: Trouble = Trouble::PowerOff {
    after: u64::MAX / 2,
};
const MANIFEST: &[u8] = b"pipeline";

/// The machine, and what outlives a power cut.
struct Machine {
    random: StdRng,
    disk: SimDisk,
    clock: Arc<HandClock>,
    ids: Ids,
    rules: Rules,
    history: Vec<String>,
    /// Another catalog than ours: it removes tagged snapshots when it is told to.
    careless: bool,
    /// Per partition, up to where a commit confirmed.
    confirmed: [i64; 2],
    /// Rows that rollbacks and deletes took out, with what the user said of them since.
    taken: BTreeMap<(i32, i64), Said>,
    /// The table was rolled back, and no word was carried out since.
    rolled_back: bool,
    /// Files that a word gave up: they were in a manifest once, and so they stay.
    given_up: BTreeSet<String>,
    /// Snapshots that a user tagged and was told that it is done.
    tagged: BTreeSet<i64>,
    /// Snapshots that others made and were told that it is done.
    foreign: BTreeSet<i64>,
    /// The rows that each snapshot must hold, those that are gone included.
    holds: BTreeMap<i64, BTreeSet<Row>>,
    /// Names of all files that a kept snapshot ever listed.
    known: BTreeSet<String>,
    /// How many rows others wrote.
    theirs: i64,
    /// What was read since the last power cut.
    reader: Reader,
    rollbacks: u32,
    words: u32,
    cuts: u32,
}

/// Words that were said of a row while the table did not have it, carried out or not.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    adopt: bool,
    rewind: bool,
    /// Others deleted it: nobody asks for it back.
    deleted: bool,
}

impl Said {
    fn deleted() -> Said {
        Said {
            deleted: true,
            ..Said::default()
        }
    }
}

/// A process from start to power cut.
struct Process {
    world: World,
    network: Arc<Network>,
    sink: IcebergTableSink,
    committer: IcebergCommitter,
    manifest: Manifest,
    stored: Option<Bytes>,
    read: [i64; 2],
    /// Of the chain in memory, how many the table is known to have.
    chain: TableChain,
    paused: bool,
}

/// What becomes of a process after a step.
enum Next {
    GoesOn,
    Ends,
}

/// Why a history ended.
enum Stop {
    /// The power went: start again.
    Power,
    /// An invariant does not hold.
    Violation(String),
}

impl From<ConnectorError> for Stop {
    fn from(error: ConnectorError) -> Stop {
        Stop::Violation(format!(
            "S0: an error without a cause: {} ({})",
            error.message, error.detail
        ))
    }
}

impl From<CatalogError> for Stop {
    fn from(error: CatalogError) -> Stop {
        Stop::Violation(format!("S0: an error without a cause: {error}"))
    }
}

impl Machine {
    fn new(seed: u64, rules: Rules) -> Machine {
        Machine {
            random: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed, Arc::new(SimClock::new())),
            clock: HandClock::at(1_700_000_000_000),
            ids: Ids::seeded(seed),
            rules,
            history: Vec::new(),
            careless: seed % 2 == 1,
            confirmed: [0, 0],
            taken: BTreeMap::new(),
            rolled_back: false,
            given_up: BTreeSet::new(),
            tagged: BTreeSet::new(),
            foreign: BTreeSet::new(),
            holds: BTreeMap::new(),
            known: BTreeSet::new(),
            theirs: 0,
            reader: Reader::default(),
            rollbacks: 0,
            words: 0,
            cuts: 0,
        }
    }

    /// Runs a history. `Err`: the invariant that broke.
    fn run(mut self) -> Result<Machine, (String, Vec<String>)> {
        let mut process: Option<Process> = None;
        for _ in 0..STEPS {
            let stop = match process.take() {
                None => self.start().map(|started| process = Some(started)),
                Some(mut running) => match self.step(&mut running) {
                    Ok(Next::GoesOn) => {
                        process = Some(running);
                        Ok(())
                    }
                    // Its user said a word: the next process takes over from what that wrote.
                    Ok(Next::Ends) => Ok(()),
                    Err(stop) => {
                        process = Some(running);
                        Err(stop)
                    }
                },
            };
            match self.settled(stop) {
                Ok(()) => {}
                Err(Stop::Power) => self.power_cycle(process.take()),
                Err(Stop::Violation(what)) => return Err((what, self.history)),
            }
        }
        match self.finish(process) {
            Ok(()) => Ok(self),
            Err(Stop::Power) => Err(("S0: the power went by itself".to_owned(), self.history)),
            Err(Stop::Violation(what)) => Err((what, self.history)),
        }
    }

    /// An error while the power is off is the cut, whatever it says.
    fn settled(&self, result: Result<(), Stop>) -> Result<(), Stop> {
        if self.disk.is_off() {
            Err(Stop::Power)
        } else {
            result
        }
    }

    fn power_cycle(&mut self, process: Option<Process>) {
        self.history
            .push(format!("power cut at change {}", self.disk.changes()));
        self.cuts += 1;
        if let Some(process) = process {
            let mut late = process.network.tagged.lock().expect("nothing panics there");
            self.tagged.extend(late.drain(..));
        }
        self.reader = Reader::default();
        self.disk.crash();
    }

    fn start(&mut self) -> Result<Process, Stop> {
        let first = self.history.is_empty();
        self.history.push("start".to_owned());
        let folder = Path::new("/server");
        let world = World::open_stepped(
            Arc::new(self.disk.clone()),
            folder,
            self.clock.clone(),
            self.ids.clone(),
        );
        if first && self.random.random_bool(0.3) {
            self.history_of_others(&world)?;
        }
        let stored = world.storage.get(Table::Manifests, MANIFEST);
        let mut manifest: Manifest = match &stored {
            Some(bytes) => {
                serde_json::from_slice(bytes).expect("a manifest that was written can be read")
            }
            None => manifest([0, 0], TableChain::default()),
        };
        manifest.generation += 1;
        let network = world.network();
        network.careless.store(self.careless, Ordering::Relaxed);
        let sink = IcebergTableSink::open(
            &few_kept(),
            network.clone(),
            &owner(),
            world.clock.clone(),
            self.ids.clone(),
        )?;
        let committer = IcebergCommitter::new(
            network.clone(),
            owner(),
            world.clock.clone(),
            self.ids.clone(),
        );
        let read = position(&manifest);
        let mut process = Process {
            committer: committer.with_rules(self.rules),
            chain: manifest.sinks[TABLE].chain.clone(),
            world,
            network,
            sink,
            manifest,
            stored,
            read,
            paused: false,
        };
        if self.random.random_bool(0.2) {
            let after = self.random.random_range(0..20);
            self.disk.cause(Trouble::PowerOff { after });
        }
        process.store()?;
        process.sink.begin(&process.manifest)?;
        if self.disk.is_off() {
            return Err(Stop::Power);
        }
        self.disk.cause(POWER_STAYS);
        self.swept(&process)?;
        Ok(process)
    }

    fn start_for_good(&mut self) -> Result<Process, Stop> {
        loop {
            let started = self.start();
            match (self.disk.is_off(), started) {
                (true, started) => self.power_cycle(started.ok()),
                (false, started) => return started,
            }
        }
    }

    fn step(&mut self, process: &mut Process) -> Result<Next, Stop> {
        self.clock.go(self.random.random_range(-2_000..5_000));
        if self.random.random_bool(0.25) {
            let after = self.random.random_range(0..40);
            self.disk.cause(Trouble::PowerOff { after });
        }
        let mut next = Next::GoesOn;
        match self.random.random_range(0..22) {
            0..=5 => self.read(process)?,
            6..=10 => self.checkpoint(process)?,
            11..=15 => self.commit(process)?,
            16 => self.network_fault(process),
            17..=19 => self.meddle(process)?,
            20 => self.roll_back(process)?,
            _ => next = self.word(process)?,
        }
        if self.disk.is_off() {
            return Err(Stop::Power);
        }
        self.disk.cause(POWER_STAYS);
        self.check(process)?;
        Ok(next)
    }

    fn read(&mut self, process: &mut Process) -> Result<(), Stop> {
        let rows = [
            self.random.random_range(0..4),
            self.random.random_range(0..4),
        ];
        self.history.push(format!("read {rows:?}"));
        let mut positions = Vec::new();
        for (part, count) in rows.into_iter().enumerate() {
            let from = process.read[part];
            positions.extend((from..from + count).map(|off| (part as i32, off)));
            process.read[part] += count;
        }
        if !positions.is_empty() {
            process.sink.write(batch(&positions))?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, process: &mut Process) -> Result<(), Stop> {
        self.history
            .push(format!("checkpoint at {:?}", process.read));
        let sealed = position(&process.manifest);
        let staged = process.sink.seal()?;
        if process.read != sealed {
            let pending = Pending {
                sequence: process.chain.next_sequence(),
                uuid: self.ids.next(),
                previous: process.chain.head(),
                files: staged.into_iter().flat_map(|staged| staged.files).collect(),
                ranges: ranges(sealed, process.read),
                ..Pending::default()
            };
            process.chain.chain.push(pending);
        }
        process.manifest.stand_at(TABLE, &offsets(process.read));
        process.manifest.checkpoint_id += 1;
        process.store()
    }

    fn commit(&mut self, process: &mut Process) -> Result<(), Stop> {
        if process.paused || process.chain.chain.is_empty() {
            return Ok(());
        }
        let outcome = match process.committer.commit(TABLE, &process.chain) {
            // No reply, and it had not landed: the runtime comes back later.
            Err(error) if error.kind == ErrorKind::Retry && !self.disk.is_off() => {
                self.history.push("commit gets no reply".to_owned());
                return Ok(());
            }
            other => other?,
        };
        match outcome {
            CommitOutcome::Confirmed { confirmed, .. } => {
                self.history.push(format!("commit confirms {confirmed}"));
                process.chain.confirm(confirmed);
                for end in &process
                    .chain
                    .last
                    .as_ref()
                    .expect("something was confirmed")
                    .ends
                {
                    let confirmed =
                        &mut self.confirmed[usize::try_from(end.partition).expect("0 or 1")];
                    *confirmed = end.next.max(*confirmed);
                }
                self.rolled_back = false;
            }
            CommitOutcome::Paused(pause) => {
                self.history
                    .push(format!("commit pauses: {}", pause.reason));
                if !self.rolled_back {
                    return Err(Stop::Violation(format!(
                        "S5: paused though nobody meddled: {}",
                        pause.reason
                    )));
                }
                process.paused = true;
            }
        }
        Ok(())
    }

    fn network_fault(&mut self, process: &Process) {
        // There must be a snapshot that the other can start from.
        let any = process.world.head().is_ok_and(|head| head.is_some());
        let fault = match self.random.random_range(0..6) {
            0 => Fault::ReplyLost,
            1 => Fault::RequestLost,
            2 => Fault::Resent,
            3 if any => Fault::Overtaken,
            4 if any => Fault::Raced,
            // A careless catalog would lose the tag, and nobody could help it.
            5 if any && !self.careless => Fault::Tagged,
            _ => Fault::ReplyLost,
        };
        self.history.push(format!("next commit: {fault:?}"));
        process
            .network
            .faults
            .lock()
            .expect("nothing panics there")
            .push_back(Some(fault));
    }

    fn roll_back(&mut self, process: &Process) -> Result<(), Stop> {
        if self.rolled_back || self.rollbacks >= 2 || process.world.head()?.flatten().is_none() {
            return Ok(());
        }
        // What the user sees of it must be known: the power stays on meanwhile.
        self.disk.cause(POWER_STAYS);
        let rows = self.rows(&process.world)?;
        process.world.try_roll_back()?;
        let left = self.rows(&process.world)?;
        self.history.push(format!(
            "user rolls back from {} to {} rows",
            rows.len(),
            left.len()
        ));
        // The marker may have stood at a foreign snapshot: then its rollback is one too, though no row went.
        let off_branch = process.world.view().rolled_back();
        self.rolled_back |= off_branch.is_some_and(|rolled_back| !rolled_back.adopted);
        // A foreign snapshot on top may be all that was rolled back, with what it had deleted.
        self.taken.retain(|row, _| !left.contains(row));
        let gone = rows.into_iter().filter(|row| !left.contains(row));
        let gone: Vec<Row> = gone.collect();
        if !gone.is_empty() {
            self.rolled_back = true;
            self.rollbacks += 1;
            self.taken
                .extend(gone.into_iter().map(|row| (row, Said::default())));
        }
        Ok(())
    }

    /// The user of a paused pipeline says what becomes of the rows that a rollback took out.
    fn word(&mut self, process: &mut Process) -> Result<Next, Stop> {
        if !process.paused {
            return Ok(Next::GoesOn);
        }
        let rewinds = self.random.random_bool(0.5);
        let word = if rewinds { "rewind" } else { "adopt" };
        self.history.push(format!("user says {word}"));
        self.words += 1;
        let rows = self.rows(&process.world)?;
        let before = process.manifest.clone();
        let tables = asked(&mut process.committer, &before)?;
        // Reading comes by again where the visible table ends, and not before.
        let visible = tables.main.standing.visible.as_ref();
        let ends = visible
            .map(|marker| marker.ends.clone())
            .unwrap_or_default();
        for (row, said) in self.taken.iter_mut().filter(|(row, _)| !rows.contains(row)) {
            let below = |end: &SplitOffset| end.partition == row.0 && row.1 < end.next;
            said.rewind |= rewinds && !ends.iter().any(below);
            said.adopt |= !rewinds;
        }
        let plan = if rewinds {
            takeover::rewind(&before, &tables)
                .map_err(|refusal| Stop::Violation(format!("S5: cannot be rewound: {refusal}")))?
        } else {
            takeover::adopt(&before, &tables)
        };
        self.given_up.extend(pending_files(&before));
        for (table, which) in &plan.restate {
            process.committer.restate(table, *which)?;
        }
        process.chain = plan.manifest.sinks[TABLE].chain.clone();
        process.manifest = plan.manifest;
        process.store()?;
        self.rolled_back = false;
        Ok(Next::Ends)
    }

    fn check(&mut self, process: &Process) -> Result<(), Stop> {
        self.harmless(process)?;
        let rows = self.rows(&process.world)?;
        let violation = |what: String| Err(Stop::Violation(what));
        let present: BTreeSet<Row> = rows.iter().copied().collect();
        let ends = ends(&rows);
        for part in 0..2 {
            let sealed = position(&process.manifest)[part];
            if ends[part] > sealed && !self.rolled_back {
                return violation(format!(
                    "S2: the table has {ends:?}, the manifest only {sealed} of {part}"
                ));
            }
        }
        let top = [0, 1].map(|part: usize| ends[part].max(self.confirmed[part]));
        for row in prefix(top) {
            match (present.contains(&row), self.taken.get(&row)) {
                (true, Some(said)) if !said.rewind => {
                    return violation(format!("S3: the rollback of {row:?} was undone"));
                }
                (false, None) => {
                    return violation(format!("S1, S4: {row:?} is missing below {top:?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asked when a process has begun and not written yet.
    fn swept(&mut self, process: &Process) -> Result<(), Stop> {
        self.harmless(process)?;
        let pending: BTreeSet<String> = pending_files(&process.manifest).collect();
        for name in process.world.data_folder() {
            if !self.known.contains(&name)
                && !pending.contains(&name)
                && !self.given_up.contains(&name)
            {
                return Err(Stop::Violation(format!("S6: {name} is nobody's and stays")));
            }
        }
        Ok(())
    }

    /// Without faults all that was sealed arrives.
    fn finish(&mut self, process: Option<Process>) -> Result<(), Stop> {
        let mut process = match process {
            Some(process) => process,
            None => self.start_for_good()?,
        };
        process
            .network
            .faults
            .lock()
            .expect("nothing panics there")
            .clear();
        self.checkpoint(&mut process)?;
        self.commit(&mut process)?;
        self.check(&process)?;
        let rows = self.rows(&process.world)?;
        for row in prefix(process.read) {
            let given_up = self.taken.get(&row);
            let given_up = given_up.is_some_and(|said| said.adopt || said.deleted);
            if !process.paused && !self.rolled_back && !given_up && !rows.contains(&row) {
                return Err(Stop::Violation(format!(
                    "S5: {row:?} was sealed, the table has {:?}",
                    ends(&rows)
                )));
            }
        }
        if self.random.random_bool(0.2) {
            self.upgraded(&mut process)?;
        }
        Ok(())
    }
}

impl Process {
    /// Writes the manifest, if it is still ours to write.
    fn store(&mut self) -> Result<(), Stop> {
        let sink = self.manifest.sinks.get_mut(TABLE);
        sink.expect("it stands there").chain = self.chain.clone();
        let bytes = Bytes::from(serde_json::to_vec(&self.manifest).expect("plain data"));
        let op = Op::Put {
            table: Table::Manifests,
            key: Bytes::from_static(MANIFEST),
            value: Some(bytes.clone()),
            expect: self.stored.clone().map_or(Expect::Absent, Expect::Value),
        };
        let storage: &Storage = &self.world.storage;
        storage
            .commit_blocking(vec![op])
            .map_err(|error| Stop::Violation(format!("S0: the manifest was not taken: {error}")))?;
        self.stored = Some(bytes);
        Ok(())
    }
}

/// A table that keeps few snapshots, so that expiry strikes within a history.
pub(crate) fn few_kept() -> lw_graph::IcebergSink {
    let mut spec = spec(columns());
    for (key, value) in [
        ("lakeward.snapshots.keep", "3"),
        ("commit.manifest.min-count-to-merge", "4"),
    ] {
        spec.properties.insert(key.to_owned(), value.to_owned());
    }
    spec
}

/// Names of the files that pending commits name.
fn pending_files(manifest: &Manifest) -> impl Iterator<Item = String> {
    let pending = manifest.sinks[TABLE].chain.chain.iter();
    let files = pending.flat_map(|pending| &pending.files);
    files.map(|file| last_name(file["path"].as_str().expect("a staged file has a path")))
}

fn last_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn ranges(from: [i64; 2], to: [i64; 2]) -> Vec<SplitRange> {
    (0..2)
        .filter(|part| to[*part] > from[*part])
        .map(|part| SplitRange {
            topic: "in".to_owned(),
            partition: part as i32,
            start: from[part],
            end: to[part],
            rows: (to[part] - from[part]).unsigned_abs(),
            filtered: 0,
            dead_letters: 0,
            control: 0,
        })
        .collect()
}

fn prefix(ends: [i64; 2]) -> Vec<(i32, i64)> {
    (0..2)
        .flat_map(|part: usize| (0..ends[part]).map(move |off| (part as i32, off)))
        .collect()
}

fn ends(rows: &[(i32, i64)]) -> [i64; 2] {
    [0, 1].map(|part| {
        rows.iter()
            .filter(|(p, _)| *p == part)
            .map(|(_, off)| off + 1)
            .max()
            .unwrap_or(0)
    })
}

#[test]
fn sim_rows_land_exactly_once() {
    let (mut cuts, mut rollbacks, mut words) = (0, 0, 0);
    let (mut foreign, mut tagged, mut deleted) = (0, 0, 0);
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        match Machine::new(*seed, Rules::OURS).run() {
            Ok(machine) => {
                cuts += machine.cuts;
                rollbacks += machine.rollbacks;
                words += machine.words;
                foreign += machine.foreign.len();
                tagged += machine.tagged.len();
                deleted += machine.taken.values().filter(|said| said.deleted).count();
            }
            Err((what, history)) => panic!(
                "seed {seed}: {what}\n    {}\nagain: LAKEWARD_SIM_SEED={seed} cargo test --release -p lw-lakehouse sim",
                history.join("\n    ")
            ),
        }
    }
    if seeds.len() >= 60 {
        assert!(
            cuts > 100 && rollbacks > 5 && words > 5,
            "only {cuts} power cuts, {rollbacks} rollbacks, {words} words: the faults do not strike"
        );
        assert!(
            foreign > 200 && tagged > 30 && deleted > 50,
            "only {foreign} foreign snapshots, {tagged} tags, {deleted} deleted rows: nobody meddles"
        );
    }
}

#[test]
fn sim_is_a_function_of_its_seed() {
    let run = |seed| match Machine::new(seed, Rules::OURS).run() {
        Ok(machine) => machine.history,
        Err((what, _)) => panic!("{what}"),
    };
    assert_eq!(run(3), run(3));
}
