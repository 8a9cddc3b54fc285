//! Operations: what the server says of itself as metrics, and the audit that proves what it cannot say of itself.
//!
//! What it is not: no counter here is evidence (that is [`audit`]'s point), and no metric is kept here: each scrape reads
//! what the parts know at that moment.
//!
//! Read first: [`metrics::Observed`], [`metrics::render`], [`audit::Report`].
//!
//! Invariants: names follow OpenMetrics with the prefix `lakeward_` and base units; partition-level series are left out
//! above [`metrics::MAX_PARTITION_SERIES`] partitions.
//!
//! Layer L4.

pub mod audit;
pub mod metrics;
