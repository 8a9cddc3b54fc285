//! The registry without sockets and disk: requests in, records and a reply out; records in, state changed.
//!
//! ```text
//!             handle(&self, request) ──► reply            (looks at the state, never changes it)
//! HTTP ──► ┤                        └──► records ──► log ──► apply(&mut self, record)
//! ```
//!
//! A reply that comes with records may be sent only when those records are durable *and applied*. Since the state changes by
//! `apply` alone, replaying the topic gives the same registry, whoever wrote the records.

mod route;
mod state;

mod compatibility;
mod config;
mod delete;
mod error;
mod mode;
mod parsed;
mod posted;
mod register;
mod schemas;
mod subjects;

use std::sync::Arc;

use lw_schemas::Json;

pub use error::ApiError;
pub use state::{State, Version};

use crate::record::{Record, Schema};
use parsed::Parsed;

/// An HTTP request, as far as the registry is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Still percent-encoded.
    pub path: &'a str,
    /// What follows the `?`, still percent-encoded.
    pub query: &'a str,
    pub body: &'a [u8],
}

/// What to write, and what to answer once it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub status: u16,
    pub body: String,
    pub records: Vec<Record>,
    pub event: Option<Event>,
}

/// What a request did, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Registered,
    RefusedAsIncompatible,
}

/// Choices of the operator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Body code of a refused incompatible schema: 409 as registries before 8.0.4 say, or 40901 as later ones do.
    pub incompatible_code: u32,
    /// The Kafka cluster's id, which `/v1/metadata/id` reports.
    pub cluster_id: String,
    /// A planted bug, for the tests that must see what comes of it.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

/// Bugs that are planted by tests; nothing else ever sets one.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Panics on requests for this path.
    PanicInHandler(String),
    /// Panics when a version of this subject is applied.
    PanicInApply(String),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            incompatible_code: 409,
            cluster_id: String::new(),
            fault: None,
        }
    }
}

/// The registry's state and rules. A clone is a snapshot: it knows nothing of what is applied later.
#[derive(Debug, Default, Clone)]
pub struct Core {
    state: State,
    options: Options,
    /// Schemas that were compared before; the same for all snapshots.
    parsed: Arc<Parsed>,
}

impl Core {
    pub fn new(options: Options) -> Core {
        Core {
            state: State::default(),
            options,
            parsed: Arc::default(),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Decides a request against the present state.
    pub fn handle(&self, request: &Request<'_>) -> Outcome {
        if let Some(Fault::PanicInHandler(planted)) = &self.options.fault {
            assert!(planted != request.path, "planted at {planted}");
        }
        let mut outcome = route::route(self, request).unwrap_or_else(|error| Outcome {
            status: error.status,
            body: error.body().to_string(),
            records: Vec::new(),
            event: error.event,
        });
        if outcome.records.iter().any(|record| self.may_hide(record)) {
            // R2: after compaction nothing else would tell that the id was given.
            outcome
                .records
                .insert(0, Record::HighestId(self.state.highest_id()));
        }
        outcome
    }

    /// Whether a record takes the highest id out of what a compacted topic shows.
    fn may_hide(&self, record: &Record) -> bool {
        match record {
            Record::Schema {
                subject,
                version,
                value,
            } => {
                let old = self.state.versions(subject).find(|(n, _)| n == version);
                let new = value.as_ref().map(|value| value.id);
                old.is_some_and(|(_, old)| old.id == self.state.highest_id() && Some(old.id) != new)
            }
            Record::ClearSubject { .. } => true,
            _ => false,
        }
    }

    /// Returns the schema's text with its references written out.
    ///
    /// # Errors
    /// When a reference leads nowhere, or the parts do not fit together.
    pub fn resolved(&self, schema: &Schema) -> Result<String, String> {
        posted::resolved(&self.state, schema)
    }

    /// Changes the state as a record says, which may come from this registry, another producer or a replay.
    pub fn apply(&mut self, record: &Record) {
        if let (Some(Fault::PanicInApply(planted)), Record::Schema { subject, .. }) =
            (&self.options.fault, record)
        {
            assert!(planted != subject, "planted in the subject {subject}");
        }
        self.state.apply(record);
    }
}

/// What every handler returns.
type Answer = Result<Outcome, ApiError>;

impl Outcome {
    fn read(body: Json) -> Answer {
        Outcome::raw(body.to_string())
    }

    /// A body that is already JSON text.
    fn raw(body: String) -> Answer {
        Ok(Outcome {
            status: 200,
            body,
            records: Vec::new(),
            event: None,
        })
    }

    fn write(body: Json, records: Vec<Record>) -> Answer {
        Ok(Outcome {
            status: 200,
            body: body.to_string(),
            records,
            event: None,
        })
    }
}

#[cfg(test)]
mod tests;
