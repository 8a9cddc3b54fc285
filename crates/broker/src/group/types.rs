//! What goes into the coordinator and what comes out, in plain values.
//!
//! The coordinator knows nothing of frames, versions or sockets: a handler in `api/` reads a request into one of
//! these, and writes the reply in the version that the client asked for. Where a version changes what the coordinator
//! must *do* (not only what it says), the request carries that as a named fact, such as
//! [`JoinRequest::must_know_member_id`].

use std::collections::BTreeMap;

use bytes::Bytes;
use lw_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

pub(crate) use super::names::{GroupId, InstanceId, MemberId, ProtocolName, TopicName, TopicRef};
use super::record::{OffsetRecord, Record};

/// The two clocks, read once per input. Deadlines run on `elapsed_ms` (never steps back), what is stored and shown
/// is stamped with `wall_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) elapsed_ms: u64,
    pub(crate) wall_ms: i64,
}

/// Stands for a request whose reply may come later. The shell invents them; each is answered exactly once (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(pub(crate) u64);

/// Stands for a write that the shell was asked to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriteId(pub(crate) u64);

#[derive(Debug)]
pub(crate) enum Input {
    Request {
        token: Token,
        request: Request,
    },
    /// The topic is gone, and its offsets with it.
    TopicDeleted {
        topic: Uuid,
    },
    /// The write is on disk, or was refused and left no trace. Writes are reported in the order they were asked for.
    Written {
        write: WriteId,
        outcome: WriteOutcome,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    Durable,
    Refused,
}

#[derive(Debug)]
pub(crate) enum Output {
    Reply {
        token: Token,
        reply: Reply,
    },
    /// Make these durable in one atomic frame, after all writes asked for before, then report [`Input::Written`].
    Write {
        write: WriteId,
        records: Vec<Record>,
    },
}

#[derive(Debug)]
pub(crate) enum Request {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(MemberRef),
    Leave(LeaveRequest),
    Commit(CommitRequest),
    DeleteOffsets(DeleteOffsetsRequest),
    DeleteGroup(GroupId),
}

impl Request {
    pub(super) fn group(&self) -> &GroupId {
        match self {
            Request::Join(request) => &request.group,
            Request::Sync(request) => &request.who.group,
            Request::Heartbeat(who) => &who.group,
            Request::Leave(request) => &request.group,
            Request::Commit(request) => &request.who.group,
            Request::DeleteOffsets(request) => &request.group,
            Request::DeleteGroup(group) => group,
        }
    }

    /// The empty group id was once allowed for offsets, and old consumers still commit under it.
    pub(super) fn needs_a_name(&self) -> bool {
        matches!(
            self,
            Request::Join(_) | Request::Sync(_) | Request::Heartbeat(_) | Request::Leave(_)
        )
    }

    /// The reply that says `error` to this request.
    pub(super) fn refused(&self, error: ErrorCode) -> Reply {
        match self {
            Request::Join(request) => Reply::Join(JoinReply::refused(
                request.member.as_ref().map_or("", MemberId::as_str),
                error,
            )),
            Request::Sync(_) => Reply::Sync(Err(error)),
            Request::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            // Of an unknown group no one is a member; other refusals concern the request as a whole.
            Request::Leave(request) if error == ErrorCode::UnknownMemberId => {
                Reply::Leave(Ok(request
                    .members
                    .iter()
                    .map(|leaver| LeaveReply {
                        leaver: leaver.clone(),
                        result: Err(error),
                    })
                    .collect()))
            }
            Request::Leave(_) => Reply::Leave(Err(error)),
            Request::Commit(request) => Reply::Commit(
                request
                    .offsets
                    .iter()
                    .map(|commit| PartitionReply {
                        topic: commit.topic.clone(),
                        partition: commit.partition,
                        result: Err(error),
                    })
                    .collect(),
            ),
            Request::DeleteOffsets(_) => Reply::DeleteOffsets(Err(error)),
            Request::DeleteGroup(_) => Reply::DeleteGroup(Err(error)),
        }
    }
}

/// One variant per [`Request`] variant; a token is answered by the variant of its request.
#[derive(Debug)]
pub(crate) enum Reply {
    Join(JoinReply),
    Sync(Result<SyncReply, ErrorCode>),
    Heartbeat(Result<(), ErrorCode>),
    Leave(Result<Vec<LeaveReply>, ErrorCode>),
    Commit(Vec<PartitionReply>),
    DeleteOffsets(Result<Vec<PartitionReply>, ErrorCode>),
    DeleteGroup(Result<(), ErrorCode>),
}

#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) group: GroupId,
    /// `None` from a client that has no id yet.
    pub(crate) member: Option<MemberId>,
    pub(crate) instance: Option<InstanceId>,
    /// Random text that makes a new member's id unique.
    pub(crate) fresh: String,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocol_type: ProtocolName,
    /// Strategies that the member offers, preferred first, each with its subscription in that strategy's form.
    pub(crate) protocols: Vec<(ProtocolName, Bytes)>,
    /// Since JoinGroup v4 a new dynamic member is first told its id and asked to come back with it (KIP-394), so
    /// that a client which gave up waiting leaves no ghost behind in the group.
    pub(crate) must_know_member_id: bool,
    /// Since JoinGroup v9 a leader can be told to sync without assigning (KIP-814).
    pub(crate) can_skip_assignment: bool,
}

