//! A table of dead letters: whose they are, whatever others have called its columns since.

use super::TableView;
use crate::error::{CatalogError, Kind};
use crate::naming::{column_names, places_in_file};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_cast::cast;
use arrow_schema::DataType;
use lw_graph::ColumnName;

const COLUMNS: [&str; 5] = ["topic", "partition", "offset", "key", "value"];

/// A dead letter: which record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterView<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

impl TableView {
    /// Shows each letter of this table of dead letters, a file at a time.
    ///
    /// # Errors
    /// When it is no table of dead letters, or a file cannot be read.
    pub fn letters(&self, mut each: impl FnMut(LetterView<'_>)) -> Result<(), CatalogError> {
        let stints = self.marker.iter().flat_map(|marker| marker.stints());
        let bound = stints.last().map(|stint| stint.columns.clone());
        let metadata = &self.table.metadata;
        let columns = column_names(COLUMNS.into_iter(), metadata, &bound.unwrap_or_default());
        for file in &self.data_files {
            for batch in self.batches(file, &columns)? {
                show_in(&batch?, &columns, &file.path, &mut each)?;
            }
        }
        Ok(())
    }
}

/// Shows the letters in rows of a file whose columns nobody renamed.
pub(crate) fn show_letters(
    batch: &RecordBatch,
    path: &str,
    each: &mut impl FnMut(LetterView<'_>),
) -> Result<(), CatalogError> {
    show_in(batch, &COLUMNS.map(ColumnName::plain), path, each)
}

fn show_in(
    batch: &RecordBatch,
    columns: &[ColumnName],
    path: &str,
    each: &mut impl FnMut(LetterView<'_>),
) -> Result<(), CatalogError> {
    show(batch, columns, each)
        .ok_or_else(|| CatalogError::new(Kind::BadRequest, format!("{path} holds no dead letters")))
}

fn show(
    batch: &RecordBatch,
    columns: &[ColumnName],
    each: &mut impl FnMut(LetterView<'_>),
) -> Option<()> {
    let places = places_in_file(columns, &batch.schema());
    let column = |index: usize| Some(batch.column(places[index]?));
    let topics = column(0)?.as_string_opt::<i32>()?;
    let partitions = cast(column(1)?, &DataType::Int32).ok()?;
    let partitions = partitions.as_primitive::<Int32Type>();
    let offsets = column(2)?.as_primitive_opt::<Int64Type>()?;
    let (keys, values) = (blobs(column(3)?)?, blobs(column(4)?)?);
    for row in 0..batch.num_rows() {
        each(LetterView {
            topic: topics.value(row),
            partition: partitions.value(row),
            offset: offsets.value(row),
            key: keys(row),
            value: values(row),
        });
    }
    Some(())
}

type Blobs<'a> = Box<dyn Fn(usize) -> Option<&'a [u8]> + 'a>;

/// Bytes of a column by row, whichever way the file's reader has them.
fn blobs(column: &arrow_array::ArrayRef) -> Option<Blobs<'_>> {
    use arrow_array::Array;
    if let Some(small) = column.as_binary_opt::<i32>() {
        return Some(Box::new(|row| {
            small.is_valid(row).then(|| small.value(row))
        }));
    }
    let large = column.as_binary_opt::<i64>()?;
    Some(Box::new(|row| {
        large.is_valid(row).then(|| large.value(row))
    }))
}
