//! What a group leaves on disk: its existence and generation, and its committed offsets.
//!
//! Numbers are big-endian; text is a `u16` length, then UTF-8.
//!
//! ```text
//! Table::Groups        key    group name, bare
//!                      value  u8 version = 1
//!                             i32 generation
//!                             i64 empty_since (wall ms; -1 = had members when written)
//!                             u8 has protocol type, then text when 1
//! Table::GroupOffsets  key    u8 0x82 = layout 2, text group, 16 bytes topic id, i32 partition
//!                      value  u8 version = 1
//!                             i64 offset
//!                             i32 leader epoch (-1 = not told)
//!                             i64 committed at (wall ms)
//!                             i64 expires at (wall ms; -1 = by the group's retention)
//!                             text metadata
//! ```
//!
//! Offsets were kept by topic name once: `text group, text topic, i32 partition`. Such a key begins with the upper half
//! of a length below 32,768, so its first byte is never 0x82. It is still read ([`OffsetKey::Named`]), and the shell
//! writes it anew for the topic that has the name then.
//!
//! Members are not kept. A restarted broker answers their old ids with UNKNOWN_MEMBER_ID and they join again, which
//! every client does by itself; what must not be lost is that the new generation is above all that were told before
//! (G5), and the offsets. A reader meets only versions that it knows, or says so: a value of a later version is an
//! error at start, never a guess.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use uuid::Uuid;

use super::names::{GroupId, ProtocolName, TopicName, TopicRef};

const VERSION: u8 = 1;
/// First byte of a key that names its topic by id.
const BY_ID: u8 = 0x82;

/// One change of durable state. `None` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Group {
        group: GroupId,
        value: Option<GroupRecord>,
    },
    Offset {
        group: GroupId,
        topic: TopicRef,
        partition: i32,
        value: Option<OffsetRecord>,
    },
}

impl Record {
    pub(super) fn tombstone(group: &GroupId, topic: &TopicRef, partition: i32) -> Record {
        Record::Offset {
            group: group.clone(),
            topic: topic.clone(),
            partition,
            value: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<ProtocolName>,
    /// Wall time; `None` while it has members.
    pub(crate) empty_since_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetRecord {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
    pub(crate) expires_ms: Option<i64>,
}

/// A stored group key or value that this version cannot read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RecordError {
    #[error(
        "a consumer group's record has layout version {found}, this build reads up to {VERSION}"
    )]
    Version { found: u8 },
    #[error("a consumer group's record is cut short or is not text where text belongs")]
    Malformed,
}

impl GroupRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32);
        out.put_u8(VERSION);
        out.put_i32(self.generation);
        out.put_i64(self.empty_since_ms.unwrap_or(-1));
        out.put_u8(u8::from(self.protocol_type.is_some()));
        if let Some(name) = &self.protocol_type {
            put_text(&mut out, name.as_str());
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<GroupRecord, RecordError> {
        let mut input = Input::versioned(bytes)?;
        let record = GroupRecord {
            generation: input.i32()?,
            empty_since_ms: optional(input.i64()?),
            protocol_type: match input.u8()? {
                0 => None,
                1 => Some(input.text()?.into()),
                _ => return Err(RecordError::Malformed),
            },
        };
        input.end()?;
        Ok(record)
    }
}

impl OffsetRecord {
    /// What OffsetFetch says where nothing was committed.
    pub(crate) fn nothing() -> OffsetRecord {
        OffsetRecord {
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
            committed_ms: -1,
            expires_ms: None,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(40 + self.metadata.len());
        out.put_u8(VERSION);
        out.put_i64(self.offset);
        out.put_i32(self.leader_epoch);
        out.put_i64(self.committed_ms);
        out.put_i64(self.expires_ms.unwrap_or(-1));
        put_text(&mut out, &self.metadata);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<OffsetRecord, RecordError> {
        let mut input = Input::versioned(bytes)?;
        let record = OffsetRecord {
            offset: input.i64()?,
            leader_epoch: input.i32()?,
            committed_ms: input.i64()?,
            expires_ms: optional(input.i64()?),
            metadata: input.text()?.to_owned(),
        };
        input.end()?;
        Ok(record)
    }
}

pub(crate) fn group_key(group: &GroupId) -> Bytes {
    Bytes::copy_from_slice(group.as_str().as_bytes())
}

pub(crate) fn decode_group_key(key: &[u8]) -> Result<GroupId, RecordError> {
    Ok(std::str::from_utf8(key)
        .map_err(|_| RecordError::Malformed)?
        .into())
}

/// Whose offset it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OffsetKey {
    Identified {
        group: GroupId,
        topic: Uuid,
        partition: i32,
    },
    /// As version 1 of the layout has it.
    Named {
        group: GroupId,
        topic: TopicName,
        partition: i32,
    },
}

impl OffsetKey {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        match self {
            OffsetKey::Identified {
                group,
                topic,
                partition,
            } => {
                out.put_u8(BY_ID);
                put_text(&mut out, group.as_str());
                out.put_slice(topic.as_bytes());
                out.put_i32(*partition);
            }
            OffsetKey::Named {
                group,
                topic,
                partition,
            } => {
                put_text(&mut out, group.as_str());
                put_text(&mut out, topic.as_str());
                out.put_i32(*partition);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(key: &[u8]) -> Result<OffsetKey, RecordError> {
        let mut input = Input(key);
        let by_id = key.first() == Some(&BY_ID);
        if by_id {
            input.u8()?;
        }
        let group = input.text()?.into();
        let key = if by_id {
            OffsetKey::Identified {
                group,
                topic: input.uuid()?,
                partition: input.i32()?,
            }
        } else {
            OffsetKey::Named {
                group,
                topic: input.text()?.into(),
                partition: input.i32()?,
            }
        };
        input.end()?;
        Ok(key)
    }

    pub(crate) fn group(&self) -> &GroupId {
        match self {
            OffsetKey::Identified { group, .. } | OffsetKey::Named { group, .. } => group,
        }
    }
}

/// Kafka carries names and metadata with a 15-bit length, so a `u16` always holds them.
fn put_text(out: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).expect("Kafka strings are at most 32767 bytes");
    out.put_u16(length);
    out.put_slice(text.as_bytes());
}

fn optional(value: i64) -> Option<i64> {
    (value != -1).then_some(value)
}

/// A reader that refuses to run past the end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn versioned(bytes: &'a [u8]) -> Result<Input<'a>, RecordError> {
        let mut input = Input(bytes);
        match input.u8()? {
            VERSION => Ok(input),
            found => Err(RecordError::Version { found }),
        }
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.0.try_get_u8().map_err(|_| RecordError::Malformed)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.0.try_get_i32().map_err(|_| RecordError::Malformed)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.0.try_get_i64().map_err(|_| RecordError::Malformed)
    }

