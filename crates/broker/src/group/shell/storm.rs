//! The storm of [`crate::group::simulation`] over the whole coordinator: its shell, the real storage, a disk that forgets
//! what was not synced.
//!
//! What comes on top of a storm over the core alone: power cuts at any change of the disk, kills after which unsynced
//! bytes are still readable, failed syncs, full disks, files of a few kilobytes (so that the state of groups goes through
//! checkpoints and recycled files), a coordinator that panics, and a topic that is deleted and created again while
//! commits of its offsets are on the way. After each restart, what was acknowledged must be shown (G7), generations go on
//! from what was told (G5), and in the end nothing of a deleted topic is left (G9).

use std::sync::Arc;
use std::time::Duration;

use lw_protocol::batch::BatchBuilder;
use lw_protocol::codec::Compression;
use lw_sim::{SimClock, SimDisk, Trouble, seeds};
use lw_stdx::clock::Clock;
use lw_storage::{Config, Op, OpenError, Storage, Table};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{Groups, Record};
use crate::group::coordinator::Coordinator;
use crate::group::record::{self, GroupRecord, OffsetKey, OffsetRecord};
use crate::group::simulation::{Dice, Ground, Misfortune, Seen, Storm};
use crate::group::types::{GroupDescription, GroupOffsets, Reply, Request, Token, TopicRef};
use crate::metrics::BrokerMetrics;

/// Bugs of the shell that a storm must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Does not look whether the topic is still there when a commit lands.
    ForgettingLateCommits,
    /// Makes a new coordinator while writes of the broken one are under way.
    StartingAmidWrites,
    /// The timer's thread panics beside the core. Not for a storm, which has no such thread.
    PanickingTimer,
    /// So does the log's, where it reports a write.
    PanickingCallback,
}

const SEEDS: u64 = 40;

#[test]
fn sim_groups_over_a_disk_that_forgets() {
    let mut seen = Seen::default();
    let seeds = seeds(SEEDS);
    for seed in &seeds {
        eprintln!("LAKEWARD_SIM_SEED={seed}");
        seen.add(storm(*seed, Planted::Nothing).seen);
    }
    if seeds.len() as u64 >= SEEDS {
        seen.expect(&[
            "led",
            "synced",
            "committed",
            "restarted",
            "broke down",
            "topic deleted",
            "power goes off",
            "sync fails",
            "disk is full",
            "upkeep",
            "commit refused by the disk",
            "CoordinatorLoadInProgress",
        ]);
    }
}

#[test]
fn sim_a_seed_of_groups_repeats_itself() {
    assert_eq!(
        storm(7, Planted::Nothing).trace,
        storm(7, Planted::Nothing).trace
    );
}

#[derive(Clone, Copy, Debug)]
enum Planted {
    Nothing,
    InShell(Fault),
    InStorage(lw_storage::Fault),
}

/// Each of these has to be found within the seeds of an everyday run, or the storm above proves little.
#[test]
fn sim_planted_bugs_of_groups_are_caught() {
    for planted in [
        Planted::InShell(Fault::ForgettingLateCommits),
        Planted::InShell(Fault::StartingAmidWrites),
        Planted::InStorage(lw_storage::Fault::AckBeforeFsync),
    ] {
        let caught = (1..=SEEDS).any(|seed| {
            let raging = std::panic::AssertUnwindSafe(|| drop(storm(seed, planted)));
            std::panic::catch_unwind(raging).is_err()
        });
        assert!(caught, "{planted:?} went unnoticed");
    }
}

fn storm(seed: u64, planted: Planted) -> Storm<OverDisk> {
    let mut storm = Storm::new(seed, OverDisk::new(seed, planted));
    storm.rage();
    storm
}

struct OverDisk {
    clock: Arc<SimClock>,
    disk: SimDisk,
    config: Config,
    fault: Option<Fault>,
    /// `None` only while it is being started again.
    running: Option<Running>,
    replies: Replies,
    /// Topics whose deletion is durable, and of which the groups have not been told.
    gone: Arc<Mutex<Vec<Uuid>>>,
    last_topic: u128,
    calm: bool,
}

type Replies = Arc<Mutex<Vec<(Token, Reply)>>>;

/// One life of the process.
struct Running {
    storage: Storage,
    groups: Groups,
    metrics: Arc<BrokerMetrics>,
    planted_panics: u64,
}

