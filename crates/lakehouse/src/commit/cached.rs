//! Manifests while a commit is tried again: each of them is read once.
//!
//! A manifest never changes, and a head that others have moved on lists mostly the same ones. So a rewrite that others were faster
//! than reads a list and what is new in it, and its next attempt takes hardly longer than the append that it competes with.
//! The same holds of files of position deletes that had to be opened.

use super::manifests;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::view::files_hit;
use iceberg::spec::{Manifest, ManifestFile};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// So many files of deletes are opened; a table with more is in need of its writers' own upkeep.
const MOST_OPENED: usize = 1000;

/// By path. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Cached {
    known: Arc<Mutex<HashMap<String, Arc<Manifest>>>>,
    /// By a file of position deletes, the data files that it hides rows of.
    hit: Arc<Mutex<HashMap<String, Arc<BTreeSet<String>>>>>,
}

impl Cached {
    /// The manifests of a list, in its order. These alone are known afterwards.
    pub(crate) fn all(
        &self,
        files: &Files,
        list: &[ManifestFile],
    ) -> Result<Vec<Arc<Manifest>>, CatalogError> {
        let all: Result<Vec<Arc<Manifest>>, CatalogError> =
            list.iter().map(|one| self.one(files, one)).collect();
        let all = all?;
        let paths = list.iter().map(|one| one.manifest_path.clone());
        *self.known.lock() = paths.zip(all.iter().cloned()).collect();
        Ok(all)
    }

    /// One of those that are known, else as it is on disk.
    pub(crate) fn one(
        &self,
        files: &Files,
        manifest: &ManifestFile,
    ) -> Result<Arc<Manifest>, CatalogError> {
        let known = self.known.lock().get(&manifest.manifest_path).cloned();
        match known {
            Some(known) => Ok(known),
            None => Ok(Arc::new(manifests::load(files, manifest)?)),
        }
    }

    /// Of which data files a file of position deletes hides rows; `None` where that cannot be told.
    pub(crate) fn files_hit(&self, files: &Files, deletes: &str) -> Option<Arc<BTreeSet<String>>> {
        let mut hit = self.hit.lock();
        if let Some(known) = hit.get(deletes) {
            return Some(known.clone());
        }
        if hit.len() >= MOST_OPENED {
            return None;
        }
        let read = Arc::new(files_hit(files, deletes).ok()?);
        hit.insert(deletes.to_owned(), read.clone());
        Some(read)
    }

    /// Lets go of them all.
    pub(crate) fn forget(&self) {
        self.known.lock().clear();
        self.hit.lock().clear();
    }
}
