//! What the columns of a query are called in a table that others may have changed: see [`lw_graph::ColumnName`].
//!
//! What each name is bound to stands in the newest [`Stint`](crate::commit::marker::Stint) of the table's marker, so the
//! pipeline that wrote it goes on by field id over any renaming. The table's older schemas tell which fields had a name before.

use arrow_schema::{Field, Schema};
use iceberg::spec::{SchemaRef, TableMetadata};
use lw_graph::{ColumnName, places};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What names of a query are bound to: field ids of the table.
pub type Bound = BTreeMap<String, i32>;

/// The names, as they are to be looked for in the table or its files.
pub fn column_names<'a>(
    names: impl Iterator<Item = &'a str>,
    metadata: &TableMetadata,
    bound: &Bound,
) -> Vec<ColumnName> {
    let mut schemas: Vec<&SchemaRef> = metadata.schemas_iter().collect();
    schemas.sort_by_key(|schema| Reverse(schema.schema_id()));
    let column = |name: &str| {
        let fields = schemas
            .iter()
            .filter_map(|schema| schema.as_struct().field_by_name(name));
        let mut had: Vec<i32> = fields.map(|field| field.id).collect();
        had.dedup();
        ColumnName {
            name: name.to_owned(),
            bound: bound.get(name).copied(),
            had,
        }
    };
    names.map(column).collect()
}

/// Where a file has each of the columns.
pub(crate) fn places_in_file(columns: &[ColumnName], file: &Schema) -> Vec<Option<usize>> {
    let id = |field: &Field| {
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY)?;
        id.parse().ok()
    };
    let fields = file.fields().iter();
    places(columns, fields.map(|field| (&**field.name(), id(field))))
}
