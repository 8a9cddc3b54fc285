//! Memory for what is on its way through connections: so many bytes in all, and who finds none waits.
//!
//! A connection asks before it reads a large frame and a Fetch before it reads the log; what they hold goes back when the
//! bytes are gone: the request answered and off the log's queue, the reply sent. Who waits is served in order, so that a
//! large request is not starved by small ones. A server that is asked for more than it has reads slower; it does not grow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) struct Budget {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    waiting: VecDeque<(usize, oneshot::Sender<Held>)>,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Budget> {
        let state = Mutex::default();
        Arc::new(Budget { total, state })
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Waits for its turn and for `bytes` to be free; more than there are is taken for all of them. Dropping the future
    /// gives up the place.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = bytes.min(self.total);
        let admitted = {
            let mut state = self.state.lock();
            if state.waiting.is_empty() && state.used + bytes <= self.total {
                state.used += bytes;
                return self.held(bytes);
            }
            let (admit, admitted) = oneshot::channel();
            state.waiting.push_back((bytes, admit));
            admitted
        };
        admitted
            .await
            .expect("a budget outlives those who wait for it")
    }

    /// Counts what is there already, also when that is more than there should be: who comes next waits for it.
    pub(crate) fn count(self: &Arc<Self>, bytes: usize) -> Held {
        self.state.lock().used += bytes;
        self.held(bytes)
    }

    fn held(self: &Arc<Self>, bytes: usize) -> Held {
        Held {
            budget: self.clone(),
            bytes,
        }
    }

    fn give_back(self: &Arc<Self>, bytes: usize) {
        let mut admitted = Vec::new();
        {
            let mut state = self.state.lock();
            state.used -= bytes;
            while let Some((wanted, admit)) = state.waiting.pop_front() {
                if admit.is_closed() {
                    continue;
                }
                if state.used + wanted > self.total {
                    state.waiting.push_front((wanted, admit));
                    break;
                }
                state.used += wanted;
                admitted.push((admit, self.held(wanted)));
            }
        }
        for (admit, held) in admitted {
            // Who gave up just now gives back by dropping it.
            drop(admit.send(held));
        }
    }
}

/// Bytes that are spoken for until this is dropped.
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes up to `wanted` in all, at once: at most half of what is free, so that many who come leave something for
    /// the next. Nothing while others wait.
    pub(crate) fn grow(&mut self, wanted: usize) {
        let mut state = self.budget.state.lock();
        if state.waiting.is_empty() {
            let free = self.budget.total.saturating_sub(state.used);
            let more = wanted.saturating_sub(self.bytes).min(free / 2);
            state.used += more;
            self.bytes += more;
        }
    }

    /// Holds `bytes` from now on: gives the rest back, or counts what came to be more than was foreseen.
    pub(crate) fn settle(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.state.lock().used += bytes - self.bytes;
        } else {
            self.budget.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    #[test]
    fn who_finds_nothing_waits_in_order_and_nothing_is_lost() {
        let budget = Budget::new(100);
        let first = budget.take(60).now_or_never().expect("free");
        let mut large = pin!(budget.take(80));
        let mut small = pin!(budget.take(10));
        let mut given_up = Box::pin(budget.take(90));
        assert!((&mut large).now_or_never().is_none());
        assert!(
            (&mut small).now_or_never().is_none(),
            "not before the large"
        );
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        drop(first);
        let large = large.now_or_never().expect("60 came back");
        let small = small.now_or_never().expect("20 are left");
        assert_eq!(budget.used(), 90);
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn more_than_there_is_waits_for_all_of_it() {
        let budget = Budget::new(100);
        assert_eq!(budget.take(1000).now_or_never().expect("all").bytes(), 100);
    }

    #[test]
    fn growing_leaves_something_for_the_next() {
        let budget = Budget::new(1000);
        let mut held: Vec<Held> = Vec::new();
        for _ in 0..5 {
            let mut one = budget.take(10).now_or_never().expect("free");
            one.grow(500);
            held.push(one);
        }
        let sizes: Vec<usize> = held.iter().map(Held::bytes).collect();
        assert_eq!(sizes, [500, 255, 127, 64, 32]);
        held[0].settle(1);
        assert_eq!(budget.used(), 479);
        held[0].settle(2000);
        assert_eq!(budget.used(), 2478);
        drop(held);
        assert_eq!(budget.used(), 0);
    }
}
