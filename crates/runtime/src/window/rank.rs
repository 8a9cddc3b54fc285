//! Top-N of windows: the rows of each key and window that are ranked `first` to `last`, when the window fires.
//!
//! Only rows that may still be among the `last` are kept. Each has its place as bytes that compare as the columns do, so a row that
//! comes behind the last place is forgotten at once. Of equal rows the one that came earlier is ranked first, unless it is the latest
//! that is asked for. A window's rows are given by key, and then by rank.

use super::kept;
use super::place::{Slice, Windows};
use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys, places};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out};
use crate::state::{Changed, StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use lw_graph::{SortKey, Windowing};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct WindowRank {
    windows: Windows,
    keys: Vec<usize>,
    codec: KeyCodec,
    order: Vec<SortKey>,
    ranks: Ranks,
    /// The rank is the last column.
    numbered: bool,
    input: SchemaRef,
    output: SchemaRef,

    open: BTreeMap<Slice, Best>,
    /// Windows of the last checkpoint that are gone.
    gone: Vec<Slice>,
    /// [`i64::MIN`] for none.
    watermark: i64,
    splits: Arc<[Split]>,
}

/// The ranks that are given, counted from 1.
#[derive(Clone, Copy)]
pub(crate) struct Ranks {
    first: usize,
    last: usize,
    /// Of equal rows the later is ranked first.
    latest: bool,
}

impl Ranks {
    pub(crate) fn new(first: u64, last: u64, latest: bool) -> Ranks {
        let rank = |rank: u64| usize::try_from(rank).unwrap_or(usize::MAX);
        Ranks {
            first: rank(first).max(1),
            last: rank(last),
            latest,
        }
    }
}

/// The best rows of a window, by key.
struct Best {
    groups: Groups,
    /// By group, in the order of the ranks.
    by_group: Vec<Vec<Row>>,
    /// What the rows stand in.
    pieces: Vec<RecordBatch>,
    /// How many of the rows in the pieces are among the best.
    live: usize,
    /// The memory of their places.
    places: usize,
    changed: Changed,
}

/// Rows of a window, each with its rank and the group of its key.
struct Ranked {
    rows: RecordBatch,
    ranks: Vec<i64>,
    groups: Vec<u32>,
}

struct Row {
    place: Box<[u8]>,
    piece: usize,
    row: usize,
}

impl Best {
    fn new(codec: &KeyCodec) -> Best {
        Best {
            groups: codec.groups(),
            by_group: Vec::new(),
            pieces: Vec::new(),
            live: 0,
            places: 0,
            changed: Changed::All,
        }
    }

    /// Takes rows of a chunk in their order; at most `last` of a key stay.
    fn add(
        &mut self,
        columns: &RecordBatch,
        rows: &[u32],
        (keys, places): (&Keys, &[Box<[u8]>]),
        ranks: Ranks,
    ) -> Result<(), ArrowError> {
        let mut groups = Vec::new();
        self.groups.intern(keys, rows, &mut groups);
        self.by_group.resize_with(self.groups.len(), Vec::new);
        let (piece, mut taken, mut changed) = (self.pieces.len(), Vec::new(), Vec::new());
        for (row, group) in rows.iter().zip(groups) {
            let best = &mut self.by_group[group as usize];
            let place = &places[*row as usize];
            let rank = best.partition_point(|other| match ranks.latest {
                true => other.place < *place,
                false => other.place <= *place,
            });
            if rank >= ranks.last {
                continue;
            }
            self.live += 1;
            self.places += size_of::<Row>() + place.len();
            if best.len() == ranks.last
                && let Some(worst) = best.pop()
            {
                self.live -= 1;
                self.places -= size_of::<Row>() + worst.place.len();
            }
            let (place, at) = (place.clone(), taken.len());
            best.insert(
                rank,
                Row {
                    place,
                    piece,
                    row: at,
                },
            );
            taken.push(*row);
            changed.push(group);
        }
        self.changed.add(&changed);
        if !taken.is_empty() {
            self.pieces
                .push(take_record_batch(columns, &UInt32Array::from(taken))?);
            self.gather_if_sparse()?;
        }
        Ok(())
    }

    /// Pieces are brought together when most of what they hold is no longer wanted, or they are many.
    fn gather_if_sparse(&mut self) -> Result<(), ArrowError> {
        const MANY: usize = 64;
        let rows: usize = self.pieces.iter().map(RecordBatch::num_rows).sum();
        if self.pieces.len() < MANY && rows < 2 * self.live + 1024 {
            return Ok(());
        }
        let wanted: Vec<(usize, usize)> = self
            .by_group
            .iter()
            .flatten()
            .map(|row| (row.piece, row.row))
            .collect();
        self.pieces = vec![self.rows(&wanted)?];
        for (at, row) in self.by_group.iter_mut().flatten().enumerate() {
            (row.piece, row.row) = (0, at);
        }
        Ok(())
    }

    /// The rows of some keys, in the order of their ranks.
    fn all_of(&self, groups: &[u32]) -> Result<RecordBatch, ArrowError> {
        let rows = groups
            .iter()
            .flat_map(|group| &self.by_group[*group as usize]);
        let wanted: Vec<(usize, usize)> = rows.map(|row| (row.piece, row.row)).collect();
        self.rows(&wanted)
    }

    fn rows(&self, wanted: &[(usize, usize)]) -> Result<RecordBatch, ArrowError> {
        let pieces: Vec<&RecordBatch> = self.pieces.iter().collect();
        interleave_record_batch(&pieces, wanted)
    }

    /// The rows of these ranks by key and rank.
    fn ranked(&self, first: usize, last: usize) -> Result<Ranked, ArrowError> {
        let (mut wanted, mut ranks, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for group in self.groups.sorted() {
            let best = self.by_group[group as usize].iter().zip(1..).take(last);
            for (row, rank) in best.skip(first - 1) {
                wanted.push((row.piece, row.row));
                ranks.push(rank);
                groups.push(group);
            }
        }
        let rows = self.rows(&wanted)?;
        Ok(Ranked {
            rows,
            ranks,
            groups,
        })
    }

    fn size(&self) -> usize {
        let rows: usize = self
            .pieces
            .iter()
            .map(RecordBatch::get_array_memory_size)
            .sum();
        self.groups.size() + rows + self.places + self.changed.size()
    }
}

impl WindowRank {
    /// # Errors
    /// [`FlowError`] when a column can be no key or cannot be ordered by, or the windows are not attached below.
    pub(crate) fn new(
        windowing: &Windowing,
        (keys, order): (&[usize], &[SortKey]),
        ranks: Ranks,
        numbered: bool,
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<WindowRank, FlowError> {
        let unknown = |message: String| FlowError::Expression(message);
        if let Windowing::Assign(_) = windowing {
            return Err(unknown("a rank is of windows that stand below".to_string()));
        }
        let windows = Windows::new(windowing, &input);
        let types = keys.iter().map(|column| input.field(*column).data_type());
        let codec = KeyCodec::new(types).map_err(|error| unknown(error.to_string()))?;
        let ordered = order.iter().map(|key| input.field(key.column).data_type());
        KeyCodec::new(ordered).map_err(|error| unknown(error.to_string()))?;
        Ok(WindowRank {
            windows: windows.map_err(|error| unknown(error.to_string()))?,
            keys: keys.to_vec(),
            codec,
            order: order.to_vec(),
            ranks,
            numbered,
            input,
            output,
            open: BTreeMap::new(),
            gone: Vec::new(),
            watermark: i64::MIN,
            splits: Arc::new([]),
        })
    }

    fn key_and_places(&self, columns: &RecordBatch) -> (Keys, Vec<Box<[u8]>>) {
        let of = |column: &usize| columns.column(*column).clone();
        let keys: Vec<ArrayRef> = self.keys.iter().map(of).collect();
        let keys = self.codec.encode(&keys, columns.num_rows());
        let order = self.order.iter();
        let order: Vec<_> = order
            .map(|key| (of(&key.column), key.ascending, key.nulls_first))
            .collect();
        (keys, places(&order, columns.num_rows()))
    }

    fn add(
        &mut self,
        columns: &RecordBatch,
        rows: BTreeMap<Slice, Vec<u32>>,
        found: (&Keys, &[Box<[u8]>]),
    ) -> Result<(), OperatorError> {
        for (slice, rows) in rows {
            let best = self.open.entry(slice);
            let best = best.or_insert_with(|| Best::new(&self.codec));
            best.add(columns, &rows, found, self.ranks)?;
        }
        Ok(())
    }

    fn next(&self) -> i64 {
        let first = self.open.keys().next();
        first.map_or(i64::MAX, |slice| self.windows.wall.fires(slice.end))
    }

    /// Windows fire that the watermark lets fire; says whether one gave rows.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<bool, OperatorError> {
        let mut fired = Vec::new();
        while self.next() <= watermark
            && let Some((slice, best)) = self.open.pop_first()
        {
            if best.changed.is_known() {
                self.gone.push(slice);
            }
            let ranked = best.ranked(self.ranks.first, self.ranks.last)?;
            if let Some(places) = &mut out.places {
                let times = [slice.end, slice.start];
                for group in &ranked.groups {
                    places.push(watermark, &times, &best.groups, *group);
                }
            }
            let mut columns = ranked.rows.columns().to_vec();
            if self.numbered {
                columns.push(Arc::new(Int64Array::from(ranked.ranks)));
            }
            fired.push(RecordBatch::try_new(self.output.clone(), columns)?);
        }
        self.watermark = watermark;
        let rows = arrow_select::concat::concat_batches(&self.output, &fired)?;
        if rows.num_rows() == 0 {
            return Ok(false);
        }
        let mark = Mark {
            row: rows.num_rows(),
            watermark,
        };
        out.emit(Chunk::derived(rows, vec![mark], self.splits.clone()));
        Ok(true)
    }

    fn only_a_mark(&self) -> Chunk {
        let (none, watermark) = (RecordBatch::new_empty(self.output.clone()), self.watermark);
        Chunk::derived(none, vec![Mark { row: 0, watermark }], self.splits.clone())
    }
}

impl Operator for WindowRank {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let slices = self.windows.slices(&chunk)?;
        let (keys, places) = self.key_and_places(&chunk.columns);
        let mut pending: BTreeMap<Slice, Vec<u32>> = BTreeMap::new();
        let mut passed_on = self.watermark;
        for (rows, mark) in chunk.stretches() {
            for (row, slice) in rows.clone().zip(&slices[rows]) {
                if self.windows.wall.fires(slice.end) > self.watermark {
                    pending.entry(*slice).or_default().push(row as u32);
                } else {
                    let event_time = self.windows.event_time(&chunk, row);
                    let watermark = self.watermark;
                    out.late(Late {
                        row,
                        event_time,
                        watermark,
                    });
                }
            }
            let Some(mark) = mark.filter(|mark| *mark > self.watermark) else {
                continue;
            };
            let rows = std::mem::take(&mut pending);
            self.add(&chunk.columns, rows, (&keys, &places))?;
            if self.rise(mark, out)? {
                passed_on = mark;
            }
        }
        self.add(&chunk.columns, pending, (&keys, &places))?;
        if self.watermark > passed_on {
            out.emit(self.only_a_mark());
        }
        Ok(())
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        if self.watermark < Mark::END && !self.rise(Mark::END, out)? {
            out.emit(self.only_a_mark());
        }
        Ok(())
    }

    /// One row for each that is among the best: its window's end and start, and its columns.
    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark((self.watermark > i64::MIN).then_some(self.watermark));
        let gone = std::mem::take(&mut self.gone);
        if self.open.is_empty() {
            return Ok(());
        }
        let broken = |error: ArrowError| StateError::new(error.to_string());
        let ids = [0, 1]
            .into_iter()
            .chain(self.keys.iter().map(|key| key + 2));
        let mut parts = kept::Parts::new("best", ids, to);
        for (slice, best) in &mut self.open {
            let groups = best.changed.take(best.groups.len(), parts.is_whole());
            for groups in groups.chunks(kept::PIECE) {
                let rows = best.all_of(groups).map_err(broken)?;
                let mut columns = kept::ids_of(&vec![*slice; rows.num_rows()]);
                columns.extend(rows.columns().iter().cloned());
                parts.add(columns)?;
            }
        }
        parts.finish(&kept::ids_of(&gone))
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        let foreign = || StateError::new("the state of a Top-N is not of this query");
        let keys: Vec<usize> = self.keys.iter().map(|column| column + 2).collect();
        for section in from.sections("best") {
            let mine = kept::mine(from, section, &self.codec, &keys)?;
            let columns = mine.columns();
            let times = |column: usize| columns.get(column)?.as_primitive_opt::<Int64Type>();
            let (ends, starts) = times(0).zip(times(1)).ok_or_else(foreign)?;
            let rows = RecordBatch::try_new(self.input.clone(), columns[2..].to_vec());
            let rows = rows.map_err(|_| foreign())?;
            let mut by_slice: BTreeMap<Slice, Vec<u32>> = BTreeMap::new();
            for row in 0..rows.num_rows() {
                let (end, start) = (ends.value(row), starts.value(row));
                by_slice
                    .entry(Slice { end, start })
                    .or_default()
                    .push(row as u32);
            }
            let (keys, places) = self.key_and_places(&rows);
            let added = self.add(&rows, by_slice, (&keys, &places));
            added.map_err(|error| StateError::new(error.to_string()))?;
        }
        let open = self.open.values_mut();
        open.for_each(|best| best.changed = Changed::none());
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.open.values().map(Best::size).sum()
    }
}
