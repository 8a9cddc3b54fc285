//! The job graph: what the planner hands to the runtime for one `INSERT INTO`.

use crate::{
    AggregateCall, Expr, Frame, LogicalType, Lookup, OperatorUid, Schema, SortKey, TypeKind,
};
use crate::{DatagenSource, FileSource, Generator};
use crate::{Window, WindowProperty, WindowShape, Windowing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Position of a node in [`JobGraph::nodes`].
pub type NodeId = usize;

/// Operators in topological order: every node's inputs stand before it. What nobody reads is a sink; the last node is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub operator: Operator,
    /// None of a source, two or more of a union, two of a join, one of any other; the operator's ports in this order.
    pub inputs: Vec<NodeId>,
    /// Columns of the output.
    pub schema: Schema,
}

/// What a node does with its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operator {
    Source(SourceSpec),
    /// Keeps rows for which the condition is TRUE.
    Filter(Expr),
    /// One expression per output column.
    Project(Vec<Expr>),
    /// Emits `max(expression)` over the rows so far as the watermark of `column` (Flink `WATERMARK FOR … AS …`).
    Watermark {
        column: usize,
        expression: Expr,
        /// A partition that had no row for longer than so many milliseconds is not waited for, until one comes; `None`: it is, for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idle: Option<i64>,
    },
    /// Each row once for each set of keys. Gives the input's columns, then each key, NULL where the set is without it, then what tells
    /// the sets apart ([`Operator::set_number`], BIGINT NOT NULL). The sets of a row stand behind each other.
    Expand {
        keys: Vec<usize>,
        /// For each key whether the set has it.
        sets: Vec<Vec<bool>>,
    },
    /// A window function by itself: one row for each window that a row is in. Gives the input's columns, then `window_start`,
    /// `window_end` and `window_time`. Without state, unless the window is a session: a session's rows are given when it fires.
    WindowAssign {
        uid: OperatorUid,
        window: Window,
        /// Of a session: each combination of these columns has its own.
        partition: Vec<usize>,
    },
    /// One row for each key and window that had a row, when the window fires. Gives keys, aggregates and properties.
    WindowAggregate {
        uid: OperatorUid,
        windowing: Windowing,
        keys: Vec<usize>,
        aggregates: Vec<AggregateCall>,
        properties: Vec<WindowProperty>,
    },
    /// The rows of each key and window whose rank is `first` to `last`, counted from 1, when the window fires; the earlier of two
    /// equal rows is ranked first, or where the `latest` row is kept, the later. Gives the input's columns, and the rank (BIGINT NOT NULL) behind them where it is asked for.
    WindowRank {
        uid: OperatorUid,
        windowing: Windowing,
        keys: Vec<usize>,
        order: Vec<SortKey>,
        first: u64,
        last: u64,
        rank: bool,
        /// It is the last row by event time that is asked for (Flink's deduplication).
        latest: bool,
    },
    /// Aggregates of each row and of those of its key before it, once the watermark has reached its time. Gives the input's columns,
    /// then the aggregates; rows by event time, and by arrival where that is the same. Without a bound a row is late when the watermark
    /// has reached it; with one, when its key has been woken at its time or later.
    Over {
        uid: OperatorUid,
        keys: Vec<usize>,
        /// The event time.
        time: usize,
        frame: Frame,
        aggregates: Vec<AggregateCall>,
        /// A key is forgotten behind so many milliseconds in which nothing of it came, and at most half as many more; `None`: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<i64>,
    },
    /// The rows of all inputs, which have the same types: two or more. Its watermark is the least of theirs.
    Union,
    /// A row for each element of a column: an ARRAY, or a MAP, of which each entry is an element of two columns; a MULTISET is the MAP of
    /// its values with how often each is there, and gives a value that often. Gives the input's columns, then those of the element (a
    /// ROW is its fields), then, where it is asked for, the element's number from 1 (INT NOT NULL).
    Unnest {
        column: usize,
        /// A row that has no element is there once, with NULL for the columns of the element and for its number.
        outer: bool,
        ordinality: bool,
        /// Which elements a row has; all of them without.
        on: Option<ElementCondition>,
    },
    /// Rows of two inputs that are in the same window and have the same keys, none of them NULL, when the window fires. Gives the left
    /// input's columns, then the right one's; `Semi` and `Anti` the left one's.
    WindowJoin {
        uid: OperatorUid,
        kind: JoinKind,
        /// How each input says which window its rows are in: both `Attached`.
        windows: [Windowing; 2],
        /// Columns of the left and of the right input that are equal.
        keys: Vec<(usize, usize)>,
        /// Besides, over the left input's columns and the right one's behind them.
        condition: Option<Expr>,
    },
    /// Each row with the rows of a table that have its keys, as the table is when the row is computed.
    Lookup(Box<Lookup>),
    /// Puts behind the input's columns the watermark before each row, in the type of its event time; NULL where there is none yet.
    CurrentWatermark,
    Sink(SinkSpec),
}

