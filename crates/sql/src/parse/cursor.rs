//! A place in the tokens of one statement, and the small questions that a parser asks there.

use super::depth::{self, TooDeep, Until, Why};
use super::{Ident, Name, OptionText, Query};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::dialect::FlinkDialect;
use crate::reserved;
use crate::script::{Script, is_word};
use lw_stdx::suggest::nearest;
use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use std::collections::HashSet;

pub(crate) struct Cursor<'s> {
    pub script: &'s Script<'s>,
    tokens: &'s [TokenWithSpan],
    at: usize,
    /// The first half of a `>>` was taken: `ARRAY<ARRAY<INT>>` closes twice with one token.
    half_taken: bool,
    /// Types around the one that is read.
    pub(super) types_around: usize,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(script: &'s Script<'s>, tokens: &'s [TokenWithSpan]) -> Cursor<'s> {
        Cursor {
            script,
            tokens,
            at: 0,
            half_taken: false,
            types_around: 0,
        }
    }

    pub(crate) fn peek(&self) -> Option<&'s TokenWithSpan> {
        self.tokens.get(self.at)
    }

    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// Goes on behind the next `;`, or at the end where there is none.
    pub(crate) fn pass_statement(&mut self) {
        while !self.at_end() && !self.eat(&Token::SemiColon) {
            self.advance();
        }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The token under the cursor; at the end, the last one.
    pub(crate) fn span(&self) -> Span {
        match self.peek() {
            Some(token) => self.script.span(token.span),
            None => self.last(),
        }
    }

    fn last(&self) -> Span {
        match self.tokens.last() {
            Some(token) => self.script.span(token.span),
            None => Span::new(self.script.text.len(), self.script.text.len()),
        }
    }

    /// From `start` to the last token taken.
    pub(crate) fn span_since(&self, start: Span) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(start, |last| start.to(self.script.span(last.span)))
    }

    pub(crate) fn rest(&self) -> &'s [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// The statement's tokens from this place on.
    pub(crate) fn tokens_from(&self, start: Span) -> &'s [TokenWithSpan] {
        let before = |t: &TokenWithSpan| self.script.span(t.span).start < start.start;
        &self.tokens[self.tokens.partition_point(before)..]
    }

    pub(crate) fn is(&self, token: &Token) -> bool {
        self.peek().is_some_and(|t| t.token == *token)
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.peek().is_some_and(|t| is_word(t, word))
    }

    pub(crate) fn are_words(&self, words: &[&str]) -> bool {
        let rest = self.rest();
        rest.len() >= words.len() && rest.iter().zip(words).all(|(t, w)| is_word(t, w))
    }

    pub(crate) fn eat(&mut self, token: &Token) -> bool {
        let found = self.is(token);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        self.eat_words(&[word])
    }

    pub(crate) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.are_words(words);
        if found {
            self.at += words.len();
        }
        found
    }

    pub(crate) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.eat(token) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{token}`")))
    }

    pub(crate) fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.eat_word(word) {
                return Err(self.unexpected(&format!("`{word}`")));
            }
        }
        Ok(())
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        let error = self.unexpected("the end of the statement");
        Err(error.hint_if(self.misspelt_before(self.at)))
    }

    /// A misspelt keyword reads as an alias, and the parser stumbles one word later: so that word is looked at too.
    fn misspelt_before(&self, at: usize) -> Option<String> {
        const CLAUSES: [&str; 8] = [
            "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "UNION", "LIMIT", "HAVING",
        ];
        let around = [at.checked_sub(1), Some(at)].into_iter().flatten();
        around
            .filter_map(|at| self.tokens.get(at))
            .find_map(|token| match &token.token {
                Token::Word(Word {
                    value,
                    quote_style: None,
                    ..
                }) => nearest(value, CLAUSES)
                    .filter(|near| !near.eq_ignore_ascii_case(value))
                    .map(|near| format!("did you mean {near} instead of {value}?")),
                _ => None,
            })
    }

    /// `>` of a type, also where the tokenizer made one token of two.
    pub(crate) fn expect_closing_angle(&mut self) -> Result<()> {
        if self.is(&Token::ShiftRight) {
            self.at += usize::from(self.half_taken);
            self.half_taken = !self.half_taken;
            return Ok(());
        }
        self.expect(&Token::Gt)
    }

    /// "unexpected `x`", saying what could stand here.
    pub(crate) fn unexpected(&self, expected: &str) -> Diagnostic {
        let message = match self.peek() {
            Some(token) => format!("unexpected `{}`", token.token),
            None => "the statement ends too early".to_string(),
        };
        Diagnostic::error("syntax", self.span(), message)
            .detail(format!("Expected {expected} here."))
            .hint_if(self.peek().and_then(foreign_character))
    }

    /// A name; a reserved word only in backticks.
    pub(crate) fn ident(&mut self, what: &str) -> Result<Ident> {
        let Some(TokenWithSpan {
            token: Token::Word(Word {
                value, quote_style, ..
            }),
            span,
        }) = self.peek()
        else {
            return Err(self.unexpected(what));
        };
        let span = self.script.span(*span);
        if quote_style.is_none() {
            reserved::check(value, span)?;
        }
        self.advance();
        Ok(Ident {
            value: value.clone(),
            span,
        })
    }

    pub(crate) fn name(&mut self, what: &str) -> Result<Name> {
        let mut parts = vec![self.ident(what)?];
        while self.eat(&Token::Period) {
            parts.push(self.ident(what)?);
        }
        let span = parts
            .iter()
            .fold(parts[0].span, |all, part| all.to(part.span));
        if let Some(extra) = parts.get(3) {
            return Err(Diagnostic::error(
                "syntax",
                extra.span,
                "a name has at most three parts: catalog.database.table",
            ));
        }
        Ok(Name { parts, span })
    }

    /// `'text'`.
    pub(crate) fn text(&mut self, what: &str) -> Result<Ident> {
        let Some(TokenWithSpan {
            token: Token::SingleQuotedString(value),
            span,
        }) = self.peek()
        else {
            let error = self.unexpected(what);
            return Err(match self.peek().map(|t| &t.token) {
                Some(Token::Word(_) | Token::Number(..)) => {
                    error.hint("keys and values stand in single quotes: 'key' = 'value'")
                }
                _ => error,
            });
        };
        let ident = Ident {
            value: value.clone(),
            span: self.script.span(*span),
        };
        self.advance();
        Ok(ident)
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<(u64, Span)> {
        let span = self.span();
        let Some(Token::Number(digits, _)) = self.peek().map(|t| &t.token) else {
            return Err(self.unexpected(what));
        };
        let value = digits.parse().map_err(|_| self.unexpected(what))?;
        self.advance();
        Ok((value, span))
    }

    /// `( item, item … )`.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.items(|cursor| item(cursor).map(Some))
    }

    /// `( item, item … )`, of which an item that is refused is told and passed over.
    pub(crate) fn list_telling<T>(
        &mut self,
        told: &mut Told,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.items(|cursor| {
            let start = cursor.at;
            match item(cursor) {
                Ok(item) => Ok(Some(item)),
                Err(error) => {
                    told.tell(error);
                    cursor.pass_item(start)?;
                    Ok(None)
                }
            }
        })
    }

    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<Option<T>>) -> Result<Vec<T>> {
        self.expect(&Token::LParen)?;
        let mut items = Vec::from_iter(item(self)?);
        while self.eat(&Token::Comma) {
            if self.is(&Token::RParen) {
                return Err(Diagnostic::error(
                    "syntax",
                    self.span(),
                    "a comma before the closing parenthesis",
                )
                .hint("remove the comma, or write what should follow it"));
            }
            items.extend(item(self)?);
        }
        if !self.eat(&Token::RParen) {
            return Err(self.unexpected("`,` or `)`"));
        }
        Ok(items)
    }

    /// From the start of a refused item of a list to the comma or bracket behind it. Where there is none, the refusal was about
    /// more than the item, and nothing can be said of the rest.
    fn pass_item(&mut self, start: usize) -> Result<()> {
        (self.at, self.half_taken, self.types_around) = (start, false, 0);
        let (mut brackets, mut angles, mut opens_type) = (0_usize, 0_usize, false);
        while let Some(TokenWithSpan { token, .. }) = self.peek() {
            match token {
                Token::RParen if brackets == 0 => return Ok(()),
                Token::Comma if brackets == 0 && angles == 0 => return Ok(()),
                Token::LParen | Token::LBracket => brackets += 1,
                Token::RParen | Token::RBracket => brackets = brackets.saturating_sub(1),
                Token::Lt if opens_type => angles += 1,
                Token::Gt => angles = angles.saturating_sub(1),
                Token::ShiftRight => angles = angles.saturating_sub(2),
                _ => {}
            }
            opens_type = ["ARRAY", "MAP", "ROW", "MULTISET"]
                .iter()
                .any(|word| self.is_word(word));
            self.advance();
        }
        Err(Diagnostic::told_before(self.span()))
    }

    /// `('key' = 'value', …)`.
    pub(crate) fn options(&mut self, told: &mut Told) -> Result<Vec<OptionText>> {
        let mut options = self.list_telling(told, |cursor| {
            let key = cursor.text("an option's key in single quotes")?;
            cursor.expect(&Token::Eq)?;
            let value = cursor.text("the option's value in single quotes")?;
            if !cursor.is(&Token::Comma) && !cursor.is(&Token::RParen) {
                return Err(cursor.unexpected("`,` or `)`"));
            }
            Ok(OptionText { key, value })
        })?;
        let mut seen = HashSet::new();
        options.retain(|option| {
            let key = &option.key.value;
            let first = seen.insert(key.clone());
            if !first {
                let message = format!("option '{key}' is given twice");
                told.tell(Diagnostic::error("option", option.key.span, message));
            }
            first
        });
        Ok(options)
    }

    /// An expression, up to the first token that cannot belong to it.
    pub(crate) fn expression(&mut self) -> Result<(ast::Expr, Span)> {
        let start = self.span();
        let expr = self.delegate(Until::Element, |parser| parser.parse_expr())?;
        Ok((expr, self.span_since(start)))
    }

    /// A query, which must be the rest of the statement.
    pub(crate) fn query(&mut self) -> Result<Query> {
        let start = self.span();
        if self.at_end() {
            return Err(self.unexpected("a query"));
        }
        let ast = self.delegate(Until::Statement, |parser| parser.parse_query())?;
        Ok(Query {
            ast,
            span: self.span_since(start),
        })
    }

    fn delegate<T>(
        &mut self,
        until: Until,
        parse: impl FnOnce(&mut Parser<'_>) -> std::result::Result<T, ParserError>,
    ) -> Result<T> {
        let rest = self.rest();
        let length = depth::measure(rest, until).map_err(|deep| self.too_deep(&deep))?;
        let tokens = rest[..length].to_vec();
        let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens);
        let parsed = parse(&mut parser).map_err(|error| self.parser_error(&error, length))?;
        self.at += parser.index();
        Ok(parsed)
    }

    fn too_deep(&self, deep: &TooDeep) -> Diagnostic {
        let message = match deep.why {
            Why::Nested => "the expression is nested too deeply".to_string(),
            Why::Operators => format!("an expression of more than {} operators", depth::OPERATORS),
            Why::Conditions => format!(
                "an expression of more than {} AND and OR",
                depth::CONDITIONS
            ),
        };
        let token = &self.rest()[deep.at];
        let error = Diagnostic::error("syntax", self.script.span(token.span), message);
        match deep.why {
            Why::Nested => error.hint("move the inner part into a view: CREATE VIEW v AS SELECT …"),
            Why::Operators | Why::Conditions => {
                error.hint("column IN (…) takes any number of values")
            }
        }
    }

    /// `sqlparser` says "Expected: x, found: y at Line: l, Column: c"; told again in our words and at our place.
    fn parser_error(&self, error: &ParserError, length: usize) -> Diagnostic {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.as_str(),
            ParserError::RecursionLimitExceeded => {
                return Diagnostic::error(
                    "syntax",
                    self.span(),
                    "the expression is nested too deeply",
                );
            }
        };
        let (text, place) = match text.rsplit_once(" at Line: ") {
            Some((text, place)) => (text, parse_place(place)),
            None => (text, None),
        };
        let token = match place {
            Some(place) => self.tokens.iter().find(|t| t.span.start == place),
            // What the parser was given has ended; the statement perhaps has not.
            None => self.rest().get(length),
        };
        let Some(token) = token else {
            let expected = text.split_once("Expected: ").map_or(text, |(_, rest)| rest);
            let expected = expected.split(", found").next().unwrap_or(expected);
            return Diagnostic::error("syntax", self.last(), "the statement ends too early")
                .detail(format!("Expected {expected} here."));
        };
        let span = self.script.span(token.span);
        let at = self
            .tokens
            .partition_point(|t| t.span.start < token.span.start);
        let error = Diagnostic::error("syntax", span, format!("unexpected `{}`", token.token))
            .hint_if(self.misspelt_before(at))
            .hint_if(foreign_character(token));
        match text
            .strip_prefix("Expected: ")
            .and_then(|t| t.split_once(", found"))
        {
            Some((expected, _)) => error.detail(format!("Expected {expected} here.")),
            None => error.detail(format!("{text}.")),
        }
    }
}

/// What a word processor or a web page puts in the place of SQL's own characters.
fn foreign_character(token: &TokenWithSpan) -> Option<String> {
    let Token::Char(c) = token.token else {
        return None;
    };
    Some(match c {
        '‘' | '’' | '‚' | '“' | '”' | '„' | '«' | '»' | '´' => {
            format!("write a straight quote (') instead of {c}")
        }
        '–' | '—' | '−' => format!("write a plain minus (-) instead of {c}"),
        c if c.is_ascii_graphic() => return None,
        c => format!("delete the character {}", c.escape_unicode()),
    })
}

/// `3, Column: 14`.
fn parse_place(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location::new(
        line.parse().ok()?,
        column.trim().parse().ok()?,
    ))
}
