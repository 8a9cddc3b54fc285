//! DescribeGroups (15): a group's state, its members, and who has what.
//!
//! Metadata and assignments are the members' own bytes. Metadata is shown only while the group is Stable: before that the
//! strategy that it belongs to is not settled. A group that does not exist is `Dead`: without an error up to version 5, as GROUP_ID_NOT_FOUND since.

use lw_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use lw_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use crate::group::{GroupDescription, MemberDescription};

/// All that can be done with a group here (there are no ACLs): read, delete, describe, as bits.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
/// The client did not ask what it may do.
const NOT_ASKED: i32 = i32::MIN;

pub(crate) async fn handle(cx: Cx, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        NOT_ASKED
    };
    let groups = request.groups.into_iter().map(|group| {
        let described = match cx.broker.groups.describe(&group.as_str().into()) {
            Some(found) => describe(cx.version, found),
            None => dead(cx.version, &group),
        };
        described
            .with_group_id(group)
            .with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe(version: i16, group: GroupDescription) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state))
        .with_protocol_type(StrBytes::from_string(group.protocol_type))
        .with_protocol_data(StrBytes::from_string(group.protocol))
        .with_members(
            group
                .members
                .into_iter()
                .map(|found| member(version, found))
                .collect(),
        )
}

fn member(version: i16, member: MemberDescription) -> DescribedGroupMember {
    let instance = member.instance.filter(|_| version >= 4);
    DescribedGroupMember::default()
        .with_member_id(StrBytes::from_string(member.member.to_string()))
        .with_group_instance_id(instance.map(|name| StrBytes::from_string(name.to_string())))
        .with_client_id(StrBytes::from_string(member.client_id))
        .with_client_host(StrBytes::from_string(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn dead(version: i16, group: &GroupId) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    if version < 6 {
        return dead;
    }
    let message = format!("Group {} not found.", group.as_str());
    dead.with_error_code(ErrorCode::GroupIdNotFound.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}
