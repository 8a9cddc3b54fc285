//! Rows of state that are too large for a manifest: a file each, beside the log.
//!
//! ```text
//! <data>/state/<job>-<generation>-<checkpoint>-<n>.state      job: a hash of the manifest's key
//!              <job>-<generation>-fold<m>-<n>.state
//!              <job>-<generation>-shards-<n>.state      as it was at the start, by the groups of that process' shards
//! ```
//!
//! A file is durable before the manifest that names it, and goes when the next manifest, which does not, is. One that a crash
//! left between the two goes at the next start of the job: a process that takes a job over has another generation, so it writes
//! no name that is there.

use super::StateError;
use super::chain::{OperatorState, Store};
use super::encoded::{StateFile, StoredRows};
use crate::manifest::Manifest;
use bytes::Bytes;
use lw_graph::OperatorUid;
use lw_stdx::disk::{Disk, read_all, write_atomic};
use lw_storage::{Storage, Table};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is small, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of so many ride in the manifest, which is written again at each commit.
    pub inline: u64,
    /// What changed rides there up to so many: more of it comes until it is folded.
    pub inline_changes: u64,
    /// An operator of so much memory is written as a whole each time.
    pub whole: u64,
    /// So is one of which more than so many bytes are stored for a byte of memory: most of them are of rows that are gone.
    pub stale: u64,
}

impl Limits {
    pub const OURS: Limits = Limits {
        inline: 64 << 10,
        inline_changes: 4 << 10,
        whole: 4 << 20,
        stale: 2,
    };
    /// Nothing is small: all rows stand in files, and all that can be is written by what changed.
    pub const NONE: Limits = Limits {
        inline: 0,
        inline_changes: 0,
        whole: 0,
        stale: u64::MAX,
    };

    /// Whether an operator is to write what changed behind what is stored.
    pub(crate) fn wants_changes(&self, memory: usize, stored: u64) -> bool {
        let memory = memory as u64;
        memory > self.whole && stored <= memory.saturating_mul(self.stale)
    }
}

/// The folder of all jobs' files.
pub(crate) fn folder(storage: &Storage) -> PathBuf {
    storage.folder().1.join("state")
}

/// What the names of a job's files begin with.
fn prefix(key: &str) -> String {
    format!("{}-", OperatorUid::of(key))
}

/// Whether a file's name stands in one of these manifests, readable or not. State goes from one job to another when scripts change,
/// and its files keep their names.
fn is_named(name: &str, manifests: &[(Bytes, Bytes)]) -> bool {
    let mut texts = manifests
        .iter()
        .map(|(_, manifest)| String::from_utf8_lossy(manifest));
    texts.any(|text| text.contains(name))
}

/// Removes the files of jobs that have no manifest: it was removed, or never came to be.
pub(crate) fn sweep<'a>(storage: &Storage, keys: impl Iterator<Item = &'a str>) {
    let jobs: BTreeSet<String> = keys.map(prefix).collect();
    let (disk, folder) = (storage.folder().0, folder(storage));
    let manifests = storage.scan(Table::Manifests, b"");
    for entry in disk.list(&folder).unwrap_or_default() {
        let job = entry.name.split_inclusive('-').next().unwrap_or_default();
        if jobs.contains(job) || entry.is_dir || is_named(&entry.name, &manifests) {
            continue;
        }
        if let Err(error) = disk.remove(&folder.join(&entry.name)) {
            tracing::warn!(name = entry.name, %error, "a file of a state that is gone stays");
        }
    }
}

impl StateFile {
    /// What is in it.
    ///
    /// # Errors
    /// When it is gone or damaged.
    pub(crate) fn read(&self, disk: &dyn Disk, folder: &Path) -> Result<Vec<u8>, StateError> {
        let StateFile { name, bytes, check } = self;
        let read = read_all(disk, &folder.join(name));
        let read = read.map_err(|error| StateError::Disk(format!("{name}: {error}")))?;
        match read.len() as u64 == *bytes && crc32c::crc32c(&read) == *check {
            true => Ok(read),
            false => Err(StateError::Damaged(format!(
                "the state in {name} is damaged"
            ))),
        }
    }
}

/// The files of one job.
#[derive(Clone)]
pub(crate) struct StateFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// What their names begin with.
    job: String,
    /// Those that have such a name, and that the manifest of another job names.
    elsewhere: BTreeSet<String>,
    pub(crate) limits: Limits,
}

impl StateFiles {
    /// Those of the job whose manifest stands under `key`.
    pub(crate) fn of(storage: &Storage, key: &str) -> StateFiles {
        let (disk, data) = storage.folder();
        let mut files = StateFiles::under(disk, &data, key);
        let mut others = storage.scan(Table::Manifests, b"");
        others.retain(|(other, _)| other != key.as_bytes());
        let there = files.there();
        let elsewhere = there.into_iter().filter(|name| is_named(name, &others));
        files.elsewhere = elsewhere.collect();
        files
    }

