//! A table as one epoch writes it: which column of the sink each of its columns is, and how its files are to be.
//!
//! Others may have changed the table since the last epoch. Names mean the fields that they meant before
//! ([`ColumnName`](lw_graph::ColumnName)), wider columns take the values, new ones are NULL; what cannot be written so is told,
//! and is no fault of the script when the same query wrote to the table before.

use super::columns;
use super::orphans;
use super::partition::Partitioning;
use super::pieces::{Piece, gathered};
use super::settings::Settings;
use super::table::{Wanted, bad_batch};
use crate::catalog::LoadedTable;
use crate::commit::alter::mended;
use crate::commit::{committer, snapshot};
use crate::erasure::Erased;
use crate::error::CatalogError;
use crate::naming::{Bound, column_names};
use crate::schema::differences;
use crate::storage::Files;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Schema, TableMetadata};
use lw_graph::{ColumnName, places};
use lw_runtime::chunk::Chunk;
use lw_runtime::connector::{ConnectorError, ErrorKind};
use parquet::arrow::ArrowSchemaConverter;
use std::sync::Arc;

pub(super) struct Target {
    pub(super) metadata: Arc<TableMetadata>,
    /// The table's columns, by their names in files.
    pub(super) arrow: SchemaRef,
    /// For each column of the table: where it is in the sink's batches.
    columns: Vec<Option<usize>>,
    /// What the sink's names mean.
    pub(super) bound: Bound,
    pub(super) settings: Settings,
    /// `None` where the table is not partitioned.
    pub(super) partitioning: Option<Partitioning>,
    /// What is not to be written.
    pub(super) erased: Erased,
}

impl Target {
    /// `bound` is what names meant in the epoch before.
    ///
    /// # Errors
    /// Why the table cannot be written as it is.
    pub(super) fn of(
        files: &Files,
        wanted: &Wanted,
        table: &LoadedTable,
        bound: Option<&Bound>,
    ) -> Result<Target, ConnectorError> {
        let (ident, metadata) = (&wanted.ident, table.metadata.clone());
        if let Err(error) = snapshot::check_version(ident, &metadata) {
            return Err(
                ConnectorError::from(error).hint("Write to a new table; it is made in version 2.")
            );
        }
        let refused = |what: &str, detail: String, hint: &str| {
            let message = format!("the {what} {ident} cannot be written");
            let error = ConnectorError::new(ErrorKind::Fix, message);
            error.detail(sentence(&detail)).hint(hint)
        };
        let folder = orphans::data_folder(&metadata);
        files.check(&folder).map_err(|error| {
            let why = format!("its property write.data.path says {folder}: {error}.");
            let hint = "Remove the property, or write to another table.";
            refused("data files of", why, hint)
        })?;
        let schema = metadata.current_schema();
        let (places, bound) = fitting(wanted, &metadata, bound)?;
        let arrow = schema_to_arrow_schema(schema).map_err(CatalogError::from)?;
        let of_sink = |at: usize| places.iter().position(|place| *place == Some(at));
        let columns = (0..arrow.fields().len()).map(of_sink).collect();
        let stored = columns::stored(&arrow).map_err(|why| {
            let why = format!("its columns have no names for a Parquet file: {why}.");
            refused("table", why, "Rename the column.")
        })?;
        let partitioning = Partitioning::of(&metadata, &stored).map_err(|why| {
            let hint = "Change the table's partition spec, or write to another table.";
            refused("partitions of", format!("{why}."), hint)
        })?;
        let parquet = ArrowSchemaConverter::new()
            .convert(&stored)
            .map_err(|why| {
                let why = format!("its columns do not fit a Parquet file: {why}.");
                refused(
                    "table",
                    why,
                    "Change the column, or write to another table.",
                )
            })?;
        let settings = Settings::of(metadata.properties(), schema, &parquet).map_err(|why| {
            let hint = "Change the property, or write to another table.";
            refused("table", why, hint)
        })?;
        Ok(Target {
            erased: Erased::of(&metadata)?,
            partitioning,
            arrow: stored,
            columns,
            bound,
            settings,
            metadata,
        })
    }

    /// Where a field of the table is in the sink's batches.
    pub(super) fn column_of(&self, id: i32) -> Option<usize> {
        let fields = self.metadata.current_schema().as_struct().fields();
        let at = fields.iter().position(|field| field.id == id)?;
        self.columns[at]
    }

