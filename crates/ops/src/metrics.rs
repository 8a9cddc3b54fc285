//! `/metrics` in OpenMetrics text: rates of produce and fetch, lag, checkpoints, commits, freshness, the disk.
//!
//! A scrape gathers what the parts know ([`Observed`]) into a fresh registry, so that nothing is counted twice and a
//! dropped pipeline leaves no series behind. Most families are a row of a table: [`of_server`] for the whole server,
//! [`of_each_reader`] for each reader of a topic, [`of_each_job`] for each job of each pipeline, [`of_each_sink`] for each table
//! that it fills.

use lw_broker::Memory;
use lw_broker::metrics::BrokerMetrics;
use lw_registry::RegistryMetrics;
use lw_runtime::job::{JobState, SinkStatus, Status};
use lw_runtime::pipelines::View;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Above this many partitions lag is summed per group and topic.
pub const MAX_PARTITION_SERIES: usize = 1000;

/// What the parts of a server know at the moment of a scrape.
pub struct Observed<'a> {
    pub version: &'static str,
    pub uptime_seconds: f64,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    pub broker: &'a BrokerMetrics,
    pub memory: Memory,
    pub queries: Queries,
    pub states: States,
    pub registry: &'a RegistryMetrics,
    pub reports: Reports,
    pub pipelines: &'a [View],
    pub filled: &'a [Filled],
    pub readers: &'a [Reader],
    pub lags: &'a [Lag],
    pub disk: Disk,
}

/// Memory of the states of all pipelines, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct States {
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

/// Memory of the queries that run, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queries {
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

/// Reports that clients of the catalog sent of their work, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reports {
    pub scans: u64,
    pub commits: u64,
}

/// What is known of a table beside the job that fills it.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    pub pipeline: String,
    pub table: String,
    /// The newest event time that the table's commits state, milliseconds since 1970.
    pub event_time: Option<i64>,
    /// How long until retention would take what the pipeline has not read, if it did not wait for it.
    pub time_to_loss: Option<Duration>,
    /// The same for what no audit has looked at.
    pub time_to_unaudited: Option<Duration>,
}

/// What a pipeline's reader of a topic made of records otherwise than they stood.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    pub group: String,
    /// The source's name in the script.
    pub table: String,
    /// Values set to NULL or left out because the script says to ignore errors.
    pub ignored: u64,
    /// Decimals that lost a digit because their column has fewer behind the point.
    pub rounded: u64,
}

/// A consumer group's distance from the end of one partition.
#[derive(Clone, Debug)]
pub struct Lag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub records: i64,
}

/// The disk under the data folder, and the write-ahead log on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Writes are refused until there is space again.
    pub write_blocked: bool,
    pub syncs: u64,
    pub sync_seconds: f64,
    pub log_bytes: u64,
}

type Labels = Vec<(String, String)>;

/// A series of one of the kinds that there are, at 0 when it is made.
trait Series: Clone + Debug + Default + EncodeMetric + Send + Sync + TypedMetric + 'static {
    fn put(&self, value: f64);
}

impl Series for Gauge<f64, AtomicU64> {
    fn put(&self, value: f64) {
        self.set(value);
    }
}

/// The encoder appends `_total` to its name.
impl Series for Counter<f64, AtomicU64> {
    fn put(&self, value: f64) {
        self.inc_by(value);
    }
}

/// The registry of one scrape.
struct Scrape<'a> {
    registry: &'a mut Registry,
}

impl Scrape<'_> {
    fn family<S: ?Sized>(&mut self, row: &Row<S>, values: impl IntoIterator<Item = (Labels, f64)>) {
        match row.kind {
            Kind::Gauge => self.series::<Gauge<f64, AtomicU64>>(row, values),
            Kind::Counter => self.series::<Counter<f64, AtomicU64>>(row, values),
        }
    }

    fn series<M: Series>(
        &mut self,
        row: &Row<impl ?Sized>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let (family, alone) = (Family::<Labels, M>::default(), M::default());
        let mut labelled = true;
        for (labels, value) in values {
            labelled = !labels.is_empty();
            match labelled {
                true => family.get_or_create(&labels).put(value),
                false => alone.put(value),
            };
        }
        match labelled {
            true => self.register(row, family),
            false => self.register(row, alone),
        }
    }

    fn register(&mut self, row: &Row<impl ?Sized>, metric: impl Metric) {
        match (row.unit)() {
            Some(unit) => self
                .registry
                .register_with_unit(row.name, row.help, unit, metric),
            None => self.registry.register(row.name, row.help, metric),
        }
    }
}

