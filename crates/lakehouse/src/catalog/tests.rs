//! What a client of the catalog may not do to the disk, to other tables, and to work that others have done.

mod views;

use super::embedded::{Catalog, Creation, Purge, Register, TableChange};
use super::{TableCatalog, pointers};
use crate::error::Kind;
use crate::ids::Ids;
use crate::storage::Files;
use axum::Router;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A server that lives as long as this value.
pub(crate) struct Server {
    pub(crate) uri: String,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) fn serve(router: Router) -> Server {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router).await });
    Server {
        uri,
        _runtime: runtime,
    }
}

pub(super) struct Lake {
    storage: lw_storage::Storage,
    pub(super) catalog: Catalog,
    folder: tempfile::TempDir,
}

impl Lake {
    pub(super) fn open() -> Lake {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("outside")).unwrap();
        let lake = Lake::over(folder);
        let name = NamespaceIdent::new("n".into());
        lake.catalog
            .create_namespace(&name, BTreeMap::new())
            .unwrap();
        lake
    }

    /// The server in this folder.
    fn over(folder: tempfile::TempDir) -> Lake {
        let config = lw_storage::Config::new(folder.path().join("data"));
        let clock = Arc::new(SystemClock::new());
        let storage = lw_storage::Storage::open(Arc::new(RealDisk), clock, config).unwrap();
        let catalog = Catalog::open_allowing(
            storage.clone(),
            Files::new(Arc::new(RealDisk)),
            &at(folder.path(), "warehouse"),
            &[at(folder.path(), "allowed")],
            Ids::random(),
        )
        .unwrap();
        Lake {
            storage,
            catalog,
            folder,
        }
    }

    /// Another process in the same folder.
    fn restarted(self) -> Lake {
        let Lake {
            storage,
            catalog,
            folder,
        } = self;
        drop((storage, catalog));
        Lake::over(folder)
    }

    pub(super) fn at(&self, place: &str) -> String {
        at(self.folder.path(), place)
    }

    /// Every path below the folder but the log's.
    fn everything(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                walk(&path, found);
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.retain(|path| !path.starts_with(self.folder.path().join("data")));
        found.sort();
        found
    }

    fn create(&self, name: &str, location: Option<String>) -> Result<String, Kind> {
        let made = self.catalog.create_table(creation(name, location, &[]));
        made.map(|table| table.metadata.location().to_owned())
            .map_err(|error| error.kind)
    }

    /// A table with so many snapshots, one after the other.
    pub(super) fn with_snapshots(&self, name: &str, count: i64) {
        self.create(name, None).unwrap();
        let list = self.at(&format!("warehouse/n/{name}/metadata/l.avro"));
        for id in 1..=count {
            let parent = (id > 1).then_some(id - 1);
            let updates = json!([
                snapshot(id, parent, id, &list),
                set_ref("main", "branch", id)
            ]);
            self.commit(name, updates).unwrap();
        }
    }

    pub(super) fn add_snapshot(&self, name: &str, id: i64, list: &str) {
        let updates = json!([snapshot(id, None, id, list), set_ref("main", "branch", id)]);
        self.commit(name, updates).unwrap();
    }

    pub(super) fn with_property(&self, name: &str, key: &str, value: &str) {
        let updates = json!([{"action": "set-properties", "updates": {key: value}}]);
        self.commit(name, updates).unwrap();
    }

    /// New snapshots get the table's own time: Iceberg refuses what lies before it, and later changes what lies behind.
    fn commit(&self, name: &str, mut updates: Value) -> Result<(), Kind> {
        let table = self.catalog.load(&ident(name)).expect("it is there");
        for update in updates.as_array_mut().expect("a list of updates") {
            if update["action"] == "add-snapshot" {
                update["snapshot"]["timestamp-ms"] = json!(table.metadata.last_updated_ms());
            }
        }
        let change = TableChange {
            ident: ident(name),
            requirements: Vec::new(),
            updates: serde_json::from_value(updates).expect("updates as REST has them"),
        };
        let done = self.catalog.commit_tables(vec![change]);
        done.map(|_| ()).map_err(|error| error.kind)
    }
}

fn at(folder: &Path, place: &str) -> String {
    format!(
        "file://{}/{place}",
        folder.canonicalize().unwrap().display()
    )
}

