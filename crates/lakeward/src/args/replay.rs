//! Arguments of `lakeward replay`.

use super::Server;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Replay {
    #[command(subcommand)]
    pub verb: Option<ReplayVerb>,
    #[command(flatten)]
    pub begin: Begin,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum ReplayVerb {
    /// Compare the branch of a replay with what `main` was when it began.
    Diff(Diff),
    /// Let `main` have the rows of a branch, in place of those that it has of that range.
    Promote(Promote),
}

#[derive(clap::Args)]
pub struct Begin {
    /// `namespace.table`.
    #[arg(required = true)]
    pub table: Option<String>,
    /// Where it begins: `orders[0]@4711,orders[1]@4690`, a time in UTC like `2026-01-31T12:00:00`, `snapshot:ID` (where the table ended
    /// then) or `beginning`.
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// Where it ends, the same way, itself not included; without it, where the table ends.
    #[arg(long, value_name = "PLACE", requires = "from")]
    pub to: Option<String>,
    /// The query to compute it by, in place of the pipeline's script.
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// The branch that the rows go to.
    #[arg(long, value_name = "NAME", default_value = "replay")]
    pub branch: String,
    /// Return once it runs.
    #[arg(long)]
    pub detach: bool,
}

#[derive(clap::Args)]
pub struct Of {
    /// `namespace.table`.
    pub table: String,
    /// The branch of the replay.
    #[arg(long, value_name = "NAME", default_value = "replay")]
    pub branch: String,
}

#[derive(clap::Args)]
pub struct Promote {
    #[command(flatten)]
    pub of: Of,
    /// A snapshot by which another engine changed rows of the range since the branch began: what it did is undone.
    #[arg(long, value_name = "SNAPSHOT")]
    pub discard: Vec<String>,
}

#[derive(clap::Args)]
pub struct Diff {
    #[command(flatten)]
    pub of: Of,
    /// Columns by which a row is known: rows with the same values there and others elsewhere have changed.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub key: Vec<String>,
    /// Count by the values of this column, too; of a time by its day.
    #[arg(long, value_name = "COLUMN")]
    pub by: Option<String>,
    /// So many rows that differ are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rows: u64,
}
