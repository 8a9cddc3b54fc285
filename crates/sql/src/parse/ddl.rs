//! `CREATE TABLE`, `CREATE VIEW`, `CREATE DATABASE`, `CREATE CATALOG`.

use super::{
    ColumnDef, ColumnKind, CreateCatalog, CreateTable, CreateView, Cursor, Feature, Ident, Lifetime,
};
use super::{Like, LikeRule, Merge, Partitioned, Statement, WatermarkDef, parse_type};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::script::is_word;
use crate::suggest::did_you_mean;
use sqlparser::tokenizer::Token;
use std::collections::HashSet;

pub(super) fn parse_create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let start = cursor.span();
    cursor.expect_words(&["CREATE"])?;
    if cursor.is_word("OR") {
        let what = "CREATE OR REPLACE is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .hint("write DROP … IF EXISTS before CREATE"));
    }
    let lifetime = lifetime(cursor);
    if cursor.eat_word("TABLE") {
        let table = parse_table(cursor, start, lifetime)?;
        return Ok(Statement::CreateTable(Box::new(table)));
    }
    if cursor.eat_word("VIEW") {
        return parse_view(cursor, lifetime).map(Statement::CreateView);
    }
    if lifetime == Lifetime::Permanent && cursor.eat_word("DATABASE") {
        let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
        let name = cursor.name("a database's name")?;
        skip_comment(cursor)?;
        if cursor.is_word("WITH") {
            let what = "a WITH clause of a database is";
            return Err(Diagnostic::unsupported(cursor.span(), what).hint("remove the clause"));
        }
        return Ok(Statement::CreateDatabase {
            name,
            if_not_exists,
        });
    }
    if lifetime == Lifetime::Permanent && cursor.eat_word("CATALOG") {
        return parse_catalog(cursor).map(Statement::CreateCatalog);
    }
    Err(refuse_noun(cursor))
}

fn parse_catalog(cursor: &mut Cursor<'_>) -> Result<CreateCatalog> {
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.ident("a catalog's name")?;
    skip_comment(cursor)?;
    let mut mistakes = Told::default();
    let options = match cursor.eat_word("WITH") {
        true => cursor.options(&mut mistakes)?,
        false => Vec::new(),
    };
    Ok(CreateCatalog {
        name,
        if_not_exists,
        options,
        mistakes,
    })
}

pub(super) fn lifetime(cursor: &mut Cursor<'_>) -> Lifetime {
    match cursor.eat_word("TEMPORARY") {
        true => Lifetime::Temporary,
        false => Lifetime::Permanent,
    }
}

fn refuse_noun(cursor: &Cursor<'_>) -> Diagnostic {
    let advice = [
        (
            "FUNCTION",
            "a user-defined function is",
            "run this script on an Apache Flink cluster, or write it with the built-in functions",
        ),
        (
            "SYSTEM",
            "a user-defined function is",
            "run this script on an Apache Flink cluster, or write it with the built-in functions",
        ),
        (
            "MATERIALIZED",
            "a materialized table is",
            "write CREATE TABLE and INSERT INTO",
        ),
        (
            "MODEL",
            "a model is",
            "run this script on an Apache Flink cluster",
        ),
    ];
    match advice.iter().find(|(word, _, _)| cursor.is_word(word)) {
        Some((_, what, hint)) => Diagnostic::unsupported(cursor.span(), *what).hint(*hint),
        None => {
            let written = cursor.peek().map(|token| token.token.to_string());
            let nouns = ["TABLE", "VIEW", "DATABASE", "CATALOG", "TEMPORARY"];
            cursor
                .unexpected("`TABLE`, `VIEW`, `DATABASE` or `CATALOG`")
                .hint_if(did_you_mean(&written.unwrap_or_default(), nouns))
        }
    }
}

