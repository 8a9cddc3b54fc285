//! The thread that audits ahead of retention.
//!
//! A look that panics is a bug of ours: what nobody has audited stays held, so retention waits and the disk fills up to its
//! floor. The server says so where operators look, as long as no look has ended well since.

use parking_lot::Mutex;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What the last look panicked with.
pub type AuditTrouble = Arc<Mutex<Option<String>>>;

/// Ends with its owner.
pub struct AuditsAhead {
    ended: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AuditsAhead {
    /// How often it is looked whether retention is about to take something; what nobody has audited is held meanwhile.
    pub const EVERY: Duration = Duration::from_secs(5);

    /// Looks at once, and again `every` so often: `look` learns whether it is over, and says whether it has more to do.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        look: impl Fn(&dyn Fn() -> bool) -> bool + Send + 'static,
        every: Duration,
        trouble: AuditTrouble,
    ) -> std::io::Result<AuditsAhead> {
        let (stop, stopped) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let thread = Builder::new()
            .name("audits-ahead".to_string())
            .spawn(move || {
                let is_over = || over.load(Ordering::Acquire);
                run(|| look(&is_over), every, &trouble, &stopped);
            })?;
        Ok(AuditsAhead {
            ended,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for AuditsAhead {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    look: impl Fn() -> bool,
    every: Duration,
    trouble: &Mutex<Option<String>>,
    stopped: &Receiver<()>,
) {
    loop {
        let looked = catch_unwind(AssertUnwindSafe(&look));
        *trouble.lock() = looked.as_ref().err().map(|panic| {
            let words = words(&**panic);
            tracing::error!(
                words,
                "an audit ahead of retention panicked; please report it"
            );
            format!("retention waits for an audit that panicked: {words}")
        });
        let pause = match looked {
            Ok(true) => Duration::ZERO,
            _ => every,
        };
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}
