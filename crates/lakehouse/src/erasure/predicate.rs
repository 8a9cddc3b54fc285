//! Which key is meant: `column = value` and `column IN (value, …)`, several of them with `AND`.
//!
//! No more than that, because it has to be written down as values to which rows are compared long after, by whoever writes to the
//! table. Everything else is refused with its place in the text.

use super::values::{Written, literal};
use iceberg::spec::Schema;
use std::fmt;

/// Combinations of values that one record may have.
const MOST_KEYS: usize = 1000;

/// Equalities, of which all have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    terms: Vec<Term>,
}

/// A column that has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    column: Token,
    values: Vec<Token>,
}

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The place in the text, in characters from 1 on.
    pub at: usize,
    pub why: String,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at character {} of the predicate", self.why, self.at)
    }
}

/// The values of a key, column by column, as they are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// Field ids, which rise.
    pub(super) columns: Vec<i32>,
    /// Each with a value for each of the columns.
    pub(super) tuples: Vec<Vec<u8>>,
}

impl Predicate {
    /// # Errors
    /// What is no key, and where.
    pub fn parse(text: &str) -> Result<Predicate, Misread> {
        let tokens = tokens(text)?;
        let mut reader = Reader {
            end: text.chars().count() + 1,
            tokens: tokens.into_iter().peekable(),
        };
        let mut terms: Vec<Term> = Vec::new();
        loop {
            let term = reader.term()?;
            if terms
                .iter()
                .any(|other| other.column.text == term.column.text)
            {
                let name = &term.column.text;
                return Err(misread(term.column.at, format!("'{name}' is named twice")));
            }
            terms.push(term);
            match reader.tokens.next() {
                None => return Ok(Predicate { terms }),
                Some(token) if token.is_word("AND") => {}
                Some(token) => return Err(token.unexpected("AND")),
            }
        }
    }

    /// The values of each column, as they are written.
    pub(super) fn values(&self) -> impl Iterator<Item = impl Iterator<Item = (Written, &str)>> {
        self.terms.iter().map(|term| {
            let values = term.values.iter();
            values.map(|token| (token.written(), token.text.as_str()))
        })
    }

