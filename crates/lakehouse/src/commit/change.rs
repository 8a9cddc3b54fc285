//! What a commit is to do to a table.
//!
//! A kind says what it adds and what it takes away; the [producer](super::snapshot::SnapshotProducer) makes a snapshot of it
//! (where a reference moves, there is none to make), and [`publish`](super::publish) brings that into the table.

use super::marker::Marker;
use super::moves::MoveRef;
use lw_runtime::manifest::Pending;

#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// Pending commits of a pipeline. Without any the snapshot holds what the head holds, and only the marker is new.
    Append {
        marker: Marker,
        pending: &'a [Pending],
    },
    /// The branch or tag begins, moves or ends; nothing is written, and there is no snapshot.
    MoveRef(MoveRef),
}
