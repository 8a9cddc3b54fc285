//! One attempt to run a job: a source task and a sink task with a byte-bounded queue between them.
//!
//! ```text
//! source task:  poll → decode → operators → queue ──► sink task:  write … seal → manifest → commit → manifest → group offsets
//! ```
//!
//! The order on the right is the exactly-once protocol of DESIGN §5.5: files are durable before the manifest names them,
//! the manifest is durable before a catalog hears of them, and nothing is forgotten before the table confirmed it. A crash
//! between any two of these steps is repaired by the next attempt: it reads from the manifest's offsets and lets the
//! committer decide about the manifest's pending commits.
//!
//! A stateless job seals when its table is due for a commit, not at every checkpoint interval: until then its rows are in
//! memory only, and a restart reads them again from the log. (Sealing each second would leave ten small files where one
//! does.)

use crate::batch::{Batch, DeadLetter, Origin, Split};
use crate::chain::{Chain, Failure};
use crate::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Pause, Polled, Sink, Source, Staged,
};
use crate::job::{Control, JobStatus, Settings};
use crate::ledger::Ledger;
use crate::manifest::{Manifest, Pending, SplitOffset, SplitRange, TableChain};
use crate::queue::Queue;
use crate::store::{ManifestStore, StoreError};
use lw_stdx::clock::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How an attempt ended without an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A bounded source is read to its end and everything is committed.
    Finished,
    /// Asked to stop; everything read is committed.
    Stopped,
    /// The user has to decide.
    Paused(Pause),
    /// Another process owns the job now.
    Fenced,
}

/// What the source task hands to the sink task.
enum Message {
    Rows {
        batches: Vec<Batch>,
        dead_letters: Vec<DeadLetter>,
        ledger: Ledger,
        splits: Arc<[Split]>,
        watermark: Option<i64>,
        max_event_time: Option<i64>,
    },
    End {
        finished: bool,
    },
    Failed(ConnectorError),
}

/// Bytes of records that one poll decodes.
const POLL_BYTES: usize = 1 << 20;
/// Bytes between the source task and the sink task.
const QUEUE_BYTES: usize = 16 << 20;
/// A sink that holds more is sealed before its table is due.
const SEAL_BYTES: usize = 128 << 20;
/// How long a poll waits for records; bounds how late a stop is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Everything that one attempt needs.
pub(crate) struct Attempt {
    pub(crate) source: Box<dyn Source>,
    pub(crate) chain: Chain,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) committer: Box<dyn Committer>,
    pub(crate) store: ManifestStore,
    pub(crate) manifest: Manifest,
    pub(crate) settings: Settings,
    pub(crate) control: Arc<Control>,
    pub(crate) status: Arc<JobStatus>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Publishes confirmed offsets for lag tools.
    pub(crate) publish: Box<dyn Fn(&[SplitOffset]) + Send>,
}

impl Attempt {
    /// Runs until the source ends, a stop is asked for, or something fails.
    pub(crate) fn run(mut self) -> Result<Ended, ConnectorError> {
        self.source.open(&self.manifest.offsets, None)?;
        // Where reading begins is written down before anything is read: a restart must not ask the startup mode again.
        self.manifest.offsets = self.source.positions();
        self.manifest.begin_at(&self.source.positions());
        match self.store.save(&self.manifest) {
            Ok(()) => {}
            Err(StoreError::Fenced) => return Ok(Ended::Fenced),
            Err(error) => {
                return Err(
                    ConnectorError::new(ErrorKind::Retry, &error).detail(source_text(&error))
                );
            }
        }
        self.sink.begin(&self.manifest)?;
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let reader = Reader {
            source: self.source,
            chain: self.chain,
            queue: queue.clone(),
            control: self.control.clone(),
            status: self.status.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || reader.run())
            .map_err(|error| {
                ConnectorError::new(
                    ErrorKind::Retry,
                    format!("no thread for the source: {error}"),
                )
            })?;
        let mut writer = Writer {
            buried: side_ends(&self.manifest, self.sink.table()),
            sink: self.sink,
            committer: self.committer,
            store: self.store,
            manifest: self.manifest,
            settings: self.settings,
            control: self.control,
            status: self.status,
            clock: self.clock,
            publish: self.publish,
            ledger: Ledger::default(),
            splits: Arc::from([]),
            watermark: None,
            max_event_time: None,
            last_seal: Instant::now(),
        };
        let ended = writer.run(&queue);
        queue.close();
        let _ = thread.join();
        ended
    }
}

