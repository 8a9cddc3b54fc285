//! The source task: poll → decode → operators without state → queue.
//!
//! It runs ahead of the driver by what the queue holds, in a thread of its own ([`Reading`]). Whatever ends it (a stop, the end
//! of a bounded read, a failure, a panic) is the last message of the queue: the driver never waits for a dead thread.

use super::account::{Account, Standing};
use super::{Message, Over, POLL_BYTES, POLL_TIMEOUT, Rows, SinkRows, Unread, enlist};
use crate::chunk::{Chunk, DeadLetter, Split, SplitId, kept};
use crate::connector::{ConnectorError, ErrorKind, Polled, Source};
use crate::job::{Control, JobStatus, PartitionStatus, panicked};
use crate::ledger::Ledger;
use crate::lookup::{Lookups, Pins};
use crate::manifest::{Manifest, SplitOffset};
use crate::operator::{AtOutlets, Landed, Processed, Round, SplitTimes, Topics, Upstream};
use crate::origins::{Origin, Runs};
use crate::queue::Queue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The source task's thread. Whoever holds this may return or panic: the thread is told, and waited for.
pub(super) struct Reading {
    queue: Arc<Queue<Message>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reading {
    pub(super) fn start(
        reader: Reader,
        queue: Arc<Queue<Message>>,
        control: Arc<Control>,
    ) -> Result<Reading, ConnectorError> {
        let into = queue.clone();
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| read_all(reader, &into, &control));
                let last = match std::panic::catch_unwind(run) {
                    Ok(last) => last,
                    Err(payload) => Message::Failed(panicked("the source", &*payload)),
                };
                let _ = into.push(last, 1);
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

/// Reads until there is no more, or nobody wants more; returns the last message.
fn read_all(mut reader: Reader, queue: &Queue<Message>, control: &Control) -> Message {
    while !queue.is_closed() && !control.stopping() {
        let read = match reader.step(POLL_BYTES, POLL_TIMEOUT) {
            Ok(read) => read,
            Err(error) => return Message::Failed(error),
        };
        if let Some(pins) = read.pinned
            && queue.push(Message::Pinned(pins), 1).is_err()
        {
            break;
        }
        if let Some((rows, bytes)) = read.rows
            && queue.push(Message::Rows(Box::new(rows)), bytes).is_err()
        {
            break;
        }
        if read.finished {
            return Message::End(Over::Finished);
        }
    }
    Message::End(match control.drains() {
        true => Over::Drained,
        false => Over::Stopped,
    })
}

/// What a step of the source task gave.
pub(super) struct Read {
    /// With their size in bytes; `None` when nothing was passed over.
    pub(super) rows: Option<(Rows, usize)>,
    /// With which versions of tables these and those that follow are joined, where that has changed.
    pub(super) pinned: Option<Pins>,
    /// A bounded source is read to its end.
    pub(super) finished: bool,
}

/// The source task.
pub(super) struct Reader {
    source: Box<dyn Source>,
    upstream: Upstream,
    lookups: Lookups,
    /// Partitions that are read to their end are waited for as before.
    ends_open: bool,
    sinks: Vec<Reads>,
    status: Arc<JobStatus>,
    /// The source's watermark so far: it never goes back.
    watermark: Option<i64>,
    /// Where the time of a source goes on that counts it from its opening.
    since: i64,
}

impl Reader {
    /// Goes on where the manifest stands, at which the source was positioned. Of each sink: where what it gets comes from, up to
    /// where it has a split already, and what it reads; no poll of the source reads over where one is that is ahead of the others.
    pub(super) fn new(
        unread: Unread,
        manifest: &Manifest,
        sinks: Vec<(Outlet, Vec<SplitOffset>, Topics)>,
        status: Arc<JobStatus>,
    ) -> Reader {
        let Unread {
            source,
            mut upstream,
            lookups,
            ends_open,
        } = unread;
        let splits = source.splits();
        let alone = upstream.scans().len() == 1;
        let marked = |scan: &str| match alone {
            true => manifest.marked,
            false => manifest.marks.get(scan).copied(),
        };
        let times = enlist::times(&manifest.splits, &splits);
        upstream.go_on_from(&times, &splits, marked, &manifest.meetings);
        if !ends_open {
            upstream.done(&done(&*source, &splits), &splits);
        }
        let watermark = upstream.times().and_then(|times| times.watermark());
        let reads = |(outlet, ahead, topics): (Outlet, Vec<SplitOffset>, Topics)| {
            let ahead = ahead.iter().filter_map(|at| {
                let id = enlist::position(&splits, &at.topic, at.partition)?;
                Some((id, at.next))
            });
            Reads {
                outlet,
                ahead: ahead.collect(),
                topics,
            }
        };
        let came = manifest.splits.iter().filter_map(|split| split.came);
        let since = came.filter(|_| !source.keeps_time()).max();
        Reader {
            sinks: sinks.into_iter().map(reads).collect(),
            since: since.unwrap_or(0),
            source,
            upstream,
            lookups,
            ends_open,
            status,
            watermark,
        }
    }

    /// How event time stands where rows leave the operators without state.
    pub(super) fn at_outlets(&self) -> AtOutlets {
        self.upstream.at_outlets()
    }

    /// Looks at once whether tables that rows are looked up in have changed.
    pub(super) fn look(&mut self) -> Result<(), ConnectorError> {
        self.lookups.look()
    }

    /// Polls once, waiting for records up to `timeout`.
    pub(super) fn step(
        &mut self,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Read, ConnectorError> {
        let pinned = self.lookups.swap();
        let mut polled = self.source.poll(max_bytes, timeout)?;
        let told = polled.appended.iter_mut().filter(|batch| batch.at > 0);
        told.for_each(|batch| batch.at = batch.at.saturating_add(self.since));
        let finished = polled.finished;
        let rows = self.process(polled)?;
        Ok(Read {
            rows,
            pinned,
            finished,
        })
    }

    fn process(&mut self, polled: Polled) -> Result<Option<(Rows, usize)>, ConnectorError> {
        let lag = self.source.lag();
        self.status.update(|status| status.lag = lag);
        if polled.progress.is_empty() {
            return Ok(None);
        }
        let splits = self.source.splits();
        let mut dead = polled.dead_letters.len();
        let sinks = self.sinks.iter();
        let mut sinks: Vec<AtSink> = sinks
            .map(|reads| AtSink::begin(reads, &polled, &splits))
            .collect();
        let (mut bytes, mut rows_in) = (1, 0);
        let mut leaving = Vec::new();
        self.upstream.appended(&polled.appended);
        let mut leave = |round: Round| {
            let left = round.into_outlets();
            for (outlet, Processed { chunk, .. }) in left.filter(|(_, done)| !done.chunk.is_empty())
            {
                bytes += chunk.bytes();
                leaving.push((outlet, chunk));
            }
        };
        self.upstream
            .end_scans(&splits)?
            .into_iter()
            .for_each(&mut leave);
        for chunk in polled.batches {
            let decoded = chunk.origins.runs().cloned();
            let decoded = decoded.expect("a source gives rows of the log");
            rows_in += decoded.rows() as u64;
            let mut rounds = self.upstream.process(chunk)?;
            let letters = self.bury(&splits, &rounds)?;
            let of = decoded
                .runs()
                .first()
                .map(|run| &*splits[run.split as usize].topic);
            let sinks = sinks.iter_mut().zip(&self.sinks);
            for (sink, reads) in
                sinks.filter(|(_, reads)| of.is_some_and(|of| reads.topics.has(of)))
            {
                match &reads.outlet {
                    Outlet::Sink(at) => sink.take(&decoded, *at, &mut rounds, &letters)?,
                    Outlet::State(at) => sink.count(&decoded, at, &rounds, &letters),
                }
            }
            rounds.into_iter().for_each(&mut leave);
        }
        bytes += sinks.iter().map(|sink| sink.bytes).sum::<usize>();
        let (mut rows, mut ledgers) = (Vec::new(), Vec::new());
        for sink in sinks {
            let AtSink {
                ledger,
                rows: mut of_sink,
                ..
            } = sink;
            // Letters of decoding and of operators in one order: that of their offsets.
            of_sink.dead_letters.sort_by(|a, b| {
                let place =
                    |letter: &DeadLetter| (letter.topic.clone(), letter.partition, letter.offset);
                place(a).cmp(&place(b))
            });
            dead = dead.max(of_sink.dead_letters.len());
            rows.push(of_sink);
            ledgers.push(ledger);
        }
        if !self.ends_open {
            self.upstream.done(&done(&*self.source, &splits), &splits);
        }
        let (mut partitions, mut times_of_splits) = (Vec::new(), SplitTimes::default());
        if let Some(times) = self.upstream.times() {
            self.watermark = self.watermark.max(times.watermark());
            partitions = shown(&splits, &times);
            times_of_splits = times.into_owned();
        }
        let watermark = self.watermark;
        self.status.update(|status| {
            status.records_in += rows_in + dead as u64;
            status.watermark = watermark;
            status.partitions = partitions;
        });
        let standing = Standing {
            splits,
            times: times_of_splits,
            watermark,
            marked: self.upstream.marked(),
            marks: self.upstream.marks(),
            meetings: self.upstream.meetings(),
            place: self.source.place(),
            max_event_time: self.upstream.max_event_time(),
        };
        let account = Account {
            ledgers,
            appeared: self.source.appeared(),
            standing,
            pins: Pins::new(),
        };
        let rows = Rows {
            sinks: rows,
            leaving,
            account,
        };
        Ok(Some((rows, bytes)))
    }

    /// The records that an operator could not compute for some sink: their bytes are read once more, and once for all sinks.
    fn bury(
        &mut self,
        splits: &[Split],
        rounds: &[Round],
    ) -> Result<BTreeMap<At, DeadLetter>, ConnectorError> {
        let done = rounds.iter().flat_map(Round::outlets);
        let failures = done.flat_map(|(_, done)| &done.failures);
        let failed: BTreeSet<At> = failures.map(|failure| at(failure.origin)).collect();
        if failed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let origins = failed.iter();
        let origins = origins.map(|(split, offset)| Origin {
            split: *split,
            offset: *offset,
        });
        let origins: Vec<Origin> = origins.collect();
        let mut letters = self.source.records(&origins)?;
        assert_eq!(
            letters.len(),
            failed.len(),
            "L4: every record that failed has its letter"
        );
        for (letter, origin) in letters.iter_mut().zip(origins) {
            let split = &splits[origin.split as usize];
            letter.topic = split.topic.clone();
            letter.partition = split.partition;
            letter.stage = "evaluate";
        }
        Ok(failed.into_iter().zip(letters).collect())
    }
}

/// Where what a sink gets leaves the operators without state, by its number.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    /// For the sink.
    Sink(usize),
    /// For operators with state, which may have several sinks behind them.
    State(Vec<usize>),
}

/// What a sink gets.
struct Reads {
    outlet: Outlet,
    /// Up to where it has a split already. What is read below is computed and not written to it.
    ahead: BTreeMap<SplitId, i64>,
    topics: Topics,
}

/// A record: its split and offset.
type At = (SplitId, i64);

fn at(origin: Origin) -> At {
    (origin.split, origin.offset)
}

/// What a poll becomes at one sink.
struct AtSink {
    /// The splits of which it has what this poll read.
    has: BTreeSet<SplitId>,
    ledger: Ledger,
    rows: SinkRows,
    /// Of the rows.
    bytes: usize,
}

impl AtSink {
    fn begin(reads: &Reads, polled: &Polled, splits: &[Split]) -> AtSink {
        let (mut has, mut ledger) = (BTreeSet::new(), Ledger::default());
        let gets = |split: SplitId| reads.topics.has(&splits[split as usize].topic);
        for progress in polled
            .progress
            .iter()
            .filter(|progress| gets(progress.split))
        {
            let until = reads
                .ahead
                .get(&progress.split)
                .copied()
                .unwrap_or(i64::MIN);
            if progress.from < until {
                assert!(
                    progress.to <= until,
                    "L5: no poll reads over where a sink stands"
                );
                has.insert(progress.split);
            } else {
                ledger.advance(progress);
            }
        }
        let mut letters = Vec::new();
        for letter in &polled.dead_letters {
            let split = enlist::position(splits, &letter.topic, letter.partition);
            let split = split.expect("a dead letter comes from one of the source's splits");
            if !has.contains(&split) && gets(split) {
                ledger.dead_letter(split);
                letters.push(letter.clone());
            }
        }
        AtSink {
            has,
            ledger,
            rows: SinkRows {
                batches: Vec::new(),
                dead_letters: letters,
            },
            bytes: 0,
        }
    }

    /// Takes what a batch became.
    fn take(
        &mut self,
        decoded: &Runs,
        outlet: usize,
        rounds: &mut [Round],
        letters: &BTreeMap<At, DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let mut wanted = Cow::Borrowed(decoded);
        let new = |origin: &Origin| !self.has.contains(&origin.split);
        if !self.has.is_empty() {
            wanted = Cow::Owned(decoded.of_splits(|split| !self.has.contains(&split)));
        }
        let mut landed = Landed::default();
        let mut batches = Vec::new();
        for mut done in rounds.iter_mut().filter_map(|round| round.take(outlet)) {
            if !self.has.is_empty() {
                done.failures.retain(|failure| new(&failure.origin));
                done.chunk = kept(done.chunk, new)
                    .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
            }
            landed.add(&done);
            batches.extend((done.chunk.rows() > 0).then_some(done.chunk));
        }
        self.account(&wanted, &landed, letters);
        self.bytes += batches.iter().map(Chunk::bytes).sum::<usize>();
        self.rows.batches.append(&mut batches);
        Ok(())
    }

    /// Counts what a batch became before operators with state: they have taken it in by the time that it is sealed.
    fn count(
        &mut self,
        decoded: &Runs,
        outlets: &[usize],
        rounds: &[Round],
        letters: &BTreeMap<At, DeadLetter>,
    ) {
        assert!(
            self.has.is_empty(),
            "M4: no sink behind state is ahead of the others"
        );
        let mut all = Landed::default();
        for landed in rounds.iter().filter_map(|round| round.landed(outlets)) {
            all.rows.extend(&landed.rows);
            all.failures.extend(landed.failures);
        }
        self.account(decoded, &all, letters);
    }

    fn account(&mut self, decoded: &Runs, done: &Landed, letters: &BTreeMap<At, DeadLetter>) {
        let failed: Runs = done.failures.iter().map(|failure| failure.origin).collect();
        self.ledger.processed(decoded, &done.rows, &failed);
        for failure in &done.failures {
            self.rows.dead_letters.push(DeadLetter {
                code: failure.code.clone(),
                error: failure.message.clone(),
                ..letters[&at(failure.origin)].clone()
            });
        }
    }
}

/// How far event time has come in each split, as it is shown; nothing before any of them has a row.
fn shown(splits: &[Split], times: &SplitTimes) -> Vec<PartitionStatus> {
    if times.by_split().is_empty() {
        return Vec::new();
    }
    let of_split = |(id, split): (SplitId, &Split)| PartitionStatus {
        topic: split.topic.clone(),
        partition: split.partition,
        watermark: times.by_split().get(&id).copied(),
        done: times.is_done(id),
        counts: times.counts(id),
        idle: times.is_idle(id),
    };
    (0..).zip(splits).map(of_split).collect()
}

/// The splits of which a bounded read has nothing more to read.
fn done(source: &dyn Source, splits: &[Split]) -> BTreeSet<SplitId> {
    let Some(ends) = source.ends() else {
        return BTreeSet::new();
    };
    let positions = source.positions();
    let (at, ends) = (by_split(&positions), by_split(&ends));
    let is_done = |split: &Split| {
        let split = (&*split.topic, split.partition);
        let reached = at.get(&split).zip(ends.get(&split));
        reached.is_some_and(|(at, end)| at >= end)
    };
    let splits = (0..).zip(splits);
    let done = splits.filter(|(_, split)| is_done(split));
    done.map(|(id, _)| id).collect()
}

/// Offsets by topic and partition: of folders there are thousands.
fn by_split(offsets: &[SplitOffset]) -> BTreeMap<(&str, i32), i64> {
    let offsets = offsets.iter();
    offsets
        .map(|at| ((&*at.topic, at.partition), at.next))
        .collect()
}
