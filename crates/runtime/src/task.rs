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

mod enlist;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use crate::batch::{Batch, DeadLetter, Split, SplitId};
use crate::chain::{Chain, source_watermark};
use crate::connector::{Committer, ConnectorError, Pause, Sink, Source};
use crate::job::{Control, JobStatus, Settings};
use crate::ledger::Ledger;
use crate::manifest::{Manifest, Place, SplitOffset};
use crate::queue::Queue;
use crate::store::ManifestStore;
use lw_stdx::clock::Clock;
use reader::{Reader, Reading};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use writer::Writer;

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
    Rows(Rows),
    End { finished: bool },
    Failed(ConnectorError),
}

/// What one poll became.
struct Rows {
    batches: Vec<Batch>,
    dead_letters: Vec<DeadLetter>,
    ledger: Ledger,
    splits: Arc<[Split]>,
    watermarks: BTreeMap<SplitId, i64>,
    /// The source's.
    watermark: Option<i64>,
    /// Of the last batch, in the log's readable order.
    place: Option<Place>,
    max_event_time: Option<i64>,
}

/// Bytes of records that one poll decodes.
const POLL_BYTES: usize = 1 << 20;
/// Bytes between the source task and the sink task.
const QUEUE_BYTES: usize = 16 << 20;
/// A sink that holds more is sealed before its table is due.
const SEAL_BYTES: usize = 128 << 20;
/// How long a poll waits for records; bounds how late a stop is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Shows confirmed offsets as a consumer group's.
pub(crate) type Publish = Box<dyn Fn(&[SplitOffset]) + Send>;

/// Everything that one attempt needs.
pub(crate) struct Attempt {
    pub(crate) source: Box<dyn Source>,
    pub(crate) chain: Chain,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) committer: Box<dyn Committer>,
    pub(crate) store: ManifestStore,
    pub(crate) manifest: Manifest,
    /// What the manifest calls the sink.
    pub(crate) name: String,
    /// Id of the plan, for the commits to name.
    pub(crate) plan: String,
    pub(crate) settings: Settings,
    pub(crate) control: Arc<Control>,
    pub(crate) status: Arc<JobStatus>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Publishes confirmed offsets for lag tools.
    pub(crate) publish: Publish,
}

impl Attempt {
    /// Runs until the source ends, a stop is asked for, or something fails.
    pub(crate) fn run(mut self) -> Result<Ended, ConnectorError> {
        self.sink.begin(&self.manifest)?;
        let mut writer = Writer {
            buried: enlist::side_ends(self.manifest.sinks.get(&self.name)),
            name: self.name,
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
            watermark: None,
            place: None,
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
        let splits = self.source.splits();
        let watermarks = enlist::watermarks(&writer.manifest, &splits);
        let done = reader::done(&*self.source, &splits);
        let watermark = source_watermark(&watermarks, splits.len(), &done);
        self.chain.go_on_from(watermarks);
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let reader = Reader {
            source: self.source,
            chain: self.chain,
            queue: queue.clone(),
            control: self.control,
            status: self.status,
            watermark,
        };
        let _reading = Reading::start(reader, queue.clone())?;
        writer.run(&queue)
    }
}
