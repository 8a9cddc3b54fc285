//! Rows joined with those of a table, and which version of it they see.

use super::*;
use crate::chunk::Chunk;
use crate::connector::{NamedSink, Output, Owner, Source};
use crate::job::{InsertSpec, JobSpec, Settings};
use crate::manifest::SplitOffset;
use crate::origins::{Origin, Runs};
use arrow_array::{Int64Array, RecordBatch, StringArray};
use lw_formats::arrow_schema;
use lw_graph::{
    ElementCondition, Expr, Field, FormatSpec, Function, IcebergSink, JoinKind, KafkaSource,
    LateRows, LookupPlace, LookupTable, Node, Operator, Schema, SchemaChange, SinkSpec,
    SourceColumn, SourceSpec, StartupMode, TypeKind, Value,
};
use lw_stdx::clock::SystemClock;
use uuid::Uuid;

/// `key name, key name`; `-` is NULL.
type Rows = &'static str;

/// A table by version.
struct Table(Arc<Mutex<BTreeMap<String, Rows>>>);

impl LookupSource for Table {
    fn newest(&mut self) -> Result<String, ConnectorError> {
        Ok(self.0.lock().keys().last().expect("a version").clone())
    }

    fn has(&mut self, version: &str) -> Result<bool, ConnectorError> {
        Ok(self.0.lock().contains_key(version))
    }

    fn read(
        &mut self,
        version: &str,
        columns: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        // Each row in a batch of its own.
        for row in self.0.lock()[version]
            .split(", ")
            .filter(|row| !row.is_empty())
        {
            take(batch(row, columns))?;
        }
        Ok(())
    }
}

fn batch(rows: &str, columns: &Schema) -> RecordBatch {
    let rows: Vec<(&str, &str)> = rows
        .split(", ")
        .filter_map(|row| row.split_once(' '))
        .collect();
    let keys: Int64Array = rows.iter().map(|(key, _)| key.parse().ok()).collect();
    let names: StringArray = rows
        .iter()
        .map(|(_, name)| Some(*name).filter(|name| *name != "-"))
        .collect();
    RecordBatch::try_new(arrow_schema(columns), vec![Arc::new(keys), Arc::new(names)])
        .expect("two columns")
}

struct World(Arc<Mutex<BTreeMap<String, Rows>>>);

impl Connectors for World {
    fn source(&self, _: &SourceSpec, _: &str) -> Result<Box<dyn Source>, ConnectorError> {
        unreachable!("nothing is read")
    }
    fn lookup(&self, _: &LookupTable) -> Result<Box<dyn LookupSource>, ConnectorError> {
        Ok(Box::new(Table(self.0.clone())))
    }
    fn sink(&self, _: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
        unreachable!("nothing is written")
    }
    fn publish_offsets(&self, _: &str, _: &[SplitOffset]) {}
}

fn columns() -> Schema {
    Schema::new(vec![
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("name", TypeKind::string().nullable()),
    ])
}

fn column(index: usize) -> Expr {
    let Field { name, ty } = columns().fields[index % 2].clone();
    Expr::Column { index, name, ty }
}

fn lookup(kind: JoinKind) -> Lookup {
    Lookup {
        table: LookupTable {
            name: "d".into(),
            place: LookupPlace::Iceberg(IcebergSink {
                catalog: "lake".into(),
                uri: None,
                namespace: "ns".into(),
                table: "d".into(),
                warehouse: None,
                format_version: 2,
                schema: Schema::new(Vec::new()),
                primary_key: Vec::new(),
                partitioned_by: Vec::new(),
                late: LateRows::Drop,
                schema_change: SchemaChange::Pause,
                branch: None,
                properties: BTreeMap::new(),
            }),
            refresh: 1,
            max_bytes: 1 << 20,
        },
        kind,
        columns: columns(),
        keys: vec![(0, column(0))],
        filter: None,
        on: None,
    }
}

