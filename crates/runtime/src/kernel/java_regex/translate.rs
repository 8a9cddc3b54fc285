//! A pattern of Java's, sign by sign, as one of the `regex` crate.

mod class;

use super::{Problem, unsupported};
use class::{Escaped, hex};

const LINE_ENDS: &str = r"\n\r\u{85}\u{2028}\u{2029}";
const MOST_LEVELS: usize = 100;

#[derive(Clone, Copy)]
struct Flags {
    /// `i`: ASCII letters in either case.
    any_case: bool,
    /// `s`: the point takes ends of lines.
    dot_all: bool,
}

pub(super) struct Translator<'p> {
    pub(super) chars: std::iter::Peekable<std::str::Chars<'p>>,
    pub(super) out: String,
    flags: Flags,
    pub(super) groups: Vec<usize>,
    pub(super) ends: Vec<usize>,
    /// Groups in the pattern that is written.
    written: usize,
}

impl<'p> Translator<'p> {
    pub(super) fn new(pattern: &'p str) -> Translator<'p> {
        Translator {
            chars: pattern.chars().peekable(),
            out: String::new(),
            flags: Flags {
                any_case: false,
                dot_all: false,
            },
            groups: vec![0],
            ends: Vec::new(),
            written: 0,
        }
    }

    /// Up to the closing parenthesis, which is left, or the end.
    pub(super) fn alternatives(&mut self, level: usize) -> Result<(), Problem> {
        if level > MOST_LEVELS {
            return Err(unsupported("a pattern nested as deep as this"));
        }
        // Whether there is something that a quantifier could repeat.
        let mut repeatable = false;
        while let Some(c) = self.chars.peek().copied() {
            if c == ')' {
                return Ok(());
            }
            self.chars.next();
            repeatable = match c {
                '|' => {
                    self.out.push('|');
                    false
                }
                '(' => self.group(level)?,
                '[' => {
                    let class = self.class(level)?;
                    self.out.push_str(&class);
                    true
                }
                '.' if self.flags.dot_all => {
                    self.out.push_str("(?s:.)");
                    true
                }
                '.' => {
                    self.out.push_str(&format!("[^{LINE_ENDS}]"));
                    true
                }
                '^' => {
                    self.out.push('^');
                    false
                }
                '$' => {
                    self.end()?;
                    false
                }
                '*' | '+' | '?' | '{' if !repeatable => return Err(Problem::Invalid),
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.quantified()?;
                    false
                }
                '{' => {
                    self.counted()?;
                    false
                }
                '\\' => self.escape()?,
                c => {
                    self.letter(c);
                    true
                }
            };
        }
        Ok(())
    }

    /// Behind a quantifier: lazy or not.
    fn quantified(&mut self) -> Result<(), Problem> {
        match self.chars.peek() {
            Some('?') => {
                self.chars.next();
                self.out.push('?');
                match self.chars.peek() {
                    Some('*' | '+' | '?' | '{') => Err(Problem::Invalid),
                    _ => Ok(()),
                }
            }
            Some('+') => Err(unsupported("a possessive quantifier")),
            Some('*' | '{') => Err(Problem::Invalid),
            _ => Ok(()),
        }
    }

