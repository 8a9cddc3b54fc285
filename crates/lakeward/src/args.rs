//! The command line, as DESIGN §2 pins it.

mod dlq;
mod replay;
mod table;

pub use dlq::{Dlq, DlqVerb, Letters, Retry};
pub use replay::{Begin, Diff, Promote, Replay, ReplayVerb};
pub use table::{AsOf, Branch, Erase, Find, Offsets, Reference, Rollback, Table, TableVerb, Tag};

use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Kafka, schema registry, streaming SQL and an Iceberg lakehouse in one binary.
#[derive(Parser)]
#[command(name = "lakeward", version, about, disable_help_subcommand = true)]
pub struct Args {
    /// A file with a token: `up` asks it of every client of the registry, the catalog and the API, the other verbs send it.
    #[arg(long, env = "LAKEWARD_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// What is logged on standard error. Commands that only ask something say nothing unless it fails; the failures of cases are
    /// meant, or told as results.
    pub fn logs(&self) -> &'static str {
        match self.command {
            Command::Up(_) | Command::Run(_) => "info",
            Command::Test(_) => "off",
            _ => "error",
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve: Kafka, schema registry, Iceberg catalog and the API, all on loopback unless told otherwise.
    Up(Up),
    /// Submit a SQL script as a pipeline and follow it.
    Run(Run),
    /// Say what is wrong with a SQL script, and what there is to know about it, without running it.
    Check(Check),
    /// Run the cases of pipelines: records in, rows and dead letters out; no server is needed.
    Test(Test),
    /// Run a batch query over tables.
    Sql(Sql),
    /// Topics of this server or any Kafka cluster.
    Topic(Topic),
    /// Consumer groups of this server or any Kafka cluster.
    Group(Group),
    /// Schemas in the registry.
    Schema(Schema),
    /// Pipelines: list, show, stop, resume, drop.
    Pipeline(Pipeline),
    /// Tables in the catalog.
    Table(Table),
    /// The embedded catalog: what to do when its data folder is lost.
    Catalog(Catalog),
    /// Compute a range of a table once more, into a branch of it, while its pipeline goes on.
    Replay(Replay),
    /// Dead letters: which there are, and sending them again.
    Dlq(Dlq),
    /// Prove that a table holds exactly what the log says.
    Audit(Audit),
    /// dbt over the tables of this server.
    Dbt(Dbt),
    /// See it all work: produce, stream, crash, recover, audit.
    Demo(Demo),
}

#[derive(clap::Args)]
pub struct Catalog {
    #[command(subcommand)]
    pub verb: CatalogVerb,
}

#[derive(Subcommand)]
pub enum CatalogVerb {
    /// Take in the tables and views that are in a warehouse, when the data folder that knew them is lost. No server may run on the data
    /// folder, and none anywhere on the warehouse.
    Recover(Recover),
}

#[derive(clap::Args)]
pub struct Recover {
    /// `s3://BUCKET/PREFIX`, or a folder.
    pub place: String,
    /// The data folder that is to know them.
    #[arg(long, default_value = "./lakeward-data")]
    pub data_dir: PathBuf,
    /// How stores are reached; without it, lakeward.toml in this folder if there is one.
    #[arg(long)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub written: Written,
}

/// How results are written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
    /// Comma-separated, quoted as RFC 4180 says.
    Csv,
}

/// Where the server is.
#[derive(Clone, clap::Args)]
pub struct Server {
    /// The server's API.
    #[arg(
        long,
        env = "LAKEWARD_SERVER",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    pub server: String,
    /// Output format.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        global = true
    )]
    pub output: Output,
}

