//! The text of a case: a script, the records that it reads, and what has to come of them.
//!
//! ```text
//! -- Text that is no number becomes a dead letter.
//! CREATE TABLE words (w STRING) WITH ('connector' = 'kafka', 'topic' = 'words', …);
//! CREATE TABLE numbers (n INT) WITH ('connector' = 'print');
//! INSERT INTO numbers SELECT CAST(w AS INT) FROM words;
//!
//! ---- records words
//! {"w": "12"}
//! @partition=1 @key=k @timestamp=2026-01-01T00:00:00Z @header.from=web {"w": "x"}
//!
//! ---- rows numbers
//! +I[12]
//!
//! ---- dead letters numbers
//! words/1@0 evaluate cast.failed: …
//! ```
//!
//! A line that begins with `---- ` opens a section; what stands before the first one is the script. In all other sections
//! empty lines and lines that begin with `#` are skipped.
//!
//! | section | each line is |
//! |---|---|
//! | `script FILE` | none: the script is that file, beside the case |
//! | `schema SUBJECT` | part of an Avro schema (JSON); the first one has id 1 |
//! | `records TOPIC[, N partitions]` | a record, see [`record_of`] |
//! | `rows TABLE` | a row of the sink, `+I[1, 'text', NULL]`, in order |
//! | `rows TABLE, by COLUMN` | the same, where rows that are equal in that column come in any order |
//! | `rows TABLE, in any order` | the same |
//! | `dead letters TABLE` | `topic/partition@offset stage code: error` |
//! | `late rows TABLE` | `topic/partition@offset event time, watermark` of a row whose windows had all fired |
//! | `refused` | what is said of the script, which is not run |
//! | `expressions TABLE` | `expression => TYPE: value \| value`, one value per record, `!` for a record that fails; or `=> refused` |
//!
//! The expectation is Apache Flink's. Where ours is another, `---- ours: rows TABLE` follows, with a `#` line that says why; in
//! `expressions` it is an indented line `ours: TYPE: …  # why`. What only we refuse has `---- ours: refused`, and Flink's rows.

use super::order::Order;
use super::record::record_of;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The time of the first record that names none; each further one is a second later.
const FIRST_TIMESTAMP: i64 = 1_767_225_600_000;

/// A case, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The SQL, or where it stands.
    pub script: Script,
    /// By subject, in the order of the text: the first one has id 1.
    pub schemas: Vec<(String, String)>,
    /// Partitions by topic.
    pub topics: BTreeMap<String, i32>,
    /// In the order in which they are written to the log.
    pub records: Vec<Record>,
    pub expected: Vec<Expected>,
    pub expressions: Vec<Expressions>,
    pub refusal: Option<Refusal>,
}

/// A script that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is said; nothing where Flink runs the script, since what it gives is what has to come.
    pub messages: Vec<String>,
    /// Flink runs it.
    pub ours: bool,
    /// Line of the section's head.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Inline(String),
    /// Relative to the case's folder.
    File(String),
}

impl Default for Script {
    fn default() -> Script {
        Script::Inline(String::new())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// How long after the record before it came to the log.
    pub after: Duration,
    pub key: Option<Vec<u8>>,
    pub value: Value,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Where it stands.
    pub line: usize,
}

/// What a record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Tombstone,
    Bytes(Vec<u8>),
    /// JSON, to be encoded by the schema of a subject; framed with the schema's id or bare.
    Avro {
        subject: String,
        framed: bool,
        json: String,
    },
}

/// What a section of lines that a table gets is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Rows,
    DeadLetters,
    LateRows,
}

impl What {
    pub const ALL: [What; 3] = [What::Rows, What::DeadLetters, What::LateRows];
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Rows => "rows",
            What::DeadLetters => "dead letters",
            What::LateRows => "late rows",
        })
    }
}

/// A section of rows, of dead letters or of late rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub what: What,
    pub table: String,
    pub order: Order,
    pub lines: Vec<String>,
    /// What stands here instead, where it is not Flink's.
    pub ours: Option<Vec<String>>,
    /// Line of the section's head.
    pub line: usize,
}

impl Expected {
    /// What our own engine has to give.
    pub fn of_ours(&self) -> &[String] {
        self.ours.as_deref().unwrap_or(&self.lines)
    }
}

/// A section of expressions over one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expressions {
    pub table: String,
    pub lines: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub text: String,
    /// `TYPE: value | value` or `refused`; empty where nothing is captured yet.
    pub result: String,
    pub ours: Option<String>,
    pub line: usize,
}

impl Expression {
    /// What our own engine has to give.
    pub fn of_ours(&self) -> &str {
        self.ours.as_deref().unwrap_or(&self.result)
    }
}

/// Why a case cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct CaseError {
    /// Counted from 1.
    pub line: usize,
    /// Short, lower case, no full stop.
    pub message: String,
    /// Something to type; may be empty.
    pub hint: String,
}

