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

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: it owns the threads of an attempt, their deadlines and the uuids of its commits"
)]

use crate::batch::{Batch, DeadLetter, Origin, Split, SplitId};
use crate::chain::{Chain, Failure, least_watermark};
use crate::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Pause, Polled, Sink, Source, Staged,
};
use crate::job::{Control, JobStatus, Settings, panicked};
use crate::ledger::Ledger;
use crate::manifest::{Manifest, Pending, SplitOffset, SplitRange, SplitWatermark, TableChain};
use crate::queue::{Popped, Queue};
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
        watermarks: BTreeMap<SplitId, i64>,
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
    /// Id of the plan, for the commits to name.
    pub(crate) plan: String,
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
        self.sink.begin(&self.manifest)?;
        let mut writer = Writer {
            buried: side_ends(&self.manifest, self.sink.table()),
            sink: self.sink,
            committer: self.committer,
            store: self.store,
            manifest: self.manifest,
            settings: self.settings,
            control: self.control.clone(),
            status: self.status.clone(),
            clock: self.clock,
            publish: self.publish,
            ledger: Ledger::default(),
            splits: Arc::from([]),
            watermarks: BTreeMap::new(),
            max_event_time: None,
            last_seal: Instant::now(),
        };
        // What a crash left pending is decided before anything is read: its rows need no log any more.
        if let Some(ended) = writer.commit()? {
            return Ok(ended);
        }
        if let Some(ended) = writer.position(&mut *self.source, self.plan)? {
            return Ok(ended);
        }
        self.chain
            .go_on_from(watermarks(&writer.manifest, &self.source.splits()));
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let reader = Reader {
            source: self.source,
            chain: self.chain,
            queue: queue.clone(),
            control: self.control,
            status: self.status,
        };
        let _reading = Reading::start(reader, queue.clone())?;
        writer.run(&queue)
    }
}

/// The source task's thread. Whoever holds this may return or panic: the thread is told, and waited for.
struct Reading {
    queue: Arc<Queue<Message>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reading {
    fn start(reader: Reader, queue: Arc<Queue<Message>>) -> Result<Reading, ConnectorError> {
        let into = queue.clone();
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| reader.run());
                if let Err(payload) = std::panic::catch_unwind(run) {
                    let _ = into.push(Message::Failed(panicked("the source", &*payload)), 1);
                }
                into.close();
            })
            .map_err(|error| {
                let message = format!("no thread for the source: {error}");
                ConnectorError::new(ErrorKind::Retry, message)
            })?;
        Ok(Reading {
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
            dead_letters.extend(self.bury(&splits, &failed, done.failures)?);
            if done.batch.rows() > 0 {
                bytes += done.batch.bytes();
                batches.push(done.batch);
            }
        }
        // Letters of decoding and of operators in one order: that of their offsets.
        dead_letters.sort_by(|a, b| {
            let place =
                |letter: &DeadLetter| (letter.topic.clone(), letter.partition, letter.offset);
            place(a).cmp(&place(b))
        });
        let watermark = least_watermark(self.chain.watermarks(), splits.len());
        self.status.update(|status| {
            status.records_in += rows_in + dead_letters.len() as u64;
            status.watermark = watermark;
        });
        let message = Message::Rows {
            batches,
            dead_letters,
            ledger,
            splits,
            watermarks: self.chain.watermarks().clone(),
            max_event_time: self.chain.max_event_time(),
        };
        Ok(Some((message, bytes)))
    }

    /// The dead letters of records that an operator could not compute: their bytes are read once more.
    fn bury(
        &mut self,
        splits: &[Split],
        failed: &[Origin],
        failures: Vec<Failure>,
    ) -> Result<Vec<DeadLetter>, ConnectorError> {
        if failures.is_empty() {
            return Ok(Vec::new());
        }
        let mut letters = self.source.records(failed)?;
        assert_eq!(
            letters.len(),
            failures.len(),
            "L4: every record that failed has its letter"
        );
        for (letter, failure) in letters.iter_mut().zip(failures) {
            let split = &splits[failure.origin.split as usize];
            letter.topic = split.topic.clone();
            letter.partition = split.partition;
            letter.stage = "evaluate";
            letter.code = failure.code;
            letter.error = failure.message;
        }
        Ok(letters)
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
    watermarks: BTreeMap<SplitId, i64>,
    max_event_time: Option<i64>,
    last_seal: Instant,
}

