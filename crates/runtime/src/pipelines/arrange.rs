//! Which manifest holds which sink.
//!
//! A manifest is a job's, and a job may have several sinks. A script that takes the place of another may put an `INSERT` into
//! another job than before: what it has done goes with it. So all manifests of the pipeline are read, each sink's entry is
//! taken from the one that holds it, and what has to change is written in one frame: a crash leaves all as it was, or all as it
//! is to be. An `INSERT` that no job has any more keeps a manifest of its own.
//!
//! A manifest stands under the key of the first sink of its job.

use super::record::Record;
use crate::job::manifest_key;
use crate::manifest::{Manifest, SplitState, State, Unreadable};
use crate::store::StoreError;
use bytes::Bytes;
use lw_graph::OperatorUid;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A job of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) key: String,
    /// By what manifests call them.
    pub(super) sinks: Vec<String>,
    /// Its operators with state.
    pub(super) states: BTreeSet<OperatorUid>,
}

/// Why manifests cannot be brought into the shape that the script's jobs need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disarray {
    #[error("two checkpoints know of {sink}")]
    Twice { sink: String },
    #[error(
        "{one} and {other} have read different topics of the name '{topic}', and cannot be read together"
    )]
    Topics {
        topic: String,
        one: String,
        other: String,
    },
    #[error("{sink} stands elsewhere than others of its job, which have the state of aggregates")]
    State { sink: String },
    #[error("where {sink} stands may be in a checkpoint that cannot be read: {why}")]
    Hidden { sink: String, why: Unreadable },
}

impl Disarray {
    /// Something to type.
    pub fn hint(&self) -> &'static str {
        match self {
            Disarray::Twice { .. } => "This is a bug; please report it with the server's log.",
            Disarray::Topics { .. } => {
                "Give each of the INSERTs a scan of its own, outside of one statement set."
            }
            Disarray::State { .. } => {
                "Give the INSERT a pipeline of its own, or drop the pipeline and run the whole script anew."
            }
            Disarray::Hidden { .. } => {
                "Start the version of Lakeward that wrote it, or give the INSERT another pipeline."
            }
        }
    }
}

/// The manifests of one pipeline, by key.
pub(super) type Stored = BTreeMap<String, Result<Manifest, Unreadable>>;

/// Brings the manifests of a pipeline into the shape that its jobs need. Nothing is written if they have it.
///
/// # Errors
/// [`StoreError::Disarray`]; nothing has changed then.
pub(super) fn carry_out(storage: &Storage, record: &Record) -> Result<(), StoreError> {
    let stored = stored(storage, record.id);
    let manifests = read_all(&stored);
    let changes = arrange(&manifests, &record.wanted(), |sink| key_of(record.id, sink))?;
    if changes.is_empty() {
        return Ok(());
    }
    let op = |(key, manifest): (String, Option<Manifest>)| {
        let value = manifest.map(|manifest| {
            manifest.check();
            Bytes::from(serde_json::to_vec(&manifest).expect("a manifest has only string keys"))
        });
        Op::Put {
            table: Table::Manifests,
            expect: match stored.get(&key) {
                Some(bytes) => Expect::Value(bytes.clone()),
                None => Expect::Absent,
            },
            key: key.into(),
            value,
        }
    };
    let keys: Vec<String> = changes.keys().cloned().collect();
    let ops = changes.into_iter().map(op).collect();
    match storage.commit_blocking(ops) {
        Ok(_) => tracing::info!(
            pipeline = record.name,
            ?keys,
            "the checkpoints follow the INSERTs to other jobs"
        ),
        Err(CommitError::Conflict { .. }) => return Err(StoreError::Fenced),
        Err(error) => return Err(StoreError::Storage(error)),
    }
    Ok(())
}

/// The manifests as they would be, by key; nothing is written.
///
/// # Errors
/// As [`carry_out`].
pub(super) fn arranged(
    storage: &Storage,
    record: &Record,
) -> Result<BTreeMap<String, Manifest>, StoreError> {
    arranged_of(read_all(&stored(storage, record.id)), record)
}

/// As [`arranged`], of manifests that are not stored.
///
/// # Errors
/// [`StoreError::Disarray`].
pub(super) fn arranged_of(
    manifests: Stored,
    record: &Record,
) -> Result<BTreeMap<String, Manifest>, StoreError> {
    let changes = arrange(&manifests, &record.wanted(), |sink| key_of(record.id, sink))?;
    let mut arranged = BTreeMap::new();
    for (key, manifest) in manifests {
        if !changes.contains_key(&key) && !record.dropped(&key) {
            arranged.insert(key, manifest?);
        }
    }
    let changed = changes.into_iter();
    arranged.extend(changed.filter_map(|(key, manifest)| Some((key, manifest?))));
    Ok(arranged)
}

