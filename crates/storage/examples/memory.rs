//! What the log keeps in memory as it grows: `cargo run --release -p lw-storage --example memory [FOLDER] [FILES]`.
//!
//! Small batches through 48 partitions, a reader close behind, until so many WAL files are sealed; the process's resident
//! memory after each. Back of the envelope: 16 MiB of tail, 16 MiB of index entries in use, the active file's entries (40
//! bytes a batch, so 5 MB for batches of 500 bytes), and 56 bytes for each partition of a sealed file. It must not grow with
//! the number of files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::source::LogSource;
use lw_storage::{Config, Op, Storage, Uuid};

const TOPIC: Uuid = Uuid::from_u128(0x6d656d);
const PARTITIONS: i32 = 48;
/// Requests on their way at a time.
const IN_FLIGHT: usize = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(
        || std::env::temp_dir().join("lakeward-memory"),
        PathBuf::from,
    );
    let files: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(20);
    let config = Config::new(&dir);
    let storage = Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), config)
        .expect("the folder opens");
    storage.holds_ready();
    if storage.topic_by_id(TOPIC).is_none() {
        let create = Op::CreateTopic {
            name: "t".to_owned(),
            id: TOPIC,
            partitions: PARTITIONS,
            config: BTreeMap::from([("retention.bytes".to_owned(), "1000000".to_owned())]),
            internal: false,
        };
        storage
            .commit_blocking(vec![create])
            .expect("the topic is created");
    }
    fill(&storage, files);
    storage.close();
}

fn fill(storage: &Storage, files: u64) {
    let batch = {
        let mut builder = BatchBuilder::new(Compression::None);
        (0..4).for_each(|n| builder.push(n, None, Some(&[b'v'; 90]), &[]));
        builder.build().expect("a batch").into_bytes()
    };
    let mut from = BTreeMap::new();
    let (mut written, mut sealed) = (0, 0);
    while sealed < files {
        append(storage, &batch);
        written += IN_FLIGHT * batch.len();
        read(storage, &mut from);
        if written as u64 / (64 << 20) > sealed {
            sealed += 1;
            storage.run_retention();
            eprintln!("{sealed} files: {} KiB resident", resident());
        }
    }
}

fn append(storage: &Storage, batch: &Bytes) {
    let (sender, receiver) = channel();
    for n in 0..IN_FLIGHT {
        let sender = sender.clone();
        let partition = n as i32 % PARTITIONS;
        storage.append(TOPIC, partition, batch.clone(), move |result| {
            result.expect("appended");
            let _ = sender.send(());
        });
    }
    drop(sender);
    while receiver.recv().is_ok() {}
}

fn read(storage: &Storage, from: &mut BTreeMap<i32, i64>) {
    for batch in storage.read("t", from, 4 << 20).expect("the log reads") {
        let header = lw_protocol::BatchHeader::parse(&batch.bytes).expect("a batch");
        from.insert(batch.partition, header.last_offset() + 1);
    }
}

/// KiB of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}
