//! What the planner tells the person who wrote the script: one message, where it points, and what to do about it.
//!
//! A message has four parts, and each has one job. *Message*: what is wrong, short, in the script's words. *Detail*: what it
//! means, in sentences. *Hint*: something to type. *Span*: the bytes of the script that the caret stands under. The same value
//! is rendered for a terminal (`render`) and serialised as it is for `-o json`, so the two can never disagree.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
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

    /// The message over its lines of the script, without colours.
    pub fn render(&self, name: &str, text: &str) -> String {
        self.render_with(name, text, GraphicalTheme::unicode_nocolor())
    }

    /// The message over its lines of the script, for a terminal.
    pub fn render_in_colour(&self, name: &str, text: &str) -> String {
        self.render_with(name, text, GraphicalTheme::unicode())
    }

    fn render_with(&self, name: &str, text: &str, theme: GraphicalTheme) -> String {
        let report = Report {
            diagnostic: self,
            detail: self.detail.clone().map(Detail),
            source: NamedSource::new(name, text.to_string()),
        };
        let mut out = String::new();
        GraphicalReportHandler::new_themed(theme)
            .with_width(110)
            .with_links(false)
            .render_report(&mut out, &report)
            .expect("writing to a String cannot fail");
        out
    }
}

/// Why a script was refused: at least one error, in the order of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn render(&self, name: &str, text: &str) -> String {
        let all: Vec<String> = self.0.iter().map(|d| d.render(name, text)).collect();
        all.join("\n")
    }

    pub fn render_in_colour(&self, name: &str, text: &str) -> String {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|d| d.render_in_colour(name, text))
            .collect();
        all.join("\n")
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
    source: NamedSource<String>,
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
        f.write_str(&self.diagnostic.message)
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
        let hint = self.diagnostic.hint.as_ref()?;
        Some(Box::new(hint))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Span { start, end } = self.diagnostic.span;
        let label = LabeledSpan::new(None, start, end.saturating_sub(start));
        Some(Box::new(std::iter::once(label)))
    }
}
