//! A disk in memory that knows what is durable.
//!
//! Per file it keeps the content that programs see, the content that is on the platters, and the writes between the two;
//! per name the same. [`SimDisk::crash`] is a power cut: of the writes since a file's last sync each one is kept, lost, or
//! torn at a 512-byte border, whatever the order; of the renames, creations and removals since a folder's last sync a
//! prefix is kept (file systems journal them in order). Then what survived is all there is.
//!
//! [`SimDisk::flip`] is rot: one bit of what is on the platters changes, and no one is told. [`SimDisk::fork`] makes a second
//! disk of the same content, so that one history can meet many misfortunes.
//!
//! A process that is merely killed loses nothing here: drop what was opened and open it again. That is its own test, since
//! what it then reads may still be lost by a later power cut.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lw_stdx::disk::{Disk, Entry, File, Lock};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::clock::SimClock;

const SECTOR: usize = 512;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// After this many more changes of the disk the power is off: everything fails until [`SimDisk::crash`].
    PowerOff { after: u64 },
    /// The next sync of a file fails, and what it should have made durable is lost by the next crash.
    FailedSync,
    /// Room for this many bytes of files; ends [`Trouble::NoRoomFor`].
    Capacity(u64),
    /// Writes to files whose name ends so (too) find no room, new bytes or old: file systems that copy on write have no other.
    NoRoomFor(&'static str),
    /// Each sync takes this long.
    SlowSync(Duration),
}

/// A simulated file system. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    clock: Arc<SimClock>,
}

#[derive(Clone)]
struct World {
    rng: SmallRng,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    locks: BTreeMap<PathBuf, Weak<()>>,
    // Trouble.
    changes: u64,
    power_off_at: Option<u64>,
    fail_sync: bool,
    capacity: u64,
    no_room_for: Vec<&'static str>,
    sync_takes: Duration,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What happened to names, in order; a rename is one change.
#[derive(Clone)]
struct NameChange {
    dir: PathBuf,
    gone: Option<PathBuf>,
    made: Option<(PathBuf, usize)>,
}

impl SimDisk {
    pub fn new(seed: u64, clock: Arc<SimClock>) -> SimDisk {
        let world = World {
            rng: SmallRng::seed_from_u64(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            locks: BTreeMap::new(),
            changes: 0,
            power_off_at: None,
            fail_sync: false,
            capacity: u64::MAX,
            no_room_for: Vec::new(),
            sync_takes: Duration::ZERO,
        };
        SimDisk {
            world: Arc::new(Mutex::new(world)),
            clock,
        }
    }

    pub fn cause(&self, trouble: Trouble) {
        let mut world = self.world.lock();
        match trouble {
            Trouble::PowerOff { after } => world.power_off_at = Some(world.changes + after),
            Trouble::FailedSync => world.fail_sync = true,
            Trouble::Capacity(bytes) => (world.capacity, world.no_room_for) = (bytes, Vec::new()),
            Trouble::NoRoomFor(name) => world.no_room_for.push(name),
            Trouble::SlowSync(takes) => world.sync_takes = takes,
        }
    }

    /// Whether [`Trouble::PowerOff`] has come about.
    pub fn is_off(&self) -> bool {
        let world = self.world.lock();
        world.power_off_at.is_some_and(|at| world.changes >= at)
    }

    /// How often the disk was changed or synced: a point between two of them is a place to crash.
    pub fn changes(&self) -> u64 {
        self.world.lock().changes
    }

    /// The process died where [`Trouble::PowerOff`] struck, but the machine went on: unsynced changes are still readable,
    /// and still not durable.
    pub fn revive(&self) {
        let mut world = self.world.lock();
        world.power_off_at = None;
        world.fail_sync = false;
        world.locks.clear();
    }

    /// A power cut, and power again. Handles opened before must not be used any more.
    pub fn crash(&self) {
        let mut world = self.world.lock();
        let world = &mut *world;
        world.power_off_at = None;
        world.fail_sync = false;
        world.locks.clear();
        let kept = world.rng.random_range(0..=world.name_changes.len());
        for change in world.name_changes.drain(..).take(kept) {
            change.apply(&mut world.durable_names);
        }
        world.name_changes.clear();
        world.names = world.durable_names.clone();
        for inode in &mut world.inodes {
            inode.crash(&mut world.rng);
        }
    }
}

impl SimDisk {
    /// Another disk with the same content, named and unnamed, durable and not.
    pub fn fork(&self) -> SimDisk {
        let mut world = self.world.lock().clone();
        // Nobody has this one open.
        world.locks.clear();
        SimDisk {
            world: Arc::new(Mutex::new(world)),
            clock: self.clock.clone(),
        }
    }

