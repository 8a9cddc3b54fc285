//! Writing: batches in, durable data files out, described so that they can be committed later.
//!
//! [`sink`] is what the runtime sees; [`table`] writes one table; `partition` says which partition of the table each row goes to; [`runs`] says which offsets a file's rows came from;
//! `settings` are the table's own wishes about files; `stats` turns Parquet's statistics into Iceberg's, by which readers skip files, as far as `metrics` want them; `columns` says what columns are called in a file, `names` who wrote it, and
//! `orphans` removes those that came to nothing.

pub(crate) mod columns;
mod metrics;
mod names;
pub(crate) mod orphans;
mod partition;
mod pieces;
pub(crate) mod replaced;
pub mod runs;
mod settings;
pub mod sink;
pub(crate) mod stats;
pub(crate) mod table;
mod transform;