/// A condition that elements of a row have to meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElementCondition {
    /// Columns of the input that it reads.
    pub reads: Vec<usize>,
    /// Over these, and behind them the columns of the element and its number.
    pub is: Expr,
}

/// Which rows of two inputs a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinKind {
    Inner,
    /// Rows of the left input that have none on the right too, with NULL for its columns.
    Left,
    Right,
    Full,
    /// Rows of the left input that have one on the right, each once.
    Semi,
    /// Rows of the left input that have none on the right.
    Anti,
}

impl JoinKind {
    pub fn name(self) -> &'static str {
        match self {
            JoinKind::Inner => "INNER",
            JoinKind::Left => "LEFT",
            JoinKind::Right => "RIGHT",
            JoinKind::Full => "FULL",
            JoinKind::Semi => "SEMI",
            JoinKind::Anti => "ANTI",
        }
    }

    /// Whether the left and the right input's columns are NULL in some rows, whatever their types say.
    pub fn pads(self) -> [bool; 2] {
        match self {
            JoinKind::Left => [false, true],
            JoinKind::Right => [true, false],
            JoinKind::Full => [true, true],
            JoinKind::Inner | JoinKind::Semi | JoinKind::Anti => [false, false],
        }
    }

    /// Whether it gives columns of the right input.
    pub fn gives_right(self) -> bool {
        !matches!(self, JoinKind::Semi | JoinKind::Anti)
    }
}

impl Operator {
    /// The number of a set of keys: a bit for each, the last one's the lowest, which is 1 where the set is without it (`GROUPING_ID`).
    pub fn set_number(set: &[bool]) -> i64 {
        set.iter().fold(0, |bits, has| bits << 1 | i64::from(!has))
    }

    /// By input, the columns by whose values its rows can be shared out among several instances; `None` where all belong together.
    pub fn shard_keys(&self) -> Option<Vec<Vec<usize>>> {
        let keys = match self {
            Operator::WindowAggregate { keys, .. }
            | Operator::WindowRank { keys, .. }
            | Operator::Over { keys, .. } => vec![keys.clone()],
            Operator::WindowAssign {
                window, partition, ..
            } if matches!(window.shape, WindowShape::Session { .. }) => vec![partition.clone()],
            Operator::WindowJoin { keys, .. } => {
                let (left, right) = keys.iter().copied().unzip();
                vec![left, right]
            }
            _ => Vec::new(),
        };
        keys.first()
            .is_some_and(|keys| !keys.is_empty())
            .then_some(keys)
    }

    /// The name of its state; `None` where it has none.
    pub fn state(&self) -> Option<OperatorUid> {
        match self {
            Operator::WindowAssign { uid, window, .. } => {
                matches!(window.shape, WindowShape::Session { .. }).then_some(*uid)
            }
            Operator::WindowAggregate { uid, .. }
            | Operator::WindowRank { uid, .. }
            | Operator::WindowJoin { uid, .. }
            | Operator::Over { uid, .. } => Some(*uid),
            Operator::Source(_)
            | Operator::Filter(_)
            | Operator::Project(_)
            | Operator::Expand { .. }
            | Operator::Watermark { .. }
            | Operator::Union
            | Operator::Unnest { .. }
            | Operator::Lookup(_)
            | Operator::CurrentWatermark
            | Operator::Sink(_) => None,
        }
    }

