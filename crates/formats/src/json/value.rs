//! One JSON value into one column, by the column's type, as Flink's `JsonParserToRowDataConverters` convert.
//!
//! Text is parsed where a number, date or truth is declared; scalars and whole objects become text where STRING is. What is
//! malformed JSON fails the record; what merely does not convert is a [`Fault::Field`], which
//! `'json.ignore-parse-errors'` turns into NULL at the innermost place.

use super::Options;
use super::scan::{Scanner, Syntax, Token};
use crate::column::{Column, Data};
use crate::text::{self, MICROS_PER_DAY, Resolve, Width};
use crate::text::{Digits, Seconds};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lw_graph::{Field, LogicalType, TypeKind};
use std::borrow::Cow;

/// Why a value did not become a column's.
pub(crate) enum Fault {
    Syntax(Syntax),
    /// The value does not convert to the declared type. The scanner stands anywhere within it.
    Field,
    /// NULL where the table declares NOT NULL.
    Null,
    /// A field is missing and `'json.fail-on-missing-field'` is set.
    Missing(Box<str>),
    BatchFull,
}

impl From<Syntax> for Fault {
    fn from(syntax: Syntax) -> Fault {
        Fault::Syntax(syntax)
    }
}

pub(crate) struct Reader<'o> {
    pub(crate) options: &'o Options,
    /// Faults turned into NULL.
    pub(crate) ignored: usize,
    /// The innermost field in which a fault arose.
    pub(crate) field: Option<Box<str>>,
}

/// A ROW, or the record itself: where each key goes.
pub(crate) struct Members {
    fields: Vec<Field>,
    nested: Vec<Option<Members>>,
}

impl Members {
    pub(crate) fn new(fields: &[Field]) -> Members {
        Members {
            fields: fields.to_vec(),
            nested: fields
                .iter()
                .map(|field| Members::within(&field.ty))
                .collect(),
        }
    }

    /// The members of the ROW that a type is or holds.
    fn within(ty: &LogicalType) -> Option<Members> {
        match &ty.kind {
            TypeKind::Row(fields) => Some(Members::new(fields)),
            TypeKind::Array(of) => Members::within(of),
            TypeKind::Map(_, value) => Members::within(value),
            _ => None,
        }
    }

    /// Records mostly have their fields in the same order: `guess` is tried first.
    fn find(&self, key: &str, guess: usize) -> Option<usize> {
        match self.fields.get(guess) {
            Some(field) if field.name == key => Some(guess),
            _ => self.fields.iter().position(|field| field.name == key),
        }
    }
}

