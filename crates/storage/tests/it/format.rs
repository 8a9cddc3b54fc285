//! Folders of the current format must keep opening with everything in them; those of an older one are refused by name.
//!
//! `tests/format/v5` was written once by [`write`] (set `LAKEWARD_WRITE_FORMAT` to write the current format anew, into
//! a new folder, when the format changes) and is opened from a copy. It ends as after kill -9: a sealed file with its
//! sidecar, a checkpoint, and a tail to replay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lw_storage::source::LogSource;
use lw_storage::{Config, Expect, Op, Storage, Table, Uuid};
use tempfile::tempdir;

use crate::kit::{append, batch, idempotent, records, try_open};

const EVENTS: Uuid = Uuid::from_u128(0xE1);
const GONE: Uuid = Uuid::from_u128(0xE2);
const SCHEMAS: Uuid = Uuid::from_u128(0xE3);

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/format")
        .join(version)
}

fn small(dir: &Path) -> Config {
    Config {
        wal_file_bytes: 4 << 10,
        retention_check_ms: 0,
        min_free_bytes: 0,
        ..Config::new(dir)
    }
}

fn topic(id: Uuid, name: &str, partitions: i32, internal: bool) -> Op {
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    Op::CreateTopic {
        name: name.to_owned(),
        id,
        partitions,
        config,
        internal,
    }
}

fn put(table: Table, key: &'static str, value: Option<&'static str>) -> Op {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    Op::Put {
        table,
        key: bytes(key),
        value: value.map(bytes),
        expect: Expect::Any,
    }
}

/// Every kind of record, on both sides of a seal.
fn write(dir: &Path) {
    let storage = try_open(small(dir)).unwrap();
    let first = vec![
        topic(EVENTS, "events", 1, false),
        topic(GONE, "gone", 1, false),
        topic(SCHEMAS, "_schemas", 1, true),
    ];
    storage.commit_blocking(first).unwrap();
    let all: Vec<Op> = Table::ALL
        .into_iter()
        .map(|table| put(table, "key", Some("value")))
        .collect();
    storage.commit_blocking(all).unwrap();
    append(&storage, EVENTS, 0, idempotent(7, 0, 0, &["a", "b"])).unwrap();
    append(&storage, SCHEMAS, 0, batch(&["schema"])).unwrap();
    for n in 0..40 {
        append(
            &storage,
            EVENTS,
            0,
            idempotent(7, 0, 2 + n, &[&format!("filler {n}")]),
        )
        .unwrap();
    }
    storage
        .commit_blocking(vec![Op::CreatePartitions {
            id: EVENTS,
            total: 2,
        }])
        .unwrap();
    let config = BTreeMap::from([("retention.bytes".to_owned(), "77".to_owned())]);
    let second = vec![
        Op::AlterConfig { id: EVENTS, config },
        Op::DeleteTopic { id: GONE },
        Op::DeleteRecords {
            topic: EVENTS,
            partition: 0,
            before: 1,
        },
        put(Table::Catalog, "key", None),
        put(Table::Cluster, "tail", Some("replayed")),
    ];
    storage.commit_blocking(second).unwrap();
    append(&storage, EVENTS, 1, batch(&["x"])).unwrap();
    storage.upkeep(); // the sealed file's sidecar, and the checkpoint
    assert!(storage.stats().wal_files >= 2);
    // Not closed: the tail is replayed.
}

fn check(storage: &Storage) {
    let events = storage.topic("events").unwrap();
    assert_eq!((events.partitions, events.internal), (2, false));
    assert_eq!(
        *events.config.given(),
        BTreeMap::from([("retention.bytes".to_owned(), "77".to_owned())])
    );
    assert!(storage.topic("_schemas").unwrap().internal);
    assert!(storage.topic("gone").is_none());
    let log = records(storage, EVENTS, 0);
    assert_eq!(
        log.len(),
        42,
        "the batch that holds offset 1 is given whole"
    );
    assert_eq!(log.first().unwrap(), "0=a");
    assert_eq!(log.last().unwrap(), "41=filler 39");
    assert_eq!(storage.bounds(EVENTS, 0).unwrap().log_start, 1);
    assert_eq!(records(storage, EVENTS, 1), ["0=x"]);
    assert_eq!(records(storage, SCHEMAS, 0), ["0=schema"]);
    assert_eq!(storage.get(Table::Catalog, b"key"), None);
    assert_eq!(storage.get(Table::Cluster, b"tail").unwrap(), "replayed");
    for table in Table::ALL
        .into_iter()
        .filter(|table| *table != Table::Catalog)
    {
        assert_eq!(storage.get(table, b"key").unwrap(), "value", "{table:?}");
    }
    assert_eq!(
        storage
            .read("events", &BTreeMap::new(), 1 << 20)
            .unwrap()
            .len(),
        42
    );
    assert_eq!(
        storage.offset_for_time(EVENTS, 0, 1001),
        Ok(Some((1, 1001)))
    );
    let again = append(storage, EVENTS, 0, idempotent(7, 0, 41, &["filler 39"])).unwrap();
    assert!(again.duplicate && again.base_offset == 41);
    assert_eq!(
        append(storage, EVENTS, 1, batch(&["y"]))
            .unwrap()
            .base_offset,
        1
    );
}

