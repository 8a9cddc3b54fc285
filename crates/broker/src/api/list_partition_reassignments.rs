//! ListPartitionReassignments (46): replicas on the move. On one node there are none; `kafka-topics --describe` asks.

use lw_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::Cx;

pub(crate) async fn handle(
    _cx: Cx,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}
