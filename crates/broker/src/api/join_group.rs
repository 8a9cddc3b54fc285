//! JoinGroup (11): a client becomes, or stays, a member of a group, and waits for the rebalance that this causes.
//!
//! The reply names the leader, the generation and the strategy that was voted; the leader's also lists all members,
//! for it computes the assignments (SyncGroup brings them). MEMBER_ID_REQUIRED (version 4+) is not a failure: the client
//! comes back with the id in that reply. See `group/mod.rs` for the states and errors.

use lw_protocol::StrBytes;
use lw_protocol::messages::join_group_response::JoinGroupResponseMember;
use lw_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::Cx;
use crate::group::{InstanceId, JoinReply, JoinRequest, JoinedMember, MemberId, ProtocolName};

pub(crate) async fn handle(cx: Cx, request: JoinGroupRequest) -> JoinGroupResponse {
    let request = parse(&cx, request);
    let reply = cx.broker.groups.join(request).await;
    if let Some(error) = reply.error {
        tracing::debug!(client = ?cx.client_id, member = reply.member, %error, "a join was not granted");
    }
    respond(cx.version, reply)
}

fn parse(cx: &Cx, request: JoinGroupRequest) -> JoinRequest {
    let member = request.member_id.as_str();
    // Version 0 has one timeout for both.
    let rebalance_timeout_ms = if cx.version == 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    JoinRequest {
        group: request.group_id.as_str().into(),
        member: (!member.is_empty()).then(|| MemberId::from(member)),
        instance: request
            .group_instance_id
            .map(|name| InstanceId::from(name.as_str())),
        fresh: cx.broker.groups.fresh(),
        client_id: cx
            .client_id
            .as_ref()
            .map_or_else(String::new, |id| id.as_str().to_owned()),
        client_host: format!("/{}", cx.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.as_str().into(),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.as_str().into(), protocol.metadata))
            .collect(),
        must_know_member_id: cx.version >= 4,
        can_skip_assignment: cx.version >= 9,
    }
}

fn respond(version: i16, reply: JoinReply) -> JoinGroupResponse {
    let member = |joined: JoinedMember| {
        let instance = joined.instance.filter(|_| version >= 5);
        JoinGroupResponseMember::default()
            .with_member_id(text(joined.member.as_str()))
            .with_group_instance_id(instance.map(|name| text(name.as_str())))
            .with_metadata(joined.metadata)
    };
    let name = |protocol: Option<ProtocolName>| protocol.map(|name| text(name.as_str()));
    // "No protocol" is null only since version 7.
    let protocol_name = name(reply.protocol).or_else(|| (version < 7).then(StrBytes::default));
    JoinGroupResponse::default()
        .with_error_code(reply.error.map_or(0, |error| error.code()))
        .with_generation_id(reply.generation)
        .with_protocol_type(name(reply.protocol_type).filter(|_| version >= 7))
        .with_protocol_name(protocol_name)
        .with_leader(StrBytes::from_string(reply.leader))
        .with_skip_assignment(reply.skip_assignment)
        .with_member_id(StrBytes::from_string(reply.member))
        .with_members(reply.members.into_iter().map(member).collect())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
