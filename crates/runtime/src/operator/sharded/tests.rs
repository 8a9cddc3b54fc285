//! Shards that threads work on, by the graph's nodes, against one instance: the same bytes, whatever their number. Over few rows, cuts
//! and restarts the operators' own tests are run in shards ([`crate::window`]).

use super::*;
use crate::origins::{Origin, Runs};
use crate::state::tests::Checkpoints;
use crate::window;
use arrow_array::{Int64Array, StringArray, TimestampMicrosecondArray};
use lw_graph::{
    AggregateCall, AggregateFunction, Field, Frame, FrameUnit, Operator as Op, OperatorUid, Schema,
    SortKey, TypeKind, Window, WindowProperty, WindowShape, Windowing,
};

fn input() -> Schema {
    Schema::new(vec![
        Field::new("ts", TypeKind::Timestamp(3).nullable()),
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("name", TypeKind::Varchar(i32::MAX as u32).nullable()),
        Field::new("n", TypeKind::BigInt.nullable()),
        Field::new("start", TypeKind::Timestamp(3).not_null()),
        Field::new("end", TypeKind::Timestamp(3).not_null()),
    ])
}

const MINUTE: i64 = 60_000;

/// Rows of two hundred keys and some, a mark behind each tenth, now and then one that is late; the last of them without rows.
fn chunks() -> Vec<Chunk> {
    let mut noise = 7_u64;
    let mut draw = |below: u64| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((noise >> 33) % below) as i64
    };
    let mut chunks = Vec::new();
    for first in (0..15_000_i64).step_by(2_500) {
        let now = |row: i64| (first + row) * 100;
        let times: Vec<i64> = (0..2_500).map(|row| now(row) - draw(110_000)).collect();
        let keys: Vec<i64> = (0..2_500).map(|_| draw(203)).collect();
        let window = |time: &i64| time.div_euclid(MINUTE) * MINUTE;
        let micros = |millis: Vec<i64>| {
            TimestampMicrosecondArray::from_iter_values(millis.iter().map(|millis| millis * 1000))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(micros(times.clone())),
            Arc::new(
                keys.iter()
                    .map(|key| (*key != 5).then_some(*key))
                    .collect::<Int64Array>(),
            ),
            Arc::new(
                keys.iter()
                    .map(|key| Some(format!("{}", key % 37)))
                    .collect::<StringArray>(),
            ),
            Arc::new((first..first + 2_500).collect::<Int64Array>()),
            Arc::new(micros(times.iter().map(window).collect())),
            Arc::new(micros(
                times.iter().map(|time| window(time) + MINUTE).collect(),
            )),
        ];
        let marks = (10..=2_500).step_by(10).map(|row| Mark {
            row,
            watermark: now(row as i64) - 20_000,
        });
        let origins: Runs = (first..first + 2_500)
            .map(|offset| Origin { split: 0, offset })
            .collect();
        let origins = crate::chunk::Origins::Of(origins);
        let columns = RecordBatch::try_new(arrow_schema(&input()), columns).expect("six columns");
        chunks.push(Chunk::with(columns, marks.collect(), origins, Arc::new([])));
    }
    let none = RecordBatch::new_empty(arrow_schema(&input()));
    let marks = [4_000_000, 5_000_000].map(|watermark| Mark { row: 0, watermark });
    chunks.push(Chunk::derived(none, marks.to_vec(), Arc::new([])));
    chunks
}

/// All rows that come of them, the marks with how many rows stand before each, and the places of late rows.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: RecordBatch,
    marks: Vec<(usize, i64)>,
    late: Vec<(usize, Late)>,
}

