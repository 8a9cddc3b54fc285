//! A data file between its seal and its commit: durable on disk, named only by the manifest of its pipeline.
//!
//! Layout: JSON inside `Pending.files` (frozen with the manifest's format 1). `data_file` is Iceberg's own JSON of a data
//! file, which needs the schema and the partition spec that it was written with; both are found by their ids.

use crate::error::{CatalogError, Kind};
use crate::storage::Files;
use crate::writer::columns;
use arrow_schema::{FieldRef, Schema};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    DataFile, FormatVersion, TableMetadata, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) schema_id: i32,
    pub(crate) spec_id: i32,
    pub(crate) data_file: serde_json::Value,
}

impl StagedFile {
    pub(crate) fn new(
        metadata: &TableMetadata,
        schema_id: i32,
        spec_id: i32,
        file: DataFile,
    ) -> Result<StagedFile, CatalogError> {
        let spec = spec(metadata, spec_id)?;
        let schema = schema(metadata, schema_id)?;
        Ok(StagedFile {
            path: file.file_path().to_owned(),
            rows: file.record_count(),
            bytes: file.file_size_in_bytes(),
            schema_id,
            spec_id,
            data_file: serde_json::from_str(&serialize_data_file_to_json(
                file,
                &spec.partition_type(schema)?,
                FormatVersion::V2,
            )?)
            .map_err(unreadable)?,
        })
    }

    pub(crate) fn from_json(value: &serde_json::Value) -> Result<StagedFile, CatalogError> {
        StagedFile::deserialize(value).map_err(unreadable)
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
        let (Some(schema), true) = (
            table.schema_by_id(self.schema_id),
            table.partition_spec_by_id(self.spec_id).is_some(),
        ) else {
            return Ok(false);
        };
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
        let partition_type = spec(metadata, self.spec_id)?.partition_type(schema)?;
        let text = self.data_file.to_string();
        Ok(deserialize_data_file_from_json(
            &text,
            self.spec_id,
            &partition_type,
            schema,
        )?)
    }
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
