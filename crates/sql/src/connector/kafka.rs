//! `'connector' = 'kafka'` as a source: which topic, from where, in which format.

mod key;

use super::Use;
use super::format::{self, Format};
use super::iceberg::known_names;
use super::options::{Known, NO_VERSIONS, ONE_THREAD, Options, bad_value, no_effect, not_yet};
use super::options::{obeyed, without_effect};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::environment::Cluster;
use crate::parse::Ident;
use key::Sides;
use lw_graph::{Field, KafkaSource, MetadataKey, Schema, StartupMode};
use lw_stdx::duration;
use lw_stdx::suggest::nearest;
use std::collections::BTreeMap;

/// How long nothing may come in a partition that event time waits for.
pub(crate) const IDLE_TIMEOUT: &str = "scan.watermark.idle-timeout";
const NEW_PARTITIONS: &str = "New partitions are read as soon as they are there.";
const ALIGNED: &str = "Partitions are read in the order of the log: none runs ahead of another.";
const WRITING: &str = "It is about writing records, and the table is read.";

/// All options of Flink's connector (flink-sql-connector-kafka 5.0).
const OPTIONS: &[Known] = &[
    obeyed("connector"),
    obeyed("topic"),
    obeyed("format"),
    obeyed("value.format"),
    obeyed("properties.bootstrap.servers"),
    obeyed("properties.group.id"),
    obeyed("scan.startup.mode"),
    obeyed("scan.startup.timestamp-millis"),
    obeyed("scan.startup.specific-offsets"),
    obeyed("scan.bounded.mode"),
    obeyed("value.fields-include"),
    obeyed("key.format"),
    obeyed("key.fields"),
    obeyed("key.fields-prefix"),
    no_effect("property-version", NO_VERSIONS),
    no_effect("scan.parallelism", ONE_THREAD),
    no_effect("scan.topic-partition-discovery.interval", NEW_PARTITIONS),
    obeyed("scan.watermark.emit.strategy"),
    obeyed(IDLE_TIMEOUT),
    no_effect("scan.watermark.alignment.group", ALIGNED),
    no_effect("scan.watermark.alignment.max-drift", ALIGNED),
    no_effect("scan.watermark.alignment.update-interval", ALIGNED),
    no_effect("sink.delivery-guarantee", WRITING),
    no_effect("sink.parallelism", WRITING),
    no_effect("sink.partitioner", WRITING),
    no_effect("sink.semantic", WRITING),
    no_effect("sink.transaction-naming-strategy", WRITING),
    no_effect("sink.transactional-id-prefix", WRITING),
    not_yet("topic-pattern"),
    not_yet("scan.bounded.timestamp-millis"),
    not_yet("scan.bounded.specific-offsets"),
];

/// `properties.*` that tune a client's fetching; the embedded log is read without a client.
const CLIENT_TUNING: &[&str] = &[
    "client.id",
    "client.rack",
    "isolation.level",
    "enable.auto.commit",
    "auto.commit.interval.ms",
    "allow.auto.create.topics",
    "partition.discovery.interval.ms",
    "request.timeout.ms",
    "default.api.timeout.ms",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "max.poll.records",
    "max.partition.fetch.bytes",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "receive.buffer.bytes",
    "send.buffer.bytes",
    "check.crcs",
];

