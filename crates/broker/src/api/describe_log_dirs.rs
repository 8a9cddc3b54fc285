//! DescribeLogDirs (35): how much disk each partition takes. All live in the one data folder.

use lw_protocol::StrBytes;
use lw_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use lw_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use lw_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use lw_storage::Topic;

use super::Cx;

pub(crate) async fn handle(cx: Cx, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let storage = &cx.broker.storage;
    let topics = storage.topics();
    let described = topics.iter().filter_map(|topic| {
        let wanted = wanted_partitions(request.topics.as_deref(), topic)?;
        let partitions = wanted.into_iter().filter_map(|index| {
            let bounds = storage.bounds(topic.id, index)?;
            let size = bounds.size_bytes as i64;
            Some(
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(size),
            )
        });
        let name = TopicName(StrBytes::from_string(topic.name.clone()));
        Some(
            DescribeLogDirsTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect()),
        )
    });
    let stats = storage.stats();
    let dir = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(cx.broker.config.log_dir.clone()))
        .with_topics(described.collect())
        .with_total_bytes(stats.disk_total as i64)
        .with_usable_bytes(stats.disk_free as i64);
    DescribeLogDirsResponse::default().with_results(vec![dir])
}

/// `None` when the request does not name this topic; no list at all names everything.
fn wanted_partitions(asked: Option<&[DescribableLogDirTopic]>, topic: &Topic) -> Option<Vec<i32>> {
    match asked {
        None => Some((0..topic.partitions).collect()),
        Some(asked) => asked
            .iter()
            .find(|asked| asked.topic.as_str() == topic.name)
            .map(|asked| asked.partitions.clone()),
    }
}