/// Key of the manifest whose first sink is this one.
fn key_of(pipeline: Uuid, sink: &str) -> String {
    let named = sink.split_once('/').and_then(|(occurrence, table)| {
        let occurrence = occurrence.parse().ok()?;
        Some((occurrence, table))
    });
    let (occurrence, table) = named.unwrap_or((0, sink));
    manifest_key(pipeline, table, occurrence)
}

pub(super) fn stored(storage: &Storage, pipeline: Uuid) -> BTreeMap<String, Bytes> {
    let prefix = format!("{pipeline}/");
    let stored = storage.scan(Table::Manifests, prefix.as_bytes());
    let text = |key: Bytes| String::from_utf8_lossy(&key).into_owned();
    let stored = stored.into_iter();
    stored.map(|(key, bytes)| (text(key), bytes)).collect()
}

fn read_all(stored: &BTreeMap<String, Bytes>) -> Stored {
    let read = |(key, bytes): (&String, &Bytes)| (key.clone(), Manifest::read(bytes, key));
    stored.iter().map(read).collect()
}

/// What has to change: manifests that are new or other than before, and `None` where one has nothing in it any more. Pure.
fn arrange(
    stored: &Stored,
    wanted: &[Wanted],
    key_of: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, Option<Manifest>>, Disarray> {
    let holders = holders(stored)?;
    refuse_hidden(stored, wanted, &holders)?;
    let mut placed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut left: BTreeSet<&str> = holders.keys().copied().collect();
    for job in wanted {
        let sinks = job.sinks.iter().map(String::as_str);
        let held = sinks.filter(|sink| left.remove(sink)).collect();
        placed.insert(job.key.clone(), held);
    }
    for sink in left {
        placed.entry(key_of(sink)).or_default().push(sink);
    }
    let mut changes = BTreeMap::new();
    for (key, sinks) in &placed {
        let before = stored.get(key).and_then(|read| read.as_ref().ok());
        let before = before.map_or_else(Vec::new, |manifest| manifest.sinks.keys().collect());
        let same =
            before.len() == sinks.len() && before.iter().all(|sink| sinks.contains(&&***sink));
        if !same {
            let parts = sinks.iter().map(|sink| (*sink, holders[sink].1));
            let job = wanted.iter().find(|job| job.key == *key);
            changes.insert(key.clone(), gather(parts, job)?);
        }
    }
    let emptied = holders.values().map(|(key, _)| *key);
    let emptied = emptied.filter(|key| !placed.contains_key(*key));
    changes.extend(emptied.map(|key| (key.to_string(), None)));
    Ok(changes)
}

/// Where each sink's entry is.
type Holders<'a> = BTreeMap<&'a str, (&'a str, &'a Manifest)>;

fn holders(stored: &Stored) -> Result<Holders<'_>, Disarray> {
    let mut holders = Holders::new();
    for (key, manifest) in stored {
        let Ok(manifest) = manifest else { continue };
        for sink in manifest.sinks.keys() {
            if holders.insert(sink, (key, manifest)).is_some() {
                let sink = sink.clone();
                return Err(Disarray::Twice { sink });
            }
        }
    }
    Ok(holders)
}

/// A sink that nobody seems to know is not a new one while a manifest of another job cannot be read: it would begin again. (A job
/// whose own manifest cannot be read does not start.)
fn refuse_hidden(
    stored: &Stored,
    wanted: &[Wanted],
    holders: &Holders<'_>,
) -> Result<(), Disarray> {
    let unreadable = |(key, read): (&String, &Result<Manifest, Unreadable>)| {
        let why = read.as_ref().err()?.clone();
        Some((key.clone(), why))
    };
    let unreadable: Vec<(String, Unreadable)> = stored.iter().filter_map(unreadable).collect();
    for job in wanted {
        let unknown = job
            .sinks
            .iter()
            .find(|sink| !holders.contains_key(&***sink));
        let elsewhere = unreadable.iter().find(|(key, _)| *key != job.key);
        let itself = unreadable.iter().any(|(key, _)| *key == job.key);
        if let (Some(sink), Some((_, why)), false) = (unknown, elsewhere, itself) {
            let (sink, why) = (sink.clone(), why.clone());
            return Err(Disarray::Hidden { sink, why });
        }
    }
    Ok(())
}

