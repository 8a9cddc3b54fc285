//! Reading one partition: by offset and by time. (Across partitions, in WAL order: `in_order.rs`.)
//!
//! A read has three parts: under the lock, find where the batches stand (and take those that the tail still has); without
//! it, read the rest from the files; check each of those batches against its own CRC before it leaves. A damaged byte on
//! disk is an error, never a record.

use std::sync::Arc;

use bytes::Bytes;
use lw_protocol::Batch;
use lw_stdx::disk::read_full;
use uuid::Uuid;

use crate::commit::{Core, Shared};
use crate::index::{Entry, Segment};
use crate::ops::ReadError;
use crate::record::LogId;
use crate::state::Log;
use crate::storage::{Fetched, Storage};

/// Batches on disk closer than this are read in one go.
const GAP: u64 = 4 << 10;
/// Longest single read.
const RUN: u64 = 4 << 20;

/// A batch to be read: in memory already, or at a place on disk.
pub(crate) enum Found {
    Memory(Bytes),
    Disk { file: u64, entry: Entry },
}

/// Where the batches at an offset are indexed.
pub(crate) enum Located {
    Sealed(Segment),
    Active(usize),
    End,
}

impl Storage {
    /// Batches from the one that holds `offset` on: whole, about `max_bytes`, at least one if there is any, never past the
    /// high watermark. May stop early; fetch again from the next offset.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] outside log start and high watermark; damaged bytes and disk failures.
    pub fn fetch(
        &self,
        topic: Uuid,
        partition: i32,
        offset: i64,
        max_bytes: usize,
    ) -> Result<Fetched, ReadError> {
        self.shared
            .fetch(LogId { topic, partition }, offset, max_bytes)
    }

    /// The first record at or after `timestamp`: (offset, its timestamp).
    ///
    /// # Errors
    /// As [`Storage::fetch`].
    pub fn offset_for_time(
        &self,
        topic: Uuid,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        let id = LogId { topic, partition };
        self.shared
            .first_record(id, |max| max >= timestamp, |at| at >= timestamp)
    }

    /// The record with the largest timestamp, the first of equals: (offset, timestamp).
    ///
    /// # Errors
    /// As [`Storage::fetch`].
    pub fn max_timestamp(
        &self,
        topic: Uuid,
        partition: i32,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        let id = LogId { topic, partition };
        let largest = {
            let core = self.shared.core.lock();
            let log = core
                .state
                .logs
                .get(&id)
                .ok_or(ReadError::UnknownPartition)?;
            let sealed = log.segments.iter().map(|segment| segment.max_timestamp);
            sealed
                .chain(log.active.iter().map(|entry| entry.max_timestamp))
                .max()
        };
        match largest {
            Some(largest) => self
                .shared
                .first_record(id, |max| max >= largest, |at| at >= largest),
            None => Ok(None),
        }
    }
}

impl Shared {
    fn fetch(&self, id: LogId, offset: i64, max_bytes: usize) -> Result<Fetched, ReadError> {
        let _reading = self.readers.read();
        let core = self.core.lock();
        let log = core
            .state
            .logs
            .get(&id)
            .ok_or(ReadError::UnknownPartition)?;
        let mut fetched = Fetched {
            batches: Vec::new(),
            log_start: log.start,
            high_watermark: log.end,
        };
        let found = match log.locate(offset)? {
            Located::End => return Ok(fetched),
            Located::Active(first) => {
                let entries = within(&log.active[first..], max_bytes);
                let found = core.find(core.active_file, entries);
                drop(core);
                found
            }
            Located::Sealed(segment) => {
                drop(core);
                let entries = self.entries(id, &segment)?;
                let first = entries.partition_point(|entry| entry.last < offset);
                let entries = within(&entries[first..], max_bytes);
                self.core.lock().find(segment.file, entries)
            }
        };
        fetched.batches = self.load(found)?;
        Ok(fetched)
    }

