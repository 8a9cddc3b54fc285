//! Columns that `ALTER TABLE` changes: which schema comes of it, what is refused in which words, and that neither rows nor other
//! writers of the table notice more than they must. PyIceberg and DuckDB read the same over a server in `tests/e2e/test_alter.py`.

use super::world::{Fault, Pipeline, TABLE, World, ident, owner};
use crate::TableCatalog;
use crate::catalog::NewTable;
use crate::commit::alter::{AlterError, Altered, Alterer, Missed};
use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, ListType, MapType, NestedField, NullOrder, PrimitiveType, Schema, SortDirection,
    SortField, SortOrder, StructType, Transform, Type, UnboundPartitionSpec,
};
use lw_graph::{ColumnChange, ColumnDeclared, ColumnPlace, Field, LogicalType, TypeKind};
use lw_runtime::connector::CommitOutcome;
use lw_runtime::manifest::TableChain;
use std::sync::Arc;

fn declared(name: &str, ty: LogicalType) -> ColumnDeclared {
    ColumnDeclared {
        name: name.to_owned(),
        ty,
        comment: None,
        place: None,
    }
}

fn add(name: &str, kind: TypeKind) -> ColumnChange {
    ColumnChange::Add(declared(name, kind.nullable()))
}

fn modify(name: &str, kind: TypeKind) -> ColumnChange {
    ColumnChange::Modify(declared(name, kind.nullable()))
}

fn drop(name: &str) -> ColumnChange {
    ColumnChange::Drop(name.to_owned())
}

fn rename(from: &str, to: &str) -> ColumnChange {
    let (from, to) = (from.to_owned(), to.to_owned());
    ColumnChange::Rename { from, to }
}

fn at(change: ColumnChange, place: ColumnPlace) -> ColumnChange {
    match change {
        ColumnChange::Add(column) => ColumnChange::Add(ColumnDeclared {
            place: Some(place),
            ..column
        }),
        ColumnChange::Modify(column) => ColumnChange::Modify(ColumnDeclared {
            place: Some(place),
            ..column
        }),
        other => panic!("{other} has no place"),
    }
}

fn after(name: &str) -> ColumnPlace {
    ColumnPlace::After(name.to_owned())
}

fn not_null(change: ColumnChange) -> ColumnChange {
    match change {
        ColumnChange::Add(mut column) => {
            column.ty.nullable = false;
            ColumnChange::Add(column)
        }
        ColumnChange::Modify(mut column) => {
            column.ty.nullable = false;
            ColumnChange::Modify(column)
        }
        other => panic!("{other} has no type"),
    }
}

/// `1 id int! "doc"`, where `!` is required.
fn shown(schema: &Schema) -> String {
    let field = |field: &Arc<NestedField>| {
        let doc = field.doc.as_ref();
        let doc = doc.map_or(String::new(), |doc| format!(" \"{doc}\""));
        let required = if field.required { "!" } else { "" };
        let ty = type_shown(&field.field_type);
        format!("{} {} {ty}{required}{doc}", field.id, field.name)
    };
    let fields = schema.as_struct().fields().iter().map(field);
    fields.collect::<Vec<_>>().join(", ")
}

