//! Requests that erase rows for good: what their bodies say. Which table it is stands in the path.

use serde::Deserialize;

/// The rows of a key leave a table, its branches and its snapshots.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// Which key: `column = value`, `column IN (…)`, with `AND`.
    #[serde(rename = "where")]
    pub predicate: Option<String>,
    /// What was begun is gone on with.
    #[serde(default, rename = "continue")]
    pub go_on: bool,
    /// Tags at snapshots that hold such rows go, too.
    #[serde(default)]
    pub and_tags: bool,
    /// Else it is only looked at.
    #[serde(default)]
    pub execute: bool,
}
