//! Readers hold what they have looked up until they have read it: a file is used again only when nobody does.
//!
//! Whoever takes files away needs a moment without readers. One read may be slow (a disk that hangs), and the others must
//! not queue behind somebody who waits for it: the wait is cut into short ones, between which readers go on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// As long as new readers wait at most for somebody who waits for an old one.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Readers {
    lock: RwLock<()>,
    /// Waits that ended without a moment alone.
    waited: AtomicU64,
}

impl Readers {
    /// To be held from looking up a place to having read it.
    pub(crate) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.lock.read()
    }

    /// Waits until nobody reads; `None` when `go_on` says no before that.
    pub(crate) fn alone(&self, go_on: impl Fn() -> bool) -> Option<RwLockWriteGuard<'_, ()>> {
        loop {
            let alone = self.lock.try_write_for(PATIENCE);
            if alone.is_some() || !go_on() {
                return alone;
            }
            self.waited.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_slow_reader_holds_up_nobody_but_who_takes_files_away() {
        let readers = Arc::new(Readers::default());
        let (go_on, is_alone) = (Arc::new(AtomicBool::new(true)), AtomicBool::new(false));
        let slow = readers.enter();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let alone = readers.alone(|| go_on.load(Ordering::SeqCst));
                is_alone.store(alone.is_some(), Ordering::SeqCst);
            });
            let mut reads = 0;
            // Somebody waits for the slow one by then, and others read all the same.
            while readers.waited.load(Ordering::SeqCst) < 3 {
                let read = readers.lock.try_read_for(Duration::from_secs(10));
                if read.is_none() {
                    break;
                }
                reads += 1;
                thread::yield_now();
            }
            let waited = readers.waited.load(Ordering::SeqCst);
            assert!(!waiting.is_finished());
            drop(slow);
            assert!(waited >= 3 && reads > 0, "{waited} waits, {reads} reads");
        });
        assert!(is_alone.load(Ordering::SeqCst));
        let slow = readers.enter();
        go_on.store(false, Ordering::SeqCst);
        assert!(readers.alone(|| go_on.load(Ordering::SeqCst)).is_none());
        drop(slow);
    }
}
