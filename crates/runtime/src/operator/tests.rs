//! A flow over small chunks: a failing row never takes another with it.

use super::*;
use crate::chunk::Mark;
use crate::chunk::Split;
use crate::pool::Pool;
use crate::state::{Limits, OperatorState, States};
use arrow_array::cast::AsArray;
use arrow_array::{Int32Array, RecordBatch};
use arrow_schema::SchemaRef;
use lw_formats::arrow_schema;
use lw_graph::{
    Expr, Field, Function, JobGraph, Node, NodeId, Operator, Schema, SinkSpec, SourceSpec,
    TypeKind, Value,
};
use std::sync::Arc;

fn column() -> Expr {
    Expr::Column {
        index: 0,
        name: "a".into(),
        ty: TypeKind::Int.nullable(),
    }
}

fn literal(value: i64) -> Expr {
    Expr::Literal {
        value: Value::Integer(value),
        ty: TypeKind::Int.not_null(),
    }
}

fn call(function: Function, args: Vec<Expr>) -> Expr {
    Expr::call(function, args).expect("typed")
}

/// `SELECT 12 / a WHERE a <> 4`
fn graph() -> JobGraph {
    let schema = Schema::new(vec![Field::new("a", TypeKind::Int.nullable())]);
    let source = SourceSpec::Kafka(lw_graph::KafkaSource {
        table: "t".into(),
        topics: vec!["t".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: lw_graph::StartupMode::Earliest,
        bounded: false,
        format: lw_graph::FormatSpec::Raw,
        key: None,
        value_schema: schema.clone(),
        columns: vec![lw_graph::SourceColumn::Value(0)],
    });
    let operators = [
        Operator::Source(source),
        Operator::Filter(call(Function::NotEqual, vec![column(), literal(4)])),
        Operator::Project(vec![call(Function::Divide, vec![literal(12), column()])]),
        Operator::Sink(SinkSpec::Blackhole),
    ];
    let nodes = operators
        .into_iter()
        .enumerate()
        .map(|(id, operator)| Node {
            operator,
            inputs: if id == 0 { Vec::new() } else { vec![id - 1] },
            schema: schema.clone(),
        })
        .collect();
    JobGraph { nodes }
}

/// What came to each outlet.
fn whole(rounds: Result<Vec<Round>, OperatorError>) -> Vec<Processed> {
    let rounds = rounds.expect("a record fails, not the job").into_iter();
    let outlets = rounds.flat_map(Round::into_outlets);
    outlets.map(|(_, done)| done).collect()
}

/// Values by offset; the text of what came out, and the offsets that failed.
fn run(values: Vec<Option<i32>>) -> (String, Vec<i64>) {
    let graph = graph();
    let origins = (0..values.len())
        .map(|offset| Origin {
            split: 0,
            offset: offset as i64,
        })
        .collect();
    let columns = RecordBatch::try_new(
        arrow_schema(&graph.nodes[0].schema),
        vec![Arc::new(Int32Array::from(values))],
    )
    .expect("one column");
    let splits: Arc<[Split]> = Arc::from([Split {
        topic: "t".into(),
        partition: 0,
    }]);
    let mut flow = Flow::compile(&graph).expect("a tree");
    let done = flow.upstream.process(Chunk::new(columns, origins, splits));
    let done = whole(done).remove(0);
    let column: &Int32Array = done.chunk.columns.column(0).as_primitive();
    let rows: Vec<String> = done
        .chunk
        .origins
        .runs()
        .expect("rows of the log")
        .iter()
        .zip(column)
        .map(|(origin, value)| {
            format!(
                "{}:{}",
                origin.offset,
                value.map_or("NULL".into(), |v| v.to_string())
            )
        })
        .collect();
    let failed = done
        .failures
        .iter()
        .map(|failure| failure.origin.offset)
        .collect();
    (rows.join(" "), failed)
}

#[test]
fn rows_pass_in_order_and_a_null_condition_drops() {
    let (rows, failed) = run(vec![Some(1), Some(4), None, Some(5)]);
    assert_eq!((rows.as_str(), failed), ("0:12 3:2", vec![]));
}

#[test]
fn only_the_failing_rows_fail() {
    let (rows, failed) = run(vec![Some(0), Some(6), Some(0), Some(4), Some(0), Some(3)]);
    assert_eq!((rows.as_str(), failed), ("1:2 5:4", vec![0, 2, 4]));
}

#[test]
fn a_batch_of_nothing_but_failures_leaves_no_rows() {
    let (rows, failed) = run(vec![Some(0); 1000]);
    assert_eq!((rows.as_str(), failed.len()), ("", 1000));
}

/// `a * a` of a NOT NULL DECIMAL(38, 10) is NOT NULL by Flink's rules, and NULL where it has too many digits.
#[test]
fn a_null_in_a_column_without_null_is_the_failure_of_its_record() {
    let decimal = |scale| TypeKind::Decimal {
        precision: 38,
        scale,
    };
    let field = |kind: TypeKind| Schema::new(vec![Field::new("a", kind.not_null())]);
    let a = Expr::Column {
        index: 0,
        name: "a".into(),
        ty: decimal(10).not_null(),
    };
    let square = call(Function::Times, vec![a.clone(), a]);
    let squared = square.ty().clone();
    assert_eq!(squared.to_string(), "DECIMAL(38, 6) NOT NULL");
    let mut graph = graph();
    graph.nodes.remove(1);
    for (id, node) in graph.nodes.iter_mut().enumerate() {
        node.inputs = id.checked_sub(1).into_iter().collect();
        node.schema = Schema::new(vec![Field::new("a", squared.clone())]);
    }
    graph.nodes[0].schema = field(decimal(10));
    graph.nodes[1].operator = Operator::Project(vec![square]);
    let one = 10_i128.pow(10);
    let values = arrow_array::Decimal128Array::from(vec![one, 10_i128.pow(37), 3 * one]);
    let columns = RecordBatch::try_new(
        arrow_schema(&graph.nodes[0].schema),
        vec![Arc::new(
            values.with_precision_and_scale(38, 10).expect("fits"),
        )],
    )
    .expect("one column");
    let splits: Arc<[Split]> = Arc::from([Split {
        topic: "t".into(),
        partition: 0,
    }]);
    let origins = (0..3).map(|offset| Origin { split: 0, offset }).collect();
    let done = Flow::compile(&graph)
        .expect("a tree")
        .upstream
        .process(Chunk::new(columns, origins, splits));
    let done = whole(done).remove(0);
    let offsets: Vec<i64> = done
        .chunk
        .origins
        .runs()
        .expect("rows of the log")
        .iter()
        .map(|o| o.offset)
        .collect();
    assert_eq!(offsets, [0, 2]);
    let failed: Vec<String> = done
        .failures
        .iter()
        .map(|f| format!("{} {}: {}", f.origin.offset, f.code, f.message))
        .collect();
    assert_eq!(
        failed,
        [
            "1 not_null: column 'a' is NOT NULL, and its value is NULL: a number has more digits than its type"
        ]
    );
}

/// A record that became several rows, which fail in different steps, beside one that fails too.
#[test]
fn a_record_that_fails_in_two_steps_fails_once() {
    let mut graph = graph();
    // `SELECT 12 / a WHERE 10 / (a - 4) <> 0`: 4 fails in the filter, 0 in the projection.
    let minus = call(Function::Minus, vec![column(), literal(4)]);
    let quotient = call(Function::Divide, vec![literal(10), minus]);
    let zero = literal(0);
    graph.nodes[1].operator = Operator::Filter(call(Function::NotEqual, vec![quotient, zero]));
    let origins = [0, 0, 1].map(|offset| Origin { split: 0, offset });
    let columns = RecordBatch::try_new(
        arrow_schema(&graph.nodes[0].schema),
        vec![Arc::new(Int32Array::from(vec![4, 0, 4]))],
    )
    .expect("one column");
    let splits: Arc<[Split]> = Arc::from([Split {
        topic: "t".into(),
        partition: 0,
    }]);
    let batch = Chunk::new(columns, origins.into_iter().collect(), splits);
    let done = Flow::compile(&graph)
        .expect("a tree")
        .upstream
        .process(batch);
    let done = whole(done).remove(0);
    let failed: Vec<i64> = done.failures.iter().map(|f| f.origin.offset).collect();
    assert_eq!((done.chunk.rows(), failed), (0, vec![0, 1]));
}

#[test]
fn failures_between_good_rows_take_none_of_them() {
    // Runs of good rows of every length between single and double failures.
    let mut values = Vec::new();
    for run in 0..40 {
        values.extend(vec![Some(3); run]);
        values.extend(vec![Some(0); 1 + run % 2]);
    }
    let bad: Vec<i64> = (0..values.len() as i64)
        .filter(|row| values[*row as usize] == Some(0))
        .collect();
    let good = values.len() - bad.len();
    let (rows, failed) = run(values);
    assert_eq!((rows.split(' ').count(), failed), (good, bad));
}

/// What becomes of `1, 0, 4` at each sink of a graph over one column: rows and failures, by offset.
fn at_each_sink(operators: Vec<(Operator, Vec<NodeId>)>) -> Vec<(Vec<i64>, Vec<i64>)> {
    let mut graph = graph();
    let node = |(operator, inputs)| Node {
        operator,
        inputs,
        schema: graph.nodes[0].schema.clone(),
    };
    let nodes: Vec<Node> = operators.into_iter().map(node).collect();
    graph.nodes.splice(1.., nodes);
    let columns = RecordBatch::try_new(
        arrow_schema(&graph.nodes[0].schema),
        vec![Arc::new(Int32Array::from(vec![1, 0, 4]))],
    )
    .expect("one column");
    let splits: Arc<[Split]> = Arc::from([Split {
        topic: "t".into(),
        partition: 0,
    }]);
    let origins = (0..3).map(|offset| Origin { split: 0, offset }).collect();
    let mut flow = Flow::compile(&graph).expect("a tree");
    let done = flow.upstream.process(Chunk::new(columns, origins, splits));
    let offsets = |done: &Processed| {
        let rows = done
            .chunk
            .origins
            .runs()
            .expect("rows of the log")
            .iter()
            .map(|at| at.offset)
            .collect();
        let failed = done.failures.iter().map(|failure| failure.origin.offset);
        (rows, failed.collect())
    };
    whole(done).iter().map(offsets).collect()
}

fn divides() -> Operator {
    Operator::Project(vec![call(Function::Divide, vec![literal(12), column()])])
}

fn sink() -> Operator {
    Operator::Sink(SinkSpec::Blackhole)
}

#[test]
fn a_failure_in_the_stem_is_every_sinks_and_one_in_a_branch_its_own() {
    let without_four = Operator::Filter(call(Function::NotEqual, vec![column(), literal(4)]));
    let branch = vec![
        (divides(), vec![0]),
        (sink(), vec![1]),
        (without_four.clone(), vec![0]),
        (sink(), vec![3]),
    ];
    assert_eq!(
        at_each_sink(branch),
        [(vec![0, 2], vec![1]), (vec![0, 1], vec![])]
    );
    let stem = vec![
        (divides(), vec![0]),
        (sink(), vec![1]),
        (without_four, vec![1]),
        (sink(), vec![3]),
    ];
    assert_eq!(
        at_each_sink(stem),
        [(vec![0, 2], vec![1]), (vec![0, 2], vec![1])]
    );
}

#[test]
fn what_does_not_lead_from_scans_to_sinks_is_refused() {
    let refused = |operators: Vec<(Operator, Vec<NodeId>)>| {
        let mut graph = graph();
        let node = |(operator, inputs)| Node {
            operator,
            inputs,
            schema: graph.nodes[0].schema.clone(),
        };
        let nodes: Vec<Node> = operators.into_iter().map(node).collect();
        graph.nodes.splice(1.., nodes);
        let error = Flow::compile(&graph).err().expect("it is refused");
        error.to_string()
    };
    let no_tree = "the job graph does not lead from scans to sinks";
    assert_eq!(refused(vec![]), no_tree);
    assert_eq!(refused(vec![(divides(), vec![0])]), no_tree, "no sink");
    assert_eq!(refused(vec![(sink(), vec![0]), (sink(), vec![1])]), no_tree);
    assert_eq!(refused(vec![(sink(), vec![1])]), no_tree, "of itself");
    let watermark = Operator::Watermark {
        column: 0,
        expression: column(),
        idle: None,
    };
    assert_eq!(
        refused(vec![
            (watermark.clone(), vec![0]),
            (watermark, vec![1]),
            (sink(), vec![2])
        ]),
        "the job graph has two watermarks for one scan"
    );
}

/// Gives the sum of its rows whenever a mark comes, and at the end. Rows of 13 are late.
#[derive(Default)]
struct Sums {
    sum: i64,
    watermark: Option<i64>,
}

impl super::Operator for Sums {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let values: &Int32Array = chunk.columns.column(0).as_primitive();
        let mut marks = chunk.marks.iter().peekable();
        for row in 0..=chunk.rows() {
            while let Some(mark) = marks.next_if(|mark| mark.row == row) {
                self.watermark = Some(mark.watermark);
                out.emit(self.fire(&chunk));
            }
            match values.iter().nth(row).flatten() {
                Some(13) => out.late(Late {
                    row,
                    event_time: 13,
                    watermark: self.watermark.unwrap_or_default(),
                }),
                value => self.sum += i64::from(value.unwrap_or_default()),
            }
        }
        Ok(())
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        let columns = RecordBatch::new_empty(arrow_schema(&graph().nodes[0].schema));
        let none = Chunk::derived(columns, Vec::new(), Arc::new([]));
        out.emit(self.fire(&none));
        Ok(())
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        let sum = Int32Array::from(vec![self.sum as i32]);
        let rows = RecordBatch::try_from_iter([("sum", Arc::new(sum) as _)]);
        to.watermark(self.watermark);
        to.section("sum", rows.expect("one column"));
        Ok(())
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark();
        for section in from.sections("sum") {
            let sums: &Int32Array = section.rows.column(0).as_primitive();
            self.sum += i64::from(sums.value(0));
        }
        Ok(())
    }
}

