//! Which steps each command is made of.
//!
//! The crates are tested in two profiles on purpose. Light crates build in seconds, so they are tested with debug
//! assertions, in the dev profile. Heavy crates carry Arrow, Parquet, Iceberg and DataFusion: they are tested in the release
//! profile, whose dependencies the binary needs anyway, so the heavy set is compiled once and not twice (docs/adr/0005).

use anyhow::{Result, bail};

use crate::steps::{Outcome, Step, cache_dir, summary, target_dir};
use crate::{e2e, tidy};

const LIGHT: [&str; 11] = [
    "xtask",
    "lw-stdx",
    "lw-protocol",
    "lw-client",
    "lw-schemas",
    "lw-graph",
    "lw-storage",
    "lw-sim",
    "lw-broker",
    "lw-registry",
    "lw-sql",
];
const HEAVY: [&str; 9] = [
    // Also among the light ones: its simulation wants speed.
    "lw-storage",
    "lw-formats",
    "lw-runtime",
    "lw-connectors",
    "lw-lakehouse",
    "lw-query",
    "lw-ops",
    "lw-gateway",
    "lakeward",
];

/// Every package whose tests `cargo xtask test` runs.
pub(crate) fn tested() -> impl Iterator<Item = &'static str> {
    LIGHT.into_iter().chain(HEAVY)
}

/// Seeds of the short simulation in `cargo xtask test`.
const SHORT_SIM_SEEDS: &str = "20";

pub(crate) fn test() -> Result<bool> {
    let mut outcomes = vec![tidy::outcome()];
    outcomes.extend(lints()?);
    outcomes.push(crates("light crates (dev)", &LIGHT, false).run()?);
    // The binary comes with the tests of `lakeward`: cargo builds it for them.
    outcomes.push(crates("heavy crates (release)", &HEAVY, true).run()?);
    outcomes.push(binary().run()?);
    let built = outcomes.last().is_some_and(|outcome| outcome.ok);
    for step in simulations(&["--seeds".to_owned(), SHORT_SIM_SEEDS.to_owned()])? {
        outcomes.push(step.run()?);
    }
    if built {
        outcomes.push(cases("end to end", E2E, &[])?.run()?);
    } else {
        println!("\nthe binary did not build: the end-to-end cases were not run");
    }
    Ok(summary(&outcomes))
}

pub(crate) fn clippy() -> Result<bool> {
    Ok(summary(&lints()?))
}

/// Clippy over all targets of all crates, every warning denied, each crate in the profile that its tests have: what is built for
/// both is built once.
fn lints() -> Result<Vec<Outcome>> {
    let (light, heavy) = ("clippy, light (dev)", "clippy, heavy (release)");
    if !Step::cargo("clippy", &["clippy", "--version"]).answers() {
        return Ok(vec![Outcome::failed(
            "clippy",
            "clippy is not installed, so nothing was linted: `rustup component add clippy`, or your system's package of it",
        )]);
    }
    Ok(vec![
        lint(light, &LIGHT, false).run()?,
        lint(heavy, &HEAVY, true).run()?,
    ])
}

fn lint(name: &str, packages: &[&str], release: bool) -> Step {
    // Without --no-deps the heavy crates' run would tell what is wrong with the light ones once more.
    let mut args = vec!["clippy", "--all-targets", "--no-deps", "--keep-going"];
    if release {
        args.push("--release");
    }
    for package in packages {
        args.extend(["-p", package]);
    }
    args.extend(["--", "--deny", "warnings"]);
    Step::cargo(name, &args)
}

/// All crates' tests with the clock a year ahead and a year back: none of them may depend on the day.
pub(crate) fn years() -> Result<bool> {
    if !Step::new("faketime", "faketime", &["--version"]).answers() {
        let why = "faketime is not installed: your system's package of that name has it";
        return Ok(summary(&[Outcome::failed("faketime", why)]));
    }
    let mut outcomes = Vec::new();
    for offset in ["+1y", "-1y"] {
        for (what, packages, release) in [("light", &LIGHT[..], false), ("heavy", &HEAVY, true)] {
            let step = crates(&format!("{what} crates, {offset}"), packages, release);
            // Only the tests see another day: cargo judges by the age of files what is to be built.
            let step = step
                .env(&runner_variable()?, format!("faketime -f {offset}"))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
            outcomes.push(step.run()?);
        }
    }
    Ok(summary(&outcomes))
}

