//! Erasures of tables that a pipeline writes: the rows of a key are in no branch, no snapshot and no file, whoever reads their records again,
//! and wherever the erasure was interrupted.

use super::foreign::{Change, Engine, Reader, Row};
use super::world::{Fault, Network, Pipeline, TABLE, World, columns, ident, offsets, spec};
use crate::catalog::{LoadedTable, NewTable, TableCatalog};
use crate::commit::moves::{At, RefKind, RefMover, Retention, What, Wish};
use crate::erasure::{EraseError, Eraser, Erasure, Pipelines, Predicate, Stage, Tags};
use crate::error::{CatalogError, Kind};
use crate::replay::{Forked, ReplayRange, Replays, Wanted};
use crate::upkeep::compaction::{Compactor, Effort};
use crate::view::builder;
use crate::{Files, IcebergCommitter, IcebergTableSink};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_graph::IcebergSink;
use lw_runtime::connector::{CommitOutcome, Committer, Owner, Restate, Sink};
use lw_runtime::manifest::{Confirmed, TableChain};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// Rows of the second partition.
const KEY: &str = "part = 1";
const BRANCH: &str = "fix";

fn pipeline(world: &World, epochs: i64) -> Pipeline {
    let mut pipeline = Pipeline::new(world, world.network(), TableChain::default(), [0, 0]);
    for _ in 0..epochs {
        pipeline.epoch([3, 2]);
    }
    pipeline
}

fn branch(world: &World, kind: RefKind, name: &str, at: Option<i64>) {
    let wish = Wish {
        kind,
        name: name.to_owned(),
        what: What::Put {
            at: at.map(|at| At::Version(at.to_string())),
            replace: false,
            retention: Retention::default(),
        },
    };
    let mut mover = RefMover::new(world.network(), world.clock.clone(), world.ids.clone());
    mover.set(&ident(TABLE), &wish).expect("a user may do that");
}

fn eraser(world: &World, catalog: Arc<dyn TableCatalog>) -> Eraser {
    Eraser::new(catalog, world.clock.clone(), world.ids.clone())
}

/// As `lakeward table erase` does it, whatever was begun before.
fn erase_over(
    world: &World,
    catalog: Arc<dyn TableCatalog>,
    key: &str,
    tags: Tags,
) -> Result<Erasure, EraseError> {
    let mut eraser = eraser(world, catalog);
    let predicate = Predicate::parse(key)?;
    let id = eraser.begin(&ident(TABLE), &predicate)?;
    let pipelines = Pipelines {
        manifests: &|_| Some(Vec::new()),
    };
    eraser.go_on(&ident(TABLE), &[id], tags, &pipelines)
}

fn erase(world: &World, key: &str) -> Result<Erasure, EraseError> {
    erase_over(world, world.network(), key, Tags::Stay)
}

/// What a reader by the specification sees of a branch.
fn rows(world: &World, branch: &str) -> Vec<Row> {
    let metadata = world.metadata();
    let head = metadata
        .snapshot_for_ref(branch)
        .expect("there is the branch");
    let contents = Reader::default()
        .snapshot(world.catalog.files(), &metadata, head)
        .cloned();
    contents.expect("all is there").rows
}

/// Every row of every file in the table's data folder.
fn on_disk(world: &World) -> BTreeSet<Row> {
    let (files, metadata) = (world.catalog.files(), world.metadata());
    let mut rows = BTreeSet::new();
    for name in world.data_folder() {
        let path = format!("{}/data/{name}", metadata.location());
        let reader = builder(files, &path).expect("a file").build();
        for batch in reader.expect("a reader") {
            let batch = batch.expect("rows");
            let column = |name| batch.column_by_name(name).expect("all tables here have it");
            let parts = column("part").as_primitive::<Int32Type>().values().iter();
            let offs = column("off").as_primitive::<Int64Type>().values().iter();
            rows.extend(parts.copied().zip(offs.copied()));
        }
    }
    rows
}

fn other_part(rows: &[Row]) -> Vec<Row> {
    rows.iter().filter(|row| row.0 != 1).copied().collect()
}

