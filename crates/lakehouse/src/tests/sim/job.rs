//! The job that the simulation runs: the runtime's own, from the log to the table.
//!
//! A record's contents follow from where it is, so a log that lost its end to a power cut is filled up with the same. Most
//! are rows, some are filtered, some cannot be decoded and become dead letters.

use super::few_kept;
use crate::commit::rules::Rules;
use crate::tests::world::{Network, World, columns, owner};
use crate::upkeep::compaction::Compactor;
use crate::{IcebergCommitter, IcebergTableSink, Ids};
use lw_connectors::kafka::{EmbeddedKafka, EmbeddedLog};
use lw_graph::{
    Expr, FormatSpec, Function, JobGraph, KafkaSource, Node, Operator, Schema, SinkSpec,
    SourceColumn, SourceSpec, StartupMode, TypeKind, Value,
};
use lw_protocol::{BatchBuilder, Compression};
use lw_runtime::connector::{ConnectorError, Connectors, NamedSink, Output, Owner, Source};
use lw_runtime::job::{InsertSpec, JobSpec, Settings, Surroundings};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::{PlannedScript, Planner};
use lw_runtime::pool::Pool;
use lw_stdx::clock::Clock;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{CommitError, Op, Storage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const TOPIC: &str = "in";
/// Commits beyond the snapshot that a compaction has read.
pub(super) const REACH: i64 = 12;
const FILTERED: &str = "nobody wants this";

/// What becomes of the record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Row,
    Filtered,
    DeadLetter,
}

pub(super) fn fate(offset: i64) -> Fate {
    match offset % 7 {
        2 => Fate::Filtered,
        4 => Fate::DeadLetter,
        _ => Fate::Row,
    }
}

