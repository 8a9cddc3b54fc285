//! The stream processor: chunks, operators, kernels, tasks, checkpoints and the pipelines that live on.
//!
//! What it is not: it parses no SQL (it executes a [`lw_graph::JobGraph`]) and knows no external system (sources, sinks
//! and committers come in through [`connector::Connectors`]).
//!
//! Read first: [`Chunk`], [`operator::Operator`], [`connector::Sink`], [`manifest::Manifest`].
//!
//! Invariants: a row is in exactly one commit; a commit's files are durable before the manifest names them, and the
//! manifest is durable before the catalog hears of them.
//!
//! Layer L2.

mod aggregate;
pub mod chunk;
pub mod connector;
pub mod job;
pub mod kernel;
mod ledger;
mod lookup;
pub mod manifest;
pub mod operator;
pub mod origins;
pub mod pipelines;
pub mod pool;
mod queue;
pub mod savepoint;
pub mod state;
pub mod store;
mod task;
mod window;
pub mod zone;

pub use lookup::Pins;
pub use task::Ended;
pub use task::apart::{FlowState, Shelf};
pub use task::rules::Rules;
pub use task::stepped::{Commits, SteppedJob};

pub use chunk::{Chunk, DeadLetter, Split, SplitId};
pub use origins::{Origin, Run, Runs};
