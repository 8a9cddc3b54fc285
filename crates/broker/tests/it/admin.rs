//! Topics and their configuration, as tools see them.

use expect_test::expect;
use lw_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use lw_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use lw_protocol::messages::describe_configs_request::DescribeConfigsResource;
use lw_protocol::messages::describe_topic_partitions_request::TopicRequest;
use lw_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use lw_protocol::messages::metadata_request::MetadataRequestTopic;
use lw_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use lw_protocol::{ErrorCode, apis};

use crate::server::{Server, Socket, text, topic_name};

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn configured(name: &str, config: &[(&str, &str)]) -> CreatableTopic {
    let entry = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    topic(name, 1, 1).with_configs(config.iter().map(entry).collect())
}

fn assigned(name: &str, nodes: &[&[i32]]) -> CreatableTopic {
    let assignment = |(index, nodes): (usize, &&[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index as i32)
            .with_broker_ids(nodes.iter().map(|node| BrokerId(*node)).collect())
    };
    topic(name, -1, -1).with_assignments(nodes.iter().enumerate().map(assignment).collect())
}

/// One line per topic asked for.
fn create(socket: &mut Socket, topics: Vec<CreatableTopic>, validate_only: bool) -> String {
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_validate_only(validate_only);
    let reply = socket.call(7, &request);
    let lines =
        reply
            .topics
            .iter()
            .map(|result| match ErrorCode::try_from_code(result.error_code) {
                None => format!(
                    "{}: {} partitions, {} replica",
                    result.name.as_str(),
                    result.num_partitions,
                    result.replication_factor
                ),
                Some(code) => format!(
                    "{}: {code:?}: {}",
                    result.name.as_str(),
                    result.error_message.as_deref().unwrap_or("")
                ),
            });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn topics_are_created_or_refused_each_for_itself() {
    let server = Server::start();
    let mut socket = server.connect();
    let long = "x".repeat(250);
    let topics = vec![
        topic("one", 1, 1),
        topic("three", 48, 3),
        topic("defaults", -1, -1),
        topic("no/slash", 1, 1),
        topic("", 1, 1),
        topic(&long, 1, 1),
        topic("..", 1, 1),
        topic("__consumer_offsets", 50, 1),
        topic("none", 0, 1),
        topic("many", 10_001, 1),
        topic("zero", 1, 0),
        topic("twice", 1, 1),
        topic("twice", 1, 1),
        configured("typo", &[("retentoin.ms", "1")]),
        configured("compacted", &[("cleanup.policy", "compact")]),
        configured(
            "article",
            &[("retention.ms", "259200000"), ("compression.type", "lz4")],
        ),
        assigned("by-hand", &[&[1], &[1]]),
        assigned("elsewhere", &[&[2]]),
        topic("a.b", 1, 1),
        topic("a_b", 1, 1),
    ];
    expect![[r#"
        one: 1 partitions, 1 replica
        three: 48 partitions, 1 replica
        defaults: 1 partitions, 1 replica
        no/slash: InvalidTopicException: Topic name is invalid: 'no/slash' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        : InvalidTopicException: Topic name is invalid: the empty string is not allowed
        xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: InvalidTopicException: Topic name is invalid: the length of 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is longer than the max allowed length 249
        ..: InvalidTopicException: Topic name is invalid: '..' is not allowed
        __consumer_offsets: InvalidTopicException: Topic name '__consumer_offsets' is reserved: what Kafka keeps in it is not kept in a topic here
        none: InvalidPartitions: Number of partitions was set to an invalid non-positive value.
        many: InvalidPartitions: A topic may have at most 10000 partitions.
        zero: InvalidReplicationFactor: Replication factor must be larger than 0, or -1 to use the default value.
        twice: InvalidRequest: Duplicate topic name.
        typo: InvalidConfig: Unknown topic config name: retentoin.ms. Did you mean retention.ms?
        compacted: InvalidConfig: Invalid value compact for configuration cleanup.policy: compact is not supported yet: records would never be compacted; use cleanup.policy=delete
        article: 1 partitions, 1 replica
        by-hand: 2 partitions, 1 replica
        elsewhere: InvalidReplicaAssignment: The manual partition assignment includes broker 2, but no such broker is registered.
        a.b: 1 partitions, 1 replica
        a_b: InvalidTopicException: Topic 'a_b' collides with existing topic: a.b"#]].assert_eq(&create(&mut socket, topics, false));
    expect![[r#"
        one: TopicAlreadyExists: Topic 'one' already exists.
        dry: 2 partitions, 1 replica"#]]
    .assert_eq(&create(
        &mut socket,
        vec![topic("one", 1, 1), topic("dry", 2, 1)],
        true,
    ));
    assert!(
        server.storage.topic("dry").is_none(),
        "validate_only creates nothing"
    );
}

#[test]
fn asking_for_a_topic_creates_it_when_allowed() {
    let server = Server::start();
    let mut socket = server.connect();
    let mut ask = |version, name: &str, allow| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(allow);
        let reply = socket.call(version, &request);
        (
            reply.topics[0].error_code,
            reply.topics[0].partitions.len(),
            reply.brokers[0].port,
        )
    };
    let port = i32::from(server.address.port());
    assert_eq!(
        ask(9, "no", false),
        (ErrorCode::UnknownTopicOrPartition.code(), 0, port)
    );
    assert_eq!(ask(9, "yes", true), (0, 1, port));
    assert_eq!(
        ask(1, "old", true),
        (0, 1, port),
        "before version 4 a client cannot say no"
    );
    assert_eq!(
        ask(9, "bad name", true),
        (ErrorCode::InvalidTopicException.code(), 0, port)
    );
}

#[test]
fn partitions_only_grow() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 3, &[]);
    let mut grow = |count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name("t"))
            .with_count(count)
            .with_assignments(None);
        let reply = socket.call(
            3,
            &CreatePartitionsRequest::default().with_topics(vec![topic]),
        );
        reply.results[0]
            .error_message
            .as_ref()
            .map_or("ok".into(), |text| text.to_string())
    };
    let lines: Vec<String> = [2, 3, 5, 20_000].into_iter().map(&mut grow).collect();
    expect![[r#"
        The topic t currently has 3 partition(s); 2 would not be an increase.
        Topic already has 3 partition(s).
        ok
        A topic may have at most 10000 partitions."#]]
    .assert_eq(&lines.join("\n"));
    assert_eq!(server.storage.topic("t").unwrap().partitions, 5);
}

fn settings(socket: &mut Socket, name: &str) -> Vec<(String, String, i8)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let reply = socket.call(
        4,
        &DescribeConfigsRequest::default().with_resources(vec![resource]),
    );
    assert_eq!(reply.results[0].error_code, 0);
    let entries = reply.results[0].configs.iter();
    entries
        .map(|c| {
            (
                c.name.to_string(),
                c.value.as_ref().unwrap().to_string(),
                c.config_source,
            )
        })
        .collect()
}

#[test]
fn settings_change_one_by_one() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[("retention.ms", "1000")]);
    let mut alter = |name: &str, operation, value: Option<&str>| {
        let change = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![change]);
        let reply = socket.call(
            1,
            &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]),
        );
        reply.responses[0]
            .error_message
            .as_ref()
            .map_or("ok".into(), |text| text.to_string())
    };
    let lines = [
        alter("segment.bytes", 0, Some("1000000")),
        alter("retention.ms", 1, None),
        alter("retention.ms", 2, Some("5")),
        alter("compression.type", 0, Some("brotli")),
        alter("cleanup.policy", 2, Some("compact")),
    ];
    expect![[r#"
        ok
        ok
        Can't APPEND to key retention.ms because its type is not LIST.
        Invalid value brotli for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer
        Invalid value delete,compact for configuration cleanup.policy: compact is not supported yet: records would never be compacted; use cleanup.policy=delete"#]].assert_eq(&lines.join("\n"));
    let all = settings(&mut socket, "t");
    assert_eq!(all.len(), 33);
    let own: Vec<_> = all
        .iter()
        .filter(|(_, _, source)| *source == 1)
        .map(|(name, value, _)| format!("{name}={value}"))
        .collect();
    assert_eq!(own, ["segment.bytes=1000000"]);
}

#[test]
fn describing_pages_through_partitions() {
    let server = Server::start();
    server.with_topic("a", 3, &[]);
    let mut socket = server.with_topic("b", 2, &[]);
    let topics = ["a", "b", "c"].map(|name| TopicRequest::default().with_name(topic_name(name)));
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.to_vec())
        .with_response_partition_limit(2);
    let mut pages = Vec::new();
    loop {
        let reply = socket.call(0, &request);
        let page = reply.topics.iter().map(|topic| {
            let indexes: Vec<i32> = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index)
                .collect();
            format!(
                "{} {} {indexes:?}",
                topic.name.as_ref().unwrap().as_str(),
                topic.error_code
            )
        });
        pages.push(page.collect::<Vec<_>>().join(", "));
        let Some(next) = reply.next_cursor else { break };
        let cursor = lw_protocol::messages::describe_topic_partitions_request::Cursor::default()
            .with_topic_name(next.topic_name)
            .with_partition_index(next.partition_index);
        request = request.with_cursor(Some(cursor));
    }
    assert_eq!(pages, ["a 0 [0, 1]", "a 0 [2], b 0 [0]", "b 0 [1], c 3 []"]);
}

