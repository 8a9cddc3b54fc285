//! Aggregates of sessions: one row for each key and session, when the session ends.
//!
//! A row at `t` opens `[t, t + gap)` and joins the sessions of its key that this meets, the borders too: they become one, which
//! ends a gap behind its last row. A row is late when it joins none and its own session has ended.
//!
//! Each session has a slot: its number among the intermediate results. One timer stands for a session, at an end that it had; when
//! it comes and the session has grown, it is set anew. Slots and keys of sessions that ended are cleared away when they are more
//! than half.

use super::kept::{self, Kept};
use super::output::Output;
use super::place::{NoWindows, Slice, times};
use super::shape::Wall;
use crate::aggregate::groups::Groups;
use crate::aggregate::key::KeyCodec;
use crate::aggregate::{Aggregates, Calls};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out};
use crate::state::{Changed, StateError, StateReader, StateWriter};
use crate::zone::Zone;
use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use lw_graph::{AggregateCall, Window, WindowProperty};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

pub(crate) struct SessionAggregate {
    time: usize,
    gap: i64,
    wall: Wall,
    keys: Vec<usize>,
    codec: KeyCodec,
    calls: Calls,
    output: Output,

    sessions: Sessions,
    aggregates: Aggregates,
    /// Keys whose sessions changed since the last checkpoint.
    changed: Changed,
    /// Keys of the last checkpoint that are not known here any more, as columns.
    gone: Vec<Vec<ArrayRef>>,
    /// [`i64::MIN`] for none.
    watermark: i64,
    /// No session ends at a lower watermark.
    next: i64,
    /// How many rows there were.
    rows: u64,
    splits: Arc<[Split]>,
}

/// The open sessions.
pub(super) struct Sessions {
    pub(super) keys: Groups,
    /// By key: the slots of its open sessions.
    of_key: Vec<Vec<u32>>,
    /// By slot; `None` when it has ended.
    slots: Vec<Option<Session>>,
    open: usize,
    /// An end that a slot's session had.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
}

#[derive(Clone, Copy)]
pub(super) struct Session {
    pub(super) key: u32,
    pub(super) window: Slice,
}

/// What a row does to the sessions of its key.
pub(super) enum Joined {
    Late,
    Slot(u32),
    /// The second session became part of the first.
    Both(u32, u32),
}

impl Sessions {
    pub(super) fn new(codec: &KeyCodec) -> Sessions {
        Sessions {
            keys: codec.groups(),
            of_key: Vec::new(),
            slots: Vec::new(),
            open: 0,
            timers: BinaryHeap::new(),
        }
    }

    fn open(&mut self, session: Session) -> u32 {
        let slot = u32::try_from(self.slots.len()).expect("sessions are counted in 32 bits");
        let key = session.key as usize;
        self.of_key
            .resize(self.of_key.len().max(key + 1), Vec::new());
        self.of_key[key].push(slot);
        self.timers.push(Reverse((session.window.end, slot)));
        self.slots.push(Some(session));
        self.open += 1;
        slot
    }

    pub(super) fn session(&self, slot: u32) -> Session {
        self.slots[slot as usize].expect("W2: a key's sessions are open")
    }

    pub(super) fn close(&mut self, slot: u32) -> Session {
        let session = self.session(slot);
        self.slots[slot as usize] = None;
        self.of_key[session.key as usize].retain(|other| *other != slot);
        self.open -= 1;
        session
    }