pub(super) fn source(used: &Use<'_>, told: &mut Told) -> Option<KafkaSource> {
    let (key, others) = key::taken(used, told);
    let format = told.settle(format::format_of(&Options::new(&others, used.table.span)));
    let written = match &format {
        Some(format) => format::unprefixed(&others, format, told),
        None => others,
    };
    let mut options = Options::new(&written, used.table.span);
    let mut known = vec![OPTIONS];
    match &format {
        Some(format) => known.push(format.known),
        None => known.extend(format::ALL_KNOWN),
    }
    options.check_known("kafka", &known, told);
    check_values(&options, told);
    check_properties(&options, told);
    let bootstrap = told.settle(bootstrap(used, &options));
    let topics = told.settle(options.required("topic", "'topic' = 'name'"));
    // Of a cluster elsewhere nothing is asked before the pipeline runs.
    let here = bootstrap.is_none_or(|(_, cluster)| cluster == Cluster::Embedded);
    let topics = topics.map(|value| topics_of(used, value, here, told));
    let sides = Sides::of(used, key.as_ref(), &options, told);
    let key_spec = key.as_ref().and_then(|key| sides.spec(used, key, told));
    let startup = told.settle(startup(&options));
    let bounded = told.settle(bounded(&options));
    let format = format?;
    if let Some(topics) = topics.as_ref().filter(|_| here) {
        let of_values = |topic: &str| used.env.subject_of(topic);
        told.settle(refuse_framed_avro(of_values, topics, &format));
        if let Some(key) = &key {
            let of_keys = |topic: &str| used.env.key_subject_of(topic);
            told.settle(refuse_framed_avro(of_keys, topics, &key.format));
        }
    }
    if !here {
        told.settle(refuse_schemas_of_others(used, &options, &format));
        if let Some(key) = &key {
            let options = Options::new(&key.options, used.table.span);
            told.settle(refuse_schemas_of_others(used, &options, &key.format));
        }
    }
    let spec = told.settle(format::spec(used, &sides.value, &options, &format));
    let fields = sides.value.iter();
    let fields = fields.map(|column| Field::new(column.name.clone(), column.ty.clone()));
    Some(KafkaSource {
        table: used.table.path.object.clone(),
        bootstrap: bootstrap?.0.value.clone(),
        group_id: options
            .value("properties.group.id")
            .map(|value| value.value.clone()),
        startup: startup?,
        bounded: bounded?,
        format: spec?,
        value_schema: Schema::new(fields.collect()),
        key: key_spec,
        columns: Vec::new(),
        topics: topics?.into_iter().map(|topic| topic.value).collect(),
    })
}

fn bootstrap<'a>(used: &Use<'_>, options: &Options<'a>) -> Result<(&'a Ident, Cluster)> {
    let key = "properties.bootstrap.servers";
    let servers = options.required(key, "'properties.bootstrap.servers' = 'host:port'")?;
    match used.env.bootstrap(&servers.value) {
        Ok(cluster) => Ok((servers, cluster)),
        Err(missing) => {
            let message = format!("lakeward.toml does not say where '{}' is", servers.value);
            Err(Diagnostic::error("environment", servers.span, message)
                .detail(known_names(&missing.known))
                .hint(format!(
                    "add under [bootstrap] in lakeward.toml:  \"{}\" = \"embedded\", or \"external\" for the cluster there",
                    servers.value
                )))
        }
    }
}

/// `'topic' = 'a;b'`, all of which exist if they are `here`.
fn topics_of(used: &Use<'_>, value: &Ident, here: bool, told: &mut Told) -> Vec<Ident> {
    let mut topics = Vec::new();
    for name in value
        .value
        .split(';')
        .map(str::trim)
        .filter(|n| !n.is_empty())
    {
        if here && !used.env.topic_exists(name) {
            told.tell(unknown_topic(used, name, value.span));
        }
        topics.push(Ident {
            value: name.to_string(),
            span: value.span,
        });
    }
    topics
}

fn unknown_topic(used: &Use<'_>, name: &str, span: Span) -> Diagnostic {
    let known = used.env.topics();
    let near = nearest(name, known.iter().map(String::as_str));
    let create = format!("lakeward topic create {name} --partitions 1");
    let error = Diagnostic::error("unknown-topic", span, format!("there is no topic '{name}'"));
    match near {
        Some(near) => error.hint(format!("did you mean '{near}'? To create it:  {create}")),
        None => error.hint(format!("create it, then run the script again:  {create}")),
    }
}

