//! Who waits for which logs to move, and how callbacks are called at all.
//!
//! 1. Who found too little takes a place at each of its logs.
//! 2. It looks again: what moved before it had its places is seen now.
//! 3. It waits until one of its logs moves, looks again, and so on.
//!
//! Whatever moves wakes those who wait for it and nobody else: a thousand idle readers cost a busy topic nothing.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::record::LogId;

type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Watches {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    newest: u64,
    /// By log, and by the number of the watch.
    callbacks: BTreeMap<(LogId, u64), Callback>,
}

/// A place at each of some logs; dropping it gives them up.
pub struct Watch {
    number: u64,
    logs: Vec<LogId>,
    watches: Weak<Watches>,
}

impl Watches {
    pub(crate) fn begin(watches: &Arc<Watches>, logs: Vec<LogId>, moved: Callback) -> Watch {
        let mut places = watches.places.lock();
        places.newest += 1;
        let number = places.newest;
        let at = logs.iter().map(|log| ((*log, number), moved.clone()));
        places.callbacks.extend(at);
        Watch {
            number,
            logs,
            watches: Arc::downgrade(watches),
        }
    }

    /// Calls those who watch these logs, each once, holding nothing: one may end its watch in its call.
    pub(crate) fn call(&self, logs: &[LogId]) {
        let callbacks: BTreeMap<u64, Callback> = {
            let places = self.places.lock();
            let here = |log: &LogId| places.callbacks.range((*log, 0)..=(*log, u64::MAX));
            let here = logs.iter().flat_map(here);
            here.map(|((_, number), callback)| (*number, callback.clone()))
                .collect()
        };
        for callback in callbacks.values() {
            guarded(|| callback());
        }
    }
}

impl Watch {
    /// Whether these are the logs, in this order.
    pub fn is_at(&self, logs: &[LogId]) -> bool {
        self.logs == logs
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watches) = self.watches.upgrade() {
            let mut places = watches.places.lock();
            for log in &self.logs {
                places.callbacks.remove(&(*log, self.number));
            }
        }
    }
}

/// A callback's panic is its owner's bug; the log must go on for everyone else.
pub(crate) fn guarded(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of the log panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use uuid::Uuid;

    fn log(partition: i32) -> LogId {
        LogId {
            topic: Uuid::from_u128(1),
            partition,
        }
    }

    /// A watch that counts its calls.
    fn counting(watches: &Arc<Watches>, logs: Vec<LogId>) -> (Watch, Arc<AtomicUsize>) {
        let calls = Arc::<AtomicUsize>::default();
        let counted = calls.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        (Watches::begin(watches, logs, Arc::new(count)), calls)
    }

    #[test]
    fn who_waits_elsewhere_is_not_called_and_nobody_twice() {
        let watches = Arc::<Watches>::default();
        let held =
            [vec![log(1)], vec![log(1), log(2)], vec![log(2)]].map(|logs| counting(&watches, logs));
        let calls = || {
            held.each_ref()
                .map(|(_, calls)| calls.load(Ordering::SeqCst))
        };
        watches.call(&[log(2), log(3)]);
        assert_eq!(calls(), [0, 1, 1]);
        watches.call(&[log(1), log(2)]);
        assert_eq!(calls(), [1, 2, 2]);
    }

    #[test]
    fn who_is_gone_leaves_no_place() {
        let watches = Arc::<Watches>::default();
        let (stays, _) = counting(&watches, vec![log(1)]);
        drop(counting(&watches, (0..9).map(log).collect()));
        assert_eq!(watches.places.lock().callbacks.len(), 1);
        drop(stays);
        assert!(watches.places.lock().callbacks.is_empty());
    }

    #[test]
    fn a_callback_that_panics_or_ends_its_own_watch_harms_nobody() {
        let watches = Arc::<Watches>::default();
        let fails: Callback = Arc::new(|| panic!("planted"));
        let _fails = Watches::begin(&watches, vec![log(1)], fails);
        let own = Arc::<Mutex<Option<Watch>>>::default();
        let ended = own.clone();
        let ends: Callback = Arc::new(move || drop(ended.lock().take()));
        *own.lock() = Some(Watches::begin(&watches, vec![log(1)], ends));
        let (_counts, calls) = counting(&watches, vec![log(1)]);
        watches.call(&[log(1)]);
        watches.call(&[log(1)]);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert!(own.lock().is_none());
    }
}