    /// Flips one bit of a file, as seen and as durable; false when the file has no such byte.
    pub fn flip(&self, path: &Path, position: u64, bit: u8) -> bool {
        let mut world = self.world.lock();
        let Some(inode) = world.names.get(path).copied() else {
            return false;
        };
        let inode = &mut world.inodes[inode];
        let position = position as usize;
        let mut hit = false;
        for bytes in [&mut inode.content, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1 << (bit % 8);
                hit = true;
            }
        }
        hit
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((path, inode)) = &self.made {
            names.insert(path.clone(), *inode);
        }
    }
}

impl Inode {
    fn crash(&mut self, rng: &mut SmallRng) {
        for change in std::mem::take(&mut self.pending) {
            match (rng.random_range(0..3), change) {
                (0, _) => {}
                (1, Change::Write { position, bytes }) => {
                    let part = torn(rng, position, bytes.len());
                    write(&mut self.durable, position + part.start, &bytes[part]);
                }
                (_, change) => change.apply(&mut self.durable),
            }
        }
        self.content = self.durable.clone();
    }
}

/// A run of whole sectors of a write (its ends are the write's own).
fn torn(rng: &mut SmallRng, position: usize, len: usize) -> Range<usize> {
    let sectors = (position / SECTOR)..(position + len).div_ceil(SECTOR);
    let a = rng.random_range(sectors.start..=sectors.end) * SECTOR;
    let b = rng.random_range(sectors.start..=sectors.end) * SECTOR;
    let inside = |at: usize| at.clamp(position, position + len) - position;
    inside(a.min(b))..inside(a.max(b))
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { position, bytes } => write(content, *position, bytes),
            Change::Length(len) => content.resize(*len, 0),
        }
    }
}

fn write(content: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[position..end].copy_from_slice(bytes);
}

impl World {
    /// Counts a change. At the moment of the power cut the change itself has happened or has not.
    fn change(&mut self, apply: impl FnOnce(&mut World)) -> io::Result<()> {
        self.alive()?;
        self.changes += 1;
        let off = self.power_off_at.is_some_and(|at| self.changes >= at);
        if !off || self.rng.random_bool(0.5) {
            apply(self);
        }
        self.alive()
    }

    fn alive(&self) -> io::Result<()> {
        match self.power_off_at {
            Some(at) if self.changes >= at => Err(io::Error::other("the power is off")),
            _ => Ok(()),
        }
    }