    pub(super) fn join(&mut self, key: u32, row: Slice, is_late: impl Fn(i64) -> bool) -> Joined {
        let of_key = self.of_key.get(key as usize).map_or(&[][..], Vec::as_slice);
        let meets = |slot: &&u32| {
            let window = self.session(**slot).window;
            row.start <= window.end && window.start <= row.end
        };
        let mut met = of_key.iter().filter(meets).copied();
        let (one, other) = (met.next(), met.next());
        let Some(one) = one else {
            return match is_late(row.end) {
                true => Joined::Late,
                false => Joined::Slot(self.open(Session { key, window: row })),
            };
        };
        let mut window = self.session(one).window;
        if let Some(other) = other {
            let absorbed = self.close(other).window;
            window = cover(window, absorbed);
        }
        let window = cover(window, row);
        self.slots[one as usize] = Some(Session { key, window });
        other.map_or(Joined::Slot(one), |other| Joined::Both(one, other))
    }

    /// The slots whose sessions end where `ends` says so, in the order of ends and keys.
    pub(super) fn due(&mut self, ends: impl Fn(i64) -> bool) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(Reverse((end, slot))) = self.timers.peek().copied()
            && ends(end)
        {
            self.timers.pop();
            match self.slots[slot as usize] {
                Some(session) if session.window.end > end => {
                    self.timers.push(Reverse((session.window.end, slot)));
                }
                Some(_) => due.push(slot),
                None => {}
            }
        }
        due.sort_unstable_by(|a, b| {
            let (a, b) = (self.session(*a), self.session(*b));
            let keys = self.keys.compare(a.key, b.key);
            a.window.end.cmp(&b.window.end).then(keys)
        });
        due
    }

    /// Keys that have an open session, and those that have none.
    fn parted(&self, keys: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let is_open = |key: &u32| {
            let slots = self.of_key.get(*key as usize);
            slots.is_some_and(|slots| !slots.is_empty())
        };
        keys.into_iter().partition(is_open)
    }

    pub(super) fn open_slots(&self) -> Vec<u32> {
        let slots = (0..).zip(&self.slots);
        slots
            .filter_map(|(slot, session)| session.map(|_| slot))
            .collect()
    }

    /// How many slots there are, those of sessions that ended among them.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Most of the slots are of sessions that ended.
    pub(super) fn are_sparse(&self) -> bool {
        const FEW: usize = 1024;
        self.open == 0 || self.slots.len() >= 2 * self.open + FEW
    }

    /// The slot of a session that is known, or is from now on.
    pub(super) fn slot_of(&mut self, session: Session) -> u32 {
        let of_key = self.of_key.get(session.key as usize);
        let mut of_key = of_key.into_iter().flatten().copied();
        let known = of_key.find(|slot| self.session(*slot).window == session.window);
        known.unwrap_or_else(|| self.open(session))
    }

    /// These sessions alone, in slots from 0 on, without the keys of others.
    pub(super) fn reopened(&self, slots: &[u32], codec: &KeyCodec) -> Sessions {
        let sessions: Vec<Session> = slots.iter().map(|slot| self.session(*slot)).collect();
        let keys: Vec<u32> = sessions.iter().map(|session| session.key).collect();
        let columns = codec.decode(&self.keys, &keys);
        let rows: Vec<u32> = (0..sessions.len() as u32).collect();
        let (mut left, mut keys) = (Sessions::new(codec), Vec::new());
        let encoded = codec.encode(&columns, rows.len());
        left.keys.intern(&encoded, &rows, &mut keys);
        for (key, Session { window, .. }) in keys.into_iter().zip(sessions) {
            left.open(Session { key, window });
        }
        left
    }

    pub(super) fn size(&self) -> usize {
        let lists = self.of_key.len() * size_of::<Vec<u32>>();
        let slots = self.slots.len() * size_of::<Option<Session>>();
        self.keys.size() + lists + slots + self.timers.len() * 16
    }
}

fn cover(one: Slice, other: Slice) -> Slice {
    Slice {
        end: one.end.max(other.end),
        start: one.start.min(other.start),
    }
}

