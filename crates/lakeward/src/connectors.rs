//! The wiring: which connector a specification means on this server, and what the API asks about tables.

use crate::config::Config;
use lw_broker::Broker;
use lw_connectors::kafka::{EmbeddedKafka, EmbeddedLog};
use lw_connectors::print::{Blackhole, NothingToCommit, Print};
use lw_gateway::Refusal;
use lw_graph::{SinkSpec, SourceSpec};
use lw_lakehouse::catalog::remote::RemoteCatalog;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{
    Catalog, CatalogError, Files, IcebergCommitter, IcebergTableSink, Ids, TableCatalog, TableView,
    parse_table,
};
use lw_ops::audit::{AuditedFile, Evidence, MarkedRange, Run, audit};
use lw_ops::metrics::Lag;
use lw_registry::Registry;
use lw_runtime::chain::Chain;
use lw_runtime::connector::{Committer, ConnectorError, Connectors, Owner, Sink, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::Pipelines;
use lw_stdx::clock::Clock;
use lw_storage::Storage;
use lw_storage::source::{LogSource, PartitionBounds, SourceBatch, SourceError};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Lines of `print` that are kept for `lakeward run` to fetch.
const KEPT_LINES: usize = 10_000;

/// Makes connectors out of this server's parts.
pub struct Wiring {
    storage: Storage,
    broker: Arc<Broker>,
    registry: Arc<Registry>,
    catalog: Catalog,
    files: Files,
    config: Config,
    clock: Arc<dyn Clock>,
    printed: Arc<Mutex<BTreeMap<String, Printed>>>,
}

/// The newest lines of a pipeline's `print` sinks.
#[derive(Default)]
struct Printed {
    lines: VecDeque<String>,
    /// Number of the line behind the last one.
    next: u64,
}

impl Wiring {
    pub fn new(
        storage: Storage,
        broker: Arc<Broker>,
        registry: Arc<Registry>,
        catalog: Catalog,
        files: Files,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Wiring {
        Wiring {
            storage,
            broker,
            registry,
            catalog,
            files,
            config,
            clock,
            printed: Arc::default(),
        }
    }

    fn log(&self) -> Arc<dyn EmbeddedLog> {
        Arc::new(Log {
            storage: self.storage.clone(),
            broker: self.broker.clone(),
        })
    }

    /// Lines from number `from` on, and the number to ask for next.
    pub fn printed(&self, pipeline: &str, from: u64) -> (Vec<String>, u64) {
        let printed = self.printed.lock();
        let Some(printed) = printed.get(pipeline) else {
            return (Vec::new(), 0);
        };
        let oldest = printed.next - printed.lines.len() as u64;
        let skip = from.saturating_sub(oldest).min(printed.lines.len() as u64);
        (
            printed.lines.iter().skip(skip as usize).cloned().collect(),
            printed.next,
        )
    }
}

/// A pipeline's lines go where `lakeward run` looks for them.
fn keep_line(printed: &Mutex<BTreeMap<String, Printed>>, pipeline: &str, line: &str) {
    let mut printed = printed.lock();
    let printed = printed.entry(pipeline.to_string()).or_default();
    printed.lines.push_back(line.to_string());
    printed.next += 1;
    if printed.lines.len() > KEPT_LINES {
        printed.lines.pop_front();
    }
}

/// The embedded log with its groups.
struct Log {
    storage: Storage,
    broker: Arc<Broker>,
}

impl LogSource for Log {
    fn partitions(&self, topic: &str) -> Result<Vec<PartitionBounds>, SourceError> {
        self.storage.partitions(topic)
    }

    fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        max_bytes: usize,
    ) -> Result<Vec<SourceBatch>, SourceError> {
        self.storage.read(topic, from, max_bytes)
    }

    fn wait(&self, topic: &str, from: &BTreeMap<i32, i64>, timeout: Duration) -> bool {
        self.storage.wait(topic, from, timeout)
    }
}

impl EmbeddedLog for Log {
    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError> {
        let Some(found) = self.storage.topic(topic) else {
            return Err(SourceError::UnknownTopic {
                name: topic.to_string(),
                known: Vec::new(),
            });
        };
        let found = self
            .storage
            .offset_for_time(found.id, partition, timestamp)
            .map_err(|error| SourceError::Unreadable(error.to_string()))?;
        Ok(found.map(|(offset, _)| offset))
    }

    fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let lags = self.broker.group_lag().into_iter();
        lags.filter(|lag| lag.group == group && lag.topic == topic && lag.partition == partition)
            .map(|lag| lag.committed)
            .next()
    }
}