/// Bare `avro` on framed records gives wrong rows and no error, so it is refused where the registry knows better.
fn refuse_framed_avro(
    subject_of: impl Fn(&str) -> Option<String>,
    topics: &[Ident],
    format: &Format,
) -> Result<()> {
    if format.name != "avro" {
        return Ok(());
    }
    for topic in topics {
        if let Some(subject) = subject_of(&topic.value) {
            let message = format!(
                "the records of topic '{}' are framed, 'avro' reads bare ones",
                topic.value
            );
            return Err(Diagnostic::error("framed-avro", format.span, message)
                .detail(format!(
                    "The registry has subject '{subject}'. Records of its producers begin with a schema id, which '{}' = 'avro' would decode as data, into wrong rows.",
                    format.option()
                ))
                .hint(format!("'{}' = 'avro-confluent'", format.option())));
        }
    }
    Ok(())
}

/// Schemas are looked up in this server's registry, where the ids of another one mean other schemas.
fn refuse_schemas_of_others(used: &Use<'_>, options: &Options<'_>, format: &Format) -> Result<()> {
    if format.name != "avro-confluent" {
        return Ok(());
    }
    let url = options.value("avro-confluent.url");
    if url.is_some_and(|url| used.env.registry_is_here(&url.value)) {
        return Ok(());
    }
    let what =
        "'format' = 'avro-confluent' on a topic of another cluster, with another registry, is";
    let url = url.map_or("http://registry:8081", |url| &url.value);
    Err(Diagnostic::unsupported(format.span, what)
        .detail("Schemas are looked up in this server's registry, where the ids of another one mean other schemas.")
        .hint(format!(
            "where that registry is this server's, say so under [registries] in lakeward.toml:  \"{url}\" = \"embedded\"; else copy the topic here, or read it with 'format' = 'raw'"
        )))
}

fn startup(options: &Options<'_>) -> Result<StartupMode> {
    let modes = [
        "earliest-offset",
        "latest-offset",
        "group-offsets",
        "timestamp",
        "specific-offsets",
    ];
    let mode = options.choice("scan.startup.mode", &modes)?;
    let (mode, span) = mode.unwrap_or(("group-offsets", Span::default()));
    let needs = |key: &str, example: &str| {
        Diagnostic::error("option", span, format!("'{mode}' needs the option '{key}'"))
            .hint(format!("'{key}' = '{example}'"))
    };
    Ok(match mode {
        "earliest-offset" => StartupMode::Earliest,
        "latest-offset" => StartupMode::Latest,
        "timestamp" => {
            let key = "scan.startup.timestamp-millis";
            let millis = options.integer(key)?;
            StartupMode::Timestamp(millis.ok_or_else(|| needs(key, "1767225600000"))?)
        }
        "specific-offsets" => {
            let key = "scan.startup.specific-offsets";
            let example = "partition:0,offset:42;partition:1,offset:300";
            let value = options.value(key).ok_or_else(|| needs(key, example))?;
            let offsets = specific_offsets(&value.value)
                .ok_or_else(|| bad_value(key, value, &format!("'{example}'")))?;
            StartupMode::Specific(offsets)
        }
        _ => StartupMode::GroupOffsets,
    })
}

/// `partition:0,offset:42;partition:1,offset:300`.
fn specific_offsets(text: &str) -> Option<BTreeMap<i32, i64>> {
    let pairs = text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    pairs
        .map(|pair| {
            let (partition, offset) = pair.split_once(',')?;
            let partition = partition.trim().strip_prefix("partition:")?;
            let offset = offset.trim().strip_prefix("offset:")?;
            Some((partition.trim().parse().ok()?, offset.trim().parse().ok()?))
        })
        .collect()
}

fn bounded(options: &Options<'_>) -> Result<bool> {
    let modes = [
        "unbounded",
        "latest-offset",
        "group-offsets",
        "timestamp",
        "specific-offsets",
    ];
    match options.choice("scan.bounded.mode", &modes)? {
        None | Some(("unbounded", _)) => Ok(false),
        Some(("latest-offset", _)) => Ok(true),
        Some((mode, span)) => Err(Diagnostic::unsupported(
            span,
            format!("'scan.bounded.mode' = '{mode}' is"),
        )
        .hint("'latest-offset' reads up to the end that the topic has now")),
    }
}

