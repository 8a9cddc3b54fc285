//! One JSON value into one column, by the column's type: objects, arrays, and which key is which column.
//!
//! Scalars and whole objects become text where STRING is declared. What is malformed JSON fails the record; what merely
//! does not convert is a [`Fault::Field`], which `'json.ignore-parse-errors'` turns into NULL at the innermost place.

use super::Options;
use super::scalar::scalar;
use super::scan::{Scanner, Syntax, Token};
use crate::column::{Column, Data};
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
            _ => scalar(&ty.kind, &token, column, self.options.iso_timestamps),
        }
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