/// The source task.
struct Reader {
    source: Box<dyn Source>,
    chain: Chain,
    queue: Arc<Queue<Message>>,
    control: Arc<Control>,
    status: Arc<JobStatus>,
}

impl Reader {
    fn run(mut self) {
        let last = loop {
            if self.queue.is_closed() {
                return;
            }
            if self.control.stopping() {
                break Message::End { finished: false };
            }
            let polled = match self.source.poll(POLL_BYTES, POLL_TIMEOUT) {
                Ok(polled) => polled,
                Err(error) => break Message::Failed(error),
            };
            let finished = polled.finished;
            match self.process(polled) {
                Ok(Some((message, bytes))) => {
                    if self.queue.push(message, bytes).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => break Message::Failed(error),
            }
            if finished {
                break Message::End { finished: true };
            }
        };
        let _ = self.queue.push(last, 1);
    }

    fn process(&mut self, polled: Polled) -> Result<Option<(Message, usize)>, ConnectorError> {
        let lag = self.source.lag();
        self.status.update(|status| status.lag = lag);
        if polled.progress.is_empty() {
            return Ok(None);
        }
        let splits = self.source.splits();
        let mut ledger = Ledger::default();
        polled
            .progress
            .iter()
            .for_each(|progress| ledger.advance(progress));
        let mut dead_letters = polled.dead_letters;
        for letter in &dead_letters {
            let split = splits
                .iter()
                .position(|split| {
                    split.topic == letter.topic && split.partition == letter.partition
                })
                .expect("a dead letter comes from one of the source's splits");
            ledger.dead_letter(split as u32);
        }
        let (mut batches, mut bytes, mut rows_in) = (Vec::new(), 1, 0);
        for batch in polled.batches {
            let decoded = batch.origins.clone();
            rows_in += decoded.len() as u64;
            let done = self
                .chain
                .process(batch)
                .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
            let failed: Vec<Origin> = done.failures.iter().map(|failure| failure.origin).collect();
            ledger.processed(&decoded, &done.batch.origins, &failed);
            for failure in done.failures {
                dead_letters.push(self.bury(&splits, failure)?);
            }
            if done.batch.rows() > 0 {
                bytes += done.batch.bytes();
                batches.push(done.batch);
            }
        }
        self.status.update(|status| {
            status.records_in += rows_in + dead_letters.len() as u64;
            status.watermark = self.chain.watermark();
        });
        let message = Message::Rows {
            batches,
            dead_letters,
            ledger,
            splits,
            watermark: self.chain.watermark(),
            max_event_time: self.chain.max_event_time(),
        };
        Ok(Some((message, bytes)))
    }

    /// The dead letter of a record that an operator could not compute: its bytes are read once more from the log.
    fn bury(&mut self, splits: &[Split], failure: Failure) -> Result<DeadLetter, ConnectorError> {
        let mut letter = self.source.record(failure.origin)?;
        let split = &splits[failure.origin.split as usize];
        letter.topic = split.topic.clone();
        letter.partition = split.partition;
        letter.stage = "evaluate";
        letter.code = failure.code;
        letter.error = failure.message;
        Ok(letter)
    }
}

/// The sink task.
struct Writer {
    sink: Box<dyn Sink>,
    committer: Box<dyn Committer>,
    store: ManifestStore,
    manifest: Manifest,
    settings: Settings,
    control: Arc<Control>,
    status: Arc<JobStatus>,
    clock: Arc<dyn Clock>,
    publish: Box<dyn Fn(&[SplitOffset]) + Send>,
    ledger: Ledger,
    splits: Arc<[Split]>,
    /// Below these offsets dead letters are kept already: only after a rewind does reading come by there again.
    buried: BTreeMap<(String, i32), i64>,
    watermark: Option<i64>,
    max_event_time: Option<i64>,
    last_seal: Instant,
}

impl Writer {
    fn run(&mut self, queue: &Queue<Message>) -> Result<Ended, ConnectorError> {
        // What a crash left pending is decided before anything new is written.
        if let Some(ended) = self.commit()? {
            return Ok(ended);
        }
        loop {
            let due = self.last_seal + self.settings.commit_interval;
            let wait = due
                .saturating_duration_since(Instant::now())
                .min(POLL_TIMEOUT);
            let last = match queue.pop(wait) {
                Some(Message::Rows {
                    batches,
                    dead_letters,
                    ledger,
                    splits,
                    watermark,
                    max_event_time,
                }) => {
                    self.write(batches, dead_letters)?;
                    self.ledger.append(ledger);
                    self.splits = splits;
                    self.watermark = watermark;
                    self.max_event_time = max_event_time;
                    None
                }
                Some(Message::End { finished }) => Some(finished),
                Some(Message::Failed(error)) => return Err(error),
                None => None,
            };
            let full = self.sink.buffered_bytes() >= SEAL_BYTES;
            if last.is_some() || full || Instant::now() >= due {
                if let Some(ended) = self.checkpoint()? {
                    return Ok(ended);
                }
                self.last_seal = Instant::now();
            }
            match last {
                Some(true) => return Ok(Ended::Finished),
                Some(false) => return Ok(Ended::Stopped),
                None => {}
            }
        }
    }

