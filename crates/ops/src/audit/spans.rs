//! Which offsets the table accounts for, by what its commits say; and whether the commits fit each other.

use super::{Evidence, Key, MarkedRange, PartitionReport};
use std::collections::BTreeMap;

/// The whole span of each partition. A hole or an overlap between two commits' ranges is a finding, and so are offsets that
/// a rollback took away: the span goes up to the newest commit's end, so that they are asked for.
pub(super) fn spans(
    evidence: &Evidence<'_>,
    findings: &mut Vec<String>,
) -> BTreeMap<Key, PartitionReport> {
    let mut ranges: Vec<&MarkedRange> = evidence.ranges.iter().collect();
    ranges.sort_by(|a, b| (&a.topic, a.partition, a.start).cmp(&(&b.topic, b.partition, b.start)));
    let adopted = ranges.iter().any(|range| !range.follows);
    let mut spans = BTreeMap::new();
    for range in ranges {
        let span = span(&mut spans, range);
        if range.start != span.end {
            let place = format!("{}[{}]", range.topic, range.partition);
            let (ends, begins) = (span.end, range.start);
            findings.push(if begins < ends {
                format!("{place}: an overlap of two commits: one ends at {ends}, the next begins at {begins}")
            } else if adopted {
                let last = begins - 1;
                format!("{place}: offsets {ends} to {last} were rolled back, and the table was adopted without them")
            } else {
                format!("{place}: a hole between two commits: one ends at {ends}, the next begins at {begins}")
            });
        }
        span.end = span.end.max(range.end);
    }
    if let Some(rolled_back) = &evidence.rolled_back {
        let ends: Vec<String> = rolled_back
            .ranges
            .iter()
            .map(|range| format!("{}[{}]@{}", range.topic, range.partition, range.end))
            .collect();
        let ends = ends.join(", ");
        findings.push(if rolled_back.adopted {
            format!("the table was rolled back and adopted: without that it would end at {ends}")
        } else {
            format!("the table was rolled back, or that snapshot was expired by another writer: the last commit ended at {ends}")
        });
        for range in &rolled_back.ranges {
            let span = span(&mut spans, range);
            span.end = span.end.max(range.end);
        }
    }
    spans
}

/// The span of the range's partition; a new one begins where the range does.
fn span<'a>(
    spans: &'a mut BTreeMap<Key, PartitionReport>,
    range: &MarkedRange,
) -> &'a mut PartitionReport {
    let key = (range.topic.clone(), range.partition);
    spans.entry(key).or_insert_with(|| PartitionReport {
        topic: range.topic.clone(),
        partition: range.partition,
        start: range.start,
        end: range.start,
        ..PartitionReport::default()
    })
}
