//! The broker: Kafka's protocol on top of the shared log.
//!
//! It owns sockets, API handlers and the group coordinator. It is not the log: every durable byte
//! goes through [`lw_storage::Storage`], which alone decides what is written and what may be read. Nothing here keeps
//! state that a restart would miss, except group members, who join again by themselves.
//!
//! Read first: [`Broker`] (what the handlers share), `api::Cx` (what one handler is given; `api/mod.rs` tells the
//! shape of a handler), `net::Connection` (how requests of one client become replies in order).
//!
//! Invariants: a reply that promises durability is built only after storage said so; replies leave a connection in the
//! order of its requests; bad bytes end one connection and touch nothing else.
//!
//! Layer L2: uses `storage`, `schemas`, `protocol`, `stdx`; tokio lives in `net` and in the waiting of handlers.

mod api;
mod budget;
mod group;
pub mod metrics;
mod net;
mod producer_ids;
mod progress;
mod seldom;
mod topics;
mod turns;
mod waiting;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use lw_protocol::messages::ApiKey;
use lw_stdx::clock::{Clock, SystemClock};
use lw_storage::{CommitError, Committed, Op, Storage};
use tokio::sync::oneshot;

use crate::metrics::BrokerMetrics;
use crate::producer_ids::ProducerIds;

pub use crate::net::Shutdown;
pub use lw_storage::LEADER_EPOCH;

pub use crate::progress::{GroupLag, GroupSummary, PublishError};

/// The id of the one node that there is.
pub const NODE_ID: i32 = 1;

/// How the broker behaves. The defaults are Kafka's where Kafka has one.
#[derive(Clone)]
pub struct BrokerConfig {
    /// Host and port that Metadata names; `None` names the address that the client dialled, which is right unless
    /// something translates addresses in between.
    pub advertised: Option<(String, u16)>,
    /// Partitions of a topic that is created without a count.
    pub default_partitions: i32,
    /// Whether asking for an unknown topic creates it.
    pub auto_create_topics: bool,
    /// The longest request that is read (`socket.request.max.bytes`); only Produce may use more than 16 MiB of it.
    pub max_request_bytes: usize,
    /// How long a silent connection stays (`connections.max.idle.ms`).
    pub max_idle: Duration,
    /// The most that one Fetch is answered with, whatever it asks for (`fetch.max.bytes` of the broker).
    pub max_fetch_bytes: usize,
    /// Connections at one time; more are closed as they come.
    pub max_connections: usize,
    /// Memory for large requests under way, and as much again for replies; beyond it sockets are left unread.
    pub max_bytes_in_flight: usize,
    /// What DescribeLogDirs and DescribeConfigs call the data folder.
    pub log_dir: String,
    pub clock: Arc<dyn Clock>,
    /// A planted bug, for the tests that must see what comes of it.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

/// Bugs that are planted by tests; nothing else ever sets one.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Panics where a request of this API is begun.
    PanicInHandler(ApiKey),
    /// Panics where a request of this API is waited for.
    PanicInAnswer(ApiKey),
    /// Panics on the log's own thread, where it reports appended records.
    PanicInAcknowledgement,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            advertised: None,
            default_partitions: 1,
            auto_create_topics: true,
            max_request_bytes: 100 << 20,
            max_idle: Duration::from_secs(600),
            max_fetch_bytes: 55 << 20,
            max_connections: 4096,
            max_bytes_in_flight: 128 << 20,
            log_dir: "lakeward-data".into(),
            clock: Arc::new(SystemClock::new()),
            fault: None,
        }
    }
}

/// Memory of what is on its way through connections, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Large requests.
    pub requests: u64,
    /// Replies: fetched records, and whatever else is not small.
    pub replies: u64,
    /// What each of the two may be.
    pub limit: u64,
}

/// What all connections share.
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) storage: Storage,
    pub(crate) groups: group::Groups,
    pub(crate) producer_ids: ProducerIds,
    /// Batches whose records are looked at while they are produced.
    pub(crate) inflating: turns::Turns,
    /// Serialises read-modify-write of topics: existence checks, partition counts, configurations. See [`topics::Changes`].
    pub(crate) topic_changes: Arc<tokio::sync::Mutex<()>>,
    /// Memory of requests and of replies. Apart, so that consumers that do not read leave room for producers.
    pub(crate) requests: Arc<budget::Budget>,
    pub(crate) replies: Arc<budget::Budget>,
    /// Refused connections in the log.
    pub(crate) turned_away: seldom::Seldom,
    /// Refused batches in the log.
    pub(crate) refusals_said: seldom::Seldom,
    metrics: Arc<BrokerMetrics>,
}

impl Broker {
    /// Loads what the coordinators remember; ready to serve when it returns.
    pub fn new(storage: Storage, config: BrokerConfig) -> Arc<Broker> {
        let metrics = Arc::<BrokerMetrics>::default();
        Arc::new(Broker {
            groups: group::Groups::open(storage.clone(), config.clock.clone(), metrics.clone()),
            producer_ids: ProducerIds::new(storage.clone()),
            inflating: turns::Turns::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            ),
            topic_changes: Arc::default(),
            requests: budget::Budget::new(config.max_bytes_in_flight),
            replies: budget::Budget::new(config.max_bytes_in_flight),
            turned_away: seldom::Seldom::default(),
            refusals_said: seldom::Seldom::default(),
            metrics,
            storage,
            config,
        })
    }

    /// Serves `listener` until `shutdown` fires, then lets requests in flight finish for a moment.
    pub async fn serve(self: &Arc<Broker>, listener: tokio::net::TcpListener, shutdown: Shutdown) {
        net::serve(self.clone(), listener, shutdown).await;
    }

    /// Bytes of large requests and of replies that are under way.
    pub fn bytes_in_flight(&self) -> u64 {
        let memory = self.memory();
        memory.requests + memory.replies
    }

    /// What connections hold, and how much they may.
    pub fn memory(&self) -> Memory {
        Memory {
            requests: self.requests.used() as u64,
            replies: self.replies.used() as u64,
            limit: self.config.max_bytes_in_flight as u64,
        }
    }

    /// Why some part of the broker serves nothing any more, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.groups.trouble()
    }

    pub(crate) fn plant(&self, fault: Fault) {
        assert!(self.config.fault != Some(fault), "{fault:?} was planted");
    }

    pub fn metrics(&self) -> &Arc<BrokerMetrics> {
        &self.metrics
    }

    /// One atomic change of durable state; returns when it is on disk. What nobody may overtake is a [`topics::Changes`].
    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<Committed, CommitError> {
        let (done, committed) = oneshot::channel();
        self.storage.commit(ops, move |outcome| {
            // Whoever asked may have gone; the change stands all the same.
            let _ = done.send(outcome);
        });
        committed
            .await
            .unwrap_or_else(|_| Err(CommitError::Failed("the log is closed".into())))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.config.clock.now_ms()
    }
}
