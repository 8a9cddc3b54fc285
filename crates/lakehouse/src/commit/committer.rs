//! The committer: brings a table up to date with a pipeline's chain of pending commits.
//!
//! It never retries blindly. Each round loads the table, settles what became of earlier attempts, decides from what the table
//! says, and acts. A conflict only starts another round; after an unknown reply the next round looks whether the commit
//! landed, and sends nothing more: the runtime calls again, later and later. Pending appends of one chain coalesce into one
//! snapshot.
//!
//! Any refusal of a commit whose table has moved since it was loaded is a conflict, whatever the catalog calls it: a commit
//! to another branch leaves `main` where it was and still makes our sequence number stale, which catalogs answer by 400.

use super::attempt::{Attempt, Fate, remove};
use super::branch::{Branch, Ref};
use super::decide::{Cause, Decision, Facts};
use super::marker::{Marker, PROPERTY, ranges_of_snapshot};
use super::rules::Rules;
use super::snapshot::Draft;
use crate::catalog::{LoadedTable, TableCatalog, parse_table};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::staged::StagedFile;
use crate::upkeep::expiry;
use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableUpdate};
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Owner, Pause, Restate, Standing,
};
use lw_runtime::manifest::{Pending, SplitOffset, TableChain};
use lw_stdx::clock::Clock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Rounds of one call. A table that others change faster than this is left for the next call.
const ROUNDS: usize = 10;
/// Attempts whose fate is asked for. Some stay open for good (the table was replaced, or is of version 1, which has no sequence
/// numbers): the oldest is then forgotten, and its files stay.
const OPEN: usize = 32;

/// Commits to Iceberg tables through any catalog.
pub struct IcebergCommitter {
    catalog: Arc<dyn TableCatalog>,
    owner: Owner,
    clock: Arc<dyn Clock>,
    ids: Ids,
    rules: Rules,
    /// Sent, not confirmed, and not known to be dead.
    attempts: Vec<Attempt>,
}

impl IcebergCommitter {
    pub fn new(
        catalog: Arc<dyn TableCatalog>,
        owner: Owner,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> IcebergCommitter {
        IcebergCommitter {
            catalog,
            owner,
            clock,
            ids,
            rules: Rules::OURS,
            attempts: Vec::new(),
        }
    }

    /// The same committer with a wrong rule: simulations show that they would notice.
    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules) -> IcebergCommitter {
        self.rules = rules;
        self
    }

    /// `sends`: whether it may commit, or only look.
    fn round(
        &mut self,
        ident: &TableIdent,
        chain: &TableChain,
        sends: Sends,
    ) -> Result<Round, CatalogError> {
        let table = match self.catalog.load(ident) {
            Err(error) if error.kind == Kind::NoSuchTable => {
                let reason = "the table was dropped".to_owned();
                return Ok(Round::Over(pause(ident, reason, None, None, chain)));
            }
            other => other?,
        };
        self.settle(ident, &table.metadata);
        let marker = property(&table.metadata)?;
        let branch = Branch::of(&table.metadata);
        match self.decision(&branch, marker.as_ref(), chain) {
            Decision::Done => Ok(Round::Over(CommitOutcome::Confirmed {
                confirmed: chain.chain.len(),
                snapshot_id: marker.map(|marker| marker.snapshot_id),
            })),
            Decision::Pause(cause) => {
                let reason = self.reason(cause, marker.as_ref(), chain);
                let visible = branch.newest_marker();
                let outcome = pause(ident, reason, visible.as_ref(), marker.as_ref(), chain);
                Ok(Round::Over(outcome))
            }
            Decision::Commit { done } => match sends {
                Sends::Yes => self.commit_from(&table, marker.as_ref(), chain, done),
                Sends::NoMore(error) => Err(error),
            },
        }
    }

