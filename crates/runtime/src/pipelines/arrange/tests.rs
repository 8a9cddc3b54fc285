//! What becomes of manifests, told in text: `a: a@30 b@10` is a manifest under the key `k/a` whose sinks `a` and `b` stand there.
//! `a: a@30 b@30 +a,b=x,y` has the state of the operators `x` and `y` too, which both are behind; a job `a b +x` has operator `x`.

use super::*;
use crate::manifest::{Place, SplitOffset};
use crate::state::OperatorState;

fn at(next: i64) -> SplitOffset {
    SplitOffset {
        topic: "in".into(),
        partition: 0,
        next,
    }
}

fn key_of(sink: &str) -> String {
    format!("k/{sink}")
}

#[test]
fn a_sink_says_which_manifest_is_its_own() {
    let id = Uuid::nil();
    for (table, occurrence) in [("lake.t", 0), ("db.print", 2), ("lake/3.t", 0)] {
        let name = crate::manifest::sink_name(table, occurrence);
        let key = super::key_of(id, &name);
        assert_eq!(key, manifest_key(id, table, occurrence));
    }
}

fn manifest(text: &str) -> (String, Result<Manifest, Unreadable>) {
    let (key, sinks) = text.split_once(':').expect("key: sinks");
    let mut manifest = Manifest::new(Uuid::nil());
    for sink in sinks.split_whitespace() {
        if let Some(state) = sink.strip_prefix('+') {
            let (sinks, operators) = state.split_once('=').expect("sinks=operators");
            let sinks = sinks.split(',').map(ToString::to_string).collect();
            let operators = operators.split(',').map(OperatorUid::of);
            let operators = operators.map(|uid| (uid, OperatorState::default()));
            manifest.state = Some(State::new(manifest.position(), sinks, operators.collect()));
            continue;
        }
        let (sink, next) = sink.split_once('@').expect("sink@offset");
        manifest.stand_at(sink, &[at(next.parse().expect("an offset"))]);
    }
    (key_of(key), Ok(manifest))
}

fn wanted(jobs: &[&str]) -> Vec<Wanted> {
    let job = |job: &&str| {
        let (sinks, states) = job.split_once(" +").unwrap_or((job, ""));
        let states = states.split(',').filter(|name| !name.is_empty());
        Wanted {
            key: key_of(sinks.split(' ').next().expect("a sink")),
            sinks: sinks.split(' ').map(ToString::to_string).collect(),
            states: states.map(OperatorUid::of).collect(),
        }
    };
    jobs.iter().map(job).collect()
}

/// What changes, as text.
fn changed(stored: &[&str], jobs: &[&str]) -> String {
    let stored = stored.iter().map(|text| manifest(text)).collect();
    let changes = match arrange(&stored, &wanted(jobs), key_of) {
        Ok(changes) => changes,
        Err(disarray) => return disarray.to_string(),
    };
    let text = |(key, manifest): (String, Option<Manifest>)| {
        let Some(manifest) = manifest else {
            return format!("{key} goes");
        };
        let sinks = manifest.sinks.iter().map(|(name, sink)| {
            let split = sink.split("in", 0).expect("it is read");
            format!("{name}@{}", split.written_until)
        });
        let sinks: Vec<String> = sinks.collect();
        let state = manifest.state.as_ref().map_or_else(String::new, |state| {
            let sinks: Vec<&str> = state.sinks.iter().map(String::as_str).collect();
            let of = |name: &&&str| state.operators.contains_key(&OperatorUid::of(name));
            let operators: Vec<&str> = ["x", "y", "z"].iter().filter(of).copied().collect();
            format!(" +{}={}", sinks.join(","), operators.join(","))
        });
        format!(
            "{key}: {} from {}{state}",
            sinks.join(" "),
            manifest.position()[0].next
        )
    };
    let changes: Vec<String> = changes.into_iter().map(text).collect();
    changes.join("; ")
}

#[test]
fn manifests_that_fit_their_jobs_stay_as_they_are() {
    assert_eq!(changed(&["a: a@30", "b: b@10"], &["a", "b"]), "");
    assert_eq!(changed(&["a: a@30 b@10"], &["a b"]), "");
    assert_eq!(changed(&[], &["a", "b"]), "", "a new pipeline");
    assert_eq!(changed(&["a: a@30"], &["a", "b"]), "", "a new INSERT");
    assert_eq!(changed(&["a: a@30", "b: b@10"], &["a"]), "", "one less");
}

#[test]
fn a_job_of_two_inserts_goes_on_where_the_least_is() {
    assert_eq!(
        changed(&["a: a@30", "b: b@10"], &["a b"]),
        "k/a: a@30 b@10 from 10; k/b goes"
    );
    assert_eq!(
        changed(&["a: a@30", "b: b@10"], &["b a"]),
        "k/a goes; k/b: a@30 b@10 from 10"
    );
}

#[test]
fn inserts_that_part_go_on_where_each_of_them_is() {
    assert_eq!(
        changed(&["a: a@30 b@10"], &["a", "b"]),
        "k/a: a@30 from 30; k/b: b@10 from 10"
    );
    assert_eq!(
        changed(&["a: a@30 b@10", "c: c@20"], &["b c", "a"]),
        "k/a: a@30 from 30; k/b: b@10 c@20 from 10; k/c goes"
    );
}