#[derive(clap::Args, Clone)]
pub struct Up {
    /// Where everything durable lives.
    #[arg(long, default_value = "./lakeward-data")]
    pub data_dir: PathBuf,
    /// Where the names in scripts really are; without it, lakeward.toml in this folder if there is one.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Where tables are that say nothing else: a folder, or `s3://BUCKET/PREFIX`; without it, `warehouse` in the data folder.
    #[arg(long, env = "LAKEWARD_WAREHOUSE", value_name = "PLACE")]
    pub warehouse: Option<String>,
    /// Kafka protocol.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub kafka: SocketAddr,
    /// Schema registry.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub registry: SocketAddr,
    /// Iceberg REST catalog.
    #[arg(long, default_value = "127.0.0.1:8181")]
    pub catalog: SocketAddr,
    /// API, metrics, health.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Serve beyond this machine although nobody is asked who they are.
    #[arg(long)]
    pub insecure_no_token: bool,
    /// Written, by rename, once all sockets answer.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// How often tables are committed, such as `10 s`.
    #[arg(long, default_value = "10 s", value_parser = duration)]
    pub commit_interval: std::time::Duration,
    /// Memory of all batch queries together, such as `256 MiB`.
    #[arg(long, default_value = "256 MiB", value_parser = bytes)]
    pub query_memory: usize,
    /// Memory of the states of all pipelines together, such as `2 GiB`; without it, half of what this machine lets us have.
    #[arg(long, value_parser = bytes)]
    pub state_memory: Option<usize>,
}

/// Memory of the queries of a server that `run` starts for itself.
pub const QUERY_MEMORY: usize = 256 << 20;

fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let number = digits.parse::<usize>().ok();
    let size = number
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift));
    size.ok_or_else(|| format!("'{text}' is not a size; write '256 MiB' or '1 GiB'"))
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    lw_stdx::duration::parse(text)
        .ok_or_else(|| format!("'{text}' is not a duration; write '10 s' or '500 ms'"))
}

#[derive(clap::Args)]
pub struct Check {
    /// The script.
    pub file: PathBuf,
    #[command(flatten)]
    pub server: Server,
    /// Where the names in scripts really are, if no server answers at --server; else lakeward.toml in this folder.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct Run {
    /// The script.
    pub file: PathBuf,
    #[command(flatten)]
    pub server: Server,
    /// Return once the pipeline runs.
    #[arg(long)]
    pub detach: bool,
    /// Take the place of a pipeline of the same name with another script.
    #[arg(long)]
    pub replace: bool,
    /// Go on at the offsets that another pipeline's marker in the table names.
    #[arg(long)]
    pub adopt: bool,
    /// Go on where the savepoint in this folder stands; it is one of the server's machine.
    #[arg(long, value_name = "DIR", conflicts_with = "adopt")]
    pub from_savepoint: Option<PathBuf>,
    /// Let go what an operator has counted that the new script does not have any more; the refusal says its UID.
    #[arg(long, value_name = "UID")]
    pub drop_state: Vec<String>,
    /// Without a server at --server, one is started on this folder.
    #[arg(long, default_value = "./lakeward-data")]
    pub data_dir: PathBuf,
    /// That server's configuration.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Where that server's tables are that say nothing else.
    #[arg(long, env = "LAKEWARD_WAREHOUSE", value_name = "PLACE")]
    pub warehouse: Option<String>,
    /// How often that server commits.
    #[arg(long, default_value = "10 s", value_parser = duration)]
    pub commit_interval: std::time::Duration,
}

#[derive(clap::Args)]
pub struct Test {
    /// Files that end with .case, or folders of them.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write the results where build servers look for them, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write what comes out into the cases.
    #[arg(long, conflicts_with = "list")]
    pub update: bool,
    /// Print the cases as JSON, for tools that run them elsewhere, and run none.
    #[arg(long)]
    pub list: bool,
}

#[derive(clap::Args)]
pub struct Sql {
    /// The query; several are divided by `;`.
    #[arg(
        short = 'e',
        long = "execute",
        value_name = "QUERY",
        conflicts_with = "file"
    )]
    pub execute: Option<String>,
    /// A file of queries, `-` for standard input. Without -e and -f: a prompt, or standard input if that is no terminal.
    #[arg(short = 'f', long)]
    pub file: Option<PathBuf>,
    /// Rows after which an answer is cut off; 0 for all. Default: 10,000 as a table, else all.
    #[arg(long)]
    pub max_rows: Option<u64>,
    /// How long a query may take.
    #[arg(long, default_value = "60 s", value_parser = duration)]
    pub timeout: std::time::Duration,
    #[command(flatten)]
    pub server: Server,
}

/// Where a Kafka cluster is.
#[derive(Clone, clap::Args)]
pub struct Cluster {
    #[command(flatten)]
    pub server: Server,
    /// Any Kafka cluster; without it, the one of --server.
    #[arg(long, global = true)]
    pub bootstrap_server: Option<String>,
}

