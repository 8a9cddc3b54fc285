//! Records that may be of a key, among those that stand in a table as they came: dead letters.
//!
//! Nobody could decode them, so values are looked for in their bytes, and the answer errs on the safe side: a text is looked for as it is, a number
//! by its digits, and what cannot be seen so (a number in a binary record, a text that may be escaped, a date, a boolean) counts as there.

use super::predicate::Predicate;
use super::values::Written;
use crate::error::CatalogError;
use crate::view::TableView;

/// Where a record stood in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mention {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Predicate {
    /// The records of this table of dead letters that may be of the key.
    ///
    /// # Errors
    /// When it is no table of dead letters, or cannot be read.
    pub fn mentions(&self, letters: &TableView) -> Result<Vec<Mention>, CatalogError> {
        let mut found = Vec::new();
        letters.letters(|letter| {
            let (key, value) = (letter.key.unwrap_or(&[]), letter.value.unwrap_or(&[]));
            if self.may_be_in(key, value) {
                found.push(Mention {
                    topic: letter.topic.to_owned(),
                    partition: letter.partition,
                    offset: letter.offset,
                });
            }
        })?;
        found.sort_unstable();
        Ok(found)
    }

    fn may_be_in(&self, key: &[u8], value: &[u8]) -> bool {
        self.values().all(|mut values| {
            values.any(|(written, text)| shows(key, written, text) || shows(value, written, text))
        })
    }
}

/// Whether a value may stand in these bytes.
fn shows(bytes: &[u8], written: Written, text: &str) -> bool {
    match written {
        Written::Boolean | Written::Date => !bytes.is_empty(),
        Written::Text => {
            let is_plain = text.bytes().all(|byte| {
                byte.is_ascii() && !byte.is_ascii_control() && !matches!(byte, b'"' | b'\\' | b'/')
            });
            has(bytes, text.as_bytes()) || !is_plain && bytes.contains(&b'\\')
        }
        Written::Number => match std::str::from_utf8(bytes) {
            Err(_) => true,
            // Control characters are no text either.
            Ok(_) if bytes.iter().any(|byte| *byte < b'\t') => true,
            Ok(words) => {
                let is_of_number = |byte: char| byte.is_ascii_digit() || byte == '.' || byte == '-';
                let mut numbers = words.split(|byte| !is_of_number(byte));
                numbers.any(|number| number.trim_end_matches('.') == text)
            }
        },
    }
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_looked_for_in_the_bytes_of_a_record() {
        let key = Predicate::parse("id IN (7, 11) AND name = 'ada'").expect("a key");
        let is_in = |value: &[u8]| key.may_be_in(b"", value);
        assert!(is_in(br#"{"id": 7, "name": "ada", broken"#));
        assert!(is_in(b"11,ada,"));
        assert!(key.may_be_in(b"7", b"ada"));
        assert!(!is_in(br#"{"id": 17, "name": "ada", broken"#));
        assert!(!is_in(br#"{"id": 7, "name": "bob", broken"#));
        // A number of a binary record is not seen; a text is.
        assert!(is_in(b"\x0e\x06ada"));
        assert!(!is_in(b"\x0e\x06bob"));
        let key = Predicate::parse("name = 'Zo\u{eb}'").expect("a key");
        assert!(key.may_be_in(b"", br#"{"name": "Zo\u00eb"}"#));
        assert!(!key.may_be_in(b"", br#"{"name": "Bob"}"#));
        assert!(!key.may_be_in(b"", b""));
    }
}
