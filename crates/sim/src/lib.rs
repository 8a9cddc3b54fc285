//! The world for simulations: a clock that moves when told, and a disk that forgets what was not synced.
//!
//! Everything comes from a seed, so a failure is a number that can be run again. What is simulated is only what lies under
//! our own code (time, disk); our own code runs as it is. The simulations themselves stand beside the crates whose cores
//! they run: tests named `sim_…`.
//!
//! Read first: [`SimDisk`] (what a crash does, and what rot does), [`SimClock`], [`seeds`].
//!
//! Invariant: with the same seed and the same calls, the same bytes survive. A development crate: nothing ships it.

mod clock;
mod disk;

pub use clock::SimClock;
pub use disk::{SimDisk, Trouble};

/// The seeds that a simulation runs: `LAKEWARD_SIM_SEED` (that one), else 1 to `LAKEWARD_SIM_SEEDS`, else 1 to `default`.
pub fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("LAKEWARD_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("LAKEWARD_SIM_SEEDS").unwrap_or(default)).collect(),
    }
}
