//! The writing end of the WAL: the active file, its group writes, and the step to the next file.
//!
//! Owned by one thread at a time. To step to the next file, in an order in which every crash recovers:
//! 1. take the spare, or reserve a file under a temporary name (here the disk may be full: nothing happened);
//! 2. write the next file's header, fsync, rename, fsync of the folder. Groups go on here.
//!
//! Sidecar and checkpoint of the file that ended follow beside the way to an answer (`upkeep.rs`): until they are there a
//! restart replays that file. At most one file waits for them; the next step writes them itself if need be.
//!
//! The last part of a file is a reserve that appends do not use. When no next file can be allocated, appends are refused
//! and small commits go on in the reserve: the ballast, at no extra space. It is divided, so that what matters more finds
//! room when the rest is refused already ([`Room`]): at the end there is always room for what frees space.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lw_stdx::disk::{File, read_full};

use crate::ahead::Placed;
use crate::config::{Config, Fault};
use crate::folder::Folder;
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, FileHeader, Group, Place};
use crate::ops::StorageFull;

/// The first file of a folder: small, so that a first start is quick.
const FIRST_FILE: u64 = 8 << 20;
const RESERVE: u64 = 2 << 20;
/// Memory that groups are written into is taken in pieces of at least this size.
const PIECE: usize = 1 << 20;

pub(crate) struct Wal {
    folder: Arc<Folder>,
    config: Config,
    place: Place,
    file: Arc<dyn File>,
    capacity: u64,
    /// The rest of the memory that the newest group was written into: the log's tail is made of few large pieces, however
    /// small the groups are, and whoever still holds a batch of it keeps no more than its piece.
    buffer: BytesMut,
}

/// Why the log could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// No space; nothing happened and nothing is lost.
    Full(StorageFull),
    /// The disk failed: what it holds now is unknown.
    Failed(String),
}

/// How much of the reserve a frame leaves to others; the later ones matter more on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Appends: all of it.
    Append,
    /// Group offsets, topics, schemas.
    Small,
    /// A pipeline's checkpoints and its tables' pointers: what lets it let go of the log.
    Checkpoint,
    /// DeleteRecords, deletions of keys.
    Free,
    /// Retention and DeleteTopic: what a full disk gets well by. Nothing that comes often may use this last part up.
    Last,
}

impl Room {
    fn leaves(self, reserve: u64) -> u64 {
        match self {
            Room::Append => reserve,
            Room::Small => reserve / 2,
            Room::Checkpoint => reserve / 4,
            Room::Free => reserve / 8,
            Room::Last => 0,
        }
    }
}

impl Wal {
    /// Goes on at `place`, or makes the folder's first file.
    pub(crate) fn open(
        folder: Arc<Folder>,
        config: Config,
        place: Option<Place>,
    ) -> io::Result<Wal> {
        let place = match place {
            Some(place) => place,
            None => {
                let len = config.wal_file_bytes.min(FIRST_FILE);
                let (path, file) = make(&folder, "next.tmp", |file| file.allocate(len))?;
                install(
                    &folder,
                    &path,
                    &*file,
                    &FileHeader::after(&Place::default()),
                )?
            }
        };
        let file = folder.handle(place.file)?;
        let capacity = file.len()?;
        Ok(Wal {
            folder,
            config,
            place,
            file,
            capacity,
            buffer: BytesMut::new(),
        })
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether a frame of at most `payload` bytes still fits after `pending` bytes of the same group.
    pub(crate) fn fits(&self, pending: u64, payload: usize, room: Room) -> bool {
        let reserve = RESERVE.min(self.capacity / 16);
        let end = self.place.position + pending + (FRAME_HEADER + payload) as u64;
        end <= self.capacity - room.leaves(reserve)
    }

    /// Encodes frames behind one another; returns the group's bytes, each frame's place, and the place after them.
    pub(crate) fn encode<'a>(
        &mut self,
        frames: impl Iterator<Item = &'a [Placed]>,
        size: usize,
    ) -> (Bytes, Vec<Place>) {
        if self.buffer.capacity() < size {
            self.buffer = BytesMut::with_capacity(size.max(PIECE));
        }
        let mut group = Group::at(self.place, std::mem::take(&mut self.buffer));
        let each = match self.config.fault {
            Some(Fault::SplitCommits) => 1,
            _ => usize::MAX,
        };
        let places = frames
            .flat_map(|records| records.chunks(each))
            .map(|records| {
                group.frame(|out| {
                    for placed in records {
                        placed.record.encode(placed.base_offset, out);
                    }
                })
            })
            .collect();
        let mut bytes = group.into_bytes();
        let group = bytes.split().freeze();
        self.buffer = bytes;
        (group, places)
    }