fn parse_table(cursor: &mut Cursor<'_>, start: Span, lifetime: Lifetime) -> Result<CreateTable> {
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name("a table's name")?;
    let mut table = CreateTable {
        span: start.to(name.span),
        name,
        if_not_exists,
        columns: Vec::new(),
        watermark: None,
        primary_key: Vec::new(),
        partitioned: None,
        options: Vec::new(),
        like: None,
        lifetime,
        mistakes: Told::default(),
    };
    if !cursor.is(&Token::LParen) {
        // `CREATE TABLE t [WITH (…)] LIKE …` and `… AS SELECT`: the columns come from elsewhere.
        parse_clauses(cursor, &mut table)?;
        if table.like.is_some() {
            return Ok(table);
        }
        let message = format!("table '{}' has no columns", table.name.parts[0].value);
        return Err(Diagnostic::error("syntax", cursor.span(), message)
            .hint("list them: CREATE TABLE t (a STRING, b INT) WITH (…)"));
    }
    let mut mistakes = Told::default();
    let listed = cursor.list_telling(&mut mistakes, |cursor| parse_element(cursor, &mut table));
    table.mistakes = mistakes;
    let followed = listed.and_then(|_| parse_clauses(cursor, &mut table));
    let followed = followed.and_then(|()| cursor.expect_end());
    if let Err(error) = followed {
        table.mistakes.tell(error);
        cursor.pass_statement();
    }
    let mut names = HashSet::new();
    table.columns.retain(|ColumnDef { name, .. }| {
        let first = name.value.is_empty() || names.insert(name.value.clone());
        if !first {
            let message = format!("column '{}' is declared twice", name.value);
            let error = Diagnostic::error("duplicate-column", name.span, message);
            table.mistakes.tell(error);
        }
        first
    });
    Ok(table)
}

/// A column, a watermark or a key.
fn parse_element(cursor: &mut Cursor<'_>, table: &mut CreateTable) -> Result<()> {
    let start = cursor.span();
    if cursor.are_words(&["WATERMARK", "FOR"]) {
        return parse_watermark(cursor, table);
    }
    if cursor.is_word("CONSTRAINT") || cursor.are_words(&["PRIMARY", "KEY"]) {
        if cursor.eat_word("CONSTRAINT") {
            cursor.ident("the constraint's name")?;
        }
        cursor.expect_words(&["PRIMARY", "KEY"])?;
        let key = cursor.list(|cursor| cursor.ident("a column's name"))?;
        not_enforced(cursor, start)?;
        return set_primary_key(table, key, start);
    }
    if cursor.is_word("UNIQUE") {
        return Err(Diagnostic::unsupported(start, "UNIQUE is")
            .detail("Rows are appended; none is refused for its values.")
            .hint("remove the constraint"));
    }
    let before = table.columns.len();
    parse_column(cursor, table).inspect_err(|_| {
        if table.columns.len() == before {
            table.columns.push(broken_column(cursor, start));
        }
    })
}

/// A column whose declaration was refused, under its name where that can be told.
fn broken_column(cursor: &Cursor<'_>, start: Span) -> ColumnDef {
    let first = cursor.tokens_from(start).first();
    let value = match first.map(|token| &token.token) {
        Some(Token::Word(word)) => word.value.clone(),
        _ => String::new(),
    };
    ColumnDef {
        name: Ident { value, span: start },
        kind: ColumnKind::Broken,
    }
}

fn parse_watermark(cursor: &mut Cursor<'_>, table: &mut CreateTable) -> Result<()> {
    let start = cursor.span();
    cursor.expect_words(&["WATERMARK", "FOR"])?;
    let column = cursor.ident("the time column's name")?;
    if cursor.is(&Token::Period) {
        let what = "a watermark over a field of a ROW is";
        return Err(
            Diagnostic::unsupported(cursor.span_since(column.span), what)
                .hint("make the time a column of its own in the records"),
        );
    }
    cursor.expect_words(&["AS"])?;
    let (expression, _) = cursor.expression()?;
    let span = cursor.span_since(start);
    if table.watermark.is_some() {
        let message = "a table has one watermark";
        return Err(Diagnostic::error("syntax", span, message));
    }
    table.watermark = Some(WatermarkDef {
        column,
        expression,
        span,
    });
    Ok(())
}

