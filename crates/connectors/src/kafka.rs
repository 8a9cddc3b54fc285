//! The embedded log as a Flink `kafka` source: in process, in WAL order across partitions, shared bytes, no socket.
//!
//! WAL order makes results repeatable: two reads of the same log see the same interleaving of partitions, whatever the
//! size of their polls. One poll is: read batches → decompress → decode into Arrow → add metadata columns. A record that
//! cannot be decoded becomes a dead letter and the next one is decoded as if it had never been there.
//!
//! Offsets are this source's own: it assigns itself all partitions and is positioned from the checkpoint. The consumer
//! group is only for lag tools, and for `scan.startup.mode = group-offsets` when there is no checkpoint yet.

mod metadata;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use lw_formats::Decoder;
use lw_graph::{KafkaSource, SourceColumn, StartupMode};
use lw_protocol::batch::Batch as LogBatch;
use lw_protocol::record::Record;
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Progress, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Batch, DeadLetter, Origin, Split, SplitId};
use lw_schemas::SchemaLookup;
use lw_storage::source::{LogSource, SourceBatch, SourceError};
use metadata::MetadataColumns;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What this source needs of the log beyond reading it.
pub trait EmbeddedLog: LogSource {
    /// First offset whose record is not older than `timestamp` (milliseconds since 1970); `None` past the end.
    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError>;
    /// Committed offset of a consumer group.
    fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64>;
}

/// How often new partitions are looked for, and the lag is computed.
const DISCOVERY: Duration = Duration::from_millis(500);

/// Reads the topics of one table.
pub struct EmbeddedKafka {
    spec: KafkaSource,
    group: String,
    log: Arc<dyn EmbeddedLog>,
    decoder: Box<dyn Decoder>,
    metadata: MetadataColumns,
    splits: Arc<[Split]>,
    /// Next offset by topic and partition.
    next: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Where a bounded read ends; empty for an unbounded one.
    ends: BTreeMap<(String, i32), i64>,
    bounded: bool,
    lag: u64,
    looked: Option<Instant>,
}

