//! The committer: brings a Delta table up to date with a pipeline's chain of pending commits.
//!
//! 1. The log is read on from the version that is known.
//! 2. The marker that it says, and the chain, go into the rule that Iceberg tables have too (`commit::decide`). A log has no branches
//!    and a `txn` is not undone by a `RESTORE`, so the marker is always on the branch: what somebody takes away stays away.
//! 3. Is there something to commit, and do the files fit the table as it now is, then all pending commits go into the next version: their
//!    `add`s with the new marker.
//! 4. When somebody else has taken that version, it begins again at 1. An append conflicts with nothing that others do to the
//!    table but a change of its columns or its protocol, which 3 sees.
//!
//! So a reply that was lost and a kill need no memory: the next round finds the marker. Every few versions a checkpoint is written,
//! and what the table need not remember goes; if that fails, or somebody else took that version, the commit stands, and the next one
//! does it.

use super::action::{Action, Metadata};
use super::log::{DeltaLog, Snapshot};
use super::marker::Marker;
use super::staged::StagedFile;
use super::{protocol, retention, schema};
use crate::commit::decide::{Cause, Decision, Facts, decide};
use crate::commit::publish::ROUNDS;
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::storage::Files;
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Owner, Pause, Restate, Standing,
};
use lw_runtime::manifest::{Pending, SplitOffset, TableChain};
use lw_stdx::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Versions between two checkpoints, as `delta.checkpointInterval` where it is not set.
const CHECKPOINT_INTERVAL: i64 = 10;
/// The log says nothing of branches: every commit is visible.
const HEAD: i64 = 0;

/// Commits to a Delta table and to those beside it.
pub struct DeltaCommitter {
    files: Files,
    /// What manifests call the main table.
    name: String,
    location: String,
    owner: Owner,
    clock: Arc<dyn Clock>,
    ids: Ids,
    /// As of the newest version that is known, by what manifests call the table.
    known: BTreeMap<String, Snapshot>,
}

