//! The storage folder: which files there are, how they are named, which are open.
//!
//! ```text
//! <dir>/lock            flock, holds the owner's process id
//! <dir>/meta            format version and cluster id, JSON
//! <dir>/checkpoint      checkpoint.rs     <dir>/checkpoint.old   the one before it, in case the newer one rots
//! <dir>/wal/<id>.wal    frame.rs     <dir>/wal/<id>.idx   index.rs     <dir>/wal/spare   the next file, allocated
//! <dir>/wal/<id>.seg    rewritten: the live batches of WAL files <id> to `through`, behind their index
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lw_stdx::disk::{Disk, File, read_full, write_atomic, write_atomic_with};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::codec::Damaged;
use crate::index::{Entry, Head, Segment};
use crate::numbers::FileNumber;

/// Open WAL files kept; the log may have far more files than a process may have descriptors.
const OPEN_FILES: usize = 64;
/// What this version writes. 2: frames that tell damage from a torn tail (frame.rs). 3: two checkpoints, which know the log's
/// time; a checksum in `meta`. 4: indexes that say when a batch was appended (index.rs). 5: anchors of the wall time (wall.rs).
pub(crate) const FOLDER_FORMAT: u32 = 5;
/// The oldest that this version reads; opening makes it the newest.
pub(crate) const OLDEST_FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) cluster_id: String,
    /// CRC-32C of the two; format 2 had none.
    check: Option<u32>,
}

impl Meta {
    pub(crate) fn new(cluster_id: String) -> Meta {
        let format = FOLDER_FORMAT;
        let check = Some(Meta::sum(format, &cluster_id));
        Meta {
            format,
            cluster_id,
            check,
        }
    }

    fn sum(format: u32, cluster_id: &str) -> u32 {
        crc32c::crc32c_append(format, cluster_id.as_bytes())
    }

    pub(crate) fn holds(&self) -> bool {
        match self.check {
            Some(check) => check == Meta::sum(self.format, &self.cluster_id),
            None => self.format <= OLDEST_FORMAT,
        }
    }
}

/// Handles, and when each was used last: a count of uses.
#[derive(Default)]
struct OpenFiles {
    uses: u64,
    files: BTreeMap<FileNumber, (u64, Arc<dyn File>)>,
}

impl OpenFiles {
    fn get(&mut self, id: FileNumber) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let (used, file) = self.files.get_mut(&id)?;
        *used = self.uses;
        Some(file.clone())
    }

    fn put(&mut self, id: FileNumber, file: Arc<dyn File>) {
        self.uses += 1;
        self.files.insert(id, (self.uses, file));
        if self.files.len() > OPEN_FILES {
            let used = self.files.iter().map(|(id, (used, _))| (*used, *id));
            let (_, oldest) = used.min().expect("there are many");
            self.files.remove(&oldest);
        }
    }
}

pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) wal: PathBuf,
    open: Mutex<OpenFiles>,
    /// Which ids are rewritten files.
    rewritten: Mutex<BTreeSet<FileNumber>>,
}

impl Folder {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Folder {
        Folder {
            disk,
            dir: dir.to_path_buf(),
            wal: dir.join("wal"),
            open: Mutex::default(),
            rewritten: Mutex::default(),
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

    pub(crate) fn older_checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint.old")
    }

    /// The newest becomes the older one. A crash in between leaves only that one, which is enough.
    pub(crate) fn write_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        let path = self.checkpoint();
        if self.disk.exists(&path) {
            self.disk.rename(&path, &self.older_checkpoint())?;
        }
        write_atomic(&*self.disk, &path, bytes)
    }

    /// A damaged checkpoint must not take the place of the older one that stood in for it.
    pub(crate) fn set_checkpoint_aside(&self) -> io::Result<()> {
        let path = self.checkpoint();
        self.disk
            .rename(&path, &self.dir.join("checkpoint.damaged"))?;
        self.disk.sync_dir(&self.dir)
    }

    pub(crate) fn file(&self, id: FileNumber) -> PathBuf {
        self.wal.join(format!("{:020}.wal", id.0))
    }

    fn sidecar(&self, id: FileNumber) -> PathBuf {
        self.wal.join(format!("{:020}.idx", id.0))
    }

    pub(crate) fn rewritten(&self, id: FileNumber) -> PathBuf {
        self.wal.join(format!("{:020}.seg", id.0))
    }

    pub(crate) fn is_rewritten(&self, id: FileNumber) -> bool {
        self.rewritten.lock().contains(&id)
    }

