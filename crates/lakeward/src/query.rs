//! Batch queries as the API asks for them: the engine's answers in the gateway's words. `ALTER TABLE` is answered as in Flink,
//! by `result`: `OK`.

use crate::tables::Tables;
use anyhow::Context;
use futures::future::BoxFuture;
use lw_gateway::{Answer, Ask, Column, Refusal};
use lw_query::{Budget, Engine, Limits, QueryError, Rows, rows_as_json};
use lw_sql::{AlterTable, Diagnostic};
use serde_json::Value;
use std::sync::Arc;

/// One engine for all queries.
pub fn start(memory_bytes: usize) -> anyhow::Result<Arc<Engine>> {
    let budget = Budget {
        memory_bytes,
        ..Budget::default()
    };
    let engine = Engine::start(budget).context("queries cannot be started")?;
    Ok(Arc::new(engine))
}

/// Queries over `tables`.
pub fn parts(tables: Arc<Tables>, engine: Arc<Engine>) -> Box<Ask> {
    Box::new(move |question| {
        if let Some(statement) = lw_sql::alter_table(&question.sql) {
            return Box::pin(altered(tables.clone(), statement, question.sql));
        }
        let session = engine.session(tables.clone());
        Box::pin(async move {
            let limits = Limits {
                max_rows: question.max_rows,
                timeout: question.timeout,
            };
            let rows = session.query(&question.sql, limits).await;
            Ok(Box::new(Streamed(rows.map_err(refused)?)) as Box<dyn Answer>)
        })
    })
}

async fn altered(
    tables: Arc<Tables>,
    statement: Result<AlterTable, Diagnostic>,
    text: String,
) -> Result<Box<dyn Answer>, Refusal> {
    let statement =
        statement.map_err(|error| crate::server::refused(&error.into(), "the statement", &text))?;
    let done = tokio::task::spawn_blocking(move || tables.alter(&statement)).await;
    let notices = done.map_err(|error| Refusal::new(500, error))??;
    let said = Some(vec![Value::from("OK")]);
    Ok(Box::new(Done { said, notices }))
}

/// What a statement without rows of its own answers.
struct Done {
    said: Option<Vec<Value>>,
    notices: Vec<String>,
}

impl Answer for Done {
    fn columns(&self) -> Vec<Column> {
        vec![Column {
            name: "result".to_owned(),
            kind: "Utf8".to_owned(),
        }]
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<Value>, Refusal>>> {
        let said = self.said.take();
        Box::pin(async { said.map(|row| Ok(vec![Value::Array(row)])) })
    }

    fn is_truncated(&self) -> bool {
        false
    }

    fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }
}

struct Streamed(Rows);

impl Answer for Streamed {
    fn columns(&self) -> Vec<Column> {
        let fields = self.0.schema().fields().iter();
        let column = fields.map(|field| Column {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
        });
        column.collect()
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<Value>, Refusal>>> {
        Box::pin(async {
            let batch = match self.0.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(refused(error))),
            };
            let rows = rows_as_json(std::slice::from_ref(&batch));
            Some(rows.map_err(|error| Refusal::new(500, error)))
        })
    }

    fn is_truncated(&self) -> bool {
        self.0.is_truncated()
    }

    fn notices(&self) -> Vec<String> {
        self.0.notices()
    }
}

fn refused(error: QueryError) -> Refusal {
    let status = match &error {
        QueryError::Query(_) => 400,
        // The table is not there, or its catalog does not answer: the message says which.
        QueryError::Catalog(_) => 400,
        QueryError::Memory(_) | QueryError::Time(_) => 422,
        QueryError::Start(_) | QueryError::Panic(_) => 500,
    };
    Refusal::new(status, &error).hint(error.hint())
}
