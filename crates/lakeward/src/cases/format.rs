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
//! | `dead letters TABLE` | `topic/partition@offset stage code: error` |
//! | `expressions TABLE` | `expression => TYPE: value \| value`, one value per record, `!` for a record that fails; or `=> refused` |
//!
//! The expectation is Apache Flink's. Where ours is another, `---- ours: rows TABLE` follows, with a `#` line that says why; in
//! `expressions` it is an indented line `ours: TYPE: …  # why`.

use lw_stdx::calendar::parse_utc;
use std::collections::BTreeMap;
use std::fmt;

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

/// What a section of rows or dead letters is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Rows,
    DeadLetters,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Rows => "rows",
            What::DeadLetters => "dead letters",
        })
    }
}

/// A section of rows or of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub what: What,
    pub table: String,
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

    fn expectation(&mut self, head: &str, number: usize) -> Result<Section, CaseError> {
        let (ours, rest) = match head.strip_prefix("ours: ") {
            Some(rest) => (true, rest.trim()),
            None => (false, head),
        };
        let what = [What::Rows, What::DeadLetters]
            .into_iter()
            .find_map(|what| {
                let table = rest.strip_prefix(&what.to_string())?.strip_prefix(' ')?;
                Some((what, table.trim().to_string()))
            });
        let Some((what, table)) = what else {
            return Err(CaseError::new(
                number,
                format!("there is no section '{head}'"),
                "Sections are: script FILE, schema SUBJECT, records TOPIC, rows TABLE, dead letters TABLE, ours: rows TABLE, ours: dead letters TABLE, expressions TABLE.",
            ));
        };
        let mut sections = self.case.expected.iter();
        let known = sections.position(|section| section.what == what && section.table == table);
        match (ours, known) {
            (false, None) => {
                self.case.expected.push(Expected {
                    what,
                    table,
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
            if let Section::Ours { reason, .. } = &mut self.section {
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
            Section::Expected(_) | Section::Ours { .. } if text.starts_with(' ') => Ok(()),
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

/// A record of a line: words that begin with `@` say what is beside the value, the rest is the value as it stands.
///
/// | word | meaning |
/// |---|---|
/// | `@partition=1` | partition, 0 without it |
/// | `@timestamp=2026-01-01T00:00:00Z` | also in milliseconds since 1970; without it a second after the record before |
/// | `@key=k`, `@header.from=web` | text; with blanks in it `@key='a b'` |
/// | `@tombstone` | there is no value |
/// | `@hex` | the rest is the value's bytes in hexadecimal digits |
/// | `@avro=SUBJECT`, `@bare-avro=SUBJECT` | the rest is JSON, encoded by the schema; with the frame of its id, or without |
/// | `@value` | the rest is the value even if it begins with `@`, is empty or has blanks at its end |
fn record_of(topic: &str, timestamp: i64, line: &str, number: usize) -> Result<Record, CaseError> {
    let mut record = Record {
        topic: topic.to_string(),
        partition: 0,
        timestamp,
        key: None,
        value: Value::Tombstone,
        headers: Vec::new(),
        line: number,
    };
    let mut rest = line;
    loop {
        let Some(after) = rest.strip_prefix('@') else {
            record.value = Value::Bytes(rest.trim_end().as_bytes().to_vec());
            return Ok(record);
        };
        let end = after.find([' ', '=']).unwrap_or(after.len());
        let word = &after[..end];
        let (argument, left) = argument_of(&after[end..], number)?;
        let json = || left.trim().to_string();
        match (word, argument) {
            ("tombstone", None) if left.is_empty() => return Ok(record),
            ("value", None) => {
                record.value = Value::Bytes(left.as_bytes().to_vec());
                return Ok(record);
            }
            ("hex", None) => {
                record.value = Value::Bytes(bytes_of_hex(left, number)?);
                return Ok(record);
            }
            ("avro" | "bare-avro", Some(subject)) => {
                record.value = Value::Avro {
                    subject,
                    framed: word == "avro",
                    json: json(),
                };
                return Ok(record);
            }
            ("key", Some(key)) => record.key = Some(key.into_bytes()),
            ("partition", Some(text)) => {
                let partition = text.parse().ok().filter(|p| (0..1000).contains(p));
                record.partition = partition.ok_or_else(|| {
                    let message = format!("'{text}' is no partition");
                    CaseError::new(number, message, "@partition=1")
                })?;
            }
            ("timestamp", Some(text)) => {
                let millis = text.parse().ok().or_else(|| parse_utc(&text));
                record.timestamp = millis.ok_or_else(|| {
                    let message = format!("'{text}' is no time");
                    CaseError::new(number, message, "@timestamp=2026-01-01T00:00:00Z")
                })?;
            }
            (word, Some(value)) if word.starts_with("header.") => {
                let name = word["header.".len()..].to_string();
                record.headers.push((name, value.into_bytes()));
            }
            _ => {
                return Err(CaseError::new(
                    number,
                    format!("a record has no '@{word}'"),
                    "Words are @partition=, @timestamp=, @key=, @header.NAME=, @tombstone, @hex, @avro=SUBJECT, @bare-avro=SUBJECT and @value.",
                ));
            }
        }
        rest = left;
    }
}

/// The argument behind a word, and what stands behind the blank that follows.
fn argument_of(text: &str, number: usize) -> Result<(Option<String>, &str), CaseError> {
    let Some(text) = text.strip_prefix('=') else {
        return Ok((None, text.strip_prefix(' ').unwrap_or(text)));
    };
    let Some(quoted) = text.strip_prefix('\'') else {
        let (argument, left) = text.split_once(' ').unwrap_or((text, ""));
        return Ok((Some(argument.to_string()), left));
    };
    let Some(end) = quoted.find('\'') else {
        let message = "a text in quotes does not end";
        return Err(CaseError::new(number, message, "@key='a b'"));
    };
    let left = &quoted[end + 1..];
    let argument = quoted[..end].to_string();
    Ok((Some(argument), left.strip_prefix(' ').unwrap_or(left)))
}

fn bytes_of_hex(text: &str, number: usize) -> Result<Vec<u8>, CaseError> {
    let wrong = || {
        CaseError::new(
            number,
            "these are no bytes in hexadecimal digits",
            "@hex 00 0f ff",
        )
    };
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    Ok(pairs
        .iter()
        .map(|[high, low]| (high << 4 | low) as u8)
        .collect())
}

#[cfg(test)]
mod tests;
