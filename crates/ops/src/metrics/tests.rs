//! What a scrape says, and that any OpenMetrics parser can read it: `check` is one, as strict as the specification.

use super::*;
use lw_runtime::job::{OperatorStatus, PartitionStatus, Status};
use lw_runtime::pipelines::View;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// Samples by series: name and labels as they stand.
fn check(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?;
    let mut samples = BTreeMap::new();
    let (mut seen, mut family) = (BTreeSet::new(), Family::default());
    for line in body.lines() {
        let fail = |why: &str| Err(format!("{why}: {line}"));
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(kind), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                return fail("half a comment");
            };
            if family.name != name {
                if !seen.insert(name.to_string()) {
                    return fail("a family in two places");
                }
                family = Family {
                    name: name.to_string(),
                    ..Family::default()
                };
            }
            match kind {
                "HELP" if !family.help => family.help = true,
                "TYPE" if family.kind.is_empty() => family.kind = rest.to_string(),
                "UNIT" if name.ends_with(&format!("_{rest}")) => {}
                _ => return fail("a comment that does not belong here"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line}"))?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, Some(rest.strip_suffix('}').ok_or("no brace")?)),
            None => (series, None),
        };
        let suffix = name.strip_prefix(&family.name);
        match (family.kind.as_str(), suffix) {
            ("gauge", Some("")) | ("counter", Some("_total")) if family.help => {}
            _ => return fail("a sample outside its family"),
        }
        if !name.starts_with("lakeward_") || !name.bytes().all(is_name) {
            return fail("not a name of ours");
        }
        if let Some(labels) = labels {
            check_labels(labels).map_err(|why| format!("{why}: {line}"))?;
        }
        let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
        if family.kind == "counter" && (value.is_nan() || value < 0.0) {
            return fail("a counter below 0");
        }
        if samples.insert(series.to_string(), value).is_some() {
            return fail("a series twice");
        }
    }
    Ok(samples)
}

#[derive(Default)]
struct Family {
    name: String,
    help: bool,
    kind: String,
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// `key="value"`, commas between them; in values `\\`, `\"` and `\n` are the only escapes.
fn check_labels(labels: &str) -> Result<(), &'static str> {
    let (mut rest, mut keys) = (labels, BTreeSet::new());
    loop {
        let (key, value) = rest.split_once("=\"").ok_or("no quote")?;
        if !key.bytes().all(is_name) || !keys.insert(key) {
            return Err("a bad key");
        }
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().ok_or("no end of a value")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, '\\' | '"' | 'n')) => {}
                    _ => return Err("a bad escape"),
                },
                _ => {}
            }
        };
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(()),
            None => return Err("something behind a value"),
        }
    }
}

fn job(table: &str) -> Status {
    Status {
        state: JobState::Running,
        sinks: vec![SinkStatus {
            table: table.to_string(),
            rows_out: 90,
            dead_letters: 3,
            late_rows: 31,
            last_late: Vec::new(),
            commits: 4,
            committed_rows: 80,
            commit_at_ms: 9_500,
            commit_duration: Duration::from_millis(500),
            commit_retries: 1,
            committed_event_time: Some(4_000),
            snapshot_id: None,
        }],
        topics: vec!["t".to_string()],
        group: "g".to_string(),
        records_in: 100,
        lag: 7,
        state_bytes: 37,
        operators: vec![OperatorStatus {
            uid: "0011".to_string(),
            state_bytes: 37,
            shards: 2,
        }],
        lookups: Vec::new(),
        waits_for_memory: true,
        watermark: Some(8_000),
        partitions: vec![PartitionStatus {
            topic: "t".into(),
            partition: 3,
            watermark: Some(7_000),
            done: false,
            counts: true,
            idle: false,
        }],
        checkpoint_id: 4,
        checkpoint_at_ms: 9_000,
        checkpoint_duration: Duration::from_millis(250),
        restarts: 2,
        last_error: None,
    }
}

fn view(name: &str, jobs: Vec<Status>) -> View {
    View {
        name: name.to_string(),
        id: Uuid::from_u128(1),
        state: "running".to_string(),
        created_ms: 0,
        sql: String::new(),
        replay: None,
        jobs,
    }
}

