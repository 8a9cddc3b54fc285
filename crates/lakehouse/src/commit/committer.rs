//! The committer: brings a table up to date with a pipeline's chain of pending commits.
//!
//! It never retries blindly. Each round loads the table, decides from what it says, and acts; a conflict or an unknown
//! reply only starts another round, whose decision sees whether the last one landed. Pending appends of one chain coalesce
//! into one snapshot.

use super::decide::{Cause, Decision, Facts, decide};
use super::marker::{Marker, PROPERTY};
use super::snapshot;
use crate::catalog::{LoadedTable, TableCatalog, parse_table};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use iceberg::{TableIdent, TableUpdate};
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Owner, Pause, TableMarker,
};
use lw_runtime::manifest::{SplitOffset, TableChain};
use lw_stdx::clock::Clock;
use std::collections::HashMap;
use std::sync::Arc;

/// Rounds of one call. A table that others change faster than this is left for the next call.
const ROUNDS: usize = 10;

/// Commits to Iceberg tables through any catalog.
pub struct IcebergCommitter {
    catalog: Arc<dyn TableCatalog>,
    owner: Owner,
    clock: Arc<dyn Clock>,
    ids: Ids,
    decide: Rule,
}

pub(crate) type Rule = fn(&Facts<'_, uuid::Uuid, i64>) -> Decision;

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
            decide,
        }
    }

    /// The same committer with a wrong rule: simulations show that they would notice.
    #[cfg(test)]
    pub(crate) fn with_rule(mut self, rule: Rule) -> IcebergCommitter {
        self.decide = rule;
        self
    }

    fn round(&self, ident: &TableIdent, chain: &TableChain) -> Result<Round, CatalogError> {
        let table = match self.catalog.load(ident) {
            Err(error) if error.kind == Kind::NoSuchTable => {
                return Ok(Round::Over(self.dropped(ident, chain)));
            }
            other => other?,
        };
        let marker = Marker::of_table(&table.metadata).map_err(|error| {
            CatalogError::caused(
                Kind::BadRequest,
                format!("the property {PROPERTY} cannot be read"),
                error,
            )
        })?;
        match self.decision(&table, marker.as_ref(), chain) {
            Decision::Done => Ok(Round::Over(CommitOutcome::Confirmed {
                confirmed: chain.chain.len(),
                snapshot_id: marker.map(|marker| marker.snapshot_id),
            })),
            Decision::Pause(cause) => {
                let reason = self.reason(cause, marker.as_ref());
                Ok(Round::Over(pause(ident, reason, marker.as_ref(), chain)))
            }
            Decision::Commit { done } => self.commit_from(&table, chain, done),
        }
    }

    fn decision(
        &self,
        table: &LoadedTable,
        marker: Option<&Marker>,
        chain: &TableChain,
    ) -> Decision {
        let uuids: Vec<_> = chain.chain.iter().map(|pending| pending.uuid).collect();
        let ancestors: Vec<_> =
            snapshot::ancestors(&table.metadata, table.metadata.current_snapshot_id()).collect();
        let visible: Vec<i64> = ancestors
            .iter()
            .map(|snapshot| snapshot.snapshot_id())
            .collect();
        (self.decide)(&Facts {
            chain: &uuids,
            last: chain.last.as_ref().map(|last| last.uuid),
            property: marker.map(|marker| (marker.uuid, marker.snapshot_id)),
            visible: &visible,
            horizon: ancestors
                .last()
                .and_then(|oldest| oldest.parent_snapshot_id()),
            contiguous: marker.is_none_or(|marker| continues(marker, chain)),
        })
    }

    fn commit_from(
        &self,
        table: &LoadedTable,
        chain: &TableChain,
        done: usize,
    ) -> Result<Round, CatalogError> {
        let files = self.catalog.files();
        let now = self.clock.now_ms();
        let produced = snapshot::append(files, table, &self.owner, chain, done, now, &self.ids)?;
        match self
            .catalog
            .commit(&table.ident, produced.requirements, produced.updates)
        {
            Ok(_) => {
                snapshot::remove(files, &produced.expired_lists);
                Ok(Round::Over(CommitOutcome::Confirmed {
                    confirmed: chain.chain.len(),
                    snapshot_id: Some(produced.snapshot_id),
                }))
            }
            Err(error) if error.kind == Kind::CommitFailed => {
                snapshot::remove(files, &produced.written);
                Ok(Round::Again(error))
            }
            // It may have landed: its files stay, and the next round looks.
            Err(error) if error.kind == Kind::Unknown => Ok(Round::Again(error)),
            Err(error) => Err(error),
        }
    }

    fn dropped(&self, ident: &TableIdent, chain: &TableChain) -> CommitOutcome {
        pause(ident, "the table was dropped".to_owned(), None, chain)
    }

    fn reason(&self, cause: Cause, marker: Option<&Marker>) -> String {
        let foreign = marker.filter(|marker| marker.pipeline != self.owner.pipeline);
        match (cause, foreign) {
            (_, Some(marker)) => format!("the table belongs to the pipeline \"{}\" ({})", marker.name, marker.pipeline),
            (Cause::OffBranch, None) => {
                "the table was rolled back below the last commit of this pipeline, or that snapshot was expired".to_owned()
            }
            (Cause::Unknown, None) => {
                "the table is ahead of the checkpoint: an older checkpoint was restored".to_owned()
            }
            (Cause::MarkerGone, None) => {
                "the table does not know this pipeline's last commit: it was dropped and created again, or replaced".to_owned()
            }
            (Cause::Gap, None) => "the table does not end where the checkpoint begins".to_owned(),
        }
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

    fn restate_once(&self, table: &LoadedTable) -> Result<Option<Marker>, CatalogError> {
        let metadata = &table.metadata;
        let visible = snapshot::ancestors(metadata, metadata.current_snapshot_id())
            .find_map(Marker::of_snapshot);
        let update = match &visible {
            Some(marker) => TableUpdate::SetProperties {
                updates: HashMap::from([(PROPERTY.to_owned(), marker.to_property())]),
            },
            None => TableUpdate::RemoveProperties {
                removals: vec![PROPERTY.to_owned()],
            },
        };
        self.catalog
            .commit(&table.ident, snapshot::requirements(metadata), vec![update])?;
        Ok(visible)
    }
}

