//! What happens beside the way to an answer.
//!
//! The `lw-upkeep` thread writes sidecar and checkpoint of sealed files, advances log starts by retention, copies the live
//! batches of files that hold little else (`copying.rs`), and takes dead files away. The `lw-spare` thread has the next
//! file ready before it is needed.

mod copying;

use std::io;
use std::time::Duration;

use crate::config::Fault;
use crate::engine::Engine;
use crate::folder::Folder;
use crate::numbers::{FileNumber, Offset};
use crate::ops::{CommitError, Committed, Op};
use crate::record::LogId;
use crate::retention::{self, Due};
use crate::wal::{Room, allocate};

/// How often upkeep looks around without being called.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How often producers are let go that have not been seen for a day; Kafka's interval.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

impl Engine {
    pub(crate) fn upkeep_thread(&self) {
        let every = Duration::from_millis(self.config.retention_check_ms);
        let mut next_retention = self.clock.elapsed() + every;
        loop {
            {
                let mut core = self.core.lock();
                if !core.stop {
                    self.upkeep.wait_for(&mut core, UPKEEP_EVERY);
                }
                if core.stop {
                    return;
                }
            }
            let due = self.clock.elapsed() >= next_retention
                || (self.holds.lock().kept_some && self.below_floor() > 0);
            let round = || {
                if !every.is_zero() && due {
                    self.run_retention();
                    next_retention = self.clock.elapsed() + every;
                }
                self.plant(Fault::PanicInUpkeep);
                self.upkeep();
            };
            if !self.guard("upkeep", round) {
                return;
            }
        }
    }

    /// One round. Each step may fail by itself and is tried again in the next.
    pub(crate) fn upkeep(&self) {
        let mut expiry = self.round.lock();
        if self.clock.elapsed() >= *expiry {
            let now = self.log_now();
            self.core.lock().state.expire_producers(now);
            *expiry = self.clock.elapsed() + EXPIRE_EVERY;
        }
        if let Err(error) = self.write_sealed() {
            tracing::warn!(%error, "cannot write a log file's index or the checkpoint");
        } else if let Err(error) = self.rewrite_thin_files() {
            tracing::warn!(%error, "cannot rewrite log files of which little is needed");
        }
        if let Err(error) = self.remove_dead_files() {
            tracing::warn!(%error, "cannot remove dead log files");
        }
        let free = || self.folder.disk.free_bytes(&self.folder.wal).unwrap_or(0);
        let mut core = self.core.lock();
        let is_room = |needed| free() >= needed || self.folder.disk.exists(&self.folder.spare());
        if core.full.is_some_and(|full| is_room(full.needed)) {
            tracing::info!("there is space again");
            core.full = None;
        }
        let wanted = core.files.want_spare();
        drop(core);
        if wanted {
            self.spare.want();
        }
    }

    /// Writes sidecar and checkpoint of what was sealed; a file before the checkpoint's may go from here on.
    pub(crate) fn write_sealed(&self) -> io::Result<()> {
        self.sealing.write(&self.folder, |snapshot| {
            if !snapshot.has_checkpoint() {
                return;
            }
            let mut core = self.core.lock();
            core.files.keep_from = core.files.checkpoint;
            core.files.checkpoint = snapshot.file;
            if self.config.fault == Some(Fault::ForgetOlderCheckpoint) {
                core.files.keep_from = snapshot.file;
            }
        })
    }

    pub(crate) fn spare_thread(&self) {
        while self.spare.wait() {
            let round = || {
                self.plant(Fault::PanicInSpare);
                self.prepare_spare();
            };
            if !self.guard("spare", round) {
                return;
            }
        }
    }

