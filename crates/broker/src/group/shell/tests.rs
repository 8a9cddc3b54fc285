//! The shell on a real storage: what pipelines, metrics and a restarted broker see.

use std::collections::BTreeMap;
use std::sync::Arc;

use lw_protocol::ErrorCode;
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Op, Storage, Table};
use uuid::Uuid;

use super::tables::put;
use super::{Reply, Request};
use crate::group::record::OffsetKey;
use crate::group::{
    CommitRequest, GroupOffsets, JoinRequest, MemberRef, OffsetCommit, OffsetRecord, SyncRequest,
    TopicRef,
};
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
    create_named(&storage, "t");
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

/// Offsets of `group` in the topic that has the name `t` now.
fn kept(broker: &Broker, group: &str) -> Option<i64> {
    let t = topic(&broker.storage, "t");
    let read = |offsets: Option<&GroupOffsets>| Some(offsets?.get(&t)?.get(&0)?.offset);
    broker
        .groups
        .offsets(&group.into(), read)
        .expect("readable")
}

fn create_named(storage: &Storage, name: &str) -> Uuid {
    let id = Uuid::from_u128(100 + u128::from(storage.stats().frames));
    let create = Op::CreateTopic {
        name: name.to_owned(),
        id,
        partitions: 2,
        config: BTreeMap::new(),
        internal: false,
    };
    storage.commit_blocking(vec![create]).expect("created");
    id
}

/// OffsetCommit has looked the topic up, then the topic is deleted and created again, then the commit lands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_again_starts_without_offsets() {
    let Fixture {
        _folder,
        storage,
        broker,
    } = fixture();
    let late = commit(&storage, "g", "late".to_owned());
    let gone = late.offsets[0].topic.id;
    let delete = vec![Op::DeleteTopic { id: gone }];
    storage.commit_blocking(delete).expect("deleted");
    broker.groups.topic_deleted(gone);
    assert_ne!(create_named(&storage, "t"), gone);
    let replies = broker.groups.commit(late).await;
    assert_eq!(replies[0].result, Ok(()));
    assert_eq!(kept(&broker, "g"), None);
    // A write that comes later is answered later: nothing of the old topic is left on disk then.
    broker
        .groups
        .commit(commit(&storage, "h", String::new()))
        .await;
    let keys = storage.scan(Table::GroupOffsets, &[]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    drop(broker);
    let broker = Broker::new(storage, BrokerConfig::default());
    assert_eq!((kept(&broker, "g"), kept(&broker, "h")), (None, Some(1)));
}

/// The layout of before 0.2: the topic's name stands in the key.
#[test]
fn offsets_kept_by_name_become_those_of_the_topic_that_has_the_name() {
    let Fixture {
        _folder,
        storage,
        broker,
    } = fixture();
    drop(broker);
    let old = |topic: &str, offset| {
        let key = OffsetKey::Named {
            group: "g".into(),
            topic: topic.into(),
            partition: 0,
        };
        let value = OffsetRecord {
            offset,
            ..OffsetRecord::nothing()
        };
        put(Table::GroupOffsets, key.encode(), Some(value.encode()))
    };
    storage
        .commit_blocking(vec![old("t", 7), old("gone", 8)])
        .expect("written");
    let broker = Broker::new(storage.clone(), BrokerConfig::default());
    assert_eq!(kept(&broker, "g"), Some(7));
    let tidied = vec![put(Table::Groups, "x".into(), None)];
    storage
        .commit_blocking(tidied)
        .expect("what was before it has landed");
    let keys = storage.scan(Table::GroupOffsets, &[]);
    let key = OffsetKey::decode(&keys[0].0).expect("ours");
    assert!(matches!(key, OffsetKey::Identified { .. }) && keys.len() == 1);
}

#[test]
fn a_scrape_holds_no_lock_while_it_makes_texts() {
    let fixture = fixture();
    let offsets = BTreeMap::from([(0, 1), (1, 2)]);
    fixture
        .broker
        .publish_offsets("p", "t", &offsets)
        .expect("published");
    let groups = &fixture.broker.groups;
    let mut seen = 0;
    groups.each_offset(|_, _, _, _| {
        assert!(!groups.shared.state.is_locked());
        seen += 1;
    });
    assert_eq!(seen, 2);
}

