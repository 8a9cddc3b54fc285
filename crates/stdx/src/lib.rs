//! Seams and small things that every layer needs: the disk, the clock, the calendar, durations, secrets, varints, "did you mean".
//!
//! What it is not: a drawer for leftovers. A thing comes here when two crates of different layers need it and it knows
//! nothing of either.
//!
//! Read first: [`disk::Disk`], [`disk::File`], [`clock::Clock`].
//!
//! Invariants: no tokio, no sockets; everything that touches the outside is behind a trait that `sim` implements too.
//!
//! Layer L0.

pub mod calendar;
pub mod clock;
pub mod disk;
pub mod duration;
pub mod secret;
pub mod suggest;
pub mod varint;
