//! Upkeep: what keeps a table small while a pipeline commits to it for months.
//!
//! The first law is that nothing is harmed that we did not make: snapshots, files and statistics of others go only when
//! the table's own settings ask for that, and no file outside the table's location is ever removed.

pub(crate) mod expiry;
pub(crate) mod refs;
