//! `ALTER TABLE` of a table in a catalog, in Flink 2.3's words: ADD, MODIFY, DROP and RENAME of columns, SET and RESET
//! of properties.
//!
//! It is no statement of a script, whose tables are declared by the script itself: `lakeward sql` takes it. What is read
//! here says what is asked; whether a table can do it, the table's catalog says.

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Cursor, Ident, parse_type};
use crate::script::{Script, is_word};
use lw_graph::{ColumnChange, ColumnDeclared, ColumnPlace};
use sqlparser::tokenizer::Token;
use std::collections::HashSet;

/// What an `ALTER TABLE` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// `[catalog.]namespace.table`, without backticks.
    pub table: String,
    /// A table that is not there is no error.
    pub if_exists: bool,
    pub asked: Asked,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Columns(Vec<ColumnChange>),
    /// Keys with their values; a key without one is reset.
    Properties(Vec<(String, Option<String>)>),
}

/// Reads the statement; `None` where the text is another one.
pub fn alter_table(text: &str) -> Option<Result<AlterTable>> {
    let script = match Script::new(text) {
        Ok(script) => script,
        Err(error) => {
            let first = text.split_whitespace().next();
            let alters = first.is_some_and(|word| word.eq_ignore_ascii_case("ALTER"));
            return alters.then_some(Err(error));
        }
    };
    let statements = script.statements();
    let mut cursor = Cursor::new(&script, statements.first()?);
    if !cursor.eat_words(&["ALTER", "TABLE"]) {
        return None;
    }
    if let Some(mistake) = script.mistakes.first() {
        return Some(Err(mistake.clone()));
    }
    if let Some(second) = statements.get(1) {
        let message = "one statement at a time";
        let error = Diagnostic::error("syntax", script.span_of(second), message);
        return Some(Err(error));
    }
    Some(statement(&mut cursor))
}

fn statement(cursor: &mut Cursor<'_>) -> Result<AlterTable> {
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let name = cursor.name("a table's name")?;
    let asked = if cursor.eat_word("ADD") {
        let columns = declared(cursor)?;
        Asked::Columns(columns.into_iter().map(ColumnChange::Add).collect())
    } else if cursor.eat_word("MODIFY") {
        let columns = declared(cursor)?;
        Asked::Columns(columns.into_iter().map(ColumnChange::Modify).collect())
    } else if cursor.eat_word("DROP") {
        Asked::Columns(dropped(cursor)?)
    } else if cursor.eat_word("RENAME") {
        Asked::Columns(renamed(cursor)?)
    } else if cursor.eat_word("SET") {
        Asked::Properties(some(cursor, |cursor| {
            let key = cursor.text("a property's key in single quotes")?;
            cursor.expect(&Token::Eq)?;
            let value = cursor.text("the property's value in single quotes")?.value;
            let property = (key.value.clone(), Some(value));
            Ok((key, property))
        })?)
    } else if cursor.eat_word("RESET") {
        Asked::Properties(some(cursor, |cursor| {
            let key = cursor.text("a property's key in single quotes")?;
            let property = (key.value.clone(), None);
            Ok((key, property))
        })?)
    } else {
        return Err(refuse(cursor));
    };
    cursor.expect_end()?;
    let parts = name.parts.into_iter().map(|part| part.value);
    Ok(AlterTable {
        table: parts.collect::<Vec<String>>().join("."),
        if_exists,
        asked,
    })
}

