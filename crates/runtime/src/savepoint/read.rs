//! Reads a savepoint: all of it is checked before anything of it is gone on from.

use super::write::failed;
use super::{
    ABOUT, About, FORMAT, NoSavepoint, PLANS, SCRIPT, SavepointError, Sum, pending, state_files,
    state_name,
};
use crate::manifest::Manifest;
use crate::pipelines::PlanText;
use lw_stdx::disk::{Disk, read_all};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A savepoint that was read and is whole.
pub(crate) struct Savepoint {
    pub(crate) folder: PathBuf,
    pub(crate) about: About,
    pub(crate) plans: Vec<PlanText>,
    /// By the keys that they stood under, without the pipeline's id.
    pub(crate) manifests: BTreeMap<String, Manifest>,
}

impl Savepoint {
    /// # Errors
    /// [`SavepointError`]: it is none, another version's, or damaged.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path) -> Result<Savepoint, SavepointError> {
        let reading = Reading { disk, folder };
        let about = reading.about()?;
        for (name, sum) in &about.files {
            let bytes = reading.file(name)?;
            if Sum::of(&bytes) != *sum {
                return Err(reading.damaged(format!("{name} is not what it was")));
            }
        }
        let plans = reading.json(PLANS, &reading.listed(&about, PLANS)?)?;
        let mut manifests = BTreeMap::new();
        for job in &about.jobs {
            let bytes = reading.listed(&about, &job.manifest)?;
            let manifest = Manifest::read(&bytes, &format!("{}/{}", about.pipeline, job.key));
            let manifest = manifest.map_err(|why| SavepointError::Manifest {
                folder: reading.name(),
                why,
            })?;
            reading.check_manifest(&about, &manifest)?;
            manifests.insert(job.key.clone(), manifest);
        }
        Ok(Savepoint {
            folder: folder.to_path_buf(),
            about,
            plans,
            manifests,
        })
    }
}

impl Savepoint {
    /// Where its files of state are.
    pub(crate) fn states(&self) -> PathBuf {
        self.folder.join(super::STATE)
    }
}

struct Reading<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
}

impl Reading<'_> {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn damaged(&self, why: impl Into<String>) -> SavepointError {
        SavepointError::Damaged {
            folder: self.name(),
            why: why.into(),
        }
    }

    fn about(&self) -> Result<About, SavepointError> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
            #[serde(default)]
            lakeward: String,
        }
        if !self.disk.exists(&self.folder.join(ABOUT)) {
            return Err(SavepointError::None {
                folder: self.name(),
                what: self.what_else(),
            });
        }
        let bytes = self.file(ABOUT)?;
        let version: Version = self.json(ABOUT, &bytes)?;
        if version.format != u64::from(FORMAT) {
            return Err(SavepointError::Newer {
                folder: self.name(),
                found: version.format,
                version: version.lakeward,
            });
        }
        let about: About = self.json(ABOUT, &bytes)?;
        match about.check == about.sum() {
            true => Ok(about),
            false => Err(self.damaged("savepoint.json is not what it was")),
        }
    }

    /// What is in the folder instead of `savepoint.json`.
    fn what_else(&self) -> NoSavepoint {
        let there = self.disk.list(self.folder).unwrap_or_default();
        let has = |name: &str| there.iter().any(|entry| entry.name == name);
        if there.is_empty() {
            NoSavepoint::Nothing
        } else if has("_metadata") {
            NoSavepoint::Flinks
        } else if has(SCRIPT) || has(super::STATE) {
            NoSavepoint::Unfinished
        } else {
            NoSavepoint::Other
        }
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, SavepointError> {
        let path = self.folder.join(name);
        read_all(self.disk, &path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.damaged(format!("{name} is missing")),
            _ => failed(&path, &error),
        })
    }

    /// A file whose sum was checked.
    fn listed(&self, about: &About, name: &str) -> Result<Vec<u8>, SavepointError> {
        match about.files.contains_key(name) {
            true => self.file(name),
            false => Err(self.damaged(format!("{name} is not listed"))),
        }
    }

    fn json<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, SavepointError> {
        let read = serde_json::from_slice(bytes);
        read.map_err(|error| self.damaged(format!("{name} cannot be read: {error}")))
    }

    fn check_manifest(&self, about: &About, manifest: &Manifest) -> Result<(), SavepointError> {
        if let Some(table) = pending(manifest) {
            return Err(self.damaged(format!("a commit to {table} is pending in it")));
        }
        for file in state_files(manifest) {
            let sum = about.files.get(&state_name(&file.name));
            if sum.is_none_or(|sum| (sum.bytes, sum.check) != (file.bytes, file.check)) {
                return Err(self.damaged(format!("{} is not the state that was saved", file.name)));
            }
        }
        Ok(())
    }
}
