//! Promotions: ranges of `main` whose rows came from a branch, computed by another plan than the commits that read them.
//!
//! They lie over the [stints](super::Stint), which go on to say who read what:
//!
//! ```text
//! stints      │ a ──────────────────────│ b ───────────►
//! promotions           │ p ─────────│
//! made by     │ a ─────│ p ─────────│ a│ b ───────────►
//! ```
//!
//! So a rollback below one needs no more than to leave it out. It stands in the property, because snapshots expire, and in its own
//! snapshot's summary, because `main` may be moved to where the property was not any more.

use super::{Ends, Marker, PROMOTED, Stint};
use crate::commit::branch::Branch;
use crate::naming::Bound;
use iceberg::spec::{Snapshot, TableMetadata};
use lw_runtime::manifest::SplitOffset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// So many lie over a table's stints at most: readers fetch them with every look at it.
pub(crate) const MOST_PROMOTIONS: usize = 32;

/// A range whose rows a branch gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// Of the commit that made it, which counts as any other.
    pub uuid: Uuid,
    pub sequence: u64,
    pub snapshot_id: i64,
    /// Whose plan it is: that of the pipeline that fills `main`.
    pub(super) pipeline: Uuid,
    pub(super) plan: Option<String>,
    #[serde(default, skip_serializing_if = "Bound::is_empty")]
    pub(super) columns: Bound,
    pub(super) from: Ends,
    /// Exclusive.
    pub(super) until: Ends,
}

impl Promoted {
    pub(crate) fn new(
        commit: &Marker,
        (plan, columns): (Option<String>, Bound),
        from: &[SplitOffset],
        until: &[SplitOffset],
    ) -> Promoted {
        Promoted {
            uuid: commit.uuid,
            sequence: commit.sequence,
            snapshot_id: commit.snapshot_id,
            pipeline: commit.pipeline,
            plan,
            columns,
            from: super::to_ends(from),
            until: super::to_ends(until),
        }
    }

    pub(crate) fn plan(&self) -> Option<&String> {
        self.plan.as_ref()
    }

    pub(crate) fn to_summary(&self) -> String {
        serde_json::to_string(self).expect("a promotion is plain data")
    }

    fn of_snapshot(snapshot: &Snapshot) -> Option<Promoted> {
        let summary = &snapshot.summary().additional_properties;
        serde_json::from_str(summary.get(PROMOTED)?).ok()
    }

    /// The stint of it alone, where it begins.
    fn stint(&self) -> Stint {
        Stint {
            pipeline: self.pipeline,
            plan: self.plan.clone(),
            from: self.from.clone(),
            columns: self.columns.clone(),
        }
    }

    /// The stints with this over them: those that began below its end, then this one, then what goes on behind it.
    fn over(&self, stints: &[Stint]) -> Vec<Stint> {
        let mut before = stints.to_vec();
        for stint in &mut before {
            self.take_out(&mut stint.from);
        }
        let mut all = before;
        all.push(self.stint());
        all.extend(self.behind(stints));
        all.retain(|stint| !stint.from.is_empty());
        all
    }

    /// Leaves out what begins in the range, or behind it.
    fn take_out(&self, from: &mut Ends) {
        for (topic, partitions) in from.iter_mut() {
            let begins = self.from.get(topic);
            partitions.retain(|partition, at| {
                let begin = begins.and_then(|begins| begins.get(partition));
                begin.is_none_or(|begin| *at < *begin)
            });
        }
        from.retain(|_, partitions| !partitions.is_empty());
    }

    /// What the stints made behind the range, oldest first.
    fn behind(&self, stints: &[Stint]) -> Vec<Stint> {
        let mut behind: Vec<Stint> = stints.to_vec();
        for (index, stint) in behind.iter_mut().enumerate() {
            stint.from = Ends::new();
            for (topic, ends) in &self.until {
                for (partition, end) in ends {
                    let at = |stint: &Stint| stint.from.get(topic)?.get(partition).copied();
                    // What no stint claims is the first one's.
                    let begin = match index {
                        0 => Some(i64::MIN),
                        _ => at(&stints[index]),
                    };
                    let Some(begin) = begin else { continue };
                    let next = stints[index + 1..].iter().find_map(at);
                    if next.is_none_or(|next| *end < next) {
                        let from = stint.from.entry(topic.clone()).or_default();
                        from.insert(*partition, begin.max(*end));
                    }
                }
            }
        }
        behind
    }
}

