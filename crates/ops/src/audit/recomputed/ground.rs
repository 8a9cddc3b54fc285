//! From where on a query with state is executed again: the beginning, where the ledger's word ends, or a base.
//!
//! The parts that are accounted for are of one query, and no commit within them was rolled back; the log has all of what is executed.
//! Whoever asks about a table asks the log itself, as long as all of it is there. A look ahead of retention goes on where the last one
//! ended.

use super::word::{Since, Word};
use super::{Base, Lots, Recomputation};
use crate::audit::replay::made_by;
use crate::audit::{Evidence, Extent, Key, MarkedRange, PartitionReport, Query};
use lw_stdx::calendar::utc;
use std::collections::{BTreeMap, BTreeSet};

/// The offsets `[from, to)` of each partition.
type Parts = BTreeMap<Key, (i64, i64)>;

/// From where on the query is executed, and which windows are compared.
pub(super) struct Ground<'a> {
    /// Which of the queries.
    pub(super) query: usize,
    /// As the commits name it.
    pub(super) name: String,
    /// The log's word on what lies before; `None`: nothing does, or nobody knows.
    pub(super) word: Option<&'a Word>,
    pub(super) base: Option<&'a Base>,
    /// What is executed again.
    pub(super) parts: Parts,
    /// What is accounted for, the word's part with it.
    accounted: Parts,
    /// Which windows are compared; `None`: all.
    pub(super) since: Option<Since>,
    /// What cannot be known, in words.
    pub(super) why: Option<String>,
    /// The number of the word that comes of it.
    pub(super) number: u64,
}

/// From where on one query made the table and the log has all that it was made from.
///
/// # Errors
/// Why there is no such place.
pub(super) fn ground<'a>(
    queries: &[Query<'_>],
    partitions: &BTreeMap<Key, PartitionReport>,
    evidence: &Evidence<'_>,
    how: &'a Recomputation,
    word: Option<&'a Word>,
) -> Result<Ground<'a>, String> {
    let asked = Asked {
        queries,
        partitions,
        evidence,
        heads: heads(evidence),
    };
    let mut ground = match evidence.extent {
        Extent::Table => {
            let whole = asked.as_a_whole();
            whole.or_else(|reason| asked.behind(word).ok_or(reason))
        }
        Extent::Ranges => {
            let next = asked.behind(word);
            next.map_or_else(|| asked.as_a_whole(), Ok)
        }
    }
    .or_else(|reason| asked.behind_a_base(how, reason))?;
    ground.number = word.map_or(0, |word| word.number + 1);
    let only = ground.since.as_ref().map(Since::in_words);
    let rolled_back = evidence.rolled_back.as_ref().map(
        |_| "the table was rolled back: what the commits behind its head had fired is not compared",
    );
    ground.why = match (only, rolled_back) {
        (Some(only), Some(rolled_back)) => Some(format!("{only}; {rolled_back}")),
        (only, rolled_back) => only.or(rolled_back.map(str::to_string)),
    };
    Ok(ground)
}

impl Since {
    fn in_words(&self) -> String {
        let Since { after, why } = self;
        let after = utc(*after);
        format!("{why}: only windows that begin after {after} are compared")
    }
}

/// What is to be executed again.
struct Asked<'q, 'e> {
    queries: &'q [Query<'e>],
    partitions: &'q BTreeMap<Key, PartitionReport>,
    evidence: &'q Evidence<'e>,
    /// Where the table's head ends.
    heads: BTreeMap<Key, i64>,
}

impl Asked<'_, '_> {
    fn head(&self, key: &Key, span: &PartitionReport) -> i64 {
        self.heads.get(key).copied().unwrap_or(span.start)
    }

    fn ground<'a>(&self, query: usize, accounted: Parts, parts: Parts) -> Ground<'a> {
        Ground {
            query,
            name: self.queries[query].name.clone(),
            word: None,
            base: None,
            parts,
            accounted,
            since: None,
            why: None,
            number: 0,
        }
    }

    fn as_a_whole<'a>(&self) -> Result<Ground<'a>, String> {
        let parts = self.parts(None);
        let query = self.the_one_query(&parts, &parts)?;
        Ok(self.ground(query, parts.clone(), parts))
    }

