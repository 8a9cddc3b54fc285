//! Opening: from what a crash left behind to a state and a place to write on.
//!
//! 1. Load the newest checkpoint, or begin with nothing. If it is damaged, load the one before it: the WAL files that this one
//!    needs are still there. If that one is damaged too, everything is replayed, provided that the first file is still there.
//! 2. Files before the checkpoint's: hang their sidecars' segments into the logs; rebuild a sidecar that is lost.
//! 3. The checkpoint's file: take its batches up to the checkpoint into the index, replay what follows.
//! 4. Later files: replay whole. Each must begin where the one before ends, else acknowledged frames are gone: refuse.
//! 5. In the last file the first frame that does not check ends the log, unless something behind it proves that it had been
//!    synced (`scan.rs`): refuse. What no such proof covers was torn by the crash and never acknowledged.
//! 6. Write what was replayed of the last file once more, fsync it and the folders: after a mere process crash we may have
//!    read bytes and names that no disk holds yet, and nothing may be readable that a later power cut can erase (I4).
//!
//! [`plan`] decides 1–4 from facts alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lw_stdx::disk::read_all;

use crate::batches::entries_of;
use crate::checkpoint;
use crate::codec::Damaged;
use crate::config::Fault;
use crate::folder::Folder;
use crate::frame::{FileHeader, Place};
use crate::index::{Entry, Head};
use crate::numbers::{FileNumber, Offset};
use crate::record::LogId;
use crate::scan::{Trust, evidence, scan};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::wal::is_full;
use crate::wall::Anchors;

/// What is known of a WAL file before its frames are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFact {
    pub(crate) id: FileNumber,
    /// Header and place of the first frame, if it is sound.
    pub(crate) header: Option<(FileHeader, Place)>,
    /// Where the sidecar says that the frames end, if there is a sound one.
    pub(crate) sidecar_end: Option<u64>,
}

/// One thing to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Hang the sidecar's segments into the logs.
    Attach { id: FileNumber },
    /// Scan the file for batches, write its sidecar anew, attach it.
    Rebuild { from: Place, end: Option<u64> },
    /// A file of before the checkpoint without header or sidecar: retention was taking it away.
    Skip { id: FileNumber },
    /// The checkpoint's own file: its sidecar lists exactly the batches before the checkpoint.
    LoadActive { id: FileNumber },
    /// The same by scanning from the file's start.
    ScanActive { from: Place, end: u64 },
    /// Apply frames from here on.
    Replay { from: Place },
    /// The file's frames end here, another file follows.
    Seal { id: FileNumber, end: u64, link: u32 },
}

/// Decides what to do with the files that are there.
///
/// # Errors
/// (file id, reason) when acknowledged frames must be missing.
pub(crate) fn plan(
    checkpoint: Option<Place>,
    files: &[FileFact],
) -> Result<Vec<Step>, (FileNumber, &'static str)> {
    let mut steps = Vec::new();
    let start = checkpoint.unwrap_or_default();
    let next_of = |id: FileNumber| files.iter().find(|file| file.id == id.next());
    let end_of = |id: FileNumber| next_of(id).and_then(|next| Some(next.header?.0.previous_end));
    for file in files.iter().filter(|file| file.id < start.file) {
        let id = file.id;
        steps.push(match (file.sidecar_end, file.header) {
            (Some(_), _) => Step::Attach { id },
            (None, Some((header, from))) if header.id == id => Step::Rebuild {
                from,
                end: end_of(id),
            },
            (None, _) => Step::Skip { id },
        });
    }
    let mut due = start.file.max(FileNumber::NONE.next());
    for file in files.iter().filter(|file| file.id >= start.file) {
        let id = file.id;
        if id != due {
            return Err((due, "the file is missing"));
        }
        due = due.next();
        let from = match file.header {
            Some((header, from)) if header.id == id => from,
            _ => return Err((id, "the header is damaged")),
        };
        if id == start.file {
            if from.life != start.life {
                return Err((id, "the checkpoint was written beside another file"));
            }
            steps.push(match file.sidecar_end == Some(start.position) {
                true => Step::LoadActive { id },
                false => Step::ScanActive {
                    from,
                    end: start.position,
                },
            });
            steps.push(Step::Replay { from: start });
        } else {
            steps.push(Step::Replay { from });
        }
        if let Some(next) = next_of(id) {
            let Some((next, _)) = next.header else {
                return Err((next.id, "the header is damaged"));
            };
            steps.push(Step::Seal {
                id,
                end: next.previous_end,
                link: next.link,
            });
        }
    }
    if start.file > FileNumber::NONE && due == start.file {
        return Err((due, "the file is missing"));
    }
    Ok(steps)
}

