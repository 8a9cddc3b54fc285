//! What a restart from the end of a file needs, on its way to the disk.
//!
//! Encoded under the state's lock, when the file is sealed or the storage closes; written without any lock, the sidecar
//! before the checkpoint: a checkpoint promises that nothing before its file need be replayed.

use std::io;

use crate::checkpoint;
use crate::folder::Folder;
use crate::frame::Place;
use crate::index::{self, Head};
use crate::state::State;

pub(crate) struct Snapshot {
    pub(crate) file: u64,
    sidecar: Vec<u8>,
    pub(crate) head: Head,
    checkpoint: Option<Vec<u8>>,
}

impl Snapshot {
    /// Of the end of the active file, at `now` of the log's time.
    pub(crate) fn of(state: &State, place: Place, now: i64) -> Snapshot {
        Snapshot {
            checkpoint: Some(checkpoint::encode(state, place, now)),
            ..Snapshot::sidecar(state, place.file, place.position)
        }
    }

    /// Only the sidecar, of a file that recovery found sealed.
    pub(crate) fn sidecar(state: &State, file: u64, end: u64) -> Snapshot {
        let (sidecar, head) = index::encode(file, file, end, &state.active_entries());
        Snapshot::made(sidecar, head)
    }

    pub(crate) fn made(sidecar: Vec<u8>, head: Head) -> Snapshot {
        Snapshot {
            file: head.file,
            sidecar,
            head,
            checkpoint: None,
        }
    }

    pub(crate) fn has_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    pub(crate) fn write(&self, folder: &Folder) -> io::Result<()> {
        folder.write_sidecar(self.file, &self.sidecar)?;
        match &self.checkpoint {
            Some(checkpoint) => folder.write_checkpoint(checkpoint),
            None => Ok(()),
        }
    }
}
