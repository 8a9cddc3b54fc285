//! The text of a script as tokens with places, cut into statements.
//!
//! The whole text is tokenised once; a statement, a query, an expression and a type are slices of that one list. So every
//! place that anything reports is a place in the file that the user wrote.
//!
//! Comments are `--`, `/* … */` and, as a courtesy to listings in articles, a line that begins with `//`. A hint (`/*+ … */`)
//! is not a comment: it is kept with the token that it follows, and whoever does not understand it must refuse it.

use crate::diagnostic::{Diagnostic, Span};
use crate::dialect::FlinkDialect;
use sqlparser::tokenizer::{Location, Span as TokenSpan, Token, TokenWithSpan, Tokenizer};
use sqlparser::tokenizer::{Whitespace, Word};

pub(crate) struct Script<'a> {
    pub text: &'a str,
    /// Without whitespace and comments.
    pub tokens: Vec<TokenWithSpan>,
    pub hints: Vec<Hint>,
    /// Tokens that are not Flink's; in their place stands what was meant.
    pub mistakes: Vec<Diagnostic>,
    /// Where comments begin that Flink does not have.
    pub slash_comments: Vec<usize>,
    /// Byte at which each line begins, and the number of letters before it.
    lines: Vec<(usize, usize)>,
    /// Byte at which each letter begins; empty where letters are bytes.
    letters: Vec<usize>,
}

/// Longer scripts are refused: whoever reads one of a megabyte waits, and a person did not write it.
pub const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// `/*+ … */`.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    /// What stands between `/*+` and `*/`.
    pub tokens: Vec<TokenWithSpan>,
    pub span: Span,
    /// Where the token before it ends: the table that it belongs to.
    pub follows: usize,
}

/// What a statement is, by its first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    CreateTable,
    CreateView,
    CreateDatabase,
    Use,
    Set,
    Reset,
    Drop,
    Insert,
    StatementSet,
    Explain,
    /// `SELECT`, `WITH`, `VALUES`: a question to tables, answered by `lakeward sql`, not by a pipeline.
    Query,
    /// `SHOW`, `DESCRIBE`.
    Show,
    /// Nothing that this version knows.
    Other,
}

/// A statement of a script: what it is and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementText<'a> {
    pub kind: StatementKind,
    /// Without the closing `;`.
    pub text: &'a str,
    pub span: Span,
}

/// Cuts a script into its statements, without looking into them.
///
/// # Errors
/// Text that is not even tokens: an open quote or an open comment.
pub fn statements(text: &str) -> Result<Vec<StatementText<'_>>, Diagnostic> {
    let script = Script::new(text)?;
    if let Some(mistake) = script.mistakes.first() {
        return Err(mistake.clone());
    }
    let cut = script.statements();
    Ok(cut
        .into_iter()
        .map(|tokens| {
            let span = script.span_of(tokens);
            StatementText {
                kind: kind_of(tokens),
                text: &text[span.start..span.end],
                span,
            }
        })
        .collect())
}

