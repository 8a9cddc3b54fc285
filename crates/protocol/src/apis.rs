//! The one table of the APIs that the broker serves, and of the versions it says and means.
//!
//! Three lies of Kafka's own are kept, each for old librdkafka: Produce is advertised from 0 though 0–2 are refused, or
//! it silently stops compressing (KAFKA-18659); Produce 3 stays, or it writes the v0 message format; JoinGroup 0 and 1
//! stay (KAFKA-19444).

use crate::messages::ApiKey;

/// One row: `min..=max` is served, `advertised_min` is what ApiVersions says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    pub min: i16,
    pub max: i16,
    pub advertised_min: i16,
}

impl Api {
    const fn new(key: ApiKey, min: i16, max: i16) -> Api {
        Api {
            key,
            min,
            max,
            advertised_min: min,
        }
    }

    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Every API that the broker serves. An API that is not here does not exist for a client, which then does without.
pub const APIS: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        min: 3,
        max: 13,
        advertised_min: 0,
    },
    Api::new(ApiKey::Fetch, 4, 18),
    Api::new(ApiKey::ListOffsets, 1, 10),
    Api::new(ApiKey::Metadata, 0, 13),
    Api::new(ApiKey::OffsetCommit, 2, 9),
    Api::new(ApiKey::OffsetFetch, 1, 9),
    Api::new(ApiKey::FindCoordinator, 0, 6),
    Api::new(ApiKey::JoinGroup, 0, 9),
    Api::new(ApiKey::Heartbeat, 0, 4),
    Api::new(ApiKey::LeaveGroup, 0, 5),
    Api::new(ApiKey::SyncGroup, 0, 5),
    Api::new(ApiKey::DescribeGroups, 0, 6),
    Api::new(ApiKey::ListGroups, 0, 5),
    Api::new(ApiKey::ApiVersions, 0, 4),
    Api::new(ApiKey::CreateTopics, 2, 7),
    Api::new(ApiKey::DeleteTopics, 1, 6),
    Api::new(ApiKey::DeleteRecords, 0, 2),
    Api::new(ApiKey::InitProducerId, 0, 5),
    Api::new(ApiKey::OffsetForLeaderEpoch, 2, 4),
    Api::new(ApiKey::DescribeAcls, 1, 3),
    Api::new(ApiKey::DescribeConfigs, 1, 4),
    Api::new(ApiKey::AlterConfigs, 0, 2),
    Api::new(ApiKey::DescribeLogDirs, 1, 4),
    Api::new(ApiKey::CreatePartitions, 0, 3),
    Api::new(ApiKey::DeleteGroups, 0, 2),
    Api::new(ApiKey::IncrementalAlterConfigs, 0, 1),
    Api::new(ApiKey::ListPartitionReassignments, 0, 0),
    Api::new(ApiKey::OffsetDelete, 0, 0),
    Api::new(ApiKey::DescribeCluster, 0, 2),
    Api::new(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The row of an API key as it stands in a request, if we serve it.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_we_serve_can_be_decoded() {
        for api in APIS {
            let range = api.key.valid_versions();
            assert!(
                range.min <= api.min && api.max <= range.max,
                "{api:?} against {range:?}"
            );
        }
    }

    #[test]
    fn the_table_is_sorted_and_short_enough_for_a_one_byte_count() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
        assert!(
            APIS.len() < 127,
            "old clients read the compact array's length as one byte"
        );
    }
}
