//! Copying what is alive out of files of which little is (`rewrite.rs` says which).
//!
//! The batches of a run of neighbours go into one new file, `<id of the first>.seg`: an index, as in a sidecar, then the
//! batches in the WAL's order, byte for byte. Each entry keeps its order, so readers see nothing but other places. The
//! index says through which file it stands for the old ones:
//!
//! 1. write it under a temporary name, fsync;
//! 2. rename, and point the state at it, while no reader is between looking up a place and reading it;
//! 3. fsync of the folder; 4. remove the old files.
//!
//! After a crash before 3 the rename holds or it does not: both the old files and the new one are whole. Where the new
//! file is there, opening removes every other file that it stands for.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::config::Fault;
use crate::engine::Engine;
use crate::index::{self, Entry, Head};
use crate::numbers::{FileNumber, Offset};
use crate::ops::ReadError;
use crate::read::Found;
use crate::record::LogId;
use crate::rewrite::due;

/// Bytes copied in one go.
const PIECE: usize = 4 << 20;

/// A batch that is alive, and where it stands.
struct Alive {
    log: LogId,
    file: FileNumber,
    entry: Entry,
}

impl Engine {
    /// Rewrites the next run of files that is worth it, if there is one and the disk has room for it.
    pub(super) fn rewrite_thin_files(&self) -> io::Result<()> {
        let (run, through, logs) = {
            let core = self.core.lock();
            let files = &core.state.sealed;
            let full = self.config.wal_file_bytes;
            let Some(run) = due(files, core.files.keep_from, full, &core.files.stuck) else {
                return Ok(());
            };
            let through = files[run.end()].through;
            let logs = core.state.in_files(&run);
            (run, through, logs)
        };
        let copied = self
            .alive(logs)
            .and_then(|alive| self.copy(&run, through, &alive));
        match copied {
            Ok(Some(head)) => self.put_in_place(&run, &head),
            Ok(None) => Ok(()),
            Err(ReadError::Io(reason)) => Err(io::Error::other(reason)),
            // Never copied and never dropped: the file stays as it is, and reading the batch says what is wrong.
            Err(damaged) => {
                tracing::error!(%damaged, files = ?run, "log files cannot be rewritten");
                let is_it = |id: &FileNumber| match &damaged {
                    ReadError::Corrupt { file, .. } => {
                        let paths = [self.folder.batches(*id), self.folder.index(*id)];
                        paths.iter().any(|path| path.display().to_string() == *file)
                    }
                    _ => false,
                };
                let files = (run.start().0..=run.end().0).map(FileNumber);
                let found = files.clone().find(is_it);
                let stuck = &mut self.core.lock().files.stuck;
                match found {
                    Some(file) => drop(stuck.insert(file)),
                    None => stuck.extend(files),
                }
                Ok(())
            }
        }
    }

    /// The batches that are not past their log's start, in the WAL's order.
    fn alive(
        &self,
        logs: Vec<(LogId, Offset, Vec<index::Segment>)>,
    ) -> Result<Vec<Alive>, ReadError> {
        let mut alive = Vec::new();
        for (log, start, segments) in logs {
            for segment in segments {
                let entries = self.entries(log, &segment)?;
                let entries = entries.iter().filter(|entry| entry.last >= start);
                alive.extend(entries.map(|entry| Alive {
                    log,
                    file: segment.file,
                    entry: *entry,
                }));
            }
        }
        alive.sort_by_key(|batch| batch.entry.order);
        Ok(alive)
    }

    /// Step 1; `None` when there is no room for it now.
    fn copy(
        &self,
        run: &RangeInclusive<FileNumber>,
        through: FileNumber,
        alive: &[Alive],
    ) -> Result<Option<Head>, ReadError> {
        let mut logs: BTreeMap<LogId, Vec<Entry>> = BTreeMap::new();
        for batch in alive {
            logs.entry(batch.log).or_default().push(batch.entry);
        }
        let begin = index::len(logs.len(), alive.len());
        let mut end = begin;
        logs.values_mut().for_each(Vec::clear);
        for batch in alive {
            let position =
                u32::try_from(end).expect("a run fits into a WAL file, which is under 4 GiB");
            let entry = Entry {
                position,
                ..batch.entry
            };
            logs.entry(batch.log).or_default().push(entry);
            end += u64::from(entry.len);
        }
        let logs: Vec<_> = logs
            .into_iter()
            .map(|(log, e)| (log, Arc::new(e)))
            .collect();
        let head = Head::of(*run.start(), through, end, &logs);
        let disk = &*self.folder.disk;
        if disk.free_bytes(&self.folder.wal).map_err(failed)? < end {
            return Ok(None);
        }
        let temporary = self.folder.wal.join("rewrite.tmp");
        let written = (|| {
            let file = disk.create(&temporary).map_err(failed)?;
            head.write(&logs, &*file).map_err(failed)?;
            let mut at = begin;
            let mut rest = alive;
            while !rest.is_empty() {
                let mut size = 0;
                let fits = |batch: &&Alive| {
                    size += batch.entry.len as usize;
                    size <= PIECE
                };
                let count = rest.iter().take_while(fits).count().max(1);
                let (piece, others) = rest.split_at(count);
                rest = others;
                let found = piece.iter().map(|batch| Found::Disk {
                    file: batch.file,
                    entry: batch.entry,
                });
                let bytes = self.load(found.collect())?.concat();
                file.write_at(&bytes, at).map_err(failed)?;
                at += bytes.len() as u64;
            }
            assert_eq!(at, end, "every batch is as long as its entry says");
            match self.config.fault {
                Some(Fault::RewriteWithoutSync) => Ok(()),
                _ => file.sync().map_err(failed),
            }
        })();
        if let Err(error) = written {
            // A half-written file would hold space that somebody may wait for.
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        Ok(Some(head))
    }

    /// Steps 2 to 4.
    fn put_in_place(&self, run: &RangeInclusive<FileNumber>, head: &Head) -> io::Result<()> {
        let folder = &self.folder;
        let old: Vec<(FileNumber, bool)> = {
            let core = self.core.lock();
            let files = core.state.sealed.range(run.clone());
            files
                .map(|(id, _)| (*id, folder.is_rewritten(*id)))
                .collect()
        };
        {
            let temporary = folder.wal.join("rewrite.tmp");
            let Some(_alone) = self.readers.alone(|| !self.core.lock().stop) else {
                return folder.disk.remove(&temporary);
            };
            // Before the rename: the name may be that of a file which was rewritten before.
            self.core.lock().state.assert_holds_all(run, head);
            folder
                .disk
                .rename(&temporary, &folder.rewritten(head.file))?;
            folder.replace(run);
            let mut core = self.core.lock();
            core.state.replace(run, head);
            if self.config.fault != Some(Fault::KeepOldPlaces) {
                core.tail.forget(run);
                old.iter()
                    .for_each(|(id, _)| self.sealing.index.forget(*id));
            }
        }
        folder.disk.sync_dir(&folder.wal)?;
        tracing::info!(files = ?run, bytes = head.end, "log files of which little was needed are one now");
        for (id, rewritten) in old {
            // The first one's name may be the new file's.
            if !(rewritten && id == head.file) {
                self.discard(id, rewritten)?;
            }
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> ReadError {
    ReadError::Io(error.to_string())
}