impl<'a> Script<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Script<'a>, Diagnostic> {
        if text.len() > MAX_SCRIPT_BYTES {
            let end = Span::new(MAX_SCRIPT_BYTES, MAX_SCRIPT_BYTES);
            let message = format!("the script has {} bytes", text.len());
            return Err(Diagnostic::error("too-long", end, message)
                .detail(format!("A script has at most {MAX_SCRIPT_BYTES}."))
                .hint("cut it into scripts of some INSERTs each: each is a pipeline of its own"));
        }
        let mut script = Script {
            text,
            tokens: Vec::new(),
            hints: Vec::new(),
            mistakes: Vec::new(),
            slash_comments: Vec::new(),
            lines: vec![(0, 0)],
            letters: Vec::new(),
        };
        if !text.is_ascii() {
            script.letters = text.char_indices().map(|(at, _)| at).collect();
        }
        for (letter, (at, _)) in text
            .char_indices()
            .enumerate()
            .filter(|(_, (_, c))| *c == '\n')
        {
            script.lines.push((at + 1, letter + 1));
        }
        let blanked = blank_slash_comments(text, &mut script.slash_comments);
        for token in script.tokenize(&blanked, Location::new(1, 1))? {
            script.keep(token)?;
        }
        Ok(script)
    }

    /// The tokens of a text that begins at `start` of the script.
    fn tokenize(&self, text: &str, start: Location) -> Result<Vec<TokenWithSpan>, Diagnostic> {
        let place = |mut at: Location| {
            if at.line == 1 {
                at.column += start.column - 1;
            }
            at.line += start.line - 1;
            at
        };
        let mut tokens = Tokenizer::new(&FlinkDialect, text)
            .tokenize_with_location()
            .map_err(|error| self.tokenizer_error(&error.message, place(error.location)))?;
        for token in &mut tokens {
            token.span = TokenSpan::new(place(token.span.start), place(token.span.end));
        }
        Ok(tokens)
    }

    fn keep(&mut self, token: TokenWithSpan) -> Result<(), Diagnostic> {
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with('+') => {
                let follows = self.tokens.last().map_or(0, |t| self.offset(t.span.end));
                let Location { line, column } = token.span.start;
                let inside = Location::new(line, column + "/*+".len() as u64);
                let mut tokens = self.tokenize(&text[1..], inside)?;
                tokens.retain(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF));
                let span = self.span(token.span);
                self.hints.push(Hint {
                    tokens,
                    span,
                    follows,
                });
            }
            Token::Whitespace(_) | Token::EOF => {}
            Token::DoubleQuotedString(name) => {
                let error = Diagnostic::error(
                    "syntax",
                    self.span(token.span),
                    "double quotes do not quote anything",
                )
                .detail("Flink SQL quotes names with backticks and text with single quotes.")
                .hint(format!("write `{name}` for a name, '{name}' for text"));
                let meant = Token::make_word(name, Some('`'));
                self.replace(error, meant, token.span);
            }
            Token::DoubleEq => {
                let error = Diagnostic::error("syntax", self.span(token.span), "unexpected `==`")
                    .hint("equality is one sign: a = b");
                self.replace(error, Token::Eq, token.span);
            }
            Token::Neq if self.written(&token) == "!=" => {
                let error = Diagnostic::error("syntax", self.span(token.span), "unexpected `!=`")
                    .detail("Flink SQL writes it another way.")
                    .hint("a <> b");
                self.replace(error, Token::Neq, token.span);
            }
            Token::HexStringLiteral(digits) if self.written(&token).starts_with('0') => {
                let message = format!("unexpected `0x{digits}`");
                let error = Diagnostic::error("syntax", self.span(token.span), message)
                    .hint(format!("bytes are X'{digits}'; a number is decimal"));
                self.replace(error, Token::Number("0".to_string(), false), token.span);
            }
            _ => self.tokens.push(token),
        }
        Ok(())
    }

    fn replace(&mut self, error: Diagnostic, meant: Token, span: TokenSpan) {
        self.mistakes.push(error);
        self.tokens.push(TokenWithSpan::new(meant, span));
    }

    fn written(&self, token: &TokenWithSpan) -> &str {
        let span = self.span(token.span);
        &self.text[span.start..span.end]
    }

    fn tokenizer_error(&self, message: &str, at: Location) -> Diagnostic {
        let start = self.offset(at);
        let end = self.text[start..]
            .chars()
            .next()
            .map_or(start, |c| start + c.len_utf8());
        let span = Span::new(start, end);
        let message = message.to_ascii_lowercase();
        if message.contains("string literal") {
            Diagnostic::error("syntax", span, "this quote is never closed")
                .hint("a quote inside text is written twice: 'it''s'")
        } else if message.contains("comment") {
            let start = self.text.rfind("/*").unwrap_or(start);
            let span = Span::new(start, (start + 2).min(self.text.len()));
            Diagnostic::error("syntax", span, "a comment is never closed").hint("close it with */")
        } else if message.contains('`') || message.contains("delimiter") {
            Diagnostic::error("syntax", span, "this backtick is never closed")
        } else {
            Diagnostic::error("syntax", span, message)
        }
    }

    /// The statements' tokens, without the `;` between them. A statement set is one statement.
    pub(crate) fn statements(&self) -> Vec<&[TokenWithSpan]> {
        let mut found = Vec::new();
        let mut start = 0;
        let mut in_set = false;
        for (i, token) in self.tokens.iter().enumerate() {
            if token.token != Token::SemiColon {
                continue;
            }
            let here = &self.tokens[start..i];
            in_set = if in_set {
                !ends_a_set(here)
            } else {
                begins_a_set(here) && !ends_a_set(here)
            };
            if !in_set {
                found.push(here);
                start = i + 1;
            }
        }
        found.push(&self.tokens[start..]);
        found.retain(|tokens| !tokens.is_empty());
        found
    }

    /// The byte at a line and column.
    pub(crate) fn offset(&self, at: Location) -> usize {
        let Some(line) = (at.line as usize).checked_sub(1) else {
            return 0;
        };
        let Some(&start) = self.lines.get(line) else {
            return self.text.len();
        };
        let column = (at.column as usize).saturating_sub(1);
        let (start_byte, start_letter) = start;
        if self.letters.is_empty() {
            return (start_byte + column).min(self.text.len());
        }
        let byte = self.letters.get(start_letter + column);
        byte.copied().unwrap_or(self.text.len())
    }

    pub(crate) fn span(&self, span: TokenSpan) -> Span {
        Span::new(self.offset(span.start), self.offset(span.end))
    }

    pub(crate) fn span_of(&self, tokens: &[TokenWithSpan]) -> Span {
        match tokens {
            [] => Span::new(self.text.len(), self.text.len()),
            [first, ..] => {
                let last = tokens.last().unwrap_or(first);
                self.span(first.span).to(self.span(last.span))
            }
        }
    }

    /// As [`Script::tokens_in`], for a place in bytes.
    pub(crate) fn tokens_between(&self, span: Span) -> &[TokenWithSpan] {
        let start = |t: &TokenWithSpan| self.offset(t.span.start);
        let from = self.tokens.partition_point(|t| start(t) < span.start);
        let to = self.tokens.partition_point(|t| start(t) < span.end);
        &self.tokens[from..to.max(from)]
    }

    /// The text of a place without comments and layout; hints stay where they are.
    pub(crate) fn plain_text(&self, span: Span) -> String {
        let written = |token: &TokenWithSpan| {
            let span = self.span(token.span);
            (span.start, &self.text[span.start..span.end])
        };
        let hints = self.hints.iter();
        // One behind the last word of a statement is still the statement's.
        let hints = hints.filter(|hint| span.start < hint.follows && hint.follows <= span.end);
        let hints = hints.flat_map(|hint| {
            let open = (hint.span.start, "/*+");
            let close = (hint.span.end, "*/");
            let inside = hint.tokens.iter().map(written);
            [open].into_iter().chain(inside).chain([close])
        });
        let mut parts: Vec<(usize, &str)> = self.tokens_between(span).iter().map(written).collect();
        parts.extend(hints);
        parts.sort_by_key(|(at, _)| *at);
        let parts: Vec<&str> = parts.into_iter().map(|(_, text)| text).collect();
        parts.join(" ")
    }

    /// The tokens that lie inside a place.
    pub(crate) fn tokens_in(&self, span: TokenSpan) -> &[TokenWithSpan] {
        let from = self.tokens.partition_point(|t| t.span.start < span.start);
        let to = self.tokens.partition_point(|t| t.span.end <= span.end);
        &self.tokens[from..to.max(from)]
    }
}

