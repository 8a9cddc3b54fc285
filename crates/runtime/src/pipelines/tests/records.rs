//! Records as they are stored: those of older versions, those that cannot be read.

use super::super::*;
use super::world::*;

/// The id of the plan of a script of one `INSERT`.
fn plan_of_first(record: &Record) -> String {
    let insert = record.inserts().next().expect("it has one");
    insert.plan_id(&record.sql, &record.settings)
}

/// As after an upgrade that reads graphs of another shape: the script says what the pipeline is.
#[test]
fn a_record_whose_graph_alone_cannot_be_read_is_planned_again() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let submitted = submission(false);
    let pipelines = world.start();
    pipelines.submit(submitted.clone()).expect("it is taken");
    committed(&pipelines);
    let plan = plan_of_first(&pipelines.known("p").expect("it is there"));
    pipelines.drain();
    drop(pipelines);
    let stored = world.storage.get(Kv::Pipelines, b"p").expect("it is there");
    let mut stored: serde_json::Value = serde_json::from_slice(&stored).expect("JSON");
    stored["jobs"][0]["graph"] = serde_json::json!({ "vertices": [] });
    world.put(Kv::Pipelines, "p", stored.to_string().as_bytes());

    // Not while its script cannot be planned, and it says so.
    let restarted = world.start();
    assert_eq!(restarted.show("p").expect("it is there").state, "failed");
    let error = restarted
        .resume("p", None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("; its script cannot be planned any more: there is no table 'src'"),
        "{error}"
    );
    drop(restarted);

    // Nor when its script fills other tables now.
    let mut job = submitted.jobs[0].clone();
    job.inserts[0].query = Some(query_id("what it means"));
    job.inserts[0].table = "lake.other".into();
    let mut planned = PlannedScript {
        jobs: vec![job],
        settings: BTreeMap::new(),
    };
    let script = || world.script.planned.lock();
    script().insert(submitted.sql.clone(), planned.clone());
    let restarted = world.start();
    let error = restarted
        .resume("p", None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("; its script fills other tables now"),
        "{error}"
    );
    drop(restarted);

    planned.jobs[0].inserts[0].table = "lake.t".into();
    script().insert(submitted.sql.clone(), planned);
    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.t"]);
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 9)]);
    let record = restarted.known("p").expect("it can be read");
    assert_eq!(plan_of_first(&record), plan, "it is the plan that it was");
}

/// What the version before wrote: two `INSERT`s, each with a pending commit, known by their positions.
#[test]
fn pipelines_of_format_1_go_on_under_the_names_of_their_tables() {
    let world = World::new();
    let id = "958de919-4985-4453-89d0-ef1e78b325f6";
    world.put(Kv::Pipelines, "orders", include_bytes!("../v1/record.json"));
    for (index, manifest) in [
        include_bytes!("../v1/manifest-0.json").as_slice(),
        include_bytes!("../v1/manifest-1.json").as_slice(),
    ]
    .into_iter()
    .enumerate()
    {
        world.put(Kv::Manifests, &format!("{id}/{index}"), manifest);
    }
    carry_over(&world.storage);
    carry_over(&world.storage);
    let record = Record::load(&world.storage, "orders")
        .expect("it is there")
        .expect("it can be read");
    let tables: Vec<&str> = record
        .inserts()
        .map(|insert| insert.table.as_str())
        .collect();
    assert_eq!(tables, ["lake.twos", "lake.ones"]);
    let keys: Vec<String> = world
        .storage
        .scan(Kv::Manifests, b"")
        .iter()
        .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
        .collect();
    assert_eq!(
        keys,
        [format!("{id}/0/lake.ones"), format!("{id}/0/lake.twos")]
    );
    for (index, table) in tables.iter().enumerate() {
        let key = record.jobs[index].manifest_key(record.id);
        let manifest = world.manifest(&key).expect("it moved");
        assert_eq!(manifest.position()[0], at(3));
        assert_eq!(
            (manifest.format, manifest.ends()),
            (crate::manifest::FORMAT, None)
        );
        assert_eq!(manifest.sinks[*table].chain.chain.len(), 1);
        let insert = &record.jobs[index].inserts[0];
        let plan = insert.plan_id(&record.sql, &record.settings);
        let kept = record.plans.iter().find(|text| text.ids.contains(&plan));
        assert_eq!(kept.map(|text| &text.sql), Some(&record.sql));
    }
}

