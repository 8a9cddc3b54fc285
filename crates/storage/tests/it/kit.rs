//! Short words for the tests: a storage in a folder, topics, batches, and what a log holds.

#![expect(
    clippy::disallowed_methods,
    reason = "topics on the machine's disk get ids as in life; simulations name theirs"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use lw_protocol::batch::batches;
use lw_protocol::{BatchBuilder, Compression};
use lw_sim::SimClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{AppendError, Appended, Config, Op, OpenError, Storage, Uuid};

/// Files of 1 MiB, so that a test sees many of them.
pub(crate) fn config(dir: &Path) -> Config {
    Config {
        wal_file_bytes: 1 << 20,
        min_free_bytes: 0,
        retention_check_ms: 0, // the batches' timestamps are of 1970
        ..Config::new(dir)
    }
}

/// On the machine's disk and under a clock that stands: no test may depend on the day on which it runs.
pub(crate) fn try_open(config: Config) -> Result<Storage, OpenError> {
    let storage = Storage::open(Arc::new(RealDisk), Arc::new(SimClock::new()), config)?;
    storage.holds_ready();
    Ok(storage)
}

pub(crate) fn open(dir: &Path) -> Storage {
    try_open(config(dir)).unwrap()
}

pub(crate) fn create(storage: &Storage, name: &str, partitions: i32) -> Uuid {
    create_with(storage, name, partitions, &[])
}

pub(crate) fn create_with(
    storage: &Storage,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Uuid {
    let id = Uuid::new_v4();
    let config: BTreeMap<String, String> = configs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let op = Op::CreateTopic {
        name: name.to_owned(),
        id,
        partitions,
        config,
        internal: false,
    };
    storage.commit_blocking(vec![op]).unwrap();
    id
}

/// One batch with these values, timestamps 1000, 1001, …
pub(crate) fn batch(values: &[&str]) -> Bytes {
    build(BatchBuilder::new(Compression::None), values)
}

/// One batch with records of these times.
pub(crate) fn batch_of_times(times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for time in times {
        builder.push(*time, None, Some(b"v"), &[]);
    }
    builder.build().unwrap().into_bytes()
}

pub(crate) fn idempotent(producer: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let builder = BatchBuilder::new(Compression::None).producer(producer, epoch, sequence);
    build(builder, values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for (n, value) in values.iter().enumerate() {
        builder.push(1000 + n as i64, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap().into_bytes()
}

pub(crate) fn append(
    storage: &Storage,
    topic: Uuid,
    partition: i32,
    batches: Bytes,
) -> Result<Appended, AppendError> {
    let (sender, receiver) = mpsc::channel();
    storage.append(topic, partition, batches, move |result| {
        sender.send(result).unwrap()
    });
    receiver.recv().unwrap()
}

/// `offset=value` for every record of the log, by fetching until its end.
pub(crate) fn records(storage: &Storage, topic: Uuid, partition: i32) -> Vec<String> {
    let mut all = Vec::new();
    let mut offset = storage.bounds(topic, partition).unwrap().log_start;
    loop {
        let fetched = storage.fetch(topic, partition, offset, 64 << 10).unwrap();
        if fetched.batches.is_empty() {
            return all;
        }
        for batch in batches(fetched.into_bytes()) {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            offset = batch.header().last_offset() + 1;
            all.extend(lines(&batch));
        }
    }
}

pub(crate) fn lines(batch: &lw_protocol::Batch) -> Vec<String> {
    let records = batch.records().unwrap();
    let line = |record: lw_protocol::record::Record<'_>| {
        format!(
            "{}={}",
            record.offset,
            String::from_utf8_lossy(record.value.unwrap_or_default())
        )
    };
    records.iter().map(|record| line(record.unwrap())).collect()
}
