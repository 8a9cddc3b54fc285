//! Record batches of format v2: the 61-byte header, CRC, patching in place, building, recompressing.
//!
//! ```text
//!  0 base offset i64 · 8 batch length i32 (bytes after itself) · 12 partition leader epoch i32 · 16 magic i8 (2)
//! 17 CRC-32C u32 over everything from 21 on
//! 21 attributes i16: codec 0-2, log-append time 3, transactional 4, control 5, delete horizon 6
//! 23 last offset delta i32 · 27 base timestamp i64 · 35 max timestamp i64
//! 43 producer id i64 · 51 producer epoch i16 · 53 base sequence i32 · 57 record count i32 · 61 records
//! ```
//!
//! The broker's hot path reads these 61 bytes, verifies the CRC and patches base offset and leader epoch: both lie
//! before the CRC's range, so the checksum that the producer made still holds for every consumer. Records are opaque
//! until a topic asks for more ([`Batch::records`], [`Batch::recompress`]).

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{self, CodecError, Compression};
use crate::record::{self, Records};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that the batch length counts.
pub const LENGTH_PREFIX: usize = 12;
const CRC_START: usize = 21;
/// No producer id: the batch is not idempotent.
pub const NO_PRODUCER: i64 = -1;
/// A bound on what one batch may inflate to: far above Kafka's largest sensible batch, far below a bomb.
pub const MAX_INFLATED: usize = 256 << 20;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Why bytes are not a batch that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch ends early: {have} of {need} bytes")]
    Truncated { have: usize, need: usize },
    #[error("message format v{magic} is not supported; producers since Kafka 0.11 send v2")]
    OldFormat { magic: i8 },
    #[error("batch length {0} is impossible")]
    BadLength(i32),
    #[error("CRC mismatch: the header says {stored:08x}, the bytes give {computed:08x}")]
    Crc { stored: u32, computed: u32 },
    #[error("{0}")]
    Inconsistent(&'static str),
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// A batch's header, all fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; what follows the batch is not looked at.
    ///
    /// # Errors
    /// When the bytes end before the header does, the format is old, or the length cannot be.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        // The magic byte stands at 16 in every format: look there first, an old batch may be shorter than our header.
        if let Some(&magic) = bytes.get(16)
            && magic != 2
        {
            return Err(BatchError::OldFormat { magic: magic as i8 });
        }
        let truncated = BatchError::Truncated {
            have: bytes.len(),
            need: HEADER_LEN,
        };
        let head: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(truncated)?;
        let header = BatchHeader {
            base_offset: i64_at(head, 0),
            batch_length: i32_at(head, 8),
            leader_epoch: i32_at(head, 12),
            crc: i32_at(head, 17) as u32,
            attributes: i16_at(head, 21),
            last_offset_delta: i32_at(head, 23),
            base_timestamp: i64_at(head, 27),
            max_timestamp: i64_at(head, 35),
            producer_id: i64_at(head, 43),
            producer_epoch: i16_at(head, 51),
            base_sequence: i32_at(head, 53),
            record_count: i32_at(head, 57),
        };
        if header.batch_length < (HEADER_LEN - LENGTH_PREFIX) as i32 {
            return Err(BatchError::BadLength(header.batch_length));
        }
        Ok(header)
    }

    /// All bytes of the batch, header included.
    pub fn total_len(&self) -> usize {
        LENGTH_PREFIX + self.batch_length as usize
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Sequence number of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    /// # Errors
    /// When the codec bits name no codec that exists.
    pub fn compression(&self) -> Result<Compression, CodecError> {
        Compression::from_bits(self.attributes & CODEC_MASK)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    pub fn is_idempotent(&self) -> bool {
        self.producer_id != NO_PRODUCER
    }
}

/// One whole batch: its bytes and the header read from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Splits the first batch off `bytes`.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and when the batch is longer than the bytes.
    pub fn split_from(bytes: &mut Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let need = header.total_len();
        if bytes.len() < need {
            return Err(BatchError::Truncated {
                have: bytes.len(),
                need,
            });
        }
        Ok(Batch {
            header,
            bytes: bytes.split_to(need),
        })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// # Errors
    /// When the bytes are not those that the producer summed.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_START..]);
        if computed == self.header.crc {
            return Ok(());
        }
        Err(BatchError::Crc {
            stored: self.header.crc,
            computed,
        })
    }

    /// Everything that can be checked of a produced batch without inflating it. Records that lie open are counted: a
    /// header that promises others would stop every consumer at this batch for ever.
    ///
    /// # Errors
    /// A wrong CRC, an unknown codec, counts that contradict each other, or an LZ4 frame that consumers refuse.
    pub fn verify(&self) -> Result<(), BatchError> {
        self.verify_crc()?;
        if self.header.record_count <= 0 {
            return Err(BatchError::Inconsistent(
                "a batch must hold at least one record",
            ));
        }
        if self.header.last_offset_delta != self.header.record_count - 1 {
            return Err(BatchError::Inconsistent(
                "last offset delta does not match the record count",
            ));
        }
        match self.header.compression()? {
            Compression::None => record::check_lengths(self.payload(), self.header.record_count),
            Compression::Lz4 => Ok(codec::check_lz4_frame(self.payload())?),
            Compression::Gzip | Compression::Snappy | Compression::Zstd => Ok(()),
        }
    }

    /// The records' bytes as sent, compressed or not.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Decompresses, ready to iterate. Without compression nothing is copied.
    ///
    /// # Errors
    /// When the payload does not decompress, or to more than [`MAX_INFLATED`].
    pub fn records(&self) -> Result<Records, BatchError> {
        self.records_within(MAX_INFLATED)
    }

    /// [`Batch::records`] with a bound of the caller's.
    ///
    /// # Errors
    /// When the payload does not decompress, or to more than `limit`.
    pub fn records_within(&self, limit: usize) -> Result<Records, BatchError> {
        let inflated = match self.header.compression()? {
            Compression::None => self.bytes.slice(HEADER_LEN..),
            codec => codec::decompress(codec, self.payload(), limit)?,
        };
        Ok(Records::new(self.header, inflated))
    }

    /// The same records under another codec; timestamps, headers, offsets and producer fields stay as they are.
    ///
    /// # Errors
    /// When the payload does not decompress, or to more than `limit`.
    pub fn recompress(&self, to: Compression, limit: usize) -> Result<Batch, BatchError> {
        let from = self.header.compression()?;
        if from == to {
            return Ok(self.clone());
        }
        let inflated = codec::decompress(from, self.payload(), limit)?;
        let payload = codec::compress(to, &inflated)?;
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload.len());
        bytes.put_slice(&self.bytes[..HEADER_LEN]);
        bytes.put_slice(&payload);
        let attributes = (self.header.attributes & !CODEC_MASK) | to.bits();
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        Ok(seal(bytes))
    }

    /// The batch with a maximum timestamp that its records bear out, and without the broker's own mark. Retention and
    /// look-ups by time go by the header, and some producers (sarama before 1.43) leave the maximum at -1. The first
    /// record's time is in the header too, so a maximum below it gives them away; only then are the records read.
    ///
    /// # Errors
    /// When the records cannot be read, or inflate to more than `limit`.
    pub fn with_true_timestamps(self, limit: usize) -> Result<Batch, BatchError> {
        if self.header.max_timestamp >= self.header.base_timestamp
            && !self.header.is_log_append_time()
        {
            return Ok(self);
        }
        let mut bytes = BytesMut::from(self.bytes.as_ref());
        let attributes = self.header.attributes & !LOG_APPEND_TIME;
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        let unmarked = seal(bytes);
        let mut newest = i64::MIN;
        for record in unmarked.records_within(limit)?.iter() {
            newest = newest.max(record?.timestamp);
        }
        let mut bytes = BytesMut::from(unmarked.bytes);
        bytes[35..43].copy_from_slice(&newest.to_be_bytes());
        Ok(seal(bytes))
    }

    /// The batch as stored in a topic with `message.timestamp.type=LogAppendTime`.
    pub fn with_log_append_time(&self, now_ms: i64) -> Batch {
        let mut bytes = BytesMut::from(self.bytes.as_ref());
        let attributes = self.header.attributes | LOG_APPEND_TIME;
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[35..43].copy_from_slice(&now_ms.to_be_bytes());
        seal(bytes)
    }
}

