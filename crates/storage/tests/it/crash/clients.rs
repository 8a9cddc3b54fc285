//! What clients do, and what they learn from the answers. Each of them keeps its protocol's rules, so an answer that says
//! that it broke them is a violation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use lw_stdx::disk::Disk;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{
    AppendError, Appended, CommitError, Committed, Expect, Hold, Op, Storage, Table, Uuid,
};
use rand::Rng;

use super::{KEPT, PARTITIONS, PRODUCERS, TOPIC, Violation, World, again, bounds, log, number};
use crate::kit::{batch, idempotent};

/// Batches of a producer from the oldest that it has no answer for: what Kafka's clients have in flight at most.
const IN_FLIGHT: usize = 5;
const PIPELINE: &str = "pipeline";

/// A batch of an idempotent producer.
#[derive(Clone)]
struct Sent {
    epoch: i16,
    sequence: i32,
    values: Vec<String>,
    state: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// To be sent (again): refused, or its answer was lost.
    Due,
    /// An answer is to come.
    Waiting,
    Acked,
}

/// An idempotent producer: five batches in flight, sent again in order until it knows; from time to time it starts anew
/// under the next epoch, and what it left behind is sent again by somebody who has not heard of that.
pub(super) struct Producer {
    id: i64,
    partition: i32,
    epoch: i16,
    sequence: i32,
    /// Begins with the oldest batch without an answer.
    window: VecDeque<Sent>,
    /// Batches without an answer, of earlier epochs.
    ghosts: Vec<Sent>,
    /// The newest epoch that the log has acknowledged.
    fence: i16,
}

impl Producer {
    pub(super) fn new(n: usize, partition: i32) -> Producer {
        Producer {
            id: 100 + n as i64,
            partition,
            epoch: 0,
            sequence: 0,
            window: VecDeque::new(),
            ghosts: Vec::new(),
            fence: -1,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.window.is_empty()
    }

    fn find(&mut self, epoch: i16, sequence: i32) -> Option<&mut Sent> {
        let mut sent = self.window.iter_mut().chain(&mut self.ghosts);
        sent.find(|sent| (sent.epoch, sent.sequence) == (epoch, sequence))
    }

    fn drop_answered(&mut self) {
        while self.window.front().is_some_and(|s| s.state == Fate::Acked) {
            self.window.pop_front();
        }
    }
}

/// A pipeline: reads the first topic in the WAL's order, and holds what its newest checkpoint has not read.
#[derive(Default)]
pub(super) struct Pipeline {
    read: BTreeMap<i32, i64>,
}

/// The topic that is deleted and created again under its name; a generation is an id.
#[derive(Default)]
pub(super) struct Again {
    pub(super) sent: u64,
    pub(super) acked: u64,
    /// The newest one that was seen.
    pub(super) seen: u64,
    pub(super) deleting: BTreeSet<u64>,
    /// Deleted, as was acknowledged or seen.
    pub(super) deleted: BTreeSet<u64>,
    waiting: bool,
    records: u64,
}

/// A log's start, as far as clients have a part in it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Start {
    pub(super) asked: i64,
    pub(super) acked: i64,
    pub(super) seen: i64,
}

pub(super) enum Reply {
    Produced {
        n: usize,
        epoch: i16,
        sequence: i32,
        /// The batch was of an epoch older than one that had been acknowledged when it was sent.
        fenced: bool,
        result: Result<Appended, AppendError>,
    },
    Plain(i32, Vec<String>, Result<Appended, AppendError>),
    Swapped(u64, Result<Committed, CommitError>),
    Deleted(i32, i64, Result<Committed, CommitError>),
    Pair(u64, i32, String, Result<Committed, CommitError>),
    Topic {
        created: Option<u64>,
        deleted: Option<u64>,
        result: Result<Committed, CommitError>,
    },
    Checkpointed(BTreeMap<i32, i64>, Result<Committed, CommitError>),
}

fn put(table: Table, key: &'static str, value: String, expect: Expect) -> Op {
    Op::Put {
        table,
        key: Bytes::from_static(key.as_bytes()),
        value: Some(value.into()),
        expect,
    }
}

/// As a counter's next value is expected to follow.
fn after(value: u64) -> Expect {
    match value {
        0 => Expect::Absent,
        _ => Expect::Value(value.to_string().into()),
    }
}