/// The manifest that reads for all of these sinks, each taken from the manifest that holds it; `None` without any.
///
/// What it has of the reading itself is what holds for all of them: reading goes on where the least has come to.
///
/// State goes with each sink behind it. Where another one of them goes elsewhere, whatever operators the job does not have are
/// with that one; otherwise they stay, for whoever decides that they are to be dropped.
fn gather<'a>(
    parts: impl Iterator<Item = (&'a str, &'a Manifest)>,
    job: Option<&Wanted>,
) -> Result<Option<Manifest>, Disarray> {
    let mut gathered: Option<Manifest> = None;
    let mut behind: BTreeSet<&String> = BTreeSet::new();
    let mut last = "";
    for (sink, from) in parts {
        let mut part = from.clone();
        part.sinks.retain(|name, _| name == sink);
        part.state = part.state.filter(|state| state.sinks.contains(sink));
        if let Some(state) = &mut part.state {
            state.sinks.retain(|name| name == sink);
            behind.extend(from.state.iter().flat_map(|state| &state.sinks));
        }
        gathered = Some(match gathered {
            None => part,
            Some(others) => together(others, part, sink)?,
        });
        last = sink;
    }
    let Some(manifest) = &mut gathered else {
        return Ok(None);
    };
    if let (Some(state), Some(job)) = (&mut manifest.state, job)
        && !behind.iter().all(|sink| state.sinks.contains(*sink))
    {
        state.operators.retain(|uid, _| job.states.contains(uid));
    }
    if manifest.is_displaced() {
        let sink = last.to_string();
        return Err(Disarray::State { sink });
    }
    Ok(gathered)
}

/// The state behind all of these sinks, of the same offsets.
fn states_together(
    one: Option<State>,
    other: Option<State>,
    sink: &str,
) -> Result<Option<State>, Disarray> {
    let (mut one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return Ok(one.or(other)),
    };
    let differs = |(uid, state)| one.operators.get(uid).is_some_and(|known| known != state);
    if one.at != other.at || other.operators.iter().any(differs) {
        let sink = sink.to_string();
        return Err(Disarray::State { sink });
    }
    one.sinks.extend(other.sinks);
    one.operators.extend(other.operators);
    Ok(Some(one))
}

fn together(one: Manifest, other: Manifest, sink: &str) -> Result<Manifest, Disarray> {
    for (topic, id) in &other.topics {
        if one.topics.get(topic).is_some_and(|known| known != id) {
            return Err(Disarray::Topics {
                topic: topic.clone(),
                one: one.sinks.keys().next().cloned().unwrap_or_default(),
                other: sink.to_string(),
            });
        }
    }
    let mut splits = one.splits.clone();
    for split in &other.splits {
        let same = |known: &&mut SplitState| {
            known.topic == split.topic && known.partition == split.partition
        };
        match splits.iter_mut().find(same) {
            Some(known) => {
                known.end = known.end.max(split.end);
                known.came = known.came.min(split.came);
                known.watermark = match (known.watermark, split.watermark) {
                    (Some(known), Some(watermark)) => Some(known.min(watermark)),
                    _ => None,
                };
            }
            None => splits.push(split.clone()),
        }
    }
    Ok(Manifest {
        generation: one.generation.max(other.generation),
        checkpoint_id: one.checkpoint_id.max(other.checkpoint_id),
        created_ms: one.created_ms.max(other.created_ms),
        topics: one.topics.into_iter().chain(other.topics).collect(),
        place: one
            .place
            .zip(other.place)
            .map(|(one, other)| one.min(other)),
        splits,
        sinks: one.sinks.into_iter().chain(other.sinks).collect(),
        marked: one.marked.min(other.marked),
        reached: one
            .reached
            .zip(other.reached)
            .map(|(one, other)| one.max(other)),
        marks: marks_together(one.marks, &other.marks),
        state: states_together(one.state, other.state, sink)?,
        lookups: other.lookups.into_iter().chain(one.lookups).collect(),
        ..Manifest::new(one.pipeline)
    })
}

/// Where both have a scan, the lower mark: what one of them has still to be told is told.
fn marks_together(
    one: BTreeMap<String, i64>,
    other: &BTreeMap<String, i64>,
) -> BTreeMap<String, i64> {
    let mut together = one;
    for (scan, marked) in other {
        let known = together.entry(scan.clone()).or_insert(*marked);
        *known = (*known).min(*marked);
    }
    together
}

#[cfg(test)]
mod tests;
