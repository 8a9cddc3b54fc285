//! The world of a case: a log of its own with the case's records in it, its schemas, and nothing else.
//!
//! All names of a script are taken as they stand: every broker is this log, every catalog and warehouse is here. There is no
//! server, no clock and no disk.

use super::avro;
use super::disk::MemoryDisk;
use super::format::{Case, CaseError, Record, Value};
use anyhow::Context;
use lw_connectors::kafka::EmbeddedLog;
use lw_graph::Expr;
use lw_lakehouse::Ids;
use lw_protocol::{BatchBuilder, Compression};
use lw_runtime::kernel::Evaluator;
use lw_runtime::pipelines::{PlannedScript, Planner};
use lw_runtime::zone::Zone;
use lw_schemas::avro::AvroSchema;
use lw_schemas::{Json, SchemaLookup};
use lw_sql::environment::{CatalogPlace, Cluster, Environment, Missing};
use lw_stdx::clock::Clock;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{Config, Op, Storage, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Room for the records and manifests of one case.
const WAL_FILE_BYTES: u64 = 1 << 20;

/// How many records stand in one batch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    One,
    /// All that follow each other in one partition.
    Runs,
}

/// The log and the schemas of one case.
pub struct World {
    pub storage: Storage,
    pub schemas: Arc<Schemas>,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
}

impl World {
    /// Opens a log and writes the records into it.
    ///
    /// # Errors
    /// When a record cannot be encoded.
    pub fn open(case: &Case, batching: Batching) -> anyhow::Result<World> {
        let newest = case.records.iter().map(|record| record.timestamp).max();
        let clock = Arc::new(CaseClock {
            now: newest.unwrap_or(0),
            passed: AtomicU64::new(0),
        });
        let config = Config {
            wal_file_bytes: WAL_FILE_BYTES,
            retention_check_ms: 0,
            ..Config::new("case")
        };
        let storage = Storage::open(Arc::new(MemoryDisk::default()), clock.clone(), config)
            .context("no log for the case")?;
        let world = World {
            storage,
            schemas: Arc::new(Schemas::of(case)?),
            clock: clock.clone(),
            ids: Ids::seeded(1),
        };
        world.fill(case, batching, &clock)?;
        Ok(world)
    }

    fn fill(&self, case: &Case, batching: Batching, clock: &CaseClock) -> anyhow::Result<()> {
        let mut ids = BTreeMap::new();
        let mut create = Vec::new();
        for (index, (name, partitions)) in case.topics.iter().enumerate() {
            let id = Uuid::from_u128(index as u128 + 1);
            ids.insert(name.as_str(), id);
            create.push(Op::CreateTopic {
                name: name.clone(),
                id,
                partitions: *partitions,
                // The records of a case are as old as they say.
                config: BTreeMap::from([("retention.ms".to_string(), "-1".to_string())]),
                internal: false,
            });
        }
        let together = |a: &Record, b: &Record| {
            let same = a.topic == b.topic && a.partition == b.partition;
            same && b.after.is_zero() && batching == Batching::Runs
        };
        let commit = |op| {
            let commit = self.storage.commit_blocking(vec![op]);
            commit.context("the case's records cannot be written")
        };
        create.into_iter().try_for_each(|op| commit(op).map(drop))?;
        for run in case.records.chunk_by(together) {
            clock.pass(run[0].after);
            let mut batch = BatchBuilder::new(Compression::None);
            for record in run {
                let headers = record.headers.iter();
                let headers: Vec<(&str, Option<&[u8]>)> = headers
                    .map(|(name, value)| (name.as_str(), Some(value.as_slice())))
                    .collect();
                let value = self.schemas.bytes_of(record)?;
                let (key, value) = (record.key.as_deref(), value.as_deref());
                batch.push(record.timestamp, key, value, &headers);
            }
            let batch = batch.build().context("a batch of the case's records")?;
            commit(Op::Append {
                topic: ids[run[0].topic.as_str()],
                partition: run[0].partition,
                batches: batch.into_bytes(),
            })?;
        }
        Ok(())
    }
}

/// The schemas of a case, as a registry has them: the first one has id 1.
pub struct Schemas(Vec<Registered>);

struct Registered {
    subject: String,
    text: Arc<str>,
    parsed: AvroSchema,
}

