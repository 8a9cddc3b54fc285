//! The schema registry: Confluent's REST API over the `_schemas` topic of our own log.
//!
//! A producer's serializer asks it before it sends a new shape of data; an incompatible one is refused there, before a single
//! record is written. Everything it knows is in one topic in Confluent's own layout: any Kafka client can read it, and what a
//! Confluent registry wrote into such a topic is understood here.
//!
//! What it is not: it does not look into records (the broker's gate and `formats` do), it knows Avro only so far (Protobuf
//! and JSON schemas that stand in the topic are served, new ones are refused), and only the default context. All that it does
//! otherwise than Confluent's is in `docs/reference/differences-from-confluent.md`.
//!
//! Read first:
//! 1. [`Registry`], the shell: one lock, one topic, `handle` and `router`.
//! 2. [`core::Core`], every rule, without sockets and disk.
//! 3. [`record::Record`], what stands in the topic.
//!
//! Invariants:
//! - R1: the state is a function of the topic: it changes by applying records that are durable, in their order.
//! - R2: an id never changes its meaning, and no id is given twice (imports excepted, which choose their ids).
//! - R3: a registration is answered after its record is fsynced and applied; replies never run ahead of the log.
//!
//! Layer L2.

pub mod core;
pub mod record;
mod shell;

#[doc(hidden)]
pub use crate::core::Fault;
pub use crate::core::{ApiError, Options, Outcome, Request};
pub use shell::{OpenError, Registry, RegistryMetrics, SCHEMAS_TOPIC};
