//! What a log of Kafka's kind refuses to be read, in words.

use super::Altered;
use lw_graph::KafkaSource;
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_storage::source::SourceError;
use std::sync::Arc;

pub(super) fn read_twice(topic: &str) -> ConnectorError {
    let message = format!("topic '{topic}' is of two tables that are read together");
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("What a record is in one of them it may not be in the other, and the job reads it once.")
        .hint("Give the tables the same options, or bring the topic into one table.")
}

pub(super) fn bounded_beside_unbounded(specs: &[(&KafkaSource, Arc<Altered>)]) -> ConnectorError {
    let with = |bounded: bool| {
        let named = specs.iter().filter(|(spec, _)| spec.bounded == bounded);
        named
            .map(|(spec, _)| &*spec.table)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (bounded, others) = (with(true), with(false));
    let message = format!("the read of {bounded} has an end, and that of {others} has none");
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("Tables that a query reads together are read together, to the end of all of them or of none.")
        .hint("Give all of them 'scan.bounded.mode' = 'latest-offset', or none.")
}

pub(super) fn damaged(error: lw_protocol::BatchError) -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Bug,
        format!("the log holds a batch that cannot be read: {error}"),
    )
}

pub(super) fn source_error(error: SourceError) -> ConnectorError {
    match &error {
        SourceError::UnknownTopic { name, known } => {
            let create = format!("lakeward topic create {name} --partitions 1");
            let hint = match lw_stdx::suggest::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("Did you mean '{near}'? Otherwise create it: {create}"),
                None => format!("Create it: {create}"),
            };
            ConnectorError::new(ErrorKind::Retry, &error).hint(hint)
        }
        SourceError::OutOfRange { topic, partition, asked, start } if asked < start => {
            ConnectorError::new(ErrorKind::Pause, &error)
                .detail(format!("The records of '{topic}', partition {partition}, from {asked} to {start} were removed before this pipeline read them: they are in no table."))
                .hint("Raise the topic's retention.ms, so that it does not happen again.")
        }
        SourceError::OutOfRange { topic, .. } => ConnectorError::new(ErrorKind::Fix, &error)
            .detail(format!("The checkpoint is behind the end of the log: '{topic}' was deleted and created again."))
            .hint("To read the new topic from its beginning, drop the pipeline and write to a new table."),
        SourceError::Unreadable(_) => ConnectorError::new(ErrorKind::Retry, &error),
    }
}
