//! `/metrics` in OpenMetrics text: rates of produce and fetch, lag, checkpoints, commits, freshness, the disk.
//!
//! A scrape gathers what the parts know ([`Observed`]) into a fresh registry, so that nothing is counted twice and a
//! dropped pipeline leaves no series behind.

use lw_broker::metrics::BrokerMetrics;
use lw_registry::RegistryMetrics;
use lw_runtime::job::{JobState, Status};
use lw_runtime::pipelines::View;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};

/// Above this many partitions lag is summed per group and topic.
pub const MAX_PARTITION_SERIES: usize = 1000;

/// What the parts of a server know at the moment of a scrape.
pub struct Observed<'a> {
    pub version: &'static str,
    pub uptime_seconds: f64,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    pub broker: &'a BrokerMetrics,
    pub registry: &'a RegistryMetrics,
    pub pipelines: &'a [View],
    pub ignored: &'a [IgnoredValues],
    pub lags: &'a [Lag],
    pub disk: Disk,
}

/// What the formats of a source set to NULL or left out because its script says to ignore errors.
#[derive(Clone, Debug)]
pub struct IgnoredValues {
    pub group: String,
    /// The source's name in the script.
    pub table: String,
    pub count: u64,
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
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter<f64, AtomicU64>>;

/// One family of gauges in the registry.
struct Series<'a> {
    registry: &'a mut Registry,
}

impl Series<'_> {
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let (family, alone) = (Gauges::default(), Gauge::<f64, AtomicU64>::default());
        let mut labelled = true;
        for (labels, value) in values {
            labelled = !labels.is_empty();
            match labelled {
                true => family.get_or_create(&labels).set(value),
                false => alone.set(value),
            };
        }
        match labelled {
            true => self.register(name, help, unit, family),
            false => self.register(name, help, unit, alone),
        }
    }

    /// The encoder appends `_total`.
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let (family, alone) = (Counters::default(), Counter::<f64, AtomicU64>::default());
        let mut labelled = true;
        for (labels, value) in values {
            labelled = !labels.is_empty();
            match labelled {
                true => family.get_or_create(&labels).inc_by(value),
                false => alone.inc_by(value),
            };
        }
        match labelled {
            true => self.register(name, help, unit, family),
            false => self.register(name, help, unit, alone),
        }
    }

    fn register(&mut self, name: &str, help: &str, unit: Option<Unit>, metric: impl Metric) {
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }
}

