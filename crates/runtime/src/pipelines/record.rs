//! The durable record of a pipeline, and where it is kept.

use super::PlannedJob;
use crate::connector::Owner;
use bytes::Bytes;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The durable record of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) jobs: Vec<PlannedJob>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) desired: Desired,
    pub(super) created_ms: i64,
}

/// What the user wants of a pipeline; survives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Desired {
    Running,
    Stopped,
    /// A bounded pipeline that is done.
    Finished,
}

impl Record {
    /// The record under a name.
    pub(super) fn load(storage: &Storage, name: &str) -> Option<Record> {
        read(&storage.get(Table::Pipelines, name.as_bytes())?)
    }

    /// All records, by name.
    pub(super) fn all(storage: &Storage) -> Vec<Record> {
        let all = storage.scan(Table::Pipelines, b"");
        all.iter().filter_map(|(_, bytes)| read(bytes)).collect()
    }

    /// Durable when it returns.
    pub(super) fn save(&self, storage: &Storage) -> Result<(), CommitError> {
        let bytes = serde_json::to_vec(self).expect("a record has only string keys");
        put(storage, &self.name, Some(bytes.into()))
    }

    pub(super) fn remove(&self, storage: &Storage) -> Result<(), CommitError> {
        put(storage, &self.name, None)
    }

    pub(super) fn owner(&self) -> Owner {
        Owner {
            pipeline: self.id,
            name: self.name.clone(),
        }
    }
}

fn put(storage: &Storage, name: &str, value: Option<Bytes>) -> Result<(), CommitError> {
    let op = Op::Put {
        table: Table::Pipelines,
        key: Bytes::copy_from_slice(name.as_bytes()),
        value,
        expect: Expect::Any,
    };
    storage.commit_blocking(vec![op]).map(|_| ())
}

fn read(bytes: &[u8]) -> Option<Record> {
    match serde_json::from_slice::<Record>(bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%error, "the record of a pipeline cannot be read; it is left alone");
            None
        }
    }
}
