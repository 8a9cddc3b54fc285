//! What the author of a script should know although it runs: what `lakeward check` says besides mistakes.
//!
//! Two kinds. *About the result*: a source without a watermark, times without a zone. *About Apache Flink*: what this planner takes
//! and a Flink cluster does not, so that a script that must run on both can be made to. Each is told once, however often it is met.

use super::Planner;
use super::algebra::{Algebra, Relation, Scan};
use super::insert::Planned;
use crate::catalog::{Object, Table};
use crate::connector;
use crate::diagnostic::{Diagnostic, Span};
use crate::environment::{Cluster, Topic};
use crate::parse::{Insert, OptionText};
use lw_graph::{FormatSpec, IcebergSink, LogicalType, SinkSpec, SourceSpec, StartupMode, TypeKind};

impl Planner<'_> {
    /// About an INSERT that nothing is wrong with.
    pub(super) fn advise(&mut self, insert: &Insert, planned: &Planned) {
        let relation = &planned.branch.relation;
        for scan in relation.scans() {
            let source = &planned.sources[&scan.key()];
            self.advice.extend(no_watermark(&scan.table));
            self.advice
                .extend(group_without_name(source, &scan.options, scan.span));
            self.advise_on_topics(source, scan.span);
            self.advise_on_schemas(source, &scan.table);
        }
        self.advice.extend(kept(relation));
        let SinkSpec::Iceberg(iceberg) = &planned.branch.sink else {
            return;
        };
        let never = "execution.checkpointing.interval";
        if !self.plan.settings.contains_key(never) {
            let message = "on Flink this INSERT never commits";
            self.advice.push(
                Diagnostic::notice("flink", insert.target.span, message)
                    .detail("Flink's Iceberg sink commits with checkpoints, and takes none without an interval.")
                    .hint(format!("SET '{never}' = '10 s';")),
            );
        }
        if let Ok((_, Object::Table(table))) = self.catalog.get(&insert.target) {
            self.advice.extend(without_zone(&table));
            self.advice.extend(hive(iceberg, &table));
        }
    }

    /// About what the embedded log has of a source's topics.
    fn advise_on_topics(&mut self, source: &SourceSpec, span: Span) {
        let SourceSpec::Kafka(kafka) = source else {
            return;
        };
        if self.env.bootstrap(&kafka.bootstrap) != Ok(Cluster::Embedded) {
            return;
        }
        let millis = |key: &str| {
            let set = self.plan.settings.get(key)?;
            set.strip_suffix(" ms")?.parse::<i64>().ok()
        };
        let window = millis("lakeward.replay.window");
        let parallelism = self.plan.settings.get("parallelism.default");
        let parallelism = parallelism.and_then(|set| set.parse::<u32>().ok());
        for name in &kafka.topics {
            let Some(topic) = self.env.topic(name) else {
                continue;
            };
            self.advice
                .extend(kept_too_short(name, topic, window, span));
            self.advice
                .extend(too_few_partitions(name, topic, parallelism, span));
        }
    }

    /// About what the registry has of a source's records: fields that were registered since the table was declared, or in other types.
    fn advise_on_schemas(&mut self, source: &SourceSpec, table: &Table) {
        let SourceSpec::Kafka(kafka) = source else {
            return;
        };
        if !matches!(kafka.format, FormatSpec::AvroConfluent { .. }) {
            return;
        }
        for topic in &kafka.topics {
            let registered = self.env.registered(topic);
            self.advice.extend(undeclared(topic, registered, table));
            let columns = &kafka.value_schema.fields;
            if let Some(why) = self.env.problem_of_columns(topic, columns) {
                let message = format!(
                    "table '{}' cannot read the newest schema that is registered for topic '{topic}'",
                    table.path.object
                );
                let notice = Diagnostic::notice("registry", table.span, message);
                self.advice.push(
                    notice
                        .detail(format!("Of it: {why}. Its records become dead letters."))
                        .hint("declare the column as it is registered: a wider type, or without NOT NULL"),
                );
            }
        }
    }

    /// About the script as a whole.
    pub(super) fn advise_on_script(&mut self) {
        for (database, name) in self.catalog.assumed_databases() {
            let message = format!("Flink has no database '{database}' here");
            self.advice.push(
                Diagnostic::notice("flink", *name, message)
                    .detail(
                        "A database that a CREATE names is made here; Flink refuses the statement.",
                    )
                    .hint(format!("CREATE DATABASE IF NOT EXISTS `{database}`;")),
            );
        }
        for comment in &self.script.slash_comments {
            let span = Span::new(*comment, *comment + "//".len());
            self.advice.push(
                Diagnostic::notice("flink", span, "Flink does not know `//`")
                    .detail(
                        "A line that begins with it is a comment here, and a syntax error there.",
                    )
                    .hint("begin the comment with --"),
            );
        }
    }
}

