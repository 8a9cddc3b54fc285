//! Arguments of `lakeward table`.

use super::Server;
use clap::Subcommand;

#[derive(clap::Args)]
pub struct Table {
    #[command(subcommand)]
    pub verb: TableVerb,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum TableVerb {
    /// The embedded catalog's tables.
    List,
    /// Snapshots of what is current, with the offsets that each holds.
    Show { table: String },
    /// Snapshots, on whatever branch.
    Snapshots { table: String },
    /// What was current, and from when on.
    History { table: String },
    /// Branches and tags.
    Refs { table: String },
    /// Which offsets of which topic each snapshot accounts for.
    Offsets(Offsets),
    /// Data files and delete files.
    Files(AsOf),
    /// Manifests.
    Manifests(AsOf),
    /// Rows, files and bytes of each partition.
    Partitions(AsOf),
    /// Which snapshots of which tables account for a record.
    Find(Find),
}

#[derive(clap::Args)]
pub struct AsOf {
    /// `namespace.table`.
    pub table: String,
    /// As it was: the number of a snapshot, a branch, a tag, or a time like `2026-01-31T12:00:00.000` in UTC.
    #[arg(long, value_name = "VERSION")]
    pub as_of: Option<String>,
}

#[derive(clap::Args)]
pub struct Offsets {
    #[command(flatten)]
    pub of: AsOf,
    /// Of this topic only.
    #[arg(long)]
    pub topic: Option<String>,
    /// Of this partition only.
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only what holds this offset.
    #[arg(long)]
    pub offset: Option<i64>,
}

#[derive(clap::Args)]
pub struct Find {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Look in this table only.
    #[arg(long)]
    pub table: Option<String>,
}
