//! Jobs over several scans against a record-by-record reading of what Flink does, over random records, cuts and restarts.

mod asleep;
mod model;

use super::*;
use crate::chunk::{Chunk, Split};
use crate::connector::Appended;
use crate::operator::{Round, SplitTimes};
use crate::origins::{Origin, Runs};
use crate::state::{Limits, OperatorState, StateFiles, States};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_graph::{
    AggregateCall, AggregateFunction, Expr, Field, FormatSpec, Function, JoinKind, KafkaSource,
    Schema, SinkSpec, SourceColumn, SourceSpec, StartupMode, TypeKind, Value, Window,
    WindowProperty, WindowShape,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::Model;

/// The scan that it is of, its event time and its key; its place in the log is its number.
type Record = (usize, i64, Option<i64>);

const SIZE: i64 = 10;
const TOPICS: [&str; 2] = ["a", "b"];

fn columns() -> Schema {
    Schema::new(vec![
        Field::new("ts", TypeKind::Timestamp(3).nullable()),
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("place", TypeKind::BigInt.nullable()),
    ])
}

fn with(mut of: Schema, fields: &[(&str, TypeKind)]) -> Schema {
    let fields = fields.iter().cloned();
    of.fields
        .extend(fields.map(|(name, kind)| Field::new(name, kind.nullable())));
    of
}

fn column(index: usize, kind: TypeKind) -> Expr {
    Expr::Column {
        index,
        name: "c".into(),
        ty: kind.nullable(),
    }
}

#[derive(Default)]
struct Graph(Vec<Node>);

impl Graph {
    fn add(&mut self, operator: Op, inputs: &[usize], schema: Schema) -> usize {
        self.0.push(Node {
            operator,
            inputs: inputs.to_vec(),
            schema,
        });
        self.0.len() - 1
    }

    /// A scan and its watermark, the greatest time so far.
    fn scan(&mut self, topic: &str) -> usize {
        self.scan_with(topic, None)
    }

    /// The same of a scan that is not waited for when nothing came for so long.
    fn scan_with(&mut self, topic: &str, idle: Option<i64>) -> usize {
        let source = KafkaSource {
            table: topic.into(),
            topics: vec![topic.into()],
            bootstrap: "b".into(),
            group_id: None,
            startup: StartupMode::Earliest,
            bounded: true,
            format: FormatSpec::Raw,
            key: None,
            value_schema: columns(),
            columns: (0..3).map(SourceColumn::Value).collect(),
        };
        let source = self.add(Op::Source(SourceSpec::Kafka(source)), &[], columns());
        let watermark = Op::Watermark {
            column: 0,
            expression: column(0, TypeKind::Timestamp(3)),
            idle,
        };
        self.add(watermark, &[source], columns())
    }

    fn windows(&mut self, input: usize) -> usize {
        let schema = with(
            columns(),
            &["start", "end", "time"].map(|name| (name, TypeKind::Timestamp(3))),
        );
        let assign = Op::WindowAssign {
            uid: OperatorUid::of("assign"),
            window: window(SIZE),
            partition: Vec::new(),
        };
        self.add(assign, &[input], schema)
    }

    fn counts(&mut self, input: usize, size: i64) -> usize {
        let count = AggregateCall {
            function: AggregateFunction::Count,
            arguments: Vec::new(),
            distinct: false,
            filter: None,
            ty: TypeKind::BigInt.not_null(),
        };
        let counts = Op::WindowAggregate {
            uid: OperatorUid::of(&format!("counts {size} of {input}")),
            windowing: Windowing::Assign(window(size)),
            keys: Vec::new(),
            aggregates: vec![count],
            properties: vec![WindowProperty::End],
        };
        let schema = Schema::new(vec![
            Field::new("c", TypeKind::BigInt.not_null()),
            Field::new("end", TypeKind::Timestamp(3).not_null()),
        ]);
        self.add(counts, &[input], schema)
    }

    fn sink(mut self, input: usize) -> JobGraph {
        let schema = self.0[input].schema.clone();
        self.add(Op::Sink(SinkSpec::Blackhole), &[input], schema);
        JobGraph { nodes: self.0 }
    }
}

fn window(size: i64) -> Window {
    Window {
        shape: WindowShape::Tumble { size },
        offset: 0,
        time: 0,
        zone: None,
    }
}

/// A job with what it gave so far.
struct Job {
    graph: JobGraph,
    flow: Flow,
    parallelism: Parallelism,
    splits: Arc<[Split]>,
    files: StateFiles,
    /// The last checkpoint, and how many there were.
    stored: (Option<States>, u64),
    /// When each record was appended, where that is known.
    appended: Vec<i64>,
    /// Of the sink.
    rows: Vec<RecordBatch>,
    late: Vec<i64>,
}

impl Job {
    fn new(graph: JobGraph, shards: usize) -> Job {
        let parallelism = Parallelism::of(shards, &crate::pool::Pool::none());
        let topics = graph.sources().flat_map(SourceSpec::topics);
        let split = |topic: String| Split {
            topic: topic.into(),
            partition: 0,
        };
        let splits: Arc<[Split]> = topics.map(split).collect();
        let mut flow = Flow::parallel(&graph, &parallelism).expect("a graph");
        let awaited = SplitTimes::awaiting((0..splits.len() as u32).collect());
        let begin = Meetings::default();
        flow.upstream
            .go_on_from(&awaited, &splits, |_| None, &begin);
        Job {
            graph,
            flow,
            parallelism,
            splits,
            files: crate::state::tests::files(),
            stored: (None, 0),
            appended: Vec::new(),
            rows: Vec::new(),
            late: Vec::new(),
        }
    }

    /// One poll: records that follow on each other and are of one scan are a chunk.
    fn poll(&mut self, records: &[Record], first: usize) {
        let mut at = first;
        let appended = records.iter().zip(first..).filter_map(|(record, place)| {
            Some(Appended {
                split: record.0 as u32,
                to: place as i64 + 1,
                at: *self.appended.get(place)?,
            })
        });
        let appended: Vec<Appended> = appended.collect();
        self.flow.upstream.appended(&appended);
        for of_scan in records.chunk_by(|one, next| one.0 == next.0) {
            let chunk = self.chunk(of_scan, at);
            at += of_scan.len();
            let rounds = self.flow.upstream.process(chunk).expect("arrays fit");
            self.pass(rounds);
        }
    }

    fn chunk(&self, records: &[Record], first: usize) -> Chunk {
        let times = records.iter().map(|record| record.1 * 1000);
        let places = (first as i64..).take(records.len());
        let origins = places.clone().map(|offset| Origin {
            split: records[0].0 as u32,
            offset,
        });
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            Arc::new(
                records
                    .iter()
                    .map(|record| record.2)
                    .collect::<Int64Array>(),
            ),
            Arc::new(Int64Array::from_iter_values(places)),
        ];
        let columns = RecordBatch::try_new(arrow_schema(&columns()), arrays);
        let origins: Runs = origins.collect();
        Chunk::new(
            columns.expect("three columns"),
            origins,
            self.splits.clone(),
        )
    }

    fn pass(&mut self, rounds: Vec<Round>) {
        for (outlet, done) in rounds.into_iter().flat_map(Round::into_outlets) {
            let mut at = self.flow.downstream.at_sinks();
            let taken = self.flow.downstream.take(outlet, done.chunk, &mut at);
            taken.expect("nothing fails");
            self.land(at);
        }
    }

    fn land(&mut self, mut at: AtSinks) {
        self.rows
            .extend(at.rows.remove(0).into_iter().map(|chunk| chunk.columns));
        let late = at.late.remove(0).into_iter();
        self.late
            .extend(late.filter_map(|late| Some(late.record?.1)));
    }

    /// Writes down what operators know, by what changed wherever that can be.
    fn checkpoint(&mut self) {
        let (before, count) = (self.stored.0.take(), self.stored.1 + 1);
        let frozen = self.flow.downstream.freeze(before.as_ref(), &Limits::NONE);
        let mut to = self.files.writing(1, &count.to_string());
        let stored = frozen.expect("states").into_iter().map(|(uid, written)| {
            let before = before.as_ref().and_then(|before| before.get(&uid));
            let stored = OperatorState::behind(before, written, &mut to);
            (uid, stored.expect("it can be stored"))
        });
        self.stored = (Some(stored.collect()), count);
    }

    /// The process is gone behind the last checkpoint, and another one goes on.
    fn restart(&mut self) {
        self.checkpoint();
        // As a manifest has them.
        let known = self.flow.upstream.times().expect("event time").into_owned();
        let splits = 0..self.splits.len() as u32;
        let came = splits
            .clone()
            .filter_map(|split| Some((split, known.came(split)?)));
        let times = SplitTimes::awaiting(splits.clone().collect());
        let times = times.at(known.by_split().clone()).since(came.collect());
        let (alone, marks) = (self.flow.upstream.marked(), self.flow.upstream.marks());
        let meetings = self.flow.upstream.meetings();
        self.flow = Flow::parallel(&self.graph, &self.parallelism).expect("a graph");
        let Flow {
            upstream,
            downstream,
        } = &mut self.flow;
        let marked = |scan: &str| alone.or(marks.get(scan).copied());
        upstream.go_on_from(&times, &self.splits, marked, &meetings);
        let states = self.stored.0.as_ref().expect("a checkpoint");
        let restored = downstream.restore(states, &self.files, &crate::pool::Pool::none());
        restored.expect("its own states");
        downstream.go_on_from(&upstream.at_outlets());
    }

    fn end(&mut self) {
        let mut at = self.flow.downstream.at_sinks();
        self.flow.downstream.end(&mut at).expect("nothing fails");
        self.land(at);
    }

    /// Runs all records, cut into polls at the places, with restarts where they are wanted.
    fn run(&mut self, records: &[Record], cuts: &[(usize, bool)]) {
        let mut cuts: Vec<(usize, bool)> = cuts
            .iter()
            .map(|(cut, again)| ((*cut).min(records.len()), *again))
            .collect();
        cuts.push((records.len(), true));
        cuts.sort_unstable();
        let mut from = 0;
        for (cut, again) in cuts {
            self.poll(&records[from..cut], from);
            from = cut;
            match again {
                true => self.restart(),
                false => self.checkpoint(),
            }
        }
        self.end();
    }

    /// Of a join: the places of the rows that stand beside each other.
    fn pairs(&self, kind: JoinKind) -> Vec<(Option<i64>, Option<i64>)> {
        let columns: &[usize] = if kind.gives_right() { &[2, 8] } else { &[2] };
        let rows = self.numbers(columns).into_iter();
        rows.map(|row| (row[0], row.get(1).copied().flatten()))
            .collect()
    }

    /// The whole numbers in columns, times in milliseconds.
    fn numbers(&self, columns: &[usize]) -> Vec<Vec<Option<i64>>> {
        let mut rows = Vec::new();
        for batch in &self.rows {
            let of = |column: &usize| -> Vec<Option<i64>> {
                let column = batch.column(*column);
                match column.as_primitive_opt::<TimestampMicrosecondType>() {
                    Some(times) => times.iter().map(|time| Some(time? / 1000)).collect(),
                    None => column.as_primitive::<Int64Type>().iter().collect(),
                }
            };
            let of_batch: Vec<Vec<Option<i64>>> = columns.iter().map(of).collect();
            let row = |row: usize| of_batch.iter().map(|column| column[row]).collect();
            rows.extend((0..batch.num_rows()).map(row));
        }
        rows
    }
}