/// By which cargo is told what to run a test binary with.
fn runner_variable() -> Result<String> {
    let told = std::process::Command::new("rustc").arg("-vV").output()?;
    let told = String::from_utf8_lossy(&told.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    let Some(host) = host else {
        bail!("rustc does not say what it compiles for")
    };
    let host = host.to_uppercase().replace('-', "_");
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}

/// With `--peers` first, the slow cases over the real systems of `tests/peers`, which `cargo xtask test` leaves out.
pub(crate) fn e2e(args: &[String]) -> Result<bool> {
    let cases = match args.split_first() {
        Some((first, names)) if first == "--peers" => {
            cases("end to end, with peers", PEERS, names)?
        }
        _ => cases("end to end", E2E, args)?,
    };
    let built = binary().run()?;
    if !built.ok {
        return Ok(summary(&[built]));
    }
    let outcome = cases.run()?;
    Ok(summary(&[built, outcome]))
}

pub(crate) fn sim(args: &[String]) -> Result<bool> {
    let outcomes: Result<Vec<Outcome>> = simulations(args)?.into_iter().map(Step::run).collect();
    Ok(summary(&outcomes?))
}

/// The scripts of `tests/bench`, against the release binary and the real systems of `tests/peers`.
pub(crate) fn bench(args: &[String]) -> Result<bool> {
    let Some(name) = args.first() else {
        bail!(
            "bench what? start, restart, produce, consume, pipeline, recover, lakehouse, resident, soak, state or week"
        )
    };
    if name == "state" {
        return bench_state(&args[1..]);
    }
    if name == "week" {
        return bench_week(&args[1..]);
    }
    let script = crate::steps::workspace().join(format!("tests/bench/{name}.py"));
    if !script.exists() {
        bail!(
            "no benchmark {name}: there are start, restart, produce, consume, pipeline, recover, lakehouse, resident, soak, state and week"
        );
    }
    let built = binary().run()?;
    if !built.ok {
        return Ok(false);
    }
    let mut words = vec![script.to_string_lossy().into_owned()];
    words.extend(args[1..].iter().cloned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(
        with_places(Step::new(format!("bench {name}"), e2e::python()?, &words))?
            .run()?
            .ok,
    )
}

/// Checkpoints and restores of a large state, without a server.
fn bench_state(args: &[String]) -> Result<bool> {
    let (mut bytes, mut changed) = (64 << 20, 0.01);
    for pair in args.chunks(2) {
        match pair {
            [word, size] if word == "--bytes" => bytes = size_in_bytes(size)?,
            [word, part] if word == "--changed" => changed = percent(part)?,
            _ => bail!("bench state takes --bytes 1g and --changed 1%"),
        }
    }
    let step = lib_test("bench state", "checkpoints_and_restores_of_a_large_state")
        .env("LAKEWARD_BENCH_BYTES", bytes.to_string())
        .env("LAKEWARD_BENCH_CHANGED", changed.to_string());
    Ok(step.counting_tests().run()?.ok)
}

/// A table with a commit every ten seconds: its first hour beside its last.
fn bench_week(args: &[String]) -> Result<bool> {
    let (mut days, mut partitions) = (7_u32, 1_u32);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let number = words.next().and_then(|number| number.parse().ok());
        match (word.as_str(), number) {
            ("--days", Some(number @ 1..)) => days = number,
            ("--partitions", Some(number @ 1..)) => partitions = number,
            _ => bail!("bench week takes --days 7 and --partitions 1000"),
        }
    }
    let step = lib_test(
        "bench week",
        "a_table_of_a_week_costs_what_one_of_an_hour_costs",
    )
    .env("LAKEWARD_BENCH_HOURS", (24 * days).to_string())
    .env("LAKEWARD_BENCH_PARTITIONS", partitions.to_string());
    Ok(step.counting_tests().run()?.ok)
}

/// One test of the heavy crates, of which all that it prints is shown.
fn lib_test(label: &str, name: &str) -> Step {
    // The whole selection, for the reason given at `binary`.
    let mut words = vec!["test", "--release", "--lib"];
    for package in HEAVY {
        words.extend(["-p", package]);
    }
    words.extend([name, "--", "--nocapture"]);
    Step::cargo(label, &words)
}

fn size_in_bytes(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => bail!("{text} is not a size; write 512m or 1g"),
    };
    match digits.parse::<u64>() {
        Ok(number) => Ok(number << shift),
        Err(_) => bail!("{text} is not a size; write 512m or 1g"),
    }
}

