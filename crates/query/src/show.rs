//! `SHOW TABLES`, `SHOW DATABASES` and `DESCRIBE`, as people type them at a prompt; answered from the catalogs.

use crate::Catalogs;
use crate::error::QueryError;
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lw_lakehouse::parse_table;
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `SHOW TABLES [IN [catalog.]namespace | catalog]`.
    Tables { namespace: Option<String> },
    /// `SHOW DATABASES`, `SHOW SCHEMAS`.
    Databases,
    /// `DESCRIBE [catalog.]namespace.table`, `DESC`.
    Describe { table: String },
}

/// The question, if the text is one.
pub(crate) fn parse(sql: &str) -> Option<Question> {
    let words: Vec<&str> = sql
        .trim()
        .trim_end_matches(';')
        .split_whitespace()
        .collect();
    let is = |at: usize, word: &str| words[at].eq_ignore_ascii_case(word);
    let name = |at: usize| words[at].replace(['"', '`'], "");
    match words.len() {
        2 if is(0, "SHOW") && is(1, "TABLES") => Some(Question::Tables { namespace: None }),
        4 if is(0, "SHOW") && is(1, "TABLES") && (is(2, "IN") || is(2, "FROM")) => {
            Some(Question::Tables {
                namespace: Some(name(3)),
            })
        }
        2 if is(0, "SHOW") && (is(1, "DATABASES") || is(1, "SCHEMAS")) => Some(Question::Databases),
        2 if (is(0, "DESCRIBE") || is(0, "DESC")) => Some(Question::Describe { table: name(1) }),
        _ => None,
    }
}

impl Question {
    /// The answer as rows of text. Blocks.
    pub(crate) fn answer(
        &self,
        catalogs: &dyn Catalogs,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        match self {
            Question::Tables { namespace } => tables(catalogs, namespace.as_deref()),
            Question::Databases => {
                let mut relations = catalogs.list(None)?;
                relations.extend(catalogs.list_views(None)?);
                relations.sort();
                let mut names: Vec<String> = relations
                    .iter()
                    .map(|table| table.namespace().join("."))
                    .collect();
                names.dedup();
                rows(
                    &["database"],
                    names.into_iter().map(|name| vec![Some(name)]).collect(),
                )
            }
            Question::Describe { table } => describe(catalogs, table),
        }
    }
}

/// The tables of `namespace`, of a catalog, or of `catalog.namespace`: by the names that a query calls them.
fn tables(
    catalogs: &dyn Catalogs,
    within: Option<&str>,
) -> Result<SendableRecordBatchStream, QueryError> {
    let names = catalogs.names();
    let (catalog, namespace) = match within {
        Some(within) if names.iter().any(|name| name == within) => (Some(within), None),
        Some(within) => {
            let (catalog, namespace) = in_catalog(&names, within);
            (catalog, Some(namespace))
        }
        None => (None, None),
    };
    let prefix = catalog.map_or_else(String::new, |catalog| format!("{catalog}."));
    let mut found = catalogs.list(catalog)?;
    found.extend(catalogs.list_views(catalog)?);
    found.sort();
    let named = found
        .iter()
        .map(|table| (table.namespace().join("."), table.name()))
        .filter(|(within, _)| namespace.is_none_or(|wanted| wanted == within))
        .map(|(within, name)| vec![Some(format!("{prefix}{within}.{name}"))]);
    rows(&["table"], named.collect())
}

/// Takes the name of a catalog off a name.
fn in_catalog<'a>(catalogs: &[String], name: &'a str) -> (Option<&'a str>, &'a str) {
    let split = catalogs.iter().find_map(|catalog| {
        let rest = name.strip_prefix(catalog.as_str())?.strip_prefix('.')?;
        Some((&name[..catalog.len()], rest))
    });
    match split {
        Some((catalog, rest)) => (Some(catalog), rest),
        None => (None, name),
    }
}

/// Takes the name of a catalog off the name of a table, as `sql` understands it: a namespace may be called as a catalog is, so
/// what is left must still be a table's name.
pub fn table_in_catalog<'a>(catalogs: &[String], name: &'a str) -> (Option<&'a str>, &'a str) {
    match in_catalog(catalogs, name) {
        (Some(catalog), rest) if rest.contains('.') => (Some(catalog), rest),
        _ => (None, name),
    }
}

/// Columns with Iceberg's types.
fn describe(catalogs: &dyn Catalogs, table: &str) -> Result<SendableRecordBatchStream, QueryError> {
    let names = catalogs.names();
    let (within, table) = table_in_catalog(&names, table);
    let ident = parse_table(table)?;
    let catalog = catalogs.holding(within, table)?;
    let schema = match catalog.load(&ident) {
        Ok(loaded) => loaded.metadata.current_schema().clone(),
        Err(error) => match catalogs.view(within, &ident)? {
            Some(view) => view.current_schema().clone(),
            None => return Err(error.into()),
        },
    };
    let fields = schema.as_struct().fields().iter();
    let columns = fields.map(|field| {
        let nullable = if field.required { "NOT NULL" } else { "" };
        let text = [
            field.name.clone(),
            field.field_type.to_string(),
            nullable.to_owned(),
            field.doc.clone().unwrap_or_default(),
        ];
        text.map(|text| Some(text).filter(|text| !text.is_empty()))
            .to_vec()
    });
    rows(&["column", "type", "null", "comment"], columns.collect())
}

fn rows(
    columns: &[&str],
    rows: Vec<Vec<Option<String>>>,
) -> Result<SendableRecordBatchStream, QueryError> {
    let arrays = columns.iter().enumerate().map(|(at, column)| {
        let mut texts = StringBuilder::new();
        for row in &rows {
            texts.append_option(row[at].as_ref());
        }
        (*column, Arc::new(texts.finish()) as ArrayRef, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(arrays).map_err(DataFusionError::from)?;
    let schema = batch.schema();
    let stream = futures::stream::iter([Ok(batch)]);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}
