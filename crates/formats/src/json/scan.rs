//! A scanner over the bytes of one JSON document.
//!
//! It knows tokens and nesting, nothing of columns. Everything is in place: a string without escapes is a slice of the
//! record. Passing over a value costs no recursion, so nesting cannot exhaust the stack; it is bounded all the same.
//! As in Flink, control characters may stand in strings unescaped; otherwise the grammar is RFC 8259's.
//!
//! What makes it quick: the record is asked once whether it is UTF-8, and not string by string; the end of a string is looked
//! for in eight bytes at once; what is passed over is looked at, but becomes nothing.

use std::borrow::Cow;

/// As deep as Jackson goes.
const MAX_DEPTH: usize = 1000;

/// The document is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) reason: &'static str,
    pub(crate) at: usize,
}

/// A value that is not nested, or the opening of one that is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    /// The literal as it stands in the document; the grammar was checked.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// `{`; not consumed.
    Object,
    /// `[`; not consumed.
    Array,
}

pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    /// Up to here the bytes are UTF-8: all of them, but for a damaged record.
    utf8: usize,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        let utf8 = match bytes.is_ascii() {
            true => bytes.len(),
            false => match std::str::from_utf8(bytes) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            },
        };
        Scanner { bytes, utf8, at: 0 }
    }

    pub(crate) fn of_text(text: &'a str) -> Scanner<'a> {
        Scanner {
            bytes: text.as_bytes(),
            utf8: text.len(),
            at: 0,
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes to a place that [`Scanner::at`] gave.
    pub(crate) fn go(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn fail(&self, reason: &'static str) -> Syntax {
        Syntax {
            reason,
            at: self.at,
        }
    }

    #[inline]
    pub(crate) fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not blank, without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Syntax> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.fail(if self.at < self.bytes.len() {
                reason
            } else {
                "unexpected end of input"
            }))
        }
    }

    /// Takes a key with its colon if it comes next, written like this.
    #[inline]
    pub(crate) fn take(&mut self, key: &WrittenKey) -> bool {
        let here = &self.bytes[self.at..];
        let found = match here.first_chunk() {
            Some(head) => {
                (u128::from_le_bytes(*head) & key.mask) == key.head
                    && (key.all.len() <= 16 || here.starts_with(&key.all))
            }
            None => here.starts_with(&key.all),
        };
        self.at += if found { key.all.len() } else { 0 };
        found
    }

    /// Goes on to the next element or member: whether there is one, and not the end.
    #[inline]
    pub(crate) fn more(&mut self, end: u8, reason: &'static str) -> Result<bool, Syntax> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Err(self.fail(reason)),
            None => Err(self.fail("unexpected end of input")),
        }
    }

    /// What was passed since a place that [`Scanner::at`] gave.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Reads the next value if it is not nested.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Syntax> {
        match self.peek() {
            None => Err(self.fail("unexpected end of input")),
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'"') => self.text().map(Token::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b't') => self.word("true").map(|()| Token::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Token::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Token::Null),
            Some(_) => Err(self.fail("a value was expected")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Syntax> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fail("unknown word"));
        }
        self.at += word.len();
        match self.bytes.get(self.at) {
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => {
                Err(self.fail("unknown word"))
            }
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Result<&'a str, Syntax> {
        let start = self.at;
        self.pass_number()?;
        std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| self.fail("not UTF-8"))
    }

    fn pass_number(&mut self) -> Result<(), Syntax> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return Err(self.fail("a number begins with 0"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        match self.bytes.get(self.at) {
            Some(byte)
                if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-') =>
            {
                Err(self.fail("a number is followed by something else"))
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Syntax> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit());
        let count = count.unwrap_or(rest.len());
        self.at += count;
        match count {
            0 => Err(self.fail("a digit was expected")),
            count => Ok(count),
        }
    }

    /// Reads a number as most are written: a sign or none, up to 18 digits with or without a point among them, and then the end of
    /// the value. `None` for what else comes, of which nothing is taken.
    #[inline]
    pub(crate) fn plain_number(&mut self) -> Option<PlainNumber> {
        let rest = &self.bytes[self.at..];
        let negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(negative)..];
        let (mut number, mut point, mut len) = (0, None, 0);
        loop {
            let byte = *digits.get(len)?;
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                number = number * 10 + i64::from(digit);
            } else if byte == b'.' && point.is_none() {
                point = Some(len);
            } else if matches!(byte, b',' | b'}' | b']' | b' ') {
                break;
            } else {
                return None;
            }
            len += 1;
            if len > 18 {
                return None;
            }
        }
        let whole = point.unwrap_or(len);
        let leading_zero = digits[0] == b'0' && whole > 1;
        // The sign of a zero is not in a whole number.
        if whole == 0 || point == Some(len - 1) || leading_zero || (negative && number == 0) {
            return None;
        }
        self.at += usize::from(negative) + len;
        Some(PlainNumber {
            digits: if negative { -number } else { number },
            behind_point: point.map_or(0, |point| len - 1 - point),
        })
    }

    /// Reads a string, quotes and all.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let raw = self.raw_text()?;
        let text = std::str::from_utf8(raw.bytes).map_err(|_| raw.not_utf8())?;
        if !raw.escaped {
            return Ok(Cow::Borrowed(text));
        }
        let mut unescaped = String::with_capacity(text.len());
        unescape(text, |piece| unescaped.push_str(piece)).ok_or(raw.unknown_escape())?;
        Ok(Cow::Owned(unescaped))
    }

    /// Reads a string as it is written, which is UTF-8.
    #[inline]
    pub(crate) fn raw_text(&mut self) -> Result<Raw<'a>, Syntax> {
        self.expect(b'"', "a string was expected")?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let Some(len) = quote_or_backslash(&self.bytes[self.at..]) else {
                self.at = self.bytes.len();
                return Err(self.fail("unexpected end of input in a string"));
            };
            let end = self.at + len;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                let bytes = &self.bytes[start..end];
                let raw = Raw {
                    bytes,
                    escaped,
                    start,
                };
                return match end <= self.utf8 || std::str::from_utf8(bytes).is_ok() {
                    true => Ok(raw),
                    false => Err(raw.not_utf8()),
                };
            }
            escaped = true;
            // The byte after the backslash is not an end, whatever it is.
            self.at = (end + 2).min(self.bytes.len());
        }
    }

    /// Passes over one value of any kind, checking its grammar.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), Syntax> {
        match self.peek() {
            Some(b'"') => match self.raw_text()? {
                Raw { escaped: false, .. } => Ok(()),
                raw => raw.check_escapes(),
            },
            Some(b'-' | b'0'..=b'9') => self.pass_number(),
            _ => self.walk(&mut |_| {}),
        }
    }

    /// Passes over one value and writes it without blanks.
    pub(crate) fn copy(&mut self, out: &mut String) -> Result<(), Syntax> {
        self.walk(&mut |piece| piece.write(out))
    }

    fn walk(&mut self, visit: &mut impl FnMut(Piece<'a>)) -> Result<(), Syntax> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.token()? {
                nested @ (Token::Object | Token::Array) => {
                    let (start, end) = if nested == Token::Object {
                        (b'{', b'}')
                    } else {
                        (b'[', b']')
                    };
                    self.at += 1;
                    visit(Piece::Mark(start));
                    if open.len() == MAX_DEPTH {
                        return Err(self.fail("nested too deep"));
                    }
                    open.push(end);
                    if !self.eat(end) {
                        self.key_if_object(end, visit)?;
                        continue;
                    }
                    visit(Piece::Mark(end));
                    open.pop();
                }
                value => visit(Piece::Value(value)),
            }
            // A value is complete: close what ends here, or go on to its neighbour.
            loop {
                let Some(end) = open.last().copied() else {
                    return Ok(());
                };
                if self.eat(end) {
                    visit(Piece::Mark(end));
                    open.pop();
                    continue;
                }
                self.expect(b',', "',' or the end of the object or array was expected")?;
                visit(Piece::Mark(b','));
                self.key_if_object(end, visit)?;
                break;
            }
        }
    }

    fn key_if_object(&mut self, end: u8, visit: &mut impl FnMut(Piece<'a>)) -> Result<(), Syntax> {
        if end == b'}' {
            let key = self.text()?;
            self.expect(b':', "':' was expected")?;
            visit(Piece::Value(Token::Text(key)));
            visit(Piece::Mark(b':'));
        }
        Ok(())
    }
}

