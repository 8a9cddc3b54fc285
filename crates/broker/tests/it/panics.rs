//! Planted panics: each ends in a state that says so, and nobody waits for what will never come.

use lw_broker::{BrokerConfig, Fault};
use lw_protocol::BatchBuilder;
use lw_protocol::messages::{ApiKey, ApiVersionsRequest, ListGroupsRequest, MetadataRequest};

use crate::bounds::until;
use crate::log::{now, produce};
use crate::server::Server;

fn with(fault: Fault) -> Server {
    Server::with(BrokerConfig {
        fault: Some(fault),
        ..BrokerConfig::default()
    })
}

/// The one connection ends; the others, and the next of the same client, do not notice.
#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    for fault in [
        Fault::PanicInHandler(ApiKey::ListGroups),
        Fault::PanicInAnswer(ApiKey::ListGroups),
    ] {
        let server = with(fault);
        let mut other = server.connect();
        other.call(0, &ApiVersionsRequest::default());
        let mut socket = server.connect();
        socket.send(4, &ListGroupsRequest::default());
        assert!(socket.is_closed(), "{fault:?}");
        other.call(0, &ApiVersionsRequest::default());
        server.connect().call(1, &MetadataRequest::default());
        until("the panic is counted", || {
            server.broker.metrics().panics.get() == 1
        });
    }
}

/// The log's thread runs into our callback: whoever waits for it is told, the log goes on.
#[test]
fn a_panic_where_the_log_reports_is_told_to_who_waits() {
    let server = with(Fault::PanicInAcknowledgement);
    let mut socket = server.with_topic("t", 1, &[]);
    let batch = || {
        let mut builder = BatchBuilder::default();
        builder.push(now(), None, Some(b"v"), &[]);
        builder.build().unwrap()
    };
    for _ in 0..2 {
        let (error, _) = produce(&mut socket, "t", batch());
        assert!(error.starts_with("KafkaStorageError"), "{error}");
    }
    assert_eq!(server.storage.stats().failed, None);
    let mut again = server.second_broker();
    assert_eq!(produce(&mut again, "t", batch()), ("ok".into(), 2));
}