/// What opening found.
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// Where writing goes on; `None` in a folder without a WAL file.
    pub(crate) place: Option<Place>,
    /// Where in the last file replay began.
    pub(crate) replayed_from: u64,
    pub(crate) checkpoint_file: FileNumber,
    /// Where the replay of the older checkpoint would begin: files from here on must stay.
    pub(crate) keep_from: FileNumber,
    pub(crate) is_newest_damaged: bool,
    pub(crate) replayed: u64,
    /// Of sealed files whose sidecar found no room on the disk.
    pub(crate) unwritten: Vec<Snapshot>,
}

/// Why a folder cannot be recovered.
#[derive(Debug)]
pub(crate) enum RecoveryError {
    Io(io::Error),
    Corrupt { file: String, reason: String },
    Damaged(Damage),
}

/// Acknowledged frames of a WAL file that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    /// The first byte of the log that is not what was written.
    pub position: u64,
    /// How far the file had been synced.
    pub synced: u64,
    /// Whole frames behind the damage.
    pub frames: u64,
    /// Whether no WAL file follows this one.
    pub last: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            position,
            synced,
            frames,
            ..
        } = self;
        let file = self.file.display();
        write!(
            f,
            "{file} is damaged at byte {position}: it had been synced up to byte {synced}, so acknowledged records stood \
             there (sound frames behind it: {frames}). Nothing was changed. Check the disk and restore the data folder from a \
             backup. To give up everything from the damage on instead, keep a copy of the folder and run: "
        )?;
        if !self.last {
            write!(f, "rm of the later .wal files beside it, then ")?;
        }
        write!(f, "truncate -s {position} {file}")
    }
}

impl From<io::Error> for RecoveryError {
    fn from(error: io::Error) -> RecoveryError {
        RecoveryError::Io(error)
    }
}

fn corrupt(file: impl Into<String>, reason: impl Into<String>) -> RecoveryError {
    RecoveryError::Corrupt {
        file: file.into(),
        reason: reason.into(),
    }
}

fn wal_name(id: FileNumber) -> String {
    format!("wal/{:020}.wal", id.0)
}

/// Carries the plan out.
pub(crate) fn recover(folder: &Folder, fault: Option<Fault>) -> Result<Recovered, RecoveryError> {
    let Loaded {
        mut state,
        place: checkpoint,
        keep_from,
        damaged,
    } = load_checkpoint(folder)?;
    if fault == Some(Fault::ForgetAnchors) {
        state.anchors = Anchors::default();
    }
    let mut facts = Vec::new();
    let listed = folder.tidy_and_list()?;
    let listed =
        listed.map_err(|(path, damaged)| corrupt(path.display().to_string(), damaged.0))?;
    for id in listed {
        facts.push(FileFact {
            id,
            header: FileHeader::read(&*folder.handle(id)?)?.ok(),
            sidecar_end: folder.read_head(id)?.ok().map(|head| head.end),
        });
    }
    let steps = plan(checkpoint, &facts).map_err(|(id, reason)| match (&damaged, checkpoint) {
        // Without a checkpoint everything would have to be there.
        (Some(damaged), None) => corrupt("checkpoint", damaged.0),
        _ => corrupt(wal_name(id), reason),
    })?;
    let mut recovery = Recovery {
        folder,
        state,
        place: None,
        replayed_from: 0,
        unwritten: Vec::new(),
    };
    let before = recovery.state.lsn;
    for step in steps {
        recovery.step(step)?;
    }
    let Recovery {
        state,
        place,
        replayed_from,
        unwritten,
        ..
    } = recovery;
    if let Some(end) = place.filter(|_| fault != Some(Fault::CutAtDamage))
        && let Some(evidence) = evidence(&*folder.handle(end.file)?, end)?
    {
        return Err(RecoveryError::Damaged(Damage {
            file: folder.file(end.file),
            position: end.position,
            synced: evidence.synced,
            frames: evidence.frames,
            last: true,
        }));
    }
    if let Some((log, offset)) = state.first_hole() {
        let topic = &state.topics[&log.topic].name;
        let reason = format!("{topic}-{}: offset {offset} is in no file", log.partition);
        return Err(corrupt("wal", reason));
    }
    Ok(Recovered {
        replayed: state.lsn.0 - before.0,
        replayed_from,
        state,
        place,
        checkpoint_file: checkpoint.unwrap_or_default().file,
        keep_from,
        is_newest_damaged: damaged.is_some() && folder.disk.exists(&folder.checkpoint()),
        unwritten,
    })
}