#[test]
fn a_record_that_cannot_be_read_keeps_its_name_and_says_why() {
    let world = World::new();
    let text =
        r#"{"format":9,"id":"958de919-4985-4453-89d0-ef1e78b325f6","jobs":[{"table":"lake.t"}]}"#;
    world.put(Kv::Pipelines, "newer", text.as_bytes());
    let pipelines = world.start();
    let view = &pipelines.list()[0];
    assert_eq!(
        (view.name.as_str(), view.state.as_str()),
        ("newer", "failed")
    );
    let named = Submission {
        name: "newer".into(),
        replace: true,
        ..submission(false)
    };
    for refused in [
        pipelines.submit(named).map(drop),
        pipelines.stop("newer"),
        pipelines.resume("newer", None),
    ] {
        assert_eq!(
            refused.expect_err("refused").to_string(),
            "pipeline 'newer' cannot be read: its record has format 9; this version reads formats 1 to 4"
        );
    }
    // Its table is not given away either.
    let error = pipelines
        .submit(inserting("other", table()))
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "table 'lake.t' is written by pipeline 'newer'"
    );
    pipelines
        .drop_pipeline("newer")
        .expect("it is the user's word");
    assert!(pipelines.list().is_empty());
}

/// As the version before left it: four `INSERT`s of one statement set over one scan, each a job of its own, two of them into the
/// same `print`.
#[test]
fn pipelines_of_format_2_keep_their_jobs_manifests_and_plans() {
    let world = World::new();
    world.put(Kv::Pipelines, "orders", include_bytes!("../v2/record.json"));
    let plans = |value: &serde_json::Value| {
        let plans = value["plans"][0]["ids"].as_array().expect("a list").iter();
        let plans = plans.map(|id| id.as_str().expect("text").to_string());
        plans.collect::<Vec<String>>()
    };
    let before = serde_json::from_slice(include_bytes!("../v2/record.json")).expect("JSON");
    carry_over(&world.storage);
    carry_over(&world.storage);
    let record = Record::load(&world.storage, "orders");
    let record = record.expect("it is there").expect("it can be read");
    assert_eq!((record.format, record.jobs.len()), (3, 4));
    let keys = record.jobs.iter().map(|job| job.manifest_key(record.id));
    let keys: Vec<String> = keys.collect();
    let key = |name: &str| format!("{}/{name}", record.id);
    assert_eq!(
        keys,
        [
            "0/default_database.p",
            "0/lake.a",
            "0/lake.b",
            "1/default_database.p"
        ]
        .map(key)
    );
    let ids = record.inserts();
    let ids: Vec<String> = ids
        .map(|insert| insert.plan_id(&record.sql, &record.settings))
        .collect();
    assert_eq!(
        ids,
        plans(&before),
        "commits name the plans that they named"
    );
}

/// The jobs cannot be read any more, and the script's are others by now: its `INSERT`s share a scan.
#[test]
fn a_record_of_format_2_that_is_planned_again_finds_its_inserts_in_other_jobs() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    let submitted = inserts(&["lake.a", "lake.b"]);
    pipelines.submit(submitted.clone()).expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines.drain();
    drop(pipelines);
    let stored = world.storage.get(Kv::Pipelines, b"p").expect("it is there");
    let mut stored: serde_json::Value = serde_json::from_slice(&stored).expect("JSON");
    stored["format"] = 2.into();
    for job in stored["jobs"].as_array_mut().expect("a list") {
        let mut before = job["inserts"][0].take();
        before["graph"] = serde_json::json!({ "vertices": [] });
        *job = before;
    }
    world.put(Kv::Pipelines, "p", stored.to_string().as_bytes());
    let planned = PlannedScript {
        jobs: sets(&[&["lake.b", "lake.a"]]).jobs,
        settings: BTreeMap::new(),
    };
    world.script.planned.lock().insert(submitted.sql, planned);
    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.a", "lake.b"]);
    restarted.stop("p").expect("it ends");
    for table in ["lake.a", "lake.b"] {
        assert_eq!(world.script.tables.lock()[table], [(0, 5), (5, 9)]);
    }
    assert_eq!(restarted.known("p").expect("it is there").jobs.len(), 1);
}
