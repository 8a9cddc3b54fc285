//! Statements other than `CREATE`.

use super::{Cursor, Ident, Insert, Name, Noun, Pattern, Show, Shown, Statement, ddl};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::did_you_mean;
use sqlparser::tokenizer::{Token, Word};

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let first = cursor.peek().map(|token| token.token.to_string());
    match first.unwrap_or_default().to_ascii_uppercase().as_str() {
        "CREATE" => ddl::parse_create(cursor),
        "INSERT" => Ok(Statement::Inserts(vec![Ok(parse_insert(cursor)?)])),
        "EXECUTE" | "BEGIN" => parse_statement_set(cursor).map(Statement::Inserts),
        "EXPLAIN" => parse_explain(cursor),
        "SELECT" | "WITH" | "VALUES" | "(" => Ok(query(cursor)),
        "SHOW" => parse_show(cursor),
        "DESCRIBE" | "DESC" => parse_describe(cursor),
        "SET" => parse_set(cursor),
        "RESET" => {
            cursor.advance();
            let key = (!cursor.at_end()).then(|| cursor.text("a key in single quotes"));
            Ok(Statement::Reset(key.transpose()?))
        }
        "USE" => parse_use(cursor),
        "DROP" => parse_drop(cursor),
        other => Err(refuse(cursor, other)),
    }
}

fn query(cursor: &mut Cursor<'_>) -> Statement {
    let span = cursor.script.span_of(cursor.rest());
    while !cursor.at_end() {
        cursor.advance();
    }
    Statement::Query(span)
}

/// Statements of Flink that are not for a script here, and words that are none.
fn refuse(cursor: &Cursor<'_>, word: &str) -> Diagnostic {
    let span = cursor.span();
    match word {
        "ALTER" => Diagnostic::unsupported(span, "ALTER is")
            .hint("change the CREATE statement in the script; `lakeward sql -e 'ALTER TABLE …'` changes the columns of a table in a catalog"),
        "ADD" | "REMOVE" => Diagnostic::unsupported(span, "loading a JAR is")
            .detail("Connectors and formats are built in; there is nothing to load.")
            .hint("remove the statement"),
        "DELETE" | "UPDATE" | "MERGE" | "TRUNCATE" => {
            Diagnostic::unsupported(span, format!("{word} is"))
                .detail("A pipeline only appends rows to its table.")
                .hint("change rows with an engine that writes Iceberg, or run this script on an Apache Flink cluster")
        }
        "STOP" => Diagnostic::unsupported(span, "STOP is")
            .hint("`lakeward pipeline stop NAME` stops a pipeline after a checkpoint"),
        "LOAD" | "UNLOAD" => Diagnostic::unsupported(span, format!("{word} is"))
            .detail("There are no modules: all functions are built in.")
            .hint("remove the statement"),
        "COMPILE" | "ANALYZE" | "CALL" => Diagnostic::unsupported(span, format!("{word} is"))
            .hint("remove the statement, or run this script on an Apache Flink cluster"),
        _ => {
            let known = [
                "CREATE", "INSERT", "SELECT", "SET", "RESET", "USE", "DROP", "EXPLAIN", "EXECUTE",
                "BEGIN", "SHOW", "DESCRIBE", "WITH",
            ];
            Diagnostic::error("syntax", span, format!("unexpected `{word}`"))
                .detail("No statement begins with this.")
                .hint_if(did_you_mean(word, known))
        }
    }
}

fn parse_insert(cursor: &mut Cursor<'_>) -> Result<Insert> {
    let start = cursor.span();
    cursor.expect_words(&["INSERT"])?;
    if cursor.is_word("OVERWRITE") {
        let what = "INSERT OVERWRITE is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .detail("A stream has no end at which a table could be replaced.")
            .hint("write INSERT INTO"));
    }
    cursor.expect_words(&["INTO"])?;
    let target = cursor.name("a table's name")?;
    if cursor.is_word("PARTITION") {
        let what = "a static PARTITION is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .hint("write the value as a column of the query: SELECT …, 'value' FROM …"));
    }
    let columns = if is_column_list(cursor) {
        Some(cursor.list(|cursor| cursor.ident("a column's name"))?)
    } else {
        None
    };
    let query = cursor.query()?;
    if cursor.are_words(&["ON", "CONFLICT"]) {
        let what = "ON CONFLICT is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .detail("Rows are appended; none replaces another.")
            .hint("remove the clause, and deduplicate when reading the table"));
    }
    Ok(Insert {
        target,
        columns,
        span: cursor.span_since(start),
        query,
    })
}

/// `(a, b)` before the query, as opposed to a query in parentheses.
fn is_column_list(cursor: &Cursor<'_>) -> bool {
    let [open, first, ..] = cursor.rest() else {
        return false;
    };
    let is_query = ["SELECT", "WITH", "VALUES"]
        .iter()
        .any(|word| crate::script::is_word(first, word));
    open.token == Token::LParen && matches!(first.token, Token::Word(_)) && !is_query
}

