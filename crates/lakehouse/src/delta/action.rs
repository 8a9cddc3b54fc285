//! Actions: the lines of a Delta log.
//!
//! Each line of a version's file is one JSON object with one key that says what it is: `{"add":{…}}`. Kinds that are not
//! here (`cdc`, `domainMetadata`, …) are passed over; whether a table may have them is [`protocol`](super::protocol)'s
//! question.

use crate::error::{CatalogError, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    Protocol(Protocol),
    MetaData(Metadata),
    Add(Add),
    Remove(Remove),
    Txn(Txn),
    CommitInfo(serde_json::Value),
}

/// What a reader and a writer must know to touch the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: i32,
    pub(super) min_writer_version: i32,
    /// Only from reader version 3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reader_features: Option<Vec<String>>,
    /// Only from writer version 7 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer_features: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) format: Format,
    /// JSON in a string, see [`schema`](super::schema).
    pub(super) schema_string: String,
    #[serde(default)]
    pub(super) partition_columns: Vec<String>,
    #[serde(default)]
    pub(super) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) provider: String,
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
}

/// How far an application has come. The newest of an id counts; without `lastUpdated` it never expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Txn {
    pub(super) app_id: String,
    pub(super) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_updated: Option<i64>,
}

pub(super) type PartitionValues = BTreeMap<String, Option<String>>;

/// A file that is in the table from this version on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// Below the table's folder, as the path of a URI.
    pub(super) path: String,
    #[serde(default)]
    pub(super) partition_values: PartitionValues,
    pub(super) size: i64,
    pub(super) modification_time: i64,
    pub(super) data_change: bool,
    /// JSON in a string, see [`stats`](super::stats).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<PartitionValues>,
    /// Where rows of it are marked as deleted. We write none.
    #[serde(default, skip_serializing)]
    pub(super) deletion_vector: Option<serde_json::Value>,
}

impl Add {
    /// Where the file is. The path is a URI's, of the table's folder or by itself.
    pub(super) fn location(&self, table: &str) -> String {
        let path = unescaped(&self.path);
        match self.path.starts_with('/') || self.path.contains("://") {
            true => path,
            false => format!("{table}/{path}"),
        }
    }
}

/// Undoes `%XX`.
fn unescaped(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = path.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| path.to_owned())
}

/// A file that is not in the table any more; readers of older versions may still need it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub(super) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition_values: Option<PartitionValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<i64>,
}

/// A line as it is read: whatever it is, the others are `None`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    protocol: Option<Protocol>,
    meta_data: Option<Metadata>,
    add: Option<Add>,
    remove: Option<Remove>,
    txn: Option<Txn>,
    commit_info: Option<serde_json::Value>,
}

/// The actions of a version's file.
///
/// # Errors
/// [`Kind::Internal`], which is tried again: somebody may be about to write it.
pub(super) fn read(bytes: &[u8], name: &str) -> Result<Vec<Action>, CatalogError> {
    let mut actions = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            CatalogError::caused(
                Kind::Internal,
                format!("{name} of the Delta log cannot be read"),
                error,
            )
        })?;
        let found = [
            line.protocol.map(Action::Protocol),
            line.meta_data.map(Action::MetaData),
            line.add.map(Action::Add),
            line.remove.map(Action::Remove),
            line.txn.map(Action::Txn),
            line.commit_info.map(Action::CommitInfo),
        ];
        actions.extend(found.into_iter().flatten());
    }
    Ok(actions)
}

/// The file of a version.
pub(super) fn write(actions: &[Action]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut bytes, action).expect("actions are plain data");
        bytes.push(b'\n');
    }
    bytes
}
