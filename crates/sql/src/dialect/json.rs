//! The JSON functions, whose clauses `sqlparser` does not know.
//!
//! They become calls whose clauses are arguments with a name (`ON EMPTY` of the value NULL, ERROR or a default), which no script can
//! write: such an argument has the operator VALUE. `plan::json` reads them back.

use super::skip_type;
use sqlparser::ast::{
    CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Value,
};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token};

type Parsed<T> = Result<T, ParserError>;

/// `JSON_EXISTS(text, path [… ON ERROR])`, `JSON_VALUE(text, path [RETURNING type] [… ON EMPTY] [… ON ERROR])`,
/// `JSON_QUERY(text, path [RETURNING type] [… WRAPPER] [… ON EMPTY] [… ON ERROR])`.
pub(super) fn parse_path_function(parser: &mut Parser) -> Parsed<Expr> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = parser.parse_comma_separated(|parser| Ok(unnamed(parser.parse_expr()?)))?;
    if parser.parse_keyword(Keyword::RETURNING) {
        args.push(named("RETURNING", typed_null(parser)?));
    }
    args.extend(parse_wrapper(parser)?);
    while parser.peek_token().token != Token::RParen {
        args.push(parse_case(parser)?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, args))
}

/// `NULL`, which a cast gives the type that is written here.
fn typed_null(parser: &mut Parser) -> Parsed<Expr> {
    let data_type = skip_type(parser, |word| {
        matches!(
            word,
            "NULL" | "ERROR" | "DEFAULT" | "EMPTY" | "WITH" | "WITHOUT"
        )
    })?;
    Ok(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type,
        array: false,
        format: None,
    })
}

fn parse_wrapper(parser: &mut Parser) -> Parsed<Option<FunctionArg>> {
    let wrapper = if parser.parse_keyword(Keyword::WITHOUT) {
        "WITHOUT"
    } else if parser.parse_keyword(Keyword::WITH) {
        if word(parser, "CONDITIONAL") {
            "CONDITIONAL"
        } else {
            word(parser, "UNCONDITIONAL");
            "UNCONDITIONAL"
        }
    } else {
        return Ok(None);
    };
    word(parser, "ARRAY");
    if !word(parser, "WRAPPER") {
        return parser.expected("WRAPPER", parser.peek_token());
    }
    Ok(Some(named("WRAPPER", text(wrapper))))
}

/// `NULL ON EMPTY`, `DEFAULT x ON ERROR`.
fn parse_case(parser: &mut Parser) -> Parsed<FunctionArg> {
    let default = parser.parse_keyword(Keyword::DEFAULT);
    let value = if default {
        parser.parse_expr()?
    } else if parser.parse_keyword(Keyword::EMPTY) {
        if parser.parse_keyword(Keyword::ARRAY) {
            text("EMPTY ARRAY")
        } else if parser.parse_keyword(Keyword::OBJECT) {
            text("EMPTY OBJECT")
        } else {
            return parser.expected("ARRAY or OBJECT", parser.peek_token());
        }
    } else {
        let known = ["NULL", "ERROR", "TRUE", "FALSE", "UNKNOWN"];
        match known.into_iter().find(|known| word(parser, known)) {
            Some(known) => text(known),
            None => {
                return parser.expected("a clause of this function or `)`", parser.peek_token());
            }
        }
    };
    parser.expect_keyword(Keyword::ON)?;
    let of = if word(parser, "EMPTY") {
        ["ON EMPTY", "DEFAULT ON EMPTY"]
    } else if word(parser, "ERROR") {
        ["ON ERROR", "DEFAULT ON ERROR"]
    } else {
        return parser.expected("EMPTY or ERROR", parser.peek_token());
    };
    Ok(named(of[usize::from(default)], value))
}

/// `JSON_OBJECT([[KEY] key {VALUE | :} value, …] [{NULL | ABSENT} ON NULL])`.
pub(super) fn parse_object(parser: &mut Parser) -> Parsed<Expr> {
    parse_constructor(parser, |parser| {
        let [key, next] = parser.peek_tokens::<2>();
        let begins = matches!(&key, Token::Word(word) if word.value.eq_ignore_ascii_case("KEY"));
        let is_key = matches!(&next, Token::Word(word) if word.value.eq_ignore_ascii_case("VALUE"));
        if begins && !is_key {
            parser.next_token();
        }
        let key = parser.parse_subexpr(super::FlinkDialect.prec_value(Precedence::Colon))?;
        if !parser.consume_token(&Token::Colon) {
            parser.expect_keyword(Keyword::VALUE)?;
        }
        Ok(vec![unnamed(key), unnamed(parser.parse_expr()?)])
    })
}

/// `JSON_ARRAY([value, …] [{NULL | ABSENT} ON NULL])`.
pub(super) fn parse_array(parser: &mut Parser) -> Parsed<Expr> {
    parse_constructor(parser, |parser| Ok(vec![unnamed(parser.parse_expr()?)]))
}

fn parse_constructor(
    parser: &mut Parser,
    member: impl Fn(&mut Parser) -> Parsed<Vec<FunctionArg>>,
) -> Parsed<Expr> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = Vec::new();
    let mut on_null = parse_on_null(parser);
    if on_null.is_none() && parser.peek_token().token != Token::RParen {
        let members = parser.parse_comma_separated(|parser| member(parser))?;
        args.extend(members.into_iter().flatten());
        on_null = parse_on_null(parser);
    }
    parser.expect_token(&Token::RParen)?;
    args.extend(on_null.map(|on_null| named("ON NULL", text(on_null))));
    Ok(call(name, args))
}

fn parse_on_null(parser: &mut Parser) -> Option<&'static str> {
    if parser.parse_keywords(&[Keyword::NULL, Keyword::ON, Keyword::NULL]) {
        Some("NULL")
    } else if parser.parse_keywords(&[Keyword::ABSENT, Keyword::ON, Keyword::NULL]) {
        Some("ABSENT")
    } else {
        None
    }
}

/// Takes the next token if it is this word.
fn word(parser: &mut Parser, wanted: &str) -> bool {
    let token = parser.peek_token();
    let found = super::bare_word(&token).is_some_and(|word| word == wanted);
    if found {
        parser.next_token();
    }
    found
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_string()))
}

pub(super) fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn named(name: &str, value: Expr) -> FunctionArg {
    FunctionArg::Named {
        name: Ident::with_span(Span::empty(), name),
        arg: FunctionArgExpr::Expr(value),
        operator: FunctionArgOperator::Value,
    }
}

pub(super) fn call(name: Ident, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
