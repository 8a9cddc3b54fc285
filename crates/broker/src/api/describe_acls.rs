//! DescribeAcls (29): who may do what. There is no authorizer, which the protocol has a code for; UIs then hide the page.

use lw_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;

pub(crate) async fn handle(_cx: Cx, _request: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "no authorizer is configured",
        )))
}
