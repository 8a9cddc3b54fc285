//! `SESSION` by itself: the rows of each key and session when the session ends, as they came, with its start, end and last millisecond
//! behind their own columns.
//!
//! Sessions join and rows are late as where they are aggregated ([`super::sessions`]). Sessions that end at one mark are given by end,
//! then by key.

use super::held::{At, Held};
use super::kept;
use super::place::Slice;
use super::sessions::{Gap, Joined, Session, Sessions};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out};
use crate::state::{StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, SchemaRef};
use lw_graph::Window;
use std::sync::Arc;

pub(crate) struct SessionRows {
    gap: Gap,
    input: SchemaRef,
    output: SchemaRef,

    sessions: Sessions,
    /// By slot: the rows of its session, as they came.
    rows: Vec<Vec<Row>>,
    held: Held,
    /// How many rows there were.
    came: u64,
    /// [`i64::MIN`] for none.
    watermark: i64,
    splits: Arc<[Split]>,
}

struct Row {
    came: u64,
    at: At,
}

/// Columns of a checkpoint before those of the row: its session's end and start, and as which row it came.
const BEFORE: usize = 3;

impl SessionRows {
    /// # Errors
    /// [`FlowError`] when a column can be no key, or the zone is none.
    pub(crate) fn new(
        window: (&Window, i64),
        keys: &[usize],
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<SessionRows, FlowError> {
        let gap = Gap::new(window, keys, &input)?;
        Ok(SessionRows {
            sessions: Sessions::new(&gap.codec),
            gap,
            rows: Vec::new(),
            held: Held::new(input.clone()),
            input,
            output,
            came: 0,
            watermark: i64::MIN,
            splits: Arc::new([]),
        })
    }

    fn keys_of(&mut self, columns: &RecordBatch) -> Vec<u32> {
        let rows: Vec<u32> = (0..columns.num_rows() as u32).collect();
        self.sessions.intern(&self.gap.keys_of(columns), &rows)
    }

    fn push(&mut self, slot: u32, row: Row) {
        self.rows.resize_with(self.sessions.slots(), Vec::new);
        self.rows[slot as usize].push(row);
        self.held.wanted += 1;
    }

    /// Sessions end that the watermark lets end; says whether there was one.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<bool, OperatorError> {
        let due = self
            .sessions
            .due(|end| self.gap.wall.fires(end) <= watermark);
        self.watermark = watermark;
        let (mut rows, mut windows) = (Vec::new(), Vec::new());
        for slot in &due {
            let Session { key, window } = self.sessions.close(*slot);
            for row in std::mem::take(&mut self.rows[*slot as usize]) {
                rows.push(row.at);
                windows.push(window);
                if let Some(places) = &mut out.places {
                    places.push(watermark, &[window.end], &self.sessions.keys, key);
                }
            }
        }
        if rows.is_empty() {
            return Ok(false);
        }
        let columns = self.with_windows(&self.held.rows(&rows)?, &windows)?;
        self.held.wanted -= rows.len();
        let mark = Mark {
            row: columns.num_rows(),
            watermark,
        };
        out.emit(Chunk::derived(columns, vec![mark], self.splits.clone()));
        Ok(true)
    }

    fn with_windows(
        &self,
        rows: &RecordBatch,
        windows: &[Slice],
    ) -> Result<RecordBatch, ArrowError> {
        let mut columns = rows.columns().to_vec();
        let wall = &self.gap.wall;
        let times: [&dyn Fn(&Slice) -> i64; 3] =
            [&|window| window.start, &|window| window.end, &|window| {
                wall.instant(window.end - 1)
            }];
        for time in times {
            let micros = windows.iter().map(|window| time(window) * 1000);
            let micros = TimestampMicrosecondArray::from_iter_values(micros);
            let ty = self.output.field(columns.len()).data_type().clone();
            columns.push(Arc::new(micros.with_data_type(ty)));
        }
        RecordBatch::try_new(self.output.clone(), columns)
    }

    /// Rows with their sessions' windows, as they stand in a checkpoint.
    fn written(&self, rows: &[(Slice, &Row)]) -> Result<Vec<ArrayRef>, StateError> {
        let windows: Vec<Slice> = rows.iter().map(|(window, _)| *window).collect();
        let came = rows.iter().map(|(_, row)| row.came.cast_signed());
        let mut columns = kept::ids_of(&windows);
        columns.push(Arc::new(Int64Array::from_iter_values(came)));
        let at: Vec<At> = rows.iter().map(|(_, row)| row.at).collect();
        let rows = self.held.rows(&at);
        let rows = rows.map_err(|error| StateError::new(error.to_string()))?;
        columns.extend(rows.columns().iter().cloned());
        Ok(columns)
    }