impl Sums {
    fn fire(&mut self, of: &Chunk) -> Chunk {
        let sum = Int32Array::from(vec![std::mem::take(&mut self.sum) as i32]);
        let columns = RecordBatch::try_new(of.columns.schema(), vec![Arc::new(sum)]);
        let watermark = self.watermark.unwrap_or_default();
        let mark = Mark { row: 1, watermark };
        Chunk::derived(columns.expect("one column"), vec![mark], of.splits.clone())
    }
}

/// `SELECT 12 / a` of the sums of `12 / a`, with the sums themselves in a second sink.
fn over_sums() -> Flow {
    let mut graph = graph();
    let schema = graph.nodes[0].schema.clone();
    let window = lw_graph::Window {
        shape: lw_graph::WindowShape::Tumble { size: 1 },
        offset: 0,
        time: 0,
        zone: None,
    };
    let sums = Operator::WindowAggregate {
        uid: lw_graph::OperatorUid::of("sums"),
        windowing: lw_graph::Windowing::Assign(window),
        keys: Vec::new(),
        aggregates: Vec::new(),
        properties: Vec::new(),
    };
    graph.nodes.truncate(1);
    for (operator, input) in [
        (divides(), 0),
        (sums, 1),
        (divides(), 2),
        (sink(), 3),
        (sink(), 2),
    ] {
        graph.nodes.push(Node {
            operator,
            inputs: vec![input],
            schema: schema.clone(),
        });
    }
    let make = |_: &[SchemaRef], _: &Node| -> Result<Box<dyn super::Operator>, FlowError> {
        Ok(Box::new(Sums::default()))
    };
    Flow::compile_with(&graph, &make).expect("a tree")
}

