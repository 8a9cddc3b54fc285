//! Changes of topics whose client hangs up before they are durable: on a log that writes when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use lw_protocol::StrBytes;
use lw_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use lw_protocol::messages::{DeleteTopicsRequest, IncrementalAlterConfigsRequest, TopicName};
use lw_sim::{SimClock, SimDisk};
use lw_storage::{Config, Storage};

use super::*;
use crate::BrokerConfig;
use crate::api::{Cx, delete_topics, incremental_alter_configs};
use crate::wire::Endpoint;

pub(crate) fn cx() -> Cx {
    let clock = Arc::new(SimClock::new());
    let disk = SimDisk::new(1, clock.clone());
    let storage =
        Storage::open_stepped(Arc::new(disk), clock, Config::new("/sim")).expect("a new folder");
    let create = Op::CreateTopic {
        name: "t".to_owned(),
        id: Uuid::from_u128(1),
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    storage.commit_blocking(vec![create]).expect("created");
    Cx {
        broker: Broker::new(storage, BrokerConfig::default()),
        version: 1,
        client_id: None,
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        endpoint: Endpoint {
            host: StrBytes::from_static_str("h"),
            port: 1,
        },
        held: None,
    }
}

fn text(word: &str) -> StrBytes {
    StrBytes::from_string(word.to_owned())
}

fn set(name: &str, value: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

#[test]
fn a_setting_survives_the_hang_up_of_its_client_and_the_next_setting() {
    let cx = cx();
    let storage = cx.broker.storage.clone();
    let first = incremental_alter_configs::handle(cx.clone(), set("retention.ms", "1000"));
    assert!(
        first.now_or_never().is_none(),
        "it waits for the disk, and is dropped"
    );
    let mut second = Box::pin(incremental_alter_configs::handle(
        cx,
        set("segment.bytes", "2000000"),
    ));
    assert!(second.as_mut().now_or_never().is_none());
    while storage.step() {}
    assert!(second.as_mut().now_or_never().is_none());
    while storage.step() {}
    let reply = second.now_or_never().expect("it is durable");
    assert_eq!(reply.responses[0].error_code, 0);
    let topic = storage.topic("t").expect("there");
    let config = topic.config.given();
    let expected = [("retention.ms", "1000"), ("segment.bytes", "2000000")];
    assert!(
        config
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .eq(expected),
        "{config:?}"
    );
}

#[test]
fn groups_hear_of_a_deletion_whose_client_hung_up() {
    let cx = cx();
    let storage = cx.broker.storage.clone();
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let offsets = BTreeMap::from([(0, 0)]);
            cx.broker.publish_offsets("p", "t", &offsets)
        });
        while !publishing.is_finished() {
            storage.step();
            std::thread::yield_now();
        }
    });
    assert_eq!(cx.broker.group_lag().len(), 1);
    let names = vec![TopicName(text("t"))];
    let request = DeleteTopicsRequest::default().with_topic_names(names);
    assert!(
        delete_topics::handle(cx.clone(), request)
            .now_or_never()
            .is_none()
    );
    while storage.step() {}
    assert!(storage.topic("t").is_none());
    let mut left = 0;
    cx.broker.groups.each_offset(|_, _, _, _| left += 1);
    assert_eq!(left, 0, "offsets of a topic that is gone");
}

/// A request with many topics waits for the disk once.
#[test]
fn a_request_is_one_frame() {
    use lw_protocol::messages::CreateTopicsRequest;
    use lw_protocol::messages::create_topics_request::CreatableTopic;
    let cx = cx();
    let storage = cx.broker.storage.clone();
    let topics = (0..20).map(|n| {
        CreatableTopic::default()
            .with_name(TopicName(text(&format!("n{n}"))))
            .with_num_partitions(1)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect());
    let mut creating = Box::pin(crate::api::create_topics::handle(cx.clone(), request));
    let before = storage.stats().frames;
    assert!(creating.as_mut().now_or_never().is_none());
    while storage.step() {}
    let reply = creating.now_or_never().expect("one frame");
    assert!(reply.topics.iter().all(|topic| topic.error_code == 0));
    let names = (0..20).map(|n| TopicName(text(&format!("n{n}")))).collect();
    let request = DeleteTopicsRequest::default().with_topic_names(names);
    let mut deleting = Box::pin(delete_topics::handle(cx, request));
    assert!(deleting.as_mut().now_or_never().is_none());
    while storage.step() {}
    let reply = deleting.now_or_never().expect("one frame");
    assert!(reply.responses.iter().all(|topic| topic.error_code == 0));
    assert_eq!(storage.stats().frames - before, 2);
}
