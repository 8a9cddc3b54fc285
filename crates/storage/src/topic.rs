//! A topic as stored: name, id, partition count, configs as given.

use std::collections::BTreeMap;

use uuid::Uuid;

/// One topic. Immutable: a change replaces the whole value, so a reader's `Arc` stays consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: Uuid,
    pub name: String,
    pub partitions: i32,
    /// Only what was set explicitly; defaults are the broker's to report.
    pub config: BTreeMap<String, String>,
    /// Ours (`_schemas`): retention never touches it.
    pub internal: bool,
}

/// Kafka's default `retention.ms`, as text since settings are: seven days. What the broker shows is what is done here.
pub const DEFAULT_RETENTION_MS: &str = "604800000";

impl Topic {
    /// Milliseconds that records are kept; `None` = for ever. A text that is no number counts as not set: the broker
    /// refuses it before it gets here.
    pub fn retention_ms(&self) -> Option<i64> {
        let default = || {
            DEFAULT_RETENTION_MS
                .parse()
                .expect("the constant is a number")
        };
        let ms = self.number("retention.ms").unwrap_or_else(default);
        (ms >= 0).then_some(ms)
    }

    /// Bytes per partition that are kept; `None` = no bound, the default.
    pub fn retention_bytes(&self) -> Option<u64> {
        self.number("retention.bytes")
            .and_then(|bytes| u64::try_from(bytes).ok())
    }

    /// Whether records get the time of their append instead of the producer's.
    pub fn is_log_append_time(&self) -> bool {
        self.config
            .get("message.timestamp.type")
            .is_some_and(|kind| kind == "LogAppendTime")
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.config.get(key)?.trim().parse().ok()
    }
}
