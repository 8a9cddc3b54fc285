//! What is on disk, as a map: records as the storage has them, by table and key.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::words::topic_ref;
use crate::group::GroupId;
use crate::group::record::{self, GroupRecord, OffsetKey, OffsetRecord, Record};

/// Table (0 groups, 1 offsets) and key to value.
pub(in crate::group) type Disk = BTreeMap<(u8, Bytes), Bytes>;

pub(in crate::group) fn store(disk: &mut Disk, record: &Record) {
    let (key, value) = match record {
        Record::Group { group, value } => (
            (0, record::group_key(group)),
            value.as_ref().map(GroupRecord::encode),
        ),
        Record::Offset {
            group,
            topic,
            partition,
            value,
        } => (
            (1, offset_key(group, topic.id, *partition)),
            value.as_ref().map(OffsetRecord::encode),
        ),
    };
    match value {
        Some(value) => disk.insert(key, value),
        None => disk.remove(&key),
    };
}

fn offset_key(group: &GroupId, topic: Uuid, partition: i32) -> Bytes {
    let group = group.clone();
    let key = OffsetKey::Identified {
        group,
        topic,
        partition,
    };
    key.encode()
}

pub(in crate::group) fn restore(table: u8, key: &[u8], value: &[u8]) -> Record {
    if table == 0 {
        let group = record::decode_group_key(key).expect("written by us");
        return Record::Group {
            group,
            value: Some(GroupRecord::decode(value).expect("written by us")),
        };
    }
    let Ok(OffsetKey::Identified {
        group,
        topic,
        partition,
    }) = OffsetKey::decode(key)
    else {
        panic!("written by us");
    };
    let text = std::str::from_utf8(topic.as_bytes()).expect("an id is a text here");
    let topic = topic_ref(text.trim_end_matches('\0'));
    Record::Offset {
        group,
        topic,
        partition,
        value: Some(OffsetRecord::decode(value).expect("written by us")),
    }
}
