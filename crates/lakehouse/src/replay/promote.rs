//! Promoting: `main` gets the rows of a replay's branch, by the pipeline that fills it.
//!
//! A reference is not moved: what `main` has got since the branch began would be gone. What is asked of the pipeline is a pending commit
//! like any other ([`Promotion`]), which says which range it is of and which files come, and accounts for no offsets. So it lands once,
//! whatever becomes of requests and processes: its uuid is in the chain, and in the marker once it is there.
//!
//! What *goes* is said by no checkpoint. It is worked out for the head that the commit follows on, each time anew ([`Promoting`]): a
//! compaction, whoever makes it, may have put the rows into other files since. They must be as many as when the branch began, and no
//! delete may hide one, or somebody has changed them, and the user says whether that is to be undone.
//!
//! A promotion that does not fit when its turn comes, because somebody changed rows between the question and the commit, is *given up*:
//! its commit changes nothing, and its snapshot says why. A pipeline never stands still for it.

use super::fork::{Replays, is_of_others};
use super::range::{ReplayError, ReplayRange};
use super::survey::{Looks, Survey};
use crate::catalog::LoadedTable;
use crate::commit::branch::{Branch, Ref, ancestors};
use crate::commit::change::{Promote, Removal};
use crate::commit::committer::{property, property_of};
use crate::commit::listing::{Listed, Listing};
use crate::commit::marker::{
    Ends, MOST_PROMOTIONS, Marker, PROMOTED, PROMOTION_REFUSED, Promoted, to_ends,
    to_offsets_of_splits,
};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::naming::Bound;
use crate::staged::StagedFile;
use crate::storage::Files;
use crate::view::Footers;
use iceberg::TableIdent;
use iceberg::spec::{Snapshot, TableMetadata};
use lw_runtime::manifest::{Pending, SplitOffset};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// A member of the first file of a pending commit that promotes. The rest of that entry is nothing that an older version could read, so
/// one that does not know promotions fails, and does not take the files for more rows.
const MEMBER: &str = "promotion";

/// The range of a promotion in a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// A file that is to come is there already.
    pub(crate) is_listed: bool,
    /// How many rows it has, and had when the branch began; those count that deletes hide.
    pub(crate) rows: u64,
    pub(crate) then: u64,
    /// A delete may hide one; in a file that has others beside them.
    pub(crate) hit: bool,
    pub(crate) cut_and_hit: bool,
    /// Others have taken rows out since, or changed some; not all of that was named.
    pub(crate) others: bool,
    pub(crate) unnamed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    Promoted,
    TakenOut,
    Changed,
    Deleted,
}

/// Whether the rows of a head may go. Pure; explored by `commit/model/promotes.rs`.
pub(crate) fn verdict(range: &Range) -> Verdict {
    if range.is_listed {
        return Verdict::Promoted;
    }
    if range.rows == range.then && !range.hit {
        return Verdict::Fits;
    }
    match range {
        Range { others: false, .. } => Verdict::TakenOut,
        Range { unnamed: true, .. } => Verdict::Changed,
        // Of rows beside the range nothing is undone.
        Range {
            cut_and_hit: true, ..
        } => Verdict::Deleted,
        _ => Verdict::Fits,
    }
}

/// What a pending commit promotes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    branch: String,
    from: Ends,
    /// Exclusive.
    until: Ends,
    /// The plan that computed the branch, and which fields its names meant.
    plan: Option<String>,
    #[serde(default, skip_serializing_if = "Bound::is_empty")]
    columns: Bound,
    /// The snapshot of `main` that the branch began from, and how many rows of the range it had.
    fork: i64,
    rows: u64,
    /// Snapshots of others whose changes are undone.
    discard: Vec<i64>,
}

/// A branch that is to be promoted.
pub struct ToPromote<'a> {
    pub branch: &'a str,
    /// The replay's pipeline.
    pub replay: Uuid,
    pub from: &'a [SplitOffset],
    pub until: &'a [SplitOffset],
    pub fork: i64,
    pub base: i64,
    pub plan: String,
    pub discard: &'a [i64],
}

/// What became of a promotion that no checkpoint has any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    Promoted,
    /// It did not fit.
    Refused(String),
    /// It was rolled back, or its checkpoint was given up; or it did not fit, and the snapshot that says so has expired.
    Gone,
}