    /// The names of those that are there.
    fn there(&self) -> BTreeSet<String> {
        let there = self.disk.list(&self.folder).unwrap_or_default();
        let names = there.into_iter().map(|entry| entry.name);
        names.filter(|name| name.starts_with(&self.job)).collect()
    }

    /// Those in the folder of a log.
    pub(crate) fn under(disk: Arc<dyn Disk>, data: &Path, key: &str) -> StateFiles {
        StateFiles {
            disk,
            folder: data.join("state"),
            job: prefix(key),
            elsewhere: BTreeSet::new(),
            limits: Limits::OURS,
        }
    }

    /// What writes files under names of its own: `which` is never said twice of a generation.
    pub(crate) fn writing(&self, generation: u64, which: &str) -> Writing<'_> {
        Writing {
            files: self,
            name: format!("{}{generation}-{which}", self.job),
            written: 0,
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.disk.create_dir_all(&self.folder)?;
        write_atomic(&*self.disk, &self.folder.join(name), bytes)
    }

    /// The compressed rows, of the section `name`.
    ///
    /// # Errors
    /// When a file is gone or damaged.
    pub(super) fn bytes<'a>(
        &self,
        section: &str,
        stored: &'a StoredRows,
    ) -> Result<Cow<'a, [u8]>, StateError> {
        match (&stored.inline, &stored.file) {
            (Some(bytes), None) => Ok(Cow::Borrowed(&bytes.0)),
            (None, Some(file)) => file.read(&*self.disk, &self.folder).map(Cow::Owned),
            _ => Err(super::encoded::damaged(
                section,
                "it stands nowhere, or twice",
            )),
        }
    }

    /// Takes over the files that a manifest names from another folder, under names of its own. They are durable when it returns.
    ///
    /// # Errors
    /// When a file is gone or damaged.
    pub(crate) fn copy(&self, from: &Path, manifest: &mut Manifest) -> Result<(), StateError> {
        let (generation, checkpoint) = (manifest.generation, manifest.checkpoint_id);
        let states = manifest.state.iter_mut();
        let states = states.flat_map(|state| state.operators.values_mut());
        for (n, file) in states.flat_map(OperatorState::files_mut).enumerate() {
            let bytes = file.read(&*self.disk, from)?;
            file.name = format!("{}{generation}-{checkpoint}-{n}.state", self.job);
            let written = self.write(&file.name, &bytes);
            written.map_err(|error| StateError::Disk(format!("{}: {error}", file.name)))?;
        }
        Ok(())
    }
}

/// Stores rows: what is large in files, which are durable when they are named.
pub(crate) struct Writing<'a> {
    files: &'a StateFiles,
    name: String,
    written: usize,
}

impl Store for Writing<'_> {
    fn store(&mut self, bytes: Vec<u8>, rows: u64, delta: bool) -> Result<StoredRows, StateError> {
        let Limits {
            inline,
            inline_changes,
            ..
        } = self.files.limits;
        if bytes.len() as u64 <= if delta { inline_changes } else { inline } {
            return Ok(StoredRows {
                rows,
                inline: Some(bytes.into()),
                file: None,
            });
        }
        let name = format!("{}-{}.state", self.name, self.written);
        self.written += 1;
        self.files
            .write(&name, &bytes)
            .map_err(|error| StateError::Disk(format!("{name}: {error}")))?;
        Ok(StoredRows {
            rows,
            inline: None,
            file: Some(StateFile {
                check: crc32c::crc32c(&bytes),
                bytes: bytes.len() as u64,
                name,
            }),
        })
    }
}

/// The files that may be there, and go when no manifest names them any more.
pub(crate) struct Leftovers {
    files: StateFiles,
    known: BTreeSet<String>,
}

impl Leftovers {
    pub(crate) fn of(files: &StateFiles) -> Leftovers {
        Leftovers {
            known: &files.there() - &files.elsewhere,
            files: files.clone(),
        }
    }

    /// These are there now.
    pub(crate) fn add<'a>(&mut self, files: impl Iterator<Item = &'a StateFile>) {
        self.known.extend(files.map(|file| file.name.clone()));
    }

    /// Removes the files that no state names; one that stays is tried again.
    pub(crate) fn keep<'a>(&mut self, states: impl Iterator<Item = &'a OperatorState>) {
        let named: BTreeSet<&str> = states
            .flat_map(OperatorState::files)
            .map(|file| &*file.name)
            .collect();
        let StateFiles { disk, folder, .. } = &self.files;
        self.known.retain(|name| {
            named.contains(&**name) || {
                let removed = disk.remove(&folder.join(name));
                if let Err(error) = &removed {
                    tracing::warn!(name, %error, "a file of an earlier state stays");
                }
                removed.is_err()
            }
        });
    }
}