/// An unquoted word, whatever its case.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}

fn words(tokens: &[TokenWithSpan], expected: &[&str]) -> bool {
    tokens.len() >= expected.len() && tokens.iter().zip(expected).all(|(t, w)| is_word(t, w))
}

/// `EXECUTE STATEMENT SET BEGIN …` and the older `BEGIN STATEMENT SET; …`.
fn begins_a_set(tokens: &[TokenWithSpan]) -> bool {
    let tokens = match tokens {
        [explain, rest @ ..] if is_word(explain, "EXPLAIN") => {
            if words(rest, &["STATEMENT", "SET"]) {
                return true;
            }
            rest
        }
        other => other,
    };
    words(tokens, &["EXECUTE", "STATEMENT", "SET"]) || words(tokens, &["BEGIN", "STATEMENT", "SET"])
}

fn ends_a_set(tokens: &[TokenWithSpan]) -> bool {
    let after_separator = match tokens {
        [.., before, _] => before.token == Token::SemiColon,
        _ => false,
    };
    after_separator && tokens.last().is_some_and(|last| is_word(last, "END"))
}

fn kind_of(tokens: &[TokenWithSpan]) -> StatementKind {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(token, word));
    if is(0, "CREATE") {
        // CREATE [OR REPLACE] [TEMPORARY [SYSTEM]] TABLE …
        let noun = tokens.iter().skip(1).find(|token| {
            !["OR", "REPLACE", "TEMPORARY"]
                .iter()
                .any(|word| is_word(token, word))
        });
        return match noun {
            Some(token) if is_word(token, "TABLE") => StatementKind::CreateTable,
            Some(token) if is_word(token, "VIEW") => StatementKind::CreateView,
            Some(token) if is_word(token, "DATABASE") => StatementKind::CreateDatabase,
            _ => StatementKind::Other,
        };
    }
    if begins_a_set(tokens) && !is(0, "EXPLAIN") {
        return StatementKind::StatementSet;
    }
    let by_first_word = [
        ("INSERT", StatementKind::Insert),
        ("SELECT", StatementKind::Query),
        ("WITH", StatementKind::Query),
        ("VALUES", StatementKind::Query),
        ("USE", StatementKind::Use),
        ("SET", StatementKind::Set),
        ("RESET", StatementKind::Reset),
        ("DROP", StatementKind::Drop),
        ("EXPLAIN", StatementKind::Explain),
        ("SHOW", StatementKind::Show),
        ("DESCRIBE", StatementKind::Show),
        ("DESC", StatementKind::Show),
    ];
    let first = by_first_word.iter().find(|(word, _)| is(0, word));
    match first {
        Some((_, kind)) => *kind,
        None if tokens.first().is_some_and(|t| t.token == Token::LParen) => StatementKind::Query,
        None => StatementKind::Other,
    }
}

/// Replaces each line that begins with `//`, and the mark with which some editors begin a file, by spaces: all places stay. Says
/// where the comments begin.
fn blank_slash_comments(text: &str, comments: &mut Vec<usize>) -> String {
    #[derive(PartialEq)]
    enum In {
        Sql,
        Quote(char),
        Line,
        Block,
        Slashes,
    }
    let mut state = In::Sql;
    let mut at_line_start = true;
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    let mut previous = ' ';
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        state = match state {
            In::Sql => match (c, next) {
                ('/', Some('/')) if at_line_start => {
                    comments.push(at);
                    In::Slashes
                }
                ('/', Some('*')) => In::Block,
                ('-', Some('-')) => In::Line,
                ('\'' | '`' | '"', _) => In::Quote(c),
                _ => In::Sql,
            },
            In::Quote(quote) if c == quote => In::Sql,
            In::Line | In::Slashes if c == '\n' => In::Sql,
            In::Block if previous == '*' && c == '/' => In::Sql,
            other => other,
        };
        let blank = state == In::Slashes || (c == '\u{feff}' && out.is_empty());
        out.push(if blank { ' ' } else { c });
        at_line_start = c == '\n' || (at_line_start && c.is_whitespace());
        previous = c;
    }
    out
}
