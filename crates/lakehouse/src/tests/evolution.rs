//! Columns that another engine changes under a pipeline: rows go on into the same fields whatever those are called, or the
//! pipeline stops and loses none. PyIceberg does the same to a running server in `tests/e2e/test_evolution.py`.

use super::partitions::make;
use super::world::{Pipeline, World, columns, owner, spec};
use crate::TableCatalog;
use crate::commit::manifests;
use crate::commit::marker::Marker;
use crate::writer::sink::IcebergTableSink;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use iceberg::TableUpdate;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Transform, Type};
use lw_runtime::connector::{CommitOutcome, ConnectorError, ErrorKind, Sink};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

pub(super) const PLAN: &str = "plan";

fn open(world: &World, plan: &str) -> Result<IcebergTableSink, ConnectorError> {
    IcebergTableSink::open(
        &spec(columns()),
        world.network(),
        &owner(),
        Some(plan),
        world.clock.clone(),
        world.ids.clone(),
    )
}

pub(super) fn pipeline(world: &World) -> Pipeline {
    let sink = open(world, PLAN).expect("the sink opens");
    let mut pipeline = Pipeline::over(world, sink, world.network());
    pipeline.plan = Some(PLAN);
    pipeline
}

pub(super) fn field(id: i32, name: &str, ty: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(ty))
}

/// Another engine gives the table other columns.
pub(super) fn evolve(world: &World, change: impl FnOnce(&mut Vec<NestedField>)) {
    let metadata = world.metadata();
    let fields = metadata.current_schema().as_struct().fields().iter();
    let mut fields: Vec<NestedField> = fields.map(|field| (**field).clone()).collect();
    change(&mut fields);
    let schema = Schema::builder()
        .with_schema_id(metadata.schemas_iter().len() as i32)
        .with_fields(fields.into_iter().map(Arc::new))
        .build()
        .expect("a schema");
    world.commit(vec![
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
    ]);
}

pub(super) fn rename(fields: &mut [NestedField], id: i32, name: &str) {
    let field = fields.iter_mut().find(|field| field.id == id);
    field.expect("it is there").name = name.to_owned();
}

/// A file's column by its field id; NULL where it has none.
fn column(batch: &RecordBatch, id: i32, ty: &DataType) -> ArrayRef {
    let schema = batch.schema();
    let is_it = |key: Option<&String>| key.is_some_and(|key| *key == id.to_string());
    let mut fields = schema.fields().iter();
    match fields.position(|field| is_it(field.metadata().get(PARQUET_FIELD_ID_META_KEY))) {
        Some(at) => cast(batch.column(at), ty).expect("a type that fits"),
        None => arrow_array::new_null_array(ty, batch.num_rows()),
    }
}

/// Every row as a reader by field id has it: the fields of the partition, the offset, the text.
pub(super) fn rows(world: &World, ids: [i32; 3]) -> Vec<(i64, i64, Option<String>)> {
    let view = world.view();
    let mut rows = Vec::new();
    for file in &view.data_files {
        for batch in view.read_rows(file).expect("files are there") {
            let parts = column(&batch, ids[0], &DataType::Int64);
            let offsets = column(&batch, ids[1], &DataType::Int64);
            let texts = column(&batch, ids[2], &DataType::Utf8);
            let texts = texts.as_string::<i32>().iter();
            let (parts, offsets) = (
                parts.as_primitive::<Int64Type>().values().iter(),
                offsets.as_primitive::<Int64Type>().values().iter(),
            );
            let of_file = parts.zip(offsets).zip(texts);
            rows.extend(of_file.map(|((part, off), text)| (*part, *off, text.map(str::to_owned))));
        }
    }
    rows.sort_unstable();
    rows
}

pub(super) fn expected(pipeline: &Pipeline) -> Vec<(i64, i64, Option<String>)> {
    let rows = pipeline.expected().into_iter();
    rows.map(|(part, off)| (i64::from(part), off, Some(format!("row {off} of {part}"))))
        .collect()
}

