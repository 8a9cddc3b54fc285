//! Sessions of keys: how rows are cut into them, which are open, and which of them changed.
//!
//! A row at `t` opens `[t, t + gap)` and joins the sessions of its key that this meets, the borders too: they become one, which
//! ends a gap behind its last row. A row is late when it joins none and its own session has ended.
//!
//! Each session has a slot: its number among what an operator has of sessions. One timer stands for a session, at an end that it had;
//! when it comes and the session has grown, it is set anew. Slots and keys of sessions that ended are cleared away when they are more
//! than half. A checkpoint writes the sessions of keys of which one changed, and drops the keys that have none any more.

use super::place::{NoWindows, Slice, times};
use super::shape::Wall;
use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys};
use crate::chunk::Chunk;
use crate::operator::{FlowError, OperatorError};
use crate::state::Changed;
use crate::zone::Zone;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Schema;
use lw_graph::Window;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a session is of, and how long after a row it ends.
pub(super) struct Gap {
    time: usize,
    gap: i64,
    pub(super) wall: Wall,
    pub(super) keys: Vec<usize>,
    pub(super) codec: KeyCodec,
}

impl Gap {
    /// # Errors
    /// [`FlowError`] when a column can be no key, or the zone is none.
    pub(super) fn new(
        (window, gap): (&Window, i64),
        keys: &[usize],
        input: &Schema,
    ) -> Result<Gap, FlowError> {
        let unknown = |message: String| FlowError::Expression(message);
        let zone = window.zone.as_ref().map(|name| {
            let unknown_zone = || unknown(NoWindows::Zone(name.clone()).to_string());
            Zone::parse(name).ok_or_else(unknown_zone)
        });
        let types = keys.iter().map(|column| input.field(*column).data_type());
        Ok(Gap {
            time: window.time,
            gap,
            wall: Wall::new(zone.transpose()?),
            keys: keys.to_vec(),
            codec: KeyCodec::new(types).map_err(|error| unknown(error.to_string()))?,
        })
    }

    /// The keys of rows.
    pub(super) fn keys_of(&self, columns: &RecordBatch) -> Keys {
        let of = |column: &usize| columns.column(*column).clone();
        let keys: Vec<ArrayRef> = self.keys.iter().map(of).collect();
        self.codec.encode(&keys, columns.num_rows())
    }

    /// Each row's event time, milliseconds since 1970, and the session that it would open.
    ///
    /// # Errors
    /// When a row has no time, which what stands before the operator has seen to.
    pub(super) fn sessions_of(&self, chunk: &Chunk) -> Result<Vec<(i64, Slice)>, OperatorError> {
        let times = times(chunk, self.time)?.values().iter();
        let session = |micros: &i64| {
            let event_time = micros.div_euclid(1000);
            let start = self.wall.local(event_time);
            let end = start + self.gap;
            (event_time, Slice { end, start })
        };
        Ok(times.map(session).collect())
    }
}

/// The open sessions.
pub(super) struct Sessions {
    codec: KeyCodec,
    pub(super) keys: Groups,
    /// By key: the slots of its open sessions.
    of_key: Vec<Vec<u32>>,
    /// By slot; `None` when it has ended.
    slots: Vec<Option<Session>>,
    open: usize,
    /// An end that a slot's session had.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    /// Keys whose sessions changed since the last checkpoint.
    changed: Changed,
    /// Keys of the last checkpoint that are not known here any more, as columns.
    gone: Vec<Vec<ArrayRef>>,
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
            codec: codec.clone(),
            keys: codec.groups(),
            of_key: Vec::new(),
            slots: Vec::new(),
            open: 0,
            timers: BinaryHeap::new(),
            changed: Changed::All,
            gone: Vec::new(),
        }
    }

    /// The keys of these rows, whose sessions they are about to change.
    pub(super) fn intern(&mut self, keys: &Keys, rows: &[u32]) -> Vec<u32> {
        let mut interned = Vec::new();
        self.keys.intern(keys, rows, &mut interned);
        self.changed.add(&interned);
        interned
    }

    /// Keys that stand as columns in so many rows.
    pub(super) fn intern_columns(&mut self, columns: &[ArrayRef], rows: usize) -> Vec<u32> {
        let all: Vec<u32> = (0..rows as u32).collect();
        let keys = self.codec.encode(columns, rows);
        self.intern(&keys, &all)
    }

    /// What is here was written down.
    pub(super) fn are_written(&mut self) {
        self.changed = Changed::none();
    }

    pub(super) fn open(&mut self, session: Session) -> u32 {
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
        self.changed.add(&[session.key]);
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

    /// The least end that a timer stands at: no session ends earlier.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.timers.peek().map(|Reverse((end, _))| *end)
    }

    /// Keys that have an open session, and those that have none.
    fn parted(&self, keys: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let is_open = |key: &u32| {
            let slots = self.of_key.get(*key as usize);
            slots.is_some_and(|slots| !slots.is_empty())
        };
        keys.into_iter().partition(is_open)
    }

    fn open_slots(&self) -> Vec<u32> {
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

    /// Lets go of the slots and keys of sessions that ended. Gives the slots that the others had: they have those from 0 on now.
    pub(super) fn reopen(&mut self) -> Vec<u32> {
        let slots = self.open_slots();
        let sessions: Vec<Session> = slots.iter().map(|slot| self.session(*slot)).collect();
        let keys: Vec<u32> = sessions.iter().map(|session| session.key).collect();
        let mut left = Sessions::new(&self.codec);
        for (key, Session { window, .. }) in left.adopt(self, &keys).into_iter().zip(sessions) {
            left.open(Session { key, window });
        }
        left.gone = std::mem::take(&mut self.gone);
        if self.changed.is_known() {
            let changed = self.changed.take(0, false);
            let (of_open, of_none) = self.parted(changed);
            if !of_none.is_empty() {
                left.gone.push(self.codec.decode(&self.keys, &of_none));
            }
            left.are_written();
            left.adopt(self, &of_open);
        }
        *self = left;
        slots
    }

    /// The numbers that keys of another table have here.
    fn adopt(&mut self, other: &Sessions, keys: &[u32]) -> Vec<u32> {
        let columns = self.codec.decode(&other.keys, keys);
        self.intern_columns(&columns, keys.len())
    }

    /// What a checkpoint writes: the slots of sessions whose keys changed, and keys that have no session any more, as columns; where
    /// all is asked for, all slots. From now on none has changed.
    pub(super) fn take_changed(&mut self, all: bool) -> (Vec<u32>, Vec<Vec<ArrayRef>>) {
        let gone = std::mem::take(&mut self.gone);
        let changed = self.changed.take(self.keys.len(), false);
        if all {
            return (self.open_slots(), Vec::new());
        }
        let (of_open, of_none) = self.parted(changed);
        let slots = of_open.iter().map(|key| &self.of_key[*key as usize]);
        let slots = slots.flatten().copied().collect();
        let none = self.codec.decode(&self.keys, &of_none);
        let mut dropped = [gone, vec![none]].concat();
        dropped.retain(|keys| keys.first().is_some_and(|key| !key.is_empty()));
        (slots, dropped)
    }

    pub(super) fn size(&self) -> usize {
        let lists = self.of_key.len() * size_of::<Vec<u32>>();
        let slots = self.slots.len() * size_of::<Option<Session>>();
        self.keys.size() + lists + slots + self.timers.len() * 16 + self.changed.size()
    }
}

fn cover(one: Slice, other: Slice) -> Slice {
    Slice {
        end: one.end.max(other.end),
        start: one.start.min(other.start),
    }
}
