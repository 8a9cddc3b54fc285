//! The Iceberg sink: rows to their table, records that failed to the table beside it.
//!
//! `<table>__dead_letters` is created with its first row. Its files are sealed and committed like those of the main table,
//! by the same pipeline, so that a dead letter too is there exactly once.

use super::names::Began;
use super::table::{TableWriter, Wanted};
use crate::catalog::TableCatalog;
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::schema::table_schema;
use crate::staged::StagedFile;
use arrow_array::builder::{
    BinaryBuilder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use iceberg::spec::FormatVersion;
use iceberg::{NamespaceIdent, TableIdent};
use lw_graph::{Field, Schema, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind, Owner, Sink, Staged};
use lw_runtime::manifest::Manifest;
use lw_runtime::{Chunk, DeadLetter, Origin, Split};
use lw_stdx::clock::Clock;
use std::collections::HashMap;
use std::sync::Arc;

/// What the name of a table's dead letters ends in.
pub const DEAD_LETTERS: &str = "__dead_letters";

/// Writes one Iceberg table and its dead letters.
pub struct IcebergTableSink {
    name: String,
    letters_name: String,
    main: TableWriter,
    letters: TableWriter,
    /// Partitions of dead letters, in order of appearance.
    letter_splits: Vec<Split>,
    owner: Owner,
    clock: Arc<dyn Clock>,
}

impl IcebergTableSink {
    /// Creates the table if it is missing, and checks that it fits.
    ///
    /// # Errors
    /// When the catalog cannot be reached, or an existing table does not fit the sink.
    pub fn open(
        spec: &lw_graph::IcebergSink,
        catalog: Arc<dyn TableCatalog>,
        owner: &Owner,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> Result<IcebergTableSink, ConnectorError> {
        if spec
            .properties
            .get("write.upsert.enabled")
            .is_some_and(|value| value == "true")
        {
            return Err(ConnectorError::new(ErrorKind::Fix, "upserts into Iceberg are not supported yet")
                .detail("'write.upsert.enabled' = 'true' would replace rows by their key; this version appends.")
                .hint("Remove the option 'write.upsert.enabled'."));
        }
        let version = match spec.format_version {
            2 => FormatVersion::V2,
            other => {
                return Err(ConnectorError::new(
                    ErrorKind::Fix,
                    format!("'format-version' = '{other}' is not supported"),
                )
                .hint("Set 'format-version' = '2'."));
            }
        };
        let namespace =
            NamespaceIdent::from_vec(spec.namespace.split('.').map(str::to_owned).collect())
                .map_err(CatalogError::from)?;
        let letters_table = format!("{}{DEAD_LETTERS}", spec.table);
        let began = Began::of(&Manifest::new(owner.pipeline));
        let place = spec
            .warehouse
            .as_deref()
            .filter(|place| place.starts_with("file:"));
        let location = |table: &str| {
            place.map(|place| format!("{}/{}/{table}", place.trim_end_matches('/'), spec.namespace))
        };
        let writer = |table: &str, schema, properties| {
            let wanted = Wanted {
                ident: TableIdent::new(namespace.clone(), table.to_owned()),
                schema,
                properties,
                version,
                location: location(table),
            };
            TableWriter::new(catalog.clone(), wanted, ids.clone(), began)
        };
        let wanted = table_schema(&spec.schema, &spec.primary_key, version)?;
        let properties = spec.properties.clone().into_iter().collect();
        let mut main = writer(&spec.table, wanted, properties);
        main.prepare()?;
        let letters_schema = table_schema(&letters_columns(), &[], version)?;
        Ok(IcebergTableSink {
            name: format!("{}.{}", spec.namespace, spec.table),
            letters_name: format!("{}.{letters_table}", spec.namespace),
            main,
            letters: writer(&letters_table, letters_schema, HashMap::new()),
            letter_splits: Vec::new(),
            owner: owner.clone(),
            clock,
        })
    }

    fn letter_split(&mut self, letter: &DeadLetter) -> u32 {
        let known = self
            .letter_splits
            .iter()
            .position(|split| split.topic == letter.topic && split.partition == letter.partition);
        let index = known.unwrap_or_else(|| {
            self.letter_splits.push(Split {
                topic: letter.topic.clone(),
                partition: letter.partition,
            });
            self.letter_splits.len() - 1
        });
        u32::try_from(index).expect("partitions are fewer than 2^32")
    }
}

impl Sink for IcebergTableSink {
    fn table(&self) -> &str {
        &self.name
    }

    fn side_tables(&self) -> Vec<String> {
        vec![self.letters_name.clone()]
    }

    fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.main.begin(manifest)?;
        self.letters.begin(manifest)
    }

    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        self.main.write(batch)
    }

    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        if letters.is_empty() {
            return Ok(());
        }
        let origins = letters
            .iter()
            .map(|letter| Origin {
                split: self.letter_split(letter),
                offset: letter.offset,
            })
            .collect();
        let columns = letters_batch(&letters, &self.owner, self.clock.now_ms());
        self.letters.write(Chunk::new(
            columns,
            origins,
            self.letter_splits.clone().into(),
        ))
    }

    fn buffered_bytes(&self) -> usize {
        self.main.buffered_bytes() + self.letters.buffered_bytes()
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        let mut staged = Vec::new();
        for (name, writer) in [
            (&self.name, &mut self.main),
            (&self.letters_name, &mut self.letters),
        ] {
            let files = writer.seal()?;
            if let Some(first) = files.first() {
                staged.push(sealed(name, first.schema_id, &files));
            }
        }
        Ok(staged)
    }
}

