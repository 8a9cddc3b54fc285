//! Reading several logs as one, in the order of the WAL: the shell behind [`LogSource`].
//!
//! File by file: all of a file's batches come before all of the next one's, and within a file the partitions are merged by
//! the order of their batches. Rewriting joins neighbouring files only and keeps each batch's order, so this holds for
//! rewritten files too.
//!
//! The log goes on between two files: nothing is locked while bytes come from the disk. What is appended meanwhile to a
//! partition that is known only makes it longer. A partition that appears has to be taken in before the next file is
//! merged, because its batches stand among that file's; a sealed one that was merged before has none of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use uuid::Uuid;

use crate::cache::Entries;
use crate::engine::{Core, Engine};
use crate::index::Entry;
use crate::numbers::{FileNumber, Offset, Order};
use crate::ops::ReadError;
use crate::read::Located;
use crate::record::LogId;
use crate::source::{
    LogSource, NOTHING, PartitionBounds, SourceBatch, SourceError, TopicBatch, TopicBounds,
    TopicOffsets,
};
use crate::storage::Storage;
use crate::watches::{Watch, Watches};

/// Where a reader in WAL order is in one partition.
struct Cursor {
    topic: Arc<str>,
    id: LogId,
    offset: Offset,
}

/// A topic that is read, and as many of its partitions as there are cursors for.
struct Taken<'a> {
    name: Arc<str>,
    id: Uuid,
    from: &'a BTreeMap<i32, i64>,
    partitions: i32,
}

/// One cursor's batches in the file that is being merged.
type Lane = (usize, Entries, usize);

impl Engine {
    /// Merges the partitions file by file: all of a file's batches come before all of the next one's.
    fn read_in_order<'a>(
        &self,
        from: impl Iterator<Item = (&'a str, &'a BTreeMap<i32, i64>)>,
        max_bytes: usize,
    ) -> Result<Vec<TopicBatch>, SourceError> {
        let _reading = self.readers.enter();
        let mut topics = self.topics(from)?;
        let mut cursors = Vec::new();
        let mut out = Vec::new();
        let mut left = max_bytes;
        loop {
            let core = self.core.lock();
            for topic in &mut topics {
                core.take_partitions(topic, &mut cursors);
            }
            let anchors = core.state.anchors.clone();
            let Some(places) = locate_all(&core, &cursors, out.is_empty())? else {
                return Ok(out);
            };
            let sealed = places.iter().filter_map(|(_, located)| match located {
                Located::Sealed(segment) => Some(segment.file),
                _ => None,
            });
            let (taken, last) = match sealed.min() {
                Some(file) => {
                    drop(core);
                    let lanes = self.sealed_lanes(file, &places, &cursors)?;
                    let taken = merge(lanes.iter().map(|(n, e, at)| (*n, &e[*at..])), left);
                    (self.take(self.core.lock(), file, taken)?, false)
                }
                None => {
                    let lanes = places.iter().filter_map(|(n, located)| match located {
                        Located::Active(first) => {
                            Some((*n, &core.state.logs[&cursors[*n].id].active[*first..]))
                        }
                        _ => None,
                    });
                    let taken = merge(lanes, left);
                    let file = core.files.active;
                    (self.take(core, file, taken)?, true)
                }
            };
            for (cursor, entry, bytes) in taken {
                left = left.saturating_sub(bytes.len());
                let cursor = &mut cursors[cursor];
                cursor.offset = entry.last.next();
                out.push(TopicBatch {
                    topic: cursor.topic.clone(),
                    batch: SourceBatch {
                        partition: cursor.id.partition,
                        order: entry.order,
                        appended_at: entry.appended_at,
                        wall: anchors.wall_of(entry.order, entry.appended_at),
                        next: cursor.offset.0,
                        bytes,
                    },
                });
            }
            if last || left == 0 {
                return Ok(out);
            }
        }
    }

    fn topics<'a>(
        &self,
        from: impl Iterator<Item = (&'a str, &'a BTreeMap<i32, i64>)>,
    ) -> Result<Vec<Taken<'a>>, SourceError> {
        let core = self.core.lock();
        let taken = from.map(|(name, from)| {
            Ok(Taken {
                name: name.into(),
                id: core.topic(name)?,
                from,
                partitions: 0,
            })
        });
        taken.collect()
    }

    fn sealed_lanes(
        &self,
        file: FileNumber,
        places: &[(usize, Located)],
        cursors: &[Cursor],
    ) -> Result<Vec<Lane>, SourceError> {
        let mut lanes = Vec::new();
        for (n, located) in places {
            let Located::Sealed(segment) = located else {
                continue;
            };
            if segment.file != file {
                continue;
            }
            let cursor = &cursors[*n];
            let entries = self.entries(cursor.id, segment).map_err(unreadable)?;
            let at = entries.partition_point(|entry| entry.last < cursor.offset);
            lanes.push((*n, entries, at));
        }
        Ok(lanes)
    }

    fn take(
        &self,
        core: MutexGuard<'_, Core>,
        file: FileNumber,
        picked: Vec<(usize, Entry)>,
    ) -> Result<Vec<(usize, Entry, Bytes)>, SourceError> {
        let found = picked
            .iter()
            .map(|(_, entry)| core.find_one(file, entry))
            .collect();
        drop(core);
        let loaded = self.load(found).map_err(unreadable)?;
        Ok(picked
            .into_iter()
            .zip(loaded)
            .map(|((cursor, entry), bytes)| (cursor, entry, bytes))
            .collect())
    }
}