fn parse_column(cursor: &mut Cursor<'_>, table: &mut CreateTable) -> Result<()> {
    let name = cursor.ident("a column's name")?;
    let kind = if cursor.eat_word("AS") {
        let (expr, span) = cursor.expression()?;
        ColumnKind::Computed(Box::new(expr), span)
    } else {
        let ty = parse_type(cursor)?;
        if cursor.eat_word("METADATA") {
            let key = cursor
                .eat_word("FROM")
                .then(|| cursor.text("a metadata key in single quotes"))
                .transpose()?;
            cursor.eat_word("VIRTUAL");
            ColumnKind::Metadata { ty, key }
        } else {
            ColumnKind::Physical(ty)
        }
    };
    table.columns.push(ColumnDef {
        name: name.clone(),
        kind,
    });
    column_constraints(cursor, table, &name)?;
    skip_comment(cursor)
}

fn column_constraints(
    cursor: &mut Cursor<'_>,
    table: &mut CreateTable,
    column: &Ident,
) -> Result<()> {
    let start = cursor.span();
    if cursor.eat_words(&["PRIMARY", "KEY"]) {
        not_enforced(cursor, start)?;
        set_primary_key(table, vec![column.clone()], start)?;
        // Flink has the nullability before or after the key.
        if cursor.eat_words(&["NOT", "NULL"])
            && let Some(ColumnDef {
                kind: ColumnKind::Physical(ty),
                ..
            }) = table.columns.last_mut()
        {
            ty.nullable = false;
        }
    }
    if cursor.is_word("DEFAULT") {
        let what = "a column's DEFAULT is";
        return Err(Diagnostic::unsupported(cursor.span(), what)
            .hint("write COALESCE(column, value) in the query"));
    }
    Ok(())
}

fn not_enforced(cursor: &mut Cursor<'_>, start: Span) -> Result<()> {
    if cursor.eat_words(&["NOT", "ENFORCED"]) {
        return Ok(());
    }
    let message = "a PRIMARY KEY is only accepted as NOT ENFORCED";
    Err(
        Diagnostic::error("syntax", cursor.span_since(start), message)
            .detail(
                "The engine does not own the data, so it cannot reject rows that break the key.",
            )
            .hint("write PRIMARY KEY … NOT ENFORCED"),
    )
}

fn set_primary_key(table: &mut CreateTable, key: Vec<Ident>, span: Span) -> Result<()> {
    if !table.primary_key.is_empty() {
        return Err(Diagnostic::error(
            "syntax",
            span,
            "a table has one PRIMARY KEY",
        ));
    }
    table.primary_key = key;
    Ok(())
}

/// Flink takes columns alone; what Spark and Trino write there is said to be theirs.
fn partition_column(cursor: &mut Cursor<'_>) -> Result<Ident> {
    let column = cursor.ident("a column's name")?;
    if !cursor.is(&Token::LParen) {
        return Ok(column);
    }
    let message = format!("the transform {} in PARTITIONED BY is", column.value);
    Err(Diagnostic::unsupported(column.span, message)
        .detail("As in Flink, a table is partitioned by the values of its columns. Rows do go to the partitions of a table that was created elsewhere, whatever its transforms.")
        .hint("PARTITIONED BY (dt), with a column dt that the query computes: DATE_FORMAT(ts, 'yyyy-MM-dd') AS dt; or create the table with Spark, Trino or PyIceberg before"))
}

/// What may follow the closing parenthesis of the columns.
fn parse_clauses(cursor: &mut Cursor<'_>, table: &mut CreateTable) -> Result<()> {
    skip_comment(cursor)?;
    if cursor.is_word("PARTITIONED") {
        let span = cursor.span();
        cursor.expect_words(&["PARTITIONED", "BY"])?;
        let columns = cursor.list(partition_column)?;
        table.partitioned = Some(Partitioned { columns, span });
    }
    if cursor.is_word("DISTRIBUTED") {
        let error = Diagnostic::unsupported(cursor.span(), "DISTRIBUTED BY is")
            .detail("Tables are written without buckets.")
            .hint("remove the DISTRIBUTED clause");
        pass_clause(cursor, table, error)?;
    }
    if cursor.eat_word("WITH") {
        table.options = cursor.options(&mut table.mistakes)?;
    }
    match cursor.peek() {
        Some(token) if is_word(token, "LIKE") => {
            table.like = Some(parse_like(cursor)?);
            Ok(())
        }
        Some(token) if is_word(token, "AS") => Err(Diagnostic::unsupported(
            cursor.span(),
            "CREATE TABLE … AS SELECT is",
        )
        .hint("fill the table by INSERT INTO … SELECT")),
        Some(token) if token.token != Token::EOF => {
            let error = cursor.unexpected("`WITH (…)` or the end of the statement");
            Err(if is_word(token, "CREATE") || is_word(token, "INSERT") {
                error.hint("end the statement before it with `;`")
            } else {
                error
            })
        }
        _ => Ok(()),
    }
}

