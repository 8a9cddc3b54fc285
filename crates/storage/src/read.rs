//! Reading one partition: by offset and by time. (Across partitions, in WAL order: `in_order.rs`.)
//!
//! A read has three parts: under the lock, find where the batches stand (and take those that the tail still has); without
//! it, read the rest from the files; check each of those batches against its own CRC before it leaves. A damaged byte on
//! disk is an error, never a record.

use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use lw_protocol::Batch;
use lw_stdx::disk::read_full;
use uuid::Uuid;

use crate::cache::Entries;
use crate::engine::{Core, Engine};
use crate::index::{Entry, Segment};
use crate::numbers::{FileNumber, Offset};
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
    Disk { file: FileNumber, entry: Entry },
}

/// Where to read in one partition, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchFrom {
    pub topic: Uuid,
    pub partition: i32,
    pub offset: i64,
    pub max_bytes: usize,
}

impl FetchFrom {
    pub fn log(&self) -> LogId {
        LogId {
            topic: self.topic,
            partition: self.partition,
        }
    }
}

/// An answer for each partition that was asked for, and the places, by their number, of those that have something to read.
type Places = (Vec<Result<Fetched, ReadError>>, Vec<(usize, Picked)>);

/// What a fetch may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Memory,
    Disk,
}

/// A partition's part in a fetch: a place in a sealed file, or entries of the active one.
enum Picked {
    Sealed(Segment),
    Active(FileNumber, Vec<Entry>),
}

/// What the partitions of a fetch share.
struct Budget {
    left: usize,
    /// The first batch comes however large it is: a reader must not starve on its own limit.
    none_yet: bool,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.left == 0 && !self.none_yet
    }

    /// The first entries that fit.
    fn take<'a>(&mut self, entries: &'a [Entry], max_bytes: usize) -> &'a [Entry] {
        let bound = self.left.min(max_bytes);
        let (mut count, mut size) = (0, 0);
        for entry in entries {
            let with = size + entry.len as usize;
            if with > bound && !(count == 0 && self.none_yet) {
                break;
            }
            (count, size) = (count + 1, with);
        }
        self.none_yet &= count == 0;
        self.left = self.left.saturating_sub(size);
        &entries[..count]
    }
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
        self.engine.fetch(&FetchFrom {
            topic,
            partition,
            offset,
            max_bytes,
        })
    }

    /// [`Storage::fetch`] from many partitions, all bounds as of one moment: an answer for each, in their order. They share
    /// `max_bytes`: batches are taken while they fit into it and into their partition's own bound, but for the very first
    /// batch, which comes however large it is. What does not fit is not read.
    pub fn fetch_many(
        &self,
        asked: &[FetchFrom],
        max_bytes: usize,
    ) -> Vec<Result<Fetched, ReadError>> {
        let fetched = self.engine.fetch_many(asked, max_bytes, Reach::Disk);
        fetched.expect("the disk may be read")
    }

    /// [`Storage::fetch_many`] if it can be answered from memory, where most readers are: `None` when the disk would be asked.
    pub fn fetch_resident(
        &self,
        asked: &[FetchFrom],
        max_bytes: usize,
    ) -> Option<Vec<Result<Fetched, ReadError>>> {
        self.engine.fetch_many(asked, max_bytes, Reach::Memory)
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
        let bounds = self.bounds(topic, partition);
        let start = Offset(bounds.ok_or(ReadError::UnknownPartition)?.log_start);
        let is_due = |at: i64| at >= timestamp;
        let found = self.engine.first_record(id, start, is_due, is_due)?;
        Ok(found.map(|(offset, timestamp)| (offset.0, timestamp)))
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
        let Some((start, largest)) = self.engine.largest_timestamp(id)? else {
            return Ok(None);
        };
        let is_it = |at: i64| at >= largest;
        let found = self.engine.first_record(id, start, is_it, is_it)?;
        Ok(found.map(|(offset, timestamp)| (offset.0, timestamp)))
    }
}

impl Engine {
    fn fetch(&self, asked: &FetchFrom) -> Result<Fetched, ReadError> {
        let mut fetched = self.fetch_many(slice::from_ref(asked), asked.max_bytes, Reach::Disk);
        fetched
            .as_mut()
            .and_then(Vec::pop)
            .expect("one was asked for, and the disk may be read")
    }