impl DeltaCommitter {
    /// `name` is what the sink calls its table; those beside it have the same ending in both.
    pub fn new(
        files: Files,
        name: &str,
        location: &str,
        owner: Owner,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> DeltaCommitter {
        DeltaCommitter {
            files,
            name: name.to_owned(),
            location: location.trim_end_matches('/').to_owned(),
            owner,
            clock,
            ids,
            known: BTreeMap::new(),
        }
    }

    fn log(&self, table: &str) -> DeltaLog {
        let beside = table.strip_prefix(&self.name);
        let beside = beside.expect("a committer is asked for the tables of its sink");
        let location = format!("{}{beside}", self.location);
        DeltaLog::new(self.files.clone(), &location, self.ids.clone())
    }

    /// The table as it is now.
    fn look(&mut self, table: &str) -> Result<Option<Snapshot>, CatalogError> {
        let known = self.known.remove(table);
        let found = self.log(table).refresh(known)?;
        if let Some(found) = &found {
            self.known.insert(table.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// One round. `None`: somebody else was faster.
    fn round(
        &mut self,
        table: &str,
        chain: &TableChain,
    ) -> Result<Option<CommitOutcome>, CatalogError> {
        let Some(snapshot) = self.look(table)? else {
            let reason = "the table was dropped".to_owned();
            return Ok(Some(pause(table, reason, None, chain)));
        };
        let marker = Marker::of(&snapshot.txns)?;
        let done = match decision(marker.as_ref(), chain) {
            Decision::Commit { done } => done,
            Decision::Done => {
                // D4: what was seen may have a name that a power cut takes away again, and nothing would commit it anew.
                self.log(table).sync()?;
                return Ok(Some(CommitOutcome::Confirmed {
                    confirmed: chain.chain.len(),
                    snapshot_id: Some(snapshot.version),
                }));
            }
            Decision::Pause(cause) => {
                let reason = self.reason(cause, marker.as_ref(), chain);
                return Ok(Some(pause(table, reason, marker.as_ref(), chain)));
            }
        };
        let log = self.log(table);
        let pending = &chain.chain[done..];
        let staged = staged(pending)?;
        if let Some(reason) = obstacle(&log, &snapshot, &staged)? {
            return Ok(Some(pause(table, reason, marker.as_ref(), chain)));
        }
        let next = Marker::of_commit(&self.owner, marker.as_ref(), chain, done);
        let info = self.commit_info(&next, pending, &staged);
        let txns = next.txns(marker.as_ref()).into_iter().map(Action::Txn);
        let adds = staged.into_iter().map(|file| Action::Add(file.add));
        let actions = std::iter::once(Action::CommitInfo(info));
        let actions = actions.chain(txns).chain(adds).collect();
        let Some(after) = log.put(Some(&snapshot), actions)? else {
            return Ok(None);
        };
        assert_eq!(
            Marker::of(&after.txns)?.as_ref(),
            Some(&next),
            "D3: a version says the marker that it was committed with"
        );
        let version = after.version;
        self.checkpoint(table, &after);
        self.known.insert(table.to_owned(), after);
        Ok(Some(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: Some(version),
        }))
    }

    /// Provenance for people, in the words that Spark's streams have for it, and all that the marker knows.
    fn commit_info(&self, marker: &Marker, pending: &[Pending], staged: &[StagedFile]) -> Value {
        let rows: u64 = staged.iter().map(|file| file.rows).sum();
        let bytes: i64 = staged.iter().map(|file| file.add.size).sum();
        let ranges: Vec<_> = pending.iter().flat_map(|one| &one.ranges).collect();
        json!({
            "timestamp": self.clock.now_ms(),
            "operation": "STREAMING UPDATE",
            "operationParameters": {
                "outputMode": "Append",
                "queryId": self.owner.pipeline.to_string(),
                "epochId": marker.sequence.to_string(),
            },
            "operationMetrics": {
                "numAddedFiles": staged.len().to_string(),
                "numOutputRows": rows.to_string(),
                "numOutputBytes": bytes.to_string(),
            },
            "isBlindAppend": true,
            "engineInfo": concat!("lakeward/", env!("CARGO_PKG_VERSION")),
            "lakeward": {
                "pipeline": self.owner.pipeline,
                "name": self.owner.name,
                "commit": marker.uuid,
                "sequence": marker.sequence,
                "plan": pending.last().and_then(|one| one.plan.clone()),
                "max_event_time": pending.iter().filter_map(|one| one.max_event_time).max(),
                "watermark": pending.iter().filter_map(|one| one.watermark).max(),
                "ranges": ranges,
            },
        })
    }

    fn reason(&self, cause: Cause, marker: Option<&Marker>, chain: &TableChain) -> String {
        let foreign = |marker: &&Marker| {
            marker.pipeline != self.owner.pipeline && !chain.contains(marker.uuid)
        };
        if let Some(marker) = marker.filter(foreign) {
            return format!(
                "the table belongs to another pipeline ({})",
                marker.pipeline
            );
        }
        let newest = chain.last.as_ref().map_or(0, |last| last.sequence);
        let reason = match cause {
            Cause::Unknown if marker.is_some_and(|marker| marker.sequence < newest) => {
                "the table is behind the checkpoint: an older copy of it was put back"
            }
            Cause::Unknown | Cause::OffBranch | Cause::Outrun => {
                "the table is ahead of the checkpoint: an older checkpoint was restored"
            }
            Cause::MarkerGone => {
                "the table does not know this pipeline's last commit: it was dropped and created again, or replaced"
            }
            Cause::Gap => "the table does not end where the checkpoint begins",
        };
        reason.to_owned()
    }

    fn checkpoint(&self, table: &str, at: &Snapshot) {
        let (log, now) = (self.log(table), self.clock.now_ms());
        let written = checkpoint_if_due(&log, at, now);
        match written {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(table, version = at.version, %error, "a checkpoint of the Delta log was not written");
                return;
            }
        }
        let Some(before) = retention::log_before(&at.metadata, now) else {
            return;
        };
        match log.clean(before) {
            Ok(0) => {}
            Ok(files) => tracing::info!(table, files, "old versions of the Delta log were removed"),
            Err(error) => {
                tracing::warn!(table, %error, "old versions of the Delta log stay");
            }
        }
    }
}

impl Committer for DeltaCommitter {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        if chain.chain.is_empty() {
            return Ok(CommitOutcome::Confirmed {
                confirmed: 0,
                snapshot_id: None,
            });
        }
        for _ in 0..ROUNDS {
            if let Some(outcome) = self.round(table, chain)? {
                return Ok(outcome);
            }
        }
        let message = format!("the commit to {table} did not get through {ROUNDS} times");
        Err(ConnectorError::new(ErrorKind::Retry, message)
            .detail("Other writers took each version of the table first."))
    }

    fn standing(&mut self, table: &str) -> Result<Option<Standing>, ConnectorError> {
        let marker = match self.look(table)? {
            Some(snapshot) => Marker::of(&snapshot.txns)?,
            None => None,
        };
        let starts = marker.as_ref().map(Marker::begins).unwrap_or_default();
        let plans = marker.as_ref().map(Marker::plans).unwrap_or_default();
        let marker = marker.as_ref().map(Marker::to_table_marker);
        Ok(Some(Standing {
            on_branch: marker.is_some(),
            visible: marker.clone(),
            marker,
            // A marker outlives every cleaning of the log.
            complete: true,
            starts,
            plans,
        }))
    }

    /// The marker is what it is: there is no other that could be visible.
    fn restate(&mut self, _table: &str, _which: Restate) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn can_commit(&mut self, table: &str, chain: &[Pending]) -> Result<bool, ConnectorError> {
        let snapshot = self.look(table)?;
        let log = self.log(table);
        for file in staged(chain)? {
            if !file.fits(&log, snapshot.as_ref())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn decision(marker: Option<&Marker>, chain: &TableChain) -> Decision {
    let uuids: Vec<_> = chain.chain.iter().map(|pending| pending.uuid).collect();
    let first = chain.chain.first();
    let continues = |marker: &Marker| first.is_none_or(|first| marker.continued_by(&first.ranges));
    decide(&Facts {
        chain: &uuids,
        last: chain.last.as_ref().map(|last| last.uuid),
        property: marker.map(|marker| (marker.uuid, HEAD)),
        visible: &[HEAD],
        horizon: None,
        outrun: false,
        contiguous: marker.is_none_or(continues),
    })
}

fn staged(pending: &[Pending]) -> Result<Vec<StagedFile>, CatalogError> {
    let files = pending.iter().flat_map(|pending| &pending.files);
    files.map(StagedFile::from_json).collect()
}

/// What somebody has done to the table since the files were written, so that they cannot go into it.
fn obstacle(
    log: &DeltaLog,
    table: &Snapshot,
    staged: &[StagedFile],
) -> Result<Option<String>, CatalogError> {
    let columns = schema::read(&table.metadata.schema_string)?;
    if let Some(why) = protocol::refusal(&table.protocol, &table.metadata, &columns) {
        return Ok(Some(format!("the table cannot be written any more: {why}")));
    }
    for file in staged {
        if !file.fits(log, Some(table))? {
            return Ok(Some(format!(
                "a data file does not fit the table any more: its columns or partitions were changed, or {} is gone",
                file.location(log)
            )));
        }
    }
    Ok(None)
}

/// Whether one was written. It is due with the first commit at or behind each multiple of the interval that has none yet.
fn checkpoint_if_due(log: &DeltaLog, at: &Snapshot, now: i64) -> Result<bool, CatalogError> {
    let interval = interval(&at.metadata);
    let newest = log.checkpointed()?.unwrap_or(0);
    if at.version / interval <= newest / interval
        || !protocol::is_whole_in_checkpoints(&at.protocol, &at.metadata)
    {
        return Ok(false);
    }
    log.checkpoint(at, retention::removed_since(&at.metadata, now))?;
    Ok(true)
}

fn interval(metadata: &Metadata) -> i64 {
    let set = metadata.configuration.get("delta.checkpointInterval");
    let set = set.and_then(|text| text.parse().ok());
    set.filter(|interval| *interval > 0)
        .unwrap_or(CHECKPOINT_INTERVAL)
}

fn pause(
    table: &str,
    reason: String,
    marker: Option<&Marker>,
    chain: &TableChain,
) -> CommitOutcome {
    let ends = marker.map(Marker::ends).unwrap_or_default();
    let checkpoint = chain.ends().into_iter();
    CommitOutcome::Paused(Pause {
        table: table.to_owned(),
        reason,
        table_offsets: ends.clone(),
        marker_offsets: ends,
        checkpoint_offsets: checkpoint
            .map(|((topic, partition), next)| SplitOffset {
                topic,
                partition,
                next,
            })
            .collect(),
    })
}