/// The OpenMetrics text of a scrape.
pub fn render(observed: &Observed<'_>) -> String {
    let mut registry = Registry::with_prefix("lakeward");
    let mut scrape = Scrape {
        registry: &mut registry,
    };
    let build = [(vec![label("version", observed.version)], 1.0)];
    scrape.family(&BUILD, build);
    let requests = observed.broker.requests();
    let requests =
        requests.map(|(api, count)| (vec![label("api", format!("{api:?}"))], count as f64));
    scrape.family(&REQUESTS, requests);
    for family in &of_server() {
        let value = (family.value)(observed);
        scrape.family(family, value.map(|value| (Vec::new(), value)));
    }
    lag(&mut scrape, observed.lags);
    readers(&mut scrape, observed.readers);
    pipelines(&mut scrape, observed);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A family of series: what it is called, and how its value is read from what is observed.
struct Row<S: ?Sized> {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    unit: fn() -> Option<Unit>,
    /// `None`: there is no such series now.
    value: fn(&S) -> Option<f64>,
}

const PLAIN: fn() -> Option<Unit> = || None;
const BYTES: fn() -> Option<Unit> = || Some(Unit::Bytes);
const SECONDS: fn() -> Option<Unit> = || Some(Unit::Seconds);
const GAUGE: Kind = Kind::Gauge;
const COUNTER: Kind = Kind::Counter;

const fn row<S: ?Sized>(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    unit: fn() -> Option<Unit>,
    value: fn(&S) -> Option<f64>,
) -> Row<S> {
    Row {
        kind,
        name,
        help,
        unit,
        value,
    }
}

/// A family whose series come with labels of their own.
const fn labelled(kind: Kind, name: &'static str, help: &'static str) -> Row<()> {
    row(kind, name, help, PLAIN, |()| None)
}

const BUILD: Row<()> = labelled(GAUGE, "build_info", "The version that runs");
const REQUESTS: Row<()> = labelled(COUNTER, "kafka_requests", "Requests by API");
const LAG: Row<()> = labelled(
    GAUGE,
    "consumer_group_lag_records",
    "Records between a group's committed offset and the high watermark",
);
const OPERATOR_STATE: Row<()> = row(
    GAUGE,
    "operator_state_memory",
    "Memory that the state of one operator takes, by its uid in EXPLAIN",
    BYTES,
    |()| None,
);
const PARTITION_WATERMARK: Row<()> = row(
    GAUGE,
    "partition_watermark_lag",
    "Time since the watermark of one partition of a job that runs: the greatest is what holds its windows back",
    SECONDS,
    |()| None,
);
const STATE: Row<()> = labelled(
    GAUGE,
    "pipeline_state",
    "1 for the state that a pipeline is in",
);

fn count(counter: &AtomicU64) -> Option<f64> {
    Some(counter.load(Ordering::Relaxed) as f64)
}

/// What there is one of.
#[rustfmt::skip]
fn of_server<'a>() -> Vec<Row<Observed<'a>>> { vec![
    row(GAUGE, "uptime", "Time since the server was ready", SECONDS, |it| Some(it.uptime_seconds)),
    row(GAUGE, "process_resident_memory", "Resident memory", BYTES, |_| resident_bytes()),
    row(COUNTER, "produced_records", "Records acknowledged or accepted with acks=0", PLAIN, |it| Some(it.broker.produced_records.get() as f64)),
    row(COUNTER, "produce_rejected_batches", "Partition batches refused", PLAIN, |it| Some(it.broker.rejected_batches.get() as f64)),
    row(COUNTER, "produce_rejected_disk_full_batches", "Partition batches refused for want of disk space", PLAIN, |it| Some(it.broker.rejected_disk_full.get() as f64)),
    row(COUNTER, "fetched_records", "Records sent to consumers", PLAIN, |it| Some(it.broker.fetched_records.get() as f64)),
    row(COUNTER, "kafka_connections_refused", "Connections ended because of bad bytes", PLAIN, |it| Some(it.broker.connections_refused.get() as f64)),
    row(COUNTER, "kafka_connections_over_limit", "Connections closed as they came because there were too many", PLAIN, |it| Some(it.broker.connections_over_limit.get() as f64)),
    row(COUNTER, "kafka_panics", "Panics of request handlers, sockets and group coordinators: every one is a bug", PLAIN, |it| Some(it.broker.panics.get() as f64)),
    row(COUNTER, "consumer_group_refused_writes", "Writes of consumer groups that the disk refused", PLAIN, |it| Some(it.broker.refused_group_writes.get() as f64)),
    row(COUNTER, "produced", "Bytes of record batches produced", BYTES, |it| Some(it.broker.produced_bytes.get() as f64)),
    row(COUNTER, "fetched", "Bytes of record batches fetched", BYTES, |it| Some(it.broker.fetched_bytes.get() as f64)),
    row(GAUGE, "kafka_connections", "Open connections", PLAIN, |it| Some(it.broker.open_connections() as f64)),
    row(GAUGE, "kafka_request_memory", "Large requests that are under way", BYTES, |it| Some(it.memory.requests as f64)),
    row(GAUGE, "kafka_reply_memory", "Replies that are under way", BYTES, |it| Some(it.memory.replies as f64)),
    row(GAUGE, "kafka_memory_limit", "What requests, and again replies, may be: then sockets wait", BYTES, |it| Some(it.memory.limit as f64)),
    row(GAUGE, "query_memory", "Memory of the queries that run", BYTES, |it| Some(it.queries.used_bytes as f64)),
    row(GAUGE, "query_memory_limit", "What all queries may hold: then they spill or end", BYTES, |it| Some(it.queries.limit_bytes as f64)),
    row(GAUGE, "state_memory", "Memory of the states of all pipelines", BYTES, |it| Some(it.states.used_bytes as f64)),
    row(GAUGE, "state_memory_limit", "What all states may take: then pipelines whose state grows take no more rows", BYTES, |it| Some(it.states.limit_bytes as f64)),
    row(COUNTER, "registry_requests", "Requests answered, over HTTP and in process", PLAIN, |it| count(&it.registry.requests)),
    row(COUNTER, "registry_registrations", "New versions of subjects", PLAIN, |it| count(&it.registry.registrations)),
    row(COUNTER, "registry_incompatible", "Schemas refused because an earlier version forbids them", PLAIN, |it| count(&it.registry.incompatible)),
    row(COUNTER, "registry_skipped_records", "Records of _schemas that are not in its layout", PLAIN, |it| count(&it.registry.skipped_records)),
    row(COUNTER, "catalog_scan_reports", "Scans of tables that clients of the catalog reported", PLAIN, |it| Some(it.reports.scans as f64)),
    row(COUNTER, "catalog_commit_reports", "Commits to tables that clients of the catalog reported", PLAIN, |it| Some(it.reports.commits as f64)),
    row(GAUGE, "disk_free", "Free space under the data folder", BYTES, |it| Some(it.disk.free_bytes as f64)),
    row(GAUGE, "disk_size", "Size of the file system under the data folder", BYTES, |it| Some(it.disk.total_bytes as f64)),
    row(GAUGE, "disk_write_blocked", "1 while writes are refused for want of space", PLAIN, |it| Some(f64::from(it.disk.write_blocked))),
    row(GAUGE, "log_size", "Bytes of write-ahead log", BYTES, |it| Some(it.disk.log_bytes as f64)),
    row(COUNTER, "log_syncs", "Syncs of the write-ahead log", PLAIN, |it| Some(it.disk.syncs as f64)),
    row(COUNTER, "log_sync", "Time in syncs of the write-ahead log", SECONDS, |it| Some(it.disk.sync_seconds)),
] }

/// A job of a pipeline, and what is known of its first table: how far it has read is the same for all.
struct Job<'a> {
    now_ms: i64,
    status: &'a Status,
    table: Option<&'a Filled>,
}

