//! ListGroups (16): the names of all groups, of some states (version 4+) or types (version 5+).
//!
//! Filters ignore case; one that names nothing we know matches no group. All groups here are of type `classic`. A group
//! that only ever stored offsets has no protocol type.

use lw_protocol::StrBytes;
use lw_protocol::messages::list_groups_response::ListedGroup;
use lw_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::Cx;
use crate::group::{GroupListing, ProtocolName};

const TYPE: &str = "classic";

pub(crate) async fn handle(cx: Cx, request: ListGroupsRequest) -> ListGroupsResponse {
    let mut groups = cx.broker.groups.list();
    groups.retain(|group| {
        matches(&request.states_filter, group.state) && matches(&request.types_filter, TYPE)
    });
    ListGroupsResponse::default().with_groups(
        groups
            .into_iter()
            .map(|group| listed(cx.version, group))
            .collect(),
    )
}

/// No filter lets all pass.
fn matches(filter: &[StrBytes], value: &str) -> bool {
    filter.is_empty()
        || filter
            .iter()
            .any(|wanted| wanted.as_str().eq_ignore_ascii_case(value))
}

fn listed(version: i16, group: GroupListing) -> ListedGroup {
    let since = |first: i16, text: &'static str| {
        StrBytes::from_static_str(if version >= first { text } else { "" })
    };
    ListedGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.group.to_string())))
        .with_protocol_type(StrBytes::from_string(
            group
                .protocol_type
                .as_ref()
                .map_or_else(String::new, ProtocolName::to_string),
        ))
        .with_group_state(since(4, group.state))
        .with_group_type(since(5, TYPE))
}
