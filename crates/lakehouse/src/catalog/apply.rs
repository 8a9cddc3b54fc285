//! From updates to new table metadata: pure.
//!
//! Iceberg's own builder does the work. What it lacks is a beginning: a staged table is committed as a list of updates on
//! nothing, with field ids that its writer already used in files, while the builder only starts from a schema whose ids it
//! then assigns anew. So the first schema, partition spec and sort order of the list become a minimal metadata document as
//! they are, and the whole list is then applied to that; re-adding what is there changes nothing.

use crate::error::{CatalogError, Kind};
use crate::upkeep::refs::Refs;
use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, SortOrder, TableMetadata, TableMetadataBuildResult, UnboundPartitionSpec,
};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// Ids of partition fields start above this.
const LAST_PARTITION_ID: i32 = 999;

/// Applies updates to a table. `location` is where its current metadata is; `refs` reads its references, where they matter.
pub(super) fn update(
    base: &TableMetadata,
    location: &str,
    updates: Vec<TableUpdate>,
    refs: impl FnOnce() -> Refs,
) -> Result<TableMetadataBuildResult, CatalogError> {
    check_current(base, &updates, refs)?;
    let mut builder = base.clone().into_builder(Some(location.to_owned()));
    for update in updates {
        let gone = match &update {
            TableUpdate::RemoveSnapshots { snapshot_ids } => snapshot_ids.clone(),
            _ => Vec::new(),
        };
        builder = update.apply(builder)?;
        // Statistics of a snapshot that is not there describe nothing, and nobody would ever remove them.
        for id in gone {
            if base.statistics_for_snapshot(id).is_some() {
                builder = builder.remove_statistics(id);
            }
            if base.partition_statistics_for_snapshot(id).is_some() {
                builder = builder.remove_partition_statistics(id);
            }
        }
    }
    Ok(builder.build()?)
}

/// What a commit assumes without saying so in its requirements: that no other snapshot came meanwhile, on whatever branch,
/// or took the row ids that its own rows have (v3), and that what it removes is not named by a branch or tag. Each is a
/// conflict, after which its author looks again; the builder would call the first ones bad input, and drop the tag without a
/// word.
fn check_current(
    base: &TableMetadata,
    updates: &[TableUpdate],
    refs: impl FnOnce() -> Refs,
) -> Result<(), CatalogError> {
    let mut last = base.last_sequence_number();
    let mut next_row = base.next_row_id();
    for update in updates {
        let TableUpdate::AddSnapshot { snapshot } = update else {
            continue;
        };
        let number = snapshot.sequence_number();
        if base.format_version() != FormatVersion::V1
            && number <= last
            && snapshot.parent_snapshot_id().is_some()
        {
            return Err(CatalogError::new(
                Kind::CommitFailed,
                format!(
                    "the snapshot has sequence number {number}, and the table is at {last}: reload and try again"
                ),
            ));
        }
        last = last.max(number);
        if base.format_version() >= FormatVersion::V3
            && let Some((first, rows)) = snapshot.row_range()
        {
            if first < next_row {
                return Err(CatalogError::new(
                    Kind::CommitFailed,
                    format!(
                        "the snapshot's rows begin at row id {first}, and the table is at {next_row}: reload and try again"
                    ),
                ));
            }
            next_row = next_row.saturating_add(rows);
        }
    }
    check_refs(updates, refs)
}

