//! The requests on their way to the disk: accepted one by one, written in groups, and refused together where one may
//! depend on the other.
//!
//! No I/O: what is judged, taken, settled and refused is decided here; `commit.rs` writes and answers.

use std::collections::VecDeque;

use crate::ahead::{Accepted, Ahead, Placed, accept};
use crate::config::Fault;
use crate::ops::{Appended, CommitError, Committed, Op, Table};
use crate::record::Record;
use crate::state::State;
use crate::time::Now;
use crate::wal::Room;

pub(crate) type Done = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;

#[derive(Default)]
pub(crate) struct Queue {
    ahead: Ahead,
    waiting: VecDeque<Pending>,
    ticket: u64,
    /// Requests accepted and not yet durable or refused.
    in_flight: usize,
}

/// A request on its way to the disk.
pub(crate) struct Pending {
    ticket: u64,
    pub(crate) records: Vec<Placed>,
    pub(crate) appended: Vec<Appended>,
    pub(crate) size: usize,
    /// Which part of the reserve it may use on a full disk.
    pub(crate) room: Room,
    pub(crate) done: Done,
}

impl Pending {
    /// Whether its answer holds offsets: it appends, or waits for the append that it repeats.
    fn appends(&self) -> bool {
        !self.appended.is_empty()
    }

    fn changes_more_than_logs(&self) -> bool {
        let mut records = self.records.iter();
        let is_of_logs =
            |record: &Record<_>| matches!(record, Record::Append { .. } | Record::Anchor(_));
        records.any(|placed| !is_of_logs(&placed.record))
    }

    /// Whether it is right whatever became of the requests before it: it only takes away, and only what is durable.
    fn only_frees(&self) -> bool {
        let mut records = self.records.iter();
        let frees = |record: &Record<_>| {
            matches!(record, Record::LogStart { .. } | Record::DeleteTopic { .. })
        };
        !self.appends() && records.all(|placed| frees(&placed.record))
    }
}

/// Of a frame with several records the one that matters least decides.
fn room_of(records: &[Placed], repeats: bool) -> Room {
    let room = |placed: &Placed| match &placed.record {
        Record::Append { .. } => Room::Append,
        Record::Put { value: None, .. } | Record::LogStart { .. } => Room::Free,
        Record::Put {
            table: Table::Manifests | Table::Pipelines | Table::Catalog,
            ..
        } => Room::Checkpoint,
        Record::DeleteTopic { .. } => Room::Last,
        _ => Room::Small,
    };
    match repeats {
        true => Room::Append,
        false => records.iter().map(room).min().unwrap_or(Room::Last),
    }
}

/// Whom a refusal takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victims {
    Appends,
    /// All but those that are right whatever becomes of the others.
    AllButFrees,
    All,
}

impl Pending {
    /// Whom its own refusal takes along.
    pub(crate) fn victims(&self) -> Victims {
        match (self.appends(), self.only_frees()) {
            (true, _) => Victims::Appends,
            (false, false) => Victims::AllButFrees,
            (false, true) => Victims::All,
        }
    }
}

impl Queue {
    /// Judges a request by what is durable and what was accepted before it.
    pub(crate) fn judge(
        &mut self,
        state: &State,
        ops: Vec<Op>,
        now: Now,
        fault: Option<Fault>,
    ) -> Result<Accepted, CommitError> {
        self.ticket += 1;
        accept(state, &mut self.ahead, ops, self.ticket, now, fault)
    }

    /// Queues what was judged last. `room` is for who knows better than the records which part of the reserve they may use.
    pub(crate) fn push(&mut self, accepted: Accepted, room: Option<Room>, done: Done) {
        let of_records = room_of(&accepted.records, !accepted.appended.is_empty());
        self.in_flight += 1;
        self.waiting.push_back(Pending {
            ticket: self.ticket,
            size: accepted.size,
            records: accepted.records,
            appended: accepted.appended,
            room: room.unwrap_or(of_records),
            done,
        });
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing is on its way, waiting or being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// The next requests, of about `bound` bytes, at least one.
    pub(crate) fn take_group(&mut self, bound: usize) -> VecDeque<Pending> {
        let mut size = 0;
        let fits = |frame: &&Pending| {
            let room = size < bound;
            size += frame.size;
            room
        };
        let count = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..count).collect()
    }

    /// The first `count` of `frames` are durable, and in the state.
    pub(crate) fn settle(&mut self, frames: &VecDeque<Pending>, count: usize) {
        // A refusal in between counts those that were in hand as gone.
        self.in_flight = self.in_flight.saturating_sub(count);
        self.ahead.settle(frames[count - 1].ticket);
    }

    /// Takes out of `frames` and of those that wait whom a refusal takes along; those that go on stay in `frames`.
    pub(crate) fn refuse(
        &mut self,
        frames: &mut VecDeque<Pending>,
        victims: Victims,
    ) -> VecDeque<Pending> {
        frames.append(&mut self.waiting);
        // What was judged after a refused change may have been judged by it.
        let changes = |frame: &Pending| frame.appends() && frame.changes_more_than_logs();
        let victims = match victims {
            Victims::Appends if frames.iter().any(changes) => Victims::AllButFrees,
            victims => victims,
        };
        let is_victim = |frame: &Pending| match victims {
            Victims::Appends => frame.appends(),
            Victims::AllButFrees => !frame.only_frees(),
            Victims::All => true,
        };
        match victims {
            Victims::Appends => self.ahead.forget_appends(),
            Victims::AllButFrees | Victims::All => self.ahead.forget_all(),
        }
        let (refused, kept) = std::mem::take(frames).into_iter().partition(is_victim);
        *frames = kept;
        self.in_flight = frames.len();
        refused
    }
}
