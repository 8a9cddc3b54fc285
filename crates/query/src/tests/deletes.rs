//! Rows that other writers deleted: by their place in a file, or by their values.

use super::answer;
use super::lake::Lake;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use futures::executor::block_on;
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, NestedField, Operation, PrimitiveType, Snapshot,
    SnapshotReference, SnapshotRetention, Struct, Summary, TableMetadata, Type,
};
use lw_lakehouse::TableCatalog;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use std::collections::HashMap;
use std::sync::Arc;

/// Field ids of the two columns that Iceberg reserves for position deletes.
const FILE_PATH: i32 = i32::MAX - 101;
const POS: i32 = i32::MAX - 102;

/// A column of a delete file: name, field id, values.
type Column = (&'static str, i32, ArrayRef);

/// Writes a delete file of these columns.
fn delete_file(lake: &Lake, content: DataContentType, columns: Vec<Column>) -> DataFile {
    let metadata = lake.table().metadata;
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, id, values)| {
            let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
            let nullable = values.null_count() > 0;
            Field::new(*name, values.data_type().clone(), nullable)
                .with_metadata(HashMap::from([id]))
        })
        .collect();
    let ids = columns.iter().map(|(_, id, _)| *id).collect();
    let values = columns.into_iter().map(|(_, _, values)| values).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), values).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let path = format!("{}/data/theirs.parquet", metadata.location());
    lake.catalog.files().write(&path, &bytes).unwrap();
    let mut file = DataFileBuilder::default();
    file.content(content)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(batch.num_rows() as u64)
        .file_size_in_bytes(bytes.len() as u64);
    if content == DataContentType::EqualityDeletes {
        file.equality_ids(Some(ids));
    }
    file.build().unwrap()
}

/// Commits a delete file on top of what is there, as another engine does.
fn commit(lake: &Lake, file: DataFile) {
    const ID: i64 = 77;
    let metadata = lake.table().metadata;
    let head = metadata.current_snapshot().unwrap();
    let io = lake.catalog.files().io();
    let at = |name: &str| format!("{}/metadata/{name}-{ID}.avro", metadata.location());
    let builder = ManifestWriterBuilder::new(
        io.new_output(at("theirs")).unwrap(),
        Some(ID),
        metadata.current_schema().clone(),
        metadata.default_partition_spec().as_ref().clone(),
    );
    let is_v3 = metadata.format_version() == FormatVersion::V3;
    let mut writer = if is_v3 {
        builder.build_v3_deletes()
    } else {
        builder.build_v2_deletes()
    };
    writer.add_file(file, -1).unwrap();
    let deletes = block_on(writer.write_manifest_file()).unwrap();
    let before = lake.catalog.files().read(head.manifest_list()).unwrap();
    let before = ManifestList::parse_with_version(&before, FormatVersion::V2).unwrap();
    let output = block_on(io.new_output(at("list")).unwrap().writer()).unwrap();
    let (parent, sequence) = (Some(head.snapshot_id()), metadata.next_sequence_number());
    let mut list = match is_v3 {
        true => ManifestListWriter::v3(output, ID, parent, sequence, Some(metadata.next_row_id())),
        false => ManifestListWriter::v2(output, ID, parent, sequence),
    };
    list.add_manifests(before.consume_entries().into_iter().chain([deletes]))
        .unwrap();
    let added = list.next_row_id().map(|next| next - metadata.next_row_id());
    block_on(list.close()).unwrap();
    lake.change(vec![
        TableUpdate::AddSnapshot {
            snapshot: snapshot(&metadata, ID, sequence, at("list"), added),
        },
        TableUpdate::SetSnapshotRef {
            ref_name: "main".to_owned(),
            reference: SnapshotReference::new(ID, SnapshotRetention::branch(None, None, None)),
        },
    ]);
}

fn snapshot(
    metadata: &TableMetadata,
    id: i64,
    sequence: i64,
    list: String,
    rows: Option<u64>,
) -> Snapshot {
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(sequence)
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(list)
        .with_summary(Summary {
            operation: Operation::Delete,
            additional_properties: HashMap::new(),
        })
        .with_schema_id(metadata.current_schema_id());
    match rows {
        Some(rows) => snapshot
            .with_row_range(metadata.next_row_id(), rows)
            .build(),
        None => snapshot.build(),
    }
}

/// (1, a), (2, NULL), (3, c) in a file, and what else is asked for in later ones.
fn lake(folder: &std::path::Path) -> Lake {
    let mut lake = Lake::open(folder, 0);
    lake.append(&[(1, Some("a")), (2, None), (3, Some("c"))]);
    lake
}

fn check(lake: &Lake, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(&answer(&lake.catalog, sql), expected, "{sql}");
    }
}

