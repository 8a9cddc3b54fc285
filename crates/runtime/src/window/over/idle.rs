//! Keys that nothing comes of are forgotten (`table.exec.state.ttl`).
//!
//! As in Flink a key has a timer. Something of it is a row that comes, late ones too, and rows of it that are given; then the timer is set
//! one and a half times to live ahead, unless it stands at least one ahead already. When it goes off the key is forgotten, with all that
//! its rows came to; a key of which rows still wait is spared, and looked at again as long after. So a key is kept for its time to live
//! behind the last of it, and at most for half as long again; a row that comes later begins anew.
//!
//! The time is the log's own, which a chunk brings with it.

use super::Over;
use crate::operator::{moment, step};
use std::collections::BTreeMap;

/// When keys are forgotten.
pub(super) struct Idle {
    ttl: i64,
    /// Milliseconds from one moment to the next.
    step: i64,
    /// 0 before anybody knows.
    pub(super) now: i64,
    /// By when timers go off, the groups that they are of. One that is not its key's any more means nothing.
    timers: BTreeMap<i64, Vec<u32>>,
    /// How many they are.
    count: usize,
    /// There may be keys without a timer that were there when time began, or when a checkpoint without timers was gone on from.
    has_timeless: bool,
}

impl Idle {
    pub(super) fn new(ttl: i64) -> Idle {
        Idle {
            ttl,
            step: step(ttl),
            now: 0,
            timers: BTreeMap::new(),
            count: 0,
            has_timeless: true,
        }
    }

    /// From one setting of a timer to when it goes off.
    fn ahead(&self) -> i64 {
        self.ttl.saturating_add(self.ttl / 2)
    }

    pub(super) fn set(&mut self, at: i64, group: u32) {
        self.timers.entry(at).or_default().push(group);
        self.count += 1;
    }

    /// Timers are of other groups from now on, which are set anew.
    pub(super) fn unset(&mut self) {
        self.timers.clear();
        self.count = 0;
    }

    /// The groups of the timers that go off first, and when, if that is by now.
    fn due(&mut self) -> Option<(i64, Vec<u32>)> {
        let first = self.timers.first_entry().filter(|at| *at.key() <= self.now);
        let (at, groups) = first?.remove_entry();
        self.count -= groups.len();
        Some((at, groups))
    }

    pub(super) fn size(&self) -> usize {
        self.count * size_of::<u32>()
    }
}

impl Over {
    /// Rows and marks come then.
    pub(super) fn pass(&mut self, came: i64) {
        let Some(idle) = &mut self.idle else {
            return;
        };
        idle.now = idle.now.max(moment(came, idle.step));
        if idle.now > 0 && std::mem::take(&mut idle.has_timeless) {
            let mut timeless = self.known();
            timeless.retain(|group| self.by_group[*group as usize].forget.is_none());
            timeless.into_iter().for_each(|group| self.touch(group));
        }
        while let Some((at, groups)) = self.idle.as_mut().and_then(Idle::due) {
            groups.into_iter().for_each(|group| self.go_off(at, group));
        }
    }

    /// Something of a key came.
    pub(super) fn touch(&mut self, group: u32) {
        let Some(idle) = self.idle.as_mut().filter(|idle| idle.now > 0) else {
            return;
        };
        let key = &mut self.by_group[group as usize];
        let least = idle.now.saturating_add(idle.ttl);
        if key.forget.is_none_or(|at| at < least) {
            let at = idle.now.saturating_add(idle.ahead());
            key.forget = Some(at);
            idle.set(at, group);
            self.since.keys.add(&[group]);
        }
    }

    fn go_off(&mut self, at: i64, group: u32) {
        let idle = self.idle.as_mut().expect("it has timers");
        let key = &mut self.by_group[group as usize];
        if key.forget != Some(at) {
            return;
        }
        self.since.keys.add(&[group]);
        if key.waiting == 0 {
            self.forget(group);
            return;
        }
        // As if somebody had looked each time that it went off.
        let missed = (idle.now - at) / idle.ahead();
        let next = at.saturating_add((missed + 1).saturating_mul(idle.ahead()));
        key.forget = Some(next);
        idle.set(next, group);
    }
}
