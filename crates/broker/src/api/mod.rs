//! One file per API. The shape of each, and the table that finds them.
//!
//! A handler is one function in a file named after its API:
//!
//! ```ignore
//! pub(crate) async fn handle(cx: Cx, request: HeartbeatRequest) -> HeartbeatResponse
//! ```
//!
//! 1. The file's head says what the API means: who sends it, what it promises, which error says what.
//! 2. The body is three steps: *parse* (turn the request into our own types; answer what is wrong at once), *apply*
//!    (ask a sans-IO core, or storage), *reply* (turn the outcome into the response). A step that is pure is a function
//!    with a test of its own; waiting happens in `handle` only.
//! 3. Errors are codes in the response, never a closed connection: only bytes that cannot be read close one. A reason
//!    that the protocol has no field for goes to the log.
//! 4. Fields that do not exist in the request's version hold their defaults: read [`Cx::version`] only where the
//!    meaning differs.
//!
//! A future does nothing before it is polled, so requests of one connection might overtake each other at their start.
//! Where that matters (Produce: the sequence numbers), `handle` is a plain function that does its part at the call and
//! returns the future of the rest. A connection starts any other request only when the ones before it are answered.
//!
//! To add an API: a file here, a row in [`lw_protocol::apis::APIS`], a line in [`dispatch`].

mod alter_configs;
mod api_versions;
mod create_partitions;
pub(crate) mod create_topics;
mod delete_groups;
mod delete_records;
pub(crate) mod delete_topics;
mod describe_acls;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod heartbeat;
pub(crate) mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod verdicts;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use lw_protocol::frame::{self, RequestHead};
use lw_protocol::messages::ApiKey;
use lw_protocol::{ErrorCode, Request, StrBytes};

use crate::Broker;
use crate::budget::Held;
use crate::wire::{Answer, Endpoint, Hangup, Incoming, Reply};

/// What a handler knows besides the request.
#[derive(Clone)]
pub(crate) struct Cx {
    pub(crate) broker: Arc<Broker>,
    pub(crate) version: i16,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) peer: SocketAddr,
    /// Where this client reaches us: what Metadata and FindCoordinator name.
    pub(crate) endpoint: Endpoint,
    /// The memory of the request's bytes, for whoever keeps them longer than its handler runs.
    pub(crate) held: Option<Arc<Held>>,
}

