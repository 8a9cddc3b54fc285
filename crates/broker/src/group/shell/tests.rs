//! The shell on a real storage: what pipelines, metrics and a restarted broker see.

use std::collections::BTreeMap;
use std::sync::Arc;

use lw_protocol::ErrorCode;
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Op, Storage};
use uuid::Uuid;

use crate::group::{CommitRequest, JoinRequest, MemberRef, OffsetCommit, SyncRequest, TopicRef};
use crate::{Broker, BrokerConfig, GroupLag, PublishError};

struct Fixture {
    _folder: tempfile::TempDir,
    storage: Storage,
    broker: Arc<Broker>,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::new(folder.path());
    let storage = Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), config)
        .expect("a new storage opens");
    let topic = Op::CreateTopic {
        name: "t".to_owned(),
        id: Uuid::new_v4(),
        partitions: 2,
        config: BTreeMap::new(),
        internal: false,
    };
    storage
        .commit_blocking(vec![topic])
        .expect("a topic is created");
    let broker = Broker::new(storage.clone(), BrokerConfig::default());
    Fixture {
        _folder: folder,
        storage,
        broker,
    }
}

fn join(broker: &Broker, group: &str) -> JoinRequest {
    JoinRequest {
        group: group.into(),
        member: None,
        instance: None,
        fresh: broker.groups.fresh(),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), bytes::Bytes::new())],
        must_know_member_id: false,
        can_skip_assignment: false,
    }
}

#[test]
fn published_offsets_are_shown_with_their_lag() {
    let fixture = fixture();
    let offsets = BTreeMap::from([(0, 0), (1, 7)]);
    fixture
        .broker
        .publish_offsets("p", "t", &offsets)
        .expect("nobody is in the group");
    let lag = |partition, committed| GroupLag {
        group: "p".to_owned(),
        topic: "t".to_owned(),
        partition,
        committed,
        high_watermark: 0,
        lag: 0,
    };
    // Past the end is no negative lag.
    assert_eq!(fixture.broker.group_lag(), [lag(0, 0), lag(1, 7)]);
    let groups = fixture.broker.groups();
    assert_eq!(
        (groups[0].group.as_str(), groups[0].state, groups[0].members),
        ("p", "Empty", 0)
    );
}

#[test]
fn offsets_of_an_unknown_topic_are_not_published() {
    let refused = fixture()
        .broker
        .publish_offsets("p", "nowhere", &BTreeMap::from([(0, 1)]));
    let error = refused.expect_err("there is no such topic");
    assert_eq!(error.to_string(), "there is no topic `nowhere`");
}

/// Kafka compares `String.length()`: not bytes, and not characters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_measured_in_utf16_units() {
    let fixture = fixture();
    let too_large = Err(ErrorCode::OffsetMetadataTooLarge);
    for (character, count, expected) in [
        ("é", 4000, Ok(())),
        ("é", 4096, Ok(())),
        ("é", 4097, too_large),
        ("漢", 4096, Ok(())),
        ("😀", 2048, Ok(())),
        ("😀", 2049, too_large),
    ] {
        let metadata = character.repeat(count);
        let replies = fixture
            .broker
            .groups
            .commit(commit(&fixture.storage, "m", metadata.clone()))
            .await;
        assert_eq!(replies[0].result, expected, "{count} times {character}");
        if expected.is_ok() {
            let kept = fixture.broker.groups.offsets(&"m".into(), |offsets| {
                offsets
                    .and_then(|offsets| offsets.values().next().map(|at| at[&0].metadata.clone()))
            });
            assert_eq!(kept, Ok(Some(metadata)));
        }
    }
}

fn topic(storage: &Storage, name: &str) -> TopicRef {
    let topic = storage.topic(name).expect("it was created");
    TopicRef::new(&topic.name, topic.id)
}

/// One offset in partition 0 of `t`, from a client without group management.
fn commit(storage: &Storage, group: &str, metadata: String) -> CommitRequest {
    CommitRequest {
        who: MemberRef {
            group: group.into(),
            member: "".into(),
            instance: None,
            generation: -1,
        },
        knows_group_id_not_found: true,
        offsets: vec![OffsetCommit {
            topic: topic(storage, "t"),
            partition: 0,
            offset: 1,
            leader_epoch: -1,
            metadata,
            retention_ms: None,
        }],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_consumers_keep_their_group_for_themselves() {
    let fixture = fixture();
    let joined = fixture.broker.groups.join(join(&fixture.broker, "g")).await;
    assert_eq!((joined.error, joined.generation), (None, 1));
    let broker = fixture.broker.clone();
    let publish = move || broker.publish_offsets("g", "t", &BTreeMap::from([(0, 1)]));
    let refused = tokio::task::spawn_blocking(publish)
        .await
        .expect("it does not panic");
    assert_eq!(
        refused,
        Err(PublishError::HasMembers {
            group: "g".to_owned()
        })
    );
    assert_eq!(
        refused.expect_err("refused").to_string(),
        "group `g` has live consumers; only they may commit its offsets"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_broker_counts_generations_on_and_keeps_offsets() {
    let Fixture {
        _folder,
        storage,
        broker,
    } = fixture();
    let joined = broker.groups.join(join(&broker, "g")).await;
    let sync = SyncRequest {
        who: MemberRef {
            group: "g".into(),
            member: joined.member.as_str().into(),
            instance: None,
            generation: joined.generation,
        },
        protocol_type: None,
        protocol: None,
        assignments: vec![(
            joined.member.as_str().into(),
            bytes::Bytes::from_static(b"all"),
        )],
    };
    let synced = broker.groups.sync(sync).await.expect("the leader syncs");
    assert_eq!(&synced.assignment[..], b"all");
    let publisher = broker.clone();
    let publish = move || publisher.publish_offsets("p", "t", &BTreeMap::from([(1, 5)]));
    tokio::task::spawn_blocking(publish)
        .await
        .expect("no panic")
        .expect("nobody is in `p`");
    drop(broker);

    let broker = Broker::new(storage, BrokerConfig::default());
    let t = topic(&broker.storage, "t");
    let offset = broker.groups.offsets(&"p".into(), |offsets| {
        offsets.map(|offsets| offsets[&t][&1].offset)
    });
    assert_eq!(offset, Ok(Some(5)));
    let joined = broker.groups.join(join(&broker, "g")).await;
    assert_eq!(
        (joined.error, joined.generation),
        (None, 2),
        "G5: generations grow across restarts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_takes_its_offsets_along() {
    let fixture = fixture();
    let broker = fixture.broker.clone();
    let publish = move || broker.publish_offsets("p", "t", &BTreeMap::from([(0, 1)]));
    tokio::task::spawn_blocking(publish)
        .await
        .expect("no panic")
        .expect("nobody is in `p`");
    fixture
        .broker
        .groups
        .topic_deleted(topic(&fixture.storage, "t").id);
    // A write that comes after the deletion's is answered after it.
    let group = fixture.broker.groups.join(join(&fixture.broker, "p")).await;
    assert_eq!(group.error, None);
    assert_eq!(fixture.broker.group_lag(), []);
    drop(fixture.storage);
}