fn stage(world: &World) -> Vec<Stage> {
    let erased = world.view().erased().expect("it can be read");
    erased.entries().iter().map(|entry| entry.stage()).collect()
}

/// Nothing has a row of the key, and the pipeline knows nothing of it.
fn check_gone(world: &World, live: &mut Pipeline) {
    assert_eq!(stage(world), [Stage::Done]);
    world.all_readable().expect("what is listed is there");
    assert!(
        on_disk(world).iter().all(|row| row.0 != 1),
        "{:?}",
        on_disk(world)
    );
    let view = world.view();
    assert_eq!(view.rolled_back(), None);
    assert!(view.snapshots.iter().all(|snapshot| snapshot.follows));
    let marker = view.marker.as_ref().expect("it has one");
    assert_eq!(
        (marker.ends(), marker.begins()),
        (offsets(live.read), offsets([0, 0]))
    );
    let erased = view.erased().expect("it can be read");
    assert_eq!(
        view.came_back(&erased).expect("files"),
        Vec::<String>::new()
    );
    // Later records of the key are new data.
    let before = rows(world, "main");
    let at = live.read;
    live.epoch([1, 2]);
    let mut expected = before;
    expected.extend([(0, at[0]), (1, at[1]), (1, at[1] + 1)]);
    expected.sort_unstable();
    assert_eq!(rows(world, "main"), expected);
    assert!(
        world
            .view()
            .snapshots
            .iter()
            .all(|snapshot| snapshot.follows)
    );
}

#[test]
fn the_rows_of_a_key_go_from_branches_snapshots_and_files() {
    let world = World::new();
    let mut live = pipeline(&world, 2);
    branch(&world, RefKind::Branch, "audit", None);
    for _ in 0..4 {
        live.epoch([3, 2]);
    }
    let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
    let compacted = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(compacted.expect("it can be compacted").made, 1);
    live.epoch([0, 1]);
    let (main, audit) = (rows(&world, "main"), rows(&world, "audit"));

    // It is looked at first.
    let predicate = Predicate::parse(KEY).expect("a key");
    let plan = eraser(&world, world.network()).plan(&ident(TABLE), &predicate);
    let plan = plan.expect("nothing stands against it");
    assert_eq!(
        plan.rows,
        [("audit".to_owned(), 4), ("main".to_owned(), 13)].into()
    );
    assert_eq!(rows(&world, "main"), main);

    let done = erase(&world, KEY).expect("nothing stands against it");
    assert_eq!((done.rows, done.left), (plan.rows, Vec::new()));
    assert_eq!(done.below, offsets([18, 13]));
    assert_eq!(rows(&world, "main"), other_part(&main));
    assert_eq!(rows(&world, "audit"), other_part(&audit));
    assert_eq!(
        world.unnamed(),
        Vec::<String>::new(),
        "manifests that nobody names"
    );
    check_gone(&world, &mut live);
    // The file of that row alone is gone, and nothing is left of the compacted one's inputs.
    let again = erase(&world, "off = 99").expect("nothing stands against it");
    assert_eq!((again.files, again.snapshots, again.removed), (0, 0, 0));
}

/// A process dies at every call that it makes to its catalog, and whoever types the same again ends at the same table.
#[test]
fn it_is_gone_on_with_from_wherever_it_was_interrupted() {
    let mut whole = 0;
    for calls in 0.. {
        let world = World::new();
        let mut live = pipeline(&world, 3);
        branch(&world, RefKind::Branch, "audit", None);
        live.epoch([1, 1]);
        let (main, audit) = (rows(&world, "main"), rows(&world, "audit"));
        let dying = Arc::new(Dying {
            network: world.network(),
            left: AtomicUsize::new(calls),
        });
        let first = erase_over(&world, dying, KEY, Tags::Stay);
        if first.is_err() {
            let again = erase(&world, KEY).expect("nothing stands against it");
            assert_eq!(again.left, Vec::new(), "after {calls} calls");
        }
        assert_eq!(
            rows(&world, "main"),
            other_part(&main),
            "after {calls} calls"
        );
        assert_eq!(
            rows(&world, "audit"),
            other_part(&audit),
            "after {calls} calls"
        );
        check_gone(&world, &mut live);
        if first.is_ok() {
            whole = calls;
            break;
        }
    }
    assert!(whole > 15, "only {whole} calls");
}

