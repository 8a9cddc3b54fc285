//! What manifests of this and of older formats say, and which are refused.

use super::*;

fn at(topic: &str, partition: i32, next: i64) -> SplitOffset {
    split_offset(topic, partition, next)
}

fn refused(bytes: &[u8]) -> String {
    let read = Manifest::read(bytes, "p/0/t");
    read.expect_err("it is refused").to_string()
}

/// A manifest whose sinks stand at these offsets of one partition.
fn standing(sinks: &[(&str, i64)]) -> Manifest {
    let mut manifest = Manifest::new(Uuid::nil());
    for (sink, next) in sinks {
        manifest.stand_at(sink, &[at("in", 0, *next)]);
    }
    manifest
}

#[test]
fn a_newer_format_is_refused_and_not_half_understood() {
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.format = FORMAT + 1;
    let bytes = serde_json::to_vec(&manifest).expect("plain data");
    assert_eq!(
        refused(&bytes),
        "the manifest has format 7; this version reads formats 1 to 6"
    );
}

#[test]
fn state_that_another_version_placed_otherwise_is_refused() {
    let manifest = Manifest::new(Uuid::nil());
    let mut value = serde_json::to_value(&manifest).expect("plain data");
    let said =
        "the manifest holds the state of operators in a form that this version cannot restore";
    value["state"] = serde_json::json!({ "window": {} });
    value["format"] = 3.into();
    assert_eq!(refused(value.to_string().as_bytes()), said);
    let state = State {
        groups: 256,
        ..State::new(Vec::new(), BTreeSet::new(), BTreeMap::new())
    };
    value["state"] = serde_json::to_value(&state).expect("plain data");
    value["format"] = FORMAT.into();
    assert_eq!(refused(value.to_string().as_bytes()), said);
    // Nor is anything else passed over that means something to the version that wrote it.
    let mut value = serde_json::to_value(&manifest).expect("plain data");
    value["key_encoding"] = 1.into();
    let error = refused(value.to_string().as_bytes());
    assert!(error.contains("unknown field `key_encoding`"), "{error}");
}

#[test]
#[should_panic(expected = "M1")]
fn a_chain_with_a_hole_is_not_gone_on_from() {
    let mut manifest = Manifest::new(Uuid::nil());
    let pending = |uuid| Pending {
        uuid: Uuid::from_u128(uuid),
        previous: None,
        ..Pending::default()
    };
    let chain = TableChain {
        last: None,
        chain: vec![pending(1), pending(2)],
    };
    let sink = SinkState {
        chain,
        ..SinkState::default()
    };
    manifest.sinks.insert("t".to_string(), sink);
    manifest.check();
}

#[test]
#[should_panic(expected = "M3: a sink stands where its chain ends, t at in[0]@5")]
fn offsets_that_no_commit_accounts_for_do_not_become_durable() {
    let mut manifest = standing(&[("t", 7)]);
    let sink = manifest.sinks.get_mut("t").expect("it stands there");
    sink.chain.last = Some(Confirmed {
        uuid: Uuid::nil(),
        sequence: 1,
        ends: vec![at("in", 0, 5)],
    });
    manifest.check();
}

#[test]
fn a_job_stands_at_the_least_that_its_sinks_have() {
    let mut manifest = standing(&[("a", 30), ("b", 30)]);
    assert_eq!(manifest.position(), [at("in", 0, 30)]);
    // One is rewound; the other keeps what it has.
    manifest.stand_at("a", &[at("in", 0, 10)]);
    assert_eq!(manifest.position(), [at("in", 0, 10)]);
    let b = manifest.sinks["b"].split("in", 0).expect("it is read");
    assert_eq!(b.written_until, 30);
}

/// State of the rows below offset 30, for the sink `t`.
fn with_state(sinks: &[(&str, i64)]) -> Manifest {
    let mut manifest = standing(sinks);
    let operator = OperatorState {
        watermark: Some(7),
        ..OperatorState::default()
    };
    manifest.state = Some(State::new(
        vec![at("in", 0, 30)],
        BTreeSet::from(["t".to_string()]),
        BTreeMap::from([(OperatorUid::of("window"), operator)]),
    ));
    manifest
}

