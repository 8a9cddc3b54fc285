//! Replays: a range of a table's offsets is computed once more, into a branch of the table.
//!
//! The branch is what `main` would be. It begins ([`fork`]) as `main` is at that moment, less the rows of the range; the replay's job
//! appends the rows that it computes. Rows of others, and those before and behind the range, stand in the branch in the same files as in
//! `main`.
//!
//! Which rows are of the range is told by the runs in the footers of files: a file whose rows all are is left out, one of which some are
//! is copied without them ([`carve`], [`survey`]). [`promote`] lets `main` have the rows. [`range`] says which range is meant, and whether the log still has it.

mod carve;
mod fork;
mod promote;
pub mod range;
mod survey;

pub(crate) use carve::Kept;
pub use fork::{Forked, Replays, Wanted, branch_ids};
pub use promote::{Became, ToPromote};
pub(crate) use promote::{Promoting, Promotion};
#[cfg(test)]
pub(crate) use promote::{Range, Verdict, verdict};
pub use range::{Bound, Facts, ReplayError, ReplayRange};