fn numbers(values: &[Option<i32>], marks: &[(usize, i64)]) -> Chunk {
    let columns = RecordBatch::try_new(
        arrow_schema(&graph().nodes[0].schema),
        vec![Arc::new(Int32Array::from(values.to_vec()))],
    );
    let origins = (0..values.len() as i64).map(|offset| Origin { split: 0, offset });
    let split = Split {
        topic: "t".into(),
        partition: 0,
    };
    let mut chunk = Chunk::new(
        columns.expect("one column"),
        origins.collect(),
        Arc::new([split]),
    );
    let mark = |(row, watermark): &(usize, i64)| Mark {
        row: *row,
        watermark: *watermark,
    };
    chunk.marks = marks.iter().map(mark).collect();
    chunk
}

/// What comes to a sink.
fn landed(at: &AtSinks, sink: usize) -> Vec<i32> {
    let chunks = at.rows[sink].iter();
    let values = chunks.flat_map(|chunk| {
        let values: &Int32Array = chunk.columns.column(0).as_primitive();
        values.values().to_vec()
    });
    values.collect()
}

fn through(flow: &mut Flow, chunk: Chunk, at: &mut AtSinks) -> Vec<i64> {
    let mut failed = Vec::new();
    let rounds = flow.upstream.process(chunk).expect("arrays fit");
    for (outlet, done) in rounds.into_iter().flat_map(Round::into_outlets) {
        failed.extend(done.failures.iter().map(|failure| failure.origin.offset));
        flow.downstream
            .take(outlet, done.chunk, at)
            .expect("nothing stops the job");
    }
    failed
}

