//! The storage folder: which files there are, how they are named, which are open.
//!
//! ```text
//! <dir>/lock            flock, holds the owner's process id
//! <dir>/meta            format version and cluster id, JSON
//! <dir>/checkpoint      checkpoint.rs
//! <dir>/wal/<id>.wal    frame.rs     <dir>/wal/<id>.idx   index.rs     <dir>/wal/spare   the next file, allocated
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lw_stdx::disk::{Disk, File, read_full, write_atomic};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::codec::Damaged;
use crate::index::{ENTRY_LEN, Entry, Head, Segment};

/// Open WAL files kept; the log may have far more files than a process may have descriptors.
const OPEN_FILES: usize = 64;
/// What this version writes and reads. 2: frames that tell damage from a torn tail (frame.rs).
pub(crate) const FOLDER_FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) cluster_id: String,
}

pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) wal: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<dyn File>>>,
}

impl Folder {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Folder {
        Folder {
            disk,
            dir: dir.to_path_buf(),
            wal: dir.join("wal"),
            open: Mutex::default(),
        }
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.dir.join("meta")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    pub(crate) fn file(&self, id: u64) -> PathBuf {
        self.wal.join(format!("{id:020}.wal"))
    }

    pub(crate) fn sidecar(&self, id: u64) -> PathBuf {
        self.wal.join(format!("{id:020}.idx"))
    }

    pub(crate) fn spare(&self) -> PathBuf {
        self.wal.join("spare")
    }

    /// Ids of the WAL files, ascending. Leftovers of interrupted writes and sidecars of no file are removed.
    pub(crate) fn tidy_and_list(&self) -> io::Result<Vec<u64>> {
        let mut files = Vec::new();
        let mut sidecars = Vec::new();
        for entry in self.disk.list(&self.wal)? {
            let Some((stem, kind)) = entry.name.rsplit_once('.') else {
                continue;
            };
            match (stem.parse::<u64>(), kind) {
                (Ok(id), "wal") => files.push(id),
                (Ok(id), "idx") => sidecars.push(id),
                (_, "tmp") => self.disk.remove(&self.wal.join(&entry.name))?,
                _ => {}
            }
        }
        for id in sidecars.into_iter().filter(|id| !files.contains(id)) {
            self.disk.remove(&self.sidecar(id))?;
        }
        files.sort_unstable();
        Ok(files)
    }

    pub(crate) fn handle(&self, id: u64) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(&id) {
            return Ok(file.clone());
        }
        if open.len() >= OPEN_FILES {
            // The oldest file is the one that fewest readers are at.
            open.pop_first();
        }
        let file = self.disk.open(&self.file(id))?;
        open.insert(id, file.clone());
        Ok(file)
    }

    pub(crate) fn adopt(&self, id: u64, file: Arc<dyn File>) {
        self.open.lock().insert(id, file);
    }

    pub(crate) fn forget(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    pub(crate) fn write_sidecar(&self, id: u64, bytes: &[u8]) -> io::Result<()> {
        write_atomic(&*self.disk, &self.sidecar(id), bytes)
    }

    /// The head of a sidecar; an inner error when it is missing, damaged or another file's.
    pub(crate) fn read_head(&self, id: u64) -> io::Result<Result<Head, Damaged>> {
        let path = self.sidecar(id);
        if !self.disk.exists(&path) {
            return Ok(Err(Damaged("there is no index")));
        }
        let file = self.disk.open(&path)?;
        let mut bytes = vec![0; Head::PREFIX];
        let got = read_full(&*file, &mut bytes, 0)?;
        let len = match Head::len(&bytes[..got]) {
            Ok(len) if len as u64 <= file.len()? => len,
            Ok(_) => return Ok(Err(Damaged("the index is cut short"))),
            Err(damaged) => return Ok(Err(damaged)),
        };
        bytes.resize(len, 0);
        read_full(&*file, &mut bytes, 0)?;
        Ok(Head::decode(&bytes).and_then(|head| match head.file == id {
            true => Ok(head),
            false => Err(Damaged("the index is another file's")),
        }))
    }

    pub(crate) fn read_entries(
        &self,
        segment: &Segment,
    ) -> io::Result<Result<Vec<Entry>, Damaged>> {
        let file = self.disk.open(&self.sidecar(segment.file))?;
        let mut bytes = vec![0; segment.entries as usize * ENTRY_LEN];
        let got = read_full(&*file, &mut bytes, segment.entries_at)?;
        Ok(segment.decode_entries(&bytes[..got]))
    }
}
