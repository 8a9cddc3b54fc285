//! A data file between its seal and its commit: durable on disk, named only by the manifest of its pipeline.
//!
//! Layout: JSON inside `Pending.files` (frozen with the manifest's format 1). `data_file` is Iceberg's own JSON of a data
//! file, which needs the schema that it was written with, found by its id. It is without the partition, whose
//! values are beside it: in its JSON decimals, bytes and NaN would be lost. `partition_fields` says what the spec was, since a
//! table that was made again may have given its id to another. `columns` says which field each name of the query was.

use crate::error::{CatalogError, Kind};
use crate::naming::Bound;
use crate::storage::Files;
use crate::writer::columns;
use arrow_schema::{FieldRef, Schema};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, Literal, PartitionField, PrimitiveLiteral,
    PrimitiveType, Struct, StructType, TableMetadata, Type, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) schema_id: i32,
    pub(crate) spec_id: i32,
    pub(crate) data_file: serde_json::Value,
    /// None of an unpartitioned spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partition_fields: Vec<PartitionField>,
    /// A value for each of the fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partition: Vec<Option<Value>>,
    /// Older versions do not say.
    #[serde(default, skip_serializing_if = "Bound::is_empty")]
    pub(crate) columns: Bound,
}

/// The value of a partition field, whatever its type: numbers that JSON has not are text, or their bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Value {
    Boolean(bool),
    Int(i32),
    Long(i64),
    FloatBits(u32),
    DoubleBits(u64),
    Text(String),
    Bytes(Vec<u8>),
    Decimal(String),
    Uuid(Uuid),
}

/// Where the data file is that a manifest's pending commit names, of whichever kind of table.
pub(crate) fn path(value: &serde_json::Value) -> Result<&str, CatalogError> {
    // The second is a Delta table's.
    let path = value.get("path").or_else(|| value.pointer("/add/path"));
    path.and_then(serde_json::Value::as_str).ok_or_else(|| {
        CatalogError::new(
            Kind::Internal,
            "a staged file in the checkpoint names no file",
        )
    })
}

impl StagedFile {
    pub(crate) fn new(
        metadata: &TableMetadata,
        schema_id: i32,
        spec_id: i32,
        file: DataFile,
    ) -> Result<StagedFile, CatalogError> {
        let spec = spec(metadata, spec_id)?;
        schema(metadata, schema_id)?;
        let partition = file.partition();
        assert_eq!(
            partition.fields().len(),
            spec.fields().len(),
            "P1: a file has a value for each field of its spec"
        );
        let partition = partition.iter().map(|value| value.map(Value::of));
        let partition = partition.map(Option::transpose).collect::<Result<_, _>>()?;
        let (path, rows) = (file.file_path().to_owned(), file.record_count());
        let bytes = file.file_size_in_bytes();
        let file = in_partition(&file, spec_id, Struct::empty())?;
        let text = serialize_data_file_to_json(file, &no_fields(), FormatVersion::V2)?;
        Ok(StagedFile {
            path,
            rows,
            bytes,
            schema_id,
            spec_id,
            data_file: serde_json::from_str(&text).map_err(unreadable)?,
            partition_fields: spec.fields().to_vec(),
            partition,
            columns: Bound::new(),
        })
    }

    pub(crate) fn from_json(value: &serde_json::Value) -> Result<StagedFile, CatalogError> {
        StagedFile::deserialize(value).map_err(unreadable)
    }

    /// What the names of its query were bound to, of a file in its JSON.
    pub(crate) fn bound(file: &serde_json::Value) -> Bound {
        let columns = file.get("columns");
        let columns = columns.and_then(|columns| Bound::deserialize(columns).ok());
        columns.unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a staged file is plain data")
    }

    /// Whether the file is there and its columns are those of the table that it would be committed to (`None`: one that is
    /// made anew with the sink's columns). Fields of the same name and type may have other ids in a table that was created
    /// again, and readers go by the ids.
    pub(crate) fn fits(
        &self,
        files: &Files,
        table: Option<&TableMetadata>,
    ) -> Result<bool, CatalogError> {
        if !files.exists(&self.path)? {
            return Ok(false);
        }
        let Some(table) = table else {
            return Ok(true);
        };
        let (Some(schema), Some(spec)) = (
            table.schema_by_id(self.schema_id),
            table.partition_spec_by_id(self.spec_id),
        ) else {
            return Ok(false);
        };
        if spec.fields() != self.partition_fields {
            return Ok(false);
        }
        let file = ParquetRecordBatchReaderBuilder::try_new(files.read(&self.path)?);
        let file = file.map_err(|error| {
            CatalogError::caused(
                Kind::Internal,
                format!("the data file {} cannot be read", self.path),
                error,
            )
        })?;
        let unnamed = |why| CatalogError::new(Kind::BadRequest, why);
        let wanted = columns::stored(&schema_to_arrow_schema(schema)?).map_err(unnamed)?;
        // A file of before has the table's own names.
        let file = columns::stored(file.schema()).map_err(unnamed)?;
        let identity = |field: &FieldRef| {
            let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).cloned();
            (field.name().clone(), id, field.data_type().clone())
        };
        let all = |schema: &Schema| schema.fields().iter().map(identity).collect::<Vec<_>>();
        Ok(all(&file) == all(&wanted))
    }

    /// Iceberg's data file, for a manifest.
    pub(crate) fn data_file(&self, metadata: &TableMetadata) -> Result<DataFile, CatalogError> {
        let schema = schema(metadata, self.schema_id)?;
        spec(metadata, self.spec_id)?;
        let text = self.data_file.to_string();
        let file = deserialize_data_file_from_json(&text, self.spec_id, &no_fields(), schema)?;
        if self.partition.is_empty() {
            return Ok(file);
        }
        let values = self.partition.iter();
        let values = values.map(|value| value.as_ref().map(Value::literal));
        let values: Vec<Option<Literal>> =
            values.map(Option::transpose).collect::<Result<_, _>>()?;
        in_partition(&file, self.spec_id, Struct::from_iter(values))
    }
}

