//! Pipelines over a real log of records and a source, sink and committer that are told where to panic.

mod inserts;
mod life;
mod records;
mod replays;
mod savepoints;
mod state;
mod world;
