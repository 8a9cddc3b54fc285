//! Bad bytes end the connection that sent them, and nothing else.

use std::io::Write;

use lw_broker::BrokerConfig;
use lw_protocol::messages::{ApiVersionsRequest, MetadataRequest};

use crate::server::{Server, Socket};

/// Sends raw bytes; the server must hang up on them and go on serving a neighbour that was there before.
fn refused(what: &str, bytes: &[u8]) {
    let server = Server::with(BrokerConfig {
        max_request_bytes: 1 << 20,
        ..BrokerConfig::default()
    });
    let mut neighbour = server.connect();
    alive(&mut neighbour);
    let mut hostile = server.connect();
    hostile.stream.write_all(bytes).unwrap();
    hostile.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(hostile.is_closed(), "{what}: the server answered");
    alive(&mut neighbour);
    // The client sees the end a moment before it is counted.
    let metrics = server.broker.metrics();
    while metrics.open_connections() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(metrics.connections_refused.get(), 1, "{what}");
}

fn alive(socket: &mut Socket) {
    assert_eq!(socket.call(3, &ApiVersionsRequest::default()).error_code, 0);
}

/// A request: its length in front.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[test]
fn garbage_is_hung_up_on() {
    refused("text", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n");
    refused(
        "a TLS hello",
        &[
            0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
        ],
    );
    refused("negative length", &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    refused("no length at all", &[0, 0, 0, 0]);
}

#[test]
fn oversized_frames_are_refused_before_their_bytes_come() {
    let mut frame = ((1 << 20) + 1_u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&[0, 3, 0, 1]);
    refused("one byte too long", &frame);
}

/// Only records need a hundred megabytes; a list that long would take ten times as much in memory.
#[test]
fn requests_without_records_are_held_to_less() {
    let server = Server::start();
    let mut hostile = server.connect();
    let mut frame = ((16 << 20) + 1_u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&[0, 3, 0, 1]);
    hostile.stream.write_all(&frame).unwrap();
    assert!(hostile.is_closed(), "metadata of 16 MiB and one byte");
    let mut producer = server.connect();
    frame[4..8].copy_from_slice(&[0, 0, 0, 9]);
    producer.stream.write_all(&frame).unwrap();
    // Still awaited: the rest of it may come.
    producer
        .stream
        .set_read_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    assert!(!producer.is_closed(), "produce of 16 MiB and one byte");
}

#[test]
fn truncated_frames_are_noticed() {
    refused("half a length", &[0, 0]);
    refused(
        "half a frame",
        &framed(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0])[..12],
    );
}

#[test]
fn unknown_apis_and_versions_are_hung_up_on() {
    refused("api 999", &framed(&[3, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]));
    refused(
        "metadata v99",
        &framed(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
    );
    refused(
        "produce v2, which is advertised but refused",
        &framed(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]),
    );
}

#[test]
fn declared_counts_cost_no_memory() {
    let head = |api: u8, version: u8| [0, api, 0, version, 0, 0, 0, 1, 0xff, 0xff];
    let mut fixed = head(3, 1).to_vec();
    fixed.extend_from_slice(&i32::MAX.to_be_bytes());
    refused("2^31 topics", &framed(&fixed));
    let mut flexible = head(3, 12).to_vec();
    flexible.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]);
    refused("2^32 topics, compact", &framed(&flexible));
    let mut tags = head(3, 12).to_vec();
    tags.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    refused("2^32 tagged fields in the header", &framed(&tags));
}

#[test]
fn a_body_that_goes_on_is_refused() {
    let mut body = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    body.extend_from_slice(&[0, 0, 0, 0, 7]);
    refused("a byte too many", &framed(&body));
}

/// Every byte of a real request flipped, one at a time: answered or hung up on, never a dead server.
#[test]
fn flipped_bytes_never_hurt_the_server() {
    let server = Server::start();
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let good = lw_protocol::frame::encode_request(1, 12, "test", &request).unwrap();
    for at in 4..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0xff;
        let mut socket = server.connect();
        socket.stream.write_all(&bad).unwrap();
        socket.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = socket.read_frame();
    }
    alive(&mut server.connect());
}
