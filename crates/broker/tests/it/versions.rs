//! Every API answers in every version that the table promises, with a reply that decodes.
//!
//! The message crate refuses to write a field that a version does not have; a handler that fills it anyway would hang
//! up on exactly the old clients that send that version. The same requests, mutilated, are `mutations.rs`.

use lw_protocol::messages::*;
use lw_protocol::{Request, apis};
use uuid::Uuid;

use crate::server::{Server, Socket, text, topic_name};

/// What is to be done with one request of each API in each version.
pub(crate) trait Each {
    fn request<R: Request>(&mut self, version: i16, request: &R);
}

struct Ask {
    socket: Socket,
    asked: Vec<i16>,
}

impl Each for Ask {
    fn request<R: Request>(&mut self, version: i16, request: &R) {
        self.socket.call(version, request);
        self.asked.push(R::KEY);
    }
}

#[test]
fn every_version_of_every_api_is_answered() {
    let server = Server::start();
    let mut ask = Ask {
        socket: server.with_topic("t", 2, &[("retention.ms", "100000")]),
        asked: Vec::new(),
    };
    every_request(&mut ask, server.storage.topic("t").unwrap().id);
    let unasked = apis::APIS
        .iter()
        .filter(|api| !ask.asked.contains(&(api.key as i16)));
    assert_eq!(unasked.map(|api| api.key).collect::<Vec<_>>(), []);
}

/// Hands over all versions; `make` gives what can be said in each.
fn ask<R: Request>(each: &mut impl Each, make: impl Fn(i16) -> R) {
    let api = apis::find(R::KEY).expect("only what is served is asked");
    for version in api.min..=api.max {
        each.request(version, &make(version));
    }
}

/// One sensible request of each API in each version, about a topic `t` with that id.
pub(crate) fn every_request(each: &mut impl Each, id: Uuid) {
    let name = || topic_name("t");
    let group = || GroupId(text("g"));

    ask(each, |_| {
        ApiVersionsRequest::default().with_client_software_name(text("test"))
    });
    ask(each, |version| {
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
        let mut request = MetadataRequest::default().with_topics(Some(vec![topic]));
        request.include_topic_authorized_operations = version >= 8;
        request.include_cluster_authorized_operations = (8..=10).contains(&version);
        request
    });
    ask(each, |version| {
        let data = produce_request::PartitionProduceData::default();
        let data = produce_request::TopicProduceData::default().with_partition_data(vec![data]);
        let data = if version < 13 {
            data.with_name(name())
        } else {
            data.with_topic_id(id)
        };
        ProduceRequest::default()
            .with_acks(-1)
            .with_topic_data(vec![data])
    });
    ask(each, |version| {
        let partitions =
            vec![fetch_request::FetchPartition::default().with_partition_max_bytes(100)];
        let topic = fetch_request::FetchTopic::default().with_partitions(partitions);
        let topic = if version < 13 {
            topic.with_topic(name())
        } else {
            topic.with_topic_id(id)
        };
        FetchRequest::default().with_topics(vec![topic])
    });
    ask(each, |_| {
        let partitions = [-1, -2, 0]
            .map(|time| list_offsets_request::ListOffsetsPartition::default().with_timestamp(time));
        let topic = list_offsets_request::ListOffsetsTopic::default()
            .with_name(name())
            .with_partitions(partitions.to_vec());
        ListOffsetsRequest::default().with_topics(vec![topic])
    });
    ask(each, |_| {
        let partitions = vec![offset_for_leader_epoch_request::OffsetForLeaderPartition::default()];
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
        OffsetForLeaderEpochRequest::default()
            .with_topics(vec![topic.with_topic(name()).with_partitions(partitions)])
    });
    ask(each, |_| InitProducerIdRequest::default());
    ask(each, |version| {
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(&format!("new-{version}")));
        CreateTopicsRequest::default().with_topics(vec![
            topic.with_num_partitions(1).with_replication_factor(1),
        ])
    });
    ask(each, |_| {
        let topic = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name())
            .with_count(1);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    });
    ask(each, |_| {
        let partitions = vec![delete_records_request::DeleteRecordsPartition::default()];
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(name())
            .with_partitions(partitions);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    });
    ask(each, |version| {
        let resource = |kind, name: &str| {
            describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let resources = vec![
            resource(2, "t"),
            resource(2, "nowhere"),
            resource(4, "1"),
            resource(4, "2"),
        ];
        let request = DescribeConfigsRequest::default()
            .with_resources(resources)
            .with_include_synonyms(true);
        request.with_include_documentation(version >= 3)
    });
    ask(each, |_| {
        let resource = alter_configs_request::AlterConfigsResource::default().with_resource_type(4);
        AlterConfigsRequest::default().with_resources(vec![resource.with_resource_name(text("1"))])
    });
    ask(each, |_| {
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(4);
        IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource.with_resource_name(text("1"))])
    });
    ask(each, |_| {
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
    });
    ask(each, |_| DescribeTopicPartitionsRequest::default());
    ask(each, |_| ListPartitionReassignmentsRequest::default());
    ask(each, |_| {
        DescribeLogDirsRequest::default().with_topics(None)
    });
    ask(each, |_| DescribeAclsRequest::default());

    ask(each, |version| match version {
        ..4 => FindCoordinatorRequest::default().with_key(text("g")),
        _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]),
    });
    ask(each, |version| {
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text("stranger"));
        let request = request
            .with_session_timeout_ms(10_000)
            .with_protocol_type(text("consumer"));
        if version >= 1 {
            request.with_rebalance_timeout_ms(10_000)
        } else {
            request
        }
    });
    ask(each, |_| {
        SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text("stranger"))
    });
    ask(each, |_| {
        HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text("stranger"))
    });
    ask(each, |version| {
        let request = LeaveGroupRequest::default().with_group_id(group());
        let member =
            leave_group_request::MemberIdentity::default().with_member_id(text("stranger"));
        if version < 3 {
            request.with_member_id(text("stranger"))
        } else {
            request.with_members(vec![member])
        }
    });
    ask(each, |_| {
        let partition =
            offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(1);
        let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(name());
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1);
        request.with_topics(vec![topic.with_partitions(vec![partition])])
    });
    ask(each, |version| {
        let topic = offset_fetch_request::OffsetFetchRequestTopic::default().with_name(name());
        let topics = offset_fetch_request::OffsetFetchRequestTopics::default().with_name(name());
        let groups =
            offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group());
        let groups = groups.with_topics(Some(vec![topics.with_partition_indexes(vec![0])]));
        match version {
            ..8 => OffsetFetchRequest::default()
                .with_group_id(group())
                .with_topics(Some(vec![topic.with_partition_indexes(vec![0])])),
            _ => OffsetFetchRequest::default().with_groups(vec![groups]),
        }
    });
    ask(each, |_| {
        DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text("nobody"))])
    });
    ask(each, |_| ListGroupsRequest::default());
    ask(each, |_| {
        let topic = offset_delete_request::OffsetDeleteRequestTopic::default().with_name(name());
        OffsetDeleteRequest::default()
            .with_group_id(group())
            .with_topics(vec![topic])
    });
    ask(each, |_| {
        DeleteGroupsRequest::default().with_groups_names(vec![group()])
    });
    ask(each, |version| match version {
        ..6 => DeleteTopicsRequest::default().with_topic_names(vec![topic_name("nowhere")]),
        _ => {
            let topic = delete_topics_request::DeleteTopicState::default()
                .with_topic_id(Uuid::from_u128(1));
            DeleteTopicsRequest::default().with_topics(vec![topic.with_name(None)])
        }
    });
}
