//! What a stranger can make the broker remember, inflate or hold: bounded, and counted by the broker's own gauges.

use std::io::Write;

use lw_broker::BrokerConfig;
use lw_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest, MetadataRequest};
use lw_protocol::{BatchBuilder, Compression};

use crate::log::{list_offset, now, produce, produce_bytes};
use crate::server::{Server, Socket};

#[test]
fn a_producer_id_that_was_never_given_is_refused() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let batch = |id, sequence| {
        let mut builder = BatchBuilder::default().producer(id, 0, sequence);
        builder.push(now(), None, Some(b"v"), &[]);
        builder.build().unwrap()
    };
    for (id, sequence) in [(7, 0), (7, 5), (i64::MAX, 0), (-2, 0)] {
        let (error, _) = produce(&mut socket, "t", batch(id, sequence));
        assert!(
            error.starts_with("InvalidProducerIdMapping"),
            "{id}: {error}"
        );
    }
    assert_eq!(list_offset(&mut socket, "t", -1), (0, -1));
    let ask = InitProducerIdRequest::default().with_transactional_id(None);
    let id = socket.call(4, &ask).producer_id.0;
    assert_eq!(produce(&mut socket, "t", batch(id, 0)), ("ok".into(), 0));
    let mut again = server.second_broker();
    assert_eq!(produce(&mut again, "t", batch(id, 1)), ("ok".into(), 1));
}

/// The batch is broken besides: whoever looked into it would say so instead.
#[test]
fn what_is_too_large_is_not_inflated() {
    let server = Server::start();
    let config = [("compression.type", "lz4"), ("max.message.bytes", "2000")];
    let mut socket = server.with_topic("t", 1, &config);
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let mut random = 1u64;
    let noise = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    });
    let noise: Vec<u8> = noise.take(4000).collect();
    builder.push(now(), None, Some(&noise), &[]);
    let mut bytes = builder.build().unwrap().into_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let (error, _) = produce_bytes(&mut socket, "t", 0, bytes.into());
    let error = error.to_string();
    assert!(error.starts_with("MessageTooLarge"), "{error}");
    assert!(
        error.contains("more than the topic's max.message.bytes of 2000"),
        "{error}"
    );
}

#[test]
fn a_bomb_ends_at_the_bound() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[("compression.type", "lz4")]);
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.push(now(), None, Some(&vec![0; 65 << 20]), &[]);
    let (error, _) = produce(&mut socket, "t", builder.build().unwrap());
    assert!(error.starts_with("MessageTooLarge"), "{error}");
    assert!(
        error.contains("inflates to more than 67108864 bytes"),
        "{error}"
    );
}

#[test]
fn connections_over_the_limit_are_closed_as_they_come() {
    let server = Server::with(BrokerConfig {
        max_connections: 2,
        ..BrokerConfig::default()
    });
    let ask = ApiVersionsRequest::default();
    let mut first = server.connect();
    let mut second = server.connect();
    first.call(0, &ask);
    second.call(0, &ask);
    let mut third = server.connect();
    assert!(third.is_closed());
    assert_eq!(server.broker.metrics().connections_over_limit.get(), 1);
    drop(first);
    until("one connection is left", || {
        server.broker.metrics().open_connections() <= 1
    });
    until("the place of the ended connection is free", || {
        Socket::open(server.address).try_call(0, &ask).is_ok()
    });
}

#[test]
fn large_requests_wait_for_memory_and_small_ones_pass() {
    let server = Server::with(BrokerConfig {
        max_bytes_in_flight: 1 << 20,
        ..BrokerConfig::default()
    });
    let half_sent = || {
        let mut socket = server.connect();
        // A Produce request of 700,000 bytes, of which the first come.
        let mut head = 700_000u32.to_be_bytes().to_vec();
        head.extend([0, 0, 0, 9]);
        head.extend(vec![0; 100_000]);
        let _ = socket.stream.write(&head);
        socket
    };
    let first = half_sent();
    until("the first has its memory", || {
        server.broker.bytes_in_flight() >= 700_000
    });
    let others: Vec<Socket> = (0..8).map(|_| half_sent()).collect();
    let mut small = server.connect();
    for _ in 0..100 {
        small.call(0, &ApiVersionsRequest::default());
        assert_eq!(server.broker.bytes_in_flight(), 700_000);
    }
    drop(first);
    drop(others);
    until("all memory is given back", || {
        server.broker.bytes_in_flight() == 0
    });
}

/// A list of all partitions is as large as a fetch, and asked for with forty bytes.
#[test]
fn large_replies_that_are_no_records_are_counted_and_waited_for() {
    let limit = 128 << 10;
    let server = Server::with(BrokerConfig {
        max_bytes_in_flight: limit,
        ..BrokerConfig::default()
    });
    let mut reading = server.with_topic("t", 10_000, &[]);
    let ask = MetadataRequest::default().with_topics(None);
    // Nobody reads this, so that replies fill the socket and one is stuck.
    let mut stuck = server.connect();
    for _ in 0..200 {
        stuck.send(1, &ask);
    }
    // Between replies that go out, nothing is held: one that is still there after many other requests is stuck.
    let small = std::cell::RefCell::new(server.connect());
    let is_stuck = || {
        (0..1000).all(|_| {
            small.borrow_mut().call(0, &ApiVersionsRequest::default());
            server.broker.memory().replies > limit as u64
        })
    };
    until("a reply is stuck", is_stuck);
    reading.send(1, &ask);
    assert!(is_stuck(), "and others are served beside it");
    drop(stuck);
    let frame = reading.read_frame().unwrap();
    assert!(frame.len() > limit, "{}", frame.len());
    until("all memory is given back", || {
        server.broker.bytes_in_flight() == 0
    });
}

/// Waits for a condition that comes about by itself, and not for ever.
#[expect(
    clippy::disallowed_methods,
    reason = "real sockets end on a real clock"
)]
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < end, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}