#[test]
fn lost_replies_and_commits_of_others_change_nothing() {
    for at in 0..5 {
        for fault in [
            Fault::ReplyLost,
            Fault::RequestLost,
            Fault::Resent,
            Fault::Overtaken,
            Fault::Raced,
        ] {
            let world = World::new();
            let mut live = pipeline(&world, 3);
            branch(&world, RefKind::Branch, BRANCH, None);
            let main = rows(&world, "main");
            let network = world.network();
            let mut faults = vec![None; at];
            faults.push(Some(fault));
            network
                .faults
                .lock()
                .expect("no test panics here")
                .extend(faults);
            if erase_over(&world, network.clone(), KEY, Tags::Stay).is_err_or_left() {
                let again = erase(&world, KEY).expect("nothing stands against it");
                assert_eq!(again.left, Vec::new(), "{fault:?} at {at}");
            }
            assert_eq!(rows(&world, "main"), other_part(&main), "{fault:?} at {at}");
            assert_eq!(rows(&world, BRANCH), other_part(&main), "{fault:?} at {at}");
            assert!(
                on_disk(&world).iter().all(|row| row.0 != 1),
                "{fault:?} at {at}"
            );
            world.all_readable().expect("what is listed is there");
            live.epoch([1, 0]);
        }
    }
}

trait Ended {
    fn is_err_or_left(&self) -> bool;
}

impl Ended for Result<Erasure, EraseError> {
    fn is_err_or_left(&self) -> bool {
        self.as_ref().map_or(true, |done| !done.left.is_empty())
    }
}

#[test]
fn a_rewind_does_not_bring_them_back() {
    let world = World::new();
    let mut live = pipeline(&world, 2);
    let early = live.chain.clone();
    live.epoch([2, 2]);
    erase(&world, KEY).expect("nothing stands against it");
    let main = rows(&world, "main");
    // The same offsets are read again, by another process.
    let mut rewound = Pipeline::new(&world, world.network(), early, [6, 4]);
    rewound
        .sink
        .write(super::world::batch(&[
            (0, 0),
            (1, 0),
            (1, 1),
            (1, 5),
            (1, 6),
        ]))
        .expect("rows are taken");
    let staged = rewound.sink.seal().expect("files can be written");
    let rows_sealed: u64 = staged.iter().map(|staged| staged.rows).sum();
    assert_eq!(rows_sealed, 2, "of the key only what is behind the erasure");
    assert_eq!(rows(&world, "main"), main);
}

fn replayer() -> Owner {
    Owner {
        pipeline: Uuid::from_u128(70),
        name: "lake.events@fix".to_owned(),
    }
}

fn fork(world: &World, range: &ReplayRange) -> Forked {
    let wanted = Wanted {
        branch: BRANCH,
        owner: &replayer(),
        range,
        head: world.metadata().current_snapshot_id().expect("a head"),
        is_known: &|_| true,
    };
    let mut replays = Replays::new(world.network(), world.clock.clone(), world.ids.clone());
    replays.fork(&ident(TABLE), &wanted).expect("it can be had")
}