impl Value {
    fn of(literal: &Literal) -> Result<Value, CatalogError> {
        Ok(match literal.as_primitive_literal() {
            Some(PrimitiveLiteral::Boolean(value)) => Value::Boolean(value),
            Some(PrimitiveLiteral::Int(value)) => Value::Int(value),
            Some(PrimitiveLiteral::Long(value)) => Value::Long(value),
            Some(PrimitiveLiteral::Float(value)) => Value::FloatBits(value.to_bits()),
            Some(PrimitiveLiteral::Double(value)) => Value::DoubleBits(value.to_bits()),
            Some(PrimitiveLiteral::String(value)) => Value::Text(value),
            Some(PrimitiveLiteral::Binary(value)) => Value::Bytes(value),
            Some(PrimitiveLiteral::Int128(value)) => Value::Decimal(value.to_string()),
            Some(PrimitiveLiteral::UInt128(value)) => Value::Uuid(Uuid::from_u128(value)),
            None | Some(PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => {
                return Err(no_value(format!("{literal:?}")));
            }
        })
    }

    fn literal(&self) -> Result<Literal, CatalogError> {
        Ok(match self {
            Value::Boolean(value) => Literal::bool(*value),
            Value::Int(value) => Literal::int(*value),
            Value::Long(value) => Literal::long(*value),
            Value::FloatBits(bits) => Literal::float(f32::from_bits(*bits)),
            Value::DoubleBits(bits) => Literal::double(f64::from_bits(*bits)),
            Value::Text(value) => Literal::string(value),
            Value::Bytes(value) => Literal::binary(value.clone()),
            Value::Decimal(unscaled) => {
                Literal::decimal(unscaled.parse().map_err(|_| no_value(unscaled.clone()))?)
            }
            Value::Uuid(value) => Literal::uuid(*value),
        })
    }
}

fn no_value(what: String) -> CatalogError {
    CatalogError::new(Kind::Internal, format!("{what} is no value of a partition"))
}

fn no_fields() -> StructType {
    StructType::new(Vec::new())
}

/// The file with its partition's values in these types: columns may have been widened since it was written.
pub(crate) fn widened(
    file: DataFile,
    spec_id: i32,
    types: &StructType,
) -> Result<DataFile, CatalogError> {
    let values = file.partition().iter().zip(types.fields());
    let values = values.map(|(value, field)| value.map(|value| wider(value, &field.field_type)));
    let values = Struct::from_iter(values);
    if values == *file.partition() {
        return Ok(file);
    }
    in_partition(&file, spec_id, values)
}

fn wider(value: &Literal, ty: &Type) -> Literal {
    match (value.as_primitive_literal(), ty.as_primitive_type()) {
        (Some(PrimitiveLiteral::Int(value)), Some(PrimitiveType::Long)) => Literal::long(value),
        (Some(PrimitiveLiteral::Float(value)), Some(PrimitiveType::Double)) => {
            Literal::double(f64::from(value.0))
        }
        _ => value.clone(),
    }
}

/// The same file, of another partition.
fn in_partition(
    file: &DataFile,
    spec_id: i32,
    partition: Struct,
) -> Result<DataFile, CatalogError> {
    let mut described = DataFileBuilder::default();
    described
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec));
    if let Some(order) = file.sort_order_id() {
        described.sort_order_id(order);
    }
    described.key_metadata(file.key_metadata().map(<[u8]>::to_vec));
    described.build().map_err(|error| {
        CatalogError::caused(Kind::Internal, "a data file cannot be described", error)
    })
}

fn schema(metadata: &TableMetadata, id: i32) -> Result<&iceberg::spec::SchemaRef, CatalogError> {
    metadata.schema_by_id(id).ok_or_else(|| {
        CatalogError::new(
            Kind::BadRequest,
            format!("the table has no schema {id} any more"),
        )
    })
}

fn spec(
    metadata: &TableMetadata,
    id: i32,
) -> Result<&iceberg::spec::PartitionSpecRef, CatalogError> {
    metadata.partition_spec_by_id(id).ok_or_else(|| {
        CatalogError::new(
            Kind::BadRequest,
            format!("the table has no partition spec {id} any more"),
        )
    })
}

fn unreadable(error: serde_json::Error) -> CatalogError {
    CatalogError::caused(
        Kind::Internal,
        "a staged file in the checkpoint cannot be read",
        error,
    )
}
