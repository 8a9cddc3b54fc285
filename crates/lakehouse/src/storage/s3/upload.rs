//! An object being written: one request for a small one, parts for a large one, so that a file of any size takes the same memory.
//!
//! 1. Bytes gather. At [`PART`] an upload in parts begins, and a part goes out for each so many, at most [`UNDER_WAY`] at a time.
//! 2. Finished without parts: the object is given its name as [`Bucket::write_new`] does. With parts: the store makes the object of them.
//! 3. The reply to that may be lost. Then the object is there, with this length and under a name that nobody else gives: it is ours.
//!
//! Dropped before it is finished, the upload is ended; where the process dies first, by whoever sweeps ([`super::multiparts`]).

use super::{Bucket, wait, words};
use bytes::Bytes;
use object_store::MultipartId;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The least that Amazon takes is 5 MiB, of parts but the last.
pub(super) const PART: usize = 8 << 20;
const UNDER_WAY: usize = 3;

pub(in super::super) struct Upload {
    bucket: Arc<Bucket>,
    key: Path,
    waiting: Vec<u8>,
    length: u64,
    parts: Option<Parts>,
}

struct Parts {
    id: MultipartId,
    sent: usize,
    under_way: VecDeque<JoinHandle<io::Result<PartId>>>,
    done: Vec<PartId>,
}

impl Upload {
    pub(in super::super) fn new(bucket: Arc<Bucket>, key: Path) -> Upload {
        Upload {
            bucket,
            key,
            waiting: Vec::new(),
            length: 0,
            parts: None,
        }
    }

    pub(in super::super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        if self.waiting.len() >= PART {
            self.send()?;
        }
        Ok(())
    }

    /// The object is there; returns its length.
    ///
    /// # Errors
    /// As the store says; also when something else has the name.
    pub(in super::super) fn finish(&mut self) -> io::Result<u64> {
        if self.parts.is_none() {
            return self.finish_whole();
        }
        if !self.waiting.is_empty() {
            self.send()?;
        }
        let mut parts = self.parts.take().expect("it was looked at");
        let done = self.complete(&mut parts);
        if done.is_err() {
            // So that it is ended when dropped.
            self.parts = Some(parts);
        }
        done.map(|()| self.length)
    }

    fn finish_whole(&mut self) -> io::Result<u64> {
        let bytes = Bytes::from(std::mem::take(&mut self.waiting));
        let key = self.key.clone();
        let is_new = self
            .bucket
            .block(move |bucket| async move { bucket.write_new(&key, bytes).await })?;
        match is_new {
            true => Ok(self.length),
            false => Err(self.taken()),
        }
    }

    fn taken(&self) -> io::Error {
        let message = format!(
            "{} is there already, with other contents",
            self.bucket.location(&self.key)
        );
        io::Error::new(io::ErrorKind::AlreadyExists, message)
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.waiting));
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let key = self.key.clone();
                let id = self
                    .bucket
                    .block(|bucket| async move { bucket.begin(&key).await })?;
                self.parts.insert(Parts {
                    id,
                    sent: 0,
                    under_way: VecDeque::new(),
                    done: Vec::new(),
                })
            }
        };
        while parts.under_way.len() >= UNDER_WAY {
            parts.wait_for_one(&self.bucket)?;
        }
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        let (id, number) = (parts.id.clone(), parts.sent);
        parts.sent += 1;
        let part = async move { bucket.put_part(&key, &id, number, bytes).await };
        parts.under_way.push_back(self.bucket.runtime.spawn(part));
        Ok(())
    }

    fn complete(&self, parts: &mut Parts) -> io::Result<()> {
        while !parts.under_way.is_empty() {
            parts.wait_for_one(&self.bucket)?;
        }
        let (key, id, length) = (self.key.clone(), parts.id.clone(), self.length);
        let done = std::mem::take(&mut parts.done);
        self.bucket
            .block(move |bucket| async move { bucket.complete(&key, &id, done, length).await })
    }
}

impl Parts {
    fn wait_for_one(&mut self, bucket: &Arc<Bucket>) -> io::Result<()> {
        let Some(oldest) = self.under_way.pop_front() else {
            return Ok(());
        };
        let part = bucket.block(|_| async move { oldest.await.map_err(io::Error::other)? })?;
        self.done.push(part);
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        for part in &parts.under_way {
            part.abort();
        }
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        // Best effort, and nobody waits for it.
        self.bucket.runtime.spawn(async move {
            let _ = bucket.abort(&key, &parts.id).await;
        });
    }
}

impl Bucket {
    async fn begin(&self, key: &Path) -> io::Result<MultipartId> {
        self.check_probed(key).await?;
        let begun = self.store.create_multipart(key).await;
        begun.map_err(|error| self.failed("write", key, error))
    }

    /// A part is what its number says, however often it is sent.
    async fn put_part(
        &self,
        key: &Path,
        id: &MultipartId,
        number: usize,
        bytes: Bytes,
    ) -> io::Result<PartId> {
        let mut pause = super::PAUSE;
        for attempt in 1.. {
            let sent = self
                .store
                .put_part(key, id, number, bytes.clone().into())
                .await;
            match sent {
                Ok(part) => return Ok(part),
                Err(error) if attempt == super::ATTEMPTS || !words::may_pass(&error) => {
                    return Err(self.failed("write", key, error));
                }
                Err(_) => wait(pause).await,
            }
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn complete(
        &self,
        key: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
        length: u64,
    ) -> io::Result<()> {
        let Err(error) = self.store.complete_multipart(key, id, parts).await else {
            return Ok(());
        };
        match self.size(key).await {
            Ok(size) if size == length => Ok(()),
            Ok(_) | Err(_) => Err(self.failed("write", key, error)),
        }
    }
}
