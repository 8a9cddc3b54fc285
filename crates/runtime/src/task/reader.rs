//! The source task: poll → decode → operators → queue.
//!
//! It runs ahead of the driver by what the queue holds, in a thread of its own ([`Reading`]). Whatever ends it (a stop, the end
//! of a bounded read, a failure, a panic) is the last message of the queue: the driver never waits for a dead thread.

use super::coordinator::Account;
use super::{Message, POLL_BYTES, POLL_TIMEOUT, Rows, Unread, enlist};
use crate::batch::{DeadLetter, Origin, Split, SplitId};
use crate::chain::{Chain, Failure, source_watermark};
use crate::connector::{ConnectorError, ErrorKind, Polled, Source};
use crate::job::{Control, JobStatus, panicked};
use crate::ledger::Ledger;
use crate::manifest::{Manifest, SplitOffset};
use crate::queue::Queue;
use std::collections::BTreeSet;
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
        if let Some((rows, bytes)) = read.rows
            && queue.push(Message::Rows(rows), bytes).is_err()
        {
            break;
        }
        if read.finished {
            return Message::End { finished: true };
        }
    }
    Message::End { finished: false }
}

/// What a step of the source task gave.
pub(super) struct Read {
    /// With their size in bytes; `None` when nothing was passed over.
    pub(super) rows: Option<(Rows, usize)>,
    /// A bounded source is read to its end.
    pub(super) finished: bool,
}

/// The source task.
pub(super) struct Reader {
    source: Box<dyn Source>,
    chain: Chain,
    status: Arc<JobStatus>,
    /// The source's watermark so far: it never goes back.
    watermark: Option<i64>,
}

impl Reader {
    /// Goes on where the manifest stands, at which the source was positioned.
    pub(super) fn new(unread: Unread, manifest: &Manifest, status: Arc<JobStatus>) -> Reader {
        let Unread {
            source, mut chain, ..
        } = unread;
        let splits = source.splits();
        let watermarks = enlist::watermarks(manifest, &splits);
        let done = done(&*source, &splits);
        let watermark = source_watermark(&watermarks, splits.len(), &done);
        chain.go_on_from(watermarks);
        Reader {
            source,
            chain,
            status,
            watermark,
        }
    }

    /// Polls once, waiting for records up to `timeout`.
    pub(super) fn step(
        &mut self,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Read, ConnectorError> {
        let polled = self.source.poll(max_bytes, timeout)?;
        let finished = polled.finished;
        let rows = self.process(polled)?;
        Ok(Read { rows, finished })
    }

    fn process(&mut self, polled: Polled) -> Result<Option<(Rows, usize)>, ConnectorError> {
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
        let done = done(&*self.source, &splits);
        let watermark = source_watermark(self.chain.watermarks(), splits.len(), &done);
        self.watermark = self.watermark.max(watermark);
        let watermark = self.watermark;
        self.status.update(|status| {
            status.records_in += rows_in + dead_letters.len() as u64;
            status.watermark = watermark;
        });
        let account = Account {
            ledger,
            splits,
            watermarks: self.chain.watermarks().clone(),
            watermark,
            place: self.source.place(),
            max_event_time: self.chain.max_event_time(),
        };
        let rows = Rows {
            batches,
            dead_letters,
            account,
        };
        Ok(Some((rows, bytes)))
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

/// The splits of which a bounded read has nothing more to read.
fn done(source: &dyn Source, splits: &[Split]) -> BTreeSet<SplitId> {
    let Some(ends) = source.ends() else {
        return BTreeSet::new();
    };
    let positions = source.positions();
    let reached = |end: &SplitOffset| {
        let mut positions = positions.iter();
        positions.any(|at| at.same_split(end) && at.next >= end.next)
    };
    let reached: Vec<&SplitOffset> = ends.iter().filter(|end| reached(end)).collect();
    let is_done = |split: &Split| {
        let mut reached = reached.iter();
        reached.any(|end| *end.topic == *split.topic && end.partition == split.partition)
    };
    let splits = (0..).zip(splits);
    let done = splits.filter(|(_, split)| is_done(split));
    done.map(|(id, _)| id).collect()
}