    /// Removes what attempts left: those that can no longer land, what they wrote; those that did, the files of the snapshots
    /// that they expired.
    fn settle(&mut self, ident: &TableIdent, metadata: &TableMetadata) {
        let files = self.catalog.files();
        let rules = self.rules;
        self.attempts.retain(|attempt| {
            if attempt.table != *ident {
                return true;
            }
            match (rules.fate)(attempt, files, metadata) {
                Ok(Fate::Dead) => {
                    let named =
                        |file: &String| metadata.snapshots().any(|one| one.manifest_list() == file);
                    assert!(
                        !attempt.written.iter().any(named),
                        "C1: no manifest list that the table names is removed"
                    );
                    remove(files, &attempt.written);
                    false
                }
                Ok(Fate::Landed) => {
                    match expiry::unnamed(files, &attempt.before, metadata, &attempt.expired) {
                        Ok(unnamed) => remove(files, &unnamed),
                        Err(error) => {
                            tracing::warn!(table = %ident, %error, "files of expired snapshots stay");
                        }
                    }
                    false
                }
                Ok(Fate::Open) => true,
                Err(error) => {
                    tracing::warn!(table = %ident, %error, "files of an earlier commit stay");
                    true
                }
            }
        });
    }

    fn decision(
        &self,
        branch: &Branch<'_>,
        marker: Option<&Marker>,
        chain: &TableChain,
    ) -> Decision {
        if marker.is_none() && branch.newest_marker().is_some() {
            // Someone removed the property: what it said of a rollback is not known any more.
            return Decision::Pause(Cause::MarkerGone);
        }
        let uuids: Vec<_> = chain.chain.iter().map(|pending| pending.uuid).collect();
        (self.rules.decide)(&Facts {
            chain: &uuids,
            last: chain.last.as_ref().map(|last| last.uuid),
            property: marker.map(|marker| (marker.uuid, marker.snapshot_id)),
            visible: &branch.ids(),
            horizon: branch.horizon(),
            contiguous: marker.is_none_or(|marker| continues(marker, chain)),
        })
    }

