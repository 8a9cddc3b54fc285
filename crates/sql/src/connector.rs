//! The WITH clause: which connector a table is, whether its options are right, and what they mean for source or sink.
//!
//! Every option of Flink's connectors is in a table here, with one of three answers: obeyed, without effect (what it tunes
//! does not exist here and its promise holds anyway; a notice says so), or not supported yet. An option in no table is unknown,
//! and the nearest one is named.

mod datagen;
mod delta;
mod filesystem;
mod format;
mod iceberg;
mod kafka;
mod lookup;
mod options;
mod print;

pub(crate) use iceberg::CATALOG_OPTIONS as ICEBERG_CATALOG;
pub(crate) use kafka::IDLE_TIMEOUT;

use crate::Result;
use crate::catalog::Table;
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::environment::Environment;
use crate::parse::OptionText;
use crate::suggest::{did_you_mean, near_or_all};
use lw_graph::{LookupTable, MetadataKey, SinkSpec, SourceSpec};

/// What a source of the plan needs to know besides the table.
pub(crate) struct Use<'a> {
    pub table: &'a Table,
    /// The table's options, with those of an OPTIONS hint over them.
    pub options: &'a [OptionText],
    /// Where the table is used.
    pub span: Span,
    pub env: &'a dyn Environment,
}

const CONNECTORS: &[&str] = &[
    "kafka",
    "datagen",
    "filesystem",
    "iceberg",
    "delta",
    "print",
    "blackhole",
];

/// Connectors that Flink has.
const NOT_YET: &[&str] = &[
    "upsert-kafka",
    "jdbc",
    "faker",
    "hive",
    "hudi",
    "paimon",
    "mysql-cdc",
    "postgres-cdc",
    "kinesis",
    "pulsar",
    "elasticsearch-7",
    "mongodb",
    "hbase-2.2",
];

/// The source that a table is read by. `columns` is left to the planner.
///
/// # Errors
/// Where there is none. Everything wrong with the options is told, which leaves an error that was told before.
pub(crate) fn source(used: &Use<'_>, told: &mut Told) -> Result<SourceSpec> {
    let (connector, span) = connector_of(used)?;
    match connector.as_str() {
        "kafka" => whole(told, used.span, |told| {
            kafka::source(used, told).map(SourceSpec::Kafka)
        }),
        "datagen" => whole(told, used.span, |told| {
            datagen::source(used, told).map(SourceSpec::Datagen)
        }),
        "filesystem" => whole(told, used.span, |told| {
            filesystem::source(used, told).map(SourceSpec::Files)
        }),
        "iceberg" => Err(Diagnostic::unsupported(
            used.span,
            "reading an Iceberg table in a pipeline is",
        )
        .detail("A pipeline reads Kafka topics. Tables are queried with `lakeward sql`.")
        .hint("to add its columns to the rows of a topic: JOIN t FOR SYSTEM_TIME AS OF o.proc_time AS t ON o.key = t.key")),
        "delta" => Err(Diagnostic::unsupported(
            used.span,
            "reading a Delta table in a pipeline is",
        )
        .detail("A pipeline reads Kafka topics, and appends to Delta tables.")),
        known if CONNECTORS.contains(&known) => {
            let message = format!("table '{}' cannot be read", used.table.path.object);
            Err(Diagnostic::error("connector", used.span, message)
                .detail(format!("'connector' = '{known}' only writes.")))
        }
        other => Err(refuse_connector(other, span)),
    }
}

/// The table, where rows are looked up in it.
///
/// # Errors
/// As [`source`].
pub(crate) fn lookup(used: &Use<'_>, told: &mut Told) -> Result<LookupTable> {
    let (connector, span) = connector_of(used)?;
    match connector.as_str() {
        "iceberg" => whole(told, used.span, |told| {
            lookup::table(used, &connector, told)
        }),
        known if CONNECTORS.contains(&known) => {
            let what = format!("looking rows up in a table with 'connector' = '{known}' is");
            Err(Diagnostic::unsupported(used.span, what).hint(
                "bring its rows into a table with 'connector' = 'iceberg', and look them up there",
            ))
        }
        other => Err(refuse_connector(other, span)),
    }
}

