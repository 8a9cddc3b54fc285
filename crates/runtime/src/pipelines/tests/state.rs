//! What becomes of the state of operators when another script takes the place of one.

use super::super::*;
use super::world::*;
use crate::manifest::{Manifest, State};
use crate::state::OperatorState;
use lw_graph::{
    AggregateCall, AggregateFunction, Field, Node, Operator, OperatorUid, Schema, TypeKind, Window,
    WindowProperty, WindowShape, Windowing,
};

/// `INSERT INTO lake.a` of a count by windows, under the uid of this text, that takes the place of another script.
pub(super) fn counting(uid: &str) -> Submission {
    let mut one = inserts(&["lake.a"]);
    one.sql = format!("counts {uid}");
    let nodes = &mut one.jobs[0].graph.nodes;
    let time = TypeKind::Timestamp(3);
    nodes[0].schema = Schema::new(vec![Field::new("ts", time.clone().nullable())]);
    let count = TypeKind::BigInt.not_null();
    let schema = Schema::new(vec![
        Field::new("n", count.clone()),
        Field::new("window_start", time.not_null()),
    ]);
    let window = Window {
        shape: WindowShape::Tumble { size: 60_000 },
        offset: 0,
        time: 0,
        zone: None,
    };
    let aggregate = Node {
        operator: Operator::WindowAggregate {
            uid: OperatorUid::of(uid),
            windowing: Windowing::Assign(window),
            keys: Vec::new(),
            aggregates: vec![AggregateCall {
                function: AggregateFunction::Count,
                arguments: Vec::new(),
                distinct: false,
                filter: None,
                ty: count,
            }],
            properties: vec![WindowProperty::Start],
        },
        inputs: vec![0],
        schema: schema.clone(),
    };
    nodes.insert(1, aggregate);
    nodes[2].inputs = vec![1];
    nodes[2].schema = schema;
    one.jobs[0].inserts[0].query = Some(query_id(uid));
    one
}

/// What becomes of which operator, as text.
fn told(pipelines: &Pipelines, submission: &Submission) -> Vec<String> {
    let names: BTreeMap<OperatorUid, &str> =
        ["x", "y"].map(|uid| (OperatorUid::of(uid), uid)).into();
    let plan = pipelines.state_plan(submission).expect("it fits");
    let text = |it: &StateFate| {
        let name = names[&it.uid];
        format!(
            "{} {name} of {}: {:?}",
            it.operator,
            it.tables.join(" "),
            it.fate
        )
    };
    plan.iter().map(text).collect()
}

#[test]
fn state_that_a_script_has_no_operator_for_goes_only_by_its_users_word() {
    let world = World::new();
    let pipelines = world.start();
    pipelines.submit(counting("x")).expect("it is taken");
    pipelines.stop("p").expect("it ends");
    let record = pipelines.known("p").expect("it is there");
    let key = record.jobs[0].manifest_key(record.id);
    let mut manifest = Manifest::new(record.id);
    manifest.stand_at("lake.a", &[at(5)]);
    for split in &mut manifest
        .sinks
        .get_mut("lake.a")
        .expect("it stands there")
        .splits
    {
        split.begin = 0;
    }
    manifest.state = Some(State::new(
        vec![at(5)],
        ["lake.a".to_string()].into(),
        [(OperatorUid::of("x"), OperatorState::default())].into(),
    ));
    world.put_manifest(&key, &manifest);
    let has_state = || world.manifest(&key).expect("it is there").state.is_some();

    let mut same = counting("x");
    same.sql = "other words, the same query".into();
    assert_eq!(
        told(&pipelines, &same),
        ["WindowAggregate x of lake.a: Kept"]
    );
    let mut changed = counting("y");
    assert_eq!(
        told(&pipelines, &changed),
        [
            "WindowAggregate y of lake.a: BeginsEmpty",
            "WindowAggregate x of lake.a: Dropped"
        ]
    );
    let refused = pipelines.submit(changed.clone()).expect_err("it is kept");
    let uid = OperatorUid::of("x");
    assert_eq!(
        refused.to_string(),
        "the new script would drop what pipeline 'p' has counted"
    );
    assert_eq!(
        refused.detail(),
        format!(
            "The script has no operator any more for the state of WindowAggregate {uid}, which fills lake.a: its open windows would be lost with all that is read already."
        )
    );
    assert!(
        refused
            .hint()
            .starts_with(&format!("Add --drop-state {uid} to let it go"))
    );
    changed.drop_state = vec!["0123456789abcdef".into()];
    let refused = pipelines.submit(changed.clone()).expect_err("a typo");
    assert_eq!(
        (refused.to_string(), refused.hint()),
        (
            "the new script drops no state of operator '0123456789abcdef'".to_string(),
            format!("It drops --drop-state {uid}.")
        )
    );
    assert!(has_state(), "nothing has changed so far");
    assert_eq!(pipelines.known("p").expect("it is there").sql, "counts x");
    // An INSERT that leaves the script loses nothing.
    assert_eq!(told(&pipelines, &inserts(&["lake.b"])), [""; 0]);

    changed.drop_state = vec![uid.to_string()];
    assert_eq!(
        pipelines.submit(changed).expect("its word"),
        Submitted::Replaced
    );
    pipelines.stop("p").expect("it ends");
    let manifest = world.manifest(&key).expect("it is there");
    let state = manifest
        .state
        .iter()
        .flat_map(|state| state.operators.keys());
    assert!(!state.into_iter().any(|kept| *kept == uid));
    assert_eq!(manifest.position(), [at(5)], "reading goes on where it was");
}
