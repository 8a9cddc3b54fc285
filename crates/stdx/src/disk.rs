//! The disk as a seam: the only way to durable bytes, so that a simulated disk can take the place of the real one.
//!
//! What a caller may rely on, here and in `sim`: bytes are durable after [`File::sync`]; a name (created, renamed,
//! removed) is durable after [`Disk::sync_dir`] of its folder. Anything else may be lost or torn by a crash.

use std::any::Any;
use std::fs::{OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Creates the file, or truncates it.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, unless something has that name already: of several who try it, one succeeds.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]; [`io::ErrorKind::Unsupported`] on a disk where a file has one name.
    fn link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// In no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that may still be written to the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    fn total_bytes(&self, dir: &Path) -> io::Result<u64>;
    fn exists(&self, path: &Path) -> bool;
    /// The path with symbolic links followed as far as it exists. A disk without links has nothing to follow.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_path_buf())
    }
    /// Takes the exclusive lock `path`; the file holds the owner's process id and stays behind. A disk that no second
    /// process can see has nothing to lock.
    fn lock(&self, _path: &Path) -> io::Result<Lock> {
        Ok(Lock::Held(Box::new(())))
    }
}

/// The outcome of [`Disk::lock`].
pub enum Lock {
    /// Ours until the value is dropped or the process ends.
    Held(Box<dyn Any + Send + Sync>),
    /// Another process has it; 0 when it has not said which.
    Taken { pid: u32 },
}

/// Replaces `path` by `bytes` as a whole: a crash leaves the old content or the new, never a mixture.
///
/// # Errors
/// As the disk says; the old content then still stands.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(disk, path, |file| file.write_at(bytes, 0))
}

/// [`write_atomic`] for what is too large to be held as a whole: `write` writes it piece by piece.
///
/// # Errors
/// As the disk and `write` say; the old content then still stands.
pub fn write_atomic_with(
    disk: &dyn Disk,
    path: &Path,
    write: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    let written = write(&*file).and_then(|()| file.sync());
    drop(file);
    if let Err(error) = written {
        // On a full disk the half-written file would keep the space that everybody waits for.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// All bytes of a file.
///
/// # Errors
/// As the disk says.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let got = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Reads until `into` is full or the file ends; returns how much was read.
///
/// # Errors
/// As the disk says.
pub fn read_full(file: &dyn File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(&mut into[got..], position + got as u64)? {
            0 => break,
            read => got += read,
        }
    }
    Ok(got)
}

/// An open file. Positions are given with each call, so a file is shared without locks.
#[expect(
    clippy::len_without_is_empty,
    reason = "an open file is no collection: nobody asks whether it is empty"
)]
pub trait File: Send + Sync {
    /// Reads at most `into.len()` bytes; 0 at the end.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Makes the contents durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Makes the file `len` bytes long with blocks that are really there: later writes below `len` cannot meet a full disk.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// As [`File::allocate`] but quicker now and slower later: the blocks are reserved, and zeroed when they are first written.
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Reads exactly `into.len()` bytes.
    fn read_exact_at(&self, into: &mut [u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.read_at(&mut into[done..], position + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub len: u64,
    pub is_dir: bool,
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(std::fs::File);

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // Somebody removed it meanwhile; the folder is there all the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: metadata.len(),
                is_dir: metadata.is_dir(),
            });
        }
        Ok(entries)
    }

    /// Each new folder is a new name in its parent, which must be durable before anything in it can be.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|at| !at.as_os_str().is_empty() && !at.exists())
            .collect();
        std::fs::create_dir_all(dir)?;
        for made in missing.into_iter().rev() {
            let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_blocks * stat.f_frsize)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        for ancestor in path.ancestors() {
            match ancestor.canonicalize() {
                Ok(real) => {
                    let rest = path.strip_prefix(ancestor).map_err(io::Error::other)?;
                    return Ok(if rest.as_os_str().is_empty() {
                        real
                    } else {
                        real.join(rest)
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(path.to_path_buf())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The owner may be between lock and write; an empty file reads as 0.
                let _ = file.read_to_string(&mut text);
                let pid = text.trim().parse().unwrap_or(0);
                return Ok(Lock::Taken { pid });
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Lock::Held(Box::new(file)))
    }
}

impl File for RealFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(into, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Writes zeros: blocks that were only reserved are converted at the first write, which costs a sync twice as much.
    fn allocate(&self, len: u64) -> io::Result<()> {
        const CHUNK: usize = 1 << 20;
        let zeros = vec![0; CHUNK];
        let mut position = self.len()?;
        while position < len {
            let write = usize::try_from(len - position).unwrap_or(CHUNK).min(CHUNK);
            self.0.write_all_at(&zeros[..write], position)?;
            position += write as u64;
        }
        self.0.sync_all()
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Some file systems cannot.
            Err(rustix::io::Errno::OPNOTSUPP) => self.allocate(len),
            done => Ok(done?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_atomic_replaces_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pointer");
        write_atomic(&RealDisk, &path, b"first").unwrap();
        write_atomic(&RealDisk, &path, b"2").unwrap();
        assert_eq!(read_all(&RealDisk, &path).unwrap(), b"2");
        let entries = RealDisk.list(dir.path()).unwrap();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["pointer"]);
    }

    #[test]
    fn the_second_lock_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let Lock::Held(first) = RealDisk.lock(&path).unwrap() else {
            panic!("a fresh lock is free");
        };
        match RealDisk.lock(&path).unwrap() {
            Lock::Taken { pid } => assert_eq!(pid, std::process::id()),
            Lock::Held(_) => panic!("two owners"),
        }
        drop(first);
        assert!(matches!(RealDisk.lock(&path).unwrap(), Lock::Held(_)));
    }

    #[test]
    fn allocated_blocks_are_zero_and_read_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        file.allocate(3 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 3 << 20);
        let mut end = [7; 16];
        assert_eq!(read_full(&*file, &mut end, (3 << 20) - 8).unwrap(), 8);
        assert_eq!(end, [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        let file = RealDisk.create(&dir.path().join("g")).unwrap();
        file.reserve(1 << 20).unwrap();
        assert_eq!(read_full(&*file, &mut [0; 32], (1 << 20) - 8).unwrap(), 8);
    }
}
