//! Expiry: which snapshots end with a commit, and which files go with them.
//!
//! **Whose.** A snapshot is *ours* when it carries our marker, or is of our upkeep. Of ours on `main` these are kept: the newest [`KEPT`], and of
//! the older ones the first of each hour for [`HISTORY_MS`]; so a table of 10-second commits can be read as it was 17 minutes
//! ago at every commit, and five days back by the hour. Summaries of many partitions are long, and all of them stand in the
//! table's metadata, so beyond [`SUMMARY_BYTES`] the older half of this gives way, never the newest [`ALWAYS`].
//!
//! A snapshot that somebody else made never ends by this rule. Only a table whose user set `history.expire.max-snapshot-age-ms`
//! (or the same on the branch `main`) has its snapshots expired by that setting, as Iceberg's own expiry would, foreign ones
//! included: those beyond the age, and beyond `min-snapshots-to-keep`. `gc.enabled`, unless `true`, forbids all of it.
//!
//! **Never**, under any setting: the head and what a branch or a tag needs. A tag needs its snapshot, a branch its ancestors
//! (as far as its own retention says, where it has one). A reference past its own `max-ref-age-ms` (or, where the table sets
//! it, `history.expire.max-ref-age-ms`) no longer needs anything, as in Iceberg, yet stays itself; so its snapshot does too.
//!
//! **Files.** A manifest list goes with its snapshot; an Iceberg manifest with the last snapshot that lists it; both only
//! inside the table's location. Data files are not expiry's: once foreign writers delete or overwrite, a data file may be in
//! no head any more while an expired snapshot was the last to name it. The [sweep](super::sweep) finds those that are surely ours;
//! another writer's takes space until the user's own orphan removal finds it, which is the safe side. A crash between commit and removal leaves files that nobody names: only space.