#[test]
fn folders_of_formats_2_to_5_open_with_everything_in_them() {
    if std::env::var_os("LAKEWARD_WRITE_FORMAT").is_some() {
        std::fs::create_dir_all(folder("v5")).unwrap();
        write(&folder("v5"));
    }
    for version in ["v2", "v3", "v4", "v5"] {
        let dir = tempdir().unwrap();
        copy(&folder(version), dir.path());
        let storage = try_open(small(dir.path())).unwrap();
        let cluster = storage.cluster_id();
        check(&storage);
        storage.close();
        // From now on it is one of the newest format.
        let meta = std::fs::read_to_string(dir.path().join("meta")).unwrap();
        assert!(meta.starts_with(r#"{"format":5,"#), "{meta}");
        let storage = try_open(small(dir.path())).unwrap();
        assert_eq!(storage.cluster_id(), cluster);
        assert_eq!(records(&storage, EVENTS, 1), ["0=x", "1=y"]);
    }
}

/// The time that a batch was appended at is the log's word, whichever file it stands in. Indexes of format 2 had no place for it.
#[test]
fn when_a_batch_was_appended_is_the_same_at_every_reading() {
    let appended = |storage: &Storage| {
        let read = storage.read("events", &BTreeMap::new(), 1 << 20).unwrap();
        let at = read.iter().map(|batch| batch.appended_at);
        at.collect::<Vec<i64>>()
    };
    let dir = tempdir().unwrap();
    write(dir.path());
    // From sidecars and from what was replayed; then from sidecars that were made anew.
    let first = appended(&try_open(small(dir.path())).unwrap());
    assert!(first.iter().all(|at| *at > 0), "{first:?}");
    assert!(first.is_sorted(), "{first:?}");
    for entry in std::fs::read_dir(dir.path().join("wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(appended(&try_open(small(dir.path())).unwrap()), first);

    let dir = tempdir().unwrap();
    copy(&folder("v3"), dir.path());
    let of_older = appended(&try_open(small(dir.path())).unwrap());
    assert_eq!(of_older.len(), first.len());
    assert_eq!(of_older[0], 0, "its index does not say");
    assert!(of_older.last().is_some_and(|at| *at > 0), "it was replayed");
}

/// What the wall clock showed is the log's word too; folders of format 4 have none of it, and begin to.
#[test]
fn what_the_wall_clock_showed_is_known_from_format_5_on() {
    let walls = |dir: &Path| {
        let storage = try_open(small(dir)).unwrap();
        append(&storage, EVENTS, 1, batch(&["z"])).unwrap();
        let read = storage.read("events", &BTreeMap::new(), 1 << 20).unwrap();
        let walls: Vec<Option<i64>> = read.iter().map(|batch| batch.wall).collect();
        assert!(walls.last().is_some_and(Option::is_some), "{walls:?}");
        walls.iter().filter(|wall| wall.is_none()).count()
    };
    for (version, unknown) in [("v4", 42), ("v5", 0)] {
        let dir = tempdir().unwrap();
        copy(&folder(version), dir.path());
        assert_eq!(walls(dir.path()), unknown, "{version}");
        assert_eq!(walls(dir.path()), unknown, "{version} again");
    }
}

#[test]
fn a_flipped_bit_in_meta_is_told() {
    let dir = tempdir().unwrap();
    try_open(small(dir.path())).unwrap().close();
    let path = dir.path().join("meta");
    let meta = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for byte in 0..meta.len() {
        let mut meta = meta.clone();
        meta[byte] ^= 1;
        std::fs::write(&path, &meta).unwrap();
        refused += usize::from(try_open(small(dir.path())).is_err());
    }
    assert_eq!(refused, meta.len());
}

#[test]
fn folders_of_format_1_are_refused_with_what_to_do() {
    let dir = tempdir().unwrap();
    copy(&folder("v1"), dir.path());
    let refused = try_open(small(dir.path())).err().unwrap().to_string();
    let expected = "the data folder has format 1, of an earlier version; this version reads formats 2 to 5. \
                    Go on with the version that wrote it, or begin a new folder";
    assert_eq!(refused, expected);
}

#[test]
fn what_is_written_now_reads_back_as_format_5() {
    let dir = tempdir().unwrap();
    write(dir.path());
    check(&try_open(small(dir.path())).unwrap());
    // The head of the first WAL file does not depend on time or chance: its bytes are the format.
    let head = |dir: &Path| {
        std::fs::read(dir.join("wal/00000000000000000001.wal")).unwrap()[..64].to_vec()
    };
    assert_eq!(head(dir.path()), head(&folder("v5")));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