impl Connectors for Wiring {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        let SourceSpec::Kafka(kafka) = spec;
        Ok(Box::new(EmbeddedKafka::new(
            kafka,
            group,
            self.log(),
            Some(self.registry.clone()),
        )?))
    }

    fn sink(
        &self,
        spec: &SinkSpec,
        owner: &Owner,
    ) -> Result<(Box<dyn Sink>, Box<dyn Committer>), ConnectorError> {
        match spec {
            SinkSpec::Iceberg(iceberg) => {
                let iceberg = &self.placed(iceberg);
                let catalog = self.catalog_of(iceberg)?;
                let sink = IcebergTableSink::open(
                    iceberg,
                    catalog.clone(),
                    owner,
                    self.clock.clone(),
                    Ids::random(),
                )?;
                let committer = IcebergCommitter::new(
                    catalog,
                    owner.clone(),
                    self.clock.clone(),
                    Ids::random(),
                );
                Ok((Box::new(sink), Box::new(committer)))
            }
            SinkSpec::Print { identifier } => {
                let (printed, pipeline) = (self.printed.clone(), owner.name.clone());
                let lines = Arc::new(move |line: &str| keep_line(&printed, &pipeline, line));
                Ok((
                    Box::new(Print::new("print", identifier, lines)),
                    Box::new(NothingToCommit),
                ))
            }
            SinkSpec::Blackhole => Ok((
                Box::new(Blackhole::new("blackhole")),
                Box::new(NothingToCommit),
            )),
        }
    }

    fn publish_offsets(&self, group: &str, offsets: &[SplitOffset]) {
        let mut by_topic: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
        for offset in offsets {
            by_topic
                .entry(&offset.topic)
                .or_default()
                .insert(offset.partition, offset.next);
        }
        for (topic, offsets) in by_topic {
            if let Err(error) = self.broker.publish_offsets(group, topic, &offsets) {
                tracing::warn!(group, topic, %error, "the pipeline's offsets are not shown to Kafka's tools");
            }
        }
    }
}

impl Wiring {
    /// The sink with its warehouse where `lakeward.toml` says that it is.
    fn placed(&self, sink: &lw_graph::IcebergSink) -> lw_graph::IcebergSink {
        let mut sink = sink.clone();
        sink.warehouse = sink
            .warehouse
            .map(|place| self.config.warehouse(&place).unwrap_or(place));
        sink
    }

    /// The catalog that a sink means: a REST catalog elsewhere, else the embedded one.
    fn catalog_of(
        &self,
        sink: &lw_graph::IcebergSink,
    ) -> Result<Arc<dyn TableCatalog>, ConnectorError> {
        match &sink.uri {
            None => Ok(Arc::new(self.catalog.clone())),
            Some(uri) => {
                let catalog = RemoteCatalog::connect(
                    uri,
                    sink.warehouse.as_deref(),
                    None,
                    self.files.clone(),
                )?;
                Ok(Arc::new(catalog))
            }
        }
    }

    fn view(&self, table: &str) -> Result<TableView, Refusal> {
        let ident = parse_table(table).map_err(refused)?;
        TableView::open(&self.catalog, &ident).map_err(refused)
    }

    /// All tables of the embedded catalog.
    pub fn tables(&self) -> Result<Value, Refusal> {
        let mut tables = Vec::new();
        for namespace in self.catalog.list_namespaces(None).map_err(refused)? {
            for ident in self.catalog.list_tables(&namespace).map_err(refused)? {
                let name = format!("{}.{}", namespace.join("."), ident.name());
                let view = self.view(&name)?;
                tables.push(json!({
                    "table": name,
                    "rows": view.data_files.iter().map(|file| file.rows).sum::<u64>(),
                    "files": view.data_files.len(),
                    "snapshot_id": view.snapshots.first().map(|snapshot| snapshot.id),
                    "pipeline": view.marker.as_ref().map(|marker| marker.name.clone()),
                    "location": view.table().metadata.location(),
                }));
            }
        }
        Ok(Value::Array(tables))
    }

    /// One table: its snapshots, newest first, with the offsets that each holds.
    pub fn table(&self, table: &str) -> Result<Value, Refusal> {
        let view = self.view(table)?;
        let snapshots: Vec<Value> = view
            .snapshots
            .iter()
            .map(|snapshot| {
                json!({
                    "snapshot_id": snapshot.id,
                    "committed_at": snapshot.timestamp_ms,
                    "operation": snapshot.operation,
                    "pipeline": snapshot.marker.as_ref().map(|marker| marker.name.clone()),
                    "sequence": snapshot.marker.as_ref().map(|marker| marker.sequence),
                    "rows": snapshot.ranges.iter().map(|range| range.rows).sum::<u64>(),
                    "offsets": snapshot.ranges,
                })
            })
            .collect();
        Ok(
            json!({ "table": table, "location": view.table().metadata.location(), "snapshots": snapshots }),
        )
    }