fn no_watermark(table: &Table) -> Option<Diagnostic> {
    if table.watermark.is_some() {
        return None;
    }
    let is_time = |kind: &TypeKind| matches!(kind, TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) if *p <= 3);
    let mut columns = table.columns.iter();
    let time = columns.find(|c| is_time(&c.ty.kind) && !c.is_proctime());
    let hint = match time {
        Some(time) => format!(
            "WATERMARK FOR `{0}` AS `{0}` - INTERVAL '5' SECOND",
            time.name
        ),
        None => "`time` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', WATERMARK FOR `time` AS `time` - INTERVAL '5' SECOND".to_string(),
    };
    let message = format!("table '{}' has no watermark", table.path.object);
    let notice = Diagnostic::notice("no-watermark", table.span, message);
    Some(notice.detail("What is made of it has no event time: commits do not say how far it has come, and windows need it.").hint(hint))
}

/// Fields of a registered schema that a table leaves away.
fn undeclared(
    topic: &str,
    registered: Vec<(String, Option<LogicalType>)>,
    table: &Table,
) -> Option<Diagnostic> {
    let declared = |name: &String| table.columns.iter().any(|column| column.name == *name);
    let fields = registered.into_iter().filter(|(name, _)| !declared(name));
    let fields = fields.filter_map(|(name, ty)| Some(format!("`{name}` {}", ty?)));
    let fields: Vec<String> = fields.collect();
    if fields.is_empty() {
        return None;
    }
    let (what, own) = match fields.len() {
        1 => ("a field", "it"),
        _ => ("fields", "them"),
    };
    let object = &table.path.object;
    let message = format!(
        "the newest schema of topic '{topic}' has {what} that table '{object}' does not declare"
    );
    let notice = Diagnostic::notice("registry", table.span, message);
    let fields = fields.join(", ");
    Some(
        notice
            .detail(format!("What is not declared is not read, as in Flink. An Iceberg table that the query writes {own} to gets the columns with 'lakeward.schema-change' = 'evolve', or by ALTER TABLE."))
            .hint(format!("CREATE TABLE {object} (…, {fields}), and `lakeward run FILE --replace`")),
    )
}

/// What is not in the log any more cannot be computed again.
fn kept_too_short(name: &str, topic: Topic, window: Option<i64>, span: Span) -> Option<Diagnostic> {
    let (kept, window) = (topic.retention?, window?);
    if kept >= window {
        return None;
    }
    let message = format!(
        "topic '{name}' keeps records for {}, the replay window is {}",
        length(kept),
        length(window)
    );
    let notice = Diagnostic::notice("replay", span, message);
    Some(
        notice
            .detail("An audit, a rewind and a recomputation read what a table was made of; they end where the topic's records do.")
            .hint(format!("retention.ms = {window} on the topic, or a shorter 'lakeward.replay.window'")),
    )
}

fn too_few_partitions(
    name: &str,
    topic: Topic,
    parallelism: Option<u32>,
    span: Span,
) -> Option<Diagnostic> {
    let parallelism = parallelism?;
    if topic.partitions >= parallelism {
        return None;
    }
    let idle = parallelism - topic.partitions;
    let message =
        format!("on Flink {idle} of {parallelism} readers of topic '{name}' have nothing to read");
    let notice = Diagnostic::notice("flink", span, message);
    let partitions = topic.partitions;
    Some(
        notice
            .detail(format!("It has {partitions} partitions. Here the work is shared by keys, however many there are."))
            .hint(format!("'parallelism.default' = '{partitions}', or a topic of {parallelism} partitions")),
    )
}

/// Milliseconds as somebody would say them.
fn length(millis: i64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "hours"),
        (60_000, "minutes"),
        (1_000, "seconds"),
    ];
    let whole = units
        .iter()
        .find(|(unit, _)| millis >= 2 * unit && millis % unit == 0);
    match whole {
        Some((unit, name)) => format!("{} {name}", millis / unit),
        None => format!("{millis} ms"),
    }
}

