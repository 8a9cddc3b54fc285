//! The fields of one row, one after the other, without quotes and escapes.
//!
//! A field is quoted when its first character is the quote: blanks before it make it plain text. Within quotes a doubled
//! quote is one, and delimiters and ends of lines are text. Behind the closing quote only blanks may stand.

use lw_graph::CsvSpec;
use std::borrow::Cow;

/// The record is no row.
pub(super) struct Syntax {
    pub(super) reason: &'static str,
    pub(super) at: usize,
}

/// What stands where a field would go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Delimiter,
    EndOfLine,
    End,
}

pub(super) struct Fields<'a> {
    text: &'a str,
    at: usize,
    delimiter: char,
    quote: Option<char>,
    escape: Option<char>,
    comments: bool,
    /// What the last field ended at.
    stopped: Stop,
}

impl<'a> Fields<'a> {
    pub(super) fn new(text: &'a str, spec: &CsvSpec) -> Fields<'a> {
        Fields {
            text,
            at: 0,
            delimiter: spec.delimiter,
            quote: spec.quote,
            escape: spec.escape,
            comments: spec.comments,
            stopped: Stop::Delimiter,
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes over empty lines, and lines that begin with `#`; with them go the spaces before whatever comes first.
    pub(super) fn pass_comments(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\r', '\n']);
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            let line = rest.find(['\r', '\n']).unwrap_or(rest.len());
            self.at += line;
        }
    }

    /// Whether behind the row there are only ends of lines and blanks, and comments where they are allowed.
    pub(super) fn only_blanks_follow(&mut self) -> bool {
        if self.comments {
            self.pass_comments();
        }
        self.rest().chars().all(|c| c <= ' ')
    }

    /// The next field of the row; none behind its last. The row has a `first` one, however empty it is.
    pub(super) fn next(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Syntax> {
        if self.stopped != Stop::Delimiter && !first {
            return Ok(None);
        }
        match self.quote {
            Some(quote) if self.rest().starts_with(quote) => {
                self.at += quote.len_utf8();
                let field = self.quoted(quote)?;
                self.close()?;
                Ok(Some(field))
            }
            _ => self.plain().map(Some),
        }
    }

    /// What stands here, taken off the text.
    fn stop(&mut self) -> Option<Stop> {
        let rest = self.rest();
        let (stop, len) = match rest.chars().next() {
            None => (Stop::End, 0),
            Some(c) if c == self.delimiter => (Stop::Delimiter, c.len_utf8()),
            Some('\r') if rest[1..].starts_with('\n') => (Stop::EndOfLine, 2),
            Some('\r' | '\n') => (Stop::EndOfLine, 1),
            Some(_) => return None,
        };
        self.at += len;
        self.stopped = stop;
        Some(stop)
    }

    fn plain(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let mut undone: Option<String> = None;
        let mut from = self.at;
        loop {
            let rest = self.rest();
            let special =
                |c: char| c == self.delimiter || c == '\n' || c == '\r' || Some(c) == self.escape;
            let len = rest.find(special).unwrap_or(rest.len());
            self.at += len;
            let to = self.at;
            if self.stop().is_some() {
                let tail = &self.text[from..to];
                return Ok(match undone {
                    None => Cow::Borrowed(tail),
                    Some(head) => Cow::Owned(head + tail),
                });
            }
            let mut head = undone.take().unwrap_or_default();
            head.push_str(&self.text[from..to]);
            head.push(self.escaped()?);
            undone = Some(head);
            from = self.at;
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Cow<'a, str>, Syntax> {
        let opened = self.at;
        let mut undone: Option<String> = None;
        let mut from = self.at;
        loop {
            let rest = self.rest();
            let special = |c: char| c == quote || Some(c) == self.escape;
            let Some(len) = rest.find(special) else {
                return Err(Syntax {
                    reason: "Missing closing quote for value",
                    at: opened,
                });
            };
            self.at += len;
            let piece = &self.text[from..self.at];
            let character = if self.rest().starts_with(quote) {
                self.at += quote.len_utf8();
                if !self.rest().starts_with(quote) {
                    return Ok(match undone {
                        None => Cow::Borrowed(piece),
                        Some(head) => Cow::Owned(head + piece),
                    });
                }
                self.at += quote.len_utf8();
                quote
            } else {
                self.escaped()?
            };
            let mut head = undone.take().unwrap_or_default();
            head.push_str(piece);
            head.push(character);
            undone = Some(head);
            from = self.at;
        }
    }

    /// The escape stands here: what it and the next character mean.
    fn escaped(&mut self) -> Result<char, Syntax> {
        let mut rest = self.rest().chars();
        let escape = rest.next().expect("the escape was found here");
        let Some(character) = rest.next() else {
            return Err(Syntax {
                reason: "Unexpected EOF in escaped character",
                at: self.at,
            });
        };
        self.at += escape.len_utf8() + character.len_utf8();
        Ok(match character {
            '0' => '\0',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        })
    }

    /// Behind a closing quote.
    fn close(&mut self) -> Result<(), Syntax> {
        loop {
            if self.stop().is_some() {
                return Ok(());
            }
            match self.rest().chars().next() {
                Some(c) if c <= ' ' => self.at += 1,
                _ => {
                    return Err(Syntax {
                        reason: "only a delimiter or the end of the line may follow a closing quote",
                        at: self.at,
                    });
                }
            }
        }
    }
}