impl SessionAggregate {
    /// # Errors
    /// [`FlowError`] when a key cannot be grouped by, or an aggregate cannot be computed.
    pub(crate) fn new(
        (window, gap): (&Window, i64),
        keys: &[usize],
        aggregates: &[AggregateCall],
        properties: &[WindowProperty],
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<SessionAggregate, FlowError> {
        let unknown = |message: String| FlowError::Expression(message);
        let zone = window.zone.as_ref().map(|name| {
            let unknown_zone = || unknown(NoWindows::Zone(name.clone()).to_string());
            Zone::parse(name).ok_or_else(unknown_zone)
        });
        let types = keys.iter().map(|column| input.field(*column).data_type());
        let codec = KeyCodec::new(types).map_err(|error| unknown(error.to_string()))?;
        let calls = Calls::of_groups(aggregates, &input);
        let calls = calls.map_err(|error| unknown(error.to_string()))?;
        Ok(SessionAggregate {
            time: window.time,
            gap,
            wall: Wall::new(zone.transpose()?),
            keys: keys.to_vec(),
            output: Output {
                schema: output,
                properties: properties.to_vec(),
                keys: keys.len(),
            },
            sessions: Sessions::new(&codec),
            aggregates: calls.start(),
            changed: Changed::All,
            gone: Vec::new(),
            codec,
            calls,
            watermark: i64::MIN,
            next: i64::MAX,
            rows: 0,
            splits: Arc::new([]),
        })
    }

    /// Adds rows that were given their slots.
    fn add(&mut self, chunk: &Chunk, (rows, slots): &mut (Vec<u32>, Vec<u32>)) {
        let count = self.sessions.slots.len();
        self.aggregates
            .update(&chunk.columns, rows, slots, count, self.rows);
        rows.clear();
        slots.clear();
    }

    /// Sessions end that the watermark lets end; says whether there was one.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<bool, OperatorError> {
        let due = self.sessions.due(|end| self.wall.fires(end) <= watermark);
        self.watermark = watermark;
        if !due.is_empty() {
            let ended: Vec<Session> = due.iter().map(|slot| self.sessions.close(*slot)).collect();
            if let Some(places) = &mut out.places {
                for Session { key, window } in &ended {
                    places.push(watermark, &[window.end], &self.sessions.keys, *key);
                }
            }
            let keys: Vec<u32> = ended.iter().map(|session| session.key).collect();
            self.changed.add(&keys);
            let keys = self.codec.decode(&self.sessions.keys, &keys);
            let windows: Vec<Slice> = ended.iter().map(|session| session.window).collect();
            let results = self.aggregates.finish(&due);
            let columns = self.output.columns(keys, results, &windows, &self.wall)?;
            out.emit(self.output.chunk(&[columns], watermark, &self.splits)?);
            self.clear_away();
        }
        self.next = self.next_end();
        Ok(!due.is_empty())
    }

    fn next_end(&self) -> i64 {
        let next = self.sessions.timers.peek();
        next.map_or(i64::MAX, |Reverse((end, _))| self.wall.fires(*end))
    }

    fn clear_away(&mut self) {
        if !self.sessions.are_sparse() {
            return;
        }
        let left = self.sessions.open_slots();
        let kept = self.kept(&left);
        let changed = self.changed.is_known().then(|| {
            let keys = self.changed.take(0, false);
            self.sessions.parted(keys)
        });
        let (of_open, of_none) = changed.clone().unwrap_or_default();
        if !of_none.is_empty() {
            self.gone
                .push(self.codec.decode(&self.sessions.keys, &of_none));
        }
        let of_open_columns = self.codec.decode(&self.sessions.keys, &of_open);
        self.sessions = Sessions::new(&self.codec);
        self.aggregates = self.calls.start();
        self.take_up(&kept);
        if changed.is_some() {
            let keys = self.codec.encode(&of_open_columns, of_open.len());
            let rows: Vec<u32> = (0..of_open.len() as u32).collect();
            let mut renumbered = Vec::new();
            self.sessions.keys.intern(&keys, &rows, &mut renumbered);
            self.changed.add(&renumbered);
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
            keys: self.codec.decode(&self.sessions.keys, &keys),
            state: self.aggregates.state(slots),
        }
    }

