//! Branches and tags as users move them, and `main` taken back under a pipeline: what is told of it before is what then happens.

use super::world::{Fault, HandClock, Pipeline, TABLE, World, ident, offsets, set_head};
use crate::commit::moves::{
    At, Fate, Moved, Outcome, RefError, RefKind, RefMover, Retention, RolledBack, What, Wish,
};
use crate::upkeep::refs::Refs;
use crate::view;
use crate::{CatalogError, TableCatalog};
use lw_runtime::connector::{CommitOutcome, Committer, Restate};
use lw_runtime::manifest::TableChain;
use std::sync::Arc;

fn pipeline(world: &World, epochs: i64) -> Pipeline {
    let mut pipeline = Pipeline::new(world, world.network(), TableChain::default(), [0, 0]);
    for _ in 0..epochs {
        pipeline.epoch([1, 1]);
    }
    pipeline
}

fn mover(world: &World, catalog: Arc<dyn TableCatalog>) -> RefMover {
    RefMover::new(catalog, world.clock.clone(), world.ids.clone())
}

/// Ancestors of `main`, oldest first.
fn heads(world: &World) -> Vec<i64> {
    let metadata = world.metadata();
    let head = metadata.current_snapshot_id().expect("a head");
    let table = world.catalog.load(&ident(TABLE)).expect("a table");
    let snapshots = view::snapshots_from(&table, head);
    snapshots.iter().rev().map(|snapshot| snapshot.id).collect()
}

fn put(kind: RefKind, name: &str, at: Option<i64>) -> Wish {
    let what = What::Put {
        at: at.map(|id| At::Version(id.to_string())),
        replace: false,
        retention: Retention::default(),
    };
    let name = name.to_owned();
    Wish { kind, name, what }
}

impl Wish {
    fn replace(mut self) -> Wish {
        if let What::Put { replace, .. } = &mut self.what {
            *replace = true;
        }
        self
    }

    fn keep(mut self, min: Option<i32>, age: Option<i64>, ref_age: Option<i64>) -> Wish {
        if let What::Put { retention, .. } = &mut self.what {
            *retention = Retention {
                min_snapshots_to_keep: min,
                max_snapshot_age_ms: age,
                max_ref_age_ms: ref_age,
            };
        }
        self
    }

    fn drop(mut self) -> Wish {
        self.what = What::Drop;
        self
    }
}

/// `s1` is the oldest snapshot, `t2` the time of the second.
struct Case {
    world: World,
    ids: Vec<i64>,
}

impl Case {
    fn new() -> Case {
        let world = World::new();
        pipeline(&world, 4);
        let ids = heads(&world);
        Case { world, ids }
    }

    fn set(&self, wish: &Wish) -> Result<Moved, RefError> {
        mover(&self.world, self.world.network()).set(&ident(TABLE), wish)
    }

    fn name(&self, text: String) -> String {
        let mut text = text;
        for (index, id) in self.ids.iter().enumerate() {
            text = text.replace(&id.to_string(), &format!("s{}", index + 1));
        }
        text
    }

    fn told(&self, wish: &Wish) -> String {
        let text = match self.set(wish) {
            Ok(moved) => format!(
                "{:?}: {} -> {}",
                moved.outcome,
                moved.before.map_or("-".to_owned(), |id| id.to_string()),
                moved
                    .snapshot_id
                    .map_or("-".to_owned(), |id| id.to_string()),
            ),
            Err(error) => error.to_string(),
        };
        self.name(text)
    }

    /// All but `main`.
    fn refs(&self) -> String {
        let metadata = self.world.metadata();
        let refs = Refs::of(&metadata);
        let one = |(name, reference): (&str, &iceberg::spec::SnapshotReference)| {
            let json = serde_json::to_value(reference).expect("plain data");
            let mut said: Vec<String> = json
                .as_object()
                .expect("an object")
                .iter()
                .filter(|(key, value)| *key != "snapshot-id" && !value.is_null())
                .map(|(_, value)| value.to_string().replace('"', ""))
                .collect();
            said.sort();
            format!("{name}@{} {}", reference.snapshot_id, said.join(" "))
        };
        self.name(refs.others().map(one).collect::<Vec<_>>().join("; "))
    }
}

