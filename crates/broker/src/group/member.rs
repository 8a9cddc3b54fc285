//! One member of a classic group: what it offered, what it was given, and what it waits for.

use bytes::Bytes;

use super::types::{InstanceId, JoinRequest, MemberDescription, MemberId, ProtocolName, Token};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<InstanceId>,
    client_id: String,
    client_host: String,
    pub(super) session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    /// Offered strategies, preferred first.
    pub(super) protocols: Vec<(ProtocolName, Bytes)>,
    pub(super) assignment: Bytes,
    pub(super) waiting: Waiting,
    /// When the session ends without a further sign of life. `None` while a reply is being held back for a member
    /// that is known to be alive: it cannot be expected to send heartbeats then.
    pub(super) deadline: Option<u64>,
    /// Has never completed a rebalance. Its client does not know its id yet, so it cannot send heartbeats, and a
    /// client that gave up cannot be told from one that waits; the session timer therefore runs while it waits.
    pub(super) is_new: bool,
    /// Has asked for its assignment of this generation.
    pub(super) synced: bool,
}

/// The reply that a member's client is waiting for. One at most: that is what makes G4 easy to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    Join(Token),
    Sync(Token),
}

impl Member {
    pub(super) fn new(request: &JoinRequest) -> Member {
        let mut member = Member {
            instance: request.instance.clone(),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            waiting: Waiting::Nothing,
            deadline: None,
            is_new: true,
            synced: false,
        };
        member.update(request);
        member
    }

    /// Takes over what a newer JoinGroup of the same member says.
    pub(super) fn update(&mut self, request: &JoinRequest) {
        self.client_id.clone_from(&request.client_id);
        self.client_host.clone_from(&request.client_host);
        self.session_timeout_ms = millis(request.session_timeout_ms);
        self.rebalance_timeout_ms = millis(request.rebalance_timeout_ms);
        self.protocols.clone_from(&request.protocols);
    }

    pub(super) fn awaits_join(&self) -> bool {
        matches!(self.waiting, Waiting::Join(_))
    }

    /// Starts the session anew: the member has just shown that it lives.
    pub(super) fn renew_session(&mut self, now_ms: u64) {
        self.deadline = Some(now_ms + self.session_timeout_ms);
    }

    /// Its session timer may run out without harm: it waits for us, not we for it.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && self.waiting != Waiting::Nothing
    }

    pub(super) fn supports(&self, protocol: &ProtocolName) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What the member said about itself under `protocol`; empty when it does not speak it.
    pub(super) fn metadata(&self, protocol: Option<&ProtocolName>) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| Some(name) == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn describe(&self, id: &MemberId, metadata: Bytes) -> MemberDescription {
        MemberDescription {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata,
            assignment: self.assignment.clone(),
        }
    }
}

/// Timeouts are checked before a member is made; a client's nonsense counts as zero, never as a wrap-around.
fn millis(timeout: i32) -> u64 {
    u64::try_from(timeout).unwrap_or(0)
}
