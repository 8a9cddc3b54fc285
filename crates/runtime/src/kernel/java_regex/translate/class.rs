//! What stands in a class of letters, and what stands for one.

use super::{MOST_LEVELS, Problem, Translator, unsupported};

impl Translator<'_> {
    /// What may stand in a class, too.
    pub(super) fn class_escape(&mut self, c: char) -> Result<Escaped, Problem> {
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

    /// A class behind its `[`, with brackets.
    pub(super) fn class(&mut self, level: usize) -> Result<String, Problem> {
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

pub(super) enum Escaped {
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
pub(super) fn hex(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    format!("\\u{{{:x}}}", c as u32)
}
