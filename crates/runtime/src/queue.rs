//! The channel to a task: first in, first out, bounded by bytes. A full queue is backpressure.
//!
//! Beside the items there is word: it is never held back, it goes before all items, and it can be asked for alone.

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
    word: VecDeque<T>,
    closed: bool,
}

/// The other end is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// What a consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Anything,
    /// Items stay where they are.
    Word,
}

impl<T> Queue<T> {
    /// `capacity` in bytes.
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                word: VecDeque::new(),
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

    /// Sends word.
    pub(crate) fn tell(&self, word: T) {
        self.state.lock().word.push_back(word);
        self.changed.notify_all();
    }

    /// What comes next, waited for up to `timeout`; nothing of a closed queue.
    pub(crate) fn pop(&self, wanted: Wanted, timeout: Duration) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while !state.closed {
            if let Some(word) = state.word.pop_front() {
                return Some(word);
            }
            if wanted == Wanted::Anything
                && let Some((item, bytes)) = state.items.pop_front()
            {
                state.bytes -= bytes;
                self.changed.notify_all();
                return Some(item);
            }
            if Instant::now() >= deadline {
                return None;
            }
            let _ = self.changed.wait_until(&mut state, deadline);
        }
        None
    }

    /// Nobody takes anything any more.
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

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_full_queue_holds_its_producer_back() {
        let queue = Arc::new(Queue::new(10));
        queue.push(1, 100).expect("the first item always fits");
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(2, 1)
        });
        assert_eq!(queue.pop(Wanted::Anything, SOON), Some(1));
        assert_eq!(queue.pop(Wanted::Anything, SOON), Some(2));
        assert_eq!(producer.join().expect("no panic"), Ok(()));
    }

    #[test]
    fn word_goes_before_items_and_past_a_full_queue() {
        let queue = Queue::new(10);
        queue.push(1, 100).expect("the first item always fits");
        queue.tell(2);
        assert_eq!(queue.pop(Wanted::Anything, SOON), Some(2));
        assert_eq!(queue.pop(Wanted::Word, Duration::ZERO), None);
        assert_eq!(queue.pop(Wanted::Anything, SOON), Some(1));
    }

    #[test]
    fn who_pushes_into_a_closed_queue_is_told() {
        let queue = Arc::new(Queue::new(10));
        queue.push(1, 100).expect("the first item always fits");
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(2, 1)
        });
        queue.close();
        assert_eq!(producer.join().expect("no panic"), Err(Closed));
        assert!(queue.is_closed());
    }
}