enum Piece<'a> {
    Mark(u8),
    Value(Token<'a>),
}

impl Piece<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Piece::Mark(byte) => out.push(char::from(*byte)),
            Piece::Value(Token::Null) => out.push_str("null"),
            Piece::Value(Token::Bool(true)) => out.push_str("true"),
            Piece::Value(Token::Bool(false)) => out.push_str("false"),
            Piece::Value(Token::Number(literal)) => out.push_str(literal),
            Piece::Value(Token::Text(text)) => lw_schemas::json::write_string(text, out),
            Piece::Value(Token::Object | Token::Array) => {
                unreachable!("nested values come as marks")
            }
        }
    }
}

/// `digits / 10^behind_point`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainNumber {
    pub(crate) digits: i64,
    pub(crate) behind_point: usize,
}

/// A string as it is written, without its quotes.
pub(crate) struct Raw<'a> {
    pub(crate) bytes: &'a [u8],
    /// There are backslashes in it.
    pub(crate) escaped: bool,
    start: usize,
}

impl Raw<'_> {
    fn check_escapes(&self) -> Result<(), Syntax> {
        let text = std::str::from_utf8(self.bytes).map_err(|_| self.not_utf8())?;
        unescape(text, |_| {}).ok_or(self.unknown_escape())
    }

    fn not_utf8(&self) -> Syntax {
        Syntax {
            reason: "a string is not UTF-8",
            at: self.start,
        }
    }

    fn unknown_escape(&self) -> Syntax {
        Syntax {
            reason: "unknown escape",
            at: self.start,
        }
    }
}

