//! The thread that audits ahead of retention.
//!
//! A look that panics is a bug of ours: what nobody has audited stays held, so retention waits and the disk fills up to its
//! floor. The server says so where operators look, as long as no look has ended well since.

use super::periodic::{Periodic, Turn};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What the last look panicked with.
pub type AuditTrouble = Arc<Mutex<Option<String>>>;

/// Ends with its owner.
pub struct AuditsAhead {
    _thread: Periodic,
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
        let look = move |turn: &Turn<'_>| look(&|| turn.is_over());
        let told = move |panic: Option<&str>| {
            *trouble.lock() = panic.map(|words| {
                tracing::error!(
                    words,
                    "an audit ahead of retention panicked; please report it"
                );
                format!("retention waits for an audit that panicked: {words}")
            });
        };
        Ok(AuditsAhead {
            _thread: Periodic::start("audits-ahead", every, look, told)?,
        })
    }
}
