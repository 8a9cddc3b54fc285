//! Index entries of sealed segments in memory: those that are not on disk yet, and those that were used of late.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::index::{ENTRY_LEN, Entry};
use crate::record::LogId;

/// Entries by file and log. What is pinned stays; of the rest the least recently used go first.
pub(crate) struct IndexCache {
    bound: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of files whose sidecar is still to be written: nowhere else.
    pinned: HashMap<(u64, LogId), Arc<[Entry]>>,
    entries: HashMap<(u64, LogId), (u64, Arc<[Entry]>)>,
    bytes: usize,
    uses: u64,
}

impl IndexCache {
    pub(crate) fn new(bound: usize) -> IndexCache {
        IndexCache {
            bound,
            held: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, file: u64, log: LogId) -> Option<Arc<[Entry]>> {
        let mut held = self.held.lock();
        held.uses += 1;
        let now = held.uses;
        if let Some(entries) = held.pinned.get(&(file, log)) {
            return Some(entries.clone());
        }
        let (used, entries) = held.entries.get_mut(&(file, log))?;
        *used = now;
        Some(entries.clone())
    }

    pub(crate) fn put(&self, file: u64, log: LogId, entries: Arc<[Entry]>) {
        let mut held = self.held.lock();
        held.uses += 1;
        let now = held.uses;
        held.bytes += entries.len() * ENTRY_LEN;
        if let Some((_, old)) = held.entries.insert((file, log), (now, entries)) {
            held.bytes -= old.len() * ENTRY_LEN;
        }
        while held.bytes > self.bound && held.entries.len() > 1 {
            let oldest = held.entries.iter().min_by_key(|(_, (used, _))| *used);
            let key = *oldest.expect("there is more than one").0;
            held.remove(key);
        }
    }

    /// Keeps a sealed file's entries until [`IndexCache::unpin`].
    pub(crate) fn pin(&self, file: u64, logs: impl Iterator<Item = (LogId, Arc<[Entry]>)>) {
        let logs = logs.map(|(log, entries)| ((file, log), entries));
        self.held.lock().pinned.extend(logs);
    }

    /// The file's sidecar is durable.
    pub(crate) fn unpin(&self, file: u64) {
        self.held.lock().pinned.retain(|(of, _), _| *of != file);
    }

    pub(crate) fn forget(&self, file: u64) {
        let mut held = self.held.lock();
        let of_file = held.entries.keys().filter(|(of, _)| *of == file);
        let keys: Vec<(u64, LogId)> = of_file.copied().collect();
        keys.into_iter().for_each(|key| held.remove(key));
    }
}

impl Held {
    fn remove(&mut self, key: (u64, LogId)) {
        if let Some((_, entries)) = self.entries.remove(&key) {
            self.bytes -= entries.len() * ENTRY_LEN;
        }
    }
}