/// About what a query keeps from one row to the next.
fn kept(relation: &Relation) -> Vec<Diagnostic> {
    let mut said = Vec::new();
    let mut stateful = None;
    for relation in relation.all() {
        if let Algebra::Over {
            keys,
            frame,
            ttl,
            span,
            ..
        } = &relation.operator
            && !keys.is_empty()
            && frame.interval().is_none()
        {
            said.extend(match ttl {
                None => Some(
                    Diagnostic::notice("state", *span, "nothing bounds what this keeps")
                        .detail("Each key that was ever there is kept.")
                        .hint("RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW, or SET 'table.exec.state.ttl' = '1 d'"),
                ),
                Some(_) => timeless(relation, *span),
            });
        }
        if let Algebra::Aggregate { span, .. }
        | Algebra::Numbered { span, .. }
        | Algebra::Join { span, .. }
        | Algebra::Over { span, .. } = &relation.operator
        {
            stateful = Some(*span);
        }
    }
    let strategy = "scan.watermark.emit.strategy";
    let on_event = |scan: &&Scan| {
        let mut options = scan.options.iter();
        options.any(|o| o.key.value == strategy && o.value.value == "on-event")
    };
    let all_on_event = relation.scans().iter().all(on_event);
    if let Some(span) = stateful.filter(|_| !all_on_event) {
        let message = "on Flink it depends on its clock which rows are late";
        said.push(
            Diagnostic::notice("flink", span, message)
                .detail("Here the watermark rises with the rows, so that every reading of the log gives the same.")
                .hint(format!("'{strategy}' = 'on-event' on the table that is read")),
        );
    }
    said
}

/// A key is forgotten by the time that passes in a log, and these rows are of none.
fn timeless(over: &Relation, span: Span) -> Option<Diagnostic> {
    let is_log = |scan: &&Scan| connector::named(&scan.options) == Some("kafka");
    if over.scans().iter().any(is_log) {
        return None;
    }
    let notice = Diagnostic::notice("state", span, "nothing bounds what this keeps");
    Some(notice.detail("'table.exec.state.ttl' goes by when records were appended to a topic, so that every reading forgets the same. These rows are of none, and no time passes."))
}

fn without_zone(table: &Table) -> Option<Diagnostic> {
    let mut stored = table.stored();
    let column = stored.find(|c| matches!(c.ty.kind, TypeKind::Timestamp(_)))?;
    let message = format!("column '{}' is a time without a zone", column.name);
    let notice = Diagnostic::notice("zone", column.span, message);
    Some(notice.detail("A TIMESTAMP is what a clock shows, wherever it hangs. Whoever compares it with an instant, or with another zone's clock, must know the zone.")
        .hint("TIMESTAMP_LTZ(3) for an instant"))
}

/// Where a Flink job that has no offsets yet would begin.
fn group_without_name(
    source: &SourceSpec,
    options: &[OptionText],
    span: Span,
) -> Option<Diagnostic> {
    let SourceSpec::Kafka(source) = source else {
        return None;
    };
    if source.startup != StartupMode::GroupOffsets || source.group_id.is_some() {
        return None;
    }
    let mode = options.iter().find(|o| o.key.value == "scan.startup.mode");
    let span = mode.map_or(span, |mode| mode.value.span);
    let message = "on Flink this read fails: it has no group to begin at the offsets of";
    let notice = Diagnostic::notice("flink", span, message);
    Some(
        notice
            .detail("'scan.startup.mode' is 'group-offsets' where it is not given.")
            .hint("'properties.group.id' = '…', or 'scan.startup.mode' = 'earliest-offset'"),
    )
}

fn hive(sink: &IcebergSink, table: &Table) -> Option<Diagnostic> {
    let option = |key: &str| table.options.iter().find(|o| o.key.value == key);
    if option("catalog-type").is_some() {
        return None;
    }
    let name = option("catalog-name")?;
    let message = format!(
        "Flink takes catalog '{}' for a Hive metastore",
        sink.catalog
    );
    let notice = Diagnostic::notice("flink", name.value.span, message);
    Some(
        notice
            .detail(
                "Here lakeward.toml says where a catalog is; Flink knows only the table's options.",
            )
            .hint("'catalog-type' = 'rest', 'uri' = 'http://…'"),
    )
}
