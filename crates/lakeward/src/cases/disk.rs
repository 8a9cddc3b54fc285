//! A disk in memory: the log of a case outlives nobody, and a sync would be most of the time that the case takes.

use lw_stdx::disk::{Disk, Entry, File};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room that is told of; a case is small.
const BYTES: u64 = 1 << 40;

/// Files by path. Folders are wherever a file is.
#[derive(Default)]
pub struct MemoryDisk(Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>);

#[derive(Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(MemoryFile::default());
        self.0.lock().insert(path.to_path_buf(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self.0.lock().get(path).cloned();
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().remove(path);
        Ok(removed.map(drop).ok_or(io::ErrorKind::NotFound)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let files = self.0.lock();
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entries = inside.map(|(path, file)| Entry {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            len: file.0.lock().len() as u64,
            is_dir: false,
        });
        Ok(entries.collect())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(BYTES)
    }

    fn total_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(BYTES)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.lock().contains_key(path)
    }
}

impl File for MemoryFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let bytes = self.0.lock();
        let from = bytes.len().min(position as usize);
        let read = into.len().min(bytes.len() - from);
        into[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, new: &[u8], position: u64) -> io::Result<()> {
        let mut bytes = self.0.lock();
        let end = position as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[position as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.truncate(len.max(self.len()?))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(len as usize, 0);
        Ok(())
    }
}