#[test]
fn what_stands_behind_state_gets_what_the_marks_let_fire() {
    let mut flow = over_sums();
    assert_eq!(
        (
            flow.upstream.outlets(),
            flow.downstream.sinks_behind(0).len()
        ),
        (1, 2)
    );
    assert_eq!(flow.downstream.outlets_of_sinks(), [[0], [0]]);
    let mut at = flow.downstream.at_sinks();
    let chunk = numbers(
        &[Some(6), Some(0), Some(3), Some(12), Some(12)],
        &[(3, 50), (4, 60)],
    );
    // 12 / 0 fails, and the mark behind it is not lost.
    assert_eq!(through(&mut flow, chunk, &mut at), [1]);
    assert_eq!((landed(&at, 1), landed(&at, 0)), (vec![6, 1], vec![2, 12]));
    flow.downstream.end(&mut at).expect("nothing stops the job");
    assert_eq!(landed(&at, 1), [6, 1, 1]);
}

#[test]
fn a_row_behind_an_aggregate_that_cannot_be_computed_stops_the_job() {
    let mut flow = over_sums();
    let mut at = flow.downstream.at_sinks();
    let error = flow.downstream.take(0, numbers(&[], &[(0, 50)]), &mut at);
    let error = error.expect_err("12 / 0");
    assert_eq!(
        error.to_string(),
        "a row behind an aggregate cannot be computed: / by zero"
    );
}

