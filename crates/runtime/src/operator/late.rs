//! Rows that came too late, and which records are late for them.

use crate::chunk::{Split, SplitId};
use crate::origins::{Origin, Runs};
use std::collections::BTreeMap;

/// A row that came too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateRow {
    /// Partition and offset of the record that it came from; `None` behind an aggregate.
    pub record: Option<(Split, i64)>,
    /// Milliseconds since 1970.
    pub event_time: i64,
    /// The one before it, milliseconds since 1970.
    pub watermark: i64,
}

/// Records none of whose rows state took in. A record may be several rows, and a row is one for each of its windows behind a
/// window function: as long as one of them was in time, the record is in what came of it.
///
/// `landed` is where the rows came from that state was given, in which the late ones are.
///
/// # Panics
/// When a late row is of none of the splits.
pub fn late_records(landed: &Runs, splits: &[Split], late: &[LateRow]) -> Vec<Origin> {
    let mut left: BTreeMap<Origin, i64> = BTreeMap::new();
    for (of, offset) in late.iter().filter_map(|late| late.record.as_ref()) {
        let split = splits.iter().position(|split| split == of);
        let split = split.expect("a late row is of a split that is read") as SplitId;
        let offset = *offset;
        *left.entry(Origin { split, offset }).or_default() -= 1;
    }
    if left.is_empty() {
        return Vec::new();
    }
    for origin in landed.iter() {
        if let Some(left) = left.get_mut(&origin) {
            *left += 1;
        }
    }
    // As many rows are late as there are.
    left.retain(|_, left| *left == 0);
    left.into_keys().collect()
}
