//! The marker: who made the newest commit of a pipeline to the table, and up to which offsets. It is in the table itself, as
//! `txn` actions, which every Delta writer carries over into its checkpoints.
//!
//! ```text
//! lakeward/commit/0, lakeward/commit/1         the two halves of the commit's uuid, as signed numbers
//! lakeward/pipeline/0, lakeward/pipeline/1     those of the pipeline's
//! lakeward/sequence                            number of the commit, from 1
//! lakeward/begin/<partition>/<topic>           first offset that the table accounts for
//! lakeward/end/<partition>/<topic>             offset behind the last one
//! lakeward/plan/<n>/<pipeline>/<plan>/<partition>/<topic>
//!                                              first offset of what this plan made, until a stint of a greater number begins
//! ```
//!
//! The ids are the table's, whichever pipeline writes: the newest marker is the one that counts, and a pipeline that finds
//! another's pauses. A `txn` holds one number, so a uuid takes two, and a plan stands in the id. Without `lastUpdated` none of
//! them ever expires, so they tell the table's whole history, as the property of an Iceberg table does.
//!
//! Frozen: a table outlives the version that wrote it.

use super::action::Txn;
use crate::commit::marker;
use crate::error::{CatalogError, Kind};
use lw_runtime::connector::{Owner, TableMarker};
use lw_runtime::manifest::{Pending, SplitOffset, SplitRange, TableChain};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const COMMIT: &str = "lakeward/commit/";
const PIPELINE: &str = "lakeward/pipeline/";
const SEQUENCE: &str = "lakeward/sequence";
const BEGIN: &str = "lakeward/begin/";
const END: &str = "lakeward/end/";
const PLAN: &str = "lakeward/plan/";

/// By topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) uuid: Uuid,
    pub(super) pipeline: Uuid,
    pub(super) sequence: u64,
    begins: Offsets,
    ends: Offsets,
    /// By their numbers.
    stints: BTreeMap<u32, Stint>,
}

/// What one plan made of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stint {
    pipeline: Uuid,
    plan: String,
    from: Offsets,
}

impl Marker {
    /// What a table says; `None` where no pipeline has written it.
    ///
    /// # Errors
    /// When part of it is missing: then nobody knows what is in the table.
    pub(super) fn of(txns: &BTreeMap<String, Txn>) -> Result<Option<Marker>, CatalogError> {
        let number = |id: &str| txns.get(id).map(|txn| txn.version);
        let uuid = |prefix: &str| {
            let half = |index: u8| number(&format!("{prefix}{index}")).map(i64::cast_unsigned);
            Some(Uuid::from_u64_pair(half(0)?, half(1)?))
        };
        let (begins, ends) = (offsets(txns, BEGIN), offsets(txns, END));
        let sequence = number(SEQUENCE).and_then(|number| u64::try_from(number).ok());
        match (uuid(COMMIT), uuid(PIPELINE), sequence) {
            (None, None, None) if ends.is_empty() => Ok(None),
            (Some(uuid), Some(pipeline), Some(sequence)) => Ok(Some(Marker {
                uuid,
                pipeline,
                sequence,
                begins,
                ends,
                stints: stints(txns),
            })),
            _ => Err(CatalogError::new(
                Kind::BadRequest,
                "the table's log says only part of what a pipeline committed: some of its transaction identifiers 'lakeward/…' are gone",
            )),
        }
    }

    /// That of all of the chain but the first `done`, which are in the table that says `before`.
    pub(super) fn of_commit(
        owner: &Owner,
        before: Option<&Marker>,
        chain: &TableChain,
        done: usize,
    ) -> Marker {
        let pending = &chain.chain[done..];
        let newest = pending.last().expect("there is something to commit");
        let mut after = Marker {
            uuid: newest.uuid,
            pipeline: owner.pipeline,
            sequence: newest.sequence,
            begins: before.map_or_else(Offsets::new, |before| before.begins.clone()),
            ends: before.map_or_else(Offsets::new, |before| before.ends.clone()),
            stints: before.map_or_else(BTreeMap::new, |before| before.stints.clone()),
        };
        after.ends.extend(chain.ends());
        for one in pending {
            begin_at(&mut after.begins, &one.ranges);
            after.goes_on(one);
        }
        after
    }

    /// Puts what a commit brings to the stint of its plan.
    fn goes_on(&mut self, commit: &Pending) {
        let Some(plan) = commit.plan.as_ref().filter(|_| !commit.ranges.is_empty()) else {
            return;
        };
        let last = self.stints.last_key_value();
        let number = match last {
            Some((number, last)) if last.plan == *plan && last.pipeline == self.pipeline => *number,
            last => last.map_or(0, |(number, _)| number + 1),
        };
        let stint = self.stints.entry(number).or_insert_with(|| Stint {
            pipeline: self.pipeline,
            plan: plan.clone(),
            from: Offsets::new(),
        });
        begin_at(&mut stint.from, &commit.ranges);
    }