    pub(crate) fn write(&self, group: &[u8]) -> Result<(), WriteError> {
        self.file
            .write_at(group, self.place.position)
            .map_err(|error| self.classify(error, "write the log"))
    }

    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        // Even "no space" is a failure here: the kernel may have dropped the pages, so no retry can be trusted.
        self.file
            .sync()
            .map_err(|error| WriteError::Failed(format!("cannot sync the log: {error}")))
    }

    /// Writes what recovery has replayed once more, byte for byte, and syncs it. A sync alone is not enough: if one has
    /// failed in the process before us, the kernel may call those pages clean though no disk holds them.
    pub(crate) fn rewrite(&self, from: u64) -> io::Result<()> {
        const CHUNK: u64 = 1 << 20;
        let mut at = from;
        while at < self.place.position {
            let mut bytes = vec![0; (self.place.position - at).min(CHUNK) as usize];
            read_full(&*self.file, &mut bytes, at)?;
            self.file.write_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        self.file.sync()?;
        self.mark();
        Ok(())
    }

    /// Says on disk how far the log is synced, behind its last frame: without it the last group could not be told from one
    /// that a crash tore. No fdatasync: this is about a process that ends, or a power cut minutes later.
    pub(crate) fn mark(&self) {
        if self.place.position + FRAME_HEADER as u64 <= self.capacity {
            // A disk that fails here fails the next group too, which then says so to somebody.
            if let Err(error) = self
                .file
                .write_at(&frame::mark(&self.place), self.place.position)
            {
                tracing::warn!(%error, "no mark behind the log's last frame");
            }
        }
    }

    /// The group that was written and synced is part of the log.
    pub(crate) fn advance(&mut self, to: Place) {
        assert!(
            to.position <= self.capacity,
            "a group stays inside its file"
        );
        self.place = to;
    }

    /// Goes on in the next file, which has room for a frame of `payload` bytes.
    pub(crate) fn rotate(&mut self, payload: usize) -> Result<(), WriteError> {
        let frame = FILE_HEADER + (FRAME_HEADER + payload) as u64;
        // A sixteenth is reserve, see `fits`.
        let need = frame + frame / 15 + 1;
        let (path, next) = self.next_file(self.config.wal_file_bytes.max(need))?;
        let header = FileHeader::after(&self.place);
        let begun = install(&self.folder, &path, &*next, &header)
            .and_then(|place| Ok((place, next.len()?)));
        let (place, capacity) = begun.map_err(|error| self.classify(error, "begin a log file"))?;
        self.folder.adopt(place.file, next.clone());
        (self.file, self.place, self.capacity) = (next, place, capacity);
        Ok(())
    }

    /// The spare, or, when it is late, a file whose blocks are reserved but not written: the first sync of each costs twice
    /// as much, which is far less than to wait for the spare.
    fn next_file(&self, len: u64) -> Result<(PathBuf, Arc<dyn File>), WriteError> {
        let folder = &self.folder;
        let found = (|| -> io::Result<Option<Arc<dyn File>>> {
            let spare = folder.spare();
            if !folder.disk.exists(&spare) {
                return Ok(None);
            }
            let file = folder.disk.open(&spare)?;
            if file.len()? == len {
                return Ok(Some(file));
            }
            folder.disk.remove(&spare)?;
            Ok(None)
        })();
        match found {
            Ok(Some(file)) => return Ok((folder.spare(), file)),
            Ok(None) => {}
            Err(error) => return Err(self.classify(error, "use the spare log file")),
        }
        let free = folder.disk.free_bytes(&folder.wal).unwrap_or(u64::MAX);
        let needed = len + self.config.min_free_bytes;
        if free < needed {
            return Err(WriteError::Full(StorageFull { free, needed }));
        }
        make(folder, "late.tmp", |file| file.reserve(len))
            .map_err(|error| self.classify(error, "reserve a log file"))
    }

    pub(crate) fn classify(&self, error: io::Error, what: &str) -> WriteError {
        if is_full(&error) {
            let folder = &self.folder;
            return WriteError::Full(StorageFull {
                free: folder.disk.free_bytes(&folder.wal).unwrap_or(0),
                needed: self.config.wal_file_bytes + self.config.min_free_bytes,
            });
        }
        WriteError::Failed(format!("cannot {what}: {error}"))
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes a file of written zeros, under a temporary name. Synced piece by piece, so that a group commit of meanwhile
/// waits for one of them at most. `go_on` is asked between them; the file is abandoned when it says no.
pub(crate) fn allocate(
    folder: &Folder,
    len: u64,
    go_on: impl Fn() -> bool,
) -> io::Result<(PathBuf, Arc<dyn File>)> {
    const PIECE: u64 = 2 << 20;
    make(folder, "next.tmp", |file| {
        let mut have = 0;
        while have < len {
            if !go_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            have = (have + PIECE).min(len);
            file.allocate(have)?;
        }
        Ok(())
    })
}

fn make(
    folder: &Folder,
    name: &str,
    fill: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<(PathBuf, Arc<dyn File>)> {
    let path = folder.wal.join(name);
    let file = folder.disk.create(&path)?;
    if let Err(error) = fill(&*file) {
        drop(file);
        // A half-allocated file would hold the very space that is missing.
        let _ = folder.disk.remove(&path);
        return Err(error);
    }
    Ok((path, file))
}

/// Makes a file the one that `header` describes; from here on its old content means nothing.
fn install(
    folder: &Folder,
    path: &Path,
    file: &dyn File,
    header: &FileHeader,
) -> io::Result<Place> {
    let (bytes, place) = header.encode();
    file.write_at(&bytes, 0)?;
    file.sync()?;
    folder.disk.rename(path, &folder.file(header.id))?;
    folder.disk.sync_dir(&folder.wal)?;
    Ok(place)
}
