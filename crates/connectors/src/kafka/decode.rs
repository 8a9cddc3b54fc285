//! Record batches of the log to Arrow: rows with their origins, and dead letters for the rest.
//!
//! Every offset that is passed over is accounted for: a row, a dead letter, a control record, a tombstone.

use super::metadata::MetadataColumns;
use super::positions::Positions;
use super::{Altered, damaged};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use lw_formats::Decoder;
use lw_graph::{KafkaSource, SourceColumn};
use lw_protocol::batch::Batch as LogBatch;
use lw_protocol::record::Record;
use lw_protocol::{BatchError, BatchHeader};
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Progress};
use lw_runtime::{Chunk, DeadLetter, Origin, Runs, Split, SplitId};
use lw_schemas::SchemaLookup;
use lw_storage::source::TopicBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Dead letters of damaged batches in one poll. A header of 61 bytes can claim two thousand million records; what is over
/// this is left for the next poll.
const BURIED_AT_ONCE: i64 = 10_000;

/// Decodes the columns of one table.
pub(super) struct Decoding {
    spec: KafkaSource,
    decoder: Box<dyn Decoder>,
    metadata: MetadataColumns,
    altered: Arc<Altered>,
}

impl Decoding {
    /// # Errors
    /// [`ErrorKind::Fix`] when the format cannot decode the columns.
    pub(super) fn new(
        spec: &KafkaSource,
        lookup: Option<Arc<dyn SchemaLookup>>,
        altered: Arc<Altered>,
    ) -> Result<Decoding, ConnectorError> {
        let projection: Vec<usize> = spec
            .columns
            .iter()
            .filter_map(|column| match column {
                SourceColumn::Value(index) => Some(*index),
                SourceColumn::Metadata(_) => None,
            })
            .collect();
        let decoder = lw_formats::decoder(&spec.format, &spec.value_schema, &projection, lookup)
            .map_err(|error| {
                ConnectorError::new(ErrorKind::Fix, &error)
                    .detail(error.detail)
                    .hint(error.hint)
            })?;
        Ok(Decoding {
            metadata: MetadataColumns::new(&spec.columns),
            spec: spec.clone(),
            decoder,
            altered,
        })
    }

    /// Decodes batches into at most one Arrow batch, in their order, and moves the positions on.
    pub(super) fn decode(
        &mut self,
        positions: &mut Positions,
        batches: Vec<TopicBatch>,
    ) -> Result<Polled, ConnectorError> {
        let mut chunk = Gathered {
            splits: positions.splits(),
            origins: Runs::default(),
            letters: Vec::new(),
            progress: BTreeMap::new(),
            may_bury: BURIED_AT_ONCE,
        };
        let mut limits = BTreeMap::new();
        for TopicBatch { topic, batch } in batches {
            let Some(split) = positions.find(&topic, batch.partition) else {
                continue;
            };
            let (from, end) = (positions.next(split), positions.end(split));
            if from >= end {
                continue;
            }
            // Where this poll began, so that it reads over no cut in two steps.
            let end = *limits
                .entry(split)
                .or_insert_with(|| positions.limit(split));
            let passed = batch.next;
            let range = from..passed.min(end).max(from);
            let mut bytes = batch.bytes;
            let to = if bytes.is_empty() {
                // A gap: what a compaction took, or a transaction took back.
                chunk.progress(split, range.start).to = range.end;
                range.end
            } else {
                let log_batch = LogBatch::split_from(&mut bytes).map_err(damaged)?;
                self.decode_batch(split, &log_batch, range, &mut chunk)
            };
            positions.advance(split, to);
            // A split that ends lets event time go on: where it does must not hang on how much one poll reads.
            if to < passed.min(positions.end(split)) || to >= positions.end(split) {
                break;
            }
        }
        let values = self.decoder.finish();
        let metadata = self.metadata.finish();
        let mut polled = Polled {
            batches: Vec::new(),
            dead_letters: chunk.letters,
            progress: chunk.progress.into_values().collect(),
            finished: false,
        };
        polled
            .progress
            .retain(|progress| progress.from < progress.to);
        if !chunk.origins.is_empty() {
            let columns = self.arrange(values, metadata, chunk.origins.rows())?;
            let batch = Chunk::new(columns, chunk.origins, chunk.splits);
            polled.batches.push(batch);
        }
        Ok(polled)
    }

