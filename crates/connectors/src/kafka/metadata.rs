//! The metadata columns of a Kafka table: topic, partition, offset, timestamp, headers and their kin, in Flink's types; and when the
//! log took a record in.

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, Int32Builder, Int64Builder, MapBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, MapArray};
use arrow_schema::DataType;
use lw_graph::{Field, KafkaSource, MetadataKey, Schema, SourceColumn};
use lw_protocol::BatchHeader;
use lw_protocol::record::Record;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builders for the metadata columns that a plan asks for, in its order.
pub(super) struct MetadataColumns {
    columns: Vec<Column>,
}

enum Column {
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampType(StringBuilder),
    LeaderEpoch(Int32Builder),
    Headers(Box<MapBuilder<StringBuilder, BinaryBuilder>>),
    Appended(TimestampMicrosecondBuilder),
}

impl MetadataColumns {
    pub(super) fn new(columns: &[SourceColumn]) -> MetadataColumns {
        let columns = columns.iter().filter_map(|column| match column {
            SourceColumn::Value(_) | SourceColumn::Key(_) => None,
            SourceColumn::Appended => Some(Column::Appended(TimestampMicrosecondBuilder::new())),
            SourceColumn::Metadata(key) => Some(match key {
                MetadataKey::Topic => Column::Topic(StringBuilder::new()),
                MetadataKey::Partition => Column::Partition(Int32Builder::new()),
                MetadataKey::Offset => Column::Offset(Int64Builder::new()),
                MetadataKey::Timestamp => Column::Timestamp(TimestampMicrosecondBuilder::new()),
                MetadataKey::TimestampType => Column::TimestampType(StringBuilder::new()),
                MetadataKey::LeaderEpoch => Column::LeaderEpoch(Int32Builder::new()),
                MetadataKey::Headers => Column::Headers(Box::new(MapBuilder::new(
                    None,
                    StringBuilder::new(),
                    BinaryBuilder::new(),
                ))),
                of_file => unreachable!("the planner knows no {of_file:?} of records"),
            }),
        });
        MetadataColumns {
            columns: columns.collect(),
        }
    }

    /// Adds a row of a record, whose batch was appended under such a wall clock.
    pub(super) fn push(
        &mut self,
        (topic, partition): (&str, i32),
        record: &Record<'_>,
        header: &BatchHeader,
        wall: Option<i64>,
    ) {
        for column in &mut self.columns {
            match column {
                Column::Topic(builder) => builder.append_value(topic),
                Column::Partition(builder) => builder.append_value(partition),
                Column::Offset(builder) => builder.append_value(record.offset),
                Column::Timestamp(builder) => {
                    builder.append_value(record.timestamp.saturating_mul(1000))
                }
                Column::TimestampType(builder) => {
                    builder.append_value(match header.is_log_append_time() {
                        true => "LogAppendTime",
                        false => "CreateTime",
                    })
                }
                Column::LeaderEpoch(builder) => builder.append_value(header.leader_epoch),
                Column::Headers(builder) => push_headers(builder, record),
                Column::Appended(builder) => {
                    let millis = wall.unwrap_or(record.timestamp);
                    builder.append_value(millis.saturating_mul(1000));
                }
            }
        }
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns
            .iter_mut()
            .map(|column| match column {
                Column::Topic(builder) | Column::TimestampType(builder) => {
                    ArrayBuilder::finish(builder)
                }
                Column::Partition(builder) | Column::LeaderEpoch(builder) => {
                    ArrayBuilder::finish(builder)
                }
                Column::Offset(builder) => ArrayBuilder::finish(builder),
                Column::Timestamp(builder) | Column::Appended(builder) => {
                    Arc::new(builder.finish().with_timezone("UTC"))
                }
                Column::Headers(builder) => Arc::new(as_declared(builder.finish())),
            })
            .collect()
    }

    /// The source's output columns: names for people, types for the next operator.
    pub(super) fn output_schema(&self, spec: &KafkaSource) -> Schema {
        let fields = spec.columns.iter().map(|column| match column {
            SourceColumn::Value(index) => spec.value_schema.fields[*index].clone(),
            SourceColumn::Key(index) => {
                let key = spec
                    .key
                    .as_ref()
                    .expect("a column of the key is read with its format");
                key.schema.fields[*index].clone()
            }
            SourceColumn::Metadata(key) => Field::new(format!("{key:?}").to_lowercase(), key.ty()),
            SourceColumn::Appended => Field::new("appended", SourceColumn::appended()),
        });
        Schema::new(fields.collect())
    }
}

/// Header keys may repeat; in a MAP the last one wins, as in Flink.
fn push_headers(builder: &mut MapBuilder<StringBuilder, BinaryBuilder>, record: &Record<'_>) {
    let headers: BTreeMap<&[u8], Option<&[u8]>> = record.headers().collect();
    for (key, value) in headers {
        builder.keys().append_value(String::from_utf8_lossy(key));
        builder.values().append_option(value);
    }
    builder
        .append(true)
        .expect("keys and values are appended in pairs");
}

/// The same entries under the field names and nullability that `formats` gives this type.
fn as_declared(built: MapArray) -> MapArray {
    let DataType::Map(entries, ordered) = lw_formats::arrow_type(&MetadataKey::Headers.ty()) else {
        return built;
    };
    let DataType::Struct(fields) = entries.data_type().clone() else {
        return built;
    };
    let (_, offsets, columns, nulls, _) = built.into_parts();
    let (_, arrays, _) = columns.into_parts();
    let columns = arrow_array::StructArray::new(fields, arrays, None);
    MapArray::new(entries, offsets, columns, nulls, ordered)
}
