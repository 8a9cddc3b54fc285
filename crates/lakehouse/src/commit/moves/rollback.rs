//! `main` taken back to one of its ancestors, and what the pipeline that writes the table makes of that.
//!
//! A rollback leaves the marker in the table's property where it is: by that the pipeline knows what became of its commits
//! (`decide`). What it will do is known before anything moves, from the same facts:
//!
//! | the marker's snapshot, once `main` is back | and so the pipeline |
//! |---|---|
//! | is still the head or an ancestor of it | goes on: only commits of others were taken away |
//! | is not | pauses at its next commit, and asks: adopt (rows stay away) or rewind (they are read again) |
//! | is an ancestor, below later commits of the pipeline | pauses, too: either word goes on behind them |
//!
//! The last one takes a hand that moved `main` forward after a rewind, to commits that the pipeline had given up.

use super::super::branch::{Branch, Ref};
use super::super::change::Change;
use super::super::marker::Marker;
use super::super::publish::{Published, Step};
use super::{At, MoveRef, RefError, RefMover};
use crate::catalog::LoadedTable;
use crate::commit::committer;
use crate::upkeep::refs::Refs;
use iceberg::TableIdent;
use iceberg::spec::{MAIN_BRANCH, Snapshot, SnapshotReference, SnapshotRetention, TableMetadata};
use lw_runtime::connector::Owner;
use lw_runtime::manifest::SplitOffset;

/// A rollback, done or only looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The head before and after.
    pub from: i64,
    pub to: i64,
    /// When `to` was committed, milliseconds since 1970.
    pub committed_at: i64,
    /// How many snapshots `main` does not show any more.
    pub snapshots: usize,
    /// The rows of the table before and after, where its snapshots say so.
    pub rows: Option<(u64, u64)>,
    /// The pipeline that writes the table, if one does.
    pub writing: Option<Writing>,
}

/// What a pipeline makes of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    pub owner: Owner,
    pub fate: Fate,
    /// Where the table will end, as its readers see it; empty where they see no commit of the pipeline.
    pub table_ends: Vec<SplitOffset>,
    /// Where the newest commit ever made ended.
    pub marker_ends: Vec<SplitOffset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    Pauses,
}

impl RefMover {
    /// Takes `main` back to an ancestor of its head; without `execute` only says what that means.
    ///
    /// # Errors
    /// Why it does not, or that nobody knows whether it did.
    pub fn roll_back(
        &mut self,
        table: &TableIdent,
        to: &At,
        execute: bool,
    ) -> Result<RolledBack, RefError> {
        let mut sent: Option<RolledBack> = None;
        let decide = |loaded: &LoadedTable, _: i64| {
            let metadata = &*loaded.metadata;
            if let Some(back) = sent.take_if(|back| back.is_seen(metadata)) {
                return Ok(Step::Over(Ok(back)));
            }
            Ok(match RolledBack::planned(metadata, to) {
                Ok(back) if execute && back.from != back.to => {
                    let to = back.reference(metadata);
                    sent = Some(back);
                    Step::Send(Change::MoveRef(MoveRef { to: Some(to) }))
                }
                looked_at_or_refused => Step::Over(looked_at_or_refused),
            })
        };
        match self.publisher.publish(table, &Ref::main(), decide)? {
            Published::Over(answer) => answer,
            Published::Landed(_) => Ok(sent.expect("what landed was sent")),
            Published::Busy(error) => Err(error.into()),
        }
    }
}

impl RolledBack {
    fn planned(metadata: &TableMetadata, to: &At) -> Result<RolledBack, RefError> {
        let to = to.snapshot(metadata)?;
        let head = metadata.current_snapshot().ok_or(RefError::Empty)?;
        let from = head.snapshot_id();
        let now = Branch::of(metadata);
        let Some((snapshots, target)) = now
            .snapshots()
            .enumerate()
            .find(|(_, snapshot)| snapshot.snapshot_id() == to)
        else {
            return Err(RefError::NotBehind {
                snapshot_id: to,
                head: from,
            });
        };
        Ok(RolledBack {
            from,
            to,
            committed_at: target.timestamp_ms(),
            snapshots,
            rows: rows(head).zip(rows(target)),
            writing: writing(metadata, &now, to)?,
        })
    }

    /// `main` keeps its retention.
    fn reference(&self, metadata: &TableMetadata) -> SnapshotReference {
        let refs = Refs::of(metadata);
        let retention = match refs.get(MAIN_BRANCH) {
            Some(main) => main.retention.clone(),
            None => SnapshotRetention::branch(None, None, None),
        };
        SnapshotReference::new(self.to, retention)
    }

    /// It came about, whatever was committed behind it since.
    fn is_seen(&self, metadata: &TableMetadata) -> bool {
        let ids = Branch::of(metadata).ids();
        ids.contains(&self.to) && !ids.contains(&self.from)
    }
}

fn rows(snapshot: &Snapshot) -> Option<u64> {
    let summary = &snapshot.summary().additional_properties;
    summary.get("total-records")?.parse().ok()
}

/// What the committer will decide once `to` is the head.
fn writing(
    metadata: &TableMetadata,
    now: &Branch<'_>,
    to: i64,
) -> Result<Option<Writing>, RefError> {
    let marker = committer::property(metadata)?;
    // Without the property a pipeline pauses already, whose commits are there.
    let Some(newest) = marker.clone().or_else(|| now.newest_marker()) else {
        return Ok(None);
    };
    let after = Branch::at(metadata, Some(to));
    let visible = after.newest_marker();
    let goes_on = |marker: &Marker| after.holds(marker) && !after.outruns(Some(marker));
    let fate = match marker.as_ref().is_some_and(goes_on) {
        true => Fate::GoesOn,
        false => Fate::Pauses,
    };
    let owner = newest.to_table_marker().owner;
    Ok(Some(Writing {
        owner,
        fate,
        table_ends: visible.as_ref().map(Marker::ends).unwrap_or_default(),
        marker_ends: marker.as_ref().map(Marker::ends).unwrap_or_default(),
    }))
}
