//! Threads beside the driver's: a commit may wait for a catalog as long as it likes, and a state for its disk; the rows of the next
//! epoch do not.
//!
//! What came of an order is word in the driver's queue, a panic too: the driver never waits for a dead thread.

use super::Message;
use crate::connector::{ConnectorError, ErrorKind};
use crate::job::panicked;
use crate::queue::{Queue, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// A thread that carries out orders, one after the other. Whoever holds this may return or panic: the thread is told, and waited
/// for; an order that it has begun is carried out first, and nobody hears what came of it.
pub(super) struct Worker<T> {
    orders: Arc<Queue<T>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How long the thread sleeps when nothing comes; an order wakes it.
const IDLE: Duration = Duration::from_secs(60);

impl<T: Send + 'static> Worker<T> {
    /// `name` is the thread's, and how it is told when it panics.
    pub(super) fn start(
        name: &'static str,
        driver: Arc<Queue<Message>>,
        carry_out: impl FnMut(T) -> Message + Send + 'static,
    ) -> Result<Worker<T>, ConnectorError> {
        let orders: Arc<Queue<T>> = Arc::new(Queue::new(0));
        let from = orders.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let run = || carry_out_all(&from, &driver, carry_out);
                let run = std::panic::AssertUnwindSafe(run);
                if let Err(payload) = std::panic::catch_unwind(run) {
                    let what = format!("the {name}");
                    driver.tell(Message::Failed(panicked(&what, &*payload)));
                }
            })
            .map_err(|error| {
                let message = format!("no thread for the {name}: {error}");
                ConnectorError::new(ErrorKind::Retry, message)
            })?;
        Ok(Worker {
            orders,
            thread: Some(thread),
        })
    }

    pub(super) fn order(&self, order: T) {
        self.orders.tell(order);
    }
}

fn carry_out_all<T>(
    orders: &Queue<T>,
    driver: &Queue<Message>,
    mut carry_out: impl FnMut(T) -> Message,
) {
    while !orders.is_closed() {
        if let Some(order) = orders.pop(Wanted::Word, IDLE) {
            driver.tell(carry_out(order));
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.orders.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
