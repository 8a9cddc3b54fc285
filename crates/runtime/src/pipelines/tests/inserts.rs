//! What becomes of `INSERT`s when scripts change: in which jobs they are, where each goes on.

use super::super::*;
use super::world::*;
use crate::manifest::Manifest;
use crate::store::ManifestStore;
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_storage::{Config, Storage};

#[test]
fn inserts_that_change_places_keep_their_offsets() {
    let (world, pipelines) = running(&["lake.a"]);
    *world.script.log_end.lock() = 9;
    let swapped = pipelines.submit(inserts(&["lake.b", "lake.a"]));
    assert_eq!(swapped.expect("it is taken"), Submitted::Replaced);
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    *world.script.log_end.lock() = 12;
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines.stop("p").expect("it ends");
    assert_whole(&world);
}

/// A manifest of two sinks, as a version with statement sets leaves it: each goes on where it is, in a manifest of its own.
#[test]
fn inserts_part_in_one_frame_and_go_on_where_each_of_them_was() {
    let (world, pipelines) = running(&["lake.a", "lake.b"]);
    pipelines.drain();
    let record = pipelines.known("p").expect("it is there");
    drop(pipelines);
    let stored = |index: usize| world.manifest(&record.jobs[index].manifest_key(record.id));
    let mut both = stored(0).expect("it is there");
    let mut b = stored(1).expect("it is there");
    both.sinks.append(&mut b.sinks);
    world.put_manifest(&record.jobs[0].manifest_key(record.id), &both);
    let op = Op::Put {
        table: Kv::Manifests,
        key: record.jobs[1].manifest_key(record.id).into(),
        value: None,
        expect: Expect::Any,
    };
    world.storage.commit_blocking(vec![op]).expect("durable");

    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.a", "lake.b"]);
    restarted.stop("p").expect("it ends");
    for (index, table) in ["lake.a", "lake.b"].into_iter().enumerate() {
        assert_eq!(world.script.tables.lock()[table], [(0, 5), (5, 9)]);
        let manifest = stored(index).expect("it has one of its own");
        assert_eq!(manifest.sinks.keys().collect::<Vec<_>>(), [table]);
    }
    let all = restarted.manifests_of(record.id).expect("they can be read");
    assert_eq!(all.len(), 2);
    world.put(Kv::Manifests, &format!("{}/9/lake.c", record.id), b"?");
    assert_eq!(restarted.manifests_of(record.id), None);
}

