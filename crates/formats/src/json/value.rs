//! One JSON value into one column, by the column's type: objects, arrays, and which key is which column.
//!
//! Scalars and whole objects become text where STRING is declared. What is malformed JSON fails the record; what merely
//! does not convert is a [`Fault::Field`], which `'json.ignore-parse-errors'` turns into NULL at the innermost place.

use super::Options;
use super::scalar::scalar;
use super::scan::{PlainNumber, Scanner, Syntax, Token, WrittenKey};
use crate::column::{Column, Data};
use crate::text;
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
    keys: Keys,
}

impl Members {
    pub(crate) fn new(fields: &[Field]) -> Members {
        Members {
            fields: fields.to_vec(),
            nested: fields
                .iter()
                .map(|field| Members::within(&field.ty))
                .collect(),
            keys: Keys::default(),
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

    /// Reads a key and its colon; `None` when it is no column's. `next` is which key is likely to come.
    #[inline]
    fn key(
        &mut self,
        scanner: &mut Scanner<'_>,
        next: &mut usize,
    ) -> Result<Option<usize>, Syntax> {
        scanner.blanks();
        if let Some(known) = self.keys.known.get(*next)
            && scanner.take(&known.key)
        {
            *next += 1;
            return Ok(known.column);
        }
        let start = scanner.at();
        let key = scanner.text_key()?;
        let column = self.fields.iter().position(|field| field.name == *key);
        *next = self.keys.other(*next, scanner.since(start), column);
        Ok(column)
    }
}

/// The keys of the objects so far as they are written, in the order in which they come. Records mostly have the same ones in the same
/// order: a key that is the expected one byte for byte is neither scanned nor looked up.
#[derive(Default)]
struct Keys {
    known: Vec<Known>,
    /// How often another key came than the expected one.
    others: usize,
}

struct Known {
    key: WrittenKey,
    column: Option<usize>,
}

impl Keys {
    /// So many keys are remembered, of so many bytes.
    const MOST: usize = 256;
    const LONGEST: usize = 128;
    /// After so many others the order is learnt anew: the producer may write another one now.
    const LEARN_ANEW: usize = 1000;

    /// Another key came than the one that is likely at `next`; returns which one is likely now.
    fn other(&mut self, next: usize, written: &[u8], column: Option<usize>) -> usize {
        if next < self.known.len() {
            self.others += 1;
            if self.others == Keys::LEARN_ANEW {
                *self = Keys::default();
            }
            let place = |known: &Known| known.key.bytes() == written;
            // A key that is sometimes left out moves those behind it.
            return self.known.iter().position(place).map_or(next, |at| at + 1);
        }
        if next == self.known.len() && next < Keys::MOST && written.len() <= Keys::LONGEST {
            let key = WrittenKey::new(written);
            self.known.push(Known { key, column });
        }
        next + 1
    }
}

impl Reader<'_> {
    /// Reads one value into one more row of the column.
    fn value(
        &mut self,
        scanner: &mut Scanner<'_>,
        ty: &LogicalType,
        members: Option<&mut Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        scanner.blanks();
        let start = scanner.at();
        let rows = column.len();
        match self.convert(scanner, ty, members, column) {
            Err(Fault::Field) if self.options.ignore_parse_errors && column.nullable => {
                self.ignored += 1;
                column.truncate(rows);
                column.push_null();
                scanner.go(start);
                Ok(scanner.skip()?)
            }
            other => other,
        }
    }

    fn convert(
        &mut self,
        scanner: &mut Scanner<'_>,
        ty: &LogicalType,
        members: Option<&mut Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        if self.plain(scanner, &ty.kind, column)? {
            return Ok(());
        }
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
            _ => scalar(&ty.kind, &token, column, self.options.iso_timestamps),
        }
    }

    /// The few kinds of values that most records consist of, as they are mostly written. Of any other nothing is taken.
    #[inline]
    fn plain(
        &self,
        scanner: &mut Scanner<'_>,
        kind: &TypeKind,
        column: &mut Column,
    ) -> Result<bool, Fault> {
        let start = scanner.at();
        if scanner.peek() != Some(b'"') {
            let taken = plain_number(kind, scanner, column);
            if !taken {
                scanner.go(start);
            }
            return Ok(taken);
        }
        match kind {
            TypeKind::Varchar(_) => {
                let raw = scanner.raw_text()?;
                if !raw.escaped {
                    let pushed = column.push_bytes(raw.bytes);
                    return pushed.map(|()| true).map_err(|_| Fault::BatchFull);
                }
            }
            TypeKind::Timestamp(precision) | TypeKind::TimestampLtz(precision) => {
                let raw = scanner.raw_text()?;
                let iso = self.options.iso_timestamps;
                let micros = match kind {
                    _ if raw.escaped => None,
                    TypeKind::Timestamp(_) => text::local_time(raw.bytes, iso, *precision),
                    _ => text::instant(raw.bytes, iso, *precision),
                };
                if let (Some(micros), Data::I64(values)) = (micros, &mut column.data) {
                    values.push(micros);
                    column.settle();
                    return Ok(true);
                }
            }
            _ => {}
        }
        scanner.go(start);
        Ok(false)
    }

    fn list(
        &mut self,
        scanner: &mut Scanner<'_>,
        of: &LogicalType,
        mut members: Option<&mut Members>,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let Data::List(_, items) = &mut column.data else {
            return Err(Fault::Field);
        };
        scanner.expect(b'[', "'[' was expected")?;
        if !scanner.eat(b']') {
            loop {
                self.value(scanner, of, members.as_deref_mut(), items)?;
                if !scanner.more(b']', "',' or ']' was expected")? {
                    break;
                }
            }
        }
        column.close_items().map_err(|_| Fault::BatchFull)
    }

