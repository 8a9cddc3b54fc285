//! Which log starts retention advances: facts in, new starts out.
//!
//! As Kafka, the oldest batches go first and the age of a batch is that of its newest record. Finer than Kafka: a sealed
//! file's part of a log goes as a whole, but in the active file batches go one by one. A batch without a timestamp (-1)
//! never gets too old. Beyond Kafka: what a reader of our own still needs is kept (`holds.rs`), until the disk is nearly
//! full; then the oldest files of it go, as many as are needed.

use std::collections::HashMap;
use std::time::Duration;

use crate::index::Segment;
use crate::numbers::{FileNumber, Offset};
use crate::record::LogId;
use crate::rewrite::Use;
use crate::state::{Log, State};
use crate::topic::{Retention, Topic};

/// What retention would do to one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) log: LogId,
    /// The new log start by time and size.
    pub(crate) start: Offset,
    /// Somebody still needs an offset before that one.
    pub(crate) held: Option<(Offset, String)>,
}

/// New log starts as of `now`; logs that keep everything are left out.
pub(crate) fn due(state: &State, holds: &HashMap<LogId, (Offset, &str)>, now: i64) -> Vec<Due> {
    let logs = state.logs.iter();
    logs.filter_map(|(id, log)| {
        let topic = state.topics.get(&id.topic)?;
        let start = new_start(topic, log, now)?;
        let held = holds.get(id).filter(|(offset, _)| *offset < start);
        Some(Due {
            log: *id,
            start,
            // Never before the start: an offset below 0 has a meaning of its own where log starts are advanced.
            held: held.map(|(offset, holder)| ((*offset).max(log.start), (*holder).to_owned())),
        })
    })
    .collect()
}

/// Through which file what is held must go, though somebody has still to read it, so that `needed` bytes become free: the
/// oldest files first, none beyond, and nothing that would free nothing. None when nothing of it must go.
///
/// Files before `keep_from` can be taken off the disk. One frees its bytes when nobody needs it any more, and all but the
/// live ones when so few are left that it is rewritten; those that are dead already, on their way off the disk, count too.
pub(crate) fn sacrifice(
    state: &State,
    due: &[Due],
    keep_from: FileNumber,
    needed: u64,
) -> FileNumber {
    struct Released {
        bytes: u64,
        held: bool,
    }
    let mut released: HashMap<FileNumber, Released> = HashMap::new();
    for due in due {
        let segments = state.logs[&due.log].segments.iter();
        for segment in segments.take_while(|segment| segment.last < due.start) {
            let none = Released {
                bytes: 0,
                held: false,
            };
            let of_file = released.entry(segment.file).or_insert(none);
            of_file.bytes += segment.bytes;
            of_file.held |= due.held.as_ref().is_some_and(|(at, _)| segment.last >= *at);
        }
    }
    let (mut freed, mut through) = (0, FileNumber::NONE);
    for (id, file) in state.sealed.range(..keep_from) {
        if freed >= needed {
            break;
        }
        let released = released.get(id);
        let left = file.live - released.map_or(0, |released| released.bytes);
        if Use::is_sparse(left, file.end) {
            freed += file.end.saturating_sub(left);
            if released.is_some_and(|released| released.held) {
                through = *id;
            }
        }
    }
    through
}

/// The new start of a log of which something is held: at the hold, or behind what of it stands in files up to `through`.
pub(crate) fn start_through(log: &Log, due: &Due, through: FileNumber) -> Offset {
    let held = due.held.as_ref().map_or(due.start, |(held, _)| *held);
    let goes = |segment: &&Segment| segment.file <= through && segment.last < due.start;
    let last = log.segments.iter().take_while(goes).last();
    last.map_or(held, |segment| held.max(segment.last.next()))
}

/// A part of a log that goes as a whole.
struct Piece {
    last: Offset,
    max_timestamp: i64,
    bytes: u64,
}

fn pieces(log: &Log) -> impl Iterator<Item = Piece> {
    let segments = log.segments.iter().map(|s| Piece {
        last: s.last,
        max_timestamp: s.max_timestamp,
        bytes: s.bytes,
    });
    let active = log.active.iter().map(|e| Piece {
        last: e.last,
        max_timestamp: e.max_timestamp,
        bytes: u64::from(e.len),
    });
    segments.chain(active)
}

fn new_start(topic: &Topic, log: &Log, now: i64) -> Option<Offset> {
    if topic.internal {
        return None;
    }
    let keep = topic.config.retention();
    let too_old = keep.ms.map_or(i64::MIN, |keep| now.saturating_sub(keep));
    let keep_bytes = keep.bytes.unwrap_or(u64::MAX);
    let mut left = log.bytes;
    let mut start = None;
    for piece in pieces(log) {
        let expired = piece.max_timestamp >= 0 && piece.max_timestamp < too_old;
        let over_size = left.saturating_sub(piece.bytes) >= keep_bytes;
        if !expired && !over_size {
            break;
        }
        left -= piece.bytes;
        start = Some(piece.last.next());
    }
    start
}

/// How long from `now` until retention would take `offset`, if nothing more is written: zero when only a hold keeps it,
/// `None` when it is not to go at all, or is not there.
pub(crate) fn until_taken(topic: &Topic, log: &Log, offset: Offset, now: i64) -> Option<Duration> {
    if topic.internal || offset >= log.end {
        return None;
    }
    let Retention { ms, bytes } = topic.config.retention();
    let keep_bytes = bytes.unwrap_or(u64::MAX);
    let mut left = log.bytes;
    let mut until = 0;
    for piece in pieces(log) {
        let over_size = left.saturating_sub(piece.bytes) >= keep_bytes;
        left -= piece.bytes;
        if !over_size {
            let keep = ms.filter(|_| piece.max_timestamp >= 0)?;
            // The oldest go first: none goes before all those in front of it.
            until = until.max(piece.max_timestamp.saturating_add(keep).saturating_sub(now));
        }
        if piece.last >= offset {
            break;
        }
    }
    Some(Duration::from_millis(u64::try_from(until).unwrap_or(0)))
}
