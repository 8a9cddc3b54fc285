//! What the broker counts: plain atomics, read by whoever renders metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use lw_protocol::apis::APIS;
use lw_protocol::messages::ApiKey;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Totals since the start.
#[derive(Debug)]
pub struct BrokerMetrics {
    pub produced_records: Counter,
    pub produced_bytes: Counter,
    /// Partition batches refused, whatever the reason.
    pub rejected_batches: Counter,
    /// Of these, for want of disk space.
    pub rejected_disk_full: Counter,
    pub fetched_bytes: Counter,
    /// Records in the batches that were sent; a fetch from the middle of a batch counts the whole batch.
    pub fetched_records: Counter,
    pub connections_opened: Counter,
    pub connections_closed: Counter,
    /// Connections that bad bytes ended.
    pub connections_refused: Counter,
    /// Connections closed as they came because there were too many.
    pub connections_over_limit: Counter,
    /// Writes of consumer groups that the disk refused.
    pub refused_group_writes: Counter,
    /// Requests whose handler panicked: every one is a bug of ours.
    pub panics: Counter,
    /// By row of [`APIS`].
    requests: Vec<Counter>,
}

impl Default for BrokerMetrics {
    fn default() -> BrokerMetrics {
        BrokerMetrics {
            produced_records: Counter::default(),
            produced_bytes: Counter::default(),
            rejected_batches: Counter::default(),
            rejected_disk_full: Counter::default(),
            fetched_bytes: Counter::default(),
            fetched_records: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_refused: Counter::default(),
            connections_over_limit: Counter::default(),
            refused_group_writes: Counter::default(),
            panics: Counter::default(),
            requests: APIS.iter().map(|_| Counter::default()).collect(),
        }
    }
}

impl BrokerMetrics {
    pub(crate) fn count_request(&self, api: ApiKey) {
        if let Some(row) = APIS.iter().position(|row| row.key == api) {
            self.requests[row].add(1);
        }
    }

    /// Requests so far of each API that we serve.
    pub fn requests(&self) -> impl Iterator<Item = (ApiKey, u64)> + '_ {
        APIS.iter()
            .zip(&self.requests)
            .map(|(api, count)| (api.key, count.get()))
    }

    pub fn open_connections(&self) -> u64 {
        self.connections_opened
            .get()
            .saturating_sub(self.connections_closed.get())
    }
}
