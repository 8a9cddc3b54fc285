//! Checkpoints: all that a log says up to a version, as one Parquet file.
//!
//! Each row is one action: a struct column for each kind, of which one is not NULL. What is written is the classic form (one file,
//! statistics as text); what is read may also be in parts, and made by others: columns are found by name, and one that is not
//! there is NULL.

use super::action::{Action, Add, Format, Metadata, PartitionValues, Protocol, Remove, Txn};
use super::log::{Contents, Snapshot};
use crate::error::{CatalogError, Kind};
use crate::storage::DurableFile;
use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{Field, Fields};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Actions that are in memory as columns at a time.
const ROWS: usize = 8192;
const SMALL: &[&str] = &["protocol", "metaData", "txn"];
const LARGE: &[&str] = &["add", "remove"];

pub(super) struct Written {
    pub(super) actions: u64,
    pub(super) bytes: u64,
}

/// Writes a checkpoint durably.
pub(super) fn write(
    file: DurableFile,
    snapshot: &Snapshot,
    contents: Contents,
) -> Result<Written, CatalogError> {
    let first = [
        Action::Protocol(snapshot.protocol.clone()),
        Action::MetaData(snapshot.metadata.clone()),
    ];
    let txns = snapshot.txns.values().cloned().map(Action::Txn);
    // They changed the table before: to whoever reads the checkpoint it is the state, no change.
    let adds = contents.adds.into_values().map(|add| {
        Action::Add(Add {
            data_change: false,
            ..add
        })
    });
    let removes = contents.removes.into_values().map(|removed| {
        Action::Remove(Remove {
            data_change: false,
            ..removed
        })
    });
    let all = first.into_iter().chain(txns).chain(adds).chain(removes);
    let all: Vec<Action> = all.collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("lakeward ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = columns(&[]).schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(failed)?;
    for rows in all.chunks(ROWS) {
        writer.write(&columns(rows)).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    let bytes = writer.inner_mut().finish()?;
    Ok(Written {
        actions: all.len() as u64,
        bytes,
    })
}

fn failed(error: parquet::errors::ParquetError) -> CatalogError {
    CatalogError::caused(Kind::Internal, "a checkpoint cannot be written", error)
}

fn columns(rows: &[Action]) -> RecordBatch {
    let protocol = |action: &Action| match action {
        Action::Protocol(protocol) => Some(protocol.clone()),
        _ => None,
    };
    let metadata = |action: &Action| match action {
        Action::MetaData(metadata) => Some(metadata.clone()),
        _ => None,
    };
    let txn = |action: &Action| match action {
        Action::Txn(txn) => Some(txn.clone()),
        _ => None,
    };
    let add = |action: &Action| match action {
        Action::Add(add) => Some(add.clone()),
        _ => None,
    };
    let remove = |action: &Action| match action {
        Action::Remove(remove) => Some(remove.clone()),
        _ => None,
    };
    RecordBatch::try_from_iter_with_nullable([
        ("txn", txns(&only(rows, txn)), true),
        ("add", adds(&only(rows, add)), true),
        ("remove", removes(&only(rows, remove)), true),
        ("metaData", metadatas(&only(rows, metadata)), true),
        ("protocol", protocols(&only(rows, protocol)), true),
    ])
    .expect("all columns have a value for each action")
}

fn only<T>(rows: &[Action], of: impl Fn(&Action) -> Option<T>) -> Vec<Option<T>> {
    rows.iter().map(of).collect()
}

fn txns(rows: &[Option<Txn>]) -> ArrayRef {
    structure(
        rows,
        vec![
            ("appId", texts(rows, |txn| Some(txn.app_id.clone()))),
            ("version", longs(rows, |txn| Some(txn.version))),
            ("lastUpdated", longs(rows, |txn| txn.last_updated)),
        ],
    )
}

fn adds(rows: &[Option<Add>]) -> ArrayRef {
    structure(
        rows,
        vec![
            ("path", texts(rows, |add| Some(add.path.clone()))),
            (
                "partitionValues",
                maps(rows, |add| Some(add.partition_values.clone())),
            ),
            ("size", longs(rows, |add| Some(add.size))),
            (
                "modificationTime",
                longs(rows, |add| Some(add.modification_time)),
            ),
            ("dataChange", booleans(rows, |add| Some(add.data_change))),
            ("stats", texts(rows, |add| add.stats.clone())),
            ("tags", maps(rows, |add| add.tags.clone())),
        ],
    )
}

fn removes(rows: &[Option<Remove>]) -> ArrayRef {
    structure(
        rows,
        vec![
            ("path", texts(rows, |removed| Some(removed.path.clone()))),
            (
                "deletionTimestamp",
                longs(rows, |removed| removed.deletion_timestamp),
            ),
            (
                "dataChange",
                booleans(rows, |removed| Some(removed.data_change)),
            ),
            (
                "extendedFileMetadata",
                booleans(rows, |removed| removed.extended_file_metadata),
            ),
            (
                "partitionValues",
                maps(rows, |removed| removed.partition_values.clone()),
            ),
            ("size", longs(rows, |removed| removed.size)),
        ],
    )
}

fn metadatas(rows: &[Option<Metadata>]) -> ArrayRef {
    let own = |map: &BTreeMap<String, String>| {
        let pairs = map.iter();
        let pairs = pairs.map(|(key, value)| (key.clone(), Some(value.clone())));
        Some(pairs.collect::<PartitionValues>())
    };
    let format: Vec<Option<Format>> = rows
        .iter()
        .map(|row| row.as_ref().map(|metadata| metadata.format.clone()))
        .collect();
    let format = structure(
        &format,
        vec![
            (
                "provider",
                texts(&format, |format| Some(format.provider.clone())),
            ),
            ("options", maps(&format, |format| own(&format.options))),
        ],
    );
    structure(
        rows,
        vec![
            ("id", texts(rows, |metadata| Some(metadata.id.clone()))),
            ("name", texts(rows, |metadata| metadata.name.clone())),
            (
                "description",
                texts(rows, |metadata| metadata.description.clone()),
            ),
            ("format", format),
            (
                "schemaString",
                texts(rows, |metadata| Some(metadata.schema_string.clone())),
            ),
            (
                "partitionColumns",
                lists(rows, |metadata| Some(metadata.partition_columns.clone())),
            ),
            (
                "configuration",
                maps(rows, |metadata| own(&metadata.configuration)),
            ),
            ("createdTime", longs(rows, |metadata| metadata.created_time)),
        ],
    )
}

fn protocols(rows: &[Option<Protocol>]) -> ArrayRef {
    structure(
        rows,
        vec![
            (
                "minReaderVersion",
                ints(rows, |protocol| protocol.min_reader_version),
            ),
            (
                "minWriterVersion",
                ints(rows, |protocol| protocol.min_writer_version),
            ),
            (
                "readerFeatures",
                lists(rows, |protocol| protocol.reader_features.clone()),
            ),
            (
                "writerFeatures",
                lists(rows, |protocol| protocol.writer_features.clone()),
            ),
        ],
    )
}

fn structure<T>(rows: &[Option<T>], members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields = members
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let fields: Fields = fields.collect();
    let arrays = members.into_iter().map(|(_, array)| array).collect();
    let there = rows.iter().map(Option::is_some).collect::<Vec<bool>>();
    Arc::new(StructArray::new(fields, arrays, Some(there.into())))
}

fn texts<T>(rows: &[Option<T>], of: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(StringArray::from_iter(
        rows.iter().map(|row| row.as_ref().and_then(&of)),
    ))
}

fn longs<T>(rows: &[Option<T>], of: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(
        rows.iter().map(|row| row.as_ref().and_then(&of)),
    ))
}

fn ints<T>(rows: &[Option<T>], of: impl Fn(&T) -> i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter(
        rows.iter().map(|row| row.as_ref().map(&of)),
    ))
}

