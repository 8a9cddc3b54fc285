//! Java's regular expressions, on an engine without backtracking.
//!
//! A pattern is rewritten to what the `regex` crate takes, sign by sign, so that it finds what `java.util.regex` finds: `\d`, `\w` and `\s` are
//! ASCII, `.` stops at five ends of lines, `(?i)` is for ASCII letters, `$` may stand before the last end of a line. What needs
//! backtracking (back-references, looking ahead and behind, possessive quantifiers) or has no counterpart is [`Problem::Unsupported`], in words;
//! what Java itself refuses is [`Problem::Invalid`]. In both engines the leftmost alternative wins, so what is found is the same.

use regex::Regex;

/// Why a pattern does not become a [`JavaRegex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Java refuses it, too.
    Invalid,
    /// Java takes it.
    Unsupported(String),
}

/// A pattern of Java's.
#[derive(Clone, Debug)]
pub(super) struct JavaRegex {
    regex: Regex,
    /// The script's groups, by number, and which ones they are here: `$` needs some of its own.
    groups: Vec<usize>,
    /// The groups that hold the end of a line before which a `$` stands.
    ends: Vec<usize>,
}

impl JavaRegex {
    pub(super) fn new(pattern: &str) -> Result<JavaRegex, Problem> {
        let mut translator = Translator::new(pattern);
        translator.alternatives(0)?;
        if translator.chars.next().is_some() {
            return Err(Problem::Invalid);
        }
        let regex = regex::RegexBuilder::new(&translator.out)
            .size_limit(4 << 20)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => unsupported("a pattern as large as this"),
                _ => Problem::Invalid,
            })?;
        Ok(JavaRegex {
            regex,
            groups: translator.groups,
            ends: translator.ends,
        })
    }

    /// Groups that a script counts, without the whole.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len() - 1
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The matches from the left. Behind one of nothing the search goes on at the next letter; there may be one of nothing right behind
    /// another.
    pub(super) fn find_all<'t>(
        &self,
        text: &'t str,
    ) -> impl Iterator<Item = Found<'t>> + use<'_, 't> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let captures = self.regex.captures_at(text, from?)?;
            let found = self.found(&captures);
            from = match text[found.end..].chars().next() {
                _ if found.end > found.start => Some(found.end),
                Some(letter) => Some(found.end + letter.len_utf8()),
                None => None,
            };
            Some(found)
        })
    }

    pub(super) fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        let captures = self.regex.captures(text)?;
        Some(self.found(&captures))
    }

    /// The pieces between matches, as Java's `split` gives them: of nothing before a first match of nothing, and none of nothing at the end,
    /// unless there is a limit.
    pub(super) fn split<'t>(&self, text: &'t str, limit: usize) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for found in self.find_all(text) {
            if pieces.len() + 1 == limit {
                break;
            }
            if found.end > 0 {
                pieces.push(&text[from..found.start]);
                from = found.end;
            }
        }
        pieces.push(&text[from..]);
        while limit == usize::MAX && pieces.len() > 1 && pieces.last() == Some(&"") {
            pieces.pop();
        }
        pieces
    }

    fn found<'t>(&self, captures: &regex::Captures<'t>) -> Found<'t> {
        let whole = captures.get(0).expect("a match has a whole");
        let ends = self.ends.iter().filter_map(|group| captures.get(*group));
        let end = ends.map(|end| end.start()).min().unwrap_or(whole.end());
        let of = |group: &usize| {
            let text = captures.get(*group)?.as_str();
            // A group that goes on beyond the `$` ends where the match does.
            let start = captures.get(*group)?.start();
            Some(&text[..text.len().min(end.saturating_sub(start))])
        };
        Found {
            start: whole.start(),
            end,
            groups: self.groups.iter().map(of).collect(),
        }
    }
}

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    /// In bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The whole, then the groups; `None` for those that took no part.
    pub(super) groups: Vec<Option<&'t str>>,
}

fn unsupported(what: &str) -> Problem {
    Problem::Unsupported(format!("{what} is not supported in a regular expression"))
}

