//! The records inside a frame: what happened, in the order in which it takes effect.
//!
//! ```text
//! tag u8, then
//! 1 Append            topic uuid · partition i32 · appended at i64 (ms) · batches (u32 length + v2 batches, offsets patched)
//! 2 Put               table u8 · key · present u8 (0, 1) · value if present
//! 3 CreateTopic       topic uuid · name · partitions i32 · internal u8 · configs (count u32, key, value …)
//! 4 DeleteTopic       topic uuid
//! 5 CreatePartitions  topic uuid · total i32
//! 6 AlterConfig       topic uuid · configs
//! 7 LogStart          topic uuid · partition i32 · offset i64
//! 8 Anchor            log's time i64 · wall time i64 · not before i64 (ms, wall.rs)
//! ```
//!
//! Tags are frozen. Live state and recovered state come from the same bytes: the WAL thread applies what it has just
//! written by reading it back from its own buffer (`State::apply`).

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use lw_protocol::batch::{BatchHeader, patch};
use uuid::Uuid;

use crate::codec::{Damaged, Reader, Writer};
use crate::numbers::Offset;
use crate::ops::Table;
use crate::wall::Anchor;

/// One partition's log. Never reused: a topic created again has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub topic: Uuid,
    pub partition: i32,
}

/// The epoch that batches carry. One node is always the leader, and what recovery cuts off was never readable, so it
/// never has a reason to change.
pub const LEADER_EPOCH: i32 = 0;

/// A record as recorded; byte strings are generic so that the write path shares and the read path borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<B> {
    Append {
        log: LogId,
        appended_at: i64,
        batches: B,
    },
    Put {
        table: Table,
        key: B,
        value: Option<B>,
    },
    CreateTopic {
        id: Uuid,
        name: String,
        partitions: i32,
        internal: bool,
        config: BTreeMap<String, String>,
    },
    DeleteTopic {
        id: Uuid,
    },
    CreatePartitions {
        id: Uuid,
        total: i32,
    },
    AlterConfig {
        id: Uuid,
        config: BTreeMap<String, String>,
    },
    LogStart {
        log: LogId,
        offset: Offset,
    },
    Anchor(Anchor),
}

/// Bytes of an Append before its batches.
pub(crate) const APPEND_HEAD: usize = 1 + 16 + 4 + 8 + 4;

impl Record<Bytes> {
    /// Upper bound of the encoded size.
    pub(crate) fn size(&self) -> usize {
        let map = |config: &BTreeMap<String, String>| -> usize {
            config.iter().map(|(k, v)| k.len() + v.len() + 8).sum()
        };
        64 + match self {
            Record::Append { batches, .. } => batches.len(),
            Record::Put { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len),
            Record::CreateTopic { name, config, .. } => name.len() + map(config),
            Record::AlterConfig { config, .. } => map(config),
            _ => 0,
        }
    }

    /// Writes the record. An append's batches get their offsets here, in the copy that goes to disk: the caller's bytes
    /// stay as they came.
    pub(crate) fn encode(&self, base_offset: Offset, out: &mut BytesMut) {
        if let Record::Append {
            log,
            appended_at,
            batches,
        } = self
        {
            out.reserve(APPEND_HEAD + batches.len());
            out.put_u8(1);
            out.put_slice(log.topic.as_bytes());
            out.put_i32_le(log.partition);
            out.put_i64_le(*appended_at);
            out.put_u32_le(batches.len() as u32);
            let start = out.len();
            out.put_slice(batches);
            place(&mut out[start..], base_offset);
            return;
        }
        out.put_slice(&self.encode_small().0);
    }

    fn encode_small(&self) -> Writer {
        let mut out = Writer::default();
        match self {
            Record::Append { .. } => unreachable!("an append is encoded in place"),
            Record::Put { table, key, value } => {
                out.u8(2);
                out.u8(*table as u8);
                out.bytes(key);
                out.u8(u8::from(value.is_some()));
                if let Some(value) = value {
                    out.bytes(value);
                }
            }
            Record::CreateTopic {
                id,
                name,
                partitions,
                internal,
                config,
            } => {
                out.u8(3);
                out.uuid(*id);
                out.bytes(name.as_bytes());
                out.i32(*partitions);
                out.u8(u8::from(*internal));
                out.text_map(config);
            }
            Record::DeleteTopic { id } => {
                out.u8(4);
                out.uuid(*id);
            }
            Record::CreatePartitions { id, total } => {
                out.u8(5);
                out.uuid(*id);
                out.i32(*total);
            }
            Record::AlterConfig { id, config } => {
                out.u8(6);
                out.uuid(*id);
                out.text_map(config);
            }
            Record::LogStart { log, offset } => {
                out.u8(7);
                out.uuid(log.topic);
                out.i32(log.partition);
                out.i64(offset.0);
            }
            Record::Anchor(anchor) => {
                out.u8(8);
                anchor.encode(&mut out);
            }
        }
        out
    }
}

/// Patches each batch of a record set with the next offsets.
fn place(mut batches: &mut [u8], mut offset: Offset) {
    while !batches.is_empty() {
        let header = BatchHeader::parse(batches).expect("accept() walked these headers");
        patch(batches, offset.0, LEADER_EPOCH);
        offset = offset.plus(i64::from(header.last_offset_delta) + 1);
        batches = &mut batches[header.total_len()..];
    }
}

/// Reads the next record of a payload. For an append, `batches` is what the reader has just passed, so that the caller
/// can compute where it stands.
pub(crate) fn decode<'a>(reader: &mut Reader<'a>) -> Result<Record<&'a [u8]>, Damaged> {
    let log_id = |reader: &mut Reader<'a>| {
        Ok(LogId {
            topic: reader.uuid("topic id")?,
            partition: reader.i32("partition")?,
        })
    };
    Ok(match reader.u8("record tag")? {
        1 => Record::Append {
            log: log_id(reader)?,
            appended_at: reader.i64("append time")?,
            batches: reader.bytes("batches")?,
        },
        2 => Record::Put {
            table: Table::from_id(reader.u8("table")?).ok_or(Damaged("table"))?,
            key: reader.bytes("key")?,
            value: match reader.bool("value present")? {
                true => Some(reader.bytes("value")?),
                false => None,
            },
        },
        3 => Record::CreateTopic {
            id: reader.uuid("topic id")?,
            name: reader.text("topic name")?,
            partitions: reader.i32("partitions")?,
            internal: reader.bool("internal")?,
            config: reader.text_map("configs")?,
        },
        4 => Record::DeleteTopic {
            id: reader.uuid("topic id")?,
        },
        5 => Record::CreatePartitions {
            id: reader.uuid("topic id")?,
            total: reader.i32("total")?,
        },
        6 => Record::AlterConfig {
            id: reader.uuid("topic id")?,
            config: reader.text_map("configs")?,
        },
        7 => Record::LogStart {
            log: log_id(reader)?,
            offset: Offset(reader.i64("offset")?),
        },
        8 => Record::Anchor(Anchor::decode(reader)?),
        _ => return Err(Damaged("record tag")),
    })
}
