//! A file that appears under its name as a whole, and is durable then.

use super::{parent, s3};
use lw_stdx::disk::{Disk, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A file being written. Dropped before it is finished, it leaves nothing.
pub struct DurableFile(Kind);

enum Kind {
    Local(LocalFile),
    Object(s3::Upload),
}

impl From<LocalFile> for DurableFile {
    fn from(file: LocalFile) -> DurableFile {
        DurableFile(Kind::Local(file))
    }
}

impl From<s3::Upload> for DurableFile {
    fn from(upload: s3::Upload) -> DurableFile {
        DurableFile(Kind::Object(upload))
    }
}

impl DurableFile {
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Local(file) => file.append(bytes),
            Kind::Object(upload) => upload.append(bytes),
        }
    }

    /// Makes contents and name durable; returns the length.
    pub fn finish(&mut self) -> io::Result<u64> {
        match &mut self.0 {
            Kind::Local(file) => file.finish(),
            Kind::Object(upload) => upload.finish(),
        }
    }
}

/// So that the Parquet writer can write into it.
impl io::Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A local file being written, under a temporary name.
pub(super) struct LocalFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    temporary: PathBuf,
    path: PathBuf,
    length: u64,
    finished: bool,
}

impl LocalFile {
    pub(super) fn begin(
        disk: Arc<dyn Disk>,
        temporary: PathBuf,
        path: PathBuf,
    ) -> io::Result<LocalFile> {
        Ok(LocalFile {
            file: disk.create(&temporary)?,
            disk,
            temporary,
            path,
            length: 0,
            finished: false,
        })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes contents and name durable; returns the length.
    fn finish(&mut self) -> io::Result<u64> {
        assert!(!self.finished, "a file is finished once");
        self.file.sync()?;
        self.disk.rename(&self.temporary, &self.path)?;
        self.disk.sync_dir(parent(&self.path)?)?;
        self.finished = true;
        Ok(self.length)
    }

    /// As [`finish`](LocalFile::finish), unless something has the name: then nothing is left of it, and it is `false`. The name is
    /// given by a link, which cannot replace anything.
    pub(super) fn finish_new(self) -> io::Result<bool> {
        self.file.sync()?;
        match self.disk.link(&self.temporary, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            other => other?,
        }
        self.disk.sync_dir(parent(&self.path)?)?;
        // Its first name goes with it.
        Ok(true)
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: a `.part` that stays is only space.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}