impl Schemas {
    /// # Errors
    /// When a text is no Avro schema.
    pub fn of(case: &Case) -> anyhow::Result<Schemas> {
        let registered = case.schemas.iter().map(|(subject, text)| {
            let parsed = AvroSchema::parse(text);
            let parsed = parsed.with_context(|| format!("the schema of '{subject}'"))?;
            Ok(Registered {
                subject: subject.clone(),
                text: text.trim().into(),
                parsed,
            })
        });
        Ok(Schemas(registered.collect::<anyhow::Result<_>>()?))
    }

    /// The bytes of a record's value.
    ///
    /// # Errors
    /// When its JSON does not fit its schema.
    pub fn bytes_of(&self, record: &Record) -> Result<Option<Vec<u8>>, CaseError> {
        let (subject, framed, json) = match &record.value {
            Value::Tombstone => return Ok(None),
            Value::Bytes(bytes) => return Ok(Some(bytes.clone())),
            Value::Avro {
                subject,
                framed,
                json,
            } => (subject, *framed, json),
        };
        let newest = self.0.iter().rposition(|known| known.subject == *subject);
        let index = newest.ok_or_else(|| {
            let message = format!("the case has no schema '{subject}'");
            CaseError::new(record.line, message, format!("---- schema {subject}"))
        })?;
        let wrong = |why: String| CaseError::new(record.line, why, "");
        let json = Json::parse(json).map_err(|error| wrong(error.to_string()))?;
        let mut bytes = Vec::new();
        if framed {
            bytes.push(0);
            bytes.extend((index as u32 + 1).to_be_bytes());
        }
        bytes.extend(avro::encode(&self.0[index].parsed, &json).map_err(wrong)?);
        Ok(Some(bytes))
    }
}

impl SchemaLookup for Schemas {
    fn schema_by_id(&self, id: u32) -> Option<Arc<str>> {
        let index = id.checked_sub(1)? as usize;
        self.0.get(index).map(|known| known.text.clone())
    }

    fn subject_latest(&self, subject: &str) -> Option<(u32, i32, Arc<str>)> {
        let versions = self.0.iter().enumerate();
        let versions = versions.filter(|(_, known)| known.subject == subject);
        let (newest, version) = versions.zip(1..).last()?;
        let (index, known) = newest;
        Some((index as u32 + 1, version, known.text.clone()))
    }

    fn has_subject(&self, subject: &str) -> bool {
        self.subject_latest(subject).is_some()
    }
}

/// What the planner asks.
pub struct Names<'a>(pub &'a Case);

impl Environment for Names<'_> {
    fn bootstrap(&self, _: &str) -> Result<Cluster, Missing> {
        Ok(Cluster::Embedded)
    }

    fn catalog(&self, _: &str) -> Result<CatalogPlace, Missing> {
        Ok(CatalogPlace::Embedded)
    }

    fn warehouse(&self, place: &str) -> Result<String, Missing> {
        Ok(place.to_string())
    }

    fn topic_exists(&self, topic: &str) -> bool {
        self.0.topics.contains_key(topic)
    }

    fn topics(&self) -> Vec<String> {
        self.0.topics.keys().cloned().collect()
    }

    fn problem_of(&self, expr: &Expr) -> Option<String> {
        Evaluator::new(expr).err().map(|error| error.to_string())
    }

    fn has_zone(&self, zone: &str) -> bool {
        Zone::parse(zone).is_some()
    }

    fn subject_of(&self, topic: &str) -> Option<String> {
        let subject = format!("{topic}-value");
        let subjects: BTreeSet<&str> = self.0.schemas.iter().map(|(s, _)| s.as_str()).collect();
        subjects.contains(subject.as_str()).then_some(subject)
    }
}

/// The log of a case. No group has committed anything in it.
pub struct Log(pub Storage);

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.0
    }

    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError> {
        let id = LogSource::topic_id(&self.0, topic)?;
        let found = self.0.offset_for_time(id, partition, timestamp);
        let found = found.map_err(|error| SourceError::Unreadable(error.to_string()))?;
        Ok(found.map(|(offset, _)| offset))
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }
}

/// A case's plans are made once, from its text.
pub struct PlannedOnce;

impl Planner for PlannedOnce {
    fn plan(&self, _: &str) -> Result<PlannedScript, String> {
        Err("the jobs of a case are planned from its text".to_string())
    }
}

/// The wall clock begins at the newest record. What passes is only what the case says of its records.
struct CaseClock {
    now: i64,
    /// Milliseconds.
    passed: AtomicU64,
}

impl CaseClock {
    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.passed.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for CaseClock {
    fn now_ms(&self) -> i64 {
        self.now + i64::try_from(self.passed.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.passed.load(Ordering::Relaxed))
    }
}
