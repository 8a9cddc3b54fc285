//! Commits: from a chain of pending commits to snapshots of a table, exactly once.
//!
//! [`decide`] is the pure rule, `model` explores it exhaustively; [`marker`] is what a commit says about itself;
//! `snapshot` makes the snapshot, [`committer`] drives it all against a catalog.

pub mod committer;
pub mod decide;
pub(crate) mod manifests;
pub mod marker;
#[cfg(test)]
mod model;
pub(crate) mod snapshot;
