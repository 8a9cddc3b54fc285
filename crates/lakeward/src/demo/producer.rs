//! The demo's producer: idempotent, and stubborn enough to outlive the broker.
//!
//! A batch keeps its sequence number until it is acknowledged, whatever happens to the connection or the server in between.
//! So what the server took before a crash, and the producer sends again after it, is recognised as a duplicate.

use super::events::Event;
use anyhow::Context;
use lw_client::Client;
use lw_protocol::batch::Batch;
use lw_protocol::{BatchBuilder, Compression};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::{Duration, Instant};

/// How long a server may be away.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Producer {
    bootstrap: String,
    topic: String,
    partitions: i32,
    client: Option<Client>,
    id: i64,
    epoch: i16,
    sequences: HashMap<i32, i32>,
    /// Events that wait for their batch, by partition.
    waiting: HashMap<i32, Vec<Event>>,
    pub acked: u64,
    /// Times that a batch had to be sent again.
    pub retries: u64,
}

impl Producer {
    pub fn new(bootstrap: &str, topic: &str, partitions: i32) -> anyhow::Result<Producer> {
        let mut client = Client::connect(bootstrap)?;
        let (id, epoch) = client.init_producer()?;
        Ok(Producer {
            bootstrap: bootstrap.to_string(),
            topic: topic.to_string(),
            partitions,
            client: Some(client),
            id,
            epoch,
            sequences: HashMap::new(),
            waiting: HashMap::new(),
            acked: 0,
            retries: 0,
        })
    }

    /// Queues an event on its key's partition; sends that partition's batch when it is full.
    pub fn send(&mut self, event: Event, batch: usize) -> anyhow::Result<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&event.key);
        let partition = (hash % self.partitions as u64) as i32;
        let waiting = self.waiting.entry(partition).or_default();
        waiting.push(event);
        if waiting.len() >= batch {
            self.flush_partition(partition)?;
        }
        Ok(())
    }

    /// Sends everything that waits.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<i32> = self.waiting.keys().copied().collect();
        partitions
            .into_iter()
            .try_for_each(|partition| self.flush_partition(partition))
    }

    fn flush_partition(&mut self, partition: i32) -> anyhow::Result<()> {
        let events = self.waiting.remove(&partition).unwrap_or_default();
        if events.is_empty() {
            return Ok(());
        }
        let sequence = self.sequences.entry(partition).or_default();
        let mut builder =
            BatchBuilder::new(Compression::Lz4).producer(self.id, self.epoch, *sequence);
        for event in &events {
            builder.push(
                event.timestamp,
                Some(event.key.as_bytes()),
                Some(&event.value),
                &[],
            );
        }
        *sequence += events.len() as i32;
        let batch = builder.build()?;
        self.insist(partition, &batch)?;
        self.acked += events.len() as u64;
        Ok(())
    }

    /// Sends a batch until it is acknowledged.
    fn insist(&mut self, partition: i32, batch: &Batch) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let sent = match &mut self.client {
                Some(client) => client.produce(&self.topic, partition, batch),
                None => Client::connect(&self.bootstrap).map(|client| {
                    self.client = Some(client);
                    -1
                }),
            };
            match sent {
                Ok(-1) => {}
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(error).context("the server did not come back");
                }
                Err(_) => {
                    self.client = None;
                    self.retries += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}
