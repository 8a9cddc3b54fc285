//! Who is told which logs moved, and how callbacks are called at all.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::record::LogId;

pub(crate) type Listener = Arc<dyn Fn(&[LogId]) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Listeners {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    newest: u64,
    by_id: BTreeMap<u64, Listener>,
}

/// Keeps a progress callback alive; dropping it unsubscribes.
pub struct Subscription {
    id: u64,
    listeners: Weak<Listeners>,
}

impl Listeners {
    pub(crate) fn subscribe(listeners: &Arc<Listeners>, listener: Listener) -> Subscription {
        let mut held = listeners.held.lock();
        held.newest += 1;
        let id = held.newest;
        held.by_id.insert(id, listener);
        Subscription {
            id,
            listeners: Arc::downgrade(listeners),
        }
    }

    /// Calls them all, holding nothing: one may unsubscribe in its call.
    pub(crate) fn call(&self, moved: &[LogId]) {
        let listeners: Vec<Listener> = self.held.lock().by_id.values().cloned().collect();
        for listener in listeners {
            guarded(|| listener(moved));
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(listeners) = self.listeners.upgrade() {
            listeners.held.lock().by_id.remove(&self.id);
        }
    }
}

/// A callback's panic is its owner's bug; the log must go on for everyone else.
pub(crate) fn guarded(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of the log panicked");
    }
}
