//! Sealed files whose index and checkpoint are still on their way to the disk, and the entries of sealed files in memory.
//!
//! Between the moment in which a file is sealed and the one in which its sidecar is durable, its entries are nowhere but in
//! the cache, pinned.

use std::collections::VecDeque;
use std::io;

use parking_lot::Mutex;

use crate::cache::IndexCache;
use crate::folder::Folder;
use crate::snapshot::Snapshot;

pub(crate) struct Sealing {
    pub(crate) index: IndexCache,
    /// In the order of the files: a checkpoint promises that all before its file is indexed.
    waiting: Mutex<VecDeque<Snapshot>>,
}

impl Sealing {
    pub(crate) fn new(index_cache_bytes: usize) -> Sealing {
        Sealing {
            index: IndexCache::new(index_cache_bytes),
            waiting: Mutex::default(),
        }
    }

    /// To be called before anybody can look for the entries where they will be.
    pub(crate) fn pin(&self, snapshot: &Snapshot) {
        self.index.pin(snapshot.file, snapshot.entries());
    }

    pub(crate) fn push(&self, snapshot: Snapshot) {
        let mut waiting = self.waiting.lock();
        assert!(
            waiting.back().is_none_or(|last| last.file < snapshot.file),
            "files are sealed in their order"
        );
        waiting.push_back(snapshot);
    }

    /// Writes what waits; `written` hears of each as soon as it is durable. Stops at the first that cannot be written: it
    /// and those behind it wait on.
    pub(crate) fn write(&self, folder: &Folder, written: impl Fn(&Snapshot)) -> io::Result<()> {
        let mut waiting = self.waiting.lock();
        while let Some(snapshot) = waiting.front() {
            snapshot.write(folder)?;
            written(snapshot);
            self.index.unpin(snapshot.file);
            waiting.pop_front();
        }
        Ok(())
    }
}
