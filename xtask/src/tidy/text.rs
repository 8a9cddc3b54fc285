//! Checks on the text of files, line by line.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::SourceFile;

const LARGEST_BYTES: u64 = 1024 * 1024;

/// Every Rust file says at its head what it is, and every script too.
pub(super) fn heads(files: &[SourceFile]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for file in files {
        let first = file
            .text
            .lines()
            .find(|line| !line.starts_with("#!/"))
            .unwrap_or_default();
        if file.is_rust() && !first.starts_with("//! ") {
            complaints.push(format!(
                "{}:1: open with a //! line that says what this file is",
                file.path
            ));
        }
        if file.path.ends_with(".py") && !first.starts_with("\"\"\"") {
            complaints.push(format!(
                "{}:1: open with a docstring that says what this file is",
                file.path
            ));
        }
    }
    Ok(complaints)
}

/// Words that hide what a thing does, in the names of items and files.
pub(super) fn names(files: &[SourceFile]) -> Result<Vec<String>> {
    const WORDS: [&str; 6] = ["manager", "managers", "helper", "helpers", "util", "utils"];
    const FILES: [&str; 6] = [
        "utils.rs",
        "util.rs",
        "helpers.rs",
        "helper.rs",
        "misc.rs",
        "common.rs",
    ];
    const ITEMS: [&str; 6] = ["struct ", "enum ", "trait ", "type ", "mod ", "fn "];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if FILES
            .iter()
            .any(|name| file.path.ends_with(&format!("/{name}")))
        {
            complaints.push(format!("{}: name the file after what it holds", file.path));
        }
        for (number, line) in file.product_lines() {
            let Some(name) = ITEMS.iter().find_map(|item| item_name(line, item)) else {
                continue;
            };
            if words_of(name).any(|word| WORDS.contains(&word.as_str())) {
                complaints.push(format!(
                    "{}:{number}: {name}: say what it does instead",
                    file.path
                ));
            }
        }
    }
    Ok(complaints)
}

/// The words of a CamelCase or snake_case name, in lower case.
fn words_of(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        words
            .last_mut()
            .expect("never empty")
            .extend(letter.to_lowercase().filter(|c| *c != '_'));
    }
    words.into_iter()
}

fn item_name<'a>(line: &'a str, item: &str) -> Option<&'a str> {
    let declaration = line.trim_start();
    let at = declaration.find(item)?;
    let before = declaration[..at].trim();
    let visibility = before.is_empty()
        || before
            .split(' ')
            .all(|word| word.starts_with("pub") || ["async", "const", "unsafe"].contains(&word));
    visibility.then(|| {
        declaration[at + item.len()..]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
    })
}

/// Nothing on main is marked as unfinished. The words are put together here, so that this file does not name itself.
pub(super) fn unfinished(files: &[SourceFile]) -> Result<Vec<String>> {
    let words = [
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
        concat!("dbg", "!("),
    ];
    let mut complaints = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() || file.path.ends_with(".py"))
    {
        for (index, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                complaints.push(format!(
                    "{}:{}: {word} (an expectation is #[expect(…, reason = \"…\")])",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    Ok(complaints)
}

/// Product code names why it cannot fail, or returns the failure.
pub(super) fn panics(files: &[SourceFile]) -> Result<Vec<String>> {
    let word = concat!(".unw", "rap()");
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, _) in file.product_lines().filter(|(_, line)| line.contains(word)) {
            complaints.push(format!(
                "{}:{number}: {word}: return the error, or expect(\"why it cannot fail\")",
                file.path
            ));
        }
    }
    Ok(complaints)
}

#[derive(Deserialize)]
struct Shells {
    shells: Shell,
}

#[derive(Deserialize)]
struct Shell {
    clock: Vec<String>,
    random: Vec<String>,
    threads: Vec<String>,
}

/// Cores take time, randomness and threads from outside; layers.toml lists the shells that own them.
pub(super) fn determinism(files: &[SourceFile]) -> Result<Vec<String>> {
    let config = files
        .iter()
        .find(|file| file.path == "layers.toml")
        .context("layers.toml is missing")?;
    let Shells { shells } = toml::from_str(&config.text).context("layers.toml")?;
    let rules: [(&[&str], &[String], &str); 3] = [
        (
            &[
                "SystemTime::now(",
                "Instant::now(",
                "Utc::now(",
                "Local::now(",
            ],
            &shells.clock,
            "take a stdx::clock::Clock",
        ),
        (
            &["thread_rng(", "rand::rng(", "rand::random", "Uuid::new_v4("],
            &shells.random,
            "take the randomness or the id from the caller",
        ),
        (
            &["thread::spawn(", "thread::sleep(", "time::sleep("],
            &shells.threads,
            "let a shell own the thread; wait for a condition",
        ),
    ];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.product_lines() {
            for (calls, shells, instead) in &rules {
                let Some(call) = calls.iter().find(|call| line.contains(**call)) else {
                    continue;
                };
                if !shells.iter().any(|prefix| file.path.starts_with(prefix)) {
                    complaints.push(format!(
                        "{}:{number}: {call}): {instead}, or list the shell in layers.toml",
                        file.path
                    ));
                }
            }
        }
    }
    Ok(complaints)
}

