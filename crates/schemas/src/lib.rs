//! Schemas as data: what an Avro schema says, whether it may replace another one, and how it is written down.
//!
//! Layer L0: no Arrow, no sockets, no clock. Everything here is a function of its arguments.
//!
//! What it is not: it does not decode records (`formats` does), and it does not keep subjects and versions (`registry` does).
//!
//! Read first:
//! 1. [`AvroSchema`], a parsed schema: an arena of [`avro::Type`]s whose named references are already resolved.
//! 2. [`compat::check`], the verdict "can this reader read what that writer wrote", with the reasons.
//! 3. [`SchemaLookup`], how the rest of the house asks the registry for a schema without knowing it.
//!
//! Invariants:
//! - A [`avro::TypeId`] taken from a schema is valid in that schema for ever; schemas do not change after parsing.
//! - Nesting is bounded by [`Limits`], so that recursive walks over a schema cannot exhaust the stack.
//! - `parse(canonical_text(s)).canonical_text() == canonical_text(s)`.

pub mod avro;
pub mod compat;
pub mod json;
mod lookup;

pub use avro::{AvroSchema, Limits, ParseOptions, SchemaError};
pub use json::Json;
pub use lookup::SchemaLookup;
