//! Where each batch of a log stands in a WAL file, and the sidecar that keeps this for a sealed file.
//!
//! The active file's entries are in memory. When a file is sealed they go to its sidecar (`<id>.idx`), and memory keeps
//! one [`Segment`] per (file, log): first and last offset, largest timestamp, bytes, and where its entries are. A restart
//! reads the sidecars' heads only; a lost or damaged sidecar is rebuilt from its WAL file. A rewritten file (`<id>.seg`)
//! begins with its own index, in the same format; its batches follow.
//!
//! ```text
//! head   magic "LWIDX\0\0\0" · format u32 · file id u64 · through u64 · end u64 · logs u32
//!        per log: topic uuid · partition i32 · first i64 · last i64 · max timestamp i64 · bytes u64
//!                 · entries u32 · position of entries u64 · CRC-32C u32 of entries
//!        CRC-32C u32 of the head
//! body   entries (48): base i64 · last i64 · max timestamp i64 · order u64 · position u32 · length u32 · appended at i64
//! ```
//!
//! Entries of format 2 (40) end before `appended at`: they are read as batches of which nobody knows when they came.

use std::io;

use lw_stdx::disk::File;

use crate::cache::Entries;
use crate::codec::{Damaged, Reader, Writer, seal, unseal};
use crate::numbers::{FileNumber, Offset, Order};
use crate::record::LogId;

const MAGIC: &[u8; 8] = b"LWIDX\0\0\0";
const FORMAT: u32 = 3;
const OLDEST_FORMAT: u32 = 2;
pub(crate) const ENTRY_LEN: usize = 48;
const OLDEST_ENTRY_LEN: usize = 40;
const HEAD_FIXED: usize = 8 + 4 + 8 + 8 + 8 + 4;
const HEAD_PER_LOG: usize = 16 + 4 + 8 + 8 + 8 + 8 + 4 + 8 + 4;

/// One batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base: Offset,
    pub(crate) last: Offset,
    pub(crate) max_timestamp: i64,
    /// Place in the WAL's history: frame lsn and number in the frame.
    pub(crate) order: Order,
    pub(crate) position: u32,
    pub(crate) len: u32,
    /// In the log's own time; 0 where that is not known.
    pub(crate) appended_at: i64,
}

/// All batches of one log in one sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) file: FileNumber,
    pub(crate) first: Offset,
    pub(crate) last: Offset,
    pub(crate) max_timestamp: i64,
    pub(crate) bytes: u64,
    /// Where its entries stand in the sidecar.
    pub(crate) entries: u32,
    pub(crate) entries_at: u64,
    pub(crate) entries_crc: u32,
    /// Bytes of an entry: that of an older format is shorter.
    pub(crate) entry_len: usize,
}

/// A sidecar's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) file: FileNumber,
    /// The last WAL file whose batches are in here: the file itself, unless it is a rewritten one that joins several.
    pub(crate) through: FileNumber,
    /// Where the batches end that this index knows.
    pub(crate) end: u64,
    pub(crate) segments: Vec<(LogId, Segment)>,
}

/// Bytes of an index of so many logs and entries.
pub(crate) fn len(logs: usize, entries: usize) -> u64 {
    (HEAD_FIXED + logs * HEAD_PER_LOG + 4 + entries * ENTRY_LEN) as u64
}

/// Entries that are encoded in one go: an index of a file of tiny batches has 25 MB of them, which nobody is to hold a
/// second time.
const PIECE: usize = 1024;

/// The logs of an index with their entries, in the order of the logs.
pub(crate) type Logs = [(LogId, Entries)];

impl Head {
    /// The head of the index of `file`, which is what memory keeps.
    pub(crate) fn of(file: FileNumber, through: FileNumber, end: u64, logs: &Logs) -> Head {
        assert!(
            logs.is_sorted_by(|(a, _), (b, _)| a < b),
            "an index has each log once, in their order"
        );
        let mut at = len(logs.len(), 0);
        let segment = |(log, entries): &(LogId, Entries)| {
            let mut crc = 0;
            for piece in entries.chunks(PIECE) {
                crc = crc32c::crc32c_append(crc, &encoded(piece));
            }
            let segment = Segment::of(file, entries, (at, crc));
            at += (entries.len() * ENTRY_LEN) as u64;
            (*log, segment)
        };
        let segments = logs.iter().map(segment).collect();
        Head {
            file,
            through,
            end,
            segments,
        }
    }

