//! ApiVersions (18): which APIs we serve, in which versions. The first thing that a client asks.
//!
//! The client does not yet know what we speak, so two rules bend here: the response header is always v0, and a version
//! that we do not know is answered with a v0 body, error 35 and the whole list, from which the client picks (KIP-511).

use bytes::Bytes;
use lw_protocol::apis::APIS;
use lw_protocol::frame::RequestHead;
use lw_protocol::messages::api_versions_response::ApiVersion;
use lw_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use lw_protocol::{ErrorCode, apis};

use super::{Cx, read_body, refuse, write_reply};
use crate::wire::Answer;

pub(super) fn answer(_cx: Cx, head: RequestHead, body: Bytes) -> Answer {
    let known =
        apis::find(ApiKey::ApiVersions as i16).is_some_and(|api| api.serves(head.api_version));
    if !known {
        let head = RequestHead {
            api_version: 0,
            ..head
        };
        let response = response(ErrorCode::UnsupportedVersion.code());
        return Box::pin(async move { write_reply(head, &response).map(Some) });
    }
    match read_body::<ApiVersionsRequest>(head, body) {
        Ok(_) => Box::pin(async move { write_reply(head, &response(0)).map(Some) }),
        Err(hangup) => refuse(hangup),
    }
}

fn response(error_code: i16) -> ApiVersionsResponse {
    let keys = APIS.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.advertised_min)
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default()
        .with_error_code(error_code)
        .with_api_keys(keys.collect())
}