/// A key as a producer writes it, quotes and colon included.
pub(crate) struct WrittenKey {
    all: Box<[u8]>,
    /// The first 16 bytes of it, and which of them it has.
    head: u128,
    mask: u128,
}

impl WrittenKey {
    pub(crate) fn new(written: &[u8]) -> WrittenKey {
        let len = written.len().min(16);
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        head[..len].copy_from_slice(&written[..len]);
        mask[..len].fill(0xff);
        WrittenKey {
            all: written.into(),
            head: u128::from_le_bytes(head),
            mask: u128::from_le_bytes(mask),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.all
    }
}

/// Where the first quote or backslash is.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let found = first_zero(eight ^ all(b'"')) | first_zero(eight ^ all(b'\\'));
        if found != 0 {
            let before = bytes.len() - rest.len();
            return Some(before + found.trailing_zeros() as usize / 8);
        }
        rest = after;
    }
    let before = bytes.len() - rest.len();
    let mut rest = rest.iter();
    let found = rest.position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(before + found)
}

/// The byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The upper bit of the first byte that is 0 and of none before it; what bits it sets behind that one means nothing. (Taking 1
/// from each byte borrows only from where a 0 was.)
#[inline]
fn first_zero(eight: u64) -> u64 {
    eight.wrapping_sub(all(1)) & !eight & all(0x80)
}

/// Gives the pieces that a string with backslashes says; `None` when one of them is no escape. Half a surrogate pair becomes `?`, as
/// when Java encodes it.
fn unescape(raw: &str, mut piece: impl FnMut(&str)) -> Option<()> {
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        piece(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let plain = match chars.next()? {
            '"' => '"',
            '\\' => '\\',
            '/' => '/',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (unit, after) = hex(chars.as_str())?;
                chars = after.chars();
                match unit {
                    0xd800..=0xdbff => match after.strip_prefix("\\u").and_then(hex) {
                        Some((low @ 0xdc00..=0xdfff, after)) => {
                            chars = after.chars();
                            char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                        }
                        _ => '?',
                    },
                    unit => char::from_u32(unit).unwrap_or('?'),
                }
            }
            _ => return None,
        };
        piece(plain.encode_utf8(&mut [0; 4]));
        rest = chars.as_str();
    }
    piece(rest);
    Some(())
}

fn hex(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, &text[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_a_string_is_the_first_quote_or_backslash(
            bytes in proptest::collection::vec(prop_oneof![
                4 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(b'#'), 1 => Just(b'!'), 1 => Just(0xa2), 40 => any::<u8>(),
            ], 0..80),
        ) {
            let one_by_one = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(quote_or_backslash(&bytes), one_by_one);
        }

        #[test]
        fn passing_over_a_value_finds_what_reading_it_finds(
            text in prop_oneof![
                "\"([a-z\u{e9}\u{1f600}]|\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fd]{3,4}){0,8}\"?[, ]?",
                "-?[0-9]{0,3}[.]?[0-9]{0,2}([eE][+-]?[0-9]{0,2})?[,x ]?",
                "[\\[\\]{}:,\"a ]{0,20}",
            ].prop_map(String::into_bytes),
            damaged in proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut bytes = text;
            if let Some((at, byte)) = damaged.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (mut passing, mut reading) = (Scanner::new(&bytes), Scanner::new(&bytes));
            let (passed, read) = (passing.skip(), reading.walk(&mut |_| {}));
            prop_assert_eq!(passed, read);
            prop_assert_eq!(passing.at(), reading.at());
        }
    }
}