impl Promotion {
    pub(crate) fn is_one(file: &Value) -> bool {
        file.get(MEMBER).is_some()
    }

    /// What a pending commit promotes, if it does.
    pub(crate) fn of(pending: &Pending) -> Result<Option<Promotion>, CatalogError> {
        let Some(member) = pending.files.first().and_then(|file| file.get(MEMBER)) else {
            return Ok(None);
        };
        let read = Promotion::deserialize(member);
        read.map(Some).map_err(|error| {
            let message = "a promotion in the checkpoint cannot be read";
            CatalogError::caused(Kind::Internal, message, error)
        })
    }

    fn to_json(&self) -> Value {
        json!({ "path": "", MEMBER: self })
    }

    fn range(&self) -> ReplayRange {
        ReplayRange {
            from: to_offsets_of_splits(&self.from),
            until: to_offsets_of_splits(&self.until),
            from_the_beginning: false,
            to_the_end: false,
        }
    }

    /// The rows of the range in a head, if they may go.
    fn judge(
        &self,
        files: &Files,
        (metadata, listing): (&TableMetadata, &Listing),
        added: &[String],
        looks: &mut Looks,
    ) -> Result<Survey, ReplayError> {
        let branch = self.branch.clone();
        let is_listed = added.iter().any(|path| listing.data.contains_key(path));
        let range = (&self.range().offsets(), false);
        let survey = Survey::of(files, metadata, listing, range, looks)?;
        let since = ancestors(metadata, metadata.current_snapshot_id());
        let since = since.take_while(|one| one.snapshot_id() != self.fork);
        let others: Vec<&Snapshot> = since.filter(is_of_others).collect();
        let unnamed = others.iter().rev();
        let unnamed = unnamed.filter(|one| !self.discard.contains(&one.snapshot_id()));
        let told = |one: &&Snapshot| {
            (
                one.snapshot_id(),
                one.summary().operation.as_str().to_owned(),
            )
        };
        let snapshots: Vec<(i64, String)> = unnamed.map(told).collect();
        let cut = survey.cut_and_hit();
        match verdict(&Range {
            is_listed,
            rows: survey.rows(),
            then: self.rows,
            hit: survey.hit().is_some(),
            cut_and_hit: cut.is_some(),
            others: !others.is_empty(),
            unnamed: !snapshots.is_empty(),
        }) {
            Verdict::Fits => Ok(survey),
            Verdict::Promoted => Err(ReplayError::Promoted { branch }),
            Verdict::TakenOut => Err(ReplayError::TakenOut { branch }),
            Verdict::Changed => Err(ReplayError::Changed { branch, snapshots }),
            Verdict::Deleted => Err(ReplayError::Deleted {
                path: cut.unwrap_or_default().to_owned(),
            }),
        }
    }
}

/// What a committer knows of the promotion that it is to commit, across attempts.
pub(crate) struct Promoting {
    uuid: Uuid,
    looks: Looks,
    /// The files that come are there, and fit the table.
    fits: bool,
}

impl Promoting {
    pub(crate) fn of(uuid: Uuid) -> Promoting {
        Promoting {
            uuid,
            looks: Looks::default(),
            fits: false,
        }
    }

    pub(crate) fn is_of(&self, uuid: Uuid) -> bool {
        self.uuid == uuid
    }