impl World {
    pub(super) fn act(&mut self, storage: &Storage) -> Result<(), Violation> {
        self.clock.advance(std::time::Duration::from_millis(7));
        match self.rng.random_range(0..32) {
            0..9 => self.produce(storage),
            9..11 => self.produce_plain(storage),
            11..13 => self.swap(storage),
            13..19 => {
                self.step(storage);
            }
            19 => self.retain(storage),
            20..22 => storage.upkeep(),
            22 => self.disk.cause(lw_sim::Trouble::Capacity(u64::MAX)),
            23 => self.delete_records(storage)?,
            24 => self.change_topic(storage),
            25 => self.produce_again(storage),
            26 => self.pair(storage),
            27..29 => self.read_as_pipeline(storage)?,
            29 => self.checkpoint(storage),
            30 => self.begin_epoch(storage),
            _ => {
                if !self.disk.is_off() {
                    self.check_all(storage)?;
                }
            }
        }
        self.take_replies(storage)
    }

    /// The next thing that a producer has to send: the first batch that is due, or a new one, or one more time what is on
    /// its way or was answered already.
    fn produce(&mut self, storage: &Storage) {
        let n = self.rng.random_range(0..PRODUCERS);
        self.send(storage, n);
    }

    pub(super) fn send(&mut self, storage: &Storage, n: usize) {
        let again = self.rng.random_bool(0.1);
        let (size, count) = (self.rng.random_range(1..700), self.rng.random_range(1..4));
        let any = self.rng.random_range(0..IN_FLIGHT);
        let producer = &mut self.producers[n];
        let due = producer.window.iter().position(|s| s.state == Fate::Due);
        let at = match due {
            Some(due) => due,
            None if again && any < producer.window.len() => any,
            None if producer.window.len() < IN_FLIGHT => {
                let (id, epoch, sequence) = (producer.id, producer.epoch, producer.sequence);
                let value = |k| format!("p{id}e{epoch}-{} {}", sequence + k, "x".repeat(size));
                producer.sequence += count;
                producer.window.push_back(Sent {
                    epoch,
                    sequence,
                    values: (0..count).map(value).collect(),
                    state: Fate::Due,
                });
                producer.window.len() - 1
            }
            None => return,
        };
        if producer.window[at].state == Fate::Due {
            producer.window[at].state = Fate::Waiting;
        }
        let sent = producer.window[at].clone();
        self.submit(storage, n, sent);
    }

    fn submit(&self, storage: &Storage, n: usize, sent: Sent) {
        let producer = &self.producers[n];
        let texts: Vec<&str> = sent.values.iter().map(String::as_str).collect();
        let (epoch, sequence) = (sent.epoch, sent.sequence);
        let bytes = idempotent(producer.id, epoch, sequence, &texts);
        let fenced = epoch < producer.fence;
        let replies = self.replies.0.clone();
        storage.append(TOPIC, producer.partition, bytes, move |result| {
            let _ = replies.send(Reply::Produced {
                n,
                epoch,
                sequence,
                fenced,
                result,
            });
        });
    }

    /// A producer starts anew under the next epoch, or one that was not told of it goes on.
    fn begin_epoch(&mut self, storage: &Storage) {
        let n = self.rng.random_range(0..PRODUCERS);
        let is_new = self.rng.random_bool(0.5);
        let producer = &mut self.producers[n];
        if producer.ghosts.is_empty() || is_new {
            let left = producer.window.drain(..).filter(|s| s.state != Fate::Acked);
            producer.ghosts = left.collect();
            producer.epoch += 1;
            producer.sequence = 0;
            return;
        }
        let which = self.rng.random_range(0..producer.ghosts.len());
        let ghost = producer.ghosts[which].clone();
        self.submit(storage, n, ghost);
    }

    fn produce_plain(&mut self, storage: &Storage) {
        self.plain += 1;
        let (partition, most) = match self.rng.random_range(0..5) {
            0 => (PARTITIONS, 300),
            _ => (self.rng.random_range(0..PARTITIONS), 900),
        };
        let size = self.rng.random_range(1..most);
        let value = format!("plain-{} {}", self.plain, "y".repeat(size));
        self.append_plain(storage, partition, value);
    }

