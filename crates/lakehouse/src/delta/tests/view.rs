//! A table as the audit sees it.

use super::super::action::Add;
use super::pipeline::{Process, World, columns, spec};
use crate::DeltaView;
use crate::error::Kind;
use crate::view::Footers;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lw_runtime::manifest::SplitOffset;
use serde_json::json;

fn open(world: &World) -> Result<DeltaView, crate::CatalogError> {
    let view = DeltaView::open(&world.files, &world.location(), &Footers::default());
    view.map(|view| view.expect("there is a table"))
}

#[test]
fn rows_come_back_with_the_columns_of_their_partition() {
    let world = World::new();
    let mut by_name = spec(&columns());
    by_name.partitioned_by = vec![1];
    let mut process = Process::open(&world, &by_name).expect("it opens");
    process.epoch([3, 2]);
    process.epoch([0, 1]);
    let view = open(&world).expect("it can be read");
    let (mut rows, mut in_runs) = (Vec::new(), 0);
    for file in &view.data_files {
        let runs = file.runs.iter().flat_map(|runs| runs.iter());
        in_runs += runs.map(|run| run.rows).sum::<u64>();
        for batch in view.batches(file).expect("it is there") {
            let batch = batch.expect("it can be read");
            let numbers = batch["n"].as_primitive::<Int64Type>();
            let names = batch["who"].as_string::<i32>();
            let both = numbers.iter().zip(names);
            rows.extend(both.map(|(n, who)| (n.expect("not NULL"), who.map(str::to_owned))));
        }
    }
    rows.sort();
    let name = |offset: i64| (offset % 3 > 0).then(|| format!("name {}", offset % 3));
    let mut expected: Vec<_> = (0..3)
        .flat_map(|offset| [0, 1].map(|split| (offset * 2 + split, name(offset))))
        .collect();
    expected.sort();
    assert_eq!(rows, expected);
    assert_eq!(in_runs, 6);
    let at = |offsets: Vec<SplitOffset>| {
        let at = offsets.iter();
        at.map(|at| (at.partition, at.next)).collect::<Vec<_>>()
    };
    assert_eq!(at(view.begins()), [(0, 0), (1, 0)]);
    assert_eq!(at(view.ends()), [(0, 3), (1, 3)]);
    let stints = view.stints();
    assert_eq!(stints.len(), 1);
    assert_eq!(stints[0].plan.as_deref(), Some("a"));
}

#[test]
fn rows_that_a_deletion_vector_hides_are_not_taken_for_rows() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([3, 2]);
    let log = world.log();
    let at = log.load().unwrap().unwrap();
    let adds = log.contents(at.version).unwrap().adds;
    let path = adds.keys().next().expect("a file");
    let hidden = json!({"add": {"path": path, "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": true,
        "deletionVector": {"storageType": "u", "pathOrInlineDv": "x", "sizeInBytes": 1, "cardinality": 1}}});
    let next = world.path(&format!("_delta_log/{:020}.json", at.version + 1));
    std::fs::write(next, hidden.to_string()).unwrap();
    let refused = open(&world).err().expect("it is refused");
    assert_eq!(refused.kind, Kind::Unsupported);
    assert!(refused.message.contains("deletion vector"), "{refused}");
}

#[test]
fn paths_are_those_of_uris() {
    let table = "file:///lake/events";
    let cases = [
        ("x.parquet", "file:///lake/events/x.parquet"),
        (
            "a=1%25/b%20c.parquet",
            "file:///lake/events/a=1%/b c.parquet",
        ),
        ("%C3%BC/%/%+4%4", "file:///lake/events/\u{fc}/%/%+4%4"),
        ("file:///other/x.parquet", "file:///other/x.parquet"),
        ("/other/x.parquet", "/other/x.parquet"),
    ];
    for (path, expected) in cases {
        let add = Add {
            path: path.to_owned(),
            ..Add::default()
        };
        assert_eq!(add.location(table), expected);
    }
}
