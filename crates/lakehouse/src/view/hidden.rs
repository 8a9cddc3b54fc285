//! Deletes of other writers: which rows of the data files are hidden. None of ours makes any.

use super::{FileView, TableView, builder, damaged};
use crate::error::{CatalogError, Kind};
use crate::storage::Files;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use std::collections::{BTreeMap, BTreeSet};

/// What the specification calls the columns of a file of position deletes.
const COLUMNS: [&str; 2] = ["file_path", "pos"];

/// By data file the places of its rows that are hidden.
pub type Hidden = BTreeMap<String, BTreeSet<u64>>;

/// Rows of a file, a batch at a time.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, CatalogError>>>;

/// Of which data files a file of position deletes hides rows.
pub(crate) fn files_hit(files: &Files, path: &str) -> Result<BTreeSet<String>, CatalogError> {
    let builder = builder(files, path)?;
    let paths = ProjectionMask::columns(builder.parquet_schema(), [COLUMNS[0]]);
    let reader = builder.with_projection(paths).build();
    let mut hit = BTreeSet::new();
    for batch in reader.map_err(|error| damaged(path, error))? {
        let batch = batch.map_err(|error| damaged(path, error))?;
        let paths = batch.column_by_name(COLUMNS[0]);
        let Some(paths) = paths.and_then(|paths| paths.as_string_opt::<i32>()) else {
            return Err(damaged(path, "it has not the column file_path"));
        };
        for file in paths.iter() {
            let file = file.ok_or_else(|| damaged(path, "it names no file"))?;
            if !hit.contains(file) {
                hit.insert(file.to_owned());
            }
        }
    }
    Ok(hit)
}

impl TableView {
    /// Which rows position deletes hide.
    ///
    /// # Errors
    /// When a file of deletes cannot be read. Deletion vectors (format version 3) cannot.
    pub fn hidden(&self) -> Result<Hidden, CatalogError> {
        let mut hidden = Hidden::new();
        for path in &self.position_deletes {
            if path.ends_with(".puffin") {
                let message = format!("{path} has deletion vectors, which are not read");
                return Err(CatalogError::new(Kind::BadRequest, message));
            }
            let builder = builder(&self.files, path)?;
            let reader = builder.build().map_err(|error| damaged(path, error))?;
            for batch in reader {
                let batch = batch.map_err(|error| damaged(path, error))?;
                let [paths, places] = COLUMNS.map(|name| batch.column_by_name(name));
                let paths = paths.and_then(|paths| paths.as_string_opt::<i32>());
                let places = places.and_then(|places| places.as_primitive_opt::<Int64Type>());
                let Some((paths, places)) = paths.zip(places) else {
                    return Err(damaged(path, "it has not the columns file_path and pos"));
                };
                for (file, place) in paths.iter().zip(places) {
                    let place = place.and_then(|place| u64::try_from(place).ok());
                    let Some((file, place)) = file.zip(place) else {
                        return Err(damaged(path, "it names no row"));
                    };
                    match hidden.get_mut(file) {
                        Some(places) => drop(places.insert(place)),
                        None => drop(hidden.insert(file.to_owned(), BTreeSet::from([place]))),
                    }
                }
            }
        }
        Ok(hidden)
    }

    /// The rows of a file without those at these places.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn visible(
        &self,
        file: &FileView,
        places: &BTreeSet<u64>,
    ) -> Result<Batches, CatalogError> {
        let builder = builder(&self.files, &file.path)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let rows = usize::try_from(rows).map_err(|error| damaged(&file.path, error))?;
        let places = places
            .iter()
            .filter_map(|place| usize::try_from(*place).ok());
        let places: Vec<usize> = places.filter(|place| *place < rows).collect();
        let begins = std::iter::once(0).chain(places.iter().map(|place| place + 1));
        let ends = places.iter().copied().chain([rows]);
        let stays = begins.zip(ends).map(|(begin, end)| begin..end);
        let stays = stays.filter(|range| !range.is_empty());
        let selection = RowSelection::from_consecutive_ranges(stays, rows);
        let reader = builder.with_row_selection(selection).build();
        let path = file.path.clone();
        let reader = reader.map_err(|error| damaged(&path, error))?;
        Ok(Box::new(reader.map(move |batch| {
            batch.map_err(|error| damaged(&path, error))
        })))
    }
}