#[test]
fn the_cluster_is_this_node_under_the_address_that_was_dialled() {
    let server = Server::start();
    let reply = server
        .connect()
        .call(1, &DescribeClusterRequest::default().with_endpoint_type(1));
    assert_eq!(reply.cluster_id.len(), 22);
    assert_eq!(reply.brokers.len(), 1);
    assert_eq!(
        (reply.brokers[0].host.as_str(), reply.brokers[0].port),
        ("127.0.0.1", i32::from(server.address.port()))
    );
}

#[test]
fn an_unknown_version_of_api_versions_is_told_what_we_speak() {
    let server = Server::start();
    let mut socket = server.connect();
    use std::io::Write;
    socket
        .stream
        .write_all(&[0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff])
        .unwrap();
    let frame = socket.read_frame().unwrap();
    // Correlation id, error 35, then the array: a body of version 0.
    let count = apis::APIS.len() as u8;
    assert_eq!(frame[..10], [0, 0, 0, 7, 0, 35, 0, 0, 0, count]);
    let reply = socket.call(3, &ApiVersionsRequest::default());
    let produce = reply.api_keys.iter().find(|key| key.api_key == 0).unwrap();
    assert_eq!(
        (produce.min_version, produce.max_version),
        (0, 13),
        "0 keeps old librdkafka compressing"
    );
}

/// As Kafka's controller has it: one answer, and nothing is done to that topic. The others are not concerned.
#[test]
fn who_names_a_topic_twice_is_refused_once() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    server.with_topic("u", 1, &[]);
    let twice = ["t", "t", "u"];
    let grow = |name| {
        CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(2)
            .with_assignments(None)
    };
    let request = CreatePartitionsRequest::default().with_topics(twice.map(grow).to_vec());
    let reply = socket.call(3, &request);
    let codes = reply.results.iter().map(|result| result.error_code);
    assert!(codes.eq([ErrorCode::InvalidRequest.code(), 0]));
    let partitions = |name| server.storage.topic(name).map(|topic| topic.partitions);
    assert_eq!((partitions("t"), partitions("u")), (Some(1), Some(2)));
    let names = twice.map(topic_name).to_vec();
    let request = DeleteTopicsRequest::default().with_topic_names(names);
    let reply = socket.call(1, &request);
    let codes = reply.responses.iter().map(|result| result.error_code);
    assert!(codes.eq([ErrorCode::InvalidRequest.code(), 0]));
    assert_eq!((partitions("t"), partitions("u")), (Some(1), None));
}