    fn append_plain(&self, storage: &Storage, partition: i32, value: String) {
        let bytes = batch(&[&value]);
        let replies = self.replies.0.clone();
        let (topic, number) = log(partition);
        storage.append(topic, number, bytes, move |result| {
            let _ = replies.send(Reply::Plain(partition, vec![value], result));
        });
    }

    fn commit(
        &self,
        storage: &Storage,
        ops: Vec<Op>,
        reply: impl FnOnce(Result<Committed, CommitError>) -> Reply + Send + 'static,
    ) {
        let replies = self.replies.0.clone();
        storage.commit(ops, move |result| {
            let _ = replies.send(reply(result));
        });
    }

    /// Counts a key up by compare-and-swap, from what is durable: of two in flight the second must lose.
    fn swap(&mut self, storage: &Storage) {
        let now = super::counter(storage);
        let next = now + 1;
        let op = put(Table::Cluster, "counter", next.to_string(), after(now));
        self.model.counter_sent = self.model.counter_sent.max(next);
        self.commit(storage, vec![op], move |result| {
            Reply::Swapped(next, result)
        });
    }

    fn retain(&mut self, storage: &Storage) {
        let free = self.disk.free_bytes("/sim/wal".as_ref());
        self.model.floor_was_met |= free.is_ok_and(|free| free < self.config.retention_floor);
        storage.run_retention();
    }

    fn delete_records(&mut self, storage: &Storage) -> Result<(), Violation> {
        let n = match self.rng.random_range(0..12) {
            0 => PARTITIONS,
            other => other % PARTITIONS,
        };
        let bounds = bounds(storage, n)?;
        let offset = self
            .rng
            .random_range(bounds.log_start..=bounds.high_watermark);
        let (before, offset) = match self.rng.random_range(0..4) {
            0 => (-1, bounds.high_watermark),
            _ => (offset, offset),
        };
        let start = self.model.starts.entry(n).or_default();
        start.asked = start.asked.max(offset);
        let (topic, partition) = log(n);
        let op = Op::DeleteRecords {
            topic,
            partition,
            before,
        };
        self.commit(storage, vec![op], move |result| {
            Reply::Deleted(n, offset, result)
        });
        Ok(())
    }

    /// Deletes the topic, creates it, or both at once; a key counts its generations in the same frame.
    fn change_topic(&mut self, storage: &Storage) {
        if self.model.again.waiting {
            return;
        }
        let now = storage.topic("again").map(|topic| topic.id);
        let both = self.rng.random_bool(0.5);
        let with_record = self.rng.random_bool(0.5);
        let model = &mut self.model.again;
        let (mut ops, mut created, mut deleted) = (Vec::new(), None, None);
        if let Some(id) = now {
            deleted = Some(again::generation(id));
            ops.push(Op::DeleteTopic { id });
            model.deleting.extend(deleted);
        }
        if now.is_none() || both {
            model.sent += 1;
            created = Some(model.sent);
            let id = again::id(model.sent);
            ops.push(Op::CreateTopic {
                name: "again".to_owned(),
                id,
                partitions: 1,
                config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
                internal: false,
            });
            let generation = model.sent.to_string();
            ops.push(put(Table::Cluster, "generation", generation, Expect::Any));
            if with_record {
                ops.push(Op::Append {
                    topic: id,
                    partition: 0,
                    batches: batch(&[&format!("g{}-first", model.sent)]),
                });
            }
        }
        model.waiting = true;
        self.commit(storage, ops, move |result| Reply::Topic {
            created,
            deleted,
            result,
        });
    }

    fn produce_again(&mut self, storage: &Storage) {
        let Some(topic) = storage.topic("again") else {
            return;
        };
        let generation = again::generation(topic.id);
        self.model.again.records += 1;
        let size = self.rng.random_range(1..400);
        let number = self.model.again.records;
        let value = format!("g{generation}-{number} {}", "z".repeat(size));
        self.append_plain(storage, again::log_of(generation), value);
    }

    /// A record in each of two topics and a key that counts them: all in one frame.
    fn pair(&mut self, storage: &Storage) {
        let now = number(storage, Table::Cluster, b"pair");
        let next = now + 1;
        let partition = self.rng.random_range(0..PARTITIONS);
        let size = self.rng.random_range(1..700);
        let value = format!("pair-{next} {}", "q".repeat(size));
        let append = |topic: Uuid, partition: i32| Op::Append {
            topic,
            partition,
            batches: batch(&[&value]),
        };
        let ops = vec![
            append(TOPIC, partition),
            append(KEPT, 0),
            put(Table::Cluster, "pair", next.to_string(), after(now)),
        ];
        self.model.pairs_sent = self.model.pairs_sent.max(next);
        self.commit(storage, ops, move |result| {
            Reply::Pair(next, partition, value, result)
        });
    }

