//! Writers that race for a version, disks that fail at any step, processes that end there.

use super::super::action::{Action, Txn};
use super::foreign;
use super::pipeline::{NAME, Process, World, columns, spec};
use lw_runtime::connector::{CommitOutcome, Committer, ErrorKind};
use lw_sim::{SimClock, SimDisk, Trouble, seeds};
use lw_stdx::disk::{Disk, Entry, File};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

/// What happens at the next link, which is what a commit is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is made.
    Made,
    /// It fails, and nothing happened.
    Refused,
    /// It fails, and it was made.
    Lost,
    /// Somebody else has the name first.
    Taken,
}

/// A disk on which links have fates.
struct Fated {
    disk: SimDisk,
    fates: Mutex<Vec<Fate>>,
}

impl Fated {
    fn new() -> Arc<Fated> {
        Arc::new(Fated {
            disk: SimDisk::new(1, Arc::new(SimClock::new())),
            fates: Mutex::new(Vec::new()),
        })
    }

    fn next(&self, fates: &[Fate]) {
        *self.fates.lock().expect("no panic") = fates.iter().rev().copied().collect();
    }
}

impl Disk for Fated {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let fate = self.fates.lock().expect("no panic").pop();
        match fate.unwrap_or(Fate::Made) {
            Fate::Made => {}
            Fate::Refused => return Err(io::ErrorKind::StorageFull.into()),
            Fate::Lost => {
                self.disk.link(from, to)?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            Fate::Taken => {
                let theirs = json!({"txn": {"appId": "theirs", "version": 1}});
                let file = self.disk.create(to)?;
                file.write_at(format!("{theirs}\n").as_bytes(), 0)?;
            }
        }
        self.disk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.total_bytes(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
}

#[test]
fn a_version_that_somebody_else_took_is_left_to_him() {
    let disk = Fated::new();
    let world = World::over(disk.clone());
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 1]);
    disk.next(&[Fate::Taken, Fate::Taken]);
    process.epoch([2, 0]);
    let at = world.log().load().unwrap().unwrap();
    assert_eq!(at.version, 4, "made, ours, theirs twice, ours");
    assert_eq!((at.txns["theirs"].version, world.rows()), (1, 4));

    disk.next(&[Fate::Taken; 10]);
    process.read_and_seal([1, 0]);
    let busy = process.try_commit().unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Retry);
    process.commit().expect("it is quieter now");
    assert_eq!(world.rows(), 5);
}

/// Whatever happens to commits and processes, each row is in the table once.
#[test]
fn no_fate_of_a_commit_loses_or_doubles_a_row() {
    for seed in 0..40 {
        let mut chance = StdRng::seed_from_u64(seed);
        let disk = Fated::new();
        let world = World::over(disk.clone());
        let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
        for step in 0..25 {
            let what = format!("seed {seed}, step {step}");
            match chance.random_range(0..10) {
                0..4 => {
                    let rows = [chance.random_range(0..3), chance.random_range(0..2)];
                    if rows != [0, 0] {
                        process.read_and_seal(rows);
                    }
                }
                4 => {
                    foreign(
                        &world.log(),
                        vec![json!({"txn": {"appId": "theirs", "version": step}})],
                    );
                }
                5 => {
                    // The next process has the manifest, and that alone.
                    let (chain, read) = (process.chain.clone(), process.read);
                    process = Process::open(&world, &spec(&columns())).expect("it opens");
                    (process.chain, process.read) = (chain, read);
                }
                _ => {
                    let fates = [Fate::Made, Fate::Refused, Fate::Lost, Fate::Taken];
                    disk.next(&[
                        fates[chance.random_range(0..4)],
                        fates[chance.random_range(0..4)],
                    ]);
                    match process.try_commit() {
                        Ok(CommitOutcome::Confirmed { confirmed, .. }) => {
                            process.chain.confirm(confirmed);
                        }
                        Ok(CommitOutcome::Paused(pause)) => panic!("{what}: {}", pause.reason),
                        Err(error) => assert_eq!(error.kind, ErrorKind::Retry, "{what}"),
                    }
                    disk.next(&[]);
                }
            }
        }
        process.commit().expect("nothing is in the way");
        let sent = process.read.iter().sum::<i64>().unsigned_abs();
        if sent > 0 {
            assert_eq!(world.rows(), sent, "seed {seed}");
        }
        let standing = process.committer.standing(NAME).unwrap().unwrap();
        let ends = standing
            .marker
            .map(|marker| marker.ends)
            .unwrap_or_default();
        let ends = ends.iter().map(|end| end.next).sum::<i64>();
        assert_eq!(ends.unsigned_abs(), sent, "seed {seed}");
    }
}

