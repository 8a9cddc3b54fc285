//! The simulation: writer → manifest → commit under power cuts, lost replies, foreign commits and rollbacks, from a seed.
//!
//! One seed is one history. A pipeline reads, seals, writes its manifest (compare-and-swap in the log) and commits; the
//! power may go at any disk operation in between, and requests and replies may get lost. After a cut everything is opened
//! again from what the disk kept. After each step the table is read back, file by file, and the invariants are asked:
//!
//! - S1: no row is doubled, and none is missing below another of its partition;
//! - S2: the table never goes past what the manifest has sealed;
//! - S3: rows that a user rolled back do not return unless the user accepted the table as it is;
//! - S4: what a commit confirmed stays, whatever happens next;
//! - S5: undisturbed, everything that was sealed arrives.
//!
//! The planted bug (committing again without looking) must be caught, or the simulation proves nothing. Seeds come from
//! `LAKEWARD_SIM_SEED` (one) or `LAKEWARD_SIM_SEEDS` (how many); a failure prints the seed and the history.

use super::world::{Fault, Network, TABLE, World, batch, columns, owner, spec};
use crate::commit::committer::Rule;
use crate::commit::decide::{Decision, decide};
use crate::{CatalogError, IcebergCommitter, IcebergTableSink, Ids};
use bytes::Bytes;
use lw_runtime::connector::{CommitOutcome, Committer, ConnectorError, Sink};
use lw_runtime::manifest::{Confirmed, Manifest, Pending, SplitOffset, SplitRange, TableChain};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::clock::Clock;
use lw_storage::{Expect, Op, Storage, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const STEPS: usize = 60;
const POWER_STAYS: Trouble = Trouble::PowerOff {
    after: u64::MAX / 2,
};
const MANIFEST: &[u8] = b"pipeline";

/// A clock that only the simulation moves; it also jumps back.
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now_ms().unsigned_abs())
    }
}

