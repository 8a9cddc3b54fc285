//! FindCoordinator (10): which broker answers for a group. There is one broker, and it is this one.
//!
//! Key type 0 is a group. 1 is a transactional id and 2 a share group: neither exists here yet, and INVALID_REQUEST is
//! the answer that a client takes as final, with a message that says why; COORDINATOR_NOT_AVAILABLE would have it ask
//! for ever. Version 4 and later ask for many keys at once and get one answer for each.

use lw_protocol::messages::find_coordinator_response::Coordinator;
use lw_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use crate::NODE_ID;

pub(crate) async fn handle(cx: Cx, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if cx.version >= 4 {
        let found = request
            .coordinator_keys
            .into_iter()
            .map(|key| find(&cx, request.key_type, key))
            .collect();
        return FindCoordinatorResponse::default().with_coordinators(found);
    }
    let found = find(&cx, request.key_type, request.key);
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn find(cx: &Cx, key_type: i8, key: StrBytes) -> Coordinator {
    let refusal = match key_type {
        0 => None,
        1 => Some("transactions are not supported yet: there is no transaction coordinator"),
        2 => Some("share groups are not supported yet: there is no share coordinator"),
        _ => Some("unknown type of coordinator"),
    };
    let found = Coordinator::default().with_key(key);
    match refusal {
        None => found
            .with_node_id(BrokerId(NODE_ID))
            .with_host(cx.endpoint.host.clone())
            .with_port(cx.endpoint.port),
        Some(reason) => {
            tracing::warn!(peer = %cx.peer, client = ?cx.client_id, key_type, reason, "no coordinator");
            found
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_error_message(Some(StrBytes::from_static_str(reason)))
        }
    }
}
