//! Properties that `ALTER TABLE … SET` and `RESET` change: one commit of nothing else, whatever else happens to the table.

use super::{AlterError, Alterer};
use crate::catalog::LoadedTable;
use crate::commit::branch::Ref;
use crate::commit::change::Change;
use crate::commit::marker::PROPERTIES;
use crate::commit::publish::{Published, Step};
use crate::commit::snapshot::Produced;
use crate::erasure::PROPERTY as ERASED;
use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use std::collections::HashMap;

/// What keys stand for that are no properties, or not the user's.
const RESERVED: [(&str, &str); 5] = [
    (PROPERTIES, "commits say with it what they committed"),
    (
        ERASED,
        "`lakeward table erase` says with it what was erased",
    ),
    ("current-s", "it is the table's own"),
    ("default-", "it is the table's own"),
    ("snapshot-count", "it is the table's own"),
];

impl Alterer {
    /// Sets properties, and removes those without a value. Says whether any was other than asked for.
    ///
    /// # Errors
    /// Why it does not, or that nobody knows whether it did.
    pub fn set(
        &mut self,
        table: &TableIdent,
        properties: &[(String, Option<String>)],
    ) -> Result<bool, AlterError> {
        for (key, _) in properties {
            let mut reserved = RESERVED.iter();
            let why = match key.as_str() {
                "uuid" => Some("it is the table's own"),
                "format-version" => Some("tables are of version 2"),
                key => reserved
                    .find(|(begins, _)| key.starts_with(begins))
                    .map(|(_, why)| *why),
            };
            if let Some(why) = why {
                return Err(AlterError::Reserved(key.clone(), why));
            }
        }
        let mut changed = false;
        let decide = |loaded: &LoadedTable, _: i64| {
            let now = loaded.metadata.properties();
            let other = properties
                .iter()
                .filter(|(key, value)| now.get(key) != value.as_ref());
            let (mut set, mut removed) = (HashMap::new(), Vec::new());
            for (key, value) in other.cloned() {
                match value {
                    Some(value) => _ = set.insert(key, value),
                    None => removed.push(key),
                }
            }
            // After a lost reply they are as they were asked for.
            if set.is_empty() && removed.is_empty() {
                return Ok(Step::Over(()));
            }
            changed = true;
            Ok(Step::Send(Change::Properties { set, removed }))
        };
        match self.publisher.publish(table, &Ref::main(), decide)? {
            Published::Over(()) | Published::Landed(_) => Ok(changed),
            Published::Busy(error) => Err(error.into()),
        }
    }
}

/// The commit that gives a table these properties.
pub(crate) fn produce_properties(
    metadata: &TableMetadata,
    set: &HashMap<String, String>,
    removed: &[String],
    snapshot_id: i64,
) -> Produced {
    let mut updates = Vec::new();
    if !set.is_empty() {
        let updates_of = set.clone();
        updates.push(TableUpdate::SetProperties {
            updates: updates_of,
        });
    }
    if !removed.is_empty() {
        let removals = removed.to_vec();
        updates.push(TableUpdate::RemoveProperties { removals });
    }
    Produced {
        snapshot_id,
        sequence: metadata.last_sequence_number(),
        requirements: vec![TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        }],
        updates,
        written: Vec::new(),
        expired: Vec::new(),
    }
}
