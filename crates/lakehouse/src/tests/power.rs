//! A disk in memory whose power can be cut at any operation.
//!
//! What was not synced is lost or torn when power comes back: of each file the bytes since its last sync, of each folder the
//! names since its last sync. While power is off every operation fails, so nothing can go on by accident.

use lw_stdx::disk::{Disk, Entry, File};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct PowerDisk(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    /// Operations until the power goes; `None`: it stays.
    fuse: Option<u64>,
    operations: u64,
    inodes: Vec<Inode>,
    names: Names,
    durable: Names,
}

#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

struct PowerFile {
    disk: PowerDisk,
    inode: usize,
}

impl PowerDisk {
    pub(crate) fn new(seed: u64) -> PowerDisk {
        let mut root = Names::default();
        root.folders.insert(PathBuf::from("/"));
        PowerDisk(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            fuse: None,
            operations: 0,
            inodes: Vec::new(),
            durable: root.clone(),
            names: root,
        })))
    }

    /// Cuts the power after this many operations.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.0.lock().fuse = Some(operations);
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().fuse == Some(0)
    }

    /// Power comes back: what was not synced is gone, or torn.
    pub(crate) fn restore(&self) {
        let state = &mut *self.0.lock();
        state.fuse = None;
        state.names = state.durable.clone();
        for inode in &mut state.inodes {
            if inode.now != inode.synced && state.random.random_bool(0.5) {
                let upto = state.random.random_range(0..=inode.now.len());
                let mut torn = inode.now[..upto].to_vec();
                torn.extend(inode.synced.get(upto..).unwrap_or_default());
                inode.now = torn;
            } else {
                inode.now = inode.synced.clone();
            }
            inode.synced = inode.now.clone();
        }
    }

    fn with<T>(&self, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.0.lock();
        state.operations += 1;
        match &mut state.fuse {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        operation(state)
    }
}

impl State {
    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names
            .files
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.with(|state| {
            let folder = path.parent().unwrap_or(Path::new("/"));
            if !state.names.folders.contains(folder) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.names.files.insert(path.to_owned(), inode);
            Ok(inode)
        })?;
        let disk = self.clone();
        Ok(Arc::new(PowerFile { disk, inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.with(|state| state.inode(path))?;
        let disk = self.clone();
        Ok(Arc::new(PowerFile { disk, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|state| {
            let inode = state.inode(from)?;
            state.names.files.remove(from);
            state.names.files.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.inode(path)?;
            state.names.files.remove(path);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.with(|state| {
            let name = |path: &Path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            };
            let below = |path: &Path| path.parent() == Some(dir);
            let mut entries = Vec::new();
            for (path, inode) in state.names.files.iter().filter(|(path, _)| below(path)) {
                entries.extend(name(path).map(|name| Entry {
                    name,
                    len: state.inodes[*inode].now.len() as u64,
                    is_dir: false,
                }));
            }
            for path in state.names.folders.iter().filter(|path| below(path)) {
                entries.extend(name(path).map(|name| Entry {
                    name,
                    len: 0,
                    is_dir: true,
                }));
            }
            Ok(entries)
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.with(|state| {
            state
                .names
                .folders
                .extend(dir.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.with(|state| {
            let State { names, durable, .. } = state;
            let inside = |path: &Path| path.parent() == Some(dir);
            durable.files.retain(|path, _| !inside(path));
            durable.files.extend(
                names
                    .files
                    .iter()
                    .filter(|(path, _)| inside(path))
                    .map(|(path, inode)| (path.clone(), *inode)),
            );
            durable
                .folders
                .extend(names.folders.iter().filter(|path| inside(path)).cloned());
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn total_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.0.lock();
        state.names.files.contains_key(path) || state.names.folders.contains(path)
    }
}

impl File for PowerFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.with(|state| {
            let bytes = &state.inodes[self.inode].now;
            let from = usize::try_from(position)
                .map_err(io::Error::other)?
                .min(bytes.len());
            let read = into.len().min(bytes.len() - from);
            into[..read].copy_from_slice(&bytes[from..from + read]);
            Ok(read)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.with(|state| {
            let from = usize::try_from(position).map_err(io::Error::other)?;
            let file = &mut state.inodes[self.inode].now;
            if file.len() < from + bytes.len() {
                file.resize(from + bytes.len(), 0);
            }
            file[from..from + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(|state| {
            let inode = &mut state.inodes[self.inode];
            inode.synced.clone_from(&inode.now);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk
            .with(|state| Ok(state.inodes[self.inode].now.len() as u64))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.with(|state| {
            let file = &mut state.inodes[self.inode].now;
            let len = usize::try_from(len).map_err(io::Error::other)?;
            if file.len() < len {
                file.resize(len, 0);
            }
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.with(|state| {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            state.inodes[self.inode].now.resize(len, 0);
            Ok(())
        })
    }
}
