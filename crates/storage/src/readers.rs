//! Readers hold what they have looked up until they have read it: a file is used again only when nobody does.
//!
//! Whoever takes files away needs a moment without readers. One read may be slow (a disk that hangs), and the others must
//! not queue behind somebody who waits for it: the wait is cut into short ones, and between two of them everybody who came
//! meanwhile goes first. (To let go and to try again at once is not enough: on a busy machine it is done before any of those
//! who were woken has run, and they queue for as long as the slow one reads.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// As long as new readers wait at most for somebody who waits for an old one.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Readers {
    lock: RwLock<()>,
    /// Readers that found somebody waiting, and are not in yet.
    queued: Mutex<usize>,
    entered: Condvar,
    /// Waits that ended without a moment alone.
    waited: AtomicU64,
}

impl Readers {
    /// To be held from looking up a place to having read it.
    pub(crate) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        if let Some(read) = self.lock.try_read() {
            return read;
        }
        *self.queued.lock() += 1;
        let read = self.lock.read();
        *self.queued.lock() -= 1;
        self.entered.notify_all();
        read
    }

    /// Waits until nobody reads; `None` when `go_on` says no before that.
    pub(crate) fn alone(&self, go_on: impl Fn() -> bool) -> Option<RwLockWriteGuard<'_, ()>> {
        loop {
            let alone = self.lock.try_write_for(PATIENCE);
            if alone.is_some() || !go_on() {
                return alone;
            }
            self.waited.fetch_add(1, Ordering::SeqCst);
            let mut queued = self.queued.lock();
            while *queued > 0 {
                self.entered.wait(&mut queued);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_slow_reader_holds_up_nobody_but_who_takes_files_away() {
        let readers = Readers::default();
        let waits = || readers.waited.load(Ordering::SeqCst);
        let slow = readers.enter();
        thread::scope(|scope| {
            // Would others have to wait, this one gives up in the end.
            let waiting = scope.spawn(|| readers.alone(|| waits() < 100).is_some());
            let mut longest = 0;
            // Somebody waits for the slow one by then, and others read all the same.
            while waits() < 3 {
                let before = waits();
                drop(readers.enter());
                longest = longest.max(waits() - before);
                thread::yield_now();
            }
            drop(slow);
            assert!(longest < 20, "{longest} waits of another during one read");
            assert!(waiting.join().expect("no panic"), "it was alone in the end");
        });
        let slow = readers.enter();
        assert!(readers.alone(|| false).is_none());
        drop(slow);
    }
}