    /// Where the word ends; `None` where it is not of this table as it now is.
    fn behind<'a>(&self, word: Option<&'a Word>) -> Option<Ground<'a>> {
        let word = word?;
        let (mut accounted, mut parts) = (Parts::new(), Parts::new());
        for (key, span) in self.partitions {
            let (start, end) = word.of(key).unwrap_or((span.start, span.start));
            let to = self.head(key, span);
            if end > to || (start != span.start && word.since.is_none()) {
                return None;
            }
            accounted.insert(key.clone(), (start, to));
            parts.insert(key.clone(), (end, to));
        }
        let is_missing = |(key, _): (Key, i64)| !self.partitions.contains_key(&key);
        if word.ends().any(is_missing) {
            return None;
        }
        let query = self.the_one_query(&accounted, &parts).ok()?;
        let ground = Ground {
            word: Some(word),
            since: word.since.clone(),
            ..self.ground(query, accounted, parts)
        };
        (ground.name == word.query).then_some(ground)
    }

    /// The oldest base from which it can be executed.
    fn behind_a_base<'a>(
        &self,
        how: &'a Recomputation,
        reason: String,
    ) -> Result<Ground<'a>, String> {
        let (Some(_), Some(reach)) = (how.start, how.reach) else {
            return Err(match &how.baseless {
                Some(baseless) => format!("{reason}; {baseless}"),
                None => reason,
            });
        };
        let usable = how.bases.iter().find_map(|base| {
            let parts = self.parts(Some(base));
            let is_something = parts.values().any(|(from, to)| from < to);
            let query = self.the_one_query(&parts, &parts).ok()?;
            is_something.then_some((base, parts, query))
        });
        let Some((base, parts, query)) = usable else {
            return Err(format!(
                "{reason}; no commit that is kept says how far event time had come with all of the log behind it there"
            ));
        };
        Ok(Ground {
            base: Some(base),
            since: Some(Since {
                after: base.reached.saturating_add(reach),
                why: reason,
            }),
            ..self.ground(query, parts.clone(), parts)
        })
    }

    /// All partitions from their beginning, or from a base, up to the head.
    fn parts(&self, base: Option<&Base>) -> Parts {
        let of = |(key, span): (&Key, &PartitionReport)| {
            let to = self.head(key, span);
            let end = base.and_then(|base| base.ends.get(key).copied());
            let from = end.map_or(span.start, |end| end.max(span.start));
            (key.clone(), (from.min(to), to))
        };
        self.partitions.iter().map(of).collect()
    }

    /// The query that made all that is accounted for, if it can be executed over these parts of it.
    fn the_one_query(&self, accounted: &Parts, parts: &Parts) -> Result<usize, String> {
        let read = parts.iter().filter(|(_, (from, to))| from < to);
        for ((topic, partition), (from, _)) in read {
            let starts = &self.evidence.log_starts;
            let start = starts.get(&(topic.clone(), *partition));
            if start.is_none_or(|start| from < start) {
                return Err(format!(
                    "{topic}[{partition}]: the log no longer has what the table was made from since offset {from}, and an aggregate cannot be computed from a part of it"
                ));
            }
        }
        let is_within = |range: &&MarkedRange| {
            let part = accounted.get(&(range.topic.clone(), range.partition));
            part.is_some_and(|(from, _)| *from <= range.start)
        };
        let mut within = self.evidence.ranges.iter().filter(is_within);
        if within.any(|range| !range.follows) {
            return Err(
                "the table was rolled back: which windows it lost cannot be told from offsets"
                    .into(),
            );
        }
        let mut made = BTreeSet::new();
        for (key, (from, to)) in accounted.iter().filter(|(_, (from, to))| from < to) {
            let by = made_by(self.queries, key, *from..*to).into_iter();
            made.extend(by.map(|(query, _)| query));
        }
        // The first one only stands in for what no commit names a query for.
        let names = made.iter().map(|query| &*self.queries[*query].name);
        if names.collect::<BTreeSet<&str>>().len() > 1 {
            return Err("several queries made the table, one after the other, and an aggregate of both cannot be computed by either".into());
        }
        Ok(made.last().copied().unwrap_or(self.queries.len() - 1))
    }
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

impl Ground<'_> {
    /// Whether a row of what is executed, which came too late by it and is of this time, came too late: a row of before the base may
    /// belong to what it belongs to otherwise.
    pub(super) fn is_sure(&self, event_time: i64) -> bool {
        let since = self.since.as_ref();
        since.is_none_or(|since| event_time > since.after)
    }

    /// Leaves windows out of which it does not know all; says how many those are.
    pub(super) fn leave_out(&self, lots: &mut Lots, how: &Recomputation) -> u64 {
        let (Some(since), Some(start)) = (&self.since, how.start) else {
            return 0;
        };
        let after = since.after.saturating_mul(1000);
        let before = lots.windows.len();
        lots.windows.retain(|window, _| {
            window
                .get(start)
                .is_some_and(|at| at.is_some_and(|at| at > after))
        });
        (before - lots.windows.len()) as u64
    }

    /// What is not accounted for is not verified.
    pub(super) fn give_up(&self, partitions: &mut BTreeMap<Key, PartitionReport>) {
        for (key, span) in partitions {
            let ((from, to), (begin, _)) = (self.parts[key], self.accounted[key]);
            span.verified_from = from;
            span.unread.push(to..span.end);
            span.unverified = (span.end - span.start - (to - begin)).unsigned_abs();
        }
    }
}
