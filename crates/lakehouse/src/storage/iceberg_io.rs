//! Our files as Iceberg's readers and writers see them.

use super::s3::Bucket;
use super::{DurableFile, Files, Place, read_range};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind};
use lw_stdx::disk::File;
use object_store::path::Path as Key;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io;
use std::ops::Range;
use std::sync::Arc;

impl Files {
    /// Iceberg's view of these files.
    pub fn io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }
}

fn failed(action: &str, path: &str, error: io::Error) -> Error {
    let said = error.to_string();
    // A store's error says it all already.
    let message = match said.contains(path) {
        true => said,
        false => format!("cannot {action} {path}: {said}"),
    };
    Error::new(ErrorKind::Unexpected, message).with_source(error)
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
        let found = match self.place(path) {
            Ok(Place::Object(bucket, key)) => {
                bucket
                    .run(|bucket| async move { bucket.exists(&key).await })
                    .await
            }
            _ => Files::exists(self, path),
        };
        found.map_err(|error| failed("look for", path, error))
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let size = match self.place(path) {
            Ok(Place::Object(bucket, key)) => {
                bucket
                    .run(|bucket| async move { bucket.size(&key).await })
                    .await
            }
            Ok(Place::Local(local)) => self.disk.open(&local).and_then(|file| file.len()),
            Err(error) => Err(error),
        };
        let size = size.map_err(|error| failed("open", path, error))?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        let read = match self.place(path) {
            Ok(Place::Object(bucket, key)) => {
                bucket
                    .run(|bucket| async move { bucket.read(&key).await })
                    .await
            }
            _ => Files::read(self, path),
        };
        read.map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        let path = path.to_owned();
        match self.place(&path) {
            Ok(Place::Object(bucket, key)) => Ok(Box::new(ObjectReader { bucket, key, path })),
            Ok(Place::Local(local)) => match self.disk.open(&local) {
                Ok(file) => Ok(Box::new(Reader { file, path })),
                Err(error) => Err(failed("open", &path, error)),
            },
            Err(error) => Err(failed("open", &path, error)),
        }
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
        let emptied = match self.place(path) {
            Ok(Place::Object(bucket, key)) => {
                bucket
                    .run(|bucket| async move { bucket.remove_below(&key).await })
                    .await
            }
            Ok(Place::Local(local)) => self.remove_below(&local),
            Err(error) => Err(error),
        };
        emptied.map_err(|error| failed("empty", path, error))
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

/// An object, of which only what is asked for is fetched.
struct ObjectReader {
    bucket: Arc<Bucket>,
    key: Key,
    path: String,
}

#[async_trait]
impl FileRead for ObjectReader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        let key = self.key.clone();
        let read = self
            .bucket
            .run(|bucket| async move { bucket.read_range(&key, range).await });
        read.await
            .map_err(|error| failed("read", &self.path, error))
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
