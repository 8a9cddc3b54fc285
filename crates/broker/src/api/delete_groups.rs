//! DeleteGroups (42): a group that has no members goes, with all its offsets. Answered after the fsync.
//!
//! NON_EMPTY_GROUP while it has members, GROUP_ID_NOT_FOUND when there is none of that name.

use lw_protocol::messages::delete_groups_response::DeletableGroupResult;
use lw_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::{Cx, code};

pub(crate) async fn handle(cx: Cx, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let deletions = request
        .groups_names
        .into_iter()
        .map(|group| delete(&cx, group));
    let results = futures::future::join_all(deletions).await;
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete(cx: &Cx, group: GroupId) -> DeletableGroupResult {
    let result = cx.broker.groups.delete(group.as_str().into()).await;
    if result.is_ok() {
        tracing::info!(group = group.as_str(), client = ?cx.client_id, "deleted a consumer group");
    }
    DeletableGroupResult::default()
        .with_group_id(group)
        .with_error_code(code(result))
}
