//! The log of a table: its versions, read in their order, and the next one, given its name first.
//!
//! The newest checkpoint and the versions after it say all. What a committer asks (protocol, columns, `txn`) is small and
//! stays in memory as a [`Snapshot`], moved on by reading the versions that came; which files the table has is only
//! collected for a checkpoint or a sweep ([`DeltaLog::contents`]), so that a table of any size costs no memory in between.
//!
//! Invariants. D1: a version's file is given its name by a link, which fails where there is one, so no version is overwritten.
//! D2: a snapshot is only moved on where the version that it is of still stands as it was read (else someone made the table again), and
//! a version is only missing where no checkpoint is of it or of a later one (else someone cleaned it away, and its name is not free).

use super::action::{self, Action, Add, Metadata, Protocol, Remove, Txn};
use super::checkpoint;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::Files;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

const FOLDER: &str = "_delta_log";
const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// Where a table is.
#[derive(Clone)]
pub(super) struct DeltaLog {
    pub(super) files: Files,
    /// Without a slash at its end.
    pub(super) location: String,
    ids: Ids,
}

/// A table as of one version, but for its files.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) version: i64,
    pub(super) protocol: Protocol,
    pub(super) metadata: Metadata,
    /// By id.
    pub(super) txns: BTreeMap<String, Txn>,
    /// The version's file; empty where it was cleaned up and only its checkpoint is there.
    newest: Bytes,
}

/// The files of a table.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) adds: BTreeMap<String, Add>,
    pub(super) removes: BTreeMap<String, Remove>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastCheckpoint {
    version: i64,
    /// Actions in it.
    size: u64,
    size_in_bytes: u64,
    num_of_add_files: u64,
}

/// As much of it as is asked for.
#[derive(Deserialize)]
struct Hint {
    version: i64,
}

/// What is in the log's folder.
#[derive(Default)]
struct Listing {
    commits: BTreeSet<i64>,
    /// Whole ones, with the names of their parts.
    checkpoints: BTreeMap<i64, Vec<String>>,
    /// There are checkpoints of the second version, which this one does not read.
    has_v2: bool,
    /// Files of ours that were not finished, or did not come by their name, with the versions that they were to be.
    parts: Vec<(i64, String)>,
}

/// All that was read so far.
#[derive(Default)]
struct Replay {
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: BTreeMap<String, Txn>,
    /// Only where they are asked for.
    contents: Option<Contents>,
}