    /// What a pipeline does after a start, before retention may begin.
    pub(super) fn start_pipeline(&mut self, storage: &Storage) {
        self.pipeline.read = checkpointed(storage);
        if self.rng.random_bool(0.3) {
            storage.run_retention();
        }
        storage.hold(PIPELINE, holds(&self.pipeline.read));
        storage.holds_ready();
    }

    fn read_as_pipeline(&mut self, storage: &Storage) -> Result<(), Violation> {
        if self.disk.is_off() {
            return Ok(());
        }
        match storage.read("t", &self.pipeline.read, 2500) {
            Ok(read) => {
                for each in read {
                    let header = lw_protocol::BatchHeader::parse(&each.bytes);
                    let header = header.map_err(|error| error.to_string())?;
                    let next = header.last_offset() + 1;
                    self.pipeline.read.insert(each.partition, next);
                }
                Ok(())
            }
            Err(SourceError::OutOfRange {
                partition,
                asked,
                start,
                ..
            }) if self.may_be_gone(partition, asked) => {
                self.pipeline.read.insert(partition, start);
                Ok(())
            }
            Err(error) => Err(format!("the pipeline was overtaken: {error}")),
        }
    }

    /// Whether somebody has asked for these records to go, or the disk was nearly full.
    pub(super) fn may_be_gone(&self, partition: i32, offset: i64) -> bool {
        let start = self.model.starts.get(&partition).copied();
        self.model.floor_was_met || start.unwrap_or_default().asked > offset
    }

    fn checkpoint(&mut self, storage: &Storage) {
        let read = self.pipeline.read.clone();
        let positions: Vec<String> = read.iter().map(|(p, at)| format!("{p}={at}")).collect();
        let op = put(Table::Manifests, PIPELINE, positions.join(" "), Expect::Any);
        self.commit(storage, vec![op], move |result| {
            Reply::Checkpointed(read, result)
        });
    }

    pub(super) fn take_replies(&mut self, storage: &Storage) -> Result<(), Violation> {
        while let Ok(reply) = self.replies.1.try_recv() {
            match reply {
                Reply::Produced {
                    n,
                    epoch,
                    sequence,
                    fenced,
                    result,
                } => self.was_produced(storage, n, (epoch, sequence), fenced, result)?,
                Reply::Plain(partition, values, result) => {
                    self.note(format_args!("plain {partition}: {}", words(&result)));
                    match result {
                        Ok(appended) => self.learn(partition, appended.base_offset, &values)?,
                        Err(AppendError::Full(_) | AppendError::Failed(_)) => {}
                        // Deleted before the batch came.
                        Err(AppendError::UnknownPartition) if partition > PARTITIONS => {}
                        Err(other) => return Err(format!("a plain batch got: {other}")),
                    }
                }
                Reply::Swapped(value, result) => {
                    self.note(format_args!("counter {value}: {}", result.is_ok()));
                    if result.is_ok() {
                        if value <= self.model.counter_acked {
                            return Err(format!("compare-and-swap: {value} was set twice"));
                        }
                        self.model.counter_acked = value;
                    }
                }
                Reply::Deleted(n, offset, result) => {
                    self.note(format_args!("start {n} {offset}: {}", result.is_ok()));
                    if is_done(&result)? {
                        let start = self.model.starts.entry(n).or_default();
                        start.acked = start.acked.max(offset);
                    }
                }
                Reply::Pair(number, partition, value, result) => {
                    self.note(format_args!("pair {number}: {}", result.is_ok()));
                    if is_done(&result)? {
                        let appended = result.expect("it is done").appended;
                        let values = [value];
                        self.learn(partition, appended[0].base_offset, &values)?;
                        self.learn(PARTITIONS, appended[1].base_offset, &values)?;
                        self.model.pairs_acked = self.model.pairs_acked.max(number);
                    }
                }
                Reply::Topic {
                    created,
                    deleted,
                    result,
                } => {
                    self.note(format_args!(
                        "topic +{created:?} -{deleted:?}: {}",
                        result.is_ok()
                    ));
                    let model = &mut self.model.again;
                    model.waiting = false;
                    if is_done(&result)? {
                        model.acked = created.unwrap_or(model.acked);
                        model.deleted.extend(deleted);
                    }
                }
                Reply::Checkpointed(read, result) => {
                    self.note(format_args!("checkpoint {read:?}: {}", result.is_ok()));
                    if is_done(&result)? {
                        storage.hold(PIPELINE, holds(&read));
                    }
                }
            }
        }
        Ok(())
    }

