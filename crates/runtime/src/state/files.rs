//! Sections of state that are too large for a manifest: a file each, beside the log.
//!
//! ```text
//! <data>/state/<job>-<generation>-<checkpoint>-<n>.state      job: a hash of the manifest's key
//! ```
//!
//! A file is durable before the manifest that names it, and goes when the next manifest, which does not, is. One that a crash
//! left between the two goes at the next start of the job: a process that takes a job over has another generation, so it writes
//! no name that is there.

use super::encoded::{OperatorState, StateFile};
use super::{StateError, States};
use lw_graph::OperatorUid;
use lw_stdx::disk::{Disk, read_all, write_atomic};
use lw_storage::Storage;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A section of so many bytes rides in the manifest, which is written again at each commit.
const INLINE: usize = 64 << 10;

/// The files of one job.
pub(crate) struct StateFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// What their names begin with.
    job: String,
    /// Those that may be there.
    known: BTreeSet<String>,
    /// The most bytes that are no file.
    pub(crate) inline: usize,
}

impl StateFiles {
    /// Those of the job whose manifest stands under `key`.
    pub(crate) fn of(storage: &Storage, key: &str) -> StateFiles {
        let (disk, data) = storage.folder();
        let folder = data.join("state");
        let job = format!("{}-", OperatorUid::of(key));
        let there = disk.list(&folder).unwrap_or_default().into_iter();
        let known = there.map(|entry| entry.name);
        let known = known.filter(|name| name.starts_with(&job)).collect();
        StateFiles {
            disk,
            folder,
            job,
            known,
            inline: INLINE,
        }
    }

    /// Writes what is large to files. They are durable when it returns.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn place(
        &mut self,
        states: &mut States,
        generation: u64,
        checkpoint: u64,
    ) -> Result<(), StateError> {
        let sections = states.values_mut().flat_map(|state| &mut state.sections);
        let large = sections.filter(|section| section.bytes() > self.inline as u64);
        for (n, section) in large.enumerate() {
            let name = format!("{}{generation}-{checkpoint}-{n}.state", self.job);
            let bytes = section.inline.take().expect("it has just been encoded").0;
            self.write(&name, &bytes)
                .map_err(|error| StateError::Disk(format!("{name}: {error}")))?;
            section.file = Some(StateFile {
                check: crc32c::crc32c(&bytes),
                bytes: bytes.len() as u64,
                name: name.clone(),
            });
            self.known.insert(name);
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.disk.create_dir_all(&self.folder)?;
        write_atomic(&*self.disk, &self.folder.join(name), bytes)
    }

    /// The states with what stands in files.
    ///
    /// # Errors
    /// When a file is gone or damaged.
    pub(crate) fn load(&self, states: &States) -> Result<States, StateError> {
        let mut states = states.clone();
        let sections = states.values_mut().flat_map(|state| &mut state.sections);
        for section in sections {
            if let Some(StateFile { name, bytes, check }) = section.file.take() {
                let read = read_all(&*self.disk, &self.folder.join(&name));
                let read = read.map_err(|error| StateError::Disk(format!("{name}: {error}")))?;
                if read.len() as u64 != bytes || crc32c::crc32c(&read) != check {
                    return Err(StateError::Damaged(format!(
                        "the state in {name} is damaged"
                    )));
                }
                section.inline = Some(read.into());
            }
        }
        Ok(states)
    }

    /// Removes the files that no state names; one that stays is tried again.
    pub(crate) fn keep<'a>(&mut self, states: impl Iterator<Item = &'a OperatorState>) {
        let sections = states.flat_map(|state| &state.sections);
        let files = sections.filter_map(|section| section.file.as_ref());
        let named: BTreeSet<&str> = files.map(|file| &*file.name).collect();
        let (disk, folder) = (&self.disk, &self.folder);
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
