//! A savepoint: where a pipeline stands, in a folder of its own that needs nothing else of the server that wrote it.
//!
//! ```text
//! DIR/script.sql           the script
//! DIR/plans.json           the scripts that made the commits of its tables, by plan
//! DIR/manifest-N.json      the manifest of each job, as it stood in the log
//! DIR/state/…              the files of state that the manifests name
//! DIR/savepoint.json       what it is of, and the length and checksum of every other file; the last to be written
//! ```
//!
//! A folder without `savepoint.json` is none: whoever wrote it did not come to the end. With it, everything that it lists was
//! durable before. Nothing in it is pending: a commit that its table may or may not have would make two starts from the folder
//! two different things, so a savepoint is taken where all commits are confirmed (S2).
//!
//! Layout: JSON, field names as below, `format` = 1; a newer number is refused, and so is a field that is not known here. Tables
//! are not in it. They are asked at the start: each has to stand where the savepoint left it.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::{NoSavepoint, SavepointError};
pub(crate) use read::Savepoint;
pub(crate) use write::{Saved, discard, reserve, write, write_state};

use crate::manifest::Manifest;
use crate::state::StateFile;
use lw_graph::OperatorUid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The layout version that [`About::format`] carries.
pub(crate) const FORMAT: u32 = 1;

/// The file that makes a folder a savepoint.
const ABOUT: &str = "savepoint.json";
const SCRIPT: &str = "script.sql";
const PLANS: &str = "plans.json";
/// The folder of the files of state.
const STATE: &str = "state";

/// What a savepoint is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// Version of this layout; 1.
    pub(crate) format: u32,
    /// CRC-32C of this, as JSON without spaces, and with 0 in this place.
    check: u32,
    /// The version of Lakeward that wrote it.
    pub(crate) lakeward: String,
    pub(crate) pipeline: Uuid,
    pub(crate) name: String,
    /// Wall clock, milliseconds since 1970.
    pub(crate) created_ms: i64,
    pub(crate) settings: BTreeMap<String, String>,
    /// Its `INSERT`s.
    pub(crate) inserts: Vec<SavedInsert>,
    pub(crate) jobs: Vec<SavedJob>,
    /// All other files, by their names in the folder.
    pub(crate) files: Files,
}

/// An `INSERT` of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedInsert {
    /// What manifests call its sink.
    pub(crate) sink: String,
    /// Id of its plan.
    pub(crate) plan: String,
    /// Its operators with state: `WindowAggregate` and the like, by uid.
    pub(crate) states: BTreeMap<OperatorUid, String>,
}

/// A job of the script, which has a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedJob {
    /// The key of the manifest, without the pipeline's id.
    pub(crate) key: String,
    /// The file that has it.
    pub(crate) manifest: String,
}

pub(crate) type Files = BTreeMap<String, Sum>;

/// What a file has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    /// CRC-32C.
    pub(crate) check: u32,
}

impl Sum {
    fn of(bytes: &[u8]) -> Sum {
        Sum {
            bytes: bytes.len() as u64,
            check: crc32c::crc32c(bytes),
        }
    }
}

impl About {
    /// The sum of everything in it.
    fn sum(&self) -> u32 {
        let unsigned = About {
            check: 0,
            ..self.clone()
        };
        let json = serde_json::to_vec(&unsigned).expect("plain data");
        crc32c::crc32c(&json)
    }
}

/// The files of state that a manifest names.
fn state_files(manifest: &Manifest) -> impl Iterator<Item = &StateFile> {
    manifest.states().flat_map(|state| state.files())
}

/// What the folder calls a file of state.
fn state_name(name: &str) -> String {
    format!("{STATE}/{name}")
}

/// A table that has not confirmed all commits that the manifest names.
pub(crate) fn pending(manifest: &Manifest) -> Option<&str> {
    let mut chains = manifest.chains();
    let pending = chains.find(|(_, chain)| !chain.chain.is_empty());
    pending.map(|(table, _)| table)
}