#[test]
fn rows_are_deleted_by_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let path = answer(&lake.catalog, "SELECT file_path FROM lake.events$files");
    let path = path.trim_matches(['[', ']', '"']).to_owned();
    let columns: Vec<Column> = vec![
        (
            "file_path",
            FILE_PATH,
            Arc::new(StringArray::from(vec![path.clone(), path])),
        ),
        ("pos", POS, Arc::new(Int64Array::from(vec![0, 1]))),
    ];
    commit(
        &lake,
        delete_file(&lake, DataContentType::PositionDeletes, columns),
    );
    check(
        &lake,
        &[
            ("SELECT Id FROM lake.events", "[[3]]"),
            ("SELECT COUNT(*) FROM lake.events", "[[1]]"),
            ("SELECT COUNT(*) FROM lake.events WHERE v = 'a'", "[[0]]"),
            ("SELECT Id FROM lake.events LIMIT 1", "[[3]]"),
            (
                "SELECT content, record_count FROM lake.events$files ORDER BY content",
                "[[0,3],[1,2]]",
            ),
            (
                "SELECT record_count, position_delete_record_count FROM lake.events$partitions",
                "[[3,2]]",
            ),
        ],
    );
}

#[test]
fn rows_are_deleted_by_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = lake(folder.path());
    lake.append(&[(4, Some("a")), (5, Some("x"))]);
    let gone: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    commit(
        &lake,
        delete_file(
            &lake,
            DataContentType::EqualityDeletes,
            vec![("v", 2, gone)],
        ),
    );
    // The values are not read otherwise, or are filtered, or counted.
    let cases = [
        ("SELECT Id FROM lake.events ORDER BY Id", "[[3],[5]]"),
        ("SELECT COUNT(*) FROM lake.events", "[[2]]"),
        ("SELECT Id FROM lake.events WHERE Id < 5", "[[3]]"),
        ("SELECT COUNT(*) FROM lake.events WHERE v IS NULL", "[[0]]"),
        (
            "SELECT content, equality_ids FROM lake.events$files WHERE content > 0",
            "[[2,[2]]]",
        ),
    ];
    check(&lake, &cases);
}

#[test]
fn rows_that_came_after_a_delete_by_value_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = lake(folder.path());
    let gone: ArrayRef = Arc::new(StringArray::from(vec![Some("a")]));
    commit(
        &lake,
        delete_file(
            &lake,
            DataContentType::EqualityDeletes,
            vec![("v", 2, gone)],
        ),
    );
    lake.append(&[(4, Some("a"))]);
    check(
        &lake,
        &[("SELECT Id FROM lake.events ORDER BY Id", "[[2],[3],[4]]")],
    );
}

/// A delete is about a column by its id: whatever it is called now, and where it is no longer there.
#[test]
fn deletes_by_value_follow_columns() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let gone: ArrayRef = Arc::new(StringArray::from(vec![Some("a")]));
    commit(
        &lake,
        delete_file(
            &lake,
            DataContentType::EqualityDeletes,
            vec![("v", 2, gone)],
        ),
    );
    let fields = |fields: &[(i32, &str)]| {
        let string = |(id, name): &(i32, &str)| {
            Arc::new(NestedField::optional(
                *id,
                *name,
                Type::Primitive(PrimitiveType::String),
            ))
        };
        let id = NestedField::required(1, "Id", Type::Primitive(PrimitiveType::Int));
        let fields = fields.iter().map(string);
        let fields = std::iter::once(Arc::new(id)).chain(fields);
        iceberg::spec::Schema::builder()
            .with_fields(fields)
            .build()
            .unwrap()
    };
    let alter = |schema| {
        lake.change(vec![
            TableUpdate::AddSchema { schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ]);
    };
    alter(fields(&[(2, "renamed"), (3, "v")]));
    check(
        &lake,
        &[("SELECT Id FROM lake.events ORDER BY Id", "[[2],[3]]")],
    );
    alter(fields(&[(3, "v")]));
    check(
        &lake,
        &[(
            "SELECT * FROM lake.events ORDER BY Id",
            "[[2,null],[3,null]]",
        )],
    );
}

#[test]
fn deletion_vectors_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let path = answer(&lake.catalog, "SELECT file_path FROM lake.events$files");
    let path = path.trim_matches(['[', ']', '"']).to_owned();
    lake.change(vec![TableUpdate::UpgradeFormatVersion {
        format_version: FormatVersion::V3,
    }]);
    check(&lake, &[("SELECT COUNT(*) FROM lake.events", "[[3]]")]);
    let vector = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(format!(
            "{}/data/theirs.puffin",
            lake.table().metadata.location()
        ))
        .file_format(DataFileFormat::Puffin)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(50)
        .referenced_data_file(Some(path))
        .content_offset(Some(4))
        .content_size_in_bytes(Some(40))
        .build()
        .unwrap();
    commit(&lake, vector);
    let refused = "error: table 'lake.events' has deletion vectors (Iceberg format version 3), which queries do not apply yet; rewrite its data files without them to read it here";
    check(
        &lake,
        &[
            ("SELECT * FROM lake.events", refused),
            ("SELECT COUNT(*) FROM lake.events WHERE Id > 1", refused),
            (
                "SELECT content, file_format FROM lake.events$files WHERE content > 0",
                r#"[[1,"PUFFIN"]]"#,
            ),
        ],
    );
}
