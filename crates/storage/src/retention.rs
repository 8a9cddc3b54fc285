//! Which log starts retention advances: facts in, new starts out.
//!
//! As Kafka, the oldest batches go first and the age of a batch is that of its newest record. Finer than Kafka: a sealed
//! file's part of a log goes as a whole, but in the active file batches go one by one. A batch without a timestamp (-1)
//! never gets too old.

use crate::record::LogId;
use crate::state::{Log, State};
use crate::topic::Topic;

/// New log starts as of `now`; logs that keep everything are left out.
pub(crate) fn due(state: &State, now: i64) -> Vec<(LogId, i64)> {
    let logs = state.logs.iter();
    logs.filter_map(|(id, log)| {
        let topic = state.topics.get(&id.topic)?;
        let start = new_start(topic, log, now)?;
        Some((*id, start))
    })
    .collect()
}

fn new_start(topic: &Topic, log: &Log, now: i64) -> Option<i64> {
    if topic.internal {
        return None;
    }
    let too_old = topic
        .retention_ms()
        .map_or(i64::MIN, |keep| now.saturating_sub(keep));
    let keep_bytes = topic.retention_bytes().unwrap_or(u64::MAX);
    let segments = log
        .segments
        .iter()
        .map(|s| (s.last, s.max_timestamp, s.bytes));
    let active = log
        .active
        .iter()
        .map(|e| (e.last, e.max_timestamp, u64::from(e.len)));
    let mut left = log.bytes;
    let mut start = None;
    for (last, max_timestamp, bytes) in segments.chain(active) {
        let expired = max_timestamp >= 0 && max_timestamp < too_old;
        let over_size = left.saturating_sub(bytes) >= keep_bytes;
        if !expired && !over_size {
            break;
        }
        left -= bytes;
        start = Some(last + 1);
    }
    start
}
