//! The registry on a real log and behind real HTTP.
//!
//! A write, in steps, under one lock:
//! 1. Apply whatever the topic holds that is not applied yet; others may produce to it as well.
//! 2. Let the core decide; its records become one batch, which is appended and fsynced.
//! 3. Apply by reading the topic again, up to and past that batch. Then answer.
//!
//! Own records thus take the same way into the state as everybody's: the log, in order. Reads only do step 1, and only
//! when the high watermark has moved.
//!
//! Who decides or reads looks at a snapshot and holds no lock: a comparison with a thousand earlier versions delays
//! nobody, least of all the lookups by id behind produced records. A change is made to the newest snapshot in place when
//! nobody looks at it, and to a copy of it otherwise.
//!
//! A panic while records are applied leaves a state that nobody may trust. From then on every request is refused, and
//! [`Registry::trouble`] says why; the topic is as it was.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use lw_protocol::BatchBuilder;
use lw_protocol::batch::{self, Batch};
use lw_schemas::SchemaLookup;
use lw_stdx::clock::{Clock, SystemClock};
use lw_storage::{CommitError, Op, ReadError, Storage, Uuid};
use parking_lot::{Mutex, RwLock};

use crate::core::{ApiError, Core, Event, Options, Outcome, Request};
use crate::record::{AVRO, Record, Schema};

/// The topic that holds everything.
pub const SCHEMAS_TOPIC: &str = "_schemas";

/// Bodies larger than this are refused; the largest schema text, with every character escaped, fits.
const MAX_BODY: usize = 8 << 20;
const READ_BYTES: usize = 4 << 20;

/// Why the registry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the topic _schemas has {0} partitions; the order of its records counts, so it must have exactly one"
    )]
    Partitions(i32),
    #[error("the topic _schemas could not be created")]
    Create(#[source] CommitError),
    #[error("the topic _schemas cannot be read: {0}")]
    Read(String),
}

/// A running registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    // Configuration.
    storage: Storage,
    clock: Arc<dyn Clock>,
    topic: Uuid,
    // State.
    /// The newest snapshot; the lock is held for as long as it takes to copy or to put a pointer.
    core: RwLock<Arc<Core>>,
    /// Held by whoever applies records: the offset of the next one.
    next: Mutex<i64>,
    /// The same offset, for a look without the lock.
    applied: AtomicI64,
    /// Why nothing is served any more.
    failed: Mutex<Option<String>>,
    metrics: RegistryMetrics,
}

/// How often a request decides without keeping writers out, before it does.
const FREE_TRIES: usize = 3;

/// Counters since start. Reading one is an atomic load: no lock, no work, as often as anybody likes.
///
/// They are counted where the answer is known, so a request that is refused still counts as a request; a batch that cannot
/// be decompressed counts as one skipped record, since nobody can tell how many it holds.
#[derive(Debug, Default)]
pub struct RegistryMetrics {
    /// Answers given over HTTP and in process.
    pub requests: AtomicU64,
    /// New versions written.
    pub registrations: AtomicU64,
    /// Registrations refused because an earlier schema forbids them.
    pub incompatible: AtomicU64,
    /// Records in `_schemas` that are not in its layout; they change nothing.
    pub skipped_records: AtomicU64,
}

impl Registry {
    /// Opens the registry on the topic `_schemas`, which is created if there is none, and replays it.
    ///
    /// # Errors
    /// When the topic cannot be created or read.
    pub fn open(storage: Storage) -> Result<Registry, OpenError> {
        let options = Options {
            cluster_id: storage.cluster_id(),
            ..Options::default()
        };
        Registry::open_with(storage, Arc::new(SystemClock::new()), options)
    }

