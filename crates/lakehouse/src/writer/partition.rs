//! Which partition of the table each row goes to, and what the partition is called.
//!
//! 1. [`transform`](super::transform) turns a column into the values of a partition field, for each field of the spec.
//! 2. Rows with the same values of all fields are one part, in the order in which they came.
//! 3. A part's files go into a folder `field=value/…` below the table's data. Readers do not look at it (the values stand in
//!    the manifest), people do: so names are written as Iceberg's other writers write them, and cut where a file system would
//!    not take them.

use super::transform;
use crate::error::{CatalogError, Kind};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{Field as ArrowField, Fields, Schema as ArrowSchema};
use arrow_select::nullif::nullif;
use arrow_select::take::take;
use iceberg::arrow::arrow_primitive_to_literal;
use iceberg::spec::{Literal, Struct, TableMetadata, Transform, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::collections::HashMap;

/// A folder's name may have 255 bytes.
const LONGEST_NAME: usize = 200;
/// And a path 4,096, whatever the number of fields.
const LONGEST_PATH: usize = 2000;

/// The partition fields of a table, found in its rows.
pub(super) struct Partitioning {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    /// Where the column is: its place, and its place in that struct, and so on.
    path: Vec<usize>,
    transform: Transform,
    ty: Type,
}

/// Rows of one partition.
pub(super) struct Part {
    /// The same for the same values, and for no others.
    pub(super) key: Vec<u8>,
    pub(super) values: Struct,
    pub(super) folder: String,
    pub(super) rows: Vec<u32>,
}

/// A batch's rows by partition.
pub(super) struct Parted {
    pub(super) parts: Vec<Part>,
    /// For each row, which of the parts has it.
    pub(super) of_row: Vec<u32>,
}

impl Partitioning {
    /// By the table's current spec; `None` where that has no fields. A spec of which every field was taken out has some, all
    /// `void`.
    ///
    /// # Errors
    /// What stands against it, in words.
    pub(super) fn of(
        metadata: &TableMetadata,
        columns: &ArrowSchema,
    ) -> Result<Option<Partitioning>, String> {
        let spec = metadata.default_partition_spec();
        if spec.fields().is_empty() {
            return Ok(None);
        }
        let schema = metadata.current_schema();
        let fields = spec.fields().iter().map(|field| {
            let (name, transform) = (&field.name, &field.transform);
            let column = schema.field_by_id(field.source_id).ok_or_else(|| {
                format!("the column of its partition field {name} is not there any more")
            })?;
            let ty = transform.result_type(&column.field_type);
            let ty = ty.map_err(|_| {
                format!(
                    "its partition field {name} is {transform} of {}, a column of type {}",
                    column.name, column.field_type
                )
            })?;
            if matches!(
                transform,
                Transform::Unknown | Transform::Bucket(0) | Transform::Truncate(0)
            ) {
                return Err(format!("its partition field {name} is {transform}"));
            }
            let path = path(columns.fields(), field.source_id)
                .ok_or_else(|| format!("its partition field {name} is of a list or a map"))?;
            Ok(Field {
                name: name.clone(),
                path,
                transform: *transform,
                ty,
            })
        });
        let fields = fields.collect::<Result<_, String>>()?;
        Ok(Some(Partitioning { fields }))
    }

    /// # Panics
    /// When the batch has not the columns that the partitioning was made for.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<Parted, CatalogError> {
        let values = self.fields.iter().map(|field| {
            let column = column(batch, &field.path).map_err(cannot_part)?;
            transform::apply(&field.transform, column)
        });
        let values: Vec<ArrayRef> = values.collect::<Result<_, _>>()?;
        let sorts = values.iter();
        let sorts = sorts.map(|values| SortField::new(values.data_type().clone()));
        let keys = RowConverter::new(sorts.collect()).map_err(cannot_part)?;
        let keys = keys.convert_columns(&values).map_err(cannot_part)?;
        let mut known = HashMap::new();
        let mut of_row: Vec<u32> = Vec::with_capacity(batch.num_rows());
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut last = None;
        for (row, key) in (0_u32..).zip(keys.iter()) {
            let part = match last {
                // Rows of one time come together.
                Some((same, part)) if same == key => part,
                _ => *known.entry(key).or_insert_with(|| {
                    rows.push(Vec::new());
                    rows.len() - 1
                }),
            };
            last = Some((key, part));
            rows[part].push(row);
            of_row.push(u32::try_from(part).expect("there are fewer parts than rows"));
        }
        let firsts = UInt32Array::from_iter_values(rows.iter().map(|rows| rows[0]));
        let named = self.literals(&values, &firsts)?;
        let parts = rows.into_iter().zip(named).map(|(rows, values)| Part {
            key: keys.row(rows[0] as usize).as_ref().to_vec(),
            folder: self.folder(&values),
            values: Struct::from_iter(values),
            rows,
        });
        Ok(Parted {
            parts: parts.collect(),
            of_row,
        })
    }

    /// The fields' values in some rows, row by row.
    fn literals(
        &self,
        values: &[ArrayRef],
        rows: &UInt32Array,
    ) -> Result<Vec<Vec<Option<Literal>>>, CatalogError> {
        let mut literals = vec![Vec::with_capacity(self.fields.len()); rows.len()];
        for (field, values) in self.fields.iter().zip(values) {
            let values = take(values, rows, None).map_err(cannot_part)?;
            for (row, value) in literals
                .iter_mut()
                .zip(arrow_primitive_to_literal(&values, &field.ty)?)
            {
                row.push(value);
            }
        }
        Ok(literals)
    }

    fn folder(&self, values: &[Option<Literal>]) -> String {
        let longest = LONGEST_NAME.min(LONGEST_PATH / self.fields.len());
        let names = self.fields.iter().zip(values).map(|(field, value)| {
            let text = match value {
                Some(value) => transform::text(&field.transform, &field.ty, value),
                None => "null".to_owned(),
            };
            folder_name(&field.name, &text, longest)
        });
        names.collect::<Vec<_>>().join("/")
    }
}