fn scrape(pipelines: &[View], lags: &[Lag], readers: &[Reader]) -> String {
    let broker = BrokerMetrics::default();
    broker.produced_records.add(7);
    broker.fetched_bytes.add(11);
    broker.refused_group_writes.add(17);
    broker.panics.add(19);
    broker.connections_over_limit.add(23);
    let registry = RegistryMetrics::default();
    registry.incompatible.fetch_add(5, Ordering::Relaxed);
    render(&Observed {
        version: "0.1.0",
        uptime_seconds: 1.5,
        now_ms: 10_000,
        broker: &broker,
        memory: Memory {
            requests: 3,
            replies: 5,
            limit: 8,
        },
        queries: Queries {
            used_bytes: 13,
            limit_bytes: 21,
        },
        states: States {
            used_bytes: 41,
            limit_bytes: 43,
        },
        registry: &registry,
        reports: Reports {
            scans: 47,
            commits: 53,
        },
        pipelines,
        filled: &[Filled {
            pipeline: "p".to_string(),
            table: "a.t".to_string(),
            event_time: Some(7_000),
            time_to_loss: Some(Duration::from_secs(60)),
            time_to_unaudited: Some(Duration::ZERO),
        }],
        readers,
        lags,
        disk: Disk {
            free_bytes: 1,
            write_blocked: true,
            ..Disk::default()
        },
    })
}

fn lag(group: &str, partition: i32) -> Lag {
    Lag {
        group: group.to_string(),
        topic: "t".to_string(),
        partition,
        records: 9,
    }
}

#[test]
fn a_scrape_says_what_the_parts_know() {
    let reader = Reader {
        group: "g".to_string(),
        table: "orders".to_string(),
        ignored: 6,
        rounded: 29,
    };
    let text = scrape(&[view("p", vec![job("a.t")])], &[lag("g", 3)], &[reader]);
    let samples = check(&text).unwrap();
    let of_job = r#"{pipeline="p",table="a.t"}"#;
    for (series, expected) in [
        ("lakeward_build_info{version=\"0.1.0\"}".to_string(), 1.0),
        ("lakeward_uptime_seconds".to_string(), 1.5),
        ("lakeward_produced_records_total".to_string(), 7.0),
        ("lakeward_fetched_bytes_total".to_string(), 11.0),
        (
            "lakeward_kafka_requests_total{api=\"Produce\"}".to_string(),
            0.0,
        ),
        (
            "lakeward_consumer_group_refused_writes_total".to_string(),
            17.0,
        ),
        ("lakeward_kafka_panics_total".to_string(), 19.0),
        (
            "lakeward_kafka_connections_over_limit_total".to_string(),
            23.0,
        ),
        ("lakeward_kafka_request_memory_bytes".to_string(), 3.0),
        ("lakeward_kafka_reply_memory_bytes".to_string(), 5.0),
        ("lakeward_kafka_memory_limit_bytes".to_string(), 8.0),
        ("lakeward_query_memory_bytes".to_string(), 13.0),
        ("lakeward_query_memory_limit_bytes".to_string(), 21.0),
        ("lakeward_state_memory_bytes".to_string(), 41.0),
        ("lakeward_state_memory_limit_bytes".to_string(), 43.0),
        ("lakeward_registry_incompatible_total".to_string(), 5.0),
        ("lakeward_catalog_scan_reports_total".to_string(), 47.0),
        ("lakeward_catalog_commit_reports_total".to_string(), 53.0),
        ("lakeward_disk_write_blocked".to_string(), 1.0),
        (
            "lakeward_consumer_group_lag_records{group=\"g\",topic=\"t\",partition=\"3\"}"
                .to_string(),
            9.0,
        ),
        (
            "lakeward_pipeline_state{pipeline=\"p\",state=\"running\"}".to_string(),
            1.0,
        ),
        (
            "lakeward_source_ignored_values_total{group=\"g\",table=\"orders\"}".to_string(),
            6.0,
        ),
        (
            "lakeward_source_rounded_decimals_total{group=\"g\",table=\"orders\"}".to_string(),
            29.0,
        ),
        (format!("lakeward_dead_letters_total{of_job}"), 3.0),
        (format!("lakeward_late_rows_total{of_job}"), 31.0),
        (
            format!("lakeward_pipeline_state_memory_bytes{of_job}"),
            37.0,
        ),
        (format!("lakeward_pipeline_waits_for_memory{of_job}"), 1.0),
        (
            "lakeward_operator_state_memory_bytes{pipeline=\"p\",table=\"a.t\",uid=\"0011\"}"
                .to_string(),
            37.0,
        ),
        (format!("lakeward_pipeline_lag_records{of_job}"), 7.0),
        (format!("lakeward_checkpoint_age_seconds{of_job}"), 1.0),
        (
            format!("lakeward_checkpoint_duration_seconds{of_job}"),
            0.25,
        ),
        (format!("lakeward_sink_commit_age_seconds{of_job}"), 0.5),
        (
            format!("lakeward_sink_commit_duration_seconds{of_job}"),
            0.5,
        ),
        (format!("lakeward_sink_commit_retries_total{of_job}"), 1.0),
        // What the head states, and not what the job remembers of its own commits.
        (format!("lakeward_table_freshness_seconds{of_job}"), 3.0),
        (
            format!("lakeward_pipeline_time_to_loss_seconds{of_job}"),
            60.0,
        ),
        (
            format!("lakeward_table_time_to_unaudited_seconds{of_job}"),
            0.0,
        ),
        (format!("lakeward_watermark_lag_seconds{of_job}"), 2.0),
        (
            "lakeward_partition_watermark_lag_seconds{pipeline=\"p\",topic=\"t\",partition=\"3\"}"
                .to_string(),
            3.0,
        ),
    ] {
        assert_eq!(samples.get(&series), Some(&expected), "{series} in\n{text}");
    }
}