    /// In a table with these columns.
    ///
    /// # Errors
    /// Which column it has not, or which value is none of its column.
    pub(super) fn keys(&self, schema: &Schema) -> Result<Keys, Misread> {
        let mut columns = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let (at, name) = (term.column.at, &term.column.text);
            let fields = schema.as_struct().fields();
            let field = fields.iter().find(|field| field.name == *name);
            let field = field.ok_or_else(|| {
                let has: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                let has = has.join(", ");
                misread(
                    at,
                    format!("the table has no column '{name}' (it has {has})"),
                )
            })?;
            let values = term.values.iter().map(|token| {
                let value = literal(token.written(), &token.text, &field.field_type);
                value.map_err(|why| misread(token.at, format!("'{name}' {why}")))
            });
            let mut values: Vec<Vec<u8>> = values.collect::<Result<_, _>>()?;
            values.sort_unstable();
            values.dedup();
            columns.push((field.id, values));
        }
        columns.sort_unstable();
        let count = columns.iter().try_fold(1_usize, |count, (_, values)| {
            count.checked_mul(values.len())
        });
        if count.is_none_or(|count| count > MOST_KEYS) {
            let why = format!("more than {MOST_KEYS} combinations of values");
            return Err(misread(1, format!("{why}: erase them in several steps")));
        }
        let mut tuples = vec![Vec::new()];
        for (_, values) in &columns {
            let longer = |tuple: &Vec<u8>| {
                let tuple = tuple.clone();
                values.iter().map(move |value| [&*tuple, &**value].concat())
            };
            tuples = tuples.iter().flat_map(longer).collect();
        }
        Ok(Keys {
            columns: columns.into_iter().map(|(id, _)| id).collect(),
            tuples,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, or a word of the language.
    Word,
    /// A name in quotes.
    Name,
    Text,
    Date,
    Number,
    Sign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    at: usize,
    kind: Kind,
    text: String,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    fn written(&self) -> Written {
        match self.kind {
            Kind::Number => Written::Number,
            Kind::Date => Written::Date,
            Kind::Text => Written::Text,
            Kind::Word | Kind::Name | Kind::Sign => Written::Boolean,
        }
    }

    fn unexpected(&self, wanted: &str) -> Misread {
        // A value is not repeated: whoever reads the message may not be who may see it.
        let found = match self.kind {
            Kind::Word | Kind::Name | Kind::Sign => format!("'{}'", self.text),
            Kind::Text | Kind::Date | Kind::Number => "a value".to_owned(),
        };
        misread(self.at, format!("{wanted} is expected, and not {found}"))
    }
}

struct Reader {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: usize,
}

impl Reader {
    fn next(&mut self, wanted: &str) -> Result<Token, Misread> {
        let next = self.tokens.next();
        next.ok_or_else(|| misread(self.end, format!("{wanted} is expected")))
    }

    fn term(&mut self) -> Result<Term, Misread> {
        let column = self.next("a column")?;
        if !matches!(column.kind, Kind::Word | Kind::Name) {
            return Err(column.unexpected("a column"));
        }
        let how = self.next("= or IN")?;
        if how.is_sign("=") {
            let values = vec![self.value()?];
            return Ok(Term { column, values });
        }
        if !how.is_word("IN") {
            return Err(how.unexpected("= or IN"));
        }
        let open = self.next("(")?;
        if !open.is_sign("(") {
            return Err(open.unexpected("("));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            let next = self.next(", or )")?;
            if next.is_sign(")") {
                return Ok(Term { column, values });
            }
            if !next.is_sign(",") {
                return Err(next.unexpected(", or )"));
            }
        }
    }

    fn value(&mut self) -> Result<Token, Misread> {
        let token = self.next("a value")?;
        if token.is_word("DATE") {
            let day = self.next("a day in quotes")?;
            return match day.kind {
                Kind::Text => Ok(Token {
                    kind: Kind::Date,
                    ..day
                }),
                _ => Err(day.unexpected("a day in quotes")),
            };
        }
        let is_value = match token.kind {
            Kind::Text | Kind::Number => true,
            Kind::Word => token.is_word("TRUE") || token.is_word("FALSE"),
            Kind::Date | Kind::Name | Kind::Sign => false,
        };
        match is_value {
            true => Ok(token),
            false => Err(token.unexpected("a value")),
        }
    }
}

fn misread(at: usize, why: String) -> Misread {
    Misread { at, why }
}

fn tokens(text: &str) -> Result<Vec<Token>, Misread> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let begin = at + 1;
        let mut while_is = |is: fn(char) -> bool| {
            let from = at;
            while chars.get(at).is_some_and(|next| is(*next)) {
                at += 1;
            }
            chars[from..at].iter().collect::<String>()
        };
        let (kind, text) = match first {
            _ if first.is_whitespace() => {
                at += 1;
                continue;
            }
            _ if first.is_alphabetic() || first == '_' => {
                let is = |next: char| next.is_alphanumeric() || next == '_' || next == '$';
                (Kind::Word, while_is(is))
            }
            '-' | '0'..='9' => {
                let is = |next: char| next.is_ascii_digit() || next == '.' || next == '-';
                (Kind::Number, while_is(is))
            }
            '\'' | '"' | '`' => {
                let (text, behind) = quoted(&chars, at)?;
                at = behind;
                let kind = match first {
                    '\'' => Kind::Text,
                    _ => Kind::Name,
                };
                (kind, text)
            }
            sign => {
                at += 1;
                (Kind::Sign, sign.to_string())
            }
        };
        tokens.push(Token {
            at: begin,
            kind,
            text,
        });
    }
    Ok(tokens)
}