fn run(node: &Node, parallelism: &Parallelism) -> Seen {
    let make = |inputs: &[SchemaRef], node: &Node| {
        let operator = window::operator(inputs, node)?;
        Ok(operator.expect("there is one"))
    };
    let inputs = [arrow_schema(&input())];
    let new = || instances(&inputs, node, parallelism, make).expect("an operator");
    let mut operator = new();
    let mut checkpoints = Checkpoints::new();
    let (mut pieces, mut rows, mut marks, mut late) = (Vec::new(), 0, Vec::new(), Vec::new());
    let mut take = |out: Out, number: usize| {
        late.extend(out.late.into_iter().map(|late| (number, late)));
        for chunk in out.chunks {
            for mark in &chunk.marks {
                push_mark(&mut marks, rows + mark.row, mark.watermark);
            }
            rows += chunk.rows();
            pieces.push(chunk.columns);
        }
    };
    for (number, chunk) in chunks().into_iter().enumerate() {
        let mut out = Out::default();
        operator.data(0, chunk, &mut out).expect("rows have times");
        take(out, number);
        checkpoints.take(&mut *operator);
        if number == 3 {
            operator = new();
            operator
                .restore(&checkpoints.last())
                .expect("its own state");
        }
    }
    let mut out = Out::default();
    operator.end(0, &mut out).expect("the end");
    take(out, usize::MAX);
    let columns = arrow_schema(&node.schema);
    Seen {
        rows: arrow_select::concat::concat_batches(&columns, &pieces).expect("alike"),
        marks: marks
            .into_iter()
            .map(|mark| (mark.row, mark.watermark))
            .collect(),
        late,
    }
}

fn nodes() -> Vec<(&'static str, Node)> {
    let call = |function| AggregateCall {
        function,
        arguments: vec![3],
        distinct: false,
        filter: None,
        ty: TypeKind::BigInt.nullable(),
    };
    let aggregates = || {
        vec![
            call(AggregateFunction::Count),
            call(AggregateFunction::Sum),
            call(AggregateFunction::FirstValue),
            call(AggregateFunction::LastValue),
        ]
    };
    let results = || {
        ["count", "sum", "first", "last"]
            .map(|name| Field::new(name, TypeKind::BigInt.nullable()))
            .to_vec()
    };
    let uid = OperatorUid::of("a test");
    let mut nodes = Vec::new();
    let mut add = |name, operator, fields| {
        let schema = Schema::new(fields);
        nodes.push((
            name,
            Node {
                operator,
                inputs: vec![0],
                schema,
            },
        ));
    };
    let attached = Windowing::Attached {
        start: 4,
        end: 5,
        zone: None,
    };
    let assign = |shape| {
        Windowing::Assign(Window {
            shape,
            offset: 0,
            time: 0,
            zone: None,
        })
    };
    let shapes = [
        ("TUMBLE", assign(WindowShape::Tumble { size: MINUTE })),
        (
            "HOP",
            assign(WindowShape::Hop {
                slide: MINUTE / 6,
                size: MINUTE,
            }),
        ),
        (
            "CUMULATE",
            assign(WindowShape::Cumulate {
                step: MINUTE / 6,
                size: MINUTE,
            }),
        ),
        ("SESSION", assign(WindowShape::Session { gap: 1_500 })),
        ("attached", attached.clone()),
    ];
    for (name, windowing) in shapes {
        let mut fields = vec![input().fields[1].clone(), input().fields[2].clone()];
        fields.extend(results());
        fields.push(Field::new("end", TypeKind::Timestamp(3).not_null()));
        let operator = Op::WindowAggregate {
            uid,
            windowing,
            keys: vec![1, 2],
            aggregates: aggregates(),
            properties: vec![WindowProperty::End],
        };
        add(name, operator, fields);
    }
    let mut fields = input().fields;
    fields.push(Field::new("rank", TypeKind::BigInt.not_null()));
    let operator = Op::WindowRank {
        uid,
        windowing: attached,
        keys: vec![2],
        order: vec![SortKey {
            column: 0,
            ascending: false,
            nulls_first: false,
        }],
        first: 1,
        last: 3,
        rank: true,
        latest: false,
    };
    add("Top-N", operator, fields);
    for (name, unit, preceding) in [
        ("OVER ROWS", FrameUnit::Rows, Some(3)),
        ("OVER RANGE", FrameUnit::Range, Some(5_000)),
        ("OVER all", FrameUnit::Range, None),
    ] {
        let mut fields = input().fields;
        fields.extend(results());
        let operator = Op::Over {
            uid,
            keys: vec![1],
            time: 0,
            frame: Frame { unit, preceding },
            aggregates: aggregates(),
            ttl: None,
        };
        add(name, operator, fields);
    }
    nodes
}

