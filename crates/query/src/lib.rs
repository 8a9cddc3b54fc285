//! Batch SQL over tables: `lakeward sql -e`. DataFusion is here and nowhere else.
//!
//! A query sees each table as it is when the query names it: `namespace.table`, or `catalog.namespace.table` where there are
//! several catalogs ([`Catalogs`]). A table is scanned at its current snapshot, deletes applied, by Iceberg's own reader.
//! The dialect and the types are DataFusion's; scripts with `INSERT INTO` are pipelines and are not run here.
//!
//! What it is not: it writes nothing, plans no streams and caches nothing between queries.
//!
//! Read first: [`query`], [`Catalogs`], [`QueryError`], [`rows_as_json`].
//!
//! Invariants: a query changes nothing; identifiers are case-sensitive, as in scripts.
//!
//! Layer L3.

mod json;
mod micros;
mod system;
mod tables;
#[cfg(test)]
mod tests;

pub use json::rows_as_json;

use arrow_array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{SessionConfig, SessionContext};
use lw_lakehouse::{Catalog, CatalogError, TableCatalog};
use std::sync::Arc;
use tables::Namespaces;
use thiserror::Error;

/// What `namespace.table` means where no catalog is named; never written in a query.
const DEFAULT_CATALOG: &str = "lakeward";

/// Where the tables of a query are looked for.
pub trait Catalogs: Send + Sync {
    /// Names that may stand before `namespace.table`.
    fn names(&self) -> Vec<String>;

    /// The catalog to ask for `table` (`namespace.table`): the one of this name, or the one that is meant where none is named.
    ///
    /// # Errors
    /// When that catalog cannot be reached.
    fn holding(
        &self,
        name: Option<&str>,
        table: &str,
    ) -> Result<Arc<dyn TableCatalog>, CatalogError>;
}

/// The embedded catalog alone.
impl Catalogs for Catalog {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn holding(&self, _: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        Ok(Arc::new(self.clone()))
    }
}

/// Why a query has no result. The text is what the user reads.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error("{}", in_one_line(.0))]
    Query(#[source] Box<DataFusionError>),
    #[error("the query cannot be started: {0}")]
    Start(#[from] std::io::Error),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> QueryError {
        QueryError::Query(Box::new(error))
    }
}

/// In one line, without the names of DataFusion's own layers and without its backtrace.
fn in_one_line(error: &DataFusionError) -> String {
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

/// Runs one query over tables and returns its rows. Blocks; not to be called from async tasks.
///
/// # Errors
/// [`QueryError`] when the text is not a query, names what is not there, or a file cannot be read.
pub fn query(catalogs: Arc<dyn Catalogs>, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let mut config =
            SessionConfig::new().with_default_catalog_and_schema(DEFAULT_CATALOG, "default");
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let context = SessionContext::new_with_config(config);
        for name in catalogs.names() {
            let namespaces = Namespaces::new(catalogs.clone(), Some(name.clone()));
            context.register_catalog(name, Arc::new(namespaces));
        }
        let default = Namespaces::new(catalogs, None);
        context.register_catalog(DEFAULT_CATALOG, Arc::new(default));
        let queries_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let plan = micros::plan(&context, sql).await?;
        queries_only.verify_plan(&plan)?;
        let frame = context.execute_logical_plan(plan).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let mut batches = frame.collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    })
}