/// The sink that a table is written by.
///
/// # Errors
/// As [`source`].
pub(crate) fn sink(used: &Use<'_>, told: &mut Told) -> Result<SinkSpec> {
    let (connector, span) = connector_of(used)?;
    match connector.as_str() {
        "iceberg" => whole(told, used.span, |told| {
            iceberg::sink(used, told).map(SinkSpec::Iceberg)
        }),
        "delta" => whole(told, used.span, |told| {
            delta::sink(used, told).map(SinkSpec::Delta)
        }),
        "print" => whole(told, used.span, |told| Some(print::print(used, told))),
        "blackhole" => whole(told, used.span, |told| Some(print::blackhole(used, told))),
        "datagen" => {
            let message = format!("table '{}' cannot be written", used.table.path.object);
            Err(Diagnostic::error("connector", used.span, message)
                .detail("'connector' = 'datagen' only makes rows up."))
        }
        "filesystem" => Err(Diagnostic::unsupported(used.span, "writing files from a pipeline is")
            .hint("run this script on an Apache Flink cluster, or write to a table with 'connector' = 'iceberg'")),
        "kafka" => Err(Diagnostic::unsupported(used.span, "writing to a Kafka topic from a pipeline is")
            .hint("run this script on an Apache Flink cluster, or write to a table with 'connector' = 'iceberg'")),
        other => Err(refuse_connector(other, span)),
    }
}

/// Checks the options of a table of which it is not known whether it is read or written.
pub(crate) fn check(used: &Use<'_>, told: &mut Told) {
    let reads = matches!(connector_of(used), Ok((connector, _)) if ["kafka", "datagen", "filesystem"].contains(&&*connector));
    let checked = if reads {
        source(used, told).map(drop)
    } else {
        sink(used, told).map(drop)
    };
    told.settle(checked);
}

/// What all parts of a WITH clause make together; of parts that were refused nothing is made.
fn whole<T>(told: &mut Told, span: Span, make: impl FnOnce(&mut Told) -> Option<T>) -> Result<T> {
    let errors = told.errors();
    let made = make(told).filter(|_| told.errors() == errors);
    made.ok_or_else(|| Diagnostic::told_before(span))
}

/// What `'connector'` says, if it is there.
pub(crate) fn named(options: &[OptionText]) -> Option<&str> {
    let mut options = options.iter();
    let connector = options.find(|option| option.key.value == "connector");
    connector.map(|option| option.value.value.as_str())
}

/// The metadata key of a DDL column. A table that is not Kafka's has none.
pub(crate) fn metadata_key(options: &[OptionText], key: &str, span: Span) -> Result<MetadataKey> {
    let connector = named(options).unwrap_or("kafka");
    let known = match connector {
        "kafka" => kafka::METADATA,
        "filesystem" if key == filesystem::MODIFIED => return Err(filesystem::no_times(span)),
        "filesystem" => filesystem::METADATA,
        _ => {
            let message = format!("connector '{connector}' has no metadata columns");
            return Err(Diagnostic::error("metadata", span, message));
        }
    };
    if let Some((_, found)) = known.iter().find(|(name, _)| *name == key) {
        return Ok(*found);
    }
    let message = format!("connector '{connector}' has no metadata key '{key}'");
    let names = known.iter().map(|(name, _)| *name);
    Err(
        Diagnostic::error("metadata", span, message).hint_if(near_or_all(
            key,
            names,
            "metadata keys",
        )),
    )
}

/// The key as a script writes it.
pub(crate) fn key_name(key: MetadataKey) -> &'static str {
    let mut all = kafka::METADATA.iter().chain(filesystem::METADATA);
    let named = all.find(|(_, known)| *known == key);
    named.map_or("", |(name, _)| name)
}

fn connector_of(used: &Use<'_>) -> Result<(String, Span)> {
    match used.options.iter().find(|o| o.key.value == "connector") {
        Some(option) => Ok((option.value.value.clone(), option.value.span)),
        None => {
            let message = format!("table '{}' has no connector", used.table.path.object);
            Err(Diagnostic::error("option", used.table.span, message)
                .detail("Without 'connector' nobody knows where its rows are.")
                .hint(
                    "WITH ('connector' = 'kafka', …) to read a topic, 'iceberg' to write a table",
                ))
        }
    }
}

fn refuse_connector(name: &str, span: Span) -> Diagnostic {
    if NOT_YET.contains(&name) {
        return Diagnostic::unsupported(span, format!("connector '{name}' is")).hint(format!(
            "connectors of this version: {}; or run this script on an Apache Flink cluster",
            CONNECTORS.join(", ")
        ));
    }
    Diagnostic::error("connector", span, format!("unknown connector '{name}'")).hint_if(
        did_you_mean(name, CONNECTORS.iter().copied())
            .or_else(|| Some(format!("connectors: {}", CONNECTORS.join(", ")))),
    )
}