    fn write(
        &mut self,
        batches: Vec<Batch>,
        mut letters: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let rows: usize = batches.iter().map(Batch::rows).sum();
        letters.retain(|letter| {
            let split = (letter.topic.to_string(), letter.partition);
            self.buried
                .get(&split)
                .is_none_or(|end| letter.offset >= *end)
        });
        let dead = letters.len() as u64;
        for batch in batches {
            self.sink.write(batch)?;
        }
        if !letters.is_empty() {
            self.sink.dead_letters(letters)?;
        }
        self.status.update(|status| {
            status.rows_out += rows as u64;
            status.dead_letters += dead;
        });
        Ok(())
    }

    /// Seal → manifest → commit. `Some` when the attempt ends here.
    fn checkpoint(&mut self) -> Result<Option<Ended>, ConnectorError> {
        if self.ledger.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let staged = self.sink.seal()?;
        let ranges = self.ledger.take(&self.splits);
        self.enlist(staged, ranges);
        if let Some(ended) = self.save()? {
            return Ok(Some(ended));
        }
        let (id, now) = (self.manifest.checkpoint_id, self.clock.now_ms());
        self.status.update(|status| {
            status.checkpoint_id = id;
            status.checkpoint_at_ms = now;
            status.checkpoint_duration = begun.elapsed();
        });
        self.commit()
    }

    /// Appends what was sealed to the chains of its tables, and moves the offsets on.
    fn enlist(&mut self, staged: Vec<Staged>, ranges: Vec<SplitRange>) {
        let main = self.sink.table().to_string();
        let mut by_table: BTreeMap<String, Staged> = staged
            .into_iter()
            .map(|staged| (staged.table.clone(), staged))
            .collect();
        let main_staged = by_table.remove(&main);
        let (watermark, max_event_time) = (self.watermark, self.max_event_time);
        let push = |chain: &mut TableChain, staged: Option<Staged>, ranges: Vec<SplitRange>| {
            let (files, schema_id) = match staged {
                Some(staged) => (staged.files, staged.schema_id),
                None => (Vec::new(), 0),
            };
            chain.chain.push(Pending {
                sequence: chain.next_sequence(),
                uuid: Uuid::new_v4(),
                previous: chain.head(),
                files,
                ranges,
                max_event_time,
                watermark,
                schema_id,
            });
        };
        for (table, staged) in by_table {
            let chain = self.manifest.tables.entry(table).or_default();
            let ranges = letter_ranges(chain, &ranges);
            push(chain, Some(staged), ranges);
        }
        for range in &ranges {
            set_offset(&mut self.manifest, range);
        }
        push(
            self.manifest.tables.entry(main).or_default(),
            main_staged,
            ranges,
        );
        self.manifest.checkpoint_id += 1;
        self.manifest.created_ms = self.clock.now_ms();
    }

