//! What `sqlparser` must be told about Flink's expressions; statements never reach it.
//!
//! Some forms need a hook. `CAST(e AS type)`: Flink's types (`ROW<…>`, `MAP<…>`, `TIMESTAMP_LTZ(3)`) are not sqlparser's, so the
//! type is only skipped here and its place kept, and `parse::types` reads it from there. `TABLE t PARTITION BY a` as an argument (window
//! table functions). `POSITION(a IN b)`: parsed once. `MAP[k, v]`, `x IS JSON`, and the JSON functions with their clauses.

mod json;

use sqlparser::ast::{CastKind, DataType, Expr, Ident, Map, MapEntry, ObjectName, UnaryOperator};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

#[derive(Debug)]
pub(crate) struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_with_location::<2>();
        match (bare_word(&first)?.as_str(), &second.token) {
            ("CAST", Token::LParen) => Some(parse_cast(parser, CastKind::Cast)),
            ("TRY_CAST", Token::LParen) => Some(parse_cast(parser, CastKind::TryCast)),
            ("TABLE", Token::Word(_)) => Some(parse_table_argument(parser)),
            ("POSITION", Token::LParen) => Some(parse_position(parser)),
            ("MAP", Token::LBracket) => Some(parse_map(parser)),
            ("JSON_EXISTS" | "JSON_VALUE" | "JSON_QUERY", Token::LParen) => {
                Some(json::parse_path_function(parser))
            }
            ("JSON_OBJECT", Token::LParen) => Some(json::parse_object(parser)),
            ("JSON_ARRAY", Token::LParen) => Some(json::parse_array(parser)),
            _ => None,
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        parse_is_distinct(parser, expr).or_else(|| parse_is_json(parser, expr).map(Ok))
    }
}

/// The word in upper case, unless it is quoted.
fn bare_word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(Word {
            value,
            quote_style: None,
            ..
        }) => Some(value.to_ascii_uppercase()),
        _ => None,
    }
}

fn parse_cast(parser: &mut Parser, kind: CastKind) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.next_token();
    let expr = parser.parse_expr()?;
    parser.expect_keyword(Keyword::AS)?;
    let data_type = skip_to_closing(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast {
        kind,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    })
}

/// `POSITION(a IN b)`. `sqlparser` would read the inside twice, and the inside of that four times.
fn parse_position(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.next_token();
    // So far that IN is left over.
    let above_in = FlinkDialect.prec_value(Precedence::Between);
    let expr = parser.parse_subexpr(above_in)?;
    parser.expect_keyword(Keyword::IN)?;
    let within = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Position {
        expr: Box::new(expr),
        r#in: Box::new(within),
    })
}

/// `MAP[key, value, …]`.
fn parse_map(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.next_token();
    let mut entries = Vec::new();
    if parser.peek_token().token != Token::RBracket {
        entries = parser.parse_comma_separated(|parser| {
            let key = Box::new(parser.parse_expr()?);
            parser.expect_token(&Token::Comma)?;
            let value = Box::new(parser.parse_expr()?);
            Ok(MapEntry { key, value })
        })?;
    }
    parser.expect_token(&Token::RBracket)?;
    Ok(Expr::Map(Map { entries }))
}

/// `a IS [NOT] DISTINCT FROM b`, which binds as `=` does: `sqlparser` would take all that follows for `b`, an AND too.
fn parse_is_distinct(parser: &mut Parser, of: &Expr) -> Option<Result<Expr, ParserError>> {
    let words = parser.peek_tokens_with_location::<4>();
    let words = words
        .each_ref()
        .map(|token| bare_word(token).unwrap_or_default());
    let count = match words.each_ref().map(String::as_str) {
        ["IS", "DISTINCT", "FROM", _] => 3,
        ["IS", "NOT", "DISTINCT", "FROM"] => 4,
        _ => return None,
    };
    (0..count).for_each(|_| {
        parser.next_token();
    });
    let right = parser.parse_subexpr(FlinkDialect.prec_value(Precedence::Eq));
    let left = Box::new(of.clone());
    Some(right.map(|right| match count {
        3 => Expr::IsDistinctFrom(left, Box::new(right)),
        _ => Expr::IsNotDistinctFrom(left, Box::new(right)),
    }))
}

/// `x IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`, as a call of a function of that name.
fn parse_is_json(parser: &mut Parser, of: &Expr) -> Option<Expr> {
    let [is, first, second] = parser.peek_tokens_with_location::<3>();
    if bare_word(&is)? != "IS" {
        return None;
    }
    let negated = match (bare_word(&first)?.as_str(), bare_word(&second).as_deref()) {
        ("JSON", _) => false,
        ("NOT", Some("JSON")) => true,
        _ => return None,
    };
    (0..2 + usize::from(negated)).for_each(|_| {
        parser.next_token();
    });
    let kind = bare_word(&parser.peek_token())
        .filter(|word| matches!(word.as_str(), "VALUE" | "SCALAR" | "ARRAY" | "OBJECT"));
    if kind.is_some() {
        parser.next_token();
    }
    let kind = kind.unwrap_or("VALUE".to_string());
    let name = Ident::with_span(is.span, format!("IS JSON {kind}"));
    let test = json::call(name, vec![json::unnamed(of.clone())]);
    Some(if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(test),
        }
    } else {
        test
    })
}

/// Everything up to the closing parenthesis, as a nameless type that only has a place.
fn skip_to_closing(parser: &mut Parser) -> Result<DataType, ParserError> {
    skip_type(parser, |_| false)
}

/// Everything up to the closing parenthesis, or to one of these words.
fn skip_type(parser: &mut Parser, ends: impl Fn(&str) -> bool) -> Result<DataType, ParserError> {
    let mut depth = 0usize;
    let mut place: Option<Span> = None;
    loop {
        let token = parser.peek_token();
        match token.token {
            Token::RParen if depth == 0 => break,
            Token::Word(_) if depth == 0 && bare_word(&token).is_some_and(|word| ends(&word)) => {
                break;
            }
            Token::EOF | Token::SemiColon => return parser.expected("a type and `)`", token),
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        place = Some(place.map_or(token.span, |place| place.union(&token.span)));
        parser.next_token();
    }
    let Some(span) = place else {
        return parser.expected("a type", parser.peek_token());
    };
    let name = Ident::with_span(span, "");
    Ok(DataType::Custom(ObjectName::from(vec![name]), Vec::new()))
}

/// `TABLE t`, `TABLE t PARTITION BY a`, `TABLE t PARTITION BY (a, b)`: the name and the columns behind it, as a list under TABLE.
fn parse_table_argument(parser: &mut Parser) -> Result<Expr, ParserError> {
    let table = parser.next_token();
    let name = parser.parse_object_name(false)?;
    let idents = name
        .0
        .into_iter()
        .filter_map(|part| part.as_ident().cloned());
    let mut list = vec![Expr::CompoundIdentifier(idents.collect())];
    if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        if parser.consume_token(&Token::LParen) {
            list.extend(parser.parse_comma_separated(Parser::parse_expr)?);
            parser.expect_token(&Token::RParen)?;
        } else {
            list.push(parser.parse_expr()?);
        }
    }
    Ok(Expr::Prefixed {
        prefix: Ident::with_span(table.span, TABLE),
        value: Box::new(Expr::Tuple(list)),
    })
}

/// Before the list that [`parse_table_argument`] makes.
pub(crate) const TABLE: &str = "TABLE";