    /// Opens it with a clock (for the records' timestamps) and options of the caller's.
    pub fn open_with(
        storage: Storage,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Registry, OpenError> {
        let topic = schemas_topic(&storage)?;
        let registry = Registry(Arc::new(Inner {
            storage,
            clock,
            topic,
            core: RwLock::new(Arc::new(Core::new(options))),
            next: Mutex::new(0),
            applied: AtomicI64::new(0),
            failed: Mutex::new(None),
            metrics: RegistryMetrics::default(),
        }));
        registry.0.catch_up().map_err(OpenError::Read)?;
        Ok(registry)
    }

    pub fn metrics(&self) -> &RegistryMetrics {
        &self.0.metrics
    }

    /// Why the registry serves nothing any more, if that is so.
    pub fn trouble(&self) -> Option<String> {
        let failed = self.0.failed.lock();
        failed
            .as_ref()
            .map(|why| format!("the schema registry serves nothing any more: {why}"))
    }

    /// Answers a request. Blocks while it writes: call it outside of async tasks.
    pub fn handle(&self, request: &Request<'_>) -> Outcome {
        let outcome = self.0.handle(request).unwrap_or_else(|detail| {
            tracing::error!(path = request.path, detail, "registry request failed");
            ApiError::store(&detail).outcome()
        });
        let metrics = &self.0.metrics;
        metrics.requests.fetch_add(1, Ordering::Relaxed);
        match outcome.event {
            Some(Event::Registered) => metrics.registrations.fetch_add(1, Ordering::Relaxed),
            Some(Event::RefusedAsIncompatible) => {
                metrics.incompatible.fetch_add(1, Ordering::Relaxed)
            }
            None => 0,
        };
        outcome
    }

    /// The REST API. Every path is its own: mount it on a listener by itself.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback(serve).with_state(self.clone())
    }
}

/// Finds the topic, or creates it; a creator who came first is fine.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing depends on which id the topic has"
)]
fn schemas_topic(storage: &Storage) -> Result<Uuid, OpenError> {
    if storage.topic(SCHEMAS_TOPIC).is_none() {
        let create = Op::CreateTopic {
            name: SCHEMAS_TOPIC.into(),
            id: Uuid::new_v4(),
            partitions: 1,
            config: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
            internal: true,
        };
        match storage.commit_blocking(vec![create]) {
            Ok(_) | Err(CommitError::TopicExists(_)) => {}
            Err(error) => return Err(OpenError::Create(error)),
        }
    }
    let topic = storage
        .topic(SCHEMAS_TOPIC)
        .ok_or_else(|| OpenError::Read("it has just been deleted".into()))?;
    if topic.partitions != 1 {
        return Err(OpenError::Partitions(topic.partitions));
    }
    Ok(topic.id)
}

impl Inner {
    fn handle(&self, request: &Request<'_>) -> Result<Outcome, String> {
        self.catch_up()?;
        for _ in 0..FREE_TRIES {
            let (snapshot, seen) = self.snapshot_at();
            let outcome = snapshot.handle(request);
            drop(snapshot);
            if outcome.records.is_empty() {
                return Ok(outcome);
            }
            // It wants to write, and from here on nobody else can. If somebody has in the meantime, it decides again.
            let mut next = self.next.lock();
            self.advance(&mut next)?;
            if *next == seen {
                return self.write(outcome, &mut next);
            }
        }
        // Others are always quicker: now they wait.
        let mut next = self.next.lock();
        self.advance(&mut next)?;
        let outcome = self.snapshot().handle(request);
        match outcome.records.is_empty() {
            true => Ok(outcome),
            false => self.write(outcome, &mut next),
        }
    }

    fn write(&self, outcome: Outcome, next: &mut i64) -> Result<Outcome, String> {
        let last = self.append(&outcome.records)?;
        self.advance(next)?;
        assert!(*next > last, "R3: what was appended durably is readable");
        Ok(outcome)
    }

    fn snapshot(&self) -> Arc<Core> {
        self.core.read().clone()
    }

    /// A snapshot, and up to where it has applied the topic, at least.
    fn snapshot_at(&self) -> (Arc<Core>, i64) {
        let core = self.core.read();
        // Both change under the write lock.
        (core.clone(), self.applied.load(Ordering::Acquire))
    }

    /// Applies what others wrote since the last look.
    fn catch_up(&self) -> Result<(), String> {
        let bounds = self
            .storage
            .bounds(self.topic, 0)
            .ok_or("the topic _schemas is gone")?;
        if bounds.high_watermark <= self.applied.load(Ordering::Acquire) {
            return self.is_well();
        }
        self.advance(&mut self.next.lock())
    }