impl JoinRequest {
    /// What the other members, and those who describe the group, will be told of this one.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let strategies = self.protocols.iter().map(|(name, _)| name);
        let names = strategies.chain([&self.protocol_type]);
        names
            .map(ProtocolName::as_str)
            .chain(self.instance.as_ref().map(InstanceId::as_str))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct JoinReply {
    pub(crate) error: Option<ErrorCode>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<ProtocolName>,
    pub(crate) protocol: Option<ProtocolName>,
    pub(crate) leader: String,
    pub(crate) member: String,
    /// Filled for the leader only.
    pub(crate) members: Vec<JoinedMember>,
    pub(crate) skip_assignment: bool,
}

impl JoinReply {
    pub(crate) fn refused(member: &str, error: ErrorCode) -> JoinReply {
        JoinReply {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            member: member.to_owned(),
            members: Vec::new(),
            skip_assignment: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) metadata: Bytes,
}

/// Who speaks, and in which generation it believes itself to be.
#[derive(Clone, Debug)]
pub(crate) struct MemberRef {
    pub(crate) group: GroupId,
    pub(crate) member: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) generation: i32,
}

impl MemberRef {
    pub(crate) fn new(
        group: &str,
        member: &str,
        instance: Option<&StrBytes>,
        generation: i32,
    ) -> MemberRef {
        MemberRef {
            group: group.into(),
            member: member.into(),
            instance: instance.map(|name| name.as_str().into()),
            generation,
        }
    }
}

#[derive(Debug)]
pub(crate) struct SyncRequest {
    pub(crate) who: MemberRef,
    /// What the client takes the group's protocol to be; `None` from clients older than SyncGroup v5.
    pub(crate) protocol_type: Option<ProtocolName>,
    pub(crate) protocol: Option<ProtocolName>,
    /// From the leader: each member's assignment.
    pub(crate) assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncReply {
    pub(crate) protocol_type: Option<ProtocolName>,
    pub(crate) protocol: Option<ProtocolName>,
    pub(crate) assignment: Bytes,
}

#[derive(Debug)]
pub(crate) struct LeaveRequest {
    pub(crate) group: GroupId,
    pub(crate) members: Vec<Leaver>,
}

#[derive(Clone, Debug)]
pub(crate) struct Leaver {
    /// Empty when an operator removes a static member by its instance id alone.
    pub(crate) member: MemberId,
    pub(crate) instance: Option<InstanceId>,
}

#[derive(Debug)]
pub(crate) struct LeaveReply {
    pub(crate) leaver: Leaver,
    pub(crate) result: Result<(), ErrorCode>,
}

#[derive(Debug)]
pub(crate) struct CommitRequest {
    pub(crate) who: MemberRef,
    /// OffsetCommit v9+ tells an unknown group from a stale generation.
    pub(crate) knows_group_id_not_found: bool,
    pub(crate) offsets: Vec<OffsetCommit>,
}

#[derive(Clone, Debug)]
pub(crate) struct OffsetCommit {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 when the client does not say.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    /// Own retention asked for by OffsetCommit v2–v4.
    pub(crate) retention_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct DeleteOffsetsRequest {
    pub(crate) group: GroupId,
    pub(crate) partitions: Vec<(TopicRef, i32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct PartitionReply {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) result: Result<(), ErrorCode>,
}

/// A group as `DescribeGroups` shows it.
#[derive(Clone, Debug)]
pub(crate) struct GroupDescription {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<MemberDescription>,
}

#[derive(Clone, Debug)]
pub(crate) struct MemberDescription {
    pub(crate) member: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

/// A group's line in `ListGroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupListing {
    pub(crate) group: GroupId,
    pub(crate) state: &'static str,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<ProtocolName>,
    pub(crate) members: usize,
}

/// All that a group has committed.
pub(crate) type GroupOffsets = BTreeMap<TopicRef, BTreeMap<i32, OffsetRecord>>;
