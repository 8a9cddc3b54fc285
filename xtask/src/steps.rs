//! Runs programs one after the other and adds up what their test runners counted.
//!
//! A step that exits with an error but counted no failed test (it did not compile, it crashed) counts as one failure:
//! the sum can never look better than the exit codes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What test runners say at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The counts in one line of output, when it is the closing line of cargo test or of pytest.
    fn of_line(line: &str) -> Option<Counts> {
        let line = line.trim().trim_matches('=').trim();
        let cargo = line.starts_with("test result: ");
        let pytest = line.contains(" in ") && line.ends_with(['s', ')']);
        if !cargo && !pytest {
            return None;
        }
        let words: Vec<&str> = line
            .split([' ', ',', ';'])
            .filter(|word| !word.is_empty())
            .collect();
        let mut counts = Counts::default();
        let mut found = false;
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => counts.passed += number,
                "failed" | "error" | "errors" => counts.failed += number,
                "skipped" | "ignored" => counts.skipped += number,
                _ => continue,
            }
            found = true;
        }
        found.then_some(counts)
    }
}

pub(crate) struct Step {
    name: String,
    command: Command,
    counts_tests: bool,
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, program: impl AsRef<Path>, args: &[&str]) -> Step {
        let mut command = Command::new(program.as_ref());
        command.args(args).current_dir(workspace());
        Step {
            name: name.into(),
            command,
            counts_tests: false,
        }
    }

    /// A cargo as one that is typed at a prompt. `cargo xtask` is a `cargo run`, which tells its program of what package it is;
    /// a build script that listens to that (ring's does) would run anew, and ring, rustls, reqwest and Iceberg be compiled
    /// anew, each time that somebody went from `cargo build` to `cargo xtask` or back.
    pub(crate) fn cargo(name: impl Into<String>, args: &[&str]) -> Step {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let mut step = Step::new(name, cargo, args);
        for (key, _) in std::env::vars_os() {
            if is_of_this_package(&key.to_string_lossy()) {
                step.command.env_remove(key);
            }
        }
        step
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Step {
        self.command.env(key, value);
        self
    }

    /// A step that runs tests: one that finds none has failed, since a filter that matches nothing proves nothing.
    pub(crate) fn counting_tests(mut self) -> Step {
        self.counts_tests = true;
        self
    }

    /// Whether it runs and exits well; what it says is not shown.
    pub(crate) fn answers(mut self) -> bool {
        let ran = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        ran.is_ok_and(|status| status.success())
    }

    /// Runs it to its end and returns what it counted; an error exit without a counted failure is one failure.
    pub(crate) fn run(mut self) -> Result<Outcome> {
        println!("\n== {}", self.name);
        let begun = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {:?}", self.command.get_program()))?;
        let stdout = child.stdout.take().expect("stdout was piped above");
        let mut counts = Counts::default();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(found) = Counts::of_line(&line) {
                counts.add(found);
            }
        }
        let status = child.wait()?;
        let ran_nothing = self.counts_tests && counts.passed + counts.failed == 0;
        let ok = status.success() && !ran_nothing;
        if !ok && counts.failed == 0 {
            counts.failed = 1;
        }
        Ok(Outcome {
            name: self.name,
            ok,
            counts,
            took: begun.elapsed(),
        })
    }
}

/// Whether cargo sets the variable for one package: its places and its names.
fn is_of_this_package(key: &str) -> bool {
    key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_")
}

pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
}

impl Outcome {
    /// A step that could not be taken at all counts as one failure.
    pub(crate) fn failed(name: &str, why: &str) -> Outcome {
        println!("\n== {name}\n{why}");
        Outcome {
            name: name.to_owned(),
            ok: false,
            counts: Counts {
                failed: 1,
                ..Counts::default()
            },
            took: Duration::ZERO,
        }
    }
}

/// Prints one line per step and the sum, and returns whether all of it passed.
pub(crate) fn summary(outcomes: &[Outcome]) -> bool {
    println!("\n== summary");
    let mut sum = Counts::default();
    for outcome in outcomes {
        let Counts {
            passed,
            failed,
            skipped,
        } = outcome.counts;
        let verdict = if outcome.ok { "ok    " } else { "FAILED" };
        println!(
            "{verdict} {:<28} {passed:>5} passed {failed:>4} failed {skipped:>4} skipped  {:>5.0} s",
            outcome.name,
            outcome.took.as_secs_f64()
        );
        sum.add(outcome.counts);
    }
    println!(
        "{} passed, {} failed, {} skipped",
        sum.passed, sum.failed, sum.skipped
    );
    outcomes.iter().all(|outcome| outcome.ok) && sum.failed == 0
}

/// The root of the checkout.
pub(crate) fn workspace() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR");
    let xtask = told.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    xtask
        .parent()
        .expect("xtask stands in the workspace")
        .to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    let dir =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    workspace().join(dir)
}

/// Where downloads and environments are kept between runs.
pub(crate) fn cache_dir() -> PathBuf {
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| ".".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("lakeward")
}

#[cfg(test)]
mod tests {
    use super::{Counts, Outcome, Step, summary};

    /// Cargo sets for this test what it sets for `cargo xtask`.
    #[test]
    fn an_inner_cargo_does_not_hear_of_our_own_package() {
        let step = Step::cargo("x", &["--version"]);
        let removed: Vec<_> = step.command.get_envs().collect();
        for key in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(std::env::var_os(key).is_some(), "{key} is set");
            assert!(
                removed.contains(&(key.as_ref(), None)),
                "{key} is passed on"
            );
        }
    }

    #[test]
    fn what_is_not_installed_answers_nothing_and_fails_the_whole() {
        assert!(!Step::cargo("x", &["no-such-subcommand", "--version"]).answers());
        assert!(!Step::new("x", "no-such-program", &[]).answers());
        assert!(Step::cargo("x", &["--version"]).answers());
        assert!(!summary(&[Outcome::failed(
            "clippy",
            "it is not installed"
        )]));
    }

    #[test]
    fn closing_lines_of_both_runners_are_read_and_nothing_else() {
        let cases = [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
                Some((12, 0, 1)),
            ),
            (
                "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
                Some((2, 1, 0)),
            ),
            (
                "=========== 3 failed, 10 passed, 2 skipped, 1 error in 12.34s (0:00:12) ===========",
                Some((10, 4, 2)),
            ),
            ("== 10 passed in 1.00s ==", Some((10, 0, 0))),
            ("producer: 3 failed sends", None),
            ("running 4 tests", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(passed, failed, skipped)| Counts {
                passed,
                failed,
                skipped,
            });
            assert_eq!(Counts::of_line(line), expected, "{line}");
        }
    }
}
