//! A clock that moves only when told.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use lw_stdx::clock::Clock;

/// Wall and monotonic clock in one: both begin at a fixed moment and advance together, but for [`SimClock::jump`].
#[derive(Debug)]
pub struct SimClock {
    elapsed_ms: AtomicU64,
    jumped_ms: AtomicI64,
}

/// 2026-01-01, so that timestamps look like timestamps.
const EPOCH_MS: i64 = 1_767_225_600_000;

impl SimClock {
    pub fn new() -> SimClock {
        SimClock {
            elapsed_ms: AtomicU64::new(0),
            jumped_ms: AtomicI64::new(0),
        }
    }

    /// Somebody sets the wall clock: it leaps, forward or back, and the monotonic clock does not.
    pub fn jump(&self, ms: i64) {
        self.jumped_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        let jumped = self.jumped_ms.load(Ordering::SeqCst);
        EPOCH_MS + self.elapsed_ms.load(Ordering::SeqCst) as i64 + jumped
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
