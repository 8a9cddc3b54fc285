//! One attempt to run a job: a source task, a driver with the sink, and a committer, each in a thread of its own.
//!
//! ```text
//! source task: poll → decode → operators ─queue─► driver: state, write … seal → manifest ─order─► committer: commit
//!                                                   ▲   │   ▲ └─► manifest → group offsets      │
//!                                                   │   └─order─► state writer: encode, store   │
//!                                                   └───────────────── word ────────────────────┘
//! ```
//!
//! When what happens is the coordinator's ([`coordinator`]), and it is pure; the driver carries it out; the threads are here
//! and in [`reader`] and [`worker`]. [`stepped::SteppedJob`] runs the same source task, driver and committer in one thread.
//!
//! The order on the right is the exactly-once protocol of DESIGN §5.5: files are durable before the manifest names them,
//! the manifest is durable before a catalog hears of them, and nothing is forgotten before the table confirmed it. A crash
//! between any two of these steps is repaired by the next attempt: it reads from the manifest's offsets and lets the
//! committer decide about the manifest's pending commits.
//!
//! A stateless job seals when its table is due for a commit, not at every checkpoint interval: until then its rows are in
//! memory only, and a restart reads them again from the log. (Sealing each second would leave ten small files where one
//! does.)

mod account;
pub(crate) mod apart;
mod coordinator;
mod driver;
mod enlist;
mod keeping;
mod late;
mod reader;
mod refused;
pub(crate) mod rules;
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
mod worker;

use crate::chunk::{Chunk, DeadLetter};
use crate::connector::{Committer, ConnectorError, Pause, Sink, Source};
use crate::job::{Control, JobStatus, Settings};
use crate::lookup::{Lookups, Pins};
use crate::manifest::{Manifest, SplitOffset};
use crate::operator::{Flow, Upstream};
use crate::pool::Pool;
use crate::queue::{Queue, Wanted};
use crate::state::{OperatorState, Share, StateFiles};
use crate::store::ManifestStore;
use account::Account;
use coordinator::{Coordinator, End, Input, Insert};
use driver::{Answer, Driver, Order};
use keeping::{KeepOrder, Keeper, Kept};
use late::LateRecords;
use lw_stdx::clock::Clock;
use reader::Reading;
pub(crate) use refused::{refuse_ended, refuse_other};
use rules::Rules;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use worker::Worker;

/// How an attempt ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A bounded source is read to its end and everything is committed.
    Finished,
    /// Asked to stop; everything read is committed.
    Stopped,
    /// The user has to decide.
    Paused(Pause),
    /// Another process owns the job now.
    Fenced,
}

/// What the other threads hand to the driver.
enum Message {
    Rows(Box<Rows>),
    /// Rows that follow are joined with these versions of tables.
    Pinned(Pins),
    End(Over),
    Failed(ConnectorError),
    Committed(Answer),
    Kept(Kept),
}

/// Why nothing more is read.
#[derive(Clone, Copy)]
enum Over {
    /// A bounded source is read to its end.
    Finished,
    Stopped,
    /// As stopped, and event time ends with it.
    Drained,
}

/// What one poll became.
struct Rows {
    /// By sink.
    sinks: Vec<SinkRows>,
    /// What is to go through operators with state, by outlet, in its order.
    leaving: Vec<(usize, Chunk)>,
    account: Account,
}

/// What one poll became at one sink.
#[derive(Default)]
struct SinkRows {
    batches: Vec<Chunk>,
    dead_letters: Vec<DeadLetter>,
}

/// Bytes of records that one poll decodes.
const POLL_BYTES: usize = 1 << 20;
/// Bytes between the source task and the driver.
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
    /// Reads single records again, where a sink keeps late ones.
    pub(crate) letters: Option<Box<dyn Source>>,
    pub(crate) flow: Flow,
    /// The tables that it looks rows up in.
    pub(crate) lookups: Lookups,
    /// In the order of the graph's sinks, at least one.
    pub(crate) outputs: Vec<Output>,
    pub(crate) store: ManifestStore,
    pub(crate) files: StateFiles,
    /// Reads what the job goes on from.
    pub(crate) pool: Pool,
    pub(crate) manifest: Manifest,
    pub(crate) settings: Settings,
    /// Where a bounded read ends, event time does not: what is open stays open, as if the rest were yet to come.
    pub(crate) ends_open: bool,
    pub(crate) status: Arc<JobStatus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) memory: Share,
    /// Ids of commits.
    pub(crate) new_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// Publishes confirmed offsets for lag tools.
    pub(crate) publish: Publish,
}

/// Where the rows of one `INSERT` go.
pub(crate) struct Output {
    /// What the manifest calls the sink.
    pub(crate) name: String,
    /// Id of the plan, for the commits to name.
    pub(crate) plan: String,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) committer: Box<dyn Committer>,
}

