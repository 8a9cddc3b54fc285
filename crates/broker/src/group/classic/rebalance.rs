//! A rebalance and its clock: how a group gets from "somebody came or went" to the next generation, and who is out when
//! a deadline passes. The steps are told at the head of [`super`].

use std::collections::BTreeMap;

use lw_protocol::ErrorCode;

use super::{ClassicGroup, Effect, Effects, InitialDelay, State, answer_superseded};
use crate::group::member::{Member, Waiting};
use crate::group::types::{MemberId, Now, ProtocolName, Reply, Token};

impl ClassicGroup {
    pub(super) fn prepare_or_complete(&mut self, fx: &mut Effects<'_>) {
        match self.state {
            State::PreparingRebalance { .. } => self.complete_if_all_joined(fx),
            _ => self.prepare(fx),
        }
    }

    pub(super) fn prepare(&mut self, fx: &mut Effects<'_>) {
        for (id, member) in &mut self.members {
            if let Waiting::Sync(_) = member.waiting {
                let before = std::mem::replace(&mut member.waiting, Waiting::Nothing);
                member.renew_session(fx.now.elapsed_ms);
                answer_superseded(id, before, ErrorCode::RebalanceInProgress, fx);
            }
        }
        let now = fx.now.elapsed_ms;
        if let State::Empty { .. } = self.state {
            let delay = fx.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay);
            let initial = Some(InitialDelay {
                remaining_ms,
                newcomer: false,
            });
            self.state = State::PreparingRebalance {
                deadline: now + delay,
                initial,
            };
        } else {
            let deadline = now + self.rebalance_timeout_ms();
            self.state = State::PreparingRebalance {
                deadline,
                initial: None,
            };
            self.complete_if_all_joined(fx);
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, fx: &mut Effects<'_>) {
        let waiting_for_more = matches!(
            self.state,
            State::PreparingRebalance {
                initial: Some(_),
                ..
            }
        );
        if !waiting_for_more
            && self.pending.is_empty()
            && self.members.values().all(Member::awaits_join)
        {
            self.complete(fx);
        }
    }

    /// Ends the join phase with whoever is here.
    fn complete(&mut self, fx: &mut Effects<'_>) {
        let absent = self
            .members
            .iter()
            .filter(|(_, member)| !member.awaits_join() && member.instance.is_none());
        for id in absent.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id, fx);
        }
        let deadline = fx.now.elapsed_ms + self.rebalance_timeout_ms();
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members that are all away. Their sessions decide; until then nobody could lead.
            self.state = State::PreparingRebalance {
                deadline,
                initial: None,
            };
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.protocol = None;
            self.state = State::Empty {
                since_wall_ms: fx.now.wall_ms,
            };
        } else {
            self.protocol = self.vote();
            self.state = State::CompletingRebalance { deadline };
        }
        let held = self.answer_joins(fx.now);
        fx.out.push(Effect::Generation {
            record: self.record(),
            held,
        });
    }

    fn answer_joins(&mut self, now: Now) -> Vec<(Token, Reply)> {
        let mut held = Vec::new();
        for (id, member) in &mut self.members {
            if let Waiting::Join(token) = std::mem::replace(&mut member.waiting, Waiting::Nothing) {
                held.push((token, id.clone()));
            }
            member.is_new = false;
            member.synced = false;
            member.renew_session(now.elapsed_ms);
        }
        held.into_iter()
            .map(|(token, id)| {
                let is_leader = self.leader.as_ref() == Some(&id);
                (token, Reply::Join(self.joined(&id, is_leader)))
            })
            .collect()
    }

    /// Keeps the leader when it is here, else takes a member that is. `false`: nobody is here.
    fn elect_leader(&mut self) -> bool {
        let here = |id: &MemberId| self.members.get(id).is_some_and(Member::awaits_join);
        if !self.leader.as_ref().is_some_and(here) {
            let Some((id, _)) = self.members.iter().find(|(_, member)| member.awaits_join()) else {
                return false;
            };
            self.leader = Some(id.clone());
        }
        true
    }

    /// Every member votes for the first of its strategies that all members speak. A tie goes to the name that
    /// sorts first: any rule would do, if it is the same each time.
    pub(super) fn vote(&self) -> Option<ProtocolName> {
        let mut votes: BTreeMap<&ProtocolName, usize> = BTreeMap::new();
        for member in self.members.values() {
            let common =
                |name: &ProtocolName| self.members.values().all(|other| other.supports(name));
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let phase = match self.state {
            State::Empty { .. } => None,
            State::PreparingRebalance { deadline, .. }
            | State::CompletingRebalance { deadline } => Some(deadline),
            State::Stable { deadline } => deadline,
        };
        let sessions = self.members.values().filter_map(|member| member.deadline);
        phase
            .into_iter()
            .chain(sessions)
            .chain(self.pending.values().copied())
            .min()
    }

    pub(crate) fn on_timer(&mut self, fx: &mut Effects<'_>) {
        let now = fx.now.elapsed_ms;
        self.pending.retain(|_, deadline| *deadline > now);
        let mut dead = Vec::new();
        for (id, member) in self
            .members
            .iter_mut()
            .filter(|(_, member)| member.deadline.is_some_and(|at| at <= now))
        {
            if member.is_excused() {
                member.deadline = None;
            } else {
                dead.push(id.clone());
            }
        }
        for id in &dead {
            self.remove(id, fx);
        }
        self.rebalance_after_loss(!dead.is_empty(), fx);
        self.end_overdue_phase(fx);
    }

    fn end_overdue_phase(&mut self, fx: &mut Effects<'_>) {
        let now = fx.now.elapsed_ms;
        match &mut self.state {
            State::PreparingRebalance {
                deadline,
                initial: Some(initial),
            } if *deadline <= now && initial.newcomer && initial.remaining_ms > 0 => {
                let delay = fx
                    .config
                    .initial_rebalance_delay_ms
                    .min(initial.remaining_ms);
                *deadline = now + delay;
                *initial = InitialDelay {
                    remaining_ms: initial.remaining_ms - delay,
                    newcomer: false,
                };
            }
            State::PreparingRebalance { deadline, .. } if *deadline <= now => self.complete(fx),
            State::CompletingRebalance { deadline }
            | State::Stable {
                deadline: Some(deadline),
            } if *deadline <= now => {
                let late = self.members.iter().filter(|(_, member)| !member.synced);
                for id in late.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                    self.remove(&id, fx);
                }
                self.prepare(fx);
            }
            _ => {}
        }
    }
}