#[test]
fn a_late_row_is_known_by_its_record() {
    let mut flow = over_sums();
    let mut at = flow.downstream.at_sinks();
    let chunk = numbers(&[Some(1), Some(13)], &[(1, 50)]);
    flow.downstream
        .take(0, chunk, &mut at)
        .expect("nothing stops the job");
    let [late] = &at.late[0][..] else {
        panic!("one late row: {:?}", at.late)
    };
    let (_, offset) = late.record.as_ref().expect("it is a record");
    let (time, watermark) = (late.event_time, late.watermark);
    assert_eq!((*offset, time, watermark), (1, 13, 50));
}

#[test]
fn state_is_gone_on_with_from_its_snapshot() {
    let mut flow = over_sums();
    let mut at = flow.downstream.at_sinks();
    through(&mut flow, numbers(&[Some(6), Some(12)], &[]), &mut at);
    let files = crate::state::tests::files();
    let stored = |flow: &mut Flow| {
        let frozen = flow.downstream.freeze(None, &Limits::OURS);
        let frozen = frozen.expect("it can be written").into_iter();
        let stored = frozen.map(|(uid, written)| {
            let stored = OperatorState::behind(None, written, &mut files.writing(1, "1"));
            (uid, stored.expect("it can be stored"))
        });
        stored.collect::<States>()
    };
    let states = stored(&mut flow);
    let mut next = over_sums();
    let restored = next.downstream.restore(&states, &files, &Pool::none());
    restored.expect("it can be read");
    through(&mut next, numbers(&[Some(4)], &[(1, 70)]), &mut at);
    assert_eq!(landed(&at, 1), [6]);
    let watermarks: Vec<_> = stored(&mut next)
        .values()
        .map(|state| state.watermark)
        .collect();
    assert_eq!(watermarks, [Some(70)]);
}
