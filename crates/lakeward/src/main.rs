//! The `lakeward` command: the only place that reads arguments and the environment, and starts runtimes.

#![expect(
    unreachable_pub,
    reason = "a binary has no outside: pub marks what other modules use"
)]

mod args;
mod cases;
mod client;
mod config;
mod connectors;
mod demo;
mod environment;
mod failure;
mod lookups;
mod query;
mod server;
mod tables;
mod verbs;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(args.logs());
    if let Some(file) = &args.token_file
        && let Err(error) = client::read_token(file)
    {
        failure::print(&error);
        return ExitCode::from(1);
    }
    let outcome = match args.command {
        Command::Up(up) => server::up(up),
        Command::Run(run) => verbs::run::run(run),
        Command::Check(check) => verbs::check::check(check),
        Command::Test(test) => verbs::test::test(test),
        Command::Sql(sql) => verbs::sql::sql(sql),
        Command::Topic(topic) => verbs::topic::topic(topic),
        Command::Group(group) => verbs::group::group(group),
        Command::Schema(schema) => verbs::schema::schema(schema),
        Command::Pipeline(pipeline) => verbs::pipeline::pipeline(pipeline),
        Command::Table(table) => verbs::table::table(table),
        Command::Catalog(catalog) => verbs::catalog::catalog(catalog),
        Command::Replay(replay) => verbs::replay::replay(replay),
        Command::Dlq(dlq) => verbs::dlq::dlq(dlq),
        Command::Audit(audit) => verbs::audit::audit(audit),
        Command::Dbt(dbt) => verbs::dbt::dbt(dbt),
        Command::Demo(demo) => demo::demo(demo),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            failure::print(&error);
            ExitCode::from(1)
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses what.
fn start_logging(default: &str) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
