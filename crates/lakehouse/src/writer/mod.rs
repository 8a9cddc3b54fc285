//! Writing: batches in, durable data files out, described so that they can be committed later.
//!
//! [`sink`] is what the runtime sees; `table` writes one table, as `target` says that it is; `partition` says which partition of the table each row goes to; [`runs`] says which offsets a file's rows came from;
//! `settings` are the table's own wishes about files; `stats` turns Parquet's statistics into Iceberg's, by which readers skip files, as far as `metrics` want them; `columns` says what columns are called in a file, `erased` keeps back what was erased from the table, `names` who wrote it, and
//! `orphans` removes those that came to nothing, [`replaced`] says which may go that were in the table once.

pub(crate) mod columns;
mod erased;
mod metrics;
pub(crate) mod names;
pub(crate) mod orphans;
mod partition;
pub(crate) mod pieces;
pub mod replaced;
pub mod runs;
pub(crate) mod settings;
pub mod sink;
pub(crate) mod stats;
mod table;
mod target;
mod transform;
