//! Views: their versions, their names beside tables, and their places.

use super::{Lake, creation, ident, schema};
use crate::catalog::embedded::{LoadedView, Purge, Register};
use crate::catalog::{TableCatalog, ViewCreation, ViewRequirement};
use crate::error::{CatalogError, Kind};
use iceberg::ViewUpdate;
use iceberg::spec::{Schema, ViewVersion};
use serde_json::{Value, json};
use std::collections::HashMap;

fn version(dialect: &str, sql: &str, schema_id: i32) -> ViewVersion {
    let version = json!({
        "version-id": 1, "schema-id": schema_id, "timestamp-ms": 1_700_000_000_000_i64, "summary": {},
        "representations": [{"type": "sql", "sql": sql, "dialect": dialect}],
        "default-namespace": ["n"],
    });
    serde_json::from_value(version).unwrap()
}

fn view(name: &str, location: Option<String>, properties: &[(&str, &str)]) -> ViewCreation {
    let properties = properties.iter();
    ViewCreation {
        ident: ident(name),
        location,
        schema: schema(),
        version: version("spark", "SELECT 1", 0),
        properties: properties
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn replaced(dialect: &str, sql: &str) -> Vec<ViewUpdate> {
    let updates = json!([
        {"action": "add-view-version", "view-version": version(dialect, sql, 0)},
        {"action": "set-current-view-version", "view-version-id": -1},
    ]);
    serde_json::from_value(updates).unwrap()
}

fn set(name: &str, value: &str) -> [ViewUpdate; 1] {
    let updates = HashMap::from([(name.to_owned(), value.to_owned())]);
    [ViewUpdate::SetProperties { updates }]
}

fn said<T>(result: Result<T, CatalogError>) -> (Kind, String) {
    let error = result.map(drop).unwrap_err();
    (error.kind, error.message)
}

fn sql(view: &LoadedView) -> Value {
    let current = view.metadata.current_version().as_ref().clone();
    serde_json::to_value(current).unwrap()["representations"][0]["sql"].clone()
}

#[test]
fn a_replaced_view_keeps_its_versions_and_its_uuid() {
    let lake = Lake::open();
    let made = lake.catalog.create_view(view("v", None, &[])).unwrap();
    assert_eq!(made.metadata.location(), lake.at("warehouse/n/v"));
    let mine = [ViewRequirement::UuidMatch {
        uuid: made.metadata.uuid(),
    }];
    let change = |sql: &str| {
        let updates = replaced("spark", sql);
        lake.catalog.commit_view(&ident("v"), &mine, &updates)
    };
    change("SELECT 2").unwrap();
    // Made by somebody who had not seen the second: upon it all the same.
    let third = change("SELECT 3").unwrap();
    assert_eq!(sql(&third), "SELECT 3");
    assert!(third.metadata_location.contains("/metadata/00002-"));
    let loaded = lake.catalog.load_view(&ident("v")).unwrap();
    assert_eq!(loaded.metadata, third.metadata);
    let document = crate::catalog::views::to_json(&loaded.metadata);
    let versions = document["versions"].as_array().unwrap();
    let numbers: Vec<_> = versions.iter().map(|one| &one["version-id"]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(loaded.metadata.uuid(), made.metadata.uuid());
    assert_eq!(loaded.metadata.history().len(), 3);

    let other = [ViewRequirement::UuidMatch {
        uuid: uuid::Uuid::from_u128(1),
    }];
    let refused = lake
        .catalog
        .commit_view(&ident("v"), &other, &replaced("spark", "SELECT 4"));
    let (kind, message) = said(refused);
    assert_eq!(kind, Kind::CommitFailed);
    assert!(message.starts_with("Requirement failed: view UUID does not match"));
    let lost = lake
        .catalog
        .commit_view(&ident("v"), &mine, &replaced("trino", "SELECT 4"));
    assert_eq!(
        said(lost).0,
        Kind::BadRequest,
        "the dialect is not dropped unasked"
    );
    // Nothing to change: nothing is written.
    let same = lake.catalog.commit_view(&ident("v"), &mine, &[]).unwrap();
    assert_eq!(same.metadata_location, third.metadata_location);
}

#[test]
fn a_view_shares_its_names_with_tables() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    lake.catalog.create_view(view("v", None, &[])).unwrap();
    lake.catalog.create_view(view("w", None, &[])).unwrap();
    let catalog = &lake.catalog;
    let exists = |message: &str| (Kind::AlreadyExists, message.to_owned());
    let cases = [
        (
            said(catalog.create_view(view("t", None, &[]))),
            "Table with same name already exists: n.t",
        ),
        (
            said(catalog.create_view(view("v", None, &[]))),
            "View already exists: n.v",
        ),
        (
            said(catalog.create_table(creation("v", None, &[]))),
            "View with same name already exists: n.v",
        ),
        (
            said(catalog.stage_table(creation("v", None, &[]))),
            "View with same name already exists: n.v",
        ),
        (
            said(catalog.rename_view(&ident("v"), &ident("w"))),
            "Cannot rename n.v to n.w. View already exists",
        ),
        (
            said(catalog.rename_view(&ident("v"), &ident("t"))),
            "Cannot rename n.v to n.t. Table already exists",
        ),
        (
            said(catalog.rename_table(&ident("t"), &ident("v"))),
            "Cannot rename n.t to n.v. View already exists",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, exists(expected));
    }
    let missing = said(catalog.load_view(&ident("t")));
    assert_eq!(
        missing,
        (Kind::NoSuchView, "View does not exist: n.t".into())
    );
    let missing = said(catalog.load(&ident("v")));
    assert_eq!(
        missing,
        (Kind::NoSuchTable, "Table does not exist: n.v".into())
    );

    catalog.rename_view(&ident("v"), &ident("u")).unwrap();
    let namespace = &ident("t").namespace;
    let names = |idents: Vec<iceberg::TableIdent>| -> Vec<String> {
        idents.into_iter().map(|ident| ident.name).collect()
    };
    assert_eq!(names(catalog.list_views(namespace).unwrap()), ["u", "w"]);
    assert_eq!(names(catalog.list_tables(namespace).unwrap()), ["t"]);
    catalog.drop_table(&ident("t"), Purge::Nothing).unwrap();
    assert_eq!(
        said(catalog.drop_namespace(namespace)).0,
        Kind::NamespaceNotEmpty
    );
    catalog.drop_view(&ident("u")).unwrap();
    catalog.drop_view(&ident("w")).unwrap();
    catalog.drop_namespace(namespace).unwrap();
}

#[test]
fn a_staged_table_finds_that_a_view_has_its_name() {
    let lake = Lake::open();
    let staged = lake.catalog.stage_table(creation("x", None, &[])).unwrap();
    lake.catalog.create_view(view("x", None, &[])).unwrap();
    let change = crate::catalog::embedded::TableChange {
        ident: ident("x"),
        requirements: vec![iceberg::TableRequirement::NotExist],
        updates: vec![iceberg::TableUpdate::AddSchema {
            schema: Schema::clone(staged.metadata.current_schema()),
        }],
    };
    let refused = said(lake.catalog.commit_tables(vec![change]));
    let message = "View with same name already exists: n.x".to_owned();
    assert_eq!(refused, (Kind::AlreadyExists, message));
}

#[test]
fn a_views_places_are_its_own() {
    let lake = Lake::open();
    let table = lake.create("t", None).unwrap();
    let made = lake.catalog.create_view(view("v", None, &[])).unwrap();
    let home = made.metadata.location().to_owned();
    let elsewhere = lake.at("outside/v");
    let inside = format!("{table}/v");
    let metadata = [("write.metadata.path", elsewhere.as_str())];
    let stolen = [("write.metadata.path", inside.as_str())];
    let before = lake.everything();
    for creation in [
        view("x", Some(elsewhere.clone()), &[]),
        view("x", Some(inside.clone()), &[]),
        view("x", Some(home.clone()), &[]),
        view("x", Some(lake.at("warehouse")), &[]),
        view("x", Some("new-location".to_owned()), &[]),
        view("x", None, &metadata),
        view("x", None, &stolen),
    ] {
        let refused = lake.catalog.create_view(creation);
        assert_eq!(said(refused).0, Kind::BadRequest);
    }
    for updates in [
        set("write.metadata.path", &elsewhere),
        [ViewUpdate::SetLocation { location: inside }],
        [ViewUpdate::SetLocation {
            location: elsewhere.clone(),
        }],
    ] {
        let refused = lake.catalog.commit_view(&ident("v"), &[], &updates);
        assert_eq!(said(refused).0, Kind::BadRequest, "{updates:?}");
    }
    assert_eq!(
        lake.create("x", Some(home.clone())),
        Err(Kind::BadRequest),
        "a view is there"
    );
    assert_eq!(lake.everything(), before, "nothing touched the disk");

    // As it was asked for, in the spelling of whoever asked.
    let there = lake.at("allowed/v").replace("file:///", "file:/");
    let papers = format!("{there}/papers");
    let wish = view(
        "y",
        Some(there.clone()),
        &[("write.metadata.path", &papers)],
    );
    let made = lake.catalog.create_view(wish).unwrap();
    assert_eq!(made.metadata.location(), there);
    assert!(
        made.metadata_location
            .starts_with(&format!("{papers}/00000-"))
    );
    let moved = lake.at("allowed/moved");
    let updates = [ViewUpdate::SetLocation {
        location: moved.clone(),
    }];
    let made = lake
        .catalog
        .commit_view(&ident("v"), &[], &updates)
        .unwrap();
    assert!(
        made.metadata_location
            .starts_with(&format!("{moved}/metadata/00001-"))
    );
    lake.create("x", Some(home)).unwrap();
}

#[test]
fn a_view_is_registered_from_what_it_left() {
    let lake = Lake::open();
    let made = lake
        .catalog
        .create_view(view("v", None, &[("k", "v")]))
        .unwrap();
    lake.catalog.drop_view(&ident("v")).unwrap();
    let place = &made.metadata_location;
    let again = lake.catalog.register_view(&ident("w"), place).unwrap();
    assert_eq!(again.metadata, made.metadata);
    assert_eq!(
        lake.catalog.load_view(&ident("w")).unwrap().metadata,
        made.metadata
    );
    let twice = lake.catalog.register_view(&ident("x"), place);
    assert_eq!(said(twice).0, Kind::BadRequest, "another view is there");
    let nothing = lake.at("warehouse/n/none.json");
    assert_eq!(
        said(lake.catalog.register_view(&ident("x"), &nothing)).0,
        Kind::BadRequest
    );
    let outside = lake.at("outside/v.json");
    assert_eq!(
        said(lake.catalog.register_view(&ident("x"), &outside)).0,
        Kind::BadRequest
    );
}

#[test]
fn what_lost_its_metadata_file_says_so() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let made = lake.catalog.create_view(view("v", None, &[])).unwrap();
    let table = lake.catalog.load(&ident("t")).unwrap();
    for location in [
        table.metadata_location.as_ref().unwrap(),
        &made.metadata_location,
    ] {
        std::fs::remove_file(location.trim_start_matches("file://")).unwrap();
    }
    let expected = |location: &str| {
        let message = format!("Failed to open input stream for file: {location}");
        (Kind::NoSuchFile, message)
    };
    let lost = said(lake.catalog.load_stored(&ident("t")));
    assert_eq!(lost, expected(table.metadata_location.as_ref().unwrap()));
    let lost = said(lake.catalog.load_view(&ident("v")));
    assert_eq!(lost, expected(&made.metadata_location));
}

/// A folder of a version without views opens, and one with views is what it was after a restart.
#[test]
fn views_are_there_after_a_restart() {
    let lake = Lake::open();
    let made = lake.catalog.create_view(view("v", None, &[])).unwrap();
    let changed = lake.catalog.commit_view(&ident("v"), &[], &set("k", "v"));
    let changed = changed.unwrap();
    let lake = lake.restarted();
    let loaded = lake.catalog.load_view(&ident("v")).unwrap();
    assert_eq!(loaded.metadata, changed.metadata);
    assert_eq!(loaded.metadata.uuid(), made.metadata.uuid());
    let taken = lake.catalog.create_table(creation("v", None, &[]));
    assert_eq!(said(taken).0, Kind::AlreadyExists);
}

#[test]
fn a_registration_may_take_the_place_of_a_table() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let first = lake.catalog.load(&ident("t")).unwrap();
    let first = first.metadata_location.unwrap();
    lake.commit(
        "t",
        json!([{"action": "set-properties", "updates": {"k": "v"}}]),
    )
    .unwrap();
    let catalog = &lake.catalog;
    let refused = said(catalog.register_table(&ident("t"), &first, Register::New));
    assert_eq!(refused.1, "Table already exists: n.t");
    let back = catalog.register_table(&ident("t"), &first, Register::Replace);
    assert_eq!(back.unwrap().metadata_location.as_ref(), Some(&first));
    let loaded = catalog.load(&ident("t")).unwrap();
    assert!(!loaded.metadata.properties().contains_key("k"));
}
