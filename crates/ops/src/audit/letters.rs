//! The table of dead letters, audited against the log: a letter for each record that fails, and none for any other.
//!
//! Its commits may be behind those of the main table for a moment. What the pipeline's manifest still has to commit there is
//! not missing yet: such offsets are `unverified`.

use super::{Key, PartitionReport};
use std::collections::BTreeMap;
use std::ops::Range;

/// The dead letters that a table has beside it.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    /// Name of the table of dead letters.
    pub table: String,
    /// Offsets of its rows, by topic and partition, in any order: eight bytes a letter.
    pub offsets: BTreeMap<(String, i32), Vec<i64>>,
    /// What the pipeline has yet to commit there.
    pub pending: BTreeMap<(String, i32), Vec<Range<i64>>>,
}

impl Letters {
    /// Compares with the offsets of the records that fail, which are in `partitions` as dead letters.
    pub(super) fn compare(
        mut self,
        mut failed: BTreeMap<Key, Vec<i64>>,
        partitions: &mut BTreeMap<Key, PartitionReport>,
        findings: &mut Vec<String>,
    ) {
        for (key, span) in partitions {
            let mut expected = failed.remove(key).unwrap_or_default();
            expected.sort_unstable();
            let mut found = self.offsets.remove(key).unwrap_or_default();
            found.retain(|offset| span.holds(*offset));
            found.sort_unstable();
            let all = found.len();
            found.dedup();
            let pending = self.pending.remove(key).unwrap_or_default();
            let is_pending = |offset: &i64| pending.iter().any(|range| range.contains(offset));
            let (open, missing): (Vec<i64>, Vec<i64>) = expected
                .iter()
                .copied()
                .filter(|offset| found.binary_search(offset).is_err())
                .partition(is_pending);
            found.retain(|offset| expected.binary_search(offset).is_err());
            span.dead_letters -= (open.len() + missing.len()) as u64;
            span.unverified += open.len() as u64;
            span.gaps += missing.len() as u64;
            let place = format!("{}[{}]", key.0, key.1);
            let table = &self.table;
            if let Some(first) = missing.first() {
                let count = missing.len();
                findings.push(format!("{place}: {count} records fail and are not in {table}, the first at offset {first}"));
            }
            if let Some(first) = found.first() {
                let count = found.len();
                findings.push(format!("{place}: {table} holds {count} records that do not fail, the first at offset {first}"));
            }
            let doubled = all - found.len() - (expected.len() - open.len() - missing.len());
            if doubled > 0 {
                span.duplicates += doubled as u64;
                findings.push(format!("{place}: {doubled} records stand in {table} twice"));
            }
        }
    }
}
