//! What a savepoint is not: an unfinished one, another program's, a newer one, a damaged one.

use super::*;
use crate::manifest::{SplitOffset, State};
use crate::state::{Link, OperatorState, StoredRows, StoredSection};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::disk::{Disk, read_all, write_atomic};
use std::path::Path;
use std::sync::Arc;

const STATES: &str = "/data/state";
const FOLDER: &str = "/savepoints/s";

fn disk() -> SimDisk {
    let disk = SimDisk::new(7, Arc::new(SimClock::new()));
    write_atomic(&disk, &Path::new(STATES).join("counts"), b"rows").expect("it is written");
    disk
}

/// A job that counts, and stands at 5 with all of its commits confirmed.
fn manifest() -> Manifest {
    let at = vec![SplitOffset {
        topic: "in".into(),
        partition: 0,
        next: 5,
    }];
    let mut manifest = Manifest::new(Uuid::from_u128(1));
    manifest.stand_at("lake.t", &at);
    let counts = OperatorState {
        sections: vec![StoredSection {
            name: "windows".into(),
            groups: (0, 128),
            links: vec![Link {
                ids: Vec::new(),
                dropped: Vec::new(),
                rows: vec![StoredRows {
                    rows: 1,
                    inline: None,
                    file: Some(StateFile {
                        name: "counts".into(),
                        bytes: 4,
                        check: crc32c::crc32c(b"rows"),
                    }),
                }],
            }],
        }],
        ..OperatorState::default()
    };
    let operators = [(OperatorUid::of("counts"), counts)].into();
    manifest.state = Some(State::new(at, ["lake.t".to_string()].into(), operators));
    manifest
}

fn take(disk: &dyn Disk) -> Result<(), SavepointError> {
    let (states, folder) = (Path::new(STATES), Path::new(FOLDER));
    reserve(disk, folder, "INSERT")?;
    let manifest = manifest();
    let files = write_state(disk, states, folder, &manifest)?;
    let saved = Saved {
        id: Uuid::from_u128(1),
        name: "p",
        sql: "INSERT",
        plans: &[],
        settings: &BTreeMap::new(),
        inserts: Vec::new(),
        created_ms: 1,
    };
    write(disk, folder, saved, &[("0/lake.t".into(), manifest)], files)
}

fn open(disk: &dyn Disk) -> Result<Savepoint, SavepointError> {
    Savepoint::open(disk, Path::new(FOLDER))
}

fn refused(disk: &dyn Disk) -> (String, String) {
    let error = open(disk).err().expect("it is refused");
    (error.to_string(), error.hint())
}

#[test]
fn what_is_written_is_what_is_read() {
    let disk = disk();
    take(&disk).expect("it is written");
    let read = open(&disk).expect("it is whole");
    assert_eq!(read.manifests["0/lake.t"], manifest());
    assert_eq!(read.about.name, "p");
    let again = take(&disk).expect_err("one is there");
    assert_eq!(again.to_string(), "/savepoints/s is not empty");
}

/// The power goes at every step of its writing.
#[test]
fn a_savepoint_is_whole_or_it_is_none() {
    let (mut kills, mut none) = (0, 0);
    for after in 1.. {
        let disk = disk();
        disk.cause(Trouble::PowerOff { after });
        let done = take(&disk);
        let killed = disk.is_off();
        disk.crash();
        match open(&disk) {
            Ok(read) => assert_eq!(read.manifests["0/lake.t"], manifest()),
            Err(SavepointError::None { .. }) => {
                assert!(done.is_err(), "it was there when its writing was over");
                none += 1;
            }
            Err(other) => panic!("{other}"),
        }
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 15 && none >= 10, "{kills} kills, {none} left none");
}

#[test]
fn what_is_left_of_one_that_failed_is_not_in_the_way_of_the_next() {
    let disk = disk();
    disk.remove(&Path::new(STATES).join("counts"))
        .expect("it is there");
    let error = take(&disk).expect_err("its state is gone").to_string();
    assert!(
        error.starts_with("a file of the state cannot be written or read: counts"),
        "{error}"
    );
    discard(&disk, Path::new(FOLDER));
    write_atomic(&disk, &Path::new(STATES).join("counts"), b"rows").expect("it is written");
    take(&disk).expect("the folder is free");
}

#[test]
fn what_is_no_savepoint_says_what_it_is() {
    let disk = disk();
    let none = "/savepoints/s is no savepoint: ";
    let put = |name: &str| {
        let path = Path::new(FOLDER).join(name);
        write_atomic(&disk, &path, b"x").expect("it is written");
    };
    let (error, hint) = refused(&disk);
    assert_eq!(
        error,
        format!("{none}there is no folder of this name, or nothing is in it")
    );
    assert!(
        hint.contains("the machine that the server runs on"),
        "{hint}"
    );
    put("notes");
    assert_eq!(refused(&disk).0, format!("{none}it has no savepoint.json"));
    put("_metadata");
    let (error, hint) = refused(&disk);
    assert_eq!(
        error,
        format!("{none}Apache Flink made it, and its state is in Java's form")
    );
    assert!(hint.starts_with("Stop the Flink job"), "{hint}");
    disk.remove(&Path::new(FOLDER).join("_metadata"))
        .expect("it is there");
    put("script.sql");
    let (error, hint) = refused(&disk);
    assert_eq!(
        error,
        format!("{none}it has no savepoint.json, so its writing did not come to an end")
    );
    assert!(hint.starts_with("Remove the folder"), "{hint}");
}

#[test]
fn a_newer_savepoint_is_not_half_understood() {
    let disk = disk();
    take(&disk).expect("it is written");
    let about = br#"{"format": 2, "lakeward": "9.1.0", "what": "is new"}"#;
    write_atomic(&disk, &Path::new(FOLDER).join(ABOUT), about).expect("it is written");
    let (error, hint) = refused(&disk);
    assert_eq!(
        error,
        "the savepoint in /savepoints/s has format 2; this version reads format 1"
    );
    assert_eq!(hint, "Start it with Lakeward 9.1.0, which wrote it.");
}

/// A bit of every byte of every file in turn.
#[test]
fn no_byte_of_a_savepoint_can_change_unnoticed() {
    let disk = disk();
    take(&disk).expect("it is written");
    let about = open(&disk).expect("it is whole").about;
    let names = about.files.keys().cloned().chain([ABOUT.to_string()]);
    let mut flips = 0;
    for name in names {
        let path = Path::new(FOLDER).join(&name);
        let bytes = read_all(&disk, &path).expect("it can be read");
        for position in 0..bytes.len() {
            let mut other = bytes.clone();
            other[position] ^= 1;
            write_atomic(&disk, &path, &other).expect("it is written");
            // JSON has spaces that mean nothing, and nothing is in them.
            let same = open(&disk).is_ok_and(|read| read.about == about);
            assert!(
                !same || bytes[position].is_ascii_whitespace(),
                "{name}@{position}"
            );
            flips += 1;
        }
        write_atomic(&disk, &path, &bytes).expect("it is written");
    }
    assert!(flips > 1000, "{flips}");
    open(&disk).expect("it is whole again");
    disk.remove(&Path::new(FOLDER).join("state/counts"))
        .expect("it is there");
    assert_eq!(
        refused(&disk).0,
        "the savepoint in /savepoints/s is damaged: state/counts is missing"
    );
}