use super::gc_is_enabled;
use super::refs::{Refs, max_age, retention};
use crate::commit::branch::ancestors;
use crate::commit::manifests;
use crate::commit::marker::{Marker, is_upkeep};
use crate::commit::snapshot::Produced;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{MAIN_BRANCH, Snapshot, SnapshotReference, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Newest snapshots of ours that are kept, unless the table says otherwise.
const KEPT: usize = 100;
const KEEP_PROPERTY: &str = "lakeward.snapshots.keep";
/// These stay however long their summaries are; tables that we make ask the same of other engines' expiry, so that it cannot
/// cut off our newest marker.
const ALWAYS: usize = 10;
/// For how long one of ours per hour is kept.
const HISTORY_MS: i64 = 5 * 24 * HOUR_MS;
const HOUR_MS: i64 = 60 * 60 * 1000;
/// What our summaries may take of the table's metadata: a part of the megabyte that readers fetch for each query.
const SUMMARY_BYTES: usize = 512 << 10;

const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";
pub(crate) const MIN_KEPT: &str = "history.expire.min-snapshots-to-keep";
const MAX_REF_AGE: &str = "history.expire.max-ref-age-ms";

/// How many snapshots of a branch that we begin other engines' expiry is asked to keep.
pub(crate) fn kept_always(metadata: &TableMetadata) -> usize {
    let keep = metadata.properties().get(KEEP_PROPERTY);
    let keep = keep.and_then(|text| text.trim().parse().ok());
    keep.unwrap_or(ALWAYS).clamp(1, ALWAYS)
}

/// What the table's owner said about expiry.
struct Settings {
    keep: usize,
    /// Of `main`, whoever made them.
    min_kept: usize,
    /// The user's own age: then Iceberg's rule holds for all of `main`.
    max_age: Option<i64>,
    max_ref_age: Option<i64>,
}

impl Settings {
    /// `None`: nothing may be expired.
    fn of(metadata: &TableMetadata, refs: &Refs) -> Option<Settings> {
        let text = |key: &str| metadata.properties().get(key).map(|text| text.trim());
        if !gc_is_enabled(metadata) {
            return None;
        }
        // A setting that is there and cannot be understood might have forbidden what we are about to do.
        let number = |key: &str| match text(key) {
            None => Some(None),
            Some(text) => text.parse::<i64>().ok().map(Some),
        };
        let (kept, age) = refs.get(MAIN_BRANCH).map(retention).unwrap_or_default();
        let min_kept = number(MIN_KEPT)?.and_then(|count| usize::try_from(count).ok());
        Some(Settings {
            keep: number(KEEP_PROPERTY)?
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(KEPT)
                .max(1),
            min_kept: kept.or(min_kept).unwrap_or(1).max(1),
            max_age: age.or(number(MAX_AGE)?),
            max_ref_age: number(MAX_REF_AGE)?,
        })
    }
}

/// The snapshots that end when one more, made at `now_ms`, becomes the head of `main`.
pub(crate) fn expired(metadata: &TableMetadata, refs: &Refs, now_ms: i64) -> Vec<i64> {
    let Some(settings) = Settings::of(metadata, refs) else {
        return Vec::new();
    };
    let branch: Vec<&Snapshot> = ancestors(metadata, metadata.current_snapshot_id()).collect();
    // The new head counts as one.
    let floor = branch.iter().take(settings.min_kept - 1);
    let mut kept: HashSet<i64> = floor.map(|snapshot| snapshot.snapshot_id()).collect();
    kept.extend(needed(metadata, refs, &settings, now_ms));
    let candidates = match settings.max_age {
        Some(age) => beyond(metadata, &branch, now_ms.saturating_sub(age)),
        None => thinned(metadata, &branch, settings.keep, now_ms),
    };
    let expired: Vec<i64> = candidates
        .into_iter()
        .filter(|id| !kept.contains(id) && metadata.current_snapshot_id() != Some(*id))
        .collect();
    for (name, reference) in refs.others() {
        assert!(
            !expired.contains(&reference.snapshot_id),
            "E1: no expiry takes the snapshot of a branch or a tag ({name})"
        );
    }
    expired
}

/// What branches and tags other than `main` need.
fn needed(metadata: &TableMetadata, refs: &Refs, settings: &Settings, now_ms: i64) -> HashSet<i64> {
    let mut needed = HashSet::new();
    for (_, reference) in refs.others() {
        needed.insert(reference.snapshot_id);
        if is_branch(reference) && !is_over(metadata, reference, settings, now_ms) {
            let (count, age) = retention(reference);
            let wanted = ancestors(metadata, Some(reference.snapshot_id))
                .enumerate()
                .filter(|(index, snapshot)| {
                    let by_count = count.is_some_and(|count| *index < count);
                    let by_age = age
                        .is_some_and(|age| snapshot.timestamp_ms() >= now_ms.saturating_sub(age));
                    (count, age) == (None, None) || by_count || by_age
                });
            needed.extend(wanted.map(|(_, snapshot)| snapshot.snapshot_id()));
        }
    }
    needed
}

fn is_branch(reference: &SnapshotReference) -> bool {
    matches!(
        reference.retention,
        iceberg::spec::SnapshotRetention::Branch { .. }
    )
}

fn is_over(
    metadata: &TableMetadata,
    reference: &SnapshotReference,
    settings: &Settings,
    now_ms: i64,
) -> bool {
    let Some(age) = max_age(reference).or(settings.max_ref_age) else {
        return false;
    };
    metadata
        .snapshot_by_id(reference.snapshot_id)
        .is_some_and(|snapshot| snapshot.timestamp_ms() < now_ms.saturating_sub(age))
}

/// Iceberg's rule, where the user set an age: of `main` and of what no reference reaches, all that is older.
fn beyond(metadata: &TableMetadata, branch: &[&Snapshot], before_ms: i64) -> Vec<i64> {
    let old = |snapshot: &&Snapshot| snapshot.timestamp_ms() < before_ms;
    let on_main = branch.iter().copied().filter(old);
    on_main
        .chain(strays(metadata, branch).filter(old))
        .map(Snapshot::snapshot_id)
        .collect()
}

/// Our own rule, for our own snapshots.
fn thinned(metadata: &TableMetadata, branch: &[&Snapshot], keep: usize, now_ms: i64) -> Vec<i64> {
    let ours = |snapshot: &&Snapshot| is_ours(snapshot);
    let mut own: Vec<&Snapshot> = branch.iter().copied().filter(ours).collect();
    // The gaps that thinning makes cut the older ones off from the head: they are found by their age. What is younger than the
    // oldest that is still tied to the head was rolled back, and stays as the user's way forward until the branch outgrows it.
    let tied = branch.last().map_or(0, |oldest| oldest.sequence_number());
    let mut history: Vec<&Snapshot> = strays(metadata, branch)
        .filter(ours)
        .filter(|snapshot| snapshot.sequence_number() < tied)
        .collect();
    let newest = (keep - 1).min(own.len());
    history.extend(own.split_off(newest));
    history.sort_unstable_by_key(|snapshot| snapshot.sequence_number());
    let mut first_of_hour = BTreeMap::new();
    for snapshot in &history {
        let hour = snapshot.timestamp_ms().div_euclid(HOUR_MS);
        first_of_hour.entry(hour).or_insert(snapshot.snapshot_id());
    }
    let of_an_hour: HashSet<i64> = first_of_hour.into_values().collect();
    let recent = now_ms.saturating_sub(HISTORY_MS);
    let mut bytes = 0;
    let mut expired = Vec::new();
    for (index, snapshot) in own.iter().chain(history.iter().rev()).enumerate() {
        let by_rule = index < newest
            || of_an_hour.contains(&snapshot.snapshot_id()) && snapshot.timestamp_ms() >= recent;
        let size = if by_rule { summary_bytes(snapshot) } else { 0 };
        let fits = index < newest.min(ALWAYS - 1) || bytes + size <= SUMMARY_BYTES;
        if by_rule && fits {
            bytes += size;
        } else {
            expired.push(snapshot.snapshot_id());
        }
    }
    expired
}

fn is_ours(snapshot: &Snapshot) -> bool {
    is_upkeep(snapshot) || Marker::of_snapshot(snapshot).is_some()
}

/// Snapshots that are not tied to the head of `main`.
fn strays<'a>(
    metadata: &'a TableMetadata,
    branch: &[&Snapshot],
) -> impl Iterator<Item = &'a Snapshot> {
    let tied: HashSet<i64> = branch
        .iter()
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    let all = metadata.snapshots().map(|snapshot| &**snapshot);
    all.filter(move |snapshot| !tied.contains(&snapshot.snapshot_id()))
}

