//! The simulation: a whole job, from the log to its table, under power cuts, lost replies, foreign writers, rollbacks and words,
//! from a seed.
//!
//! One seed is one history, over the real storage, catalog and files on a simulated disk. The job is the runtime's own
//! ([`SteppedJob`]): it polls the log, decodes, filters, seals, writes its manifest and commits, with the next epoch begun or
//! without; a user rolls its table back and then says adopt or rewind. Other engines
//! append, overwrite, delete and compact, commit to a branch and tag, before the pipeline came and since. The server compacts
//! too, and much may come between its copies and their commit. The power
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
//! - S11: a table of version 3 is left alone, in words;
//! - S12: a record that cannot be decoded is in the table of dead letters once, and no other is;
//! - S13: files of a compaction that no snapshot lists are gone once no request can bring them in any more.
//!
//! Planted bugs (`defects`) must be caught, each by its invariant, or the simulation proves nothing. Seeds come from
//! `LAKEWARD_SIM_SEED` (one) or `LAKEWARD_SIM_SEEDS` (how many); a failure prints the seed and the history.

mod compacting;
mod defects;
pub(super) mod job;
mod meddling;

use super::foreign::{Reader, Row};
use super::world::{Fault, HandClock, Network, TABLE, World, asked, columns, ident, owner, spec};
use crate::commit::rules::Rules;
use crate::upkeep::compaction::{Compactor, Prepared};
use crate::upkeep::leftovers;
use crate::writer::orphans::whole_name;
use crate::{CatalogError, IcebergCommitter, Ids, TableView};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use job::{Fate, fate};
use lw_runtime::connector::{Committer, ConnectorError};
use lw_runtime::manifest::{Manifest, SplitOffset};
use lw_runtime::pipelines::takeover;
use lw_runtime::store::ManifestStore;
use lw_runtime::{Commits, Ended, SteppedJob};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_storage::CommitError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

const STEPS: usize = 90;
/// An undisturbed job needs no more than a few to come to the end of the log.
const MOST_TURNS: usize = 100;
const POWER_STAYS: Trouble = Trouble::PowerOff {
    after: u64::MAX / 2,
};
const LETTERS: &str = "lake.events__dead_letters";

/// The machine, and what outlives a power cut.
struct Machine {
    random: StdRng,
    disk: SimDisk,
    clock: Arc<HandClock>,
    ids: Ids,
    rules: Rules,
    /// The runtime's.
    engine: lw_runtime::Rules,
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
    /// Compactions that landed, and those that others were in the way of.
    compactions: u32,
    in_the_way: u32,
    /// Files of the pipeline that went because nobody could read them any more.
    replaced: usize,
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
    /// `None` once it has ended.
    job: Option<SteppedJob>,
    /// The newest commit that it was told of.
    last: Option<Uuid>,
    /// Its user has to decide.
    paused: bool,
    compactor: Compactor,
    /// Made, and not committed.
    copies: Option<Prepared>,
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

impl From<CommitError> for Stop {
    fn from(error: CommitError) -> Stop {
        Stop::Violation(format!("S0: the log refuses without a cause: {error}"))
    }
}

impl Machine {
    fn new(seed: u64, rules: Rules, engine: lw_runtime::Rules) -> Machine {
        Machine {
            random: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed, Arc::new(SimClock::new())),
            clock: HandClock::at(1_700_000_000_000),
            ids: Ids::seeded(seed),
            rules,
            engine,
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
            compactions: 0,
            in_the_way: 0,
            replaced: 0,
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
        let mut process = self.open()?;
        if first && self.random.random_bool(0.3) {
            self.history_of_others(&process.world)?;
        }
        if self.random.random_bool(0.2) {
            let after = self.random.random_range(0..20);
            self.disk.cause(Trouble::PowerOff { after });
        }
        let commits = match self.random.random_bool(0.5) {
            true => Commits::AtOnce,
            false => Commits::WhenAsked,
        };
        self.start_job(&mut process, commits)?;
        if self.disk.is_off() {
            return Err(Stop::Power);
        }
        self.disk.cause(POWER_STAYS);
        self.swept(&process)?;
        self.look(&mut process)?;
        Ok(process)
    }

    /// The server, before its job begins.
    fn open(&mut self) -> Result<Process, Stop> {
        self.history.push("start".to_owned());
        let folder = Path::new("/server");
        let world = World::open_stepped(
            Arc::new(self.disk.clone()),
            folder,
            self.clock.clone(),
            self.ids.clone(),
        );
        job::create_topic(&world.storage, &self.ids)?;
        let network = world.network();
        network.careless.store(self.careless, Ordering::Relaxed);
        Ok(Process {
            last: last_commit(&world),
            compactor: job::compactor(&world, &network, self.rules),
            copies: None,
            network,
            world,
            job: None,
            paused: false,
        })
    }

