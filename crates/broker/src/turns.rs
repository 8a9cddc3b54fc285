//! Heavy work takes turns: so many at once, the others wait where they stand.
//!
//! Waiting blocks the thread, so it is for work that has left the runtime's own threads already.

use parking_lot::{Condvar, Mutex};

pub(crate) struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Turns {
        Turns {
            free: Mutex::new(at_once.max(1)),
            freed: Condvar::new(),
        }
    }

    /// Waits for a turn, which ends when it is dropped.
    pub(crate) fn enter(&self) -> Turn<'_> {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        Turn(self)
    }
}

pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}