/// Where a Kafka cluster is, for verbs that have an `-o` of their own.
#[derive(Clone, clap::Args)]
pub struct Place {
    /// The server's API.
    #[arg(
        long,
        env = "LAKEWARD_SERVER",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    pub server: String,
    /// Any Kafka cluster; without it, the one of --server.
    #[arg(long, global = true)]
    pub bootstrap_server: Option<String>,
}

/// How a verb writes its answer.
#[derive(Clone, Copy, clap::Args)]
pub struct Written {
    /// Output format.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub output: Output,
}

#[derive(clap::Args)]
pub struct Topic {
    #[command(subcommand)]
    pub verb: TopicVerb,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Subcommand)]
pub enum TopicVerb {
    /// Names and partitions.
    List {
        #[command(flatten)]
        written: Written,
    },
    /// Partitions with their offsets.
    #[command(visible_alias = "describe")]
    Show {
        topic: String,
        #[command(flatten)]
        written: Written,
    },
    /// A topic that can be written when the command returns.
    Create {
        topic: String,
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// A topic config, `key=value`; may be repeated.
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        #[command(flatten)]
        written: Written,
    },
    /// The topic and all its records, for good.
    Delete {
        topic: String,
        #[command(flatten)]
        written: Written,
    },
    /// Change a topic's settings, or give it more partitions.
    Alter {
        topic: String,
        /// A topic config to set, `key=value`; may be repeated.
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// A topic config to take back to its default; may be repeated.
        #[arg(long = "delete-config", value_name = "KEY")]
        delete: Vec<String>,
        /// Partitions in all; they can only grow.
        #[arg(long)]
        partitions: Option<i32>,
        #[command(flatten)]
        written: Written,
    },
    /// A record from each line of standard input.
    Produce(Produce),
    /// Records as lines, as kcat writes them.
    Consume(Consume),
}

#[derive(clap::Args)]
pub struct Produce {
    pub topic: String,
    /// What stands between key and value; without it a line is a value.
    #[arg(short = 'K', long)]
    pub key_delimiter: Option<String>,
    /// The partition; without it the key decides, as in Java's producer, else partitions take turns.
    #[arg(short = 'p', long)]
    pub partition: Option<i32>,
    /// Compression.
    #[arg(short = 'z', long, value_enum, default_value_t)]
    pub compression: Codec,
    #[command(flatten)]
    pub written: Written,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(clap::Args)]
pub struct Consume {
    pub topic: String,
    /// One partition; without it all.
    #[arg(short = 'p', long)]
    pub partition: Option<i32>,
    /// Where to begin: beginning, end, an offset, -N for the last N of each partition, or s@TIME for the records of a time and
    /// later. `-o json` chooses the format.
    #[arg(short = 'o', long, allow_hyphen_values = true)]
    pub offset: Vec<String>,
    /// Records after which to end.
    #[arg(short = 'c', long)]
    pub count: Option<u64>,
    /// End at the end of all partitions.
    #[arg(short = 'e', long)]
    pub exit: bool,
    /// How a record is written: %t topic, %p partition, %o offset, %k key, %s value, %T time, %h headers, %K and %S lengths.
    #[arg(short = 'f', long, conflicts_with = "key_delimiter")]
    pub format: Option<String>,
    /// Write the key before the value, with this between.
    #[arg(short = 'K', long)]
    pub key_delimiter: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(clap::Args)]
pub struct Group {
    #[command(subcommand)]
    pub verb: GroupVerb,
    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Subcommand)]
pub enum GroupVerb {
    /// Names.
    List,
    /// Committed offsets and lag per partition.
    #[command(visible_alias = "describe")]
    Show { group: String },
    /// Set a group's committed offsets anew; shows what would be done until --execute is given.
    ResetOffsets(Reset),
    /// Forget a group and its offsets; shows what would be lost until --execute is given.
    Delete {
        group: String,
        #[arg(long)]
        execute: bool,
    },
}

#[derive(clap::Args)]
pub struct Reset {
    pub group: String,
    /// `topic`, or `topic:0,1` for some of its partitions; may be repeated.
    #[arg(long = "topic", required_unless_present = "all_topics")]
    pub topics: Vec<String>,
    /// All topics that the group has committed.
    #[arg(long, conflicts_with = "topics")]
    pub all_topics: bool,
    #[command(flatten)]
    pub to: ResetTo,
    /// Do it.
    #[arg(long)]
    pub execute: bool,
}

