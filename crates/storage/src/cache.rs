//! Index entries of sealed segments in memory: those that are not on disk yet, and those that were used of late.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::index::{ENTRY_LEN, Entry};
use crate::numbers::FileNumber;
use crate::record::LogId;

/// The entries of one log in one sealed file: moved here from the active file as they are, never copied.
pub(crate) type Entries = Arc<Vec<Entry>>;

/// A file and a log in it.
type Key = (FileNumber, LogId);

/// Entries by file and log. What is pinned stays; of the rest the least recently used go first.
pub(crate) struct IndexCache {
    bound: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of files whose sidecar is still to be written: nowhere else.
    pinned: HashMap<Key, Entries>,
    entries: HashMap<Key, Used>,
    /// The same by use, the oldest first.
    by_use: BTreeMap<u64, Key>,
    bytes: usize,
    uses: u64,
}

struct Used {
    at: u64,
    entries: Entries,
}

impl IndexCache {
    pub(crate) fn new(bound: usize) -> IndexCache {
        IndexCache {
            bound,
            held: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, file: FileNumber, log: LogId) -> Option<Entries> {
        let key = (file, log);
        let mut held = self.held.lock();
        if let Some(entries) = held.pinned.get(&key) {
            return Some(entries.clone());
        }
        let entries = held.entries.get(&key)?.entries.clone();
        held.use_now(key, entries.clone());
        Some(entries)
    }

    pub(crate) fn put(&self, file: FileNumber, log: LogId, entries: Entries) {
        let mut held = self.held.lock();
        held.use_now((file, log), entries);
        while held.bytes > self.bound && held.by_use.len() > 1 {
            let oldest = held.by_use.first_key_value();
            let key = *oldest.expect("there is more than one").1;
            held.remove(key);
        }
    }

    /// Keeps a sealed file's entries until [`IndexCache::unpin`].
    pub(crate) fn pin(&self, file: FileNumber, logs: impl Iterator<Item = (LogId, Entries)>) {
        let logs = logs.map(|(log, entries)| ((file, log), entries));
        self.held.lock().pinned.extend(logs);
    }

    /// The file's sidecar is durable.
    pub(crate) fn unpin(&self, file: FileNumber) {
        let mut held = self.held.lock();
        held.pinned.retain(|(of, _), _| *of != file);
        // The map of a start on a full disk, with hundreds of files in it, is not to stay that large.
        if held.pinned.is_empty() {
            held.pinned = HashMap::new();
        }
    }

    pub(crate) fn forget(&self, file: FileNumber) {
        let mut held = self.held.lock();
        let of_file = held.entries.keys().filter(|(of, _)| *of == file);
        let keys: Vec<Key> = of_file.copied().collect();
        keys.into_iter().for_each(|key| held.remove(key));
    }
}

impl Held {
    fn use_now(&mut self, key: Key, entries: Entries) {
        self.remove(key);
        self.uses += 1;
        self.bytes += entries.len() * ENTRY_LEN;
        self.by_use.insert(self.uses, key);
        let at = self.uses;
        self.entries.insert(key, Used { at, entries });
    }

    fn remove(&mut self, key: Key) {
        if let Some(Used { at, entries }) = self.entries.remove(&key) {
            self.by_use.remove(&at);
            self.bytes -= entries.len() * ENTRY_LEN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::{Offset, Order};
    use uuid::Uuid;

    #[test]
    fn the_least_recently_used_go_first_and_what_is_pinned_stays() {
        let log = LogId {
            topic: Uuid::from_u128(1),
            partition: 0,
        };
        let entries = |count: usize| -> Entries {
            let entry = Entry {
                base: Offset::FIRST,
                last: Offset::FIRST,
                max_timestamp: 0,
                order: Order::default(),
                position: 0,
                len: 0,
                appended_at: 0,
            };
            Arc::new(vec![entry; count])
        };
        let cache = IndexCache::new(10 * ENTRY_LEN);
        let kept = |cache: &IndexCache| -> Vec<u64> {
            let held = cache.held.lock();
            assert_eq!(held.by_use.len(), held.entries.len());
            let sizes = held.entries.values().map(|used| used.entries.len());
            assert_eq!(held.bytes, sizes.sum::<usize>() * ENTRY_LEN);
            held.by_use.values().map(|(file, _)| file.0).collect()
        };
        cache.pin(FileNumber(9), [(log, entries(100))].into_iter());
        for file in 1..=3 {
            cache.put(FileNumber(file), log, entries(3));
        }
        assert!(cache.get(FileNumber(1), log).is_some());
        cache.put(FileNumber(4), log, entries(4));
        assert_eq!(kept(&cache), [3, 1, 4]);
        cache.put(FileNumber(1), log, entries(1));
        assert_eq!(kept(&cache), [3, 4, 1]);
        // One that is larger than all the room takes it alone.
        cache.put(FileNumber(5), log, entries(11));
        assert_eq!(kept(&cache), [5]);
        assert!(cache.get(FileNumber(9), log).is_some());
        cache.unpin(FileNumber(9));
        assert!(cache.get(FileNumber(9), log).is_none());
        cache.forget(FileNumber(5));
        assert_eq!(kept(&cache), [0_u64; 0]);
    }
}
