//! `POST /api/v1/sql`: a batch query, answered whole or row by row; or an `ALTER TABLE`, answered by one row.
//!
//! ```text
//! {"sql": "SELECT …", "max_rows": 100, "timeout_ms": 5000}
//!
//! Accept: application/json (default)       Accept: application/x-ndjson
//! {"columns": ["a"], "rows": [[1]],        {"columns": [{"name": "a", "type": "Int64"}]}
//!  "truncated": false, "notices": []}      [1]
//!                                          {"end": {"rows": 1, "truncated": false, "notices": []}}
//! ```
//!
//! A notice is a sentence about what the answer does not have though it was asked for.
//! The whole answer is bounded, so that its status is known before its first byte. A stream that fails half way ends with
//! `{"error": …}` in place of `end`: one that has neither was cut off. A client that goes away ends its query.

use crate::{Parts, Refusal};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

const NDJSON: &str = "application/x-ndjson";
/// Rows of a whole answer unless more are asked for.
const WHOLE_ROWS: u64 = 10_000;
/// A whole answer longer than this is for a stream.
const WHOLE_BYTES: usize = 64 << 20;
const TIMEOUT_MS: u64 = 60_000;

/// A batch query and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub sql: String,
    /// `None` for all rows.
    pub max_rows: Option<u64>,
    pub timeout: Duration,
}

/// A column of an answer.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A running query. Dropping it ends the query.
pub trait Answer: Send {
    fn columns(&self) -> Vec<Column>;
    /// The next rows, each an array; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<Value>, Refusal>>>;
    /// Whether there were more rows than were asked for; known at the end.
    fn is_truncated(&self) -> bool;
    /// What it does not have though it was asked for, a sentence each; known at the end.
    fn notices(&self) -> Vec<String>;
}

#[derive(Deserialize)]
pub(crate) struct Sql {
    sql: String,
    /// 0 for all rows.
    max_rows: Option<u64>,
    timeout_ms: Option<u64>,
}

pub(crate) async fn sql(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    Json(request): Json<Sql>,
) -> Result<Response, Refusal> {
    let accept = headers.get(header::ACCEPT);
    let streamed = accept.is_some_and(|accept| accept.as_bytes().starts_with(NDJSON.as_bytes()));
    let unless_told = if streamed { 0 } else { WHOLE_ROWS };
    let most = request.max_rows.unwrap_or(unless_told);
    let answer = (parts.query)(Question {
        sql: request.sql,
        max_rows: (most > 0).then_some(most),
        timeout: Duration::from_millis(request.timeout_ms.unwrap_or(TIMEOUT_MS)),
    })
    .await?;
    if streamed {
        stream(answer).await
    } else {
        whole(answer).await
    }
}

async fn whole(mut answer: Box<dyn Answer>) -> Result<Response, Refusal> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(more) = answer.next().await {
        let more = more?;
        bytes += lines(&more).len();
        if bytes > WHOLE_BYTES {
            return Err(Refusal::new(
                413,
                format!("the answer is longer than {WHOLE_BYTES} bytes"),
            )
            .hint(format!(
                "Ask for it row by row with the header Accept: {NDJSON}, or set max_rows."
            )));
        }
        rows.extend(more);
    }
    let columns: Vec<String> = answer
        .columns()
        .into_iter()
        .map(|column| column.name)
        .collect();
    let whole = json!({
        "columns": columns,
        "rows": rows,
        "truncated": answer.is_truncated(),
        "notices": answer.notices(),
    });
    Ok(Json(whole).into_response())
}

/// What is still to be sent.
enum Rest {
    Rows(Box<dyn Answer>, u64),
    Nothing,
}

async fn stream(mut answer: Box<dyn Answer>) -> Result<Response, Refusal> {
    // What fails before its first row still gets a status of its own.
    let head = format!("{}\n", json!({ "columns": answer.columns() }));
    let (first, rest) = match answer.next().await {
        Some(rows) => {
            let rows = rows?;
            let text = head + &lines(&rows);
            (text, Rest::Rows(answer, rows.len() as u64))
        }
        None => (head + &end(&*answer, 0), Rest::Nothing),
    };
    let first = futures::stream::iter([Ok::<_, Infallible>(first)]);
    let later = futures::stream::unfold(rest, |rest| async move {
        let Rest::Rows(mut answer, given) = rest else {
            return None;
        };
        Some(match answer.next().await {
            Some(Ok(rows)) => {
                let given = given + rows.len() as u64;
                (Ok(lines(&rows)), Rest::Rows(answer, given))
            }
            Some(Err(refusal)) => (
                Ok(format!("{}\n", json!({ "error": refusal }))),
                Rest::Nothing,
            ),
            None => (Ok(end(&*answer, given)), Rest::Nothing),
        })
    });
    let body = Body::from_stream(futures::StreamExt::chain(first, later));
    Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response())
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn end(answer: &dyn Answer, rows: u64) -> String {
    let end = json!({
        "rows": rows,
        "truncated": answer.is_truncated(),
        "notices": answer.notices(),
    });
    format!("{}\n", json!({ "end": end }))
}
