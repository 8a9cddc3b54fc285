//! Everything durable, as memory holds it: topics, tables, and per log its bounds, index and producers.
//!
//! A state machine without I/O. Its only input is frames in WAL order ([`State::apply`]), at runtime as at recovery, so
//! `replay(log) = live state` holds by construction. Nothing is in here before its fdatasync; what is still on its way
//! lives in `ahead.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::batches::{entry, for_each_batch};
use crate::cache::Entries;
use crate::codec::{Damaged, Reader};
use crate::index::{Entry, Head, Segment};
use crate::numbers::{FileNumber, Lsn, Offset, Order};
use crate::ops::Table;
use crate::producers::Producer;
use crate::record::{LogId, Record, decode};
use crate::rewrite::Use;
use crate::topic::{Topic, TopicConfig};
use crate::wall::Anchors;

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Lsn of the last frame applied.
    pub(crate) lsn: Lsn,
    /// The log's time (`time.rs`) at its newest append.
    pub(crate) time: i64,
    /// What the wall clock showed.
    pub(crate) anchors: Anchors,
    pub(crate) topics: BTreeMap<Uuid, Arc<Topic>>,
    pub(crate) names: HashMap<String, Uuid>,
    pub(crate) logs: BTreeMap<LogId, Log>,
    pub(crate) tables: BTreeMap<Table, BTreeMap<Bytes, Bytes>>,
    /// Who still needs each sealed file. One that nobody needs is dead; the shell takes it off the disk.
    pub(crate) sealed: BTreeMap<FileNumber, Use>,
    /// How many producers all logs know together.
    pub(crate) producers: usize,
    /// Whether some topic was of `LogAppendTime` since the start.
    pub(crate) stamps: bool,
    /// Logs whose start or end is another one, or that are gone, and nobody was told yet.
    pub(crate) moved: BTreeSet<LogId>,
}

/// One partition's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) start: Offset,
    /// The high watermark: one past the last durable offset.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) segments: VecDeque<Segment>,
    /// Batches in the active file.
    pub(crate) active: Vec<Entry>,
    pub(crate) producers: BTreeMap<i64, Producer>,
}

