//! How a job's threads are told to stop, and to hand out where the job stands.

use crate::manifest::Manifest;
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// How a job is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Windows stay as they are, and go on with the job.
    Keeps,
    /// Event time ends: every window fires, and nothing can be read on.
    Drains,
}

/// Is given the manifest of a job when nothing in it is pending.
pub(crate) type Save = Box<dyn FnOnce(&Manifest) + Send>;

/// Tells a job's threads to stop, and to hand out where the job stands.
#[derive(Default)]
pub struct Control {
    stop: Mutex<Option<Stop>>,
    changed: Condvar,
    saves: Mutex<Saves>,
}

/// Who wants to have the manifest.
enum Saves {
    Wanted(Vec<Save>),
    /// The job has ended: nobody would answer.
    Over,
}

impl Default for Saves {
    fn default() -> Saves {
        Saves::Wanted(Vec::new())
    }
}

impl Control {
    pub(crate) fn stopping(&self) -> bool {
        self.stop.lock().is_some()
    }

    pub(crate) fn drains(&self) -> bool {
        *self.stop.lock() == Some(Stop::Drains)
    }

    pub(super) fn stop(&self, how: Stop) {
        *self.stop.lock() = Some(how);
        self.changed.notify_all();
    }

    /// Hands the manifest to `save` as soon as nothing in it is pending; drops it where the job ends before. Says whether the
    /// job is at work at all.
    pub(crate) fn save(&self, save: Save) -> bool {
        match &mut *self.saves.lock() {
            Saves::Wanted(saves) => saves.push(save),
            Saves::Over => return false,
        }
        true
    }

    /// Those who want the manifest.
    pub(crate) fn saves(&self) -> Vec<Save> {
        match &mut *self.saves.lock() {
            Saves::Wanted(saves) => std::mem::take(saves),
            Saves::Over => Vec::new(),
        }
    }

    pub(super) fn over(&self) {
        *self.saves.lock() = Saves::Over;
    }

    /// Waits, but not longer than until a stop is asked for.
    pub(crate) fn wait(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut stop = self.stop.lock();
        while stop.is_none() && !self.changed.wait_until(&mut stop, deadline).timed_out() {}
    }
}
