//! Threads that look after tables, again and again, until their owner ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Ends with its owner.
pub struct Periodic {
    ended: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One look, and what there is to know of the thread meanwhile.
pub struct Turn<'a> {
    ended: &'a AtomicBool,
    stopped: &'a Receiver<()>,
}

impl Turn<'_> {
    pub fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Does nothing for so long, or until it is over; says whether it goes on.
    pub fn pause(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

impl Periodic {
    /// Looks at once, and again `every` so often, or at once where a look says that it has more to do. `told` learns how each
    /// look ended: with what it panicked, if it did.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        name: &str,
        every: Duration,
        look: impl Fn(&Turn<'_>) -> bool + Send + 'static,
        told: impl Fn(Option<&str>) + Send + 'static,
    ) -> std::io::Result<Periodic> {
        let (stop, stopped) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let thread = Builder::new().name(name.to_string()).spawn(move || {
            let turn = Turn {
                ended: &over,
                stopped: &stopped,
            };
            run(&turn, every, look, told);
        })?;
        Ok(Periodic {
            ended,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    turn: &Turn<'_>,
    every: Duration,
    look: impl Fn(&Turn<'_>) -> bool,
    told: impl Fn(Option<&str>),
) {
    loop {
        let looked = catch_unwind(AssertUnwindSafe(|| look(turn)));
        told(looked.as_ref().err().map(|panic| words(&**panic)));
        let pause = match looked {
            Ok(true) => Duration::ZERO,
            _ => every,
        };
        if !turn.pause(pause) {
            return;
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}