    /// Three parts: all bounds and places at one moment; then the index entries, as far as the budget goes; then the bytes.
    /// `None` when that would need a disk which is out of reach.
    fn fetch_many(
        &self,
        asked: &[FetchFrom],
        max_bytes: usize,
        reach: Reach,
    ) -> Option<Vec<Result<Fetched, ReadError>>> {
        let _reading = self.readers.enter();
        let (mut fetched, places) = self.places(asked, max_bytes);
        let mut budget = Budget {
            left: max_bytes,
            none_yet: true,
        };
        for (n, place) in places {
            let FetchFrom {
                offset, max_bytes, ..
            } = asked[n];
            let offset = Offset(offset);
            let picked = match place {
                Picked::Active(file, entries) => {
                    Ok((file, budget.take(&entries, max_bytes).to_vec()))
                }
                Picked::Sealed(_) if budget.is_spent() => continue,
                Picked::Sealed(segment) => {
                    let id = asked[n].log();
                    if reach == Reach::Memory && self.sealing.index.get(segment.file, id).is_none()
                    {
                        return None;
                    }
                    self.entries(id, &segment).map(|entries| {
                        let first = entries.partition_point(|entry| entry.last < offset);
                        let taken = budget.take(&entries[first..], max_bytes);
                        (segment.file, taken.to_vec())
                    })
                }
            };
            let batches = match picked {
                Ok((file, entries)) => {
                    let found = self.core.lock().find(file, &entries);
                    let on_disk = |found: &Found| matches!(found, Found::Disk { .. });
                    if reach == Reach::Memory && found.iter().any(on_disk) {
                        return None;
                    }
                    self.load(found)
                }
                Err(error) => Err(error),
            };
            match (batches, &mut fetched[n]) {
                (Ok(batches), Ok(fetched)) => fetched.batches = batches,
                (Err(error), fetched) => *fetched = Err(error),
                (Ok(_), Err(_)) => unreachable!("only what was found is read"),
            }
        }
        Some(fetched)
    }

    /// Bounds of all that is asked for, and where the batches of those stand that have any. The active file's entries are
    /// copied, not more than the budget can use.
    fn places(&self, asked: &[FetchFrom], max_bytes: usize) -> Places {
        let core = self.core.lock();
        let mut places = Vec::new();
        let mut budget = Budget {
            left: max_bytes,
            none_yet: true,
        };
        let look = |(n, from): (usize, &FetchFrom)| {
            let log = core.state.logs.get(&from.log());
            let log = log.ok_or(ReadError::UnknownPartition)?;
            match log.locate(Offset(from.offset))? {
                Located::End => {}
                Located::Sealed(segment) => places.push((n, Picked::Sealed(segment))),
                Located::Active(first) => {
                    let entries = budget.take(&log.active[first..], from.max_bytes);
                    if !entries.is_empty() {
                        places.push((n, Picked::Active(core.files.active, entries.to_vec())));
                    }
                }
            }
            Ok(Fetched {
                batches: Vec::new(),
                log_start: log.start.0,
                high_watermark: log.end.0,
                last_stable_offset: log.end.0,
            })
        };
        let fetched = asked.iter().enumerate().map(look).collect();
        (fetched, places)
    }

    /// The first record at or after `from` for which `record` holds of its timestamp, looking only into batches for which
    /// `batch` holds of their largest one. Such a batch may have nothing to offer: its record may stand before `from`.
    fn first_record(
        &self,
        id: LogId,
        mut from: Offset,
        batch: impl Fn(i64) -> bool,
        record: impl Fn(i64) -> bool,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let _reading = self.readers.enter();
        while let Some((file, entry)) = self.next_batch(id, from, &batch)? {
            let found = self.record_in(file, &entry, from, &record)?;
            if found.is_some() {
                return Ok(found);
            }
            from = entry.last.next();
        }
        Ok(None)
    }

    /// The first batch that reaches `from` or beyond and for which `batch` holds of its largest timestamp.
    fn next_batch(
        &self,
        id: LogId,
        from: Offset,
        batch: &impl Fn(i64) -> bool,
    ) -> Result<Option<(FileNumber, Entry)>, ReadError> {
        let mut after = from;
        loop {
            let segment = {
                let core = self.core.lock();
                let log = core.state.logs.get(&id);
                let log = log.ok_or(ReadError::UnknownPartition)?;
                let is_it = |s: &&Segment| s.last >= after && batch(s.max_timestamp);
                match log.segments.iter().find(is_it) {
                    Some(segment) => *segment,
                    None => {
                        let is_it = |e: &&Entry| e.last >= from && batch(e.max_timestamp);
                        let entry = log.active.iter().find(is_it);
                        return Ok(entry.map(|entry| (core.files.active, *entry)));
                    }
                }
            };
            let entries = self.entries(id, &segment)?;
            let is_it = |e: &&Entry| e.last >= from && batch(e.max_timestamp);
            if let Some(entry) = entries.iter().find(is_it) {
                return Ok(Some((segment.file, *entry)));
            }
            after = segment.last.next();
        }
    }

