//! A job graph as text: `EXPLAIN`, and the goldens of this crate's tests.
//!
//! One operator per line, the sink first and its input below it, as Flink prints a plan.

use lw_graph::{
    CsvSpec, DatagenSource, FileFormat, FileSource, FormatSpec, Generator, JobGraph, KafkaSource,
    Node, NodeId, Operator, SinkSpec, SourceColumn, TypeKind,
};
use lw_graph::{SourceSpec, StartupMode};

mod state;
mod window;

pub(crate) use state::state;
pub(crate) use window::Names;

/// The plan, one operator per line. What several operators read stands below the first of them.
pub fn explain(graph: &JobGraph) -> String {
    let mut readers = vec![0; graph.nodes.len()];
    for input in graph.nodes.iter().flat_map(|node| &node.inputs) {
        readers[*input] += 1;
    }
    let mut text = Text {
        graph,
        readers,
        reused: Vec::new(),
        out: String::new(),
    };
    for (at, (sink, _)) in graph.sinks().enumerate() {
        if at > 0 {
            text.out.push('\n');
        }
        text.tree(sink, "", "");
    }
    text.out
}

struct Text<'a> {
    graph: &'a JobGraph,
    readers: Vec<usize>,
    /// Operators of several readers, in the order in which they were written.
    reused: Vec<NodeId>,
    out: String,
}

impl Text<'_> {
    /// An operator with what stands before its line, and its inputs below it with what stands before theirs.
    fn tree(&mut self, id: NodeId, before: &str, below: &str) {
        self.out += before;
        if let Some(known) = self.reused.iter().position(|node| *node == id) {
            self.out += &format!("Reused(reference_id=[{}])\n", known + 1);
            return;
        }
        self.out += &operator(self.graph, &self.graph.nodes[id]);
        if self.readers[id] > 1 {
            self.reused.push(id);
            self.out += &format!("(reuse_id=[{}])", self.reused.len());
        }
        self.out.push('\n');
        let inputs = &self.graph.nodes[id].inputs;
        for (at, input) in inputs.iter().enumerate() {
            let is_last = at + 1 == inputs.len();
            let (branch, bar) = if is_last {
                ("+- ", "   ")
            } else {
                (":- ", ":  ")
            };
            self.tree(
                *input,
                &format!("{below}{branch}"),
                &format!("{below}{bar}"),
            );
        }
    }
}

