//! What others made stays: their snapshots, their files, what their branches and tags need.

use super::foreign::{Change, Engine};
use super::world::{Fault, HandClock, Pipeline, TABLE, World, columns, ident, owner, spec};
use crate::commit::manifests;
use crate::error::Kind;
use crate::{IcebergTableSink, TableCatalog};
use iceberg::TableUpdate;
use lw_runtime::manifest::TableChain;
use std::collections::BTreeSet;

const MINUTE: i64 = 60_000;

fn pipeline(world: &World) -> Pipeline {
    Pipeline::new(world, world.network(), TableChain::default(), [0, 0])
}

fn ids(world: &World) -> BTreeSet<i64> {
    let metadata = world.metadata();
    metadata
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .collect()
}

fn foreign(world: &World) -> usize {
    ids(world)
        .iter()
        .filter(|id| (1_000..9_000).contains(*id))
        .count()
}

#[test]
fn foreign_history_survives_our_commits() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.foreign_history(3_000);
    for _ in 0..120 {
        pipeline.epoch([1, 0]);
    }
    assert_eq!(foreign(&world), 3_000, "none of theirs goes");
    let all = ids(&world).len();
    assert!((3_101..=3_102).contains(&all), "ours are thinned: {all}");
    world.all_readable().expect("all of it can be read");
}

#[test]
fn foreign_snapshots_go_only_by_the_users_own_age() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.foreign_history(300);
    world.tag("yearly", 1_007);
    world.set_property("history.expire.min-snapshots-to-keep", "2");
    pipeline.epoch([1, 0]);
    assert_eq!(foreign(&world), 300, "a floor is no wish to expire");
    world.set_property(
        "history.expire.max-snapshot-age-ms",
        &(100 * MINUTE + MINUTE / 2).to_string(),
    );
    pipeline.epoch([1, 0]);
    assert_eq!(
        foreign(&world),
        101,
        "those of the last 100 minutes, and the tagged one"
    );
    assert!(ids(&world).contains(&1_007));
    world.all_readable().expect("what is kept can be read");
}

#[test]
fn no_snapshot_goes_where_gc_is_off() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "2");
    world.set_property("history.expire.max-snapshot-age-ms", "1");
    // To Iceberg all that is not "true" is false.
    for off in ["false", "False", "no", "off", "0", ""] {
        world.set_property("gc.enabled", off);
        let before = ids(&world).len();
        pipeline.epoch([1, 0]);
        assert_eq!(ids(&world).len(), before + 1, "{off:?}");
    }
    world.set_property("gc.enabled", "TRUE");
    pipeline.epoch([1, 0]);
    assert_eq!(ids(&world).len(), 2);
}

#[test]
fn own_snapshots_thin_out_to_one_per_hour_for_five_days() {
    let clock = HandClock::new();
    let world = World::at(clock.clone());
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "10");
    // Six days, a commit every 20 minutes.
    for _ in 0..6 * 72 {
        clock.go(20 * MINUTE);
        pipeline.epoch([1, 0]);
    }
    let kept = ids(&world).len();
    assert!((10 + 115..=10 + 121).contains(&kept), "{kept} snapshots");
    let metadata = world.metadata();
    let oldest = metadata
        .snapshots()
        .map(|snapshot| snapshot.timestamp_ms())
        .min();
    let days = (metadata.last_updated_ms() - oldest.expect("some")) / (24 * 60 * MINUTE);
    assert!(days >= 4, "the oldest is of {days} days ago");
    world.all_readable().expect("all of it can be read");
    assert_eq!(world.unnamed(), [""; 0], "nothing is left behind");
    assert_eq!(world.rows(), pipeline.expected());
}

#[test]
fn branches_and_tags_keep_what_they_need() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "2");
    for _ in 0..3 {
        pipeline.epoch([1, 0]);
    }
    let head = || world.metadata().current_snapshot_id().expect("a head");
    let tagged = head();
    world.tag("monthly", tagged);
    pipeline.epoch([1, 0]);
    let forked = head();
    world
        .try_branch_commit("audit")
        .expect("a user may do that");
    for _ in 0..6 {
        pipeline.epoch([1, 0]);
    }
    assert!(ids(&world).is_superset(&[tagged, forked].into()));
    let metadata = world.metadata();
    assert!(metadata.snapshot_for_ref("audit").is_some());
    assert!(metadata.snapshot_for_ref("monthly").is_some());
    world.all_readable().expect("all of it can be read");
}

#[test]
fn statistics_go_with_their_snapshot() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "1");
    pipeline.epoch([1, 0]);
    pipeline.epoch([1, 0]);
    let snapshot_id = world.metadata().current_snapshot_id().expect("a head");
    world.commit(vec![TableUpdate::SetStatistics {
        statistics: iceberg::spec::StatisticsFile {
            snapshot_id,
            statistics_path: format!("{}/metadata/s.stats", world.metadata().location()),
            file_size_in_bytes: 4,
            file_footer_size_in_bytes: 4,
            key_metadata: None,
            blob_metadata: Vec::new(),
        },
    }]);
    pipeline.epoch([1, 0]);
    pipeline.epoch([1, 0]);
    let metadata = world.metadata();
    assert!(metadata.snapshot_by_id(snapshot_id).is_none());
    assert_eq!(metadata.statistics_iter().count(), 0);
}

