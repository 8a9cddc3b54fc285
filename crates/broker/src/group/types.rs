//! What goes into the coordinator and what comes out, in plain values.
//!
//! The coordinator knows nothing of frames, versions or sockets: a handler in `api/` reads a request into one of
//! these, and writes the reply in the version that the client asked for. Where a version changes what the coordinator
//! must *do* (not only what it says), the request carries that as a named fact, such as
//! [`JoinRequest::must_know_member_id`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::record::{OffsetRecord, Record};

/// A shared, immutable name with a type of its own, so that a member id is never passed where a group id belongs.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// `group.id`.
    GroupId
);
name!(
    /// The id that the coordinator gave to one incarnation of a member.
    MemberId
);
name!(
    /// `group.instance.id`: the name that a static member keeps across its restarts (KIP-345).
    InstanceId
);
name!(
    /// The name of an assignment strategy (`range`, `cooperative-sticky`), or a group's protocol type (`consumer`).
    ProtocolName
);
name!(
    /// A topic's name, as consumers commit by it.
    TopicName
);

/// The two clocks, read once per input. Deadlines run on `elapsed_ms` (never steps back), what is stored and shown
/// is stamped with `wall_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub elapsed_ms: u64,
    pub wall_ms: i64,
}

/// Stands for a request whose reply may come later. The shell invents them; each is answered exactly once (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Stands for a write that the shell was asked to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

#[derive(Debug)]
pub enum Input {
    Request { token: Token, request: Request },
    /// The write is on disk, or was refused and left no trace. Writes are reported in the order they were asked for.
    Written { write: WriteId, outcome: WriteOutcome },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    Durable,
    Refused,
}

#[derive(Debug)]
pub enum Output {
    Reply { token: Token, reply: Reply },
    /// Make these durable in one atomic frame, after all writes asked for before, then report [`Input::Written`].
    Write { write: WriteId, records: Vec<Record> },
}

#[derive(Debug)]
pub enum Request {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(MemberRef),
    Leave(LeaveRequest),
    Commit(CommitRequest),
    DeleteOffsets(DeleteOffsetsRequest),
    DeleteGroup(GroupId),
}

/// One variant per [`Request`] variant; a token is answered by the variant of its request.
#[derive(Debug)]
pub enum Reply {
    Join(JoinReply),
    Sync(Result<SyncReply, ResponseError>),
    Heartbeat(Result<(), ResponseError>),
    Leave(Result<Vec<LeaveReply>, ResponseError>),
    Commit(Vec<PartitionReply>),
    DeleteOffsets(Result<Vec<PartitionReply>, ResponseError>),
    DeleteGroup(Result<(), ResponseError>),
}

#[derive(Debug)]
pub struct JoinRequest {
    pub group: GroupId,
    /// `None` from a client that has no id yet.
    pub member: Option<MemberId>,
    pub instance: Option<InstanceId>,
    /// Random text that makes a new member's id unique.
    pub fresh: String,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: ProtocolName,
    /// Strategies that the member offers, preferred first, each with its subscription in that strategy's form.
    pub protocols: Vec<(ProtocolName, Bytes)>,
    /// Since JoinGroup v4 a new dynamic member is first told its id and asked to come back with it (KIP-394), so
    /// that a client which gave up waiting leaves no ghost behind in the group.
    pub must_know_member_id: bool,
    /// Since JoinGroup v9 a leader can be told to sync without assigning (KIP-814).
    pub can_skip_assignment: bool,
}

#[derive(Clone, Debug)]
pub struct JoinReply {
    pub error: Option<ResponseError>,
    pub generation: i32,
    pub protocol_type: Option<ProtocolName>,
    pub protocol: Option<ProtocolName>,
    pub leader: String,
    pub member: String,
    /// Filled for the leader only.
    pub members: Vec<JoinedMember>,
    pub skip_assignment: bool,
}

impl JoinReply {
    pub fn refused(member: &str, error: ResponseError) -> JoinReply {
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
pub struct JoinedMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub metadata: Bytes,
}

/// Who speaks, and in which generation it believes itself to be.
#[derive(Clone, Debug)]
pub struct MemberRef {
    pub group: GroupId,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub generation: i32,
}

#[derive(Debug)]
pub struct SyncRequest {
    pub who: MemberRef,
    /// What the client takes the group's protocol to be; `None` from clients older than SyncGroup v5.
    pub protocol_type: Option<ProtocolName>,
    pub protocol: Option<ProtocolName>,
    /// From the leader: each member's assignment.
    pub assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    pub protocol_type: Option<ProtocolName>,
    pub protocol: Option<ProtocolName>,
    pub assignment: Bytes,
}

#[derive(Debug)]
pub struct LeaveRequest {
    pub group: GroupId,
    pub members: Vec<Leaver>,
}

#[derive(Clone, Debug)]
pub struct Leaver {
    /// Empty when an operator removes a static member by its instance id alone.
    pub member: MemberId,
    pub instance: Option<InstanceId>,
}

#[derive(Debug)]
pub struct LeaveReply {
    pub leaver: Leaver,
    pub result: Result<(), ResponseError>,
}

#[derive(Debug)]
pub struct CommitRequest {
    pub who: MemberRef,
    /// OffsetCommit v9+ tells an unknown group from a stale generation.
    pub knows_group_id_not_found: bool,
    pub offsets: Vec<OffsetCommit>,
}

#[derive(Clone, Debug)]
pub struct OffsetCommit {
    pub topic: TopicName,
    pub partition: i32,
    pub offset: i64,
    /// -1 when the client does not say.
    pub leader_epoch: i32,
    pub metadata: String,
    /// Own retention asked for by OffsetCommit v2–v4.
    pub retention_ms: Option<i64>,
}

#[derive(Debug)]
pub struct DeleteOffsetsRequest {
    pub group: GroupId,
    pub partitions: Vec<(TopicName, i32)>,
}

#[derive(Clone, Debug)]
pub struct PartitionReply {
    pub topic: TopicName,
    pub partition: i32,
    pub result: Result<(), ResponseError>,
}

/// A group as `DescribeGroups` shows it.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    pub group: GroupId,
    pub state: &'static str,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, Debug)]
pub struct MemberDescription {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group's line in `ListGroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group: GroupId,
    pub state: &'static str,
    pub protocol_type: String,
    pub members: usize,
}

/// All that a group has committed.
pub type GroupOffsets = BTreeMap<TopicName, BTreeMap<i32, OffsetRecord>>;