/// One, or `(one, …)`.
fn some<T>(
    cursor: &mut Cursor<'_>,
    one: impl Fn(&mut Cursor<'_>) -> Result<(Ident, T)>,
) -> Result<Vec<T>> {
    let found = match cursor.is(&Token::LParen) {
        true => cursor.list(&one)?,
        false => vec![one(cursor)?],
    };
    let mut names = HashSet::new();
    for (name, _) in &found {
        if !names.insert(&name.value) {
            let message = format!("'{}' is named twice", name.value);
            return Err(Diagnostic::error("duplicate", name.span, message));
        }
    }
    Ok(found.into_iter().map(|(_, one)| one).collect())
}

fn declared(cursor: &mut Cursor<'_>) -> Result<Vec<ColumnDeclared>> {
    some(cursor, column)
}

fn dropped(cursor: &mut Cursor<'_>) -> Result<Vec<ColumnChange>> {
    some(cursor, |cursor| {
        let name = name(cursor)?;
        let change = ColumnChange::Drop(name.value.clone());
        Ok((name, change))
    })
}

fn renamed(cursor: &mut Cursor<'_>) -> Result<Vec<ColumnChange>> {
    if cursor.is_word("TO") {
        return Err(
            Diagnostic::unsupported(cursor.span(), "renaming a table is")
                .detail("Its pipeline would make the table anew under the name that it knows.")
                .hint("columns are renamed by RENAME old TO new"),
        );
    }
    let from = name(cursor)?.value;
    cursor.expect_words(&["TO"])?;
    let to = name(cursor)?.value;
    Ok(vec![ColumnChange::Rename { from, to }])
}

/// `name type [COMMENT 'text'] [FIRST | AFTER name]`.
fn column(cursor: &mut Cursor<'_>) -> Result<(Ident, ColumnDeclared)> {
    let name = name(cursor)?;
    if cursor.is_word("AS") {
        return Err(of_scripts(cursor.span(), "a computed column"));
    }
    let ty = parse_type(cursor)?;
    for (word, what) in [
        ("METADATA", "a metadata column"),
        ("PRIMARY", "a PRIMARY KEY"),
    ] {
        if cursor.is_word(word) {
            return Err(of_scripts(cursor.span(), what));
        }
    }
    if cursor.is_word("DEFAULT") {
        let what = "a column's DEFAULT is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .hint("add the column without: it is NULL in the rows that are there"));
    }
    let comment = cursor
        .eat_word("COMMENT")
        .then(|| cursor.text("a comment in single quotes"))
        .transpose()?;
    let place = if cursor.eat_word("FIRST") {
        Some(ColumnPlace::First)
    } else if cursor.eat_word("AFTER") {
        Some(ColumnPlace::After(self::name(cursor)?.value))
    } else {
        None
    };
    let declared = ColumnDeclared {
        name: name.value.clone(),
        ty,
        comment: comment.map(|comment| comment.value),
        place,
    };
    Ok((name, declared))
}

/// A column's name; other things that may stand there are told to be none.
fn name(cursor: &mut Cursor<'_>) -> Result<Ident> {
    const PARTS: [(&str, &str); 6] = [
        ("WATERMARK", "a WATERMARK"),
        ("PRIMARY", "a PRIMARY KEY"),
        ("CONSTRAINT", "a PRIMARY KEY"),
        ("UNIQUE", "a UNIQUE constraint"),
        ("PARTITION", "a PARTITION"),
        ("DISTRIBUTION", "a DISTRIBUTION"),
    ];
    let start = cursor.span();
    if let Some((_, what)) = PARTS.iter().find(|(word, _)| cursor.is_word(word)) {
        return Err(of_scripts(start, what));
    }
    if cursor.is_word("COLUMN") {
        let error = Diagnostic::error("syntax", start, "unexpected `COLUMN`");
        return Err(error.hint("Flink leaves the word out: ADD name type, RENAME old TO new"));
    }
    let name = cursor.ident("a column's name")?;
    if cursor.is(&Token::Period) {
        let what = "changing a field inside of a ROW is";
        return Err(Diagnostic::unsupported(cursor.span_since(start), what)
            .detail("As in Flink, ALTER TABLE names whole columns.")
            .hint("MODIFY the column with its whole type widens fields; Spark, Trino and PyIceberg add, drop and rename them"));
    }
    Ok(name)
}

/// What a script declares of a table, and a table in a catalog does not have.
fn of_scripts(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error("unsupported", span, format!("a table in a catalog has not {what} that ALTER TABLE could change"))
        .detail("Scripts declare keys, watermarks, metadata and computed columns for themselves; the table has stored columns.")
        .hint("change the CREATE TABLE in the script: `lakeward run FILE --replace`")
}

fn refuse(cursor: &Cursor<'_>) -> Diagnostic {
    let expected = "`ADD`, `MODIFY`, `DROP`, `RENAME`, `SET` or `RESET`";
    match cursor.peek() {
        Some(token) if is_word(token, "ALTER") || is_word(token, "CHANGE") => cursor
            .unexpected(expected)
            .hint("MODIFY name type changes a column's type, its comment, its place"),
        _ => cursor.unexpected(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match alter_table(text) {
            None => "-".to_owned(),
            Some(Err(error)) => {
                let written = &text[error.span.start..error.span.end];
                let rest = [&error.detail, &error.hint];
                let rest =
                    rest.map(|part| part.as_ref().map_or(String::new(), |it| format!(" | {it}")));
                format!("{} [{written}]{}", error.message, rest.concat())
            }
            Some(Ok(alter)) => {
                let changes: Vec<String> = match &alter.asked {
                    Asked::Columns(changes) => changes.iter().map(ToString::to_string).collect(),
                    Asked::Properties(changes) => {
                        changes.iter().map(|change| format!("{change:?}")).collect()
                    }
                };
                let exists = if alter.if_exists { "if exists " } else { "" };
                format!("{exists}{}: {}", alter.table, changes.join("; "))
            }
        }
    }

    #[test]
    fn columns_and_properties_are_changed_in_flinks_words() {
        let cases = [
            ("ALTER TABLE db.t ADD a INT", "db.t: ADD a INT"),
            (
                "-- why\nalter table if exists c.db.t add (a INT COMMENT 'it''s', `b c` STRING FIRST, d ROW<x BIGINT> AFTER a);",
                "if exists c.db.t: ADD a INT COMMENT 'it''s'; ADD b c STRING FIRST; ADD d ROW<`x` BIGINT> AFTER a",
            ),
            (
                "ALTER TABLE `a.b`.t MODIFY id BIGINT NOT NULL COMMENT 'key' AFTER v",
                "a.b.t: MODIFY id BIGINT NOT NULL COMMENT 'key' AFTER v",
            ),
            (
                "ALTER TABLE db.t MODIFY (a BIGINT, b DECIMAL(12, 2) FIRST)",
                "db.t: MODIFY a BIGINT; MODIFY b DECIMAL(12, 2) FIRST",
            ),
            ("ALTER TABLE db.t DROP a", "db.t: DROP a"),
            (
                "ALTER TABLE db.t DROP (a, `first`)",
                "db.t: DROP a; DROP first",
            ),
            ("ALTER TABLE db.t RENAME a TO b", "db.t: RENAME a TO b"),
            (
                "ALTER TABLE db.t SET ('a.b' = '1', 'c' = '')",
                "db.t: (\"a.b\", Some(\"1\")); (\"c\", Some(\"\"))",
            ),
            (
                "ALTER TABLE db.t RESET ('a.b', 'c')",
                "db.t: (\"a.b\", None); (\"c\", None)",
            ),
            ("SELECT 1", "-"),
            ("ALTER VIEW v AS SELECT 1", "-"),
            ("SELECT 'open", "-"),
            ("", "-"),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_change_of_columns_is_refused_in_words() {
        let cases = [
            (
                "ALTER TABLE db.t",
                "the statement ends too early [t] | Expected `ADD`, `MODIFY`, `DROP`, `RENAME`, `SET` or `RESET` here.",
            ),
            (
                "ALTER TABLE db.t ALTER a TYPE BIGINT",
                "unexpected `ALTER` [ALTER] | Expected `ADD`, `MODIFY`, `DROP`, `RENAME`, `SET` or `RESET` here. | MODIFY name type changes a column's type, its comment, its place",
            ),
            (
                "ALTER TABLE db.t ADD COLUMN a INT",
                "unexpected `COLUMN` [COLUMN] | Flink leaves the word out: ADD name type, RENAME old TO new",
            ),
            (
                "ALTER TABLE db.t ADD (a INT, a STRING)",
                "'a' is named twice [a]",
            ),
            (
                "ALTER TABLE db.t ADD a TEXT",
                "unknown type 'TEXT' [TEXT] | Flink calls it STRING",
            ),
            (
                "ALTER TABLE db.t ADD a INT DEFAULT 7",
                "a column's DEFAULT is not supported yet [DEFAULT] | add the column without: it is NULL in the rows that are there",
            ),
            (
                "ALTER TABLE db.t RENAME TO u",
                "renaming a table is not supported yet [TO] | Its pipeline would make the table anew under the name that it knows. | columns are renamed by RENAME old TO new",
            ),
            (
                "ALTER TABLE db.t SET ('a' = 'b', 'a' = 'c')",
                "'a' is named twice ['a']",
            ),
            (
                "ALTER TABLE db.t SET (a = 'b')",
                "unexpected `a` [a] | Expected a property's key in single quotes here. | keys and values stand in single quotes: 'key' = 'value'",
            ),
            (
                "ALTER TABLE db.t DROP a; DROP TABLE db.t",
                "one statement at a time [DROP TABLE db.t]",
            ),
            ("ALTER TABLE db.t ADD 'a", "an open quote"),
        ];
        for (text, expected) in cases {
            if expected == "an open quote" {
                assert!(matches!(alter_table(text), Some(Err(_))), "{text}");
                continue;
            }
            assert_eq!(told(text), expected, "{text}");
        }
        for part in [
            "ADD WATERMARK FOR ts AS ts",
            "ADD PRIMARY KEY (a) NOT ENFORCED",
            "ADD a AS b + 1",
            "ADD a INT METADATA",
            "DROP WATERMARK",
            "DROP CONSTRAINT c",
        ] {
            let text = format!("ALTER TABLE db.t {part}");
            assert!(
                told(&text).starts_with("a table in a catalog has not a"),
                "{text}: {}",
                told(&text)
            );
        }
        let nested = told("ALTER TABLE db.t DROP e.f");
        assert!(
            nested.starts_with("changing a field inside of a ROW is not supported yet [e]"),
            "{nested}"
        );
    }
}
