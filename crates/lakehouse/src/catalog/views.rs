//! From requirements and updates to new view metadata: pure. Iceberg's own builder does the work.
//!
//! A view has no writers that could lose rows to each other, so the protocol knows one requirement only, the view's uuid: of
//! two replacements at the same time both are made, the second upon the first, and each is a version in the history.

use super::requirements::failed;
use crate::error::CatalogError;
use iceberg::spec::{Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewVersion};
use iceberg::{TableIdent, ViewUpdate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// Sends a view's metadata files elsewhere than to `metadata` in its location.
pub(super) const METADATA_PATH: &str = "write.metadata.path";

/// A view as REST asks for it.
#[derive(Debug)]
pub struct ViewCreation {
    pub ident: TableIdent,
    pub location: Option<String>,
    pub schema: Schema,
    pub version: ViewVersion,
    pub properties: HashMap<String, String>,
}

/// What a commit requires of a view.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum ViewRequirement {
    #[serde(rename = "assert-view-uuid")]
    UuidMatch { uuid: Uuid },
}

pub(super) fn check(
    requirements: &[ViewRequirement],
    base: &ViewMetadata,
) -> Result<(), CatalogError> {
    for ViewRequirement::UuidMatch { uuid } in requirements {
        let found = base.uuid();
        if *uuid != found {
            return Err(failed(format!(
                "view UUID does not match: expected {uuid} != {found}"
            )));
        }
    }
    Ok(())
}

/// The first metadata of a view at `location`.
pub(super) fn create(
    creation: ViewCreation,
    location: String,
    uuid: Uuid,
) -> Result<ViewMetadata, CatalogError> {
    let builder = ViewMetadataBuilder::new(
        location,
        creation.schema,
        creation.version,
        ViewFormatVersion::V1,
        creation.properties,
    )?;
    Ok(builder.assign_uuid(uuid).build()?.metadata)
}

/// Applies updates; `None` when they change nothing.
pub(super) fn update(
    base: &ViewMetadata,
    updates: Vec<ViewUpdate>,
) -> Result<Option<ViewMetadata>, CatalogError> {
    let mut builder = base.clone().into_builder();
    for update in updates {
        builder = match update {
            ViewUpdate::AssignUuid { uuid } => builder.assign_uuid(uuid),
            ViewUpdate::UpgradeFormatVersion { format_version } => {
                builder.upgrade_format_version(format_version)?
            }
            ViewUpdate::AddSchema { schema, .. } => builder.add_schema(schema),
            ViewUpdate::SetLocation { location } => builder.set_location(location),
            ViewUpdate::SetProperties { updates } => builder.set_properties(updates)?,
            ViewUpdate::RemoveProperties { removals } => builder.remove_properties(&removals),
            ViewUpdate::AddViewVersion { view_version } => builder.add_version(view_version)?,
            ViewUpdate::SetCurrentViewVersion { view_version_id } => {
                builder.set_current_version_id(view_version_id)?
            }
        };
    }
    let built = builder.build()?;
    Ok((!built.changes.is_empty()).then_some(built.metadata))
}

/// The folder of a view's metadata files.
pub(super) fn metadata_folder(metadata: &ViewMetadata) -> String {
    match metadata.properties().get(METADATA_PATH) {
        Some(place) => place.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", metadata.location()),
    }
}

/// The file after `current`, or the first one: `00001-<uuid>.metadata.json`, as tables have them.
pub(super) fn next_file(current: Option<&str>, metadata: &ViewMetadata, id: Uuid) -> String {
    let number = current
        .and_then(|file| file.rsplit('/').next())
        .and_then(|name| name.split('-').next())
        .and_then(|number| number.parse::<u32>().ok());
    let next = match (current, number) {
        (None, _) => 0,
        (Some(_), number) => number.unwrap_or_default().saturating_add(1),
    };
    let folder = metadata_folder(metadata);
    format!("{folder}/{next:05}-{id}.metadata.json")
}

/// A view's metadata as JSON, its lists in the order of their numbers: Iceberg's type forgets in which they came.
pub(super) fn to_json(metadata: &ViewMetadata) -> Value {
    let mut document =
        serde_json::to_value(metadata).expect("metadata that was read can be written");
    sort_lists(
        &mut document,
        &[("versions", &["version-id"]), ("schemas", &["schema-id"])],
    );
    document
}

/// Orders lists of objects in a document, each by the numbers under its keys.
pub(super) fn sort_lists(document: &mut Value, lists: &[(&str, &[&str])]) {
    for (name, keys) in lists {
        if let Some(list) = document.get_mut(*name).and_then(Value::as_array_mut) {
            list.sort_by_cached_key(|item| {
                let numbers = keys.iter().map(|key| item[*key].as_i64());
                numbers.collect::<Vec<_>>()
            });
        }
    }
}
