//! The committer: brings a table up to date with a pipeline's chain of pending commits.
//!
//! What it decides about a table as it was loaded is here; [`publish`](super::publish) brings it about. Pending appends of one
//! chain coalesce into one snapshot.

use super::branch::{Branch, Ref};
use super::change::{Change, Promote};
use super::decide::{Cause, Decision, Facts};
use super::marker::{Marker, branch_of_snapshot, ranges_of_snapshot};
use super::publish::{Published, Publisher, ROUNDS, Step};
use super::rules::Rules;
use crate::catalog::{LoadedTable, TableCatalog, parse_table};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::replay::{Promoting, Promotion};
use crate::staged::StagedFile;
use iceberg::spec::{Snapshot, TableMetadata};
use iceberg::{TableIdent, TableUpdate};
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Owner, Pause, Restate, Standing,
};
use lw_runtime::manifest::{Pending, SplitOffset, TableChain};
use lw_stdx::clock::Clock;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Commits to Iceberg tables through any catalog.
pub struct IcebergCommitter {
    publisher: Publisher,
    pipeline: Decider,
    branch: Ref,
    /// The promotion that was sent last.
    promoting: Option<Promoting>,
}

/// What a pipeline does about its table.
struct Decider {
    owner: Owner,
    decide: fn(&Facts<'_, uuid::Uuid, i64>) -> Decision,
}

impl IcebergCommitter {
    /// Commits to another branch of its tables than `main`.
    pub fn on_branch(mut self, name: &str) -> IcebergCommitter {
        self.branch = Ref::named(name);
        self
    }

    pub fn new(
        catalog: Arc<dyn TableCatalog>,
        owner: Owner,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> IcebergCommitter {
        IcebergCommitter {
            publisher: Publisher::new(catalog, clock, ids, Rules::OURS),
            pipeline: Decider {
                owner,
                decide: Rules::OURS.decide,
            },
            branch: Ref::main(),
            promoting: None,
        }
    }

    /// The same committer with a wrong rule: simulations show that they would notice.
    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules) -> IcebergCommitter {
        self.publisher.rules = rules;
        self.pipeline.decide = rules.decide;
        self
    }

    /// Looks at a table for its marker; one that does not exist has none.
    fn find(&self, table: &str) -> Result<Option<LoadedTable>, CatalogError> {
        match self.publisher.catalog.load(&parse_table(table)?) {
            Ok(table) => Ok(Some(table)),
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn restate_once(&self, table: &LoadedTable, which: Restate) -> Result<(), CatalogError> {
        let metadata = &table.metadata;
        let visible = Branch::named(metadata, &self.branch).newest_marker();
        let head = self.branch.head(metadata).map(Snapshot::snapshot_id);
        let marker = match which {
            Restate::Visible => {
                let newest = property_of(metadata, &self.branch)?;
                visible.map(|marker| marker.with_history_of(newest.as_ref()))
            }
            Restate::Newest => property_of(metadata, &self.branch)?
                .or(visible)
                .map(|marker| {
                    let snapshot = head.unwrap_or(marker.snapshot_id);
                    marker.named_by(snapshot)
                }),
        };
        let of = Branch::named(metadata, &self.branch);
        let newest = property_of(metadata, &self.branch)?;
        let seen = |marker: Marker| marker.with_promotions_of(metadata, &of, newest.as_ref());
        let marker = marker.map(seen);
        let update = match (marker, head) {
            (Some(marker), None) => return self.mark_empty(table, marker),
            (Some(marker), Some(_)) => TableUpdate::SetProperties {
                updates: HashMap::from([(self.branch.marker_property(), marker.to_property())]),
            },
            (None, _) => TableUpdate::RemoveProperties {
                removals: vec![self.branch.marker_property()],
            },
        };
        let requirements = self.branch.requirements(metadata);
        self.publisher
            .catalog
            .commit(&table.ident, requirements, vec![update])?;
        Ok(())
    }

    /// A table without a head has no snapshot that a marker could name, so it gets an empty one.
    fn mark_empty(&self, table: &LoadedTable, marker: Marker) -> Result<(), CatalogError> {
        let id = self.publisher.ids.next_snapshot();
        let change = Change::Append {
            marker: Box::new(marker.named_by(id)),
            pending: &[],
        };
        let produced = self.publisher.produce(table, &self.branch, &change, id)?;
        self.publisher
            .catalog
            .commit(&table.ident, produced.requirements, produced.updates)?;
        Ok(())
    }
}

/// How the pending commits of a chain go into a table: appends together, a promotion by itself.
struct Portion<'a> {
    pending: &'a [Pending],
    promotion: Option<Promotion>,
}

impl Portion<'_> {
    /// What comes behind the first `done`.
    fn of(chain: &TableChain, done: usize) -> Result<Portion<'_>, CatalogError> {
        let rest = &chain.chain[done..];
        let mut appends = 0;
        for pending in rest {
            let promotion = Promotion::of(pending)?;
            match (appends, promotion) {
                (_, None) => appends += 1,
                (0, promotion) => {
                    let pending = &rest[..1];
                    return Ok(Portion { pending, promotion });
                }
                (_, Some(_)) => break,
            }
        }
        Ok(Portion {
            pending: &rest[..appends],
            promotion: None,
        })
    }
}