    /// The audit of a table against the log.
    pub fn audit(&self, table: &str, pipelines: &Pipelines) -> Result<Value, Refusal> {
        let view = self.view(table)?;
        let Some((name, _, job)) = pipelines.writer_of(table) else {
            return Err(Refusal::new(404, format!("no pipeline writes table '{table}'"))
                .detail("The audit executes the pipeline's query again; without the pipeline there is nothing to compare with.")
                .hint("`lakeward pipeline list` shows the pipelines and their tables."));
        };
        let bug = |error: &dyn std::fmt::Display| {
            Refusal::new(500, format!("the audit cannot be made: {error}"))
        };
        let spec = job
            .graph
            .sources()
            .next()
            .ok_or_else(|| bug(&"the plan has no source"))?;
        let source = self
            .source(spec, &format!("lakeward-{name}"))
            .map_err(|error| bug(&error))?;
        let chain = Chain::compile(&job.graph).map_err(|error| bug(&error))?;
        let evidence = Evidence {
            table: table.to_string(),
            ranges: ranges(&view),
            files: files(&view)?,
            read_file: Box::new(|file| {
                let found = view.data_files.iter().find(|found| found.path == file.path);
                let found = found.ok_or("it is not in the table")?;
                view.read_rows(found).map_err(|error| error.to_string())
            }),
            source,
            chain,
            log_starts: self.log_starts(spec),
            delete_files: view.delete_files,
            foreign_snapshots: view
                .snapshots
                .iter()
                .filter(|snapshot| snapshot.marker.is_none())
                .map(|snapshot| snapshot.id)
                .collect(),
        };
        let report = audit(evidence).map_err(|error| bug(&error))?;
        Ok(json!(report))
    }

    fn log_starts(&self, spec: &SourceSpec) -> BTreeMap<(String, i32), i64> {
        let SourceSpec::Kafka(kafka) = spec;
        let mut starts = BTreeMap::new();
        for topic in &kafka.topics {
            for bounds in self.storage.partitions(topic).unwrap_or_default() {
                starts.insert((topic.clone(), bounds.partition), bounds.start);
            }
        }
        starts
    }
}

/// What the commits account for. Where old snapshots have expired, the files' own runs say where the table begins.
fn ranges(view: &TableView) -> Vec<MarkedRange> {
    let mut ranges: Vec<MarkedRange> = Vec::new();
    for range in view.snapshots.iter().flat_map(|snapshot| &snapshot.ranges) {
        ranges.push(MarkedRange {
            topic: range.topic.clone(),
            partition: range.partition,
            start: range.start,
            end: range.end,
        });
    }
    if view
        .snapshots
        .last()
        .is_none_or(|oldest| oldest.parent.is_none())
    {
        return ranges;
    }
    let mut begins: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for range in &ranges {
        let begin = begins
            .entry((range.topic.clone(), range.partition))
            .or_insert((range.start, range.start));
        *begin = (begin.0.min(range.start), begin.1.min(range.start));
    }
    for run in view
        .data_files
        .iter()
        .filter_map(|file| file.runs.as_ref())
        .flatten()
    {
        let begin = begins
            .entry((run.topic.clone(), run.partition))
            .or_insert((run.first, run.last + 1));
        begin.0 = begin.0.min(run.first);
    }
    for ((topic, partition), (start, end)) in begins {
        if start < end {
            ranges.push(MarkedRange {
                topic,
                partition,
                start,
                end,
            });
        }
    }
    ranges
}

/// The data files with their runs.
///
/// # Errors
/// When a file has no runs: a foreign writer made it, and its rows came from no log of ours.
fn files(view: &TableView) -> Result<Vec<AuditedFile>, Refusal> {
    let mut files = Vec::new();
    for file in &view.data_files {
        let Some(runs) = &file.runs else {
            return Err(Refusal::new(409, format!("{} lists no offsets: another writer made it", file.path))
                .detail("Rows that did not come through a pipeline cannot be compared with the log.")
                .hint("Audit a table that only Lakeward writes, or keep foreign rows in a table of their own."));
        };
        files.push(AuditedFile {
            path: file.path.clone(),
            runs: runs
                .iter()
                .map(|run| Run {
                    topic: run.topic.clone(),
                    partition: run.partition,
                    first: run.first,
                    last: run.last,
                    rows: run.rows,
                })
                .collect(),
        });
    }
    Ok(files)
}

/// Lag of every group, as metrics have it.
pub fn lags(broker: &Broker) -> Vec<Lag> {
    let lags = broker.group_lag().into_iter();
    lags.map(|lag| Lag {
        group: lag.group,
        topic: lag.topic,
        partition: lag.partition,
        records: lag.lag,
    })
    .collect()
}

fn refused(error: CatalogError) -> Refusal {
    let status = match error.kind {
        Kind::NoSuchNamespace | Kind::NoSuchTable | Kind::NoSuchView => 404,
        Kind::AlreadyExists | Kind::NamespaceNotEmpty | Kind::CommitFailed => 409,
        Kind::BadRequest | Kind::Unprocessable | Kind::Unsupported => 400,
        Kind::Unknown | Kind::Unavailable | Kind::Internal => 500,
    };
    Refusal::new(status, error.to_string())
}