/// Which plan made what is there, oldest first: the stints, with the promotions over them.
pub(super) fn made_by(stints: &[Stint], promotions: &[Promoted]) -> Vec<Stint> {
    let mut made = stints.to_vec();
    if let (true, Some(first)) = (made.is_empty(), promotions.first()) {
        // Nobody said which plan read it.
        let of_topic = |(topic, partitions): (&String, &BTreeMap<i32, i64>)| {
            let begins = partitions.keys().map(|partition| (*partition, i64::MIN));
            (topic.clone(), begins.collect())
        };
        made.push(Stint {
            pipeline: first.pipeline,
            plan: None,
            from: promotions
                .iter()
                .flat_map(|one| &one.from)
                .map(of_topic)
                .collect(),
            columns: Bound::new(),
        });
    }
    for promoted in promotions {
        made = promoted.over(&made);
    }
    made
}

/// The promotions that readers of a branch see, of those that its property names and those that its snapshots do.
pub(super) fn visible(
    metadata: &TableMetadata,
    branch: &Branch<'_>,
    newest: Option<&Marker>,
) -> Vec<Promoted> {
    let ids = branch.ids();
    let end = branch.newest_marker().map(|marker| marker.sequence);
    // Of a snapshot that is gone the place in the line tells: what was given up with a rewind was left out then.
    let is_there = |one: &&Promoted| match metadata.snapshot_by_id(one.snapshot_id) {
        Some(_) => ids.contains(&one.snapshot_id),
        None => end.is_none_or(|end| one.sequence <= end),
    };
    let named = newest.into_iter().flat_map(|newest| &newest.promotions);
    let mut visible: Vec<Promoted> = named.filter(is_there).cloned().collect();
    let mut told: Vec<Promoted> = branch
        .snapshots()
        .filter_map(Promoted::of_snapshot)
        .collect();
    told.reverse();
    for one in told {
        if !visible.iter().any(|other| other.uuid == one.uuid) {
            visible.push(one);
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(partition: i32, at: i64) -> Ends {
        Ends::from([("in".to_owned(), [(partition, at)].into())])
    }

    fn stint(plan: &str, from: &[(i32, i64)]) -> Stint {
        Stint {
            pipeline: Uuid::nil(),
            plan: Some(plan.to_owned()),
            from: Ends::from([("in".to_owned(), from.iter().copied().collect())]),
            columns: Bound::new(),
        }
    }

    fn promoted(plan: &str, from: i64, until: i64) -> Promoted {
        Promoted {
            uuid: Uuid::nil(),
            sequence: 1,
            snapshot_id: 1,
            pipeline: Uuid::nil(),
            plan: Some(plan.to_owned()),
            columns: Bound::new(),
            from: ends(0, from),
            until: ends(0, until),
        }
    }

    /// As an audit goes by them: each from where it began until a later one begins, the first one before all.
    fn of(stints: &[Stint], partition: i32, offset: i64) -> String {
        let begin = |stint: &Stint| stint.from.get("in")?.get(&partition).copied();
        let its = stints.iter().rev();
        let mut its = its.filter(|stint| begin(stint).is_some_and(|begin| begin <= offset));
        let made = its.next().or(stints.first()).expect("there is one");
        made.plan.clone().expect("it has a plan")
    }

    /// Two stints and two promotions, wherever they begin and end: each offset is the last's that names it.
    #[test]
    fn each_offset_is_of_the_newest_that_names_it() {
        for second in 0..7 {
            for (from, until) in (0..7).flat_map(|from| (from + 1..8).map(move |to| (from, to))) {
                for (again, to) in (0..7).flat_map(|from| (from + 1..8).map(move |to| (from, to))) {
                    let stints = [
                        stint("a", &[(0, 2), (1, 0)]),
                        stint("b", &[(0, second), (1, 3)]),
                    ];
                    let over = [promoted("p", from, until), promoted("q", again, to)];
                    let made = made_by(&stints, &over);
                    for offset in 0..9 {
                        let expected = match () {
                            () if (again..to).contains(&offset) => "q".to_owned(),
                            () if (from..until).contains(&offset) => "p".to_owned(),
                            () => of(&stints, 0, offset),
                        };
                        assert_eq!(
                            of(&made, 0, offset),
                            expected,
                            "{second} {from}-{until} {again}-{to} at {offset}: {made:?}"
                        );
                        assert_eq!(of(&made, 1, offset), of(&stints, 1, offset));
                    }
                }
            }
        }
    }
}
