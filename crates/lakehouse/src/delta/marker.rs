//! The marker: who made the newest commit of a pipeline to the table, and up to which offsets. It is in the table itself, as
//! `txn` actions, which every Delta writer carries over into its checkpoints.
//!
//! ```text
//! lakeward/commit/0, lakeward/commit/1         the two halves of the commit's uuid, as signed numbers
//! lakeward/pipeline/0, lakeward/pipeline/1     those of the pipeline's
//! lakeward/sequence                            number of the commit, from 1
//! lakeward/end/<partition>/<topic>             offset behind the last one that the table accounts for
//! ```
//!
//! The ids are the table's, whichever pipeline writes: the newest marker is the one that counts, and a pipeline that finds
//! another's pauses. A `txn` holds one number, so a uuid takes two. Without `lastUpdated` none of them ever expires.
//!
//! Frozen: a table outlives the version that wrote it.

use super::action::Txn;
use crate::error::{CatalogError, Kind};
use lw_runtime::connector::{Owner, TableMarker};
use lw_runtime::manifest::{SplitOffset, SplitRange, TableChain};
use std::collections::BTreeMap;
use uuid::Uuid;

const COMMIT: &str = "lakeward/commit/";
const PIPELINE: &str = "lakeward/pipeline/";
const SEQUENCE: &str = "lakeward/sequence";
const END: &str = "lakeward/end/";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) uuid: Uuid,
    pub(super) pipeline: Uuid,
    pub(super) sequence: u64,
    /// By topic and partition.
    ends: BTreeMap<(String, i32), i64>,
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
        let ends = txns.range(END.to_owned()..).map_while(|(id, txn)| {
            let (partition, topic) = id.strip_prefix(END)?.split_once('/')?;
            Some(((topic.to_owned(), partition.parse().ok()?), txn.version))
        });
        let ends: BTreeMap<_, _> = ends.collect();
        let sequence = number(SEQUENCE).and_then(|number| u64::try_from(number).ok());
        match (uuid(COMMIT), uuid(PIPELINE), sequence) {
            (None, None, None) if ends.is_empty() => Ok(None),
            (Some(uuid), Some(pipeline), Some(sequence)) => Ok(Some(Marker {
                uuid,
                pipeline,
                sequence,
                ends,
            })),
            _ => Err(CatalogError::new(
                Kind::BadRequest,
                "the table's log says only part of what a pipeline committed: some of its transaction identifiers 'lakeward/…' are gone",
            )),
        }
    }

    /// That of the whole chain.
    pub(super) fn of_chain(owner: &Owner, before: Option<&Marker>, chain: &TableChain) -> Marker {
        let newest = chain.chain.last().expect("there is something to commit");
        let mut ends = before.map(|before| before.ends.clone()).unwrap_or_default();
        ends.extend(chain.ends());
        Marker {
            uuid: newest.uuid,
            pipeline: owner.pipeline,
            sequence: newest.sequence,
            ends,
        }
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
        for (split, end) in &self.ends {
            if before.is_none_or(|before| before.ends.get(split) != Some(end)) {
                let (topic, partition) = split;
                txns.push(txn(format!("{END}{partition}/{topic}"), *end));
            }
        }
        txns
    }

    pub(super) fn ends(&self) -> Vec<SplitOffset> {
        let ends = self.ends.iter();
        let offset = |((topic, partition), next): (&(String, i32), &i64)| SplitOffset {
            topic: topic.clone(),
            partition: *partition,
            next: *next,
        };
        ends.map(offset).collect()
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