fn booleans<T>(rows: &[Option<T>], of: impl Fn(&T) -> Option<bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(
        rows.iter().map(|row| row.as_ref().and_then(&of)),
    ))
}

fn lists<T>(rows: &[Option<T>], of: impl Fn(&T) -> Option<Vec<String>>) -> ArrayRef {
    let element = Field::new("element", arrow_schema::DataType::Utf8, true);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element);
    for row in rows {
        let list = row.as_ref().and_then(&of);
        for text in list.iter().flatten() {
            lists.values().append_value(text);
        }
        lists.append(list.is_some());
    }
    Arc::new(lists.finish())
}

fn maps<T>(rows: &[Option<T>], of: impl Fn(&T) -> Option<PartitionValues>) -> ArrayRef {
    let names = MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        let map = row.as_ref().and_then(&of);
        for (key, value) in map.iter().flatten() {
            maps.keys().append_value(key);
            maps.values().append_option(value.as_deref());
        }
        maps.append(map.is_some())
            .expect("there are as many keys as values");
    }
    Arc::new(maps.finish())
}

/// Hands on the actions of a checkpoint, or of a part of one; without the files of the table where they are not asked for.
pub(super) fn read(
    bytes: Bytes,
    name: &str,
    with_files: bool,
    mut each: impl FnMut(Action),
) -> Result<(), CatalogError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        // Somebody may be about to write it.
        CatalogError::caused(
            Kind::Internal,
            format!("{name} of the Delta log cannot be read"),
            error,
        )
    };
    // What writers say of Arrow types of theirs does not matter here.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .map_err(|error| unreadable(error.into()))?;
    let wanted = |column: &str| SMALL.contains(&column) || with_files && LARGE.contains(&column);
    let roots = builder.parquet_schema().root_schema().get_fields();
    let roots: Vec<usize> = (0..roots.len())
        .filter(|index| wanted(roots[*index].name()))
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).with_batch_size(ROWS).build();
    for batch in reader.map_err(|error| unreadable(error.into()))? {
        let batch = batch.map_err(|error| unreadable(error.into()))?;
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let Some(column) = column.as_struct_opt() else {
                continue;
            };
            for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
                let at = At { of: column, row };
                let action = match field.name().as_str() {
                    "txn" => at.txn().map(Action::Txn),
                    "add" => at.add().map(Action::Add),
                    "remove" => at.remove().map(Action::Remove),
                    "metaData" => at.metadata().map(Action::MetaData),
                    _ => at.protocol().map(Action::Protocol),
                };
                let incomplete = || unreadable(format!("an incomplete {}", field.name()).into());
                each(action.ok_or_else(incomplete)?);
            }
        }
    }
    Ok(())
}

