//! The one door: `cargo xtask tidy|clippy|test|e2e|smoke|sim|oracle|bench`, the same by hand and in CI.
//!
//! Every command is a list of [`Step`](steps::Step)s. A step runs one program in the foreground, shows its output as it
//! comes, and reads the runner's own summary out of it, so the counts at the end are the runners' and not ours.

#![expect(
    clippy::disallowed_methods,
    reason = "a tool of the house: it tells how long real programs took"
)]

mod e2e;
mod steps;
mod suites;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask tidy                   what a reviewer would count: layers, file heads, banned words, links, rustfmt
cargo xtask clippy                 clippy over all targets of all crates, every warning denied
cargo xtask test                   tidy, clippy, all crates' tests, release build, short simulation, end-to-end cases
cargo xtask years                  all crates' tests a year ahead and a year back, by faketime
cargo xtask e2e [NAME]...          the end-to-end cases, or those whose name contains a NAME
cargo xtask e2e --peers [NAME]...  the slow ones, with the real Apache Flink on our broker, registry and catalog
cargo xtask smoke                  up, topic, produce, script, read back: about a minute once built
cargo xtask sim [--seed N | --seeds N]        simulated crashes under one seed, or under N fresh ones
cargo xtask oracle [--capture] [AREA|FILE]...  the cases of tests/stream on the real Apache Flink, compared row by row
cargo xtask oracle --generate N [--seed S]     N random expressions on both; what differs is made small and told, the rest becomes cases
cargo xtask bench start|restart|produce|consume|pipeline|lakehouse|resident|soak [ARG]...   Lakeward beside the real systems
cargo xtask bench state [--bytes 1g] [--changed 1%]   checkpoints and restores of a large state
cargo xtask bench week [--days 7] [--partitions 1000]  a table with a commit every ten seconds: its first hour beside its last";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let outcome = match args.first().map(String::as_str) {
        Some("tidy") => tidy::command(),
        Some("clippy") => suites::clippy(),
        Some("test") => suites::test(),
        Some("years") => suites::years(),
        Some("e2e") => suites::e2e(rest),
        Some("smoke") => suites::e2e(&["test_smoke".to_owned()]),
        Some("sim") => suites::sim(rest),
        Some("oracle") => suites::oracle(rest),
        Some("bench") => suites::bench(rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
