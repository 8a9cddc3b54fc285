//! Topics as a Flink `kafka` source: of the embedded log, in process, in WAL order across topics and partitions, shared bytes, no
//! socket; or of another cluster ([`remote`]), whose partitions have no order between them.
//!
//! WAL order makes results repeatable: two reads of the same log see the same interleaving of partitions, whatever the
//! size of their polls. One poll is: read batches → decompress → decode into Arrow → add metadata columns. A record that
//! cannot be decoded becomes a dead letter and the next one is decoded as if it had never been there.
//!
//! Offsets are this source's own: it assigns itself all partitions and is positioned from the checkpoint. The consumer
//! group is only for lag tools, and for `scan.startup.mode = group-offsets` when there is no checkpoint yet.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: when it last looked for new partitions"
)]

mod decode;
mod metadata;
mod positions;
mod refused;
mod remote;
#[cfg(test)]
mod tests;

use decode::Decoding;
use lw_graph::{KafkaSource, StartupMode};
use lw_protocol::batch::Batch as LogBatch;
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Source};
use lw_runtime::manifest::{Place, SplitOffset};
use lw_runtime::pool::Pool;
use lw_runtime::{DeadLetter, Origin, Split, SplitId};
use lw_schemas::SchemaLookup;
use lw_storage::source::{
    LogSource, NOTHING, PartitionBounds, SourceError, TopicBatch, TopicBounds, TopicOffsets,
};
use positions::Positions;
use refused::{bounded_beside_unbounded, damaged, read_twice, source_error};
pub use remote::RemoteLog;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The log, and what this source needs beside reading it.
pub trait EmbeddedLog: Send + Sync {
    fn log(&self) -> &dyn LogSource;
    /// First offset whose record is not older than `timestamp` (milliseconds since 1970); `None` past the end.
    ///
    /// # Errors
    /// As [`LogSource::read`].
    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError>;
    /// Committed offset of a consumer group.
    ///
    /// # Errors
    /// As [`LogSource::read`].
    fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<i64>, SourceError>;
    /// Whether all partitions are in one order, which every reading gives again.
    fn in_one_order(&self) -> bool {
        true
    }
}

/// What a reader made of records otherwise than they stood; kept by whoever shows it, over all attempts of the reader.
#[derive(Debug, Default)]
pub struct Altered {
    /// Values set to NULL and rows left out because the script says to ignore errors.
    pub ignored: AtomicU64,
    /// Decimals that had more digits behind the point than their columns: they were rounded.
    pub rounded: AtomicU64,
}

/// How often new partitions are looked for, and the lag is computed.
const DISCOVERY: Duration = Duration::from_millis(500);

/// Reads the topics of one table, or of several in one order.
pub struct EmbeddedKafka {
    /// Of all tables.
    topics: Vec<String>,
    /// By topic: the table that it is of.
    tables: BTreeMap<String, usize>,
    scans: Vec<Scan>,
    /// The read ends at the offsets that are the end when it begins.
    to_latest: bool,
    log: Arc<dyn EmbeddedLog>,

    positions: Positions,
    bounded: bool,
    lag: u64,
    looked: Option<Instant>,
    /// Since when a log is read that does not say when its batches were appended.
    opened: Instant,
    /// The topics that the positions are of.
    ids: BTreeMap<String, Uuid>,
    /// Batches of the last poll, for the dead letters of operators.
    recent: Vec<TopicBatch>,
    /// Of the last batch since the positions were taken.
    place: Option<Place>,
}

/// One table.
struct Scan {
    startup: StartupMode,
    group: String,
    decoding: Decoding,
}

impl EmbeddedKafka {
    /// `altered` counts the values that become others than their records have.
    ///
    /// # Errors
    /// [`ErrorKind::Fix`] when the table's format cannot decode its columns.
    pub fn new(
        spec: &KafkaSource,
        group: &str,
        log: Arc<dyn EmbeddedLog>,
        lookup: Option<Arc<dyn SchemaLookup>>,
        altered: Arc<Altered>,
    ) -> Result<EmbeddedKafka, ConnectorError> {
        EmbeddedKafka::of_tables(&[(spec, altered)], group, log, lookup)
    }

