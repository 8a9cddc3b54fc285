//! The requests for a replay, and for `main` to have its rows: what their bodies say. Which table it is of stands in the path.

use serde::Deserialize;

/// A range is computed once more, into a branch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    pub branch: String,
    /// As users write it: offsets, a time, `snapshot:ID`, `beginning`, `end`. It may be left out for a replay that is there.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Another script than the pipeline's, and its file, for messages.
    pub sql: Option<String>,
    pub file: Option<String>,
}

impl Replay {
    /// The range in words, by which the same one is known again.
    pub fn range(&self) -> String {
        let from = self.from.as_deref().unwrap_or("beginning");
        match &self.to {
            Some(to) => format!("{from} to {to}"),
            None => format!("{from} to end"),
        }
    }
}

/// `main` gets the rows of a branch that a replay has filled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    pub branch: String,
    /// Snapshots of others whose changes of the range are undone.
    #[serde(default)]
    pub discard: Vec<String>,
}