#[test]
fn state_outlives_its_process() {
    // A sink that state has no part in may have more.
    let manifest = with_state(&[("t", 30), ("u", 50)]);
    manifest.check();
    let bytes = serde_json::to_vec(&manifest).expect("plain data");
    assert_eq!(Manifest::read(&bytes, "k"), Ok(manifest));
}

#[test]
fn state_of_other_offsets_than_its_sinks_does_not_become_durable() {
    let broken = "M4: state is of the position of its sinks, and it is of in[0]@30";
    for sinks in [
        vec![("t", 20)],
        vec![("t", 40)],
        vec![("t", 40), ("u", 30)],
        vec![("t", 30), ("u", 20)],
    ] {
        let manifest = with_state(&sinks);
        assert_eq!(manifest.broken().as_deref(), Some(broken), "{sinks:?}");
    }
}

#[test]
fn a_partition_that_is_read_again_is_not_a_new_one() {
    let mut manifest = standing(&[("t", 30)]);
    manifest.opened(BTreeMap::new(), &[at("other", 0, 0)], None, |_, _| true);
    assert_eq!(manifest.position(), [at("other", 0, 0)]);
    assert_eq!(manifest.known(), [at("other", 0, 0), at("in", 0, 30)]);
}

#[test]
fn a_place_is_forgotten_when_reading_goes_back() {
    let mut manifest = standing(&[("t", 30)]);
    manifest.place = Some(Place::of(12));
    manifest.opened(BTreeMap::new(), &[at("in", 0, 30)], None, |_, _| true);
    assert_eq!(manifest.place, Some(Place::of(12)), "it goes on there");
    let more = [at("in", 0, 30), at("in", 1, 0)];
    manifest.opened(BTreeMap::new(), &more, None, |_, _| true);
    assert_eq!(manifest.place, None, "what is new may lie before it");
}

/// Written by the version before: `table` at a bounded read's second checkpoint, with a commit pending in the table and in its
/// dead letters; `printed` beside it, by a `print` sink; `new` before anything was read.
fn before(name: &str) -> Manifest {
    let key = "0a005d0b-2991-45cd-a9b7-4bb097503595/0/";
    let (bytes, table) = match name {
        "table" => (include_bytes!("v2/table.json").as_slice(), "lake.ones"),
        "printed" => (
            include_bytes!("v2/printed.json").as_slice(),
            "default_database.printed",
        ),
        _ => (include_bytes!("v2/new.json").as_slice(), "lake.ones"),
    };
    let manifest = Manifest::read(bytes, &format!("{key}{table}"));
    manifest.expect("formats before are read")
}

#[test]
fn a_manifest_of_format_2_goes_on_where_it_stood() {
    let manifest = before("table");
    assert_eq!((manifest.generation, manifest.checkpoint_id), (2, 2));
    assert_eq!(manifest.position(), [at("in", 0, 7), at("in", 1, 1)]);
    assert_eq!(
        manifest.ends(),
        Some(vec![at("in", 0, 7), at("in", 1, 1)]),
        "its end stays where it was decided"
    );
    let watermarks = manifest.splits.iter().map(|split| split.watermark);
    assert_eq!(
        watermarks.collect::<Vec<_>>(),
        [Some(1_767_261_635_000), Some(1_767_261_620_000)]
    );
    assert!(manifest.topics.contains_key("in"));
    let sink = &manifest.sinks["lake.ones"];
    let plan = "9f3316";
    assert!(sink.plan.as_ref().is_some_and(|id| id.starts_with(plan)));
    assert_eq!(sink.begins(), [at("in", 0, 0), at("in", 1, 0)]);
    let pending = |chain: &TableChain| {
        let last = chain.last.as_ref().map(|last| last.sequence);
        let pending = chain.chain.iter();
        (last, pending.map(|p| p.files.len()).collect::<Vec<_>>())
    };
    assert_eq!(pending(&sink.chain), (Some(1), vec![1]));
    let letters = &sink.sides["lake.ones__dead_letters"];
    assert_eq!(pending(letters), (Some(1), vec![1]));
    assert_eq!((manifest.sinks.len(), sink.sides.len()), (1, 1));
}

