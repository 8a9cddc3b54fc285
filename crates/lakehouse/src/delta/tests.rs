//! A pipeline over a Delta table, with others writing to it, processes that die and disks that fail. That real readers agree is
//! for `tests/e2e/test_delta.py` to say.

mod checkpoints;
mod faults;
mod pipeline;
mod protocol;
mod view;

use self::pipeline::{NAME, Process, World, columns, spec};
use super::action::{self, Action};
use super::log::{DeltaLog, Snapshot};
use super::schema;
use lw_graph::{Field, Schema, TypeKind};
use lw_runtime::connector::{CommitOutcome, Committer, ErrorKind, Sink};
use serde_json::{Value, json};

/// A version of somebody else's.
fn foreign(log: &DeltaLog, actions: Vec<Value>) -> Snapshot {
    let at = log.load().expect("it can be read").expect("it is there");
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    let actions = action::read(lines.join("\n").as_bytes(), "a test").expect("good actions");
    let put = log.put(Some(&at), actions).expect("the disk is well");
    put.expect("nobody else writes")
}

fn changed(at: &Snapshot, change: impl Fn(&mut Vec<schema::Column>)) -> Value {
    let mut columns = schema::read(&at.metadata.schema_string).expect("it can be read");
    change(&mut columns);
    let mut metadata = at.metadata.clone();
    metadata.schema_string = schema::write(&columns);
    serde_json::to_value(Action::MetaData(metadata)).expect("plain data")
}

fn paused(outcome: CommitOutcome) -> String {
    match outcome {
        CommitOutcome::Paused(pause) => pause.reason,
        CommitOutcome::Confirmed { .. } => panic!("it was committed"),
    }
}

#[test]
fn a_log_says_who_committed_what_up_to_where() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([2, 1]);
    process.epoch([0, 3]);
    let lines = |version: i64| {
        let path = world.path(&format!("_delta_log/{version:020}.json"));
        let text = std::fs::read_to_string(path).expect("it is there");
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            if let Some(add) = line.get_mut("add") {
                // What the Parquet writer makes of it, and where its name ends, is not ours to say.
                add["size"] = Value::from("…");
                add["path"] = Value::from("…");
            }
            if let Some(info) = line.get_mut("commitInfo") {
                info["engineInfo"] = Value::from("…");
                if let Some(metrics) = info.get_mut("operationMetrics") {
                    metrics["numOutputBytes"] = Value::from("…");
                }
            }
            lines.push(line.to_string());
        }
        lines.join("\n") + "\n"
    };
    expect_test::expect_file!["tests/log.txt"]
        .assert_eq(&[lines(0), lines(1), lines(2)].join("\n"));
}

/// What a table remembers for good: where it begins and ends, and which plan made what.
#[test]
fn a_table_remembers_which_plan_made_what() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.read = [5, 3];
    process.epoch([2, 0]);
    process.plan = "b".to_owned();
    process.read_and_seal([1, 1]);
    process.plan = "a".to_owned();
    process.epoch([0, 2]);
    let at = world.log().load().unwrap().unwrap();
    let mut said = String::new();
    for (id, txn) in &at.txns {
        let of_splits = ["begin", "end", "plan"].iter();
        let mut prefixes = of_splits.map(|kind| format!("lakeward/{kind}/"));
        if prefixes.any(|prefix| id.starts_with(&prefix)) {
            said += &format!("{id} {}\n", txn.version);
        }
    }
    expect_test::expect![[r#"
        lakeward/begin/0/t 5
        lakeward/begin/1/t 3
        lakeward/end/0/t 8
        lakeward/end/1/t 6
        lakeward/plan/0/00000000-0000-0000-0000-000000000007/a/0/t 5
        lakeward/plan/1/00000000-0000-0000-0000-000000000007/b/0/t 7
        lakeward/plan/1/00000000-0000-0000-0000-000000000007/b/1/t 3
        lakeward/plan/2/00000000-0000-0000-0000-000000000007/a/1/t 4
    "#]]
    .assert_eq(&said);
    let plans = process.committer.standing(NAME).unwrap().unwrap().plans;
    assert_eq!(plans.into_iter().collect::<String>(), "ab");
}

#[test]
fn staged_files_of_either_kind_say_where_they_are() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.read_and_seal([1, 0]);
    let staged = &process.chain.chain[0].files[0];
    let ours = crate::staged::path(staged).expect("of a Delta table");
    assert!(world.path(ours).exists());
    let theirs = json!({"path": "file:///lake/x.parquet", "rows": 1});
    assert_eq!(
        crate::staged::path(&theirs).expect("of an Iceberg table"),
        "file:///lake/x.parquet"
    );
    crate::staged::path(&json!({"add": {}})).expect_err("of neither");
}