    /// The first record of a batch, at or after `from`, for which `record` holds of its timestamp.
    fn record_in(
        &self,
        file: FileNumber,
        entry: &Entry,
        from: Offset,
        record: &impl Fn(i64) -> bool,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let mut found = None;
        self.each_record(file, entry, |offset, timestamp| {
            if found.is_none() && offset >= from && record(timestamp) {
                found = Some((offset, timestamp));
            }
        })?;
        Ok(found)
    }

    /// Visits offset and timestamp of a batch's records.
    fn each_record(
        &self,
        file: FileNumber,
        entry: &Entry,
        mut visit: impl FnMut(Offset, i64),
    ) -> Result<(), ReadError> {
        let found = self.core.lock().find(file, &[*entry]);
        let bytes = self.load(found)?.swap_remove(0);
        let corrupt = |reason: String| self.corrupt(file, entry, reason);
        let parsed = Batch::split_from(&mut bytes.clone()).map_err(|e| corrupt(e.to_string()))?;
        if parsed.header().is_log_append_time() {
            let offsets = entry.base.0..=entry.last.0;
            offsets.for_each(|offset| visit(Offset(offset), entry.max_timestamp));
            return Ok(());
        }
        let records = parsed.records().map_err(|e| corrupt(e.to_string()))?;
        for each in records.iter() {
            let each = each.map_err(|e| corrupt(e.to_string()))?;
            visit(Offset(each.offset), each.timestamp);
        }
        Ok(())
    }

    /// The largest timestamp of what is not past the log's start. The batch that the start cuts, and the file that it
    /// stands in, may have had larger ones.
    fn largest_timestamp(&self, id: LogId) -> Result<Option<(Offset, i64)>, ReadError> {
        let _reading = self.readers.enter();
        let (start, cut) = {
            let core = self.core.lock();
            let log = core.state.logs.get(&id);
            let log = log.ok_or(ReadError::UnknownPartition)?;
            (log.start, log.segments.front().copied())
        };
        let cut = match cut {
            Some(segment) => Some((segment, self.entries(id, &segment)?)),
            None => None,
        };
        let Some((file, first)) = self.next_batch(id, start, &|_| true)? else {
            return Ok(None);
        };
        let mut largest = None;
        self.each_record(file, &first, |offset, timestamp| {
            if offset >= start {
                largest = largest.max(Some(timestamp));
            }
        })?;
        let core = self.core.lock();
        let log = core
            .state
            .logs
            .get(&id)
            .ok_or(ReadError::UnknownPartition)?;
        let behind = |entry: &&Entry| entry.base > first.base;
        let in_cut = cut.iter().flat_map(|(_, entries)| entries.iter());
        let entries = in_cut.chain(&log.active).filter(behind);
        let entries = entries.map(|entry| entry.max_timestamp);
        let is_cut = |s: &&Segment| cut.as_ref().is_some_and(|(cut, _)| cut.first == s.first);
        let whole = log.segments.iter().filter(|s| !is_cut(s));
        let whole = whole.map(|segment| segment.max_timestamp);
        Ok(entries
            .chain(whole)
            .chain(largest)
            .max()
            .map(|max| (start, max)))
    }

    /// The entries of a sealed segment, from the cache or the sidecar.
    pub(crate) fn entries(&self, id: LogId, segment: &Segment) -> Result<Entries, ReadError> {
        if let Some(entries) = self.sealing.index.get(segment.file, id) {
            return Ok(entries);
        }
        let read = self
            .folder
            .read_entries(segment)
            .map_err(|error| ReadError::Io(error.to_string()))?;
        let entries = Arc::new(read.map_err(|damaged| ReadError::Corrupt {
            file: self.folder.index(segment.file).display().to_string(),
            position: segment.entries_at,
            reason: damaged.0.to_owned(),
        })?);
        self.sealing.index.put(segment.file, id, entries.clone());
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
        file: FileNumber,
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
                    if Offset(batch.header().base_offset) == entry.base
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

    fn corrupt(&self, file: FileNumber, entry: &Entry, reason: String) -> ReadError {
        let file = self.folder.batches(file).display().to_string();
        tracing::error!(%file, position = entry.position, offset = %entry.base, %reason, "the log is damaged");
        ReadError::Corrupt {
            file,
            position: u64::from(entry.position),
            reason,
        }
    }
}

impl Core {
    /// Takes what the tail has; the rest is to be read.
    fn find(&self, file: FileNumber, entries: &[Entry]) -> Vec<Found> {
        entries
            .iter()
            .map(|entry| self.find_one(file, entry))
            .collect()
    }

    pub(crate) fn find_one(&self, file: FileNumber, entry: &Entry) -> Found {
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
    pub(crate) fn locate(&self, offset: Offset) -> Result<Located, ReadError> {
        if offset < self.start || offset > self.end {
            return Err(ReadError::OutOfRange {
                asked: offset.0,
                start: self.start.0,
                end: self.end.0,
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
