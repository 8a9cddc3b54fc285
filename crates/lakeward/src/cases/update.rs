//! Writes into a case what came out of it: for a new case, and for one whose change is meant.
//!
//! Only our own results are ours to write. In a case that was captured from Flink, what Flink gave stays, and only dead letters
//! and what stands under `ours:` follow.

use super::drive::{Outcome, Runner, Way};
use super::format::{Case, Refusal, What};
use super::{CaseFile, expressions, find, refusal, short, texts};
use lw_runtime::Rules;
use std::collections::BTreeMap;
use std::fmt::Write;

/// By this comment in a case's head: its rows and values are Flink's.
const CAPTURED: &str = "-- Captured from Apache Flink";

/// The text of the case with what came out, run plainly.
///
/// # Errors
/// As [`CaseFile::judge`].
pub fn updated(file: &CaseFile) -> anyhow::Result<String> {
    if let Some(refusal) = &file.case.refusal {
        return match refusal::told(file) {
            // What only we refused, and do no longer, is held to Flink's rows from now on.
            None if refusal.ours => Ok(without(&file.text, refusal)),
            None => Ok(file.text.clone()),
            Some(messages) => Ok(with_messages(&file.text, refusal, &messages)),
        };
    }
    let planned = file.planned()?;
    let mut runner = Runner::new(&file.case, Rules::OURS);
    let outcome = match planned.jobs.is_empty() {
        true => Outcome::default(),
        false => file.run(&mut runner, &planned, Way::Plain)?,
    };
    let mut values = BTreeMap::new();
    for section in &file.case.expressions {
        for (expression, result) in expressions::results(file, section, &mut runner, Way::Plain)? {
            values.insert(expression.line, result);
        }
    }
    let mut rewriting = Rewriting {
        case: &file.case,
        captured: file.text.lines().any(|line| line.starts_with(CAPTURED)),
        outcome: &outcome,
        values: &values,
        out: String::new(),
    };
    rewriting.all(&file.text);
    Ok(rewriting.out)
}

/// The text without a refusal's section.
fn without(text: &str, refusal: &Refusal) -> String {
    let (before, _, behind) = around(text, refusal);
    [before, behind].concat().join("\n").trim_end().to_string() + "\n"
}

/// The text with what is said in a refusal's section; what Flink says stays.
fn with_messages(text: &str, refusal: &Refusal, messages: &[String]) -> String {
    let (before, section, behind) = around(text, refusal);
    let kept = |line: &&&str| line.is_empty() || line.starts_with([' ', '#']);
    let mut lines = before;
    lines.push(section[0]);
    if !refusal.ours {
        lines.extend(messages.iter().map(String::as_str));
    }
    lines.extend(section[1..].iter().filter(kept));
    lines.extend(behind);
    lines.join("\n") + "\n"
}

/// What stands before a refusal's section, the section, and what stands behind it.
fn around<'a>(text: &'a str, refusal: &Refusal) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    let mut before: Vec<&str> = text.lines().collect();
    let mut section = before.split_off(refusal.line - 1);
    let body = section[1..].iter();
    let length = body.take_while(|line| !line.starts_with("---- ")).count();
    let behind = section.split_off(1 + length);
    (before, section, behind)
}

struct Rewriting<'a> {
    case: &'a Case,
    captured: bool,
    outcome: &'a Outcome,
    /// Results of expressions by the lines that they stand in.
    values: &'a BTreeMap<usize, String>,
    out: String,
}

impl Rewriting<'_> {
    fn all(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let behind = &lines[at + 1..];
            let length = behind
                .iter()
                .take_while(|line| !line.starts_with("---- "))
                .count();
            let body = &behind[..length];
            match self.replacing(lines[at]) {
                Some(new) => self.section(lines[at], body, &new),
                None => {
                    for (number, line) in (at + 1..).zip(&lines[at..at + 1 + length]) {
                        self.line(number, line);
                    }
                }
            }
            at += 1 + length;
        }
        self.missing();
    }

    /// What has to stand in the section under this head, if it is ours to write.
    fn replacing(&self, head: &str) -> Option<Vec<String>> {
        let head = head.strip_prefix("---- ")?.trim();
        let (ours, head) = match head.strip_prefix("ours: ") {
            Some(head) => (true, head),
            None => (false, head),
        };
        let mut found = What::ALL.into_iter().filter_map(|what| {
            let table = head.strip_prefix(&what.to_string())?.strip_prefix(' ')?;
            let table = table.split_once(',').map_or(table, |(table, _)| table);
            Some((what, table.trim()))
        });
        let (what, table) = found.next()?;
        let mut sections = self.case.expected.iter();
        let section = sections.find(|s| s.what == what && s.table == table)?;
        let flinks = self.captured && what != What::DeadLetters;
        if ours != section.ours.is_some() || (flinks && !ours) {
            return None;
        }
        let filled = find(&self.outcome.tables, table)?;
        Some(texts(what, filled.lines(what)))
    }

    /// The head, the comments, the new lines; what Flink says to a dead letter stays below it.
    fn section(&mut self, head: &str, body: &[&str], new: &[String]) {
        let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut place = "";
        for line in body {
            match line.starts_with(' ') {
                true => said.entry(place).or_default().push(line),
                false => place = line.split(' ').next().unwrap_or_default(),
            }
        }
        self.push(head);
        let comments = body.iter().filter(|line| line.starts_with('#'));
        comments.for_each(|line| self.push(line));
        for line in new {
            self.push(line);
            let place = line.split(' ').next().unwrap_or_default();
            let said = said.get(place).into_iter().flatten();
            said.for_each(|line| self.push(line));
        }
        if body.last().is_some_and(|line| line.is_empty()) {
            self.push("");
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        let at = |wanted: usize| {
            let mut all = self
                .case
                .expressions
                .iter()
                .flat_map(|section| &section.lines);
            all.find(|expression| expression.line == wanted)
        };
        if let (Some(expression), Some(value)) = (at(number), self.values.get(&number)) {
            let open = expression.result.is_empty() || !self.captured;
            match expression.ours.is_none() && open {
                true => self.push(&format!("{} => {value}", expression.text)),
                false => self.push(line),
            }
            return;
        }
        let above = number.checked_sub(1).and_then(at);
        let value = self.values.get(&number.wrapping_sub(1));
        match (
            above.and_then(|above| above.ours.as_ref()),
            value,
            line.rsplit_once(" # "),
        ) {
            (Some(_), Some(value), Some((_, why))) if line.trim().starts_with("ours: ") => {
                self.push(&format!("    ours: {value} # {why}"));
            }
            _ => self.push(line),
        }
    }

    /// Sections that the case does not have yet.
    fn missing(&mut self) {
        for (table, filled) in &self.outcome.tables {
            for what in What::ALL {
                let lines = filled.lines(what);
                let mut sections = self.case.expected.iter();
                let there = sections.any(|s| s.what == what && super::is(table, &s.table));
                if there || (what != What::Rows && lines.is_empty()) {
                    continue;
                }
                if !self.out.ends_with("\n\n") {
                    self.push("");
                }
                self.push(&format!("---- {what} {}", short(table)));
                texts(what, lines).iter().for_each(|line| self.push(line));
            }
        }
    }

    fn push(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}