    fn save(&mut self) -> Result<Option<Ended>, ConnectorError> {
        match self.store.save(&self.manifest) {
            Ok(()) => Ok(None),
            Err(StoreError::Fenced) => Ok(Some(Ended::Fenced)),
            Err(error) => {
                Err(ConnectorError::new(ErrorKind::Retry, &error).detail(source_text(&error)))
            }
        }
    }

    /// Brings every table up to its chain's end; waits and tries again while a catalog cannot be reached.
    fn commit(&mut self) -> Result<Option<Ended>, ConnectorError> {
        let tables: Vec<String> = self
            .manifest
            .tables
            .iter()
            .filter(|(_, chain)| !chain.chain.is_empty())
            .map(|(table, _)| table.clone())
            .collect();
        if tables.is_empty() {
            return Ok(None);
        }
        for table in tables {
            if let Some(ended) = self.commit_table(&table)? {
                return Ok(Some(ended));
            }
        }
        if let Some(ended) = self.save()? {
            return Ok(Some(ended));
        }
        if let Some(confirmed) = self
            .manifest
            .tables
            .get(self.sink.table())
            .and_then(|chain| chain.last.as_ref())
        {
            (self.publish)(&confirmed.ends);
        }
        Ok(None)
    }

    fn commit_table(&mut self, table: &str) -> Result<Option<Ended>, ConnectorError> {
        let mut backoff = Duration::from_millis(100);
        loop {
            let chain = self
                .manifest
                .tables
                .get_mut(table)
                .expect("listed by the caller");
            let begun = Instant::now();
            match self.committer.commit(table, chain) {
                Ok(CommitOutcome::Confirmed {
                    confirmed,
                    snapshot_id,
                }) => {
                    let rows: u64 = chain.chain[..confirmed]
                        .iter()
                        .flat_map(|pending| &pending.ranges)
                        .map(|range| range.rows)
                        .sum();
                    let event_time = chain.chain[..confirmed]
                        .iter()
                        .filter_map(|pending| pending.max_event_time)
                        .max();
                    chain.confirm(confirmed);
                    let left = chain.chain.len();
                    if table == self.sink.table() {
                        let now = self.clock.now_ms();
                        self.status.update(|status| {
                            status.commits += 1;
                            status.committed_rows += rows;
                            status.commit_at_ms = now;
                            status.commit_duration = begun.elapsed();
                            status.snapshot_id = snapshot_id.or(status.snapshot_id);
                            status.committed_event_time =
                                status.committed_event_time.max(event_time);
                        });
                    }
                    if left == 0 {
                        return Ok(None);
                    }
                }
                Ok(CommitOutcome::Paused(pause)) => {
                    // A fenced process must not bother its user: the new owner decides.
                    return Ok(Some(if self.store.is_mine() {
                        Ended::Paused(pause)
                    } else {
                        Ended::Fenced
                    }));
                }
                Err(error) if error.kind == ErrorKind::Retry && !self.control.stopping() => {
                    tracing::warn!(table, error = %error, detail = error.detail, "commit failed; trying again");
                    self.status.update(|status| {
                        status.commit_retries += 1;
                        status.last_error = Some(error.to_string());
                    });
                    self.control.wait(backoff);
                    backoff = (backoff * 2).min(Duration::from_secs(10));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Where the side tables' chains end, by topic and partition.
fn side_ends(manifest: &Manifest, main: &str) -> BTreeMap<(String, i32), i64> {
    let sides = manifest.tables.iter().filter(|(table, _)| *table != main);
    sides.flat_map(|(_, chain)| chain.ends()).collect()
}

/// A side table's commit covers everything since its last one, so that its chain has no hole either. After a rewind of the
/// main table it may be ahead: then there is nothing to cover yet.
fn letter_ranges(chain: &TableChain, ranges: &[SplitRange]) -> Vec<SplitRange> {
    let ends = chain.ends();
    let covered = ranges.iter().map(|range| SplitRange {
        start: *ends
            .get(&(range.topic.clone(), range.partition))
            .unwrap_or(&range.start),
        rows: range.dead_letters,
        filtered: 0,
        dead_letters: 0,
        control: 0,
        ..range.clone()
    });
    covered.filter(|range| range.start < range.end).collect()
}

/// Moves the manifest on to the range's end.
///
/// # Panics
/// When the range does not begin where the manifest stands (L2).
fn set_offset(manifest: &mut Manifest, range: &SplitRange) {
    let split = |next| SplitOffset {
        topic: range.topic.clone(),
        partition: range.partition,
        next,
    };
    manifest.begin_at(&[split(range.start)]);
    let known = manifest
        .offsets
        .iter_mut()
        .find(|at| at.topic == range.topic && at.partition == range.partition);
    match known {
        Some(at) => {
            assert_eq!(
                at.next, range.start,
                "L2: a commit begins where the manifest stands"
            );
            at.next = range.end;
        }
        None => manifest.offsets.push(split(range.end)),
    }
}

fn source_text(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, start: i64, end: i64, dead_letters: u64) -> SplitRange {
        SplitRange {
            topic: "t".into(),
            partition,
            start,
            end,
            rows: 10,
            filtered: 0,
            dead_letters,
            control: 0,
        }
    }

    fn pending(ranges: Vec<SplitRange>) -> TableChain {
        TableChain {
            last: None,
            chain: vec![Pending {
                sequence: 1,
                uuid: Uuid::nil(),
                previous: None,
                files: Vec::new(),
                ranges,
                max_event_time: None,
                watermark: None,
                schema_id: 0,
            }],
        }
    }

    /// `partition@start-end=rows`
    fn covered(side: &TableChain, ranges: &[SplitRange]) -> Vec<String> {
        let text = |range: &SplitRange| {
            let SplitRange {
                partition,
                start,
                end,
                rows,
                ..
            } = range;
            format!("{partition}@{start}-{end}={rows}")
        };
        letter_ranges(side, ranges).iter().map(text).collect()
    }

    #[test]
    fn a_side_table_covers_all_since_its_last_commit() {
        let side = pending(vec![range(0, 0, 5, 1)]);
        let ranges = [range(0, 20, 30, 2), range(1, 7, 9, 0)];
        assert_eq!(covered(&side, &ranges), ["0@5-30=2", "1@7-9=0"]);
    }

    #[test]
    fn a_side_table_that_is_ahead_after_a_rewind_covers_nothing_twice() {
        let side = pending(vec![range(0, 0, 25, 1), range(1, 0, 40, 1)]);
        let ranges = [range(0, 10, 30, 2), range(1, 10, 20, 1)];
        assert_eq!(covered(&side, &ranges), ["0@25-30=2"]);
    }

    #[test]
    fn where_reading_began_is_remembered_once() {
        let mut manifest = Manifest::new(Uuid::nil());
        set_offset(&mut manifest, &range(3, 7, 9, 0));
        set_offset(&mut manifest, &range(3, 9, 12, 0));
        let next = |offsets: &[SplitOffset]| offsets[0].next;
        assert_eq!((next(&manifest.begins), next(&manifest.offsets)), (7, 12));
    }
}
