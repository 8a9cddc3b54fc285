//! Sources and sinks that are not tables: the embedded log as a Kafka source, `print` and `blackhole`.
//!
//! What it is not: it knows no broker (it reads through [`kafka::EmbeddedLog`], which the composition root hands in) and no
//! Iceberg (`lakehouse` is that connector).
//!
//! Read first: [`kafka::EmbeddedKafka`], [`kafka::EmbeddedLog`], [`print::Print`].
//!
//! Invariants: a source passes over every offset exactly once between two positionings, and says what became of it.
//!
//! Layer L3.

pub mod kafka;
pub mod print;