impl State {
    /// Applies one durable frame, whose payload stands at `position` of the active file.
    ///
    /// # Errors
    /// When the payload is not what this version writes; its CRC held, so it is another version's or our own bug.
    pub(crate) fn apply(&mut self, lsn: Lsn, position: u64, payload: &[u8]) -> Result<(), Damaged> {
        assert_eq!(lsn, self.lsn.next(), "I5: frames apply in order, each once");
        let mut batches_in_frame = 0;
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            match decode(&mut reader)? {
                Record::Append {
                    log,
                    appended_at,
                    batches,
                } => {
                    let start = position + (reader.position() - batches.len()) as u64;
                    let order = |batch| Order::of(lsn, batches_in_frame + batch);
                    batches_in_frame += self.append(log, appended_at, batches, start, order)?;
                }
                Record::Anchor(anchor) => self.anchors.push(lsn, anchor),
                other => self.change(other),
            }
        }
        self.lsn = lsn;
        Ok(())
    }

    fn append(
        &mut self,
        id: LogId,
        appended_at: i64,
        batches: &[u8],
        position: u64,
        order: impl Fn(usize) -> Result<Order, Damaged>,
    ) -> Result<usize, Damaged> {
        self.time = self.time.max(appended_at);
        // The topic may have been deleted by a frame that was accepted before this one became durable.
        let Some(log) = self.logs.get_mut(&id) else {
            return Ok(0);
        };
        self.moved.insert(id);
        let mut count = 0;
        for_each_batch(batches, |header, at| {
            assert_eq!(
                Offset(header.base_offset),
                log.end,
                "I3: offsets of a log are dense"
            );
            if header.is_idempotent() {
                let known = log.producers.get(&header.producer_id);
                let after = Producer::after(known, &header, log.end, appended_at);
                let newcomer = log.producers.insert(header.producer_id, after).is_none();
                self.producers += usize::from(newcomer);
            }
            log.push(entry(&header, position + at, order(count)?, appended_at));
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    fn change(&mut self, record: Record<&[u8]>) {
        match record {
            Record::Append { .. } | Record::Anchor(_) => {
                unreachable!("apply() takes appends and anchors")
            }
            Record::Put { table, key, value } => {
                let table = self.tables.entry(table).or_default();
                match value {
                    // Copied: a slice would keep the whole group's buffer alive for a few bytes.
                    Some(value) => {
                        table.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))
                    }
                    None => table.remove(key),
                };
            }
            Record::CreateTopic {
                id,
                name,
                partitions,
                internal,
                config,
            } => {
                self.put_topic(Topic {
                    id,
                    name,
                    partitions,
                    config: TopicConfig::recorded(config),
                    internal,
                });
            }
            Record::DeleteTopic { id } => self.delete_topic(id),
            Record::CreatePartitions { id, total } => {
                // Who waits at the topic's logs does not wait at the new ones.
                self.moved.extend(self.logs_of(id));
                self.alter_topic(id, |topic| topic.partitions = total);
            }
            Record::AlterConfig { id, config } => {
                self.alter_topic(id, |topic| topic.config = TopicConfig::recorded(config));
            }
            Record::LogStart { log, offset } => self.advance_start(log, offset),
        }
    }

    pub(crate) fn put_topic(&mut self, topic: Topic) {
        for partition in 0..topic.partitions {
            let log = LogId {
                topic: topic.id,
                partition,
            };
            self.logs.entry(log).or_default();
        }
        self.stamps |= topic.config.produce().is_log_append_time;
        self.names.insert(topic.name.clone(), topic.id);
        self.topics.insert(topic.id, Arc::new(topic));
    }

    fn alter_topic(&mut self, id: Uuid, change: impl FnOnce(&mut Topic)) {
        let Some(topic) = self.topics.get(&id) else {
            return;
        };
        let mut topic = Topic::clone(topic);
        change(&mut topic);
        self.put_topic(topic);
    }

    fn delete_topic(&mut self, id: Uuid) {
        let Some(topic) = self.topics.remove(&id) else {
            return;
        };
        self.names.remove(&topic.name);
        for partition in 0..topic.partitions {
            let log = LogId {
                topic: id,
                partition,
            };
            self.moved.insert(log);
            let log = self.logs.remove(&log).unwrap_or_default();
            self.producers -= log.producers.len();
            for segment in log.segments {
                release(&mut self.sealed, &segment);
            }
        }
    }

    fn advance_start(&mut self, id: LogId, offset: Offset) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        self.moved.insert(id);
        // Two requests may have been accepted in either order; a start never goes back and never passes the end.
        log.start = offset.clamp(log.start, log.end);
        while let Some(segment) = log.segments.front().filter(|s| s.last < log.start) {
            log.bytes -= segment.bytes;
            release(&mut self.sealed, segment);
            log.segments.pop_front();
        }
        let dead = log.active.partition_point(|entry| entry.last < log.start);
        for entry in log.active.drain(..dead) {
            log.bytes -= u64::from(entry.len);
        }
    }

    pub(crate) fn logs_of(&self, topic: Uuid) -> Vec<LogId> {
        let log = |partition| LogId { topic, partition };
        let logs = self.logs.range(log(0)..=log(i32::MAX));
        logs.map(|(id, _)| *id).collect()
    }

    /// What moved since this was asked last.
    pub(crate) fn take_moved(&mut self) -> Vec<LogId> {
        std::mem::take(&mut self.moved).into_iter().collect()
    }

    /// Lets go of producers that have not been seen for long; nobody can tell: they count as unknown already.
    pub(crate) fn expire_producers(&mut self, now: i64) {
        self.producers = 0;
        for log in self.logs.values_mut() {
            log.producers
                .retain(|_, producer| !producer.is_expired(now));
            self.producers += log.producers.len();
        }
    }

    /// Lets go of the producers that were not seen for longest, an eighth of `most`, when there are more than that: ids
    /// are cheap to get, and each would else take memory and a part of every checkpoint for a day. Returns how many.
    pub(crate) fn bound_producers(&mut self, most: usize) -> usize {
        if self.producers <= most {
            return 0;
        }
        let logs = self.logs.iter();
        let mut seen: Vec<(i64, LogId, i64)> = logs
            .flat_map(|(log, l)| l.producers.iter().map(|(id, p)| (p.seen_at, *log, *id)))
            .collect();
        assert_eq!(
            seen.len(),
            self.producers,
            "producers are counted as they come and go"
        );
        let gone = self.producers - (most - most / 8);
        // Of equals the same ones at every replay.
        seen.select_nth_unstable(gone - 1);
        for (_, log, id) in &seen[..gone] {
            let log = self.logs.get_mut(log).expect("it was just there");
            log.producers.remove(id);
        }
        self.producers -= gone;
        gone
    }

    /// The active file's entries by log, as its sidecar wants them.
    pub(crate) fn active_entries(&self) -> Vec<(LogId, Entries)> {
        let logs = self.logs.iter();
        logs.filter(|(_, log)| !log.active.is_empty())
            .map(|(id, log)| (*id, Arc::new(log.active.clone())))
            .collect()
    }

    /// The same, on their way into a sidecar: they leave, and [`State::seal`] puts segments in their place.
    pub(crate) fn take_active(&mut self) -> Vec<(LogId, Entries)> {
        let logs = self.logs.iter_mut();
        logs.filter(|(_, log)| !log.active.is_empty())
            .map(|(id, log)| (*id, Arc::new(std::mem::take(&mut log.active))))
            .collect()
    }

    /// Puts segments in the place of the active file's batches, as its sidecar's head describes them.
    pub(crate) fn seal(&mut self, head: &Head) {
        let file = self.sealed.entry(head.file).or_insert(Use::of(head));
        for (id, segment) in &head.segments {
            let Some(log) = self.logs.get_mut(id) else {
                continue;
            };
            assert_eq!(
                segment.last.next(),
                log.end,
                "I3: a log's newest segment ends where the log ends"
            );
            log.segments.push_back(*segment);
            file.add(segment);
        }
        self.anchors.seal(head.file);
        let mut needed = self.sealed.iter().filter(|(_, file)| file.logs > 0);
        let oldest = needed.next().map_or(head.file.next(), |(id, _)| *id);
        self.anchors.forget_before(oldest);
    }

    /// Hangs a sealed file's segments into the logs that a checkpoint restored; files come in ascending order.
    pub(crate) fn attach(&mut self, head: &Head) {
        let file = self.sealed.entry(head.file).or_insert(Use::of(head));
        for (id, segment) in &head.segments {
            let Some(log) = self.logs.get_mut(id) else {
                continue;
            };
            if segment.last < log.start {
                continue;
            }
            log.bytes += segment.bytes;
            log.segments.push_back(*segment);
            file.add(segment);
        }
    }

    /// All that is alive in some sealed files: each log with its start and its segments there.
    pub(crate) fn in_files(
        &self,
        files: &RangeInclusive<FileNumber>,
    ) -> Vec<(LogId, Offset, Vec<Segment>)> {
        let logs = self.logs.iter().map(|(id, log)| {
            let segments = log.segments.range(log.segments_in(files)).copied();
            (*id, log.start, segments.collect())
        });
        logs.filter(|(_, _, segments): &(_, _, Vec<Segment>)| !segments.is_empty())
            .collect()
    }

    /// To be asked before a rewritten file takes the name or the place of any of these: more may have died since it was
    /// copied, and nothing else may be missing in it.
    pub(crate) fn assert_holds_all(&self, files: &RangeInclusive<FileNumber>, head: &Head) {
        let rewritten: BTreeMap<LogId, Segment> = head.segments.iter().copied().collect();
        for (id, log) in &self.logs {
            let alive: Vec<&Segment> = log.segments.range(log.segments_in(files)).collect();
            let (Some(first), Some(last)) = (alive.first(), alive.last()) else {
                continue;
            };
            let copy = rewritten.get(id);
            let copy = copy.expect(
                "I3: a rewritten file has every log that is alive in the files it replaces",
            );
            assert!(
                copy.first <= first.first.max(log.start) && copy.last == last.last,
                "I3: a rewritten file has all offsets of a log that are alive in the files it replaces"
            );
        }
    }

    /// Puts a rewritten file in the place of those that it was made of. What died meanwhile stays dead.
    pub(crate) fn replace(&mut self, files: &RangeInclusive<FileNumber>, head: &Head) {
        self.sealed.retain(|id, _| !files.contains(id));
        let file = self.sealed.entry(head.file).or_insert(Use::of(head));
        for (id, segment) in &head.segments {
            let Some(log) = self.logs.get_mut(id) else {
                continue;
            };
            let places = log.segments_in(files);
            if places.is_empty() {
                continue;
            }
            let at = places.start;
            let replaced = log.segments.drain(places).map(|segment| segment.bytes);
            let replaced: u64 = replaced.sum();
            log.segments.insert(at, *segment);
            log.bytes = log.bytes - replaced + segment.bytes;
            file.add(segment);
        }
    }

    /// Whether some of a sealed file's batches are not past their log's start.
    pub(crate) fn needs(&self, id: LogId, entries: &[Entry]) -> bool {
        let newest = entries.last().map(|entry| entry.last);
        let needed = |log: &Log| newest.is_some_and(|newest| newest >= log.start);
        self.logs.get(&id).is_some_and(needed)
    }

    /// Hangs an entry of the active file into a log that a checkpoint restored.
    pub(crate) fn attach_active(&mut self, id: LogId, entry: Entry) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        // A scan from the file's start also passes frames of before the checkpoint that retention has left behind, and,
        // when the topic went away, nothing at all.
        if entry.last >= log.start && entry.last < log.end {
            log.bytes += u64::from(entry.len);
            log.active.push(entry);
        }
    }

    /// Checks that every offset from start to end has a place (I3); returns the first log that has a hole.
    pub(crate) fn first_hole(&self) -> Option<(LogId, Offset)> {
        self.logs
            .iter()
            .find_map(|(id, log)| log.hole().map(|offset| (*id, offset)))
    }
}