/// Starts the handler of a request.
pub(crate) fn dispatch(
    broker: &Arc<Broker>,
    peer: SocketAddr,
    endpoint: &Endpoint,
    incoming: Incoming,
) -> Answer {
    let Incoming {
        head,
        api,
        client_id,
        body,
        held,
    } = incoming;
    let cx = Cx {
        broker: broker.clone(),
        version: head.api_version,
        client_id,
        peer,
        endpoint: endpoint.clone(),
        held,
    };
    match api {
        ApiKey::Produce => produce::answer(cx, head, body),
        ApiKey::Fetch => fetch::answer(cx, head, body),
        ApiKey::ApiVersions => api_versions::answer(cx, head, body),
        ApiKey::Metadata => answer(cx, head, body, metadata::handle),
        ApiKey::ListOffsets => answer(cx, head, body, list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => answer(cx, head, body, offset_for_leader_epoch::handle),
        ApiKey::InitProducerId => answer(cx, head, body, init_producer_id::handle),
        ApiKey::CreateTopics => answer(cx, head, body, create_topics::handle),
        ApiKey::DeleteTopics => answer(cx, head, body, delete_topics::handle),
        ApiKey::CreatePartitions => answer(cx, head, body, create_partitions::handle),
        ApiKey::DeleteRecords => answer(cx, head, body, delete_records::handle),
        ApiKey::DescribeConfigs => answer(cx, head, body, describe_configs::handle),
        ApiKey::AlterConfigs => answer(cx, head, body, alter_configs::handle),
        ApiKey::IncrementalAlterConfigs => {
            answer(cx, head, body, incremental_alter_configs::handle)
        }
        ApiKey::DescribeCluster => answer(cx, head, body, describe_cluster::handle),
        ApiKey::DescribeTopicPartitions => {
            answer(cx, head, body, describe_topic_partitions::handle)
        }
        ApiKey::ListPartitionReassignments => {
            answer(cx, head, body, list_partition_reassignments::handle)
        }
        ApiKey::DescribeLogDirs => answer(cx, head, body, describe_log_dirs::handle),
        ApiKey::DescribeAcls => answer(cx, head, body, describe_acls::handle),
        ApiKey::FindCoordinator => answer(cx, head, body, find_coordinator::handle),
        ApiKey::JoinGroup => answer(cx, head, body, join_group::handle),
        ApiKey::SyncGroup => answer(cx, head, body, sync_group::handle),
        ApiKey::Heartbeat => answer(cx, head, body, heartbeat::handle),
        ApiKey::LeaveGroup => answer(cx, head, body, leave_group::handle),
        ApiKey::OffsetCommit => answer(cx, head, body, offset_commit::handle),
        ApiKey::OffsetFetch => answer(cx, head, body, offset_fetch::handle),
        ApiKey::OffsetDelete => answer(cx, head, body, offset_delete::handle),
        ApiKey::DescribeGroups => answer(cx, head, body, describe_groups::handle),
        ApiKey::ListGroups => answer(cx, head, body, list_groups::handle),
        ApiKey::DeleteGroups => answer(cx, head, body, delete_groups::handle),
        other => refuse(Hangup::UnknownApi(other as i16)),
    }
}

/// Decodes the request, runs the handler, encodes its response.
fn answer<R, Handler, Response>(cx: Cx, head: RequestHead, body: Bytes, handle: Handler) -> Answer
where
    R: Request,
    Handler: FnOnce(Cx, R) -> Response,
    Response: Future<Output = R::Response> + Send + 'static,
{
    let request = match read_body::<R>(head, body) {
        Ok(request) => request,
        Err(hangup) => return refuse(hangup),
    };
    let replies = cx.broker.replies.clone();
    let response = handle(cx, request);
    Box::pin(async move {
        // A list of everything is not begun while there is no memory for it; how much it takes shows when it is made.
        let mut held = match lists_everything(key_of(head)) {
            true => replies.take(LEAST_OF_LIST).await,
            false => replies.count(0),
        };
        let mut reply = write_reply(head, &response.await)?;
        let bytes = reply.remaining();
        if bytes > UNCOUNTED {
            held.settle(bytes);
            reply.hold(held);
        }
        Ok(Some(reply))
    })
}

/// What a reply without records waits for, if it may be a large one.
const LEAST_OF_LIST: usize = 64 << 10;
/// A reply up to this is not counted, so that heartbeats pass when memory is short.
const UNCOUNTED: usize = 16 << 10;

/// Whether a small request can be answered with all that there is: each topic, group, offset or setting.
fn lists_everything(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::Metadata
            | ApiKey::DescribeConfigs
            | ApiKey::DescribeLogDirs
            | ApiKey::DescribeTopicPartitions
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::OffsetFetch
    )
}

fn read_body<R: Request>(head: RequestHead, body: Bytes) -> Result<R, Hangup> {
    frame::decode(body, head.api_version).map_err(|source| Hangup::Unreadable {
        api: key_of(head),
        version: head.api_version,
        source,
    })
}

fn write_reply<R>(head: RequestHead, response: &R) -> Result<Reply, Hangup>
where
    R: lw_protocol::Encodable + lw_protocol::HeaderVersion,
{
    frame::encode_response(head.correlation_id, head.api_version, response)
        .map(Reply::from)
        .map_err(|source| Hangup::Unwritable {
            api: key_of(head),
            source,
        })
}

/// An outcome as the protocol's number; 0 is no error.
fn code(outcome: Result<(), ErrorCode>) -> i16 {
    outcome.err().map_or(0, |error| error.code())
}

fn refuse(hangup: Hangup) -> Answer {
    Box::pin(std::future::ready(Err(hangup)))
}

fn key_of(head: RequestHead) -> ApiKey {
    ApiKey::try_from(head.api_key).expect("the key was found in the table of APIs")
}
