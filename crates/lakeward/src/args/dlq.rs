//! The arguments of `lakeward dlq`.

use super::Server;
use clap::Subcommand;

#[derive(clap::Args)]
pub struct Dlq {
    #[command(subcommand)]
    pub verb: DlqVerb,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum DlqVerb {
    /// Which tables of the embedded catalog have dead letters, and why: one line for each error.
    List,
    /// The letters of a table, with their bytes.
    Show {
        /// The table that the records did not get into.
        table: String,
        #[command(flatten)]
        letters: Letters,
        /// Letters after which to end; 0 for all.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Send letters again, mended or as they are, to a topic that the pipeline reads; shows what would be sent until --execute is given.
    Retry(Retry),
}

/// Which letters; without any of these, all.
#[derive(clap::Args)]
pub struct Letters {
    /// Those of a topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Those of a partition.
    #[arg(short = 'p', long)]
    pub partition: Option<i32>,
    /// The one with this offset.
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    pub offset: Option<i64>,
    /// Those with this error code, such as `avro.truncated`.
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<String>,
}

#[derive(clap::Args)]
pub struct Retry {
    /// The table that the records did not get into.
    pub table: String,
    /// Where to: a topic that the script reads too, `'topic' = 'orders;orders-retry'`.
    #[arg(long, value_name = "TOPIC")]
    pub to: String,
    /// Mends: the shell runs this for each letter, with the value on standard input; what it writes is the new value. Where it
    /// fails or writes nothing, the letter stays. LAKEWARD_TOPIC, LAKEWARD_PARTITION, LAKEWARD_OFFSET and LAKEWARD_ERROR_CODE say which it is.
    #[arg(long = "with", value_name = "COMMAND")]
    pub mend: Option<String>,
    /// Also those that this topic has already.
    #[arg(long)]
    pub again: bool,
    /// Do it.
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub letters: Letters,
}