fn check_refs(updates: &[TableUpdate], refs: impl FnOnce() -> Refs) -> Result<(), CatalogError> {
    let removes = |update: &TableUpdate| matches!(update, TableUpdate::RemoveSnapshots { .. });
    if !updates.iter().any(removes) {
        return Ok(());
    }
    let mut refs: HashMap<String, i64> = refs()
        .all()
        .map(|(name, reference)| (name.to_owned(), reference.snapshot_id))
        .collect();
    for update in updates {
        match update {
            TableUpdate::SetSnapshotRef {
                ref_name,
                reference,
            } => {
                refs.insert(ref_name.clone(), reference.snapshot_id);
            }
            TableUpdate::RemoveSnapshotRef { ref_name } => {
                refs.remove(ref_name);
            }
            TableUpdate::RemoveSnapshots { snapshot_ids } => {
                let named = refs.iter().find(|(_, id)| snapshot_ids.contains(id));
                if let Some((name, id)) = named {
                    return Err(CatalogError::new(
                        Kind::CommitFailed,
                        format!(
                            "snapshot {id} cannot be removed, '{name}' refers to it: reload and try again"
                        ),
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Builds a table from updates alone; `location` is used where they name none.
pub(super) fn create(
    updates: Vec<TableUpdate>,
    location: &str,
) -> Result<TableMetadata, CatalogError> {
    let base = beginning(&updates, location)?;
    let mut builder = base.into_builder(None);
    for update in updates {
        builder = update.apply(builder)?;
    }
    Ok(builder.build()?.metadata)
}

/// The uuid and the location that a list of updates asks for.
pub(super) fn wishes(updates: &[TableUpdate]) -> (Option<Uuid>, Option<&str>) {
    let mut wishes = (None, None);
    for update in updates {
        match update {
            TableUpdate::AssignUuid { uuid } => wishes.0 = Some(*uuid),
            TableUpdate::SetLocation { location } => wishes.1 = Some(location.as_str()),
            _ => {}
        }
    }
    wishes
}

fn beginning(updates: &[TableUpdate], location: &str) -> Result<TableMetadata, CatalogError> {
    let schema = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::AddSchema { schema } => Some(schema),
            _ => None,
        })
        .ok_or_else(|| {
            CatalogError::new(
                Kind::BadRequest,
                "a new table needs a schema: there is no add-schema update",
            )
        })?;
    let version = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::UpgradeFormatVersion { format_version } => Some(*format_version),
            _ => None,
        })
        .unwrap_or(FormatVersion::V2);
    let spec = first_spec(updates);
    let order = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::AddSortOrder { sort_order } => Some(sort_order.clone()),
            _ => None,
        })
        .unwrap_or_else(SortOrder::unsorted_order);
    let (uuid, wished) = wishes(updates);
    let spec_fields = spec_fields(&spec);
    let last_partition_id = spec_fields
        .iter()
        .filter_map(|field| field["field-id"].as_i64())
        .max()
        .unwrap_or(i64::from(LAST_PARTITION_ID));
    let mut document = json!({
        "format-version": version as u8,
        "table-uuid": uuid.unwrap_or_else(Uuid::nil),
        "location": wished.unwrap_or(location),
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id(),
        "schemas": [schema],
        "current-schema-id": schema.schema_id(),
        "partition-specs": [{"spec-id": 0, "fields": spec_fields}],
        "default-spec-id": 0,
        "last-partition-id": last_partition_id,
        "sort-orders": [order],
        "default-sort-order-id": order.order_id,
        "properties": {},
    });
    if version == FormatVersion::V3 {
        document["next-row-id"] = json!(0);
    }
    serde_json::from_value(document).map_err(|error| {
        CatalogError::caused(
            Kind::BadRequest,
            format!("the new table is not well formed: {error}"),
            error,
        )
    })
}

fn first_spec(updates: &[TableUpdate]) -> UnboundPartitionSpec {
    updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::AddSpec { spec } => Some(spec.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

/// A spec's fields as metadata has them: each with an id.
fn spec_fields(spec: &UnboundPartitionSpec) -> Vec<serde_json::Value> {
    let mut next = LAST_PARTITION_ID;
    spec.fields()
        .iter()
        .map(|field| {
            next = field.field_id.unwrap_or(next + 1).max(next);
            json!({
                "source-id": field.source_id,
                "field-id": field.field_id.unwrap_or(next),
                "name": field.name,
                "transform": field.transform,
            })
        })
        .collect()
}
