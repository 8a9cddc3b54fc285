//! Commits: from a chain of pending commits to snapshots of a table, exactly once.
//!
//! [`decide`] is the pure rule, `model` explores it exhaustively; [`marker`] is what a commit says about itself, `branch`
//! what the table's head shows of it. A `change` becomes a `snapshot` with its `manifests` and `summary`, or moves a reference
//! ([`moves`]), or gives the table other columns ([`alter`]); `conflicts` says whether it still fits what a head has, by that head's `listing`. `publish` is the loop that brings it about (`cached` has what it need not read again), `attempt` says what became of one that was sent, `rules` are the decisions of all of these. [`committer`] is the pipelines' part.

pub mod alter;
pub(crate) mod attempt;
pub(crate) mod branch;
pub(crate) mod cached;
pub(crate) mod change;
pub mod committer;
pub(crate) mod conflicts;
pub mod decide;
pub(crate) mod listing;
pub(crate) mod manifests;
pub mod marker;
#[cfg(test)]
mod model;
pub mod moves;
pub(crate) mod publish;
pub(crate) mod rules;
pub(crate) mod snapshot;
mod summary;