    fn is_well(&self) -> Result<(), String> {
        match &*self.failed.lock() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Applies everything up to the high watermark. Whoever calls it holds [`Inner::next`].
    fn advance(&self, next: &mut i64) -> Result<(), String> {
        self.is_well()?;
        let advanced = catch_unwind(AssertUnwindSafe(|| self.advance_trusting(next)));
        advanced.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<&str>().copied();
            let words = words.or(panic.downcast_ref::<String>().map(String::as_str));
            let why = format!(
                "it panicked while it applied what follows offset {next} of {SCHEMAS_TOPIC}: {}",
                words.unwrap_or("without a word")
            );
            tracing::error!(why, "the schema registry failed; this is a bug");
            *self.failed.lock() = Some(why.clone());
            Err(why)
        })
    }

    fn advance_trusting(&self, next: &mut i64) -> Result<(), String> {
        loop {
            let fetched = match self.storage.fetch(self.topic, 0, *next, READ_BYTES) {
                Ok(fetched) => fetched,
                // Retention or DeleteRecords took the beginning away: what is left is all there is.
                Err(ReadError::OutOfRange { start, .. }) if start > *next => {
                    *next = start;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            let (end, before) = (fetched.high_watermark, *next);
            self.apply(fetched.into_bytes(), next)?;
            if *next >= end {
                return Ok(());
            }
            if *next == before {
                return Err(format!("nothing can be read at offset {before} of {end}"));
            }
        }
    }

    /// Makes the next snapshot: of the newest one in place, or of a copy when somebody looks at it.
    fn apply(&self, bytes: Bytes, next: &mut i64) -> Result<(), String> {
        let mut newest = self.core.write();
        if let Some(core) = Arc::get_mut(&mut newest) {
            let applied = self.apply_to(core, bytes, next);
            self.applied.store(*next, Ordering::Release);
            return applied;
        }
        let mut core = Core::clone(&newest);
        // Copying and applying takes its time; only writers wait for it, who hold `next` in turn.
        drop(newest);
        let applied = self.apply_to(&mut core, bytes, next);
        let mut newest = self.core.write();
        *newest = Arc::new(core);
        self.applied.store(*next, Ordering::Release);
        applied
    }

    fn apply_to(&self, core: &mut Core, bytes: Bytes, next: &mut i64) -> Result<(), String> {
        let from = *next;
        for batch in batch::batches(bytes) {
            let batch = batch.map_err(|e| e.to_string())?;
            let header = batch.header();
            if !header.is_control()
                && let Err(detail) = self.apply_batch(core, &batch, from)
            {
                self.skipped(header.base_offset, &detail);
            }
            *next = (*next).max(header.last_offset() + 1);
        }
        Ok(())
    }

    /// Applies the records from an offset on; one that is not in the topic's layout changes nothing.
    ///
    /// # Errors
    /// When the records behind the last one applied cannot be told apart.
    fn apply_batch(&self, core: &mut Core, batch: &Batch, from: i64) -> Result<(), String> {
        let records = batch.records().map_err(|e| e.to_string())?;
        for record in records.iter() {
            let record = record.map_err(|e| e.to_string())?;
            if record.offset < from {
                continue;
            }
            match Record::decode(record.key, record.value) {
                Ok(record) => core.apply(&record),
                Err(detail) => self.skipped(record.offset, &detail),
            }
        }
        Ok(())
    }

    fn skipped(&self, offset: i64, detail: &str) {
        self.metrics.skipped_records.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(topic = SCHEMAS_TOPIC, offset, detail, "record skipped");
    }

    /// Writes the records as one batch and waits until it is durable; returns the last offset.
    fn append(&self, records: &[Record]) -> Result<i64, String> {
        let mut builder = BatchBuilder::default();
        let now = self.clock.now_ms();
        for record in records {
            let (key, value) = record.encode();
            builder.push(
                now,
                Some(key.as_bytes()),
                value.as_ref().map(String::as_bytes),
                &[],
            );
        }
        let batch = builder.build().map_err(|e| e.to_string())?;
        let (done, appended) = mpsc::channel();
        self.storage
            .append(self.topic, 0, batch.into_bytes(), move |result| {
                // The receiver waits below; it is gone only if this thread has panicked.
                let _ = done.send(result);
            });
        match appended.recv() {
            Ok(Ok(appended)) => Ok(appended.last_offset),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the storage has stopped".into()),
        }
    }

    fn self_contained(&self, schema: &Schema) -> Option<Arc<str>> {
        if schema.kind != AVRO {
            return None;
        }
        if schema.references.is_empty() {
            return Some(schema.text.clone());
        }
        self.snapshot().resolved(schema).ok().map(Arc::from)
    }

    /// The lookups answer from what is applied even when the log cannot be read at the moment.
    fn refresh(&self) {
        if let Err(detail) = self.catch_up() {
            tracing::error!(topic = SCHEMAS_TOPIC, detail, "schemas may be out of date");
        }
    }
}

impl SchemaLookup for Registry {
    fn schema_by_id(&self, id: u32) -> Option<Arc<str>> {
        let known = || self.0.snapshot().state().schema_by_id(id).cloned();
        // An id that is known never changes; only an unknown one is worth a look at the log.
        let schema = known().or_else(|| {
            self.0.refresh();
            known()
        })?;
        self.0.self_contained(&schema)
    }

    fn subject_latest(&self, subject: &str) -> Option<(u32, i32, Arc<str>)> {
        self.0.refresh();
        let core = self.0.snapshot();
        let (number, version) = core.state().latest(subject)?;
        Some((version.id, number, self.0.self_contained(&version.schema)?))
    }

    fn has_subject(&self, subject: &str) -> bool {
        self.0.refresh();
        self.0.snapshot().state().latest(subject).is_some()
    }
}

/// The media types of the API, most special first.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.schemaregistry.v1+json",
    "application/vnd.schemaregistry+json",
    "application/json",
];