/// Every cursor's place now; `None` when a log is gone or retention overtook a cursor that had begun to read.
fn locate_all(
    core: &Core,
    cursors: &[Cursor],
    first: bool,
) -> Result<Option<Vec<(usize, Located)>>, SourceError> {
    let mut places = Vec::with_capacity(cursors.len());
    for (n, cursor) in cursors.iter().enumerate() {
        let Some(log) = core.state.logs.get(&cursor.id) else {
            return Ok(None);
        };
        match log.locate(cursor.offset) {
            Ok(located) => places.push((n, located)),
            Err(_) if first => {
                return Err(SourceError::OutOfRange {
                    topic: cursor.topic.to_string(),
                    partition: cursor.id.partition,
                    asked: cursor.offset.0,
                    start: log.start.0,
                });
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(places))
}

/// k-way merge by WAL order, until about `max_bytes`, at least one.
fn merge<'a>(
    lanes: impl Iterator<Item = (usize, &'a [Entry])>,
    max_bytes: usize,
) -> Vec<(usize, Entry)> {
    let mut heap: BinaryHeap<Reverse<(Order, usize, usize)>> = BinaryHeap::new();
    let lanes: Vec<(usize, &[Entry])> = lanes.filter(|(_, entries)| !entries.is_empty()).collect();
    for (lane, (_, entries)) in lanes.iter().enumerate() {
        heap.push(Reverse((entries[0].order, lane, 0)));
    }
    let mut picked = Vec::new();
    let mut size = 0;
    while let Some(Reverse((_, lane, at))) = heap.pop() {
        let (cursor, entries) = lanes[lane];
        size += entries[at].len as usize;
        if size > max_bytes && !picked.is_empty() {
            break;
        }
        picked.push((cursor, entries[at]));
        if let Some(next) = entries.get(at + 1) {
            heap.push(Reverse((next.order, lane, at + 1)));
        }
    }
    picked
}

impl Core {
    /// Adds a cursor for each partition that the topic has got since, but for those of which nothing is to be read. Of a
    /// topic that is gone nothing is added: its logs are not found either.
    fn take_partitions(&self, taken: &mut Taken<'_>, cursors: &mut Vec<Cursor>) {
        let topic = self.state.topics.get(&taken.id);
        let now = topic.map_or(taken.partitions, |topic| topic.partitions);
        for partition in taken.partitions..now {
            let id = LogId {
                topic: taken.id,
                partition,
            };
            let start = self.state.logs[&id].start;
            let offset = taken.from.get(&partition);
            let offset = offset.map_or(start, |offset| Offset(*offset));
            if offset != Offset(NOTHING) {
                cursors.push(Cursor {
                    topic: taken.name.clone(),
                    id,
                    offset,
                });
            }
        }
        taken.partitions = now;
    }

    fn bounds_of(&self, name: &str) -> Result<TopicBounds, SourceError> {
        let topic = self.topic(name)?;
        let partitions = 0..self.state.topics[&topic].partitions;
        let partitions = partitions.map(|partition| {
            let log = &self.state.logs[&LogId { topic, partition }];
            PartitionBounds {
                partition,
                start: log.start.0,
                end: log.end.0,
            }
        });
        Ok(TopicBounds {
            id: topic,
            partitions: partitions.collect(),
        })
    }

    fn topic(&self, name: &str) -> Result<Uuid, SourceError> {
        self.state.names.get(name).copied().ok_or_else(|| {
            let mut known: Vec<String> = self.state.names.keys().cloned().collect();
            known.sort();
            SourceError::UnknownTopic {
                name: name.to_owned(),
                known,
            }
        })
    }

    /// The logs of those topics that are there.
    fn logs_of<'a>(&self, topics: impl Iterator<Item = &'a str>) -> Vec<LogId> {
        let known = topics.filter_map(|topic| self.state.names.get(topic));
        known.flat_map(|id| self.state.logs_of(*id)).collect()
    }

    /// Whether something lies past the given offsets, or the topic is gone.
    fn has_news(&self, topic: &str, from: &BTreeMap<i32, i64>) -> bool {
        let Ok(topic) = self.topic(topic) else {
            return true;
        };
        (0..self.state.topics[&topic].partitions).any(|partition| {
            let log = &self.state.logs[&LogId { topic, partition }];
            let at = from.get(&partition);
            at.map_or(log.start, |offset| Offset(*offset)) < log.end
        })
    }
}

fn unreadable(error: ReadError) -> SourceError {
    SourceError::Unreadable(error.to_string())
}

impl LogSource for Storage {
    fn look(&self, topics: &[String]) -> Result<Vec<TopicBounds>, SourceError> {
        let core = self.engine.core.lock();
        topics.iter().map(|topic| core.bounds_of(topic)).collect()
    }

    fn topic_id(&self, topic: &str) -> Result<Uuid, SourceError> {
        self.engine.core.lock().topic(topic)
    }

    fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        max_bytes: usize,
    ) -> Result<Vec<SourceBatch>, SourceError> {
        let read = self
            .engine
            .read_in_order([(topic, from)].into_iter(), max_bytes)?;
        Ok(read.into_iter().map(|read| read.batch).collect())
    }

    fn wait(&self, topic: &str, from: &BTreeMap<i32, i64>, timeout: Duration) -> bool {
        self.engine.wait(&[(topic, from)], timeout)
    }

    fn read_topics(
        &self,
        from: &TopicOffsets,
        max_bytes: usize,
    ) -> Result<Vec<TopicBatch>, SourceError> {
        let topics = from.iter().map(|(topic, from)| (topic.as_str(), from));
        self.engine.read_in_order(topics, max_bytes)
    }

    fn wait_topics(&self, from: &TopicOffsets, timeout: Duration) -> bool {
        let topics = from.iter().map(|(topic, from)| (topic.as_str(), from));
        let topics: Vec<_> = topics.collect();
        self.engine.wait(&topics, timeout)
    }
}

