//! Heartbeat (12): a member says that it lives, and hears whether it must join again.
//!
//! REBALANCE_IN_PROGRESS: join again, commit first. UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION: the group has gone on
//! without you, start over. FENCED_INSTANCE_ID: another process runs under your instance id; give up.

use lw_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Cx;
use crate::group::{InstanceId, MemberRef};

pub(crate) async fn handle(cx: Cx, request: HeartbeatRequest) -> HeartbeatResponse {
    let who = MemberRef {
        group: request.group_id.as_str().into(),
        member: request.member_id.as_str().into(),
        instance: request
            .group_instance_id
            .map(|name| InstanceId::from(name.as_str())),
        generation: request.generation_id,
    };
    let result = cx.broker.groups.heartbeat(who).await;
    HeartbeatResponse::default().with_error_code(result.err().map_or(0, |error| error.code()))
}