/// The job of a replay, as it starts from its manifest.
fn replay(world: &World, range: &ReplayRange, forked: &Forked) -> Pipeline {
    let sink = IcebergTableSink::open(
        &IcebergSink {
            branch: Some(BRANCH.to_owned()),
            ..spec(columns())
        },
        world.network(),
        &replayer(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let mut replay = Pipeline::over(world, sink.expect("the sink opens"), world.network());
    let committer = IcebergCommitter::new(
        world.network(),
        replayer(),
        world.clock.clone(),
        world.ids.clone(),
    );
    replay.committer = committer.on_branch(BRANCH);
    replay.chain.last = Some(Confirmed {
        uuid: forked.commit,
        sequence: 0,
        ends: range.from.clone(),
    });
    let from = [range.from[0].next, range.from[1].next];
    (replay.read, replay.sealed) = (from, from);
    replay
}

#[test]
fn a_replay_into_a_branch_does_not_bring_them_back_and_one_before_loses_them() {
    let world = World::new();
    let mut live = pipeline(&world, 4);
    let range = ReplayRange {
        from: offsets([0, 0]),
        until: offsets([12, 8]),
        from_the_beginning: true,
        to_the_end: false,
    };
    // One is done before, one after.
    let forked = fork(&world, &range);
    let mut before = replay(&world, &range, &forked);
    before.epoch([7, 5]);
    before.epoch([5, 3]);
    let main = rows(&world, "main");
    assert_eq!(rows(&world, BRANCH), main);
    erase(&world, KEY).expect("nothing stands against it");
    assert_eq!(rows(&world, BRANCH), other_part(&main));
    // It is known as before: by its first commit, and by its last.
    let table = world.catalog.load(&ident(TABLE)).expect("it is there");
    assert!(crate::replay::branch_ids(&table, BRANCH).contains(&forked.base));
    let standing = before
        .committer
        .standing(TABLE)
        .expect("the catalog answers");
    let standing = standing.expect("a table can be asked");
    assert!(standing.on_branch);
    assert_eq!(
        standing.marker.map(|marker| marker.ends),
        Some(offsets([12, 8]))
    );

    world.commit(vec![
        TableUpdate::RemoveSnapshotRef {
            ref_name: BRANCH.to_owned(),
        },
        TableUpdate::RemoveProperties {
            removals: vec!["lakeward.marker.fix".to_owned()],
        },
    ]);
    let forked = fork(&world, &range);
    assert_eq!(forked.rows, 12);
    let mut after = replay(&world, &range, &forked);
    after.epoch([12, 8]);
    assert_eq!(rows(&world, BRANCH), other_part(&main));
    check_gone(&world, &mut live);
}

#[test]
fn a_tag_that_holds_them_is_named_and_goes_where_that_is_said() {
    let world = World::new();
    let mut live = pipeline(&world, 2);
    branch(&world, RefKind::Tag, "monthly", None);
    live.epoch([1, 1]);
    let tagged = world
        .metadata()
        .snapshot_for_ref("monthly")
        .expect("a tag")
        .snapshot_id();
    let done = erase(&world, KEY).expect("nothing stands against it");
    assert_eq!(done.tags, [("monthly".to_owned(), tagged)].into());
    let left: Vec<&str> = done.left.iter().map(|left| &*left.what).collect();
    assert_eq!(left, ["tag monthly"]);
    assert_eq!(stage(&world), [Stage::Rewritten]);
    assert_eq!(other_part(&rows(&world, "main")), rows(&world, "main"));
    assert!(on_disk(&world).contains(&(1, 0)), "the tag can be read");
    world.all_readable().expect("what is listed is there");
    let done = erase_over(&world, world.network(), KEY, Tags::Go);
    assert_eq!(done.expect("nothing stands against it").left, Vec::new());
    assert!(world.metadata().snapshot_for_ref("monthly").is_none());
    check_gone(&world, &mut live);
}

fn refused(world: &World) -> String {
    erase(world, KEY).expect_err("it is refused").to_string()
}

#[test]
fn what_cannot_be_erased_is_refused_before_anything_goes() {
    let world = World::new();
    pipeline(&world, 2);
    world.set_property("gc.enabled", "false");
    assert_eq!(
        refused(&world),
        "the table says gc.enabled = false: none of its snapshots and files may go"
    );
    world.set_property("gc.enabled", "true");
    let engine = Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    };
    engine
        .commit(&Change::Delete(vec![(1, 1)]))
        .expect("others delete");
    assert!(refused(&world).contains("are hidden by deletes of another writer"));
    assert_eq!(stage(&world), []);
    engine
        .commit(&Change::Rewrite)
        .expect("others carry it out");
    erase(&world, KEY).expect("nothing stands against it");

    let world = World::new();
    let mut live = pipeline(&world, 3);
    world.roll_back();
    live.committer
        .restate(TABLE, Restate::Visible)
        .expect("the catalog answers");
    assert_eq!(
        refused(&world),
        "the table was rolled back, and its pipeline has not read again what was taken away"
    );
}

/// The head shows none, the commit by which the pipeline is known does.
#[test]
fn a_marker_in_a_snapshot_that_ends_is_stated_once_more() {
    let world = World::new();
    let mut live = pipeline(&world, 3);
    let engine = Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    };
    let gone = rows(&world, "main").into_iter().filter(|row| row.0 == 1);
    engine
        .commit(&Change::Overwrite(gone.collect()))
        .expect("others overwrite");
    let main = rows(&world, "main");
    let done = erase(&world, KEY).expect("nothing stands against it");
    assert_eq!((done.rows["main"], done.left), (0, Vec::new()));
    assert_eq!(rows(&world, "main"), main);
    assert!(on_disk(&world).iter().all(|row| row.0 != 1));
    live.read([1, 1]);
    live.checkpoint();
    assert!(matches!(live.commit(), CommitOutcome::Confirmed { .. }));
    assert_eq!(world.view().rolled_back(), None);
}