#[test]
fn a_sink_that_is_no_table_is_known_by_what_its_insert_calls_it() {
    let manifest = before("printed");
    let sink = &manifest.sinks["default_database.printed"];
    assert_eq!(sink.chain.chain.len(), 1);
    assert_eq!(sink.sides, BTreeMap::new());
    assert_eq!(manifest.position(), [at("in", 0, 7), at("in", 1, 1)]);
}

#[test]
fn a_job_that_had_read_nothing_begins_as_it_would_have() {
    let manifest = before("new");
    assert_eq!((manifest.known(), manifest.ends()), (Vec::new(), None));
    assert_eq!(manifest.sinks["lake.ones"].plan, None);
}

#[test]
fn what_a_manifest_says_outlives_its_process() {
    for name in ["table", "printed", "new"] {
        let manifest = before(name);
        manifest.check();
        let bytes = serde_json::to_vec(&manifest).expect("plain data");
        assert_eq!(Manifest::read(&bytes, "k"), Ok(manifest), "{name}");
    }
}

/// Format 2 forgot where it was in a topic that was not read any more, and began anew when it came back.
#[test]
fn a_topic_that_came_back_is_not_read_twice() {
    let mut value: serde_json::Value =
        serde_json::from_slice(include_bytes!("v2/table.json")).expect("JSON");
    let key = "p/0/lake.ones";
    for offsets in [
        serde_json::json!([]),
        serde_json::json!([{ "topic": "in", "partition": 0, "next": 2 }]),
    ] {
        value["offsets"] = offsets;
        let manifest = Manifest::read(value.to_string().as_bytes(), key).expect("it can be read");
        let sink = &manifest.sinks["lake.ones"];
        let next = [0, 1].map(|partition| sink.split("in", partition).map(|at| at.written_until));
        assert_eq!(next, [Some(7), Some(1)]);
    }
}

/// By partition: when it joined.
fn joined(manifest: &Manifest) -> Vec<(String, i32, Joined)> {
    let splits = manifest.splits.iter();
    splits
        .map(|split| (split.topic.clone(), split.partition, split.joined))
        .collect()
}

#[test]
fn partitions_that_were_there_at_a_topics_first_opening_are_told_from_later_ones() {
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.sinks.insert("t".into(), SinkState::default());
    let open = |manifest: &mut Manifest, at: &[SplitOffset]| {
        manifest.opened(BTreeMap::new(), at, None, |_, _| true);
        let bytes = serde_json::to_vec(manifest).expect("plain data");
        let read = Manifest::read(&bytes, "p/0/t").expect("it can be read");
        assert_eq!(read, *manifest);
        joined(manifest)
    };
    let of = |topic: &str, partition, when| (topic.to_string(), partition, when);
    let first = [of("a", 0, Joined::AtStart)];
    assert_eq!(open(&mut manifest, &[at("a", 0, 3)]), first);
    let appeared = [
        of("a", 0, Joined::AtStart),
        of("a", 1, Joined::Later),
        of("b", 0, Joined::AtStart),
    ];
    let all = [at("a", 0, 3), at("a", 1, 0), at("b", 0, 7)];
    assert_eq!(open(&mut manifest, &all), appeared);
    // It stays so, whatever is opened again.
    assert_eq!(open(&mut manifest, &all), appeared);
    // One of an older format is waited for, as that version did.
    let mut old = serde_json::to_value(&manifest).expect("plain data");
    old["format"] = 4.into();
    for split in old["splits"].as_array_mut().expect("they are listed") {
        split.as_object_mut().expect("fields").remove("joined");
    }
    let old = Manifest::read(old.to_string().as_bytes(), "p/0/t").expect("format 4 is read");
    let all: Vec<Joined> = old.splits.iter().map(|split| split.joined).collect();
    assert_eq!((old.format, all), (FORMAT, vec![Joined::Unknown; 3]));
    assert!(Joined::Unknown.is_awaited() && !Joined::Later.is_awaited());
}
