//! A table of dead letters: whose they are.

use super::TableView;
use crate::error::{CatalogError, Kind};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};

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
        for file in &self.data_files {
            for batch in self.batches(file, &COLUMNS)? {
                show_letters(&batch?, &file.path, &mut each)?;
            }
        }
        Ok(())
    }
}

/// Shows the letters in rows of a file.
pub(crate) fn show_letters(
    batch: &RecordBatch,
    path: &str,
    each: &mut impl FnMut(LetterView<'_>),
) -> Result<(), CatalogError> {
    show(batch, each)
        .ok_or_else(|| CatalogError::new(Kind::BadRequest, format!("{path} holds no dead letters")))
}

fn show(batch: &RecordBatch, each: &mut impl FnMut(LetterView<'_>)) -> Option<()> {
    let [topics, partitions, offsets, keys, values] =
        COLUMNS.map(|name| batch.column_by_name(name));
    let topics = topics?.as_string_opt::<i32>()?;
    let partitions = partitions?.as_primitive_opt::<Int32Type>()?;
    let offsets = offsets?.as_primitive_opt::<Int64Type>()?;
    let (keys, values) = (blobs(keys?)?, blobs(values?)?);
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
