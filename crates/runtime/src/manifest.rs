//! The checkpoint manifest: the only write-ahead record of a job.
//!
//! It carries the position in the log and, per sink, *all commits not yet confirmed*, and is replaced by compare-and-swap
//! with a generation fence. The order that it serves:
//!
//! 1. data files durable → 2. manifest durable → 3. catalog commits → 4. the next manifest drops what is confirmed
//!    → 5. group offsets.
//!
//! ```text
//! manifest ─┬─ splits: what is read, where a bounded read of it ends, how far event time has come
//!           ├─ state: what operators have of the rows below the position
//!           └─ sinks ─┬─ plan: the query that fills it
//!                     ├─ splits: where its reading began, and up to where it is written
//!                     ├─ chain: the commits of its table
//!                     └─ sides: those of the tables beside it
//! ```
//!
//! A job reads once for all of its sinks, and its position stands nowhere: it is, in each split, the least of what its sinks
//! have ([`Manifest::position`]). A sink that has more computes those rows again and does not write them; so one sink can be
//! rewound, or come over from another job, without a row more or less in the others.
//!
//! Layout: JSON, field names as below, `format` = 6; a newer number is refused, and so is a field that is not known here. Format 5
//! had no `meetings`, and other sections of joins; format 4 had each section of a state as a whole, and did not say when a partition joined; format 3 had no state and no mark; formats 1 and 2
//! ([`before`]) had one sink each. All are read.

mod before;
mod chain;
mod sink;
#[cfg(test)]
mod tests;

pub use chain::{Confirmed, Pending, SplitRange, TableChain};
pub use sink::{SinkSplit, SinkState, sink_name};

use crate::lookup::Pins;
use crate::operator::Meetings;
use crate::state::{GROUPS, HASH, OperatorState};
use lw_graph::OperatorUid;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The layout version that [`Manifest::format`] carries.
pub const FORMAT: u32 = 6;

/// As the event time that a job has reached: none.
pub const NOTHING_READ: i64 = i64::MIN;

/// The manifest of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this layout; 6.
    pub format: u32,
    pub pipeline: Uuid,
    /// Raised by every process that takes the job over; a manifest of a lower generation can no longer be written.
    pub generation: u64,
    pub checkpoint_id: u64,
    /// Wall clock, milliseconds since 1970.
    pub created_ms: i64,
    /// The topics that the offsets are of. A topic that was deleted and created again under its name has another id, and none of
    /// these offsets mean anything in it.
    pub topics: BTreeMap<String, Uuid>,
    /// How far reading is in the log's readable order: the greatest place of a batch of which something was read. `None` where
    /// partitions have no order between them, and after reading went back until something is read.
    pub place: Option<Place>,
    /// The watermark that operators were told last, milliseconds since 1970: it never goes back, whatever is read anew.
    #[serde(default)]
    pub marked: Option<i64>,
    /// No event time and no partition's watermark that was ever read is greater, milliseconds since 1970; [`NOTHING_READ`] before the
    /// first. `None` where an older version read before, which did not keep it.
    #[serde(default)]
    pub reached: Option<i64>,
    /// As `marked`, where a job has several scans: by the first topic of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, i64>,
    /// What is known where scans meet, in a job in which one may be asleep.
    #[serde(default, skip_serializing_if = "Meetings::is_empty")]
    pub meetings: Meetings,
    /// With which versions of the tables that rows are looked up in the rows behind the position are joined.
    #[serde(default, skip_serializing_if = "Pins::is_empty")]
    pub lookups: Pins,
    /// What is read.
    pub splits: Vec<SplitState>,
    /// What operators have of the rows below the position; `None` where none of them has state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// By [`sink_name`].
    pub sinks: BTreeMap<String, SinkState>,
}

/// A place in the log's readable order, which is the same at every replay and never goes back in a partition.
///
/// A batch can be read from when its partition's last stable offset passes it: its place is that of the batch which lifted the
/// offset past it (its own, where no transaction was open), and then its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Order of the batch that made it readable.
    pub stable: u64,
    /// Its own order.
    pub own: u64,
}

impl Place {
    /// Of a batch that could be read at once.
    pub fn of(order: u64) -> Place {
        Place {
            stable: order,
            own: order,
        }
    }
}

