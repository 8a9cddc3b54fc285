//! Whether what a commit requires of a table holds: pure.
//!
//! Iceberg's own check asks the same questions; here are the words with which its Java catalogs answer, since engines show
//! them and tests of engines look for them.

use crate::error::{CatalogError, Kind};
use crate::upkeep::refs::Refs;
use iceberg::spec::{SnapshotRetention, TableMetadata};
use iceberg::{TableIdent, TableRequirement};
use std::fmt::Display;

/// Checks all of them against the table as it is, `None` for one that is to be made.
pub(super) fn check(
    table: &TableIdent,
    requirements: &[TableRequirement],
    base: Option<&TableMetadata>,
) -> Result<(), CatalogError> {
    for requirement in requirements {
        match base {
            Some(base) => check_one(requirement, base)?,
            None if *requirement == TableRequirement::NotExist => {}
            None => return Err(super::pointers::Relation::Table.missing(table)),
        }
    }
    Ok(())
}

fn check_one(requirement: &TableRequirement, base: &TableMetadata) -> Result<(), CatalogError> {
    match requirement {
        TableRequirement::NotExist => Err(failed("table already exists")),
        TableRequirement::UuidMatch { uuid } => {
            same("UUID does not match: expected", uuid, &base.uuid())
        }
        TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id } => {
            check_ref(r#ref, *snapshot_id, base)
        }
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: expected,
        } => same(
            "last assigned field id changed: expected id",
            expected,
            &base.last_column_id(),
        ),
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: expected,
        } => same(
            "current schema changed: expected id",
            expected,
            &base.current_schema_id(),
        ),
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: expected,
        } => same(
            "last assigned partition id changed: expected id",
            expected,
            &base.last_partition_id(),
        ),
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: expected,
        } => same(
            "default partition spec changed: expected id",
            expected,
            &base.default_partition_spec_id(),
        ),
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: expected,
        } => same(
            "default sort order changed: expected id",
            expected,
            &base.default_sort_order_id(),
        ),
    }
}

fn check_ref(name: &str, expected: Option<i64>, base: &TableMetadata) -> Result<(), CatalogError> {
    let found = base.snapshot_for_ref(name).map(|found| found.snapshot_id());
    match (expected, found) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(failed(format!(
            "{} {name} was created concurrently",
            kind_of(name, base)
        ))),
        (Some(expected), None) => Err(failed(format!(
            "branch or tag {name} is missing, expected {expected}"
        ))),
        (Some(expected), Some(found)) if expected != found => Err(failed(format!(
            "{} {name} has changed: expected id {expected} != {found}",
            kind_of(name, base)
        ))),
        _ => Ok(()),
    }
}

fn kind_of(name: &str, base: &TableMetadata) -> &'static str {
    let refs = Refs::of(base);
    match refs.get(name).map(|reference| &reference.retention) {
        Some(SnapshotRetention::Tag { .. }) => "tag",
        _ => "branch",
    }
}

fn same<T: PartialEq + Display>(what: &str, expected: &T, found: &T) -> Result<(), CatalogError> {
    if expected == found {
        return Ok(());
    }
    Err(failed(format!("{what} {expected} != {found}")))
}

/// A requirement of a table or view that does not hold: whoever asked reloads and decides again.
pub(super) fn failed(what: impl Display) -> CatalogError {
    CatalogError::new(Kind::CommitFailed, format!("Requirement failed: {what}"))
}
