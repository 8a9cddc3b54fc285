//! Manifests while a commit is tried again: each of them is read once.
//!
//! A manifest never changes, and a head that others have moved on lists mostly the same ones. So a rewrite that others were faster
//! than reads a list and what is new in it, and its next attempt takes hardly longer than the append that it competes with.

use super::manifests;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{Manifest, ManifestFile};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// By path. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Cached {
    known: Arc<Mutex<HashMap<String, Arc<Manifest>>>>,
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

    /// Lets go of them all.
    pub(crate) fn forget(&self) {
        self.known.lock().clear();
    }
}
