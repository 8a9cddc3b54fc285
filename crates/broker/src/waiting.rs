//! A long poll that waits at the logs it asked about.

use std::sync::Arc;

use lw_storage::{LogId, Storage, Watch};
use tokio::sync::Notify;

pub(crate) struct Waiter {
    moved: Arc<Notify>,
    watch: Watch,
}

impl Waiter {
    pub(crate) fn at(storage: &Storage, logs: Vec<LogId>) -> Waiter {
        let moved = Arc::<Notify>::default();
        let told = moved.clone();
        Waiter {
            moved,
            watch: storage.watch(logs, move || told.notify_one()),
        }
    }

    pub(crate) fn is_at(&self, logs: &[LogId]) -> bool {
        self.watch.is_at(logs)
    }

    /// Returns when one of the logs has moved since the place there was taken, or since this returned last. May be dropped
    /// at any time: a move that was not told is told the next time.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }
}
