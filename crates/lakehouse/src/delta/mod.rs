//! Delta Lake tables: pipelines append to them, exactly once.
//!
//! ```text
//! <table>/_delta_log/00000000000000000000.json              protocol and metaData: the table is made
//!                   /00000000000000000001.json              txn …, add …, commitInfo: a commit of a pipeline
//!                   /00000000000000000010.checkpoint.parquet    all that the versions up to 10 say together
//!                   /_last_checkpoint
//!         /day=2026-11-28/<pipeline>-<table>-<generation>-<checkpoint>-<uuid>.parquet
//! ```
//!
//! A version is committed by whoever gives its file its name first (`log`), and carries the pipeline's `marker` as `txn`
//! actions: who committed what up to which offsets. A lost reply and a kill are recognised by reading the log; the rule is
//! that of Iceberg tables ([`decide`](crate::commit::decide)).
//!
//! Read in this order: `action` (what a log holds), `log` and `checkpoint` (how it is read and written), `retention` (what may go), `protocol` (which tables we
//! may write), `schema` and `stats` (columns), `table` (made or compared), `writer` with `partition` and `orphans` (data files), [`sink`] and [`committer`] (what the
//! runtime sees), [`view`] (what the audit sees).
//!
//! Deliberately absent: reading rows, updates and deletes, object stores. The format is that of Delta's PROTOCOL.md; why the
//! writer is our own is told in ADR 9.

mod action;
mod checkpoint;
pub mod committer;
mod log;
mod marker;
mod orphans;
mod partition;
mod protocol;
mod retention;
mod schema;
pub mod sink;
mod staged;
mod stats;
mod table;
#[cfg(test)]
mod tests;
pub mod view;
mod writer;

pub use committer::DeltaCommitter;
pub use sink::DeltaTableSink;
pub use view::DeltaView;
