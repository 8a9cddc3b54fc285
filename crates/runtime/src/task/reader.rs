//! The source task: poll → decode → operators → queue.
//!
//! It runs ahead of the sink task by what the queue holds, in a thread of its own. Whatever ends it (a stop, the end of a
//! bounded read, a failure, a panic) is the last message of the queue: the sink task never waits for a dead thread.

use super::{Message, POLL_BYTES, POLL_TIMEOUT, Rows};
use crate::batch::{DeadLetter, Origin, Split, SplitId};
use crate::chain::{Chain, Failure, source_watermark};
use crate::connector::{ConnectorError, ErrorKind, Polled, Source};
use crate::job::{Control, JobStatus, panicked};
use crate::ledger::Ledger;
use crate::manifest::SplitOffset;
use crate::queue::Queue;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The source task's thread. Whoever holds this may return or panic: the thread is told, and waited for.
pub(super) struct Reading {
    queue: Arc<Queue<Message>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reading {
    pub(super) fn start(
        reader: Reader,
        queue: Arc<Queue<Message>>,
    ) -> Result<Reading, ConnectorError> {
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
pub(super) struct Reader {
    pub(super) source: Box<dyn Source>,
    pub(super) chain: Chain,
    pub(super) queue: Arc<Queue<Message>>,
    pub(super) control: Arc<Control>,
    pub(super) status: Arc<JobStatus>,
    /// The source's watermark so far: it never goes back.
    pub(super) watermark: Option<i64>,
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
        let done = done(&*self.source, &splits);
        let watermark = source_watermark(self.chain.watermarks(), splits.len(), &done);
        self.watermark = self.watermark.max(watermark);
        let watermark = self.watermark;
        self.status.update(|status| {
            status.records_in += rows_in + dead_letters.len() as u64;
            status.watermark = watermark;
        });
        let rows = Rows {
            batches,
            dead_letters,
            ledger,
            splits,
            watermarks: self.chain.watermarks().clone(),
            watermark,
            place: self.source.place(),
            max_event_time: self.chain.max_event_time(),
        };
        Ok(Some((Message::Rows(rows), bytes)))
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
pub(super) fn done(source: &dyn Source, splits: &[Split]) -> BTreeSet<SplitId> {
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