#[test]
fn branches_and_tags_begin_move_and_end() {
    use RefKind::{Branch, Tag};
    let case = Case::new();
    let [s1, s2, s3, s4] = case.ids[..] else {
        panic!("four commits: {:?}", case.ids);
    };
    let steps = [
        (put(Branch, "b", None), "Created: - -> s4", "b@s4 branch"),
        (
            put(Branch, "b", Some(s4)),
            "Unchanged: s4 -> s4",
            "b@s4 branch",
        ),
        (
            put(Branch, "b", Some(s2)),
            "the branch 'b' is there already, at snapshot s4",
            "b@s4 branch",
        ),
        (
            put(Branch, "b", None),
            "the branch 'b' is there already, at snapshot s4",
            "b@s4 branch",
        ),
        (
            put(Branch, "b", Some(s2)).replace(),
            "Moved: s4 -> s2",
            "b@s2 branch",
        ),
        (
            put(Branch, "b", None).keep(Some(3), None, Some(70)),
            "Retained: s2 -> s2",
            "b@s2 3 70 branch",
        ),
        (
            put(Branch, "b", Some(s3))
                .replace()
                .keep(None, Some(50), None),
            "Moved: s2 -> s3",
            "b@s3 3 50 70 branch",
        ),
        (
            put(Tag, "b", Some(s3)),
            "'b' is a branch",
            "b@s3 3 50 70 branch",
        ),
        (
            put(Tag, "b", None).drop(),
            "'b' is a branch",
            "b@s3 3 50 70 branch",
        ),
        (
            put(Tag, "t", Some(s1)).keep(None, None, Some(9)),
            "Created: - -> s1",
            "b@s3 3 50 70 branch; t@s1 9 tag",
        ),
        (
            put(Branch, "b", None).drop(),
            "Dropped: s3 -> -",
            "t@s1 9 tag",
        ),
        (
            put(Branch, "b", None).drop(),
            "the table has no branch or tag 'b'; it has: main, t",
            "t@s1 9 tag",
        ),
        (put(Tag, "t", None).drop(), "Dropped: s1 -> -", ""),
    ];
    for (wish, told, refs) in steps {
        assert_eq!(case.told(&wish), told, "{wish:?}");
        assert_eq!(case.refs(), refs, "{wish:?}");
    }
    assert_eq!(heads(&case.world), [s1, s2, s3, s4], "main stays");
}

#[test]
fn a_reference_is_made_where_main_was_or_another_one_is() {
    let case = Case::new();
    let metadata = case.world.metadata();
    let time = metadata.history()[1].timestamp_ms();
    let at = |at: At| {
        let mut wish = put(RefKind::Tag, "t", None).replace();
        if let What::Put { at: place, .. } = &mut wish.what {
            *place = Some(at);
        }
        case.told(&wish)
    };
    assert_eq!(at(At::Time(time)), "Created: - -> s2");
    assert_eq!(at(At::Version("main".to_owned())), "Moved: s2 -> s4");
    assert_eq!(at(At::Version("t".to_owned())), "Unchanged: s4 -> s4");
    assert_eq!(
        at(At::Version("x".to_owned())),
        "the table has no branch or tag 'x'; it has: main, t"
    );
    assert_eq!(
        at(At::Version("77".to_owned())),
        "the table has no snapshot 77, or no longer"
    );
    let early = at(At::Time(1));
    let begins = "the table has no snapshot as old as 1970-01-01T00:00:00.001Z: its oldest is of ";
    assert!(early.starts_with(begins), "{early}");
}

#[test]
fn what_main_and_retention_do_not_allow_is_refused_in_words() {
    use RefKind::{Branch, Tag};
    let case = Case::new();
    let s1 = case.ids[0];
    let refused = [
        (put(Tag, "main", None), "'main' is a branch"),
        (put(Branch, "main", None).drop(), "main cannot be dropped"),
        (
            put(Branch, "main", Some(s1)).replace(),
            "main moves by commits, and back by `lakeward table rollback`",
        ),
        (
            put(Branch, "main", None).keep(None, None, Some(1)),
            "main never ends, so it has no age",
        ),
        (put(Branch, "", None), "a branch or a tag needs a name"),
        (
            put(Branch, "b", None).keep(Some(0), None, None),
            "retention is a number above zero",
        ),
        (
            put(Tag, "t", None).keep(None, Some(5), None),
            "a tag keeps its one snapshot: of retention it has max-ref-age-ms alone",
        ),
        (
            put(Tag, "t", None).keep(Some(5), None, None),
            "a tag keeps its one snapshot: of retention it has max-ref-age-ms alone",
        ),
    ];
    for (wish, told) in refused {
        assert_eq!(case.told(&wish), told, "{wish:?}");
    }
    let main = put(Branch, "main", None).keep(Some(7), None, None);
    assert_eq!(
        case.told(&main),
        "Retained: s4 -> s4",
        "how long its snapshots stay is the user's"
    );
    assert_eq!(case.refs(), "");
}