fn ident(name: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new("n".into()), name.into())
}

fn schema() -> Schema {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    Schema::builder().with_fields([id.into()]).build().unwrap()
}

fn creation(name: &str, location: Option<String>, properties: &[(&str, &str)]) -> Creation {
    Creation {
        ident: ident(name),
        schema: schema(),
        partition_spec: None,
        sort_order: None,
        location,
        properties: properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn snapshot(id: i64, parent: Option<i64>, sequence: i64, list: &str) -> Value {
    json!({"action": "add-snapshot", "snapshot": {
        "snapshot-id": id, "parent-snapshot-id": parent, "sequence-number": sequence,
        "timestamp-ms": 0, "manifest-list": list,
        "summary": {"operation": "append"}, "schema-id": 0,
    }})
}

fn set_ref(name: &str, kind: &str, id: i64) -> Value {
    json!({"action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id})
}

fn statistics(path: &str) -> Value {
    json!({"action": "set-statistics", "snapshot-id": 1, "statistics": {
        "snapshot-id": 1, "statistics-path": path, "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": [],
    }})
}

fn partition_statistics(path: &str) -> Value {
    json!({"action": "set-partition-statistics", "partition-statistics": {
        "snapshot-id": 1, "statistics-path": path, "file-size-in-bytes": 1,
    }})
}

#[test]
fn a_purge_deletes_nothing_outside_the_tables_own_location() {
    let lake = Lake::open();
    let location = lake.create("t", None).unwrap();
    let other = lake.create("other", None).unwrap();
    let victims = [
        "outside/a",
        "outside/b",
        "outside/c",
        "warehouse/n/other/data/d",
    ];
    for victim in victims {
        std::fs::write(lake.folder.path().join(victim), "precious").unwrap();
    }
    std::os::unix::fs::symlink(
        lake.folder.path().join("outside"),
        lake.folder.path().join("warehouse/n/t/link"),
    )
    .unwrap();
    let own = format!("{location}/metadata/own.stats");
    std::fs::write(own.trim_start_matches("file://"), "mine").unwrap();
    let hostile = [
        statistics(&lake.at("outside/a")),
        statistics(&format!("{location}/../../../outside/a")),
        statistics(&format!("{location}/link/a")),
        statistics(&format!("{location}/%2e%2e/%2e%2e/outside/a")),
        partition_statistics(&lake.at("outside/b")),
        partition_statistics(&format!("{other}/data/d")),
        snapshot(1, None, 1, &lake.at("outside/c")),
    ];
    for (number, update) in hostile.into_iter().enumerate() {
        let first = [json!({"action": "set-properties", "updates": {"k": number.to_string()}})];
        lake.commit("t", json!([first[0], update])).unwrap();
        let pointer = lake.catalog.load(&ident("t")).unwrap();
        // Purged and registered again: each hostile path has its own purge.
        let kept = lake.folder.path().join("kept.json");
        let metadata = pointer.metadata_location.unwrap();
        let path = metadata.trim_start_matches("file://").to_owned();
        std::fs::copy(&path, &kept).unwrap();
        lake.catalog.drop_table(&ident("t"), Purge::Files).unwrap();
        assert!(!Path::new(&path).exists(), "its own metadata is gone");
        for victim in victims {
            let there = lake.folder.path().join(victim).exists();
            assert!(there, "{victim} was deleted by hostile path {number}");
        }
        std::fs::copy(&kept, &path).unwrap();
        lake.catalog
            .register_table(&ident("t"), &metadata, Register::New)
            .unwrap();
    }
    lake.commit("t", json!([statistics(&own)])).unwrap();
    lake.catalog.drop_table(&ident("t"), Purge::Files).unwrap();
    assert!(!Path::new(own.trim_start_matches("file://")).exists());
}

#[test]
fn a_table_whose_files_may_be_anothers_is_not_purged() {
    let lake = Lake::open();
    let made = lake
        .catalog
        .create_table(creation("t", None, &[("gc.enabled", "false")]))
        .unwrap();
    let refused = lake.catalog.drop_table(&ident("t"), Purge::Files);
    assert_eq!(refused.unwrap_err().kind, Kind::BadRequest);
    let metadata = made.metadata_location.unwrap();
    assert!(Path::new(metadata.trim_start_matches("file://")).exists());
    assert!(lake.catalog.load(&ident("t")).is_ok(), "it is still there");
    lake.catalog
        .drop_table(&ident("t"), Purge::Nothing)
        .unwrap();
}

#[test]
fn hostile_names_leave_no_trace() {
    let lake = Lake::open();
    lake.create("good", None).unwrap();
    let good = lake.catalog.load(&ident("good")).unwrap();
    let before = lake.everything();
    let long = "x".repeat(300);
    for name in [
        "../../evil",
        ".",
        "..",
        "a/../b",
        "a//b",
        "/a",
        "a\0b",
        "",
        "%2e%2e",
        "a\n",
        &long,
    ] {
        let creation = || creation(name, None, &[]);
        let change = TableChange {
            ident: ident(name),
            requirements: vec![TableRequirement::NotExist],
            updates: vec![TableUpdate::AddSchema { schema: schema() }],
        };
        let kinds = [
            lake.catalog.create_table(creation()).unwrap_err().kind,
            lake.catalog.stage_table(creation()).unwrap_err().kind,
            lake.catalog.commit_tables(vec![change]).unwrap_err().kind,
            lake.catalog
                .register_table(
                    &ident(name),
                    good.metadata_location.as_ref().unwrap(),
                    Register::New,
                )
                .unwrap_err()
                .kind,
            lake.catalog
                .rename_table(&ident("good"), &ident(name))
                .unwrap_err()
                .kind,
        ];
        assert_eq!(kinds, [Kind::BadRequest; 5], "{name:?}");
        if let Ok(namespace) = NamespaceIdent::from_vec(vec!["n".into(), name.into()]) {
            let made = lake.catalog.create_namespace(&namespace, BTreeMap::new());
            assert_eq!(made.unwrap_err().kind, Kind::BadRequest, "{name:?}");
        }
    }
    let deep = NamespaceIdent::from_vec(vec!["x".repeat(150); 8]).unwrap();
    let made = lake.catalog.create_namespace(&deep, BTreeMap::new());
    assert_eq!(made.unwrap_err().kind, Kind::BadRequest);
    assert_eq!(lake.everything(), before, "nothing touched the disk");
}

#[test]
fn a_location_is_in_the_warehouse_and_in_nobody_elses() {
    let lake = Lake::open();
    let first = lake
        .create("first", Some(lake.at("warehouse/a/first")))
        .unwrap();
    lake.create("second", None).unwrap();
    let before = lake.everything();
    let refused = [
        lake.at("outside/t"),
        lake.at("warehouse"),
        lake.at("warehouse/../outside/t"),
        lake.at("warehouse/a"),
        format!("{first}/inner"),
        first.clone(),
        format!("{}/", first.replace("file:///", "file:/")),
        "s3://bucket/t".to_owned(),
        "file:///".to_owned(),
    ];
    for place in &refused {
        let kind = lake.create("t", Some(place.clone())).unwrap_err();
        assert_eq!(kind, Kind::BadRequest, "create at {place}");
        let staged = lake
            .catalog
            .stage_table(creation("t", Some(place.clone()), &[]));
        assert_eq!(
            staged.unwrap_err().kind,
            Kind::BadRequest,
            "stage at {place}"
        );
        let moved = json!([{"action": "set-location", "location": place}]);
        assert_eq!(
            lake.commit("second", moved),
            Err(Kind::BadRequest),
            "{place}"
        );
        let data = json!([{"action": "set-properties", "updates": {"write.data.path": place}}]);
        assert_eq!(
            lake.commit("second", data),
            Err(Kind::BadRequest),
            "{place}"
        );
        let metadata =
            json!([{"action": "set-properties", "updates": {"write.metadata.path": place}}]);
        assert_eq!(
            lake.commit("second", metadata),
            Err(Kind::BadRequest),
            "{place}"
        );
    }
    assert_eq!(lake.everything(), before, "nothing touched the disk");
    lake.create("allowed", Some(lake.at("allowed/t"))).unwrap();
    let data = lake.at("warehouse/shared");
    let data = json!([{"action": "set-properties", "updates": {"write.data.path": data}}]);
    assert_eq!(lake.commit("second", data), Ok(()));
}

#[test]
fn two_new_tables_of_one_transaction_do_not_get_the_same_place() {
    let lake = Lake::open();
    let change = |name: &str, place: &str| TableChange {
        ident: ident(name),
        requirements: vec![TableRequirement::NotExist],
        updates: vec![
            TableUpdate::SetLocation {
                location: lake.at(place),
            },
            TableUpdate::AddSchema { schema: schema() },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ],
    };
    let both = vec![change("a", "warehouse/x"), change("b", "warehouse/x/y")];
    let refused = lake.catalog.commit_tables(both).unwrap_err().kind;
    assert_eq!(refused, Kind::BadRequest);
}

#[test]
fn registering_takes_no_place_of_another_table() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let loaded = lake.catalog.load(&ident("t")).unwrap();
    let metadata = loaded.metadata_location.unwrap();
    let twice = lake
        .catalog
        .register_table(&ident("again"), &metadata, Register::New);
    assert_eq!(twice.unwrap_err().kind, Kind::BadRequest);
    let kept = lake.folder.path().join("outside/v1.metadata.json");
    std::fs::copy(metadata.trim_start_matches("file://"), kept).unwrap();
    lake.catalog
        .drop_table(&ident("t"), Purge::Nothing)
        .unwrap();
    let outside = lake.at("outside/v1.metadata.json");
    let foreign = lake
        .catalog
        .register_table(&ident("t"), &outside, Register::New);
    assert_eq!(foreign.unwrap_err().kind, Kind::BadRequest);
    lake.catalog
        .register_table(&ident("t"), &metadata, Register::New)
        .unwrap();
}

#[test]
fn a_stale_snapshot_is_a_conflict_and_not_bad_input() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let list = lake.at("warehouse/n/t/metadata/l.avro");
    let main = |id| set_ref("main", "branch", id);
    lake.commit("t", json!([snapshot(1, None, 1, &list), main(1)]))
        .unwrap();
    lake.commit(
        "t",
        json!([snapshot(2, Some(1), 2, &list), set_ref("side", "branch", 2)]),
    )
    .unwrap();
    // Made by somebody who had not seen the snapshot on the other branch.
    let late = lake.commit("t", json!([snapshot(3, Some(1), 2, &list), main(3)]));
    assert_eq!(late, Err(Kind::CommitFailed));
    lake.commit("t", json!([snapshot(3, Some(1), 3, &list), main(3)]))
        .unwrap();
}

#[test]
fn a_snapshot_that_a_tag_names_is_not_removed_and_statistics_go_with_theirs() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let list = lake.at("warehouse/n/t/metadata/l.avro");
    let stats = lake.at("warehouse/n/t/metadata/s");
    let main = |id| set_ref("main", "branch", id);
    lake.commit("t", json!([snapshot(1, None, 1, &list), main(1)]))
        .unwrap();
    let more = json!([statistics(&stats), partition_statistics(&stats)]);
    lake.commit("t", more).unwrap();
    lake.commit("t", json!([snapshot(2, Some(1), 2, &list), main(2)]))
        .unwrap();
    lake.commit("t", json!([set_ref("audit", "tag", 1)]))
        .unwrap();
    let expire = json!([{"action": "remove-snapshots", "snapshot-ids": [1]}]);
    assert_eq!(lake.commit("t", expire.clone()), Err(Kind::CommitFailed));
    let untag = json!([{"action": "remove-snapshot-ref", "ref-name": "audit"}, expire[0]]);
    lake.commit("t", untag).unwrap();
    let metadata = lake.catalog.load(&ident("t")).unwrap().metadata;
    assert_eq!(metadata.snapshots().len(), 1);
    assert_eq!(metadata.statistics_iter().len(), 0);
    assert_eq!(metadata.partition_statistics_iter().len(), 0);
}

#[test]
fn a_new_location_has_the_next_metadata() {
    let lake = Lake::open();
    lake.create("t", None).unwrap();
    let place = lake.at("warehouse/moved");
    lake.commit("t", json!([{"action": "set-location", "location": place}]))
        .unwrap();
    let loaded = lake.catalog.load(&ident("t")).unwrap();
    let metadata = loaded.metadata_location.unwrap();
    assert!(
        metadata.starts_with(&format!("{place}/metadata/00001-")),
        "{metadata}"
    );
}

#[test]
fn a_namespace_touches_the_one_around_it() {
    let lake = Lake::open();
    let levels = |names: &[&str]| NamespaceIdent::from_strs(names).unwrap();
    for inner in [&["n", "b"][..], &["p", "q", "r"][..]] {
        lake.catalog
            .create_namespace(&levels(inner), BTreeMap::new())
            .unwrap();
    }
    let outer = lake.catalog.drop_namespace(&levels(&["n"]));
    assert_eq!(outer.unwrap_err().kind, Kind::NamespaceNotEmpty);
    let there = lake.catalog.namespace(&levels(&["p", "q"]));
    assert!(there.is_ok(), "parents come with their children");
    // Who saw the outer one empty, and drops it when something has come into it, is too late.
    let outer = levels(&["late"]);
    let made = lake.catalog.create_namespace(&outer, BTreeMap::new());
    made.unwrap();
    let drop = pointers::drop_namespace(&lake.storage, &outer).unwrap();
    let inner = lake
        .catalog
        .create_namespace(&levels(&["late", "inner"]), BTreeMap::new());
    inner.unwrap();
    let dropped = lake.storage.commit_blocking(drop);
    assert!(
        matches!(dropped, Err(lw_storage::CommitError::Conflict { .. })),
        "{dropped:?}"
    );
    let place = BTreeMap::from([("location".to_owned(), lake.at("outside"))]);
    let refused = lake.catalog.create_namespace(&levels(&["z"]), place);
    assert_eq!(refused.unwrap_err().kind, Kind::BadRequest);
}

/// A table `n.b` and a namespace `n.b` are two things, in whatever order they come.
#[test]
fn a_namespace_beside_a_table_of_its_name_has_a_folder_of_its_own() {
    let lake = Lake::open();
    let table_first = lake.create("b", None).unwrap();
    let beside = NamespaceIdent::from_strs(["n", "b"]).unwrap();
    let inner = NamespaceIdent::from_strs(["n", "b", "c"]).unwrap();
    for namespace in [&beside, &inner] {
        let made = lake.catalog.create_namespace(namespace, BTreeMap::new());
        made.unwrap();
    }
    let place = |namespace: &NamespaceIdent| {
        let properties = lake.catalog.namespace(namespace).unwrap();
        properties["location"].clone()
    };
    for namespace in [&beside, &inner] {
        let of = |name: &str| Creation {
            ident: TableIdent::new(namespace.clone(), name.into()),
            ..creation(name, None, &[])
        };
        let made = lake.catalog.create_table(of("t")).unwrap();
        assert_eq!(made.metadata.location(), format!("{}/t", place(namespace)));
        // An engine that goes by the namespace's location, and one that stages.
        let wish = Some(format!("{}/u", place(namespace)));
        let wished = Creation {
            location: wish,
            ..of("u")
        };
        lake.catalog.create_table(wished).unwrap();
        lake.catalog.stage_table(of("v")).unwrap();
    }
    assert_eq!(place(&beside), format!("{table_first}.namespace"));
    assert_eq!(place(&inner), format!("{table_first}.namespace/c"));
    // A table that took the folder of a namespace that was empty.
    let late = NamespaceIdent::new("late".into());
    lake.catalog
        .create_namespace(&late, BTreeMap::new())
        .unwrap();
    lake.create("thief", Some(place(&late))).unwrap();
    let made = lake.catalog.create_table(Creation {
        ident: TableIdent::new(late.clone(), "t".into()),
        ..creation("t", None, &[])
    });
    assert_eq!(
        made.unwrap().metadata.location(),
        lake.at("warehouse/late.namespace/t")
    );
}

#[test]
fn a_place_stays_its_tables_when_somebody_removed_the_folder() {
    let lake = Lake::open();
    let place = lake.create("t", None).unwrap();
    let renamed = lake.catalog.rename_table(&ident("t"), &ident("u"));
    renamed.unwrap();
    std::fs::remove_dir_all(place.trim_start_matches("file://")).unwrap();
    let other = lake.create("t", None).unwrap();
    assert!(other.starts_with(&format!("{place}-")), "{other}");
}