impl Log {
    /// Where the segments of these files stand.
    fn segments_in(&self, files: &RangeInclusive<FileNumber>) -> Range<usize> {
        let from = self.segments.partition_point(|s| s.file < *files.start());
        from..self.segments.partition_point(|s| s.file <= *files.end())
    }

    fn push(&mut self, entry: Entry) {
        self.end = entry.last.next();
        self.bytes += u64::from(entry.len);
        self.active.push(entry);
    }

    fn hole(&self) -> Option<Offset> {
        let ranges = self.segments.iter().map(|s| (s.first, s.last));
        let mut next = None;
        for (first, last) in ranges.chain(self.active.iter().map(|e| (e.base, e.last))) {
            let due = next.unwrap_or(self.start);
            // The first batch may begin before the start: retention and DeleteRecords cut inside it.
            let fits = match next {
                None => first <= due,
                Some(_) => first == due,
            };
            if !fits {
                return Some(due);
            }
            next = Some(last.next());
        }
        let reached = next.unwrap_or(self.start);
        (reached != self.end).then_some(reached)
    }
}

fn release(sealed: &mut BTreeMap<FileNumber, Use>, segment: &Segment) {
    let file = sealed
        .get_mut(&segment.file)
        .expect("a segment's file is a known sealed file");
    file.logs -= 1;
    file.live -= segment.bytes;
}

#[cfg(test)]
mod tests;
