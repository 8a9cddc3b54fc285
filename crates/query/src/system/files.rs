//! Tables of files: from the manifests of one snapshot.

use super::values::{Partitioning, bound};
use super::{About, batch, time};
use crate::scan::entries;
use crate::tables::damaged;
use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder,
    StructBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields};
use datafusion::error::Result;
use iceberg::spec::{
    DataContentType, Datum, ManifestContentType, ManifestEntryRef, ManifestFile, Struct,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Spark's columns, without those of the values in them.
pub(super) async fn files(about: &About<'_>) -> Result<RecordBatch> {
    let live = live(about).await?;
    let partitioning = Partitioning::of(&about.loaded.metadata)?;
    let mut content = Int32Builder::new();
    let (mut path, mut format) = (StringBuilder::new(), StringBuilder::new());
    let mut spec = Int32Builder::new();
    let (mut rows, mut bytes) = (Int64Builder::new(), Int64Builder::new());
    let mut splits = ListBuilder::new(Int64Builder::new());
    let mut equality = ListBuilder::new(Int32Builder::new());
    let (mut order, mut added) = (Int32Builder::new(), Int64Builder::new());
    for Live { spec_id, entry } in &live {
        let file = entry.data_file();
        content.append_value(content_of(file.content_type()));
        path.append_value(file.file_path());
        format.append_value(file.file_format().to_string().to_uppercase());
        spec.append_value(*spec_id);
        rows.append_value(count(file.record_count()));
        bytes.append_value(count(file.file_size_in_bytes()));
        splits.append_option(
            file.split_offsets()
                .map(|offsets| offsets.iter().copied().map(Some)),
        );
        equality.append_option(file.equality_ids().map(|ids| ids.into_iter().map(Some)));
        order.append_option(file.sort_order_id());
        added.append_option(entry.snapshot_id());
    }
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("content", Arc::new(content.finish())),
        ("file_path", Arc::new(path.finish())),
        ("file_format", Arc::new(format.finish())),
        ("spec_id", Arc::new(spec.finish())),
    ];
    let partitions: Vec<(i32, &Struct)> = live.iter().map(Live::partition).collect();
    columns.extend(
        partitioning
            .column(&partitions)?
            .map(|column| ("partition", column)),
    );
    let data = || live.iter().map(|live| live.entry.data_file());
    columns.extend([
        ("record_count", Arc::new(rows.finish()) as ArrayRef),
        ("file_size_in_bytes", Arc::new(bytes.finish())),
        (
            "column_sizes",
            counts(data().map(|file| file.column_sizes()))?,
        ),
        (
            "value_counts",
            counts(data().map(|file| file.value_counts()))?,
        ),
        (
            "null_value_counts",
            counts(data().map(|file| file.null_value_counts()))?,
        ),
        (
            "nan_value_counts",
            counts(data().map(|file| file.nan_value_counts()))?,
        ),
        (
            "lower_bounds",
            bounds(data().map(|file| file.lower_bounds()))?,
        ),
        (
            "upper_bounds",
            bounds(data().map(|file| file.upper_bounds()))?,
        ),
        ("split_offsets", Arc::new(splits.finish())),
        ("equality_ids", Arc::new(equality.finish())),
        ("sort_order_id", Arc::new(order.finish())),
        ("added_snapshot_id", Arc::new(added.finish())),
    ]);
    batch(columns)
}