    fn take_up(&mut self, kept: &Kept) {
        let rows: Vec<u32> = (0..kept.windows.len() as u32).collect();
        let mut keys = Vec::new();
        let encoded = self.codec.encode(&kept.keys, rows.len());
        self.sessions.keys.intern(&encoded, &rows, &mut keys);
        let sessions = keys.iter().zip(&kept.windows);
        let sessions = sessions.map(|(key, window)| Session {
            key: *key,
            window: *window,
        });
        let slots: Vec<u32> = sessions
            .map(|session| self.sessions.open(session))
            .collect();
        self.aggregates
            .merge(&kept.state, &slots, self.sessions.slots.len());
    }
}

impl Operator for SessionAggregate {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let times = times(&chunk, self.time)?.values().clone();
        let columns: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|column| chunk.columns.column(*column).clone())
            .collect();
        let encoded = self.codec.encode(&columns, chunk.rows());
        let all: Vec<u32> = (0..chunk.rows() as u32).collect();
        let mut pending = (Vec::new(), Vec::new());
        let (mut from, mut passed_on) = (0, self.watermark);
        let rows_end = Mark {
            row: chunk.rows(),
            watermark: self.watermark,
        };
        for mark in chunk.marks.iter().chain([&rows_end]) {
            let mut keys = Vec::new();
            self.sessions
                .keys
                .intern(&encoded, &all[from..mark.row], &mut keys);
            self.changed.add(&keys);
            for (row, key) in (from..mark.row).zip(keys) {
                let event_time = times[row].div_euclid(1000);
                let start = self.wall.local(event_time);
                let end = start + self.gap;
                let is_late = |end| self.wall.fires(end) <= self.watermark;
                let slot = match self.sessions.join(key, Slice { end, start }, is_late) {
                    Joined::Slot(slot) => slot,
                    Joined::Both(slot, absorbed) => {
                        self.add(&chunk, &mut pending);
                        let state = self.aggregates.state(&[absorbed]);
                        self.aggregates
                            .merge(&state, &[slot], self.sessions.slots.len());
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
            from = mark.row;
            if mark.watermark <= self.watermark {
                continue;
            }
            self.next = self.next_end();
            if self.next <= mark.watermark {
                self.add(&chunk, &mut pending);
                if self.rise(mark.watermark, out)? {
                    passed_on = mark.watermark;
                }
            }
            self.watermark = mark.watermark;
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
        let gone = std::mem::take(&mut self.gone);
        let mut parts = kept::Parts::new("sessions", 2..2 + self.keys.len(), to);
        let (slots, mut dropped) = match parts.is_whole() {
            true => {
                self.changed = Changed::none();
                (self.sessions.open_slots(), Vec::new())
            }
            false => {
                let count = self.sessions.keys.len();
                let (of_open, of_none) = self.sessions.parted(self.changed.take(count, false));
                let slots = of_open
                    .iter()
                    .map(|key| &self.sessions.of_key[*key as usize]);
                let slots = slots.flatten().copied().collect();
                let none = self.codec.decode(&self.sessions.keys, &of_none);
                (slots, [gone, vec![none]].concat())
            }
        };
        for slots in slots.chunks(kept::PIECE) {
            parts.add(self.kept(slots).columns())?;
        }
        dropped.retain(|keys| keys.first().is_some_and(|key| !key.is_empty()));
        parts.finish(&kept::joined_ids(&dropped)?)
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        self.rows = kept::read_count(from)?;
        let keys: Vec<usize> = (2..).take(self.keys.len()).collect();
        for section in from.sections("sessions") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            self.take_up(&Kept::read(&rows, self.keys.len(), &self.calls)?);
        }
        self.changed = Changed::none();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.sessions.size() + self.aggregates.size() + self.changed.size()
    }
}
