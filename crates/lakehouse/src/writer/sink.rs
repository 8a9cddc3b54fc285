//! The Iceberg sink: rows to their table, records that failed to the table beside it, and late ones where they are kept.
//!
//! `<table>__dead_letters` and `<table>__late` are created with their first row. Their files are sealed and committed like those of the main table,
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
use iceberg::spec::{FormatVersion, Transform, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent};
use lw_graph::{Field, LateRows, Schema, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind, LATE, LateRow, Owner, Sink, Staged};
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
    late: LateRows,
    late_name: String,
    late_rows: TableWriter,
    /// Partitions of dead letters and late rows, in order of appearance.
    letter_splits: Vec<Split>,
    owner: Owner,
    clock: Arc<dyn Clock>,
}

impl IcebergTableSink {
    /// Creates the table if it is missing, and checks that it fits. `plan` is the id of the plan that computes the rows; without it
    /// the table does not evolve before the first row.
    ///
    /// # Errors
    /// When the catalog cannot be reached, or an existing table does not fit the sink.
    pub fn open(
        spec: &lw_graph::IcebergSink,
        catalog: Arc<dyn TableCatalog>,
        owner: &Owner,
        plan: Option<&str>,
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
        let writer = |table: &str, schema, properties, partition_spec| {
            let wanted = Wanted {
                ident: TableIdent::new(namespace.clone(), table.to_owned()),
                owner: owner.clone(),
                plan: plan.map(str::to_owned),
                replays: spec.branch.is_some(),
                schema,
                schema_change: spec.schema_change,
                properties,
                version,
                partition_spec,
                location: location(table),
            };
            TableWriter::new(catalog.clone(), clock.clone(), wanted, ids.clone(), began)
        };
        let wanted = table_schema(&spec.schema, &spec.primary_key, version)?;
        let properties = spec.properties.clone().into_iter().collect();
        let by = partition_spec(&wanted, &spec.partitioned_by)?;
        let mut main = writer(&spec.table, wanted, properties, by);
        match plan {
            Some(_) => main.prepare()?,
            None => main.check()?,
        }
        let letters_schema = table_schema(&letters_columns(), &[], version)?;
        let late_table = format!("{}{LATE}", spec.table);
        let late_schema = table_schema(&late_columns(), &[], version)?;
        Ok(IcebergTableSink {
            name: format!("{}.{}", spec.namespace, spec.table),
            letters_name: format!("{}.{letters_table}", spec.namespace),
            main,
            letters: writer(&letters_table, letters_schema, HashMap::new(), None),
            late: spec.late,
            late_name: format!("{}.{late_table}", spec.namespace),
            late_rows: writer(&late_table, late_schema, HashMap::new(), None),
            letter_splits: Vec::new(),
            owner: owner.clone(),
            clock,
        })
    }