#[test]
fn files_that_no_snapshot_lists_go_where_nothing_can_bring_them_in_any_more() {
    for is_sealed in [false, true] {
        let world = World::new();
        let mut live = pipeline(&world, 6);
        let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
        let compacted = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
        assert_eq!(compacted.expect("it can be compacted").replaced, 6);
        let metadata = world.metadata();
        let old = metadata.snapshots().map(|one| one.snapshot_id());
        let old = old.filter(|id| Some(*id) != metadata.current_snapshot_id());
        world.expire(old.collect());
        let mut manifest = live.manifest();
        manifest.checkpoint_id = if is_sealed { 6 } else { 0 };
        let mut eraser = eraser(&world, world.network());
        let predicate = Predicate::parse(KEY).expect("a key");
        let id = eraser
            .begin(&ident(TABLE), &predicate)
            .expect("nothing stands against it");
        let pipelines = Pipelines {
            manifests: &|_| Some(vec![manifest.clone()]),
        };
        let done = eraser.go_on(&ident(TABLE), &[id], Tags::Stay, &pipelines);
        let left = done.expect("nothing stands against it").left;
        if is_sealed {
            assert_eq!(left, Vec::new());
            check_gone(&world, &mut live);
        } else {
            assert_eq!(left.len(), 6);
            assert_eq!(left[0].why, "its pipeline is about to seal it");
            assert!(on_disk(&world).contains(&(1, 0)));
        }
    }
}

/// A catalog that is not there any more after so many calls.
struct Dying {
    network: Arc<Network>,
    left: AtomicUsize,
}

impl Dying {
    fn call(&self) -> Result<(), CatalogError> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(CatalogError::new(Kind::Unavailable, "the process is dead"));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

impl TableCatalog for Dying {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        self.call()?;
        self.network.load(table)
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        self.network.ensure_namespace(namespace)
    }

    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        self.network.create(table, new)
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        self.call()?;
        self.network.commit(table, requirements, updates)
    }

    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError> {
        self.network.all_tables()
    }

    fn files(&self) -> &Files {
        self.network.files()
    }
}

#[test]
fn nobody_compacts_while_rows_of_a_key_may_be_there() {
    let world = World::new();
    pipeline(&world, 6);
    let predicate = Predicate::parse(KEY).expect("a key");
    let mut eraser = eraser(&world, world.network());
    let id = eraser
        .begin(&ident(TABLE), &predicate)
        .expect("nothing stands against it");
    let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
    let compacted = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(compacted.expect_err("it waits").kind, Kind::CommitFailed);
    assert_eq!(eraser.open(&ident(TABLE)).expect("it can be read"), [id]);
}
