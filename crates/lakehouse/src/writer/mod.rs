//! Writing: batches in, durable data files out, described so that they can be committed later.
//!
//! [`sink`] is what the runtime sees; [`table`] writes one table; `partition` says which partition of the table each row goes to; [`runs`] says which offsets a file's rows came from;
//! `stats` turns Parquet's statistics into Iceberg's, by which readers skip files; `columns` says what columns are called in a file, `names` who wrote it, and
//! `orphans` removes those that came to nothing, `replaced` those that compactions have replaced.

pub(crate) mod columns;
pub(crate) mod names;
pub(crate) mod orphans;
mod partition;
pub(crate) mod pieces;
pub(crate) mod replaced;
pub mod runs;
pub mod sink;
pub(crate) mod stats;
pub(crate) mod table;
mod transform;