    /// The change for this table as it was loaded; `marker` is that of the commit.
    pub(crate) fn change<'a>(
        &mut self,
        (files, ids): (&Files, &Ids),
        table: &LoadedTable,
        pending: &'a Pending,
        mut marker: Marker,
        promotion: &Promotion,
    ) -> Result<Promote<'a>, CatalogError> {
        let without = match self.removal((files, ids), &table.metadata, pending, promotion) {
            Ok(removal) => Ok(removal),
            Err(ReplayError::Catalog(error)) => return Err(error),
            Err(why) => Err(format!("{why} {}", why.detail()).trim().to_owned()),
        };
        let (says, without) = match without {
            Ok(removal) => {
                let range = promotion.range();
                let query = (promotion.plan.clone(), promotion.columns.clone());
                let promoted = Promoted::new(&marker, query, &range.from, &range.until);
                let says = promoted.to_summary();
                marker.promotes(promoted);
                ((PROMOTED, says), Some(removal))
            }
            Err(why) => ((PROMOTION_REFUSED, why), None),
        };
        Ok(Promote {
            marker,
            pending,
            says,
            without,
        })
    }

    fn removal(
        &mut self,
        (files, ids): (&Files, &Ids),
        metadata: &TableMetadata,
        pending: &Pending,
        promotion: &Promotion,
    ) -> Result<Removal, ReplayError> {
        let branch = &promotion.branch;
        let head = Ref::main().head(metadata);
        let Some(head) = head else {
            let branch = branch.clone();
            return Err(ReplayError::TakenOut { branch });
        };
        let mut added = Vec::new();
        for file in pending.files.iter().skip(1) {
            let staged = StagedFile::from_json(file)?;
            if !self.fits && !staged.fits(files, Some(metadata))? {
                let why = format!(
                    "{} is gone, or does not fit the table any more",
                    staged.path
                );
                let branch = branch.clone();
                return Err(ReplayError::Branch { branch, why });
            }
            added.push(staged.path);
        }
        self.fits = true;
        let listing = Listing::of(files, metadata, Some(head))?;
        let (of, looks) = ((metadata, &listing), &mut self.looks);
        let survey = promotion.judge(files, of, &added, looks)?;
        // What no request of ours can bring in any more is found by the sweep, by its name.
        let mut written = Vec::new();
        Ok(survey.removal((files, metadata), head, ids, looks, &mut written)?)
    }
}

impl Replays {
    /// The files of a pending commit that promotes the branch.
    ///
    /// # Errors
    /// Why it cannot be promoted as things stand.
    pub fn promotion(
        &self,
        table: &TableIdent,
        wanted: &ToPromote<'_>,
    ) -> Result<Vec<Value>, ReplayError> {
        let loaded = self.publisher.catalog.load(table)?;
        let (files, metadata) = (self.publisher.catalog.files(), &loaded.metadata);
        let base = wanted.base(metadata)?;
        let added = wanted.added(files, metadata, base)?;
        let marker = property_of(metadata, &Ref::named(wanted.branch))?;
        let newest = marker.as_ref().and_then(|marker| marker.stints().last());
        let parts = wanted.from.iter().zip(wanted.until);
        let parts = parts.filter(|(from, until)| from.next < until.next);
        let (from, until): (Vec<SplitOffset>, Vec<SplitOffset>) = parts
            .map(|(from, until)| (from.clone(), until.clone()))
            .unzip();
        let promotion = Promotion {
            branch: wanted.branch.to_owned(),
            from: to_ends(&from),
            until: to_ends(&until),
            plan: Some(wanted.plan.clone()),
            columns: newest
                .map(|stint| stint.columns.clone())
                .unwrap_or_default(),
            fork: wanted.fork,
            rows: gone_with(base),
            discard: wanted.discard.to_vec(),
        };
        let main = property(metadata)?;
        if main.is_some_and(|main| main.promotions().len() >= MOST_PROMOTIONS) {
            let why = format!("main has {MOST_PROMOTIONS} promoted ranges, and no more are kept");
            return Err(wanted.refused(why));
        }
        if Branch::of(metadata).snapshots().any(Marker::is_joined) {
            // An audit goes by what these say of their offsets, whatever was promoted since.
            let why =
                "commits of main say with which versions of other tables their rows were joined";
            return Err(wanted.refused(why));
        }
        let listing = Listing::of(files, metadata, Ref::main().head(metadata))?;
        let paths: Vec<String> = added
            .iter()
            .map(|one| one.file.file_path().to_owned())
            .collect();
        let of = (&**metadata, &listing);
        promotion.judge(files, of, &paths, &mut Looks::default())?;
        let mut all = vec![promotion.to_json()];
        for one in added {
            let snapshot = metadata.snapshot_by_id(one.snapshot);
            let schema = snapshot.and_then(|snapshot| snapshot.schema_id());
            let schema = schema.unwrap_or(metadata.current_schema_id());
            let staged = StagedFile::new(metadata, schema, one.spec_id, one.file)?;
            all.push(staged.to_json());
        }
        Ok(all)
    }

