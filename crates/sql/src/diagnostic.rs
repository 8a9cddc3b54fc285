//! What the planner tells the person who wrote the script: one message, where it points, and what to do about it.
//!
//! A message has four parts, and each has one job. *Message*: what is wrong, short, in the script's words. *Detail*: what it
//! means, in sentences. *Hint*: something to type. *Span*: the bytes of the script that are underlined. The same value is
//! rendered for people ([`Diagnostic::render`]) and given to programs ([`Diagnostics::located`]), so the two never disagree.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Bytes of the script, `end` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// From the start of the one that begins first to the end of the one that ends last.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The script is not run.
    Error,
    /// The script is run; the reader should know this.
    Notice,
}

/// One thing to tell about a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable name of this kind of message (`unknown-column`), for programs.
    pub code: Cow<'static, str>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    pub span: Span,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: Cow::Borrowed(code),
            message: message.into(),
            detail: None,
            hint: None,
            span,
        }
    }

    pub fn notice(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Notice,
            ..Diagnostic::error(code, span, message)
        }
    }

    /// Something that Flink has and this version does not: refused, never ignored.
    pub fn unsupported(span: Span, what: impl fmt::Display) -> Diagnostic {
        Diagnostic::error("unsupported", span, format!("{what} not supported yet"))
    }

    /// A place that cannot be planned because of something that was told before: whoever meets it stays silent.
    pub(crate) fn told_before(span: Span) -> Diagnostic {
        Diagnostic::error(TOLD_BEFORE, span, "what this is made of was refused")
    }

    pub(crate) fn is_told_before(&self) -> bool {
        self.code == TOLD_BEFORE
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Diagnostic {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// `hint`, where there is one to give.
    #[must_use]
    pub fn hint_if(mut self, hint: Option<String>) -> Diagnostic {
        self.hint = hint.or(self.hint);
        self
    }

    /// The message over its lines of the script. `file` is what the reader calls the script.
    pub fn render(&self, file: &str, text: &str) -> String {
        let report = Report {
            diagnostic: self,
            detail: self.detail.as_deref().map(visible).map(Detail),
            excerpt: Excerpt::around(self.span, file, text),
        };
        let mut out = String::new();
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_width(110)
            .with_links(false)
            .render_report(&mut out, &report)
            .expect("writing to a String cannot fail");
        out
    }
}

const TOLD_BEFORE: &str = "told-before";

/// What there is to tell, found so far. One run of a script shows every mistake in it, so whoever checks several things that do
/// not need each other checks them all: each failure is told here and the rest goes on without its value.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<Diagnostic>);

impl Told {
    pub(crate) fn tell(&mut self, diagnostic: Diagnostic) {
        if !diagnostic.is_told_before() {
            self.0.push(diagnostic);
        }
    }

    /// The value; or nothing, and why is told.
    pub(crate) fn settle<T>(&mut self, result: crate::Result<T>) -> Option<T> {
        result.map_err(|error| self.tell(error)).ok()
    }

    pub(crate) fn append(&mut self, more: Told) {
        self.0.extend(more.0);
    }

    pub(crate) fn errors(&self) -> usize {
        let errors = self.0.iter().filter(|d| d.severity == Severity::Error);
        errors.count()
    }

    /// Errors, then notices, each in the order of the script and once. A view's mistakes, for one, are met wherever it is used.
    pub(crate) fn sorted(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.0.sort_by_key(|d| (d.span.start, d.span.end));
        let mut once: Vec<Diagnostic> = Vec::with_capacity(self.0.len());
        for diagnostic in self.0 {
            let same_place = once.iter().rev().take_while(|d| d.span == diagnostic.span);
            if !same_place.into_iter().any(|d| *d == diagnostic) {
                once.push(diagnostic);
            }
        }
        once.into_iter()
            .partition(|d| d.severity == Severity::Error)
    }
}

/// A message with the place that an editor can jump to; what `-o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
}

/// Why a script was refused: at least one error, in the order of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn render(&self, file: &str, text: &str) -> String {
        let all: Vec<String> = self.0.iter().map(|d| d.render(file, text)).collect();
        all.join("\n")
    }

    /// The messages with their places as line and column.
    pub fn located(&self, file: &str, text: &str) -> Vec<Located> {
        let locate = |diagnostic: &Diagnostic| {
            let (line, column) = place(text, diagnostic.span.start);
            Located {
                file: file.to_string(),
                line: line + 1,
                column: column + 1,
                diagnostic: diagnostic.clone(),
            }
        };
        self.0.iter().map(locate).collect()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A diagnostic as `miette` draws it: the detail stands as the cause, the hint as the help.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    detail: Option<Detail>,
    excerpt: Excerpt<'a>,
}

#[derive(Debug)]
struct Detail(String);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Detail {}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.diagnostic.message))
    }
}

impl std::error::Error for Report<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.as_ref().map(|detail| detail as _)
    }
}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Notice => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = visible(self.diagnostic.hint.as_ref()?);
        Some(Box::new(hint))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Span { start, end } = self.excerpt.underlined;
        let label = LabeledSpan::new(None, start, end - start);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The part of a script that a message shows: the lines of its span and one on each side. A script may have a line of a
/// megabyte and a statement of a thousand lines; what is shown of them fits a screen.
#[derive(Debug)]
struct Excerpt<'a> {
    file: &'a str,
    text: &'a str,
    underlined: Span,
    shown: Span,
    /// What stands in `shown`, byte for byte, but for what a terminal would obey.
    lines: String,
}

