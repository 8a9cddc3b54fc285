//! A clock that moves only when told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lw_stdx::clock::Clock;

/// Wall and monotonic clock in one: both begin at a fixed moment and advance together.
#[derive(Debug)]
pub struct SimClock {
    elapsed_ms: AtomicU64,
}

/// 2026-01-01, so that timestamps look like timestamps.
const EPOCH_MS: i64 = 1_767_225_600_000;

impl SimClock {
    pub fn new() -> SimClock {
        SimClock {
            elapsed_ms: AtomicU64::new(0),
        }
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
        EPOCH_MS + self.elapsed_ms.load(Ordering::SeqCst) as i64
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