    /// Of keys that stand twice the last value counts: so first all keys, then the values that count.
    fn map(
        &mut self,
        scanner: &mut Scanner<'_>,
        of: &LogicalType,
        mut members: Option<&mut Members>,
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
                if !scanner.more(b'}', "',' or '}' was expected")? {
                    break;
                }
            }
        }
        let end = scanner.at();
        for (key, at) in entries {
            keys.push_bytes(key.as_bytes())
                .map_err(|_| Fault::BatchFull)?;
            scanner.go(at);
            self.value(scanner, of, members.as_deref_mut(), values)?;
        }
        scanner.go(end);
        column.close_items().map_err(|_| Fault::BatchFull)
    }

    /// Reads an object into one more row of every column. Keys that are not columns are passed over.
    pub(crate) fn members(
        &mut self,
        scanner: &mut Scanner<'_>,
        members: &mut Members,
        columns: &mut [Column],
    ) -> Result<(), Fault> {
        let rows = columns.first().map_or(0, Column::len);
        scanner.expect(b'{', "'{' was expected")?;
        let mut next = 0;
        if !scanner.eat(b'}') {
            loop {
                match members.key(scanner, &mut next)? {
                    None => {
                        scanner.blanks();
                        scanner.skip()?;
                    }
                    Some(index) => {
                        let column = &mut columns[index];
                        // Of a key that stands twice the last value counts.
                        if column.len() > rows {
                            column.truncate(rows);
                        }
                        let field = &members.fields[index];
                        self.value(scanner, &field.ty, members.nested[index].as_mut(), column)
                            .inspect_err(|_| self.blame(field))?;
                    }
                }
                if !scanner.more(b'}', "',' or '}' was expected")? {
                    break;
                }
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

/// Powers of ten that are exact as a double.
const EXACT: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// A number that its column takes as it is: whether there was one. When not, the scanner may stand behind it.
#[inline]
fn plain_number(kind: &TypeKind, scanner: &mut Scanner<'_>, column: &mut Column) -> bool {
    if !matches!(
        kind,
        TypeKind::Int | TypeKind::BigInt | TypeKind::Double | TypeKind::Decimal { .. }
    ) {
        return false;
    }
    let Some(PlainNumber {
        digits,
        behind_point,
    }) = scanner.plain_number()
    else {
        return false;
    };
    match (kind, &mut column.data) {
        (TypeKind::Int, Data::I32(values)) if behind_point == 0 => match i32::try_from(digits) {
            Ok(number) => values.push(number),
            Err(_) => return false,
        },
        (TypeKind::BigInt, Data::I64(values)) if behind_point == 0 => values.push(digits),
        // Both are exact, so what is rounded is the quotient, once.
        (TypeKind::Double, Data::F64(values)) if digits.unsigned_abs() <= 1 << 53 => {
            #[expect(clippy::cast_precision_loss, reason = "at most 53 bits")]
            values.push(digits as f64 / EXACT[behind_point]);
        }
        (TypeKind::Decimal { precision, scale }, Data::I128(values)) => {
            match decimal(digits, behind_point, *precision, *scale) {
                Some(unscaled) => values.push(unscaled),
                None => return false,
            }
        }
        _ => return false,
    }
    column.settle();
    true
}

/// The digits at the scale, where nothing has to be rounded and all of it fits.
fn decimal(digits: i64, behind_point: usize, precision: u8, scale: u8) -> Option<i128> {
    let more = usize::from(scale).checked_sub(behind_point)?;
    let more = text::power_of_ten(u32::try_from(more).ok()?);
    let unscaled = i128::from(digits).checked_mul(more)?;
    let fits = unscaled.unsigned_abs() < text::power_of_ten(u32::from(precision)).unsigned_abs();
    fits.then_some(unscaled)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an object of INT columns `a` and `b`; returns how many of its keys were the expected ones.
    fn expected(members: &mut Members, record: &str) -> usize {
        let mut columns: Vec<Column> = members
            .fields
            .iter()
            .map(|field| Column::new(&field.ty))
            .collect();
        let options = Options {
            fail_on_missing_field: false,
            ignore_parse_errors: false,
            iso_timestamps: false,
        };
        let mut reader = Reader {
            options: &options,
            ignored: 0,
            field: None,
        };
        let (before, learnt) = (members.keys.others, members.keys.known.len());
        let read = reader.members(&mut Scanner::new(record.as_bytes()), members, &mut columns);
        assert!(read.is_ok(), "{record}");
        let others = members.keys.others.wrapping_sub(before) + members.keys.known.len() - learnt;
        record.matches(':').count() - others
    }

    #[test]
    fn keys_in_the_order_of_those_before_them_are_not_looked_up() {
        let int = |name: &str| Field::new(name, TypeKind::Int.nullable());
        let mut members = Members::new(&[int("a"), int("b")]);
        assert_eq!(expected(&mut members, r#"{"a":1,"x":"y","b":2}"#), 0);
        assert_eq!(expected(&mut members, r#"{"a":1,"x":"y","b":2}"#), 3);
        assert_eq!(
            expected(&mut members, r#"{"a":1,"b":2}"#),
            1,
            "b came early"
        );
        assert_eq!(
            expected(&mut members, r#"{"x":1,"b":2}"#),
            1,
            "x came early, b then was the next"
        );
        // A producer that writes another order from some day on is as quick again after a while.
        let other = r#"{"b":2,"a":1,"x":0}"#;
        for _ in 0..Keys::LEARN_ANEW {
            expected(&mut members, r#"{"b":2}"#);
        }
        expected(&mut members, other);
        assert_eq!(expected(&mut members, other), 3);
    }
}
