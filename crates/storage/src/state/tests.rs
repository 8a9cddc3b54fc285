//! What must not come to pass when files are put in the place of others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use lw_protocol::{BatchBuilder, Compression};

use super::*;
use crate::snapshot::Snapshot;

const TOPIC: Uuid = Uuid::from_u128(1);
const FILES: RangeInclusive<FileNumber> = FileNumber(1)..=FileNumber(2);

fn log(partition: i32) -> LogId {
    LogId {
        topic: TOPIC,
        partition,
    }
}

fn apply(state: &mut State, record: &Record<Bytes>, at: Offset) {
    let mut out = BytesMut::new();
    record.encode(at, &mut out);
    state.apply(state.lsn.next(), 64, &out).unwrap();
}

fn append(state: &mut State, partition: i32) {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(1000, None, Some(b"v"), &[]);
    let record = Record::Append {
        log: log(partition),
        appended_at: 0,
        batches: batch.build().unwrap().into_bytes(),
    };
    let end = state.logs[&log(partition)].end;
    apply(state, &record, end);
}

/// Two partitions, each with a record in files 1, 2 and 3; file 3 is not sealed. And the entries of the first two files.
fn state() -> (State, BTreeMap<LogId, Vec<Entry>>) {
    let mut state = State::default();
    let create = Record::CreateTopic {
        id: TOPIC,
        name: "t".to_owned(),
        partitions: 2,
        internal: false,
        config: BTreeMap::new(),
    };
    apply(&mut state, &create, Offset::FIRST);
    let mut sealed: BTreeMap<LogId, Vec<Entry>> = BTreeMap::new();
    for file in [1, 2, 3] {
        append(&mut state, 0);
        append(&mut state, 1);
        if FILES.contains(&FileNumber(file)) {
            for (log, entries) in state.active_entries() {
                sealed.entry(log).or_default().extend(entries.iter());
            }
            Snapshot::sidecar(&mut state, FileNumber(file), 1000);
        }
    }
    (state, sealed)
}

/// Puts a file with these entries in the place of files 1 and 2; what it panics with.
fn replaced(mut state: State, entries: BTreeMap<LogId, Vec<Entry>>) -> Result<State, String> {
    let logs = entries.into_iter();
    let logs: Vec<_> = logs
        .map(|(log, entries)| (log, Arc::new(entries)))
        .collect();
    let head = Head::of(FileNumber(1), FileNumber(2), 1000, &logs);
    let checked = catch_unwind(AssertUnwindSafe(|| state.assert_holds_all(&FILES, &head)));
    checked.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    })?;
    state.replace(&FILES, &head);
    Ok(state)
}

#[test]
fn a_rewritten_file_stands_for_those_that_it_was_made_of() {
    let (state, entries) = state();
    let state = replaced(state, entries).unwrap();
    assert_eq!(state.first_hole(), None);
    assert_eq!(state.logs[&log(1)].segments.len(), 1);
    assert_eq!(state.sealed[&FileNumber(1)].through, FileNumber(2));
}

#[test]
fn what_died_while_it_was_copied_may_be_missing() {
    let (mut state, mut entries) = state();
    let start = Record::LogStart {
        log: log(0),
        offset: Offset(1),
    };
    apply(&mut state, &start, Offset::FIRST);
    entries.get_mut(&log(0)).unwrap().remove(0);
    assert_eq!(replaced(state, entries).unwrap().first_hole(), None);
}

#[test]
fn nothing_that_is_alive_is_replaced_by_a_file_without_it() {
    type Loss = fn(&mut BTreeMap<LogId, Vec<Entry>>);
    let losses: [(&str, Loss); 3] = [
        ("every log", |logs| drop(logs.remove(&log(1)))),
        ("all offsets", |logs| {
            logs.get_mut(&log(0)).unwrap().pop();
        }),
        ("all offsets", |logs| {
            logs.get_mut(&log(0)).unwrap().remove(0);
        }),
    ];
    for (what, lose) in losses {
        let (state, mut entries) = state();
        lose(&mut entries);
        let panic = replaced(state, entries).expect_err("a file goes that is needed");
        assert!(panic.contains(&format!("has {what}")), "{panic}");
    }
}

#[test]
fn logs_move_when_their_ends_do_when_their_topic_grows_and_when_they_go() {
    let (mut state, _) = state();
    assert_eq!(state.take_moved(), [log(0), log(1)]);
    append(&mut state, 1);
    assert_eq!(state.take_moved(), [log(1)]);
    let grow = Record::CreatePartitions {
        id: TOPIC,
        total: 3,
    };
    apply(&mut state, &grow, Offset::FIRST);
    assert_eq!(state.take_moved(), [log(0), log(1)], "the old ones");
    let put = Record::Put {
        table: Table::Groups,
        key: Bytes::from_static(b"k"),
        value: None,
    };
    apply(&mut state, &put, Offset::FIRST);
    assert_eq!(state.take_moved(), []);
    apply(
        &mut state,
        &Record::DeleteTopic { id: TOPIC },
        Offset::FIRST,
    );
    assert_eq!(state.take_moved(), [log(0), log(1), log(2)]);
}