    /// What an operator over windows or with OVER is called, and its uid. `None` for the others.
    pub fn windowed(&self) -> Option<(&'static str, OperatorUid)> {
        match self {
            Operator::WindowAssign { uid, .. } => Some(("WindowAssign", *uid)),
            Operator::WindowAggregate { uid, .. } => Some(("WindowAggregate", *uid)),
            Operator::WindowRank { uid, .. } => Some(("WindowRank", *uid)),
            Operator::WindowJoin { uid, .. } => Some(("WindowJoin", *uid)),
            Operator::Over { uid, .. } => Some(("Over", *uid)),
            Operator::Source(_)
            | Operator::Filter(_)
            | Operator::Project(_)
            | Operator::Expand { .. }
            | Operator::Watermark { .. }
            | Operator::Union
            | Operator::Unnest { .. }
            | Operator::Lookup(_)
            | Operator::CurrentWatermark
            | Operator::Sink(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourceSpec {
    Kafka(KafkaSource),
    Datagen(DatagenSource),
    Files(FileSource),
}

impl SourceSpec {
    /// The table's name as the script has it.
    pub fn table(&self) -> &str {
        match self {
            SourceSpec::Kafka(source) => &source.table,
            SourceSpec::Datagen(source) => &source.table,
            SourceSpec::Files(source) => &source.table,
        }
    }

    /// What its splits are of: topics, the table that is made up, or the place of the files.
    pub fn topics(&self) -> Vec<String> {
        match self {
            SourceSpec::Kafka(source) => source.topics.clone(),
            SourceSpec::Datagen(source) => vec![source.table.clone()],
            SourceSpec::Files(source) => vec![source.path.clone()],
        }
    }

    /// Whether it reads splits of that topic. Each file is a topic of its own.
    pub fn reads(&self, topic: &str) -> bool {
        match self {
            SourceSpec::Files(source) => Path::new(topic).starts_with(&source.path),
            SourceSpec::Kafka(_) | SourceSpec::Datagen(_) => {
                self.topics().iter().any(|of| of == topic)
            }
        }
    }

    /// Whether reading it goes on for ever.
    pub fn is_endless(&self) -> bool {
        match self {
            SourceSpec::Kafka(source) => !source.bounded,
            SourceSpec::Files(source) => source.watch.is_some(),
            SourceSpec::Datagen(source) => {
                let is_sequence = |field: &Generator| matches!(field, Generator::Sequence { .. });
                source.rows.is_none() && !source.fields.iter().any(is_sequence)
            }
        }
    }

    /// Under which offsets are published, where the script says so.
    pub fn group_id(&self) -> Option<&String> {
        match self {
            SourceSpec::Kafka(source) => source.group_id.as_ref(),
            SourceSpec::Datagen(_) | SourceSpec::Files(_) => None,
        }
    }

    /// The columns that are read of a record's value, in the order of the DDL.
    pub fn value_schema(&self) -> &Schema {
        match self {
            SourceSpec::Kafka(source) => &source.value_schema,
            SourceSpec::Datagen(source) => &source.value_schema,
            SourceSpec::Files(source) => &source.value_schema,
        }
    }

    /// The names, in the table, of the columns that are read of what stands beside a record's value: of its key, or of its file's path.
    fn beside(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            SourceSpec::Kafka(source) => {
                let names = source.key.iter().flat_map(|key| &key.names);
                Box::new(names.map(String::as_str))
            }
            SourceSpec::Files(source) => Box::new(source.partitions.names()),
            SourceSpec::Datagen(_) => Box::new(std::iter::empty()),
        }
    }

    /// Where each column of the table is read that is no metadata, by its name. What is in key and value is the value's, as in Flink.
    pub fn stored(&self) -> BTreeMap<&str, SourceColumn> {
        let beside = (0..).zip(self.beside());
        let beside = beside.map(|(at, name)| (name, SourceColumn::Key(at)));
        let value = (0..).zip(self.value_schema().names());
        let value = value.map(|(at, name)| (name, SourceColumn::Value(at)));
        beside.chain(value).collect()
    }

    /// Says which columns it gives.
    pub fn set_columns(&mut self, columns: Vec<SourceColumn>) {
        match self {
            SourceSpec::Kafka(source) => source.columns = columns,
            SourceSpec::Datagen(source) => source.columns = columns,
            SourceSpec::Files(source) => source.columns = columns,
        }
    }
}

/// A table over Kafka topics (`'connector' = 'kafka'`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KafkaSource {
    /// The table's name as the script has it, for messages and metrics.
    pub table: String,
    pub topics: Vec<String>,
    /// `properties.bootstrap.servers` as the script has it.
    pub bootstrap: String,
    /// `properties.group.id`, under which offsets are published.
    pub group_id: Option<String>,
    pub startup: StartupMode,
    /// `'scan.bounded.mode' = 'latest-offset'`: the read ends at the offsets that were the end when it began.
    pub bounded: bool,
    pub format: FormatSpec,
    /// The columns that the record's value holds, in the order of the DDL. For bare `avro` this *is* the writer's schema.
    pub value_schema: Schema,
    /// How the record's key is read, where columns are of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySpec>,
    /// The output: which column of the value or key, or which metadata key, each output column is. Only what the plan needs.
    pub columns: Vec<SourceColumn>,
}

/// How the key of a Kafka record is read (`'key.format'`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeySpec {
    pub format: FormatSpec,
    /// The columns that it holds, in the order of `'key.fields'`, under their names there: without `'key.fields-prefix'`.
    pub schema: Schema,
    /// Their names in the table.
    pub names: Vec<String>,
}

/// Where an output column of a source comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourceColumn {
    /// Index into the value schema.
    Value(usize),
    /// Index into the columns that stand beside the value: those of a Kafka record's key, or those that a file's path says.
    Key(usize),
    /// A metadata key, in its own type; the planner adds a cast where the DDL declares another.
    Metadata(MetadataKey),
    /// What the wall clock showed when the log took the record in ([`SourceColumn::appended`]): what `NOW()` and its kin are. Where that is not
    /// known (another cluster, an older log), the record's timestamp.
    Appended,
}

