//! Where manifests live: one key of the WAL's KV table per job, replaced by compare-and-swap.
//!
//! The fence: taking a job over raises the generation in the manifest; a process that still holds the old bytes fails its
//! next [`ManifestStore::save`] with [`StoreError::Fenced`] and ends, whatever it was about to commit.
//!
//! What a manifest has still to read is held against retention under the manifest's key, from the moment that it is durable
//! until it is removed, whether its job runs or not.

use crate::manifest::{Manifest, SplitOffset, SplitRange, Unreadable};
use crate::pipelines::Disarray;
use crate::state::{Leftovers, StateFiles};
use bytes::Bytes;
use lw_storage::{CommitError, Expect, Hold, Op, Storage, Table};
use thiserror::Error;
use uuid::Uuid;

/// The manifest of one job, held for writing.
pub struct ManifestStore {
    storage: Storage,
    key: Bytes,
    /// The bytes that are there as far as we know; what the next write expects.
    current: Option<Bytes>,
}

#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process took the job over.
    #[error("another process has taken this pipeline over")]
    Fenced,
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("the manifest cannot be written")]
    Storage(#[source] CommitError),
    /// The script's jobs cannot be given what was done before.
    #[error("{0}")]
    Disarray(#[from] Disarray),
}

impl StoreError {
    /// Something to type; may be empty.
    pub fn hint(&self) -> String {
        match self {
            StoreError::Disarray(disarray) => disarray.hint().to_string(),
            StoreError::Fenced | StoreError::Unreadable(_) | StoreError::Storage(_) => {
                String::new()
            }
        }
    }
}

impl ManifestStore {
    /// Opens the manifest under `key` without taking it over.
    pub fn open(storage: Storage, key: &str) -> ManifestStore {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let current = storage.get(Table::Manifests, &key);
        ManifestStore {
            storage,
            key,
            current,
        }
    }

    /// The files of the state that it names.
    pub(crate) fn files(&self) -> StateFiles {
        StateFiles::of(&self.storage, &String::from_utf8_lossy(&self.key))
    }

    /// The manifest as it was last read or written.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]; never a manifest that was half understood.
    pub fn manifest(&self) -> Result<Option<Manifest>, StoreError> {
        let Some(bytes) = &self.current else {
            return Ok(None);
        };
        let key = String::from_utf8_lossy(&self.key);
        Ok(Some(Manifest::read(bytes, &key)?))
    }

    /// Replaces the manifest; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is no longer the one that was read or written here last.
    ///
    /// # Panics
    /// When the manifest breaks an invariant ([`Manifest::check`]): it must not become durable.
    pub fn save(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        self.save_with(manifest, Vec::new())
    }

    /// The same, in one frame with something else.
    pub(crate) fn save_with(
        &mut self,
        manifest: &Manifest,
        ops: Vec<Op>,
    ) -> Result<(), StoreError> {
        manifest.check();
        let bytes = serde_json::to_vec(manifest).expect("a manifest has only string keys");
        self.put(Some(bytes.into()), ops)?;
        let holder = String::from_utf8_lossy(&self.key);
        self.storage.hold(&holder, unread(&self.storage, manifest));
        Ok(())
    }

    /// Forgets the manifest (its pipeline was dropped).
    ///
    /// # Errors
    /// As [`ManifestStore::save`].
    pub fn remove(&mut self) -> Result<(), StoreError> {
        self.put(None, Vec::new())?;
        Leftovers::of(&self.files()).keep(std::iter::empty());
        release(&self.storage, &self.key);
        Ok(())
    }

    /// The offsets that the manifest has still to read and that the log does not have any more.
    pub fn lost(&self, manifest: &Manifest) -> Vec<SplitRange> {
        let open = still_open(&self.storage, manifest);
        let lost = open.filter_map(|(at, topic)| {
            // A topic that is gone has lost more than a range: that is told where it is read.
            let start = self.storage.bounds(topic, at.partition)?.log_start;
            (at.next < start).then_some(SplitRange {
                topic: at.topic,
                partition: at.partition,
                start: at.next,
                end: start,
                rows: 0,
                filtered: 0,
                dead_letters: 0,
                control: 0,
                late: 0,
            })
        });
        lost.collect()
    }

    /// Whether the manifest on disk is still the one that this process wrote.
    pub fn is_mine(&self) -> bool {
        self.storage.get(Table::Manifests, &self.key) == self.current
    }

    fn put(&mut self, value: Option<Bytes>, mut ops: Vec<Op>) -> Result<(), StoreError> {
        let expect = match &self.current {
            Some(bytes) => Expect::Value(bytes.clone()),
            None => Expect::Absent,
        };
        let op = Op::Put {
            table: Table::Manifests,
            key: self.key.clone(),
            value: value.clone(),
            expect,
        };
        ops.push(op);
        match self.storage.commit_blocking(ops) {
            Ok(_) => {
                self.current = value;
                Ok(())
            }
            Err(CommitError::Conflict { .. }) => Err(StoreError::Fenced),
            Err(error) => Err(StoreError::Storage(error)),
        }
    }
}

/// States what the stored manifests have still to read, those that somebody still runs by; after it retention may begin.
pub(crate) fn hold_all(storage: &Storage, is_run: impl Fn(&str) -> bool) {
    for (key, manifest) in storage.scan(Table::Manifests, b"") {
        let holder = String::from_utf8_lossy(&key);
        if !is_run(&holder) {
            continue;
        }
        match Manifest::read(&manifest, &holder) {
            Ok(manifest) => storage.hold(&holder, unread(storage, &manifest)),
            Err(error) => {
                tracing::error!(%holder, %error, "retention may take what this manifest has still to read")
            }
        }
    }
}

/// The manifest under `key` is gone: nothing of it has to be read any more.
pub(crate) fn release(storage: &Storage, key: &[u8]) {
    storage.release(&String::from_utf8_lossy(key));
}

/// Where the manifest goes on.
fn unread(storage: &Storage, manifest: &Manifest) -> Vec<Hold> {
    let open = still_open(storage, manifest);
    let hold = |(at, topic): (SplitOffset, Uuid)| Hold {
        topic,
        partition: at.partition,
        offset: at.next,
    };
    open.map(hold).collect()
}

/// Where the manifest goes on in the partitions that it has not read to their end. Format 1 knew topics by their names only.
fn still_open<'a>(
    storage: &'a Storage,
    manifest: &'a Manifest,
) -> impl Iterator<Item = (SplitOffset, Uuid)> + 'a {
    let ends = manifest.ends().unwrap_or_default();
    let finished = move |at: &SplitOffset| {
        let end = ends.iter().find(|end| end.same_split(at));
        end.is_some_and(|end| at.next >= end.next)
    };
    let position = manifest.position().into_iter();
    let open = position.filter(move |at| !finished(at));
    open.filter_map(|at| {
        let id = manifest.topics.get(&at.topic).copied();
        let id = id.or_else(|| storage.topic(&at.topic).map(|topic| topic.id));
        Some((at, id?))
    })
}