impl CaseError {
    pub fn new(line: usize, message: impl fmt::Display, hint: impl Into<String>) -> CaseError {
        CaseError {
            line,
            message: message.to_string(),
            hint: hint.into(),
        }
    }
}

/// What begins the head of a section.
const HEAD: &str = "---- ";

impl Case {
    /// Reads the text of a case.
    ///
    /// # Errors
    /// [`CaseError`] at the first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Case, CaseError> {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            match line.strip_prefix(HEAD) {
                Some(head) => reader.open(head.trim(), number)?,
                None => reader.line(line, number)?,
            }
        }
        reader.close()
    }
}

/// The section that lines belong to.
#[derive(Clone, Debug, Default)]
enum Section {
    #[default]
    Script,
    ScriptFile,
    /// Index into the schemas.
    Schema(usize),
    Records(String),
    /// Index into the expectations.
    Expected(usize),
    Ours {
        of: usize,
        head: usize,
        reason: bool,
    },
    Refused,
    OnlyOursRefused {
        head: usize,
        reason: bool,
    },
    Expressions,
}

#[derive(Default)]
struct Reader {
    case: Case,
    sql: String,
    section: Section,
}

impl Reader {
    fn open(&mut self, head: &str, number: usize) -> Result<(), CaseError> {
        self.check_reason()?;
        self.section = match head.split_once(' ') {
            Some(("script", file)) => self.script_file(file, number)?,
            Some(("schema", subject)) => {
                let schema = (subject.trim().to_string(), String::new());
                self.case.schemas.push(schema);
                Section::Schema(self.case.schemas.len() - 1)
            }
            Some(("records", topic)) => self.topic(topic, number)?,
            Some(("expressions", table)) => {
                self.case.expressions.push(Expressions {
                    table: table.trim().to_string(),
                    lines: Vec::new(),
                });
                Section::Expressions
            }
            None if head == "refused" => self.refusal(false, number)?,
            _ if head == "ours: refused" => self.refusal(true, number)?,
            _ => self.expectation(head, number)?,
        };
        Ok(())
    }