    /// The first record for which `record` holds of its timestamp, looking only into batches for which `batch` holds of
    /// their largest one.
    fn first_record(
        &self,
        id: LogId,
        batch: impl Fn(i64) -> bool,
        record: impl Fn(i64) -> bool,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        let _reading = self.readers.read();
        let core = self.core.lock();
        let log = core
            .state
            .logs
            .get(&id)
            .ok_or(ReadError::UnknownPartition)?;
        let start = log.start;
        let sealed = log
            .segments
            .iter()
            .find(|segment| batch(segment.max_timestamp));
        let (file, entry) = match sealed.copied() {
            Some(segment) => {
                drop(core);
                let entries = self.entries(id, &segment)?;
                let entry = entries
                    .iter()
                    .find(|e| e.last >= start && batch(e.max_timestamp));
                (segment.file, entry.copied())
            }
            None => {
                let entry = log
                    .active
                    .iter()
                    .find(|entry| batch(entry.max_timestamp))
                    .copied();
                let file = core.active_file;
                drop(core);
                (file, entry)
            }
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        let found = self.core.lock().find(file, &[entry]);
        let bytes = self.load(found)?.swap_remove(0);
        let corrupt = |reason: String| self.corrupt(file, &entry, reason);
        let parsed = Batch::split_from(&mut bytes.clone()).map_err(|e| corrupt(e.to_string()))?;
        if parsed.header().is_log_append_time() {
            return Ok(Some((entry.base.max(start), entry.max_timestamp)));
        }
        let records = parsed.records().map_err(|e| corrupt(e.to_string()))?;
        for each in records.iter() {
            let each = each.map_err(|e| corrupt(e.to_string()))?;
            if each.offset >= start && record(each.timestamp) {
                return Ok(Some((each.offset, each.timestamp)));
            }
        }
        Ok(None)
    }

    /// The entries of a sealed segment, from the cache or the sidecar.
    pub(crate) fn entries(&self, id: LogId, segment: &Segment) -> Result<Arc<[Entry]>, ReadError> {
        if let Some(entries) = self.index_cache.get(segment.file, id) {
            return Ok(entries);
        }
        let read = self
            .folder
            .read_entries(segment)
            .map_err(|error| ReadError::Io(error.to_string()))?;
        let entries: Arc<[Entry]> = read
            .map_err(|damaged| ReadError::Corrupt {
                file: self.folder.index(segment.file).display().to_string(),
                position: segment.entries_at,
                reason: damaged.0.to_owned(),
            })?
            .into();
        self.index_cache.put(segment.file, id, entries.clone());
        Ok(entries)
    }

    /// Reads what is not in memory, neighbours together.
    pub(crate) fn load(&self, found: Vec<Found>) -> Result<Vec<Bytes>, ReadError> {
        let mut batches = Vec::with_capacity(found.len());
        let mut rest = found.into_iter().peekable();
        while let Some(next) = rest.next() {
            let (file, entry) = match next {
                Found::Memory(bytes) => {
                    batches.push(bytes);
                    continue;
                }
                Found::Disk { file, entry } => (file, entry),
            };
            let start = u64::from(entry.position);
            let mut run = vec![entry];
            let mut end = start + u64::from(entry.len);
            while let Some(Found::Disk { file: _, entry }) = rest.next_if(|next| {
                matches!(next, Found::Disk { file: f, entry }
                    if *f == file
                        && u64::from(entry.position) >= end
                        && u64::from(entry.position) - end <= GAP
                        && u64::from(entry.position + entry.len) - start <= RUN)
            }) {
                end = u64::from(entry.position) + u64::from(entry.len);
                run.push(entry);
            }
            self.load_run(file, start..end, &run, &mut batches)?;
        }
        Ok(batches)
    }

    fn load_run(
        &self,
        file: u64,
        range: std::ops::Range<u64>,
        run: &[Entry],
        batches: &mut Vec<Bytes>,
    ) -> Result<(), ReadError> {
        let io = |error: std::io::Error| ReadError::Io(error.to_string());
        let handle = self.folder.handle(file).map_err(io)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let got = read_full(&*handle, &mut bytes, range.start).map_err(io)?;
        bytes.truncate(got);
        let bytes = Bytes::from(bytes);
        for entry in run {
            let from = (u64::from(entry.position) - range.start) as usize;
            let to = from + entry.len as usize;
            if to > bytes.len() {
                return Err(self.corrupt(file, entry, "the file ends before the batch".to_owned()));
            }
            let slice = bytes.slice(from..to);
            let batch = Batch::split_from(&mut slice.clone()).and_then(|batch| {
                batch.verify_crc()?;
                Ok(batch)
            });
            match batch {
                Ok(batch)
                    if batch.header().base_offset == entry.base
                        && batch.bytes().len() == slice.len() =>
                {
                    batches.push(slice);
                }
                Ok(_) => {
                    return Err(self.corrupt(file, entry, "another batch stands there".to_owned()));
                }
                Err(error) => return Err(self.corrupt(file, entry, error.to_string())),
            }
        }
        Ok(())
    }

    fn corrupt(&self, file: u64, entry: &Entry, reason: String) -> ReadError {
        let file = self.folder.batches(file).display().to_string();
        tracing::error!(%file, position = entry.position, offset = entry.base, %reason, "the log is damaged");
        ReadError::Corrupt {
            file,
            position: u64::from(entry.position),
            reason,
        }
    }
}

impl Core {
    /// Takes what the tail has; the rest is to be read.
    fn find(&self, file: u64, entries: &[Entry]) -> Vec<Found> {
        entries
            .iter()
            .map(|entry| self.find_one(file, entry))
            .collect()
    }

    pub(crate) fn find_one(&self, file: u64, entry: &Entry) -> Found {
        match self
            .tail
            .get(file, u64::from(entry.position), entry.len as usize)
        {
            Some(bytes) => Found::Memory(bytes),
            None => Found::Disk {
                file,
                entry: *entry,
            },
        }
    }
}

impl Log {
    pub(crate) fn locate(&self, offset: i64) -> Result<Located, ReadError> {
        if offset < self.start || offset > self.end {
            return Err(ReadError::OutOfRange {
                asked: offset,
                start: self.start,
                end: self.end,
            });
        }
        let segment = self
            .segments
            .partition_point(|segment| segment.last < offset);
        if let Some(segment) = self.segments.get(segment) {
            return Ok(Located::Sealed(*segment));
        }
        let entry = self.active.partition_point(|entry| entry.last < offset);
        Ok(match entry < self.active.len() {
            true => Located::Active(entry),
            false => Located::End,
        })
    }
}

/// The first entries that together have about `max_bytes`, at least one.
fn within(entries: &[Entry], max_bytes: usize) -> &[Entry] {
    let mut size = 0;
    let count = entries
        .iter()
        .take_while(|entry| {
            size += entry.len as usize;
            size <= max_bytes
        })
        .count();
    &entries[..count.max(1).min(entries.len())]
}
