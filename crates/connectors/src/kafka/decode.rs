//! Record batches of the log to Arrow: rows with their origins, and dead letters for the rest.
//!
//! Every offset that is passed over is accounted for: a row, a dead letter, a control record, a tombstone.
//!
//! 1. It is planned which offsets of which batches a poll passes over ([`plan`]).
//! 2. That is cut into pieces of one size, some for each thread that there is; a large batch also between two of its records ([`cut`]).
//! 3. Each piece is decoded with a decoder of its own ([`Worker`]), and becomes a chunk.
//! 4. In the order of the log positions move on and the accounts are added up. Where a batch breaks off that is cut, this poll
//!    ends: what later pieces made of the rest of it counts for nothing, and is read again.

mod keys;
mod piece;

use super::positions::Positions;
use super::{Altered, damaged};
use lw_graph::KafkaSource;
use lw_protocol::Compression;
use lw_protocol::batch::Batch as LogBatch;
use lw_runtime::connector::{Appended, ConnectorError, Polled, Progress};
use lw_runtime::pool::Pool;
use lw_runtime::{Chunk, DeadLetter, Split, SplitId};
use lw_schemas::SchemaLookup;
use lw_storage::source::TopicBatch;
use piece::{BURIED_AT_ONCE, Passed, Piece, Rounded, Worker, bury};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of records that are worth the trouble of a thread of their own.
const LEAST_PIECE: usize = 64 << 10;

/// So many pieces for each thread. A thread that is kept from its piece by other work holds up less, for the others take what is left;
/// and what is decoded of a small piece is still in its core's cache when it becomes columns.
const PIECES_OF_A_THREAD: usize = 3;

/// Decodes the columns of one table.
pub(super) struct Decoding {
    spec: Arc<KafkaSource>,
    lookup: Option<Arc<dyn SchemaLookup>>,
    /// One for each piece of a poll; the first is always there.
    workers: Vec<Worker>,
    pool: Pool,
    altered: Arc<Altered>,
}

impl Decoding {
    /// # Errors
    /// [`lw_runtime::connector::ErrorKind::Fix`] when the format cannot decode the columns.
    pub(super) fn new(
        spec: &KafkaSource,
        lookup: Option<Arc<dyn SchemaLookup>>,
        altered: Arc<Altered>,
    ) -> Result<Decoding, ConnectorError> {
        let spec = Arc::new(spec.clone());
        Ok(Decoding {
            workers: vec![Worker::new(spec.clone(), lookup.clone())?],
            spec,
            lookup,
            pool: Pool::none(),
            altered,
        })
    }

    /// Decodes with the threads of this pool.
    pub(super) fn in_pool(&mut self, pool: Pool) {
        self.pool = pool;
    }

    /// Decodes batches in their order and moves the positions on. `limits` is up to where this poll reads, by split. Says
    /// whether it goes on behind them.
    pub(super) fn decode(
        &mut self,
        positions: &mut Positions,
        limits: &mut BTreeMap<SplitId, i64>,
        batches: Vec<TopicBatch>,
    ) -> Result<(Polled, bool), ConnectorError> {
        let (parts, mut goes_on) = plan(positions, limits, batches)?;
        let splits = positions.splits();
        let mut account = Account {
            appended: parts.iter().filter_map(Part::appended).collect(),
            ..Account::default()
        };
        for piece in self.decode_all(cut(parts, self.pool.threads()), &splits)? {
            let whole = account.add(piece, positions, &splits);
            if !whole {
                goes_on = false;
                break;
            }
        }
        self.tell(&account, &splits);
        Ok((account.polled(), goes_on))
    }

    fn decode_all(
        &mut self,
        pieces: Vec<Vec<Part>>,
        splits: &Arc<[Split]>,
    ) -> Result<Vec<Piece>, ConnectorError> {
        while self.workers.len() < pieces.len() {
            let worker = Worker::new(self.spec.clone(), self.lookup.clone())?;
            self.workers.push(worker);
        }
        let works = self.workers.drain(..pieces.len()).zip(pieces);
        let works = works.map(|(mut worker, parts)| {
            let splits = splits.clone();
            move || {
                let piece = worker.decode(parts, splits);
                (worker, piece)
            }
        });
        let works = self.pool.run(works.collect()).into_iter();
        let (mut workers, decoded): (Vec<Worker>, Vec<_>) = works.unzip();
        workers.append(&mut self.workers);
        self.workers = workers;
        decoded.into_iter().collect()
    }

