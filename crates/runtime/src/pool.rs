//! Fork and join: pieces of work done at the same time, and their results in the order of the pieces.
//!
//! ```text
//! caller   ─ run ─┬─ piece 0 ─ piece 2 ───────┬─ results 0, 1, 2, 3
//! pool            └─ piece 1 ──────── piece 3 ┘
//! ```
//!
//! The caller takes pieces like the threads of the pool do. So a pool that is busy with the work of others makes a fork slower
//! and never stuck, a piece may fork again, and a pool without threads is the same program in one thread.

use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::collections::VecDeque;
use std::iter::Enumerate;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::addr_eq;
use std::sync::Arc;
use std::vec::IntoIter;

/// Threads that wait for pieces of work. Clones are the same pool; its threads end with the last of them.
#[derive(Clone, Default)]
pub struct Pool(Option<Arc<Threads>>);

impl Pool {
    /// Everything is done by who asks for it.
    pub fn none() -> Pool {
        Pool(None)
    }

    /// As many pieces at a time as `threads`, of which the caller is one. The others begin when they are first needed.
    pub fn new(threads: usize) -> Pool {
        Pool((threads > 1).then(|| {
            Arc::new(Threads {
                helpers: threads - 1,
                common: Arc::default(),
            })
        }))
    }

    /// How many pieces are done at a time.
    pub fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |threads| threads.helpers + 1)
    }

    /// Does all pieces; their results in their order.
    ///
    /// # Panics
    /// With what the first of the pieces said that panicked; by then all are over.
    pub fn run<T, F>(&self, pieces: Vec<F>) -> Vec<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let helpers = self.threads().min(pieces.len()).saturating_sub(1);
        let Some(threads) = self.0.as_ref().filter(|_| helpers > 0) else {
            return pieces.into_iter().map(|piece| piece()).collect();
        };
        let fork = Arc::new(Fork::of(pieces));
        threads.call(fork.clone(), helpers);
        fork.help();
        threads.dismiss(&*fork);
        fork.join()
    }
}

struct Threads {
    /// The most that there are.
    helpers: usize,
    common: Arc<Common>,
}

/// What the threads of a pool share.
#[derive(Default)]
struct Common {
    calls: Mutex<Calls>,
    called: Condvar,
}

#[derive(Default)]
struct Calls {
    /// Who wants help, once for each helper.
    waiting: VecDeque<Arc<dyn Help>>,
    /// Threads that wait for a call.
    idle: usize,
    begun: usize,
    closed: bool,
}

trait Help: Send + Sync {
    /// Does pieces until all are taken.
    fn help(&self);
}

impl Threads {
    fn call(&self, fork: Arc<dyn Help>, helpers: usize) {
        let mut calls = self.common.calls.lock();
        for _ in 0..helpers {
            calls.waiting.push_back(fork.clone());
        }
        while calls.idle < calls.waiting.len() && calls.begun < self.helpers {
            let common = self.common.clone();
            let begun = std::thread::Builder::new()
                .name("pool".into())
                .spawn(move || common.serve());
            if let Err(error) = begun {
                // The caller does without: it has all pieces at hand.
                tracing::warn!(%error, "a thread of the pool cannot begin");
                break;
            }
            calls.begun += 1;
            calls.idle += 1;
        }
        self.common.called.notify_all();
    }

    /// A fork whose pieces are all taken needs nobody any more.
    fn dismiss(&self, fork: &dyn Help) {
        let mut calls = self.common.calls.lock();
        calls.waiting.retain(|other| !addr_eq(&**other, fork));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.common.calls.lock().closed = true;
        self.common.called.notify_all();
    }
}

impl Common {
    /// The life of a thread.
    fn serve(&self) {
        let mut calls = self.calls.lock();
        while !calls.closed {
            let Some(fork) = calls.waiting.pop_front() else {
                self.called.wait(&mut calls);
                continue;
            };
            calls.idle -= 1;
            drop(calls);
            fork.help();
            drop(fork);
            calls = self.calls.lock();
            calls.idle += 1;
        }
    }
}

/// The pieces of one call.
struct Fork<T, F> {
    pieces: Mutex<Pieces<T, F>>,
    over: Condvar,
}

struct Pieces<T, F> {
    /// Those that nobody has taken.
    rest: Enumerate<IntoIter<F>>,
    results: Vec<Option<Result<T, Box<dyn Any + Send>>>>,
    /// How many are not over.
    open: usize,
}

impl<T, F> Fork<T, F> {
    fn of(pieces: Vec<F>) -> Fork<T, F> {
        let open = pieces.len();
        Fork {
            pieces: Mutex::new(Pieces {
                rest: pieces.into_iter().enumerate(),
                results: std::iter::repeat_with(|| None).take(open).collect(),
                open,
            }),
            over: Condvar::new(),
        }
    }

    /// Waits for pieces that others have taken.
    fn join(&self) -> Vec<T> {
        let mut pieces = self.pieces.lock();
        while pieces.open > 0 {
            self.over.wait(&mut pieces);
        }
        let results = std::mem::take(&mut pieces.results).into_iter();
        drop(pieces);
        let result = |result: Option<Result<T, _>>| {
            let result = result.expect("P1: a piece that is over has its result");
            result.unwrap_or_else(|panic| resume_unwind(panic))
        };
        results.map(result).collect()
    }
}

impl<T: Send, F: FnOnce() -> T + Send> Help for Fork<T, F> {
    fn help(&self) {
        loop {
            let Some((number, piece)) = self.pieces.lock().rest.next() else {
                return;
            };
            let result = catch_unwind(AssertUnwindSafe(piece));
            let mut pieces = self.pieces.lock();
            pieces.results[number] = Some(result);
            pieces.open -= 1;
            if pieces.open == 0 {
                self.over.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests;
