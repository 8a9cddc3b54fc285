//! Sink, committer and catalog together, on the real log and a real folder; and their simulation on a disk that loses power.

mod alter;
mod catalog;
mod compaction;
mod erasure;
mod evolution;
mod evolving;
mod foreign;
mod harmless;
mod orphans;
mod partitions;
mod pipeline;
mod promote;
mod properties;
mod refs;
mod replay;
mod sim;
mod steps;
mod stored;
mod takeover;
mod view;
mod week;
mod windows;
pub(crate) mod world;
