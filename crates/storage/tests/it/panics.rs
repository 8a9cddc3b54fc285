//! A panic of a thread ends in a state that says so: every request is answered, queued ones and later ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use lw_sim::{SimClock, SimDisk};
use lw_storage::{
    AppendError, CommitError, Config, Expect, Fault, Op, Storage, Table, TooLarge, Uuid,
};

use crate::kit::{append, batch, create};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(disk: &SimDisk, fault: Option<Fault>) -> Storage {
    let config = Config {
        wal_file_bytes: 32 << 10,
        min_free_bytes: 0,
        fault,
        ..Config::new("/data")
    };
    Storage::open(Arc::new(disk.clone()), Arc::new(SimClock::new()), config).unwrap()
}

fn put(n: usize) -> Vec<Op> {
    vec![Op::Put {
        table: Table::Cluster,
        key: Bytes::from(n.to_string()),
        value: Some(Bytes::from(vec![b'x'; 600])),
        expect: Expect::Any,
    }]
}

#[test]
fn a_panic_of_any_thread_answers_everyone_and_says_why() {
    for (fault, thread) in [
        (Fault::PanicInWal, "log"),
        (Fault::PanicInApply, "log"),
        (Fault::PanicInUpkeep, "upkeep"),
        (Fault::PanicInSpare, "spare"),
    ] {
        let disk = SimDisk::new(1, Arc::new(SimClock::new()));
        let storage = open(&disk, None);
        let topic = create(&storage, "t", 1);
        storage.close();
        let storage = open(&disk, Some(fault));
        let (sender, answers) = channel();
        // Enough that the spare and the upkeep are asked for; each request gets exactly one answer.
        let mut failed = None;
        for n in 0..2000 {
            let sender = sender.clone();
            storage.commit(put(n), move |result| sender.send(result).unwrap());
            let sender = sender_of_append(&storage, topic);
            let answered = answers.recv_timeout(PATIENCE).expect("an answer");
            sender
                .recv_timeout(PATIENCE)
                .expect("an answer to the append");
            if let Err(CommitError::Failed(reason)) = answered {
                failed = Some(reason);
                break;
            }
        }
        let reason = failed.expect("the panic shows");
        let expected = format!("the storage's {thread} thread panicked: {fault:?} was planted");
        assert_eq!(reason, expected);
        let later = storage.commit_blocking(put(0));
        assert_eq!(later, Err(CommitError::Failed(reason.clone())));
        let stats = storage.stats();
        assert_eq!((stats.failed, stats.write_blocked), (Some(reason), true));
        assert!(storage.bounds(topic, 0).is_some(), "reads go on");
        storage.close();
        let storage = open(&disk, None);
        storage
            .commit_blocking(put(0))
            .expect("a restart looks anew");
    }
}

fn sender_of_append(storage: &Storage, topic: Uuid) -> std::sync::mpsc::Receiver<bool> {
    let (sender, receiver) = channel();
    storage.append(topic, 0, batch(&["v"]), move |result| {
        let _ = sender.send(result.is_ok());
    });
    receiver
}

#[test]
fn a_panic_answers_those_who_share_the_group_and_those_behind_it() {
    let disk = SimDisk::new(1, Arc::new(SimClock::new()));
    let config = Config {
        group_bytes: 1000,
        fault: Some(Fault::PanicInWal),
        ..Config::new("/data")
    };
    let clock = Arc::new(SimClock::new());
    let storage = Storage::open_stepped(Arc::new(disk), clock, config).unwrap();
    let (sender, answers) = channel();
    for n in 0..10 {
        let sender = sender.clone();
        storage.commit(put(n), move |result| sender.send(result).unwrap());
    }
    assert!(storage.step());
    let answers: Vec<_> = answers.try_iter().collect();
    assert_eq!(answers.len(), 10);
    let failed = |answer: &Result<_, _>| matches!(answer, Err(CommitError::Failed(_)));
    assert!(answers.iter().all(failed), "{answers:?}");
    assert!(!storage.step(), "nothing is left");
}

/// The group's assert is not the one to meet it: that would be a panic of the thread that everyone waits for.
#[test]
fn a_commit_that_no_frame_can_hold_is_refused_by_itself() {
    let disk = SimDisk::new(1, Arc::new(SimClock::new()));
    let storage = open(&disk, None);
    let huge = Bytes::from(vec![0; 90 << 20]);
    let ops = |count: usize| -> Vec<Op> {
        let op = |n: usize| Op::Put {
            table: Table::Cluster,
            key: Bytes::from(n.to_string()),
            value: Some(huge.clone()),
            expect: Expect::Any,
        };
        (0..count).map(op).collect()
    };
    let refused = storage.commit_blocking(ops(3));
    assert!(
        matches!(
            refused,
            Err(CommitError::TooLarge {
                what: TooLarge::Bytes,
                ..
            })
        ),
        "{refused:?}"
    );
    let id = Uuid::from_u128(7);
    let create = Op::CreateTopic {
        name: "t".into(),
        id,
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    storage.commit_blocking(vec![create]).unwrap();
    // Each batch is numbered inside its frame; one more would take a number of the next frame.
    let many = batch(&["v"]).repeat((1 << 20) + 1);
    let many = Bytes::from(many);
    let too_many = Op::Append {
        topic: id,
        partition: 0,
        batches: many.clone(),
    };
    let refused = storage.commit_blocking(vec![too_many]);
    let expected = CommitError::TooLarge {
        what: TooLarge::Batches,
        found: (1 << 20) + 1,
        limit: 1 << 20,
    };
    assert_eq!(refused, Err(expected));
    let (found, limit) = ((1 << 20) + 1, 1 << 20);
    let refused = append(&storage, id, 0, many);
    assert_eq!(refused, Err(AppendError::TooManyBatches { found, limit }));
    assert_eq!(storage.stats().failed, None);
    storage.commit_blocking(put(1)).unwrap();
}