fn operator(graph: &JobGraph, node: &Node) -> String {
    match &node.operator {
        Operator::Source(SourceSpec::Kafka(source)) => kafka(source, node),
        Operator::Source(SourceSpec::Datagen(source)) => datagen(source, node),
        Operator::Source(SourceSpec::Files(source)) => files(source, node),
        Operator::Filter(condition) => format!("Filter({condition})"),
        Operator::Project(columns) => {
            let columns = columns.iter().zip(node.schema.names());
            let columns = columns.map(|(expr, name)| {
                let expr = expr.to_string();
                if expr == name {
                    expr
                } else {
                    format!("{expr} AS {name}")
                }
            });
            format!("Project({})", columns.collect::<Vec<_>>().join(", "))
        }
        Operator::Watermark {
            column,
            expression,
            idle,
        } => {
            let name = node.schema.names().nth(*column).unwrap_or_default();
            format!("Watermark({name} AS {expression}{})", idle_after(*idle))
        }
        Operator::Union => "Union".to_string(),
        Operator::CurrentWatermark => "CurrentWatermark".to_string(),
        Operator::Expand { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup(_)
        | Operator::WindowJoin { .. }
        | Operator::WindowAssign { .. }
        | Operator::WindowAggregate { .. }
        | Operator::WindowRank { .. }
        | Operator::Over { .. } => window::operator(graph, node),
        Operator::Sink(sink) => format!("Sink({}, columns=[{}])", self::sink(sink), schema(node)),
    }
}

/// Behind how many milliseconds without a row a partition is not waited for.
pub(crate) fn idle_after(idle: Option<i64>) -> String {
    idle.map_or_else(String::new, |millis| format!(", idle=[{millis} ms]"))
}

fn schema(node: &Node) -> String {
    let fields = node.schema.fields.iter();
    let fields = fields.map(|field| format!("{} {}", field.name, field.ty));
    fields.collect::<Vec<_>>().join(", ")
}

fn sink(sink: &SinkSpec) -> String {
    match sink {
        SinkSpec::Iceberg(iceberg) => {
            let mut text = format!(
                "iceberg, table=[{}.{}], catalog=[{}]",
                iceberg.namespace, iceberg.table, iceberg.catalog
            );
            if let Some(uri) = &iceberg.uri {
                text += &format!(", uri=[{uri}]");
            }
            if let Some(warehouse) = &iceberg.warehouse {
                text += &format!(", warehouse=[{warehouse}]");
            }
            if !iceberg.partitioned_by.is_empty() {
                let columns = iceberg.partitioned_by.iter();
                let columns = columns.map(|place| iceberg.schema.fields[*place].name.as_str());
                text += &format!(", partitions=[{}]", columns.collect::<Vec<_>>().join(", "));
            }
            if !iceberg.properties.is_empty() {
                let pairs = iceberg.properties.iter().map(|(k, v)| format!("{k}={v}"));
                text += &format!(", properties=[{}]", pairs.collect::<Vec<_>>().join(", "));
            }
            text
        }
        SinkSpec::Delta(delta) => {
            let mut text = format!("delta, path=[{}]", delta.table_path);
            if !delta.partitioned_by.is_empty() {
                let columns = delta.partitioned_by.iter();
                let columns = columns.map(|place| delta.schema.fields[*place].name.as_str());
                text += &format!(", partitions=[{}]", columns.collect::<Vec<_>>().join(", "));
            }
            if delta.merge_schema {
                text += ", mergeSchema=[true]";
            }
            if !delta.properties.is_empty() {
                let pairs = delta.properties.iter().map(|(k, v)| format!("{k}={v}"));
                text += &format!(", properties=[{}]", pairs.collect::<Vec<_>>().join(", "));
            }
            text
        }
        SinkSpec::Print { identifier } if identifier.is_empty() => "print".to_string(),
        SinkSpec::Print { identifier } => format!("print, identifier=[{identifier}]"),
        SinkSpec::Blackhole => "blackhole".to_string(),
    }
}

fn kafka(source: &KafkaSource, node: &Node) -> String {
    let columns = source.columns.iter().zip(&node.schema.fields);
    let columns = columns.map(|(from, field)| match from {
        SourceColumn::Value(_) => format!("{} {}", field.name, field.ty),
        SourceColumn::Key(_) => format!("{} {} KEY", field.name, field.ty),
        SourceColumn::Metadata(key) => format!("{} {} METADATA {key:?}", field.name, field.ty),
        SourceColumn::Appended => format!("{} {} APPENDED", field.name, field.ty),
    });
    let mut text = format!(
        "Source(kafka, table=[{}], topics=[{}], startup=[{}], format=[{}], columns=[{}]",
        source.table,
        source.topics.join(", "),
        startup(&source.startup),
        format(&source.format),
        columns.collect::<Vec<_>>().join(", "),
    );
    if let Some(key) = &source.key {
        text += &format!(", key=[{}]", format(&key.format));
    }
    if let Some(group) = &source.group_id {
        text += &format!(", group=[{group}]");
    }
    if source.bounded {
        text += ", bounded";
    }
    text + ")"
}

fn files(source: &FileSource, node: &Node) -> String {
    let format = match &source.format {
        FileFormat::Lines(lines) => format(lines),
        FileFormat::Parquet => "parquet".to_string(),
    };
    let columns = source.columns.iter().zip(&node.schema.fields);
    let columns = columns.map(|(from, field)| match from {
        SourceColumn::Metadata(key) => format!("{} {} METADATA {key:?}", field.name, field.ty),
        _ => format!("{} {}", field.name, field.ty),
    });
    let mut text = format!(
        "Source(filesystem, table=[{}], path=[{}], format=[{format}], columns=[{}]",
        source.table,
        source.path,
        columns.collect::<Vec<_>>().join(", "),
    );
    let partitions: Vec<&str> = source.partitions.names().collect();
    if !partitions.is_empty() {
        text += &format!(", partitions=[{}]", partitions.join(", "));
    }
    if let Some(pattern) = &source.pattern {
        text += &format!(", pattern=[{pattern}]");
    }
    match source.watch {
        Some(millis) => text + &format!(", watched each=[{millis} ms])"),
        None => text + ", bounded)",
    }
}

fn datagen(source: &DatagenSource, node: &Node) -> String {
    let fields = source.columns.iter().zip(&node.schema.fields);
    let fields = fields.map(|(from, field)| {
        let SourceColumn::Value(column) = from else {
            return format!("{} {}", field.name, field.ty);
        };
        let made = match &source.fields[*column] {
            Generator::Sequence { start, end } => format!("{start}, … {end}"),
            Generator::Whole { min, max } => match &field.ty.kind {
                TypeKind::Decimal { scale, .. } => {
                    let unit = 10_f64.powi(i32::from(*scale));
                    format!("random {} to {}", *min as f64 / unit, *max as f64 / unit)
                }
                _ => format!("random {min} to {max}"),
            },
            Generator::Real { min, max } => format!("random {min:?} to {max:?}"),
            Generator::Truth => "random".to_string(),
            Generator::Letters { length } => format!("random, {length} long"),
        };
        format!("{} {}: {made}", field.name, field.ty)
    });
    let mut text = format!(
        "Source(datagen, table=[{}], rows-per-second=[{}], columns=[{}]",
        source.table,
        source.rows_per_second,
        fields.collect::<Vec<_>>().join(", "),
    );
    if let Some(rows) = source.rows {
        text += &format!(", number-of-rows=[{rows}]");
    }
    text + ")"
}

fn startup(mode: &StartupMode) -> String {
    match mode {
        StartupMode::Earliest => "earliest-offset".to_string(),
        StartupMode::Latest => "latest-offset".to_string(),
        StartupMode::GroupOffsets => "group-offsets".to_string(),
        StartupMode::Timestamp(millis) => format!("timestamp {millis}"),
        StartupMode::Specific(offsets) => {
            let pairs = offsets
                .iter()
                .map(|(partition, offset)| format!("{partition}:{offset}"));
            pairs.collect::<Vec<_>>().join(" ")
        }
    }
}

fn format(format: &FormatSpec) -> String {
    match format {
        FormatSpec::Avro {
            legacy_timestamps: true,
        } => "avro".to_string(),
        FormatSpec::Avro { .. } => "avro, exact timestamps".to_string(),
        FormatSpec::AvroConfluent { url, subject } => {
            let mut text = "avro-confluent".to_string();
            if let Some(url) = url {
                text += &format!(", url={url}");
            }
            if let Some(subject) = subject {
                text += &format!(", subject={subject}");
            }
            text
        }
        FormatSpec::Json {
            fail_on_missing_field,
            ignore_parse_errors,
            iso_timestamps,
        } => {
            let mut text = "json".to_string();
            for (on, name) in [
                (*fail_on_missing_field, "fail-on-missing-field"),
                (*ignore_parse_errors, "ignore-parse-errors"),
                (*iso_timestamps, "ISO-8601"),
            ] {
                if on {
                    text += &format!(", {name}");
                }
            }
            text
        }
        FormatSpec::Csv(spec) => csv(spec),
        FormatSpec::Raw => "raw".to_string(),
    }
}

/// What is not as it is without options.
fn csv(spec: &CsvSpec) -> String {
    let default = CsvSpec::default();
    let seen = |c: char| match c.is_control() {
        true => c.escape_debug().to_string(),
        false => c.to_string(),
    };
    let shown = |name: &str, value: &str| {
        let value: String = value.chars().map(seen).collect();
        format!(", {name}={value}")
    };
    let mut text = "csv".to_string();
    if spec.delimiter != default.delimiter {
        text += &shown("field-delimiter", &spec.delimiter.to_string());
    }
    match spec.quote {
        quote if quote == default.quote => {}
        Some(quote) => text += &shown("quote-character", &quote.to_string()),
        None => text += ", no quotes",
    }
    if let Some(escape) = spec.escape {
        text += &shown("escape-character", &escape.to_string());
    }
    if spec.element_delimiter != default.element_delimiter {
        text += &shown(
            "array-element-delimiter",
            &spec.element_delimiter.to_string(),
        );
    }
    if let Some(literal) = &spec.null_literal {
        text += &shown("null-literal", &format!("'{literal}'"));
    }
    for (on, name) in [
        (spec.comments, "allow-comments"),
        (spec.ignore_parse_errors, "ignore-parse-errors"),
    ] {
        if on {
            text += &format!(", {name}");
        }
    }
    text
}
