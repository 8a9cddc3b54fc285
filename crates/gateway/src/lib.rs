//! The HTTP shell of a server: pipelines, batch SQL, audit, health and metrics as JSON over one small API.
//!
//! | route | what |
//! |---|---|
//! | `GET /healthz` | `{"status":"ok"}` once everything serves; 503 while writes are blocked |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /api/v1/status` | addresses, version, pid |
//! | `POST /api/v1/pipelines` | submit `{name, file, sql, replace, adopt, drop_state, from_savepoint}` |
//! | `GET /api/v1/pipelines[/NAME]` | list, show |
//! | `POST /api/v1/pipelines/NAME/stop`, `…/resume` | `stop` takes `{savepoint, drain, to}`, `resume` takes `{adopt}` |
//! | `POST /api/v1/pipelines/NAME/savepoint` | writes one into `{to}`, a folder of the server's machine |
//! | `DELETE /api/v1/pipelines/NAME` | drop |
//! | `GET /api/v1/pipelines/NAME/output?from=N` | lines of its `print` sinks |
//! | `POST /api/v1/sql` | batch query `{sql, max_rows, timeout_ms}` over tables; with `Accept: application/x-ndjson` row by row |
//! | `GET /api/v1/tables[/NAME]` | tables; one table's snapshots with their offsets |
//! | `POST /api/v1/tables/NAME/refs` | makes, moves or drops a branch or tag: `{kind, name, drop, at, as_of_ms, replace, …}` |
//! | `POST /api/v1/tables/NAME/rollback` | takes `main` back to `{to}` or `{as_of_ms}`, and only says what that means without `{execute}` |
//! | `POST /api/v1/tables/NAME/replay` | computes `{from, to}` once more into `{branch}`, by `{sql}` where that is said; again: goes on with it |
//! | `POST /api/v1/tables/NAME/promote` | `main` gets the rows of `{branch}`, which a replay has filled; again: says how far that is |
//! | `POST /api/v1/tables/NAME/erase` | the rows of the key `{where}` leave the table for good, `{and_tags}` too; says only what that means without `{execute}` |
//! | `POST /api/v1/tables/NAME/compact` | small files become few; takes `{dry_run}` |
//! | `GET /api/v1/audit/TABLE` | the audit of DESIGN §5.8 |
//!
//! What it is not: it decides nothing. Every handler asks one of the parts that it is given ([`Parts`]) and writes down the
//! answer; blocking parts run on the blocking pool.
//!
//! Read first: [`Parts`], [`Refusal`], [`router`].
//!
//! Invariants: an error is always a [`Refusal`] with message, detail and hint; no handler blocks a runtime thread. Sockets are
//! served by [`shell`] alone, which the registry and the catalog share.
//!
//! Layer L4.

mod erase;
mod refs;
mod refusal;
mod replay;
mod routes;
pub mod shell;
mod sql;
#[cfg(test)]
mod tests;

pub use erase::Erase;
pub use refs::{RefChange, RefKind, Rollback};
pub use refusal::Refusal;
pub use replay::{Promote, Replay};
pub use routes::router;
pub use sql::{Answer, Column, Question};

use futures::future::BoxFuture;
use lw_runtime::pipelines::{Pipelines, PlannedJob};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A script as it was submitted.
pub struct Script {
    pub sql: String,
    /// The pipeline's name, unless the script sets one.
    pub name: String,
    /// What messages call the script: its file, as the user typed it.
    pub file: String,
}

/// A script that the planner accepted.
pub struct Planned {
    /// `SET 'pipeline.name'`, else the name that was given.
    pub name: String,
    pub jobs: Vec<PlannedJob>,
    pub settings: BTreeMap<String, String>,
    /// Rendered notices: what was assumed, what will be surprising.
    pub notices: Vec<String>,
    /// Answers to `EXPLAIN`, `DESCRIBE` and `SHOW`, in order.
    pub explanations: Vec<String>,
}

/// Addresses and identity, as the ready file has them.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub pid: u32,
    pub kafka: String,
    pub registry: String,
    pub catalog: String,
    pub http: String,
    pub warehouse: String,
}

/// Whether a table is compacted, or it is only said what that would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    Done,
    Planned,
}

/// Begins a batch query.
pub type Ask =
    dyn Fn(Question) -> BoxFuture<'static, Result<Box<dyn Answer>, Refusal>> + Send + Sync;
/// Plans a script.
pub type Plan = dyn Fn(&Script) -> Result<Planned, Refusal> + Send + Sync;
/// Looks at a script without running it: what there is to say, or why it is refused.
pub type Check = dyn Fn(&Script) -> Result<Value, Refusal> + Send + Sync;
/// An answer about the table of a name.
pub type AboutTable = dyn Fn(&str) -> Result<Value, Refusal> + Send + Sync;
/// Moves a branch or a tag of the table of a name.
pub type ChangeRef = dyn Fn(&str, &RefChange) -> Result<Value, Refusal> + Send + Sync;
/// Takes the table of a name back.
pub type RollBack = dyn Fn(&str, &Rollback) -> Result<Value, Refusal> + Send + Sync;
/// Computes a range of the table of a name once more, or goes on with that.
pub type Replaying = dyn Fn(&str, &Replay) -> Result<Value, Refusal> + Send + Sync;

/// Lets the table of a name have the rows of a replay, or says how far that is.
pub type Promoting = dyn Fn(&str, &Promote) -> Result<Value, Refusal> + Send + Sync;
/// Erases rows of a key from the table of a name.
pub type Erasing = dyn Fn(&str, &Erase) -> Result<Value, Refusal> + Send + Sync;
/// The audit of a table, and whether nobody waits for it any more.
pub type Auditing = dyn Fn(&str, &dyn Fn() -> bool) -> Result<Value, Refusal> + Send + Sync;
/// Makes a table's small files few, or only says what that would be; and whether nobody waits for it any more.
pub type Compacting =
    dyn Fn(&str, Compaction, &dyn Fn() -> bool) -> Result<Value, Refusal> + Send + Sync;
/// Lines of a pipeline's `print` sinks.
pub type Output = dyn Fn(&str, u64) -> (Vec<String>, u64) + Send + Sync;

/// The parts of a server that answer requests; each is a seam, so that the shell knows none of their types.
pub struct Parts {
    pub pipelines: Arc<Pipelines>,
    pub plan: Box<Plan>,
    pub check: Box<Check>,
    /// Dropping the future or the answer ends the query.
    pub query: Box<Ask>,
    pub tables: Box<dyn Fn() -> Result<Value, Refusal> + Send + Sync>,
    pub table: Box<AboutTable>,
    pub change_ref: Box<ChangeRef>,
    pub roll_back: Box<RollBack>,
    pub replay: Box<Replaying>,
    pub promote: Box<Promoting>,
    pub erase: Box<Erasing>,
    /// Ends early once the second argument says that nobody waits for it.
    pub audit: Box<Auditing>,
    /// As `audit`.
    pub compact: Box<Compacting>,
    /// From the `n`-th line on, and the number of the next one.
    pub output: Box<Output>,
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// `None` when all is well, else why writes are refused.
    pub trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
    pub status: Status,
}