    /// What became of the promotion of this uuid, which is not pending any more.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn became(&self, table: &TableIdent, uuid: Uuid) -> Result<Became, ReplayError> {
        let metadata = self.publisher.catalog.load(table)?.metadata;
        let (newest, main) = (property(&metadata)?, Branch::of(&metadata));
        // A rollback leaves the property as it is until the pipeline goes on.
        let seen = newest.clone();
        let seen = seen.map(|marker| marker.with_promotions_of(&metadata, &main, newest.as_ref()));
        let mut promotions = seen.iter().flat_map(Marker::promotions);
        if promotions.any(|one| one.uuid == uuid) {
            return Ok(Became::Promoted);
        }
        let its = |one: &&std::sync::Arc<Snapshot>| {
            Marker::of_snapshot(one).is_some_and(|marker| marker.uuid == uuid)
        };
        let snapshot = metadata.snapshots().find(its);
        let why = snapshot.and_then(|one| {
            let summary = &one.summary().additional_properties;
            summary.get(PROMOTION_REFUSED).cloned()
        });
        Ok(why.map_or(Became::Gone, Became::Refused))
    }
}

impl ToPromote<'_> {
    fn refused(&self, why: impl Into<String>) -> ReplayError {
        ReplayError::Branch {
            branch: self.branch.to_owned(),
            why: why.into(),
        }
    }

    /// The branch's first snapshot, behind which the replay alone has committed, all of its range.
    fn base<'m>(&self, metadata: &'m TableMetadata) -> Result<&'m Snapshot, ReplayError> {
        let branch = Ref::named(self.branch);
        let head = branch.head(metadata).map(Snapshot::snapshot_id);
        if head.is_none() {
            return Err(self.refused("it is not there any more"));
        }
        let marker = property_of(metadata, &branch)?.filter(|one| one.pipeline == self.replay);
        let is_whole = |marker: &Marker| {
            let ends = marker.ends();
            let reaches = |until: &SplitOffset| {
                let end = ends.iter().find(|end| end.same_split(until));
                end.is_some_and(|end| end.next == until.next)
            };
            self.until.iter().all(reaches) && Branch::named(metadata, &branch).holds(marker)
        };
        if !marker.as_ref().is_some_and(is_whole) {
            return Err(self.refused("it does not have all of the replay, or was made again"));
        }
        for snapshot in ancestors(metadata, head) {
            if snapshot.snapshot_id() == self.base {
                return Ok(snapshot);
            }
            let marker = Marker::of_snapshot(snapshot);
            if marker.is_none_or(|marker| marker.pipeline != self.replay) {
                let id = snapshot.snapshot_id();
                return Err(self.refused(format!("somebody else committed snapshot {id} to it")));
            }
        }
        Err(self.refused("it was made again"))
    }

    /// The files of the replay, each with rows of the range alone.
    fn added(
        &self,
        files: &Files,
        metadata: &TableMetadata,
        base: &Snapshot,
    ) -> Result<Vec<Listed>, ReplayError> {
        let branch = Ref::named(self.branch);
        let before = Listing::of(files, metadata, Some(base))?;
        let now = Listing::of(files, metadata, branch.head(metadata))?;
        let stay = before.data.keys().all(|path| now.data.contains_key(path));
        if !stay || now.deletes.len() != before.deletes.len() {
            return Err(self.refused("rows of it were changed"));
        }
        let range = ReplayRange {
            from: self.from.to_vec(),
            until: self.until.to_vec(),
            from_the_beginning: false,
            to_the_end: false,
        };
        let (range, footers) = (range.offsets(), Footers::default());
        let mut added = Vec::new();
        for (path, listed) in now.data {
            if before.data.contains_key(&path) {
                continue;
            }
            let runs = footers.runs(files, &path)?;
            let runs = runs.as_deref().map_or(&[][..], Vec::as_slice);
            let is_inside = |run: &crate::writer::runs::Run| {
                let offsets = range.get(&(run.topic.clone(), run.partition));
                offsets.is_some_and(|one| one.contains(&run.first) && one.contains(&run.last))
            };
            let rows: u64 = runs.iter().map(|run| run.rows).sum();
            if rows != listed.file.record_count() || !runs.iter().all(is_inside) {
                return Err(self.refused(format!("{path} has rows that are not of the range")));
            }
            added.push(listed);
        }
        Ok(added)
    }
}

/// The rows of the range that `main` had when the branch began, by what its first commit took out.
fn gone_with(base: &Snapshot) -> u64 {
    let summary = &base.summary().additional_properties;
    let count = |key: &str| {
        let text = summary.get(key);
        text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    count("deleted-records") - count("added-records")
}