    fn named(&self, path: &Path) -> io::Result<usize> {
        let inode = self.names.get(path).copied();
        inode.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.display().to_string()))
    }

    fn rename(&mut self, gone: Option<&Path>, made: Option<(&Path, usize)>) {
        let any = made.map(|(path, _)| path).or(gone);
        let dir = any.and_then(Path::parent).unwrap_or(Path::new(""));
        let change = NameChange {
            dir: dir.to_path_buf(),
            gone: gone.map(Path::to_path_buf),
            made: made.map(|(path, inode)| (path.to_path_buf(), inode)),
        };
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn used(&self) -> u64 {
        let lengths = self
            .names
            .values()
            .map(|inode| self.inodes[*inode].content.len());
        lengths.sum::<usize>() as u64
    }

    fn has_name(&self, inode: usize, end: &str) -> bool {
        let mut names = self.names.iter().filter(|(_, named)| **named == inode);
        names.any(|(path, _)| path.to_string_lossy().ends_with(end))
    }

    fn put(&mut self, inode: usize, change: Change) -> io::Result<()> {
        let len = self.inodes[inode].content.len();
        let grown = match &change {
            Change::Write { position, bytes } => (position + bytes.len()).saturating_sub(len),
            Change::Length(new) => new.saturating_sub(len),
        };
        let is_over = grown > 0 && self.used() + grown as u64 > self.capacity;
        let mut ends = self.no_room_for.iter();
        if is_over || ends.any(|end| self.has_name(inode, end)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(|world| {
            let inode = &mut world.inodes[inode];
            change.apply(&mut inode.content);
            inode.pending.push(change);
        })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.change(|world| world.rename(None, Some((path, inode))))?;
        Ok(self.handle(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let world = self.world.lock();
        world.alive()?;
        Ok(self.handle(world.named(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let inode = world.named(from)?;
        world.change(|world| world.rename(Some(from), Some((to, inode))))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let inode = world.named(from)?;
        if world.named(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.change(|world| world.rename(None, Some((to, inode))))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.named(path)?;
        world.change(|world| world.rename(Some(path), None))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world.lock();
        world.alive()?;
        let inside = world
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, inode)| Entry {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                len: world.inodes[*inode].content.len() as u64,
                is_dir: false,
            })
            .collect())
    }

    /// Folders are only parts of names here.
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.world.lock().alive()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.world.lock().change(|world| {
            let changes = std::mem::take(&mut world.name_changes);
            for change in changes {
                match change.dir == dir {
                    true => change.apply(&mut world.durable_names),
                    false => world.name_changes.push(change),
                }
            }
        })
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let world = self.world.lock();
        Ok(world.capacity.saturating_sub(world.used()))
    }

    fn total_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.world.lock().capacity)
    }

    fn exists(&self, path: &Path) -> bool {
        self.world.lock().names.contains_key(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut world = self.world.lock();
        world.alive()?;
        if world
            .locks
            .get(path)
            .is_some_and(|held| held.strong_count() > 0)
        {
            return Ok(Lock::Taken { pid: 1 });
        }
        let held = Arc::new(());
        world
            .locks
            .insert(path.to_path_buf(), Arc::downgrade(&held));
        Ok(Lock::Held(Box::new(held)))
    }
}

impl SimDisk {
    fn handle(&self, inode: usize) -> Arc<dyn File> {
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
        })
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl File for SimFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let world = self.disk.world.lock();
        world.alive()?;
        let content = &world.inodes[self.inode].content;
        let start = (position as usize).min(content.len());
        let len = into.len().min(content.len() - start);
        into[..len].copy_from_slice(&content[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let change = Change::Write {
            position: position as usize,
            bytes: bytes.to_vec(),
        };
        self.disk.world.lock().put(self.inode, change)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        self.disk.clock.advance(world.sync_takes);
        if std::mem::take(&mut world.fail_sync) {
            // As Linux does: the error is told once, and the pages count as clean from then on.
            world.inodes[self.inode].pending.clear();
            return Err(io::Error::other("the disk does not answer"));
        }
        world.change(|world| {
            let inode = &mut world.inodes[self.inode];
            for change in inode.pending.drain(..) {
                change.apply(&mut inode.durable);
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.world.lock().inodes[self.inode].content.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let have = self.len()?;
        if have >= len {
            return Ok(());
        }
        self.write_at(&vec![0; (len - have) as usize], have)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let change = Change::Length(len as usize);
        self.disk.world.lock().put(self.inode, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lw_stdx::disk::{read_all, write_atomic};

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(seed, Arc::new(SimClock::new()))
    }

    #[test]
    fn synced_bytes_under_a_synced_name_survive_every_crash() {
        for seed in 0..200 {
            let disk = disk(seed);
            write_atomic(&disk, Path::new("d/f"), &[1; 2000]).unwrap();
            let file = disk.open(Path::new("d/f")).unwrap();
            file.write_at(&[2; 1000], 1500).unwrap();
            disk.crash();
            let bytes = read_all(&disk, Path::new("d/f")).unwrap();
            assert!(bytes[..1500].iter().all(|byte| *byte == 1), "seed {seed}");
        }
    }

    #[test]
    fn unsynced_bytes_are_kept_lost_and_torn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = disk(seed);
            write_atomic(&disk, Path::new("d/f"), &[1; 2048]).unwrap();
            let file = disk.open(Path::new("d/f")).unwrap();
            file.write_at(&[2; 2048], 0).unwrap();
            disk.crash();
            let bytes = read_all(&disk, Path::new("d/f")).unwrap();
            let sectors = bytes.chunks(SECTOR).map(|sector| sector[0]);
            assert!(
                bytes
                    .chunks(SECTOR)
                    .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
            );
            seen.insert(sectors.collect::<Vec<u8>>());
        }
        assert!(seen.contains(&vec![1, 1, 1, 1]) && seen.contains(&vec![2, 2, 2, 2]));
        assert!(seen.contains(&vec![1, 2, 2, 1]), "{seen:?}");
    }

    #[test]
    fn an_unsynced_rename_may_be_lost_and_a_synced_one_never() {
        let survived = |sync: bool| {
            let outcomes = (0..50).map(|seed| {
                let disk = disk(seed);
                write_atomic(&disk, Path::new("d/a"), b"x").unwrap();
                disk.rename(Path::new("d/a"), Path::new("d/b")).unwrap();
                if sync {
                    disk.sync_dir(Path::new("d")).unwrap();
                }
                disk.crash();
                assert!(disk.exists(Path::new("d/a")) != disk.exists(Path::new("d/b")));
                disk.exists(Path::new("d/b"))
            });
            outcomes.filter(|kept| *kept).count()
        };
        assert_eq!(survived(true), 50);
        assert!((1..50).contains(&survived(false)));
    }

    #[test]
    fn a_flipped_bit_is_seen_survives_a_crash_and_stays_on_its_disk() {
        let disk = disk(1);
        write_atomic(&disk, Path::new("d/f"), b"abc").unwrap();
        let other = disk.fork();
        assert!(other.flip(Path::new("d/f"), 1, 0));
        assert!(!other.flip(Path::new("d/f"), 3, 0) && !other.flip(Path::new("d/g"), 0, 0));
        assert_eq!(read_all(&other, Path::new("d/f")).unwrap(), b"acc");
        other.crash();
        assert_eq!(read_all(&other, Path::new("d/f")).unwrap(), b"acc");
        assert_eq!(read_all(&disk, Path::new("d/f")).unwrap(), b"abc");
    }

    #[test]
    fn one_kind_of_file_may_find_no_room() {
        let disk = disk(1);
        let file = disk.create(Path::new("d/f.wal")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        disk.cause(Trouble::NoRoomFor(".wal"));
        let full = |result: io::Result<()>| {
            result.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        };
        assert!(full(file.write_at(b"x", 0)), "though the byte is there");
        write_atomic(&disk, Path::new("d/g"), b"x").unwrap();
        disk.cause(Trouble::Capacity(u64::MAX));
        disk.cause(Trouble::NoRoomFor("d/g.tmp"));
        assert!(full(write_atomic(&disk, Path::new("d/g"), b"y")));
        file.write_at(b"x", 0).unwrap();
        disk.cause(Trouble::Capacity(u64::MAX));
        write_atomic(&disk, Path::new("d/g"), b"y").unwrap();
        assert_eq!(read_all(&disk, Path::new("d/g")).unwrap(), b"y");
    }

    #[test]
    fn after_the_power_is_off_nothing_works_until_the_crash() {
        let disk = disk(1);
        let file = disk.create(Path::new("d/f")).unwrap();
        disk.cause(Trouble::PowerOff { after: 2 });
        file.write_at(b"x", 0).unwrap();
        assert!(file.sync().is_err());
        assert!(disk.is_off() && disk.open(Path::new("d/f")).is_err());
        disk.crash();
        assert!(disk.create(Path::new("d/g")).is_ok());
    }
}
