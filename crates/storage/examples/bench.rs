//! How fast the log is on this machine: `cargo run --release -p lw-storage --example bench [FOLDER] [MIB]`.
//!
//! Back of the envelope: a 64 KiB append with its fdatasync takes 130 µs in a preallocated file, so one producer that waits
//! for each ack gets about 500 MB/s of a disk that can do it, and p99 is the disk's. Many producers share a sync. Reading
//! the tail is memory; reading sealed files is one pread and one CRC pass (10 GB/s a core).

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and each run takes a topic of its own"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::source::LogSource;
use lw_storage::{Config, Op, Storage, Uuid};

fn open(dir: &std::path::Path) -> Storage {
    let config = Config {
        retention_check_ms: 0,
        ..Config::new(dir)
    };
    Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), config)
        .expect("the folder opens")
}

fn batch(records: usize, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    (0..records).for_each(|n| builder.push(n as i64, None, Some(value), &[]));
    builder.build().expect("a batch").into_bytes()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(
        || std::env::temp_dir().join("lakeward-bench"),
        PathBuf::from,
    );
    let mib: usize = args
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(512);
    let storage = open(&dir);
    let topic = Uuid::new_v4();
    let create = Op::CreateTopic {
        name: topic.to_string(),
        id: topic,
        partitions: 48,
        config: BTreeMap::new(),
        internal: false,
    };
    storage
        .commit_blocking(vec![create])
        .expect("the topic is created");
    let batch = batch(640, &[b'v'; 92]);
    let count = (mib << 20) / batch.len();
    for in_flight in [1, 8, 64] {
        appending(&storage, topic, &batch, count / 3, in_flight);
    }
    reading(&storage, &topic.to_string());
    drop(storage);
    let start = Instant::now();
    let storage = open(&dir);
    let stats = storage.stats();
    report("open again", start.elapsed(), stats.wal_bytes as usize);
    storage.close();
}

fn appending(storage: &Storage, topic: Uuid, batch: &Bytes, count: usize, in_flight: usize) {
    let (sender, receiver) = channel();
    let start = Instant::now();
    let mut latencies = Vec::with_capacity(count);
    for n in 0..count + in_flight {
        if n >= in_flight {
            latencies.push(receiver.recv().expect("an answer"));
        }
        if n < count {
            let (sender, sent) = (sender.clone(), Instant::now());
            storage.append(topic, (n % 48) as i32, batch.clone(), move |result| {
                result.expect("appended");
                let _ = sender.send(sent.elapsed());
            });
        }
    }
    let took = start.elapsed();
    latencies.sort();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    report(
        &format!("append 64 KiB, {in_flight} in flight"),
        took,
        count * batch.len(),
    );
    eprintln!(
        "    p50 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn reading(storage: &Storage, topic: &str) {
    let start = Instant::now();
    let (mut from, mut bytes) = (BTreeMap::new(), 0);
    loop {
        let read = storage.read(topic, &from, 4 << 20).expect("the log reads");
        if read.is_empty() {
            break;
        }
        for batch in read {
            *from.entry(batch.partition).or_insert(0) += 640;
            bytes += batch.bytes.len();
        }
    }
    report("read all partitions in WAL order", start.elapsed(), bytes);
}

fn report(what: &str, took: Duration, bytes: usize) {
    let rate = bytes as f64 / 1e6 / took.as_secs_f64();
    eprintln!(
        "{what}: {:.0} MB in {took:.2?}, {rate:.0} MB/s",
        bytes as f64 / 1e6
    );
}