/// With ids and what is required, which Iceberg's own text does not say.
fn type_shown(ty: &Type) -> String {
    let inside = |field: &NestedField| {
        let required = if field.required { "!" } else { "" };
        format!("{} {}{required}", field.id, type_shown(&field.field_type))
    };
    match ty {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::List(list) => format!("[{}]", inside(&list.element_field)),
        Type::Map(map) => format!(
            "{{{}: {}}}",
            inside(&map.key_field),
            inside(&map.value_field)
        ),
        Type::Struct(fields) => {
            let fields = fields.fields().iter();
            let fields = fields.map(|field| format!("{} {}", field.name, inside(field)));
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn pipeline(world: &World) -> Pipeline {
    let mut pipeline = Pipeline::new(world, world.network(), TableChain::default(), [0, 0]);
    pipeline.plan = Some("plan");
    pipeline
}

/// Its first commit meets this.
fn over(world: &World, fault: Fault) -> Alterer {
    let network = world.network();
    let mut faults = network.faults.lock().expect("no test panics here");
    faults.push_back(Some(fault));
    std::mem::drop(faults);
    Alterer::new(network, world.clock.clone(), world.ids.clone())
}

fn alter(world: &World, changes: &[ColumnChange]) -> Result<Altered, AlterError> {
    let mut alterer = Alterer::new(world.network(), world.clock.clone(), world.ids.clone());
    alterer.alter(&ident(TABLE), changes)
}

/// What the table's schema becomes, or why it does not; every refusal leaves it as it is.
fn told(world: &World, changes: &[ColumnChange]) -> String {
    let before = world.metadata();
    match alter(world, changes) {
        Ok(altered) => {
            let after = world.metadata();
            let same = after.current_schema().as_struct() == before.current_schema().as_struct();
            assert_eq!(altered.changed, !same, "{changes:?}");
            shown(after.current_schema())
        }
        Err(error) => {
            assert_eq!(before, world.metadata(), "{changes:?}");
            let rest = [error.detail(), error.hint()];
            let rest = rest.iter().filter(|text| !text.is_empty());
            let rest: Vec<String> = rest.map(|text| format!(" | {text}")).collect();
            format!("{error}{}", rest.concat())
        }
    }
}

/// A table of another engine's making: `fields`, partitioned by the first, sorted by the second.
fn table(fields: Vec<NestedField>, key: Vec<i32>) -> World {
    let world = World::new();
    let namespace = ident(TABLE).namespace;
    world
        .catalog
        .ensure_namespace(&namespace)
        .expect("a namespace");
    let (by, sorted) = (fields[0].id, fields[1].id);
    let schema = Schema::builder()
        .with_fields(fields.into_iter().map(Arc::new))
        .with_identifier_field_ids(key)
        .build()
        .expect("a schema");
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(by, "by_first", Transform::Bucket(4))
        .expect("a field");
    let new = NewTable {
        schema,
        properties: Default::default(),
        format_version: FormatVersion::V2,
        partition_spec: Some(spec.build()),
        location: None,
    };
    TableCatalog::create(&world.catalog, &ident(TABLE), new).expect("it is created");
    let order = SortOrder::builder()
        .with_sort_field(
            SortField::builder()
                .source_id(sorted)
                .direction(SortDirection::Ascending)
                .null_order(NullOrder::First)
                .transform(Transform::Identity)
                .build(),
        )
        .with_order_id(1)
        .build_unbound()
        .expect("an order");
    world.commit(vec![
        TableUpdate::AddSortOrder { sort_order: order },
        TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
    ]);
    world
}

fn simple() -> World {
    let of = |id, name: &str, ty| NestedField::optional(id, name, Type::Primitive(ty));
    let fields = vec![
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Int)).with_doc("the key"),
        of(2, "at", PrimitiveType::Timestamp),
        of(3, "v", PrimitiveType::Float),
        NestedField::required(
            4,
            "price",
            Type::Primitive(PrimitiveType::Decimal {
                precision: 9,
                scale: 2,
            }),
        ),
    ];
    table(fields, vec![])
}

#[test]
fn each_change_gives_the_schema_that_flink_says() {
    let decimal = |precision, scale| TypeKind::Decimal { precision, scale };
    let row = |fields: &[(&str, TypeKind)]| {
        let fields = fields
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone().nullable()));
        TypeKind::Row(fields.collect())
    };
    let rest = "2 at timestamp, 3 v float, 4 price decimal(9, 2)!";
    let cases: Vec<(Vec<ColumnChange>, String)> = vec![
        (
            vec![add("n", TypeKind::TinyInt)],
            format!("1 id int! \"the key\", {rest}, 5 n int"),
        ),
        (
            vec![
                at(
                    add("a", row(&[("x", TypeKind::Int), ("y", TypeKind::string())])),
                    ColumnPlace::First,
                ),
                at(add("b", TypeKind::Date), after("a")),
                at(
                    modify(
                        "a",
                        row(&[("x", TypeKind::BigInt), ("y", TypeKind::string())]),
                    ),
                    after("b"),
                ),
            ],
            format!("8 b date, 5 a (x 6 long, y 7 string), 1 id int! \"the key\", {rest}"),
        ),
        (
            vec![
                not_null(modify("id", TypeKind::BigInt)),
                modify("v", TypeKind::Double),
                modify("price", decimal(18, 2)),
            ],
            "1 id long! \"the key\", 2 at timestamp, 3 v double, 4 price decimal(18, 2)".to_owned(),
        ),
        (
            vec![ColumnChange::Modify(ColumnDeclared {
                comment: Some("other".to_owned()),
                place: Some(after("price")),
                ..declared("id", TypeKind::Int.not_null())
            })],
            format!("{rest}, 1 id int! \"other\""),
        ),
        (
            vec![modify("id", TypeKind::Int)],
            format!("1 id int \"the key\", {rest}"),
        ),
        (
            vec![rename("id", "key"), rename("v", "id"), drop("price")],
            "1 key int! \"the key\", 2 at timestamp, 3 id float".to_owned(),
        ),
        // The name that is free is another field's.
        (
            vec![drop("v"), add("v", TypeKind::string())],
            "1 id int! \"the key\", 2 at timestamp, 4 price decimal(9, 2)!, 5 v string".to_owned(),
        ),
        (
            vec![
                modify("v", TypeKind::Float),
                rename("v", "w"),
                rename("w", "v"),
            ],
            format!("1 id int! \"the key\", {rest}"),
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(told(&simple(), &changes), expected, "{changes:?}");
    }
}