    fn split_of(&mut self, topic: &Arc<str>, partition: i32) -> u32 {
        let known = self
            .letter_splits
            .iter()
            .position(|split| split.topic == *topic && split.partition == partition);
        let index = known.unwrap_or_else(|| {
            self.letter_splits.push(Split {
                topic: topic.clone(),
                partition,
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
        let late = (self.late == LateRows::SideTable).then(|| self.late_name.clone());
        std::iter::once(self.letters_name.clone())
            .chain(late)
            .collect()
    }

    fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.main.begin(manifest)?;
        self.letters.begin(manifest)?;
        match self.late {
            LateRows::SideTable => self.late_rows.begin(manifest),
            LateRows::Drop | LateRows::Fail => Ok(()),
        }
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
                split: self.split_of(&letter.topic, letter.partition),
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

    fn late_rows(&self) -> LateRows {
        self.late
    }

    fn keep_late(
        &mut self,
        rows: &[LateRow],
        records: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let mut late: Vec<(&LateRow, DeadLetter)> = rows.iter().zip(records).collect();
        // Runs of a file are in the order of the log, whatever order the operators found them in.
        late.sort_by_key(|(_, record)| (record.partition, record.offset));
        let origins = late
            .iter()
            .map(|(_, record)| Origin {
                split: self.split_of(&record.topic, record.partition),
                offset: record.offset,
            })
            .collect();
        let columns = late_batch(&late);
        let splits = self.letter_splits.clone().into();
        self.late_rows.write(Chunk::new(columns, origins, splits))
    }

    fn buffered_bytes(&self) -> usize {
        self.main.buffered_bytes() + self.letters.buffered_bytes() + self.late_rows.buffered_bytes()
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        let mut staged = Vec::new();
        for (name, writer) in [
            (&self.name, &mut self.main),
            (&self.letters_name, &mut self.letters),
            (&self.late_name, &mut self.late_rows),
        ] {
            let files = writer.seal()?;
            if let Some(first) = files.first() {
                staged.push(sealed(name, first.schema_id, &files));
            }
        }
        Ok(staged)
    }
}

/// By the values of columns, as Flink's `PARTITIONED BY`.
fn partition_spec(
    schema: &iceberg::spec::Schema,
    columns: &[usize],
) -> Result<Option<UnboundPartitionSpec>, CatalogError> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = schema.as_struct().fields();
    let mut spec = UnboundPartitionSpec::builder();
    for column in columns {
        let field = &fields[*column];
        spec = spec.add_partition_field(field.id, &field.name, Transform::Identity)?;
    }
    Ok(Some(spec.build()))
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
pub(crate) fn letters_columns() -> Schema {
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

pub(crate) fn letters_batch(letters: &[DeadLetter], owner: &Owner, now_ms: i64) -> RecordBatch {
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

/// The columns of a table of late rows.
pub(crate) fn late_columns() -> Schema {
    Schema::new(vec![
        Field::new("topic", TypeKind::string().not_null()),
        Field::new("partition", TypeKind::Int.not_null()),
        Field::new("offset", TypeKind::BigInt.not_null()),
        Field::new("timestamp", TypeKind::TimestampLtz(3).nullable()),
        Field::new("key", TypeKind::bytes().nullable()),
        Field::new("value", TypeKind::bytes().nullable()),
        Field::new("event_time", TypeKind::TimestampLtz(3).nullable()),
        Field::new("watermark", TypeKind::TimestampLtz(3).nullable()),
        Field::new("late_by", TypeKind::BigInt.not_null()),
    ])
}

pub(crate) fn late_batch(rows: &[(&LateRow, DeadLetter)]) -> RecordBatch {
    let mut topic = StringBuilder::new();
    let mut partition = Int32Builder::new();
    let mut offset = Int64Builder::new();
    let times = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut timestamp, mut event_time, mut watermark) = (times(), times(), times());
    let mut key = BinaryBuilder::new();
    let mut value = BinaryBuilder::new();
    let mut late_by = Int64Builder::new();
    for (late, record) in rows {
        topic.append_value(&record.topic);
        partition.append_value(record.partition);
        offset.append_value(record.offset);
        timestamp.append_option(record.timestamp.checked_mul(1000));
        key.append_option(record.key.as_deref());
        value.append_option(record.value.as_deref());
        event_time.append_option(late.event_time.checked_mul(1000));
        watermark.append_option(late.watermark.checked_mul(1000));
        late_by.append_value(late.watermark.saturating_sub(late.event_time));
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("topic", Arc::new(topic.finish())),
        ("partition", Arc::new(partition.finish())),
        ("offset", Arc::new(offset.finish())),
        ("timestamp", Arc::new(timestamp.finish())),
        ("key", Arc::new(key.finish())),
        ("value", Arc::new(value.finish())),
        ("event_time", Arc::new(event_time.finish())),
        ("watermark", Arc::new(watermark.finish())),
        ("late_by", Arc::new(late_by.finish())),
    ];
    RecordBatch::try_from_iter(columns).expect("all columns have a value for each row")
}
