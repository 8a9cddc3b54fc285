//! The meeting point of the SQL planner and the runtime: logical types, typed expressions and the job graph.
//!
//! `sql` produces a [`JobGraph`], `runtime` executes it, and neither knows the other. Everything here is plain data that
//! serialises, so a pipeline's plan can be stored, compared and shown.
//!
//! What it is not: it holds no Arrow, no kernels and no parser; it knows what an expression *means* (its type under Flink's
//! rules), not how to compute it.
//!
//! Read first: [`LogicalType`], [`Expr`], [`JobGraph`].
//!
//! Invariants: an [`Expr`] is typed when it is built (a `Call` only through [`Expr::call`], which asks the function's
//! signature); a [`JobGraph`]'s nodes are in topological order, inputs before their users.
//!
//! Layer L0.

mod aggregate;
mod column_change;
mod column_name;
mod datagen;
mod expr;
mod files;
mod function;
mod job;
mod lookup;
mod names;
mod reach;
mod table_properties;
mod types;
mod uid;
mod value;
mod window;

pub use aggregate::{AggregateCall, AggregateFunction};
pub use column_change::{ColumnChange, ColumnDeclared, ColumnPlace};
pub use column_name::{ColumnName, places};
pub use datagen::{DatagenSource, Generator};
pub use expr::{BadSteps, Expr};
pub use files::{FileFormat, FileSource};
pub use function::{
    Definition, Family, Function, MISSING, Missing, SignatureError, Syntax, UnknownFunction,
    rounded_decimal,
};
pub use job::{
    CsvSpec, DeltaSink, ElementCondition, FormatSpec, IcebergSink, JobGraph, JoinKind, KafkaSource,
    KeySpec, LateRows, MetadataKey, Node, NodeId, Operator, SchemaChange, SinkSpec, SourceColumn,
    SourceSpec, StartupMode,
};
pub use lookup::{Lookup, LookupPlace, LookupTable};
pub use names::name_in_files;
pub use reach::Unbounded;
pub use table_properties::{Heed, MetricsMode, heed};
pub use types::{Field, LogicalType, Schema, TypeKind};
pub use uid::OperatorUid;
pub use value::Value;
pub use window::{Frame, FrameUnit, SortKey, Window, WindowProperty, WindowShape, Windowing};
