//! Graphs of several sinks, told in text: `filter <0` is a node that reads the first one.

use super::*;
use crate::{TypeKind, Value};

/// One scan, two sinks: the first behind a filter, the second behind a projection of that filter's rows.
fn one_scan_two_sinks() -> JobGraph {
    let schema = Schema::new(Vec::new());
    let node = |operator, inputs: &[NodeId]| Node {
        operator,
        inputs: inputs.to_vec(),
        schema: schema.clone(),
    };
    let scan = KafkaSource {
        table: "t".into(),
        topics: vec!["in".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        value_schema: schema.clone(),
        columns: Vec::new(),
    };
    let literal = Expr::Literal {
        value: Value::Boolean(true),
        ty: TypeKind::Boolean.not_null(),
    };
    let print = |identifier: &str| {
        Operator::Sink(SinkSpec::Print {
            identifier: identifier.into(),
        })
    };
    let nodes = vec![
        node(Operator::Source(SourceSpec::Kafka(scan)), &[]),
        node(Operator::Filter(literal), &[0]),
        node(print("one"), &[1]),
        node(Operator::Project(Vec::new()), &[1]),
        node(print("other"), &[3]),
    ];
    JobGraph { nodes }
}

fn text(graph: &JobGraph) -> String {
    let text = |node: &Node| {
        let name = match &node.operator {
            Operator::Source(_) => "scan",
            Operator::Filter(_) => "filter",
            Operator::Project(_) => "project",
            Operator::Sink(SinkSpec::Print { identifier }) => identifier,
            _ => "other",
        };
        let inputs: Vec<String> = node.inputs.iter().map(|id| format!(" <{id}")).collect();
        format!("{name}{}", inputs.concat())
    };
    let nodes: Vec<String> = graph.nodes.iter().map(text).collect();
    nodes.join(", ")
}

#[test]
fn the_path_to_a_sink_is_a_graph_of_its_own() {
    let graph = one_scan_two_sinks();
    let paths = graph.sinks().map(|(sink, _)| text(&graph.path_to(sink)));
    assert_eq!(
        paths.collect::<Vec<_>>(),
        [
            "scan, filter <0, one <1",
            "scan, filter <0, project <1, other <2"
        ]
    );
}
