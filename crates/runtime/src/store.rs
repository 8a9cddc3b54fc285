//! Where manifests live: one key of the WAL's KV table per job, replaced by compare-and-swap.
//!
//! The fence: taking a job over raises the generation in the manifest; a process that still holds the old bytes fails its
//! next [`ManifestStore::save`] with [`StoreError::Fenced`] and ends, whatever it was about to commit.

use crate::manifest::{Manifest, Unreadable};
use bytes::Bytes;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use thiserror::Error;

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

    /// The manifest as it was last read or written.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]; never a manifest that was half understood.
    pub fn manifest(&self) -> Result<Option<Manifest>, StoreError> {
        let Some(bytes) = &self.current else {
            return Ok(None);
        };
        Ok(Some(Manifest::read(bytes)?))
    }

    /// Replaces the manifest; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is no longer the one that was read or written here last.
    ///
    /// # Panics
    /// When the manifest breaks an invariant ([`Manifest::check`]): it must not become durable.
    pub fn save(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        manifest.check();
        let bytes = serde_json::to_vec(manifest).expect("a manifest has only string keys");
        self.put(Some(bytes.into()))
    }

    /// Forgets the manifest (its pipeline was dropped).
    ///
    /// # Errors
    /// As [`ManifestStore::save`].
    pub fn remove(&mut self) -> Result<(), StoreError> {
        self.put(None)
    }

    /// Whether the manifest on disk is still the one that this process wrote.
    pub fn is_mine(&self) -> bool {
        self.storage.get(Table::Manifests, &self.key) == self.current
    }

    fn put(&mut self, value: Option<Bytes>) -> Result<(), StoreError> {
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
        match self.storage.commit_blocking(vec![op]) {
            Ok(_) => {
                self.current = value;
                Ok(())
            }
            Err(CommitError::Conflict { .. }) => Err(StoreError::Fenced),
            Err(error) => Err(StoreError::Storage(error)),
        }
    }
}
