//! A whole job in the caller's hands: source, operators, sink, manifest and committer of [`super::Attempt`], and no thread.
//!
//! Nothing happens between two calls, and what happens is a function of the calls: simulations and cases put a barrier, a
//! restart or a power cut wherever they like. A call that fails is the end of the attempt, as it is with threads: the job is
//! dropped, and the next one starts from the manifest.

use super::coordinator::{End, Input};
use super::driver::{Driver, Order};
use super::reader::{Read, Reader};
use super::rules::Rules;
use super::{Attempt, Committers, Ended, KeepOrder, Message, Orders, Unread};
use crate::connector::{ConnectorError, ErrorKind};
use crate::job::{JobSpec, JobStatus, Stop, Surroundings};
use crate::manifest::Manifest;
use crate::state::StateFiles;
use crate::store::StoreError;
use lw_stdx::clock::Clock;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// When commits are made. With a thread it can be any time from the order on; these are the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// At [`SteppedJob::commit`], one by one.
    WhenAsked,
    /// In the moment of the order, before anything else is done.
    AtOnce,
}

/// A job without threads.
pub struct SteppedJob {
    driver: Driver,
    unread: Option<Unread>,
    reader: Option<Reader>,
    /// Read, and not taken before what was read before it is sealed.
    waiting: Option<Read>,
    commits: Arc<Mutex<Committing>>,
    status: Arc<JobStatus>,
    ended: Option<Ended>,
}

struct Committing {
    committers: Committers,
    files: StateFiles,
    clock: Arc<dyn Clock>,
    when: Commits,
    orders: VecDeque<Waiting>,
    answers: VecDeque<Message>,
}

/// What is carried out when it is asked for.
enum Waiting {
    Commit(Order),
    Fold(KeepOrder),
}

impl Committing {
    fn order(&mut self, order: Waiting) {
        match self.when {
            Commits::AtOnce => self.carry_out(order),
            Commits::WhenAsked => self.orders.push_back(order),
        }
    }

    fn carry_out(&mut self, order: Waiting) {
        let answer = match order {
            Waiting::Commit(order) => {
                Message::Committed(order.carry_out(&mut self.committers, &*self.clock))
            }
            Waiting::Fold(order) => Message::Kept(order.carry_out(&self.files)),
        };
        self.answers.push_back(answer);
    }

    fn keep(&mut self, order: KeepOrder) {
        match order {
            KeepOrder::Fold(_) => self.order(Waiting::Fold(order)),
            KeepOrder::Write(_) | KeepOrder::Arrange(_) => {
                let kept = order.carry_out(&self.files);
                self.answers.push_back(Message::Kept(kept));
            }
        }
    }
}

impl SteppedJob {
    /// Takes the job over. What a crash left pending is ordered to be committed, and nothing is read before that is done.
    ///
    /// # Errors
    /// What keeps a job from beginning.
    pub fn start(
        spec: &JobSpec,
        around: &Surroundings,
        commits: Commits,
        rules: Rules,
    ) -> Result<SteppedJob, ConnectorError> {
        let status = Arc::new(JobStatus::new(spec));
        let attempt = match Attempt::prepare(spec, around, status.clone(), rules)? {
            Ok(attempt) => attempt,
            Err(_) => return Err(ConnectorError::new(ErrorKind::Retry, StoreError::Fenced)),
        };
        SteppedJob::of(attempt, commits, rules)
    }

    pub(super) fn of(
        attempt: Attempt,
        when: Commits,
        rules: Rules,
    ) -> Result<SteppedJob, ConnectorError> {
        let (clock, status) = (attempt.clock.clone(), attempt.status.clone());
        let mut commits = None;
        let (driver, unread) = attempt.parts(rules, |committers, files| {
            let committing = Arc::new(Mutex::new(Committing {
                committers,
                files,
                clock,
                when,
                orders: VecDeque::new(),
                answers: VecDeque::new(),
            }));
            commits = Some(committing.clone());
            let keeping = committing.clone();
            Ok(Orders {
                commit: Box::new(move |order| committing.lock().order(Waiting::Commit(order))),
                keep: Box::new(move |order| keeping.lock().keep(order)),
            })
        })?;
        let mut job = SteppedJob {
            driver,
            unread: Some(unread),
            reader: None,
            waiting: None,
            commits: commits.expect("the driver was given it"),
            status,
            ended: None,
        };
        job.handle(Input::Begin)?;
        Ok(job)
    }