    fn start_job(&mut self, process: &mut Process, commits: Commits) -> Result<(), Stop> {
        self.history.push(format!("a job begins: {commits:?}"));
        let around = job::around(&process.world, &process.network, self.rules);
        let job = SteppedJob::start(&job::spec(), &around, commits, self.engine)?;
        process.job = Some(job);
        Ok(())
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
        match self.random.random_range(0..25) {
            0..=5 => self.read(process)?,
            6..=10 => self.checkpoint(process)?,
            11..=15 => self.commit(process)?,
            16 => self.network_fault(process),
            17..=19 => self.meddle(process)?,
            20 => self.roll_back(process)?,
            21..=23 => self.compact(process)?,
            _ => next = self.word(process)?,
        }
        if self.disk.is_off() {
            return Err(Stop::Power);
        }
        self.disk.cause(POWER_STAYS);
        self.check(process)?;
        Ok(next)
    }

    /// Records come, and the job polls.
    fn read(&mut self, process: &mut Process) -> Result<(), Stop> {
        for part in 0..2 {
            let count = self.random.random_range(0..4);
            if count > 0 {
                self.history.push(format!("{count} records to {part}"));
                job::produce(&process.world.storage, part, count)?;
            }
        }
        let Some(job) = &mut process.job else {
            return Ok(());
        };
        let max_bytes = if self.random.random_bool(0.5) {
            1
        } else {
            1 << 20
        };
        if job.poll(max_bytes)? {
            self.history.push(format!("polls {max_bytes} bytes"));
        }
        self.look(process)
    }

    fn checkpoint(&mut self, process: &mut Process) -> Result<(), Stop> {
        if let Some(job) = &mut process.job {
            job.checkpoint()?;
            let sealed = job.manifest().position();
            let sealed: Vec<i64> = sealed.iter().map(|at| at.next).collect();
            self.history.push(format!("checkpoint at {sealed:?}"));
        }
        self.look(process)
    }

    fn commit(&mut self, process: &mut Process) -> Result<(), Stop> {
        if let Some(job) = &mut process.job {
            // What got no reply is tried again when it is time.
            job.tick()?;
            let all = self.random.random_bool(0.7);
            while job.commit()? {
                self.history.push("commit".to_owned());
                if !all {
                    break;
                }
            }
        }
        self.look(process)
    }

    /// What the job was told of its commits.
    fn look(&mut self, process: &mut Process) -> Result<(), Stop> {
        let Some(job) = &process.job else {
            return Ok(());
        };
        let last = job.manifest().chain(TABLE);
        if let Some(last) = last.and_then(|chain| chain.last.as_ref())
            && process.last != Some(last.uuid)
        {
            self.history.push(format!("{} is confirmed", last.sequence));
            process.last = Some(last.uuid);
            for end in &last.ends {
                let part = usize::try_from(end.partition).expect("0 or 1");
                self.confirmed[part] = end.next.max(self.confirmed[part]);
            }
            self.rolled_back = false;
        }
        match job.ended() {
            None => {}
            Some(Ended::Paused(pause)) => {
                self.history.push(format!("pauses: {}", pause.reason));
                if !self.rolled_back {
                    return Err(Stop::Violation(format!(
                        "S5: paused though nobody meddled: {}",
                        pause.reason
                    )));
                }
                process.paused = true;
                process.job = None;
            }
            Some(ended) => {
                return Err(Stop::Violation(format!(
                    "S5: it ended by itself: {ended:?}"
                )));
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
        let mut store =
            ManifestStore::open(process.world.storage.clone(), &job::spec().manifest_key());
        let before = stored(&store);
        let mut committer = IcebergCommitter::new(
            process.network.clone(),
            owner(),
            process.world.clock.clone(),
            self.ids.clone(),
        );
        let tables = asked(&mut committer, &before)?;
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
            committer.restate(table, *which)?;
        }
        let saved = store.save(&plan.manifest);
        saved.map_err(|error| Stop::Violation(format!("S0: the word is not taken: {error}")))?;
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
            let sealed = process.sealed(part);
            if ends[part] > sealed && !self.rolled_back {
                return violation(format!(
                    "S2: the table has {ends:?}, the manifest only {sealed} of {part}"
                ));
            }
        }
        let top = [0, 1].map(|part: usize| ends[part].max(self.confirmed[part]));
        self.letters(process)?;
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
        let pending: BTreeSet<String> = pending_files(&process.manifest()).collect();
        for name in process.world.data_folder() {
            if !self.known.contains(&name)
                && !pending.contains(&name)
                && !self.given_up.contains(&name)
                && leftovers::parse(whole_name(&name)).is_none()
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
        self.read_to_the_end(&mut process)?;
        self.check(&process)?;
        self.complete(&process)?;
        self.compact_undisturbed(&mut process)?;
        if self.random.random_bool(0.2) {
            self.upgraded(&mut process)?;
        }
        Ok(())
    }
}

impl Machine {
    /// Reads all that there is, and commits it.
    fn read_to_the_end(&mut self, process: &mut Process) -> Result<(), Stop> {
        self.history.push("undisturbed from here on".to_owned());
        for _ in 0..MOST_TURNS {
            // What got no reply waits some seconds at most.
            self.clock.go(60_000);
            let Some(job) = &mut process.job else {
                return Ok(());
            };
            job.tick()?;
            let mut moved = job.commit()?;
            moved |= job.poll(1 << 20)?;
            job.checkpoint()?;
            let chain = job.manifest().chain(TABLE);
            moved |= chain.is_some_and(|chain| !chain.chain.is_empty());
            self.look(process)?;
            if !moved {
                return Ok(());
            }
        }
        Err(Stop::Violation(format!(
            "S5: undisturbed, the job is not through after {MOST_TURNS} turns"
        )))
    }