impl Reader<'_> {
    /// Reads one value into one more row of the column.
    fn value(
        &mut self,
        scanner: &mut Scanner<'_>,
        ty: &LogicalType,
        members: Option<&Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let (rows, start) = (column.len(), scanner.peek().map(|_| scanner.at()));
        match self.convert(scanner, ty, members, column) {
            Err(Fault::Field) if self.options.ignore_parse_errors && column.nullable => {
                self.ignored += 1;
                column.truncate(rows);
                column.push_null();
                scanner.go(start.unwrap_or(scanner.at()));
                Ok(scanner.skip()?)
            }
            other => other,
        }
    }

    fn convert(
        &mut self,
        scanner: &mut Scanner<'_>,
        ty: &LogicalType,
        members: Option<&Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let token = scanner.token()?;
        if token == Token::Null {
            if !column.nullable {
                return Err(Fault::Null);
            }
            column.push_null();
            return Ok(());
        }
        match (&ty.kind, &token) {
            (TypeKind::Char(_) | TypeKind::Varchar(_), _) => text_value(scanner, &token, column),
            (TypeKind::Array(of), Token::Array) => self.list(scanner, of, members, column),
            (TypeKind::Map(_, of), Token::Object) => self.map(scanner, of, members, column),
            (TypeKind::Row(_), Token::Object) => {
                let members = members.ok_or(Fault::Field)?;
                let Data::Row(columns) = &mut column.data else {
                    return Err(Fault::Field);
                };
                self.members(scanner, members, columns)?;
                column.settle();
                Ok(())
            }
            (_, Token::Object | Token::Array) => Err(Fault::Field),
            _ => self.scalar(&ty.kind, &token, column),
        }
    }

    fn scalar(
        &mut self,
        kind: &TypeKind,
        token: &Token<'_>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        macro_rules! put {
            ($variant:ident, $value:expr) => {{
                let value = $value.ok_or(Fault::Field)?;
                if let Data::$variant(values) = &mut column.data {
                    values.push(value);
                }
                column.settle();
                Ok(())
            }};
        }
        match kind {
            TypeKind::Boolean => {
                let truth = boolean(token);
                if let Data::Boolean(values) = &mut column.data {
                    values.append(truth);
                }
                column.settle();
                Ok(())
            }
            TypeKind::TinyInt => put!(
                I8,
                literal(token).and_then(|s| integer(s).ok()?.try_into().ok())
            ),
            TypeKind::SmallInt => put!(
                I16,
                literal(token).and_then(|s| integer(s).ok()?.try_into().ok())
            ),
            TypeKind::Int => put!(I32, whole(token).and_then(|n| n.try_into().ok())),
            TypeKind::BigInt => put!(I64, whole(token)),
            TypeKind::Float => put!(F32, literal(token).and_then(text::parse_float)),
            TypeKind::Double => put!(F64, literal(token).and_then(text::parse_double)),
            TypeKind::Decimal { precision, scale } => {
                let digits = literal(token).ok_or(Fault::Field)?;
                match text::parse_decimal(digits.as_bytes(), *precision, *scale) {
                    Err(_) => Err(Fault::Field),
                    Ok(Some(unscaled)) => put!(I128, Some(unscaled)),
                    // Flink gives NULL for a decimal that does not fit.
                    Ok(None) if column.nullable => {
                        column.push_null();
                        Ok(())
                    }
                    Ok(None) => Err(Fault::Null),
                }
            }
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
                let bytes = quoted(token).and_then(|s| STANDARD.decode(s).ok());
                column
                    .push_bytes(&bytes.ok_or(Fault::Field)?)
                    .map_err(|_| Fault::BatchFull)
            }
            TypeKind::Date => put!(
                I32,
                quoted(token).and_then(|s| text::parse_date(
                    s.as_bytes(),
                    Width::Two,
                    Resolve::Strict
                ))
            ),
            TypeKind::Time(p) => put!(
                I64,
                quoted(token).and_then(|s| text::parse_time(s.as_bytes(), Width::Two, *p))
            ),
            TypeKind::Timestamp(p) => {
                put!(I64, self.timestamp(token, false).map(|v| text::cut(v, *p)))
            }
            TypeKind::TimestampLtz(p) => {
                put!(I64, self.timestamp(token, true).map(|v| text::cut(v, *p)))
            }
            _ => Err(Fault::Field),
        }
    }

    /// `2026-01-01 00:00:00.5`, or with `T` by ISO-8601, which is stricter about days but does without seconds.
    /// TIMESTAMP_LTZ must end in `Z`, TIMESTAMP must not.
    fn timestamp(&self, token: &Token<'_>, instant: bool) -> Option<i64> {
        let text = quoted(token)?.as_bytes();
        let iso = self.options.iso_timestamps;
        let local = match text.strip_suffix(b"Z") {
            Some(local) if instant => local,
            None if !instant => text,
            _ => return None,
        };
        let resolve = if iso { Resolve::Strict } else { Resolve::Smart };
        let mut digits = Digits { rest: local };
        let days = text::date(&mut digits, Width::Two, resolve)?;
        if iso {
            digits.byte(b'T').or_else(|| digits.byte(b't'))?;
        } else {
            digits.byte(b' ')?;
        }
        let seconds = if iso {
            Seconds::Optional
        } else {
            Seconds::Required
        };
        let nanos = text::time(&mut digits, Width::Two, resolve, seconds)?;
        digits
            .rest
            .is_empty()
            .then(|| i64::from(days) * MICROS_PER_DAY + nanos / 1000)
    }

    fn list(
        &mut self,
        scanner: &mut Scanner<'_>,
        of: &LogicalType,
        members: Option<&Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let Data::List(_, items) = &mut column.data else {
            return Err(Fault::Field);
        };
        scanner.expect(b'[', "'[' was expected")?;
        if !scanner.eat(b']') {
            loop {
                self.value(scanner, of, members, items)?;
                if scanner.eat(b']') {
                    break;
                }
                scanner.expect(b',', "',' or ']' was expected")?;
            }
        }
        column.close_items().map_err(|_| Fault::BatchFull)
    }

    /// Of keys that stand twice the last value counts: so first all keys, then the values that count.
    fn map(
        &mut self,
        scanner: &mut Scanner<'_>,
        of: &LogicalType,
        members: Option<&Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let Data::Map(_, keys, values) = &mut column.data else {
            return Err(Fault::Field);
        };
        let mut entries: Vec<(Cow<'_, str>, usize)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        scanner.expect(b'{', "'{' was expected")?;
        if !scanner.eat(b'}') {
            loop {
                let key = scanner.text_key()?;
                let at = scanner.at();
                scanner.skip()?;
                match places.get(&key) {
                    Some(place) => {
                        let entry: &mut (Cow<'_, str>, usize) = &mut entries[*place];
                        entry.1 = at;
                    }
                    None => {
                        places.insert(key.clone(), entries.len());
                        entries.push((key, at));
                    }
                }
                if scanner.eat(b'}') {
                    break;
                }
                scanner.expect(b',', "',' or '}' was expected")?;
            }
        }
        let end = scanner.at();
        for (key, at) in entries {
            keys.push_bytes(key.as_bytes())
                .map_err(|_| Fault::BatchFull)?;
            scanner.go(at);
            self.value(scanner, of, members, values)?;
        }
        scanner.go(end);
        column.close_items().map_err(|_| Fault::BatchFull)
    }

    /// Reads an object into one more row of every column. Keys that are not columns are passed over.
    pub(crate) fn members(
        &mut self,
        scanner: &mut Scanner<'_>,
        members: &Members,
        columns: &mut [Column],
    ) -> Result<(), Fault> {
        let rows = columns.first().map_or(0, Column::len);
        scanner.expect(b'{', "'{' was expected")?;
        let mut next = 0;
        if !scanner.eat(b'}') {
            loop {
                let key = scanner.text_key()?;
                match members.find(&key, next) {
                    None => scanner.skip()?,
                    Some(index) => {
                        let column = &mut columns[index];
                        // Of a key that stands twice the last value counts.
                        if column.len() > rows {
                            column.truncate(rows);
                        }
                        let field = &members.fields[index];
                        self.value(scanner, &field.ty, members.nested[index].as_ref(), column)
                            .inspect_err(|_| self.blame(field))?;
                        next = index + 1;
                    }
                }
                if scanner.eat(b'}') {
                    break;
                }
                scanner.expect(b',', "',' or '}' was expected")?;
            }
        }
        for (field, column) in members.fields.iter().zip(columns) {
            if column.len() > rows {
                continue;
            }
            if self.options.fail_on_missing_field {
                return Err(Fault::Missing(field.name.as_str().into()));
            }
            if !column.nullable {
                self.blame(field);
                return Err(Fault::Null);
            }
            column.push_null();
        }
        Ok(())
    }

    fn blame(&mut self, field: &Field) {
        self.field.get_or_insert_with(|| field.name.as_str().into());
    }
}

impl<'a> Scanner<'a> {
    /// A key and the colon after it.
    fn text_key(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let key = self.text()?;
        self.expect(b':', "':' was expected")?;
        self.blanks();
        Ok(key)
    }
}

fn text_value(
    scanner: &mut Scanner<'_>,
    token: &Token<'_>,
    column: &mut Column,
) -> Result<(), Fault> {
    let pushed = match token {
        Token::Text(text) => column.push_bytes(text.as_bytes()),
        Token::Number(literal) => column.push_bytes(literal.as_bytes()),
        Token::Bool(true) => column.push_bytes(b"true"),
        Token::Bool(false) => column.push_bytes(b"false"),
        Token::Null => column.push_bytes(b"null"),
        Token::Object | Token::Array => {
            let mut text = String::new();
            scanner.copy(&mut text)?;
            column.push_bytes(text.as_bytes())
        }
    };
    pushed.map_err(|_| Fault::BatchFull)
}

/// Anything but `true` is false, in text too.
fn boolean(token: &Token<'_>) -> bool {
    match token {
        Token::Bool(truth) => *truth,
        Token::Text(text) => java_trim(text).eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// A number's literal, or a string's content without the blanks around it.
fn literal<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    match token {
        Token::Number(literal) => Some(literal),
        Token::Text(text) => Some(java_trim(text)),
        _ => None,
    }
}

fn quoted<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    match token {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// A number is cut to its whole part (`1.9` is 1, `1e2` is 100); text must be whole already.
fn whole(token: &Token<'_>) -> Option<i64> {
    match token {
        Token::Number(literal) => match integer(literal) {
            Ok(number) => Some(number),
            Err(Whole::TooLarge) => None,
            Err(Whole::NotWhole) => cut_number(literal),
        },
        Token::Text(text) => integer(java_trim(text)).ok(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Whole {
    NotWhole,
    TooLarge,
}

fn integer(text: &str) -> Result<i64, Whole> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Whole::NotWhole);
    }
    text.parse().map_err(|_| Whole::TooLarge)
}

/// By way of a double, as Jackson's `getIntValue` and `getLongValue` do.
fn cut_number(literal: &str) -> Option<i64> {
    let number: f64 = literal.parse().ok()?;
    let bound = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (number >= -bound && number < bound).then_some(number as i64)
}
