//! What changes topics and groups: settings, partitions, committed offsets.

use std::collections::BTreeMap;

use lw_protocol::messages::*;

use crate::{Client, ClientError, refused, text, timeout_ms, topic_name};

const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;

impl Client {
    /// Sets the settings that have a value and takes the others back to their defaults; what is not named stays.
    pub fn alter_topic_config(
        &mut self,
        name: &str,
        settings: &[(String, Option<String>)],
    ) -> Result<(), ClientError> {
        let configs = settings.iter().map(|(key, value)| {
            incremental_alter_configs_request::AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.as_deref().map(text))
        });
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        for reply in self.controller()?.call(&request)?.responses {
            refused(reply.error_code, reply.error_message.as_ref(), || {
                format!("altering topic '{name}'")
            })?;
        }
        Ok(())
    }

    /// Gives a topic more partitions, `count` in all.
    pub fn create_partitions(&mut self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(timeout_ms());
        for reply in self.controller()?.call(&request)?.results {
            refused(reply.error_code, reply.error_message.as_ref(), || {
                format!("giving topic '{name}' {count} partitions")
            })?;
        }
        self.topics.remove(name);
        Ok(())
    }

    /// Commits offsets for a group that has no members: topic, partition, offset.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        offsets: &[(String, i32, i64)],
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (topic, partition, offset) in offsets {
            topics.entry(topic).or_default().push(
                offset_commit_request::OffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(*offset)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(text(""))),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        // Topics are named by id from version 10 on.
        let reply = self.coordinator(group)?.call_up_to(&request, 9)?;
        for topic in reply.topics {
            for partition in topic.partitions {
                refused(partition.error_code, None, || {
                    let (topic, partition) = (topic.name.as_str(), partition.partition_index);
                    format!("committing '{topic}' {partition} for group '{group}'")
                })?;
            }
        }
        Ok(())
    }

    /// Forgets a group and its offsets.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        for reply in self.coordinator(group)?.call(&request)?.results {
            refused(reply.error_code, None, || {
                format!("deleting group '{group}'")
            })?;
        }
        Ok(())
    }
}
