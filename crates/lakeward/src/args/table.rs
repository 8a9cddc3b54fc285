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
    /// Make, move or drop a branch.
    Branch(Branch),
    /// Make, move or drop a tag.
    Tag(Tag),
    /// Take `main` back to an earlier snapshot; shows what that means, to the pipeline too, until --execute is given.
    Rollback(Rollback),
    /// Remove the rows of a key for good, from the table, its branches and its snapshots; shows what that means until --execute is given.
    Erase(Erase),
    /// Make small data files few, with the same rows.
    Compact {
        table: String,
        /// Only say what that would do.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
pub struct Branch {
    #[command(flatten)]
    pub reference: Reference,
    /// So many of its snapshots stay at least, however old.
    #[arg(long, value_name = "N", conflicts_with = "drop")]
    pub min_snapshots_to_keep: Option<i32>,
    /// For so long its snapshots stay.
    #[arg(long, value_name = "MILLISECONDS", conflicts_with = "drop")]
    pub max_snapshot_age_ms: Option<i64>,
}

#[derive(clap::Args)]
pub struct Tag {
    #[command(flatten)]
    pub reference: Reference,
}

// What branches and tags have in common.
#[derive(clap::Args)]
pub struct Reference {
    /// `namespace.table`.
    pub table: String,
    pub name: String,
    /// Where: the number of a snapshot, a branch or a tag. A new one is where main is, unless this is said.
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "drop")]
    pub at: Option<String>,
    /// Where main was at a time like `2026-01-31T12:00:00.000` in UTC, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = super::datetime, conflicts_with_all = ["at", "drop"])]
    pub as_of: Option<i64>,
    /// Move the one that is there already.
    #[arg(long, conflicts_with = "drop")]
    pub replace: bool,
    /// It ends; snapshots that only it needed may expire.
    #[arg(long)]
    pub drop: bool,
    /// For so long it is kept by expiry.
    #[arg(long, value_name = "MILLISECONDS", conflicts_with = "drop")]
    pub max_ref_age_ms: Option<i64>,
}

#[derive(clap::Args)]
pub struct Rollback {
    /// `namespace.table`.
    pub table: String,
    /// The number of a snapshot that main had, or a branch or a tag at one.
    #[arg(long, value_name = "SNAPSHOT", required_unless_present = "as_of")]
    pub to: Option<String>,
    /// What main was at a time like `2026-01-31T12:00:00.000` in UTC, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = super::datetime, conflicts_with = "to")]
    pub as_of: Option<i64>,
    /// Do it.
    #[arg(long)]
    pub execute: bool,
}

#[derive(clap::Args)]
pub struct Erase {
    /// `namespace.table`.
    pub table: String,
    /// Whose rows: `column = value`, `column IN (value, …)`, and several of these with AND.
    #[arg(
        long = "where",
        value_name = "KEY",
        required_unless_present = "go_on",
        conflicts_with = "go_on"
    )]
    pub predicate: Option<String>,
    /// Go on with what was begun and is not done.
    #[arg(long = "continue")]
    pub go_on: bool,
    /// Tags at snapshots that hold such rows go, too.
    #[arg(long)]
    pub and_tags: bool,
    /// Do it.
    #[arg(long)]
    pub execute: bool,
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