    /// All of the log is in the table, but for what users took out.
    fn complete(&mut self, process: &Process) -> Result<(), Stop> {
        let rows = self.rows(&process.world)?;
        let ends_of_log = [0, 1].map(|part| job::end(&process.world.storage, part));
        for row in prefix(ends_of_log) {
            let given_up = self.taken.get(&row);
            let given_up = given_up.is_some_and(|said| said.adopt || said.deleted);
            if !process.paused && !self.rolled_back && !given_up && !rows.contains(&row) {
                return Err(Stop::Violation(format!(
                    "S5: {row:?} is in the log to {ends_of_log:?}, the table has {:?}",
                    ends(&rows)
                )));
            }
        }
        Ok(())
    }

    /// The dead letters are those of the records that cannot be decoded, each once, as far as they were committed.
    fn letters(&mut self, process: &Process) -> Result<(), Stop> {
        let world = &process.world;
        let mut kept = BTreeSet::new();
        if !world.catalog.table_exists(&ident(LETTERS))? {
            return Ok(());
        }
        let view = TableView::open(&world.catalog, &ident(LETTERS))?;
        for file in &view.data_files {
            for batch in view.read_rows(file)? {
                let column = |name| batch.column_by_name(name).expect("letters have it");
                let partitions = column("partition").as_primitive::<Int32Type>();
                let offsets = column("offset").as_primitive::<Int64Type>();
                for (part, off) in partitions.values().iter().zip(offsets.values()) {
                    let bad = fate(*off) == Fate::DeadLetter;
                    if !bad || !kept.insert((*part, *off)) {
                        return Err(Stop::Violation(format!(
                            "S12: a letter too many, of {part}@{off}"
                        )));
                    }
                }
            }
        }
        let chain = process.manifest().chain(LETTERS).cloned();
        let ends = chain.and_then(|chain| chain.last).map(|last| last.ends);
        for end in ends.into_iter().flatten() {
            let bad = (0..end.next).filter(|off| fate(*off) == Fate::DeadLetter);
            let missing = bad
                .map(|off| (end.partition, off))
                .find(|at| !kept.contains(at));
            if let Some((part, off)) = missing {
                return Err(Stop::Violation(format!(
                    "S12: the letter of {part}@{off} is missing, of {} to {}",
                    end.partition, end.next
                )));
            }
        }
        Ok(())
    }
}

impl Process {
    /// The running job's, or the one on disk.
    fn manifest(&self) -> Manifest {
        match &self.job {
            Some(job) => job.manifest().clone(),
            None => {
                let key = job::spec().manifest_key();
                stored(&ManifestStore::open(self.world.storage.clone(), &key))
            }
        }
    }