pub(super) async fn manifests(about: &About<'_>) -> Result<RecordBatch> {
    let partitioning = Partitioning::of(&about.loaded.metadata)?;
    let mut content = Int32Builder::new();
    let mut path = StringBuilder::new();
    let mut length = Int64Builder::new();
    let mut spec = Int32Builder::new();
    let mut added = Int64Builder::new();
    let mut files: [Int32Builder; 6] = std::array::from_fn(|_| Int32Builder::new());
    let mut rows: [Int64Builder; 3] = std::array::from_fn(|_| Int64Builder::new());
    let mut summaries = Summaries::new();
    for manifest in list(about).await? {
        content.append_value(manifest.content as i32);
        path.append_value(&manifest.manifest_path);
        length.append_value(manifest.manifest_length);
        spec.append_value(manifest.partition_spec_id);
        added.append_value(manifest.added_snapshot_id);
        let counts = [
            manifest.added_files_count,
            manifest.existing_files_count,
            manifest.deleted_files_count,
        ];
        let of_deletes = manifest.content == ManifestContentType::Deletes;
        for (at, count) in counts.into_iter().enumerate() {
            let count = count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
            let (here, other) = if of_deletes {
                (at + 3, at)
            } else {
                (at, at + 3)
            };
            files[here].append_option(count);
            files[other].append_value(0);
        }
        let counts = [
            manifest.added_rows_count,
            manifest.existing_rows_count,
            manifest.deleted_rows_count,
        ];
        for (column, rows) in rows.iter_mut().zip(counts) {
            column.append_option(rows.map(count));
        }
        summaries.append(&manifest, &partitioning);
    }
    let [
        mut added_data,
        mut existing_data,
        mut deleted_data,
        mut added_deletes,
        mut existing_deletes,
        mut deleted_deletes,
    ] = files;
    let [mut added_rows, mut existing_rows, mut deleted_rows] = rows;
    batch(vec![
        ("content", Arc::new(content.finish())),
        ("path", Arc::new(path.finish())),
        ("length", Arc::new(length.finish())),
        ("partition_spec_id", Arc::new(spec.finish())),
        ("added_snapshot_id", Arc::new(added.finish())),
        ("added_data_files_count", Arc::new(added_data.finish())),
        (
            "existing_data_files_count",
            Arc::new(existing_data.finish()),
        ),
        ("deleted_data_files_count", Arc::new(deleted_data.finish())),
        ("added_delete_files_count", Arc::new(added_deletes.finish())),
        (
            "existing_delete_files_count",
            Arc::new(existing_deletes.finish()),
        ),
        (
            "deleted_delete_files_count",
            Arc::new(deleted_deletes.finish()),
        ),
        ("added_rows_count", Arc::new(added_rows.finish())),
        ("existing_rows_count", Arc::new(existing_rows.finish())),
        ("deleted_rows_count", Arc::new(deleted_rows.finish())),
        ("partition_summaries", summaries.finish()),
    ])
}

/// Spark's columns; of a table without partitions one row.
pub(super) async fn partitions(about: &About<'_>) -> Result<RecordBatch> {
    let live = live(about).await?;
    let mut groups: HashMap<(i32, &Struct), Totals> = HashMap::new();
    for found in &live {
        let totals = groups.entry(found.partition()).or_default();
        totals.add(&found.entry, about);
    }
    let mut groups: Vec<((i32, &Struct), Totals)> = groups.into_iter().collect();
    // In an order that does not change from query to query.
    groups.sort_by_cached_key(|((spec, partition), _)| (*spec, format!("{partition:?}")));
    let keys: Vec<(i32, &Struct)> = groups.iter().map(|(key, _)| *key).collect();
    let partitioning = Partitioning::of(&about.loaded.metadata)?;
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    columns.extend(
        partitioning
            .column(&keys)?
            .map(|column| ("partition", column)),
    );
    let mut spec = Int32Builder::new();
    let mut numbers: [Int64Builder; 7] = std::array::from_fn(|_| Int64Builder::new());
    let (mut updated_at, mut updated_by) = (time(), Int64Builder::new());
    for ((spec_id, _), totals) in &groups {
        spec.append_value(*spec_id);
        for (column, number) in numbers.iter_mut().zip(totals.numbers) {
            column.append_value(count(number));
        }
        updated_at.append_option(totals.updated.map(|(millis, _)| millis));
        updated_by.append_option(totals.updated.map(|(_, id)| id));
    }
    columns.push(("spec_id", Arc::new(spec.finish())));
    let names = [
        "record_count",
        "file_count",
        "total_data_file_size_in_bytes",
        "position_delete_record_count",
        "position_delete_file_count",
        "equality_delete_record_count",
        "equality_delete_file_count",
    ];
    for (name, column) in names.into_iter().zip(&mut numbers) {
        columns.push((name, Arc::new(column.finish())));
    }
    columns.push(("last_updated_at", Arc::new(updated_at.finish())));
    columns.push(("last_updated_snapshot_id", Arc::new(updated_by.finish())));
    batch(columns)
}

/// What a partition holds: rows, files and bytes of data, rows and files of position deletes, and of equality deletes.
#[derive(Default)]
struct Totals {
    numbers: [u64; 7],
    /// When, and by which snapshot, as far as it is kept.
    updated: Option<(i64, i64)>,
}

