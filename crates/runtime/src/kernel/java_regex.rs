//! Java's regular expressions, on an engine without backtracking.
//!
//! A pattern is rewritten to what the `regex` crate takes, sign by sign, so that it finds what `java.util.regex` finds: `\d`, `\w` and `\s` are
//! ASCII, `.` stops at five ends of lines, `(?i)` is for ASCII letters, `$` may stand before the last end of a line. What needs
//! backtracking (back-references, looking ahead and behind, possessive quantifiers) or has no counterpart is [`Problem::Unsupported`], in words;
//! what Java itself refuses is [`Problem::Invalid`]. In both engines the leftmost alternative wins, so what is found is the same.

mod translate;

use regex::Regex;
use translate::Translator;

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