#[test]
fn a_commit_whose_reply_was_lost_is_known_again() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.read_and_seal([2, 1]);
    let chain = process.chain.clone();
    process.commit().expect("it is committed");
    let version = world.log().load().unwrap().unwrap().version;
    let mut next = Process::open(&world, &spec(&columns())).expect("it opens");
    next.chain = chain;
    next.commit().expect("it is there already");
    assert_eq!(world.log().load().unwrap().unwrap().version, version);
    assert_eq!(world.rows(), 3);
}

#[test]
fn what_others_append_and_remove_conflicts_with_nothing() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([2, 1]);
    let log = world.log();
    let at = log.load().unwrap().unwrap();
    let ours = log.contents(at.version).unwrap().adds;
    let ours = ours.keys().next().expect("a file").clone();
    foreign(
        &log,
        vec![
            json!({"add": {"path": "theirs.parquet", "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": true, "baseRowId": null}}),
            json!({"cdc": {"path": "passed over"}}),
        ],
    );
    foreign(
        &log,
        vec![json!({"remove": {"path": ours, "deletionTimestamp": 1, "dataChange": true}})],
    );
    process.epoch([1, 1]);
    let contents = log.contents(at.version + 3).unwrap();
    assert_eq!(contents.adds.len(), 2, "theirs, and our second");
    assert_eq!(contents.removes.len(), 1);
}

#[test]
fn a_table_that_others_changed_is_not_written_to_by_yesterdays_columns() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 1]);
    let log = world.log();

    // A column that may be NULL: the files have no value of it.
    process.read_and_seal([1, 0]);
    let at = log.load().unwrap().unwrap();
    let text = json!({"name": "more", "type": "string", "nullable": true, "metadata": {}});
    let add = |columns: &mut Vec<schema::Column>| {
        columns.push(serde_json::from_value(text.clone()).expect("a column"));
    };
    foreign(&log, vec![changed(&at, add)]);
    process.commit().expect("it still fits");

    // Another type: what is written does not fit.
    process.read_and_seal([1, 0]);
    let at = log.load().unwrap().unwrap();
    foreign(
        &log,
        vec![changed(&at, |columns| {
            columns[0].ty = schema::Type::Primitive("string".to_owned());
        })],
    );
    let reason = paused(process.try_commit().expect("it is asked"));
    assert!(
        reason.starts_with("a data file does not fit the table any more"),
        "{reason}"
    );
    let pending = process.chain.chain.clone();
    assert!(!process.committer.can_commit(NAME, &pending).unwrap());
    let refused = Process::open(&world, &spec(&columns())).err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Fix);
    expect_test::expect![
        "the Delta table /lake/events does not fit the sink: column n is string in the table and long in the sink."
    ]
    .assert_eq(&format!("{}: {}", refused.message, refused.detail));

    // Put back, it goes on.
    foreign(&log, vec![changed(&at, |_| {})]);
    process.commit().expect("it fits again");

    process.read_and_seal([1, 0]);
    let features = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"], "writerFeatures": ["v2Checkpoint"]}});
    foreign(&log, vec![features]);
    expect_test::expect![
        "the table cannot be written any more: it has the feature v2Checkpoint, which this version does not write"
    ]
    .assert_eq(&paused(process.try_commit().expect("it is asked")));
    assert_eq!(world.rows(), 4);
}

#[test]
fn columns_are_added_only_where_the_script_says_so() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 1]);
    let mut wider = columns();
    wider.fields.push(Field::new(
        "late",
        TypeKind::Decimal {
            precision: 9,
            scale: 2,
        }
        .not_null(),
    ));
    let refused = Process::open(&world, &spec(&wider)).err().unwrap();
    expect_test::expect![
        "the table has no column late (decimal(9,2)). 'mergeSchema' = 'true' adds columns that the table does not have."
    ]
    .assert_eq(&format!("{} {}", refused.detail, refused.hint));
    let merging = lw_graph::DeltaSink {
        merge_schema: true,
        ..spec(&wider)
    };
    Process::open(&world, &merging).expect("it is added");
    let at = world.log().load().unwrap().unwrap();
    let columns = schema::read(&at.metadata.schema_string).unwrap();
    let last = columns.last().unwrap();
    assert!(
        last.name == "late" && last.nullable,
        "rows that are there have no value"
    );
    // Nothing is added twice.
    Process::open(&world, &merging).expect("it fits");
    assert_eq!(world.log().load().unwrap().unwrap().version, at.version);
}