/// The OpenMetrics text of a scrape.
pub fn render(observed: &Observed<'_>) -> String {
    let mut registry = Registry::with_prefix("lakeward");
    let mut series = Series {
        registry: &mut registry,
    };
    server(&mut series, observed);
    broker(&mut series, observed.broker);
    registry_of_schemas(&mut series, observed.registry);
    disk(&mut series, observed.disk);
    lag(&mut series, observed.lags);
    pipelines(&mut series, observed);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

/// The encoder writes values as they are: a consumer group may be called anything, and must not end its own quotes.
fn label(key: &str, value: impl ToString) -> (String, String) {
    let value = value.to_string();
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    (key.to_string(), escaped)
}

fn one(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

fn server(series: &mut Series<'_>, observed: &Observed<'_>) {
    let build = [(vec![label("version", observed.version)], 1.0)];
    series.gauge("build_info", "The version that runs", None, build);
    series.gauge(
        "uptime",
        "Time since the server was ready",
        Some(Unit::Seconds),
        one(observed.uptime_seconds),
    );
    if let Some(bytes) = resident_bytes() {
        series.gauge(
            "process_resident_memory",
            "Resident memory",
            Some(Unit::Bytes),
            one(bytes),
        );
    }
}

/// Resident memory of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let (_, resident) = status.split_once("VmRSS:")?;
    let kibibytes: f64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn broker(series: &mut Series<'_>, broker: &BrokerMetrics) {
    let requests = broker
        .requests()
        .map(|(api, count)| (vec![label("api", format!("{api:?}"))], count as f64));
    series.counter("kafka_requests", "Requests by API", None, requests);
    for (name, help, counter) in [
        (
            "produced_records",
            "Records acknowledged or accepted with acks=0",
            &broker.produced_records,
        ),
        (
            "produce_rejected_batches",
            "Partition batches refused",
            &broker.rejected_batches,
        ),
        (
            "produce_rejected_disk_full_batches",
            "Partition batches refused for want of disk space",
            &broker.rejected_disk_full,
        ),
        (
            "fetched_records",
            "Records sent to consumers",
            &broker.fetched_records,
        ),
        (
            "kafka_connections_refused",
            "Connections ended because of bad bytes",
            &broker.connections_refused,
        ),
    ] {
        series.counter(name, help, None, one(counter.get() as f64));
    }
    series.counter(
        "produced",
        "Bytes of record batches produced",
        Some(Unit::Bytes),
        one(broker.produced_bytes.get() as f64),
    );
    series.counter(
        "fetched",
        "Bytes of record batches fetched",
        Some(Unit::Bytes),
        one(broker.fetched_bytes.get() as f64),
    );
    series.gauge(
        "kafka_connections",
        "Open connections",
        None,
        one(broker.open_connections() as f64),
    );
}

fn registry_of_schemas(series: &mut Series<'_>, registry: &RegistryMetrics) {
    for (name, help, counter) in [
        (
            "registry_requests",
            "Requests answered, over HTTP and in process",
            &registry.requests,
        ),
        (
            "registry_registrations",
            "New versions of subjects",
            &registry.registrations,
        ),
        (
            "registry_incompatible",
            "Schemas refused because an earlier version forbids them",
            &registry.incompatible,
        ),
        (
            "registry_skipped_records",
            "Records of _schemas that are not in its layout",
            &registry.skipped_records,
        ),
    ] {
        let count = counter.load(Ordering::Relaxed) as f64;
        series.counter(name, help, None, one(count));
    }
}

fn disk(series: &mut Series<'_>, disk: Disk) {
    series.gauge(
        "disk_free",
        "Free space under the data folder",
        Some(Unit::Bytes),
        one(disk.free_bytes as f64),
    );
    series.gauge(
        "disk_size",
        "Size of the file system under the data folder",
        Some(Unit::Bytes),
        one(disk.total_bytes as f64),
    );
    series.gauge(
        "disk_write_blocked",
        "1 while writes are refused for want of space",
        None,
        one(f64::from(disk.write_blocked)),
    );
    series.gauge(
        "log_size",
        "Bytes of write-ahead log",
        Some(Unit::Bytes),
        one(disk.log_bytes as f64),
    );
    series.counter(
        "log_syncs",
        "Syncs of the write-ahead log",
        None,
        one(disk.syncs as f64),
    );
    series.counter(
        "log_sync",
        "Time in syncs of the write-ahead log",
        Some(Unit::Seconds),
        one(disk.sync_seconds),
    );
}

fn lag(series: &mut Series<'_>, lags: &[Lag]) {
    let by_partition = lags.len() <= MAX_PARTITION_SERIES;
    let mut sums = std::collections::BTreeMap::<Labels, f64>::new();
    for lag in lags {
        let mut labels = vec![label("group", &lag.group), label("topic", &lag.topic)];
        if by_partition {
            labels.push(label("partition", lag.partition));
        }
        *sums.entry(labels).or_default() += lag.records as f64;
    }
    series.gauge(
        "consumer_group_lag_records",
        "Records between a group's committed offset and the high watermark",
        None,
        sums,
    );
}

fn pipelines(series: &mut Series<'_>, observed: &Observed<'_>) {
    let states = observed.pipelines.iter().map(|view| {
        (
            vec![label("pipeline", &view.name), label("state", &view.state)],
            1.0,
        )
    });
    series.gauge(
        "pipeline_state",
        "1 for the state that a pipeline is in",
        None,
        states,
    );
    let jobs: Vec<(&str, &Status)> = observed
        .pipelines
        .iter()
        .flat_map(|view| view.jobs.iter().map(|job| (view.name.as_str(), job)))
        .collect();
    let each = |value: fn(&Status) -> f64| {
        jobs.iter()
            .map(|(pipeline, job)| {
                (
                    vec![label("pipeline", pipeline), label("table", &job.table)],
                    value(job),
                )
            })
            .collect::<Vec<_>>()
    };
    series.counter(
        "pipeline_records_in",
        "Records read",
        None,
        each(|job| job.records_in as f64),
    );
    series.counter(
        "pipeline_rows_out",
        "Rows written to the sink",
        None,
        each(|job| job.rows_out as f64),
    );
    series.counter(
        "dead_letters",
        "Records that could not be processed",
        None,
        each(|job| job.dead_letters as f64),
    );
    series.counter(
        "source_ignored_values",
        "Values set to NULL or left out because the script ignores parse errors",
        None,
        observed.ignored.iter().map(|ignored| {
            let labels = vec![
                label("group", &ignored.group),
                label("table", &ignored.table),
            ];
            (labels, ignored.count as f64)
        }),
    );
    series.counter(
        "pipeline_restarts",
        "Restarts from the checkpoint",
        None,
        each(|job| job.restarts as f64),
    );
    series.counter(
        "sink_commits",
        "Commits of the table",
        None,
        each(|job| job.commits as f64),
    );
    series.counter(
        "sink_rows",
        "Rows committed to the table",
        None,
        each(|job| job.committed_rows as f64),
    );
    series.counter(
        "sink_commit_retries",
        "Commits that had to be tried again",
        None,
        each(|job| job.commit_retries as f64),
    );
    series.gauge(
        "pipeline_lag_records",
        "Records between the position and the end of the log",
        None,
        each(|job| job.lag as f64),
    );
    series.gauge(
        "checkpoint_duration",
        "Duration of the last checkpoint",
        Some(Unit::Seconds),
        each(|job| job.checkpoint_duration.as_secs_f64()),
    );
    series.gauge(
        "sink_commit_duration",
        "Duration of the last commit",
        Some(Unit::Seconds),
        each(|job| job.commit_duration.as_secs_f64()),
    );
    let now = observed.now_ms;
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let since = |at: fn(&Status) -> Option<i64>, running_only: bool| {
        jobs.iter()
            .filter(|(_, job)| !running_only || job.state == JobState::Running)
            .filter_map(|(pipeline, job)| {
                let labels = vec![label("pipeline", pipeline), label("table", &job.table)];
                Some((labels, seconds(now - at(job)?)))
            })
            .collect::<Vec<_>>()
    };
    let checkpoint: fn(&Status) -> Option<i64> =
        |job| Some(job.checkpoint_at_ms).filter(|at| *at > 0);
    let commit: fn(&Status) -> Option<i64> = |job| Some(job.commit_at_ms).filter(|at| *at > 0);
    series.gauge(
        "checkpoint_age",
        "Time since the last checkpoint",
        Some(Unit::Seconds),
        since(checkpoint, false),
    );
    series.gauge(
        "sink_commit_age",
        "Time since the table's last commit",
        Some(Unit::Seconds),
        since(commit, false),
    );
    series.gauge(
        "table_freshness",
        "Time since the newest event time in the table",
        Some(Unit::Seconds),
        since(|job| job.committed_event_time, false),
    );
    series.gauge(
        "watermark_lag",
        "Time since the watermark",
        Some(Unit::Seconds),
        since(|job| job.watermark, true),
    );
}

#[cfg(test)]
mod tests;
