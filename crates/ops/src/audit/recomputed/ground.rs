//! From where on a query with state is executed again: the beginning, or a base.
//!
//! The parts that are executed are of one query, the log has all of them, and no commit within them was rolled back.

use super::{Base, Lots, Recomputation};
use crate::audit::replay::made_by;
use crate::audit::{Evidence, Extent, Key, MarkedRange, PartitionReport, Query};
use lw_stdx::calendar::utc;
use std::collections::{BTreeMap, BTreeSet};

/// From where on the query is executed, and which windows are compared.
pub(super) struct Ground<'a> {
    /// Which of the queries.
    pub(super) query: usize,
    /// `None`: from the beginning.
    pub(super) base: Option<&'a Base>,
    /// Where each partition's part that is executed begins and ends.
    pub(super) parts: BTreeMap<Key, (i64, i64)>,
    /// Why it is not the whole.
    pub(super) why: Option<String>,
}

/// From where on one query made the table and the log has all that it was made from: the beginning, or else the oldest base.
pub(super) fn ground<'a>(
    queries: &[Query<'_>],
    partitions: &BTreeMap<Key, PartitionReport>,
    evidence: &Evidence<'_>,
    how: &'a Recomputation,
) -> Result<Ground<'a>, String> {
    assert_eq!(
        evidence.extent,
        Extent::Table,
        "A1: a part of the log gives no part of an aggregate"
    );
    let heads = heads(evidence);
    let parts = |base: Option<&Base>| -> BTreeMap<Key, (i64, i64)> {
        let of = |(key, span): (&Key, &PartitionReport)| {
            let to = heads.get(key).copied().unwrap_or(span.start);
            let end = base.and_then(|base| base.ends.get(key).copied());
            let from = end.map_or(span.start, |end| end.max(span.start));
            (key.clone(), (from.min(to), to))
        };
        partitions.iter().map(of).collect()
    };
    let whole = parts(None);
    let mut why = evidence.rolled_back.as_ref().map(|_| {
        "the table was rolled back: what the commits behind its head had fired is not compared"
            .to_string()
    });
    let reason = match the_one_query(queries, &whole, evidence) {
        Ok(query) => {
            return Ok(Ground {
                query,
                base: None,
                parts: whole,
                why,
            });
        }
        Err(reason) => reason,
    };
    let (Some(_), Some(reach)) = (how.start, how.reach) else {
        return Err(reason);
    };
    let usable = how.bases.iter().find_map(|base| {
        let parts = parts(Some(base));
        let is_something = parts.values().any(|(from, to)| from < to);
        let query = the_one_query(queries, &parts, evidence).ok()?;
        is_something.then_some((base, parts, query))
    });
    let (base, parts, query) = usable.ok_or_else(|| reason.clone())?;
    let after = utc(base.reached.saturating_add(reach));
    let only = format!("{reason}: only windows that begin after {after} are compared");
    why = Some(why.map_or(only.clone(), |rolled_back| format!("{only}; {rolled_back}")));
    Ok(Ground {
        query,
        base: Some(base),
        parts,
        why,
    })
}

/// Where the table's head ends.
fn heads(evidence: &Evidence<'_>) -> BTreeMap<Key, i64> {
    let mut heads = BTreeMap::new();
    for range in &evidence.ranges {
        let head = heads.entry((range.topic.clone(), range.partition));
        let head = head.or_insert(range.end);
        *head = range.end.max(*head);
    }
    heads
}

/// The query that made all of these parts, if it can be executed over them.
fn the_one_query(
    queries: &[Query<'_>],
    parts: &BTreeMap<Key, (i64, i64)>,
    evidence: &Evidence<'_>,
) -> Result<usize, String> {
    let read = parts.iter().filter(|(_, (from, to))| from < to);
    for ((topic, partition), (from, _)) in read.clone() {
        let start = evidence.log_starts.get(&(topic.clone(), *partition));
        if start.is_none_or(|start| from < start) {
            return Err(format!(
                "{topic}[{partition}]: the log no longer has what the table was made from since offset {from}, and an aggregate cannot be computed from a part of it"
            ));
        }
    }
    let is_within = |range: &&MarkedRange| {
        let part = parts.get(&(range.topic.clone(), range.partition));
        part.is_some_and(|(from, _)| *from <= range.start)
    };
    let mut within = evidence.ranges.iter().filter(is_within);
    if within.any(|range| !range.follows) {
        return Err(
            "the table was rolled back: which windows it lost cannot be told from offsets".into(),
        );
    }
    let mut made = BTreeSet::new();
    for (key, (from, to)) in read {
        let by = made_by(queries, key, *from..*to).into_iter();
        made.extend(by.map(|(query, _)| query));
    }
    // The first one only stands in for what no commit names a query for.
    let names: BTreeSet<&str> = made.iter().map(|query| &*queries[*query].name).collect();
    if names.len() > 1 {
        return Err("several queries made the table, one after the other, and an aggregate of both cannot be computed by either".into());
    }
    Ok(made.last().copied().unwrap_or(queries.len() - 1))
}

impl Ground<'_> {
    /// Leaves windows out of which it does not know all; says how many those are.
    pub(super) fn leave_out(&self, lots: &mut Lots, how: &Recomputation) -> u64 {
        let (Some(base), Some(start), Some(reach)) = (self.base, how.start, how.reach) else {
            return 0;
        };
        let after = base.reached.saturating_add(reach).saturating_mul(1000);
        let before = lots.len();
        lots.retain(|window, _| {
            window
                .get(start)
                .is_some_and(|at| at.is_some_and(|at| at > after))
        });
        (before - lots.len()) as u64
    }

    /// What is not executed is not verified.
    pub(super) fn give_up(&self, partitions: &mut BTreeMap<Key, PartitionReport>) {
        for (key, span) in partitions {
            let (from, to) = self.parts[key];
            span.verified_from = from;
            span.unread.push(to..span.end);
            span.unverified = (span.end - span.start - (to - from)).unsigned_abs();
        }
    }
}