    /// As [`EmbeddedKafka::new`], over several tables of one log. Each begins by its own startup mode, and by the offsets of its own
    /// group if it names one.
    ///
    /// # Errors
    /// As [`EmbeddedKafka::new`]; and when a topic is of two of them, or the reads of some have an end and others not.
    pub fn of_tables(
        specs: &[(&KafkaSource, Arc<Altered>)],
        group: &str,
        log: Arc<dyn EmbeddedLog>,
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<EmbeddedKafka, ConnectorError> {
        let (mut topics, mut tables, mut scans) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (spec, altered) in specs {
            for topic in &spec.topics {
                match tables.insert(topic.clone(), scans.len()) {
                    Some(before) if before != scans.len() => return Err(read_twice(topic)),
                    _ => topics.push(topic.clone()),
                }
            }
            let own = spec.group_id.clone().filter(|_| specs.len() > 1);
            scans.push(Scan {
                startup: spec.startup.clone(),
                group: own.unwrap_or_else(|| group.to_string()),
                decoding: Decoding::new(spec, lookup.clone(), altered.clone())?,
            });
        }
        let is_bounded = |(spec, _): &(&KafkaSource, Arc<Altered>)| spec.bounded;
        if specs.iter().any(is_bounded) && !specs.iter().all(is_bounded) {
            return Err(bounded_beside_unbounded(specs));
        }
        Ok(EmbeddedKafka {
            topics,
            tables,
            scans,
            to_latest: specs.iter().all(is_bounded),
            log,
            positions: Positions::default(),
            bounded: specs.iter().all(is_bounded),
            lag: 0,
            looked: None,
            opened: Instant::now(),
            ids: BTreeMap::new(),
            recent: Vec::new(),
            place: None,
        })
    }

    /// Decodes with the threads of this pool too.
    pub fn in_pool(mut self, pool: Pool) -> EmbeddedKafka {
        for scan in &mut self.scans {
            scan.decoding.in_pool(pool.clone());
        }
        self
    }

    /// All topics as they are at one place of the log.
    fn look(&self) -> Result<impl Iterator<Item = (&str, TopicBounds)>, ConnectorError> {
        let found = self.log.log().look(&self.topics).map_err(source_error)?;
        Ok(self.topics.iter().map(String::as_str).zip(found))
    }

    /// Adds partitions that appeared since. They are read from their start: nothing in them is older than this source.
    /// To a read that has its end they do not belong.
    fn discover(&mut self) -> Result<(), ConnectorError> {
        let mut lag = 0;
        let mut appeared = Vec::new();
        for (topic, TopicBounds { partitions, .. }) in self.look()? {
            for bounds in partitions {
                let next = match self.positions.find(topic, bounds.partition) {
                    Some(split) => self.positions.next(split),
                    None => {
                        appeared.push((topic.to_string(), bounds));
                        bounds.start
                    }
                };
                lag += u64::try_from(bounds.end - next).unwrap_or(0);
            }
        }
        for (topic, bounds) in appeared {
            let split = self.positions.add(&topic, bounds.partition, bounds.start);
            if self.bounded {
                self.positions.end_at(split, bounds.start);
            }
        }
        self.lag = lag;
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// Where a partition is begun that no checkpoint knows.
    fn begin(&self, topic: &str, bounds: PartitionBounds) -> Result<i64, ConnectorError> {
        let PartitionBounds {
            partition,
            start,
            end,
        } = bounds;
        let scan = &self.scans[self.tables[topic]];
        Ok(match &scan.startup {
            StartupMode::Earliest => start,
            StartupMode::Latest => end,
            StartupMode::GroupOffsets => self.committed(&scan.group, topic, bounds)?,
            StartupMode::Timestamp(timestamp) => self
                .log
                .offset_at(topic, partition, *timestamp)
                .map_err(source_error)?
                .unwrap_or(end),
            StartupMode::Specific(offsets) => match offsets.get(&partition) {
                None => self.committed(&scan.group, topic, bounds)?,
                Some(offset) if *offset > end => {
                    let message = format!(
                        "'scan.startup.specific-offsets' begins partition {partition} of '{topic}' at {offset}, behind its end"
                    );
                    return Err(ConnectorError::new(ErrorKind::Fix, message)
                        .detail(format!("The partition holds offsets {start} to {end}, the end exclusive."))
                        .hint("Name an offset that is there, or use 'scan.startup.mode' = 'latest-offset'."));
                }
                Some(offset) => self.not_before(topic, bounds, *offset),
            },
        })
    }

    /// The group's offset, else the earliest.
    fn committed(
        &self,
        group: &str,
        topic: &str,
        bounds: PartitionBounds,
    ) -> Result<i64, ConnectorError> {
        let committed = self.log.committed(group, topic, bounds.partition);
        Ok(match committed.map_err(source_error)? {
            Some(offset) => self.not_before(topic, bounds, offset.min(bounds.end)),
            None => {
                let partition = bounds.partition;
                tracing::debug!(
                    topic,
                    partition,
                    group,
                    "no committed offset; reading starts at the earliest"
                );
                bounds.start
            }
        })
    }

    /// `offset`, or the log's start where retention has gone past it.
    fn not_before(&self, topic: &str, bounds: PartitionBounds, offset: i64) -> i64 {
        if offset < bounds.start {
            let (partition, start) = (bounds.partition, bounds.start);
            tracing::warn!(
                topic,
                partition,
                offset,
                start,
                "retention removed the offset to begin at; reading starts at the earliest"
            );
        }
        offset.max(bounds.start)
    }

    /// Waits up to `timeout` for batches.
    fn read(
        &mut self,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<TopicBatch>, ConnectorError> {
        let wanted = self.positions.wanted();
        let log = self.log.log();
        let mut batches = log.read_topics(&wanted, max_bytes).map_err(source_error)?;
        if batches.is_empty() && !timeout.is_zero() && log.wait_topics(&wanted, timeout) {
            batches = log.read_topics(&wanted, max_bytes).map_err(source_error)?;
        }
        // The log gives all of a partition that it is not asked about, so one that is new may be among them.
        let known = |read: &TopicBatch| {
            let split = self.positions.find(&read.topic, read.batch.partition);
            split.is_some()
        };
        if !batches.iter().all(known) {
            self.discover()?;
        }
        self.check_topics()?;
        if !self.keeps_time() {
            // What comes, comes now.
            let now = 1 + i64::try_from(self.opened.elapsed().as_millis()).unwrap_or(i64::MAX - 1);
            batches
                .iter_mut()
                .for_each(|read| read.batch.appended_at = now);
        }
        Ok(batches)
    }

    /// Offsets mean nothing in a topic that was deleted and created again. Asked after each read: what was read is of the
    /// topic that the positions are of, or is not used.
    fn check_topics(&self) -> Result<(), ConnectorError> {
        for (topic, id) in &self.ids {
            if self.log.log().topic_id(topic).map_err(source_error)? != *id {
                let message = format!("topic '{topic}' was deleted and created again");
                return Err(ConnectorError::new(ErrorKind::Fix, message)
                    .detail("What this pipeline had read of the old one is committed; nothing was read of the new one.")
                    .hint("To read the new topic from its beginning, drop the pipeline (`lakeward pipeline drop`) and run its script with another table."));
            }
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.bounded && self.positions.done()
    }

    /// Decodes batches in their order: those of one table that follow on each other become a chunk.
    fn decode(&mut self, batches: Vec<TopicBatch>) -> Result<Polled, ConnectorError> {
        let mut limits = BTreeMap::new();
        if let [scan] = &mut *self.scans {
            let (polled, _) = scan
                .decoding
                .decode(&mut self.positions, &mut limits, batches)?;
            return Ok(polled);
        }
        let mut all = Polled::default();
        let mut batches = batches.into_iter().peekable();
        while let Some(first) = batches.next() {
            let table = self.tables[&*first.topic];
            let mut of_table = vec![first];
            while let Some(next) = batches.next_if(|next| self.tables[&*next.topic] == table) {
                of_table.push(next);
            }
            let decoding = &mut self.scans[table].decoding;
            let (polled, goes_on) = decoding.decode(&mut self.positions, &mut limits, of_table)?;
            all.append(polled);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    /// The batch that holds an offset; none where retention or a deletion took it.
    fn read_again(&self, split: &Split, offset: i64) -> Result<Vec<TopicBatch>, ConnectorError> {
        let log = self.log.log();
        let mut only = TopicOffsets::new();
        let read = log.partitions(&split.topic).and_then(|partitions| {
            let others = partitions.iter().map(|bounds| (bounds.partition, NOTHING));
            let next = only.entry(split.topic.to_string()).or_default();
            next.extend(others);
            next.insert(split.partition, offset);
            log.read_topics(&only, 1)
        });
        match read {
            Ok(batches) => Ok(batches),
            Err(SourceError::OutOfRange { .. } | SourceError::UnknownTopic { .. }) => {
                Ok(Vec::new())
            }
            Err(error) => Err(source_error(error)),
        }
    }
}

/// Fills in the letters whose records are in `batches`; each batch that holds one is inflated once.
fn fill(
    positions: &Positions,
    batches: &[TopicBatch],
    wanted: &mut BTreeMap<(SplitId, i64), usize>,
    letters: &mut [DeadLetter],
) -> Result<(), ConnectorError> {
    for TopicBatch { topic, batch } in batches {
        let Some(split) = positions.find(topic, batch.partition) else {
            continue;
        };
        if batch.bytes.is_empty() {
            continue;
        }
        let mut bytes = batch.bytes.clone();
        let log_batch = LogBatch::split_from(&mut bytes).map_err(damaged)?;
        let header = *log_batch.header();
        let range = (split, header.base_offset)..=(split, header.last_offset());
        if wanted.range(range).next().is_none() {
            continue;
        }
        let records = log_batch.records().map_err(damaged)?;
        for record in records.iter().filter_map(Result::ok) {
            if let Some(n) = wanted.remove(&(split, record.offset)) {
                letters[n].timestamp = record.timestamp;
                letters[n].key = record.key.map(<[u8]>::to_vec);
                letters[n].value = record.value.map(<[u8]>::to_vec);
            }
        }
    }
    Ok(())
}

impl Source for EmbeddedKafka {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        let mut ids = BTreeMap::new();
        let mut positions = Positions::default();
        for (topic, TopicBounds { id, partitions }) in self.look()? {
            ids.insert(topic.to_string(), id);
            for bounds in partitions {
                let known = offsets
                    .iter()
                    .find(|at| at.topic == topic && at.partition == bounds.partition);
                let next = match known {
                    Some(at) => at.next,
                    None if offsets.is_empty() => self.begin(topic, bounds)?,
                    // The checkpoint is older than this partition: all of it came after.
                    None => bounds.start,
                };
                let split = positions.add(topic, bounds.partition, next);
                match until {
                    Some(_) => positions.end_at(split, next),
                    None if self.to_latest => positions.end_at(split, bounds.end),
                    None => {}
                }
            }
        }
        for at in until.unwrap_or_default() {
            match positions.find(&at.topic, at.partition) {
                Some(split) => positions.end_at(split, at.next),
                None => positions.never_done(),
            }
        }
        self.ids = ids;
        self.positions = positions;
        self.place = None;
        self.bounded = self.to_latest || until.is_some();
        self.discover()
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        for cut in cuts {
            if let Some(split) = self.positions.find(&cut.topic, cut.partition) {
                self.positions.cut_at(split, cut.next);
            }
        }
    }

    fn topics(&self) -> BTreeMap<String, Uuid> {
        self.ids.clone()
    }

    fn ends(&self) -> Option<Vec<SplitOffset>> {
        self.bounded.then(|| self.positions.ends())
    }

    fn splits(&self) -> Arc<[Split]> {
        self.positions.splits()
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        if self.looked.is_none_or(|at| at.elapsed() >= DISCOVERY) {
            self.discover()?;
        }
        let timeout = match self.done() {
            true => Duration::ZERO,
            false => timeout,
        };
        let batches = self.read(max_bytes, timeout)?;
        self.recent.clone_from(&batches);
        if let Some(last) = batches.last()
            && self.log.in_one_order()
        {
            self.place = Some(Place::of(last.batch.order.number()));
        }
        let mut polled = self.decode(batches)?;
        polled.finished = self.done();
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let splits = self.positions.splits();
        let empty = |origin: &Origin| {
            let Split { topic, partition } = &splits[origin.split as usize];
            DeadLetter {
                topic: topic.clone(),
                partition: *partition,
                offset: origin.offset,
                timestamp: 0,
                key: None,
                value: None,
                stage: "evaluate",
                code: String::new(),
                error: String::new(),
            }
        };
        let mut letters: Vec<DeadLetter> = origins.iter().map(empty).collect();
        // By split and offset: where the letter is.
        let mut wanted: BTreeMap<(SplitId, i64), usize> = BTreeMap::new();
        for (n, origin) in origins.iter().enumerate() {
            wanted.insert((origin.split, origin.offset), n);
        }
        fill(&self.positions, &self.recent, &mut wanted, &mut letters)?;
        // Not of the last poll: looked for in the log, if it is still there.
        while let Some(((split, offset), _)) = wanted.first_key_value() {
            let (split, offset) = (*split, *offset);
            let found = self.read_again(&splits[split as usize], offset)?;
            fill(&self.positions, &found, &mut wanted, &mut letters)?;
            if wanted.remove(&(split, offset)).is_some() {
                let Split { topic, partition } = &splits[split as usize];
                tracing::warn!(%topic, partition, offset, "a dead letter has no bytes: its record is not in the log any more");
            }
        }
        Ok(letters)
    }

    fn positions(&self) -> Vec<SplitOffset> {
        self.positions.offsets()
    }

    fn place(&self) -> Option<Place> {
        self.place
    }

    fn keeps_time(&self) -> bool {
        self.log.in_one_order()
    }

    fn lag(&self) -> u64 {
        self.lag
    }
}