impl EmbeddedKafka {
    /// # Errors
    /// [`ErrorKind::Fix`] when the table's format cannot decode its columns.
    pub fn new(
        spec: &KafkaSource,
        group: &str,
        log: Arc<dyn EmbeddedLog>,
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<EmbeddedKafka, ConnectorError> {
        let projection: Vec<usize> = spec
            .columns
            .iter()
            .filter_map(|column| match column {
                SourceColumn::Value(index) => Some(*index),
                SourceColumn::Metadata(_) => None,
            })
            .collect();
        let decoder = lw_formats::decoder(&spec.format, &spec.value_schema, &projection, lookup)
            .map_err(|error| ConnectorError::new(ErrorKind::Fix, error))?;
        Ok(EmbeddedKafka {
            metadata: MetadataColumns::new(&spec.columns),
            spec: spec.clone(),
            group: group.to_string(),
            log,
            decoder,
            splits: Arc::from([]),
            next: BTreeMap::new(),
            ends: BTreeMap::new(),
            bounded: spec.bounded,
            lag: 0,
            looked: None,
        })
    }

    /// Adds partitions that are not read yet: at `offsets`, else where `startup` says.
    fn discover(
        &mut self,
        offsets: &[SplitOffset],
        startup: &StartupMode,
    ) -> Result<(), ConnectorError> {
        let mut splits: Vec<Split> = self.splits.to_vec();
        let mut lag = 0;
        for topic in &self.spec.topics.clone() {
            for bounds in self.log.partitions(topic).map_err(source_error)? {
                let known = self
                    .next
                    .get(topic)
                    .and_then(|next| next.get(&bounds.partition))
                    .copied();
                let next = match known {
                    Some(next) => next,
                    None => {
                        splits.push(Split {
                            topic: topic.as_str().into(),
                            partition: bounds.partition,
                        });
                        let at = offsets
                            .iter()
                            .find(|at| at.topic == *topic && at.partition == bounds.partition);
                        match at {
                            Some(at) => at.next,
                            None => self.startup(
                                startup,
                                topic,
                                bounds.partition,
                                bounds.start,
                                bounds.end,
                            )?,
                        }
                    }
                };
                self.next
                    .entry(topic.clone())
                    .or_default()
                    .insert(bounds.partition, next);
                lag += u64::try_from(bounds.end - next).unwrap_or(0);
            }
        }
        self.splits = splits.into();
        self.lag = lag;
        self.looked = Some(Instant::now());
        Ok(())
    }

    fn startup(
        &self,
        mode: &StartupMode,
        topic: &str,
        partition: i32,
        start: i64,
        end: i64,
    ) -> Result<i64, ConnectorError> {
        Ok(match mode {
            StartupMode::Earliest => start,
            StartupMode::Latest => end,
            StartupMode::GroupOffsets => match self.log.committed(&self.group, topic, partition) {
                Some(offset) => offset.clamp(start, end),
                None => {
                    tracing::debug!(
                        topic,
                        partition,
                        group = self.group,
                        "no committed offset; reading starts at the earliest"
                    );
                    start
                }
            },
            StartupMode::Timestamp(timestamp) => self
                .log
                .offset_at(topic, partition, *timestamp)
                .map_err(source_error)?
                .unwrap_or(end),
            StartupMode::Specific(offsets) => offsets.get(&partition).copied().unwrap_or(start),
        })
    }

    fn look_again(&mut self) -> Result<(), ConnectorError> {
        if !self.bounded
            && self
                .looked
                .is_none_or(|looked| looked.elapsed() >= DISCOVERY)
        {
            // A partition that appears later is read from its start: nothing in it is older than this source.
            self.discover(&[], &StartupMode::Earliest)?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        topic: &str,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<SourceBatch>, ConnectorError> {
        let mut from = self.next.get(topic).cloned().unwrap_or_default();
        for ((end_topic, partition), end) in &self.ends {
            if end_topic == topic && from.get(partition).is_some_and(|next| next >= end) {
                from.insert(*partition, i64::MAX);
            }
        }
        let batches = self
            .log
            .read(topic, &from, max_bytes)
            .map_err(source_error)?;
        if !batches.is_empty() || timeout.is_zero() {
            return Ok(batches);
        }
        if !self.log.wait(topic, &from, timeout) {
            return Ok(Vec::new());
        }
        self.log.read(topic, &from, max_bytes).map_err(source_error)
    }

    /// Decodes the batches of one topic into at most one Arrow batch.
    fn decode(
        &mut self,
        topic: &str,
        batches: Vec<SourceBatch>,
        polled: &mut Polled,
    ) -> Result<(), ConnectorError> {
        let mut chunk = Chunk {
            topic: topic.into(),
            ..Chunk::default()
        };
        for batch in batches {
            let partition = batch.partition;
            let end = self
                .ends
                .get(&(topic.to_string(), partition))
                .copied()
                .unwrap_or(i64::MAX);
            let from = self.next[topic][&partition];
            let split = self.split(topic, partition);
            let to = self.decode_batch(split, partition, batch, from, end, &mut chunk)?;
            self.next
                .get_mut(topic)
                .expect("read above")
                .insert(partition, to);
        }
        polled.dead_letters.append(&mut chunk.letters);
        polled.progress.extend(chunk.progress.into_values());
        let values = self.decoder.finish();
        let metadata = self.metadata.finish();
        if chunk.origins.is_empty() {
            return Ok(());
        }
        let columns = self.arrange(values, metadata, chunk.origins.len())?;
        polled
            .batches
            .push(Batch::new(columns, chunk.origins, self.splits.clone()));
        Ok(())
    }

    /// Decodes one record batch from offset `from` on; returns the offset behind it.
    fn decode_batch(
        &mut self,
        split: SplitId,
        partition: i32,
        batch: SourceBatch,
        from: i64,
        end: i64,
        chunk: &mut Chunk,
    ) -> Result<i64, ConnectorError> {
        let mut bytes = batch.bytes;
        let log_batch = LogBatch::split_from(&mut bytes).map_err(damaged)?;
        let header = *log_batch.header();
        let to = (header.last_offset() + 1).min(end).max(from);
        let progress = chunk.progress.entry(split).or_insert(Progress {
            split,
            from,
            to: from,
            control: 0,
            skipped: 0,
        });
        progress.to = to;
        if header.is_control() {
            progress.control += u64::try_from(to - from).unwrap_or(0);
            return Ok(to);
        }
        let records = match log_batch.records() {
            Ok(records) => records,
            Err(error) => {
                chunk.bury_batch(
                    partition,
                    from.max(header.base_offset)..to,
                    header.max_timestamp,
                    &error.to_string(),
                );
                return Ok(to);
            }
        };
        for record in records.iter() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let rest = chunk.after(split, from.max(header.base_offset));
                    chunk.bury_batch(
                        partition,
                        rest..to,
                        header.max_timestamp,
                        &error.to_string(),
                    );
                    return Ok(to);
                }
            };
            if (from..to).contains(&record.offset) {
                self.decode_record(split, partition, &record, &header, chunk);
            }
        }
        Ok(to)
    }