#[test]
fn a_pipeline_pauses_over_anothers_table_and_over_one_that_was_made_again() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 1]);
    let other = World {
        pipeline: 8,
        ..world.clone()
    };
    let mut stranger = Process::open(&other, &spec(&columns())).expect("it opens");
    stranger.read_and_seal([1, 1]);
    expect_test::expect![
        "the table belongs to another pipeline (00000000-0000-0000-0000-000000000007)"
    ]
    .assert_eq(&paused(stranger.try_commit().unwrap()));
    let standing = stranger.committer.standing(NAME).unwrap().unwrap();
    let marker = standing.marker.expect("the table says who wrote it");
    assert_eq!(marker.sequence, 1);
    assert!(standing.on_branch && standing.complete);

    process.read_and_seal([1, 1]);
    std::fs::remove_dir_all(world.path("")).expect("it goes");
    assert_eq!(
        paused(process.try_commit().unwrap()),
        "the table was dropped"
    );
    process.sink.write(process.rows([1, 0])).unwrap();
    process.sink.seal().expect("the sink makes it again");
    expect_test::expect![
        "the table does not know this pipeline's last commit: it was dropped and created again, or replaced"
    ]
    .assert_eq(&paused(process.try_commit().unwrap()));
    let standing = process.committer.standing(NAME).unwrap().unwrap();
    assert_eq!(standing.marker, None);
}

#[test]
fn files_of_a_checkpoint_that_was_not_made_go_and_no_others() {
    let world = World::new();
    let mut by_name = spec(&columns());
    by_name.partitioned_by = vec![1];
    by_name.schema.fields[1].name = "_who".into();
    let mut process = Process::open(&world, &by_name).expect("it opens");
    let mut manifest = process.manifest(1);
    process.sink.begin(&manifest).unwrap();
    process.epoch([2, 2]);
    let kept = world.data_files();
    process.sink.write(process.rows([2, 2])).unwrap();
    process.sink.seal().expect("sealed, and in no manifest");
    std::fs::write(world.path("theirs.parquet"), "x").unwrap();
    let unfinished = |version: u8| {
        world.path(&format!(
            "_delta_log/.{version:020}.json.{}.part",
            uuid::Uuid::nil()
        ))
    };
    std::fs::write(unfinished(1), "x").unwrap();
    std::fs::write(unfinished(9), "x").unwrap();
    assert!(world.data_files().len() > kept.len() + 1);
    let chain = process.chain.clone();
    let mut next = Process::open(&world, &by_name).expect("it opens");
    next.chain = chain;
    manifest = next.manifest(2);
    manifest.checkpoint_id = 1;
    next.sink.begin(&manifest).unwrap();
    let mut left = world.data_files();
    left.retain(|name| !name.ends_with("theirs.parquet"));
    assert_eq!(left, kept);
    assert!(world.path("theirs.parquet").exists());
    assert!(
        !unfinished(1).exists() && unfinished(9).exists(),
        "somebody may be writing version 9"
    );
}

#[test]
fn types_are_flinks_connectors_or_refused() {
    let decimal = TypeKind::Decimal {
        precision: 10,
        scale: 2,
    };
    let row = TypeKind::Row(vec![Field::new("x", TypeKind::Int.nullable())]);
    let map = TypeKind::Map(
        Box::new(TypeKind::string().not_null()),
        Box::new(TypeKind::Double.nullable()),
    );
    let kinds = [
        TypeKind::Boolean,
        TypeKind::TinyInt,
        TypeKind::SmallInt,
        TypeKind::Int,
        TypeKind::BigInt,
        TypeKind::Float,
        TypeKind::Double,
        decimal,
        TypeKind::Varchar(7),
        TypeKind::Binary(3),
        TypeKind::Date,
        TypeKind::Timestamp(3),
        TypeKind::TimestampLtz(6),
        TypeKind::Array(Box::new(row.nullable())),
        map,
        TypeKind::Time(0),
        TypeKind::Timestamp(9),
    ];
    let shown = kinds.map(|kind| {
        let schema = Schema::new(vec![Field::new("c", kind.clone().nullable())]);
        let columns = match schema::of(&schema) {
            Ok(columns) => columns,
            Err(error) => return format!("{kind}: {error}"),
        };
        let arrow = schema::to_arrow(&columns).expect("each has an Arrow type");
        let again = schema::read(&schema::write(&columns)).expect("it is read again");
        assert_eq!(again, columns);
        let arrow = arrow.field(0).data_type();
        format!("{kind}: {} ({arrow})", columns[0].ty)
    });
    expect_test::expect_file!["tests/types.txt"].assert_eq(&(shown.join("\n") + "\n"));
    let spaced = Schema::new(vec![Field::new("a b", TypeKind::Int.nullable())]);
    expect_test::expect![
        "a column of a Delta table cannot be called 'a b': no spaces, none of , ; { } ( ) ="
    ]
    .assert_eq(&schema::of(&spaced).unwrap_err().to_string());
}