pub(super) fn marker(world: &World) -> Marker {
    let marker = Marker::of_table(&world.metadata()).expect("it can be read");
    marker.expect("there were commits")
}

#[test]
fn rows_go_into_the_same_fields_whatever_those_are_called() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    pipeline.epoch([2, 1]);
    evolve(&world, |fields| {
        rename(fields, 3, "note");
        fields.reverse();
    });
    pipeline.epoch([2, 1]);
    // Another column takes the name that is free, and another the name that is not.
    evolve(&world, |fields| {
        fields.push(field(4, "text", PrimitiveType::String));
    });
    pipeline.epoch([2, 1]);
    evolve(&world, |fields| {
        rename(fields, 3, "text");
        rename(fields, 4, "note");
    });
    pipeline.epoch([2, 1]);
    evolve(&world, |fields| {
        rename(fields, 3, "note");
        rename(fields, 4, "text");
        rename(fields, 2, "at");
    });
    // So does the process that takes over.
    pipeline.sink = open(&world, PLAN).expect("it fits");
    pipeline.epoch([2, 1]);
    assert_eq!(rows(&world, [1, 2, 3]), expected(&pipeline));
    let others = rows(&world, [1, 2, 4]);
    assert!(others.iter().all(|(_, _, text)| text.is_none()));
    let marker = marker(&world);
    let stint = marker.stints().last().expect("a plan made it");
    let meant = stint
        .columns
        .iter()
        .map(|(name, id)| format!("{name}={id}"));
    assert_eq!(meant.collect::<Vec<_>>(), ["off=2", "part=1", "text=3"]);
    assert_eq!(marker.stints().len(), 1);
}

#[test]
fn another_query_means_the_columns_as_they_are_called_then() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    pipeline.epoch([1, 0]);
    evolve(&world, |fields| {
        rename(fields, 3, "note");
        fields.push(field(4, "text", PrimitiveType::String));
    });
    pipeline.sink = open(&world, "another").expect("it fits");
    pipeline.plan = Some("another");
    pipeline.epoch([1, 0]);
    let texts = |id| -> Vec<bool> {
        let rows = rows(&world, [1, 2, id]).into_iter();
        rows.map(|(_, _, text)| text.is_some()).collect()
    };
    assert_eq!((texts(3), texts(4)), (vec![true, false], vec![false, true]));
    let meant = marker(&world);
    let meant = meant.stints().iter().map(|stint| stint.columns["text"]);
    assert_eq!(meant.collect::<Vec<_>>(), [3, 4]);
}

/// Partition values that wait in the manifest, or stand in older ones, are brought into the wider type.
#[test]
fn wider_columns_take_the_rows_also_those_that_wait() {
    let world = World::new();
    make(&world, &[(1, "part", Transform::Identity)]);
    world.set_property("commit.manifest.min-count-to-merge", "2");
    let mut pipeline = pipeline(&world);
    pipeline.epoch([2, 1]);
    pipeline.read([2, 1]);
    pipeline.checkpoint();
    evolve(&world, |fields| {
        *fields[0].field_type = Type::Primitive(PrimitiveType::Long);
        fields[1].required = false;
        fields.push(field(4, "more", PrimitiveType::Double));
    });
    assert!(matches!(pipeline.commit(), CommitOutcome::Confirmed { .. }));
    pipeline.epoch([2, 1]);
    pipeline.epoch([2, 1]);
    assert_eq!(rows(&world, [1, 2, 3]), expected(&pipeline));
    let metadata = world.metadata();
    let head = metadata.current_snapshot().expect("a head");
    let files = world.catalog.files();
    for list in manifests::load_list(files, &metadata, head).expect("a list") {
        for entry in manifests::load(files, &list).expect("a manifest").entries() {
            let value = entry.data_file().partition().iter().next();
            let value = format!("{:?}", value.flatten().expect("a value"));
            assert!(value.contains("Long("), "{value}");
        }
    }
}

