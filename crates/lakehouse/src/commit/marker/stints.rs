//! Stints: which plan made what of a table, and which fields its names meant there.

use super::{Ends, Marker, begin_at, to_ends, to_offsets_of_splits};
use crate::naming::Bound;
use crate::staged::StagedFile;
use lw_runtime::manifest::{Pending, SplitOffset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Offsets in all stints of a marker, for which eight columns count as one: readers fetch it with every look at the table.
pub(super) const MOST: usize = 2048;

/// What one plan made of a table: from these offsets on, until a later stint begins there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stint {
    pub pipeline: Uuid,
    /// `None`: the commits were made by a version that did not say.
    pub plan: Option<String>,
    pub(super) from: Ends,
    /// The fields that the query's names mean, for as long as those are there; older versions do not say.
    #[serde(default, skip_serializing_if = "Bound::is_empty")]
    pub columns: Bound,
}

impl Stint {
    /// Of a table whose columns nobody renames.
    pub(crate) fn new(pipeline: Uuid, plan: Option<String>, from: &[SplitOffset]) -> Stint {
        Stint {
            pipeline,
            plan,
            from: to_ends(from),
            columns: Bound::new(),
        }
    }

    pub fn from(&self) -> Vec<SplitOffset> {
        to_offsets_of_splits(&self.from)
    }

    /// A commit that means these fields is of it.
    fn goes_on(&self, pipeline: Uuid, plan: Option<&str>, columns: &Bound) -> bool {
        let unsaid = self.columns.is_empty() || columns.is_empty();
        let same_query = self.pipeline == pipeline && self.plan.as_deref() == plan;
        same_query && (unsaid || self.columns == *columns)
    }

    fn size(&self) -> usize {
        let offsets: usize = self.from.values().map(BTreeMap::len).sum();
        offsets + self.columns.len() / 8
    }
}

/// The stints that a table has with these commits; the oldest are forgotten where all of them are too long.
pub(super) fn stints(before: Option<&Marker>, pipeline: Uuid, pending: &[Pending]) -> Vec<Stint> {
    let mut stints = before.map_or_else(Vec::new, |before| before.stints.clone());
    for commit in pending {
        let columns = commit.files.first().map(StagedFile::bound);
        let columns = columns.unwrap_or_default();
        let goes_on = match stints.last() {
            Some(last) => last.goes_on(pipeline, commit.plan.as_deref(), &columns),
            None => commit.plan.is_none(),
        };
        if !goes_on {
            stints.push(Stint {
                pipeline,
                plan: commit.plan.clone(),
                from: Ends::new(),
                columns: Bound::new(),
            });
        }
        if let Some(stint) = stints.last_mut() {
            if !columns.is_empty() {
                stint.columns = columns;
            }
            for range in &commit.ranges {
                begin_at(&mut stint.from, range);
            }
        }
    }
    stints.retain(|stint| !stint.from.is_empty());
    while stints.len() > 1 && stints.iter().map(Stint::size).sum::<usize>() > MOST {
        stints.remove(0);
    }
    stints
}