fn joined(kind: JoinKind, itself: bool, condition: bool, idle: [Option<i64>; 2]) -> JobGraph {
    let mut graph = Graph::default();
    let left = graph.scan_with(TOPICS[0], idle[0]);
    let right = match itself {
        true => left,
        false => graph.scan_with(TOPICS[1], idle[1]),
    };
    let inputs = [graph.windows(left), graph.windows(right)];
    let attached = || Windowing::Attached {
        start: 3,
        end: 4,
        zone: None,
    };
    let places = || vec![column(2, TypeKind::BigInt), column(8, TypeKind::BigInt)];
    let condition = condition.then(|| Expr::call(Function::NotEqual, places()).expect("typed"));
    let join = Op::WindowJoin {
        uid: OperatorUid::of("join"),
        kind,
        windows: [attached(), attached()],
        keys: vec![(1, 1)],
        condition,
    };
    let side = graph.0[inputs[0]].schema.clone();
    let mut schema = side.clone();
    if kind.gives_right() {
        schema.fields.extend(side.fields);
    }
    for field in &mut schema.fields {
        field.ty.nullable = true;
    }
    let join = graph.add(join, &inputs, schema);
    graph.sink(join)
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    let key = proptest::option::weighted(0.9, 0..3_i64);
    let step = (0..2_usize, -12..8_i64, key);
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let mut now = 0;
        let at = |(scan, by, key)| {
            now += 2;
            (scan, now + by, key)
        };
        steps.into_iter().map(at).collect()
    })
}

