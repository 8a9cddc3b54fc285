//! The state machine of one classic group: membership, rebalance, heartbeat. See the state table in [`super`].
//!
//! A rebalance, step by step:
//! 1. Something changes (a member joins, leaves, dies, or offers other metadata): [`ClassicGroup::prepare`].
//!    Members learn of it from REBALANCE_IN_PROGRESS on their next heartbeat or sync, and join again.
//! 2. All have joined, or the rebalance timeout has passed: [`ClassicGroup::complete`]. Dynamic members that did not
//!    come are out, a leader stands, the strategy is voted, the generation grows, every join is answered. The answers
//!    are held back until the generation is durable (G5).
//! 3. The leader's SyncGroup brings the assignments; every waiting sync is answered, later ones at once.
//!
//! Methods put what must be said into [`Effects`] and never look at a clock.

mod rebalance;
mod shown;

use std::collections::BTreeMap;

use bytes::Bytes;
use lw_protocol::ErrorCode;

use super::GroupConfig;
use super::member::{Member, Waiting};
use super::record::GroupRecord;
use super::types::{
    InstanceId, JoinReply, JoinRequest, JoinedMember, LeaveReply, Leaver, MemberId, MemberRef, Now,
    ProtocolName, Reply, SyncReply, SyncRequest, Token,
};

/// How long a member that has not been told its id may wait for its first rebalance. Its client may be long gone.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

#[derive(Debug)]
pub(super) struct ClassicGroup {
    state: State,
    generation: i32,
    protocol_type: Option<ProtocolName>,
    protocol: Option<ProtocolName>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    statics: BTreeMap<InstanceId, MemberId>,
    /// Ids given out by MEMBER_ID_REQUIRED that have not come back yet, each with the end of its time to do so.
    pending: BTreeMap<MemberId, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty {
        since_wall_ms: i64,
    },
    PreparingRebalance {
        deadline: u64,
        initial: Option<InitialDelay>,
    },
    CompletingRebalance {
        deadline: u64,
    },
    /// Until `deadline` every member must have asked for its assignment; `None` once all have.
    Stable {
        deadline: Option<u64>,
    },
}

/// The first rebalance of an empty group waits a little for others, longer while they keep coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InitialDelay {
    remaining_ms: u64,
    newcomer: bool,
}

/// What a step of the state machine wants done.
pub(super) struct Effects<'a> {
    pub(super) now: Now,
    pub(super) config: &'a GroupConfig,
    pub(super) out: Vec<Effect>,
}

pub(super) enum Effect {
    Reply(Token, Reply),
    /// A new generation: make `record` durable, then send the replies in `held`.
    Generation {
        record: GroupRecord,
        held: Vec<(Token, Reply)>,
    },
}

impl Effects<'_> {
    fn reply(&mut self, token: Token, reply: Reply) {
        self.out.push(Effect::Reply(token, reply));
    }

    fn refuse_join(&mut self, token: Token, member: &str, error: ErrorCode) {
        self.reply(token, Reply::Join(JoinReply::refused(member, error)));
    }
}

