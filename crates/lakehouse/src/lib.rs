//! The lakehouse: Iceberg and Delta tables written exactly once, and the catalog that serves the former.
//!
//! Pending commits of a pipeline go in (`runtime`'s manifest), snapshots that any Iceberg reader understands come out. The
//! crate also hosts the embedded Iceberg REST catalog, whose pointers live in the shared write-ahead log, and the storage
//! under both, which makes every file durable before anything names it.
//!
//! What it is not: no query engine (that is `query`), no scheduler of commits (that is `runtime`). Warehouses are local folders, or in
//! a store that speaks S3 ([`storage::s3`]); any other place is refused by name, and so is a Delta table in a store.
//!
//! Read first: [`commit::decide::decide`], the rule that makes commits exactly-once; [`catalog::Catalog`], the embedded
//! catalog; [`writer::sink::IcebergTableSink`], what the runtime writes to. [`delta`] is a part by itself.
//!
//! Invariants: a metadata, manifest or data file is durable (contents and name) before a pointer to it is; a table's
//! pointer changes only by compare-and-swap in one frame of the log; a commit of ours always carries its marker, in the
//! snapshot and in a property of the table, in the same catalog commit.
//!
//! Layer L3.

pub mod catalog;
pub mod commit;
pub mod delta;
pub mod erasure;
pub mod error;
pub mod ids;
pub mod naming;
pub mod replay;
mod schema;
mod staged;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod upkeep;
pub mod view;
pub mod writer;

pub use catalog::{Catalog, TableCatalog, parse_table};
pub use commit::committer::IcebergCommitter;
pub use delta::{DeltaCommitter, DeltaTableSink, DeltaView};
pub use error::CatalogError;
pub use ids::Ids;
pub use storage::Files;
pub use view::TableView;
pub use writer::sink::IcebergTableSink;
