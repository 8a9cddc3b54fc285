//! Flink's types as a script writes them, in DDL and in `CAST`.

use super::Cursor;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::did_you_mean;
use lw_graph::{Field, LogicalType, TypeKind};
use sqlparser::tokenizer::Token;

/// All names, for "did you mean".
const NAMES: &[&str] = &[
    "CHAR",
    "VARCHAR",
    "STRING",
    "BOOLEAN",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "ARRAY",
    "MAP",
    "ROW",
];

/// What other systems call it.
const FOREIGN: &[(&str, &str)] = &[
    ("TEXT", "STRING"),
    ("LONG", "BIGINT"),
    ("INT64", "BIGINT"),
    ("INT32", "INT"),
    ("INT16", "SMALLINT"),
    ("FLOAT64", "DOUBLE"),
    ("FLOAT32", "FLOAT"),
    ("BOOL", "BOOLEAN"),
    ("TIMESTAMPTZ", "TIMESTAMP_LTZ(3)"),
    ("DATETIME", "TIMESTAMP(3)"),
    ("NUMBER", "DECIMAL(p, s)"),
    ("BLOB", "BYTES"),
    ("STRUCT", "ROW<…>"),
    ("UUID", "STRING"),
    ("JSON", "STRING"),
];

/// Types within types. A stored plan holds them as JSON, whose readers stop at 128 levels.
const NESTED: usize = 20;

/// A type and whether it admits NULL (it does, unless `NOT NULL` follows).
pub(crate) fn parse_type(cursor: &mut Cursor<'_>) -> Result<LogicalType> {
    let start = cursor.span();
    cursor.types_around += 1;
    if cursor.types_around > NESTED {
        return Err(too_deep(start));
    }
    let mut ty = parse_kind(cursor)?.nullable();
    loop {
        if cursor.eat_words(&["NOT", "NULL"]) {
            ty.nullable = false;
        } else if cursor.eat_word("NULL") {
            ty.nullable = true;
        } else if cursor.eat_word("ARRAY") {
            // The postfix form: INT ARRAY.
            ty = TypeKind::Array(Box::new(ty)).nullable();
            if ty.nesting() > NESTED {
                return Err(too_deep(cursor.span_since(start)));
            }
        } else {
            cursor.types_around -= 1;
            return Ok(ty);
        }
    }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("type", span, "a type is nested too deeply")
        .hint(format!("write at most {NESTED} types within each other"))
}

fn parse_kind(cursor: &mut Cursor<'_>) -> Result<TypeKind> {
    let span = cursor.span();
    let Some(Token::Word(word)) = cursor.peek().map(|t| &t.token) else {
        return Err(cursor.unexpected("a type"));
    };
    let name = word.value.to_ascii_uppercase();
    cursor.advance();
    Ok(match name.as_str() {
        "CHAR" | "CHARACTER" => TypeKind::Char(length(cursor, 1)?),
        "VARCHAR" => TypeKind::Varchar(length(cursor, TypeKind::STRING_LENGTH)?),
        "STRING" => TypeKind::string(),
        "BOOLEAN" => TypeKind::Boolean,
        "BINARY" => TypeKind::Binary(length(cursor, 1)?),
        "VARBINARY" => TypeKind::Varbinary(length(cursor, TypeKind::STRING_LENGTH)?),
        "BYTES" => TypeKind::bytes(),
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(cursor)?,
        "TINYINT" => TypeKind::TinyInt,
        "SMALLINT" => TypeKind::SmallInt,
        "INT" | "INTEGER" => TypeKind::Int,
        "BIGINT" => TypeKind::BigInt,
        "FLOAT" => TypeKind::Float,
        "DOUBLE" => {
            cursor.eat_word("PRECISION");
            TypeKind::Double
        }
        "DATE" => TypeKind::Date,
        "TIME" => {
            let precision = fraction(cursor, 0)?;
            cursor.eat_words(&["WITHOUT", "TIME", "ZONE"]);
            TypeKind::Time(precision)
        }
        "TIMESTAMP" => timestamp(cursor, span)?,
        "TIMESTAMP_LTZ" => TypeKind::TimestampLtz(fraction(cursor, 6)?),
        "ARRAY" => {
            cursor.expect(&Token::Lt)?;
            let of = parse_type(cursor)?;
            cursor.expect_closing_angle()?;
            TypeKind::Array(Box::new(of))
        }
        "MAP" => {
            cursor.expect(&Token::Lt)?;
            let key = parse_type(cursor)?;
            cursor.expect(&Token::Comma)?;
            let value = parse_type(cursor)?;
            cursor.expect_closing_angle()?;
            TypeKind::Map(Box::new(key), Box::new(value))
        }
        "ROW" => row(cursor)?,
        "MULTISET" | "RAW" | "INTERVAL" | "VARIANT" | "NULL" => {
            return Err(Diagnostic::unsupported(
                span,
                format!("a column of type {name} is"),
            ));
        }
        _ => return Err(unknown(&word.value, &name, span)),
    })
}