    /// Up to where a partition is in the manifest.
    fn sealed(&self, part: usize) -> i64 {
        let manifest = self.manifest();
        let position = manifest.position();
        let mut position = position.iter();
        let at = position.find(|at| usize::try_from(at.partition) == Ok(part));
        at.map_or(0, |at| at.next)
    }
}

fn stored(store: &ManifestStore) -> Manifest {
    let manifest = store
        .manifest()
        .expect("a manifest that was written can be read");
    manifest.unwrap_or_else(|| Manifest::new(owner().pipeline))
}

/// The newest commit that the manifest knows to be in the table.
fn last_commit(world: &World) -> Option<Uuid> {
    let key = job::spec().manifest_key();
    let manifest = stored(&ManifestStore::open(world.storage.clone(), &key));
    let last = manifest.chain(TABLE)?.last.as_ref();
    last.map(|last| last.uuid)
}

/// A table that keeps few snapshots, so that expiry strikes within a history.
pub(crate) fn few_kept() -> lw_graph::IcebergSink {
    let mut spec = spec(columns());
    for (key, value) in [
        ("lakeward.snapshots.keep", "3"),
        ("lakeward.compaction.min-input-files", "2"),
        ("commit.manifest.min-count-to-merge", "4"),
    ] {
        spec.properties.insert(key.to_owned(), value.to_owned());
    }
    spec
}

/// Names of the files that pending commits name.
fn pending_files(manifest: &Manifest) -> impl Iterator<Item = String> {
    let chain = manifest.chain(TABLE).into_iter();
    let files = chain
        .flat_map(|chain| &chain.chain)
        .flat_map(|pending| &pending.files);
    files.map(|file| last_name(file["path"].as_str().expect("a staged file has a path")))
}

fn last_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// The rows below these ends.
fn prefix(ends: [i64; 2]) -> Vec<(i32, i64)> {
    (0..2)
        .flat_map(|part: usize| (0..ends[part]).map(move |off| (part as i32, off)))
        .filter(|(_, off)| fate(*off) == Fate::Row)
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
    let (mut compactions, mut in_the_way, mut replaced) = (0, 0, 0);
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        match Machine::new(*seed, Rules::OURS, lw_runtime::Rules::OURS).run() {
            Ok(machine) => {
                cuts += machine.cuts;
                rollbacks += machine.rollbacks;
                words += machine.words;
                foreign += machine.foreign.len();
                compactions += machine.compactions;
                in_the_way += machine.in_the_way;
                replaced += machine.replaced;
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
        assert!(
            compactions > 30 && in_the_way > 5 && replaced > 3,
            "only {compactions} compactions, {in_the_way} given up, {replaced} files gone: nothing is compacted"
        );
    }
}

impl Machine {
    /// A fixed history of three epochs, in which the power goes after so many changes of the disk. Says whether it did.
    fn cut_at(mut self, after: u64, commits: Commits) -> Result<bool, (String, Vec<String>)> {
        let ended = self.cut(after, commits);
        let cut = match ended {
            Ok(cut) => cut,
            Err(Stop::Power) => return Err(("S0: the power went twice".to_owned(), self.history)),
            Err(Stop::Violation(what)) => return Err((what, self.history)),
        };
        Ok(cut)
    }

    fn cut(&mut self, after: u64, commits: Commits) -> Result<bool, Stop> {
        let mut process = self.open()?;
        self.disk.cause(Trouble::PowerOff { after });
        let run = self.three_epochs(&mut process, commits);
        let cut = self.disk.is_off();
        if cut {
            self.power_cycle(Some(process));
        } else {
            run?;
            drop(process);
            self.disk.cause(POWER_STAYS);
        }
        let mut process = self.open()?;
        self.start_job(&mut process, commits)?;
        self.swept(&process)?;
        self.look(&mut process)?;
        self.check(&process)?;
        self.read_to_the_end(&mut process)?;
        self.check(&process)?;
        self.complete(&process)?;
        Ok(cut)
    }

    fn three_epochs(&mut self, process: &mut Process, commits: Commits) -> Result<(), Stop> {
        self.start_job(process, commits)?;
        for epoch in 0..3 {
            self.history.push(format!("epoch {epoch}"));
            for part in 0..2 {
                job::produce(&process.world.storage, part, 4)?;
            }
            let job = process.job.as_mut().expect("nothing ends it");
            // The last two epochs are sealed before the one before them is committed.
            job.poll(1)?;
            job.checkpoint()?;
            job.poll(1 << 20)?;
            if epoch != 1 {
                while job.commit()? {}
            }
        }
        Ok(())
    }
}

/// The power goes at every change of the disk that a job makes, from its first manifest to the commit of its third epoch.
fn cut_everywhere(rules: Rules, engine: lw_runtime::Rules) -> Result<u64, (String, Vec<String>)> {
    let mut cuts = 0;
    for commits in [Commits::WhenAsked, Commits::AtOnce] {
        for after in 0.. {
            if !Machine::new(1, rules, engine).cut_at(after, commits)? {
                break;
            }
            cuts += 1;
        }
    }
    Ok(cuts)
}

#[test]
fn sim_a_cut_at_every_change_loses_and_doubles_nothing() {
    match cut_everywhere(Rules::OURS, lw_runtime::Rules::OURS) {
        Ok(cuts) => assert!(cuts > 200, "only {cuts} places to be cut at"),
        Err((what, history)) => panic!("{what}\n    {}", history.join("\n    ")),
    }
}

#[test]
fn sim_is_a_function_of_its_seed() {
    let run = |seed| match Machine::new(seed, Rules::OURS, lw_runtime::Rules::OURS).run() {
        Ok(machine) => machine.history,
        Err((what, _)) => panic!("{what}"),
    };
    assert_eq!(run(3), run(3));
}