impl OverDisk {
    fn new(seed: u64, planted: Planted) -> OverDisk {
        let clock = Arc::new(SimClock::new());
        let mut config = Config {
            wal_file_bytes: 8 << 10,
            min_free_bytes: 2 << 10,
            group_bytes: 4 << 10,
            tail_bytes: 8 << 10,
            index_cache_bytes: 2 << 10,
            ..Config::new("/sim")
        };
        let mut fault = None;
        match planted {
            Planted::Nothing => {}
            Planted::InShell(planted) => fault = Some(planted),
            Planted::InStorage(planted) => config.fault = Some(planted),
        }
        let mut ground = OverDisk {
            disk: SimDisk::new(seed, clock.clone()),
            clock,
            config,
            fault,
            running: None,
            replies: Replies::default(),
            gone: Arc::default(),
            last_topic: 0,
            calm: false,
        };
        ground.running = ground.start();
        assert!(ground.running.is_some(), "a new folder opens");
        ground
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it was started")
    }

    /// The process as it starts on what is on disk; `None` when the power went meanwhile.
    fn start(&mut self) -> Option<Running> {
        let disk = Arc::new(self.disk.clone());
        let opened = Storage::open_stepped(disk, self.clock.clone(), self.config.clone());
        let storage = match opened {
            Ok(storage) => storage,
            Err(OpenError::Io { .. }) if self.disk.is_off() => return None,
            Err(error) => panic!("cannot open: {error}"),
        };
        storage.holds_ready();
        if storage.topic("t").is_none() {
            let create = self.create();
            if let Err(error) = storage.commit_blocking(vec![create]) {
                assert!(self.disk.is_off(), "cannot create the topic: {error}");
                return None;
            }
        }
        let metrics = Arc::<BrokerMetrics>::default();
        let groups = Groups::open_stepped(storage.clone(), self.clock.clone(), metrics.clone());
        *groups.shared.fault.lock() = self.fault;
        Some(Running {
            storage,
            groups,
            metrics,
            planted_panics: 0,
        })
    }

    fn create(&mut self) -> Op {
        self.last_topic += 1;
        let keep = [("retention.bytes", "12000"), ("retention.ms", "-1")];
        Op::CreateTopic {
            name: "t".to_owned(),
            id: Uuid::from_u128(self.last_topic),
            partitions: 1,
            config: keep
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            internal: false,
        }
    }

    /// As DeleteTopics and CreateTopics do it; the groups are told once it is durable.
    fn recreate(&mut self) -> Misfortune {
        let old = self.topic().id;
        let ops = vec![Op::DeleteTopic { id: old }, self.create()];
        let gone = self.gone.clone();
        self.running().storage.commit(ops, move |result| {
            if result.is_ok() {
                gone.lock().push(old);
            }
        });
        Misfortune::Deleting(old)
    }

    /// Fills files, so that older ones are sealed and recycled.
    fn append(&self) {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1000, None, Some(&[b'x'; 700]), &[]);
        let batch = batch.build().expect("a small batch").into_bytes();
        let storage = &self.running().storage;
        storage.append(self.topic().id, 0, batch, |_| {});
    }

    fn tell_of_the_gone(&self) -> bool {
        let gone = std::mem::take(&mut *self.gone.lock());
        for topic in &gone {
            self.running().groups.topic_deleted(*topic);
        }
        !gone.is_empty()
    }
}

impl Ground for OverDisk {
    fn ask(&mut self, token: Token, request: Request) {
        let replies = self.replies.clone();
        let answer = Box::new(move |reply| replies.lock().push((token, reply)));
        self.running().groups.shared.request(request, answer);
    }

    fn replies(&mut self) -> Vec<(Token, Reply)> {
        let Running {
            storage,
            metrics,
            planted_panics,
            ..
        } = self.running();
        assert_eq!(
            metrics.panics.get(),
            *planted_panics,
            "the coordinator panicked by itself"
        );
        let failed = storage.stats().failed.unwrap_or_default();
        assert!(!failed.contains("panicked"), "{failed}");
        std::mem::take(&mut *self.replies.lock())
    }

    fn set_clock(&mut self, now_ms: u64) {
        let by = Duration::from_millis(now_ms) - self.clock.elapsed();
        self.clock.advance(by);
    }

    fn next_timer(&self) -> u64 {
        let state = self.running().groups.shared.state.lock();
        match state.broken {
            true => u64::MAX,
            false => state.core.poll_timeout(),
        }
    }

