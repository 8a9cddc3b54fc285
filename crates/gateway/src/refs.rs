//! Requests that move a table's references: what their bodies say. Which table it is stands in the path.

use serde::Deserialize;

/// A branch or a tag begins, moves or ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefChange {
    pub kind: RefKind,
    pub name: String,
    #[serde(default)]
    pub drop: bool,
    /// The number of a snapshot (as text: it may be greater than a number of JSON's), a branch or a tag.
    pub at: Option<String>,
    /// What `main` was then, milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// One that is elsewhere moves.
    #[serde(default)]
    pub replace: bool,
    pub min_snapshots_to_keep: Option<i32>,
    pub max_snapshot_age_ms: Option<i64>,
    pub max_ref_age_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefKind {
    Branch,
    Tag,
}

/// `main` goes back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    pub to: Option<String>,
    pub as_of_ms: Option<i64>,
    /// Else it is only looked at.
    #[serde(default)]
    pub execute: bool,
}
