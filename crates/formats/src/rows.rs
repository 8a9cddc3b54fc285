//! The rows of a batch under construction, common to all formats: columns, how they map to the output, how many rows.

use crate::arrow::arrow_schema;
use crate::column::Column;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use lw_graph::{Field, Schema};

/// One column per *distinct* projected field, in the order of the schema.
pub(crate) struct Rows {
    schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    /// For each output column, which of `columns` it is.
    outputs: Vec<usize>,
    /// Complete rows. Columns may be longer while a record is being read.
    pub(crate) rows: usize,
}

impl Rows {
    /// Returns the rows and the fields that its columns hold.
    pub(crate) fn new(schema: &Schema, projection: &[usize]) -> (Rows, Vec<Field>) {
        let mut wanted: Vec<usize> = projection.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let outputs = projection
            .iter()
            .map(|index| wanted.binary_search(index).expect("taken from projection"))
            .collect();
        let fields: Vec<Field> = wanted
            .iter()
            .map(|index| schema.fields[*index].clone())
            .collect();
        let projected = projection
            .iter()
            .map(|index| schema.fields[*index].clone())
            .collect();
        let rows = Rows {
            schema: arrow_schema(&Schema::new(projected)),
            columns: fields.iter().map(|field| Column::new(&field.ty)).collect(),
            outputs,
            rows: 0,
        };
        (rows, fields)
    }

    /// Counts the row that every column has just been given.
    #[inline]
    pub(crate) fn commit(&mut self) {
        self.rows += 1;
        debug_assert!(
            self.columns.iter().all(|column| column.len() == self.rows),
            "every column has one value per row"
        );
    }

    /// Forgets all rows from `rows` on, and whatever of the next one has already been appended.
    pub(crate) fn rollback(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
        self.rows = rows;
    }

    pub(crate) fn finish(&mut self) -> RecordBatch {
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::take).collect();
        let outputs = self.outputs.iter().map(|i| arrays[*i].clone()).collect();
        let rows = std::mem::take(&mut self.rows);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), outputs, &options).expect(
            "columns are built by the schema, and NULL is refused where it declares NOT NULL",
        )
    }
}
