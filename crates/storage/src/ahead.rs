//! What is accepted but not yet durable, and the decision to accept.
//!
//! A request is judged against the durable [`State`] *and* everything accepted before it, so that a group commit behaves
//! as if each request had been alone. Each fact carries the ticket of the request that set it: when that ticket is
//! durable the fact is in the state and leaves here; when a write fails, facts are dropped and the state is the truth.
//!
//! No I/O, no clock: `accept(state, ahead, ops, now) → records to write, answers to give, or a refusal`.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use lw_protocol::{Batch, BatchHeader};
use uuid::Uuid;

use crate::batches::for_each_batch;
use crate::config::Fault;
use crate::frame::MAX_PAYLOAD;
use crate::numbers::{Offset, Order};
use crate::ops::{AppendError, Appended, CommitError, Expect, Op, Table, TooLarge};
use crate::producers::{Producer, Sent, Verdict, judge};
use crate::record::{LogId, Record};
use crate::state::State;
use crate::time::Now;
use crate::topic::{Topic, TopicConfig};
use crate::wall::Anchor;

/// Largest record set of one append.
pub(crate) const MAX_APPEND: usize = 128 << 20;

/// Facts of requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    ends: HashMap<LogId, (u64, Offset)>,
    starts: HashMap<LogId, (u64, Offset)>,
    producers: HashMap<(LogId, i64), (u64, Producer)>,
    values: HashMap<(Table, Bytes), (u64, Option<Bytes>)>,
    topics: HashMap<Uuid, (u64, Option<Arc<Topic>>)>,
    names: HashMap<String, (u64, Option<Uuid>)>,
    /// The newest one.
    anchor: Option<(u64, Anchor)>,
}

/// A record with the offset that its first batch gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) record: Record<Bytes>,
    pub(crate) base_offset: Offset,
}

/// An accepted request.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// Empty when there is nothing new to write.
    pub(crate) records: Vec<Placed>,
    pub(crate) appended: Vec<Appended>,
    /// Upper bound of the frame's payload.
    pub(crate) size: usize,
    batches: usize,
}

impl Ahead {
    fn merge(&mut self, newer: Ahead) {
        self.ends.extend(newer.ends);
        self.starts.extend(newer.starts);
        self.producers.extend(newer.producers);
        self.values.extend(newer.values);
        self.topics.extend(newer.topics);
        self.names.extend(newer.names);
        self.anchor = newer.anchor.or(self.anchor);
    }

    /// Everything up to `ticket` is in the state now. Called per group, with the tickets' facts still few.
    pub(crate) fn settle(&mut self, ticket: u64) {
        fn drop_settled<K: Eq + Hash, V>(map: &mut HashMap<K, (u64, V)>, ticket: u64) {
            if !map.is_empty() {
                map.retain(|_, (set_by, _)| *set_by > ticket);
            }
        }
        drop_settled(&mut self.ends, ticket);
        drop_settled(&mut self.starts, ticket);
        drop_settled(&mut self.producers, ticket);
        drop_settled(&mut self.values, ticket);
        drop_settled(&mut self.topics, ticket);
        drop_settled(&mut self.names, ticket);
        self.anchor = self.anchor.filter(|(set_by, _)| *set_by > ticket);
    }

    /// All appends in flight were refused; the other requests stand.
    pub(crate) fn forget_appends(&mut self) {
        self.ends.clear();
        self.producers.clear();
        self.anchor = None;
    }

    pub(crate) fn forget_all(&mut self) {
        *self = Ahead::default();
    }
}

/// Judges a request. On success its facts are in `ahead`; on refusal nothing changed.
pub(crate) fn accept(
    state: &State,
    ahead: &mut Ahead,
    ops: Vec<Op>,
    ticket: u64,
    now: Now,
    fault: Option<Fault>,
) -> Result<Accepted, CommitError> {
    let mut request = Request {
        fault,
        state,
        ahead,
        staged: Ahead::default(),
        ticket,
        now,
        accepted: Accepted::default(),
    };
    for op in ops {
        request.step(op)?;
        request.is_one_frame()?;
    }
    request.anchor();
    request.is_one_frame()?;
    let Request {
        staged, accepted, ..
    } = request;
    ahead.merge(staged);
    Ok(accepted)
}

/// A request in judgement: three layers of facts, the nearest wins.
struct Request<'a> {
    state: &'a State,
    ahead: &'a Ahead,
    staged: Ahead,
    ticket: u64,
    now: Now,
    fault: Option<Fault>,
    accepted: Accepted,
}