impl DeltaLog {
    pub(super) fn new(files: Files, location: &str, ids: Ids) -> DeltaLog {
        DeltaLog {
            files,
            location: location.trim_end_matches('/').to_owned(),
            ids,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{FOLDER}/{name}", self.location)
    }

    /// The table as it is now; `None` where there is none.
    pub(super) fn load(&self) -> Result<Option<Snapshot>, CatalogError> {
        let listing = self.list()?;
        let Some(version) = listing.newest() else {
            return Ok(None);
        };
        let mut replay = Replay::default();
        let newest = self.replay(&listing, version, &mut replay)?;
        replay.into_snapshot(version, newest).map(Some)
    }

    /// As [`DeltaLog::load`]; where a snapshot is known, only what came after it is read.
    pub(super) fn refresh(
        &self,
        known: Option<Snapshot>,
    ) -> Result<Option<Snapshot>, CatalogError> {
        let Some(known) = known else {
            return self.load();
        };
        // D2, see the head of this file.
        if known.newest.is_empty()
            || self.version_bytes(known.version)?.as_ref() != Some(&known.newest)
        {
            return self.load();
        }
        let mut replay = Replay {
            protocol: Some(known.protocol),
            metadata: Some(known.metadata),
            txns: known.txns,
            contents: None,
        };
        let (mut version, mut newest) = (known.version, known.newest);
        while let Some(bytes) = self.version_bytes(version + 1)? {
            version += 1;
            replay.apply_all(action::read(&bytes, &version_name(version))?);
            newest = bytes;
        }
        // D2 again. The file says where the newest checkpoint was, which is the last thing that a cleaning leaves.
        if self.checkpointed()?.is_some_and(|newest| newest > version) {
            return self.load();
        }
        replay.into_snapshot(version, newest).map(Some)
    }

    /// The version of the newest checkpoint, by the file that names it; a hint, which may be missing or behind.
    pub(super) fn checkpointed(&self) -> Result<Option<i64>, CatalogError> {
        let bytes = match self.files.read(&self.path(LAST_CHECKPOINT)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Others may say more in it, and one that is being written says nothing.
        let hint: Result<Hint, _> = serde_json::from_slice(&bytes);
        Ok(hint.ok().map(|hint| hint.version))
    }

    /// Makes durable what names are in the log's folder, whoever put them there.
    pub(super) fn sync(&self) -> Result<(), CatalogError> {
        Ok(self
            .files
            .sync_folder(&format!("{}/{FOLDER}", self.location))?)
    }

    /// The files of the table in a version.
    pub(super) fn contents(&self, version: i64) -> Result<Contents, CatalogError> {
        let listing = self.list()?;
        let mut replay = Replay {
            contents: Some(Contents::default()),
            ..Replay::default()
        };
        self.replay(&listing, version, &mut replay)?;
        Ok(replay.contents.expect("it was asked for"))
    }

    /// Makes the next version, unless somebody else has: then it is `None`, and nothing happened.
    pub(super) fn put(
        &self,
        after: Option<&Snapshot>,
        actions: Vec<Action>,
    ) -> Result<Option<Snapshot>, CatalogError> {
        let version = after.map_or(0, |after| after.version + 1);
        let bytes = Bytes::from(action::write(&actions));
        let path = self.path(&version_name(version));
        if !self.files.write_new(&path, &bytes, self.ids.next())? {
            return Ok(None);
        }
        let mut replay = match after.cloned() {
            Some(after) => Replay {
                protocol: Some(after.protocol),
                metadata: Some(after.metadata),
                txns: after.txns,
                contents: None,
            },
            None => Replay::default(),
        };
        replay.apply_all(actions);
        replay.into_snapshot(version, bytes).map(Some)
    }

    /// Writes down all that the log says up to a version, so that readers need not read it from the start.
    pub(super) fn checkpoint(
        &self,
        snapshot: &Snapshot,
        keep_removed_since: i64,
    ) -> Result<(), CatalogError> {
        let mut contents = self.contents(snapshot.version)?;
        let young = |removed: &Remove| removed.deletion_timestamp.unwrap_or(0) > keep_removed_since;
        contents.removes.retain(|_, removed| young(removed));
        let name = format!("{:020}.checkpoint.parquet", snapshot.version);
        let adds = contents.adds.len() as u64;
        let file = self
            .files
            .create_apart(&self.path(&name), self.ids.next())?;
        let written = checkpoint::write(file, snapshot, contents)?;
        let last = LastCheckpoint {
            version: snapshot.version,
            size: written.actions,
            size_in_bytes: written.bytes,
            num_of_add_files: adds,
        };
        let text = serde_json::to_vec(&last).expect("it is plain data");
        let mut file = self
            .files
            .create_apart(&self.path(LAST_CHECKPOINT), self.ids.next())?;
        file.append(&text)?;
        file.finish()?;
        Ok(())
    }

    /// Removes what processes that died left unfinished. Of a version that is there nobody needs another file, so one that is
    /// still being written may go too.
    pub(super) fn sweep_parts(&self, newest: i64) -> Result<(), CatalogError> {
        let parts = self.list()?.parts.into_iter();
        for (_, name) in parts.filter(|(version, _)| *version <= newest) {
            self.files.remove(&self.path(&name))?;
        }
        Ok(())
    }

    /// Removes versions that were committed before a time, up to the newest checkpoint that was too: with that one, everything
    /// behind it can still be read. Returns how many files went.
    pub(super) fn clean(&self, before: i64) -> Result<usize, CatalogError> {
        let listing = self.list()?;
        let mut keep = None;
        for version in listing.checkpoints.keys() {
            match self.committed_at(*version)? {
                Some(at) if at < before => keep = Some(*version),
                _ => break,
            }
        }
        let Some(keep) = keep else {
            return Ok(0);
        };
        let commits = listing.commits.range(..keep).map(|at| version_name(*at));
        let parts = listing
            .checkpoints
            .range(..keep)
            .flat_map(|(_, parts)| parts);
        let gone: Vec<String> = commits.chain(parts.cloned()).collect();
        for name in &gone {
            self.files.remove(&self.path(name))?;
        }
        Ok(gone.len())
    }

    /// When a version was committed, as whoever made it says.
    fn committed_at(&self, version: i64) -> Result<Option<i64>, CatalogError> {
        let Some(bytes) = self.version_bytes(version)? else {
            return Ok(None);
        };
        let actions = action::read(&bytes, &version_name(version))?;
        Ok(actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => info.get("timestamp")?.as_i64(),
            _ => None,
        }))
    }