    fn uuid(&mut self) -> Result<Uuid, RecordError> {
        let (id, rest) = self
            .0
            .split_first_chunk::<16>()
            .ok_or(RecordError::Malformed)?;
        self.0 = rest;
        Ok(Uuid::from_bytes(*id))
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::from(self.0.try_get_u16().map_err(|_| RecordError::Malformed)?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(RecordError::Malformed)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| RecordError::Malformed)
    }

    fn end(&self) -> Result<(), RecordError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_layouts_are_frozen() {
        let group = GroupRecord {
            generation: 7,
            protocol_type: Some("consumer".into()),
            empty_since_ms: Some(1000),
        };
        assert_eq!(
            hex(&group.encode()),
            "010000000700000000000003e8010008636f6e73756d6572"
        );
        let offset = OffsetRecord {
            offset: 42,
            leader_epoch: -1,
            metadata: "me".into(),
            committed_ms: 1000,
            expires_ms: None,
        };
        assert_eq!(
            hex(&offset.encode()),
            "01000000000000002affffffff00000000000003e8ffffffffffffffff00026d65"
        );
        let named = OffsetKey::Named {
            group: "g".into(),
            topic: "t".into(),
            partition: 3,
        };
        assert_eq!(hex(&named.encode()), "00016700017400000003");
        let identified = OffsetKey::Identified {
            group: "g".into(),
            topic: Uuid::from_u128(5),
            partition: 3,
        };
        assert_eq!(
            hex(&identified.encode()),
            "820001670000000000000000000000000000000500000003"
        );
    }

    #[test]
    fn a_later_version_is_refused_by_name() {
        assert_eq!(
            GroupRecord::decode(&[2, 0, 0]),
            Err(RecordError::Version { found: 2 })
        );
        assert_eq!(
            OffsetRecord::decode(&[9]),
            Err(RecordError::Version { found: 9 })
        );
    }

    proptest! {
        #[test]
        fn groups_come_back(generation: i32, empty in proptest::option::of(0i64..), kind in proptest::option::of(".{0,40}")) {
            let record = GroupRecord {
                generation,
                protocol_type: kind.map(|kind| kind.as_str().into()),
                empty_since_ms: empty,
            };
            let bytes = record.encode();
            prop_assert_eq!(GroupRecord::decode(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                prop_assert!(GroupRecord::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn offsets_come_back(offset: i64, leader_epoch: i32, metadata in ".{0,60}", committed_ms: i64, expires in proptest::option::of(0i64..)) {
            let record = OffsetRecord { offset, leader_epoch, metadata, committed_ms, expires_ms: expires };
            let bytes = record.encode();
            prop_assert_eq!(OffsetRecord::decode(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                prop_assert!(OffsetRecord::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn keys_come_back(group in ".{0,40}", name in ".{0,40}", id: u128, partition: i32) {
            let group: GroupId = group.as_str().into();
            let named = OffsetKey::Named { group: group.clone(), topic: name.as_str().into(), partition };
            let identified = OffsetKey::Identified { group, topic: Uuid::from_u128(id), partition };
            for key in [named, identified] {
                let bytes = key.encode();
                prop_assert_eq!(OffsetKey::decode(&bytes), Ok(key));
                for cut in 0..bytes.len() {
                    prop_assert!(OffsetKey::decode(&bytes[..cut]).is_err());
                }
            }
        }
    }
}