/// One partition that a job reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitState {
    pub topic: String,
    pub partition: i32,
    /// Where a bounded read ends, decided once, before it begins; `None` in a read without an end.
    pub end: Option<i64>,
    /// Milliseconds since 1970, at the position; `None` before the first.
    pub watermark: Option<i64>,
    /// When it came to the others.
    #[serde(default)]
    pub joined: Joined,
    /// When something came in it last, in milliseconds of the log's own time; only where idle partitions are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<i64>,
}

/// When a partition came to those that a job reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// Manifests before format 5 do not say; then its first row was waited for.
    #[default]
    Unknown,
    /// It was there when its topic was opened first: event time waits for its first row.
    AtStart,
    /// It appeared later: event time waits for it from its first row on.
    Later,
}

impl Joined {
    /// Event time waits for the partition's first row.
    pub fn is_awaited(self) -> bool {
        match self {
            Joined::Unknown | Joined::AtStart => true,
            Joined::Later => false,
        }
    }
}

/// The state of a job's operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The hash by which keys have their groups, and how many groups there are.
    pub hash: String,
    pub groups: u16,
    /// The position that it is of.
    pub at: Vec<SplitOffset>,
    /// The sinks behind operators with state: what is below the position went into it once, and cannot again.
    pub sinks: BTreeSet<String>,
    pub operators: BTreeMap<OperatorUid, OperatorState>,
}

impl State {
    pub fn new(
        at: Vec<SplitOffset>,
        sinks: BTreeSet<String>,
        operators: BTreeMap<OperatorUid, OperatorState>,
    ) -> State {
        State {
            hash: HASH.to_string(),
            groups: GROUPS,
            at,
            sinks,
            operators,
        }
    }

    /// Whether this version finds a key's state where it was put.
    fn is_ours(&self) -> bool {
        self.hash == HASH && self.groups == GROUPS
    }
}

impl Manifest {
    /// The manifest of a job that has not read anything yet.
    pub fn new(pipeline: Uuid) -> Manifest {
        Manifest {
            format: FORMAT,
            pipeline,
            generation: 0,
            checkpoint_id: 0,
            created_ms: 0,
            topics: BTreeMap::new(),
            place: None,
            marked: None,
            reached: Some(NOTHING_READ),
            marks: BTreeMap::new(),
            meetings: Meetings::default(),
            lookups: Pins::new(),
            splits: Vec::new(),
            state: None,
            sinks: BTreeMap::new(),
        }
    }