/// The tree says nothing about the machine that it was written on, nor where packages were fetched from.
pub(super) fn places(files: &[SourceFile]) -> Result<Vec<String>> {
    let marks = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("\"resolved\": \"", "http"),
        concat!("index", "-url"),
        concat!("replace", "-with"),
    ];
    let mut complaints = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                complaints.push(format!("{}:{}: {mark}", file.path, index + 1));
            }
        }
    }
    Ok(complaints)
}

pub(super) fn large(files: &[SourceFile]) -> Result<Vec<String>> {
    Ok(files
        .iter()
        .filter(|file| file.bytes > LARGEST_BYTES)
        .map(|file| {
            format!(
                "{}: {} bytes; generate it, or fetch it",
                file.path, file.bytes
            )
        })
        .collect())
}

/// A relative link in a page points at a file or folder of the checkout.
pub(super) fn links(files: &[SourceFile]) -> Result<Vec<String>> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        known.insert(path.to_owned());
        while let Some((parent, _)) = path.rsplit_once('/') {
            known.insert(parent.to_owned());
            path = parent;
        }
    }
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, target) in targets(&file.text) {
            let place = resolve(&file.path, target);
            if !known.contains(&place) && !place.is_empty() {
                complaints.push(format!("{}:{number}: {target} is not there", file.path));
            }
        }
    }
    Ok(complaints)
}

/// The relative targets of `[text](target)` with their lines; code blocks are skipped.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let mut rest = if fenced { "" } else { line };
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            let target = rest[..end].split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.contains(' ') {
                found.push((index + 1, target));
            }
        }
    }
    found
}

fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(path: &str, text: &str) -> Vec<SourceFile> {
        let shells = "[shells]\nclock = ['crates/shell/']\nrandom = []\nthreads = []\n";
        [("layers.toml", shells), (path, text)]
            .map(|(path, text)| SourceFile {
                path: path.into(),
                bytes: text.len() as u64,
                text: text.into(),
            })
            .into()
    }

    #[test]
    fn each_check_finds_its_fault_and_lets_the_right_form_pass() {
        type Case = (
            fn(&[SourceFile]) -> Result<Vec<String>>,
            &'static str,
            &'static str,
            usize,
        );
        let cases: [Case; 16] = [
            (heads, "crates/a/src/b.rs", "//! What it is.\n", 0),
            (heads, "crates/a/src/b.rs", "use std::fs;\n", 1),
            (
                names,
                "crates/a/src/b.rs",
                "pub(crate) struct TopicManager {}\n",
                1,
            ),
            (names, "crates/a/src/b.rs", "fn path_utils() {}\n", 1),
            (
                names,
                "crates/a/src/b.rs",
                "struct Utilisation;\n// a Manager in a comment\n",
                0,
            ),
            (names, "crates/a/src/utils.rs", "//! x\n", 1),
            (
                unfinished,
                "crates/a/src/b.rs",
                concat!("// FIX", "ME later\n"),
                1,
            ),
            (
                panics,
                "crates/a/src/b.rs",
                concat!("let a = b.unw", "rap();\n"),
                1,
            ),
            (
                panics,
                "crates/a/src/b.rs",
                concat!("#[cfg(test)]\nmod tests { b.unw", "rap(); }\n"),
                0,
            ),
            (
                panics,
                "crates/a/tests/it/main.rs",
                concat!("b.unw", "rap();\n"),
                0,
            ),
            (
                determinism,
                "crates/a/src/b.rs",
                "let now = Instant::now();\n",
                1,
            ),
            (
                determinism,
                "crates/shell/src/b.rs",
                "let now = Instant::now();\n",
                0,
            ),
            (places, "docs/a.md", concat!("see /ho", "me/me\n"), 1),
            (
                links,
                "docs/a.md",
                "[b](b.md) [layers](../layers.toml) [web](https://example.org/x) [top](#top)\n",
                1,
            ),
            (links, "docs/a.md", "```\n[b](b.md)\n```\n", 0),
            (large, "docs/a.md", "small\n", 0),
        ];
        for (check, path, text, expected) in cases {
            let complaints = check(&rust(path, text)).unwrap();
            assert_eq!(complaints.len(), expected, "{path}: {text}: {complaints:?}");
        }
    }
}
