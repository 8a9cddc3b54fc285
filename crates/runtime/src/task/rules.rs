//! The decisions of an attempt that must not be taken lightly, as a table: a simulation plants wrong ones, and shows that it
//! notices. Whoever runs a job for good uses [`Rules::OURS`].

use crate::connector::{ConnectorError, Sink, Staged};
use crate::operator::{LateRow, Meetings};
use crate::state::{Frozen, Limits};

/// What the exactly-once protocol stands on.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The manifest is durable before a catalog hears of what it names.
    pub saves_first: bool,
    /// How many pending commits go, when so many were confirmed and so many are pending.
    pub dropped_by: fn(usize, usize) -> usize,
    /// Makes durable what a sink holds, and says what has to be committed.
    pub seal: fn(&mut dyn Sink) -> Result<Vec<Staged>, ConnectorError>,
    /// What operators wrote down of the rows that sinks are sealed with.
    pub frozen: fn(Frozen) -> Frozen,
    /// What is known where scans meet, as it is written down.
    pub meetings: fn(Meetings) -> Meetings,
    /// What of states is small.
    pub state: Limits,
    /// What operators made of a ticket is with the sinks before it counts as read: no barrier lies between.
    pub lands_first: bool,
    /// What shards give is brought into the order in which one instance would give it.
    pub gathers_in_order: bool,
    /// The rows that came too late, as they are accounted for.
    pub late: fn(&[LateRow]) -> Vec<LateRow>,
    /// Whether a dead letter is kept already: its offset, and where its partition's letters end.
    pub is_buried: fn(i64, i64) -> bool,
}

impl Rules {
    pub const OURS: Rules = Rules {
        saves_first: true,
        dropped_by: |confirmed, _| confirmed,
        seal: |sink| sink.seal(),
        frozen: |frozen| frozen,
        meetings: |meetings| meetings,
        state: Limits::OURS,
        lands_first: true,
        gathers_in_order: true,
        late: <[LateRow]>::to_vec,
        is_buried: |offset, end| offset < end,
    };
}
