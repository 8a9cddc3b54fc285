//! DescribeCluster (60): the cluster's id and its nodes: this one, under the address that the client dialled.

use lw_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use lw_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use crate::NODE_ID;
use crate::topics::CLUSTER_OPERATIONS;

/// The kind of endpoint that clients talk to; the other one, 2, is a controller's.
const BROKERS: i8 = 1;

pub(crate) async fn handle(cx: Cx, request: DescribeClusterRequest) -> DescribeClusterResponse {
    if cx.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ErrorCode::MismatchedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str(
                "this endpoint serves brokers",
            )));
    }
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(cx.endpoint.host)
        .with_port(cx.endpoint.port);
    let mut response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(StrBytes::from_string(cx.broker.storage.cluster_id()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker]);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}