/// Sets length and CRC of a batch whose other fields stand, and reads it back.
fn seal(mut bytes: BytesMut) -> Batch {
    let length = (bytes.len() - LENGTH_PREFIX) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let header = BatchHeader::parse(&bytes).expect("a sealed batch has a whole header");
    Batch {
        header,
        bytes: bytes.freeze(),
    }
}

/// Gives a batch its place in the log. The CRC does not cover these two fields.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(
        batch.len() >= HEADER_LEN,
        "a batch has a whole header before it is patched"
    );
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// The batches of a record set, one after the other; stops at the first that is broken.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// Iterator of [`batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::split_from(&mut self.rest);
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

/// Builds one batch, record by record: for the registry's topic, the client and tests.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    // What the header will say.
    base_offset: i64,
    attributes: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    compression: Compression,
    // The records so far.
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new(Compression::None)
    }
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            base_offset: 0,
            attributes: 0,
            producer_id: NO_PRODUCER,
            producer_epoch: -1,
            base_sequence: -1,
            compression,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
            count: 0,
            records: Vec::new(),
        }
    }

    pub fn base_offset(mut self, offset: i64) -> BatchBuilder {
        self.base_offset = offset;
        self
    }

    /// Makes the batch idempotent.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= TRANSACTIONAL;
        self
    }

    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= CONTROL;
        self
    }

    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp - self.base_timestamp;
        record::write(
            &mut self.records,
            self.count,
            timestamp_delta,
            key,
            value,
            headers,
        );
        self.count += 1;
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the records so far, uncompressed.
    pub fn size(&self) -> usize {
        self.records.len()
    }

    /// # Errors
    /// When the codec fails.
    ///
    /// # Panics
    /// When no record was pushed: Kafka knows no empty batch from a producer.
    pub fn build(self) -> Result<Batch, BatchError> {
        assert!(self.count > 0, "a batch holds at least one record");
        let payload = codec::compress(self.compression, &self.records)?;
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload.len());
        bytes.put_i64(self.base_offset);
        bytes.put_i32(0);
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes | self.compression.bits());
        bytes.put_i32(self.count - 1);
        bytes.put_i64(self.base_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.count);
        bytes.put_slice(&payload);
        Ok(seal(bytes))
    }
}

fn i16_at(head: &[u8; HEADER_LEN], at: usize) -> i16 {
    i16::from_be_bytes([head[at], head[at + 1]])
}

fn i32_at(head: &[u8; HEADER_LEN], at: usize) -> i32 {
    i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn i64_at(head: &[u8; HEADER_LEN], at: usize) -> i64 {
    (i64::from(i32_at(head, at)) << 32) | i64::from(i32_at(head, at + 4) as u32)
}

#[cfg(test)]
mod tests;