    fn only_a_mark(&self) -> Chunk {
        let (none, watermark) = (RecordBatch::new_empty(self.output.clone()), self.watermark);
        Chunk::derived(none, vec![Mark { row: 0, watermark }], self.splits.clone())
    }

    /// Lets go of sessions that ended and of rows that were given, when they are many.
    fn tidy(&mut self) -> Result<(), ArrowError> {
        if self.sessions.are_sparse() {
            let slots = self.sessions.reopen().into_iter();
            let rows = slots.map(|slot| std::mem::take(&mut self.rows[slot as usize]));
            self.rows = rows.collect();
        }
        if self.held.is_sparse() {
            let wanted: Vec<At> = self.rows.iter().flatten().map(|row| row.at).collect();
            self.held.gather(&wanted)?;
            for (place, row) in self.rows.iter_mut().flatten().enumerate() {
                row.at = (0, place);
            }
        }
        Ok(())
    }
}

impl Operator for SessionRows {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let sessions = self.gap.sessions_of(&chunk)?;
        let keys = self.keys_of(&chunk.columns);
        let piece = self.held.push(chunk.columns.clone());
        let mut passed_on = self.watermark;
        for (rows, mark) in chunk.stretches() {
            for row in rows {
                let (event_time, session) = sessions[row];
                let is_late = |end| self.gap.wall.fires(end) <= self.watermark;
                let slot = match self.sessions.join(keys[row], session, is_late) {
                    Joined::Slot(slot) => slot,
                    Joined::Both(slot, absorbed) => {
                        let absorbed = std::mem::take(&mut self.rows[absorbed as usize]);
                        let rows = &mut self.rows[slot as usize];
                        rows.extend(absorbed);
                        rows.sort_by_key(|row| row.came);
                        slot
                    }
                    Joined::Late => {
                        let watermark = self.watermark;
                        out.late(Late {
                            row,
                            event_time,
                            watermark,
                        });
                        continue;
                    }
                };
                let (came, at) = (self.came + row as u64, (piece, row));
                self.push(slot, Row { came, at });
            }
            if let Some(watermark) = mark.filter(|mark| *mark > self.watermark)
                && self.rise(watermark, out)?
            {
                passed_on = watermark;
            }
        }
        self.came += chunk.rows() as u64;
        if self.watermark > passed_on {
            out.emit(self.only_a_mark());
        }
        Ok(self.tidy()?)
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        if self.watermark < Mark::END && !self.rise(Mark::END, out)? {
            out.emit(self.only_a_mark());
        }
        Ok(self.tidy()?)
    }

    /// One row for each that waits: its session's end and start, as which row it came, and its columns. Of a key that changed, those of
    /// all its sessions.
    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark((self.watermark > i64::MIN).then_some(self.watermark));
        kept::write_count(self.came, to)?;
        let ids = self.gap.keys.iter().map(|column| column + BEFORE);
        let mut parts = kept::Parts::new("rows of sessions", ids, to);
        let (slots, dropped) = self.sessions.take_changed(parts.is_whole());
        let of_slot = |slot: &u32| {
            let window = self.sessions.session(*slot).window;
            let rows = self.rows[*slot as usize].iter();
            rows.map(move |row| (window, row))
        };
        let rows: Vec<(Slice, &Row)> = slots.iter().flat_map(of_slot).collect();
        for rows in rows.chunks(kept::PIECE) {
            parts.add(self.written(rows)?)?;
        }
        parts.finish(&kept::joined_ids(&dropped)?)
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        self.came = kept::read_count(from)?;
        let foreign = || StateError::new("the state of SESSION is not of this query");
        let keys = self.gap.keys.iter().map(|column| column + BEFORE);
        let keys: Vec<usize> = keys.collect();
        for section in from.sections("rows of sessions") {
            let mine = kept::mine(from, section, &self.gap.codec, &keys)?;
            let columns = mine.columns();
            let number = |column: usize| columns.get(column)?.as_primitive_opt::<Int64Type>();
            let ends = number(0).ok_or_else(foreign)?;
            let (starts, came) = number(1).zip(number(2)).ok_or_else(foreign)?;
            let rows = RecordBatch::try_new(self.input.clone(), columns[BEFORE..].to_vec());
            let rows = rows.map_err(|_| foreign())?;
            let keys = self.keys_of(&rows);
            let piece = self.held.push(rows);
            for (row, key) in keys.into_iter().enumerate() {
                let (end, start) = (ends.value(row), starts.value(row));
                let window = Slice { end, start };
                let slot = self.sessions.slot_of(Session { key, window });
                let came = came.value(row).cast_unsigned();
                self.push(
                    slot,
                    Row {
                        came,
                        at: (piece, row),
                    },
                );
            }
        }
        self.sessions.are_written();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(Vec::len).sum();
        self.sessions.size() + self.held.size() + rows * size_of::<Row>()
    }
}
