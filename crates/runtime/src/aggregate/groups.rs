//! Keys → dense numbers: the hash table under every keyed operator.
//!
//! A group's number is the order in which its key came first, so accumulators are plain arrays indexed by it, and a table
//! whose window has fired is dropped whole, keys and all. Open addressing over (part of the hash, group): a lookup touches one
//! slot and one key.

use super::key::{Keys, Of, hash_of, whole_bytes};
use std::cmp::Ordering;

#[derive(Debug)]
pub(crate) struct Groups {
    pub(super) stored: Stored,
    hashes: Vec<u64>,
    /// A power of two of them, less than three quarters in use.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The upper half of the hash; the lower chooses the slot.
    tag: u32,
    /// [`FREE`] for none.
    group: u32,
}

const FREE: u32 = u32::MAX;

/// The keys by group.
#[derive(Debug)]
pub(super) enum Stored {
    /// There are no key columns, and so at most one group.
    Nothing,
    Whole {
        values: Vec<i64>,
        null: Option<u32>,
    },
    Bytes {
        ends: Vec<usize>,
        bytes: Vec<u8>,
    },
}

impl Groups {
    pub(super) fn new(stored: Stored) -> Groups {
        Groups {
            stored,
            hashes: Vec::new(),
            slots: vec![
                Slot {
                    tag: 0,
                    group: FREE
                };
                16
            ],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Appends the group of each of the rows, making those that are new.
    pub(crate) fn intern(&mut self, keys: &Keys, rows: &[u32], into: &mut Vec<u32>) {
        into.reserve(rows.len());
        match &keys.of {
            Of::Nothing => {
                if self.hashes.is_empty() && !rows.is_empty() {
                    self.hashes.push(hash_of(&[]));
                }
                into.extend(std::iter::repeat_n(0, rows.len()));
            }
            Of::Whole { values, nulls } => {
                for row in rows.iter().map(|row| *row as usize) {
                    let null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                    into.push(self.whole(keys.hashes[row], (!null).then(|| values[row])));
                }
            }
            Of::Bytes { .. } => {
                for row in rows.iter().map(|row| *row as usize) {
                    into.push(self.bytes(keys.hashes[row], keys.bytes_of(row)).0);
                }
            }
        }
    }

    /// Whether a row's key is here.
    pub(crate) fn has(&self, keys: &Keys, row: usize) -> bool {
        self.group_of(keys, row).is_some()
    }

    /// The group of a row's key, if it is here.
    pub(crate) fn group_of(&self, keys: &Keys, row: usize) -> Option<u32> {
        let hash = keys.hashes[row];
        let is = |group: u32| match (&self.stored, &keys.of) {
            (Stored::Nothing, Of::Nothing) => true,
            (Stored::Whole { values, null }, Of::Whole { values: of, nulls }) => {
                let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                is_null == (*null == Some(group)) && (is_null || values[group as usize] == of[row])
            }
            (Stored::Bytes { .. }, Of::Bytes { .. }) => self.bytes_of(group) == keys.bytes_of(row),
            _ => unreachable!("a table holds keys of one kind"),
        };
        match self.stored {
            Stored::Nothing => (!self.hashes.is_empty()).then_some(0),
            _ => look(&self.slots, hash, is),
        }
    }

    fn whole(&mut self, hash: u64, key: Option<i64>) -> u32 {
        let Stored::Whole { values, null } = &mut self.stored else {
            unreachable!("a table holds keys of one kind");
        };
        let is = |group: u32| match key {
            Some(key) => values[group as usize] == key && *null != Some(group),
            None => *null == Some(group),
        };
        let (group, new) = find(&mut self.slots, &mut self.hashes, hash, is);
        if new {
            values.push(key.unwrap_or(0));
            if key.is_none() {
                *null = Some(group);
            }
        }
        group
    }

    /// The group of a key, and whether it is new.
    pub(super) fn bytes(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        let Stored::Bytes { ends, bytes } = &mut self.stored else {
            unreachable!("a table holds keys of one kind");
        };
        let is = |group: u32| {
            let group = group as usize;
            let from = group.checked_sub(1).map_or(0, |before| ends[before]);
            bytes[from..ends[group]] == *key
        };
        let found = find(&mut self.slots, &mut self.hashes, hash, is);
        if found.1 {
            bytes.extend(key);
            ends.push(bytes.len());
        }
        found
    }

    pub(super) fn bytes_of(&self, group: u32) -> &[u8] {
        let Stored::Bytes { ends, bytes } = &self.stored else {
            unreachable!("a table holds keys of one kind");
        };
        let group = group as usize;
        let from = group.checked_sub(1).map_or(0, |before| ends[before]);
        &bytes[from..ends[group]]
    }

    /// The key of a group as bytes that compare as keys do, whatever they are held as.
    pub(crate) fn append_key(&self, group: u32, to: &mut Vec<u8>) {
        match &self.stored {
            Stored::Nothing => {}
            Stored::Whole { values, null } => {
                let value = (*null != Some(group)).then(|| values[group as usize]);
                whole_bytes(value, to);
            }
            Stored::Bytes { .. } => to.extend_from_slice(self.bytes_of(group)),
        }
    }

    /// In the order of their keys.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let count = u32::try_from(self.len()).expect("groups are counted in 32 bits");
        let mut sorted: Vec<u32> = (0..count).collect();
        sorted.sort_unstable_by(|a, b| self.compare(*a, *b));
        sorted
    }

    /// Keys in their order, NULL first.
    pub(crate) fn compare(&self, a: u32, b: u32) -> Ordering {
        match &self.stored {
            Stored::Nothing => Ordering::Equal,
            Stored::Whole { values, null } => {
                let key = |group: u32| (*null != Some(group)).then(|| values[group as usize]);
                key(a).cmp(&key(b))
            }
            Stored::Bytes { .. } => self.bytes_of(a).cmp(self.bytes_of(b)),
        }
    }

    /// What the table holds in memory.
    pub(crate) fn size(&self) -> usize {
        if self.hashes.is_empty() {
            return 0;
        }
        let keys = match &self.stored {
            Stored::Nothing => 0,
            Stored::Whole { values, .. } => values.len() * 8,
            Stored::Bytes { ends, bytes } => ends.len() * 8 + bytes.len(),
        };
        keys + self.hashes.len() * 8 + self.slots.len() * size_of::<Slot>()
    }
}

/// The group for which `is` says yes, of those with this hash.
fn look(slots: &[Slot], hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
    let (tag, mask) = ((hash >> 32) as u32, slots.len() - 1);
    let mut at = hash as usize & mask;
    while slots[at].group != FREE {
        if slots[at].tag == tag && is(slots[at].group) {
            return Some(slots[at].group);
        }
        at = (at + 1) & mask;
    }
    None
}

/// The group for which `is` says yes, or a new one with this hash.
fn find(
    slots: &mut Vec<Slot>,
    hashes: &mut Vec<u64>,
    hash: u64,
    is: impl Fn(u32) -> bool,
) -> (u32, bool) {
    let (tag, mask) = ((hash >> 32) as u32, slots.len() - 1);
    let mut at = hash as usize & mask;
    loop {
        let slot = slots[at];
        if slot.group == FREE {
            break;
        }
        if slot.tag == tag && is(slot.group) {
            return (slot.group, false);
        }
        at = (at + 1) & mask;
    }
    let group = u32::try_from(hashes.len()).expect("groups are counted in 32 bits");
    assert!(group != FREE, "groups are counted in 32 bits");
    hashes.push(hash);
    slots[at] = Slot { tag, group };
    if hashes.len() * 4 > slots.len() * 3 {
        grow(slots, hashes);
    }
    (group, true)
}

fn grow(slots: &mut Vec<Slot>, hashes: &[u64]) {
    let count = slots.len() * 2;
    *slots = vec![
        Slot {
            tag: 0,
            group: FREE
        };
        count
    ];
    for (group, hash) in (0..).zip(hashes) {
        let mut at = *hash as usize & (count - 1);
        while slots[at].group != FREE {
            at = (at + 1) & (count - 1);
        }
        let tag = (hash >> 32) as u32;
        slots[at] = Slot { tag, group };
    }
}
