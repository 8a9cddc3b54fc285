//! One thread's share of a poll: parts of batches in their order, decoded into one chunk.

use super::Part;
use super::keys::Keys;
use crate::kafka::metadata::MetadataColumns;
use crate::undecodable;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use lw_formats::{DecodeError, Decoded, Decoder};
use lw_graph::{KafkaSource, SourceColumn};
use lw_protocol::batch::Batch as LogBatch;
use lw_protocol::record::Record;
use lw_protocol::{BatchError, BatchHeader};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::{Chunk, DeadLetter, Origin, Runs, Split, SplitId};
use lw_schemas::SchemaLookup;
use std::ops::Range;
use std::sync::Arc;

/// Dead letters of damaged batches in one piece. A header of 61 bytes can claim two thousand million records; what is over
/// this is left for the next poll.
pub(super) const BURIED_AT_ONCE: i64 = 10_000;

/// What a piece became.
pub(super) struct Piece {
    /// `None` without rows.
    pub(super) chunk: Option<Chunk>,
    pub(super) letters: Vec<DeadLetter>,
    /// The parts, up to the last that was looked at.
    pub(super) passed: Vec<Passed>,
    pub(super) ignored: u64,
    pub(super) rounded: Option<Rounded>,
}

/// What became of a part.
pub(super) struct Passed {
    pub(super) split: SplitId,
    /// What was passed over of it.
    pub(super) offsets: Range<i64>,
    /// Up to where the poll reads the batch.
    pub(super) end: i64,
    pub(super) control: u64,
    pub(super) skipped: u64,
    /// Its records break off.
    pub(super) broken: Option<Broken>,
    /// All of it that breaks off has its letters.
    pub(super) is_buried: bool,
}

/// Why the records of a batch break off.
pub(super) struct Broken {
    error: BatchError,
    timestamp: i64,
}

/// Decimals that lost digits: how many, and the record of the first.
#[derive(Clone, Copy)]
pub(super) struct Rounded {
    pub(super) count: u64,
    pub(super) split: SplitId,
    pub(super) offset: i64,
}

/// Decodes one piece after another.
pub(super) struct Worker {
    spec: Arc<KafkaSource>,
    schema: SchemaRef,
    decoder: Box<dyn Decoder>,
    /// `None` where no column is of the records' keys.
    keys: Option<Keys>,
    metadata: MetadataColumns,
}