const LINE_ENDS: &str = r"\n\r\u{85}\u{2028}\u{2029}";
const MOST_LEVELS: usize = 100;

#[derive(Clone, Copy)]
struct Flags {
    /// `i`: ASCII letters in either case.
    any_case: bool,
    /// `s`: the point takes ends of lines.
    dot_all: bool,
}

struct Translator<'p> {
    chars: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    flags: Flags,
    groups: Vec<usize>,
    ends: Vec<usize>,
    /// Groups in the pattern that is written.
    written: usize,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str) -> Translator<'p> {
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
    fn alternatives(&mut self, level: usize) -> Result<(), Problem> {
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

    /// What may stand in a class, too.
    fn class_escape(&mut self, c: char) -> Result<Escaped, Problem> {
        let set = |set: &str| Ok(Escaped::Set(set.to_string()));
        match c {
            'd' => set("0-9"),
            'D' => set("[^0-9]"),
            'w' => set("a-zA-Z_0-9"),
            'W' => set("[^a-zA-Z_0-9]"),
            's' => set(r" \t\n\x0B\f\r"),
            'S' => set(r"[^ \t\n\x0B\f\r]"),
            'h' => set(BLANKS),
            'H' => set(&format!("[^{BLANKS}]")),
            'v' => set(r"\n\x0B\f\r\u{85}\u{2028}\u{2029}"),
            'V' => set(r"[^\n\x0B\f\r\u{85}\u{2028}\u{2029}]"),
            'p' | 'P' => Ok(Escaped::Set(self.property(c == 'P')?)),
            't' => Ok(Escaped::Letter('\t')),
            'n' => Ok(Escaped::Letter('\n')),
            'r' => Ok(Escaped::Letter('\r')),
            'f' => Ok(Escaped::Letter('\u{c}')),
            'a' => Ok(Escaped::Letter('\u{7}')),
            'e' => Ok(Escaped::Letter('\u{1b}')),
            'x' if self.chars.next_if_eq(&'{').is_some() => {
                let mut digits = String::new();
                loop {
                    match self.chars.next() {
                        Some('}') => break,
                        Some(c) => digits.push(c),
                        None => return Err(Problem::Invalid),
                    }
                }
                code_point(&digits)
            }
            'x' => self.digits(2),
            'u' => self.digits(4),
            '0' => {
                let mut number = 0;
                let mut any = false;
                while let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(8))
                    && number * 8 + digit <= 0o377
                {
                    self.chars.next();
                    number = number * 8 + digit;
                    any = true;
                }
                let letter = char::from_u32(number).filter(|_| any);
                letter.map(Escaped::Letter).ok_or(Problem::Invalid)
            }
            'c' => match self.chars.next() {
                Some(c) if c.is_ascii() => Ok(Escaped::Letter(char::from(c as u8 ^ 64))),
                _ => Err(Problem::Invalid),
            },
            c if c.is_ascii_alphabetic() => Err(Problem::Invalid),
            c => Ok(Escaped::Letter(c)),
        }
    }

    fn digits(&mut self, count: usize) -> Result<Escaped, Problem> {
        let digits: String = self.chars.by_ref().take(count).collect();
        if digits.chars().count() < count {
            return Err(Problem::Invalid);
        }
        code_point(&digits)
    }

    /// `\pL`, `\p{Lu}`, `\p{Lower}`, `\p{IsGreek}`.
    fn property(&mut self, negated: bool) -> Result<String, Problem> {
        let mut name = String::new();
        match self.chars.next() {
            Some('{') => loop {
                match self.chars.next() {
                    Some('}') => break,
                    Some(c) => name.push(c),
                    None => return Err(Problem::Invalid),
                }
            },
            Some(c) => name.push(c),
            None => return Err(Problem::Invalid),
        }
        let set = match name.as_str() {
            "Lower" if self.flags.any_case => "a-zA-Z".to_string(),
            "Upper" if self.flags.any_case => "a-zA-Z".to_string(),
            "Lower" => "a-z".to_string(),
            "Upper" => "A-Z".to_string(),
            "ASCII" => r"\x00-\x7F".to_string(),
            "Alpha" => "a-zA-Z".to_string(),
            "Digit" => "0-9".to_string(),
            "Alnum" => "a-zA-Z0-9".to_string(),
            "Punct" => r"!-/:-@\[-`{-~".to_string(),
            "Graph" => "!-~".to_string(),
            "Print" => " -~".to_string(),
            "Blank" => r" \t".to_string(),
            "Cntrl" => r"\x00-\x1F\x7F".to_string(),
            "XDigit" => "0-9a-fA-F".to_string(),
            "Space" => r" \t\n\x0B\f\r".to_string(),
            name if GENERAL_CATEGORIES.contains(&name) => format!(r"\p{{{name}}}"),
            name => match name.strip_prefix("Is") {
                Some(category) if GENERAL_CATEGORIES.contains(&category) => {
                    format!(r"\p{{{category}}}")
                }
                Some("Alphabetic") => r"\p{Alphabetic}".to_string(),
                Some("Latin") => r"\p{Latin}".to_string(),
                Some("Greek") => r"\p{Greek}".to_string(),
                Some("Cyrillic") => r"\p{Cyrillic}".to_string(),
                _ => return Err(unsupported(&format!("\\p{{{name}}}"))),
            },
        };
        Ok(match negated {
            true => format!("[^{set}]"),
            false => set,
        })
    }

    fn letter(&mut self, c: char) {
        if self.flags.any_case && c.is_ascii_alphabetic() {
            let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
            self.out.push_str(&format!("[{lower}{upper}]"));
        } else {
            self.out.push_str(&hex(c));
        }
    }

    /// A class behind its `[`, with brackets.
    fn class(&mut self, level: usize) -> Result<String, Problem> {
        if level > MOST_LEVELS {
            return Err(unsupported("a pattern nested as deep as this"));
        }
        let mut out = String::from("[");
        if self.chars.next_if_eq(&'^').is_some() {
            out.push('^');
        }
        let mut any = false;
        loop {
            let Some(c) = self.chars.next() else {
                return Err(Problem::Invalid);
            };
            match c {
                ']' if any => break,
                '[' => out.push_str(&self.class(level + 1)?),
                '&' if self.chars.next_if_eq(&'&').is_some() => {
                    if !any || matches!(self.chars.peek(), Some(']' | '&')) {
                        return Err(unsupported("&& without two sides"));
                    }
                    out.push_str("&&");
                }
                c => {
                    let first = match c {
                        '\\' => {
                            let Some(c) = self.chars.next() else {
                                return Err(Problem::Invalid);
                            };
                            if c == 'Q' {
                                return Err(unsupported("\\Q in a class"));
                            }
                            self.class_escape(c)?
                        }
                        c => Escaped::Letter(c),
                    };
                    let piece = self.range(first)?;
                    out.push_str(&piece);
                }
            }
            any = true;
        }
        out.push(']');
        Ok(out)
    }

    /// A letter of a class, or a range that begins with it.
    fn range(&mut self, first: Escaped) -> Result<String, Problem> {
        let from = match first {
            Escaped::Set(set) => return Ok(format!("[{set}]")),
            Escaped::Letter(c) => c,
        };
        let mut ahead = self.chars.clone();
        let ranges = ahead.next() == Some('-') && !matches!(ahead.next(), Some(']' | '[') | None);
        let to = if ranges {
            self.chars.next();
            match self.chars.next() {
                Some('\\') => {
                    let Some(c) = self.chars.next() else {
                        return Err(Problem::Invalid);
                    };
                    match self.class_escape(c)? {
                        Escaped::Letter(c) => c,
                        Escaped::Set(_) => return Err(Problem::Invalid),
                    }
                }
                Some(c) => c,
                None => return Err(Problem::Invalid),
            }
        } else {
            from
        };
        if to < from {
            return Err(Problem::Invalid);
        }
        let mut piece = format!("{}-{}", hex(from), hex(to));
        if self.flags.any_case {
            for (low, high, swap) in [('a', 'z', -32i32), ('A', 'Z', 32)] {
                let (low, high) = (from.max(low), to.min(high));
                if low <= high {
                    let swapped = |c: char| {
                        char::from_u32((c as u32).wrapping_add_signed(swap))
                            .map(hex)
                            .unwrap_or_default()
                    };
                    piece += &format!("{}-{}", swapped(low), swapped(high));
                }
            }
        }
        Ok(piece)
    }
}

