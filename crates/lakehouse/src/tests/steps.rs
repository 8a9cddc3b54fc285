//! Any one step between a row in memory and a row in the table may fail: the disk is full at that write, the catalog does not
//! answer, its answer is lost, or it is a conflict. Whatever it is, the next try ends with each row there once, nothing that
//! was committed damaged, and nothing left behind.
//!
//! The steps are counted, not listed: each run lets the next one fail, until a run meets none. What kinds were met is asserted,
//! so that a step that is no longer taken is noticed.

use super::sim::few_kept;
use super::world::{Fault, HandClock, Pipeline, TABLE, World, ident, owner, position};
use crate::catalog::{LoadedTable, NewTable};
use crate::error::Kind;
use crate::{CatalogError, Files, IcebergTableSink, Ids, TableCatalog};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_runtime::connector::{CommitOutcome, Committer, ConnectorError, ErrorKind, Sink};
use lw_runtime::manifest::Manifest;
use lw_sim::{SimClock, SimDisk};
use lw_stdx::disk::{Disk, Entry, File};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A disk that is full at certain writes.
#[derive(Clone)]
struct FullDisk {
    disk: SimDisk,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    /// Writes so far.
    count: usize,
    /// From which write to which other the disk is full.
    full: std::ops::Range<usize>,
    struck: BTreeSet<String>,
}

impl FullDisk {
    fn over(disk: SimDisk) -> FullDisk {
        FullDisk {
            disk,
            plan: Arc::default(),
        }
    }

    /// Counts from here.
    fn fill(&self, full: std::ops::Range<usize>) {
        let mut plan = self.plan.lock().unwrap();
        (plan.count, plan.full) = (0, full);
    }

    fn struck(&self) -> BTreeSet<String> {
        self.plan.lock().unwrap().struck.clone()
    }