impl SourceColumn {
    /// The type of [`SourceColumn::Appended`].
    pub fn appended() -> LogicalType {
        TypeKind::TimestampLtz(3).not_null()
    }
}

/// The metadata of a Kafka record and of a file, as Flink has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetadataKey {
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    LeaderEpoch,
    Headers,
    FilePath,
    FileName,
    FileSize,
}

impl MetadataKey {
    /// The type in which the key is read.
    pub fn ty(self) -> LogicalType {
        match self {
            MetadataKey::Topic
            | MetadataKey::TimestampType
            | MetadataKey::FilePath
            | MetadataKey::FileName => TypeKind::string().not_null(),
            MetadataKey::Partition => TypeKind::Int.not_null(),
            MetadataKey::Offset | MetadataKey::FileSize => TypeKind::BigInt.not_null(),
            MetadataKey::Timestamp => TypeKind::TimestampLtz(3).not_null(),
            MetadataKey::LeaderEpoch => TypeKind::Int.nullable(),
            MetadataKey::Headers => TypeKind::Map(
                Box::new(TypeKind::string().nullable()),
                Box::new(TypeKind::bytes().nullable()),
            )
            .not_null(),
        }
    }
}

/// Where reading starts when there is no checkpoint (`scan.startup.mode`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartupMode {
    Earliest,
    Latest,
    /// Committed offsets of the group; where there are none, the earliest, with a notice.
    GroupOffsets,
    /// First record at or after this time, milliseconds since 1970.
    Timestamp(i64),
    /// Partition → offset.
    Specific(BTreeMap<i32, i64>),
}

/// How a record's value is encoded, with its options already checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatSpec {
    /// Flink's `avro`: no framing; the schema derived from the DDL is the writer's.
    Avro {
        legacy_timestamps: bool,
    },
    /// Framed with the registry's schema id.
    AvroConfluent {
        url: Option<String>,
        subject: Option<String>,
    },
    Json {
        fail_on_missing_field: bool,
        ignore_parse_errors: bool,
        iso_timestamps: bool,
    },
    Csv(CsvSpec),
    /// The value's bytes as they are, one BYTES or STRING column.
    Raw,
}

/// How `'format' = 'csv'` writes a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvSpec {
    /// Between fields.
    pub delimiter: char,
    /// Around a field that holds delimiters or ends of lines; `None`: nothing is a quote.
    pub quote: Option<char>,
    /// Before a character that means itself.
    pub escape: Option<char>,
    /// Between the elements of an ARRAY or ROW.
    pub element_delimiter: char,
    /// The text of a field that is NULL.
    pub null_literal: Option<String>,
    /// Lines that begin with `#` are passed over, and empty ones.
    pub comments: bool,
    pub ignore_parse_errors: bool,
}

