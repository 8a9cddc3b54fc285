//! What a restart from the end of a file needs, on its way to the disk.
//!
//! Taken under the state's lock, when the file is sealed or the storage closes; written without any lock, the sidecar
//! before the checkpoint: a checkpoint promises that nothing before its file need be replayed.

use std::io;

use crate::cache::Entries;
use crate::checkpoint;
use crate::folder::Folder;
use crate::frame::Place;
use crate::index::Head;
use crate::numbers::FileNumber;
use crate::record::LogId;
use crate::state::State;

pub(crate) struct Snapshot {
    pub(crate) file: FileNumber,
    pub(crate) head: Head,
    /// What the sidecar will hold, shared with the cache, which has it pinned until then.
    logs: Vec<(LogId, Entries)>,
    checkpoint: Option<Vec<u8>>,
}

impl Snapshot {
    /// Of the active file, which ended at `place`, and now is sealed; `now` is the log's time.
    pub(crate) fn sealing(state: &mut State, place: Place, now: i64) -> Snapshot {
        Snapshot {
            checkpoint: Some(checkpoint::encode(state, place, now)),
            ..Snapshot::sidecar(state, place.file, place.position)
        }
    }

    /// Of the active file as far as `place`; it stays as it is.
    pub(crate) fn closing(state: &State, place: Place, now: i64) -> Snapshot {
        let active = state.active_entries();
        Snapshot {
            checkpoint: Some(checkpoint::encode(state, place, now)),
            ..Snapshot::of(place.file, place.position, active)
        }
    }

    /// Only the sidecar, of a file that recovery found to have ended: it is sealed now.
    pub(crate) fn sidecar(state: &mut State, file: FileNumber, end: u64) -> Snapshot {
        let snapshot = Snapshot::of(file, end, state.take_active());
        state.seal(&snapshot.head);
        snapshot
    }

    pub(crate) fn of(file: FileNumber, end: u64, logs: Vec<(LogId, Entries)>) -> Snapshot {
        Snapshot {
            file,
            head: Head::of(file, file, end, &logs),
            logs,
            checkpoint: None,
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (LogId, Entries)> {
        self.logs.iter().cloned()
    }

    pub(crate) fn has_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    pub(crate) fn write(&self, folder: &Folder) -> io::Result<()> {
        folder.write_sidecar(self.file, |file| self.head.write(&self.logs, file))?;
        match &self.checkpoint {
            Some(checkpoint) => folder.write_checkpoint(checkpoint),
            None => Ok(()),
        }
    }
}
