//! The one durable thing: a shared write-ahead log that *is* the partition logs, and small tables beside them.
//!
//! Everything that Lakeward must remember goes through [`Storage::commit`] or [`Storage::append`]: records, topics, group
//! offsets, producer state, catalog pointers, pipelines. One WAL, one fsync for all who wait, one recovery, one simulator.
//!
//! ```text
//!   append / commit ─► accept (ahead.rs: offsets, sequences, compare-and-swap, against what is durable + in flight)
//!        └► queue ─► WAL thread: one contiguous write, one fdatasync ─► apply (state.rs) ─► readable ─► `done` callbacks
//!   WAL file full ─► next file (preallocated or recycled); beside it: index sidecar, checkpoint, retention, rewriting (upkeep.rs)
//! ```
//!
//! It is not a cache, not a query engine, and it decodes no records except to look up an offset by time. It keeps no
//! replica: durability is fdatasync on one disk.
//!
//! Read first: [`Storage`] (the seam), [`Op`] (what one atomic frame can hold), [`source::LogSource`] (the processor's view).
//!
//! Invariants, each a named check of the simulator (`tests/it/crash.rs`):
//! - I1: what was acknowledged is in the log after any crash.
//! - I2: a (producer, epoch, sequence) stands in a log at most once.
//! - I3: offsets of a log are dense and what an offset holds never changes.
//! - I4: nothing is readable that a crash can erase: high watermark = fsynced end.
//! - I5: a frame is in the log whole or not at all.
//!
//! Layer L1: std threads, no tokio.

mod config;
mod holds;
mod open;
mod ops;
pub mod settings;
pub mod source;
mod storage;
mod topic;

mod ahead;
mod batches;
mod cache;
mod checkpoint;
mod codec;
mod commit;
mod engine;
mod folder;
mod frame;
mod in_order;
mod index;
mod numbers;
mod producers;
mod queue;
mod read;
mod readers;
mod record;
mod recovery;
mod retention;
mod rewrite;
mod scan;
mod sealing;
mod snapshot;
mod spare;
mod state;
mod stats;
mod tail;
mod time;
mod upkeep;
mod wal;
mod wall;
mod watches;

#[cfg(test)]
mod readable_order_tests;
#[cfg(test)]
mod roundtrip_tests;

pub use config::{Config, Fault};
pub use holds::Hold;
pub use numbers::Lsn;
pub use open::OpenError;
pub use ops::{
    AppendError, Appended, CommitError, Committed, Expect, Op, ReadError, StorageFull, Table,
    TooLarge,
};
pub use read::FetchFrom;
pub use record::{LEADER_EPOCH, LogId};
pub use recovery::Damage;
pub use stats::Stats;
pub use storage::{Bounds, Fetched, Storage};
pub use topic::{ProduceRules, Retention, Topic, TopicConfig};
pub use uuid::Uuid;
pub use watches::Watch;