/// Whatever happens on the way, what is answered is so, and an error means that the same can be asked again.
#[test]
fn a_move_arrives_once_whatever_happens_on_the_way() {
    let faults = [
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Resent,
        Fault::Overtaken,
        Fault::Raced,
    ];
    for fault in faults {
        let case = Case::new();
        let s2 = case.ids[1];
        let network = case.world.network();
        let strike = || {
            network
                .faults
                .lock()
                .expect("no test panics here")
                .push_back(Some(fault))
        };
        let mut mover = mover(&case.world, network.clone());
        let mut again = |wish: &Wish| {
            strike();
            let first = mover.set(&ident(TABLE), wish);
            match first {
                Err(RefError::Catalog(CatalogError { kind, .. })) => {
                    assert_eq!(
                        (fault, kind),
                        (Fault::RequestLost, crate::error::Kind::Unknown)
                    );
                    mover
                        .set(&ident(TABLE), wish)
                        .expect("this time it arrives")
                        .outcome
                }
                other => other.expect("it arrives").outcome,
            }
        };
        // A plain create, so that a second one would be refused.
        assert_eq!(
            again(&put(RefKind::Tag, "t", None)),
            Outcome::Created,
            "{fault:?}"
        );
        assert_eq!(
            again(&put(RefKind::Tag, "t", Some(s2)).replace()),
            Outcome::Moved,
            "{fault:?}"
        );
        assert_eq!(
            again(&put(RefKind::Tag, "t", None).drop()),
            Outcome::Dropped,
            "{fault:?}"
        );

        strike();
        let to = At::Version(s2.to_string());
        let rolled_back = match mover.roll_back(&ident(TABLE), &to, true) {
            Err(_) if fault == Fault::RequestLost => mover.roll_back(&ident(TABLE), &to, true),
            other => other,
        };
        let rolled_back = rolled_back.expect("it arrives");
        assert_eq!(rolled_back.to, s2);
        assert_eq!(heads(&case.world).last(), Some(&s2), "{fault:?}");
        assert_eq!(
            case.world.unnamed(),
            [""; 0],
            "{fault:?}: nothing was written"
        );
    }
}

/// What was done to a table before; how many commits of the pipeline are pending then.
type History = fn(&World, &mut Pipeline);
const HISTORIES: [(&str, History); 4] = [
    ("its own commits", |_, _| {}),
    ("commits of others on top", |world, _| {
        world.foreign_commit();
        world.foreign_commit();
    }),
    ("others between its own", |world, pipeline| {
        world.foreign_commit();
        pipeline.epoch([1, 1]);
        world.foreign_commit();
        pipeline.epoch([1, 1]);
    }),
    ("rolled back and adopted", |world, pipeline| {
        world.roll_back();
        pipeline
            .committer
            .restate(TABLE, Restate::Newest)
            .expect("the catalog answers");
        world.foreign_commit();
        pipeline.epoch([1, 1]);
        world.foreign_commit();
    }),
];

#[test]
fn what_is_told_of_the_pipeline_is_what_it_then_does() {
    let (mut went_on, mut paused) = (0, 0);
    for (name, history) in HISTORIES {
        let mut index = 0;
        loop {
            let world = World::new();
            let mut pipeline = pipeline(&world, 3);
            history(&world, &mut pipeline);
            let ids = heads(&world);
            let Some(to) = ids.get(index) else {
                break;
            };
            let what = format!("{name}, to the {index}th");
            let mut mover = mover(&world, world.network());
            let at = At::Version(to.to_string());
            let looked_at = mover
                .roll_back(&ident(TABLE), &at, false)
                .expect("an ancestor");
            assert_eq!(heads(&world), ids, "{what}: looking moves nothing");
            let done = mover
                .roll_back(&ident(TABLE), &at, true)
                .expect("an ancestor");
            assert_eq!(done, looked_at, "{what}");
            assert_eq!(heads(&world), ids[..=index], "{what}");
            check(&done, &ids, index, &what);

            let writing = done.writing.expect("a pipeline writes it");
            pipeline.read([1, 1]);
            pipeline.checkpoint();
            match (writing.fate, pipeline.commit()) {
                (Fate::GoesOn, CommitOutcome::Confirmed { .. }) => went_on += 1,
                (Fate::Pauses, CommitOutcome::Paused(pause)) => {
                    assert_eq!(writing.table_ends, pause.table_offsets, "{what}");
                    assert_eq!(writing.marker_ends, pause.marker_offsets, "{what}");
                    paused += 1;
                }
                (told, happened) => panic!("{what}: told {told:?}, and then {happened:?}"),
            }
            index += 1;
        }
    }
    assert_eq!((went_on, paused), (7, 13), "of each some");
}

fn check(done: &RolledBack, ids: &[i64], index: usize, what: &str) {
    assert_eq!(Some(&done.from), ids.last(), "{what}");
    assert_eq!(done.to, ids[index], "{what}");
    assert_eq!(done.snapshots, ids.len() - 1 - index, "{what}");
}