/// Who waits is let go, and the next finds a coordinator that knows what the disk knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_panics_starts_again_from_the_disk() {
    let fixture = fixture();
    let broker = fixture.broker.clone();
    let storage = &fixture.storage;
    broker
        .groups
        .commit(commit(storage, "g", String::new()))
        .await;
    broker.groups.shared.step(|_, _| panic!("planted"));
    assert_eq!(broker.metrics().panics.get(), 1);
    assert_eq!(kept(&broker, "g"), Some(1));
    // While a write is under way, the new coordinator waits for it.
    let (answer, reply) = tokio::sync::oneshot::channel::<Reply>();
    let shared = broker.groups.shared.clone();
    let request = Request::Commit(commit(storage, "h", String::new()));
    shared.request(request, Box::new(move |reply| drop(answer.send(reply))));
    shared.step(|_, _| panic!("planted"));
    // It had landed before, or its sender is told nothing; the offset is there either way, and everyone is served.
    drop(reply.await);
    loop {
        let joined = broker.groups.join(join(&broker, "j")).await;
        match joined.error {
            None => break,
            Some(error) => assert_eq!(error, ErrorCode::CoordinatorLoadInProgress),
        }
    }
    assert_eq!(kept(&broker, "h"), Some(1));
}

/// Nobody else ends rebalances and sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_panics_goes_on() {
    let fixture = fixture();
    let broker = fixture.broker.clone();
    *broker.groups.shared.fault.lock() = Some(super::storm::Fault::PanickingTimer);
    let joining = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.groups.join(join(&broker, "g")).await })
    };
    // Its handler ends with the coordinator that it waits for, and with it the one connection.
    let let_go = within(joining).await;
    assert!(let_go.is_err_and(|error| error.is_panic()));
    started_again(&broker).await;
    assert_eq!(broker.metrics().panics.get(), 1);
    let joined = within(broker.groups.join(join(&broker, "g"))).await;
    assert_eq!((joined.error, joined.generation), (None, 1));
    assert_eq!(broker.trouble(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_where_the_log_reports_lets_its_waiters_go() {
    let fixture = fixture();
    let broker = fixture.broker.clone();
    *broker.groups.shared.fault.lock() = Some(super::storm::Fault::PanickingCallback);
    let request = commit(&fixture.storage, "g", String::new());
    let committing = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.groups.commit(request).await })
    };
    let let_go = within(committing).await;
    assert!(let_go.is_err_and(|error| error.is_panic()));
    started_again(&broker).await;
    // It had landed, and the next coordinator knows it.
    assert_eq!(kept(&broker, "g"), Some(1));
    let again = commit(&fixture.storage, "h", String::new());
    let replies = within(broker.groups.commit(again)).await;
    assert_eq!(replies[0].result, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_fails_again_and_again_is_given_up_and_says_so() {
    let fixture = fixture();
    let broker = fixture.broker.clone();
    broker
        .groups
        .commit(commit(&fixture.storage, "g", String::new()))
        .await;
    for _ in 0..super::MOST_FAILURES {
        broker.groups.shared.step(|_, _| panic!("planted"));
        assert_eq!(broker.trouble(), None);
    }
    assert_eq!(kept(&broker, "g"), Some(1));
    broker.groups.shared.step(|_, _| panic!("planted"));
    assert_eq!(
        broker.trouble().as_deref(),
        Some(
            "consumer groups are not served any more: their coordinator failed 21 times in a minute"
        )
    );
    let refused = within(broker.groups.join(join(&broker, "g"))).await;
    assert_eq!(refused.error, Some(ErrorCode::CoordinatorNotAvailable));
    // What the log keeps is none of its business.
    create_named(&fixture.storage, "u");
}

/// Those who wait are let go before there is a new coordinator.
async fn started_again(broker: &Broker) {
    let broken = || broker.groups.shared.state.lock().broken;
    let again = async {
        while broken() {
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
}

/// Half a minute is for ever here.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let patience = std::time::Duration::from_secs(30);
    let outcome = tokio::time::timeout(patience, future).await;
    outcome.expect("it hangs")
}