#[test]
fn shards_give_what_one_instance_gives() {
    for (name, node) in nodes() {
        let one = run(&node, &Parallelism::none());
        assert!(one.rows.num_rows() > 500, "{name}: {}", one.rows.num_rows());
        assert!(!one.late.is_empty(), "{name}");
        for shards in [2, 7] {
            let found = run(&node, &Parallelism::of(shards, &Pool::new(3)));
            assert_eq!(found.rows, one.rows, "{name} in {shards} shards");
            assert_eq!(found.late, one.late, "{name} in {shards} shards");
            // Where nothing fires between two marks, the first of them says nothing.
            let last = |marks: &[(usize, i64)]| marks.last().copied();
            assert_eq!(
                last(&found.marks),
                last(&one.marks),
                "{name} in {shards} shards"
            );
            if name.starts_with("OVER") {
                assert_eq!(found.marks, one.marks, "{name} in {shards} shards");
            }
        }
        let shuffled = Parallelism {
            in_order: false,
            ..Parallelism::of(2, &Pool::none())
        };
        let found = run(&node, &shuffled);
        assert_ne!(
            found.rows, one.rows,
            "{name}: shard by shard is another order"
        );
    }
}

/// A sum of nothing into a column that has no NULL: each key has none in each window, and the first of them is told.
#[test]
fn the_value_that_is_missed_is_that_of_the_row_that_is_given_first() {
    let fields = [
        Field::new("ts", TypeKind::Timestamp(3).nullable()),
        Field::new("k", TypeKind::BigInt.nullable()),
        Field::new("n", TypeKind::BigInt.nullable()),
    ];
    let input = arrow_schema(&Schema::new(fields.to_vec()));
    let sum = AggregateCall {
        function: AggregateFunction::Sum,
        arguments: vec![2],
        distinct: false,
        filter: None,
        ty: TypeKind::BigInt.nullable(),
    };
    let missed = Field::new("sum", TypeKind::BigInt.not_null());
    let uid = OperatorUid::of("a test");
    let aggregate = |shape| {
        let operator = Op::WindowAggregate {
            uid,
            windowing: Windowing::Assign(Window {
                shape,
                offset: 0,
                time: 0,
                zone: None,
            }),
            keys: vec![1],
            aggregates: vec![sum.clone()],
            properties: vec![WindowProperty::End],
        };
        let end = Field::new("end", TypeKind::Timestamp(3).not_null());
        (operator, vec![fields[1].clone(), missed.clone(), end])
    };
    let operators = [
        aggregate(WindowShape::Tumble { size: 10 }),
        aggregate(WindowShape::Session { gap: 3 }),
    ];
    // The keys come in falling order, and in each window.
    let times = (0..200_i64).map(|row| row % 40 * 1000);
    let keys = (0..200_i64).map(|row| 1_000 - row);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        Arc::new(Int64Array::from_iter_values(keys)),
        Arc::new(Int64Array::from(vec![None; 200])),
    ];
    let columns = RecordBatch::try_new(input.clone(), columns).expect("three columns");
    for (operator, fields) in operators {
        let node = Node {
            operator,
            inputs: vec![0],
            schema: Schema::new(fields),
        };
        let told = [1, 2, 7].map(|shards| {
            let make = |inputs: &[SchemaRef], node: &Node| {
                let operator = window::operator(inputs, node)?;
                Ok(operator.expect("there is one"))
            };
            let parallelism = Parallelism::of(shards, &Pool::none());
            let operator = instances(std::slice::from_ref(&input), &node, &parallelism, make);
            let mark = Mark {
                row: 200,
                watermark: 100,
            };
            let chunk = Chunk::derived(columns.clone(), vec![mark], Arc::new([]));
            let done = operator
                .expect("an operator")
                .data(0, chunk, &mut Out::default());
            done.expect_err("a sum of nothing is NULL").to_string()
        });
        assert_eq!(told[1], told[0]);
        assert_eq!(told[2], told[0]);
        assert!(told[0].contains("key ("), "{}", told[0]);
    }
}