/// What stands in quotes, and the place behind it; a quote in it is written twice.
fn quoted(chars: &[char], from: usize) -> Result<(String, usize), Misread> {
    let (quote, mut text, mut at) = (chars[from], String::new(), from + 1);
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (Some(one), Some(next)) if *one == quote && *next == quote => {
                text.push(quote);
                at += 2;
            }
            (Some(one), _) if *one == quote => return Ok((text, at + 1)),
            (Some(one), _) => {
                text.push(*one);
                at += 1;
            }
            (None, _) => {
                let why = format!("{quote} is not closed");
                return Err(misread(from + 1, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{NestedField, PrimitiveType, Type};
    use std::sync::Arc;

    fn schema() -> Schema {
        let field =
            |id, name: &str, ty| Arc::new(NestedField::optional(id, name, Type::Primitive(ty)));
        let decimal = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        let fields = vec![
            field(1, "id", PrimitiveType::Long),
            field(2, "name", PrimitiveType::String),
            field(3, "day", PrimitiveType::Date),
            field(4, "odd name", PrimitiveType::Boolean),
            field(5, "sum", decimal),
            field(6, "at", PrimitiveType::Timestamp),
        ];
        let schema = Schema::builder().with_fields(fields).build();
        schema.expect("it is one")
    }

    /// Columns, and how many combinations; or what is wrong.
    fn check(text: &str, expected: &str) {
        let keys = Predicate::parse(text).and_then(|predicate| predicate.keys(&schema()));
        let told = match keys {
            Ok(keys) => format!("{:?} {}", keys.columns, keys.tuples.len()),
            Err(misread) => misread.to_string(),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn equalities_over_columns_are_a_key() {
        check("id = 7", "[1] 1");
        check("name = 'it''s' and id=-7", "[1, 2] 1");
        check("id IN (1, 2, 2) AND `odd name` = TRUE", "[1, 4] 2");
        check(
            "\"odd name\" in (true, FALSE) AND day = DATE '2026-02-28'",
            "[3, 4] 2",
        );
        check(
            "sum = 7.5 AND day IN ('2026-02-28', '2026-03-01')",
            "[3, 5] 2",
        );
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "a column is expected, at character 1 of the predicate"),
            ("id", "= or IN is expected, at character 3 of the predicate"),
            (
                "id > 7",
                "= or IN is expected, and not '>', at character 4 of the predicate",
            ),
            (
                "id <> 7",
                "= or IN is expected, and not '<', at character 4 of the predicate",
            ),
            (
                "id = 7 OR id = 8",
                "AND is expected, and not 'OR', at character 8 of the predicate",
            ),
            (
                "id = 7 AND id = 8",
                "'id' is named twice, at character 12 of the predicate",
            ),
            (
                "name LIKE 'a%'",
                "= or IN is expected, and not 'LIKE', at character 6 of the predicate",
            ),
            (
                "name = NULL",
                "a value is expected, and not 'NULL', at character 8 of the predicate",
            ),
            (
                "lower(name) = 'a'",
                "= or IN is expected, and not '(', at character 6 of the predicate",
            ),
            (
                "name = 'a",
                "' is not closed, at character 8 of the predicate",
            ),
            (
                "id IN (1",
                ", or ) is expected, at character 9 of the predicate",
            ),
            (
                "id = '7'",
                "'id' is of type long: its values are written as 7, at character 6 of the predicate",
            ),
            (
                "name = 7",
                "'name' is of type string: its values are written as 'text', at character 8 of the predicate",
            ),
            (
                "sum = 7.555",
                "'sum' is of type decimal(9, 2): its values are written as 7.50, at character 7 of the predicate",
            ),
            (
                "day = '2026-02-30'",
                "'day' is of type date: its values are written as DATE '2026-01-31', at character 7 of the predicate",
            ),
            (
                "at = '2026-02-28'",
                "'at' is of type timestamp, which is not that of a key, at character 6 of the predicate",
            ),
            (
                "uid = 1",
                "the table has no column 'uid' (it has id, name, day, odd name, sum, at), at character 1 of the predicate",
            ),
        ] {
            check(text, expected);
        }
        let many: Vec<String> = (0..1001).map(|id| id.to_string()).collect();
        let text = format!("id IN ({})", many.join(","));
        check(
            &text,
            "more than 1000 combinations of values: erase them in several steps, at character 1 of the predicate",
        );
    }
}