impl Decider {
    /// `upto` gets how many of the chain are in the table once what is sent is.
    fn step<'a>(
        &self,
        (table, of): (&LoadedTable, &Ref),
        chain: &'a TableChain,
        id: i64,
        upto: &mut usize,
        mut promote: impl FnMut(&'a Pending, Marker, &Promotion) -> Result<Promote<'a>, CatalogError>,
    ) -> Result<Step<'a, CommitOutcome>, CatalogError> {
        let marker = property_of(&table.metadata, of)?;
        let branch = Branch::named(&table.metadata, of);
        Ok(match self.decision(&branch, marker.as_ref(), chain) {
            Decision::Done => Step::Over(CommitOutcome::Confirmed {
                confirmed: chain.chain.len(),
                snapshot_id: marker.map(|marker| marker.snapshot_id),
            }),
            Decision::Pause(cause) => {
                let reason = match (cause, of.is_main()) {
                    (Cause::MarkerGone, false) => {
                        let name = of.name();
                        format!("the branch '{name}' was dropped, or dropped and made again")
                    }
                    _ => self.reason(cause, marker.as_ref(), chain),
                };
                let visible = branch.newest_marker();
                let outcome = pause(
                    &table.ident,
                    reason,
                    visible.as_ref(),
                    marker.as_ref(),
                    chain,
                );
                Step::Over(outcome)
            }
            Decision::Commit { done } => {
                let Portion { pending, promotion } = Portion::of(chain, done)?;
                *upto = done + pending.len();
                let first = match *upto == chain.chain.len() {
                    true => Cow::Borrowed(chain),
                    false => Cow::Owned(TableChain {
                        last: chain.last.clone(),
                        chain: chain.chain[..*upto].to_vec(),
                    }),
                };
                let marker = Marker::new(&self.owner, marker.as_ref(), &first, done, id);
                Step::Send(match promotion {
                    None => {
                        let marker = Box::new(marker);
                        Change::Append { marker, pending }
                    }
                    Some(promotion) => {
                        let promote = promote(&pending[0], marker, &promotion)?;
                        Change::Promote(Box::new(promote))
                    }
                })
            }
        })
    }

    fn decision(
        &self,
        branch: &Branch<'_>,
        marker: Option<&Marker>,
        chain: &TableChain,
    ) -> Decision {
        let uuids: Vec<_> = chain.chain.iter().map(|pending| pending.uuid).collect();
        (self.decide)(&Facts {
            chain: &uuids,
            last: chain.last.as_ref().map(|last| last.uuid),
            property: marker.map(|marker| (marker.uuid, marker.snapshot_id)),
            visible: &branch.ids(),
            horizon: branch.horizon(),
            outrun: branch.outruns(marker),
            contiguous: marker.is_none_or(|marker| continues(marker, chain)),
        })
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
            Cause::Outrun => {
                "the table was moved forward, to commits that this pipeline gave up with a rewind"
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
        let (pipeline, branch) = (&self.pipeline, &self.branch);
        let (catalog, ids) = (self.publisher.catalog.clone(), self.publisher.ids.clone());
        let (promoting, mut upto) = (&mut self.promoting, 0);
        let decide = |table: &LoadedTable, id: i64| {
            let of = (catalog.files(), &ids);
            pipeline.step(
                (table, branch),
                chain,
                id,
                &mut upto,
                |pending, marker, promotion| {
                    let known = promoting.take().filter(|one| one.is_of(pending.uuid));
                    let known =
                        promoting.insert(known.unwrap_or_else(|| Promoting::of(pending.uuid)));
                    known.change(of, table, pending, marker, promotion)
                },
            )
        };
        let published = self.publisher.publish(&ident, &self.branch, decide);
        if let Ok(Published::Over(_) | Published::Landed(_)) = &published {
            self.promoting = None;
        }
        match published {
            Ok(Published::Over(outcome)) => Ok(outcome),
            Ok(Published::Landed(id)) => Ok(CommitOutcome::Confirmed {
                confirmed: upto,
                snapshot_id: Some(id),
            }),
            Ok(Published::Busy(last)) => Err(ConnectorError::new(
                ErrorKind::Retry,
                format!("the commit to {table} did not get through {ROUNDS} times"),
            )
            .detail(last.to_string())),
            Err(error) if error.kind == Kind::NoSuchTable => {
                let reason = "the table was dropped".to_owned();
                Ok(pause(&ident, reason, None, None, chain))
            }
            Err(error) => Err(error.into()),
        }
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
        let branch = Branch::named(&loaded.metadata, &self.branch);
        let marker = property_of(&loaded.metadata, &self.branch)?;
        Ok(Some(Standing {
            on_branch: marker.as_ref().is_some_and(|marker| branch.holds(marker)),
            marker: marker.as_ref().map(Marker::to_table_marker),
            visible: branch.newest_marker().as_ref().map(Marker::to_table_marker),
            complete: branch.is_complete(),
            starts: starts(&loaded.metadata, &self.branch),
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
        let files = chain.iter().flat_map(|pending| &pending.files);
        for file in files.filter(|file| !Promotion::is_one(file)) {
            let metadata = loaded.as_ref().map(|loaded| &*loaded.metadata);
            if !StagedFile::from_json(file)?.fits(self.publisher.catalog.files(), metadata)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The newest marker ever committed to `main`.
pub(crate) fn property(metadata: &TableMetadata) -> Result<Option<Marker>, CatalogError> {
    property_of(metadata, &Ref::main())
}

/// The newest marker ever committed to a branch.
pub(crate) fn property_of(
    metadata: &TableMetadata,
    branch: &Ref,
) -> Result<Option<Marker>, CatalogError> {
    Marker::of_branch(metadata, branch).map_err(|error| {
        let name = branch.marker_property();
        let message =
            format!("the table property {name} cannot be read: remove it, or put back what it was");
        CatalogError::caused(Kind::BadRequest, message, error)
    })
}

/// The lowest offset per partition that any kept snapshot accounts for which was committed to this branch, wherever it is now.
/// What was committed to others is no part of it: a replay may begin before a table does.
pub(crate) fn starts(metadata: &TableMetadata, branch: &Ref) -> Vec<SplitOffset> {
    let mut starts: Vec<SplitOffset> = Vec::new();
    let is_its = |snapshot: &&Arc<Snapshot>| match branch_of_snapshot(snapshot) {
        None => branch.is_main(),
        Some(other) => other == branch.name(),
    };
    for range in metadata
        .snapshots()
        .filter(is_its)
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