    /// Says what values became others than their records have.
    fn tell(&self, account: &Account, splits: &[Split]) {
        if account.ignored > 0 {
            let ignored = account.ignored;
            self.altered.ignored.fetch_add(ignored, Ordering::Relaxed);
        }
        let Some(Rounded {
            count,
            split,
            offset,
        }) = account.rounded
        else {
            return;
        };
        let before = self.altered.rounded.fetch_add(count, Ordering::Relaxed);
        let now = before + count;
        // At the first time, and again whenever they have become twice as many.
        if before.checked_ilog2() != now.checked_ilog2() {
            let Split { topic, partition } = &splits[split as usize];
            tracing::warn!(
                table = self.spec.table,
                %topic,
                partition,
                offset,
                rounded = now,
                "decimals of the writer have more digits behind the point than their columns: they were rounded half up"
            );
        }
    }
}

/// Offsets of a batch that are to be decoded.
struct Part {
    split: SplitId,
    /// `None` for a gap: what a compaction took, or a transaction took back.
    batch: Option<LogBatch>,
    offsets: Range<i64>,
    /// Up to where this poll reads the batch: further than the part goes where another one holds the rest.
    end: i64,
    /// So many records of the batch are parts before this one.
    before: usize,
    /// When the batch was appended.
    at: i64,
    /// What the wall clock showed then, where the log says it.
    wall: Option<i64>,
}

impl Part {
    fn appended(&self) -> Option<Appended> {
        self.batch.as_ref().map(|_| Appended {
            split: self.split,
            to: self.end,
            at: self.at,
        })
    }

    fn records(&self) -> usize {
        usize::try_from(self.offsets.end - self.offsets.start).unwrap_or(0)
    }

    /// About what its records take in the log.
    fn bytes(&self) -> usize {
        let Some(batch) = &self.batch else { return 0 };
        let all = usize::try_from(batch.header().record_count).unwrap_or(0);
        let all = all.max(self.records()).max(1);
        batch.payload().len() / all * self.records()
    }

    /// The part as two, the first with about so many bytes. `None` where it cannot be told where a record begins without reading those
    /// before it.
    fn cut_at(&self, bytes: usize) -> Option<[Part; 2]> {
        let header = self.batch.as_ref()?.header();
        let records = i64::from(header.record_count);
        let is_open = matches!(header.compression(), Ok(Compression::None));
        let is_dense = records == i64::from(header.last_offset_delta) + 1;
        let first = self.records() * bytes / self.bytes().max(1);
        let at = self.offsets.start + first as i64;
        let inside = self.offsets.start >= header.base_offset && self.offsets.contains(&at);
        if !is_open || !is_dense || header.is_control() || first == 0 || !inside {
            return None;
        }
        let part = |offsets, before| Part {
            batch: self.batch.clone(),
            offsets,
            before,
            ..*self
        };
        let before = usize::try_from(at - header.base_offset).expect("it is inside");
        let first = part(self.offsets.start..at, self.before);
        Some([first, part(at..self.offsets.end, before)])
    }
}