fn value(partition: i32, offset: i64) -> String {
    let text = match fate(offset) {
        Fate::DeadLetter => return format!("no JSON at {offset} of {partition}"),
        Fate::Filtered => FILTERED.to_owned(),
        Fate::Row => format!("row {offset} of {partition}"),
    };
    format!(r#"{{"part":{partition},"off":{offset},"text":"{text}"}}"#)
}

/// Creates the topic, unless it is there.
pub(crate) fn create_topic(storage: &Storage, ids: &Ids) -> Result<(), CommitError> {
    if storage.topic(TOPIC).is_some() {
        return Ok(());
    }
    let op = Op::CreateTopic {
        name: TOPIC.to_owned(),
        id: ids.next(),
        partitions: 2,
        config: BTreeMap::new(),
        internal: false,
    };
    storage.commit_blocking(vec![op]).map(|_| ())
}

/// Appends so many records to a partition, in one batch.
pub(super) fn produce(storage: &Storage, partition: i32, count: i64) -> Result<(), CommitError> {
    append(storage, partition, count, value)
}

/// As [`produce`], of records that are by partition and offset what `value` says.
pub(crate) fn append(
    storage: &Storage,
    partition: i32,
    count: i64,
    value: fn(i32, i64) -> String,
) -> Result<(), CommitError> {
    let topic = storage.topic(TOPIC).expect("it was created");
    let from = end(storage, partition);
    let mut batch = BatchBuilder::new(Compression::None);
    for offset in from..from + count {
        let value = value(partition, offset);
        batch.push(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    }
    let batches = batch.build().expect("records fit").into_bytes();
    let op = Op::Append {
        topic: topic.id,
        partition,
        batches,
    };
    storage.commit_blocking(vec![op]).map(|_| ())
}

/// Where a partition ends.
pub(crate) fn end(storage: &Storage, partition: i32) -> i64 {
    let topic = storage.topic(TOPIC).expect("it was created");
    let bounds = storage.bounds(topic.id, partition);
    bounds.expect("it has two partitions").high_watermark
}

/// `INSERT INTO events SELECT part, off, text FROM in WHERE text <> '…'`.
fn graph() -> JobGraph {
    let schema = Schema::new(columns());
    let source = KafkaSource {
        table: "source".to_owned(),
        topics: vec![TOPIC.to_owned()],
        bootstrap: "here".to_owned(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Json {
            fail_on_missing_field: true,
            ignore_parse_errors: false,
            iso_timestamps: false,
        },
        key: None,
        value_schema: schema.clone(),
        columns: (0..3).map(SourceColumn::Value).collect(),
    };
    let text = Expr::Column {
        index: 2,
        name: "text".to_owned(),
        ty: TypeKind::string().nullable(),
    };
    let filtered = Expr::Literal {
        value: Value::String(FILTERED.to_owned()),
        ty: TypeKind::string().not_null(),
    };
    let wanted = Expr::call(Function::NotEqual, vec![text, filtered]).expect("it is typed");
    let operators = [
        Operator::Source(SourceSpec::Kafka(source)),
        Operator::Filter(wanted),
        Operator::Sink(SinkSpec::Iceberg(few_kept())),
    ];
    let node = |(id, operator): (usize, Operator)| Node {
        operator,
        inputs: id.checked_sub(1).into_iter().collect(),
        schema: schema.clone(),
    };
    JobGraph {
        nodes: operators.into_iter().enumerate().map(node).collect(),
    }
}

pub(super) fn spec() -> JobSpec {
    JobSpec {
        owner: owner(),
        inserts: vec![InsertSpec {
            table: crate::tests::world::TABLE.to_owned(),
            occurrence: 0,
            plan: "plan".to_owned(),
        }],
        graph: graph(),
        group: "group".to_owned(),
        // The simulation says when.
        settings: Settings {
            commit_interval: Duration::MAX,
            ..Settings::default()
        },
        finished: Arc::new(|| {}),
    }
}

pub(crate) fn around(world: &World, network: &Arc<Network>, rules: Rules) -> Surroundings {
    let ids = world.ids.clone();
    Surroundings {
        storage: world.storage.clone(),
        connectors: Arc::new(Wiring {
            storage: world.storage.clone(),
            network: network.clone(),
            clock: world.clock.clone(),
            ids: world.ids.clone(),
            rules,
        }),
        planner: Arc::new(NoPlanner),
        clock: world.clock.clone(),
        memory: lw_runtime::state::Budget::none(),
        new_id: Arc::new(move || ids.next()),
        pool: Pool::none(),
    }
}

/// The server's compactor, which knows after a few commits that a request cannot land any more.
pub(super) fn compactor(world: &World, network: &Arc<Network>, rules: Rules) -> Compactor {
    let (network, clock) = (network.clone(), world.clock.clone());
    Compactor::new(network, clock, world.ids.clone()).with_rules(rules, REACH)
}

struct Wiring {
    storage: Storage,
    network: Arc<Network>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    rules: Rules,
}

impl Connectors for Wiring {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        let SourceSpec::Kafka(kafka) = spec else {
            unreachable!("these jobs read topics")
        };
        let log = Arc::new(Log(self.storage.clone()));
        let source = EmbeddedKafka::new(kafka, group, log, None, Arc::default())?;
        Ok(Box::new(source))
    }

    fn sink(&self, sink: NamedSink<'_>, owner: &Owner) -> Result<Output, ConnectorError> {
        let SinkSpec::Iceberg(spec) = sink.spec else {
            unreachable!("the graph has no other sink");
        };
        let (network, clock, ids) = (&self.network, &self.clock, &self.ids);
        let sink = IcebergTableSink::open(
            spec,
            network.clone(),
            owner,
            sink.plan,
            clock.clone(),
            ids.clone(),
        )?;
        let committer =
            IcebergCommitter::new(network.clone(), owner.clone(), clock.clone(), ids.clone());
        Ok((Box::new(sink), Box::new(committer.with_rules(self.rules))))
    }

    fn publish_offsets(&self, _: &str, _: &[SplitOffset]) {}
}

/// The log, which no consumer group reads.
struct Log(Storage);

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.0
    }

    fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }
}

/// Nothing is planned again here.
struct NoPlanner;

impl Planner for NoPlanner {
    fn plan(&self, _: &str) -> Result<PlannedScript, String> {
        Err("the simulation has no scripts".to_owned())
    }
}