/// One row of a struct column.
struct At<'a> {
    of: &'a StructArray,
    row: usize,
}

impl At<'_> {
    fn member(&self, name: &str) -> Option<&ArrayRef> {
        self.of
            .column_by_name(name)
            .filter(|column| column.is_valid(self.row))
    }

    fn text(&self, name: &str) -> Option<String> {
        let column = self.member(name)?.as_string_opt::<i32>()?;
        Some(column.value(self.row).to_owned())
    }

    fn long(&self, name: &str) -> Option<i64> {
        let column = self.member(name)?.as_primitive_opt::<Int64Type>()?;
        Some(column.value(self.row))
    }

    fn int(&self, name: &str) -> Option<i32> {
        let column = self.member(name)?.as_primitive_opt::<Int32Type>()?;
        Some(column.value(self.row))
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        Some(self.member(name)?.as_boolean_opt()?.value(self.row))
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let list = self.member(name)?.as_list_opt::<i32>()?.value(self.row);
        let texts = list.as_string_opt::<i32>()?.iter();
        Some(texts.flatten().map(str::to_owned).collect())
    }

    fn map(&self, name: &str) -> Option<PartitionValues> {
        let map = self.member(name)?.as_map_opt()?.value(self.row);
        let keys = map.column(0).as_string_opt::<i32>()?.iter();
        let values = map.column(1).as_string_opt::<i32>()?.iter();
        let pairs = keys.zip(values);
        let pairs =
            pairs.filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned))));
        Some(pairs.collect())
    }

    fn strings(&self, name: &str) -> BTreeMap<String, String> {
        let map = self.map(name).unwrap_or_default().into_iter();
        map.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn txn(&self) -> Option<Txn> {
        Some(Txn {
            app_id: self.text("appId")?,
            version: self.long("version")?,
            last_updated: self.long("lastUpdated"),
        })
    }

    fn add(&self) -> Option<Add> {
        Some(Add {
            path: self.text("path")?,
            partition_values: self.map("partitionValues").unwrap_or_default(),
            size: self.long("size")?,
            modification_time: self.long("modificationTime").unwrap_or_default(),
            data_change: self.boolean("dataChange").unwrap_or_default(),
            stats: self.text("stats"),
            tags: self.map("tags"),
            deletion_vector: self.member("deletionVector").map(|_| Value::Bool(true)),
        })
    }

    fn remove(&self) -> Option<Remove> {
        Some(Remove {
            path: self.text("path")?,
            deletion_timestamp: self.long("deletionTimestamp"),
            data_change: self.boolean("dataChange").unwrap_or_default(),
            extended_file_metadata: self.boolean("extendedFileMetadata"),
            partition_values: self.map("partitionValues"),
            size: self.long("size"),
        })
    }

    fn metadata(&self) -> Option<Metadata> {
        let format = self.member("format")?.as_struct_opt()?;
        let format = At {
            of: format,
            row: self.row,
        };
        Some(Metadata {
            id: self.text("id")?,
            name: self.text("name"),
            description: self.text("description"),
            format: Format {
                provider: format.text("provider")?,
                options: format.strings("options"),
            },
            schema_string: self.text("schemaString")?,
            partition_columns: self.list("partitionColumns").unwrap_or_default(),
            configuration: self.strings("configuration"),
            created_time: self.long("createdTime"),
        })
    }

    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol {
            min_reader_version: self.int("minReaderVersion")?,
            min_writer_version: self.int("minWriterVersion")?,
            reader_features: self.list("readerFeatures"),
            writer_features: self.list("writerFeatures"),
        })
    }
}
