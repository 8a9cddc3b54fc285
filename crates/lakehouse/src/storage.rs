//! Durable files for Iceberg: contents and name are on disk before anything may point at them.
//!
//! Iceberg's own local storage does not fsync, so a crash could leave a committed table whose metadata is empty. Here every
//! file is made in four steps, after which the writer may be told of success:
//!
//! 1. written under a temporary name in its folder → 2. fsynced → 3. renamed → 4. the folder fsynced
//!
//! and new folders are fsynced into their parents. A crash leaves either the whole file or a `.part` that nobody names.
//! The simulator's disk runs under the same code, because all of it goes through [`stdx::disk::Disk`](lw_stdx::disk::Disk).

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind};
use lw_stdx::disk::{Disk, Entry, File};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Local files that are durable once written; hands itself to Iceberg as a [`FileIO`].
#[derive(Clone)]
pub struct Files {
    disk: Arc<dyn Disk>,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>) -> Files {
        Files { disk }
    }

    /// Iceberg's view of these files.
    pub fn io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }

    /// Starts a file that appears under its name when it is [finished](DurableFile::finish).
    pub fn create(&self, location: &str) -> io::Result<DurableFile> {
        self.start(location, "")
    }

    /// The same, for a name that others may be writing too: `attempt` keeps what they write apart until it has the name.
    pub fn create_apart(&self, location: &str, attempt: Uuid) -> io::Result<DurableFile> {
        self.start(location, &format!(".{attempt}"))
    }

    fn start(&self, location: &str, apart: &str) -> io::Result<DurableFile> {
        let path = local_path(location)?;
        let folder = parent(&path)?;
        self.make_folder(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}{apart}.part"));
        Ok(DurableFile {
            file: self.disk.create(&temporary)?,
            disk: self.disk.clone(),
            temporary,
            path,
            length: 0,
            finished: false,
        })
    }

    /// Writes a whole file durably.
    pub fn write(&self, location: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(location)?;
        file.append(bytes)?;
        file.finish()?;
        Ok(())
    }

    /// Writes a whole file durably unless something has its name already, and says whether it did. Of several who try it at
    /// the same time one succeeds, in this process or another.
    pub fn write_new(&self, location: &str, bytes: &[u8], attempt: Uuid) -> io::Result<bool> {
        let mut file = self.create_apart(location, attempt)?;
        file.append(bytes)?;
        file.finish_new()
    }

    /// The file, to be read where the caller needs to.
    pub fn open(&self, location: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(&local_path(location)?)
    }

    pub fn read(&self, location: &str) -> io::Result<Bytes> {
        let file = self.open(location)?;
        let length = file.len()?;
        read_range(&*file, 0..length)
    }

    pub fn exists(&self, location: &str) -> io::Result<bool> {
        Ok(self.disk.exists(&local_path(location)?))
    }

    /// A path with symbolic links followed as far as it exists.
    pub fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.real_path(path)
    }

    /// Removes a file; one that is not there is fine.
    pub fn remove(&self, location: &str) -> io::Result<()> {
        match self.disk.remove(&local_path(location)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The names in a folder, in no order; one that is not there has none.
    pub fn list(&self, location: &str) -> io::Result<Vec<Entry>> {
        match self.disk.list(&local_path(location)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// Makes removals in a folder durable.
    pub fn sync_folder(&self, location: &str) -> io::Result<()> {
        self.disk.sync_dir(&local_path(location)?)
    }

    /// Makes a folder and its parents, each durable in the one above.
    pub fn make_folder_at(&self, location: &str) -> io::Result<()> {
        self.make_folder(&local_path(location)?)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(above) = folder.parent().filter(|_| !self.disk.exists(folder)) else {
            return Ok(());
        };
        self.make_folder(above)?;
        self.disk.create_dir_all(folder)?;
        self.disk.sync_dir(above)
    }

    fn remove_below(&self, folder: &Path) -> io::Result<()> {
        if !self.disk.exists(folder) {
            return Ok(());
        }
        for entry in self.disk.list(folder)? {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                self.remove_below(&path)?;
            } else {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }
}

/// A file being written. Dropped before it is finished, it leaves nothing.
pub struct DurableFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    temporary: PathBuf,
    path: PathBuf,
    length: u64,
    finished: bool,
}

impl DurableFile {
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes contents and name durable; returns the length.
    pub fn finish(&mut self) -> io::Result<u64> {
        assert!(!self.finished, "a file is finished once");
        self.file.sync()?;
        self.disk.rename(&self.temporary, &self.path)?;
        self.disk.sync_dir(parent(&self.path)?)?;
        self.finished = true;
        Ok(self.length)
    }

    /// As [`finish`](DurableFile::finish), unless something has the name: then nothing is left of it, and it is `false`. The name is
    /// given by a link, which cannot replace anything.
    fn finish_new(self) -> io::Result<bool> {
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

impl Drop for DurableFile {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: a `.part` that stays is only space.
            let _ = self.disk.remove(&self.temporary);
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

/// The path of a `file:` location; any other place is refused by name.
pub fn local_path(location: &str) -> io::Result<PathBuf> {
    let path = match location.strip_prefix("file:") {
        Some(rest) if rest.starts_with("///") => &rest[2..],
        Some(rest) if rest.starts_with("//") => return Err(foreign(location)),
        Some(rest) => rest,
        None => location,
    };
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(foreign(location))
    }
}

fn foreign(location: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{location} is not a local place: only file:///… is supported"),
    )
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} has no folder", path.display()),
        )
    })
}

