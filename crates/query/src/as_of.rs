//! Time travel: a table as it was, in the spellings of Flink, Spark and Trino.
//!
//! ```text
//! FROM ns.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-11-28 10:00:00'     Flink, Spark
//! FROM ns.t FOR TIMESTAMP AS OF CURRENT_TIMESTAMP - INTERVAL '1' HOUR Trino
//! FROM ns.t FOR SYSTEM_VERSION AS OF 8420391157718241                 Spark
//! FROM ns.t FOR VERSION AS OF 'a branch or a tag'                     Trino; Spark without FOR
//! ```
//!
//! The parser knows some of these in some dialects and none in ours, and its planner forgets what it parsed. So the clause
//! is taken out of the text's tokens before they are parsed, and the table is from there on called by a name with the version in it:
//!
//! ```text
//! t FOR VERSION AS OF 7 WHERE …   becomes   "t FOR VERSION AS OF 7" AS "t" WHERE …
//! ```
//!
//! 1. A clause is only one behind a name that stands behind `FROM`, `JOIN`, `,` or `(`.
//! 2. A time is computed at once: it is one moment for the whole query, whatever it was computed from.
//! 3. [`split`] takes the name apart again where the table is looked up.

use crate::micros;
use arrow_schema::{DataType, TimeUnit};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use iceberg::spec::{SchemaRef, SnapshotRef, TableMetadata};
use lw_lakehouse::view;
use lw_stdx::calendar::{parse_utc, utc};
use std::fmt;

/// Which state of a table is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A snapshot's id.
    Id(i64),
    /// A branch or a tag.
    Name(String),
    /// What was current then, milliseconds since 1970: snapshots have no finer time.
    Time(i64),
}

const VERSION: &str = " FOR VERSION AS OF ";
const TIME: &str = " FOR TIMESTAMP AS OF ";

/// As it stands in a table's name, for people as well.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Id(id) => write!(f, "{VERSION}{id}"),
            Version::Name(name) => write!(f, "{VERSION}'{name}'"),
            Version::Time(millis) => write!(f, "{TIME}{}", utc(*millis)),
        }
    }
}

/// A table's name and the version in it.
pub(crate) fn split(name: &str) -> (&str, Option<Version>) {
    if let Some((table, version)) = name.split_once(VERSION) {
        let quoted = version
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''));
        let version = match (quoted, version.parse()) {
            (Some(name), _) => Some(Version::Name(name.to_owned())),
            (None, Ok(id)) => Some(Version::Id(id)),
            (None, Err(_)) => None,
        };
        return version.map_or((name, None), |version| (table, Some(version)));
    }
    let Some((table, moment)) = name.split_once(TIME) else {
        return (name, None);
    };
    match parse_utc(moment) {
        Some(millis) => (table, Some(Version::Time(millis))),
        None => (name, None),
    }
}

/// A state of a table, and the columns it is read with.
#[derive(Clone)]
pub(crate) struct Seen {
    /// `None`: nothing was ever committed.
    pub(crate) snapshot: Option<SnapshotRef>,
    pub(crate) schema: SchemaRef,
}

impl Seen {
    /// What `version` means in a table; without one, what is current.
    pub(crate) fn of(
        version: Option<&Version>,
        table: &str,
        metadata: &TableMetadata,
    ) -> Result<Seen> {
        let snapshot = match version {
            None => metadata.current_snapshot(),
            Some(version) => Some(version.snapshot(table, metadata)?),
        };
        let schema = match snapshot {
            // A branch is read by the table's columns, as is what is current: only what is fixed has those of its time.
            Some(snapshot) if version.is_some_and(|version| !version.is_branch(metadata)) => {
                snapshot.schema(metadata).map_err(crate::tables::damaged)?
            }
            _ => metadata.current_schema().clone(),
        };
        Ok(Seen {
            snapshot: snapshot.cloned(),
            schema,
        })
    }
}

impl Version {
    fn is_branch(&self, metadata: &TableMetadata) -> bool {
        let Version::Name(name) = self else {
            return false;
        };
        view::refs(metadata)
            .iter()
            .any(|found| found.is_branch && found.name == *name)
    }

