//! `lakeward topic list|show|create|delete|alter|produce|consume`, against this server or any Kafka cluster.

use super::records;
use super::{say, show};
use crate::args::{Output, Topic, TopicVerb};
use crate::client::Client;
use crate::failure::failure;
use lw_client::Client as Kafka;
use serde_json::json;
use std::process::ExitCode;

/// Connects to `--bootstrap-server`, else to the Kafka port of `--server`.
pub fn connect(bootstrap_server: Option<&str>, server: &str) -> anyhow::Result<Kafka> {
    let bootstrap = match bootstrap_server {
        Some(bootstrap) => bootstrap.to_owned(),
        None => super::text(&Client::new(server)?.get("/api/v1/status")?["kafka"]),
    };
    Ok(Kafka::connect(&bootstrap)?)
}

pub fn topic(args: Topic) -> anyhow::Result<ExitCode> {
    let place = &args.place;
    let mut kafka = connect(place.bootstrap_server.as_deref(), &place.server)?;
    match args.verb {
        TopicVerb::List { written } => list(&mut kafka, written.output)?,
        TopicVerb::Show { topic, written } => {
            exists(&mut kafka, &topic)?;
            partitions(&mut kafka, &topic, written.output)?;
        }
        TopicVerb::Create {
            topic,
            partitions,
            configs,
            written,
        } => {
            let configs = configs
                .iter()
                .map(|config| pair(config))
                .collect::<anyhow::Result<Vec<_>>>()?;
            kafka.create_topic(&topic, partitions, 1, &configs)?;
            told(
                written.output,
                json!({ "created": topic }),
                format!("created {topic}"),
            );
        }
        TopicVerb::Delete { topic, written } => {
            exists(&mut kafka, &topic)?;
            kafka.delete_topic(&topic)?;
            told(
                written.output,
                json!({ "deleted": topic }),
                format!("deleted {topic}"),
            );
        }
        TopicVerb::Alter {
            topic,
            configs,
            delete,
            partitions,
            written,
        } => {
            exists(&mut kafka, &topic)?;
            alter(&mut kafka, &topic, &configs, &delete, partitions)?;
            told(
                written.output,
                json!({ "altered": topic }),
                format!("altered {topic}"),
            );
        }
        TopicVerb::Produce(produce) => {
            exists(&mut kafka, &produce.topic)?;
            records::produce(&mut kafka, &produce)?;
        }
        TopicVerb::Consume(consume) => {
            exists(&mut kafka, &consume.topic)?;
            records::consume(&mut kafka, &consume)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When there is no such topic; the nearest one's name is the hint.
/// How many partitions it has.
pub(super) fn exists(kafka: &mut Kafka, topic: &str) -> anyhow::Result<usize> {
    let topics = kafka.topics(None)?;
    if let Some(found) = topics.iter().find(|known| known.name == topic) {
        return Ok(found.partitions.len());
    }
    let names = topics.iter().map(|topic| topic.name.as_str());
    let hint = match lw_stdx::suggest::nearest(topic, names) {
        Some(near) => format!("Did you mean '{near}'?"),
        None => "`lakeward topic list` shows what there is.".to_owned(),
    };
    Err(failure(format!("there is no topic '{topic}'"), hint))
}

fn alter(
    kafka: &mut Kafka,
    topic: &str,
    configs: &[String],
    delete: &[String],
    partitions: Option<i32>,
) -> anyhow::Result<()> {
    let mut settings = Vec::new();
    for config in configs {
        let (key, value) = pair(config)?;
        settings.push((key, Some(value)));
    }
    settings.extend(delete.iter().map(|key| (key.clone(), None)));
    if settings.is_empty() && partitions.is_none() {
        return Err(failure(
            "there is nothing to alter",
            "Give --config key=value, --delete-config key or --partitions N.",
        ));
    }
    if !settings.is_empty() {
        kafka.alter_topic_config(topic, &settings)?;
    }
    if let Some(count) = partitions {
        kafka.create_partitions(topic, count)?;
    }
    Ok(())
}

fn told(output: Output, value: serde_json::Value, line: String) {
    match output {
        Output::Json => say(value),
        Output::Table | Output::Csv => say(line),
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
