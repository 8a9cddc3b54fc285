//! Commits: from a chain of pending commits to snapshots of a table, exactly once.
//!
//! [`decide`] is the pure rule; `model` explores it exhaustively.

pub mod decide;
#[cfg(test)]
mod model;
