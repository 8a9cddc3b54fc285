//! Commits: from a chain of pending commits to snapshots of a table, exactly once.
//!
//! [`decide`] is the pure rule, `model` explores it exhaustively; [`marker`] is what a commit says about itself, `branch`
//! what the table's head shows of it; `snapshot` makes the snapshot, `expiry` ends old ones, [`committer`] drives it all
//! against a catalog.

pub(crate) mod branch;
pub mod committer;
pub mod decide;
mod expiry;
pub(crate) mod manifests;
pub mod marker;
#[cfg(test)]
mod model;
pub(crate) mod snapshot;