impl Attempt {
    /// The driver, what it reads by, and who commits. `order` takes the driver's orders.
    fn parts(
        self,
        rules: Rules,
        orders: impl FnOnce(Committers, StateFiles) -> Result<Orders, ConnectorError>,
    ) -> Result<(Driver, Unread), ConnectorError> {
        let (mut sinks, mut committers, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
        let topics = self.flow.topics_of_sinks();
        let Flow {
            upstream,
            mut downstream,
        } = self.flow;
        let mut files = self.files;
        files.limits = rules.state;
        let mut keeper = Keeper::new(files, self.manifest.generation);
        keeper.keep(self.manifest.states());
        let mut memory = self.memory;
        if let Some(state) = &self.manifest.state {
            let states = state.operators.values();
            memory.restore(states.map(OperatorState::memory).sum())?;
            downstream.restore(&state.operators, &keeper.files, &self.pool)?;
        }
        let outlets = downstream.outlets_of_sinks();
        for (sink, mut output) in self.outputs.into_iter().enumerate() {
            output.sink.begin(&self.manifest)?;
            inserts.push(Insert {
                has_state: !outlets[sink].iter().all(|at| downstream.is_sink(*at)),
                topics: topics[sink].clone(),
                main: output.sink.table().to_string(),
                name: output.name,
                plan: output.plan,
            });
            sinks.push(output.sink);
            committers.push(output.committer);
        }
        let buried = |insert: &Insert| enlist::side_ends(self.manifest.sinks.get(&insert.name));
        let interval = self.settings.commit_interval;
        let mut driver = Driver {
            rules,
            ends_open: self.ends_open,
            buried: inserts.iter().map(buried).collect(),
            coordinator: Coordinator::new(self.manifest, inserts, interval, rules),
            sinks,
            saves: Vec::new(),
            store: self.store,
            status: self.status,
            clock: self.clock,
            memory,
            waits_for_memory: false,
            downstream,
            scans: Vec::new(),
            orders: orders(committers, keeper.files.clone())?,
            keeper,
            sealing: None,
            late: LateRecords::new(self.letters),
            new_id: self.new_id,
            publish: self.publish,
        };
        driver.coordinator.looks_up(self.lookups.pins());
        driver.arrange()?;
        driver.measure();
        let unread = Unread {
            source: self.source,
            upstream,
            lookups: self.lookups,
            ends_open: self.ends_open,
        };
        Ok((driver, unread))
    }

    /// Runs until the source ends, a stop is asked for, or something fails.
    pub(crate) fn run(self, control: &Arc<Control>) -> Result<Ended, ConnectorError> {
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let (clock, answers) = (self.clock.clone(), queue.clone());
        let has_state = !self.flow.downstream.is_empty();
        let (mut driver, unread) = self.parts(Rules::OURS, |mut committers, files| {
            let commit =
                move |order: Order| Message::Committed(order.carry_out(&mut committers, &*clock));
            let committer = Worker::start("committer", answers.clone(), commit)?;
            Ok(Orders {
                commit: Box::new(move |order| committer.order(order)),
                keep: match has_state {
                    true => keep_by_threads(&answers, &files)?,
                    false => Box::new(|_| unreachable!("there is no state to keep")),
                },
            })
        })?;
        let mut unread = Some(unread);
        let mut _reading = None;
        let (mut stopping, mut stopped) = (false, false);
        let mut ended = driver.handle(Input::Begin)?;
        while ended.is_none() {
            let saves = control.saves();
            ended = if !saves.is_empty() {
                driver.saves.extend(saves);
                driver.handle(Input::Savepoint)?
            } else if control.stopping() && !stopping {
                stopping = true;
                driver.handle(Input::Stop)?
            } else if stopping && !stopped && !driver.has_room() {
                // What waits in the queue is read again when there is room for it.
                stopped = true;
                driver.handle(Input::Ended(End::Stopped))?
            } else if driver.coordinator.wants_position()
                && let Some(mut unread) = unread.take()
            {
                let ended = driver.position(&mut unread)?;
                unread.lookups.watch()?;
                let reader = driver.reader(unread);
                _reading = Some(Reading::start(reader, queue.clone(), control.clone())?);
                ended
            } else {
                driver.next(&queue)?
            };
        }
        Ok(ended.expect("the loop ends with it"))
    }
}

/// Who takes what the driver orders.
struct Orders {
    commit: Box<dyn FnMut(Order)>,
    keep: Box<dyn FnMut(KeepOrder)>,
}

/// A fold may take long; no checkpoint waits for it.
fn keep_by_threads(
    driver: &Arc<Queue<Message>>,
    files: &StateFiles,
) -> Result<Box<dyn FnMut(KeepOrder)>, ConnectorError> {
    let start = |name| {
        let files = files.clone();
        let carry_out = move |order: KeepOrder| Message::Kept(order.carry_out(&files));
        Worker::start(name, driver.clone(), carry_out)
    };
    let (writer, folder) = (start("state writer")?, start("state folder")?);
    Ok(Box::new(move |order| match order {
        KeepOrder::Write(_) | KeepOrder::Arrange(_) => writer.order(order),
        KeepOrder::Fold(_) => folder.order(order),
    }))
}

/// What reads, before it is positioned.
struct Unread {
    source: Box<dyn Source>,
    upstream: Upstream,
    lookups: Lookups,
    ends_open: bool,
}

/// By sink.
type Committers = Vec<Box<dyn Committer>>;

impl Driver {
    /// Waits for whatever comes next, and takes it.
    fn next(&mut self, queue: &Queue<Message>) -> Result<Option<Ended>, ConnectorError> {
        let wakes = self.coordinator.wakes();
        let wait = wakes.saturating_sub(self.clock.elapsed()).min(POLL_TIMEOUT);
        let wanted = match self.takes_rows() {
            true => Wanted::Anything,
            false => Wanted::Word,
        };
        match queue.pop(wanted, wait) {
            Some(message) => self.heard(message),
            None => self.handle(Input::Tick),
        }
    }

    fn heard(&mut self, message: Message) -> Result<Option<Ended>, ConnectorError> {
        match message {
            Message::Rows(rows) => self.take(*rows),
            Message::Pinned(pins) => self.handle(Input::Pinned(pins)),
            Message::Committed(answer) => self.answered(answer),
            Message::Kept(kept) => self.kept(kept),
            Message::End(Over::Finished) => self.finish(End::Finished),
            Message::End(Over::Drained) => self.finish(End::Stopped),
            Message::End(Over::Stopped) => self.handle(Input::Ended(End::Stopped)),
            Message::Failed(error) => self.handle(Input::Ended(End::Failed(error))),
        }
    }
}