fn cannot_part(error: arrow_schema::ArrowError) -> CatalogError {
    CatalogError::caused(
        Kind::Internal,
        "rows cannot be brought to their partitions",
        error,
    )
}

/// Where the column with a field id is. Partition fields are never in lists or maps.
fn path(fields: &Fields, id: i32) -> Option<Vec<usize>> {
    let has_id = |field: &ArrowField| {
        let known = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
        known.is_some_and(|known| *known == id.to_string())
    };
    fields.iter().enumerate().find_map(|(place, field)| {
        if has_id(field) {
            return Some(vec![place]);
        }
        let arrow_schema::DataType::Struct(inner) = field.data_type() else {
            return None;
        };
        let inner = path(inner, id)?;
        Some([vec![place], inner].concat())
    })
}

/// The values of a column, NULL where a struct around it is.
fn column(batch: &RecordBatch, path: &[usize]) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let (first, inner) = path.split_first().expect("a column is somewhere");
    let mut values = batch.column(*first).clone();
    for place in inner {
        let outer = values.as_any().downcast_ref::<StructArray>();
        let outer = outer.expect("a path leads through structs");
        values = match outer.nulls() {
            Some(_) => nullif(outer.column(*place), &is_null(outer))?,
            None => outer.column(*place).clone(),
        };
    }
    Ok(values)
}

fn is_null(array: &StructArray) -> arrow_array::BooleanArray {
    (0..array.len())
        .map(|row| Some(array.is_null(row)))
        .collect()
}

/// `field=value`, both as in the form of an HTML page, which is how Iceberg writes them; cut if it is too long. Files in it
/// have names of their own, so that two partitions may share a folder.
fn folder_name(field: &str, value: &str, longest: usize) -> String {
    let mut name = String::new();
    for (index, part) in [field, value].into_iter().enumerate() {
        if index == 1 {
            name.push('=');
        }
        for byte in part.bytes() {
            let escaped = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                    char::from(byte).to_string()
                }
                b' ' => "+".to_owned(),
                other => format!("%{other:02X}"),
            };
            if name.len() + escaped.len() > longest {
                return name;
            }
            name.push_str(&escaped);
        }
    }
    name
}

#[cfg(test)]
mod tests;
