//! Idempotent producers: what each has sent to a partition, and whether the next batch is new, a repeat or a hole.
//!
//! | the batch | answer |
//! |---|---|
//! | no producer id | new |
//! | nothing known of the producer (or expired) | new, at any sequence: its records may have expired (transactions v1) |
//! | older epoch | [`Verdict::OldEpoch`] |
//! | newer epoch | new when its sequence is 0, else a hole |
//! | same first and last sequence as one of the last five | repeat: answered with that one's offset |
//! | follows the last sequence (2^31-1 is followed by 0) | new |
//! | anything else | [`Verdict::OutOfOrder`] |

use lw_protocol::BatchHeader;

use crate::codec::{Damaged, Reader, Writer};
use crate::config::Fault;
use crate::numbers::Offset;

/// Kafka's window: a client has at most five requests in flight.
const WINDOW: usize = 5;
/// Kafka's `producer.id.expiration.ms`.
pub(crate) const EXPIRY_MS: i64 = 24 * 3600 * 1000;

/// One producer's state in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// When it last appended, by the log's time.
    pub(crate) seen_at: i64,
    batches: Window,
}

/// The newest batches, the oldest first. In place: of many producers each would else have an allocation of its own.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    sent: [Sent; WINDOW],
    len: usize,
}

impl Window {
    fn push(&mut self, sent: Sent) {
        if self.len == WINDOW {
            self.sent.rotate_left(1);
            self.len -= 1;
        }
        self.sent[self.len] = sent;
        self.len += 1;
    }

    fn as_slice(&self) -> &[Sent] {
        &self.sent[..self.len]
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Window) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Window {}

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) timestamp: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    Repeat(Sent),
    OutOfOrder { expected: i32 },
    OldEpoch { current: i16 },
}

/// Judges a batch by what is known of its producer.
pub(crate) fn judge(
    known: Option<&Producer>,
    header: &BatchHeader,
    now: i64,
    fault: Option<Fault>,
) -> Verdict {
    let Some(producer) = known.filter(|producer| !producer.is_expired(now)) else {
        return Verdict::New;
    };
    if header.producer_epoch < producer.epoch {
        if fault == Some(Fault::ForgetEpochs) {
            return Verdict::New;
        }
        return Verdict::OldEpoch {
            current: producer.epoch,
        };
    }
    if header.is_control() {
        return Verdict::New;
    }
    let sent = producer.batches.as_slice();
    let expected = match sent.last() {
        Some(last) if header.producer_epoch == producer.epoch => successor(last.last_sequence),
        _ => 0,
    };
    let forgotten = match fault {
        Some(Fault::WindowOfFour) => sent.len().saturating_sub(4),
        _ => 0,
    };
    let repeat = sent[forgotten..].iter().find(|sent| {
        header.producer_epoch == producer.epoch
            && sent.first_sequence == header.base_sequence
            && sent.last_sequence == header.last_sequence()
    });
    match repeat {
        Some(sent) => Verdict::Repeat(*sent),
        None if header.base_sequence == expected => Verdict::New,
        None => Verdict::OutOfOrder { expected },
    }
}

fn successor(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

impl Producer {
    /// State after `header` was appended at `base_offset`.
    pub(crate) fn after(
        known: Option<&Producer>,
        header: &BatchHeader,
        base_offset: Offset,
        now: i64,
    ) -> Producer {
        let mut batches = match known {
            Some(known) if known.is_expired(now) => Window::default(),
            Some(known) if known.epoch == header.producer_epoch => known.batches,
            _ => Window::default(),
        };
        if !header.is_control() {
            batches.push(Sent {
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset,
                last_offset: base_offset.plus(i64::from(header.last_offset_delta)),
                timestamp: header.max_timestamp,
            });
        }
        Producer {
            epoch: header.producer_epoch,
            seen_at: now,
            batches,
        }
    }

    pub(crate) fn is_expired(&self, now: i64) -> bool {
        now.saturating_sub(self.seen_at) > EXPIRY_MS
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.i16(self.epoch);
        out.i64(self.seen_at);
        out.count(self.batches.len);
        for sent in self.batches.as_slice() {
            out.i32(sent.first_sequence);
            out.i32(sent.last_sequence);
            out.i64(sent.base_offset.0);
            out.i64(sent.last_offset.0);
            out.i64(sent.timestamp);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Producer, Damaged> {
        let epoch = reader.i16("producer epoch")?;
        let seen_at = reader.i64("producer seen at")?;
        let count = reader.u32("producer batches")?;
        let mut batches = Window::default();
        for _ in 0..count {
            batches.push(Sent {
                first_sequence: reader.i32("first sequence")?,
                last_sequence: reader.i32("last sequence")?,
                base_offset: Offset(reader.i64("base offset")?),
                last_offset: Offset(reader.i64("last offset")?),
                timestamp: reader.i64("timestamp")?,
            });
        }
        Ok(Producer {
            epoch,
            seen_at,
            batches,
        })
    }
}
