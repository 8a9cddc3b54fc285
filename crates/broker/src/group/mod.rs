//! The group coordinator: who is in a consumer group, who leads it, what it has committed.
//!
//! A sans-IO core ([`Coordinator`]) in a thin shell ([`Groups`]). The core is handed requests with a [`Token`] each, and
//! answers now or later: a join waits for the rebalance, a sync for the leader, a commit for the disk. It has no clock,
//! no random numbers and no storage; the shell brings all three.
//!
//! # States of a classic group
//!
//! ```text
//!  state                | join                 | sync             | heartbeat | leave, session over | phase timer
//! ----------------------+----------------------+------------------+-----------+---------------------+------------------------
//!  Empty                | → Preparing, after   | UNKNOWN_MEMBER   | UNKNOWN_  | –                   | –
//!                       |   the initial delay  |                  | MEMBER    |                     |
//!  PreparingRebalance   | waits; when all have | REBALANCE_       | REBALANCE_| may complete;       | completes without the
//!                       | come → Completing    | IN_PROGRESS      | IN_PROGR. | none left → Empty   | absent dynamic members
//!  CompletingRebalance  | unchanged: told      | waits; leader's: | ok        | → Preparing, waiting| who has not synced is
//!                       | again, else → Prep.  | all told, Stable |           | syncs told to rejoin| out → Preparing
//!  Stable               | follower unchanged:  | told at once     | ok        | → Preparing         | as Completing, until
//!                       | told, else → Prep.   |                  |           |                     | all have synced
//!  Dead                 | only a name: what DescribeGroups says of a group that does not exist
//! ```
//!
//! A static member (with an instance id) that comes back replaces its old incarnation: in Stable without a rebalance
//! when the vote stays the same, else like any change. The old incarnation gets FENCED_INSTANCE_ID from then on.
//!
//! # Invariants
//! - **G1** One generation has one leader; leader and static names point at members.
//! - **G2** A join waits only in PreparingRebalance. **G3** A sync waits only in CompletingRebalance.
//! - **G4** Every token is answered exactly once.
//! - **G5** Generations grow: a join is answered when its generation is on disk, so a restart cannot tell it again.
//! - **G6** Empty means no members; the settled states have some; only an Empty group is deleted.
//! - **G7** Nothing committed is shown or acknowledged before it is on disk.
//! - **G9** An offset belongs to a topic's id: a topic that is created again under the same name starts without any.
//! - **G8** A member has a running session, or a reply that it waits for.
//!
//! # Where we differ from Apache Kafka, and why
//! - Members are not stored. After a restart they are told UNKNOWN_MEMBER_ID and join again, as after any lost session.
//! - The first rebalance of an empty group waits [`GroupConfig::initial_rebalance_delay_ms`], by default 100 ms
//!   instead of 3 s. Kafka waits that long for fleets that start over many seconds, to save them a few rebalances; a
//!   rebalance here costs one fsync, and most groups are started by hand or by a test that would look broken for 3 s.
//! - A request that is overtaken by another of the same member is answered (REBALANCE_IN_PROGRESS), not forgotten.
//! - A tied vote goes to the strategy whose name sorts first, where Kafka takes any.

mod classic;
mod coordinator;
mod member;
mod names;
mod record;
mod shell;
mod types;

#[cfg(test)]
mod script;
#[cfg(test)]
mod simulation;

use std::ops::RangeInclusive;

pub(crate) use record::OffsetRecord;
pub(crate) use shell::Groups;
pub(crate) use types::*;

/// How groups behave; Kafka's name and default beside each.
#[derive(Clone, Debug)]
pub(crate) struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`; Kafka 3000, see above.
    pub(crate) initial_rebalance_delay_ms: u64,
    /// `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    pub(crate) session_timeout_ms: RangeInclusive<i64>,
    /// `offset.metadata.max.bytes`, which counts UTF-16 units.
    pub(crate) max_offset_metadata: usize,
    /// `offsets.retention.minutes`.
    pub(crate) offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub(crate) expiry_check_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            initial_rebalance_delay_ms: 100,
            session_timeout_ms: 6_000..=1_800_000,
            max_offset_metadata: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            expiry_check_ms: 10 * 60 * 1000,
        }
    }
}