impl Request<'_> {
    fn step(&mut self, op: Op) -> Result<(), CommitError> {
        match op {
            Op::CreateTopic {
                name,
                id,
                partitions,
                config,
                internal,
            } => {
                let config = configured(config, internal)?;
                self.create_topic(Topic {
                    id,
                    name,
                    partitions,
                    config,
                    internal,
                })
            }
            Op::DeleteTopic { id } => self.delete_topic(id),
            Op::CreatePartitions { id, total } => self.create_partitions(id, total),
            Op::AlterConfig { id, config: given } => self.alter_config(id, given),
            Op::DeleteRecords {
                topic,
                partition,
                before,
            } => self.delete_records(LogId { topic, partition }, before),
            Op::Append {
                topic,
                partition,
                batches,
            } => {
                let log = LogId { topic, partition };
                self.append(log, batches).map_err(CommitError::Append)
            }
            Op::Put {
                table,
                key,
                value,
                expect,
            } => self.put(table, key, value, expect),
        }
    }

    fn write(&mut self, record: Record<Bytes>) {
        self.place(record, Offset::FIRST);
    }

    fn place(&mut self, record: Record<Bytes>, base_offset: Offset) {
        self.accepted.size += record.size();
        self.accepted.records.push(Placed {
            record,
            base_offset,
        });
    }

    /// Puts what the wall clock shows before what is appended, where no anchor says it.
    fn anchor(&mut self) {
        let mut records = self.accepted.records.iter();
        if !records.any(|placed| matches!(placed.record, Record::Append { .. })) {
            return;
        }
        let newest = self.ahead.anchor.as_ref().map(|(_, anchor)| anchor);
        let newest = newest.or(self.state.anchors.newest());
        if let Some(anchor) = Anchor::due(newest, self.now) {
            self.staged.anchor = Some((self.ticket, anchor));
            self.write(Record::Anchor(anchor));
            self.accepted.records.rotate_right(1);
        }
    }

    /// A frame is one write, is held in memory a few times, and its batches are numbered within the frame's order.
    fn is_one_frame(&self) -> Result<(), CommitError> {
        let Accepted { size, batches, .. } = self.accepted;
        for (what, found, limit) in [
            (TooLarge::Bytes, size, MAX_PAYLOAD),
            (TooLarge::Batches, batches, Order::MAX_BATCHES),
        ] {
            if found > limit {
                return Err(CommitError::TooLarge { what, found, limit });
            }
        }
        Ok(())
    }

    fn create_topic(&mut self, topic: Topic) -> Result<(), CommitError> {
        if topic.partitions < 1 {
            return Err(CommitError::InvalidPartitions {
                has: 0,
                asked: topic.partitions,
            });
        }
        // An id is never used twice, whatever the name.
        if self.id_of(&topic.name).is_some() || self.topic(topic.id).is_some() {
            return Err(CommitError::TopicExists(topic.name));
        }
        self.write(Record::CreateTopic {
            id: topic.id,
            name: topic.name.clone(),
            partitions: topic.partitions,
            internal: topic.internal,
            config: topic.config.given().clone(),
        });
        let (ticket, id) = (self.ticket, topic.id);
        self.staged
            .names
            .insert(topic.name.clone(), (ticket, Some(id)));
        self.stage_topic(topic);
        Ok(())
    }

    fn stage_topic(&mut self, topic: Topic) {
        let fact = (self.ticket, Some(Arc::new(topic)));
        let id = fact.1.as_ref().expect("just made").id;
        self.staged.topics.insert(id, fact);
    }

    fn delete_topic(&mut self, id: Uuid) -> Result<(), CommitError> {
        let topic = self.topic(id).ok_or(CommitError::UnknownTopic(id))?;
        if self.fault != Some(Fault::ForgetDeletions) {
            self.write(Record::DeleteTopic { id });
        }
        self.staged.topics.insert(id, (self.ticket, None));
        self.staged
            .names
            .insert(topic.name.clone(), (self.ticket, None));
        Ok(())
    }

    fn create_partitions(&mut self, id: Uuid, total: i32) -> Result<(), CommitError> {
        let topic = self.topic(id).ok_or(CommitError::UnknownTopic(id))?;
        if total <= topic.partitions {
            return Err(CommitError::InvalidPartitions {
                has: topic.partitions,
                asked: total,
            });
        }
        self.write(Record::CreatePartitions { id, total });
        let mut topic = Topic::clone(&topic);
        topic.partitions = total;
        self.stage_topic(topic);
        Ok(())
    }

    fn alter_config(
        &mut self,
        id: Uuid,
        given: BTreeMap<String, String>,
    ) -> Result<(), CommitError> {
        let topic = self.topic(id).ok_or(CommitError::UnknownTopic(id))?;
        let mut topic = Topic::clone(&topic);
        topic.config = configured(given.clone(), topic.internal)?;
        self.stage_topic(topic);
        self.write(Record::AlterConfig { id, config: given });
        Ok(())
    }

    fn delete_records(&mut self, log: LogId, before: i64) -> Result<(), CommitError> {
        if !self.has_partition(log) {
            return Err(CommitError::UnknownTopic(log.topic));
        }
        // Only what is durable may go: the log start must not pass the high watermark.
        let durable = self.state.logs.get(&log);
        let end = durable.map_or(Offset::FIRST, |durable| durable.end);
        let start = self.start(log);
        let offset = if before == -1 { end } else { Offset(before) };
        if !(Offset::FIRST..=end).contains(&offset) {
            return Err(CommitError::OffsetOutOfRange {
                asked: before,
                start: start.0,
                end: end.0,
            });
        }
        if offset > start {
            self.staged.starts.insert(log, (self.ticket, offset));
            if self.fault != Some(Fault::ForgetLogStarts) {
                self.write(Record::LogStart { log, offset });
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        table: Table,
        key: Bytes,
        value: Option<Bytes>,
        expect: Expect,
    ) -> Result<(), CommitError> {
        let fits = match &expect {
            Expect::Any => true,
            Expect::Absent => self.value(table, &key).is_none(),
            Expect::Value(expected) => self.value(table, &key).as_ref() == Some(expected),
        };
        if !fits {
            return Err(CommitError::Conflict { table, key });
        }
        self.staged
            .values
            .insert((table, key.clone()), (self.ticket, value.clone()));
        self.write(Record::Put { table, key, value });
        Ok(())
    }

    fn append(&mut self, log: LogId, mut batches: Bytes) -> Result<(), AppendError> {
        if !self.has_partition(log) {
            return Err(AppendError::UnknownPartition);
        }
        if batches.len() > MAX_APPEND {
            return Err(AppendError::TooLarge {
                bytes: batches.len(),
                limit: MAX_APPEND,
            });
        }
        let topic = self.topic(log.topic).expect("has_partition saw it");
        let mut log_append_time = -1;
        if topic.config.produce().is_log_append_time {
            log_append_time = self.now.stamp;
            batches = restamp(batches, self.now.stamp)?;
        }
        let headers = headers(&batches)?;
        let base_offset = self.end(log);
        let log_start = self.start(log);
        if let Some(sent) = self.judge_all(log, &headers, base_offset)? {
            self.accepted.appended.push(Appended {
                base_offset: sent.base_offset.0,
                last_offset: sent.last_offset.0,
                log_append_time: match log_append_time {
                    0.. => sent.timestamp,
                    _ => -1,
                },
                log_start: log_start.0,
                duplicate: true,
            });
            return Ok(());
        }
        let count: i64 = headers
            .iter()
            .map(|header| i64::from(header.last_offset_delta) + 1)
            .sum();
        let end = base_offset.plus(count);
        self.staged.ends.insert(log, (self.ticket, end));
        self.accepted.batches += headers.len();
        let record = Record::Append {
            log,
            appended_at: self.now.log,
            batches,
        };
        self.place(record, base_offset);
        self.accepted.appended.push(Appended {
            base_offset: base_offset.0,
            last_offset: end.0 - 1,
            log_append_time,
            log_start: log_start.0,
            duplicate: false,
        });
        Ok(())
    }

    /// Takes each batch into its producer's state, or finds that all of them were here: as one that was sent, then.
    fn judge_all(
        &mut self,
        log: LogId,
        headers: &[BatchHeader],
        base_offset: Offset,
    ) -> Result<Option<Sent>, AppendError> {
        let mut offset = base_offset;
        let mut repeated: Option<Sent> = None;
        for (n, header) in headers.iter().enumerate() {
            let id = header.producer_id;
            let mut verdict = Verdict::New;
            if header.is_idempotent() {
                verdict = judge(self.producer(log, id), header, self.now.log, self.fault);
            }
            match verdict {
                // A set that is half repeat, half new comes from no client: Kafka's send one batch per partition.
                Verdict::New if repeated.is_some() => {
                    return Err(hole(header, header.base_sequence));
                }
                Verdict::Repeat(_) if n > 0 && repeated.is_none() => {
                    return Err(hole(header, header.base_sequence));
                }
                Verdict::New => {
                    if header.is_idempotent() {
                        let after =
                            Producer::after(self.producer(log, id), header, offset, self.now.log);
                        self.staged
                            .producers
                            .insert((log, id), (self.ticket, after));
                    }
                    offset = offset.plus(i64::from(header.last_offset_delta) + 1);
                }
                Verdict::Repeat(mut sent) => {
                    if let Some(first) = repeated {
                        sent.base_offset = first.base_offset;
                    }
                    repeated = Some(sent);
                }
                Verdict::OutOfOrder { expected } => return Err(hole(header, expected)),
                Verdict::OldEpoch { current } => {
                    return Err(AppendError::InvalidProducerEpoch {
                        producer_id: id,
                        current,
                        got: header.producer_epoch,
                    });
                }
            }
        }
        Ok(repeated)
    }

    // The three layers.

    fn topic(&self, id: Uuid) -> Option<Arc<Topic>> {
        let fact = self.staged.topics.get(&id).or(self.ahead.topics.get(&id));
        match fact {
            Some((_, topic)) => topic.clone(),
            None => self.state.topics.get(&id).cloned(),
        }
    }

    fn id_of(&self, name: &str) -> Option<Uuid> {
        let fact = self.staged.names.get(name).or(self.ahead.names.get(name));
        match fact {
            Some((_, id)) => *id,
            None => self.state.names.get(name).copied(),
        }
    }

    fn has_partition(&self, log: LogId) -> bool {
        self.topic(log.topic)
            .is_some_and(|topic| (0..topic.partitions).contains(&log.partition))
    }

    fn end(&self, log: LogId) -> Offset {
        let fact = self.staged.ends.get(&log).or(self.ahead.ends.get(&log));
        match fact {
            Some((_, end)) => *end,
            None => {
                let durable = self.state.logs.get(&log);
                durable.map_or(Offset::FIRST, |durable| durable.end)
            }
        }
    }

    fn start(&self, log: LogId) -> Offset {
        let fact = self.staged.starts.get(&log).or(self.ahead.starts.get(&log));
        match fact {
            Some((_, start)) => *start,
            None => {
                let durable = self.state.logs.get(&log);
                durable.map_or(Offset::FIRST, |durable| durable.start)
            }
        }
    }

    fn producer(&self, log: LogId, id: i64) -> Option<&Producer> {
        let key = (log, id);
        let fact = self
            .staged
            .producers
            .get(&key)
            .or(self.ahead.producers.get(&key));
        match fact {
            Some((_, producer)) => Some(producer),
            None => self.state.logs.get(&log)?.producers.get(&id),
        }
    }

    fn value(&self, table: Table, key: &Bytes) -> Option<Bytes> {
        let place = (table, key.clone());
        let fact = self
            .staged
            .values
            .get(&place)
            .or(self.ahead.values.get(&place));
        match fact {
            Some((_, value)) => value.clone(),
            None => self.state.tables.get(&table)?.get(key).cloned(),
        }
    }
}

/// Of a topic of ours the configuration is shown and not obeyed: it may promise what no other topic is given.
fn configured(given: BTreeMap<String, String>, internal: bool) -> Result<TopicConfig, CommitError> {
    if internal {
        return Ok(TopicConfig::recorded(given));
    }
    TopicConfig::parse(given).map_err(CommitError::InvalidConfig)
}

fn hole(header: &BatchHeader, expected: i32) -> AppendError {
    AppendError::OutOfOrderSequence {
        producer_id: header.producer_id,
        expected,
        got: header.base_sequence,
    }
}

/// The headers of a record set that is whole batches and nothing else.
fn headers(batches: &[u8]) -> Result<Vec<BatchHeader>, AppendError> {
    let mut headers = Vec::new();
    for_each_batch(batches, |header, _| {
        headers.push(header);
        Ok(())
    })
    .map_err(|damaged| AppendError::Malformed(damaged.0.to_owned()))?;
    if headers.is_empty() {
        return Err(AppendError::Malformed("there is no batch".to_owned()));
    }
    if headers.iter().any(|header| header.last_offset_delta < 0) {
        return Err(AppendError::Malformed("last offset delta".to_owned()));
    }
    Ok(headers)
}

/// The batches with the time of their append, under new CRCs; as they are when they have it already.
pub(crate) fn restamp(mut batches: Bytes, now: i64) -> Result<Bytes, AppendError> {
    let has_it = |header: &BatchHeader| header.is_log_append_time() && header.max_timestamp == now;
    if headers(&batches)?.iter().all(has_it) {
        return Ok(batches);
    }
    let mut out = Vec::with_capacity(batches.len());
    while !batches.is_empty() {
        let batch = Batch::split_from(&mut batches)
            .map_err(|error| AppendError::Malformed(error.to_string()))?;
        out.extend_from_slice(batch.with_log_append_time(now).bytes());
    }
    Ok(out.into())
}