#[test]
fn state_goes_with_the_sinks_behind_it() {
    // What has none leaves it, and what is behind it takes it along.
    assert_eq!(
        changed(&["a: a@30 b@30 +a=x"], &["a +x", "b"]),
        "k/a: a@30 from 30 +a=x; k/b: b@30 from 30"
    );
    assert_eq!(
        changed(&["b: b@30 a@30 +a=x"], &["a +x", "b"]),
        "k/a: a@30 from 30 +a=x; k/b: b@30 from 30"
    );
    // Two that part have each what its job has an operator for; one that is in no job keeps all.
    assert_eq!(
        changed(&["a: a@30 b@30 +a,b=x,y"], &["a +x", "b +x,y"]),
        "k/a: a@30 from 30 +a=x; k/b: b@30 from 30 +b=x,y"
    );
    assert_eq!(
        changed(&["a: a@30 b@30 +a,b=x,y"], &["a +x"]),
        "k/a: a@30 from 30 +a=x; k/b: b@30 from 30 +b=x,y"
    );
    // And come together again.
    assert_eq!(
        changed(&["a: a@30 +a=x", "b: b@30 +b=x,y"], &["a b +x,y"]),
        "k/a: a@30 b@30 from 30 +a,b=x,y; k/b goes"
    );
    // A job that has an operator no more does not lose its state here: whoever submits it is asked.
    assert_eq!(changed(&["a: a@30 +a=x"], &["a +y"]), "");
}

#[test]
fn sinks_elsewhere_do_not_come_to_state() {
    assert_eq!(
        changed(&["a: a@30 +a=x", "b: b@10"], &["a b +x"]),
        "b stands elsewhere than others of its job, which have the state of aggregates"
    );
    assert_eq!(
        changed(&["a: a@30 +a=x", "b: b@40 +b=y"], &["b a +x,y"]),
        "a stands elsewhere than others of its job, which have the state of aggregates"
    );
    assert_eq!(
        changed(&["a: a@30 +a=x", "b: b@30"], &["a b +x"]),
        "k/a: a@30 b@30 from 30 +a=x; k/b goes"
    );
}

#[test]
fn an_insert_that_no_job_has_any_more_keeps_what_it_has_done() {
    assert_eq!(
        changed(&["a: a@30 b@10"], &["b"]),
        "k/a: a@30 from 30; k/b: b@10 from 10"
    );
    // It comes back beside another one.
    assert_eq!(
        changed(&["a: a@30", "b: b@40"], &["b a"]),
        "k/a goes; k/b: a@30 b@40 from 30"
    );
    // Its place is asked for by one that is new.
    assert_eq!(changed(&["a: b@10"], &["a"]), "k/a goes; k/b: b@10 from 10");
}

#[test]
fn a_sink_that_two_manifests_know_is_not_guessed_at() {
    assert_eq!(
        changed(&["a: a@30", "b: a@10"], &["a"]),
        "two checkpoints know of a"
    );
}

#[test]
fn a_sink_does_not_begin_again_while_what_it_has_done_cannot_be_read() {
    let mut stored: Stored = [manifest("a: a@30")].into_iter().collect();
    let newer = Unreadable::Newer { found: 9 };
    stored.insert("k/b".into(), Err(newer.clone()));
    let of = |jobs: &[&str]| arrange(&stored, &wanted(jobs), key_of).map(|changes| changes.len());
    assert_eq!(of(&["a"]), Ok(0), "one that nobody asks for hinders nobody");
    assert_eq!(of(&["a", "b"]), Ok(0), "its own job does not start");
    let hidden = of(&["a c"]).expect_err("c may be in it");
    assert_eq!(
        hidden.to_string(),
        "where c stands may be in a checkpoint that cannot be read: the manifest has format 9; this version reads formats 1 to 6"
    );
}

#[test]
fn offsets_of_topics_that_only_share_a_name_are_not_read_together() {
    let mut stored: Stored = [manifest("a: a@30"), manifest("b: b@10")]
        .into_iter()
        .collect();
    for (n, read) in stored.values_mut().enumerate() {
        let manifest = read.as_mut().expect("it can be read");
        let id = Uuid::from_u128(n as u128);
        manifest.topics.insert("in".into(), id);
    }
    let refused = arrange(&stored, &wanted(&["a b"]), key_of).expect_err("two topics");
    assert_eq!(
        refused.to_string(),
        "a and b have read different topics of the name 'in', and cannot be read together"
    );
    assert_eq!(
        arrange(&stored, &wanted(&["a", "b"]), key_of),
        Ok(BTreeMap::new())
    );
}

#[test]
fn what_is_known_of_the_reading_holds_for_all_of_its_sinks() {
    let mut stored: Stored = [manifest("a: a@30"), manifest("b: b@10")]
        .into_iter()
        .collect();
    let numbers = [(3, 8, 100, 20), (5, 6, 70, 40)];
    for (read, (generation, checkpoint_id, watermark, end)) in stored.values_mut().zip(numbers) {
        let manifest = read.as_mut().expect("it can be read");
        manifest.generation = generation;
        manifest.checkpoint_id = checkpoint_id;
        manifest.splits[0].watermark = Some(watermark);
        manifest.splits[0].end = Some(end);
        manifest.place = Some(Place::of(generation));
    }
    let mut changes = arrange(&stored, &wanted(&["a b"]), key_of).expect("they fit");
    let both = changes.remove("k/a").flatten().expect("there it is");
    // Names of files are made of the first two: none comes twice.
    assert_eq!((both.generation, both.checkpoint_id), (5, 8));
    assert_eq!(both.splits[0].watermark, Some(70));
    assert_eq!(both.splits[0].end, Some(40));
    assert_eq!(both.place, Some(Place::of(3)));
}