impl Default for CsvSpec {
    fn default() -> CsvSpec {
        CsvSpec {
            delimiter: ',',
            quote: Some('"'),
            escape: None,
            element_delimiter: ';',
            null_literal: None,
            comments: false,
            ignore_parse_errors: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SinkSpec {
    Iceberg(IcebergSink),
    Delta(DeltaSink),
    /// Rows to standard output of `lakeward run`, as Flink's `print` writes them.
    Print {
        identifier: String,
    },
    /// Rows are counted and dropped.
    Blackhole,
}

impl SinkSpec {
    /// The branch that it fills, of a table whose `main` is somebody else's.
    pub fn branch(&self) -> Option<&str> {
        match self {
            SinkSpec::Iceberg(sink) => sink.branch.as_deref(),
            SinkSpec::Delta(_) | SinkSpec::Print { .. } | SinkSpec::Blackhole => None,
        }
    }
}

/// What becomes of rows that come when all windows that they belong to have fired. They are counted and located in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LateRows {
    #[default]
    Drop,
    /// Their records are kept in `<table>__late`.
    SideTable,
    /// The job stops.
    Fail,
}

/// What becomes of a table that rows of its pipeline do not fit, because the script asks for more, or somebody changed the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaChange {
    /// The pipeline pauses until they fit.
    #[default]
    Pause,
    /// The table gets what it lacks: columns are added, widened and made optional.
    Evolve,
}

impl SchemaChange {
    fn is_pause(&self) -> bool {
        *self == SchemaChange::Pause
    }
}

/// An Iceberg table (`'connector' = 'iceberg'`), names already resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IcebergSink {
    /// `'catalog-name'` as the script has it; `lakeward.toml` says where it is.
    pub catalog: String,
    /// `'uri'` of the WITH clause: a REST catalog elsewhere.
    pub uri: Option<String>,
    pub namespace: String,
    pub table: String,
    /// `'warehouse'` as the script has it, to be mapped by `lakeward.toml`.
    pub warehouse: Option<String>,
    pub format_version: u8,
    /// Columns of the table.
    pub schema: Schema,
    /// Primary key columns by index (append tables have none).
    pub primary_key: Vec<usize>,
    /// Columns by index whose values make the partitions (`PARTITIONED BY`) of a table that is made anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<usize>,
    /// What becomes of rows that come too late (`'lakeward.late'`).
    #[serde(default)]
    pub late: LateRows,
    /// What becomes of a table that rows do not fit (`'lakeward.schema-change'`).
    #[serde(default, skip_serializing_if = "SchemaChange::is_pause")]
    pub schema_change: SchemaChange,
    /// The branch of the table that rows go to; `None`: `main`. A script has none to name: it is a replay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Every option that is not the connector's own becomes a table property, as in Flink.
    pub properties: BTreeMap<String, String>,
}