    fn was_produced(
        &mut self,
        storage: &Storage,
        n: usize,
        (epoch, sequence): (i16, i32),
        fenced: bool,
        result: Result<Appended, AppendError>,
    ) -> Result<(), Violation> {
        self.note(format_args!(
            "producer {n}e{epoch}-{sequence}: {}",
            words(&result)
        ));
        let is_lost = self.rng.random_bool(0.1);
        let producer = &mut self.producers[n];
        let (partition, newest) = (producer.partition, producer.epoch);
        let Some(sent) = producer.find(epoch, sequence) else {
            // One that was sent once more, after its answer.
            return Ok(());
        };
        match result {
            Ok(_) if fenced => Err(format!(
                "producer {n}: epoch {epoch} was taken behind a newer one"
            )),
            Ok(appended) => {
                let values = sent.values.clone();
                if !is_lost {
                    sent.state = Fate::Acked;
                } else if sent.state == Fate::Waiting {
                    sent.state = Fate::Due;
                }
                producer.drop_answered();
                producer.fence = producer.fence.max(epoch);
                self.learn(partition, appended.base_offset, &values)?;
                self.acked_is_readable(storage, partition, appended.last_offset)
            }
            Err(AppendError::Full(_) | AppendError::Failed(_)) => {
                if sent.state == Fate::Waiting {
                    sent.state = Fate::Due;
                }
                Ok(())
            }
            // Somebody else goes on under a newer epoch.
            Err(AppendError::InvalidProducerEpoch { .. }) if epoch < newest => Ok(()),
            Err(AppendError::OutOfOrderSequence { .. }) if epoch < newest => Ok(()),
            Err(other) => Err(format!("producer {n} kept the rules and got: {other}")),
        }
    }

    /// After the end of a process no reply comes any more; requests in flight have an unknown end.
    pub(super) fn forget_requests(&mut self) {
        self.replies = std::sync::mpsc::channel();
        self.model.again.waiting = false;
        for producer in &mut self.producers {
            for sent in &mut producer.window {
                if sent.state == Fate::Waiting {
                    sent.state = Fate::Due;
                }
            }
        }
    }
}

/// Whether it happened; nothing but the disk and a lost race may be the reason when not.
fn is_done(result: &Result<Committed, CommitError>) -> Result<bool, Violation> {
    match result {
        Ok(_) => Ok(true),
        Err(
            CommitError::Conflict { .. }
            | CommitError::Full(_)
            | CommitError::Failed(_)
            | CommitError::Append(AppendError::Full(_) | AppendError::Failed(_)),
        ) => Ok(false),
        Err(other) => Err(format!("a lawful commit got: {other}")),
    }
}

/// What the pipeline's newest durable checkpoint has read.
pub(super) fn checkpointed(storage: &Storage) -> BTreeMap<i32, i64> {
    let mut read: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let text = storage.get(Table::Manifests, PIPELINE.as_bytes());
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    for part in text.iter().flat_map(|text| text.split(' ')) {
        let (partition, at) = part.split_once('=').expect("we wrote partition=offset");
        let number = |text: &str| text.parse().expect("we wrote numbers");
        read.insert(number(partition) as i32, number(at));
    }
    read
}

fn holds(read: &BTreeMap<i32, i64>) -> Vec<Hold> {
    let hold = |(partition, offset): (&i32, &i64)| Hold {
        topic: TOPIC,
        partition: *partition,
        offset: *offset,
    };
    read.iter().map(hold).collect()
}

fn words(result: &Result<Appended, AppendError>) -> String {
    match result {
        Ok(Appended {
            base_offset,
            duplicate: true,
            ..
        }) => format!("again {base_offset}"),
        Ok(appended) => format!("at {}", appended.base_offset),
        Err(error) => error.to_string(),
    }
}
