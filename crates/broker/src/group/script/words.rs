//! The words of a line, and what they stand for.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::group::*;

/// `group word=value word …`
pub(super) struct Args {
    pub(super) group: GroupId,
    words: Vec<(String, String)>,
}

impl Args {
    pub(super) fn new<'a>(mut words: impl Iterator<Item = &'a str>) -> Args {
        let group = words.next().unwrap_or_default().trim_matches('"').into();
        let words = words.map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.to_owned(), value.to_owned())
        });
        Args {
            group,
            words: words.collect(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.words
            .iter()
            .find(|(word, _)| word == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name)
            .into_iter()
            .flat_map(|text| text.split(','))
            .filter(|item| !item.is_empty())
    }

    pub(super) fn pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.list(name)
            .map(|pair| pair.split_once(':').expect("a:b"))
    }

    pub(super) fn who(&self) -> MemberRef {
        MemberRef {
            group: self.group.clone(),
            member: self.get("member").unwrap_or_default().into(),
            instance: self.get("instance").map(Into::into),
            generation: self
                .get("gen")
                .map_or(-1, |text| text.parse().expect("a number")),
        }
    }

    pub(super) fn leavers(&self) -> Vec<Leaver> {
        let by_id = self.list("member").map(|id| Leaver {
            member: id.into(),
            instance: self.get("instance").map(Into::into),
        });
        let by_name = self.list("names").map(|name| Leaver {
            member: "".into(),
            instance: Some(name.into()),
        });
        by_id.chain(by_name).collect()
    }

    /// `of=topic:partition:offset,…`
    pub(super) fn offsets(&self) -> Vec<OffsetCommit> {
        let offset = |text: &str| {
            let (place, offset) = text.rsplit_once(':').expect("topic:partition:offset");
            let (topic, partition) = partition(place);
            OffsetCommit {
                topic,
                partition,
                offset: offset.parse().expect("a number"),
                leader_epoch: -1,
                metadata: self
                    .get("metadata")
                    .map_or_else(String::new, |text| text.replace("LONG", &"x".repeat(4097))),
                retention_ms: self
                    .get("retention")
                    .map(|text| text.parse().expect("a number")),
            }
        };
        self.list("of").map(offset).collect()
    }
}

pub(super) fn partition(text: &str) -> (TopicRef, i32) {
    let (topic, partition) = text.split_once(':').expect("topic:partition");
    (topic_ref(topic), partition.parse().expect("a number"))
}

/// `t`; or `t~2`, the topic that was created as `t` after the first was deleted. The id is the text.
pub(in crate::group) fn topic_ref(text: &str) -> TopicRef {
    let name = text.split('~').next().expect("split gives something");
    let mut id = [0; 16];
    id[..text.len()].copy_from_slice(text.as_bytes());
    TopicRef::new(name, Uuid::from_bytes(id))
}

/// A consumer's subscription as the Java client writes it (version 0).
pub(in crate::group) fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).expect("few"));
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).expect("short"));
        out.put_slice(topic.as_bytes());
    }
    out.freeze()
}