/// The machine, and what outlives a power cut.
struct Machine {
    random: StdRng,
    disk: SimDisk,
    clock: Arc<Ticks>,
    ids: Ids,
    rule: Rule,
    history: Vec<String>,
    /// Rows per partition that a commit confirmed, and that the user did not roll back since.
    confirmed: [i64; 2],
    /// The user rolled the table back, and did not accept it yet.
    rolled_back: bool,
    rollbacks: u32,
    cuts: u32,
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
    fn new(seed: u64, rule: Rule) -> Machine {
        Machine {
            random: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed, Arc::new(SimClock::new())),
            clock: Arc::new(Ticks(AtomicI64::new(1_700_000_000_000))),
            ids: Ids::seeded(seed),
            rule,
            history: Vec::new(),
            confirmed: [0, 0],
            rolled_back: false,
            rollbacks: 0,
            cuts: 0,
        }
    }

    /// Runs a history. `Err`: the invariant that broke.
    fn run(mut self) -> Result<Machine, (String, Vec<String>)> {
        let mut process: Option<Process> = None;
        for _ in 0..STEPS {
            let stop = match process.take() {
                None => self.start().map(|started| process = Some(started)),
                Some(mut running) => {
                    let step = self.step(&mut running);
                    process = Some(running);
                    step
                }
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
        drop(process);
        self.disk.crash();
    }

    fn start(&mut self) -> Result<Process, Stop> {
        self.history.push("start".to_owned());
        let folder = Path::new("/server");
        let world = World::open_stepped(
            Arc::new(self.disk.clone()),
            folder,
            self.clock.clone(),
            self.ids.clone(),
        );
        let stored = world.storage.get(Table::Manifests, MANIFEST);
        let mut manifest: Manifest = match &stored {
            Some(bytes) => {
                serde_json::from_slice(bytes).expect("a manifest that was written can be read")
            }
            None => Manifest {
                format: 1,
                pipeline: owner().pipeline,
                generation: 0,
                checkpoint_id: 0,
                created_ms: 0,
                offsets: offsets([0, 0]),
                tables: BTreeMap::from([(TABLE.to_owned(), TableChain::default())]),
            },
        };
        manifest.generation += 1;
        let network = world.network();
        let sink = IcebergTableSink::open(
            &spec(columns()),
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
        let read = [manifest.offsets[0].next, manifest.offsets[1].next];
        let mut process = Process {
            committer: committer.with_rule(self.rule),
            chain: manifest.tables[TABLE].clone(),
            world,
            network,
            sink,
            manifest,
            stored,
            read,
            paused: false,
        };
        process.store()?;
        Ok(process)
    }

    fn step(&mut self, process: &mut Process) -> Result<(), Stop> {
        self.clock
            .0
            .fetch_add(self.random.random_range(-2_000..5_000), Ordering::Relaxed);
        if self.random.random_bool(0.25) {
            let after = self.random.random_range(0..40);
            self.disk.cause(Trouble::PowerOff { after });
        }
        match self.random.random_range(0..20) {
            0..=5 => self.read(process)?,
            6..=10 => self.checkpoint(process)?,
            11..=15 => self.commit(process)?,
            16 => self.network_fault(process),
            17 => self.foreign_commit(process)?,
            18 => self.roll_back(process)?,
            _ => self.accept(process)?,
        }
        if self.disk.is_off() {
            return Err(Stop::Power);
        }
        self.disk.cause(POWER_STAYS);
        self.check(process)
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
        let sealed = [
            process.manifest.offsets[0].next,
            process.manifest.offsets[1].next,
        ];
        let staged = process.sink.seal()?;
        if process.read != sealed {
            let pending = Pending {
                sequence: process.chain.next_sequence(),
                uuid: self.ids.next(),
                previous: process.chain.head(),
                files: staged.into_iter().flat_map(|staged| staged.files).collect(),
                ranges: ranges(sealed, process.read),
                max_event_time: None,
                watermark: None,
                schema_id: 0,
            };
            process.chain.chain.push(pending);
        }
        process.manifest.offsets = offsets(process.read);
        process.store()
    }

    fn commit(&mut self, process: &mut Process) -> Result<(), Stop> {
        if process.paused || process.chain.chain.is_empty() {
            return Ok(());
        }
        match process.committer.commit(TABLE, &process.chain)? {
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
                    self.confirmed[usize::try_from(end.partition).expect("0 or 1")] = end.next;
                }
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
        let fault = if self.random.random_bool(0.5) {
            Fault::ReplyLost
        } else {
            Fault::RequestLost
        };
        self.history.push(format!("next commit: {fault:?}"));
        process
            .network
            .faults
            .lock()
            .expect("nothing panics there")
            .push_back(Some(fault));
    }

    fn foreign_commit(&mut self, process: &Process) -> Result<(), Stop> {
        if process.world.head()?.is_some() {
            self.history.push("foreign commit".to_owned());
            process.world.try_foreign_commit()?;
        }
        Ok(())
    }

    fn roll_back(&mut self, process: &Process) -> Result<(), Stop> {
        if self.rolled_back || self.rollbacks >= 2 || process.world.head()?.flatten().is_none() {
            return Ok(());
        }
        // What the user sees of it must be known: the power stays on meanwhile.
        self.disk.cause(POWER_STAYS);
        let rows = process.world.try_rows()?;
        process.world.try_roll_back()?;
        let left = process.world.try_rows()?;
        self.history.push(format!(
            "user rolls back from {} to {} rows",
            rows.len(),
            left.len()
        ));
        // A foreign snapshot on top may be all that was rolled back.
        if left != rows {
            self.rolled_back = true;
            self.rollbacks += 1;
            self.confirmed = ends(&left);
        }
        Ok(())
    }

    /// The user takes the table as it is, and the pipeline goes on from there.
    fn accept(&mut self, process: &mut Process) -> Result<(), Stop> {
        if !process.paused {
            return Ok(());
        }
        self.disk.cause(POWER_STAYS);
        let marker = process.committer.restate(TABLE)?;
        self.history.push(format!(
            "user accepts the table: {:?}",
            marker.as_ref().map(|marker| marker.sequence)
        ));
        let mut at = [0, 0];
        let mut chain = TableChain::default();
        if let Some(marker) = marker {
            for end in &marker.ends {
                at[usize::try_from(end.partition).expect("0 or 1")] = end.next;
            }
            chain.last = Some(Confirmed {
                uuid: marker.uuid,
                sequence: marker.sequence,
                ends: marker.ends,
            });
        }
        process.chain = chain;
        process.read = at;
        process.manifest.offsets = offsets(at);
        // What was read and not sealed belongs to the old position.
        process.sink.seal()?;
        process.store()?;
        process.paused = false;
        self.rolled_back = false;
        Ok(())
    }

    fn check(&self, process: &Process) -> Result<(), Stop> {
        let rows = process.world.try_rows()?;
        let ends = ends(&rows);
        if rows != prefix(ends) {
            return Err(Stop::Violation(format!(
                "S1: doubled or missing rows: {rows:?}"
            )));
        }
        for part in 0..2 {
            let sealed = process.manifest.offsets[part].next;
            if ends[part] > sealed && !self.rolled_back {
                return Err(Stop::Violation(format!(
                    "S2: the table has {ends:?}, the manifest only {sealed} of {part}"
                )));
            }
            if self.rolled_back && ends[part] > self.confirmed[part] {
                return Err(Stop::Violation(format!(
                    "S3: a rollback to {:?} was undone: {ends:?}",
                    self.confirmed
                )));
            }
            if ends[part] < self.confirmed[part] {
                return Err(Stop::Violation(format!(
                    "S4: {:?} was confirmed, the table has {ends:?}",
                    self.confirmed
                )));
            }
        }
        Ok(())
    }

    /// Without faults all that was sealed arrives.
    fn finish(&mut self, process: Option<Process>) -> Result<(), Stop> {
        let mut process = match process {
            Some(process) => process,
            None => self.start()?,
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
        let rows = process.world.try_rows()?;
        if !self.rolled_back && rows != prefix(process.read) {
            return Err(Stop::Violation(format!(
                "S5: {:?} was sealed, the table has {:?}",
                process.read,
                ends(&rows)
            )));
        }
        Ok(())
    }
}

impl Process {
    /// Writes the manifest, if it is still ours to write.
    fn store(&mut self) -> Result<(), Stop> {
        self.manifest.checkpoint_id += 1;
        self.manifest
            .tables
            .insert(TABLE.to_owned(), self.chain.clone());
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

fn offsets(next: [i64; 2]) -> Vec<SplitOffset> {
    (0..2)
        .map(|part| SplitOffset {
            topic: "in".to_owned(),
            partition: part as i32,
            next: next[part],
        })
        .collect()
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
    let (mut cuts, mut rollbacks) = (0, 0);
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        match Machine::new(*seed, decide).run() {
            Ok(machine) => {
                cuts += machine.cuts;
                rollbacks += machine.rollbacks;
            }
            Err((what, history)) => panic!(
                "seed {seed}: {what}\n    {}\nagain: LAKEWARD_SIM_SEED={seed} cargo test --release -p lw-lakehouse sim",
                history.join("\n    ")
            ),
        }
    }
    if seeds.len() >= 60 {
        assert!(
            cuts > 100 && rollbacks > 5,
            "only {cuts} power cuts and {rollbacks} rollbacks: the faults do not strike"
        );
    }
}

#[test]
fn sim_catches_a_blind_recommit() {
    let blind: Rule = |_| Decision::Commit { done: 0 };
    let caught = (0..60).find(|seed| Machine::new(*seed, blind).run().is_err());
    assert!(
        caught.is_some(),
        "committing again without looking goes unnoticed"
    );
}

#[test]
fn sim_is_a_function_of_its_seed() {
    let run = |seed| match Machine::new(seed, decide).run() {
        Ok(machine) => machine.history,
        Err((what, _)) => panic!("{what}"),
    };
    assert_eq!(run(3), run(3));
}