/// A chunk goes through one side of a join before the other.
fn sorted(late: &[i64]) -> Vec<i64> {
    let mut late = late.to_vec();
    late.sort_unstable();
    late
}

fn some_cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((0..60_usize, any::<bool>()), 0..6)
}

fn some_kind() -> impl Strategy<Value = JoinKind> {
    proptest::sample::select(vec![
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Right,
        JoinKind::Full,
        JoinKind::Semi,
        JoinKind::Anti,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_join_of_windows_gives_what_flinks_gives_record_by_record(
        kind in some_kind(),
        (itself, condition) in any::<(bool, bool)>(),
        mut records in some_records(),
        cuts in some_cuts(),
        shards in proptest::sample::select(vec![1, 2, 7]),
    ) {
        if itself {
            records.iter_mut().for_each(|record| record.0 = 0);
        }
        let mut job = Job::new(joined(kind, itself, condition, [None; 2]), shards);
        job.run(&records, &cuts);
        let mut model = Model::new(kind, condition, if itself { 1 } else { 2 });
        for (place, record) in records.iter().enumerate() {
            let sides = if itself { vec![0, 1] } else { vec![record.0] };
            model.take(*record, place as i64, &sides);
        }
        model.end();
        prop_assert_eq!(job.pairs(kind), model.rows);
        prop_assert_eq!(sorted(&job.late), sorted(&model.late));
        prop_assert_eq!(job.flow.downstream.sizes()[0].state_bytes, 0);
    }

    /// Two filters of one table, and another table: `k <> 1`, `k <> 2` and all; the watermark before each row is the lesser of the tables'.
    #[test]
    fn a_union_is_in_the_order_of_the_records_and_of_the_least_watermark(
        records in some_records(),
        cuts in some_cuts(),
    ) {
        let mut graph = Graph::default();
        let (a, b) = (graph.scan(TOPICS[0]), graph.scan(TOPICS[1]));
        let is_not = |key: i64| {
            let key = Expr::Literal { value: Value::Integer(key), ty: TypeKind::BigInt.not_null() };
            Op::Filter(Expr::call(Function::NotEqual, vec![column(1, TypeKind::BigInt), key]).expect("typed"))
        };
        let ways = [graph.add(is_not(1), &[a], columns()), b, graph.add(is_not(2), &[a], columns())];
        let union = graph.add(Op::Union, &ways, columns());
        let watermark = with(columns(), &[("w", TypeKind::Timestamp(3))]);
        let watermark = graph.add(Op::CurrentWatermark, &[union], watermark);
        let mut job = Job::new(graph.sink(watermark), 1);
        job.run(&records, &cuts);
        let mut by_scan = [None, None];
        let mut expected = Vec::new();
        for (place, (scan, time, key)) in records.iter().enumerate() {
            let before = by_scan[0].min(by_scan[1]);
            let times = match (scan, key) {
                (1, _) => 1,
                (_, None) => 0,
                (_, Some(key)) => usize::from(*key != 1) + usize::from(*key != 2),
            };
            expected.extend(std::iter::repeat_n(vec![Some(place as i64), before], times));
            by_scan[*scan] = by_scan[*scan].max(Some(*time));
        }
        prop_assert_eq!(job.numbers(&[2, 3]), expected);
    }

    /// Windows of two sizes over one table, under each other as their marks come, however the log is cut.
    #[test]
    fn what_comes_together_behind_state_is_in_one_order_for_polls_of_any_size(
        mut records in some_records(),
        cuts in some_cuts(),
    ) {
        records.iter_mut().for_each(|record| record.0 = 0);
        let run = |cuts: &[(usize, bool)]| {
            let mut graph = Graph::default();
            let scan = graph.scan(TOPICS[0]);
            let counts = [graph.counts(scan, 10), graph.counts(scan, 4)];
            let schema = graph.0[counts[0]].schema.clone();
            let union = graph.add(Op::Union, &counts, schema);
            let mut job = Job::new(graph.sink(union), 1);
            job.run(&records, cuts);
            job.numbers(&[0, 1])
        };
        let one_by_one: Vec<(usize, bool)> = (0..records.len()).map(|at| (at, false)).collect();
        prop_assert_eq!(run(&cuts), run(&one_by_one));
    }
}

/// The read of one table is at its end while the other goes on: it holds nothing back any more.
#[test]
fn a_table_that_is_read_to_its_end_holds_no_window_back() {
    let mut job = Job::new(joined(JoinKind::Left, false, false, [None; 2]), 1);
    let done = |job: &mut Job, splits: &[u32]| {
        let done = splits.iter().copied().collect();
        let all = job.splits.clone();
        job.flow.upstream.done(&done, &all);
        let rounds = job.flow.upstream.end_scans(&all).expect("arrays fit");
        job.pass(rounds);
    };
    done(&mut job, &[]);
    job.poll(&[(1, 3, Some(1)), (0, 5, Some(1)), (0, 25, Some(1))], 0);
    assert_eq!(job.numbers(&[2]).len(), 0, "b has come to 3");
    done(&mut job, &[1]);
    assert_eq!(job.numbers(&[2, 8]), [[Some(1), Some(0)]]);
    assert_eq!(
        job.flow.upstream.marks()[TOPICS[1]],
        crate::chunk::Mark::END
    );
    job.restart();
    done(&mut job, &[1]);
    job.poll(&[(0, 4, Some(1)), (0, 31, Some(1))], 3);
    assert_eq!(job.late, [3], "a alone has let its window fire");
    assert_eq!(job.numbers(&[2, 8])[1..], [[Some(2), None]]);
}

#[test]
fn a_topic_that_two_scans_read_is_refused() {
    let mut graph = Graph::default();
    let ways = [graph.scan("a"), graph.scan("a")];
    let union = graph.add(Op::Union, &ways, columns());
    let error = Flow::compile(&graph.sink(union)).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "the job graph reads topic 'a' in two scans"
    );
}
