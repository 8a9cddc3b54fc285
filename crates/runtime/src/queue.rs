//! The channel between two tasks: first in, first out, bounded by bytes. A full queue is backpressure.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: deadlines of threads that wait for each other"
)]

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A queue of items whose sizes are known when they are put in. One item is always taken, however large.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// The other end is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// What a consumer gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Popped<T> {
    Item(T),
    /// Nothing came within the time.
    Nothing,
    /// Nothing is left, and nobody puts anything in any more.
    Closed,
}

impl<T> Queue<T> {
    /// `capacity` in bytes.
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// [`Closed`] when nobody takes any more.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let mut state = self.state.lock();
        while !state.closed && state.bytes > 0 && state.bytes + bytes > self.capacity {
            self.changed.wait(&mut state);
        }
        if state.closed {
            return Err(Closed);
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        self.changed.notify_all();
        Ok(())
    }

    /// The next item, waited for up to `timeout`.
    pub(crate) fn pop(&self, timeout: Duration) -> Popped<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_front() {
                state.bytes -= bytes;
                self.changed.notify_all();
                return Popped::Item(item);
            }
            if state.closed {
                return Popped::Closed;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() && state.items.is_empty() {
                return Popped::Nothing;
            }
        }
    }

    /// Nothing more goes in; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether nobody takes any more: a producer that has nothing to push must ask, or it never learns.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_full_queue_holds_its_producer_back() {
        let queue = Arc::new(Queue::new(10));
        queue.push(1, 100).expect("the first item always fits");
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(2, 1)
        });
        assert_eq!(queue.pop(Duration::from_secs(5)), Popped::Item(1));
        assert_eq!(queue.pop(Duration::from_secs(5)), Popped::Item(2));
        assert_eq!(producer.join().expect("no panic"), Ok(()));
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_holds() {
        let queue = Queue::new(10);
        queue.push(1, 1).expect("open");
        queue.close();
        assert_eq!(queue.push(2, 1), Err(Closed));
        assert_eq!(queue.pop(Duration::ZERO), Popped::Item(1));
        assert_eq!(queue.pop(Duration::from_secs(60)), Popped::Closed);
    }
}