/// Where recovery begins.
struct Loaded {
    state: State,
    place: Option<Place>,
    keep_from: FileNumber,
    /// Why the newest checkpoint that there should be is not the one to begin with.
    damaged: Option<Damaged>,
}

fn load_checkpoint(folder: &Folder) -> Result<Loaded, RecoveryError> {
    let older = || read_checkpoint(folder, folder.older_checkpoint());
    let damaged = match read_checkpoint(folder, folder.checkpoint())? {
        Some(Ok((state, place))) => {
            let older = older()?.and_then(Result::ok);
            return Ok(Loaded {
                state,
                place: Some(place),
                keep_from: older.map_or(FileNumber::NONE, |(_, place)| place.file),
                damaged: None,
            });
        }
        Some(Err(damaged)) => {
            tracing::error!(
                reason = damaged.0,
                "the checkpoint is damaged: opening from the one before it"
            );
            Some(damaged)
        }
        None => None,
    };
    let (loaded, damaged) = match older()? {
        Some(Ok(loaded)) => (Some(loaded), damaged),
        Some(Err(older)) => (None, Some(damaged.unwrap_or(older))),
        None => (None, damaged),
    };
    let (state, place) = loaded.map_or((State::default(), None), |(state, place)| {
        (state, Some(place))
    });
    Ok(Loaded {
        state,
        place,
        keep_from: place.unwrap_or_default().file,
        damaged,
    })
}

type Read = Result<(State, Place), Damaged>;

fn read_checkpoint(folder: &Folder, path: PathBuf) -> Result<Option<Read>, RecoveryError> {
    if !folder.disk.exists(&path) {
        return Ok(None);
    }
    let bytes = read_all(&*folder.disk, &path)?;
    Ok(Some(checkpoint::decode(&bytes)))
}

struct Recovery<'a> {
    folder: &'a Folder,
    state: State,
    place: Option<Place>,
    replayed_from: u64,
    unwritten: Vec<Snapshot>,
}