    fn snapshot<'a>(&self, table: &str, metadata: &'a TableMetadata) -> Result<&'a SnapshotRef> {
        match self {
            Version::Id(id) => by_id(*id, table, metadata),
            Version::Name(name) => match (metadata.snapshot_for_ref(name), name.parse()) {
                (Some(snapshot), _) => Ok(snapshot),
                (None, Ok(id)) => by_id(id, table, metadata),
                (None, Err(_)) => {
                    let names: Vec<String> = view::refs(metadata)
                        .into_iter()
                        .map(|found| found.name)
                        .collect();
                    plan_err!(
                        "table '{table}' has no branch or tag '{name}'; it has: {}",
                        names.join(", ")
                    )
                }
            },
            Version::Time(millis) => at(*millis, table, metadata),
        }
    }
}

fn by_id<'a>(id: i64, table: &str, metadata: &'a TableMetadata) -> Result<&'a SnapshotRef> {
    match metadata.snapshot_by_id(id) {
        Some(snapshot) => Ok(snapshot),
        None => plan_err!(
            "table '{table}' has no snapshot {id}, or no longer: `SELECT snapshot_id, committed_at FROM {table}$snapshots` shows those that it has"
        ),
    }
}

/// What `main` was at a time.
fn at<'a>(millis: i64, table: &str, metadata: &'a TableMetadata) -> Result<&'a SnapshotRef> {
    match (view::head_at(metadata, millis), metadata.history().first()) {
        (Some(head), _) => by_id(head, table, metadata),
        (None, Some(oldest)) => plan_err!(
            "table '{table}' has no snapshot as old as {}: its oldest is of {}",
            utc(millis),
            utc(oldest.timestamp_ms())
        ),
        (None, None) => {
            plan_err!("table '{table}' has no snapshot: nothing was ever committed to it")
        }
    }
}

/// Parses a query; where it asks for tables as they were, they are named so.
///
/// # Errors
/// When it is not one statement, or a version is none.
pub(crate) async fn statement(context: &SessionContext, sql: &str) -> Result<Statement> {
    let tokens = Tokenizer::new(&GenericDialect, sql)
        .tokenize_with_location()
        .map_err(ParserError::from)?;
    parse(name_versions(context, tokens).await?, context)
}

fn parse(tokens: Vec<TokenWithSpan>, context: &SessionContext) -> Result<Statement> {
    let limit = context.state().config_options().sql_parser.recursion_limit;
    let mut statements = DFParserBuilder::new(tokens)
        .with_recursion_limit(limit)
        .build()?
        .parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (None, _) => plan_err!("there is no query"),
        (Some(_), false) => plan_err!("one query at a time: there is a second statement"),
    }
}