/// Options that change nothing are still checked: a wrong value is a mistake that its author wants to know.
fn check_values(options: &Options<'_>, told: &mut Told) {
    for key in [
        "scan.topic-partition-discovery.interval",
        IDLE_TIMEOUT,
        "scan.watermark.alignment.max-drift",
        "scan.watermark.alignment.update-interval",
    ] {
        told.settle(options.duration(key));
    }
    for key in ["scan.parallelism", "sink.parallelism", "property-version"] {
        told.settle(options.integer(key));
    }
    for (key, values) in [
        (
            "scan.watermark.emit.strategy",
            &["on-event", "on-periodic"][..],
        ),
        (
            "sink.delivery-guarantee",
            &["none", "at-least-once", "exactly-once"],
        ),
    ] {
        let chosen = told.settle(options.choice(key, values));
        if let (Some(Some(("on-periodic", _))), Some(option)) = (chosen, options.get(key)) {
            let why = "The watermark rises with each row, so that every reading of the log gives the same.";
            told.tell(without_effect(&option.key, why));
        }
    }
    let discovery = options.value("scan.topic-partition-discovery.interval");
    if let Some(value) =
        discovery.filter(|v| duration::parse(&v.value).is_some_and(|d| d.is_zero()))
    {
        let what = "reading only the partitions that a topic has at the start is";
        told.tell(Diagnostic::unsupported(value.span, what).hint("remove the option"));
    }
    for (key, mode) in [
        ("scan.startup.timestamp-millis", "timestamp"),
        ("scan.startup.specific-offsets", "specific-offsets"),
    ] {
        let starts_so = |m: &Ident| m.value.eq_ignore_ascii_case(mode);
        if let Some(option) = options.get(key)
            && !options.value("scan.startup.mode").is_some_and(starts_so)
        {
            let why = format!("It counts beside 'scan.startup.mode' = '{mode}' only.");
            told.tell(without_effect(&option.key, &why));
        }
    }
}

/// `properties.*`: the Kafka client's own. Obeyed, without effect on an embedded log, or refused.
fn check_properties(options: &Options<'_>, told: &mut Told) {
    for option in options.iter() {
        let Some(property) = option.key.value.strip_prefix("properties.") else {
            continue;
        };
        let value = &option.value;
        match (property, value.value.as_str()) {
            ("bootstrap.servers" | "group.id", _) => {}
            ("auto.offset.reset", "earliest") => {}
            ("auto.offset.reset", _) => {
                let what = format!("'auto.offset.reset' = '{}' is", value.value);
                told.tell(
                    Diagnostic::unsupported(value.span, what)
                        .detail("A group without committed offsets begins at the earliest record.")
                        .hint("'scan.startup.mode' = 'latest-offset' begins at the end"),
                );
            }
            ("security.protocol", protocol) if protocol.eq_ignore_ascii_case("PLAINTEXT") => {}
            (property, _) if CLIENT_TUNING.contains(&property) => {
                let why = "The topic is read without Kafka's own client.";
                told.tell(without_effect(&option.key, why));
            }
            (property, _) => {
                let known = ["bootstrap.servers", "group.id", "auto.offset.reset"];
                let message = format!("Kafka client property '{property}' is");
                let near = nearest(property, known.iter().chain(CLIENT_TUNING).copied());
                told.tell(
                    Diagnostic::unsupported(option.key.span, message).hint(match near {
                        Some(near) => format!("did you mean 'properties.{near}'?"),
                        None => "remove it".to_string(),
                    }),
                );
            }
        }
    }
}

/// The keys that a Kafka record has besides its value.
pub(super) const METADATA: &[(&str, MetadataKey)] = &[
    ("topic", MetadataKey::Topic),
    ("partition", MetadataKey::Partition),
    ("headers", MetadataKey::Headers),
    ("leader-epoch", MetadataKey::LeaderEpoch),
    ("offset", MetadataKey::Offset),
    ("timestamp", MetadataKey::Timestamp),
    ("timestamp-type", MetadataKey::TimestampType),
];
