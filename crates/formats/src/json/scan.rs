//! A scanner over the bytes of one JSON document.
//!
//! It knows tokens and nesting, nothing of columns. Everything is in place: a string without escapes is a slice of the
//! record. Passing over a value costs no recursion, so nesting cannot exhaust the stack; it is bounded all the same.
//! As in Flink, control characters may stand in strings unescaped; otherwise the grammar is RFC 8259's.

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
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0 }
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

    /// Reads the next value if it is not nested.
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
        if let Some(byte) = self.bytes.get(self.at)
            && (byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-'))
        {
            return Err(self.fail("a number is followed by something else"));
        }
        std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| self.fail("not UTF-8"))
    }

    fn digits(&mut self) -> Result<usize, Syntax> {
        let count = self.bytes[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        if count == 0 {
            return Err(self.fail("a digit was expected"));
        }
        Ok(count)
    }

    /// Reads a string, quotes and all.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let (start, end, escaped) = self.raw_text()?;
        let raw = std::str::from_utf8(&self.bytes[start..end]).map_err(|_| Syntax {
            reason: "a string is not UTF-8",
            at: start,
        })?;
        if !escaped {
            return Ok(Cow::Borrowed(raw));
        }
        unescape(raw).map(Cow::Owned).ok_or(Syntax {
            reason: "unknown escape",
            at: start,
        })
    }

    /// Finds the end of a string: where its content begins and ends, and whether anything is escaped.
    #[inline]
    fn raw_text(&mut self) -> Result<(usize, usize, bool), Syntax> {
        self.expect(b'"', "a string was expected")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = &self.bytes[self.at..];
            match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                None => {
                    self.at = self.bytes.len();
                    return Err(self.fail("unexpected end of input in a string"));
                }
                Some(len) if rest[len] == b'"' => {
                    let end = self.at + len;
                    self.at = end + 1;
                    return Ok((start, end, escaped));
                }
                Some(len) => {
                    escaped = true;
                    // The byte after the backslash is not an end, whatever it is.
                    self.at = (self.at + len + 2).min(self.bytes.len());
                }
            }
        }
    }

    /// Passes over one value of any kind, checking its grammar.
    pub(crate) fn skip(&mut self) -> Result<(), Syntax> {
        self.walk(&mut |_| {})
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

/// Half a surrogate pair becomes `?`, as when Java encodes it.
fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
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
        out.push(plain);
        rest = chars.as_str();
    }
    out.push_str(rest);
    Some(out)
}

fn hex(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, &text[4..]))
}