/// What of the batches a poll passes over, and whether it goes on behind them.
fn plan(
    positions: &Positions,
    limits: &mut BTreeMap<SplitId, i64>,
    batches: Vec<TopicBatch>,
) -> Result<(Vec<Part>, bool), ConnectorError> {
    let (mut parts, mut next) = (Vec::with_capacity(batches.len()), BTreeMap::new());
    for TopicBatch { topic, batch } in batches {
        let Some(split) = positions.find(&topic, batch.partition) else {
            continue;
        };
        let next = next.entry(split).or_insert_with(|| positions.next(split));
        let (from, end) = (*next, positions.end(split));
        if from >= end {
            continue;
        }
        // Where this poll began, so that it reads over no cut in two steps.
        let limit = *limits
            .entry(split)
            .or_insert_with(|| positions.limit(split));
        let to = batch.next.min(limit).max(from);
        *next = to;
        let mut bytes = batch.bytes;
        let log_batch = match bytes.is_empty() {
            true => None,
            false => Some(LogBatch::split_from(&mut bytes).map_err(damaged)?),
        };
        parts.push(Part {
            split,
            batch: log_batch,
            offsets: from..to,
            end: to,
            before: 0,
            at: batch.appended_at,
            wall: batch.wall,
        });
        // A split that ends lets event time go on: where it does must not hang on how much one poll reads.
        if to < batch.next.min(end) || to >= end {
            return Ok((parts, false));
        }
    }
    Ok((parts, true))
}

/// Cuts parts into pieces of about one size, in their order.
fn cut(parts: Vec<Part>, threads: usize) -> Vec<Vec<Part>> {
    let total: usize = parts.iter().map(Part::bytes).sum();
    let count = match threads {
        ..=1 => 1,
        _ => (threads * PIECES_OF_A_THREAD)
            .min(total / LEAST_PIECE)
            .max(1),
    };
    let size = total.div_ceil(count);
    let mut pieces = vec![Vec::new()];
    let mut room = size;
    for mut part in parts {
        while part.bytes() > room && pieces.len() < count {
            let last = pieces.last_mut().expect("there is one");
            match part.cut_at(room) {
                Some([first, rest]) => {
                    last.push(first);
                    part = rest;
                }
                // It goes to where more of it would be.
                None if last.is_empty() || part.bytes() < 2 * room => break,
                None => {}
            }
            pieces.push(Vec::new());
            room = size;
        }
        room = room.saturating_sub(part.bytes());
        pieces.last_mut().expect("there is one").push(part);
    }
    pieces
}

/// What the pieces of a poll come to.
#[derive(Default)]
struct Account {
    chunks: Vec<Chunk>,
    letters: Vec<DeadLetter>,
    progress: BTreeMap<SplitId, Progress>,
    appended: Vec<Appended>,
    ignored: u64,
    rounded: Option<Rounded>,
}

impl Account {
    /// Adds a piece, and says whether what follows it is to be added too.
    fn add(&mut self, piece: Piece, positions: &mut Positions, splits: &[Split]) -> bool {
        self.chunks.extend(piece.chunk);
        self.letters.extend(piece.letters);
        self.ignored += piece.ignored;
        if let Some(rounded) = piece.rounded {
            let count = self.rounded.map_or(0, |before| before.count);
            let first = self.rounded.unwrap_or(rounded);
            self.rounded = Some(Rounded {
                count: count + rounded.count,
                ..first
            });
        }
        let mut whole = true;
        for passed in piece.passed {
            let Passed { split, offsets, .. } = &passed;
            let mut to = offsets.end;
            if let Some(broken) = &passed.broken {
                if passed.is_buried && to < passed.end {
                    let of = &splits[*split as usize];
                    to = bury(
                        of,
                        to..passed.end,
                        broken,
                        BURIED_AT_ONCE,
                        &mut self.letters,
                    );
                }
                whole = passed.is_buried && offsets.end == passed.end;
            }
            let progress = self.progress.entry(*split).or_insert(Progress {
                split: *split,
                from: offsets.start,
                to: offsets.start,
                control: 0,
                skipped: 0,
            });
            progress.to = to;
            progress.control += passed.control;
            progress.skipped += passed.skipped;
            positions.advance(*split, to);
        }
        whole
    }

    fn polled(self) -> Polled {
        let mut progress: Vec<Progress> = self.progress.into_values().collect();
        progress.retain(|progress| progress.from < progress.to);
        Polled {
            batches: self.chunks,
            dead_letters: self.letters,
            progress,
            finished: false,
            appended: self.appended,
        }
    }
}

#[cfg(test)]
mod tests;