fn read_range(file: &dyn File, range: Range<u64>) -> io::Result<Bytes> {
    let length =
        usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

fn failed(action: &str, path: &str, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("cannot {action} {path}: {error}"),
    )
    .with_source(error)
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

/// Iceberg can ship a storage to another process. These files belong to a disk of this one, so that fails, in words.
impl Serialize for Files {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "files of this process cannot be sent to another",
        ))
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Files, D::Error> {
        Err(serde::de::Error::custom(
            "files of another process cannot be received",
        ))
    }
}

#[typetag::serde(name = "lakeward-files")]
impl StorageFactory for Files {
    fn build(&self, _: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde(name = "lakeward-files")]
impl Storage for Files {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        Files::exists(self, path).map_err(|error| failed("look for", path, error))
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let size = local_path(path)
            .and_then(|local| self.disk.open(&local)?.len())
            .map_err(|error| failed("open", path, error))?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        Files::read(self, path).map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        let file = local_path(path)
            .and_then(|local| self.disk.open(&local))
            .map_err(|error| failed("open", path, error))?;
        Ok(Box::new(Reader {
            file,
            path: path.to_owned(),
        }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        Files::write(self, path, &bytes).map_err(|error| failed("write", path, error))
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let file = self
            .create(path)
            .map_err(|error| failed("create", path, error))?;
        Ok(Box::new(Writer {
            file,
            path: path.to_owned(),
        }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.remove(path)
            .map_err(|error| failed("remove", path, error))
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        local_path(path)
            .and_then(|local| self.remove_below(&local))
            .map_err(|error| failed("empty", path, error))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            Storage::delete(self, &path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    file: Arc<dyn File>,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        read_range(&*self.file, range).map_err(|error| failed("read", &self.path, error))
    }
}

struct Writer {
    file: DurableFile,
    path: String,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.file
            .append(&bytes)
            .map_err(|error| failed("write", &self.path, error))
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        self.file
            .finish()
            .map(|_| ())
            .map_err(|error| failed("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_of_local_places_is_understood_and_others_are_refused() {
        let cases = [
            ("file:///w/t", Some("/w/t")),
            ("file:/w/t", Some("/w/t")),
            ("/w/t", Some("/w/t")),
            ("file://host/w", None),
            ("s3://bucket/w", None),
            ("w/t", None),
        ];
        for (location, expected) in cases {
            assert_eq!(
                local_path(location).ok(),
                expected.map(PathBuf::from),
                "{location}"
            );
        }
    }
}
