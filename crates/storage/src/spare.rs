//! The signals around the next WAL file, which the `lw-spare` thread has ready before it is needed.

use parking_lot::{Condvar, Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Spare {
    /// Held while the name of the spare file is given or taken.
    name: Mutex<()>,
    signals: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Default)]
struct Signals {
    wanted: bool,
    stop: bool,
}

impl Spare {
    /// Nobody else gives the spare file its name, or takes it away, until the guard is dropped.
    pub(crate) fn name(&self) -> MutexGuard<'_, ()> {
        self.name.lock()
    }

    pub(crate) fn want(&self) {
        self.signals.lock().wanted = true;
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.signals.lock().stop = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.signals.lock().stop
    }

    /// Waits until one is wanted; false when the thread is to end.
    pub(crate) fn wait(&self) -> bool {
        let mut signals = self.signals.lock();
        while !signals.wanted && !signals.stop {
            self.changed.wait(&mut signals);
        }
        !signals.stop
    }

    /// Whether one is wanted; from now on it is not any more.
    pub(crate) fn take_wish(&self) -> bool {
        std::mem::take(&mut self.signals.lock().wanted)
    }
}