async fn name_versions(
    context: &SessionContext,
    mut tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>> {
    let mut at = 0;
    while at < tokens.len() {
        let Some(clause) = Clause::at(&tokens, at)? else {
            at += 1;
            continue;
        };
        let version = clause.version(context).await?;
        at = clause.table + 1;
        clause.name(version, &mut tokens);
    }
    Ok(tokens)
}

/// A clause found in the tokens.
struct Clause {
    /// The last part of the table's name.
    table: usize,
    /// Where the clause begins, and where the query goes on.
    begin: usize,
    end: usize,
    by_time: bool,
    value: Expr,
}

impl Clause {
    /// The clause that begins at a token, if one does.
    fn at(tokens: &[TokenWithSpan], begin: usize) -> Result<Option<Clause>> {
        let mut words = significant(tokens, begin);
        let is = |at: Option<usize>, word: &str| at.is_some_and(|at| is_word(&tokens[at], word));
        let mut first = words.next();
        if is(first, "FOR") {
            first = words.next();
        }
        let by_time = is(first, "SYSTEM_TIME") || is(first, "TIMESTAMP");
        let by_version = is(first, "SYSTEM_VERSION") || is(first, "VERSION");
        if !(by_time || by_version) || !is(words.next(), "AS") || !is(words.next(), "OF") {
            return Ok(None);
        }
        let (Some(table), Some(value)) = (table_before(tokens, begin), words.next()) else {
            return Ok(None);
        };
        let mut parser =
            Parser::new(&GenericDialect).with_tokens_with_locations(tokens[value..].to_vec());
        let parsed = parser.parse_expr()?;
        Ok(Some(Clause {
            table,
            begin,
            end: value + parser.index(),
            by_time,
            value: parsed,
        }))
    }

    async fn version(&self, context: &SessionContext) -> Result<Version> {
        if self.by_time {
            return Ok(Version::Time(moment(context, &self.value).await?));
        }
        let value = match &self.value {
            Expr::Value(value) => Some(&value.value),
            _ => None,
        };
        match value {
            Some(Value::Number(id, _)) if id.parse::<i64>().is_ok() => {
                Ok(Version::Id(id.parse().expect("it was tried")))
            }
            Some(Value::SingleQuotedString(name)) => Ok(Version::Name(name.clone())),
            _ => plan_err!(
                "{} is no version: it is the number of a snapshot, or the name of a branch or tag in single quotes",
                self.value
            ),
        }
    }

    /// Takes the clause out, and calls the table by its version; queries go on to call it by its own name.
    fn name(self, version: Version, tokens: &mut Vec<TokenWithSpan>) {
        let at = tokens[self.table].clone();
        let Token::Word(table) = &at.token else {
            unreachable!("a table's name ends with a word");
        };
        let quoted = |value: String| TokenWithSpan {
            token: Token::Word(Word {
                value,
                quote_style: Some('"'),
                keyword: Keyword::NoKeyword,
            }),
            span: at.span,
        };
        let mut instead = vec![quoted(format!("{}{version}", table.value))];
        if !has_alias(tokens, self.end) {
            instead.push(TokenWithSpan {
                token: Token::make_keyword("AS"),
                span: at.span,
            });
            instead.push(quoted(table.value.clone()));
        }
        tokens.drain(self.begin..self.end);
        tokens.splice(self.table..=self.table, instead);
    }
}

/// The places of what is not white space, from a token on.
fn significant(tokens: &[TokenWithSpan], from: usize) -> impl Iterator<Item = usize> {
    (from..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_)))
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// The last part of the name of a table that stands before a token.
fn table_before(tokens: &[TokenWithSpan], before: usize) -> Option<usize> {
    let before = &tokens[..before];
    let mut back = significant(before, 0).collect::<Vec<_>>().into_iter().rev();
    let last = back.next()?;
    let mut part = last;
    loop {
        if !matches!(tokens[part].token, Token::Word(_)) {
            return None;
        }
        let before = &tokens[back.next()?];
        match &before.token {
            Token::Period => part = back.next()?,
            Token::Comma | Token::LParen => return Some(last),
            _ if is_word(before, "FROM") || is_word(before, "JOIN") => return Some(last),
            _ => return None,
        }
    }
}

fn has_alias(tokens: &[TokenWithSpan], from: usize) -> bool {
    let Some(next) = significant(tokens, from).next() else {
        return false;
    };
    match &tokens[next].token {
        Token::Word(word) if word.quote_style.is_some() => true,
        Token::Word(word) => {
            word.keyword == Keyword::AS || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
        }
        _ => false,
    }
}

/// A moment in milliseconds since 1970: a timestamp (in UTC where it has no zone), a date, a text of one, whole seconds.
async fn moment(context: &SessionContext, value: &Expr) -> Result<i64> {
    let computed = compute(context, value).await?;
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let seconds = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
    let moment = match &computed {
        ScalarValue::Int64(_) => computed.cast_to(&seconds)?.cast_to(&micros)?,
        other => other.cast_to(&micros).or_else(|_| {
            plan_err!("{value} is no time; write TIMESTAMP '2026-01-31 12:00:00' (in UTC)")
        })?,
    };
    match moment {
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Ok(micros.div_euclid(1000)),
        _ => plan_err!("{value} is no time: it is NULL"),
    }
}

async fn compute(context: &SessionContext, value: &Expr) -> Result<ScalarValue> {
    let tokens = Tokenizer::new(&GenericDialect, &format!("SELECT {value}"))
        .tokenize_with_location()
        .map_err(ParserError::from)?;
    let plan = micros::plan(context, parse(tokens, context)?).await?;
    let rows = context.execute_logical_plan(plan).await?.collect().await?;
    match rows.iter().find(|batch| batch.num_rows() == 1) {
        Some(batch) if batch.num_columns() == 1 => ScalarValue::try_from_array(batch.column(0), 0),
        _ => plan_err!("{value} is not one time"),
    }
}