    /// The bytes of a version's file.
    fn version_bytes(&self, version: i64) -> Result<Option<Bytes>, CatalogError> {
        match self.files.read(&self.path(&version_name(version))) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> Result<Listing, CatalogError> {
        let entries = self
            .files
            .list(&format!("{}/{FOLDER}", self.location))?
            .into_iter();
        Ok(Listing::of(entries.map(|entry| entry.name)))
    }

    /// Reads what the log says up to a version; returns that version's file.
    fn replay(
        &self,
        listing: &Listing,
        version: i64,
        into: &mut Replay,
    ) -> Result<Bytes, CatalogError> {
        let checkpoint = listing.checkpoints.range(..=version).next_back();
        let mut next = 0;
        if let Some((at, parts)) = checkpoint {
            for part in parts {
                let bytes = self.files.read(&self.path(part))?;
                let with_files = into.contents.is_some();
                checkpoint::read(bytes, part, with_files, |action| into.apply(action))?;
            }
            next = at + 1;
        }
        let mut newest = match checkpoint {
            Some((at, _)) => self.version_bytes(*at)?.unwrap_or_default(),
            None => Bytes::new(),
        };
        while next <= version {
            let Some(bytes) = self.version_bytes(next)? else {
                return Err(self.missing(listing, next));
            };
            into.apply_all(action::read(&bytes, &version_name(next))?);
            newest = bytes;
            next += 1;
        }
        Ok(newest)
    }

    fn missing(&self, listing: &Listing, version: i64) -> CatalogError {
        let location = &self.location;
        if listing.has_v2 {
            return CatalogError::new(
                Kind::Unsupported,
                format!(
                    "the Delta log of {location} has checkpoints of version 2, which this version does not read"
                ),
            );
        }
        // Or somebody removed it while we read: then a checkpoint is found the next time.
        CatalogError::new(
            Kind::Internal,
            format!("version {version} is missing in the Delta log of {location}"),
        )
    }
}

impl Listing {
    fn of(names: impl Iterator<Item = String>) -> Listing {
        let mut listing = Listing::default();
        // (version, parts) → those that are there.
        let mut parts: BTreeMap<(i64, usize), BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let unfinished = name
                .strip_prefix('.')
                .filter(|name| name.ends_with(".part"));
            let (version, rest) = unfinished
                .unwrap_or(&name)
                .split_at_checked(20)
                .unwrap_or_default();
            let digits = version.bytes().all(|byte| byte.is_ascii_digit());
            let Some(version) = version.parse::<i64>().ok().filter(|_| digits) else {
                continue;
            };
            if unfinished.is_some() {
                listing.parts.push((version, name));
                continue;
            }
            match rest.split('.').collect::<Vec<_>>()[..] {
                ["", "json"] => {
                    listing.commits.insert(version);
                }
                ["", "checkpoint", "parquet"] => {
                    listing.checkpoints.insert(version, vec![name.clone()]);
                }
                ["", "checkpoint", part, of, "parquet"] => {
                    if let (Ok(_), Ok(of)) = (part.parse::<usize>(), of.parse::<usize>()) {
                        parts.entry((version, of)).or_default().insert(name.clone());
                    }
                }
                ["", "checkpoint", _, "json" | "parquet"] => listing.has_v2 = true,
                _ => {}
            }
        }
        for ((version, of), names) in parts {
            if names.len() == of {
                let names = names.into_iter().collect();
                listing.checkpoints.entry(version).or_insert(names);
            }
        }
        listing
    }

    fn newest(&self) -> Option<i64> {
        let checkpoint = self.checkpoints.keys().next_back();
        self.commits.iter().next_back().max(checkpoint).copied()
    }
}

impl Replay {
    fn apply_all(&mut self, actions: Vec<Action>) {
        actions.into_iter().for_each(|action| self.apply(action));
    }

    fn apply(&mut self, action: Action) {
        match (action, &mut self.contents) {
            (Action::Protocol(protocol), _) => self.protocol = Some(protocol),
            (Action::MetaData(metadata), _) => self.metadata = Some(metadata),
            (Action::Txn(txn), _) => {
                self.txns.insert(txn.app_id.clone(), txn);
            }
            (Action::Add(add), Some(contents)) => {
                contents.removes.remove(&add.path);
                contents.adds.insert(add.path.clone(), add);
            }
            (Action::Remove(removed), Some(contents)) => {
                contents.adds.remove(&removed.path);
                contents.removes.insert(removed.path.clone(), removed);
            }
            (Action::Add(_) | Action::Remove(_) | Action::CommitInfo(_), _) => {}
        }
    }

    fn into_snapshot(self, version: i64, newest: Bytes) -> Result<Snapshot, CatalogError> {
        let (Some(protocol), Some(metadata)) = (self.protocol, self.metadata) else {
            return Err(CatalogError::new(
                Kind::BadRequest,
                "the Delta log names no protocol or no columns",
            ));
        };
        Ok(Snapshot {
            version,
            protocol,
            metadata,
            txns: self.txns,
            newest,
        })
    }
}

fn version_name(version: i64) -> String {
    format!("{version:020}.json")
}