    /// Decodes the records of one batch in the range; returns the offset behind the last one that is accounted for.
    fn decode_batch(
        &mut self,
        split: SplitId,
        batch: &LogBatch,
        range: std::ops::Range<i64>,
        chunk: &mut Gathered,
    ) -> i64 {
        let header = *batch.header();
        let progress = chunk.progress(split, range.start);
        progress.to = range.end;
        if header.is_control() {
            progress.control += u64::try_from(range.end - range.start).unwrap_or(0);
            return range.end;
        }
        let mut seen = range.start.max(header.base_offset);
        let broken = match batch.records() {
            Ok(records) => {
                let mut broken = None;
                for record in records.iter() {
                    match record {
                        Ok(record) if range.contains(&record.offset) => {
                            seen = seen.max(record.offset + 1);
                            self.decode_record(split, &record, &header, chunk);
                        }
                        Ok(_) => {}
                        Err(error) => {
                            broken = Some(error);
                            break;
                        }
                    }
                }
                broken
            }
            Err(error) => Some(error),
        };
        match broken {
            None => range.end,
            Some(error) => chunk.bury(split, seen..range.end, header.max_timestamp, &error),
        }
    }

    fn decode_record(
        &mut self,
        split: SplitId,
        record: &Record<'_>,
        header: &BatchHeader,
        chunk: &mut Gathered,
    ) {
        let offset = record.offset;
        match self.decoder.push(record.value) {
            Ok(decoded) => {
                if decoded.ignored > 0 {
                    let ignored = decoded.ignored as u64;
                    self.altered.ignored.fetch_add(ignored, Ordering::Relaxed);
                }
                if decoded.rounded > 0 {
                    self.tell_rounded(
                        decoded.rounded as u64,
                        &chunk.splits[split as usize],
                        offset,
                    );
                }
                if decoded.rows == 0 {
                    chunk.progress(split, offset).skipped += 1;
                }
                let Split { topic, partition } = &chunk.splits[split as usize];
                chunk
                    .origins
                    .push(Origin { split, offset }, decoded.rows as u32);
                for _ in 0..decoded.rows {
                    self.metadata.push(topic, *partition, record, header);
                }
            }
            Err(error) => {
                let letter = DeadLetter {
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    code: error.code.to_string(),
                    error: error.message,
                    ..chunk.letter(split, offset)
                };
                chunk.letters.push(letter);
            }
        }
    }

    /// Says that digits were lost at the first time, and again whenever they have become twice as many.
    fn tell_rounded(&self, rounded: u64, split: &Split, offset: i64) {
        let before = self.altered.rounded.fetch_add(rounded, Ordering::Relaxed);
        let now = before + rounded;
        if before.checked_ilog2() == now.checked_ilog2() {
            return;
        }
        let Split { topic, partition } = split;
        tracing::warn!(
            table = self.spec.table,
            %topic,
            partition,
            offset,
            rounded = now,
            "decimals of the writer have more digits behind the point than their columns: they were rounded half up"
        );
    }

    /// Puts value and metadata columns in the order that the plan wants.
    fn arrange(
        &self,
        values: RecordBatch,
        metadata: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch, ConnectorError> {
        let (mut values, mut metadata) = (values.columns().iter().cloned(), metadata.into_iter());
        let columns = self.spec.columns.iter();
        let arrays: Vec<ArrayRef> = columns
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
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
    }
}

/// What one decoding pass gathered.
struct Gathered {
    splits: Arc<[Split]>,
    origins: Runs,
    letters: Vec<DeadLetter>,
    progress: BTreeMap<SplitId, Progress>,
    may_bury: i64,
}

impl Gathered {
    fn progress(&mut self, split: SplitId, from: i64) -> &mut Progress {
        self.progress.entry(split).or_insert(Progress {
            split,
            from,
            to: from,
            control: 0,
            skipped: 0,
        })
    }

    /// A dead letter without contents.
    fn letter(&self, split: SplitId, offset: i64) -> DeadLetter {
        let Split { topic, partition } = &self.splits[split as usize];
        DeadLetter {
            topic: topic.clone(),
            partition: *partition,
            offset,
            timestamp: 0,
            key: None,
            value: None,
            stage: "decode",
            code: String::new(),
            error: String::new(),
        }
    }

    /// Records that cannot be told apart: each of their offsets becomes a dead letter, without bytes. Returns the offset
    /// behind the last one, which is not the end of the range when that is too many at once.
    fn bury(
        &mut self,
        split: SplitId,
        offsets: std::ops::Range<i64>,
        timestamp: i64,
        error: &BatchError,
    ) -> i64 {
        let to = offsets.end.min(offsets.start.saturating_add(self.may_bury));
        for offset in offsets.start..to {
            let letter = DeadLetter {
                timestamp,
                code: "batch.damaged".to_string(),
                error: error.to_string(),
                ..self.letter(split, offset)
            };
            self.letters.push(letter);
        }
        self.may_bury -= (to - offsets.start).max(0);
        self.progress(split, offsets.start).to = to;
        to
    }
}
