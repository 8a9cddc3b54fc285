//! References that move: a branch or a tag begins, moves or ends, and `main` goes back to an earlier snapshot.
//!
//! No snapshot is made and no file written. One commit is `set-snapshot-ref` or `remove-snapshot-ref`, required to meet the
//! table with this uuid and the reference where it was seen; the [loop](super::publish) tries again when it was not. Which
//! names may move where is Iceberg's rule: `main` is no tag, is never dropped and moves by a [rollback](mod@rollback) only; a
//! reference stays where it is unless `replace` is said, and keeps of its retention what is not said anew.
//!
//! A second look settles a lost reply: a reference that is as it was asked for has arrived, whoever moved it.

mod rollback;

pub use rollback::{Fate, RolledBack, Writing};

use super::branch::Ref;
use super::change::Change;
use super::publish::{Published, Publisher, Step};
use super::rules::Rules;
use super::snapshot::Produced;
use crate::catalog::{LoadedTable, TableCatalog};
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::upkeep::refs::Refs;
use crate::view::head_at;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableIdent, TableUpdate};
use lw_stdx::calendar::utc;
use lw_stdx::clock::Clock;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Where a reference goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MoveRef {
    /// `None`: it ends.
    to: Option<SnapshotReference>,
}

impl MoveRef {
    /// It ends.
    pub(crate) fn gone() -> MoveRef {
        MoveRef { to: None }
    }

    pub(crate) fn produce(
        &self,
        metadata: &TableMetadata,
        name: &Ref,
        snapshot_id: i64,
    ) -> Produced {
        let updates = match &self.to {
            Some(reference) => vec![TableUpdate::SetSnapshotRef {
                ref_name: name.name().to_owned(),
                reference: reference.clone(),
            }],
            None => {
                assert_ne!(name, &Ref::main(), "T1: main is never dropped");
                let mut updates = vec![TableUpdate::RemoveSnapshotRef {
                    ref_name: name.name().to_owned(),
                }];
                let marker = name.marker_property();
                if metadata.properties().contains_key(&marker) {
                    let removals = vec![marker];
                    updates.push(TableUpdate::RemoveProperties { removals });
                }
                updates
            }
        };
        Produced {
            snapshot_id,
            sequence: metadata.last_sequence_number(),
            requirements: name.requirements(metadata),
            updates,
            written: Vec::new(),
            expired: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefKind {
    Branch,
    Tag,
}

impl fmt::Display for RefKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefKind::Branch => "branch",
            RefKind::Tag => "tag",
        })
    }
}

/// A place in a table's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A branch, a tag, or the number of a snapshot.
    Version(String),
    /// What `main` was at this time, milliseconds since 1970.
    Time(i64),
}

/// Iceberg's retention of a reference; what is `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub min_snapshots_to_keep: Option<i32>,
    pub max_snapshot_age_ms: Option<i64>,
    pub max_ref_age_ms: Option<i64>,
}

/// What is asked of a reference.
#[derive(Clone, Debug)]
pub struct Wish {
    pub kind: RefKind,
    pub name: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Put {
        /// `None`: where it is, or where `main` is for one that begins.
        at: Option<At>,
        /// Whether one that is elsewhere moves.
        replace: bool,
        retention: Retention,
    },
    Drop,
}

/// What became of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub kind: RefKind,
    pub name: String,
    pub outcome: Outcome,
    /// Its snapshot before; `None` for one that began.
    pub before: Option<i64>,
    /// Its snapshot now; `None` for one that ended.
    pub snapshot_id: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Created,
    Moved,
    /// It stays where it is, with another retention.
    Retained,
    Dropped,
    /// It was so already.
    Unchanged,
}