fn summary_bytes(snapshot: &Snapshot) -> usize {
    let properties: &HashMap<String, String> = &snapshot.summary().additional_properties;
    properties
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// Removes the snapshots and what the table says of them.
pub(crate) fn updates(metadata: &TableMetadata, expired: &[i64]) -> Vec<TableUpdate> {
    if expired.is_empty() {
        return Vec::new();
    }
    let mut updates = vec![TableUpdate::RemoveSnapshots {
        snapshot_ids: expired.to_vec(),
    }];
    for snapshot_id in expired.iter().copied() {
        if metadata.statistics_for_snapshot(snapshot_id).is_some() {
            updates.push(TableUpdate::RemoveStatistics { snapshot_id });
        }
        let partitions = metadata.partition_statistics_for_snapshot(snapshot_id);
        if partitions.is_some() {
            updates.push(TableUpdate::RemovePartitionStatistics { snapshot_id });
        }
    }
    updates
}

/// The commit that ends these snapshots, and sets these properties. A branch or a tag that moves meanwhile is in its way.
pub(crate) fn produce(
    metadata: &TableMetadata,
    gone: &[i64],
    set: &HashMap<String, String>,
    snapshot_id: i64,
) -> Produced {
    let refs = Refs::of(metadata);
    let mut requirements = vec![TableRequirement::UuidMatch {
        uuid: metadata.uuid(),
    }];
    for (name, reference) in refs.all() {
        assert!(
            !gone.contains(&reference.snapshot_id),
            "E1: no expiry takes the snapshot of a branch or a tag ({name})"
        );
        requirements.push(TableRequirement::RefSnapshotIdMatch {
            r#ref: name.to_owned(),
            snapshot_id: Some(reference.snapshot_id),
        });
    }
    let mut updates = updates(metadata, gone);
    updates.push(TableUpdate::SetProperties {
        updates: set.clone(),
    });
    Produced {
        snapshot_id,
        sequence: metadata.last_sequence_number(),
        requirements,
        updates,
        written: Vec::new(),
        // Whoever asked for it removes their files.
        expired: Vec::new(),
    }
}

/// The files inside the table's location that only `expired` snapshots named, which `after` no longer has.
pub(crate) fn unnamed(
    files: &Files,
    before: &TableMetadata,
    after: &TableMetadata,
    expired: &[i64],
) -> Result<Vec<String>, CatalogError> {
    let gone: Vec<&Snapshot> = expired
        .iter()
        .filter(|id| after.snapshot_by_id(**id).is_none())
        .filter_map(|id| before.snapshot_by_id(*id).map(|snapshot| &**snapshot))
        .collect();
    let mut unnamed = HashSet::new();
    for snapshot in &gone {
        unnamed.extend(listed(files, before, snapshot)?);
    }
    // Most commits only add a manifest, so the snapshot above usually lists them all and the others need not be read.
    let oldest = ancestors(after, after.current_snapshot_id()).last();
    let others = after.snapshots().map(|snapshot| &**snapshot);
    for snapshot in oldest.into_iter().chain(others) {
        if unnamed.is_empty() {
            break;
        }
        for manifest in listed(files, after, snapshot)? {
            unnamed.remove(&manifest);
        }
    }
    // Foreign writers may let two snapshots share a list.
    let lists: HashSet<&str> = after.snapshots().map(|kept| kept.manifest_list()).collect();
    let gone_lists = gone
        .iter()
        .map(|snapshot| snapshot.manifest_list().to_owned())
        .filter(|list| !lists.contains(list.as_str()));
    let inside = |file: &String| is_inside(after, file);
    Ok(unnamed
        .into_iter()
        .chain(gone_lists)
        .filter(inside)
        .collect())
}

/// The file is in the table's own folder.
pub(crate) fn is_inside(metadata: &TableMetadata, file: &str) -> bool {
    let folder = metadata.location().trim_end_matches('/');
    let rest = file.strip_prefix(folder);
    rest.is_some_and(|rest| rest.starts_with('/') && !rest.split('/').any(|part| part == ".."))
}

/// The manifests that a snapshot lists.
pub(crate) fn listed(
    files: &Files,
    metadata: &TableMetadata,
    snapshot: &Snapshot,
) -> Result<Vec<String>, CatalogError> {
    let manifests = manifests::load_list(files, metadata, snapshot)?;
    Ok(manifests
        .into_iter()
        .map(|manifest| manifest.manifest_path)
        .collect())
}
