//! The thread that audits ahead of retention.

use super::Tables;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often it is looked whether retention is about to take something; what nobody has audited is held meanwhile.
const EVERY: Duration = Duration::from_secs(5);

/// Ends with its owner.
pub struct AuditsAhead {
    ended: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AuditsAhead {
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(tables: Arc<Tables>) -> std::io::Result<AuditsAhead> {
        let (stop, stopped) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let thread = Builder::new()
            .name("audits-ahead".to_string())
            .spawn(move || run(&tables, &over, &stopped))?;
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

fn run(tables: &Tables, over: &AtomicBool, stopped: &Receiver<()>) {
    let cancelled = || over.load(Ordering::Acquire);
    loop {
        // What panics holds its offsets, and retention waits for them as long as the disk has room.
        let looked = catch_unwind(AssertUnwindSafe(|| tables.audit_ahead(&cancelled)));
        let again = looked.unwrap_or_else(|_| {
            tracing::error!(
                "an audit ahead of retention panicked: see the message before this one"
            );
            false
        });
        let pause = if again { Duration::ZERO } else { EVERY };
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