#[test]
fn types_inside_of_types_widen_too() {
    let of = |id, ty| Arc::new(NestedField::list_element(id, Type::Primitive(ty), true));
    let value = NestedField::map_value_element(8, Type::Primitive(PrimitiveType::Float), false);
    let key = NestedField::map_key_element(7, Type::Primitive(PrimitiveType::Int));
    let inner = NestedField::required(10, "x", Type::Primitive(PrimitiveType::Int));
    let fields = || {
        vec![
            NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Int)),
            NestedField::optional(2, "n", Type::Primitive(PrimitiveType::Int)),
            NestedField::optional(3, "l", Type::List(ListType::new(of(6, PrimitiveType::Int)))),
            NestedField::optional(
                4,
                "m",
                Type::Map(MapType::new(Arc::new(key.clone()), Arc::new(value.clone()))),
            ),
            NestedField::optional(
                5,
                "r",
                Type::Struct(StructType::new(vec![Arc::new(inner.clone())])),
            ),
        ]
    };
    let list = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
    let map = |key: TypeKind, value: TypeKind| {
        TypeKind::Map(Box::new(key.not_null()), Box::new(value.nullable()))
    };
    let row = |name: &str, kind: TypeKind| TypeKind::Row(vec![Field::new(name, kind.nullable())]);
    let changes = [
        modify("l", list(TypeKind::BigInt)),
        modify("m", map(TypeKind::Int, TypeKind::Double)),
        modify("r", row("x", TypeKind::BigInt)),
    ];
    let expected = "1 id int, 2 n int, 3 l [6 long], 4 m {7 int!: 8 double}, 5 r (x 9 long)";
    assert_eq!(told(&table(fields(), vec![]), &changes), expected);
    let world = table(fields(), vec![]);
    let refused = [
        (modify("l", list(TypeKind::SmallInt)), "3 l [6 int]"),
        (
            modify("l", list(TypeKind::string())),
            "column 'l' is list<int> and cannot become list<string>",
        ),
        (
            modify("m", map(TypeKind::BigInt, TypeKind::Float)),
            "column 'm' is map<int, float> and cannot become map<long, float>",
        ),
        (
            modify("r", row("y", TypeKind::Int)),
            "column 'r' is struct<x: int> and cannot become struct<y: int>",
        ),
        (
            modify("r", TypeKind::Int),
            "column 'r' is struct<x: int> and cannot become int",
        ),
    ];
    for (change, expected) in refused {
        let told = told(&world, std::slice::from_ref(&change));
        assert!(told.contains(expected), "{change}: {told}");
    }
}

#[test]
fn what_would_make_values_unreadable_is_refused_in_words() {
    let widens = "A type only widens: int to long, float to double, decimal to more digits of the same scale, also inside of lists, maps and structs whose fields stay.";
    let decimal = |precision, scale| TypeKind::Decimal { precision, scale };
    let anew = |name: &str| {
        format!(
            "Add a column of that type, or RENAME {name} TO something else first and ADD {name} anew."
        )
    };
    let cases: Vec<(Vec<ColumnChange>, String)> = vec![
        (vec![modify("v", TypeKind::Int)], format!("column 'v' is float and cannot become int | {widens} | {}", anew("v"))),
        (vec![modify("price", decimal(8, 2))], format!("column 'price' is decimal(9, 2) and cannot become decimal(8, 2) | {widens} | {}", anew("price"))),
        (vec![modify("at", TypeKind::TimestampLtz(3))], format!("column 'at' is timestamp and cannot become timestamptz | {widens} | {}", anew("at"))),
        (vec![not_null(modify("v", TypeKind::Float))], "column 'v' cannot become NOT NULL | Rows that are there may have NULL in it.".to_owned()),
        (vec![not_null(add("n", TypeKind::Int))], "column 'n' cannot be added as NOT NULL | Rows that are there have no value for it. | Leave NOT NULL out.".to_owned()),
        (vec![add("v", TypeKind::Int)], "the table has a column 'v' already".to_owned()),
        (vec![rename("v", "id")], "the table has a column 'id' already".to_owned()),
        (vec![rename("x", "y")], "the table has no column 'x' | It has: id, at, v, price.".to_owned()),
        (vec![drop("v"), modify("v", TypeKind::Double)], "the table has no column 'v' | It has: id, at, price.".to_owned()),
        (vec![at(add("n", TypeKind::Int), after("x"))], "the table has no column 'x' | It has: id, at, v, price.".to_owned()),
        (vec![drop("id")], "column 'id' is used by the table's partitions, by bucket[4](id) | Change that with Spark or PyIceberg first.".to_owned()),
        (vec![drop("at")], "column 'at' is used by the table's sort order | Change that with Spark or PyIceberg first.".to_owned()),
        // All or none.
        (vec![add("n", TypeKind::Int), drop("x")], "the table has no column 'x' | It has: id, at, v, price, n.".to_owned()),
        (vec![add("n", TypeKind::IntervalMillis)], "column n cannot be INTERVAL SECOND(3): Iceberg has no such type".to_owned()),
    ];
    for (changes, expected) in cases {
        assert_eq!(told(&simple(), &changes), expected, "{changes:?}");
    }
    let of = |id, name: &str| NestedField::required(id, name, Type::Primitive(PrimitiveType::Int));
    let keyed = table(vec![of(1, "a"), of(2, "b"), of(3, "k")], vec![3]);
    for change in [drop("k"), modify("k", TypeKind::Int)] {
        let told = told(&keyed, &[change]);
        assert!(
            told.starts_with("column 'k' is used by the table's key"),
            "{told}"
        );
    }
}

