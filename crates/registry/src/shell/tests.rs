//! What happens beside a request that takes its time, and after one that panics.

use std::sync::Arc;

use lw_schemas::{Json, SchemaLookup};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Storage};

use super::*;
use crate::core::Fault;

struct Fixture {
    _folder: tempfile::TempDir,
    storage: Storage,
    registry: Registry,
}

fn fixture(fault: Option<Fault>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        wal_file_bytes: 1 << 20,
        ..Config::new(folder.path())
    };
    let storage = Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), config).unwrap();
    let registry = open(&storage, fault).unwrap();
    Fixture {
        _folder: folder,
        storage,
        registry,
    }
}

fn open(storage: &Storage, fault: Option<Fault>) -> Result<Registry, OpenError> {
    let options = Options {
        fault,
        ..Options::default()
    };
    Registry::open_with(storage.clone(), Arc::new(SystemClock::new()), options)
}

fn register(registry: &Registry, subject: &str, schema: &str) -> (u16, String) {
    let body = Json::object([("schema", Json::string(schema))]).to_string();
    let outcome = registry.handle(&Request {
        method: "POST",
        path: &format!("/subjects/{subject}/versions"),
        query: "",
        body: body.as_bytes(),
    });
    (outcome.status, outcome.body)
}

fn get(registry: &Registry, path: &str) -> (u16, String) {
    let outcome = registry.handle(&Request {
        method: "GET",
        path,
        query: "",
        body: b"",
    });
    (outcome.status, outcome.body)
}

/// What a request looks at for as long as it compares; others write and read meanwhile, on this very thread.
#[test]
fn who_compares_keeps_nobody_waiting() {
    let fixture = fixture(None);
    let registry = &fixture.registry;
    assert_eq!(register(registry, "s", "\"int\"").0, 200);
    let (looking, seen) = registry.0.snapshot_at();
    assert_eq!(register(registry, "t", "\"string\"").0, 200);
    assert_eq!(register(registry, "u", "\"long\"").0, 200);
    assert_eq!(registry.schema_by_id(3).as_deref(), Some("\"long\""));
    assert_eq!(registry.subject_latest("t").map(|found| found.0), Some(2));
    assert!(looking.state().latest("t").is_none(), "it is a snapshot");
    assert!(registry.0.snapshot_at().1 > seen);
    drop(looking);
    assert_eq!(get(registry, "/subjects").1, r#"["s","t","u"]"#);
}

/// Somebody writes between the decision and the write: it is decided again, and no id is given twice.
#[test]
fn many_who_register_at_once_get_ids_of_their_own() {
    let fixture = fixture(None);
    let registry = &fixture.registry;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..20 {
                    let schema = format!(r#"{{"type":"fixed","name":"f{thread}_{n}","size":1}}"#);
                    assert_eq!(
                        register(registry, &format!("s{thread}-{n}"), &schema).0,
                        200
                    );
                    if n % 5 == 0 {
                        assert_eq!(get(registry, "/config").0, 200);
                    }
                }
            });
        }
    });
    let replayed = open(&fixture.storage, None).unwrap();
    for registry in [registry, &replayed] {
        let state = registry.0.snapshot();
        assert_eq!(state.state().highest_id(), 160);
        assert_eq!(state.state().subjects().count(), 160);
    }
}

#[test]
fn a_request_that_panics_harms_no_other() {
    let path = "/subjects/bad/versions".to_owned();
    let fixture = fixture(Some(Fault::PanicInHandler(path)));
    let registry = &fixture.registry;
    assert_eq!(register(registry, "s", "\"int\"").0, 200);
    let panicking = || register(registry, "bad", "\"int\"");
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    assert_eq!(register(registry, "s", "\"long\"").0, 200);
    assert_eq!(get(registry, "/subjects/s/versions").1, "[1,2]");
    assert_eq!(registry.trouble(), None);
}

/// Half of a record may be applied: nobody is told anything from such a state.
#[test]
fn a_panic_while_a_record_is_applied_is_told_and_ends_with_the_next_start() {
    let fixture = fixture(Some(Fault::PanicInApply("bad".into())));
    let registry = &fixture.registry;
    assert_eq!(register(registry, "s", "\"int\"").0, 200);
    let (status, body) = register(registry, "bad", "\"int\"");
    assert_eq!(status, 500);
    assert!(body.contains("planted in the subject bad"), "{body}");
    assert_eq!(get(registry, "/subjects").0, 500);
    assert_eq!(register(registry, "s", "\"long\"").0, 500);
    let trouble = registry.trouble().unwrap();
    assert!(
        trouble.starts_with("the schema registry serves nothing any more: it panicked while"),
        "{trouble}"
    );
    // A registry that cannot read its topic does not start; one without the bug finds everything.
    let refused = open(&fixture.storage, Some(Fault::PanicInApply("bad".into())));
    assert!(matches!(refused, Err(OpenError::Read(_))));
    let again = open(&fixture.storage, None).unwrap();
    assert_eq!(get(&again, "/subjects").1, r#"["bad","s"]"#);
}
