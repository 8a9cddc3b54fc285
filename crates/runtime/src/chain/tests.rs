//! The chain over small batches: a failing row never takes another with it.

use super::*;
use crate::batch::Split;
use arrow_array::{Int32Array, RecordBatch};
use lw_graph::{Expr, Field, Function, Node, Schema, SinkSpec, SourceSpec, TypeKind, Value};
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
    let mut chain = Chain::compile(&graph).expect("a chain");
    let done = chain
        .process(Batch::new(columns, origins, splits))
        .expect("arrays fit")
        .remove(0);
    let column: &Int32Array = done.batch.columns.column(0).as_primitive();
    let rows: Vec<String> = done
        .batch
        .origins
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
    let done = Chain::compile(&graph)
        .expect("a chain")
        .process(Batch::new(columns, origins, splits))
        .expect("the record fails, not the job")
        .remove(0);
    let offsets: Vec<i64> = done.batch.origins.iter().map(|o| o.offset).collect();
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
    let batch = Batch::new(columns, origins.into_iter().collect(), splits);
    let done = Chain::compile(&graph)
        .expect("a chain")
        .process(batch)
        .expect("arrays fit")
        .remove(0);
    let failed: Vec<i64> = done.failures.iter().map(|f| f.origin.offset).collect();
    assert_eq!((done.batch.rows(), failed), (0, vec![0, 1]));
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

#[test]
fn a_sources_watermark_is_the_least_of_its_partitions() {
    let origins = [0, 0, 1, 0].map(|split| Origin { split, offset: 0 });
    let micros = [5_000, 9_000, 3_000, 7_000];
    let times = arrow_array::TimestampMicrosecondArray::from(micros.to_vec());
    let (mut watermarks, none) = (BTreeMap::new(), BTreeSet::new());
    rise(
        &mut watermarks,
        &times.slice(0, 2),
        &origins[..2].iter().copied().collect(),
    );
    assert_eq!(
        source_watermark(&watermarks, 2, &none),
        None,
        "one has no row yet"
    );
    rise(
        &mut watermarks,
        &times.slice(2, 2),
        &origins[2..].iter().copied().collect(),
    );
    assert_eq!(watermarks, BTreeMap::from([(0, 9), (1, 3)]));
    assert_eq!(source_watermark(&watermarks, 2, &none), Some(3));
    assert_eq!(source_watermark(&watermarks, 3, &none), None);
}

/// As Flink, whose splits give up their output when they are read to their end.
#[test]
fn a_partition_that_is_read_to_its_end_holds_no_watermark_back() {
    let watermarks = BTreeMap::from([(0, 9), (1, 3)]);
    let after = |done: &[SplitId]| {
        let done = done.iter().copied().collect();
        source_watermark(&watermarks, 3, &done)
    };
    assert_eq!(after(&[]), None, "2 has something to read and no row yet");
    assert_eq!(after(&[2]), Some(3), "2 was empty");
    assert_eq!(after(&[1, 2]), Some(9), "1 had less than 0");
    assert_eq!(after(&[0, 1, 2]), Some(9));
    assert_eq!(after(&[0, 1]), None);
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
    let mut chain = Chain::compile(&graph).expect("a tree");
    let done = chain.process(Batch::new(columns, origins, splits));
    let offsets = |done: &Processed| {
        let rows = done.batch.origins.iter().map(|at| at.offset).collect();
        let failed = done.failures.iter().map(|failure| failure.origin.offset);
        (rows, failed.collect())
    };
    done.expect("arrays fit").iter().map(offsets).collect()
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
fn what_is_no_tree_to_sinks_is_refused() {
    let refused = |operators: Vec<(Operator, Vec<NodeId>)>| {
        let mut graph = graph();
        let node = |(operator, inputs)| Node {
            operator,
            inputs,
            schema: graph.nodes[0].schema.clone(),
        };
        let nodes: Vec<Node> = operators.into_iter().map(node).collect();
        graph.nodes.splice(1.., nodes);
        let error = Chain::compile(&graph).err().expect("it is refused");
        error.to_string()
    };
    let no_tree = "the job graph is not a tree from one source to its sinks";
    assert_eq!(refused(vec![]), no_tree);
    assert_eq!(refused(vec![(divides(), vec![0])]), no_tree, "no sink");
    assert_eq!(refused(vec![(sink(), vec![0]), (sink(), vec![1])]), no_tree);
    assert_eq!(refused(vec![(sink(), vec![1])]), no_tree, "of itself");
    let watermark = Operator::Watermark {
        column: 0,
        expression: column(),
    };
    assert_eq!(
        refused(vec![
            (watermark.clone(), vec![0]),
            (watermark, vec![1]),
            (sink(), vec![2])
        ]),
        "the job graph has two watermarks for one source"
    );
}