/// `EXECUTE STATEMENT SET BEGIN … END` and `BEGIN STATEMENT SET; … END`.
fn parse_statement_set(cursor: &mut Cursor<'_>) -> Result<Vec<Result<Insert>>> {
    let start = cursor.span();
    if cursor.eat_word("EXECUTE") {
        if cursor.is_word("INSERT") {
            return Ok(vec![Ok(parse_insert(cursor)?)]);
        }
        if cursor.is_word("PLAN") || cursor.is_word("IMMEDIATE") {
            return Err(Diagnostic::unsupported(cursor.span(), "this EXECUTE is")
                .hint("EXECUTE STATEMENT SET BEGIN INSERT INTO …; END"));
        }
        cursor.expect_words(&["STATEMENT", "SET", "BEGIN"])?;
    } else {
        cursor.expect_words(&["BEGIN", "STATEMENT", "SET"])?;
        cursor.expect(&Token::SemiColon)?;
    }
    parse_members(cursor, start)
}

/// The INSERTs of a statement set up to its END. One that is refused does not hide the mistakes of the next.
fn parse_members(cursor: &mut Cursor<'_>, start: Span) -> Result<Vec<Result<Insert>>> {
    let mut inserts = Vec::new();
    loop {
        if cursor.eat_word("END") {
            break;
        }
        if cursor.at_end() {
            // A member that was refused may have hidden the END.
            if inserts.iter().all(Result::is_ok) {
                let span = cursor.span_since(start);
                let message = "the statement set has no END";
                inserts.push(Err(Diagnostic::error("syntax", span, message)));
            }
            return Ok(inserts);
        }
        let member = parse_member(cursor);
        if member.is_err() {
            cursor.pass_statement();
        }
        inserts.push(member);
    }
    if inserts.is_empty() {
        let span = cursor.span_since(start);
        return Err(Diagnostic::error(
            "syntax",
            span,
            "the statement set is empty",
        ));
    }
    Ok(inserts)
}

fn parse_member(cursor: &mut Cursor<'_>) -> Result<Insert> {
    if !cursor.is_word("INSERT") {
        return Err(cursor.unexpected("`INSERT INTO` or `END`"));
    }
    let insert = parse_insert(cursor)?;
    cursor.expect(&Token::SemiColon)?;
    Ok(insert)
}

fn parse_explain(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_words(&["EXPLAIN"])?;
    if !cursor.eat_words(&["PLAN", "FOR"]) {
        let details = [
            "CHANGELOG_MODE",
            "ESTIMATED_COST",
            "JSON_EXECUTION_PLAN",
            "PLAN_ADVICE",
        ];
        if details.iter().any(|word| cursor.is_word(word)) {
            let what = "EXPLAIN with details is";
            return Err(Diagnostic::unsupported(cursor.span(), what).hint("write EXPLAIN alone"));
        }
    }
    if cursor.is_word("INSERT") {
        return Ok(Statement::Explain(vec![Ok(parse_insert(cursor)?)]));
    }
    if cursor.is_word("EXECUTE") || cursor.is_word("BEGIN") || cursor.is_word("STATEMENT") {
        if cursor.is_word("STATEMENT") {
            // EXPLAIN STATEMENT SET BEGIN … END, as Flink writes it.
            let start = cursor.span();
            cursor.expect_words(&["STATEMENT", "SET", "BEGIN"])?;
            return parse_members(cursor, start).map(Statement::Explain);
        }
        return parse_statement_set(cursor).map(Statement::Explain);
    }
    Ok(query(cursor))
}

fn parse_set(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let start = cursor.span();
    cursor.expect_words(&["SET"])?;
    if cursor.at_end() {
        return Ok(Statement::Show(Show {
            what: Shown::Settings,
            like: None,
            span: start,
        }));
    }
    let key = setting(cursor, "a key in single quotes")?;
    cursor.expect(&Token::Eq)?;
    let value = setting(cursor, "a value in single quotes")?;
    Ok(Statement::Set { key, value })
}

/// Text in quotes; in older scripts also bare words and numbers joined by `.` and `-`.
fn setting(cursor: &mut Cursor<'_>, what: &str) -> Result<Ident> {
    if matches!(
        cursor.peek().map(|t| &t.token),
        Some(Token::SingleQuotedString(_))
    ) {
        return cursor.text(what);
    }
    let start = cursor.span();
    let before = cursor.rest().len();
    while let Some(token) = cursor.peek() {
        match &token.token {
            Token::Word(Word {
                quote_style: None, ..
            })
            | Token::Number(..)
            | Token::Period
            | Token::Minus => cursor.advance(),
            _ => break,
        }
    }
    let span = cursor.span_since(start);
    if cursor.rest().len() == before {
        return Err(cursor.unexpected(what));
    }
    Ok(Ident {
        value: cursor.script.text[span.start..span.end].to_string(),
        span,
    })
}

