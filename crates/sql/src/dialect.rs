//! What `sqlparser` must be told about Flink's expressions; statements never reach it.
//!
//! Three forms need a hook. `CAST(e AS type)`: Flink's types (`ROW<…>`, `MAP<…>`, `TIMESTAMP_LTZ(3)`) are not sqlparser's, so the
//! type is only skipped here and its place kept, and `parse::types` reads it from there. `TABLE t PARTITION BY a` as an argument (window
//! table functions). `POSITION(a IN b)`: parsed once.

use sqlparser::ast::{CastKind, DataType, Expr, Ident, ObjectName};
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
            _ => None,
        }
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

/// Everything up to the closing parenthesis, as a nameless type that only has a place.
fn skip_to_closing(parser: &mut Parser) -> Result<DataType, ParserError> {
    let mut depth = 0usize;
    let mut place: Option<Span> = None;
    loop {
        let token = parser.peek_token();
        match token.token {
            Token::RParen if depth == 0 => break,
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