    /// How the job ended, once it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// What the next save would write: what is on disk, and what was confirmed since.
    pub fn manifest(&self) -> &Manifest {
        self.driver.manifest()
    }

    /// What the job shows of itself.
    pub fn status(&self) -> &JobStatus {
        &self.status
    }

    /// Polls the source once for about `max_bytes` and hands what came of it to the sinks; whether there was anything. Nothing is
    /// read while what a crash left is not committed, or too much waits for the catalog.
    ///
    /// # Errors
    /// What ends the attempt.
    pub fn poll(&mut self, max_bytes: usize) -> Result<bool, ConnectorError> {
        if self.ended.is_some() || !self.driver.takes_rows() {
            return Ok(false);
        }
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        let read = match self.waiting.take() {
            Some(read) => read,
            None => match reader.step(max_bytes, Duration::ZERO) {
                Ok(read) => read,
                Err(error) => {
                    self.handle(Input::Ended(End::Failed(error)))?;
                    return Ok(false);
                }
            },
        };
        let any = read.rows.is_some();
        let read = match read.pinned {
            None => read,
            Some(pins) => {
                self.handle(Input::Pinned(pins))?;
                let read = Read {
                    pinned: None,
                    ..read
                };
                if self.ended.is_some() || !self.driver.takes_rows() {
                    self.waiting = Some(read);
                    return Ok(any);
                }
                read
            }
        };
        if let Some((rows, _)) = read.rows {
            let ended = self.driver.take(rows)?;
            self.settle(ended)?;
        }
        if read.finished {
            let ended = self.driver.finish(End::Finished)?;
            self.settle(ended)?;
        }
        Ok(any)
    }

    /// Looks whether tables that rows are looked up in have changed; the next poll joins its rows with what they are now.
    ///
    /// # Errors
    /// When one cannot be loaded.
    pub fn look(&mut self) -> Result<(), ConnectorError> {
        self.reader.as_mut().map_or(Ok(()), Reader::look)
    }

    /// A barrier: what was read is sealed and written down, and its commits are ordered.
    ///
    /// # Errors
    /// What ends the attempt.
    pub fn checkpoint(&mut self) -> Result<(), ConnectorError> {
        self.handle(Input::Barrier)
    }

    /// Carries out what was ordered first, a commit or the folding of a state; whether there was something.
    ///
    /// # Errors
    /// What ends the attempt. A commit that can be tried again does not: it is ordered anew when it is time ([`SteppedJob::tick`]).
    pub fn commit(&mut self) -> Result<bool, ConnectorError> {
        let mut commits = self.commits.lock();
        let Some(order) = commits.orders.pop_front() else {
            return Ok(false);
        };
        commits.carry_out(order);
        drop(commits);
        self.settle(None)?;
        Ok(true)
    }

    /// The job looks at its clock.
    ///
    /// # Errors
    /// What ends the attempt.
    pub fn tick(&mut self) -> Result<(), ConnectorError> {
        self.handle(Input::Tick)
    }

    /// Ends the job once all that was read is committed.
    ///
    /// # Errors
    /// What ends the attempt.
    pub fn stop(&mut self, how: Stop) -> Result<(), ConnectorError> {
        self.handle(Input::Stop)?;
        if how == Stop::Keeps {
            return self.handle(Input::Ended(End::Stopped));
        }
        let ended = self.driver.finish(End::Stopped)?;
        self.settle(ended)
    }

    fn handle(&mut self, input: Input) -> Result<(), ConnectorError> {
        let ended = self.driver.handle(input)?;
        self.settle(ended)
    }

    /// Does what is to be done before the caller has his turn.
    fn settle(&mut self, mut ended: Option<Ended>) -> Result<(), ConnectorError> {
        while ended.is_none() {
            let answer = self.commits.lock().answers.pop_front();
            ended = if let Some(answer) = answer {
                self.driver.heard(answer)?
            } else if self.driver.coordinator.wants_position()
                && let Some(mut unread) = self.unread.take()
            {
                let ended = self.driver.position(&mut unread)?;
                self.reader = Some(self.driver.reader(unread));
                ended
            } else {
                return Ok(());
            };
        }
        self.ended = ended;
        Ok(())
    }
}