#[test]
fn what_rows_do_not_fit_stops_the_pipeline_which_loses_none() {
    type Change = fn(&mut Vec<NestedField>);
    let cases: [(&str, &str, Change, Change); 4] = [
        (
            "dropped",
            "The table has no column text (string).",
            |fields| fields.retain(|field| field.id != 3),
            |fields| fields.push(field(5, "text", PrimitiveType::String)),
        ),
        (
            "narrowed",
            "Column off is int in the table and long in the sink.",
            |fields| {
                fields.retain(|field| field.id != 2);
                fields.push(field(5, "off", PrimitiveType::Int));
            },
            |fields| {
                fields.retain(|field| field.id != 5);
                fields.push(field(6, "off", PrimitiveType::Long));
            },
        ),
        (
            "renamed and required",
            "Column note (text in the sink) is required in the table and may be NULL in the sink.",
            |fields| {
                rename(fields, 3, "note");
                fields[2].required = true;
            },
            |fields| fields[2].required = false,
        ),
        (
            "added and required",
            "The sink has no column more, which the table requires.",
            |fields| {
                let more = Type::Primitive(PrimitiveType::Int);
                fields.push(NestedField::required(5, "more", more));
            },
            |fields| fields[3].required = false,
        ),
    ];
    for (what, detail, change, back) in cases {
        let world = World::new();
        let mut pipeline = pipeline(&world);
        pipeline.epoch([2, 1]);
        evolve(&world, change);
        pipeline.read([1, 1]);
        let told = pipeline.sink.seal().expect_err(what);
        // A process that takes over says the same.
        for error in [told, open(&world, PLAN).err().expect(what)] {
            assert_eq!(error.kind, ErrorKind::Misfit, "{what}");
            assert_eq!(
                error.message,
                "the table lake.events was changed, and the sink does not fit it any more"
            );
            assert_eq!(error.detail, detail, "{what}");
            assert_eq!(
                error.hint,
                "Nothing was lost: change the table back, or the script (`lakeward run FILE --replace`), and say `lakeward pipeline resume test`. With 'lakeward.schema-change' = 'evolve' in the script the pipeline gives the table what it lacks."
            );
        }
        evolve(&world, back);
        pipeline.checkpoint();
        assert!(matches!(pipeline.commit(), CommitOutcome::Confirmed { .. }));
        pipeline.epoch([1, 1]);
        let view = world.view();
        let held: u64 = view.data_files.iter().map(|file| file.rows).sum();
        assert_eq!(held, pipeline.expected().len() as u64, "{what}");
        let stints = marker(&world).stints().len();
        let made_anew = matches!(what, "dropped" | "narrowed");
        assert_eq!(stints, 1 + usize::from(made_anew), "{what}");
    }
}

/// Names are dealt out anew again and again, columns move and come, processes change.
#[test]
fn no_history_of_names_brings_a_value_into_another_field() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new();
        let mut pipeline = pipeline(&world);
        pipeline.epoch([1, 1]);
        for step in 0..12 {
            evolve(&world, |fields| {
                if fields.len() < 6 && random.random_bool(0.3) {
                    let id = fields.len() as i32 + 1;
                    fields.push(field(id, &format!("more{id}"), PrimitiveType::String));
                }
                let mut names: Vec<String> = fields.iter().map(|it| it.name.clone()).collect();
                names[0] = format!("{}{step}", &names[0][..1]);
                names.shuffle(&mut random);
                for (field, name) in fields.iter_mut().zip(names) {
                    field.name = name;
                }
                fields.shuffle(&mut random);
            });
            if random.random_bool(0.3) {
                pipeline.sink = open(&world, PLAN).expect("it fits");
            }
            pipeline.epoch([1, random.random_range(0..3)]);
        }
        assert_eq!(rows(&world, [1, 2, 3]), expected(&pipeline), "seed {seed}");
    }
}