/// An `INSERT` of a job, and what is known of its table.
struct Sink<'a> {
    now_ms: i64,
    status: &'a SinkStatus,
    table: Option<&'a Filled>,
}

fn since(now_ms: i64, at_ms: Option<i64>) -> Option<f64> {
    Some((now_ms - at_ms?) as f64 / 1000.0)
}

/// Times of events that have not happened yet are 0.
fn happened(at_ms: i64) -> Option<i64> {
    (at_ms > 0).then_some(at_ms)
}

/// What each job has.
#[rustfmt::skip]
fn of_each_job<'a>() -> Vec<Row<Job<'a>>> { vec![
    row(COUNTER, "pipeline_records_in", "Records read", PLAIN, |it| Some(it.status.records_in as f64)),
    row(COUNTER, "pipeline_restarts", "Restarts from the checkpoint", PLAIN, |it| Some(it.status.restarts as f64)),
    row(GAUGE, "pipeline_lag_records", "Records between the position and the end of the log", PLAIN, |it| Some(it.status.lag as f64)),
    row(GAUGE, "pipeline_state_memory", "Memory that the state of operators takes", BYTES, |it| Some(it.status.state_bytes as f64)),
    row(GAUGE, "pipeline_waits_for_memory", "1 while no rows are taken because all states take more memory than there is for them", PLAIN, |it| Some(f64::from(u8::from(it.status.waits_for_memory)))),
    row(GAUGE, "checkpoint_duration", "Duration of the last checkpoint", SECONDS, |it| Some(it.status.checkpoint_duration.as_secs_f64())),
    row(GAUGE, "checkpoint_age", "Time since the last checkpoint", SECONDS, |it| since(it.now_ms, happened(it.status.checkpoint_at_ms))),
    row(GAUGE, "watermark_lag", "Time since the watermark", SECONDS, |it| {
        since(it.now_ms, it.status.watermark.filter(|_| it.status.state == JobState::Running))
    }),
    row(GAUGE, "pipeline_time_to_loss", "Time until retention would take what the pipeline has not read; 0 while it waits for it", SECONDS, |it| {
        Some(it.table?.time_to_loss?.as_secs_f64())
    }),
] }