    /// `{2}`, `{2,}`, `{2,5}`.
    fn counted(&mut self) -> Result<(), Problem> {
        let mut inside = String::new();
        loop {
            match self.chars.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_digit() || c == ',' => inside.push(c),
                _ => return Err(Problem::Invalid),
            }
        }
        let (from, to) = match inside.split_once(',') {
            Some((from, to)) => (from, Some(to)),
            None => (inside.as_str(), None),
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| Problem::Invalid);
        let least = number(from)?;
        if let Some(to) = to.filter(|to| !to.is_empty())
            && number(to)? < least
        {
            return Err(Problem::Invalid);
        }
        self.out.push_str(&format!("{{{inside}}}"));
        self.quantified()
    }

    fn group(&mut self, level: usize) -> Result<bool, Problem> {
        let before = self.flags;
        if self.chars.next_if_eq(&'?').is_none() {
            self.written += 1;
            self.groups.push(self.written);
            self.out.push('(');
        } else {
            match self.chars.next() {
                Some(':') => self.out.push_str("(?:"),
                Some('=' | '!') => return Err(unsupported("looking ahead (?=…)")),
                Some('>') => return Err(unsupported("an atomic group (?>…)")),
                Some('<') => match self.chars.peek() {
                    Some('=' | '!') => return Err(unsupported("looking behind (?<=…)")),
                    _ => {
                        self.group_name()?;
                        self.written += 1;
                        self.groups.push(self.written);
                        self.out.push('(');
                    }
                },
                Some(first) => {
                    if self.set_flags(first)? {
                        // `(?i)`: for the rest of the group around it.
                        return Ok(false);
                    }
                    self.out.push_str("(?:");
                }
                None => return Err(Problem::Invalid),
            }
        }
        self.alternatives(level + 1)?;
        if self.chars.next() != Some(')') {
            return Err(Problem::Invalid);
        }
        self.out.push(')');
        self.flags = before;
        Ok(true)
    }

    fn group_name(&mut self) -> Result<(), Problem> {
        let mut name = String::new();
        loop {
            match self.chars.next() {
                Some('>') if !name.is_empty() => return Ok(()),
                Some(c) if c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty()) => {
                    name.push(c);
                }
                _ => return Err(Problem::Invalid),
            }
        }
    }

    /// `(?i)`, which is the whole of the group (true), or `(?i:`.
    fn set_flags(&mut self, first: char) -> Result<bool, Problem> {
        let mut on = true;
        let mut next = Some(first);
        loop {
            match next {
                Some('-') if on => on = false,
                Some('i') => self.flags.any_case = on,
                Some('s') => self.flags.dot_all = on,
                Some(c @ ('m' | 'x' | 'u' | 'd' | 'U')) => {
                    return Err(unsupported(&format!("the flag {c}")));
                }
                Some(')') => return Ok(true),
                Some(':') => return Ok(false),
                _ => return Err(Problem::Invalid),
            }
            next = self.chars.next();
        }
    }

    /// `$`: at the end, or before an end of a line that is the last.
    fn end(&mut self) -> Result<(), Problem> {
        if !matches!(self.chars.peek(), None | Some(')' | '|')) {
            return Err(unsupported("a $ before the end of an alternative"));
        }
        self.written += 1;
        self.ends.push(self.written);
        self.out.push_str(&format!(r"((?:\r\n|[{LINE_ENDS}])?\z)"));
        Ok(())
    }

    /// Returns whether it can be repeated.
    fn escape(&mut self) -> Result<bool, Problem> {
        let Some(c) = self.chars.next() else {
            return Err(Problem::Invalid);
        };
        match c {
            'b' => {
                self.out.push_str(r"\b");
                return Ok(false);
            }
            'B' => {
                self.out.push_str(r"\B");
                return Ok(false);
            }
            'A' => {
                self.out.push_str(r"\A");
                return Ok(false);
            }
            'z' => {
                self.out.push_str(r"\z");
                return Ok(false);
            }
            'Z' => {
                self.end()?;
                return Ok(false);
            }
            'Q' => {
                let mut any = false;
                while let Some(c) = self.chars.next() {
                    if c == '\\' && self.chars.next_if_eq(&'E').is_some() {
                        break;
                    }
                    self.letter(c);
                    any = true;
                }
                return Ok(any);
            }
            'R' => {
                self.out
                    .push_str(r"(?:\r\n|[\n\x0B\f\r\u{85}\u{2028}\u{2029}])");
                return Ok(true);
            }
            '1'..='9' => return Err(unsupported("a back-reference")),
            'k' => return Err(unsupported("a back-reference")),
            'G' => return Err(unsupported("\\G")),
            'X' => return Err(unsupported("\\X")),
            'N' => return Err(unsupported("\\N")),
            _ => {}
        }
        match self.class_escape(c)? {
            Escaped::Set(set) => self.out.push_str(&format!("[{set}]")),
            Escaped::Letter(c) => self.letter(c),
        }
        Ok(true)
    }

    fn letter(&mut self, c: char) {
        if self.flags.any_case && c.is_ascii_alphabetic() {
            let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
            self.out.push_str(&format!("[{lower}{upper}]"));
        } else {
            self.out.push_str(&hex(c));
        }
    }
}
