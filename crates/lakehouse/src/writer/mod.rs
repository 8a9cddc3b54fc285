//! Writing: batches in, durable data files out, described so that they can be committed later.
//!
//! [`sink`] is what the runtime sees; [`table`] writes one table; `partition` says which partition of the table each row goes to; [`runs`] says which offsets a file's rows came from;
//! `stats` turns Parquet's statistics into Iceberg's, by which readers skip files; `columns` says what columns are called in a file, `names` who wrote it, and
//! `orphans` removes those that came to nothing.

pub(crate) mod columns;
mod names;
mod orphans;
mod partition;
mod pieces;
pub mod runs;
pub mod sink;
mod stats;
mod table;
mod transform;