fn unknown(written: &str, name: &str, span: Span) -> Diagnostic {
    let error = Diagnostic::error("unknown-type", span, format!("unknown type '{written}'"));
    match FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        Some((_, ours)) => error.hint(format!("Flink calls it {ours}")),
        None => error.hint_if(did_you_mean(name, NAMES.iter().copied())),
    }
}

fn length(cursor: &mut Cursor<'_>, default: u32) -> Result<u32> {
    if !cursor.eat(&Token::LParen) {
        return Ok(default);
    }
    let (n, span) = cursor.number("a length")?;
    cursor.expect(&Token::RParen)?;
    match u32::try_from(n) {
        Ok(n) if (1..=TypeKind::STRING_LENGTH).contains(&n) => Ok(n),
        _ => Err(Diagnostic::error(
            "type",
            span,
            "a length lies between 1 and 2147483647",
        )),
    }
}

fn fraction(cursor: &mut Cursor<'_>, default: u8) -> Result<u8> {
    if !cursor.eat(&Token::LParen) {
        return Ok(default);
    }
    let (n, span) = cursor.number("the digits of a fraction of a second")?;
    cursor.expect(&Token::RParen)?;
    if n > 9 {
        let message = "a time has at most 9 digits of a fraction of a second";
        return Err(Diagnostic::error("type", span, message));
    }
    if n > 6 {
        return Err(Diagnostic::unsupported(
            span,
            format!("{n} digits of a fraction of a second are"),
        )
        .detail("Columns carry microseconds.")
        .hint("write 6 digits or less"));
    }
    Ok(n as u8)
}

fn decimal(cursor: &mut Cursor<'_>) -> Result<TypeKind> {
    if !cursor.eat(&Token::LParen) {
        return Ok(TypeKind::Decimal {
            precision: 10,
            scale: 0,
        });
    }
    let (precision, at) = cursor.number("a precision")?;
    let (scale, scale_at) = if cursor.eat(&Token::Comma) {
        cursor.number("a scale")?
    } else {
        (0, at)
    };
    cursor.expect(&Token::RParen)?;
    if !(1..=38).contains(&precision) {
        let message = "the precision of a DECIMAL lies between 1 and 38";
        return Err(Diagnostic::error("type", at, message));
    }
    if scale > precision {
        let message = "the scale of a DECIMAL is not greater than its precision";
        return Err(Diagnostic::error("type", scale_at, message));
    }
    Ok(TypeKind::Decimal {
        precision: precision as u8,
        scale: scale as u8,
    })
}

fn timestamp(cursor: &mut Cursor<'_>, span: Span) -> Result<TypeKind> {
    let precision = fraction(cursor, 6)?;
    if cursor.eat_words(&["WITH", "LOCAL", "TIME", "ZONE"]) {
        return Ok(TypeKind::TimestampLtz(precision));
    }
    if cursor.are_words(&["WITH", "TIME", "ZONE"]) {
        return Err(
            Diagnostic::unsupported(span, "TIMESTAMP WITH TIME ZONE is").hint(format!(
                "an instant is TIMESTAMP_LTZ({precision}) in Flink SQL"
            )),
        );
    }
    cursor.eat_words(&["WITHOUT", "TIME", "ZONE"]);
    Ok(TypeKind::Timestamp(precision))
}

fn row(cursor: &mut Cursor<'_>) -> Result<TypeKind> {
    let parenthesised = cursor.eat(&Token::LParen);
    if !parenthesised {
        cursor.expect(&Token::Lt)?;
    }
    let mut fields = Vec::new();
    loop {
        let name = cursor.ident("a field's name")?;
        let ty = parse_type(cursor)?;
        if matches!(
            cursor.peek().map(|t| &t.token),
            Some(Token::SingleQuotedString(_))
        ) {
            cursor.advance();
        }
        fields.push(Field::new(name.value, ty));
        if !cursor.eat(&Token::Comma) {
            break;
        }
    }
    if parenthesised {
        cursor.expect(&Token::RParen)?;
    } else {
        cursor.expect_closing_angle()?;
    }
    Ok(TypeKind::Row(fields))
}