/// Picks the first of our types that the client takes.
fn negotiate(accept: Option<&str>) -> Option<&'static str> {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else {
        return Some(MEDIA_TYPES[0]);
    };
    let taken: Vec<&str> = accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or("").trim())
        .collect();
    if taken.iter().any(|t| matches!(*t, "*/*" | "application/*")) {
        return Some(MEDIA_TYPES[0]);
    }
    MEDIA_TYPES
        .into_iter()
        .find(|ours| taken.iter().any(|t| t.eq_ignore_ascii_case(ours)))
}

async fn serve(State(registry): State<Registry>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    let accept = head
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let Some(media_type) = negotiate(accept) else {
        return reply(
            StatusCode::NOT_ACCEPTABLE,
            MEDIA_TYPES[2],
            refusal(406, "HTTP 406 Not Acceptable"),
        );
    };
    // A declared length is judged before the first byte of it is waited for.
    let declared = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let body = if declared.is_some_and(|length: usize| length > MAX_BODY) {
        None
    } else {
        to_bytes(body, MAX_BODY).await.ok()
    };
    let Some(body) = body else {
        let message =
            format!("the request body is over the limit of {MAX_BODY} bytes, or was cut off");
        return reply(
            StatusCode::PAYLOAD_TOO_LARGE,
            media_type,
            refusal(413, &message),
        );
    };
    // Writing waits for the disk, and comparing schemas for the CPU: both off the tasks that serve sockets.
    let answered = tokio::task::spawn_blocking(move || {
        let query = head.uri.query().unwrap_or("");
        registry.handle(&Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query,
            body: &body,
        })
    });
    match answered.await {
        Ok(outcome) => {
            let status =
                StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            reply(status, media_type, outcome.body)
        }
        Err(panic) => {
            tracing::error!(%panic, "registry request panicked");
            reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                media_type,
                refusal(500, "HTTP 500 Internal Server Error"),
            )
        }
    }
}

fn refusal(code: u32, message: &str) -> String {
    let mut text = String::new();
    lw_schemas::json::write_string(message, &mut text);
    format!("{{\"error_code\":{code},\"message\":{text}}}")
}

fn reply(status: StatusCode, media_type: &'static str, body: String) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .body(Body::from(body))
        .expect("a status and a fixed header always build")
}

#[cfg(test)]
mod tests;