impl ClassicGroup {
    /// A group without members, new or read back from disk.
    pub(super) fn restore(record: &GroupRecord, now: Now) -> ClassicGroup {
        ClassicGroup {
            state: State::Empty {
                since_wall_ms: record.empty_since_ms.unwrap_or(now.wall_ms),
            },
            generation: record.generation,
            protocol_type: record.protocol_type.clone(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub(super) fn record(&self) -> GroupRecord {
        GroupRecord {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            empty_since_ms: self.empty_since_ms(),
        }
    }

    // ---- joining ----------------------------------------------------------------------------------------------

    pub(super) fn join(&mut self, token: Token, request: &JoinRequest, fx: &mut Effects<'_>) {
        let asked_as = request.member.as_ref().map_or("", MemberId::as_str);
        if !self.accepts_protocols(request) {
            return fx.refuse_join(token, asked_as, ErrorCode::InconsistentGroupProtocol);
        }
        match &request.member {
            None => self.join_new(token, request, fx),
            Some(member) if self.pending.contains_key(member) => {
                self.add(token, member.clone(), request, fx)
            }
            Some(member) => match self.known(member, request.instance.as_ref()) {
                Ok(()) => self.rejoin(token, member, request, fx),
                Err(error) => fx.refuse_join(token, asked_as, error),
            },
        }
    }

    /// A member fits in when it speaks the group's protocol type and at least one strategy that all others speak.
    fn accepts_protocols(&self, request: &JoinRequest) -> bool {
        if let State::Empty { .. } = self.state {
            return !request.protocol_type.as_str().is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|(name, _)| self.members.values().all(|member| member.supports(name)))
    }

    fn join_new(&mut self, token: Token, request: &JoinRequest, fx: &mut Effects<'_>) {
        let prefix = request
            .instance
            .as_ref()
            .map_or(request.client_id.as_str(), InstanceId::as_str);
        let id = MemberId::from(format!("{prefix}-{}", request.fresh).as_str());
        let replaced = request
            .instance
            .as_ref()
            .and_then(|instance| self.statics.get(instance))
            .cloned();
        match replaced {
            Some(old) => self.replace_static(token, &old, id, request, fx),
            None if request.instance.is_none() && request.must_know_member_id => {
                let deadline =
                    fx.now.elapsed_ms + u64::try_from(request.session_timeout_ms).unwrap_or(0);
                self.pending.insert(id.clone(), deadline);
                fx.refuse_join(token, id.as_str(), ErrorCode::MemberIdRequired);
            }
            None => self.add(token, id, request, fx),
        }
    }

    fn add(&mut self, token: Token, id: MemberId, request: &JoinRequest, fx: &mut Effects<'_>) {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if let State::PreparingRebalance {
            initial: Some(initial),
            ..
        } = &mut self.state
        {
            initial.newcomer = true;
        }
        let mut member = Member::new(request);
        member.waiting = Waiting::Join(token);
        member.deadline = Some(fx.now.elapsed_ms + NEW_MEMBER_JOIN_TIMEOUT_MS);
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        self.prepare_or_complete(fx);
    }

    /// A member that the group knows joins (again).
    fn rejoin(&mut self, token: Token, id: &MemberId, request: &JoinRequest, fx: &mut Effects<'_>) {
        let is_leader = self.leader.as_ref() == Some(id);
        let Some(member) = self.members.get_mut(id) else {
            return fx.refuse_join(token, id.as_str(), ErrorCode::UnknownMemberId);
        };
        let unchanged = member.protocols == request.protocols;
        match self.state {
            // It may have missed the reply to its first join: tell it again.
            State::CompletingRebalance { .. } if unchanged => {
                let reply = self.joined(id, is_leader);
                fx.reply(token, Reply::Join(reply));
            }
            // A leader that joins again wants new assignments (it has seen a topic change); a follower just checks.
            State::Stable { .. } if unchanged && !is_leader => {
                let reply = self.joined(id, false);
                fx.reply(token, Reply::Join(reply));
            }
            _ => {
                member.update(request);
                let before = std::mem::replace(&mut member.waiting, Waiting::Join(token));
                answer_superseded(id, before, ErrorCode::RebalanceInProgress, fx);
                self.prepare_or_complete(fx);
            }
        }
    }

    /// A static member has come back under its instance id: it takes the old incarnation's place, and the old one,
    /// should it still run, is fenced.
    fn replace_static(
        &mut self,
        token: Token,
        old: &MemberId,
        new: MemberId,
        request: &JoinRequest,
        fx: &mut Effects<'_>,
    ) {
        let leader_before = self.leader.clone();
        let mut member = self
            .members
            .remove(old)
            .expect("G1: an instance id names a member of the group");
        let before = std::mem::replace(&mut member.waiting, Waiting::Nothing);
        answer_superseded(old, before, ErrorCode::FencedInstanceId, fx);
        member.update(request);
        member.renew_session(fx.now.elapsed_ms);
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new.clone());
        }
        if self.leader.as_ref() == Some(old) {
            self.leader = Some(new.clone());
        }
        self.members.insert(new.clone(), member);

        if matches!(self.state, State::Stable { .. }) && self.vote() == self.protocol {
            let mut reply = self.joined(&new, false);
            if request.can_skip_assignment {
                let is_leader = self.leader.as_ref() == Some(&new);
                reply = self.joined(&new, is_leader);
                reply.skip_assignment = is_leader;
            } else {
                // An old client that saw itself as the leader would assign anew and be ignored. The old leader's id
                // makes it a follower, which asks for its assignment and gets the kept one.
                reply.leader = leader_before
                    .as_ref()
                    .map_or_else(String::new, MemberId::to_string);
            }
            return fx.reply(token, Reply::Join(reply));
        }
        // While completing, the leader may have been told the old id already: it would assign to nobody. So: again.
        if let Some(member) = self.members.get_mut(&new) {
            member.waiting = Waiting::Join(token);
        }
        self.prepare_or_complete(fx);
    }