enum Escaped {
    Letter(char),
    /// The inside of a class.
    Set(String),
}

const BLANKS: &str = r" \t\u{A0}\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}";

const GENERAL_CATEGORIES: &[&str] = &[
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C",
    "Cc", "Cf", "Co", "Cn",
];

fn code_point(digits: &str) -> Result<Escaped, Problem> {
    let number = u32::from_str_radix(digits, 16).map_err(|_| Problem::Invalid)?;
    match char::from_u32(number) {
        Some(c) => Ok(Escaped::Letter(c)),
        None => Err(unsupported("half of a surrogate pair")),
    }
}

/// A letter that means itself wherever it stands.
fn hex(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    format!("\\u{{{:x}}}", c as u32)
}

/// A pattern of `SIMILAR TO`, as Calcite makes a regular expression of it: the point is any letter there, too.
///
/// # Errors
/// What Calcite refuses.
pub(super) fn of_similar(pattern: &str, escape: Option<char>) -> Result<String, String> {
    let wrong = || format!("'{pattern}' is no pattern of SIMILAR TO");
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                Some(next) if SPECIAL.contains(next) || Some(next) == escape => {
                    out.push('\\');
                    out.push(next);
                }
                _ => return Err(wrong()),
            }
            continue;
        }
        match c {
            '_' if !in_class => out.push('.'),
            '%' if !in_class => out.push_str("(?:.|\\n)*"),
            '[' if in_class => {
                let rest: String = chars.clone().collect();
                let named = CLASSES
                    .iter()
                    .find(|(name, _)| rest.to_ascii_uppercase().starts_with(name));
                let Some((name, class)) = named else {
                    return Err(wrong());
                };
                out.push_str(class);
                (0..name.chars().count()).for_each(|_| {
                    chars.next();
                });
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '\\' => out.push_str("\\\\"),
            c if in_class && !matches!(c, '-') && !c.is_alphanumeric() => {
                out.push('\\');
                out.push(c);
            }
            '$' => out.push_str("\\$"),
            c => out.push(c),
        }
    }
    if in_class {
        return Err(wrong());
    }
    Ok(out)
}