fn sealed(table: &str, schema_id: i32, files: &[StagedFile]) -> Staged {
    Staged {
        table: table.to_owned(),
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files: files.iter().map(StagedFile::to_json).collect(),
        schema_id,
    }
}

/// The columns of a dead-letter table.
fn letters_columns() -> Schema {
    Schema::new(vec![
        Field::new("topic", TypeKind::string().not_null()),
        Field::new("partition", TypeKind::Int.not_null()),
        Field::new("offset", TypeKind::BigInt.not_null()),
        Field::new("timestamp", TypeKind::TimestampLtz(3).nullable()),
        Field::new("key", TypeKind::bytes().nullable()),
        Field::new("value", TypeKind::bytes().nullable()),
        Field::new("stage", TypeKind::string().not_null()),
        Field::new("error_code", TypeKind::string().not_null()),
        Field::new("error", TypeKind::string().not_null()),
        Field::new("pipeline", TypeKind::string().not_null()),
        Field::new("first_seen", TypeKind::TimestampLtz(3).not_null()),
    ])
}

fn letters_batch(letters: &[DeadLetter], owner: &Owner, now_ms: i64) -> RecordBatch {
    let mut topic = StringBuilder::new();
    let mut partition = Int32Builder::new();
    let mut offset = Int64Builder::new();
    let mut timestamp = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut key = BinaryBuilder::new();
    let mut value = BinaryBuilder::new();
    let mut stage = StringBuilder::new();
    let mut code = StringBuilder::new();
    let mut error = StringBuilder::new();
    let mut pipeline = StringBuilder::new();
    let mut first_seen = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    for letter in letters {
        topic.append_value(&letter.topic);
        partition.append_value(letter.partition);
        offset.append_value(letter.offset);
        // A producer may send any number as a time; one that microseconds cannot hold is not a time.
        timestamp.append_option(letter.timestamp.checked_mul(1000));
        key.append_option(letter.key.as_deref());
        value.append_option(letter.value.as_deref());
        stage.append_value(letter.stage);
        code.append_value(&letter.code);
        error.append_value(&letter.error);
        pipeline.append_value(&owner.name);
        first_seen.append_value(now_ms * 1000);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("topic", Arc::new(topic.finish())),
        ("partition", Arc::new(partition.finish())),
        ("offset", Arc::new(offset.finish())),
        ("timestamp", Arc::new(timestamp.finish())),
        ("key", Arc::new(key.finish())),
        ("value", Arc::new(value.finish())),
        ("stage", Arc::new(stage.finish())),
        ("error_code", Arc::new(code.finish())),
        ("error", Arc::new(error.finish())),
        ("pipeline", Arc::new(pipeline.finish())),
        ("first_seen", Arc::new(first_seen.finish())),
    ];
    RecordBatch::try_from_iter(columns).expect("all columns have a value for each letter")
}
