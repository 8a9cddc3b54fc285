//! Why a query has no result, and what to do about it.

use datafusion::error::DataFusionError;
use lw_lakehouse::CatalogError;
use std::time::Duration;
use thiserror::Error;

/// Why a query has no result. The text is what the user reads, [`QueryError::hint`] what to do.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error("{}", in_one_line(.0))]
    Query(#[source] Box<DataFusionError>),
    #[error("{0}")]
    Catalog(#[from] CatalogError),
    #[error("the query needs more memory than queries may have")]
    Memory(#[source] Box<DataFusionError>),
    #[error("the query was ended: it took longer than {} s", .0.as_secs_f64())]
    Time(Duration),
    #[error("the query cannot be started: {0}")]
    Start(#[from] std::io::Error),
    #[error("the query ended in a panic: {0}")]
    Panic(String),
}

impl QueryError {
    pub(crate) fn panic(error: impl std::fmt::Display) -> QueryError {
        QueryError::Panic(error.to_string())
    }

    /// Something to do.
    pub fn hint(&self) -> &'static str {
        match self {
            QueryError::Memory(_) => {
                "Read fewer columns or rows, join the smaller table to the larger one, or give queries more: `lakeward up --query-memory`."
            }
            QueryError::Time(_) => "Read fewer rows, or give it longer: `--timeout '5 min'`.",
            QueryError::Panic(_) => "This is a bug; the server's log has the reason.",
            QueryError::Query(_) | QueryError::Catalog(_) | QueryError::Start(_) => "",
        }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => QueryError::Memory(Box::new(error)),
            _ => QueryError::Query(Box::new(error)),
        }
    }
}

/// In one line, without the names of DataFusion's own layers and without its backtrace.
pub(crate) fn in_one_line(error: &DataFusionError) -> String {
    let text = error.strip_backtrace().trim().replace('\n', " ");
    let words = [
        "Error during planning: ",
        "Schema error: ",
        "SQL error: ",
        "Execution error: ",
        "External error: ",
    ]
    .iter()
    .find_map(|prefix| text.strip_prefix(prefix))
    .unwrap_or(&text);
    // The parser's own error comes in the words of its type.
    words
        .strip_prefix("ParserError(\"")
        .and_then(|rest| rest.strip_suffix("\")"))
        .unwrap_or(words)
        .to_owned()
}
