//! `cargo xtask tidy`: what a reviewer would count, as checks. A remark made twice in review becomes one more of them.
//!
//! Every check is a function from the files of the checkout to a list of complaints, each naming file and line and what to
//! do. The text checks look at lines, not at syntax: they are right for the way this tree is written, and cost no build.

mod held;
mod layers;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::steps::{Counts, Outcome, summary, workspace};

/// A file of the checkout: tracked, or new and not ignored.
pub(crate) struct SourceFile {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Empty for what is not UTF-8.
    pub(crate) text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is only compiled for tests, examples or benchmarks.
    fn is_test(&self) -> bool {
        ["/tests/", "/examples/", "/benches/"]
            .iter()
            .any(|part| self.path.contains(part))
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    /// Numbered lines of product code: comments left out, and everything from the unit tests at the file's end on.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let product = !self.is_test();
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| product && !line.starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }
}

type Check = fn(&[SourceFile]) -> Result<Vec<String>>;

const CHECKS: [(&str, Check); 14] = [
    ("layers", layers::edges),
    ("unused dependencies", layers::unused),
    ("workspace lints", layers::lints),
    ("tested crates", layers::tested),
    ("file heads", text::heads),
    ("names", text::names),
    ("unfinished work", text::unfinished),
    ("panics", text::panics),
    ("determinism", text::determinism),
    ("machine paths", text::places),
    ("large files", text::large),
    ("links in docs", text::links),
    ("tests in docs", held::names),
    ("rustfmt", rustfmt),
];

pub(crate) fn command() -> Result<bool> {
    Ok(summary(&[outcome()]))
}

/// Runs every check; each counts as one test.
pub(crate) fn outcome() -> Outcome {
    println!("\n== tidy");
    let begun = Instant::now();
    let mut counts = Counts::default();
    let files = match files() {
        Ok(files) => files,
        Err(error) => {
            println!("tidy: {error:#}");
            return Outcome {
                name: "tidy".into(),
                ok: false,
                counts: Counts {
                    failed: 1,
                    ..counts
                },
                took: begun.elapsed(),
            };
        }
    };
    for (name, check) in CHECKS {
        let complaints = check(&files).unwrap_or_else(|error| vec![format!("{error:#}")]);
        if complaints.is_empty() {
            counts.passed += 1;
        } else {
            counts.failed += 1;
        }
        for complaint in complaints {
            println!("tidy: {name}: {complaint}");
        }
    }
    Outcome {
        name: "tidy".into(),
        ok: counts.failed == 0,
        counts,
        took: begun.elapsed(),
    }
}

fn files() -> Result<Vec<SourceFile>> {
    let root = workspace();
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .context("cannot start git")?;
    let listed = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let full: PathBuf = root.join(path);
        // A tracked file may be deleted in the work tree; that is git's to report.
        let Ok(content) = fs::read(&full) else {
            continue;
        };
        files.push(SourceFile {
            path: path.to_owned(),
            bytes: content.len() as u64,
            text: String::from_utf8(content).unwrap_or_default(),
        });
    }
    Ok(files)
}

fn rustfmt(_: &[SourceFile]) -> Result<Vec<String>> {
    let out = Command::new("cargo")
        .args(["fmt", "--all", "--", "--check", "-l"])
        .current_dir(workspace())
        .output()
        .context("cannot start cargo fmt")?;
    if out.status.success() {
        return Ok(Vec::new());
    }
    let root = workspace();
    let listed = String::from_utf8_lossy(&out.stdout);
    let mut complaints: Vec<String> = listed
        .lines()
        .map(|file| {
            Path::new(file)
                .strip_prefix(&root)
                .unwrap_or(Path::new(file))
        })
        .map(|file| format!("{}: run cargo fmt", file.display()))
        .collect();
    complaints.dedup();
    if complaints.is_empty() {
        complaints.push(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    Ok(complaints)
}