    fn script_file(&mut self, file: &str, number: usize) -> Result<Section, CaseError> {
        let comments_only = self.sql.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with("--")
        });
        if !comments_only {
            return Err(CaseError::new(
                number,
                "the case has a script of its own and names a file",
                "Keep one of the two.",
            ));
        }
        self.case.script = Script::File(file.trim().to_string());
        Ok(Section::ScriptFile)
    }

    fn topic(&mut self, head: &str, number: usize) -> Result<Section, CaseError> {
        let (name, partitions) = match head.split_once(',') {
            None => (head.trim(), 1),
            Some((name, rest)) => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let count = match words[..] {
                    [count, "partitions" | "partition"] => count.parse().ok(),
                    _ => None,
                };
                let count = count.filter(|count| *count > 0).ok_or_else(|| {
                    let message = format!("'{}' does not say how many partitions", rest.trim());
                    CaseError::new(number, message, "---- records orders, 2 partitions")
                })?;
                (name.trim(), count)
            }
        };
        let known = self.case.topics.entry(name.to_string()).or_insert(1);
        *known = partitions.max(*known);
        Ok(Section::Records(name.to_string()))
    }

    fn refusal(&mut self, ours: bool, number: usize) -> Result<Section, CaseError> {
        if self.case.refusal.is_some() {
            let message = "what is refused is said twice";
            let hint = "Keep one of the two: 'refused', or 'ours: refused' where Flink runs it.";
            return Err(CaseError::new(number, message, hint));
        }
        self.case.refusal = Some(Refusal {
            messages: Vec::new(),
            ours,
            line: number,
        });
        Ok(match ours {
            false => Section::Refused,
            true => Section::OnlyOursRefused {
                head: number,
                reason: false,
            },
        })
    }

    fn expectation(&mut self, head: &str, number: usize) -> Result<Section, CaseError> {
        let (ours, rest) = match head.strip_prefix("ours: ") {
            Some(rest) => (true, rest.trim()),
            None => (false, head),
        };
        let what = What::ALL.into_iter().find_map(|what| {
            let table = rest.strip_prefix(&what.to_string())?.strip_prefix(' ')?;
            Some((what, table.trim()))
        });
        let Some((what, table)) = what else {
            return Err(CaseError::new(
                number,
                format!("there is no section '{head}'"),
                "Sections are: script FILE, schema SUBJECT, records TOPIC, rows TABLE, dead letters TABLE, late rows TABLE, refused, expressions TABLE, and with 'ours: ' before it what is not Flink's.",
            ));
        };
        let (table, order) = Order::behind(what, table, number)?;
        let mut sections = self.case.expected.iter();
        let known = sections.position(|section| section.what == what && section.table == table);
        match (ours, known) {
            (false, None) => {
                self.case.expected.push(Expected {
                    what,
                    table,
                    order,
                    lines: Vec::new(),
                    ours: None,
                    line: number,
                });
                Ok(Section::Expected(self.case.expected.len() - 1))
            }
            (false, Some(_)) => {
                let message = format!("'{head}' is there twice");
                Err(CaseError::new(
                    number,
                    message,
                    "Put the lines of both into one.",
                ))
            }
            (true, None) => {
                let message = format!("'{what} {table}' has to stand before what is ours instead");
                let hint = format!("---- {what} {table}");
                Err(CaseError::new(number, message, hint))
            }
            (true, Some(of)) => {
                self.case.expected[of].ours = Some(Vec::new());
                let head = number;
                Ok(Section::Ours {
                    of,
                    head,
                    reason: false,
                })
            }
        }
    }

    fn line(&mut self, line: &str, number: usize) -> Result<(), CaseError> {
        if matches!(self.section, Section::Script) {
            self.sql += line;
            self.sql += "\n";
            return Ok(());
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(());
        }
        if let Some(comment) = text.strip_prefix('#') {
            if let Section::Ours { reason, .. } | Section::OnlyOursRefused { reason, .. } =
                &mut self.section
            {
                *reason |= !comment.trim().is_empty();
            }
            return Ok(());
        }
        match &self.section {
            Section::Script => unreachable!("taken above"),
            Section::ScriptFile => Err(CaseError::new(
                number,
                "the script is a file, and here is more",
                "Put it into the file, or into a section.",
            )),
            Section::Schema(index) => {
                let (_, schema) = &mut self.case.schemas[*index];
                *schema += line;
                *schema += "\n";
                Ok(())
            }
            Section::Records(topic) => {
                let topic = topic.clone();
                let timestamp = self.next_timestamp();
                let record = record_of(&topic, timestamp, line, number)?;
                let partitions = self.case.topics.entry(topic).or_insert(1);
                *partitions = (*partitions).max(record.partition + 1);
                self.case.records.push(record);
                Ok(())
            }
            // What Flink says to a record stands indented below it.
            Section::Expected(_) | Section::Ours { .. } | Section::Refused
                if text.starts_with(' ') =>
            {
                Ok(())
            }
            Section::Refused => {
                let refusal = self.case.refusal.as_mut().expect("the section is open");
                refusal.messages.push(text.to_string());
                Ok(())
            }
            Section::OnlyOursRefused { .. } => Err(CaseError::new(
                number,
                "what we say to a script that Flink runs stands nowhere",
                "# Why it is refused",
            )),
            Section::Expected(index) => {
                self.case.expected[*index].lines.push(text.to_string());
                Ok(())
            }
            Section::Ours { of, .. } => {
                let ours = self.case.expected[*of].ours.get_or_insert_default();
                ours.push(text.to_string());
                Ok(())
            }
            Section::Expressions => self.expression(text, number),
        }
    }

    /// A second after the record before it.
    fn next_timestamp(&self) -> i64 {
        let last = self.case.records.last();
        last.map_or(FIRST_TIMESTAMP, |last| last.timestamp.saturating_add(1000))
    }

    fn expression(&mut self, text: &str, number: usize) -> Result<(), CaseError> {
        let section = self.case.expressions.last_mut();
        let lines = &mut section.expect("the section is open").lines;
        if !text.starts_with(' ') {
            let (text, result) = text.split_once(" =>").unwrap_or((text, ""));
            lines.push(Expression {
                text: text.trim().to_string(),
                result: result.trim().to_string(),
                ours: None,
                line: number,
            });
            return Ok(());
        }
        let ours = text.trim().strip_prefix("ours: ");
        let told = ours.and_then(|ours| ours.rsplit_once(" # "));
        let (Some((ours, _)), Some(of)) = (told, lines.last_mut()) else {
            return Err(CaseError::new(
                number,
                "an indented line says what is ours instead, and why",
                "    ours: INT: 1 | NULL  # Flink …",
            ));
        };
        of.ours = Some(ours.trim().to_string());
        Ok(())
    }

    /// What is not Flink's has its reason beside it.
    fn check_reason(&self) -> Result<(), CaseError> {
        match &self.section {
            Section::Ours {
                head,
                reason: false,
                ..
            }
            | Section::OnlyOursRefused {
                head,
                reason: false,
            } => Err(CaseError::new(
                *head,
                "a section of ours does not say why it is not Flink's",
                "# Flink fails the job here",
            )),
            _ => Ok(()),
        }
    }

    fn close(mut self) -> Result<Case, CaseError> {
        self.check_reason()?;
        if let Script::Inline(sql) = &mut self.case.script {
            *sql = self.sql;
        }
        Ok(self.case)
    }
}

#[cfg(test)]
mod tests;
