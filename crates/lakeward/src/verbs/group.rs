//! `lakeward group list|show|reset-offsets|delete`, against this server or any Kafka cluster.

use super::topic::connect;
use super::{show, tell_outcome};
use crate::args::{Group, GroupVerb, Output, Reset, ResetTo};
use crate::failure::failure;
use lw_client::{Client as Kafka, ClientError};
use lw_protocol::ErrorCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::ExitCode;

pub fn group(args: Group) -> anyhow::Result<ExitCode> {
    let cluster = &args.cluster;
    let mut kafka = connect(cluster.bootstrap_server.as_deref(), &cluster.server.server)?;
    let output = args.cluster.server.output;
    match args.verb {
        GroupVerb::List => {
            let groups = kafka.groups()?;
            let rows = groups.iter().map(|group| vec![group.clone()]).collect();
            show(output, &json!(groups), &["group"], rows);
        }
        GroupVerb::Show { group } => lag(&mut kafka, &group, output)?,
        GroupVerb::ResetOffsets(asked) => reset(&mut kafka, &asked, output)?,
        GroupVerb::Delete { group, execute } => {
            lag(&mut kafka, &group, output)?;
            without_members(&mut kafka, &group)?;
            if execute {
                kafka.delete_group(&group)?;
            }
            tell_outcome(execute, "deleted");
        }
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

/// As Kafka's tool: a group that has members would commit over what is set here. One that does not exist has none: the
/// commit makes it.
fn without_members(kafka: &mut Kafka, group: &str) -> anyhow::Result<()> {
    let info = match kafka.describe_group(group) {
        Err(ClientError::Refused {
            code: ErrorCode::GroupIdNotFound,
            ..
        }) => return Ok(()),
        described => described?,
    };
    if info.members.is_empty() {
        return Ok(());
    }
    Err(failure(
        format!(
            "group '{group}' has {} members and is {}",
            info.members.len(),
            info.state
        ),
        "Stop its consumers first.",
    ))
}

fn reset(kafka: &mut Kafka, asked: &Reset, output: Output) -> anyhow::Result<()> {
    without_members(kafka, &asked.group)?;
    let committed = kafka.committed_offsets(&asked.group)?;
    let mut topics = Vec::new();
    for topic in &asked.topics {
        topics.push(some_partitions(topic)?);
    }
    if asked.all_topics {
        topics.extend(committed.iter().map(|(topic, ..)| (topic.clone(), None)));
        topics.dedup();
    }
    let mut planned = Vec::new();
    for (topic, wanted) in topics {
        let starts = kafka.list_offsets(&topic, -2)?;
        let ends = kafka.list_offsets(&topic, -1)?;
        let times = match asked.to.to_datetime {
            Some(millis) => kafka.list_offsets(&topic, millis)?,
            None => ends.clone(),
        };
        for (at, (partition, start)) in starts.into_iter().enumerate() {
            if wanted
                .as_ref()
                .is_some_and(|wanted| !wanted.contains(&partition))
            {
                continue;
            }
            let mine = committed
                .iter()
                .find(|(t, p, _)| *t == topic && *p == partition);
            let now = mine.map(|(_, _, offset)| *offset);
            let new = target(&asked.to, start, ends[at].1, times[at].1, now);
            planned.push((topic.clone(), partition, now, new));
        }
    }
    let columns = ["topic", "partition", "committed", "new"];
    let rows = planned.iter().map(|(topic, partition, now, new)| {
        json!({ "topic": topic, "partition": partition, "committed": now, "new": new })
    });
    let rows: Vec<Value> = rows.collect();
    let cells = rows
        .iter()
        .map(|row| columns.map(|column| super::text(&row[column])).to_vec());
    let value = json!({ "group": asked.group, "executed": asked.execute, "partitions": rows });
    if asked.execute {
        let offsets: Vec<(String, i32, i64)> = planned
            .iter()
            .map(|(topic, partition, _, new)| (topic.clone(), *partition, *new))
            .collect();
        kafka.commit_offsets(&asked.group, &offsets)?;
    }
    show(output, &value, &columns, cells.collect());
    tell_outcome(asked.execute, "committed");
    Ok(())
}

/// Where a partition goes, within what it holds.
fn target(to: &ResetTo, start: i64, end: i64, at_time: i64, now: Option<i64>) -> i64 {
    let wanted = if to.to_earliest {
        start
    } else if let Some(offset) = to.to_offset {
        offset
    } else if let Some(by) = to.shift_by {
        now.unwrap_or(start).saturating_add(by)
    } else if to.to_datetime.is_some() && at_time >= 0 {
        at_time
    } else {
        // The end; also where no record is as late as the time.
        end
    };
    wanted.clamp(start, end)
}

/// `topic` or `topic:0,1`.
fn some_partitions(text: &str) -> anyhow::Result<(String, Option<Vec<i32>>)> {
    let Some((topic, partitions)) = text.rsplit_once(':') else {
        return Ok((text.to_owned(), None));
    };
    let partitions: Result<Vec<i32>, _> = partitions.split(',').map(str::parse).collect();
    match partitions {
        Ok(partitions) => Ok((topic.to_owned(), Some(partitions))),
        Err(_) => Err(failure(
            format!("'{text}' is not a topic with partitions"),
            "Write topic, or topic:0,1",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_stays_within_what_the_partition_holds() {
        let to = |shift_by, to_offset, to_earliest| ResetTo {
            to_earliest,
            to_latest: false,
            to_offset,
            to_datetime: None,
            shift_by,
        };
        let cases = [
            (to(None, None, true), 10),
            (to(None, None, false), 20),
            (to(None, Some(15), false), 15),
            (to(None, Some(99), false), 20),
            (to(None, Some(-1), false), 10),
            (to(Some(-3), None, false), 12),
            (to(Some(-100), None, false), 10),
        ];
        for (to, expected) in cases {
            assert_eq!(target(&to, 10, 20, -1, Some(15)), expected);
        }
    }
}
