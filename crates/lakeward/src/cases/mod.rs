//! Cases: a script, the records that it reads, and the rows, dead letters and late rows that have to come of them, as one text.
//!
//! The same format and the same runner serve two: `lakeward test` runs what users write beside their pipelines, and
//! `tests/stream` is how our own engine is held to Apache Flink's results. Each case runs in all ways (see [`drive::Way`]) that
//! must make no difference.
//!
//! ```text
//! format.rs: text ─► Case ─► world.rs: a log with its records ─► drive.rs: the real job ─► table.rs: rows as text ─► here: judged
//! ```

mod avro;
mod disk;
mod drive;
mod expressions;
mod format;
mod order;
mod record;
mod refusal;
mod table;
#[cfg(test)]
mod tests;
mod update;
mod world;

pub use format::{Case, CaseError};
pub use order::Order;
pub use update::updated;
pub use world::Schemas;

use crate::environment::jobs;
use crate::failure::failure;
use anyhow::Context;
use drive::{Outcome, Runner, Way};
use format::{Expected, Script, What};
use lw_runtime::Rules;
use lw_runtime::pipelines::PlannedJob;
use lw_sql::{Diagnostics, Plan};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::Line;
use world::Names;

/// A case in its file.
pub struct CaseFile {
    /// The path below the folder that was asked for, without `.case`.
    pub name: String,
    pub path: PathBuf,
    pub text: String,
    pub case: Case,
    /// The SQL itself.
    pub sql: String,
}

impl CaseFile {
    /// # Errors
    /// When the file, or the script that it names, cannot be read or understood.
    pub fn read(path: &Path, name: String) -> anyhow::Result<CaseFile> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let case = Case::parse(&text).map_err(|error| located(path, error))?;
        let sql = match &case.script {
            Script::Inline(sql) => sql.clone(),
            Script::File(file) => {
                let file = path.with_file_name(file);
                std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?
            }
        };
        Ok(CaseFile {
            name,
            path: path.to_path_buf(),
            text,
            case,
            sql,
        })
    }

    /// Runs the case in all ways and says what is not as it has to be.
    ///
    /// # Errors
    /// When it cannot be run: the script is refused, a job fails, a record cannot be encoded.
    pub fn judge(&self) -> anyhow::Result<Vec<Finding>> {
        self.judge_under(Rules::OURS)
    }

    fn judge_under(&self, rules: Rules) -> anyhow::Result<Vec<Finding>> {
        if let Some(refusal) = &self.case.refusal {
            return Ok(refusal::judge(self, refusal).into_iter().collect());
        }
        let planned = self.planned()?;
        let mut runner = Runner::new(&self.case, rules);
        let mut findings = Vec::new();
        if !planned.jobs.is_empty() {
            let mut plain = None;
            for way in Way::of(&planned.jobs) {
                let outcome = self.run(&mut runner, &planned, way)?;
                self.check_tables(&outcome)?;
                findings.extend(self.compare(&outcome, way)?);
                match way {
                    Way::Plain => plain = Some(outcome),
                    Way::Shards(_) => findings.extend(differs(plain.as_ref(), &outcome, way)),
                    _ => {}
                }
            }
        }
        for way in Way::ALL {
            findings.extend(expressions::judge(self, &mut runner, way)?);
        }
        Ok(findings)
    }

    /// The jobs of the script. One without an INSERT has none, if the case asks for expressions.
    fn planned(&self) -> anyhow::Result<Planned> {
        let file = self.path.display().to_string();
        match self.plan() {
            Ok(planned) => Ok(planned),
            Err(_) if self.case.expected.is_empty() && !self.case.expressions.is_empty() => {
                // Over nothing but a query its tables are checked where the expressions are.
                Ok(Planned::default())
            }
            Err(wrong) => {
                let rendered = wrong.render(&file, &self.sql);
                Err(anyhow::Error::msg(rendered.trim_end().to_string()))
            }
        }
    }

    fn plan(&self) -> Result<Planned, Diagnostics> {
        let file = self.path.display().to_string();
        let plan = lw_sql::plan_script(&self.sql, &file, &Names(&self.case))?;
        Ok(Planned::of(plan))
    }

    fn run(&self, runner: &mut Runner<'_>, planned: &Planned, way: Way) -> anyhow::Result<Outcome> {
        let outcome = runner
            .run(planned, way)
            .map_err(|error| self.explained(error));
        outcome.with_context(|| format!("{way}"))
    }

    /// An error about a line of the case, with the file's name.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<CaseError>() {
            Ok(error) => located(&self.path, error),
            Err(error) => error,
        }
    }

    /// Sections and tables belong to each other.
    fn check_tables(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let tables: Vec<&str> = outcome.tables.keys().map(String::as_str).collect();
        for section in &self.case.expected {
            if find(&outcome.tables, &section.table).is_none() {
                let message = format!("the script writes to no table '{}'", section.table);
                let hint = format!("It writes to {}.", tables.join(", "));
                let error = CaseError::new(section.line, message, hint);
                return Err(located(&self.path, error));
            }
        }
        for table in tables {
            let mut sections = self.case.expected.iter();
            let told = |section: &Expected| section.what == What::Rows && is(table, &section.table);
            if !sections.any(told) {
                let short = short(table);
                return Err(failure(
                    format!(
                        "{}: nothing says what '{table}' has to hold",
                        self.path.display()
                    ),
                    format!(
                        "Add a section, empty where nothing may come:  ---- rows {short}\n`lakeward test --update` fills it in."
                    ),
                ));
            }
        }
        Ok(())
    }

    fn compare(&self, outcome: &Outcome, way: Way) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (table, filled) in &outcome.tables {
            for what in What::ALL {
                let lines = filled.lines(what);
                let mut sections = self.case.expected.iter();
                let section = sections.find(|s| s.what == what && is(table, &s.table));
                let expected = section.map_or(&[][..], Expected::of_ours).to_vec();
                let got = texts(what, lines);
                let order = section.map_or(&Order::Exact, |section| &section.order);
                let (expected, got) = match one_split(lines) {
                    true => (
                        order.settled(expected, &filled.columns)?,
                        order.settled(got, &filled.columns)?,
                    ),
                    // Rows of several partitions come in the order of the log, which the text does not show.
                    false => (sorted(expected), sorted(got)),
                };
                if expected != got {
                    findings.push(Finding {
                        what: format!("{what} {}", short(table)),
                        way,
                        difference: difference(&expected, &got),
                    });
                }
            }
        }
        Ok(findings)
    }
}

