//! A record of a case, as one line of its text.

use super::format::{CaseError, Record, Value};
use lw_stdx::calendar::parse_utc;
use lw_stdx::duration;
use std::time::Duration;

/// A record of a line: words that begin with `@` say what is beside the value, the rest is the value as it stands.
///
/// | word | meaning |
/// |---|---|
/// | `@partition=1` | partition, 0 without it |
/// | `@timestamp=2026-01-01T00:00:00Z` | also in milliseconds since 1970; without it a second after the record before |
/// | `@after='10 s'` | it came to the log so long after the record before; without it at once |
/// | `@key=k`, `@header.from=web` | text; with blanks in it `@key='a b'` |
/// | `@tombstone` | there is no value |
/// | `@hex` | the rest is the value's bytes in hexadecimal digits |
/// | `@avro=SUBJECT`, `@bare-avro=SUBJECT` | the rest is JSON, encoded by the schema; with the frame of its id, or without |
/// | `@value` | the rest is the value even if it begins with `@`, is empty or has blanks at its end |
pub fn record_of(
    topic: &str,
    timestamp: i64,
    line: &str,
    number: usize,
) -> Result<Record, CaseError> {
    let mut record = Record {
        topic: topic.to_string(),
        partition: 0,
        timestamp,
        after: Duration::ZERO,
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
            ("after", Some(text)) => {
                record.after = duration::parse(&text).ok_or_else(|| {
                    let message = format!("'{text}' is no duration");
                    CaseError::new(number, message, "@after='10 s'")
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
                    "Words are @partition=, @timestamp=, @after=, @key=, @header.NAME=, @tombstone, @hex, @avro=SUBJECT, @bare-avro=SUBJECT and @value.",
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