    /// Reads a manifest of this or an older format. Those before this one do not say which sink they are of, but the `key` that
    /// they stand under does: `pipeline/occurrence/table`.
    ///
    /// # Errors
    /// [`Unreadable`]; never a manifest that was half understood, nor one that would lose or double rows.
    pub fn read(bytes: &[u8], key: &str) -> Result<Manifest, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            state: Option<IgnoredAny>,
        }
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
        let mut manifest: Manifest = match version.format {
            3 if version.state.is_some() => return Err(Unreadable::State),
            3..=FORMAT => serde_json::from_slice(bytes).map_err(damaged)?,
            1 | 2 => before::read(bytes, key).map_err(damaged)?,
            found => return Err(Unreadable::Newer { found }),
        };
        if manifest
            .state
            .as_ref()
            .is_some_and(|state| !state.is_ours())
        {
            return Err(Unreadable::State);
        }
        manifest.format = FORMAT;
        match manifest.broken() {
            Some(invariant) => Err(Unreadable::Damaged(invariant)),
            None => Ok(manifest),
        }
    }

    /// Asserts what has to hold of every manifest that becomes durable.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check(&self) {
        if let Some(invariant) = self.broken() {
            panic!("{invariant}");
        }
    }

    /// The invariant that this manifest breaks.
    fn broken(&self) -> Option<String> {
        let hole = self.chains().find(|(_, chain)| chain.has_hole());
        if let Some((table, _)) = hole {
            return Some(format!(
                "M1: in the chain of {table} each commit follows on the one before it"
            ));
        }
        let read = self.splits.iter().map(|at| (&*at.topic, at.partition));
        let written = self.sinks.values().map(SinkState::named);
        let twice = std::iter::once(twice(read)).chain(written.map(twice));
        if let Some((topic, partition)) = twice.flatten().next() {
            return Some(format!(
                "M2: one offset per partition, {topic}[{partition}] has two"
            ));
        }
        let astray = self.sinks.iter().find_map(|(name, sink)| {
            let ((topic, partition), end) = sink.astray()?;
            Some(format!(
                "M3: a sink stands where its chain ends, {name} at {topic}[{partition}]@{end}"
            ))
        });
        astray.or_else(|| self.displaced())
    }

    /// The states of its operators.
    pub(crate) fn states(&self) -> impl Iterator<Item = &OperatorState> {
        let state = self.state.iter();
        state.flat_map(|state| state.operators.values())
    }

    /// The bytes of memory that they took, about.
    pub(crate) fn memory(&self) -> u64 {
        self.states().map(|state| state.memory).sum()
    }

    /// Whether a sink was put elsewhere than the state that its rows come from: what it has there is in the state already, or
    /// would never be.
    pub fn is_displaced(&self) -> bool {
        self.displaced().is_some()
    }

    /// A sink that does not stand where the state does that its rows come from.
    fn displaced(&self) -> Option<String> {
        let state = self.state.as_ref()?;
        let mut at = state.at.iter();
        let SplitOffset {
            topic,
            partition,
            next,
        } = at.find(|at| {
            let stands = |name: &String| {
                let Some(sink) = self.sinks.get(name) else {
                    return false;
                };
                match sink.split(&at.topic, at.partition) {
                    Some(split) => split.written_until == at.next,
                    None => sink.gets_nothing_of(&at.topic),
                }
            };
            let position = self.least(&at.topic, at.partition);
            position != Some(at.next) || !state.sinks.iter().all(stands)
        })?;
        Some(format!(
            "M4: state is of the position of its sinks, and it is of {topic}[{partition}]@{next}"
        ))
    }

    /// Where reading goes on: in each partition that is read, the least that a sink has of it.
    pub fn position(&self) -> Vec<SplitOffset> {
        let read = self.splits.iter();
        let least = read.filter_map(|at| {
            let next = self.least(&at.topic, at.partition)?;
            Some(split_offset(&at.topic, at.partition, next))
        });
        least.collect()
    }

    /// As [`Manifest::position`], and where it would go on in partitions that are not read any more: one that is read again is
    /// not a new one.
    pub fn known(&self) -> Vec<SplitOffset> {
        let mut known = self.position();
        let written = self.sinks.values().flat_map(|sink| &sink.splits);
        for at in written {
            let next = self.least(&at.topic, at.partition);
            let next = next.expect("this sink has something of it");
            let offset = split_offset(&at.topic, at.partition, next);
            if !known.iter().any(|other| other.same_split(&offset)) {
                known.push(offset);
            }
        }
        known
    }

    fn least(&self, topic: &str, partition: i32) -> Option<i64> {
        let sinks = self.sinks.values();
        let written = sinks.filter_map(|sink| sink.split(topic, partition));
        written.map(|at| at.written_until).min()
    }

    /// Where a bounded read ends; `None` for a read without an end, and before it is decided.
    pub fn ends(&self) -> Option<Vec<SplitOffset>> {
        let ends = self.splits.iter().filter_map(|at| {
            let end = at.end?;
            Some(split_offset(&at.topic, at.partition, end))
        });
        let ends: Vec<SplitOffset> = ends.collect();
        (!ends.is_empty()).then_some(ends)
    }

    /// Lets the next opening of the source decide where a bounded read ends. Says whether that had been decided.
    pub fn forget_ends(&mut self) -> bool {
        let ends = self.splits.iter_mut().map(|at| at.end.take());
        let decided = ends.filter(Option::is_some).count() > 0;
        if decided {
            // What follows an end of one partition may lie before the end of another.
            self.place = None;
        }
        decided
    }

    /// Writes down what opening the source has decided, once and never again: what is read, where it begins in each sink that
    /// has nothing of it yet, where it ends. `gets` says whether a sink gets something of a topic.
    pub fn opened(
        &mut self,
        topics: BTreeMap<String, Uuid>,
        positions: &[SplitOffset],
        ends: Option<&[SplitOffset]>,
        gets: impl Fn(&str, &str) -> bool,
    ) {
        let (stood, known) = (self.position(), self.known());
        let joined = |at: &SplitOffset| match self.split(at) {
            Some(state) => state.joined,
            // It comes back.
            None if known.iter().any(|other| other.same_split(at)) => Joined::AtStart,
            None if known.iter().any(|other| other.topic == at.topic) => Joined::Later,
            // Nothing was read of its topic yet.
            None => Joined::AtStart,
        };
        let state = |at: &SplitOffset| {
            let mut ends = ends.unwrap_or_default().iter();
            SplitState {
                topic: at.topic.clone(),
                partition: at.partition,
                end: ends.find(|end| end.same_split(at)).map(|end| end.next),
                watermark: self.split(at).and_then(|state| state.watermark),
                came: self.split(at).and_then(|state| state.came),
                joined: joined(at),
            }
        };
        self.splits = positions.iter().map(state).collect();
        self.topics.extend(topics);
        for (name, sink) in &mut self.sinks {
            let own = positions.iter().filter(|at| gets(name, &at.topic));
            own.for_each(|at| sink.begin_at(at));
        }
        if self.position() != stood {
            // What is read from now on may lie before it.
            self.place = None;
        }
    }

    /// Lets a sink stand elsewhere than it did: its table is not where it was left. Where it is not read from yet it begins
    /// there.
    pub fn stand_at(&mut self, sink: &str, offsets: &[SplitOffset]) {
        if self.splits.is_empty() {
            // What was read up to there was read by somebody else.
            self.reached = None;
        }
        let state = self.sinks.entry(sink.to_string()).or_default();
        for at in offsets {
            state.begin_at(at);
            let split = state.split_mut(at).expect("it has just begun there");
            split.written_until = at.next;
        }
        for at in offsets {
            self.reads(&at.topic, at.partition, Joined::Unknown);
        }
        self.place = None;
    }

    /// Event time has come as far as this.
    pub fn reaches(&mut self, at: Option<i64>) {
        if let (Some(reached), Some(at)) = (&mut self.reached, at) {
            *reached = at.max(*reached);
        }
    }

    /// A partition is read too, from now on.
    pub fn reads(&mut self, topic: &str, partition: i32, joined: Joined) {
        let at = split_offset(topic, partition, 0);
        if self.split(&at).is_none() {
            self.splits.push(SplitState {
                topic: at.topic,
                partition,
                end: None,
                watermark: None,
                came: None,
                joined,
            });
        }
    }

    /// A topic has come, whose reading ends there.
    pub(crate) fn appeared(&mut self, end: SplitOffset, id: Uuid) {
        let mut read = self.splits.iter_mut();
        let split = read.find(|at| at.topic == end.topic && at.partition == end.partition);
        if let Some(split) = split {
            split.end = Some(end.next);
            self.topics.insert(end.topic, id);
        }
    }

    fn split(&self, at: &SplitOffset) -> Option<&SplitState> {
        let mut read = self.splits.iter();
        read.find(|state| state.topic == at.topic && state.partition == at.partition)
    }

    /// The commits of a table, a sink's own or one beside it.
    pub fn chain(&self, table: &str) -> Option<&TableChain> {
        let mut chains = self.chains();
        chains
            .find(|(name, _)| *name == table)
            .map(|(_, chain)| chain)
    }

    /// The commits of all tables, by the names of sinks and of the tables beside them.
    pub fn chains(&self) -> impl Iterator<Item = (&str, &TableChain)> {
        self.sinks.iter().flat_map(|(name, sink)| {
            let sides = sink.sides.iter().map(|(name, chain)| (&**name, chain));
            std::iter::once((&**name, &sink.chain)).chain(sides)
        })
    }
}

/// The first partition that comes a second time.
fn twice<'a>(splits: impl Iterator<Item = (&'a str, i32)>) -> Option<(&'a str, i32)> {
    let mut seen = BTreeSet::new();
    let mut splits = splits;
    splits.find(|split| !seen.insert(*split))
}

fn split_offset(topic: &str, partition: i32, next: i64) -> SplitOffset {
    SplitOffset {
        topic: topic.to_string(),
        partition,
        next,
    }
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the manifest cannot be read: {0}")]
    Damaged(String),
    #[error("the manifest has format {found}; this version reads formats 1 to {FORMAT}")]
    Newer { found: u32 },
    #[error("the manifest holds the state of operators in a form that this version cannot restore")]
    State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitOffset {
    pub topic: String,
    pub partition: i32,
    pub next: i64,
}

impl SplitOffset {
    /// Both are of one partition of one topic.
    pub fn same_split(&self, other: &SplitOffset) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }
}