#[test]
fn whatever_things_are_called_every_parser_can_read_it() {
    let names = [
        "",
        "a\"b",
        "back\\slash",
        "two\nlines",
        "}{,= é",
        "\\",
        "\\n",
    ];
    let lags: Vec<Lag> = names.iter().map(|name| lag(name, 0)).collect();
    let views: Vec<View> = names
        .iter()
        .map(|name| view(name, vec![job(name), job("other")]))
        .collect();
    let samples = check(&scrape(&views, &lags, &[])).unwrap();
    let of_groups = samples.keys().filter(|series| series.contains("group_lag"));
    assert_eq!(of_groups.count(), names.len(), "no two names become one");
}

#[test]
fn an_idle_server_without_pipelines_is_readable_too() {
    let samples = check(&scrape(&[], &[], &[])).unwrap();
    assert!(samples.keys().all(|series| !series.contains("pipeline")));
}

#[test]
fn with_many_partitions_lag_is_told_by_topic() {
    let lags: Vec<Lag> = (0..=1000).map(|partition| lag("g", partition)).collect();
    let samples = check(&scrape(&[], &lags, &[])).unwrap();
    let series = r#"lakeward_consumer_group_lag_records{group="g",topic="t"}"#;
    assert_eq!(samples[series], 9.0 * 1001.0);
}

#[test]
fn the_check_itself_refuses_what_is_broken() {
    let family = "# HELP lakeward_a A.\n# TYPE lakeward_a counter\n";
    for (sample, why) in [
        ("lakeward_a_total 1\n", ""),
        ("lakeward_a 1\n", "a sample outside its family"),
        (
            "lakeward_a_total{g=\"a\"b\"} 1\n",
            "something behind a value",
        ),
        ("lakeward_a_total{g=\"a\\x\"} 1\n", "a bad escape"),
        ("lakeward_a_total 1\nlakeward_a_total 2\n", "a series twice"),
        ("lakeward_a_total x\n", "no number"),
        (
            "# TYPE lakeward_b gauge\nlakeward_a_total 1\n",
            "a sample outside its family",
        ),
    ] {
        let found = check(&format!("{family}{sample}# EOF\n"))
            .err()
            .unwrap_or_default();
        assert!(
            found.starts_with(why) && found.is_empty() == why.is_empty(),
            "{sample}: {found}"
        );
    }
    assert!(check("").is_err());
}