/// Why a reference does not move.
#[derive(Debug, Error)]
pub enum RefError {
    #[error("the table has no branch or tag '{name}'; it has: {}", .has.join(", "))]
    Missing { name: String, has: Vec<String> },
    #[error("the {kind} '{name}' is there already, at snapshot {snapshot_id}")]
    Exists {
        kind: RefKind,
        name: String,
        snapshot_id: i64,
    },
    #[error("'{name}' is a {kind}")]
    OtherKind { kind: RefKind, name: String },
    #[error("the table has no snapshot {0}, or no longer")]
    NoSnapshot(String),
    #[error("the table has no snapshot as old as {}: its oldest is of {}", utc(*.asked), utc(*.oldest))]
    TooOld { asked: i64, oldest: i64 },
    #[error("the table has no snapshot: nothing was ever committed to it")]
    Empty,
    #[error("snapshot {snapshot_id} is no ancestor of main, which is at {head}")]
    NotBehind { snapshot_id: i64, head: i64 },
    #[error("{0}")]
    Rule(&'static str),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl RefError {
    /// Something to type; empty where there is nothing.
    pub fn hint(&self) -> String {
        match self {
            RefError::Exists { .. } => {
                "`--replace` moves it, with `--at` or `--as-of`; retention options alone leave it where it is.".into()
            }
            RefError::NoSnapshot(_) | RefError::NotBehind { .. } => {
                "`lakeward table history` shows what main was; `is_current_ancestor` is true for what it can go back to.".into()
            }
            _ => String::new(),
        }
    }
}

/// Moves the references of tables of one catalog.
pub struct RefMover {
    publisher: Publisher,
}

impl RefMover {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> RefMover {
        RefMover {
            publisher: Publisher::new(catalog, clock, ids, Rules::OURS),
        }
    }

    /// Makes, moves or drops a branch or a tag.
    ///
    /// # Errors
    /// Why it does not, or that nobody knows whether it did.
    pub fn set(&mut self, table: &TableIdent, wish: &Wish) -> Result<Moved, RefError> {
        let mut sent: Option<(MoveRef, Moved)> = None;
        let decide = |loaded: &LoadedTable, _: i64| {
            let metadata = &*loaded.metadata;
            if let Some((to, moved)) = &sent
                && to.to.as_ref() == Refs::of(metadata).get(&wish.name)
            {
                return Ok(Step::Over(Ok(moved.clone())));
            }
            Ok(match wish.planned(metadata) {
                Err(refusal) => Step::Over(Err(refusal)),
                Ok((_, moved)) if moved.outcome == Outcome::Unchanged => Step::Over(Ok(moved)),
                Ok((to, moved)) => {
                    sent = Some((to.clone(), moved));
                    Step::Send(Change::MoveRef(to))
                }
            })
        };
        let branch = Ref::named(&wish.name);
        match self.publisher.publish(table, &branch, decide)? {
            Published::Over(answer) => answer,
            Published::Landed(_) => Ok(sent.expect("what landed was sent").1),
            Published::Busy(error) => Err(error.into()),
        }
    }
}

impl Wish {
    /// Where the reference goes, and what that is to it.
    fn planned(&self, metadata: &TableMetadata) -> Result<(MoveRef, Moved), RefError> {
        let refs = Refs::of(metadata);
        let now = refs.get(&self.name);
        if let Some(other) = now.map(kind_of).filter(|kind| *kind != self.kind) {
            let name = self.name.clone();
            return Err(RefError::OtherKind { kind: other, name });
        }
        self.check_name()?;
        let to = match &self.what {
            What::Drop => {
                if now.is_none() {
                    let has = refs.all().map(|(name, _)| name.to_owned()).collect();
                    let name = self.name.clone();
                    return Err(RefError::Missing { name, has });
                }
                None
            }
            What::Put {
                at,
                replace,
                retention,
            } => {
                let snapshot_id = self.snapshot(metadata, now, at.as_ref(), *retention)?;
                if let Some(now) = now.filter(|now| now.snapshot_id != snapshot_id && !replace) {
                    return Err(self.exists(now));
                }
                let retention = self.retention(now, *retention)?;
                Some(SnapshotReference::new(snapshot_id, retention))
            }
        };
        let moved = Moved {
            kind: self.kind,
            name: self.name.clone(),
            outcome: outcome(now, to.as_ref()),
            before: now.map(|now| now.snapshot_id),
            snapshot_id: to.as_ref().map(|to| to.snapshot_id),
        };
        Ok((MoveRef { to }, moved))
    }

    fn check_name(&self) -> Result<(), RefError> {
        let rule = match (&self.what, self.name.as_str(), self.kind) {
            (_, "", _) => "a branch or a tag needs a name",
            (_, MAIN_BRANCH, RefKind::Tag) => "main is a branch",
            (What::Drop, MAIN_BRANCH, _) => "main cannot be dropped",
            (What::Put { at: Some(_), .. }, MAIN_BRANCH, _) => {
                "main moves by commits, and back by `lakeward table rollback`"
            }
            _ => return Ok(()),
        };
        Err(RefError::Rule(rule))
    }