    /// Makes the spare if it is wanted and not there. Rotation never waits for this: it takes what has the name.
    pub(crate) fn prepare_spare(&self) {
        if !self.spare.take_wish() {
            return;
        }
        let folder = &self.folder;
        let len = self.config.wal_file_bytes;
        let made = (|| -> io::Result<()> {
            let room = folder.disk.free_bytes(&folder.wal)? >= len + self.config.min_free_bytes;
            if !room || folder.disk.exists(&folder.spare()) {
                return Ok(());
            }
            let (path, _) = allocate(folder, len, || !self.spare.is_stopped())?;
            let _spare = self.spare.name();
            match folder.disk.exists(&folder.spare()) {
                true => folder.disk.remove(&path),
                false => folder.disk.rename(&path, &folder.spare()),
            }
        })();
        match made {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::warn!(%error, "cannot prepare the next log file");
            }
            _ => {}
        }
    }

    /// Takes files away that no log needs and no replay starts in; one becomes the spare.
    fn remove_dead_files(&self) -> io::Result<()> {
        if self.core.lock().full.is_some() {
            self.give_up_older_checkpoint()?;
        }
        let is_dead = {
            let core = self.core.lock();
            let mut files = core.state.sealed.range(..core.files.keep_from);
            files.any(|(_, file)| file.logs == 0)
        };
        if !is_dead {
            return Ok(());
        }
        // Whoever looked up a place in one of them has read it by now, and nobody finds one any more.
        let Some(alone) = self.readers.alone(|| !self.core.lock().stop) else {
            return Ok(());
        };
        let dead: Vec<FileNumber> = {
            let mut core = self.core.lock();
            let before = core.files.keep_from;
            let dead = core
                .state
                .sealed
                .extract_if(..before, |_, file| file.logs == 0);
            dead.map(|(id, file)| {
                assert_eq!(
                    file.live, 0,
                    "I3: nothing is alive in a file that goes: {id}"
                );
                id
            })
            .collect()
        };
        drop(alone);
        for id in dead {
            tracing::info!(file = %id, "log file is past retention");
            let rewritten = self.folder.is_rewritten(id);
            self.folder.forget(id);
            self.sealing.index.forget(id);
            self.discard(id, rewritten)?;
        }
        Ok(())
    }

    /// A full disk needs the files that only the older checkpoint needs more than it needs a second checkpoint.
    fn give_up_older_checkpoint(&self) -> io::Result<()> {
        let Folder { disk, dir, .. } = &*self.folder;
        let (newest, older) = (self.folder.checkpoint(), self.folder.older_checkpoint());
        // A write that found no room, or a crash in one, has left only the older name: it is the newest one then.
        if disk.exists(&newest) && disk.exists(&older) {
            disk.remove(&older)?;
            disk.sync_dir(dir)?;
        }
        let mut core = self.core.lock();
        core.files.keep_from = core.files.checkpoint;
        Ok(())
    }

    /// Removes a file that nobody reads any more, or makes it the spare.
    fn discard(&self, id: FileNumber, rewritten: bool) -> io::Result<()> {
        let folder = &self.folder;
        let Some(path) = folder.remove_index(id, rewritten)? else {
            return Ok(());
        };
        let _spare = self.spare.name();
        let len = folder.disk.open(&path)?.len()?;
        if len != self.config.wal_file_bytes || folder.disk.exists(&folder.spare()) {
            return folder.disk.remove(&path);
        }
        folder.disk.rename(&path, &folder.spare())?;
        // Durable before the content changes, else a crash shows the old name on foreign bytes.
        folder.disk.sync_dir(&folder.wal)
    }

    /// Advances log starts as far as time, size and holds say. In pieces, so that each finds room on a full disk.
    pub(crate) fn run_retention(&self) {
        const PIECE: usize = 500;
        for piece in self.retention_due().chunks(PIECE) {
            let ops = piece.iter().map(|(log, before)| Op::DeleteRecords {
                topic: log.topic,
                partition: log.partition,
                before: before.0,
            });
            let report = |result: Result<Committed, CommitError>| match result {
                Ok(_) => tracing::debug!("log starts advanced"),
                Err(error) => tracing::warn!(%error, "retention has to wait"),
            };
            self.submit_with(ops.collect(), Some(Room::Last), Box::new(report));
        }
    }

    fn retention_due(&self) -> Vec<(LogId, Offset)> {
        let now = self.clock.now_ms();
        let mut holds = self.holds.lock();
        if !holds.ready {
            return Vec::new();
        }
        let core = self.core.lock();
        let due = retention::due(&core.state, &holds.lowest(), now);
        let through = match self.config.fault {
            Some(Fault::IgnoreHolds) => FileNumber(u64::MAX),
            _ => retention::sacrifice(&core.state, &due, core.files.keep_from, self.below_floor()),
        };
        let mut kept_some = false;
        let start = |due: Due| {
            let Some((held, holder)) = &due.held else {
                return (due.log, due.start);
            };
            let start = retention::start_through(&core.state.logs[&due.log], &due, through);
            kept_some |= start < due.start;
            if start > *held {
                tracing::warn!(
                    holder, topic = %due.log.topic, partition = due.log.partition, from = %held, to = %start,
                    "the disk is nearly full: retention takes records that were still to be read"
                );
            }
            (due.log, start)
        };
        let starts = due.into_iter().map(start).collect();
        drop(core);
        holds.kept_some = kept_some;
        starts
    }

    /// Bytes that are missing to what retention leaves to readers of our own.
    fn below_floor(&self) -> u64 {
        let free = self.folder.disk.free_bytes(&self.folder.wal);
        free.map_or(0, |free| self.config.retention_floor.saturating_sub(free))
    }
}
