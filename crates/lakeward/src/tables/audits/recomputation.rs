//! How a query with state is executed again for an audit: what the table's commits and the pipeline's checkpoint say of it.

use super::{Split, ends};
use lw_graph::{JobGraph, SourceSpec, WindowProperty};
use lw_lakehouse::TableView;
use lw_lakehouse::naming::column_names;
use lw_lakehouse::view::SnapshotView;
use lw_ops::audit::ahead::Ends;
use lw_ops::audit::{Base, Recomputation, ToldLate};
use lw_runtime::manifest::{Joined, Manifest, SplitOffset, SplitRange, SplitState};
use lw_runtime::pipelines::Writer;
use std::collections::BTreeSet;

/// How a query with state is executed again: what its rows say of their windows, and whether all of them have fired.
pub(super) fn recomputation(
    view: &TableView,
    writer: &Writer,
    manifest: Option<&Manifest>,
) -> Recomputation {
    let graph = &writer.graph;
    let columns = graph.sinks().next().map(|(sink, _)| {
        let fields = &graph.nodes[sink].schema.fields;
        let columns = graph.window_columns(sink).into_iter();
        let columns = columns.filter(|(_, property)| *property != WindowProperty::Time);
        columns
            .map(|(column, property)| (fields[column].name.clone(), property))
            .collect::<Vec<_>>()
    });
    let columns = columns.unwrap_or_default();
    let mut properties = columns.iter();
    let marker = view.marker.as_ref();
    let newest = marker.and_then(|marker| marker.stints().last());
    let bound = newest
        .map(|stint| stint.columns.clone())
        .unwrap_or_default();
    let names = columns.iter().map(|(name, _)| &**name);
    let windows = column_names(names, &view.table().metadata, &bound);
    let bounds = manifest.and_then(Manifest::ends).unwrap_or_default();
    let sink = manifest.and_then(|manifest| manifest.sinks.get(&writer.table));
    let written = |end: &SplitOffset| {
        let split = sink.and_then(|sink| sink.split(&end.topic, end.partition));
        split.is_some_and(|split| split.written_until >= end.next)
    };
    let committed = sink.is_some_and(|sink| sink.chain.chain.is_empty());
    let start = properties.position(|(_, property)| *property == WindowProperty::Start);
    // Beside a topic that goes on, files have ends and event time has none.
    let goes_on = graph.sources().any(SourceSpec::is_endless);
    Recomputation {
        start,
        windows,
        reach: graph.reach_of_windows().ok(),
        baseless: baseless(graph, start),
        bases: manifest.map_or_else(Vec::new, |manifest| bases(&view.snapshots, manifest)),
        late: late_of(&view.snapshots),
        awaited: manifest.map(awaited),
        joined: joined(&view.snapshots, manifest),
        ended: committed && !goes_on && !bounds.is_empty() && bounds.iter().all(written),
        ends: ends(bounds),
        shelf: None,
    }
}

/// Why there is no commit from which the query could be executed by itself.
fn baseless(graph: &JobGraph, start: Option<usize>) -> Option<String> {
    let why = match (graph.reach_of_windows(), start) {
        (Err(unbounded), _) => unbounded.to_string(),
        (Ok(_), None) => "the table does not show where its windows begin".to_string(),
        (Ok(_), Some(_)) => return None,
    };
    Some(format!(
        "nor can it be computed from a later commit on: {why}"
    ))
}

/// The commits from which a query with windows can be executed, oldest first.
fn bases(snapshots: &[SnapshotView], manifest: &Manifest) -> Vec<Base> {
    // Partitions of which a row with an event time is known.
    let mut seen: BTreeSet<Split> = BTreeSet::new();
    let mut bases = Vec::new();
    for snapshot in snapshots.iter().rev() {
        let with_rows = snapshot.ranges.iter();
        let with_rows = with_rows.filter(|range| range.rows + range.late > 0);
        seen.extend(with_rows.map(|range| (range.topic.clone(), range.partition)));
        let Some((marker, reached)) = snapshot.marker.as_ref().zip(snapshot.reached) else {
            continue;
        };
        let ends = ends(marker.ends());
        if let Some(awaited) = awaited_behind(&ends, &seen, manifest) {
            bases.push(Base {
                ends,
                reached,
                awaited,
            });
        }
    }
    bases
}

/// The partitions that event time waits for behind a commit: those that it waited for anyway, and those that had joined. `None` where
/// nobody knows whether one had: what it gave up to there may have had no event time.
fn awaited_behind(
    ends: &Ends,
    seen: &BTreeSet<Split>,
    manifest: &Manifest,
) -> Option<BTreeSet<Split>> {
    let mut awaited = awaited(manifest);
    for state in &manifest.splits {
        let split = (state.topic.clone(), state.partition);
        if state.joined.is_awaited() || !ends.contains_key(&split) {
            continue;
        }
        if !seen.contains(&split) {
            return None;
        }
        awaited.insert(split);
    }
    Some(awaited)
}

/// The partitions whose first rows event time waited for. What is not in the checkpoint appeared after it.
fn awaited(manifest: &Manifest) -> BTreeSet<Split> {
    let splits = manifest.splits.iter();
    let awaited = splits.filter(|split| split.joined.is_awaited());
    let split = |state: &SplitState| (state.topic.clone(), state.partition);
    awaited.map(split).collect()
}

/// The partitions that the first of the kept commits has nothing of, but for those of which the checkpoint says when they came.
fn joined(snapshots: &[SnapshotView], manifest: Option<&Manifest>) -> Vec<Split> {
    let oldest_first = snapshots.iter().rev();
    let commits = oldest_first.map(|snapshot| &*snapshot.ranges);
    let mut joined = not_in_the_first(commits);
    joined.retain(|split| !manifest.is_some_and(|manifest| is_told(manifest, split)));
    joined.into_iter().collect()
}

/// Whether the checkpoint says when a partition came.
fn is_told(manifest: &Manifest, split: &Split) -> bool {
    let mut splits = manifest.splits.iter();
    let state = splits.find(|state| state.topic == split.0 && state.partition == split.1);
    state.is_some_and(|state| state.joined != Joined::Unknown)
}

/// The partitions that the first commit with any offsets has none of.
fn not_in_the_first<'a>(commits: impl Iterator<Item = &'a [SplitRange]>) -> BTreeSet<Split> {
    let splits = commits.map(|ranges| {
        let splits = ranges.iter();
        let splits = splits.map(|range| (range.topic.clone(), range.partition));
        splits.collect::<BTreeSet<Split>>()
    });
    let mut splits = splits.filter(|splits| !splits.is_empty());
    let first = splits.next().unwrap_or_default();
    let mut joined: BTreeSet<Split> = splits.flatten().collect();
    joined.retain(|split| !first.contains(split));
    joined
}

/// What the kept commits say of late records.
fn late_of(snapshots: &[SnapshotView]) -> Vec<ToldLate> {
    let ranges = snapshots.iter().flat_map(|snapshot| &snapshot.ranges);
    let told = |range: &SplitRange| ToldLate {
        topic: range.topic.clone(),
        partition: range.partition,
        offsets: range.start..range.end,
        late: range.late,
    };
    ranges.map(told).collect()
}

#[cfg(test)]
pub(super) mod tests;
