//! How far readers have got: what pipelines publish about themselves, and what metrics and the console show of everyone.

use std::collections::BTreeMap;

use lw_protocol::ErrorCode;

use crate::Broker;
use crate::group::{CommitRequest, GroupListing, MemberRef, OffsetCommit, ProtocolName, TopicRef};

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub committed: i64,
    pub high_watermark: i64,
    /// Records between the two; 0 when the group is past the end, as after a restore of an older log.
    pub lag: i64,
}

/// A consumer group as metrics and the console list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: String,
    /// Kafka's name of the state: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`.
    pub state: &'static str,
    pub generation: i32,
    pub protocol_type: String,
    pub members: usize,
}

/// Why a pipeline's offsets were not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("group `{group}` has live consumers; only they may commit its offsets")]
    HasMembers { group: String },
    #[error("there is no topic `{topic}`")]
    UnknownTopic { topic: String },
    #[error("the offsets of group `{group}` were not saved: {reason}")]
    NotSaved { group: String, reason: ErrorCode },
}

impl Broker {
    /// Commits a pipeline's offsets as `group`, so that Kafka's own tools show its progress and lag. Waits for the disk;
    /// not for async code.
    ///
    /// # Errors
    /// When consumers have joined the group (their commits and ours would overwrite each other), the topic does not
    /// exist, or the disk refuses.
    pub fn publish_offsets(
        &self,
        group: &str,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), PublishError> {
        let known = self.storage.topic(topic);
        let known = known.ok_or_else(|| PublishError::UnknownTopic {
            topic: topic.to_owned(),
        })?;
        let topic = TopicRef::new(&known.name, known.id);
        let request = CommitRequest {
            who: MemberRef {
                group: group.into(),
                member: "".into(),
                instance: None,
                generation: -1,
            },
            knows_group_id_not_found: true,
            offsets: offsets
                .iter()
                .map(|(partition, offset)| published(&topic, *partition, *offset))
                .collect(),
        };
        let refused = match self.groups.commit_blocking(request) {
            Some(replies) => replies.into_iter().find_map(|reply| reply.result.err()),
            None => Some(ErrorCode::CoordinatorNotAvailable),
        };
        let group = group.to_owned();
        match refused {
            None => Ok(()),
            Some(ErrorCode::UnknownMemberId) => Err(PublishError::HasMembers { group }),
            Some(reason) => Err(PublishError::NotSaved { group, reason }),
        }
    }

    /// Every group, for metrics.
    pub fn groups(&self) -> Vec<GroupSummary> {
        let summary = |group: GroupListing| GroupSummary {
            group: group.group.to_string(),
            state: group.state,
            generation: group.generation,
            protocol_type: group
                .protocol_type
                .as_ref()
                .map_or_else(String::new, ProtocolName::to_string),
            members: group.members,
        };
        self.groups.list().into_iter().map(summary).collect()
    }

    /// The lag of every group in every partition that it has committed. Partitions that are gone are left out.
    pub fn group_lag(&self) -> Vec<GroupLag> {
        let mut lags = Vec::new();
        self.groups
            .each_offset(|group, topic, partition, committed| {
                let Some(bounds) = self.storage.bounds(topic.id, partition) else {
                    return;
                };
                let high_watermark = bounds.high_watermark;
                lags.push(GroupLag {
                    group: group.to_string(),
                    topic: topic.to_string(),
                    partition,
                    committed,
                    high_watermark,
                    lag: (high_watermark - committed).max(0),
                });
            });
        lags
    }
}

fn published(topic: &TopicRef, partition: i32, offset: i64) -> OffsetCommit {
    OffsetCommit {
        topic: topic.clone(),
        partition,
        offset,
        leader_epoch: -1,
        metadata: String::new(),
        retention_ms: None,
    }
}