/// The power goes at every step of the frame that lets two `INSERT`s part.
#[test]
fn a_kill_while_inserts_part_leaves_all_as_it_was_or_as_it_is_to_be() {
    let both = inserts(&["lake.a", "lake.b"]);
    let record = Record {
        format: FORMAT,
        id: Uuid::from_u128(1),
        name: both.name,
        sql: both.sql,
        jobs: both.jobs,
        settings: BTreeMap::new(),
        desired: Desired::Stopped,
        created_ms: 0,
        plans: Vec::new(),
        replay: None,
    };
    let keys = [0, 1].map(|index| record.jobs[index].manifest_key(record.id));
    let mut together = Manifest::new(record.id);
    together.stand_at("lake.a", &[at(5)]);
    together.stand_at("lake.b", &[at(9)]);
    let sinks = |storage: &Storage| {
        keys.clone().map(|key| {
            let bytes = storage.get(Kv::Manifests, key.as_bytes());
            let manifest = bytes.map(|b| Manifest::read(&b, &key).expect("it can be read"));
            manifest.map_or(0, |manifest| manifest.sinks.len())
        })
    };
    let (mut kills, mut seen) = (0, BTreeSet::new());
    for after in 1.. {
        let clock = Arc::new(SimClock::new());
        let disk = SimDisk::new(7, clock.clone());
        let open = || {
            let (disk, config) = (Arc::new(disk.clone()), Config::new("/data"));
            Storage::open_stepped(disk, clock.clone(), config).expect("it opens")
        };
        let storage = open();
        let mut store = ManifestStore::open(storage.clone(), &keys[0]);
        store.save(&together).expect("durable");
        disk.cause(Trouble::PowerOff { after });
        let done = arrange::carry_out(&storage, &record);
        if !disk.is_off() {
            done.expect("nothing was in its way");
            seen.insert(sinks(&storage));
            break;
        }
        kills += 1;
        drop((storage, store));
        disk.crash();
        let storage = open();
        let left = sinks(&storage);
        assert!([[2, 0], [1, 1]].contains(&left), "{left:?}");
        seen.insert(left);
        arrange::carry_out(&storage, &record).expect("the next start does it");
        assert_eq!(sinks(&storage), [1, 1]);
    }
    assert!(kills >= 3, "only {kills} places to be killed at");
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_job_that_may_have_begun_elsewhere_does_not_begin_again() {
    let (world, pipelines) = running(&["lake.a"]);
    let id = pipelines.known("p").expect("it is there").id;
    // Left by a newer version, for an INSERT that is in the script no more.
    let newer = br#"{"format":9,"sinks":{"lake.b":{}}}"#;
    world.put(Kv::Manifests, &format!("{id}/0/lake.c"), newer);
    let refused = pipelines.submit(inserts(&["lake.a", "lake.b"]));
    let refused = refused.expect_err("lake.b may be in it");
    assert_eq!(
        refused.to_string(),
        "where lake.b stands may be in a checkpoint that cannot be read: the manifest has format 9; this version reads formats 1 to 6"
    );
    assert!(refused.hint().starts_with("Start the version"));
    *world.script.log_end.lock() = 9;
    in_step(&world, &["lake.a"]);
}

#[test]
fn an_insert_that_is_in_the_script_no_more_holds_nothing() {
    let (world, pipelines) = running(&["lake.a", "lake.b"]);
    let id = pipelines.show("p").expect("it is there").id;
    let held = |table: &str| world.storage.held(&crate::job::manifest_key(id, table, 0));
    assert!(held("lake.a").is_some() && held("lake.b").is_some());
    pipelines.submit(inserts(&["lake.a"])).expect("it is taken");
    assert!(held("lake.a").is_some());
    assert_eq!(held("lake.b"), None);
    pipelines.drain();
    drop(pipelines);
    world
        .storage
        .release(&crate::job::manifest_key(id, "lake.a", 0));
    let restarted = world.start();
    assert!(held("lake.a").is_some());
    assert_eq!(held("lake.b"), None, "nor after a start");
    // It comes back, and goes on where it was.
    *world.script.log_end.lock() = 9;
    restarted
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    assert!(held("lake.b").is_some());
    assert_eq!(world.script.tables.lock()["lake.b"], [(0, 5), (5, 9)]);
}

/// The id of the plan that fills a table.
fn plan_of(record: &Record, table: &str) -> String {
    let insert = record.inserts().find(|insert| insert.table == table);
    let insert = insert.expect("it is in the script");
    insert.plan_id(&record.sql, &record.settings)
}

#[test]
fn a_plan_is_named_by_what_its_query_means() {
    let world = World::new();
    let pipelines = world.start();
    let first = inserts(&["lake.a", "lake.b"]);
    pipelines.submit(first.clone()).expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    let (a, b) = (plan_of(&record, "lake.a"), plan_of(&record, "lake.b"));
    // The script grows and turns round; then one of its queries changes.
    pipelines
        .submit(inserts(&["lake.c", "lake.b", "lake.a"]))
        .expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    assert_eq!(
        (plan_of(&record, "lake.a"), plan_of(&record, "lake.b")),
        (a.clone(), b.clone())
    );
    let mut changed = inserts(&["lake.a"]);
    changed.jobs[0].inserts[0].query = Some(query_id("another"));
    pipelines.submit(changed).expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    assert_ne!(plan_of(&record, "lake.a"), a);
    // An audit of the old ranges gets the old jobs, from the script that made them.
    let planned = PlannedScript {
        jobs: first.jobs.clone(),
        settings: BTreeMap::new(),
    };
    world
        .script
        .planned
        .lock()
        .insert(first.sql.clone(), planned);
    assert_eq!(
        pipelines.graph_of_plan(record.id, &b),
        Ok(first.jobs[1].graph.clone())
    );
    assert_eq!(
        pipelines.graph_of_plan(record.id, &plan_of(&record, "lake.a")),
        Ok(record.jobs[0].graph.clone())
    );
    assert_eq!(
        pipelines.graph_of_plan(record.id, "0"),
        Err("its script is not kept any more".to_string())
    );
}

#[test]
fn how_many_shards_share_the_work_makes_no_other_plan() {
    let insert = &inserts(&["lake.a"]).jobs[0].inserts[0];
    let id = |settings: &[(&str, &str)]| {
        let settings = settings.iter();
        let settings = settings.map(|(key, value)| (key.to_string(), value.to_string()));
        insert.plan_id("sql", &settings.collect())
    };
    let one = id(&[("parallelism.default", "1")]);
    assert_eq!(one, id(&[("parallelism.default", "2")]));
    assert_eq!(one, id(&[]));
    assert_ne!(one, id(&[("table.local-time-zone", "UTC")]));
    // Commits of a version that took it in name what they named.
    let before: BTreeMap<_, _> = [("parallelism.default".to_string(), "2".to_string())].into();
    let named = plan::plan_id(&query_id("lake.a"), "lake.a", 0, &before);
    assert!(named != one && insert.is_plan(&named, "sql", &before));
}

/// Every table has all offsets once.
fn assert_whole(world: &World) {
    for (table, commits) in &*world.script.tables.lock() {
        let mut at = 0;
        for (from, to) in commits {
            assert_eq!(*from, at, "{table}: {commits:?}");
            at = *to;
        }
        assert_eq!(at, *world.script.log_end.lock(), "{table}: {commits:?}");
    }
}

#[test]
fn inserts_of_one_scan_are_one_job_with_one_manifest() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines
        .submit(sets(&[&["lake.a", "lake.b"]]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    let view = wait(&pipelines, "shown by sink", |view| {
        let sinks = view.jobs.iter().flat_map(|job| &job.sinks);
        sinks.filter(|sink| sink.commits > 0).count() == 2
    });
    assert_eq!(view.jobs.len(), 1);
    assert_eq!(view.jobs[0].tables(), "lake.a, lake.b");
    assert_eq!(*world.script.opened.lock(), 1, "one reading for both");
    pipelines.stop("p").expect("it ends");
    let manifest = pipelines.manifest("p", 0).expect("it can be read");
    let manifest = manifest.expect("it is there");
    let sinks: Vec<&String> = manifest.sinks.keys().collect();
    assert_eq!(sinks, ["lake.a", "lake.b"]);
    assert_whole(&world);
    // Each by itself, for whoever looks at its table.
    for table in ["lake.a", "lake.b"] {
        let writer = pipelines.writer_of(table).expect("it is written");
        assert_eq!(writer.graph.sinks().count(), 1);
        assert!(
            matches!(writer.sink(), Some(lw_graph::SinkSpec::Print { identifier }) if identifier == table)
        );
        let record = pipelines.known("p").expect("it is there");
        let graph = pipelines.graph_of_plan(record.id, &plan_of(&record, table));
        assert_eq!(graph, Ok(writer.graph));
    }
}

#[test]
fn a_sink_that_joins_a_running_set_begins_where_its_table_says() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(sets(&[&["lake.a"]])).expect("it is taken");
    in_step(&world, &["lake.a"]);
    *world.script.log_end.lock() = 9;
    pipelines
        .submit(sets(&[&["lake.a", "lake.b"]]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines.stop("p").expect("it ends");
    assert_whole(&world);
    // It is in the manifest of the first one, which is the job's.
    let manifest = pipelines.manifest("p", 0).expect("it can be read");
    assert_eq!(manifest.expect("it is there").sinks.len(), 2);
}

#[test]
fn inserts_go_in_and_out_of_a_shared_scan_and_lose_nothing() {
    let world = World::new();
    let pipelines = world.start();
    let shapes: [&[&[&str]]; 6] = [
        &[&["lake.a"], &["lake.b"]],
        &[&["lake.b", "lake.a"]],
        &[&["lake.a"], &["lake.c", "lake.b"]],
        &[&["lake.c", "lake.a"], &["lake.b"]],
        &[&["lake.a", "lake.b", "lake.c"]],
        &[&["lake.c"], &["lake.b"], &["lake.a"]],
    ];
    for (n, shape) in (1..).zip(shapes) {
        *world.script.log_end.lock() = 4 * n;
        pipelines.submit(sets(shape)).expect("it is taken");
        in_step(&world, &shape.concat());
    }
    pipelines.stop("p").expect("it ends");
    assert_whole(&world);
}