    /// The file with a sealed file's batches.
    pub(crate) fn batches(&self, id: FileNumber) -> PathBuf {
        match self.is_rewritten(id) {
            true => self.rewritten(id),
            false => self.file(id),
        }
    }

    /// The file that begins with the index of them.
    pub(crate) fn index(&self, id: FileNumber) -> PathBuf {
        match self.is_rewritten(id) {
            true => self.rewritten(id),
            false => self.sidecar(id),
        }
    }

    pub(crate) fn spare(&self) -> PathBuf {
        self.wal.join("spare")
    }

    /// Ids of the log's files, ascending. What interrupted work left behind is removed: half-written files, sidecars of no
    /// file, and files whose batches a rewritten one holds; an inner error names a rewritten file that is damaged.
    pub(crate) fn tidy_and_list(&self) -> io::Result<Result<Vec<FileNumber>, (PathBuf, Damaged)>> {
        let [mut files, mut sidecars, mut rewritten] = [const { BTreeSet::new() }; 3];
        for entry in self.disk.list(&self.wal)? {
            let Some((stem, kind)) = entry.name.rsplit_once('.') else {
                continue;
            };
            match (stem.parse().map(FileNumber), kind) {
                (Ok(id), "wal") => drop(files.insert(id)),
                (Ok(id), "idx") => drop(sidecars.insert(id)),
                (Ok(id), "seg") => drop(rewritten.insert(id)),
                (_, "tmp") => self.disk.remove(&self.wal.join(&entry.name))?,
                _ => {}
            }
        }
        let mut listed = BTreeSet::new();
        while let Some(id) = rewritten.pop_first() {
            self.rewritten.lock().insert(id);
            let through = match self.read_head(id)? {
                Ok(head) => head.through,
                Err(damaged) => return Ok(Err((self.rewritten(id), damaged))),
            };
            for old in rewritten.extract_if(id..=through, |_| true) {
                self.disk.remove(&self.rewritten(old))?;
            }
            for old in files.extract_if(id..=through, |_| true) {
                self.disk.remove(&self.file(old))?;
            }
            listed.insert(id);
        }
        for id in sidecars.difference(&files) {
            self.disk.remove(&self.sidecar(*id))?;
        }
        listed.append(&mut files);
        Ok(Ok(listed.into_iter().collect()))
    }

    /// One rewritten file, in its place already, stands for all of these from now on.
    pub(crate) fn replace(&self, files: &RangeInclusive<FileNumber>) {
        self.open.lock().files.retain(|id, _| !files.contains(id));
        let mut rewritten = self.rewritten.lock();
        rewritten.retain(|id| !files.contains(id));
        rewritten.insert(*files.start());
    }

    /// Takes a sealed file's index away, and a rewritten file whole; returns what is left to remove or to use again.
    pub(crate) fn remove_index(
        &self,
        id: FileNumber,
        rewritten: bool,
    ) -> io::Result<Option<PathBuf>> {
        if rewritten {
            self.disk.remove(&self.rewritten(id))?;
            return Ok(None);
        }
        if self.disk.exists(&self.sidecar(id)) {
            self.disk.remove(&self.sidecar(id))?;
        }
        Ok(Some(self.file(id)))
    }

    pub(crate) fn handle(&self, id: FileNumber) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(id) {
            return Ok(file);
        }
        let file = self.disk.open(&self.batches(id))?;
        open.put(id, file.clone());
        Ok(file)
    }

    pub(crate) fn adopt(&self, id: FileNumber, file: Arc<dyn File>) {
        self.open.lock().put(id, file);
    }

    pub(crate) fn forget(&self, id: FileNumber) {
        self.open.lock().files.remove(&id);
        self.rewritten.lock().remove(&id);
    }

    pub(crate) fn write_sidecar(
        &self,
        id: FileNumber,
        write: impl FnOnce(&dyn File) -> io::Result<()>,
    ) -> io::Result<()> {
        write_atomic_with(&*self.disk, &self.sidecar(id), write)
    }

    /// The head of a sealed file's index; an inner error when it is missing, damaged or another file's.
    pub(crate) fn read_head(&self, id: FileNumber) -> io::Result<Result<Head, Damaged>> {
        let path = self.index(id);
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
        let file = self.disk.open(&self.index(segment.file))?;
        let mut bytes = vec![0; segment.entries_len()];
        let got = read_full(&*file, &mut bytes, segment.entries_at)?;
        Ok(segment.decode_entries(&bytes[..got]))
    }
}
