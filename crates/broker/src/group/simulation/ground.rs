//! What a storm goes over, its dice, and what it has seen.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::group::record::Record;
use crate::group::*;

/// What a storm goes over: a coordinator, its clock, and what it calls the disk.
pub(in crate::group) trait Ground {
    fn ask(&mut self, token: Token, request: Request);
    /// Everything answered since the last look.
    fn replies(&mut self) -> Vec<(Token, Reply)>;
    fn set_clock(&mut self, now_ms: u64);
    fn next_timer(&self) -> u64;
    fn on_timer(&mut self);
    /// Some of what is under way to the disk ends; false when nothing was.
    fn end_writes(&mut self, dice: &mut Dice) -> bool;
    /// The process dies and is started again, perhaps on what a power cut left.
    fn restart(&mut self, dice: &mut Dice);
    /// What else goes wrong where this ground is.
    fn misfortune(&mut self, _dice: &mut Dice) -> Option<Misfortune> {
        None
    }
    /// Nothing goes wrong from here on.
    fn calm(&mut self) {}
    /// It serves nothing any more, and has to be started again.
    fn is_down(&self) -> bool {
        false
    }
    /// The disk has refused nothing in this life.
    fn is_whole(&self) -> bool {
        true
    }
    /// The topic that offsets are committed in.
    fn topic(&self) -> TopicRef;
    fn describe(&self) -> Option<GroupDescription>;
    /// Offsets as a client is shown them; `None` while the coordinator cannot say.
    fn shown(&self) -> Option<GroupOffsets>;
    fn on_disk(&self) -> Vec<Record>;
}

/// What a storm must know of a misfortune.
pub(in crate::group) enum Misfortune {
    /// No more than its name.
    Other(&'static str),
    /// The coordinator broke down: everyone who waited is let go without an answer, and it starts again from the disk.
    LetGo,
    /// Somebody deletes this topic; from now on its offsets may be gone, and in the end they must be.
    Deleting(Uuid),
}

/// Random numbers that repeat themselves.
pub(in crate::group) struct Dice(pub(super) u64);

impl Dice {
    pub(in crate::group) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What happened, and how often.
#[derive(Default, Debug)]
pub(in crate::group) struct Seen(pub(super) BTreeMap<String, u32>);

impl Seen {
    pub(in crate::group) fn add(&mut self, other: Seen) {
        for (event, count) in other.0 {
            *self.0.entry(event).or_insert(0) += count;
        }
    }

    /// A storm in which these never happen proves nothing.
    pub(in crate::group) fn expect(&self, events: &[&str]) {
        for event in events {
            assert!(
                self.0.get(*event).is_some_and(|count| *count > 20),
                "too little of `{event}`: {:?}",
                self.0
            );
        }
    }
}
