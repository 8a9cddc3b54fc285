//! Tables that evolve with what their pipeline writes (`'lakeward.schema-change' = 'evolve'`).

use super::evolution::{PLAN, evolve, expected, field, marker, pipeline, rename, rows};
use super::world::{Fault, Pipeline, World, columns, owner, spec};
use crate::writer::sink::IcebergTableSink;
use iceberg::spec::{NestedField, PrimitiveType, Type};
use lw_graph::{Field, IcebergSink, SchemaChange, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind};

fn evolving(
    world: &World,
    plan: Option<&str>,
    columns: Vec<Field>,
) -> Result<IcebergTableSink, ConnectorError> {
    let spec = IcebergSink {
        schema_change: SchemaChange::Evolve,
        ..spec(columns)
    };
    let (clock, ids) = (world.clock.clone(), world.ids.clone());
    IcebergTableSink::open(&spec, world.network(), &owner(), plan, clock, ids)
}

/// `1 part int!, …`, where `!` is required.
fn shown(world: &World) -> String {
    let metadata = world.metadata();
    let fields = metadata.current_schema().as_struct().fields().iter();
    let shown = fields.map(|field| {
        let required = if field.required { "!" } else { "" };
        format!("{} {} {}{required}", field.id, field.name, field.field_type)
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What pauses a pipeline otherwise is given to the table, in the middle of it all.
#[test]
fn a_table_that_evolves_gets_what_rows_need() {
    type Change = fn(&mut Vec<NestedField>);
    let cases: [(&str, Change, &str); 4] = [
        (
            "dropped",
            |fields| fields.retain(|field| field.id != 3),
            "1 part int!, 2 off long!, 5 text string",
        ),
        (
            "narrowed",
            |fields| {
                fields.retain(|field| field.id != 2);
                fields.push(field(5, "off", PrimitiveType::Int));
            },
            "1 part int!, 3 text string, 5 off long",
        ),
        (
            "renamed and required",
            |fields| {
                rename(fields, 3, "note");
                fields[2].required = true;
            },
            "1 part int!, 2 off long!, 3 note string",
        ),
        (
            "added and required",
            |fields| {
                let more = Type::Primitive(PrimitiveType::Int);
                fields.push(NestedField::required(5, "more", more));
            },
            "1 part int!, 2 off long!, 3 text string, 5 more int",
        ),
    ];
    for (what, change, expected) in cases {
        let world = World::new();
        let sink = evolving(&world, Some(PLAN), columns()).expect("the sink opens");
        let mut pipeline = Pipeline::over(&world, sink, world.network());
        pipeline.plan = Some(PLAN);
        pipeline.epoch([2, 1]);
        evolve(&world, |fields| {
            fields.push(field(4, "theirs", PrimitiveType::Int))
        });
        evolve(&world, |fields| fields.retain(|field| field.id != 4));
        evolve(&world, change);
        pipeline.epoch([2, 1]);
        pipeline.sink = evolving(&world, Some(PLAN), columns()).expect("the sink opens");
        pipeline.epoch([2, 1]);
        assert_eq!(shown(&world), expected, "{what}");
        let metadata = world.metadata();
        let id = |name: &str| {
            let bound = marker(&world)
                .stints()
                .last()
                .expect("a plan made it")
                .columns[name];
            assert!(
                metadata.current_schema().field_by_id(bound).is_some(),
                "{what}"
            );
            bound
        };
        let found = rows(&world, [id("part"), id("off"), id("text")]);
        let newest = found
            .iter()
            .filter(|row| row.1 >= 2 || (row.0 == 1 && row.1 >= 1));
        let expected = expected_from(&pipeline, [2, 1]);
        assert_eq!(newest.cloned().collect::<Vec<_>>(), expected, "{what}");
    }
}

/// Rows behind these offsets.
fn expected_from(pipeline: &Pipeline, from: [i64; 2]) -> Vec<(i64, i64, Option<String>)> {
    let mut rows = expected(pipeline);
    rows.retain(|(part, off, _)| *off >= from[usize::try_from(*part).expect("small")]);
    rows
}

/// A script that asks for more: the table gets it with the job's first look, not when somebody only asks whether it fits.
#[test]
fn a_table_evolves_with_its_script() {
    let world = World::new();
    pipeline(&world).epoch([2, 1]);
    let mut more = columns();
    more[0] = Field::new("part", TypeKind::BigInt.nullable());
    let nested = TypeKind::Row(vec![Field::new(
        "x",
        TypeKind::Array(Box::new(TypeKind::Int.nullable())).not_null(),
    )]);
    more.insert(1, Field::new("nested", nested.not_null()));
    let before = shown(&world);
    let refused = |spec: &IcebergSink| {
        let (clock, ids) = (world.clock.clone(), world.ids.clone());
        IcebergTableSink::open(spec, world.network(), &owner(), Some("next"), clock, ids)
    };
    let error = refused(&spec(more.clone())).err().expect("it does not fit");
    assert_eq!(
        error.detail,
        "column part is int in the table and long in the sink; the table has no column nested (struct<x: list<int>>)."
    );
    assert_eq!(
        error.hint,
        "Change the sink's columns or the table, or write to a new table. With 'lakeward.schema-change' = 'evolve' in the script the pipeline gives the table what it lacks."
    );
    evolving(&world, None, more.clone()).expect("it would fit");
    assert_eq!(shown(&world), before);
    evolving(&world, Some("next"), more.clone()).expect("it fits");
    assert_eq!(
        shown(&world),
        "1 part long, 2 off long!, 3 text string, 4 nested struct<list>"
    );
    let schemas = world.metadata().schemas_iter().len();
    evolving(&world, Some("next"), more.clone()).expect("it fits");
    assert_eq!(
        world.metadata().schemas_iter().len(),
        schemas,
        "it is as it should be"
    );
    // What is no widening stays the user's to decide.
    more[0] = Field::new("part", TypeKind::string().nullable());
    let error = evolving(&world, Some("last"), more)
        .err()
        .expect("it does not fit");
    assert_eq!(
        error.hint,
        "Change the sink's columns or the table, or write to a new table."
    );
}

#[test]
fn a_table_evolves_once_whatever_becomes_of_the_reply() {
    for fault in [
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Resent,
        Fault::Raced,
        Fault::Widened("other"),
        Fault::Widened("more"),
    ] {
        let world = World::new();
        pipeline(&world).epoch([1, 1]);
        let network = world.network();
        network
            .faults
            .lock()
            .expect("no test panics here")
            .push_back(Some(fault));
        let mut more = columns();
        more.push(Field::new("more", TypeKind::string().nullable()));
        let spec = IcebergSink {
            schema_change: SchemaChange::Evolve,
            ..spec(more)
        };
        let open = || {
            let (clock, ids) = (world.clock.clone(), world.ids.clone());
            IcebergTableSink::open(&spec, network.clone(), &owner(), Some("next"), clock, ids)
        };
        if fault == Fault::RequestLost {
            let error = open().err().expect("nobody knows");
            assert_eq!(error.kind, ErrorKind::Retry);
        }
        open().expect("it fits");
        let expected = match fault {
            Fault::Widened("other") => {
                "1 part int!, 2 off long!, 3 text string, 4 other string, 5 more string"
            }
            _ => "1 part int!, 2 off long!, 3 text string, 4 more string",
        };
        assert_eq!(shown(&world), expected, "{fault:?}");
    }
}