/// Summaries of a thousand partitions are long: the metadata that every reader fetches stays about a megabyte.
#[test]
fn long_summaries_do_not_bloat_the_metadata() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    for commit in 0..40 {
        pipeline.read([1, 0]);
        pipeline.checkpoint();
        let pending = pipeline.chain.chain.last_mut().expect("one");
        for partition in 2..1_000 {
            let mut range = pending.ranges[1].clone();
            let start = 123_456_000 + commit;
            (range.partition, range.start, range.end) = (partition, start, start + 1);
            pending.ranges.push(range);
        }
        pipeline.commit();
    }
    let bytes = serde_json::to_vec(&*world.metadata())
        .expect("plain data")
        .len();
    assert!(bytes < 1 << 20, "{bytes} bytes of metadata");
    assert!(ids(&world).len() >= 9);
}

#[test]
fn a_conflict_that_had_landed_removes_nothing() {
    let world = World::new();
    let network = world.network();
    let mut pipeline = Pipeline::new(&world, network.clone(), TableChain::default(), [0, 0]);
    pipeline.epoch([1, 1]);
    network
        .faults
        .lock()
        .unwrap()
        .push_back(Some(Fault::Resent));
    pipeline.epoch([1, 1]);
    world.all_readable().expect("what was committed is there");
    assert_eq!(world.rows(), pipeline.expected());
    assert_eq!(ids(&world).len(), 2, "and was committed once");
}

#[test]
fn requests_that_were_lost_leave_no_files_behind() {
    let world = World::new();
    let network = world.network();
    let mut pipeline = Pipeline::new(&world, network.clone(), TableChain::default(), [0, 0]);
    let lost = [
        Some(Fault::RequestLost),
        Some(Fault::RequestLost),
        Some(Fault::Overtaken),
    ];
    pipeline.epoch([1, 1]);
    network.faults.lock().unwrap().extend(lost);
    pipeline.epoch([1, 1]);
    assert_eq!(world.unnamed(), [""; 0]);
    assert_eq!(world.rows(), pipeline.expected());
}

#[test]
fn a_commit_to_another_branch_is_only_a_conflict() {
    let world = World::new();
    let network = world.network();
    let mut pipeline = Pipeline::new(&world, network.clone(), TableChain::default(), [0, 0]);
    pipeline.epoch([1, 1]);
    for _ in 0..3 {
        network
            .faults
            .lock()
            .unwrap()
            .push_back(Some(Fault::Overtaken));
        pipeline.epoch([1, 1]);
    }
    assert_eq!(world.rows(), pipeline.expected());
    assert_eq!(world.unnamed(), [""; 0]);
}

#[test]
fn a_table_of_version_3_is_refused_in_words() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    pipeline.epoch([1, 1]);
    world.commit(vec![TableUpdate::UpgradeFormatVersion {
        format_version: iceberg::spec::FormatVersion::V3,
    }]);
    let refused = IcebergTableSink::open(
        &spec(columns()),
        world.network(),
        &owner(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let error = refused.err().expect("it is refused");
    assert_eq!(
        error.message,
        "the table lake.events has Iceberg format version 3, and Lakeward writes version 2: not all readers understand row \
         lineage and deletion vectors yet"
    );
    assert_eq!(error.hint, "Write to a new table; it is made in version 2.");
    // A commit that was pending when the table was upgraded stays pending.
    let table = world.catalog.load(&ident(TABLE)).unwrap();
    let error = crate::commit::snapshot::check_version(&table.ident, &table.metadata);
    assert_eq!(error.err().map(|error| error.kind), Some(Kind::Unsupported));
}

/// Manifests of deletes do not count as small ones to be merged: each of our commits would write the data's anew.
#[test]
fn deletes_by_others_do_not_make_us_rewrite_manifests() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("commit.manifest.min-count-to-merge", "4");
    pipeline.epoch([6, 6]);
    let engine = Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    };
    for off in 0..6 {
        engine.commit(&Change::Delete(vec![(0, off)])).unwrap();
    }
    let listed = || {
        let metadata = world.metadata();
        let head = metadata.current_snapshot().expect("a head");
        let list = manifests::load_list(world.catalog.files(), &metadata, head).unwrap();
        let paths = list.into_iter().map(|manifest| manifest.manifest_path);
        paths.collect::<BTreeSet<_>>()
    };
    let before = listed();
    pipeline.epoch([1, 1]);
    assert!(
        listed().is_superset(&before),
        "all of theirs stay as they are"
    );
    assert_eq!(listed().len(), before.len() + 1);
}
