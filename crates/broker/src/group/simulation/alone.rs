//! The core without its shell.

use std::collections::{BTreeSet, VecDeque};

use super::ground::{Dice, Ground};
use crate::group::coordinator::Coordinator;
use crate::group::record::Record;
use crate::group::script::{Disk, restore, store, topic_ref};
use crate::group::*;

/// The core over a map that is told when a write ends.
pub(super) struct Alone {
    core: Coordinator,
    disk: Disk,
    now_ms: u64,
    under_way: VecDeque<(WriteId, Vec<Record>)>,
    replies: Vec<(Token, Reply)>,
}

impl Alone {
    pub(super) fn new() -> Alone {
        let now = Now {
            elapsed_ms: 0,
            wall_ms: 0,
        };
        let (core, _) = Coordinator::load(GroupConfig::default(), now, Vec::new(), BTreeSet::new());
        Alone {
            core,
            disk: Disk::new(),
            now_ms: 0,
            under_way: VecDeque::new(),
            replies: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            elapsed_ms: self.now_ms,
            wall_ms: self.now_ms as i64,
        }
    }

    fn outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Write { write, records } => self.under_way.push_back((write, records)),
                Output::Reply { token, reply } => self.replies.push((token, reply)),
            }
        }
    }
}

impl Ground for Alone {
    fn ask(&mut self, token: Token, request: Request) {
        let input = Input::Request { token, request };
        let outputs = self.core.handle(self.now(), input);
        self.outputs(outputs);
    }

    fn replies(&mut self) -> Vec<(Token, Reply)> {
        std::mem::take(&mut self.replies)
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn next_timer(&self) -> u64 {
        self.core.poll_timeout()
    }

    fn on_timer(&mut self) {
        let outputs = self.core.on_timer(self.now());
        self.outputs(outputs);
    }

    fn end_writes(&mut self, dice: &mut Dice) -> bool {
        let Some((write, records)) = self.under_way.pop_front() else {
            return false;
        };
        // A refused generation is told all the same (see the coordinator): that case has its conversation.
        let holds_generation = records
            .iter()
            .any(|record| matches!(record, Record::Group { .. }));
        let outcome = if !holds_generation && dice.below(8) == 0 {
            WriteOutcome::Refused
        } else {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
            WriteOutcome::Durable
        };
        let input = Input::Written { write, outcome };
        let outputs = self.core.handle(self.now(), input);
        self.outputs(outputs);
        true
    }

    /// What was under way may or may not have reached the disk, a prefix of it in any case.
    fn restart(&mut self, dice: &mut Dice) {
        let landed = dice.below(self.under_way.len() as u64 + 1) as usize;
        for (_, records) in self.under_way.drain(..).take(landed) {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
        }
        let (core, outputs) = Coordinator::load(
            GroupConfig::default(),
            self.now(),
            self.on_disk(),
            BTreeSet::new(),
        );
        self.core = core;
        self.outputs(outputs);
    }

    fn topic(&self) -> TopicRef {
        topic_ref("t")
    }

    fn describe(&self) -> Option<GroupDescription> {
        self.core.describe(&"g".into())
    }

    fn shown(&self) -> Option<GroupOffsets> {
        let offsets = self.core.offsets(&"g".into()).expect("readable");
        Some(offsets.cloned().unwrap_or_default())
    }

    fn on_disk(&self) -> Vec<Record> {
        let entries = self.disk.iter();
        entries
            .map(|((table, key), value)| restore(*table, key, value))
            .collect()
    }
}
