//! The log's own time, by which producer state grows old.
//!
//! It runs while the storage is open, at the pace of the monotonic clock, and goes on after a start from where the log's
//! newest append or checkpoint left it. Every append carries it (`appended at`), so replaying gives the same ages.
//!
//! The wall clock has no part in it but the first moment of a new folder: a clock that is set forward by a day would let go
//! of every producer at once, and the retry of a batch that was acknowledged would be appended a second time; one that is
//! set back would keep them for ever. The price: a server that is off for a day keeps what it knew for a day more. Folders
//! of format 2 have wall times in its place, which is where their time goes on from.

use std::time::Duration;

use lw_stdx::clock::Clock;

#[derive(Debug, Clone, Copy)]
pub(crate) struct LogTime {
    base: i64,
    opened: Duration,
}

impl LogTime {
    /// Goes on from `newest`, the last time that the log knows; 0 in a new one.
    pub(crate) fn after(newest: i64, clock: &dyn Clock) -> LogTime {
        LogTime {
            base: match newest {
                0 => clock.now_ms(),
                newest => newest,
            },
            opened: clock.elapsed(),
        }
    }

    pub(crate) fn now(&self, clock: &dyn Clock) -> i64 {
        let ran = clock.elapsed().saturating_sub(self.opened);
        let ran = i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
        self.base.saturating_add(ran)
    }
}

/// What a request is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// What a record of `LogAppendTime` gets.
    pub(crate) stamp: i64,
    /// What the machine's clock shows at `log`.
    pub(crate) wall: i64,
    pub(crate) log: i64,
}