impl Writer {
    /// Positions the source where the manifest stands, and writes down what must be decided once and never again: where
    /// reading begins, where a bounded read ends, which topics these offsets are of.
    fn position(
        &mut self,
        source: &mut dyn Source,
        plan: String,
    ) -> Result<Option<Ended>, ConnectorError> {
        let manifest = &mut self.manifest;
        if manifest.plan.as_ref().is_some_and(|before| *before != plan) {
            // Another query ends where it says, not where the one before did.
            manifest.ends = None;
        }
        manifest.plan = Some(plan);
        source.open(&manifest.offsets, manifest.ends.as_deref())?;
        let topics = source.topics();
        for (topic, id) in &topics {
            if manifest.topics.get(topic).is_some_and(|known| known != id) {
                return Err(recreated(topic, &manifest.offsets));
            }
        }
        manifest.topics = topics;
        manifest.ends = source.ends();
        manifest.offsets = source.positions();
        manifest.begin_at(&source.positions());
        self.save()
    }

    fn run(&mut self, queue: &Queue<Message>) -> Result<Ended, ConnectorError> {
        loop {
            let due = self.last_seal + self.settings.commit_interval;
            let wait = due
                .saturating_duration_since(Instant::now())
                .min(POLL_TIMEOUT);
            let last = match queue.pop(wait) {
                Popped::Item(Message::Rows {
                    batches,
                    dead_letters,
                    ledger,
                    splits,
                    watermarks,
                    max_event_time,
                }) => {
                    self.write(batches, dead_letters)?;
                    self.ledger.append(ledger);
                    self.splits = splits;
                    self.watermarks = watermarks;
                    self.max_event_time = max_event_time;
                    None
                }
                Popped::Item(Message::End { finished }) => Some(finished),
                Popped::Item(Message::Failed(error)) => return self.source_failed(error),
                Popped::Nothing => None,
                Popped::Closed => {
                    let message = "the source ended without saying why";
                    return Err(ConnectorError::new(ErrorKind::Bug, message));
                }
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

    /// What was read before the source failed is right, and perhaps nowhere else any more: it is committed first.
    fn source_failed(&mut self, error: ConnectorError) -> Result<Ended, ConnectorError> {
        if error.kind != ErrorKind::Bug
            && let Some(ended) = self.checkpoint()?
        {
            return Ok(ended);
        }
        Err(error)
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
        let watermark = least_watermark(&self.watermarks, self.splits.len());
        let max_event_time = self.max_event_time;
        let plan = self.manifest.plan.clone();
        for range in &ranges {
            set_offset(&mut self.manifest, range);
        }
        let begins = self.manifest.begins.clone();
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
                plan: plan.clone(),
                begins: begins.clone(),
            });
        };
        for (table, staged) in by_table {
            let chain = self.manifest.tables.entry(table).or_default();
            let ranges = letter_ranges(chain, &ranges);
            push(chain, Some(staged), ranges);
        }
        push(
            self.manifest.tables.entry(main).or_default(),
            main_staged,
            ranges,
        );
        self.manifest.watermarks = self
            .watermarks
            .iter()
            .map(|(split, watermark)| {
                let Split { topic, partition } = &self.splits[*split as usize];
                SplitWatermark {
                    topic: topic.to_string(),
                    partition: *partition,
                    watermark: *watermark,
                }
            })
            .collect();
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

/// The checkpoint's watermarks, by split.
fn watermarks(manifest: &Manifest, splits: &[Split]) -> BTreeMap<SplitId, i64> {
    let mut found = BTreeMap::new();
    for at in &manifest.watermarks {
        let split = splits
            .iter()
            .position(|split| *split.topic == *at.topic && split.partition == at.partition);
        if let Some(split) = split {
            found.insert(split as SplitId, at.watermark);
        }
    }
    found
}

/// The checkpoint's offsets are of a topic that is gone; one of the same name is there now.
fn recreated(topic: &str, offsets: &[SplitOffset]) -> ConnectorError {
    let of_topic: Vec<SplitOffset> = offsets
        .iter()
        .filter(|at| at.topic == topic)
        .cloned()
        .collect();
    ConnectorError::new(
        ErrorKind::Fix,
        format!("topic '{topic}' was deleted and created again"),
    )
    .detail(format!(
        "The checkpoint stands at {} of the topic that is gone; nothing was read of the new one.",
        crate::pipelines::offsets_text(&of_topic)
    ))
    .hint("To read the new topic from its beginning, drop the pipeline (`lakeward pipeline drop`) and run its script with another table.")
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
                ..Pending::default()
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