/// The power goes out at each step of a commit, of the process alone or of the machine, and once more when the next process has
/// seen the commit: what it then takes for done stays done (D4).
#[test]
fn sim_no_power_cut_loses_or_doubles_a_row() {
    for seed in seeds(3) {
        for machine in [false, true] {
            let mut cut = 0;
            while cut_at(seed, cut, machine) {
                cut += 1;
            }
            assert!(cut > 4, "a commit has more steps than {cut}");
        }
    }
}

/// Whether the commit did not come to its end.
fn cut_at(seed: u64, cut: u64, machine: bool) -> bool {
    let what = format!("seed {seed}, power off after {cut} changes, machine: {machine}");
    let disk = SimDisk::new(seed, Arc::new(SimClock::new()));
    let world = World::over(Arc::new(disk.clone()));
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([2, 1]);
    process.read_and_seal([1, 2]);
    disk.cause(Trouble::PowerOff { after: cut });
    let ended = process.try_commit();
    let is_off = disk.is_off();
    assert!(ended.is_ok() || is_off, "{what}: {ended:?}");
    match machine {
        false => disk.revive(),
        true => disk.crash(),
    }
    let mut next = Process::open(&world, &spec(&columns())).expect("it opens");
    (next.chain, next.read) = (process.chain.clone(), process.read);
    next.commit().expect("nothing is in the way");
    disk.crash();
    next.epoch([1, 0]);
    assert_eq!(world.rows(), 7, "{what}");
    is_off
}

/// A pipeline that was idle while others wrote, checkpointed and cleaned up does not take a name that only looks free.
#[test]
fn a_version_that_was_cleaned_away_is_not_made_again() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 1]);
    let log = world.log();
    for version in 0..4 {
        foreign(
            &log,
            vec![json!({"txn": {"appId": "theirs", "version": version}})],
        );
    }
    let at = log.load().unwrap().unwrap();
    log.checkpoint(&at, 0).expect("the disk is well");
    // Nobody says in which order the old versions go.
    for version in [2, 3, 4] {
        std::fs::remove_file(world.path(&format!("_delta_log/{version:020}.json"))).unwrap();
    }
    process.epoch([1, 0]);
    let after = log.load().unwrap().unwrap();
    assert_eq!((after.version, world.rows()), (at.version + 1, 3));
}

/// D1: of several who commit a version, one does.
#[test]
fn each_version_is_one_writers() {
    let world = World::new();
    Process::open(&world, &spec(&columns())).expect("it opens");
    const EACH: usize = 30;
    let write = |writer: usize| {
        let log = world.log();
        let mut made = 0;
        while made < EACH {
            let at = log.load().unwrap().unwrap();
            let txn = Txn {
                app_id: format!("writer {writer}/{made}"),
                version: 1,
                last_updated: None,
            };
            let put = log.put(Some(&at), vec![Action::Txn(txn)]);
            made += usize::from(put.unwrap().is_some());
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let write = &write;
            scope.spawn(move || write(writer));
        }
    });
    let at = world.log().load().unwrap().unwrap();
    assert_eq!(at.version, 4 * EACH as i64);
    assert_eq!(at.txns.len(), 4 * EACH);
}