#[test]
fn a_rollback_says_which_rows_and_offsets_go() {
    let world = World::new();
    pipeline(&world, 3);
    let to = At::Version(heads(&world)[0].to_string());
    let mut mover = mover(&world, world.network());
    let told = mover
        .roll_back(&ident(TABLE), &to, false)
        .expect("an ancestor");
    assert_eq!(told.rows, Some((6, 2)));
    let writing = told.writing.expect("a pipeline writes it");
    assert_eq!(writing.owner.name, "test");
    assert_eq!(writing.table_ends, offsets([1, 1]));
    assert_eq!(writing.marker_ends, offsets([3, 3]));
}

#[test]
fn main_goes_back_only_to_what_it_was() {
    let world = World::new();
    pipeline(&world, 3);
    world
        .try_branch_commit("audit")
        .expect("a user may do that");
    let mut mover = mover(&world, world.network());
    let mut told = |to: At| match mover.roll_back(&ident(TABLE), &to, true) {
        Ok(done) => format!("{} snapshots back", done.snapshots),
        Err(error) => error.to_string(),
    };
    let head = heads(&world)[2];
    let audit = world
        .metadata()
        .snapshot_for_ref("audit")
        .expect("a branch")
        .snapshot_id();
    assert_eq!(told(At::Version("main".to_owned())), "0 snapshots back");
    assert_eq!(
        told(At::Version("audit".to_owned())),
        format!("snapshot {audit} is no ancestor of main, which is at {head}")
    );
    let second = world.metadata().history()[1].timestamp_ms();
    assert_eq!(told(At::Time(second)), "1 snapshots back");
    let metadata = world.metadata();
    let [.., old, now] = metadata.history() else {
        panic!("the rollback is in the history");
    };
    assert_eq!(old.snapshot_id, head);
    assert_eq!(
        told(At::Version(head.to_string())),
        format!(
            "snapshot {head} is no ancestor of main, which is at {}",
            now.snapshot_id
        )
    );
}

/// After a rewind somebody takes `main` forward again, to what was given up: its rows are there, and would come twice.
#[test]
fn a_rollback_to_what_a_rewind_gave_up_pauses_the_pipeline() {
    let world = World::new();
    let mut pipeline = pipeline(&world, 4);
    let ids = heads(&world);
    world.commit(vec![set_head(ids[1])]);
    pipeline
        .committer
        .restate(TABLE, Restate::Visible)
        .expect("the catalog answers");
    world.commit(vec![set_head(ids[3])]);
    for (index, fate) in [(3, Fate::Pauses), (2, Fate::Pauses), (1, Fate::GoesOn)] {
        let mut mover = mover(&world, world.network());
        let to = At::Version(ids[index].to_string());
        let back = mover.roll_back(&ident(TABLE), &to, true);
        let writing = back.expect("an ancestor").writing;
        assert_eq!(writing.expect("a pipeline writes it").fate, fate, "{index}");
    }
}

#[test]
fn expiry_keeps_what_references_need_and_their_retention_allows() {
    let clock = HandClock::new();
    let world = World::at(clock.clone());
    let mut pipeline = pipeline(&world, 0);
    let mut epoch = || {
        pipeline.epoch([1, 0]);
        world.metadata().current_snapshot_id().expect("a head")
    };
    let ids: Vec<i64> = (0..6).map(|_| epoch()).collect();
    let mut mover = mover(&world, world.network());
    let mut make = |wish: Wish| mover.set(&ident(TABLE), &wish).expect("it arrives");
    make(put(RefKind::Tag, "tagged", Some(ids[0])));
    make(put(RefKind::Branch, "two", Some(ids[3])).keep(Some(2), None, None));
    // Its own age is over at the next commit, and then it needs nothing but its snapshot.
    make(put(RefKind::Branch, "old", Some(ids[1])).keep(None, None, Some(1)));
    // Main itself keeps no more than its head, and what was the head when the commit was made.
    make(put(RefKind::Branch, "main", None).keep(Some(1), None, None));
    world.set_property("lakeward.snapshots.keep", "1");
    // Not long: references move by the machine's clock.
    clock.go(1000);
    epoch();
    let kept = |id: &i64| world.metadata().snapshot_by_id(*id).is_some();
    let kept: Vec<bool> = ids.iter().map(kept).collect();
    assert_eq!(kept, [true, true, true, true, false, true]);
    world.all_readable().expect("what is kept can be read");

    // With the references goes what they kept.
    let mut drop = |kind, name: &str| mover.set(&ident(TABLE), &put(kind, name, None).drop());
    drop(RefKind::Tag, "tagged").expect("it is there");
    drop(RefKind::Branch, "two").expect("it is there");
    drop(RefKind::Branch, "old").expect("it is there");
    clock.go(6 * 24 * 60 * 60_000);
    pipeline.epoch([1, 0]);
    assert_eq!(world.metadata().snapshots().count(), 2);
    assert_eq!(world.unnamed(), [""; 0], "nothing is left behind");
}
