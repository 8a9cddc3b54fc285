//! A table of dead letters: whose they are.

use super::TableView;
use crate::error::{CatalogError, Kind};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use std::collections::BTreeMap;

const COLUMNS: [&str; 3] = ["topic", "partition", "offset"];

impl TableView {
    /// The offsets of the records that stand in this table of dead letters, by topic and partition.
    ///
    /// # Errors
    /// When it is no table of dead letters, or a file cannot be read.
    pub fn letter_offsets(&self) -> Result<BTreeMap<(String, i32), Vec<i64>>, CatalogError> {
        let mut found: BTreeMap<(String, i32), Vec<i64>> = BTreeMap::new();
        for file in &self.data_files {
            for batch in self.batches(file, &COLUMNS)? {
                let batch = batch?;
                add(&mut found, &batch).ok_or_else(|| {
                    let path = &file.path;
                    CatalogError::new(Kind::BadRequest, format!("{path} holds no dead letters"))
                })?;
            }
        }
        Ok(found)
    }
}

fn add(found: &mut BTreeMap<(String, i32), Vec<i64>>, batch: &RecordBatch) -> Option<()> {
    let [topics, partitions, offsets] = COLUMNS.map(|name| batch.column_by_name(name));
    let topics = topics?.as_string_opt::<i32>()?;
    let partitions = partitions?.as_primitive_opt::<Int32Type>()?;
    let offsets = offsets?.as_primitive_opt::<Int64Type>()?;
    for row in 0..batch.num_rows() {
        let split = (topics.value(row).to_owned(), partitions.value(row));
        found.entry(split).or_default().push(offsets.value(row));
    }
    Some(())
}