impl Engine {
    /// Waits until something lies past the given offsets of some topic, or one is gone, but not longer than `timeout`;
    /// whether that is so.
    fn wait(&self, from: &[(&str, &BTreeMap<i32, i64>)], timeout: Duration) -> bool {
        let deadline = self.clock.elapsed() + timeout;
        let signal = Arc::<Signal>::default();
        let mut watch: Option<Watch> = None;
        let mut last = timeout.is_zero();
        loop {
            let logs = {
                let core = self.core.lock();
                let mut topics = from.iter();
                if topics.any(|(topic, from)| core.has_news(topic, from)) {
                    return true;
                }
                core.logs_of(from.iter().map(|(topic, _)| *topic))
            };
            if last {
                return false;
            }
            // A topic that has grown, or was created again, has other logs.
            match watch.take_if(|watch| watch.is_at(&logs)) {
                Some(there) => {
                    let left = deadline.saturating_sub(self.clock.elapsed());
                    last = !signal.wait(left);
                    watch = Some(there);
                }
                None => {
                    let told = signal.clone();
                    let moved = Arc::new(move || told.give());
                    watch = Some(Watches::begin(&self.watches, logs, moved));
                }
            }
        }
    }
}

/// That something moved, for one thread.
#[derive(Default)]
struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn give(&self) {
        *self.given.lock() = true;
        self.changed.notify_one();
    }

    /// Takes the signal, when it is given or after `timeout` at most; whether there was one.
    fn wait(&self, timeout: Duration) -> bool {
        let mut given = self.given.lock();
        self.changed
            .wait_while_for(&mut given, |given| !*given, timeout);
        std::mem::take(&mut *given)
    }
}
