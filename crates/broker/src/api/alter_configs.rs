//! AlterConfigs (33): the old way to configure: the given settings replace all that a topic had. KafkaJS still asks it.

use lw_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use lw_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use super::incremental_alter_configs::Alterations;
use crate::topics::Refusal;

pub(crate) async fn handle(cx: Cx, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut alterations = Alterations::begin(&cx).await;
    for resource in &request.resources {
        let replace = |_| {
            let pairs = resource.configs.iter().map(|config| match &config.value {
                Some(value) => Ok((config.name.to_string(), value.to_string())),
                None => {
                    let message = format!("Null value not supported for config: {}", config.name);
                    Err(Refusal::new(ErrorCode::InvalidRequest, message))
                }
            });
            pairs.collect()
        };
        alterations.add(resource.resource_type, &resource.resource_name, replace);
    }
    let outcomes = alterations.end(request.validate_only).await;
    let responses = request.resources.iter().zip(outcomes);
    let responses = responses.map(|(resource, outcome)| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match outcome {
            Ok(()) => response.with_error_message(None),
            Err(refusal) => response
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message))),
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}
