//! `lakeward topic list|show|create|delete`, against this server or any Kafka cluster.

use super::{say, show};
use crate::args::{Cluster, Output, Topic, TopicVerb};
use crate::client::Client;
use crate::failure::failure;
use lw_protocol::client::Client as Kafka;
use serde_json::json;
use std::process::ExitCode;

/// Connects to `--bootstrap-server`, else to the Kafka port of `--server`.
pub fn connect(cluster: &Cluster) -> anyhow::Result<Kafka> {
    let bootstrap = match &cluster.bootstrap_server {
        Some(bootstrap) => bootstrap.clone(),
        None => super::text(&Client::new(&cluster.server.server)?.get("/api/v1/status")?["kafka"]),
    };
    Ok(Kafka::connect(&bootstrap)?)
}

pub fn topic(args: Topic) -> anyhow::Result<ExitCode> {
    let mut kafka = connect(&args.cluster)?;
    let output = args.cluster.server.output;
    match args.verb {
        TopicVerb::List => list(&mut kafka, output)?,
        TopicVerb::Show { topic } => partitions(&mut kafka, &topic, output)?,
        TopicVerb::Create {
            topic,
            partitions,
            configs,
        } => {
            let configs = configs
                .iter()
                .map(|config| pair(config))
                .collect::<anyhow::Result<Vec<_>>>()?;
            kafka.create_topic(&topic, partitions, 1, &configs)?;
            told(
                output,
                json!({ "created": topic }),
                format!("created {topic}"),
            );
        }
        TopicVerb::Delete { topic } => {
            kafka.delete_topic(&topic)?;
            told(
                output,
                json!({ "deleted": topic }),
                format!("deleted {topic}"),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(output: Output, value: serde_json::Value, line: String) {
    match output {
        Output::Json => say(value),
        Output::Table => say(line),
    }
}

fn pair(config: &str) -> anyhow::Result<(String, String)> {
    match config.split_once('=') {
        Some((key, value)) => Ok((key.to_string(), value.to_string())),
        None => Err(failure(
            format!("'{config}' is not key=value"),
            "Write, for example, --config retention.ms=86400000",
        )),
    }
}

fn list(kafka: &mut Kafka, output: Output) -> anyhow::Result<()> {
    let topics = kafka.topics(None)?;
    let value = topics.iter().map(|topic| json!({ "topic": topic.name, "partitions": topic.partitions.len(), "internal": topic.internal }));
    let rows = topics
        .iter()
        .map(|topic| vec![topic.name.clone(), topic.partitions.len().to_string()]);
    show(
        output,
        &value.collect(),
        &["topic", "partitions"],
        rows.collect(),
    );
    Ok(())
}

fn partitions(kafka: &mut Kafka, topic: &str, output: Output) -> anyhow::Result<()> {
    let starts = kafka.list_offsets(topic, -2)?;
    let ends = kafka.list_offsets(topic, -1)?;
    let config: serde_json::Map<String, serde_json::Value> = kafka
        .topic_config(topic)?
        .into_iter()
        .filter(|entry| !entry.is_default)
        .map(|entry| (entry.name, json!(entry.value)))
        .collect();
    let partitions: Vec<_> = starts
        .iter()
        .zip(&ends)
        .map(|((partition, start), (_, end))| json!({ "partition": partition, "start": start, "end": end }))
        .collect();
    let rows = starts
        .iter()
        .zip(&ends)
        .map(|((partition, start), (_, end))| {
            vec![partition.to_string(), start.to_string(), end.to_string()]
        });
    show(
        output,
        &json!({ "topic": topic, "partitions": partitions, "config": config }),
        &["partition", "start", "end"],
        rows.collect(),
    );
    Ok(())
}
