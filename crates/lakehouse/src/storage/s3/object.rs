//! An object that is read where somebody needs to, as a file is. What is read once in small pieces is fetched in a large one:
//! a request takes milliseconds, whatever it brings.

use super::Bucket;
use bytes::Bytes;
use lw_stdx::disk::File;
use object_store::path::Path;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What one request brings at least, if there is so much.
const WINDOW: u64 = 4 << 20;
/// How many are kept: a Parquet file is read at a place for each of its columns in turn.
const WINDOWS: usize = 8;
/// A file that is this small is fetched whole; of any other, first the end, where Parquet keeps its footer.
const TAIL: u64 = 1 << 20;

pub(in super::super) struct Object {
    bucket: Arc<Bucket>,
    key: Path,
    size: u64,
    windows: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Object {
    pub(in super::super) fn open(bucket: Arc<Bucket>, key: Path) -> io::Result<Object> {
        let of = key.clone();
        let size = bucket.block(|bucket| async move { bucket.size(&of).await })?;
        Ok(Object {
            bucket,
            key,
            size,
            windows: Mutex::default(),
        })
    }

    /// From a window that is there, else from a new one.
    fn window(&self, position: u64, wanted: u64) -> io::Result<(u64, Bytes)> {
        let holds = |(begin, bytes): &(u64, Bytes)| {
            *begin <= position && position < begin + bytes.len() as u64
        };
        if let Some(window) = self.windows.lock().iter().find(|one| holds(one)) {
            return Ok(window.clone());
        }
        let tail = self.size.saturating_sub(TAIL);
        let (begin, end) = match position >= tail {
            true => (tail, self.size),
            false => (position, self.size.min(position + wanted.max(WINDOW))),
        };
        let key = self.key.clone();
        let bytes = self
            .bucket
            .block(move |bucket| async move { bucket.read_range(&key, begin..end).await })?;
        let mut windows = self.windows.lock();
        windows.push_back((begin, bytes.clone()));
        if windows.len() > WINDOWS {
            windows.pop_front();
        }
        Ok((begin, bytes))
    }
}

impl File for Object {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        if position >= self.size || into.is_empty() {
            return Ok(0);
        }
        let (begin, bytes) = self.window(position, into.len() as u64)?;
        let from = usize::try_from(position - begin).expect("it is in the window");
        let read = into.len().min(bytes.len() - from);
        into[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(never_changes())
    }

    fn sync(&self) -> io::Result<()> {
        Err(never_changes())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(never_changes())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(never_changes())
    }
}

fn never_changes() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "an object never changes")
}