    fn commit_from(
        &mut self,
        table: &LoadedTable,
        before: Option<&Marker>,
        chain: &TableChain,
        done: usize,
    ) -> Result<Round, CatalogError> {
        let metadata = &table.metadata;
        (self.rules.admit)(&table.ident, metadata)?;
        let id = self.ids.next_snapshot();
        let marker = Marker::new(&self.owner, before, chain, done, id);
        let produced = self
            .draft(metadata, &marker, &chain.chain[done..])
            .produce()?;
        self.attempts.push(Attempt {
            table: table.ident.clone(),
            table_uuid: metadata.uuid(),
            snapshot_id: produced.snapshot_id,
            sequence: produced.sequence,
            written: produced.written,
            before: table.metadata.clone(),
            expired: produced.expired,
        });
        if self.attempts.len() > OPEN {
            self.attempts.remove(0);
        }
        let sent = self
            .catalog
            .commit(&table.ident, produced.requirements, produced.updates);
        match sent {
            Ok(after) => {
                self.settle(&table.ident, &after.metadata);
                Ok(Round::Over(CommitOutcome::Confirmed {
                    confirmed: chain.chain.len(),
                    snapshot_id: Some(produced.snapshot_id),
                }))
            }
            Err(error) if matches!(error.kind, Kind::CommitFailed | Kind::Unknown) => {
                Ok(Round::Again(error))
            }
            Err(error) if matches!(error.kind, Kind::BadRequest | Kind::Unprocessable) => {
                let moved = self.catalog.load(&table.ident)?.metadata != *metadata;
                if moved {
                    let error =
                        CatalogError::caused(Kind::CommitFailed, error.message.clone(), error);
                    Ok(Round::Again(error))
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn draft<'a>(
        &'a self,
        metadata: &'a TableMetadata,
        marker: &'a Marker,
        pending: &'a [Pending],
    ) -> Draft<'a> {
        Draft {
            files: self.catalog.files(),
            metadata,
            branch: Ref::MAIN,
            marker,
            pending,
            now_ms: self.clock.now_ms(),
            commit: self.ids.next(),
            rules: &self.rules,
        }
    }

    fn reason(&self, cause: Cause, marker: Option<&Marker>, chain: &TableChain) -> String {
        let foreign = |marker: &&Marker| {
            marker.pipeline != self.owner.pipeline && !chain.contains(marker.uuid)
        };
        if let Some(marker) = marker.filter(foreign) {
            return format!(
                "the table belongs to the pipeline \"{}\" ({})",
                marker.name, marker.pipeline
            );
        }
        let newest = chain.last.as_ref().map_or(0, |last| last.sequence);
        let reason = match cause {
            Cause::OffBranch => {
                "the table was rolled back below the last commit of this pipeline, or that snapshot was expired"
            }
            Cause::Unknown if marker.is_some_and(|marker| marker.sequence < newest) => {
                "the table was taken back behind the checkpoint: a rewind was begun and not finished"
            }
            Cause::Unknown => {
                "the table is ahead of the checkpoint: an older checkpoint was restored"
            }
            Cause::MarkerGone => {
                "the table does not know this pipeline's last commit: it was dropped and created again, or replaced"
            }
            Cause::Gap => "the table does not end where the checkpoint begins",
        };
        reason.to_owned()
    }

    /// Looks at a table for its marker; one that does not exist has none.
    fn find(&self, table: &str) -> Result<Option<LoadedTable>, CatalogError> {
        match self.catalog.load(&parse_table(table)?) {
            Ok(table) => Ok(Some(table)),
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn restate_once(&self, table: &LoadedTable, which: Restate) -> Result<(), CatalogError> {
        let metadata = &table.metadata;
        let visible = Branch::of(metadata).newest_marker();
        let marker = match which {
            Restate::Visible => {
                let newest = property(metadata)?;
                visible.map(|marker| marker.with_history_of(newest.as_ref()))
            }
            Restate::Newest => property(metadata)?.or(visible).map(|marker| {
                let head = metadata.current_snapshot_id();
                let snapshot = head.unwrap_or(marker.snapshot_id);
                marker.named_by(snapshot)
            }),
        };
        let update = match (marker, metadata.current_snapshot_id()) {
            (Some(marker), None) => return self.mark_empty(table, marker),
            (Some(marker), Some(_)) => TableUpdate::SetProperties {
                updates: HashMap::from([(Ref::MAIN.marker.to_owned(), marker.to_property())]),
            },
            (None, _) => TableUpdate::RemoveProperties {
                removals: vec![Ref::MAIN.marker.to_owned()],
            },
        };
        self.catalog
            .commit(&table.ident, Ref::MAIN.requirements(metadata), vec![update])?;
        Ok(())
    }

    /// A table without a head has no snapshot that a marker could name, so it gets an empty one.
    fn mark_empty(&self, table: &LoadedTable, marker: Marker) -> Result<(), CatalogError> {
        let marker = marker.named_by(self.ids.next_snapshot());
        (self.rules.admit)(&table.ident, &table.metadata)?;
        let produced = self.draft(&table.metadata, &marker, &[]).produce()?;
        self.catalog
            .commit(&table.ident, produced.requirements, produced.updates)?;
        Ok(())
    }
}

enum Round {
    Over(CommitOutcome),
    /// A conflict, or no reply: look again.
    Again(CatalogError),
}

enum Sends {
    Yes,
    /// The last request got no reply: if it did not land, whoever called comes back later.
    NoMore(CatalogError),
}

impl Committer for IcebergCommitter {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        if chain.chain.is_empty() {
            return Ok(CommitOutcome::Confirmed {
                confirmed: 0,
                snapshot_id: None,
            });
        }
        let ident = parse_table(table)?;
        let mut last: Option<CatalogError> = None;
        for _ in 0..ROUNDS {
            let sends = match last.take() {
                Some(error) if error.kind == Kind::Unknown => Sends::NoMore(error),
                _ => Sends::Yes,
            };
            match self.round(&ident, chain, sends)? {
                Round::Over(outcome) => return Ok(outcome),
                Round::Again(error) => last = Some(error),
            }
        }
        Err(ConnectorError::new(
            ErrorKind::Retry,
            format!("the commit to {table} did not get through {ROUNDS} times"),
        )
        .detail(last.map(|error| error.to_string()).unwrap_or_default()))
    }

    fn standing(&mut self, table: &str) -> Result<Option<Standing>, ConnectorError> {
        let Some(loaded) = self.find(table)? else {
            return Ok(Some(Standing {
                marker: None,
                visible: None,
                on_branch: false,
                complete: true,
                starts: Vec::new(),
                plans: BTreeSet::new(),
            }));
        };
        let branch = Branch::of(&loaded.metadata);
        let marker = property(&loaded.metadata)?;
        Ok(Some(Standing {
            on_branch: marker.as_ref().is_some_and(|marker| branch.holds(marker)),
            marker: marker.as_ref().map(Marker::to_table_marker),
            visible: branch.newest_marker().as_ref().map(Marker::to_table_marker),
            complete: branch.is_complete(),
            starts: starts(&loaded.metadata),
            plans: marker.iter().flat_map(Marker::plans).collect(),
        }))
    }

    fn restate(&mut self, table: &str, which: Restate) -> Result<(), ConnectorError> {
        let mut rounds = 0;
        loop {
            let Some(loaded) = self.find(table)? else {
                return Ok(());
            };
            rounds += 1;
            match self.restate_once(&loaded, which) {
                Err(error)
                    if matches!(error.kind, Kind::CommitFailed | Kind::Unknown)
                        && rounds < ROUNDS => {}
                other => return Ok(other?),
            }
        }
    }

    fn can_commit(&mut self, table: &str, chain: &[Pending]) -> Result<bool, ConnectorError> {
        let loaded = self.find(table)?;
        for file in chain.iter().flat_map(|pending| &pending.files) {
            let metadata = loaded.as_ref().map(|loaded| &*loaded.metadata);
            if !StagedFile::from_json(file)?.fits(self.catalog.files(), metadata)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The newest marker ever committed.
fn property(metadata: &TableMetadata) -> Result<Option<Marker>, CatalogError> {
    Marker::of_table(metadata).map_err(|error| {
        CatalogError::caused(
            Kind::BadRequest,
            format!(
                "the table property {PROPERTY} cannot be read: remove it, or put back what it was"
            ),
            error,
        )
    })
}

/// The lowest offset per partition that any kept snapshot accounts for, whatever branch it is on.
pub(crate) fn starts(metadata: &TableMetadata) -> Vec<SplitOffset> {
    let mut starts: Vec<SplitOffset> = Vec::new();
    for range in metadata
        .snapshots()
        .flat_map(|snapshot| ranges_of_snapshot(snapshot))
    {
        let start = SplitOffset {
            topic: range.topic,
            partition: range.partition,
            next: range.start,
        };
        match starts.iter_mut().find(|other| other.same_split(&start)) {
            Some(lowest) => lowest.next = lowest.next.min(start.next),
            None => starts.push(start),
        }
    }
    starts
}

fn continues(marker: &Marker, chain: &TableChain) -> bool {
    chain
        .chain
        .first()
        .is_none_or(|first| marker.continued_by(&first.ranges))
}

fn pause(
    ident: &TableIdent,
    reason: String,
    visible: Option<&Marker>,
    marker: Option<&Marker>,
    chain: &TableChain,
) -> CommitOutcome {
    let checkpoint = chain.ends().into_iter();
    CommitOutcome::Paused(Pause {
        table: ident.to_string(),
        reason,
        table_offsets: visible.map(Marker::ends).unwrap_or_default(),
        marker_offsets: marker.map(Marker::ends).unwrap_or_default(),
        checkpoint_offsets: checkpoint
            .map(|((topic, partition), next)| SplitOffset {
                topic,
                partition,
                next,
            })
            .collect(),
    })
}