/// Tells about a clause that is refused, and goes on at the WITH clause behind it.
fn pass_clause(cursor: &mut Cursor<'_>, table: &mut CreateTable, error: Diagnostic) -> Result<()> {
    table.mistakes.tell(error);
    while !cursor.at_end() && !cursor.is_word("WITH") {
        cursor.advance();
    }
    if cursor.at_end() {
        return Err(Diagnostic::told_before(cursor.span()));
    }
    Ok(())
}

fn parse_like(cursor: &mut Cursor<'_>) -> Result<Like> {
    cursor.expect_words(&["LIKE"])?;
    let table = cursor.name("a table's name")?;
    let mut rules: Vec<LikeRule> = Vec::new();
    if cursor.eat(&Token::LParen) {
        while !cursor.eat(&Token::RParen) {
            let start = cursor.span();
            let rule = parse_rule(cursor)?;
            if rules.iter().any(|other| other.feature == rule.feature) {
                let message = "LIKE says twice what becomes of a part";
                let span = cursor.span_since(start);
                return Err(Diagnostic::error("like", span, message));
            }
            rules.push(rule);
        }
    }
    Ok(Like { table, rules })
}

fn parse_rule(cursor: &mut Cursor<'_>) -> Result<LikeRule> {
    let start = cursor.span();
    let merges = [
        ("INCLUDING", Merge::Including),
        ("EXCLUDING", Merge::Excluding),
        ("OVERWRITING", Merge::Overwriting),
    ];
    let merge = merges.iter().find(|(word, _)| cursor.eat_word(word));
    let Some((word, merge)) = merge else {
        return Err(cursor.unexpected("`INCLUDING`, `EXCLUDING`, `OVERWRITING` or `)`"));
    };
    let features = [
        ("ALL", None),
        ("CONSTRAINTS", Some(Feature::Constraints)),
        ("DISTRIBUTION", Some(Feature::Distribution)),
        ("GENERATED", Some(Feature::Generated)),
        ("METADATA", Some(Feature::Metadata)),
        ("OPTIONS", Some(Feature::Options)),
        ("PARTITIONS", Some(Feature::Partitions)),
        ("WATERMARKS", Some(Feature::Watermarks)),
    ];
    let Some((part, feature)) = features.iter().find(|(part, _)| cursor.eat_word(part)) else {
        let parts: Vec<&str> = features.iter().map(|(part, _)| *part).collect();
        return Err(cursor.unexpected(&format!("one of {}", parts.join(", "))));
    };
    let one_of_two = matches!(
        feature,
        None | Some(Feature::Constraints | Feature::Distribution | Feature::Partitions)
    );
    if *merge == Merge::Overwriting && one_of_two {
        let message = format!("{word} {part} is not a rule of LIKE");
        let error = Diagnostic::error("like", cursor.span_since(start), message);
        return Err(error.hint(format!("INCLUDING {part} or EXCLUDING {part}")));
    }
    Ok(LikeRule {
        merge: *merge,
        feature: *feature,
    })
}

fn skip_comment(cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.eat_word("COMMENT") {
        cursor.text("the comment in single quotes")?;
    }
    Ok(())
}

fn parse_view(cursor: &mut Cursor<'_>, lifetime: Lifetime) -> Result<CreateView> {
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name("a view's name")?;
    let columns = if cursor.is(&Token::LParen) {
        cursor.list(|cursor| cursor.ident("a column's name"))?
    } else {
        Vec::new()
    };
    skip_comment(cursor)?;
    cursor.expect_words(&["AS"])?;
    Ok(CreateView {
        name,
        if_not_exists,
        columns,
        query: cursor.query()?,
        lifetime,
    })
}
