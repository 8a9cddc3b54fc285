//! The committer's thread: a commit may wait for a catalog as long as it likes, the rows of the next epoch do not.
//!
//! What came of an order is word in the driver's queue, a panic too: the driver never waits for a dead thread.

use super::driver::Order;
use super::{Committers, Message};
use crate::connector::{ConnectorError, ErrorKind};
use crate::job::panicked;
use crate::queue::{Queue, Wanted};
use lw_stdx::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

/// The committer's thread. Whoever holds this may return or panic: the thread is told, and waited for; an order that it has
/// begun is carried out first, and nobody hears what came of it.
pub(super) struct Committing {
    orders: Arc<Queue<Order>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How long the thread sleeps when nothing comes; an order wakes it.
const IDLE: Duration = Duration::from_secs(60);

impl Committing {
    pub(super) fn start(
        committers: Committers,
        clock: Arc<dyn Clock>,
        driver: Arc<Queue<Message>>,
    ) -> Result<Committing, ConnectorError> {
        let orders: Arc<Queue<Order>> = Arc::new(Queue::new(0));
        let from = orders.clone();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                let run = || carry_out_all(committers, &*clock, &from, &driver);
                let run = std::panic::AssertUnwindSafe(run);
                if let Err(payload) = std::panic::catch_unwind(run) {
                    driver.tell(Message::Failed(panicked("the committer", &*payload)));
                }
            })
            .map_err(|error| {
                let message = format!("no thread for the committer: {error}");
                ConnectorError::new(ErrorKind::Retry, message)
            })?;
        Ok(Committing {
            orders,
            thread: Some(thread),
        })
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.tell(order);
    }
}

fn carry_out_all(
    mut committers: Committers,
    clock: &dyn Clock,
    orders: &Queue<Order>,
    driver: &Queue<Message>,
) {
    while !orders.is_closed() {
        if let Some(order) = orders.pop(Wanted::Word, IDLE) {
            let answer = order.carry_out(&mut committers, clock);
            driver.tell(Message::Committed(answer));
        }
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.orders.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