fn parse_show(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let start = cursor.span();
    cursor.expect_words(&["SHOW"])?;
    let what = if cursor.eat_word("TABLES") {
        Shown::Tables(database(cursor)?)
    } else if cursor.eat_word("VIEWS") {
        Shown::Views(database(cursor)?)
    } else if cursor.eat_word("COLUMNS") {
        if !cursor.eat_word("FROM") && !cursor.eat_word("IN") {
            return Err(cursor.unexpected("`FROM` or `IN`"));
        }
        Shown::Columns(cursor.name("a table's name")?)
    } else if cursor.eat_word("DATABASES") {
        Shown::Databases
    } else if cursor.eat_word("CATALOGS") {
        Shown::Catalogs
    } else if cursor.eat_words(&["CURRENT", "DATABASE"]) {
        Shown::CurrentDatabase
    } else if cursor.eat_words(&["CURRENT", "CATALOG"]) {
        Shown::CurrentCatalog
    } else {
        let word = cursor.peek().map(|token| token.token.to_string());
        let what = format!("SHOW {} is", word.unwrap_or_default().to_ascii_uppercase());
        return Err(Diagnostic::unsupported(cursor.span(), what).hint(
            "SHOW TABLES, VIEWS, COLUMNS FROM table, DATABASES, CATALOGS, CURRENT DATABASE or CURRENT CATALOG",
        ));
    };
    let like = match what {
        Shown::CurrentDatabase | Shown::CurrentCatalog => None,
        Shown::Databases | Shown::Catalogs => pattern(cursor)?,
        // As in Flink.
        _ if cursor.is_word("ILIKE") => return Err(cursor.unexpected("`LIKE`")),
        _ => pattern(cursor)?,
    };
    let span = cursor.span_since(start);
    Ok(Statement::Show(Show { what, like, span }))
}

/// `FROM [catalog.]database`.
fn database(cursor: &mut Cursor<'_>) -> Result<Option<Name>> {
    let named = cursor.eat_word("FROM") || cursor.eat_word("IN");
    named.then(|| cursor.name("a database's name")).transpose()
}

fn pattern(cursor: &mut Cursor<'_>) -> Result<Option<Pattern>> {
    let negated = cursor.eat_word("NOT");
    let ignore_case = cursor.eat_word("ILIKE");
    if !ignore_case && !cursor.eat_word("LIKE") {
        return match negated {
            true => Err(cursor.unexpected("`LIKE`")),
            false => Ok(None),
        };
    }
    Ok(Some(Pattern {
        text: cursor.text("a pattern in single quotes")?.value,
        ignore_case,
        negated,
    }))
}

fn parse_describe(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.advance();
    for noun in [
        "DATABASE", "CATALOG", "JOB", "FUNCTION", "MODEL", "EXTENDED",
    ] {
        if cursor.is_word(noun) {
            let what = format!("DESCRIBE {noun} is");
            return Err(Diagnostic::unsupported(cursor.span(), what).hint("DESCRIBE table_name"));
        }
    }
    Ok(Statement::Describe(cursor.name("a table's name")?))
}

fn parse_use(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_words(&["USE"])?;
    if cursor.eat_word("CATALOG") {
        return Ok(Statement::UseCatalog(cursor.ident("a catalog's name")?));
    }
    if cursor.is_word("MODULES") {
        return Err(Diagnostic::unsupported(cursor.span(), "USE MODULES is")
            .hint("remove the statement: all functions are built in"));
    }
    Ok(Statement::Use(cursor.name("a database's name")?))
}

fn parse_drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_words(&["DROP"])?;
    let lifetime = ddl::lifetime(cursor);
    let noun = if cursor.eat_word("TABLE") {
        Noun::Table
    } else if cursor.eat_word("VIEW") {
        Noun::View
    } else if cursor.eat_word("DATABASE") {
        Noun::Database { cascade: false }
    } else if cursor.eat_word("CATALOG") {
        Noun::Catalog
    } else {
        return Err(cursor.unexpected("`TABLE`, `VIEW`, `DATABASE` or `CATALOG`"));
    };
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let name = cursor.name("a name")?;
    let noun = match noun {
        Noun::Database { .. } if cursor.eat_word("CASCADE") => Noun::Database { cascade: true },
        Noun::Database { .. } => {
            cursor.eat_word("RESTRICT");
            noun
        }
        _ => noun,
    };
    Ok(Statement::Drop {
        noun,
        lifetime,
        name,
        if_exists,
    })
}
