//! Long polls, each waiting at the logs that it asked about.
//!
//! 1. A fetch that finds too little takes a place at each of its logs.
//! 2. It looks again: what moved before it had its places is seen now.
//! 3. It waits until one of its logs moves, looks again, and so on; its places go when it ends, however it ends.
//!
//! Whatever moves wakes those who wait for it and nobody else: a thousand idle consumers cost a busy topic nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use lw_storage::LogId;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Waiting {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    newest: u64,
    /// By log, and by the number of who waits there.
    woken: BTreeMap<(LogId, u64), Arc<Notify>>,
}

impl Waiting {
    /// Takes a place at each of these logs.
    pub(crate) fn at(self: &Arc<Self>, logs: Vec<LogId>) -> Waiter {
        let moved = Arc::<Notify>::default();
        let mut places = self.places.lock();
        places.newest += 1;
        let number = places.newest;
        let at = logs.iter().map(|log| ((*log, number), moved.clone()));
        places.woken.extend(at);
        Waiter {
            number,
            logs,
            moved,
            waiting: self.clone(),
        }
    }

    /// Wakes those who wait at these logs.
    pub(crate) fn wake(&self, logs: &[LogId]) {
        let places = self.places.lock();
        if places.woken.is_empty() {
            return;
        }
        for log in logs {
            let here = places.woken.range((*log, 0)..=(*log, u64::MAX));
            here.for_each(|(_, moved)| moved.notify_one());
        }
    }
}

/// One who waits.
pub(crate) struct Waiter {
    number: u64,
    logs: Vec<LogId>,
    moved: Arc<Notify>,
    waiting: Arc<Waiting>,
}

impl Waiter {
    pub(crate) fn is_at(&self, logs: &[LogId]) -> bool {
        self.logs == logs
    }

    /// Returns when one of the logs has moved since the place there was taken, or since this returned last. May be dropped
    /// at any time: a move that was not told is told the next time.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut places = self.waiting.places.lock();
        for log in &self.logs {
            places.woken.remove(&(*log, self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use lw_storage::Uuid;

    fn log(partition: i32) -> LogId {
        LogId {
            topic: Uuid::from_u128(1),
            partition,
        }
    }

    fn has_moved(waiter: &Waiter) -> bool {
        waiter.moved().now_or_never().is_some()
    }

    #[test]
    fn who_waits_elsewhere_is_not_woken() {
        let waiting = Arc::<Waiting>::default();
        let [left, both, right] =
            [vec![log(1)], vec![log(1), log(2)], vec![log(2)]].map(|logs| waiting.at(logs));
        waiting.wake(&[log(2), log(3)]);
        assert_eq!([&left, &both, &right].map(has_moved), [false, true, true]);
        assert_eq!(
            [&left, &both, &right].map(has_moved),
            [false; 3],
            "told once"
        );
        waiting.wake(&[log(1)]);
        assert_eq!([&left, &both, &right].map(has_moved), [true, true, false]);
    }

    #[test]
    fn a_move_that_nobody_listened_to_is_told_the_next_time() {
        let waiting = Arc::<Waiting>::default();
        let waiter = waiting.at(vec![log(1)]);
        waiting.wake(&[log(1)]);
        waiting.wake(&[log(1)]);
        drop(waiter.moved());
        assert!(has_moved(&waiter));
    }

    #[test]
    fn who_is_gone_leaves_no_place() {
        let waiting = Arc::<Waiting>::default();
        let stays = waiting.at(vec![log(1)]);
        drop(waiting.at((0..9).map(log).collect()));
        assert_eq!(waiting.places.lock().woken.len(), 1);
        drop(stays);
        assert!(waiting.places.lock().woken.is_empty());
    }
}
