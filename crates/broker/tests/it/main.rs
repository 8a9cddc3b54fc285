//! The broker over real sockets, on a real folder.

mod admin;
mod bounds;
mod client;
mod full_disk;
mod hostile;
mod judged;
mod log;
mod mutations;
mod panics;
mod server;
mod versions;
mod wire;
