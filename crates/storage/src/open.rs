//! Opening and closing a folder: who may, whether we can read it, and what must be durable before anyone is served.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use base64::Engine as _;
use lw_stdx::clock::Clock;
use lw_stdx::disk::{Disk, Lock, read_all, write_atomic};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::config::{Config, Fault};
use crate::engine::{Core, Engine, Files, Threads};
use crate::folder::{FOLDER_FORMAT, Folder, Meta, OLDEST_FORMAT};
use crate::frame::MAX_FILE;
use crate::holds::Holds;
use crate::queue::Queue;
use crate::readers::Readers;
use crate::recovery::{Damage, RecoveryError, recover};
use crate::sealing::Sealing;
use crate::snapshot::Snapshot;
use crate::spare::Spare;
use crate::stats::Stats;
use crate::storage::Storage;
use crate::tail::Tail;
use crate::time::LogTime;
use crate::wal::Wal;

/// Why a storage folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder is in use by process {pid}")]
    Locked { pid: u32 },
    #[error("the data folder has format {found}; this version reads up to {known}")]
    NewerFormat { found: u32, known: u32 },
    #[error(
        "the data folder has format {found}, of an earlier version; this version reads formats {oldest} to {known}. Go on \
         with the version that wrote it, or begin a new folder"
    )]
    OlderFormat { found: u32, oldest: u32, known: u32 },
    #[error("{file} is damaged: {reason}")]
    Corrupt { file: String, reason: String },
    /// Acknowledged records are missing from the log's end: cutting it there, as after a crash, would lose them silently.
    #[error("{0}")]
    Damaged(Damage),
    #[error("cannot {what}: {reason}")]
    Io { what: String, reason: String },
}