/// Rows go on while columns change; snapshots keep the schema that they were made with; what is gone is told to whom it concerns.
#[test]
fn commits_of_rows_and_changes_of_columns_do_not_meet() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    pipeline.epoch([2, 1]);
    let first = world.metadata().current_snapshot().expect("a head").clone();
    // Between a checkpoint and its commit.
    pipeline.read([1, 1]);
    pipeline.checkpoint();
    let changes = [
        at(add("more", TypeKind::Double), ColumnPlace::First),
        not_null(modify("part", TypeKind::BigInt)),
        rename("text", "note"),
    ];
    let altered = alter(&world, &changes).expect("it is possible");
    assert_eq!(
        altered,
        Altered {
            changed: true,
            missed: None
        }
    );
    assert!(matches!(pipeline.commit(), CommitOutcome::Confirmed { .. }));
    pipeline.epoch([2, 1]);
    let metadata = world.metadata();
    assert_eq!(
        shown(metadata.current_schema()),
        "4 more double, 1 part long!, 2 off long!, 3 note string"
    );
    let kept = metadata
        .snapshot_by_id(first.snapshot_id())
        .expect("it is kept");
    let then = kept.schema(&metadata).expect("its schema");
    assert_eq!(shown(&then), "1 part int!, 2 off long!, 3 text string");
    assert_eq!(
        metadata.current_snapshot().expect("a head").schema_id(),
        Some(metadata.current_schema_id())
    );
    let missed = Missed {
        pipeline: owner().pipeline,
        name: "test".to_owned(),
        columns: vec!["text".to_owned()],
    };
    let altered = alter(&world, &[drop("note")]).expect("it is possible");
    assert_eq!(altered.missed, Some(missed));
}

#[test]
fn a_change_is_made_once_whatever_becomes_of_its_reply() {
    for fault in [
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Resent,
        Fault::Overtaken,
        Fault::Raced,
    ] {
        let world = World::new();
        pipeline(&world).epoch([1, 1]);
        let mut alterer = over(&world, fault);
        let changes = [add("n", TypeKind::Int), rename("text", "note")];
        let answer = alterer.alter(&ident(TABLE), &changes);
        match (fault, answer) {
            // Nobody knows; whoever asked asks again.
            (Fault::RequestLost, Err(AlterError::Catalog(error))) => {
                assert_eq!(error.kind, crate::error::Kind::Unknown);
                alterer.alter(&ident(TABLE), &changes).expect("it arrives");
            }
            (_, answer) => assert!(answer.expect("it is possible").changed, "{fault:?}"),
        }
        let metadata = world.metadata();
        assert_eq!(
            shown(metadata.current_schema()),
            "1 part int!, 2 off long!, 3 note string, 4 n int",
            "{fault:?}"
        );
        assert_eq!(metadata.schemas_iter().len(), 2, "{fault:?}");
    }
}

/// Another engine is faster: the change is asked for anew, of the columns that there are then.
#[test]
fn columns_that_others_change_meanwhile_are_those_that_count() {
    for (theirs, expected) in [
        ("n", "the table has a column 'n' already"),
        (
            "m",
            "1 part int!, 2 off long!, 3 text string, 4 m string, 5 n int",
        ),
    ] {
        let world = World::new();
        pipeline(&world).epoch([1, 1]);
        let answer =
            over(&world, Fault::Widened(theirs)).alter(&ident(TABLE), &[add("n", TypeKind::Int)]);
        let told = match answer {
            Ok(_) => shown(world.metadata().current_schema()),
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected);
    }
}
