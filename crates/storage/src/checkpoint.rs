//! The checkpoint: all durable state but the batches' places, as of one place in the WAL.
//!
//! Written when a WAL file is sealed and on a clean close, by temporary name, fsync, rename, fsync of the folder. Recovery
//! starts from it and replays only what follows; places come from the sidecars.
//!
//! ```text
//! magic "LWCKP\0\0\0" · format u32 · place: file id u64 · life u32 · position u64 · link u32 · lsn u64
//! time i64: the log's (time.rs); absent in format 2
//! anchors u32: frame u64 · file u64 · log's time i64 · wall time i64 · not before i64 (wall.rs); absent before format 4
//! topics  u32: uuid · name · partitions i32 · internal u8 · configs
//! tables  u32: table u8 · entries u32: key · value
//! logs    u32: uuid · partition i32 · start i64 · end i64
//!              · producers u32: id i64 · epoch i16 · seen at i64 · batches u32: (first, last sequence i32,
//!                base, last offset i64, timestamp i64)
//! CRC-32C u32 of all before
//! ```

use bytes::Bytes;

use crate::codec::{Damaged, Reader, Writer, seal, unseal};
use crate::frame::Place;
use crate::numbers::{FileNumber, Lsn, Offset};
use crate::ops::Table;
use crate::producers::Producer;
use crate::record::LogId;
use crate::state::State;
use crate::topic::{Topic, TopicConfig};
use crate::wall::Anchors;

const MAGIC: &[u8; 8] = b"LWCKP\0\0\0";
const FORMAT: u32 = 4;

/// Encodes `state` as of `place` and `now`, by the log's time. Producers that have expired by then stay behind.
pub(crate) fn encode(state: &State, place: Place, now: i64) -> Vec<u8> {
    assert_eq!(state.lsn, place.lsn, "a checkpoint is of one moment");
    let mut out = Writer::default();
    out.0.extend_from_slice(MAGIC);
    out.u32(FORMAT);
    out.u64(place.file.0);
    out.u32(place.life);
    out.u64(place.position);
    out.u32(place.link);
    out.u64(place.lsn.0);
    out.i64(now);
    state.anchors.encode(&mut out);
    out.count(state.topics.len());
    for topic in state.topics.values() {
        out.uuid(topic.id);
        out.bytes(topic.name.as_bytes());
        out.i32(topic.partitions);
        out.u8(u8::from(topic.internal));
        out.text_map(topic.config.given());
    }
    out.count(state.tables.len());
    for (table, entries) in &state.tables {
        out.u8(*table as u8);
        out.count(entries.len());
        for (key, value) in entries {
            out.bytes(key);
            out.bytes(value);
        }
    }
    out.count(state.logs.len());
    for (id, log) in &state.logs {
        out.uuid(id.topic);
        out.i32(id.partition);
        out.i64(log.start.0);
        out.i64(log.end.0);
        let alive = || log.producers.iter().filter(|(_, p)| !p.is_expired(now));
        out.count(alive().count());
        for (id, producer) in alive() {
            out.i64(*id);
            producer.encode(&mut out);
        }
    }
    seal(out.0)
}

/// Reads a checkpoint back: the state without places of batches, and where replay begins.
pub(crate) fn decode(bytes: &[u8]) -> Result<(State, Place), Damaged> {
    let mut reader = Reader::new(unseal(bytes)?);
    if reader.take(8, "magic")? != MAGIC {
        return Err(Damaged("this is not a checkpoint"));
    }
    let format = reader.u32("format")?;
    if !(2..=FORMAT).contains(&format) {
        return Err(Damaged("the checkpoint format is unknown"));
    }
    let place = Place {
        file: FileNumber(reader.u64("file id")?),
        life: reader.u32("life")?,
        position: reader.u64("position")?,
        link: reader.u32("link")?,
        lsn: Lsn(reader.u64("lsn")?),
    };
    let mut state = State {
        lsn: place.lsn,
        time: match format {
            2 => 0,
            _ => reader.i64("time")?,
        },
        anchors: match format {
            2 | 3 => Anchors::default(),
            _ => Anchors::decode(&mut reader)?,
        },
        ..State::default()
    };
    for _ in 0..reader.u32("topic count")? {
        state.put_topic(Topic {
            id: reader.uuid("topic id")?,
            name: reader.text("topic name")?,
            partitions: reader.i32("partitions")?,
            internal: reader.bool("internal")?,
            config: TopicConfig::recorded(reader.text_map("configs")?),
        });
    }
    for _ in 0..reader.u32("table count")? {
        let table = Table::from_id(reader.u8("table")?).ok_or(Damaged("table"))?;
        let entries = state.tables.entry(table).or_default();
        for _ in 0..reader.u32("entry count")? {
            let key = Bytes::copy_from_slice(reader.bytes("key")?);
            entries.insert(key, Bytes::copy_from_slice(reader.bytes("value")?));
        }
    }
    for _ in 0..reader.u32("log count")? {
        let id = LogId {
            topic: reader.uuid("topic id")?,
            partition: reader.i32("partition")?,
        };
        let log = state.logs.get_mut(&id).ok_or(Damaged("log of no topic"))?;
        log.start = Offset(reader.i64("log start")?);
        log.end = Offset(reader.i64("log end")?);
        for _ in 0..reader.u32("producer count")? {
            let producer = reader.i64("producer id")?;
            let known = Producer::decode(&mut reader)?;
            state.time = state.time.max(known.seen_at);
            log.producers.insert(producer, known);
        }
        state.producers += log.producers.len();
    }
    Ok((state, place))
}