/// What each table that a job fills has.
#[rustfmt::skip]
fn of_each_sink<'a>() -> Vec<Row<Sink<'a>>> { vec![
    row(COUNTER, "pipeline_rows_out", "Rows written to the sink", PLAIN, |it| Some(it.status.rows_out as f64)),
    row(COUNTER, "late_rows", "Rows that came when all windows that they belong to had fired", PLAIN, |it| Some(it.status.late_rows as f64)),
    row(COUNTER, "dead_letters", "Records that could not be processed", PLAIN, |it| Some(it.status.dead_letters as f64)),
    row(COUNTER, "sink_commits", "Commits of the table", PLAIN, |it| Some(it.status.commits as f64)),
    row(COUNTER, "sink_rows", "Rows committed to the table", PLAIN, |it| Some(it.status.committed_rows as f64)),
    row(COUNTER, "sink_commit_retries", "Commits that had to be tried again", PLAIN, |it| Some(it.status.commit_retries as f64)),
    row(GAUGE, "sink_commit_duration", "Duration of the last commit", SECONDS, |it| Some(it.status.commit_duration.as_secs_f64())),
    row(GAUGE, "sink_commit_age", "Time since the table's last commit", SECONDS, |it| since(it.now_ms, happened(it.status.commit_at_ms))),
    row(GAUGE, "table_freshness", "Time since the newest event time that the table's commits state", SECONDS, |it| {
        since(it.now_ms, it.table.and_then(|table| table.event_time).or(it.status.committed_event_time))
    }),
    row(GAUGE, "table_time_to_unaudited", "Time until retention would take what no audit has looked at; 0 while it waits for it", SECONDS, |it| {
        Some(it.table?.time_to_unaudited?.as_secs_f64())
    }),
] }

/// The encoder writes values as they are: a consumer group may be called anything, and must not end its own quotes.
fn label(key: &str, value: impl ToString) -> (String, String) {
    let value = value.to_string();
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    (key.to_string(), escaped)
}