    fn takes(&self, path: &Path, what: &str) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        plan.count += 1;
        if plan.full.contains(&(plan.count - 1)) {
            plan.struck.insert(format!("{what} {}", kind_of(path)));
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

fn kind_of(path: &Path) -> &'static str {
    let path = path.to_string_lossy();
    match () {
        () if !path.contains("/warehouse") => "the log",
        () if path.contains(".parquet") => "a data file",
        () if path.contains(".metadata.json") => "the metadata",
        () if path.contains("snap-") => "the list",
        () if path.contains(".avro") => "a manifest",
        () => "a folder",
    }
}

struct FullFile {
    disk: FullDisk,
    path: std::path::PathBuf,
    file: Arc<dyn File>,
}

impl File for FullFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(into, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.takes(&self.path, "write")?;
        self.file.write_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.takes(&self.path, "sync")?;
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.takes(&self.path, "allocate")?;
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

impl Disk for FullDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.takes(path, "create")?;
        Ok(Arc::new(FullFile {
            disk: self.clone(),
            path: path.to_owned(),
            file: self.disk.create(path)?,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(FullFile {
            disk: self.clone(),
            path: path.to_owned(),
            file: self.disk.open(path)?,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.takes(to, "rename")?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.takes(dir, "make")?;
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.takes(dir, "sync")?;
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

/// What the steps begin from.
struct Before {
    disk: SimDisk,
    manifest: Manifest,
}

impl Before {
    /// No table yet.
    fn nothing() -> Before {
        let disk = SimDisk::new(1, Arc::new(SimClock::new()));
        let world = open(&FullDisk::over(disk.clone()), 1);
        let manifest = try_open(&world, world.network()).unwrap().manifest();
        drop(world);
        let disk = SimDisk::new(1, Arc::new(SimClock::new()));
        Before { disk, manifest }
    }

    /// A table of a few commits: the next one merges manifests and expires snapshots.
    fn commits() -> Before {
        let disk = SimDisk::new(1, Arc::new(SimClock::new()));
        let world = open(&FullDisk::over(disk.clone()), 1);
        let mut pipeline = try_open(&world, world.network()).unwrap();
        for _ in 0..6 {
            pipeline.epoch([1, 1]);
        }
        let manifest = pipeline.manifest();
        Before { disk, manifest }
    }
}

fn open(disk: &FullDisk, seed: u64) -> World {
    let clock = HandClock::at(1_700_000_000_000);
    World::open_stepped(
        Arc::new(disk.clone()),
        Path::new("/server"),
        clock,
        Ids::seeded(seed),
    )
}

fn try_open(world: &World, catalog: Arc<dyn TableCatalog>) -> Result<Pipeline, ConnectorError> {
    let sink = IcebergTableSink::open(
        &few_kept(),
        catalog.clone(),
        &owner(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    )?;
    Ok(Pipeline::over(world, sink, catalog))
}

/// A process that goes on from the manifest.
fn go_on(
    world: &World,
    catalog: Arc<dyn TableCatalog>,
    manifest: &mut Manifest,
) -> Result<Pipeline, ConnectorError> {
    manifest.generation += 1;
    let mut pipeline = try_open(world, catalog)?;
    let at = position(manifest);
    (pipeline.read, pipeline.sealed) = (at, at);
    pipeline.chain = manifest.sinks[TABLE].chain.clone();
    pipeline.sink.begin(manifest)?;
    Ok(pipeline)
}

/// Reads, seals, remembers it in the manifest, and commits.
fn epoch(pipeline: &mut Pipeline, manifest: &mut Manifest) -> Result<(), ConnectorError> {
    pipeline.read([2, 1]);
    let staged = pipeline.sink.seal()?;
    pipeline.push(staged);
    *manifest = Manifest {
        generation: manifest.generation,
        checkpoint_id: manifest.checkpoint_id + 1,
        ..pipeline.manifest()
    };
    commit(pipeline)
}

fn commit(pipeline: &mut Pipeline) -> Result<(), ConnectorError> {
    match pipeline.committer.commit(TABLE, &pipeline.chain)? {
        CommitOutcome::Confirmed { confirmed, .. } => pipeline.chain.confirm(confirmed),
        CommitOutcome::Paused(pause) => panic!("paused: {}", pause.reason),
    }
    Ok(())
}

/// Every row once, what is kept readable, nothing half written.
fn all_is_well(world: &World, what: &str) {
    let mut expected: Vec<(i32, i64)> = world.rows();
    expected.dedup();
    assert_eq!(world.rows(), expected, "{what}: a row is there twice");
    let next = |part| {
        let rows = expected.iter().filter(|row| row.0 == part);
        rows.map(|row| row.1 + 1).max().unwrap_or(0)
    };
    let all = (0..2).flat_map(|part| (0..next(part)).map(move |off| (part, off)));
    assert_eq!(
        expected,
        all.collect::<Vec<_>>(),
        "{what}: a row is missing"
    );
    world
        .all_readable()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    for folder in ["data", "metadata"] {
        let folder = format!("{}/{folder}", world.metadata().location());
        let entries = world.catalog.files().list(&folder).unwrap();
        let part = entries.iter().find(|entry| entry.name.ends_with(".part"));
        assert!(part.is_none(), "{what}: {part:?} stays");
    }
}

/// Table metadata that nothing names.
fn forgotten_metadata(world: &World) -> Vec<String> {
    let table = world.catalog.load(&ident(TABLE)).unwrap();
    let log = table.metadata.metadata_log().iter();
    let mut named: Vec<String> = log.map(|entry| entry.metadata_file.clone()).collect();
    named.extend(table.metadata_location);
    let folder = format!("{}/metadata", table.metadata.location());
    let entries = world.catalog.files().list(&folder).unwrap().into_iter();
    entries
        .map(|entry| format!("{folder}/{}", entry.name))
        .filter(|file| file.ends_with(".metadata.json") && !named.contains(file))
        .collect()
}

/// Lets the disk be full at one write after the other, for that write alone or until it is freed. Tells what was struck.
fn fill_at_each(before: &Before, expected: [i64; 2]) -> BTreeSet<String> {
    let mut struck = BTreeSet::new();
    for step in 0.. {
        let mut met = false;
        for full in [step..step + 1, step..usize::MAX] {
            let what = format!("full at {full:?}");
            let disk = FullDisk::over(before.disk.fork());
            let world = open(&disk, 100 + step as u64);
            let mut manifest = before.manifest.clone();
            disk.fill(full);
            let mut process = None;
            let ended = go_on(&world, world.network(), &mut manifest)
                .and_then(|pipeline| epoch(process.insert(pipeline), &mut manifest));
            let here = disk.struck();
            let log = here.iter().any(|what| what.ends_with("the log"));
            met |= !here.is_empty();
            struck.extend(here);
            if let Err(error) = &ended {
                assert_eq!(error.kind, ErrorKind::Retry, "{what}: {error:?}");
            }
            disk.fill(0..0);
            let sealed = manifest.checkpoint_id > before.manifest.checkpoint_id;
            match process {
                // The same process tries again.
                Some(mut pipeline) if sealed && !log => {
                    commit(&mut pipeline).unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert_eq!(pipeline.expected(), world.rows(), "{what}");
                    assert_eq!(world.unnamed(), [""; 0], "{what}");
                    assert_eq!(forgotten_metadata(&world), [""; 0], "{what}");
                    all_is_well(&world, &what);
                }
                // Its rows are read again by the next one.
                _ => {
                    drop(world);
                    let world = open(&disk, 500 + step as u64);
                    let mut next = go_on(&world, world.network(), &mut manifest).unwrap();
                    if sealed {
                        commit(&mut next).unwrap();
                    } else {
                        epoch(&mut next, &mut manifest).unwrap();
                    }
                    assert_eq!(next.read, expected, "{what}");
                    assert_eq!(next.expected(), world.rows(), "{what}");
                    all_is_well(&world, &what);
                    let swept = world.data_folder().len();
                    let view = world.view();
                    assert_eq!(swept, view.data_files.len(), "{what}: data files stay");
                }
            }
        }
        if !met {
            break;
        }
    }
    struck
}

#[test]
fn a_full_disk_at_any_write_of_a_commit_harms_nothing() {
    let struck = fill_at_each(&Before::commits(), [8, 7]);
    for kind in ["a data file", "a manifest", "the list", "the metadata"] {
        for write in ["create", "write", "sync", "rename"] {
            let step = format!("{write} {kind}");
            assert!(struck.contains(&step), "nothing struck: {step}; {struck:?}");
        }
    }
    assert!(struck.contains("sync the log"), "{struck:?}");
}

#[test]
fn a_full_disk_at_any_write_of_a_first_commit_harms_nothing() {
    let struck = fill_at_each(&Before::nothing(), [2, 1]);
    assert!(struck.contains("make a folder"), "{struck:?}");
}

/// How a call to the catalog goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing happened, and that is known.
    Refused,
    /// Nothing happened, and nobody knows.
    RequestLost,
    /// It happened, and nobody knows.
    ReplyLost,
    /// It happened, a proxy sent it again, and the second was refused.
    Resent,
    /// It is a conflict.
    Conflict,
}

/// A catalog one of whose calls goes wrong.
struct Flaky {
    catalog: Arc<dyn TableCatalog>,
    /// Calls until then.
    left: Mutex<usize>,
    answer: Answer,
    struck: AtomicBool,
}

impl Flaky {
    fn call<T>(&self, call: impl Fn() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let mut left = self.left.lock().unwrap();
        if *left > 0 || self.struck.load(Ordering::Relaxed) {
            *left = left.saturating_sub(1);
            return call();
        }
        self.struck.store(true, Ordering::Relaxed);
        let no = |kind| Err(CatalogError::new(kind, format!("{:?}", self.answer)));
        match self.answer {
            Answer::Refused => no(Kind::Unavailable),
            Answer::RequestLost => no(Kind::Unknown),
            Answer::ReplyLost => {
                call()?;
                no(Kind::Unknown)
            }
            Answer::Resent => {
                call()?;
                call()
            }
            Answer::Conflict => no(Kind::CommitFailed),
        }
    }
}

impl TableCatalog for Flaky {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        self.call(|| self.catalog.load(table))
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        self.call(|| self.catalog.ensure_namespace(namespace))
    }

    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        self.call(|| self.catalog.create(table, new.clone()))
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        self.call(|| {
            self.catalog
                .commit(table, requirements.clone(), updates.clone())
        })
    }

    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError> {
        self.call(|| self.catalog.all_tables())
    }

    fn files(&self) -> &Files {
        self.catalog.files()
    }
}

#[test]
fn an_answer_that_is_lost_or_a_conflict_at_any_call_harms_nothing() {
    for before in [Before::nothing(), Before::commits()] {
        for answer in [
            Answer::Refused,
            Answer::RequestLost,
            Answer::ReplyLost,
            Answer::Resent,
            Answer::Conflict,
        ] {
            for call in 0.. {
                let what = format!("{answer:?} at call {call}");
                let disk = FullDisk::over(before.disk.fork());
                let world = open(&disk, 100);
                let mut manifest = before.manifest.clone();
                let flaky = Arc::new(Flaky {
                    catalog: world.network(),
                    left: Mutex::new(call),
                    answer,
                    struck: AtomicBool::new(false),
                });
                // As the runtime does it: whatever may be tried again is tried again, by a process that takes over.
                let ended = (0..4).find_map(|_| {
                    let sealed = manifest.checkpoint_id > before.manifest.checkpoint_id;
                    let process = go_on(&world, flaky.clone(), &mut manifest);
                    let ended = process.and_then(|mut pipeline| match sealed {
                        true => commit(&mut pipeline).or_else(|_| commit(&mut pipeline)),
                        false => epoch(&mut pipeline, &mut manifest),
                    });
                    if let Err(error) = &ended {
                        assert_eq!(error.kind, ErrorKind::Retry, "{what}: {error:?}");
                    }
                    ended.ok()
                });
                ended.unwrap_or_else(|| panic!("{what}: four processes do not get through"));
                let begun = position(&before.manifest)[0];
                assert_eq!(world.rows().len() as i64, 2 * begun + 3, "{what}");
                all_is_well(&world, &what);
                if !flaky.struck.load(Ordering::Relaxed) {
                    assert!(call > 3, "only {call} calls");
                    break;
                }
            }
        }
    }
}

/// Two misfortunes in a row, within one process: nothing stays behind either.
#[test]
fn any_two_misfortunes_of_a_commit_leave_nothing_behind() {
    let faults = [
        None,
        Some(Fault::ReplyLost),
        Some(Fault::RequestLost),
        Some(Fault::Resent),
        Some(Fault::Overtaken),
        Some(Fault::Raced),
        Some(Fault::Tagged),
    ];
    let before = Before::commits();
    for first in faults {
        for second in faults {
            let what = format!("{first:?}, then {second:?}");
            let disk = FullDisk::over(before.disk.fork());
            let world = open(&disk, 100);
            let network = world.network();
            let mut manifest = before.manifest.clone();
            let mut pipeline = go_on(&world, network.clone(), &mut manifest).unwrap();
            network.faults.lock().unwrap().extend([first, second]);
            pipeline.epoch([1, 1]);
            // What a lost request left can go when the table has moved on.
            pipeline.epoch([1, 1]);
            pipeline.epoch([1, 1]);
            assert_eq!(world.rows(), pipeline.expected(), "{what}");
            assert_eq!(world.unnamed(), [""; 0], "{what}");
            all_is_well(&world, &what);
            for tagged in network.tagged.lock().unwrap().iter() {
                let kept = world.metadata().snapshot_by_id(*tagged).is_some();
                assert!(kept, "{what}: the tagged {tagged} is gone");
            }
        }
    }
}
