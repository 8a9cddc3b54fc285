//! What an operator may set, with the values that fit a laptop and a small server alike.

use std::path::PathBuf;

/// Settings of one storage folder. All sizes in bytes.
#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    /// Size that WAL files are preallocated to. A frame larger than this gets a file of its own.
    pub wal_file_bytes: u64,
    /// How often retention is looked at; 0 leaves it to [`crate::Storage::run_retention`].
    pub retention_check_ms: u64,
    /// Newest log bytes kept in memory, so that readers at the tail cost no I/O.
    pub tail_bytes: usize,
    /// Index entries of sealed files kept in memory after use.
    pub index_cache_bytes: usize,
    /// Upper bound of one group commit.
    pub group_bytes: usize,
    /// Space that a new WAL file must leave free.
    pub min_free_bytes: u64,
    /// While the disk has at least this much free, retention takes nothing that a reader of our own still needs.
    pub retention_floor: u64,
    /// Idempotent producers that are remembered, counted once for each partition that they write to. Of more the ones that
    /// were not seen for longest are let go before their day is over; their next batch is taken at any sequence then.
    pub max_producers: usize,
    /// A planted bug, for the simulator that must find it.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

impl Config {
    /// The defaults, for `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config {
            dir: dir.into(),
            ..Config::default()
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dir: PathBuf::from("lakeward-data"),
            wal_file_bytes: 64 << 20,
            retention_check_ms: 300_000,
            tail_bytes: 16 << 20,
            index_cache_bytes: 16 << 20,
            group_bytes: 8 << 20,
            min_free_bytes: 8 << 20,
            retention_floor: 512 << 20,
            max_producers: 100_000,
            fault: None,
        }
    }
}

/// Bugs that the simulator must catch within its seeds; nothing else ever sets one.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Applies and acknowledges a group before its fdatasync.
    AckBeforeFsync,
    /// Serves what recovery found without making it durable first.
    SkipRecoverySync,
    /// Takes the first bad frame for the log's end without asking whether it had been synced.
    CutAtDamage,
    /// Forgets where a sealed file's batches stand before its sidecar says so.
    ForgetSealedPlaces,
    /// Takes the old files away before their rewritten batches are durable.
    RewriteWithoutSync,
    /// Goes on reading rewritten files where the batches stood before.
    KeepOldPlaces,
    /// Takes files away that the older of two checkpoints needs.
    ForgetOlderCheckpoint,
    /// Remembers four batches of a producer, where clients may have five in flight.
    WindowOfFour,
    /// Takes what an older epoch of a producer sends.
    ForgetEpochs,
    /// Acknowledges DeleteRecords without writing it.
    ForgetLogStarts,
    /// Acknowledges that a topic is deleted without writing it.
    ForgetDeletions,
    /// Writes each operation of a commit as a frame of its own.
    SplitCommits,
    /// Lets retention take what a reader of our own still needs.
    IgnoreHolds,
    /// Begins from a checkpoint as if it did not say what the wall clock showed.
    ForgetAnchors,
    /// The WAL thread panics before a group is written.
    PanicInWal,
    /// The WAL thread panics between the sync of a group and its answers.
    PanicInApply,
    /// The upkeep thread panics.
    PanicInUpkeep,
    /// The thread that makes the spare panics.
    PanicInSpare,
}