impl Worker {
    /// # Errors
    /// [`ErrorKind::Fix`] when the format cannot decode the columns.
    pub(super) fn new(
        spec: Arc<KafkaSource>,
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<Worker, ConnectorError> {
        let projection: Vec<usize> = spec
            .columns
            .iter()
            .filter_map(|column| match column {
                SourceColumn::Value(index) => Some(*index),
                SourceColumn::Key(_) | SourceColumn::Metadata(_) | SourceColumn::Appended => None,
            })
            .collect();
        let keys = Keys::new(&spec, lookup.clone()).map_err(undecodable)?;
        let decoder = lw_formats::decoder(&spec.format, &spec.value_schema, &projection, lookup)
            .map_err(undecodable)?;
        let metadata = MetadataColumns::new(&spec.columns);
        Ok(Worker {
            schema: lw_formats::arrow_schema(&metadata.output_schema(&spec)),
            metadata,
            spec,
            decoder,
            keys,
        })
    }

    /// Decodes a record.
    fn push(&mut self, record: &Record<'_>) -> Result<Decoded, DecodeError> {
        match &mut self.keys {
            Some(keys) => keys.push(record.key, record.value, &mut *self.decoder),
            None => self.decoder.push(record.value),
        }
    }

    /// Decodes parts, up to one whose records break off and cannot all be buried at once.
    pub(super) fn decode(
        &mut self,
        parts: Vec<Part>,
        splits: Arc<[Split]>,
    ) -> Result<Piece, ConnectorError> {
        let mut piece = Gathered {
            worker: self,
            splits: &splits,
            origins: Runs::default(),
            letters: Vec::new(),
            may_bury: BURIED_AT_ONCE,
            ignored: 0,
            rounded: None,
        };
        let mut passed = Vec::with_capacity(parts.len());
        for part in parts {
            let done = piece.part(&part);
            let over = done.broken.is_some() && (!done.is_buried || done.offsets.end < done.end);
            passed.push(done);
            if over {
                break;
            }
        }
        let Gathered {
            origins,
            letters,
            ignored,
            rounded,
            ..
        } = piece;
        let columns = self.columns(origins.rows())?;
        let chunk = (!origins.is_empty()).then(|| Chunk::new(columns, origins, splits));
        Ok(Piece {
            chunk,
            letters,
            passed,
            ignored,
            rounded,
        })
    }

    /// The columns of keys, values and metadata in the order that the plan wants.
    fn columns(&mut self, rows: usize) -> Result<RecordBatch, ConnectorError> {
        let values = self.decoder.finish().columns().to_vec();
        let (keys, values) = match &mut self.keys {
            Some(keys) => keys
                .finish(values)
                .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?,
            None => (Vec::new(), values),
        };
        let (mut keys, mut values) = (keys.into_iter(), values.into_iter());
        let mut metadata = self.metadata.finish().into_iter();
        let columns = self.spec.columns.iter();
        let arrays: Vec<ArrayRef> = columns
            .map(|column| match column {
                SourceColumn::Value(_) => values
                    .next()
                    .expect("the decoder gives every projected column"),
                SourceColumn::Key(_) => keys
                    .next()
                    .expect("the key's decoder gives every projected column"),
                SourceColumn::Metadata(_) | SourceColumn::Appended => {
                    metadata.next().expect("one array per metadata column")
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
    }
}

/// A piece while it is decoded.
struct Gathered<'w> {
    worker: &'w mut Worker,
    splits: &'w Arc<[Split]>,
    origins: Runs,
    letters: Vec<DeadLetter>,
    may_bury: i64,
    ignored: u64,
    rounded: Option<Rounded>,
}

impl Gathered<'_> {
    fn part(&mut self, part: &Part) -> Passed {
        let mut passed = Passed {
            split: part.split,
            offsets: part.offsets.clone(),
            end: part.end,
            control: 0,
            skipped: 0,
            broken: None,
            is_buried: false,
        };
        let Some(batch) = &part.batch else {
            return passed;
        };
        let header = *batch.header();
        if header.is_control() {
            passed.control = part.records() as u64;
            return passed;
        }
        let mut seen = part.offsets.start.max(header.base_offset);
        if let Err(error) = self.records(part, batch, &mut seen, &mut passed.skipped) {
            let broken = Broken {
                error,
                timestamp: header.max_timestamp,
            };
            let split = &self.splits[part.split as usize];
            let offsets = seen..part.offsets.end;
            let to = bury(split, offsets, &broken, self.may_bury, &mut self.letters);
            self.may_bury -= to - seen;
            passed.is_buried = to == part.offsets.end;
            passed.offsets.end = to;
            passed.broken = Some(broken);
        }
        passed
    }

    /// Decodes the records of a part; `seen` goes with them.
    fn records(
        &mut self,
        part: &Part,
        batch: &LogBatch,
        seen: &mut i64,
        skipped: &mut u64,
    ) -> Result<(), BatchError> {
        let header = *batch.header();
        for record in batch.records()?.iter_from(part.before) {
            let record = record?;
            if part.offsets.contains(&record.offset) {
                *seen = (*seen).max(record.offset + 1);
                self.record(part, &record, &header, skipped);
            } else if record.offset >= part.offsets.end && part.offsets.end < part.end {
                // The rest is another part's, and the offsets of a batch that is cut go up one by one.
                break;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        part: &Part,
        record: &Record<'_>,
        header: &BatchHeader,
        skipped: &mut u64,
    ) {
        let (split, offset) = (part.split, record.offset);
        match self.worker.push(record) {
            Ok(decoded) => {
                self.ignored += decoded.ignored as u64;
                if decoded.rounded > 0 {
                    let rounded = self.rounded.get_or_insert(Rounded {
                        count: 0,
                        split,
                        offset,
                    });
                    rounded.count += decoded.rounded as u64;
                }
                if decoded.rows == 0 {
                    *skipped += 1;
                }
                let Split { topic, partition } = &self.splits[split as usize];
                self.origins
                    .push(Origin { split, offset }, decoded.rows as u32);
                for _ in 0..decoded.rows {
                    let metadata = &mut self.worker.metadata;
                    metadata.push((topic, *partition), record, header, part.wall);
                }
            }
            Err(error) => {
                let letter = DeadLetter {
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    code: error.code.to_string(),
                    error: error.message,
                    ..letter(&self.splits[split as usize], offset)
                };
                self.letters.push(letter);
            }
        }
    }
}

/// Records that cannot be told apart: each of their offsets becomes a dead letter, without bytes, `most` of them. Returns the offset
/// behind the last one.
pub(super) fn bury(
    split: &Split,
    offsets: Range<i64>,
    broken: &Broken,
    most: i64,
    letters: &mut Vec<DeadLetter>,
) -> i64 {
    let to = offsets.end.min(offsets.start.saturating_add(most));
    let buried = (offsets.start..to).map(|offset| DeadLetter {
        timestamp: broken.timestamp,
        code: "batch.damaged".to_string(),
        error: broken.error.to_string(),
        ..letter(split, offset)
    });
    letters.extend(buried);
    to
}

/// A dead letter without contents.
fn letter(split: &Split, offset: i64) -> DeadLetter {
    DeadLetter {
        topic: split.topic.clone(),
        partition: split.partition,
        offset,
        timestamp: 0,
        key: None,
        value: None,
        stage: "decode",
        code: String::new(),
        error: String::new(),
    }
}
