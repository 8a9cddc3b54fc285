//! The command line, as DESIGN §2 pins it.

use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Kafka, schema registry, streaming SQL and an Iceberg lakehouse in one binary.
#[derive(Parser)]
#[command(name = "lakeward", version, about, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Commands that only ask something say nothing on standard error unless it fails.
    pub fn quiet(&self) -> bool {
        !matches!(self.command, Command::Up(_) | Command::Run(_))
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve: Kafka, schema registry, Iceberg catalog and the API, all on loopback unless told otherwise.
    Up(Up),
    /// Submit a SQL script as a pipeline and follow it.
    Run(Run),
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
    /// Prove that a table holds exactly what the log says.
    Audit(Audit),
    /// See it all work: produce, stream, crash, recover, audit.
    Demo(Demo),
}

/// How results are written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
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
    /// Where the names in scripts really are.
    #[arg(long, default_value = "lakeward.toml")]
    pub config: PathBuf,
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
    /// Written, by rename, once all sockets answer.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// How often tables are committed, such as `10 s`.
    #[arg(long, default_value = "10 s", value_parser = duration)]
    pub commit_interval: std::time::Duration,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    lw_stdx::duration::parse(text)
        .ok_or_else(|| format!("'{text}' is not a duration; write '10 s' or '500 ms'"))
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
    /// Without a server at --server, one is started on this folder.
    #[arg(long, default_value = "./lakeward-data")]
    pub data_dir: PathBuf,
    /// That server's configuration.
    #[arg(long, default_value = "lakeward.toml")]
    pub config: PathBuf,
}

#[derive(clap::Args)]
pub struct Sql {
    /// The query.
    #[arg(short = 'e', long = "execute", value_name = "QUERY")]
    pub execute: String,
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

#[derive(clap::Args)]
pub struct Topic {
    #[command(subcommand)]
    pub verb: TopicVerb,
    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Subcommand)]
pub enum TopicVerb {
    /// Names and partitions.
    List,
    /// Partitions with their offsets.
    #[command(visible_alias = "describe")]
    Show { topic: String },
    /// A topic that can be written when the command returns.
    Create {
        topic: String,
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// A topic config, `key=value`; may be repeated.
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
    },
    /// The topic and all its records, for good.
    Delete { topic: String },
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
    Stop { name: String },
    /// Start a stopped, paused or failed pipeline.
    Resume {
        name: String,
        /// Accept the table as it is: what a rollback took away stays away.
        #[arg(long, conflicts_with = "rewind")]
        adopt: bool,
        /// Go back to where the table ends and read again what it does not show.
        #[arg(long)]
        rewind: bool,
    },
    /// Stop and forget; the table stays.
    Drop { name: String },
}

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
    /// Snapshots, with the offsets that each holds.
    Show { table: String },
}

#[derive(clap::Args)]
pub struct Audit {
    /// `namespace.table`.
    pub table: String,
    #[command(flatten)]
    pub server: Server,
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