/// Where a table's lines are not those of the plain way, in their order: shards change nothing at all.
fn differs(plain: Option<&Outcome>, outcome: &Outcome, way: Way) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (table, filled) in plain.iter().flat_map(|plain| &plain.tables) {
        for what in What::ALL {
            let expected = texts(what, filled.lines(what));
            let got = texts(what, outcome.tables[table].lines(what));
            if expected != got {
                findings.push(Finding {
                    what: format!("the order of {what} {}", short(table)),
                    way,
                    difference: difference(&expected, &got),
                });
            }
        }
    }
    findings
}

/// A script, planned.
#[derive(Default)]
pub struct Planned {
    pub jobs: Vec<PlannedJob>,
    /// The session's, in which instants are shown.
    pub zone: Option<String>,
}

impl Planned {
    fn of(plan: Plan) -> Planned {
        Planned {
            zone: plan.settings.get("table.local-time-zone").cloned(),
            jobs: jobs(plan.jobs),
        }
    }
}

/// Something that came otherwise than the case says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `rows t`, `expressions t`.
    pub what: String,
    pub way: Way,
    /// Lines that begin with ` `, `-` (missing) or `+` (not expected).
    pub difference: Vec<String>,
}

/// The error with its file in front.
fn located(path: &Path, error: CaseError) -> anyhow::Error {
    let CaseError {
        line,
        message,
        hint,
    } = error;
    failure(format!("{}:{line}: {message}", path.display()), hint)
}

/// What stands under a table's name, or under its name without the database.
fn find<'a, T>(tables: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    let mut found = tables.iter();
    found
        .find(|(table, _)| is(table, name))
        .map(|(_, value)| value)
}

fn is(table: &str, name: &str) -> bool {
    table == name || short(table) == name
}

/// A table's name as a script has it: without the database that is the default one.
fn short(table: &str) -> &str {
    table.strip_prefix("default_database.").unwrap_or(table)
}

fn texts(what: What, lines: &[Line]) -> Vec<String> {
    let text = match what {
        What::Rows => Line::row,
        What::DeadLetters | What::LateRows => Line::located,
    };
    lines.iter().map(text).collect()
}

fn one_split(lines: &[Line]) -> bool {
    let same = |pair: &[Line]| {
        (pair[0].topic.as_str(), pair[0].partition) == (pair[1].topic.as_str(), pair[1].partition)
    };
    lines.windows(2).all(same)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Lines around the parts that differ; common lines at both ends are left out but for one.
fn difference(expected: &[String], got: &[String]) -> Vec<String> {
    let pairs = expected.iter().zip(got);
    let before = pairs.take_while(|(a, b)| a == b).count();
    let (expected, got) = (&expected[before..], &got[before..]);
    let pairs = expected.iter().rev().zip(got.iter().rev());
    let after = pairs.take_while(|(a, b)| a == b).count();
    let (expected, got) = (
        &expected[..expected.len() - after],
        &got[..got.len() - after],
    );
    let mut lines = Vec::new();
    if before > 0 {
        lines.push(format!("  ({before} as expected)"));
    }
    lines.extend(expected.iter().map(|line| format!("- {line}")));
    lines.extend(got.iter().map(|line| format!("+ {line}")));
    if after > 0 {
        lines.push(format!("  ({after} as expected)"));
    }
    lines
}

/// The case files at a path, by name: the file itself, or all below a folder.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn read_all(path: &Path) -> anyhow::Result<Vec<anyhow::Result<CaseFile>>> {
    let mut paths = Vec::new();
    if path.is_dir() {
        gather(path, &mut paths)?;
    } else {
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        paths.push(path.to_path_buf());
    }
    paths.sort();
    if paths.is_empty() {
        return Err(failure(
            format!("{} has no case", path.display()),
            "A case is a file whose name ends with .case; the manual has an example.",
        ));
    }
    let base = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    let read = paths.iter().map(|file| {
        let name = file.strip_prefix(base).unwrap_or(file).with_extension("");
        CaseFile::read(file, name.to_string_lossy().into_owned())
    });
    Ok(read.collect())
}

fn gather(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, paths)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "case")
        {
            paths.push(path);
        }
    }
    Ok(())
}