/// A job that looks the rows of a topic up.
fn job(lookup: Lookup) -> JobSpec {
    let joined = columns()
        .fields
        .into_iter()
        .map(|field| Field::new(format!("d_{}", field.name), field.ty));
    let joined = Schema::new(columns().fields.into_iter().chain(joined).collect());
    let source = SourceSpec::Kafka(KafkaSource {
        table: "o".into(),
        topics: vec!["o".into()],
        bootstrap: String::new(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        value_schema: columns(),
        key: None,
        columns: vec![SourceColumn::Value(0), SourceColumn::Value(1)],
    });
    let node = |operator, inputs, schema: &Schema| Node {
        operator,
        inputs,
        schema: schema.clone(),
    };
    let graph = JobGraph {
        nodes: vec![
            node(Operator::Source(source), vec![], &columns()),
            node(Operator::Lookup(Box::new(lookup)), vec![0], &joined),
            node(Operator::Sink(SinkSpec::Blackhole), vec![1], &joined),
        ],
    };
    JobSpec {
        owner: Owner {
            pipeline: Uuid::nil(),
            name: "p".into(),
        },
        inserts: vec![InsertSpec {
            table: "t".into(),
            occurrence: 0,
            plan: "plan".into(),
        }],
        graph,
        group: "g".into(),
        settings: Settings::default(),
        finished: Arc::new(|| {}),
    }
}

struct Job {
    flow: Flow,
    lookups: Lookups,
    status: Arc<JobStatus>,
}

fn open(lookup: Lookup, world: &World, pinned: &Pins) -> Result<Job, ConnectorError> {
    let job = job(lookup);
    let status = Arc::new(JobStatus::new(&job));
    let lookups = Lookups::open(
        &job.graph,
        world,
        pinned,
        status.clone(),
        Arc::new(SystemClock::new()),
    )?;
    let flow =
        Flow::looking_up(&job.graph, &Parallelism::none(), lookups.slots()).expect("a chain");
    Ok(Job {
        flow,
        lookups,
        status,
    })
}

impl Job {
    /// `offset: key name found; …` of rows that have the offsets 0, 1, …; behind it the offsets that fail.
    fn joins(&mut self, rows: &str) -> String {
        let rows = batch(rows, &columns());
        let origins: Runs = (0..rows.num_rows() as i64)
            .map(|offset| Origin { split: 0, offset })
            .collect();
        let chunk = Chunk::new(rows, origins, Arc::new([]));
        let mut said = Vec::new();
        for round in self.flow.upstream.process(chunk).expect("it fits") {
            for (_, done) in round.into_outlets() {
                let columns = &done.chunk.columns;
                let text = |column: usize, row: usize| {
                    let column = columns.column(column);
                    arrow_cast::display::array_value_to_string(column, row)
                        .map(|text| if text.is_empty() { "-".into() } else { text })
                        .expect("text")
                };
                let origins: Vec<Origin> = done
                    .chunk
                    .origins
                    .runs()
                    .expect("of the log")
                    .iter()
                    .collect();
                for (row, origin) in origins.iter().enumerate() {
                    said.push(format!(
                        "{}: {} {}",
                        origin.offset,
                        text(2, row),
                        text(3, row)
                    ));
                }
                said.extend(
                    done.failures
                        .iter()
                        .map(|failure| format!("{} fails", failure.origin.offset)),
                );
            }
        }
        said.join("; ")
    }
}

fn world(versions: &[(&str, Rows)]) -> World {
    let versions = versions
        .iter()
        .map(|(version, rows)| (version.to_string(), *rows));
    World(Arc::new(Mutex::new(versions.collect())))
}

fn joined(lookup: Lookup, table: Rows, rows: &str) -> String {
    let job = open(lookup, &world(&[("1", table)]), &Pins::new());
    job.expect("it opens").joins(rows)
}

const TABLE: Rows = "1 a, - nobody, 2 c, 2 b, 3 -";

#[test]
fn a_row_is_joined_with_all_of_its_key_and_null_is_none() {
    let rows = "2 x, 9 x, - x, 3 x, 1 x";
    let inner = "0: 2 b; 0: 2 c; 3: 3 -; 4: 1 a";
    assert_eq!(joined(lookup(JoinKind::Inner), TABLE, rows), inner);
    let left = "0: 2 b; 0: 2 c; 1: - -; 2: - -; 3: 3 -; 4: 1 a";
    assert_eq!(joined(lookup(JoinKind::Left), TABLE, rows), left);
    assert_eq!(joined(lookup(JoinKind::Inner), "", rows), "");
    assert_eq!(joined(lookup(JoinKind::Left), "", "2 x"), "0: - -");
}

#[test]
fn rows_of_one_key_have_one_order_however_they_were_read() {
    let join = |table| joined(lookup(JoinKind::Inner), table, "2 x");
    assert_eq!(join("2 c, 1 z, 2 -, 2 b"), join("2 b, 2 c, 2 -, 1 z"));
}

fn call(function: Function, args: Vec<Expr>) -> Expr {
    Expr::call(function, args).expect("it is typed")
}

fn text(value: &str) -> Expr {
    Expr::Literal {
        value: Value::String(value.into()),
        ty: TypeKind::string().not_null(),
    }
}

#[test]
fn conditions_leave_out_rows_of_the_table_and_pairs() {
    let filtered = |kind| Lookup {
        filter: Some(call(Function::NotEqual, vec![column(1), text("c")])),
        ..lookup(kind)
    };
    assert_eq!(joined(filtered(JoinKind::Inner), TABLE, "2 x"), "0: 2 b");
    // The row's name, then the table's columns.
    let of_pairs = |kind| Lookup {
        on: Some(ElementCondition {
            reads: vec![1],
            is: call(
                Function::Less,
                vec![
                    column(1).map_columns(&mut |_| 0),
                    column(1).map_columns(&mut |_| 2),
                ],
            ),
        }),
        ..lookup(kind)
    };
    let rows = "2 bb, 2 z, 1 A, 3 a, 9 a";
    assert_eq!(
        joined(of_pairs(JoinKind::Inner), TABLE, rows),
        "0: 2 c; 2: 1 a"
    );
    let left = "0: 2 c; 1: - -; 2: 1 a; 3: - -; 4: - -";
    assert_eq!(joined(of_pairs(JoinKind::Left), TABLE, rows), left);
}

#[test]
fn a_pair_that_cannot_be_computed_is_its_records_failure() {
    let zero = |index| {
        let of = Expr::Column {
            index,
            name: "k".into(),
            ty: TypeKind::BigInt.nullable(),
        };
        let two = Expr::Literal {
            value: Value::Integer(2),
            ty: TypeKind::BigInt.not_null(),
        };
        call(Function::Minus, vec![of, two])
    };
    let one = Expr::Literal {
        value: Value::Integer(6),
        ty: TypeKind::BigInt.not_null(),
    };
    let is = call(
        Function::Less,
        vec![call(Function::Divide, vec![one.clone(), zero(0)]), one],
    );
    let lookup = Lookup {
        on: Some(ElementCondition { reads: vec![], is }),
        ..lookup(JoinKind::Left)
    };
    assert_eq!(
        joined(lookup, TABLE, "1 x, 2 x, 3 x, 2 x"),
        "0: 1 a; 2: - -; 1 fails; 3 fails"
    );
}

#[test]
fn a_table_that_is_too_large_is_refused_in_words() {
    let mut small = lookup(JoinKind::Inner);
    small.table.max_bytes = 300;
    let error = open(small, &world(&[("1", TABLE)]), &Pins::new());
    let error = error.err().expect("it is too large");
    assert!(
        error
            .message
            .starts_with("table 'd' is too large to look rows up in: its first"),
        "{}",
        error.message
    );
    assert!(
        error.hint.contains("'lakeward.lookup.max-memory'"),
        "{}",
        error.hint
    );
}

#[test]
fn a_newer_version_is_taken_when_it_is_swapped_in_and_a_pinned_one_is_read_again() {
    let world = world(&[("1", "2 old")]);
    let mut job = open(lookup(JoinKind::Inner), &world, &Pins::new()).expect("it opens");
    let pins = |version: &str| Pins::from([("lake.ns.d".to_string(), version.to_string())]);
    assert_eq!(
        (job.joins("2 x"), job.lookups.pins()),
        ("0: 2 old".into(), &pins("1"))
    );
    world.0.lock().insert("2".into(), "2 new");
    assert_eq!(job.lookups.swap(), None, "nobody has looked");
    job.lookups.look().expect("it can be read");
    assert_eq!(job.joins("2 x"), "0: 2 old", "it is loaded, and not taken");
    assert_eq!(job.lookups.swap(), Some(pins("2")));
    assert_eq!(job.joins("2 x"), "0: 2 new");
    assert_eq!(job.lookups.swap(), None);
    job.lookups.look().expect("it can be read");
    assert_eq!(job.lookups.swap(), None, "it is the same");
    // A restart goes on with what is pinned, whatever is newer.
    let mut again = open(lookup(JoinKind::Inner), &world, &pins("1")).expect("it opens");
    assert_eq!(
        (again.joins("2 x"), again.lookups.pins()),
        ("0: 2 old".into(), &pins("1"))
    );
    assert_eq!(again.status.get().lookups[0].note, None);
    // What is gone cannot be read again, and that is told.
    world.0.lock().remove("1");
    let mut gone = open(lookup(JoinKind::Inner), &world, &pins("1")).expect("it opens");
    assert_eq!(
        (gone.joins("2 x"), gone.lookups.pins()),
        ("0: 2 new".into(), &pins("2"))
    );
    let note = gone.status.get().lookups[0].note.clone();
    assert!(note.is_some_and(|note| note.contains("version 1") && note.contains("is gone")));
}

#[test]
fn a_thread_loads_what_is_new() {
    let world = world(&[("1", "2 old")]);
    let mut job = open(lookup(JoinKind::Inner), &world, &Pins::new()).expect("it opens");
    job.lookups.watch().expect("a thread");
    world.0.lock().insert("2".into(), "2 new");
    while job.lookups.swap().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(job.joins("2 x"), "0: 2 new");
}