enum Round {
    Over(CommitOutcome),
    /// A conflict, or no reply: look again.
    Again(CatalogError),
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
        let mut last = None;
        for _ in 0..ROUNDS {
            match self.round(&ident, chain)? {
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

    fn marker(&mut self, table: &str) -> Result<Option<TableMarker>, ConnectorError> {
        let Some(loaded) = self.find(table)? else {
            return Ok(None);
        };
        let marker = Marker::of_table(&loaded.metadata).map_err(|error| {
            ConnectorError::new(
                ErrorKind::Fix,
                format!("the marker of {table} cannot be read"),
            )
            .detail(error.to_string())
            .hint(format!("remove the table property {PROPERTY}"))
        })?;
        Ok(marker.as_ref().map(Marker::to_table_marker))
    }

    fn restate(&mut self, table: &str) -> Result<Option<TableMarker>, ConnectorError> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let Some(loaded) = self.find(table)? else {
                return Ok(None);
            };
            match self.restate_once(&loaded) {
                Ok(marker) => return Ok(marker.as_ref().map(Marker::to_table_marker)),
                Err(error) if matches!(error.kind, Kind::CommitFailed | Kind::Unknown) => {
                    last = Some(error)
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.map_or_else(
            || ConnectorError::new(ErrorKind::Bug, "no round was made"),
            ConnectorError::from,
        ))
    }
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
    marker: Option<&Marker>,
    chain: &TableChain,
) -> CommitOutcome {
    let mut after = chain.clone();
    after.confirm(chain.chain.len());
    let checkpoint: Vec<SplitOffset> = after.last.map(|last| last.ends).unwrap_or_default();
    CommitOutcome::Paused(Pause {
        table: ident.to_string(),
        reason,
        table_offsets: marker.map(Marker::ends).unwrap_or_default(),
        checkpoint_offsets: checkpoint,
    })
}
