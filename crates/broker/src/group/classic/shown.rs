//! What others see of a group: DescribeGroups, ListGroups, which topics its consumers read; and what must be true of it.

use std::collections::BTreeSet;

use bytes::Buf;

use super::{ClassicGroup, State};
use crate::group::member::Waiting;
use crate::group::types::{
    GroupDescription, GroupId, GroupListing, MemberId, ProtocolName, TopicName,
};

/// The protocol type of consumers; other types (Kafka Connect's) have metadata that only they understand.
const CONSUMER: &str = "consumer";

impl ClassicGroup {
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty { .. } => "Empty",
            State::PreparingRebalance { .. } => "PreparingRebalance",
            State::CompletingRebalance { .. } => "CompletingRebalance",
            State::Stable { .. } => "Stable",
        }
    }

    /// Strategy and metadata are shown only when they are settled; an assignment as long as its member may use it.
    pub(crate) fn describe(&self) -> GroupDescription {
        let stable = matches!(self.state, State::Stable { .. });
        let protocol = self.protocol.as_ref().filter(|_| stable);
        let members = self
            .members
            .iter()
            .map(|(id, member)| member.describe(id, member.metadata(protocol)));
        GroupDescription {
            state: self.state_name(),
            protocol_type: text(self.protocol_type.as_ref()),
            protocol: text(protocol),
            members: members.collect(),
        }
    }

    pub(crate) fn listing(&self, group: &GroupId) -> GroupListing {
        GroupListing {
            group: group.clone(),
            state: self.state_name(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            members: self.members.len(),
        }
    }

    /// The topics that the group's consumers read. `None` when that cannot be known: another protocol type, a
    /// strategy not voted yet, or metadata that is not a consumer's subscription.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<TopicName>> {
        if self.protocol_type.as_ref()?.as_str() != CONSUMER {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription(&member.metadata(Some(protocol)))?);
        }
        Some(topics)
    }

    /// Panics in debug builds when the group is in a state that must not be; the names are those of [`super::super`].
    pub(crate) fn check(&self) {
        let leads = |id: &MemberId| self.members.contains_key(id);
        assert!(
            self.leader.as_ref().map_or(self.members.is_empty(), leads),
            "G1: a group with members has one leader, who is a member"
        );
        for (instance, id) in &self.statics {
            let member = self
                .members
                .get(id)
                .expect("G1: an instance id names a member of the group");
            assert!(
                member.instance.as_ref() == Some(instance),
                "G1: a static member knows its instance id"
            );
        }
        let preparing = matches!(self.state, State::PreparingRebalance { .. });
        let completing = matches!(self.state, State::CompletingRebalance { .. });
        for (id, member) in &self.members {
            assert!(
                !member.awaits_join() || preparing,
                "G2: {id} awaits a join outside of the join phase"
            );
            assert!(
                !matches!(member.waiting, Waiting::Sync(_)) || completing,
                "G3: {id} awaits a sync though the leader is not awaited"
            );
            assert!(
                member.deadline.is_some() || member.is_excused(),
                "G8: {id} has neither a session nor a reply to wait for"
            );
        }
        assert!(
            !self.is_empty() || self.members.is_empty(),
            "G6: an Empty group has no members"
        );
        assert!(
            preparing || self.is_empty() || !self.members.is_empty(),
            "G6: a settled group has members"
        );
    }
}

fn text(name: Option<&ProtocolName>) -> String {
    name.map_or_else(String::new, ProtocolName::to_string)
}

/// The topics of a `ConsumerProtocolSubscription`: i16 version, then an array of topic names. What follows
/// (user data, owned partitions, rack) is the assignor's business.
fn subscription(mut metadata: &[u8]) -> Option<Vec<TopicName>> {
    let version = metadata.try_get_i16().ok()?;
    let count = metadata.try_get_i32().ok()?;
    if version < 0 || count < 0 {
        return None;
    }
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        let (name, rest) = metadata.split_at_checked(length)?;
        topics.push(std::str::from_utf8(name).ok()?.into());
        metadata = rest;
    }
    Some(topics)
}
