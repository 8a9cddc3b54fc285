//! Tables in docs that say which test holds something: a name there that is no test any more is found.

use std::collections::BTreeSet;

use anyhow::Result;

use super::SourceFile;

/// What the last column of such a table is called.
const HEAD: &str = "held by";

/// In a table whose last column is called `held by`, each name there in backquotes is a case of `tests/stream`, or a test in Rust or Python.
pub(super) fn names(files: &[SourceFile]) -> Result<Vec<String>> {
    let known = known(files);
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, name) in held_by(&file.text) {
            if !known.contains(name) {
                let path = &file.path;
                complaints.push(format!("{path}:{number}: there is no test `{name}`"));
            }
        }
    }
    Ok(complaints)
}

fn known(files: &[SourceFile]) -> BTreeSet<&str> {
    let mut known = BTreeSet::new();
    for file in files {
        let case = file.path.strip_prefix("tests/stream/");
        known.extend(case.and_then(|path| path.strip_suffix(".case")));
        match file.path.rsplit_once('.') {
            Some((_, "rs")) => known.extend(tests_in_rust(&file.text)),
            Some((_, "py")) => known.extend(tests_in_python(&file.text)),
            _ => {}
        }
    }
    known
}

/// Functions below `#[test]`, whatever other attributes and comments stand between.
fn tests_in_rust(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = called(line.strip_prefix("async ").unwrap_or(line), "fn ")?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

fn tests_in_python(text: &str) -> impl Iterator<Item = &str> {
    let functions = text.lines().filter_map(|line| called(line, "def "));
    functions.filter(|name| name.starts_with("test_"))
}

/// The name of a function that begins in this line.
fn called<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix(word)?.split('(').next()
}

/// Names in backquotes in the last cell of each row, with their lines.
fn held_by(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut within = false;
    for (index, line) in text.lines().enumerate() {
        let cells = line
            .strip_prefix('|')
            .and_then(|row| row.trim_end().strip_suffix('|'));
        let Some(last) = cells.and_then(|row| row.rsplit('|').next()) else {
            within = false;
            continue;
        };
        within |= last.trim() == HEAD;
        if within {
            let names = last.split('`').skip(1).step_by(2);
            found.extend(names.map(|name| (index + 1, name)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_test_is_found_in_its_table_alone() {
        let page = "`nope`\n\n| what | held by |\n|---|---|\n| `nope` | `over/a`, `is_right` |\n| x | `test_it`, `over/b`, `is_wrong`, `is_no_test`, `helps` |\n\n| what | where |\n|---|---|\n| x | `nope` |\n";
        let files = [
            ("docs/a.md", page),
            ("tests/stream/over/a.case", ""),
            (
                "crates/a/src/b.rs",
                "    #[test]\n    /// It is.\n    fn is_right() {}\n    fn is_no_test() {}\n// fn is_wrong()\n",
            ),
            (
                "tests/e2e/test_a.py",
                "def test_it(serve):\n\ndef helps():\n",
            ),
        ];
        let files = files.map(|(path, text)| SourceFile {
            path: path.into(),
            bytes: text.len() as u64,
            text: text.into(),
        });
        let complaints = names(&files).unwrap();
        assert_eq!(
            complaints,
            [
                "docs/a.md:6: there is no test `over/b`",
                "docs/a.md:6: there is no test `is_wrong`",
                "docs/a.md:6: there is no test `is_no_test`",
                "docs/a.md:6: there is no test `helps`"
            ]
        );
    }
}