    fn decode_record(
        &mut self,
        split: SplitId,
        partition: i32,
        record: &Record<'_>,
        header: &lw_protocol::BatchHeader,
        chunk: &mut Chunk,
    ) {
        chunk.seen.insert(split, record.offset + 1);
        match self.decoder.push(record.value) {
            Ok(decoded) if decoded.rows == 0 => {
                chunk
                    .progress
                    .get_mut(&split)
                    .expect("entered by the caller")
                    .skipped += 1;
            }
            Ok(decoded) => {
                for _ in 0..decoded.rows {
                    chunk.origins.push(Origin {
                        split,
                        offset: record.offset,
                    });
                    self.metadata.push(&chunk.topic, partition, record, header);
                }
            }
            Err(error) => chunk.letters.push(DeadLetter {
                topic: chunk.topic.clone(),
                partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                stage: "decode",
                code: error.code.to_string(),
                error: error.message,
            }),
        }
    }

    /// Puts value and metadata columns in the order that the plan wants.
    fn arrange(
        &self,
        values: RecordBatch,
        metadata: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch, ConnectorError> {
        let (mut values, mut metadata) = (values.columns().iter().cloned(), metadata.into_iter());
        let arrays: Vec<ArrayRef> = self
            .spec
            .columns
            .iter()
            .map(|column| match column {
                SourceColumn::Value(_) => values
                    .next()
                    .expect("the decoder gives every projected column"),
                SourceColumn::Metadata(_) => {
                    metadata.next().expect("one array per metadata column")
                }
            })
            .collect();
        let schema = lw_formats::arrow_schema(&self.metadata.output_schema(&self.spec));
        RecordBatch::try_new_with_options(
            schema,
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
    }

    fn split(&self, topic: &str, partition: i32) -> SplitId {
        let found = self
            .splits
            .iter()
            .position(|split| &*split.topic == topic && split.partition == partition);
        found.expect("every partition that is read is a split") as SplitId
    }

    fn done(&self) -> bool {
        self.bounded
            && self.ends.iter().all(|((topic, partition), end)| {
                self.next
                    .get(topic)
                    .and_then(|next| next.get(partition))
                    .is_some_and(|next| next >= end)
            })
    }
}

/// What one decoding pass gathered.
#[derive(Default)]
struct Chunk {
    topic: Arc<str>,
    origins: Vec<Origin>,
    letters: Vec<DeadLetter>,
    progress: BTreeMap<SplitId, Progress>,
    /// Offset behind the last record that was decoded, per split.
    seen: BTreeMap<SplitId, i64>,
}

impl Chunk {
    fn after(&self, split: SplitId, from: i64) -> i64 {
        self.seen.get(&split).map_or(from, |seen| (*seen).max(from))
    }

    /// A batch whose records cannot be told apart: each of its offsets becomes a dead letter, without bytes.
    fn bury_batch(
        &mut self,
        partition: i32,
        offsets: std::ops::Range<i64>,
        timestamp: i64,
        error: &str,
    ) {
        for offset in offsets {
            self.letters.push(DeadLetter {
                topic: self.topic.clone(),
                partition,
                offset,
                timestamp,
                key: None,
                value: None,
                stage: "decode",
                code: "batch.damaged".into(),
                error: error.to_string(),
            });
        }
    }
}

impl Source for EmbeddedKafka {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.splits = Arc::from([]);
        self.next.clear();
        let startup = self.spec.startup.clone();
        self.discover(offsets, &startup)?;
        if let Some(until) = until {
            self.ends = self
                .positions()
                .into_iter()
                .map(|at| ((at.topic, at.partition), at.next))
                .collect();
            self.ends.extend(
                until
                    .iter()
                    .map(|at| ((at.topic.clone(), at.partition), at.next)),
            );
        } else if self.spec.bounded && self.ends.is_empty() {
            for topic in &self.spec.topics {
                for bounds in self.log.partitions(topic).map_err(source_error)? {
                    self.ends
                        .insert((topic.clone(), bounds.partition), bounds.end);
                }
            }
        }
        self.bounded = self.spec.bounded || until.is_some();
        Ok(())
    }

    fn splits(&self) -> Arc<[Split]> {
        self.splits.clone()
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        self.look_again()?;
        let mut polled = Polled {
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: Vec::new(),
            finished: false,
        };
        let topics = self.spec.topics.clone();
        let share = if self.done() {
            Duration::ZERO
        } else {
            timeout / topics.len().max(1) as u32
        };
        for topic in &topics {
            let batches = self.read(topic, max_bytes, share)?;
            self.decode(topic, batches, &mut polled)?;
        }
        polled
            .progress
            .retain(|progress| progress.from < progress.to);
        polled.finished = self.done();
        Ok(polled)
    }

    fn record(&mut self, origin: Origin) -> Result<DeadLetter, ConnectorError> {
        let split = self.splits[origin.split as usize].clone();
        let from = BTreeMap::from([(split.partition, origin.offset)]);
        let mut letter = DeadLetter {
            topic: split.topic.clone(),
            partition: split.partition,
            offset: origin.offset,
            timestamp: 0,
            key: None,
            value: None,
            stage: "evaluate",
            code: String::new(),
            error: String::new(),
        };
        let batches = self
            .log
            .read(&split.topic, &from, 1)
            .map_err(source_error)?;
        for batch in batches
            .into_iter()
            .filter(|batch| batch.partition == split.partition)
        {
            let mut bytes = batch.bytes;
            let records = LogBatch::split_from(&mut bytes)
                .and_then(|batch| batch.records())
                .map_err(damaged)?;
            let found = records
                .iter()
                .filter_map(Result::ok)
                .find(|record| record.offset == origin.offset);
            if let Some(record) = found {
                letter.timestamp = record.timestamp;
                letter.key = record.key.map(<[u8]>::to_vec);
                letter.value = record.value.map(<[u8]>::to_vec);
                break;
            }
        }
        Ok(letter)
    }

    fn positions(&self) -> Vec<SplitOffset> {
        self.next
            .iter()
            .flat_map(|(topic, next)| {
                next.iter().map(|(partition, next)| SplitOffset {
                    topic: topic.clone(),
                    partition: *partition,
                    next: *next,
                })
            })
            .collect()
    }

    fn lag(&self) -> u64 {
        self.lag
    }
}

fn damaged(error: lw_protocol::BatchError) -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Bug,
        format!("the log holds a batch that cannot be read: {error}"),
    )
}

fn source_error(error: SourceError) -> ConnectorError {
    match &error {
        SourceError::UnknownTopic { name, known } => {
            let mut hint = format!("Create it: kafka-topics --create --topic {name} --partitions 1");
            if let Some(nearest) = lw_stdx::suggest::nearest(name, known.iter().map(String::as_str)) {
                hint = format!("Did you mean '{nearest}'? Otherwise create it: kafka-topics --create --topic {name} --partitions 1");
            }
            ConnectorError::new(ErrorKind::Retry, &error).hint(hint)
        }
        SourceError::OutOfRange { .. } => ConnectorError::new(ErrorKind::Fix, &error)
            .detail("Retention removed records that this pipeline had not read yet.")
            .hint("Replay what is left with `lakeward pipeline resume NAME --adopt`, and raise the topic's retention.ms."),
        _ => ConnectorError::new(ErrorKind::Retry, &error),
    }
}
