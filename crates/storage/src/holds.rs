//! What retention must leave for readers of our own that have not committed yet.
//!
//! A pipeline that is behind, paused or not started again yet holds the offsets that it still has to read. Retention by time
//! and size never moves a log start past a hold, as long as the disk has room (`Config::retention_floor`); below that the
//! server's life counts more, and the reader learns the lost range from its next read. What a user deletes is deleted.
//!
//! Holds live in memory: their owners know them from their own durable state and state them anew after a start. Until they
//! have (`Storage::holds_ready`), retention does nothing at all, so that nothing is lost in between.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::numbers::Offset;
use crate::record::LogId;

/// The first offset of a partition that its holder still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub topic: Uuid,
    pub partition: i32,
    pub offset: i64,
}

impl Hold {
    pub(crate) fn log(&self) -> LogId {
        LogId {
            topic: self.topic,
            partition: self.partition,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Whether everyone who holds something after a start has said so.
    pub(crate) ready: bool,
    pub(crate) by_holder: BTreeMap<String, Vec<Hold>>,
    /// The newest look of retention would have taken more without the holds.
    pub(crate) kept_some: bool,
}

impl Holds {
    /// The lowest held offset of each log, and who holds it.
    pub(crate) fn lowest(&self) -> HashMap<LogId, (Offset, &str)> {
        let mut lowest: HashMap<LogId, (Offset, &str)> = HashMap::new();
        for (holder, holds) in &self.by_holder {
            for hold in holds {
                let offset = Offset(hold.offset);
                let held = lowest.entry(hold.log()).or_insert((offset, holder));
                if offset < held.0 {
                    *held = (offset, holder);
                }
            }
        }
        lowest
    }
}