    /// What has to be said where the table says `before`.
    pub(super) fn txns(&self, before: Option<&Marker>) -> Vec<Txn> {
        let txn = |app_id: String, version: i64| Txn {
            app_id,
            version,
            last_updated: None,
        };
        let halves = |prefix: &str, uuid: Uuid| {
            let (high, low) = uuid.as_u64_pair();
            [
                txn(format!("{prefix}0"), high.cast_signed()),
                txn(format!("{prefix}1"), low.cast_signed()),
            ]
        };
        let mut txns = Vec::from(halves(COMMIT, self.uuid));
        if before.is_none_or(|before| before.pipeline != self.pipeline) {
            txns.extend(halves(PIPELINE, self.pipeline));
        }
        let sequence = i64::try_from(self.sequence).expect("commits are fewer than 2^63");
        txns.push(txn(SEQUENCE.to_owned(), sequence));
        let said = before.map(Marker::offsets_by_id).unwrap_or_default();
        let offsets = self.offsets_by_id().into_iter();
        let new = offsets.filter(|(id, at)| said.get(id) != Some(at));
        txns.extend(new.map(|(id, at)| txn(id, at)));
        txns
    }

    fn offsets_by_id(&self) -> BTreeMap<String, i64> {
        let of = |prefix: &str, offsets: &Offsets| {
            let id = |((topic, partition), at): (&(String, i32), &i64)| {
                (format!("{prefix}{partition}/{topic}"), *at)
            };
            offsets.iter().map(id).collect::<Vec<_>>()
        };
        let stints = self.stints.iter().flat_map(|(number, stint)| {
            let (pipeline, plan) = (stint.pipeline, &stint.plan);
            of(&format!("{PLAN}{number}/{pipeline}/{plan}/"), &stint.from)
        });
        let begins = of(BEGIN, &self.begins).into_iter();
        begins.chain(of(END, &self.ends)).chain(stints).collect()
    }

    /// Where the table begins.
    pub(super) fn begins(&self) -> Vec<SplitOffset> {
        listed(&self.begins)
    }

    /// Where it ends.
    pub(super) fn ends(&self) -> Vec<SplitOffset> {
        listed(&self.ends)
    }

    /// Which plan made what, oldest first.
    pub(super) fn stints(&self) -> Vec<marker::Stint> {
        let stints = self.stints.values();
        let stints = stints.map(|stint| {
            let plan = Some(stint.plan.clone());
            marker::Stint::new(stint.pipeline, plan, &listed(&stint.from))
        });
        stints.collect()
    }

    /// The ids of the plans that made what is in the table.
    pub(super) fn plans(&self) -> BTreeSet<String> {
        let stints = self.stints.values();
        stints.map(|stint| stint.plan.clone()).collect()
    }

    /// Its end is the start of these ranges on every partition that both name.
    pub(super) fn continued_by(&self, ranges: &[SplitRange]) -> bool {
        ranges.iter().all(|range| {
            let split = (range.topic.clone(), range.partition);
            self.ends.get(&split).is_none_or(|end| *end == range.start)
        })
    }

    /// A log does not say for good what a pipeline is called.
    pub(super) fn to_table_marker(&self) -> TableMarker {
        TableMarker {
            owner: Owner {
                pipeline: self.pipeline,
                name: self.pipeline.to_string(),
            },
            uuid: self.uuid,
            sequence: self.sequence,
            ends: self.ends(),
        }
    }
}

/// Those that begin with `prefix`: what stands behind it, and the number.
fn named<'a>(
    txns: &'a BTreeMap<String, Txn>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, i64)> {
    let named = txns.range(prefix.to_owned()..);
    named.map_while(move |(id, txn)| Some((id.strip_prefix(prefix)?, txn.version)))
}

fn offsets(txns: &BTreeMap<String, Txn>, prefix: &str) -> Offsets {
    let splits = named(txns, prefix).filter_map(|(id, at)| Some((split(id)?, at)));
    splits.collect()
}

fn stints(txns: &BTreeMap<String, Txn>) -> BTreeMap<u32, Stint> {
    let mut stints = BTreeMap::new();
    for (id, at) in named(txns, PLAN) {
        let [number, pipeline, plan, of] = id.splitn(4, '/').collect::<Vec<_>>()[..] else {
            continue;
        };
        let (Ok(number), Ok(pipeline), Some(split)) = (number.parse(), pipeline.parse(), split(of))
        else {
            continue;
        };
        let stint = stints.entry(number).or_insert_with(|| Stint {
            pipeline,
            plan: plan.to_owned(),
            from: Offsets::new(),
        });
        stint.from.insert(split, at);
    }
    stints
}

/// Of `<partition>/<topic>`.
fn split(id: &str) -> Option<(String, i32)> {
    let (partition, topic) = id.split_once('/')?;
    Some((topic.to_owned(), partition.parse().ok()?))
}

fn begin_at(begins: &mut Offsets, ranges: &[SplitRange]) {
    for range in ranges {
        let split = (range.topic.clone(), range.partition);
        begins.entry(split).or_insert(range.start);
    }
}

fn listed(offsets: &Offsets) -> Vec<SplitOffset> {
    let offsets = offsets.iter();
    let offset = |((topic, partition), next): (&(String, i32), &i64)| SplitOffset {
        topic: topic.clone(),
        partition: *partition,
        next: *next,
    };
    offsets.map(offset).collect()
}