    /// The pieces, one behind the other, with the table's columns and types.
    pub(super) fn write_form(
        &self,
        batches: &[Chunk],
        pieces: &[Piece],
    ) -> Result<RecordBatch, ConnectorError> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (field, column) in self.arrow.fields().iter().zip(&self.columns) {
            let Some(column) = column else {
                columns.push(new_null_array(field.data_type(), rows));
                continue;
            };
            let values = gathered(batches, *column, pieces).map_err(bad_batch)?;
            columns.push(if values.data_type() == field.data_type() {
                values
            } else {
                cast_with_options(&values, field.data_type(), &options).map_err(bad_batch)?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options).map_err(bad_batch)
    }
}

/// The sink's columns, and where each is in the table.
struct Placed {
    names: Vec<ColumnName>,
    places: Vec<Option<usize>>,
    /// The same query wrote to the table before.
    known: bool,
}

impl Placed {
    fn of(
        wanted: &Wanted,
        metadata: &TableMetadata,
        bound: Option<&Bound>,
    ) -> Result<Placed, CatalogError> {
        let marker = committer::property(metadata)?;
        // What a replay computes are rows of `main`, and its names mean what they mean there.
        let replays = wanted.replays;
        let ours = marker.filter(|marker| replays || marker.pipeline == wanted.owner.pipeline);
        let newest = ours.as_ref().and_then(|marker| marker.stints().last());
        let same_query = newest.filter(|stint| {
            let is_ours = stint.pipeline == wanted.owner.pipeline;
            replays || is_ours && stint.plan.is_some() && stint.plan == wanted.plan
        });
        let bound = bound.or(same_query.map(|stint| &stint.columns));
        let nothing = Bound::new();
        let names = wanted.schema.as_struct().fields().iter();
        let names = names.map(|column| &*column.name);
        let mut names = column_names(names, metadata, bound.unwrap_or(&nothing));
        if ours.is_none() && bound.is_none() {
            // A new script means the table as it is.
            names.iter_mut().for_each(|name| name.had.clear());
        }
        let fields = metadata.current_schema().as_struct().fields().iter();
        let places = places(&names, fields.map(|field| (&*field.name, Some(field.id))));
        Ok(Placed {
            names,
            places,
            known: bound.is_some(),
        })
    }

    fn differences(&self, wanted: &Wanted, metadata: &TableMetadata) -> Vec<String> {
        differences(&wanted.schema, metadata.current_schema(), &self.places)
    }
}

/// The schema with which rows would fit a table that they do not fit, and what it lacks. `None` where they do, or no change of the
/// table's helps.
pub(super) fn mending(
    wanted: &Wanted,
    table: &LoadedTable,
    bound: Option<&Bound>,
) -> Result<Option<(Schema, Vec<String>)>, CatalogError> {
    let metadata = &*table.metadata;
    let placed = Placed::of(wanted, metadata, bound)?;
    let differences = placed.differences(wanted, metadata);
    if differences.is_empty() {
        return Ok(None);
    }
    let mended = mended(metadata, &wanted.schema, &placed.places)?;
    Ok(mended.map(|schema| (schema, differences)))
}

/// Where each of the sink's columns is in the table, and which field that is.
fn fitting(
    wanted: &Wanted,
    metadata: &TableMetadata,
    bound: Option<&Bound>,
) -> Result<(Vec<Option<usize>>, Bound), ConnectorError> {
    let placed = Placed::of(wanted, metadata, bound)?;
    let differences = placed.differences(wanted, metadata);
    let Placed {
        names,
        places,
        known,
    } = placed;
    if differences.is_empty() {
        let fields = metadata.current_schema().as_struct().fields();
        let bound = names.into_iter().zip(&places);
        let bound = bound.filter_map(|(name, place)| Some((name.name, fields[(*place)?].id)));
        let bound = bound.collect();
        return Ok((places, bound));
    }
    let or_evolve = match mended(metadata, &wanted.schema, &places)? {
        Some(_) => {
            " With 'lakeward.schema-change' = 'evolve' in the script the pipeline gives the table what it lacks."
        }
        None => "",
    };
    let (ident, detail) = (&wanted.ident, format!("{}.", differences.join("; ")));
    Err(if known {
        let message =
            format!("the table {ident} was changed, and the sink does not fit it any more");
        let pipeline = &wanted.owner.name;
        ConnectorError::new(ErrorKind::Misfit, message).detail(sentence(&detail)).hint(format!(
            "Nothing was lost: change the table back, or the script (`lakeward run FILE --replace`), and say `lakeward pipeline resume {pipeline}`.{or_evolve}"
        ))
    } else {
        let message = format!("the table {ident} does not fit the sink");
        let hint = "Change the sink's columns or the table, or write to a new table.";
        let error = ConnectorError::new(ErrorKind::Fix, message).detail(detail);
        error.hint(format!("{hint}{or_evolve}"))
    })
}

fn sentence(why: &str) -> String {
    let mut text = why.chars();
    let first = text.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(text).collect()
}