impl Storage {
    /// Opens the folder, creating it if it is not there. Returns when everything acknowledged is readable again.
    ///
    /// # Errors
    /// See [`OpenError`]. A damaged file is never repaired by forgetting acknowledged records.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Storage, OpenError> {
        let storage = Storage::open_stepped(disk, clock, config)?;
        let mut handles = Vec::new();
        for (name, body) in [
            ("lw-wal", Engine::wal_thread as fn(&Engine)),
            ("lw-upkeep", Engine::upkeep_thread),
            ("lw-spare", Engine::spare_thread),
        ] {
            let engine = storage.engine.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            let handle = thread
                .spawn(move || body(&engine))
                .map_err(|error| io("start a thread", &error))?;
            handles.push(handle);
        }
        *storage.threads.handles.lock() = handles;
        Ok(storage)
    }

    /// The same without threads: nothing happens until [`Storage::step`] and [`Storage::upkeep`]. For the simulator, in
    /// which a seed must decide the order of everything.
    #[doc(hidden)]
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        mut config: Config,
    ) -> Result<Storage, OpenError> {
        config.wal_file_bytes = config.wal_file_bytes.min(MAX_FILE);
        let folder = Arc::new(Folder::new(disk, &config.dir));
        folder
            .disk
            .create_dir_all(&folder.wal)
            .map_err(|error| io("create the data folder", &error))?;
        let lock = match folder.disk.lock(&folder.lock_path()) {
            Ok(Lock::Held(lock)) => lock,
            Ok(Lock::Taken { pid }) => return Err(OpenError::Locked { pid }),
            Err(error) => return Err(io("lock the data folder", &error)),
        };
        let (cluster_id, format) = open_meta(&folder)?;
        let recovered = recover(&folder, config.fault).map_err(|error| match error {
            RecoveryError::Io(error) => io("read the data folder", &error),
            RecoveryError::Corrupt { file, reason } => OpenError::Corrupt { file, reason },
            RecoveryError::Damaged(damage) => OpenError::Damaged(damage),
        })?;
        let wal = Wal::open(folder.clone(), config.clone(), recovered.place)
            .map_err(|error| io("begin the log", &error))?;
        if config.fault != Some(Fault::SkipRecoverySync) {
            make_durable(&folder, &wal, recovered.replayed_from)
                .map_err(|error| io("sync the data folder", &error))?;
        }
        if recovered.is_newest_damaged {
            let aside = folder.set_checkpoint_aside();
            aside.map_err(|error| io("set the damaged checkpoint aside", &error))?;
        }
        if format < FOLDER_FORMAT {
            // Before anything is written that the older version cannot read.
            write_meta(&folder, &cluster_id)?;
        }
        tracing::debug!(replayed = recovered.replayed, "storage recovered");
        let mut state = recovered.state;
        state.bound_producers(config.max_producers);
        // Of what was replayed nobody waits to hear.
        state.take_moved();
        let stamps = AtomicBool::new(state.stamps);
        let time = LogTime::after(state.time, &*clock);
        let sealing = Sealing::new(config.index_cache_bytes);
        for snapshot in recovered.unwritten {
            sealing.pin(&snapshot);
            sealing.push(snapshot);
        }
        let core = Core {
            state,
            tail: Tail::default(),
            queue: Queue::default(),
            files: Files {
                active: wal.place().file,
                fill: (wal.place().position, wal.capacity()),
                checkpoint: recovered.checkpoint_file,
                keep_from: recovered.keep_from,
                stuck: BTreeSet::new(),
            },
            full: None,
            failed: None,
            stop: false,
            stats: Stats::default(),
        };
        let engine = Arc::new(Engine {
            config,
            clock,
            time,
            folder,
            cluster_id,
            core: Mutex::new(core),
            wal: Mutex::new(wal),
            sealing,
            spare: Spare::default(),
            holds: Mutex::new(Holds::default()),
            watches: Arc::default(),
            stamps,
            work: Condvar::new(),
            upkeep: Condvar::new(),
            readers: Readers::default(),
            round: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        let threads = Threads {
            engine: engine.clone(),
            handles: Mutex::default(),
        };
        Ok(Storage {
            engine,
            threads: Arc::new(threads),
        })
    }

    /// Writes everything queued, then a checkpoint, and lets go of the folder. Other handles find it closed.
    pub fn close(self) {
        self.threads.end();
        while self.engine.step() {}
        let wal = self.engine.wal.lock();
        let sealed = self.engine.write_sealed();
        let mut core = self.engine.core.lock();
        if core.failed.is_none() {
            // A checkpoint that cannot be written costs the next start a replay, nothing else.
            let snapshot = Snapshot::closing(&core.state, wal.place(), self.engine.log_now());
            if let Err(error) = sealed.and_then(|()| snapshot.write(&self.engine.folder)) {
                tracing::warn!(?error, "no checkpoint on close");
            }
            core.failed = Some("the storage is closed".to_owned());
        }
        self.engine.lock.lock().take();
    }
}

/// After a mere process crash we have read bytes and names that the next power cut may still take; from here on nobody may
/// see what can be taken (I4).
fn make_durable(folder: &Folder, wal: &Wal, replayed_from: u64) -> std::io::Result<()> {
    wal.rewrite(replayed_from)?;
    folder.disk.sync_dir(&folder.wal)?;
    folder.disk.sync_dir(&folder.dir)
}

/// The cluster's id and the folder's format.
#[expect(
    clippy::disallowed_methods,
    reason = "the id of a new cluster is made here, once in a folder's life"
)]
fn open_meta(folder: &Folder) -> Result<(String, u32), OpenError> {
    let path = folder.meta();
    if !folder.disk.exists(&path) {
        let id = Uuid::new_v4();
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes());
        write_meta(folder, &id)?;
        return Ok((id, FOLDER_FORMAT));
    }
    let corrupt = |reason: String| OpenError::Corrupt {
        file: "meta".to_owned(),
        reason,
    };
    let bytes = read_all(&*folder.disk, &path).map_err(|error| io("read meta", &error))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let (found, known) = (meta.format, FOLDER_FORMAT);
    if found > known {
        return Err(OpenError::NewerFormat { found, known });
    }
    if found < OLDEST_FORMAT {
        let oldest = OLDEST_FORMAT;
        return Err(OpenError::OlderFormat {
            found,
            oldest,
            known,
        });
    }
    if !meta.holds() {
        return Err(corrupt("the checksum does not hold".to_owned()));
    }
    Ok((meta.cluster_id, found))
}

fn write_meta(folder: &Folder, cluster_id: &str) -> Result<(), OpenError> {
    let meta = Meta::new(cluster_id.to_owned());
    let bytes = serde_json::to_vec(&meta).expect("plain fields serialise");
    write_atomic(&*folder.disk, &folder.meta(), &bytes).map_err(|error| io("write meta", &error))
}

fn io(what: &str, error: &std::io::Error) -> OpenError {
    OpenError::Io {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}
