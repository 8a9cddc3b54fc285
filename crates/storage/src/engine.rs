//! The engine behind [`crate::Storage`]: its parts and their owners.
//!
//! | part | what it owns | written by |
//! |---|---|---|
//! | `core` | the durable state, the newest bytes, the queue of requests | requests, the WAL thread |
//! | `wal` | the active file | whoever writes a group |
//! | `sealing` | what of sealed files is still to be written, and their entries in memory | WAL and upkeep |
//! | `spare` | the next file | the spare's thread |
//! | `readers` | who reads, so that no file is used again under them | readers, upkeep |
//! | `holds`, `watches` | readers of our own, and who waits at which logs | their owners |
//!
//! What it does stands in `commit.rs` (writing), `read.rs` and `in_order.rs` (reading) and `upkeep.rs`.
//!
//! Lock order: `wal` or `round` → `sealing` → `core` → small ones. No lock is held while a callback runs.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lw_stdx::clock::Clock;
use parking_lot::{Condvar, Mutex};

use crate::config::Config;
use crate::folder::Folder;
use crate::holds::Holds;
use crate::numbers::FileNumber;
use crate::ops::{CommitError, StorageFull};
use crate::queue::Queue;
use crate::readers::Readers;
use crate::sealing::Sealing;
use crate::spare::Spare;
use crate::state::State;
use crate::stats::Stats;
use crate::tail::Tail;
use crate::time::LogTime;
use crate::wal::Wal;
use crate::watches::Watches;

pub(crate) struct Engine {
    // Configuration.
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: LogTime,
    pub(crate) folder: Arc<Folder>,
    pub(crate) cluster_id: String,
    // State.
    pub(crate) core: Mutex<Core>,
    pub(crate) wal: Mutex<Wal>,
    pub(crate) sealing: Sealing,
    pub(crate) spare: Spare,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) watches: Arc<Watches>,
    /// Whether some topic is of `LogAppendTime`, for those who do not hold `core`.
    pub(crate) stamps: AtomicBool,
    // Signals.
    pub(crate) work: Condvar,
    pub(crate) upkeep: Condvar,
    pub(crate) readers: Readers,
    /// Held during a round of upkeep: two must not rewrite the same files. When producers are looked through next.
    pub(crate) round: Mutex<Duration>,
    /// The folder is ours.
    pub(crate) lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

/// What one look must see together.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) tail: Tail,
    pub(crate) queue: Queue,
    pub(crate) files: Files,
    pub(crate) full: Option<StorageFull>,
    pub(crate) failed: Option<String>,
    pub(crate) stop: bool,
    pub(crate) stats: Stats,
}

/// Which files do what.
pub(crate) struct Files {
    pub(crate) active: FileNumber,
    /// Bytes used and there in the active file.
    pub(crate) fill: (u64, u64),
    /// The one in which replay begins after the newest checkpoint.
    pub(crate) checkpoint: FileNumber,
    /// The same after the one before it: files before this one may go.
    pub(crate) keep_from: FileNumber,
    /// Those that cannot be rewritten: something in them is damaged.
    pub(crate) stuck: BTreeSet<FileNumber>,
}

impl Files {
    /// Whether the active file is full enough for the next one to be made: early enough for the slowest disk, late enough
    /// that an idle server does not pay for it.
    pub(crate) fn want_spare(&self) -> bool {
        let (used, capacity) = self.fill;
        used > capacity / 8
    }
}

impl Core {
    /// Why no request is taken any more, if that is so.
    pub(crate) fn is_open(&self) -> Result<(), CommitError> {
        match &self.failed {
            Some(reason) => Err(CommitError::Failed(reason.clone())),
            None if self.stop => Err(CommitError::Failed("the storage is closed".to_owned())),
            None => Ok(()),
        }
    }
}

impl Engine {
    pub(crate) fn log_now(&self) -> i64 {
        self.time.now(&*self.clock)
    }
}

pub(crate) struct Threads {
    pub(crate) engine: Arc<Engine>,
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub(crate) fn end(&self) {
        self.engine.core.lock().stop = true;
        self.engine.work.notify_all();
        self.engine.upkeep.notify_all();
        self.engine.spare.stop();
        for handle in std::mem::take(&mut *self.handles.lock()) {
            // The last handle may be dropped inside a callback: a thread cannot wait for itself.
            if handle.thread().id() != thread::current().id() {
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}