    fn snapshot(
        &self,
        metadata: &TableMetadata,
        now: Option<&SnapshotReference>,
        at: Option<&At>,
        retention: Retention,
    ) -> Result<i64, RefError> {
        match (at, now) {
            (Some(at), _) => at.snapshot(metadata),
            (None, Some(now)) if retention != Retention::default() => Ok(now.snapshot_id),
            (None, Some(now)) => Err(self.exists(now)),
            (None, None) => metadata.current_snapshot_id().ok_or(RefError::Empty),
        }
    }

    fn exists(&self, now: &SnapshotReference) -> RefError {
        RefError::Exists {
            kind: self.kind,
            name: self.name.clone(),
            snapshot_id: now.snapshot_id,
        }
    }

    /// What it said before holds where nothing else is said.
    fn retention(
        &self,
        now: Option<&SnapshotReference>,
        said: Retention,
    ) -> Result<SnapshotRetention, RefError> {
        let counts = said.min_snapshots_to_keep.map(i64::from);
        let numbers = [counts, said.max_snapshot_age_ms, said.max_ref_age_ms];
        if numbers.into_iter().flatten().any(|number| number < 1) {
            return Err(RefError::Rule("retention is a number above zero"));
        }
        if self.name == MAIN_BRANCH && said.max_ref_age_ms.is_some() {
            return Err(RefError::Rule("main never ends, so it has no age"));
        }
        let before = match now.map(|now| &now.retention) {
            None => Retention::default(),
            Some(SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                max_ref_age_ms,
            }) => Retention {
                min_snapshots_to_keep: *min_snapshots_to_keep,
                max_snapshot_age_ms: *max_snapshot_age_ms,
                max_ref_age_ms: *max_ref_age_ms,
            },
            Some(SnapshotRetention::Tag { max_ref_age_ms }) => Retention {
                max_ref_age_ms: *max_ref_age_ms,
                ..Retention::default()
            },
        };
        let max_ref_age_ms = said.max_ref_age_ms.or(before.max_ref_age_ms);
        Ok(match self.kind {
            RefKind::Branch => SnapshotRetention::branch(
                said.min_snapshots_to_keep.or(before.min_snapshots_to_keep),
                said.max_snapshot_age_ms.or(before.max_snapshot_age_ms),
                max_ref_age_ms,
            ),
            RefKind::Tag
                if (said.min_snapshots_to_keep, said.max_snapshot_age_ms) != (None, None) =>
            {
                return Err(RefError::Rule(
                    "a tag keeps its one snapshot: of retention it has max-ref-age-ms alone",
                ));
            }
            RefKind::Tag => SnapshotRetention::Tag { max_ref_age_ms },
        })
    }
}

fn kind_of(reference: &SnapshotReference) -> RefKind {
    match reference.is_branch() {
        true => RefKind::Branch,
        false => RefKind::Tag,
    }
}

fn outcome(now: Option<&SnapshotReference>, to: Option<&SnapshotReference>) -> Outcome {
    match (now, to) {
        (None, _) => Outcome::Created,
        (Some(_), None) => Outcome::Dropped,
        (Some(now), Some(to)) if now == to => Outcome::Unchanged,
        (Some(now), Some(to)) if now.snapshot_id == to.snapshot_id => Outcome::Retained,
        _ => Outcome::Moved,
    }
}

impl At {
    /// The snapshot that is meant. A name goes before a number, as in queries.
    pub(crate) fn snapshot(&self, metadata: &TableMetadata) -> Result<i64, RefError> {
        match self {
            At::Version(version) => match (metadata.snapshot_for_ref(version), version.parse()) {
                (Some(snapshot), _) => Ok(snapshot.snapshot_id()),
                (None, Ok(id)) => kept(metadata, id),
                (None, Err(_)) => {
                    let refs = Refs::of(metadata);
                    let has = refs.all().map(|(name, _)| name.to_owned()).collect();
                    let name = version.clone();
                    Err(RefError::Missing { name, has })
                }
            },
            At::Time(asked) => match (head_at(metadata, *asked), metadata.history().first()) {
                (Some(id), _) => kept(metadata, id),
                (None, Some(oldest)) => Err(RefError::TooOld {
                    asked: *asked,
                    oldest: oldest.timestamp_ms(),
                }),
                (None, None) => Err(RefError::Empty),
            },
        }
    }
}

fn kept(metadata: &TableMetadata, id: i64) -> Result<i64, RefError> {
    match metadata.snapshot_by_id(id) {
        Some(_) => Ok(id),
        None => Err(RefError::NoSnapshot(id.to_string())),
    }
}