impl Recovery<'_> {
    fn step(&mut self, step: Step) -> Result<(), RecoveryError> {
        match step {
            Step::Skip { .. } => {}
            Step::Attach { id } => {
                let head = self.head(id)?;
                self.state.attach(&head);
            }
            Step::Rebuild { from, end } => self.rebuild(from, end)?,
            Step::LoadActive { id } => self.load_active(id)?,
            Step::ScanActive { from, end } => {
                let logs = self.scan_entries(from, Trust::Sealed { end }, Some(end))?;
                for (log, entry) in logs.into_iter().flat_map(each) {
                    self.state.attach_active(log, entry);
                }
            }
            Step::Replay { from } => self.replay(from)?,
            Step::Seal { id, end, link } => self.seal(id, end, link)?,
        }
        Ok(())
    }

    fn head(&self, id: FileNumber) -> Result<Head, RecoveryError> {
        let head = self.folder.read_head(id)?;
        head.map_err(|damaged| corrupt(self.folder.index(id).display().to_string(), damaged.0))
    }

    fn rebuild(&mut self, from: Place, end: Option<u64>) -> Result<(), RecoveryError> {
        let trust = end.map_or(Trust::Tail, |end| Trust::Sealed { end });
        let mut logs = self.scan_entries(from, trust, end)?;
        logs.retain(|id, entries| self.state.needs(*id, entries));
        let logs = logs.into_iter().map(|(log, e)| (log, Arc::new(e)));
        let snapshot = Snapshot::of(from.file, end.unwrap_or_default(), logs.collect());
        self.state.attach(&snapshot.head);
        // Nothing to keep of a file that retention was taking away when the power went.
        if !snapshot.head.segments.is_empty() {
            self.write(snapshot)?;
        }
        Ok(())
    }

    /// Writes a sidecar, or keeps it: a restart must work on a full disk.
    fn write(&mut self, snapshot: Snapshot) -> Result<(), RecoveryError> {
        match snapshot.write(self.folder) {
            Ok(()) => {}
            Err(error) if is_full(&error) => self.unwritten.push(snapshot),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn scan_entries(
        &self,
        from: Place,
        trust: Trust,
        end: Option<u64>,
    ) -> Result<BTreeMap<LogId, Vec<Entry>>, RecoveryError> {
        let mut logs: BTreeMap<LogId, Vec<Entry>> = BTreeMap::new();
        let file = self.folder.handle(from.file)?;
        let reached = scan(&*file, from, trust, |frame| {
            entries_of(frame.lsn, frame.position, frame.payload, |log, entry| {
                logs.entry(log).or_default().push(entry);
            })
            .map_err(|Damaged(what)| corrupt(wal_name(from.file), what))
        })?;
        if end.is_some_and(|end| end != reached.position) {
            let reason = format!("frames are damaged at byte {}", reached.position);
            return Err(corrupt(wal_name(from.file), reason));
        }
        // Only the batches' own CRCs vouch for a sealed payload, not for the words before them: a bit there puts a batch into another log.
        match logs
            .iter()
            .find_map(|(log, entries)| gap(entries).map(|offset| (log, offset)))
        {
            None => Ok(logs),
            Some((log, offset)) => {
                let topic = self.state.topics.get(&log.topic);
                let topic = topic.map_or_else(|| log.topic.to_string(), |topic| topic.name.clone());
                let reason = format!(
                    "{topic}-{}: offset {offset} is not where it was",
                    log.partition
                );
                Err(corrupt(wal_name(from.file), reason))
            }
        }
    }

    fn load_active(&mut self, id: FileNumber) -> Result<(), RecoveryError> {
        for (log, segment) in self.head(id)?.segments {
            let entries = self.folder.read_entries(&segment)?;
            let entries = entries.map_err(|damaged| {
                corrupt(self.folder.index(id).display().to_string(), damaged.0)
            })?;
            for entry in entries {
                self.state.attach_active(log, entry);
            }
        }
        Ok(())
    }

    fn replay(&mut self, from: Place) -> Result<(), RecoveryError> {
        let file = self.folder.handle(from.file)?;
        if self.state.lsn != from.lsn {
            return Err(corrupt(
                wal_name(from.file),
                "its frames do not follow the file before",
            ));
        }
        let state = &mut self.state;
        let end = scan(&*file, from, Trust::Tail, |frame| {
            state
                .apply(frame.lsn, frame.position, frame.payload)
                .map_err(|Damaged(what)| corrupt(wal_name(from.file), what))
        })?;
        self.replayed_from = from.position;
        self.place = Some(end);
        Ok(())
    }

    /// A file that another one follows was synced up to where that one says, and to the frame that it names.
    fn seal(&mut self, id: FileNumber, end: u64, link: u32) -> Result<(), RecoveryError> {
        let reached = self.place.expect("a file is sealed after its replay");
        if (reached.position, reached.link) != (end, link) {
            let evidence = evidence(&*self.folder.handle(id)?, reached)?;
            return Err(RecoveryError::Damaged(Damage {
                file: self.folder.file(id),
                position: reached.position,
                synced: end,
                frames: evidence.map_or(0, |evidence| evidence.frames),
                last: false,
            }));
        }
        let snapshot = Snapshot::sidecar(&mut self.state, id, end);
        if self.folder.read_head(id)?.ok().as_ref() != Some(&snapshot.head) {
            self.write(snapshot)?;
        }
        Ok(())
    }
}

/// Where the batches of a log in one file do not follow one another (I3): segments say only where they begin and end.
fn gap(entries: &[Entry]) -> Option<Offset> {
    let mut pairs = entries.windows(2);
    pairs.find_map(|pair| {
        let due = pair[0].last.next();
        (pair[1].base != due).then_some(due)
    })
}

fn each((log, entries): (LogId, Vec<Entry>)) -> impl Iterator<Item = (LogId, Entry)> {
    entries.into_iter().map(move |entry| (log, entry))
}

#[cfg(test)]
mod tests;
