//! SyncGroup (14): a member asks for its assignment; the leader brings everybody's with it.
//!
//! The reply waits until the leader has synced. REBALANCE_IN_PROGRESS and the errors of membership send the client back
//! to JoinGroup. Since version 5 the client repeats protocol type and strategy, so that a mix-up is noticed
//! (INCONSISTENT_GROUP_PROTOCOL) instead of an assignment being read in the wrong format.

use lw_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use crate::group::{MemberRef, ProtocolName, SyncReply, SyncRequest};

pub(crate) async fn handle(cx: Cx, request: SyncGroupRequest) -> SyncGroupResponse {
    if cx.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    match cx.broker.groups.sync(parse(request)).await {
        Ok(reply) => respond(cx.version, reply),
        Err(error) => refused(error),
    }
}

fn parse(request: SyncGroupRequest) -> SyncRequest {
    let name = |text: Option<StrBytes>| text.map(|text| ProtocolName::from(text.as_str()));
    SyncRequest {
        who: MemberRef::new(
            &request.group_id,
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id,
        ),
        protocol_type: name(request.protocol_type),
        protocol: name(request.protocol_name),
        assignments: request
            .assignments
            .into_iter()
            .map(|given| (given.member_id.as_str().into(), given.assignment))
            .collect(),
    }
}

fn respond(version: i16, reply: SyncReply) -> SyncGroupResponse {
    let name = |protocol: Option<ProtocolName>| {
        protocol
            .filter(|_| version >= 5)
            .map(|name| StrBytes::from_string(name.to_string()))
    };
    SyncGroupResponse::default()
        .with_protocol_type(name(reply.protocol_type))
        .with_protocol_name(name(reply.protocol))
        .with_assignment(reply.assignment)
}

fn refused(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