impl Totals {
    fn add(&mut self, entry: &ManifestEntryRef, about: &About<'_>) {
        let [
            rows,
            files,
            bytes,
            positions,
            position_files,
            equalities,
            equality_files,
        ] = &mut self.numbers;
        let file = entry.data_file();
        let (rows, files) = match file.content_type() {
            DataContentType::Data => {
                *bytes += file.file_size_in_bytes();
                (rows, files)
            }
            DataContentType::PositionDeletes => (positions, position_files),
            DataContentType::EqualityDeletes => (equalities, equality_files),
        };
        *rows += file.record_count();
        *files += 1;
        let snapshot = entry
            .snapshot_id()
            .and_then(|id| about.loaded.metadata.snapshot_by_id(id));
        let by = snapshot.map(|snapshot| (snapshot.timestamp_ms(), snapshot.snapshot_id()));
        self.updated = self.updated.max(by);
    }
}

/// An entry of a file that the snapshot has.
struct Live {
    spec_id: i32,
    entry: ManifestEntryRef,
}

impl Live {
    fn partition(&self) -> (i32, &Struct) {
        (self.spec_id, self.entry.data_file().partition())
    }
}

async fn live(about: &About<'_>) -> Result<Vec<Live>> {
    let mut live = Vec::new();
    for manifest in list(about).await? {
        for entry in entries(about.table, &manifest).await? {
            if entry.is_alive() {
                let spec_id = manifest.partition_spec_id;
                live.push(Live { spec_id, entry });
            }
        }
    }
    Ok(live)
}

async fn list(about: &About<'_>) -> Result<Vec<ManifestFile>> {
    let Some(snapshot) = &about.seen.snapshot else {
        return Ok(Vec::new());
    };
    let list = about.table.manifest_list_reader(snapshot).load().await;
    Ok(list.map_err(damaged)?.entries().to_vec())
}

fn content_of(content: DataContentType) -> i32 {
    match content {
        DataContentType::Data => 0,
        DataContentType::PositionDeletes => 1,
        DataContentType::EqualityDeletes => 2,
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column of numbers by field id.
fn counts<'a>(maps: impl Iterator<Item = &'a HashMap<i32, u64>>) -> Result<ArrayRef> {
    let mut column = MapBuilder::new(None, Int32Builder::new(), Int64Builder::new());
    for map in maps {
        for (id, number) in map.iter().collect::<BTreeMap<_, _>>() {
            column.keys().append_value(*id);
            column.values().append_value(count(*number));
        }
        column.append(true)?;
    }
    Ok(Arc::new(column.finish()))
}

/// A column of bounds by field id.
fn bounds<'a>(maps: impl Iterator<Item = &'a HashMap<i32, Datum>>) -> Result<ArrayRef> {
    let mut column = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    for map in maps {
        for (id, value) in map.iter().collect::<BTreeMap<_, _>>() {
            column.keys().append_value(*id);
            column.values().append_value(bound(value));
        }
        column.append(true)?;
    }
    Ok(Arc::new(column.finish()))
}

/// The column `partition_summaries`.
struct Summaries(ListBuilder<StructBuilder>);

impl Summaries {
    fn new() -> Summaries {
        let fields = Fields::from(vec![
            Field::new("contains_null", DataType::Boolean, false),
            Field::new("contains_nan", DataType::Boolean, true),
            Field::new("lower_bound", DataType::Utf8, true),
            Field::new("upper_bound", DataType::Utf8, true),
        ]);
        Summaries(ListBuilder::new(StructBuilder::from_fields(fields, 0)))
    }

    fn append(&mut self, manifest: &ManifestFile, partitioning: &Partitioning) {
        let fields = partitioning
            .of_spec(manifest.partition_spec_id)
            .map_or(&[][..], |kind| kind.fields());
        let of_each = manifest.partitions.iter().flatten().zip(fields);
        for (summary, field) in of_each {
            let values = self.0.values();
            let text = |bytes: Option<&[u8]>| {
                let kind = field.field_type.as_primitive_type()?.clone();
                Some(bound(&Datum::try_from_bytes(bytes?, kind).ok()?))
            };
            let bounds = [&summary.lower_bound, &summary.upper_bound];
            let bounds = bounds.map(|bytes| text(bytes.as_ref().map(|bytes| &bytes[..])));
            builder::<BooleanBuilder>(values, 0).append_value(summary.contains_null);
            builder::<BooleanBuilder>(values, 1).append_option(summary.contains_nan);
            for (at, bound) in bounds.into_iter().enumerate() {
                builder::<StringBuilder>(values, 2 + at).append_option(bound);
            }
            values.append(true);
        }
        self.0.append(true);
    }

    fn finish(mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

fn builder<T: arrow_array::builder::ArrayBuilder>(of: &mut StructBuilder, at: usize) -> &mut T {
    of.field_builder(at)
        .expect("its builders are those of its fields")
}