    /// Writes the index to the beginning of a file; `logs` are those that the head was made of.
    pub(crate) fn write(&self, logs: &Logs, file: &dyn File) -> io::Result<()> {
        let head = self.encode();
        file.write_at(&head, 0)?;
        let mut at = head.len() as u64;
        for ((log, segment), (of, entries)) in self.segments.iter().zip(logs) {
            assert_eq!(
                (log, segment.entries_at, segment.entries as usize),
                (of, at, entries.len()),
                "a sidecar's entries stand where its head says"
            );
            for piece in entries.chunks(PIECE) {
                let bytes = encoded(piece);
                file.write_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.0.extend_from_slice(MAGIC);
        out.u32(FORMAT);
        out.u64(self.file.0);
        out.u64(self.through.0);
        out.u64(self.end);
        out.count(self.segments.len());
        for (log, segment) in &self.segments {
            out.uuid(log.topic);
            out.i32(log.partition);
            out.i64(segment.first.0);
            out.i64(segment.last.0);
            out.i64(segment.max_timestamp);
            out.u64(segment.bytes);
            out.u32(segment.entries);
            out.u64(segment.entries_at);
            out.u32(segment.entries_crc);
        }
        seal(out.0)
    }

    /// Bytes of a head, told by its first [`Head::PREFIX`] bytes.
    pub(crate) fn len(prefix: &[u8]) -> Result<usize, Damaged> {
        let mut reader = Reader::new(prefix);
        if reader.take(8, "magic")? != MAGIC {
            return Err(Damaged("this is not an index"));
        }
        entry_len(reader.u32("format")?)?;
        reader.take(24, "file, through and end")?;
        let logs = reader.u32("log count")? as usize;
        Ok(HEAD_FIXED + logs * HEAD_PER_LOG + 4)
    }

    pub(crate) const PREFIX: usize = HEAD_FIXED;

    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, Damaged> {
        let len = Head::len(bytes)?;
        let head = bytes.get(..len).ok_or(Damaged("the head is cut short"))?;
        let mut reader = Reader::new(unseal(head)?);
        reader.take(8, "magic")?;
        let entry_len = entry_len(reader.u32("format")?)?;
        let file = FileNumber(reader.u64("file id")?);
        let through = FileNumber(reader.u64("through")?);
        let end = reader.u64("end")?;
        let count = reader.u32("log count")?;
        let mut segments = Vec::new();
        for _ in 0..count {
            let log = LogId {
                topic: reader.uuid("topic id")?,
                partition: reader.i32("partition")?,
            };
            let segment = Segment {
                file,
                first: Offset(reader.i64("first offset")?),
                last: Offset(reader.i64("last offset")?),
                max_timestamp: reader.i64("max timestamp")?,
                bytes: reader.u64("bytes")?,
                entries: reader.u32("entries")?,
                entries_at: reader.u64("entries at")?,
                entries_crc: reader.u32("entries crc")?,
                entry_len,
            };
            segments.push((log, segment));
        }
        Ok(Head {
            file,
            through,
            end,
            segments,
        })
    }
}

impl Segment {
    fn of(file: FileNumber, entries: &[Entry], (entries_at, entries_crc): (u64, u32)) -> Segment {
        let (first, last) = match entries {
            [first, .., last] => (first.base, last.last),
            [only] => (only.base, only.last),
            [] => unreachable!("a log without entries has no segment"),
        };
        Segment {
            file,
            first,
            last,
            max_timestamp: entries
                .iter()
                .map(|entry| entry.max_timestamp)
                .max()
                .unwrap_or(-1),
            bytes: entries.iter().map(|entry| u64::from(entry.len)).sum(),
            entries: entries.len() as u32,
            entries_at,
            entries_crc,
            entry_len: ENTRY_LEN,
        }
    }

    /// Bytes of its entries.
    pub(crate) fn entries_len(&self) -> usize {
        self.entries as usize * self.entry_len
    }

    /// Reads the entries from their bytes in the sidecar.
    pub(crate) fn decode_entries(&self, bytes: &[u8]) -> Result<Vec<Entry>, Damaged> {
        if bytes.len() != self.entries_len() {
            return Err(Damaged("the entries are cut short"));
        }
        if crc32c::crc32c(bytes) != self.entries_crc {
            return Err(Damaged("the entries' checksum does not hold"));
        }
        bytes
            .chunks_exact(self.entry_len)
            .map(|chunk| Entry::decode(&mut Reader::new(chunk)))
            .collect()
    }
}

/// Bytes of an entry in an index of this format.
fn entry_len(format: u32) -> Result<usize, Damaged> {
    match format {
        FORMAT => Ok(ENTRY_LEN),
        OLDEST_FORMAT => Ok(OLDEST_ENTRY_LEN),
        _ => Err(Damaged("the index format is unknown")),
    }
}

fn encoded(entries: &[Entry]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(entries.len() * ENTRY_LEN));
    entries.iter().for_each(|entry| entry.encode(&mut out));
    out.0
}

impl Entry {
    fn encode(&self, out: &mut Writer) {
        out.i64(self.base.0);
        out.i64(self.last.0);
        out.i64(self.max_timestamp);
        out.u64(self.order.0);
        out.u32(self.position);
        out.u32(self.len);
        out.i64(self.appended_at);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Entry, Damaged> {
        Ok(Entry {
            base: Offset(reader.i64("base")?),
            last: Offset(reader.i64("last")?),
            max_timestamp: reader.i64("max timestamp")?,
            order: Order(reader.u64("order")?),
            position: reader.u32("position")?,
            len: reader.u32("length")?,
            appended_at: match reader.is_empty() {
                true => 0,
                false => reader.i64("appended at")?,
            },
        })
    }
}