/// Resident memory of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let (_, resident) = status.split_once("VmRSS:")?;
    let kibibytes: f64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn lag(scrape: &mut Scrape<'_>, lags: &[Lag]) {
    let by_partition = lags.len() <= MAX_PARTITION_SERIES;
    let mut sums = std::collections::BTreeMap::<Labels, f64>::new();
    for lag in lags {
        let mut labels = vec![label("group", &lag.group), label("topic", &lag.topic)];
        if by_partition {
            labels.push(label("partition", lag.partition));
        }
        *sums.entry(labels).or_default() += lag.records as f64;
    }
    scrape.family(&LAG, sums);
}

/// What each reader of a topic has.
#[rustfmt::skip]
fn of_each_reader() -> Vec<Row<Reader>> { vec![
    row(COUNTER, "source_ignored_values", "Values set to NULL or left out because the script ignores parse errors", PLAIN, |it| Some(it.ignored as f64)),
    row(COUNTER, "source_rounded_decimals", "Decimals that lost a digit because their column has fewer behind the point", PLAIN, |it| Some(it.rounded as f64)),
] }

fn readers(scrape: &mut Scrape<'_>, readers: &[Reader]) {
    for family in &of_each_reader() {
        let values = readers.iter().filter_map(|reader| {
            let labels = vec![label("group", &reader.group), label("table", &reader.table)];
            Some((labels, (family.value)(reader)?))
        });
        scrape.family(family, values);
    }
}

/// Of each partition that a bounded read is not done with; none where there are too many series.
fn partition_watermarks(observed: &Observed<'_>) -> Vec<(Labels, f64)> {
    let mut values = Vec::new();
    for view in observed.pipelines {
        let running = view
            .jobs
            .iter()
            .filter(|job| job.state == JobState::Running);
        for partition in running.flat_map(|job| &job.partitions) {
            let at = partition.watermark.filter(|_| partition.counts);
            let Some(lag) = since(observed.now_ms, at) else {
                continue;
            };
            let labels = vec![
                label("pipeline", &view.name),
                label("topic", &partition.topic),
                label("partition", partition.partition),
            ];
            values.push((labels, lag));
        }
    }
    values.truncate(if values.len() > MAX_PARTITION_SERIES {
        0
    } else {
        values.len()
    });
    values
}

fn pipelines(scrape: &mut Scrape<'_>, observed: &Observed<'_>) {
    let states = observed.pipelines.iter().map(|view| {
        let labels = vec![label("pipeline", &view.name), label("state", &view.state)];
        (labels, 1.0)
    });
    scrape.family(&STATE, states);
    let jobs = || {
        let views = observed.pipelines.iter();
        views.flat_map(|view| view.jobs.iter().map(move |job| (view.name.as_str(), job)))
    };
    let filled = |pipeline: &str, table: &str| {
        let mut filled = observed.filled.iter();
        filled.find(|it| it.pipeline == pipeline && it.table == table)
    };
    let labels =
        |pipeline: &str, table: String| vec![label("pipeline", pipeline), label("table", table)];
    for family in &of_each_job() {
        let values = jobs().filter_map(|(pipeline, status)| {
            let first = status.sinks.first().map(|sink| &*sink.table);
            let job = Job {
                now_ms: observed.now_ms,
                status,
                table: filled(pipeline, first.unwrap_or_default()),
            };
            Some((labels(pipeline, status.tables()), (family.value)(&job)?))
        });
        scrape.family(family, values);
    }
    let operators = jobs().flat_map(|(pipeline, job)| {
        job.operators.iter().map(move |operator| {
            let mut labels = labels(pipeline, job.tables());
            labels.push(label("uid", &operator.uid));
            (labels, operator.state_bytes as f64)
        })
    });
    scrape.family(&OPERATOR_STATE, operators);
    scrape.family(&PARTITION_WATERMARK, partition_watermarks(observed));
    for family in &of_each_sink() {
        let sinks =
            jobs().flat_map(|(pipeline, job)| job.sinks.iter().map(move |it| (pipeline, it)));
        let values = sinks.filter_map(|(pipeline, status)| {
            let sink = Sink {
                now_ms: observed.now_ms,
                status,
                table: filled(pipeline, &status.table),
            };
            Some((
                labels(pipeline, status.table.clone()),
                (family.value)(&sink)?,
            ))
        });
        scrape.family(family, values);
    }
}

#[cfg(test)]
mod tests;