const SPECIAL: &str = "_%|*+?{}()[]^-:\\.$";

const CLASSES: &[(&str, &str)] = &[
    (":ALPHA:]", r"\p{Alpha}"),
    (":UPPER:]", r"\p{Upper}"),
    (":LOWER:]", r"\p{Lower}"),
    (":DIGIT:]", r"\d"),
    (":SPACE:]", " "),
    (":WHITESPACE:]", r"\s"),
    (":ALNUM:]", r"\p{Alnum}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> Option<(usize, usize)> {
        let regex = JavaRegex::new(pattern).expect(pattern);
        regex.find(text).map(|found| (found.start, found.end))
    }

    #[test]
    fn a_dollar_stands_before_the_last_end_of_a_line_and_takes_none_of_it() {
        assert_eq!(whole("a$", "a\r\n"), Some((0, 1)));
        assert_eq!(whole("a$", "a\nb"), None);
        assert_eq!(whole("(a$|b)", "ba\n"), Some((0, 1)));
        let regex = JavaRegex::new("(a$)").expect("a pattern");
        let found = regex.find("xa\n").expect("a match");
        assert_eq!(found.groups, [Some("a"), Some("a")]);
        assert_eq!(
            regex.group_count(),
            1,
            "the group of the dollar is not the script's"
        );
    }

    #[test]
    fn matches_of_nothing_may_stand_behind_others() {
        let regex = JavaRegex::new("a*").expect("a pattern");
        let found: Vec<_> = regex.find_all("aab").map(|f| (f.start, f.end)).collect();
        assert_eq!(found, [(0, 2), (2, 2), (3, 3)]);
    }
}
