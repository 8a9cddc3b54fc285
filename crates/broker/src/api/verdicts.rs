//! What became of the partitions that OffsetCommit and OffsetDelete name; each reply repeats them in its own words.
//!
//! The coordinator is not asked about topics that do not exist, so a partition without a verdict is an unknown one.

use std::collections::HashMap;

use lw_protocol::ErrorCode;

use crate::group::PartitionReply;

pub(super) struct Verdicts<'a>(HashMap<(&'a str, i32), Result<(), ErrorCode>>);

impl<'a> Verdicts<'a> {
    pub(super) fn of(replies: &'a [PartitionReply]) -> Verdicts<'a> {
        let verdict = |reply: &'a PartitionReply| {
            ((reply.topic.name.as_str(), reply.partition), reply.result)
        };
        Verdicts(replies.iter().map(verdict).collect())
    }

    pub(super) fn code(&self, topic: &str, partition: i32) -> i16 {
        let verdict = self.0.get(&(topic, partition)).copied();
        super::code(verdict.unwrap_or(Err(ErrorCode::UnknownTopicOrPartition)))
    }
}
