//! A pipeline whose table is in a store: what is true on a disk is true there, while requests fail and replies are lost.

use super::orphans::{aborted, folder};
use super::world::{Pipeline, TABLE, World, ident};
use crate::TableCatalog;
use crate::catalog::embedded::Purge;
use crate::error::Kind;
use crate::storage::s3::tests::{Fault, LARGE, Store};
use crate::upkeep::compaction::{Compactor, Effort};
use axum::http::Method;
use lw_runtime::manifest::TableChain;
use std::sync::Arc;

fn pipeline(world: &World) -> Pipeline {
    let catalog = Arc::new(world.catalog.clone());
    Pipeline::new(world, catalog, TableChain::default(), [0, 0])
}

#[test]
fn every_row_lands_once_while_requests_fail_and_replies_are_lost() {
    let store = Store::start();
    let world = World::in_store(store.files());
    let mut pipeline = pipeline(&world);
    for round in 0..3 {
        for (method, key) in [
            (Method::PUT, ".parquet"),
            (Method::PUT, ".avro"),
            (Method::PUT, "snap-"),
            (Method::PUT, ".metadata.json"),
        ] {
            let fault = match round {
                0 => Fault::ReplyLost,
                _ => Fault::Refused,
            };
            store.fail(method, key, fault);
        }
        pipeline.epoch([3, 2]);
    }
    assert_eq!(world.rows(), pipeline.expected());
    world.all_readable().expect("every snapshot can be read");
    assert_eq!(store.left(), 0, "every fault was met");
    let keys = store.keys();
    assert!(
        keys.iter().all(|key| key.starts_with("w/lake/events/")),
        "{keys:?}"
    );
}

#[test]
fn what_a_dead_process_uploaded_is_swept_and_its_rows_come_once() {
    let store = Store::start();
    let world = World::in_store(store.files());
    let (mut manifest, known) = aborted(&world);
    // Beside the file that was sealed it had begun another.
    let sealed = folder(&world)
        .difference(&known)
        .next()
        .cloned()
        .expect("there is one");
    let name = sealed.strip_suffix(".parquet").expect("a data file");
    let last = if name.ends_with('f') { 'e' } else { 'f' };
    let begun = format!("{}{last}.parquet", &name[..name.len() - 1]);
    let location = world.metadata().location().to_owned();
    let upload = world
        .catalog
        .files()
        .create(&format!("{location}/data/{begun}"));
    let mut upload = upload.expect("it can be begun");
    upload.append(&vec![0; LARGE]).expect("parts are taken");
    std::mem::forget(upload);
    assert_eq!(
        (store.uploads(), folder(&world).len()),
        (1, known.len() + 2)
    );

    let mut next = Pipeline::take_over(&world, &mut manifest);
    assert_eq!(
        (store.uploads(), folder(&world)),
        (0, known),
        "committed and pending files stay"
    );
    next.commit();
    next.epoch([2, 2]);
    assert_eq!(world.rows(), next.expected());
}

#[test]
fn a_table_in_a_store_is_compacted_and_goes_whole() {
    let store = Store::start();
    let world = World::in_store(store.files());
    let mut pipeline = pipeline(&world);
    for _ in 0..6 {
        pipeline.epoch([2, 1]);
    }
    let catalog = Arc::new(world.catalog.clone());
    let mut compactor = Compactor::new(catalog, world.clock.clone(), world.ids.clone());
    compactor
        .compact(&ident(TABLE), Effort::Full, &mut || true)
        .expect("it can be compacted");
    assert_eq!(
        world
            .metadata()
            .current_snapshot()
            .unwrap()
            .summary()
            .additional_properties["total-data-files"],
        "1"
    );
    assert_eq!(world.rows(), pipeline.expected());
    world
        .catalog
        .drop_table(&ident(TABLE), Purge::Files)
        .unwrap();
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[test]
fn a_store_that_is_away_is_waited_for() {
    let store = Store::start();
    let world = World::in_store(store.files());
    let mut pipeline = pipeline(&world);
    pipeline.epoch([1, 1]);
    pipeline.read([1, 1]);
    pipeline.checkpoint();
    store.set_away(true);
    let error = world.catalog.load_stored(&ident(TABLE)).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    store.set_away(false);
    pipeline.commit();
    assert_eq!(world.rows(), pipeline.expected());
}
