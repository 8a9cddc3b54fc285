//! Heartbeat (12): a member says that it lives, and hears whether it must join again.
//!
//! REBALANCE_IN_PROGRESS: join again, commit first. UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION: the group has gone on
//! without you, start over. FENCED_INSTANCE_ID: another process runs under your instance id; give up.

use lw_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{Cx, code};
use crate::group::MemberRef;

pub(crate) async fn handle(cx: Cx, request: HeartbeatRequest) -> HeartbeatResponse {
    let who = MemberRef::new(
        &request.group_id,
        &request.member_id,
        request.group_instance_id.as_ref(),
        request.generation_id,
    );
    let outcome = cx.broker.groups.heartbeat(who).await;
    HeartbeatResponse::default().with_error_code(code(outcome))
}
