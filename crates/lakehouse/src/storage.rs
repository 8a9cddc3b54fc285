//! Durable files for Iceberg: contents and name are durable before anything may point at them.
//!
//! A place is a local one (`file:///…`), or an object of a store (`s3://…`, [`s3`]) where stores are configured; a caller does not
//! tell them apart. Iceberg's own local storage does not fsync, so a crash could leave a committed table whose metadata is empty. Here
//! every local file is made in four steps, after which the writer may be told of success:
//!
//! 1. written under a temporary name in its folder → 2. fsynced → 3. renamed → 4. the folder fsynced
//!
//! and new folders are fsynced into their parents. A crash leaves either the whole file or a `.part` that nobody names.
//! The simulator's disk runs under the same code, because all of it goes through [`stdx::disk::Disk`](lw_stdx::disk::Disk).

mod durable;
mod iceberg_io;
pub mod s3;

pub use durable::DurableFile;

use bytes::Bytes;
use durable::LocalFile;
use lw_stdx::disk::{Disk, Entry, File};
use object_store::path::Path as Key;
use s3::{Bucket, Stores};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Files that are durable once written; hands itself to Iceberg as a `FileIO`.
#[derive(Clone)]
pub struct Files {
    disk: Arc<dyn Disk>,
    stores: Option<Arc<Stores>>,
}

/// Where a location is.
enum Place {
    Local(PathBuf),
    Object(Arc<Bucket>, Key),
}

impl Files {
    /// Local files alone.
    pub fn new(disk: Arc<dyn Disk>) -> Files {
        Files { disk, stores: None }
    }

    /// Objects of stores too.
    pub fn with_stores(disk: Arc<dyn Disk>, stores: Arc<Stores>) -> Files {
        Files {
            disk,
            stores: Some(stores),
        }
    }

    /// Where objects are, if there are any.
    pub fn stores(&self) -> Option<&Stores> {
        self.stores.as_deref()
    }

    /// That there can be files at `location`.
    ///
    /// # Errors
    /// When it is neither a local place nor one of a store.
    pub fn check(&self, location: &str) -> io::Result<()> {
        self.place(location).map(|_| ())
    }

    fn place(&self, location: &str) -> io::Result<Place> {
        match &self.stores {
            Some(stores) if s3::is_object(location) => {
                let (bucket, key) = stores.find(location)?;
                Ok(Place::Object(bucket, key))
            }
            None if s3::is_object(location) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{location} is in a store, and none is configured: [s3] in lakeward.toml says how one is reached"
                ),
            )),
            _ => Ok(Place::Local(local_path(location)?)),
        }
    }

    /// Starts a file that appears under its name when it is [finished](DurableFile::finish).
    pub fn create(&self, location: &str) -> io::Result<DurableFile> {
        match self.place(location)? {
            Place::Local(path) => Ok(self.start(path, "")?.into()),
            Place::Object(bucket, key) => Ok(s3::Upload::new(bucket, key).into()),
        }
    }

    /// The same, for a name that others may be writing too: `attempt` keeps what they write apart until it has the name. In a store
    /// what is written is nobody else's until then anyway.
    pub fn create_apart(&self, location: &str, attempt: Uuid) -> io::Result<DurableFile> {
        match self.place(location)? {
            Place::Local(path) => Ok(self.start(path, &format!(".{attempt}"))?.into()),
            Place::Object(bucket, key) => Ok(s3::Upload::new(bucket, key).into()),
        }
    }

    fn start(&self, path: PathBuf, apart: &str) -> io::Result<LocalFile> {
        let folder = parent(&path)?;
        self.make_folder(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}{apart}.part"));
        LocalFile::begin(self.disk.clone(), temporary, path)
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
        match self.place(location)? {
            Place::Local(path) => {
                let mut file = self.start(path, &format!(".{attempt}"))?;
                file.append(bytes)?;
                file.finish_new()
            }
            Place::Object(bucket, key) => {
                let bytes = Bytes::copy_from_slice(bytes);
                bucket.block(|bucket| async move { bucket.write_new(&key, bytes).await })
            }
        }
    }

    /// The file, to be read where the caller needs to.
    pub fn open(&self, location: &str) -> io::Result<Arc<dyn File>> {
        match self.place(location)? {
            Place::Local(path) => self.disk.open(&path),
            Place::Object(bucket, key) => Ok(Arc::new(s3::Object::open(bucket, key)?)),
        }
    }

    pub fn read(&self, location: &str) -> io::Result<Bytes> {
        match self.place(location)? {
            Place::Local(path) => {
                let file = self.disk.open(&path)?;
                let length = file.len()?;
                read_range(&*file, 0..length)
            }
            Place::Object(bucket, key) => {
                bucket.block(|bucket| async move { bucket.read(&key).await })
            }
        }
    }

    pub fn exists(&self, location: &str) -> io::Result<bool> {
        match self.place(location)? {
            Place::Local(path) => Ok(self.disk.exists(&path)),
            Place::Object(bucket, key) => {
                bucket.block(|bucket| async move { bucket.exists(&key).await })
            }
        }
    }

    /// A path with symbolic links followed as far as it exists. A store has none.
    pub fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        match path.is_absolute() {
            true => self.disk.real_path(path),
            false => Ok(path.to_path_buf()),
        }
    }

    /// Removes a file; one that is not there is fine.
    pub fn remove(&self, location: &str) -> io::Result<()> {
        match self.place(location)? {
            Place::Local(path) => match self.disk.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
            Place::Object(bucket, key) => {
                bucket.block(|bucket| async move { bucket.remove(&key).await })
            }
        }
    }

    /// The names in a folder, in no order; one that is not there has none.
    pub fn list(&self, location: &str) -> io::Result<Vec<Entry>> {
        match self.place(location)? {
            Place::Local(path) => match self.disk.list(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                other => other,
            },
            Place::Object(bucket, key) => {
                bucket.block(|bucket| async move { bucket.list(&key).await })
            }
        }
    }

    /// Shows every file in a folder and in the folders below it, with the folder that it is in. A store tells them all at once.
    pub fn visit(&self, location: &str, see: &mut dyn FnMut(&str, Entry)) -> io::Result<()> {
        if let Place::Object(bucket, key) = self.place(location)? {
            let all = bucket.block(|bucket| async move { bucket.list_below(&key).await })?;
            for (below, entry) in all {
                match below.is_empty() {
                    true => see(location, entry),
                    false => see(&format!("{location}/{below}"), entry),
                }
            }
            return Ok(());
        }
        for entry in self.list(location)? {
            match entry.is_dir {
                true => self.visit(&format!("{location}/{}", entry.name), see)?,
                false => see(location, entry),
            }
        }
        Ok(())
    }

    /// Makes removals in a folder durable. In a store they are.
    pub fn sync_folder(&self, location: &str) -> io::Result<()> {
        match self.place(location)? {
            Place::Local(path) => self.disk.sync_dir(&path),
            Place::Object(..) => Ok(()),
        }
    }

    /// Makes a folder and its parents, each durable in the one above. A store has them without being asked.
    pub fn make_folder_at(&self, location: &str) -> io::Result<()> {
        match self.place(location)? {
            Place::Local(path) => self.make_folder(&path),
            Place::Object(..) => Ok(()),
        }
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

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
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
