//! Sink, committer and catalog together, on the real log and a real folder.

mod pipeline;
mod world;