fn percent(text: &str) -> Result<f64> {
    let number = text
        .strip_suffix('%')
        .and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => bail!("{text} is not a part of something; write 1%"),
    }
}

/// The cases of `tests/stream` on the real Apache Flink; with `--capture` its answers are written into them.
pub(crate) fn oracle(args: &[String]) -> Result<bool> {
    if !binary().run()?.ok {
        return Ok(false);
    }
    let mut words = vec!["tests/stream/oracle.py"];
    words.extend(args.iter().map(String::as_str));
    Ok(with_places(Step::new("oracle", e2e::python()?, &words))?
        .run()?
        .ok)
}

fn crates(name: &str, packages: &[&str], release: bool) -> Step {
    let mut args = vec!["test", "--no-fail-fast"];
    if release {
        args.push("--release");
    }
    for package in packages {
        args.extend(["-p", package]);
    }
    Step::cargo(name, &args).counting_tests()
}

/// Builds the binary as a part of the heavy crates' tests: another selection of packages would unify the features of
/// dependencies in another way, and compile DataFusion once more.
fn binary() -> Step {
    let mut args = vec!["test", "--release", "--no-run"];
    for package in HEAVY {
        args.extend(["-p", package]);
    }
    Step::cargo("release build", &args)
}

/// The crash simulations are the tests with `sim` in their names, of the crates whose cores they run; the seeds come by environment.
fn simulations(args: &[String]) -> Result<[Step; 2]> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (key, value) = match words[..] {
        [] => ("LAKEWARD_SIM_SEEDS", SHORT_SIM_SEEDS),
        ["--seed", seed] => ("LAKEWARD_SIM_SEED", seed),
        ["--seeds", seeds] => ("LAKEWARD_SIM_SEEDS", seeds),
        _ => bail!("sim takes --seed N or --seeds N"),
    };
    let number: u64 = value
        .parse()
        .map_err(|_| anyhow::anyhow!("{value} is not a number"))?;
    // The whole selection again, and not the two crates that it runs, for the reason given at `binary`.
    let mut args = vec!["test", "--release", "--no-fail-fast"];
    for package in HEAVY {
        args.extend(["-p", package]);
    }
    args.push("sim");
    let step = |what: &str, args: &[&str]| {
        let step = Step::cargo(format!("simulation of {what}, {key}={number}"), args);
        step.env(key, value).counting_tests()
    };
    // The broker is a light crate, and quick enough in the dev profile; the filter leaves the storage's out here.
    let mut light = vec!["test", "--no-fail-fast"];
    for package in LIGHT {
        light.extend(["-p", package]);
    }
    light.push("group::shell::storm");
    Ok([
        step("the log and the tables", &args),
        step("the groups", &light),
    ])
}

const E2E: &[&str] = &["tests/e2e", "--ignore=tests/e2e/peers"];
const PEERS: &[&str] = &["tests/e2e/peers"];

fn cases(name: &str, places: &[&str], names: &[String]) -> Result<Step> {
    let filter = names.join(" or ");
    let mut args = vec!["-m", "pytest"];
    args.extend(places);
    args.extend([
        "-p",
        "no:cacheprovider",
        "-rs",
        "-W",
        "ignore::DeprecationWarning",
        "--durations=8",
        "-q",
    ]);
    if !filter.is_empty() {
        args.extend(["-k", &filter]);
    }
    with_places(Step::new(name, e2e::python()?, &args).counting_tests())
}

/// Tells the Python side where things are.
fn with_places(step: Step) -> Result<Step> {
    let mut step = step
        .env("LAKEWARD_BIN", target_dir().join("release/lakeward"))
        .env("LAKEWARD_CACHE", cache_dir())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    if let Some(dir) = e2e::node_modules()? {
        step = step.env("LAKEWARD_NODE", dir);
    }
    Ok(step)
}
