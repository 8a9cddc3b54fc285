//! InitProducerId (22): an id for an idempotent producer, never given to anyone else.
//!
//! The epoch is always 0: a producer without transactions that must start over simply gets a new id. A transactional id
//! is refused while there are no transactions: INVALID_REQUEST is fatal to every client at once and sends its user to
//! the broker's log, where the reason stands.

use lw_protocol::ErrorCode;
use lw_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Cx;
use crate::topics::commit_code;

pub(crate) async fn handle(cx: Cx, request: InitProducerIdRequest) -> InitProducerIdResponse {
    if let Some(transactional_id) = &request.transactional_id {
        let id = transactional_id.as_str();
        tracing::warn!(peer = %cx.peer, transactional_id = id, "refused a producer: transactions are not supported yet");
        return refused(ErrorCode::InvalidRequest);
    }
    match cx.broker.producer_ids.next().await {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => {
            tracing::warn!(%error, "could not claim producer ids");
            refused(commit_code(&error))
        }
    }
}

fn refused(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