    fn on_timer(&mut self) {
        self.running().groups.shared.step(Coordinator::on_timer);
    }

    fn end_writes(&mut self, _dice: &mut Dice) -> bool {
        let stepped = self.running().storage.step();
        self.tell_of_the_gone() || stepped
    }

    fn restart(&mut self, dice: &mut Dice) {
        let Running {
            storage, groups, ..
        } = self.running.take().expect("it was started");
        drop(groups);
        match dice.below(4) {
            0 if !self.disk.is_off() => storage.close(),
            _ => drop(storage),
        }
        self.replies = Replies::default();
        self.gone = Arc::default();
        self.disk.cause(Trouble::Capacity(u64::MAX));
        while self.running.is_none() {
            match dice.below(2) {
                0 => self.disk.crash(),
                _ => self.disk.revive(),
            }
            if !self.calm && dice.below(5) == 0 {
                let after = 1 + dice.below(12);
                self.disk.cause(Trouble::PowerOff { after });
            }
            self.running = self.start();
        }
    }

    fn misfortune(&mut self, dice: &mut Dice) -> Option<Misfortune> {
        Some(match dice.below(10) {
            0 => {
                let after = 1 + dice.below(40);
                self.disk.cause(Trouble::PowerOff { after });
                Misfortune::Other("power goes off")
            }
            1 => {
                self.disk.cause(Trouble::FailedSync);
                Misfortune::Other("sync fails")
            }
            2 => {
                let bytes = 10_000 + dice.below(50_000);
                self.disk.cause(Trouble::Capacity(bytes));
                Misfortune::Other("disk is full")
            }
            3 => {
                self.disk.cause(Trouble::Capacity(u64::MAX));
                Misfortune::Other("disk has room")
            }
            4 if !self.running().groups.shared.state.lock().broken => {
                self.running.as_mut().expect("running").planted_panics += 1;
                // Without a word on the console.
                let panic = |_: &mut _, _| std::panic::resume_unwind(Box::new("planted"));
                self.running().groups.shared.step(panic);
                Misfortune::LetGo
            }
            5 => {
                self.running().storage.run_retention();
                self.running().storage.upkeep();
                Misfortune::Other("upkeep")
            }
            6 => self.recreate(),
            _ => {
                self.append();
                Misfortune::Other("appended")
            }
        })
    }

    fn calm(&mut self) {
        self.calm = true;
        self.disk.cause(Trouble::Capacity(u64::MAX));
        if !self.disk.is_off() {
            let after = u64::MAX / 2;
            self.disk.cause(Trouble::PowerOff { after });
        }
    }

    fn is_down(&self) -> bool {
        let failed = || self.running().storage.stats().failed.is_some();
        self.disk.is_off() || failed()
    }

    fn is_whole(&self) -> bool {
        self.running().metrics.refused_group_writes.get() == 0
    }

    fn topic(&self) -> TopicRef {
        let topic = self
            .running()
            .storage
            .topic("t")
            .expect("there is always one");
        TopicRef::new("t", topic.id)
    }

    fn describe(&self) -> Option<GroupDescription> {
        self.running().groups.describe(&"g".into())
    }

    fn shown(&self) -> Option<GroupOffsets> {
        let groups = &self.running().groups;
        let offsets = groups.offsets(&"g".into(), |offsets| offsets.cloned());
        Some(offsets.ok()?.unwrap_or_default())
    }

    fn on_disk(&self) -> Vec<Record> {
        let storage = &self.running().storage;
        let groups = storage.scan(Table::Groups, &[]).into_iter();
        let groups = groups.map(|(key, value)| Record::Group {
            group: record::decode_group_key(&key).expect("written by us"),
            value: Some(GroupRecord::decode(&value).expect("written by us")),
        });
        let offsets = storage.scan(Table::GroupOffsets, &[]).into_iter();
        let offsets = offsets.map(|(key, value)| {
            let key = OffsetKey::decode(&key).expect("written by us");
            let OffsetKey::Identified {
                group,
                topic,
                partition,
            } = key
            else {
                panic!("offsets are kept by the topic's id");
            };
            Record::Offset {
                group,
                topic: TopicRef::new("t", topic),
                partition,
                value: Some(OffsetRecord::decode(&value).expect("written by us")),
            }
        });
        groups.chain(offsets).collect()
    }
}
