//! Flink SQL: a script's text in, job graphs or messages out.
//!
//! A script is tokenised once (`script`), its statements are read by recursive descent (`parse`), names and types are resolved
//! against the script's own tables and the caller's [`Environment`] into relational algebra (`plan`, `connector`), and fixed rules
//! make a [`lw_graph::JobGraph`] of that (`plan/lower.rs`; `docs/internals/planner.md`). What this version cannot run exactly as Flink would is refused with its place in the script; nothing
//! is ignored.
//!
//! What it is not: it executes nothing, reads no files and opens no sockets; what exists in the world it learns from
//! [`Environment`]. `SELECT` over tables is not planned here either: [`statements`] only says that it is one; and [`alter_table`]
//! reads what is asked of a table in a catalog.
//!
//! Read first: [`plan_script`], [`Environment`], [`Diagnostic`].
//!
//! Invariants: the same text and the same environment give the same plan; every span is a place in the text that was given;
//! the types of a plan are Flink 2.3's.
//!
//! Layer L2.

mod alter;
mod catalog;
mod connector;
mod diagnostic;
mod dialect;
pub mod environment;
mod explain;
mod parse;
mod plan;
mod reserved;
mod script;
mod settings;
mod suggest;

pub use alter::{AlterTable, Asked, alter_table};
pub use diagnostic::{Diagnostic, Diagnostics, Located, Severity, Span};
pub use environment::{CatalogPlace, Cluster, Environment, Missing, Topic};
pub use explain::explain;
pub use plan::{Explanation, Job, JobInsert, Plan, plan_script};
pub use script::{MAX_SCRIPT_BYTES, StatementKind, StatementText, statements};

type Result<T> = std::result::Result<T, Diagnostic>;
