//! The graphs of these jobs.

use lw_graph::{
    AggregateCall, AggregateFunction, Expr, Field, FormatSpec, JobGraph, KafkaSource, Node,
    Operator, OperatorUid, Schema, SinkSpec, SourceSpec, StartupMode, TypeKind, Window,
    WindowProperty, WindowShape, Windowing,
};

/// Of a window, in milliseconds.
pub(super) const SIZE: i64 = 10;

/// Source, watermark, and so many sinks behind it.
pub(super) fn graph(schema: &Schema, sinks: usize) -> JobGraph {
    let source = KafkaSource {
        table: "t".into(),
        topics: vec!["in".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        key: None,
        value_schema: schema.clone(),
        columns: Vec::new(),
    };
    let expression = Expr::Column {
        index: 0,
        name: "at".into(),
        ty: schema.fields[0].ty.clone(),
    };
    let watermark = Operator::Watermark {
        column: 0,
        expression,
        idle: None,
    };
    let mut operators = vec![
        (Operator::Source(SourceSpec::Kafka(source)), Vec::new()),
        (watermark, vec![0]),
    ];
    let sink = || (Operator::Sink(SinkSpec::Blackhole), vec![1]);
    operators.extend(std::iter::repeat_with(sink).take(sinks));
    let nodes = operators.into_iter();
    let nodes = nodes.map(|(operator, inputs)| Node {
        operator,
        inputs,
        schema: schema.clone(),
    });
    JobGraph {
        nodes: nodes.collect(),
    }
}

/// Counts the rows of each window, by these columns, between the watermark and the sinks.
pub(super) fn counted(graph: JobGraph, keys: Vec<usize>) -> JobGraph {
    let window = Window {
        shape: WindowShape::Tumble { size: SIZE },
        offset: 0,
        time: 0,
        zone: None,
    };
    let count = AggregateCall {
        function: AggregateFunction::Count,
        arguments: Vec::new(),
        distinct: false,
        filter: None,
        ty: TypeKind::BigInt.not_null(),
    };
    let input = &graph.nodes[1].schema.fields;
    let mut columns: Vec<Field> = keys.iter().map(|key| input[*key].clone()).collect();
    columns.extend([
        Field::new("c", TypeKind::BigInt.not_null()),
        Field::new("window_start", TypeKind::Timestamp(3).not_null()),
    ]);
    let counts = Node {
        operator: Operator::WindowAggregate {
            uid: OperatorUid::of("counts"),
            windowing: Windowing::Assign(window),
            keys,
            aggregates: vec![count],
            properties: vec![WindowProperty::Start],
        },
        inputs: vec![1],
        schema: Schema::new(columns),
    };
    let sinks = graph.nodes[2..].iter().map(|sink| Node {
        inputs: vec![2],
        schema: counts.schema.clone(),
        ..sink.clone()
    });
    let sinks: Vec<Node> = sinks.collect();
    let mut nodes = graph.nodes;
    nodes.truncate(2);
    nodes.push(counts);
    nodes.extend(sinks);
    JobGraph { nodes }
}

/// The same over two tables, whose rows come together before they are counted.
pub(super) fn over_two_tables(counted: JobGraph) -> JobGraph {
    let scans = ["in0", "in1"].into_iter().enumerate();
    let mut nodes: Vec<Node> = scans
        .flat_map(|(n, topic)| {
            let (mut source, mut watermark) = (counted.nodes[0].clone(), counted.nodes[1].clone());
            if let Operator::Source(SourceSpec::Kafka(kafka)) = &mut source.operator {
                kafka.topics = vec![topic.to_string()];
            }
            watermark.inputs = vec![2 * n];
            [source, watermark]
        })
        .collect();
    nodes.push(Node {
        operator: Operator::Union,
        inputs: vec![1, 3],
        schema: counted.nodes[1].schema.clone(),
    });
    // What stood behind the watermark, and so on.
    let others = counted.nodes[2..].iter().map(|node| Node {
        inputs: node.inputs.iter().map(|input| input + 3).collect(),
        ..node.clone()
    });
    nodes.extend(others);
    JobGraph { nodes }
}
