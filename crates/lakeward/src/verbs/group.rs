//! `lakeward group list|show`, against this server or any Kafka cluster.

use super::show;
use super::topic::connect;
use crate::args::{Group, GroupVerb, Output};
use lw_protocol::client::Client as Kafka;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::ExitCode;

pub fn group(args: Group) -> anyhow::Result<ExitCode> {
    let mut kafka = connect(&args.cluster)?;
    let output = args.cluster.server.output;
    match args.verb {
        GroupVerb::List => {
            let groups = kafka.groups()?;
            let rows = groups.iter().map(|group| vec![group.clone()]).collect();
            show(output, &json!(groups), &["group"], rows);
        }
        GroupVerb::Show { group } => lag(&mut kafka, &group, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn lag(kafka: &mut Kafka, group: &str, output: Output) -> anyhow::Result<()> {
    let info = kafka.describe_group(group)?;
    let mut ends: HashMap<String, HashMap<i32, i64>> = HashMap::new();
    let mut partitions: Vec<Value> = Vec::new();
    for (topic, partition, committed) in kafka.committed_offsets(group)? {
        if !ends.contains_key(&topic) {
            let offsets = kafka.list_offsets(&topic, -1)?;
            ends.insert(topic.clone(), offsets.into_iter().collect());
        }
        let end = ends[&topic].get(&partition).copied().unwrap_or(committed);
        partitions.push(json!({ "topic": topic, "partition": partition, "committed": committed, "end": end, "lag": (end - committed).max(0) }));
    }
    let columns = ["topic", "partition", "committed", "end", "lag"];
    let rows = partitions
        .iter()
        .map(|row| columns.map(|column| super::text(&row[column])).to_vec())
        .collect();
    let value = json!({ "group": group, "state": info.state, "members": info.members.len(), "partitions": partitions });
    show(output, &value, &columns, rows);
    Ok(())
}
