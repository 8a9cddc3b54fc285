//! Sink, committer and catalog together, on the real log and a real folder; and their simulation on a disk that loses power.

mod pipeline;
mod power;
mod sim;
mod world;