/// A Delta Lake table (`'connector' = 'delta'`). Rows are appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeltaSink {
    /// `'table-path'` as the script has it, without a slash at its end, to be mapped by `lakeward.toml`. It is the table's name
    /// too: a Delta table has no other.
    pub table_path: String,
    /// Columns of the table.
    pub schema: Schema,
    /// Columns by index whose values make the partitions (`PARTITIONED BY`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<usize>,
    /// Columns that an existing table does not have are added to it (`'mergeSchema'`).
    #[serde(default)]
    pub merge_schema: bool,
    /// What becomes of rows that come too late (`'lakeward.late'`).
    #[serde(default)]
    pub late: LateRows,
    /// The table's properties, where it is made anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl JobGraph {
    /// Whether an operator keeps state from row to row: what comes of a part of the input is then no part of the output.
    pub fn has_state(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.operator.state().is_some())
    }

    /// Which columns of a node say when a window is, and what of it.
    pub fn window_columns(&self, node: NodeId) -> Vec<(usize, WindowProperty)> {
        let columns = 0..self.nodes[node].schema.fields.len();
        let of_window = columns.filter_map(|column| Some((column, self.property(node, column)?)));
        of_window.collect()
    }

    /// What a column of a node says of a window, wherever below it was given.
    fn property(&self, node: NodeId, column: usize) -> Option<WindowProperty> {
        let Node {
            operator, inputs, ..
        } = &self.nodes[node];
        let input = *inputs.first()?;
        let width = self.nodes[input].schema.fields.len();
        match operator {
            Operator::Source(_) => None,
            Operator::Project(expressions) => match &expressions[column] {
                Expr::Column { index, .. } => self.property(input, *index),
                _ => None,
            },
            Operator::WindowAggregate {
                keys,
                aggregates,
                properties,
                ..
            } => match keys.get(column) {
                Some(key) => self.property(input, *key),
                None => {
                    let column = column.checked_sub(keys.len() + aggregates.len())?;
                    properties.get(column).copied()
                }
            },
            Operator::WindowAssign { .. } if column >= width => {
                let added = [
                    WindowProperty::Start,
                    WindowProperty::End,
                    WindowProperty::Time,
                ];
                added.get(column - width).copied()
            }
            Operator::Union => {
                let mut of_inputs = inputs.iter().map(|input| self.property(*input, column));
                let first = of_inputs.next().flatten();
                first.filter(|first| of_inputs.all(|other| other == Some(*first)))
            }
            Operator::WindowJoin { kind, .. } => match column.checked_sub(width) {
                None if kind.pads()[0] => None,
                None => self.property(input, column),
                Some(_) if kind.pads()[1] => None,
                Some(column) => self.property(inputs[1], column),
            },
            Operator::Expand { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup(_)
            | Operator::CurrentWatermark
            | Operator::WindowRank { .. }
            | Operator::Over { .. }
                if column >= width =>
            {
                None
            }
            Operator::Filter(_)
            | Operator::Watermark { .. }
            | Operator::Expand { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup(_)
            | Operator::CurrentWatermark
            | Operator::WindowAssign { .. }
            | Operator::WindowRank { .. }
            | Operator::Over { .. }
            | Operator::Sink(_) => self.property(input, column),
        }
    }

    /// Which columns of a node are keys of an operator with state below it.
    pub fn key_columns(&self, node: NodeId) -> Vec<usize> {
        let columns = 0..self.nodes[node].schema.fields.len();
        columns
            .filter(|column| self.is_key(node, *column) && self.property(node, *column).is_none())
            .collect()
    }

    fn is_key(&self, node: NodeId, column: usize) -> bool {
        let Node {
            operator, inputs, ..
        } = &self.nodes[node];
        let Some(&input) = inputs.first() else {
            return false;
        };
        let width = self.nodes[input].schema.fields.len();
        let is_given = column < width;
        match operator {
            Operator::Source(_) => false,
            Operator::Project(expressions) => match &expressions[column] {
                Expr::Column { index, .. } => self.is_key(input, *index),
                _ => false,
            },
            Operator::WindowAggregate { keys, .. } => column < keys.len(),
            Operator::WindowRank { keys, .. } | Operator::Over { keys, .. } => {
                is_given && (keys.contains(&column) || self.is_key(input, column))
            }
            Operator::Union => inputs.iter().all(|input| self.is_key(*input, column)),
            Operator::WindowJoin { keys, .. } => {
                let (port, own) = if is_given {
                    (0, column)
                } else {
                    (1, column - width)
                };
                let mut of_port = keys.iter().map(|(left, right)| [*left, *right][port]);
                of_port.any(|key| key == own) || self.is_key(inputs[port], own)
            }
            Operator::Filter(_)
            | Operator::Watermark { .. }
            | Operator::Expand { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup(_)
            | Operator::CurrentWatermark
            | Operator::WindowAssign { .. }
            | Operator::Sink(_) => is_given && self.is_key(input, column),
        }
    }

    /// The sinks, in the order of the nodes.
    pub fn sinks(&self) -> impl Iterator<Item = (NodeId, &SinkSpec)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(id, node)| match &node.operator {
            Operator::Sink(sink) => Some((id, sink)),
            _ => None,
        })
    }

    pub fn sink(&self) -> Option<&SinkSpec> {
        match &self.nodes.last()?.operator {
            Operator::Sink(sink) => Some(sink),
            _ => None,
        }
    }

    pub fn sources(&self) -> impl Iterator<Item = &SourceSpec> {
        self.nodes.iter().filter_map(|node| match &node.operator {
            Operator::Source(source) => Some(source),
            _ => None,
        })
    }
}