/// Where to; one of them.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct ResetTo {
    #[arg(long)]
    pub to_earliest: bool,
    #[arg(long)]
    pub to_latest: bool,
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// The first record of this time or later: milliseconds since 1970, or `2026-01-31T12:00:00.000` in UTC.
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub to_datetime: Option<i64>,
    /// By so many records, back if negative.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
}

/// Milliseconds since 1970, not before: the negative ones are words of Kafka's protocol, and no record is as old.
pub fn datetime(text: &str) -> Result<i64, String> {
    let millis = text.parse().ok();
    let millis = millis.or_else(|| lw_stdx::calendar::parse_utc(text));
    millis.map(|millis| millis.max(0)).ok_or_else(|| {
        format!(
            "'{text}' is not a time; write '2026-01-31T12:00:00.000' or milliseconds since 1970"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        <Args as clap::CommandFactory>::command().debug_assert();
        let _: Args = Args::parse_from([
            "lakeward", "topic", "consume", "t", "-o", "-5", "-o", "json",
        ]);
        let _: Args = Args::parse_from(["lakeward", "topic", "list", "-o", "json"]);
    }

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(datetime("1709251199000"), Ok(1_709_251_199_000));
        assert_eq!(datetime("-1"), Ok(0));
        assert_eq!(datetime("2024-02-29T23:59:59"), Ok(1_709_251_199_000));
        let error = datetime("2026-02-30T00:00:00").expect_err("February has no 30th");
        assert!(
            error.starts_with("'2026-02-30T00:00:00' is not a time"),
            "{error}"
        );
    }
}

#[derive(clap::Args)]
pub struct Schema {
    #[command(subcommand)]
    pub verb: SchemaVerb,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum SchemaVerb {
    /// Subjects.
    List,
    /// Versions of a subject, or one version's text.
    Show {
        subject: String,
        #[arg(long)]
        version: Option<String>,
    },
    /// Would this schema be accepted?
    Check { subject: String, file: PathBuf },
    /// Register a schema from a file.
    Register { subject: String, file: PathBuf },
}

#[derive(clap::Args)]
pub struct Pipeline {
    #[command(subcommand)]
    pub verb: PipelineVerb,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum PipelineVerb {
    /// States, counts and lag.
    List,
    /// One pipeline; why it does not run, and what to type.
    Show { name: String },
    /// Commit what was read and stop.
    Stop {
        name: String,
        /// Write down where it then stands, so that `run --from-savepoint` can go on there.
        #[arg(long)]
        savepoint: bool,
        /// Let all windows fire first. Nothing can be read on then.
        #[arg(long, requires = "savepoint")]
        drain: bool,
        /// The folder of the savepoint, on the server's machine.
        #[arg(long, value_name = "DIR", requires = "savepoint")]
        to: Option<PathBuf>,
    },
    /// Write down where a pipeline stands, in a folder that a pipeline can start from.
    Savepoint {
        name: String,
        /// The folder, on the server's machine; one of its data folder where it is left out.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Start a stopped, paused or failed pipeline.
    Resume {
        name: String,
        /// Accept the table as it is: what a rollback took away stays away.
        #[arg(long, conflicts_with = "rewind")]
        adopt: bool,
        /// Go back to where the table ends and read again what it does not show.
        #[arg(long)]
        rewind: bool,
        /// Go on where the log begins: records that were removed before they were read stay out.
        #[arg(long, conflicts_with_all = ["adopt", "rewind"])]
        skip_lost: bool,
    },
    /// Stop and forget; the table stays.
    Drop { name: String },
}

#[derive(clap::Args)]
pub struct Audit {
    /// `namespace.table`.
    pub table: String,
    #[command(flatten)]
    pub server: Server,
}

#[derive(clap::Args)]
pub struct Dbt {
    #[command(subcommand)]
    pub verb: DbtVerb,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Subcommand)]
pub enum DbtVerb {
    /// Write a dbt project that works: the inventory example's silver and gold, with what dbt-duckdb needs for this catalog.
    Init {
        /// A folder that does not exist yet, or is empty.
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
pub struct Demo {
    /// Leave the folder and the server running at the end.
    #[arg(long)]
    pub keep: bool,
    /// Print only the result object.
    #[arg(long)]
    pub json: bool,
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}