    fn joined(&self, id: &MemberId, tell_members: bool) -> JoinReply {
        let members = self
            .members
            .iter()
            .filter(|_| tell_members)
            .map(|(id, member)| JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(self.protocol.as_ref()),
            });
        JoinReply {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self
                .leader
                .as_ref()
                .map_or_else(String::new, MemberId::to_string),
            member: id.to_string(),
            members: members.collect(),
            skip_assignment: false,
        }
    }

    // ---- sync, heartbeat, leave -------------------------------------------------------------------------------

    pub(super) fn sync(&mut self, token: Token, request: &SyncRequest, fx: &mut Effects<'_>) {
        let id = &request.who.member;
        if let Err(error) = self
            .current(&request.who)
            .and_then(|()| self.agrees(request))
        {
            return fx.reply(token, Reply::Sync(Err(error)));
        }
        match self.state {
            State::Empty { .. } => fx.reply(token, Reply::Sync(Err(ErrorCode::UnknownMemberId))),
            State::PreparingRebalance { .. } => {
                fx.reply(token, Reply::Sync(Err(ErrorCode::RebalanceInProgress)));
            }
            State::CompletingRebalance { deadline } => {
                if let Some(member) = self.members.get_mut(id) {
                    let before = std::mem::replace(&mut member.waiting, Waiting::Sync(token));
                    member.synced = true;
                    answer_superseded(id, before, ErrorCode::RebalanceInProgress, fx);
                }
                if self.leader.as_ref() == Some(id) {
                    self.state = State::Stable {
                        deadline: Some(deadline),
                    };
                    self.hand_out(&request.assignments, fx);
                }
            }
            State::Stable { .. } => {
                if let Some(member) = self.members.get_mut(id) {
                    member.synced = true;
                    member.renew_session(fx.now.elapsed_ms);
                }
                let reply = self.synced(id);
                fx.reply(token, Reply::Sync(Ok(reply)));
            }
        }
        self.stop_waiting_when_all_synced();
    }

    fn agrees(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        let differs = |asked: &Option<ProtocolName>, ours: &Option<ProtocolName>| {
            asked.is_some() && asked != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Stores the leader's assignments and answers every sync that waits. A member that the leader left out gets an
    /// empty assignment, not the one of an older generation.
    fn hand_out(&mut self, assignments: &[(MemberId, Bytes)], fx: &mut Effects<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(id) {
                member.assignment = assignment.clone();
            }
        }
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            if let Waiting::Sync(token) = member.waiting {
                member.waiting = Waiting::Nothing;
                member.renew_session(fx.now.elapsed_ms);
                waiting.push((token, id.clone()));
            }
        }
        for (token, id) in waiting {
            let reply = self.synced(&id);
            fx.reply(token, Reply::Sync(Ok(reply)));
        }
    }

    fn synced(&self, id: &MemberId) -> SyncReply {
        SyncReply {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    fn stop_waiting_when_all_synced(&mut self) {
        if let State::Stable { deadline } = &mut self.state
            && self.members.values().all(|member| member.synced)
        {
            *deadline = None;
        }
    }

    pub(super) fn heartbeat(&mut self, who: &MemberRef, now: Now) -> Result<(), ErrorCode> {
        self.current(who)?;
        if let Some(member) = self.members.get_mut(&who.member) {
            member.renew_session(now.elapsed_ms);
        }
        match self.state {
            State::Empty { .. } => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            // Clients begin to send heartbeats as soon as their join is answered.
            State::CompletingRebalance { .. } | State::Stable { .. } => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, leavers: &[Leaver], fx: &mut Effects<'_>) -> Vec<LeaveReply> {
        let before = self.members.len();
        let mut replies = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            replies.push(LeaveReply {
                leaver: leaver.clone(),
                result: self.leave_one(leaver, fx),
            });
        }
        self.rebalance_after_loss(self.members.len() < before, fx);
        replies
    }

    fn leave_one(&mut self, leaver: &Leaver, fx: &mut Effects<'_>) -> Result<(), ErrorCode> {
        if leaver.instance.is_none() && self.pending.remove(&leaver.member).is_some() {
            return Ok(());
        }
        let id = match &leaver.instance {
            // An operator removes a static member by its instance id alone.
            Some(instance) if leaver.member.as_str().is_empty() => self
                .statics
                .get(instance)
                .cloned()
                .ok_or(ErrorCode::UnknownMemberId)?,
            instance => {
                self.known(&leaver.member, instance.as_ref())?;
                leaver.member.clone()
            }
        };
        self.remove(&id, fx);
        Ok(())
    }

    /// When members have gone, the rest must share their work; when ids have lapsed, a join phase may be over.
    fn rebalance_after_loss(&mut self, lost_members: bool, fx: &mut Effects<'_>) {
        match self.state {
            State::PreparingRebalance { .. } => self.complete_if_all_joined(fx),
            State::CompletingRebalance { .. } | State::Stable { .. } if lost_members => {
                self.prepare(fx)
            }
            _ => {}
        }
    }

    fn remove(&mut self, id: &MemberId, fx: &mut Effects<'_>) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        // UNKNOWN_MEMBER_ID makes a client that still waits start over with a new id.
        answer_superseded(id, member.waiting, ErrorCode::UnknownMemberId, fx);
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    // ---- who may speak ----------------------------------------------------------------------------------------

    fn known(&self, id: &MemberId, instance: Option<&InstanceId>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    fn current(&self, who: &MemberRef) -> Result<(), ErrorCode> {
        self.known(&who.member, who.instance.as_ref())?;
        if who.generation == self.generation {
            Ok(())
        } else {
            Err(ErrorCode::IllegalGeneration)
        }
    }

    /// May `who` commit offsets now? A client without group management (generation -1) may while nobody is a member.
    pub(super) fn check_commit(&mut self, who: &MemberRef, now: Now) -> Result<(), ErrorCode> {
        let manages_itself =
            who.generation < 0 && who.member.as_str().is_empty() && who.instance.is_none();
        if who.generation < 0 && self.is_empty() {
            return Ok(());
        }
        if manages_itself {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.current(who)?;
        if let State::CompletingRebalance { .. } = self.state {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(&who.member) {
            member.renew_session(now.elapsed_ms);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.state, State::Empty { .. })
    }

    /// Nothing but an entry in a table: no member, nobody on the way, nothing told to anybody.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle() && self.generation == 0
    }

    /// No member, and nobody on the way to become one.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.pending.is_empty()
    }

    pub(super) fn empty_since_ms(&self) -> Option<i64> {
        match self.state {
            State::Empty { since_wall_ms } => Some(since_wall_ms),
            _ => None,
        }
    }

    pub(super) fn has_protocol_type(&self) -> bool {
        self.protocol_type.is_some()
    }
}

/// A client that sent a second request, or was removed or replaced, while its first waits: the first is answered too.
fn answer_superseded(id: &MemberId, waiting: Waiting, error: ErrorCode, fx: &mut Effects<'_>) {
    match waiting {
        Waiting::Nothing => {}
        Waiting::Join(token) => fx.refuse_join(token, id.as_str(), error),
        Waiting::Sync(token) => fx.reply(token, Reply::Sync(Err(error))),
    }
}
