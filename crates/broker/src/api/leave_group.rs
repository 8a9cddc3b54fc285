//! LeaveGroup (13): members go, and the group rebalances at once instead of after their session timeout.
//!
//! Since version 3 a request names many members, and static ones may be named by their instance id alone, which is how
//! an operator removes a machine that will not come back. Each member gets its own verdict.

use lw_protocol::StrBytes;
use lw_protocol::messages::leave_group_request::MemberIdentity;
use lw_protocol::messages::leave_group_response::MemberResponse;
use lw_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{Cx, code};
use crate::group::{InstanceId, LeaveReply, LeaveRequest, Leaver};

pub(crate) async fn handle(cx: Cx, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let replies = match cx.broker.groups.leave(parse(cx.version, request)).await {
        Ok(replies) => replies,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    if cx.version >= 3 {
        return LeaveGroupResponse::default()
            .with_members(replies.into_iter().map(respond).collect());
    }
    // One member only: its verdict is the reply.
    let verdict = replies.into_iter().try_for_each(|reply| reply.result);
    LeaveGroupResponse::default().with_error_code(code(verdict))
}

fn parse(version: i16, request: LeaveGroupRequest) -> LeaveRequest {
    let leaver = |member: MemberIdentity| Leaver {
        member: member.member_id.as_str().into(),
        instance: member
            .group_instance_id
            .map(|name| InstanceId::from(name.as_str())),
    };
    let members = if version >= 3 {
        request.members.into_iter().map(leaver).collect()
    } else {
        vec![Leaver {
            member: request.member_id.as_str().into(),
            instance: None,
        }]
    };
    LeaveRequest {
        group: request.group_id.as_str().into(),
        members,
    }
}

fn respond(reply: LeaveReply) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(StrBytes::from_string(reply.leaver.member.to_string()))
        .with_group_instance_id(
            reply
                .leaver
                .instance
                .map(|name| StrBytes::from_string(name.to_string())),
        )
        .with_error_code(code(reply.result))
}
