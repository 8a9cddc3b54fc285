//! Aggregates of sessions: one row for each key and session, when the session ends.
//!
//! What a session is, and which row is late: [`super::sessions`].

use super::kept::{self, Kept};
use super::output::Output;
use super::place::Slice;
use super::sessions::{Gap, Joined, Session, Sessions};
use crate::aggregate::{Aggregates, Calls};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out};
use crate::state::{StateError, StateReader, StateWriter};
use arrow_schema::SchemaRef;
use lw_graph::{AggregateCall, Window, WindowProperty};
use std::sync::Arc;

pub(crate) struct SessionAggregate {
    gap: Gap,
    calls: Calls,
    output: Output,

    sessions: Sessions,
    /// By slot.
    aggregates: Aggregates,
    /// [`i64::MIN`] for none.
    watermark: i64,
    /// No session ends at a lower watermark.
    next: i64,
    /// How many rows there were.
    rows: u64,
    splits: Arc<[Split]>,
}

impl SessionAggregate {
    /// # Errors
    /// [`FlowError`] when a key cannot be grouped by, or an aggregate cannot be computed.
    pub(crate) fn new(
        window: (&Window, i64),
        keys: &[usize],
        aggregates: &[AggregateCall],
        properties: &[WindowProperty],
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<SessionAggregate, FlowError> {
        let gap = Gap::new(window, keys, &input)?;
        let calls = Calls::of_groups(aggregates, &input);
        let calls = calls.map_err(|error| FlowError::Expression(error.to_string()))?;
        Ok(SessionAggregate {
            output: Output {
                schema: output,
                properties: properties.to_vec(),
                keys: keys.len(),
            },
            sessions: Sessions::new(&gap.codec),
            gap,
            aggregates: calls.start(),
            calls,
            watermark: i64::MIN,
            next: i64::MAX,
            rows: 0,
            splits: Arc::new([]),
        })
    }

    /// Adds rows that were given their slots.
    fn add(&mut self, chunk: &Chunk, (rows, slots): &mut (Vec<u32>, Vec<u32>)) {
        let count = self.sessions.slots();
        self.aggregates
            .update(&chunk.columns, rows, slots, count, self.rows);
        rows.clear();
        slots.clear();
    }

    /// Sessions end that the watermark lets end; says whether there was one.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<bool, OperatorError> {
        let due = self
            .sessions
            .due(|end| self.gap.wall.fires(end) <= watermark);
        self.watermark = watermark;
        if !due.is_empty() {
            let ended: Vec<Session> = due.iter().map(|slot| self.sessions.close(*slot)).collect();
            if let Some(places) = &mut out.places {
                for Session { key, window } in &ended {
                    places.push(watermark, &[window.end], &self.sessions.keys, *key);
                }
            }
            let keys: Vec<u32> = ended.iter().map(|session| session.key).collect();
            let keys = self.gap.codec.decode(&self.sessions.keys, &keys);
            let windows: Vec<Slice> = ended.iter().map(|session| session.window).collect();
            let results = self.aggregates.finish(&due);
            let columns = self
                .output
                .columns(keys, results, &windows, &self.gap.wall)?;
            out.emit(self.output.chunk(&[columns], watermark, &self.splits)?);
            self.clear_away();
        }
        self.next = self.next_end();
        Ok(!due.is_empty())
    }

    fn next_end(&self) -> i64 {
        let next = self.sessions.next_end();
        next.map_or(i64::MAX, |end| self.gap.wall.fires(end))
    }

    fn clear_away(&mut self) {
        if self.sessions.are_sparse() {
            let open = self.sessions.reopen();
            let kept = self.aggregates.state(&open);
            let slots: Vec<u32> = (0..open.len() as u32).collect();
            self.aggregates = self.calls.start();
            self.aggregates.merge(&kept, &slots, slots.len());
        }
    }

    fn kept(&self, slots: &[u32]) -> Kept {
        let sessions: Vec<Session> = slots
            .iter()
            .map(|slot| self.sessions.session(*slot))
            .collect();
        let keys: Vec<u32> = sessions.iter().map(|session| session.key).collect();
        Kept {
            windows: sessions.iter().map(|session| session.window).collect(),
            keys: self.gap.codec.decode(&self.sessions.keys, &keys),
            state: self.aggregates.state(slots),
        }
    }

    fn take_up(&mut self, kept: &Kept) {
        let rows = kept.windows.len();
        let keys = self.sessions.intern_columns(&kept.keys, rows).into_iter();
        let sessions = keys.zip(&kept.windows).map(|(key, window)| Session {
            key,
            window: *window,
        });
        let slots: Vec<u32> = sessions
            .map(|session| self.sessions.open(session))
            .collect();
        self.aggregates
            .merge(&kept.state, &slots, self.sessions.slots());
    }
}

impl Operator for SessionAggregate {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let sessions = self.gap.sessions_of(&chunk)?;
        let encoded = self.gap.keys_of(&chunk.columns);
        let all: Vec<u32> = (0..chunk.rows() as u32).collect();
        let mut pending = (Vec::new(), Vec::new());
        let mut passed_on = self.watermark;
        for (rows, mark) in chunk.stretches() {
            let keys = self.sessions.intern(&encoded, &all[rows.clone()]);
            for (row, key) in rows.zip(keys) {
                let (event_time, session) = sessions[row];
                let is_late = |end| self.gap.wall.fires(end) <= self.watermark;
                let slot = match self.sessions.join(key, session, is_late) {
                    Joined::Slot(slot) => slot,
                    Joined::Both(slot, absorbed) => {
                        self.add(&chunk, &mut pending);
                        let state = self.aggregates.state(&[absorbed]);
                        self.aggregates
                            .merge(&state, &[slot], self.sessions.slots());
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
                pending.0.push(row as u32);
                pending.1.push(slot);
            }
            let Some(mark) = mark.filter(|mark| *mark > self.watermark) else {
                continue;
            };
            self.next = self.next_end();
            if self.next <= mark {
                self.add(&chunk, &mut pending);
                if self.rise(mark, out)? {
                    passed_on = mark;
                }
            }
            self.watermark = mark;
        }
        self.add(&chunk, &mut pending);
        self.rows += chunk.rows() as u64;
        if self.watermark > passed_on {
            out.emit(self.output.chunk(&[], self.watermark, &self.splits)?);
        }
        Ok(())
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        if self.watermark < Mark::END && !self.rise(Mark::END, out)? {
            out.emit(self.output.chunk(&[], self.watermark, &self.splits)?);
        }
        Ok(())
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark((self.watermark > i64::MIN).then_some(self.watermark));
        kept::write_count(self.rows, to)?;
        let mut parts = kept::Parts::new("sessions", 2..2 + self.gap.keys.len(), to);
        let (slots, dropped) = self.sessions.take_changed(parts.is_whole());
        for slots in slots.chunks(kept::PIECE) {
            parts.add(self.kept(slots).columns())?;
        }
        parts.finish(&kept::joined_ids(&dropped)?)
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        self.rows = kept::read_count(from)?;
        let keys: Vec<usize> = (2..).take(self.gap.keys.len()).collect();
        for section in from.sections("sessions") {
            let rows = kept::mine(from, section, &self.gap.codec, &keys)?;
            self.take_up(&Kept::read(&rows, keys.len(), &self.calls)?);
        }
        self.sessions.are_written();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.sessions.size() + self.aggregates.size()
    }
}
