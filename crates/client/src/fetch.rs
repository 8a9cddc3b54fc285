//! Reading a topic's partitions, from offsets that the caller keeps.
//!
//! Only what a transaction committed is given, as by any consumer with `isolation.level=read_committed`: an aborted one is
//! known by its producer and first offset, and ends at its marker.

use std::collections::{BTreeMap, HashSet};

use lw_protocol::batch::{Batch, batches};
use lw_protocol::messages::*;

use crate::{Client, ClientError, leader, refused, topic_name};

pub(super) const READ_COMMITTED: i8 = 1;
const PARTITION_BYTES: i32 = 1 << 20;
/// What one fetch asks of a broker at most.
pub const FETCH_BYTES: i32 = 16 << 20;

/// What a partition gave.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub partition: i32,
    /// Batches with records that may be shown; the first may begin below the offset that was asked for.
    pub batches: Vec<Batch>,
    /// Where to read on.
    pub next: i64,
    /// The end of what can be read now.
    pub end: i64,
}

impl Client {
    /// Reads on from `offsets` (partition → offset); waits up to `wait_ms` where there is nothing yet. At least a batch comes,
    /// and not much more than [`FETCH_BYTES`].
    ///
    /// # Errors
    /// When a leader cannot be asked, or an offset is not in its log.
    pub fn fetch(
        &mut self,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
        wait_ms: i32,
    ) -> Result<Vec<Fetched>, ClientError> {
        let info = self.topic(topic)?;
        let mut by_leader: BTreeMap<i32, Vec<fetch_request::FetchPartition>> = BTreeMap::new();
        for (partition, offset) in offsets {
            by_leader
                .entry(leader(&info, *partition)?)
                .or_default()
                .push(
                    fetch_request::FetchPartition::default()
                        .with_partition(*partition)
                        .with_current_leader_epoch(-1)
                        .with_fetch_offset(*offset)
                        .with_last_fetched_epoch(-1)
                        .with_log_start_offset(-1)
                        .with_partition_max_bytes(PARTITION_BYTES),
                );
        }
        let leaders = by_leader.len() as i32;
        let mut fetched = Vec::new();
        for (leader, partitions) in by_leader {
            let asked = fetch_request::FetchTopic::default()
                .with_topic(topic_name(topic))
                .with_topic_id(info.id)
                .with_partitions(partitions);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(wait_ms / leaders)
                .with_min_bytes(1)
                .with_max_bytes(FETCH_BYTES)
                .with_isolation_level(READ_COMMITTED)
                .with_session_id(0)
                .with_session_epoch(-1)
                .with_topics(vec![asked]);
            // Topics are named by id from version 13 on, which needs a broker that gave one.
            let newest = if info.id.is_nil() { 12 } else { i16::MAX };
            let reply = self.node(leader)?.call_up_to(&request, newest)?;
            refused(reply.error_code, None, || format!("fetching '{topic}'"))?;
            for data in reply
                .responses
                .into_iter()
                .flat_map(|topic| topic.partitions)
            {
                let index = data.partition_index;
                refused(data.error_code, None, || {
                    format!("fetching '{topic}' {index}")
                })?;
                let from = offsets.get(&index).copied().unwrap_or(0);
                fetched.push(readable(data, from)?);
            }
        }
        Ok(fetched)
    }
}

/// The batches that a reader is shown, and where it goes on.
fn readable(data: fetch_response::PartitionData, from: i64) -> Result<Fetched, ClientError> {
    let mut fetched = Fetched {
        partition: data.partition_index,
        batches: Vec::new(),
        next: from,
        end: match data.last_stable_offset {
            ..0 => data.high_watermark,
            stable => stable,
        },
    };
    let mut aborted = data.aborted_transactions.unwrap_or_default();
    aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut aborting: HashSet<i64> = HashSet::new();
    for batch in batches(data.records.unwrap_or_default()) {
        // The last batch of a reply may be cut off: it is asked for again.
        let Ok(batch) = batch else { break };
        batch.verify_crc()?;
        let header = *batch.header();
        while let Some(next) = aborted.pop_if(|next| next.first_offset <= header.last_offset()) {
            aborting.insert(next.producer_id.0);
        }
        fetched.next = fetched.next.max(header.last_offset() + 1);
        if header.is_control() {
            aborting.remove(&header.producer_id);
            continue;
        }
        let left_out = header.is_transactional() && aborting.contains(&header.producer_id);
        if !left_out && header.last_offset() >= from {
            fetched.batches.push(batch);
        }
    }
    Ok(fetched)
}

#[cfg(test)]
mod tests;