/// A longer span is underlined on its first line only.
const UNDERLINED_LINES: usize = 6;
/// Longer excerpts are cut to the place and `AROUND_BYTES` on each side of it.
const SHOWN_BYTES: usize = 1_000;
const AROUND_BYTES: usize = 80;

impl<'a> Excerpt<'a> {
    fn around(span: Span, file: &'a str, text: &'a str) -> Excerpt<'a> {
        let start = text.floor_char_boundary(span.start);
        let mut end = text.ceil_char_boundary(span.end).max(start);
        let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |n| n + 1);
        let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |n| at + n);
        if text[start..end].lines().count() > UNDERLINED_LINES {
            end = line_end(start);
        }
        let before = line_start(line_start(start).saturating_sub(1));
        let after = line_end((line_end(end) + 1).min(text.len()));
        let mut shown = Span::new(before, after);
        if after - before > SHOWN_BYTES {
            end = end
                .min(line_end(start))
                .min(text.ceil_char_boundary(start + AROUND_BYTES));
            let from = text.floor_char_boundary(start.saturating_sub(AROUND_BYTES));
            let to = text.ceil_char_boundary(end + AROUND_BYTES);
            shown = Span::new(from.max(line_start(start)), to.min(line_end(end)));
        }
        Excerpt {
            file,
            text,
            underlined: Span::new(start, end),
            shown,
            lines: harmless(&text[shown.start..shown.end]),
        }
    }
}

impl SourceCode for Excerpt<'_> {
    /// `miette` asks twice: without context for the place in the frame's head, with context for the lines below it.
    fn read_span<'s>(
        &'s self,
        _: &SourceSpan,
        context_before: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'s> + 's>, MietteError> {
        let (span, data) = if context_before == 0 {
            (self.underlined, "")
        } else {
            (self.shown, self.lines.as_str())
        };
        let (line, column) = place(self.text, span.start);
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.to_string(),
            data.as_bytes(),
            SourceSpan::from((span.start, span.end - span.start)),
            line,
            column,
            data.lines().count(),
        )))
    }
}

/// Line and column of a byte, both from 0, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    (line, before[line_start..].chars().count())
}

/// Characters that a terminal obeys instead of showing: control characters, and those that turn the direction of writing.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Names what a terminal would obey: `\u{1b}`.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let named = is_obeyed(c).then(|| c.escape_unicode());
            let plain = (!is_obeyed(c)).then_some(c);
            named.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// The same number of bytes, without what a terminal would obey.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_line = c == '\r' && chars.peek() == Some(&'\n');
        match c.len_utf8() {
            _ if ends_line || !is_obeyed(c) => out.push(c),
            3 => out.push(char::REPLACEMENT_CHARACTER),
            bytes => out.extend(std::iter::repeat_n('?', bytes)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, token: &str, expected: Expect) {
        let start = text.find(token).expect("the token is in the text");
        let span = Span::new(start, start + token.len());
        let error = Diagnostic::error("syntax", span, "unexpected").hint("type something else");
        expected.assert_eq(&error.render("f.sql", text));
    }

    #[test]
    fn a_line_of_a_megabyte_is_shown_around_the_place() {
        let text = format!(
            "SELECT\n{} HERE {}\nFROM t",
            "a, ".repeat(99_999),
            "b ".repeat(500_000)
        );
        check(
            &text,
            "HERE",
            expect![[r#"
            syntax

              × unexpected
               ╭─[f.sql:2:299999]
             2 │  a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a,  HERE b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b
               ·                                                                                 ────
               ╰────
              help: type something else
        "#]],
        );
    }

    #[test]
    fn a_statement_of_many_lines_is_underlined_on_its_first() {
        let lines: Vec<String> = (0..100).map(|i| format!("INSERT {i}")).collect();
        let text = lines.join("\n");
        check(
            &text,
            &lines[3..60].join("\n"),
            expect![[r#"
            syntax

              × unexpected
               ╭─[f.sql:4:1]
             3 │ INSERT 2
             4 │ INSERT 3
               · ────────
             5 │ INSERT 4
               ╰────
              help: type something else
        "#]],
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        check(
            "SELECT '\u{1b}[31mred', '\u{202e}', x FROM t",
            "x",
            expect![[r#"
                syntax

                  × unexpected
                   ╭─[f.sql:1:25]
                 1 │ SELECT '?[31mred', '�', x FROM t
                   ·                         ─
                   ╰────
                  help: type something else
            "#]],
        );
        assert_eq!(
            visible("unexpected `\0`, `\u{feff}`"),
            "unexpected `\\u{0}`, `\\u{feff}`"
        );
    }

    #[test]
    fn lines_may_end_as_windows_ends_them() {
        check(
            "SELECT a,\r\n  b\r\nFROM t",
            "b",
            expect![[r#"
            syntax

              × unexpected
               ╭─[f.sql:2:3]
             1 │ SELECT a,
             2 │   b
               ·   ─
             3 │ FROM t
               ╰────
              help: type something else
        "#]],
        );
    }

    #[test]
    fn any_place_in_any_text_can_be_shown() {
        for text in ["", "\n", "\r\n\r\n", "ä", "日本\n\nx\u{0}", "a\n"] {
            for start in 0..text.len() + 2 {
                for end in 0..text.len() + 2 {
                    let diagnostics =
                        Diagnostics::from(Diagnostic::error("x", Span::new(start, end), "m"));
                    assert!(diagnostics.render("f.sql", text).contains("f.sql:"));
                    assert_eq!(diagnostics.located("f.sql", text).len(), 1);
                }
            }
        }
    }
}
