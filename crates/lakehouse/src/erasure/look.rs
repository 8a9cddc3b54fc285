//! What a table has of erased rows: in which files, and in which of its snapshots, branches and tags.
//!
//! All data files of all kept snapshots are looked into, each once: files do not change. A snapshot *holds* erased rows when it lists a
//! file with some, also as one that went with it, because what manifests say of a file has values of its rows.

use super::error::EraseError;
use super::files::{DataFile, Part, closed};
use super::record::Entry;
use crate::commit::listing::Listed;
use crate::commit::manifests;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::upkeep::compaction::files::look;
use crate::upkeep::refs::Refs;
use crate::view::Footers;
use crate::writer::runs::Run;
use iceberg::spec::{DataContentType, ManifestFile, Snapshot, TableMetadata};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Looks into tables, and remembers what it saw.
pub(super) struct Looker {
    files: Files,
    /// Of these entries.
    entries: Vec<Entry>,
    parts: HashMap<String, Part>,
    manifests: HashMap<String, Arc<Vec<Line>>>,
    footers: Footers,
}

/// A file in a manifest.
struct Line {
    path: String,
    is_alive: bool,
    content: DataContentType,
    listed: Listed,
}

/// What a table has of erased rows.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Snapshots that hold some.
    pub(super) holding: BTreeSet<i64>,
    /// Files with some that a kept snapshot lists, and those of equality deletes of such snapshots.
    pub(super) with: BTreeSet<String>,
    /// By branch how many rows its head shows.
    pub(super) rows: BTreeMap<String, u64>,
    /// How many files that is.
    pub(super) files: u64,
    /// Tags at a snapshot that holds some.
    pub(super) tags: BTreeMap<String, i64>,
}

impl Looked {
    /// Those that hold some and that no branch or tag names.
    pub(super) fn free(&self, refs: &Refs) -> Vec<i64> {
        let named: BTreeSet<i64> = refs.all().map(|(_, at)| at.snapshot_id).collect();
        self.holding.difference(&named).copied().collect()
    }
}

impl Looker {
    pub(super) fn new(files: Files, entries: Vec<Entry>) -> Looker {
        Looker {
            files,
            entries,
            parts: HashMap::new(),
            manifests: HashMap::new(),
            footers: Footers::default(),
        }
    }

    /// By partition of the log, where the rows of all files end that some snapshot lists.
    pub(super) fn ends(
        &mut self,
        metadata: &TableMetadata,
    ) -> Result<BTreeMap<(String, i32), i64>, EraseError> {
        let mut ends = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for snapshot in metadata.snapshots() {
            for line in self
                .lines(metadata, snapshot)?
                .iter()
                .flat_map(|lines| lines.iter())
            {
                let is_data = line.content == DataContentType::Data && line.is_alive;
                if !is_data || !seen.insert(line.path.clone()) {
                    continue;
                }
                // What is not there is told by whoever needs its rows.
                let Ok(Some(runs)) = self.footers.runs(&self.files, &line.path) else {
                    continue;
                };
                for run in runs.iter() {
                    let end = ends.entry((run.topic.clone(), run.partition)).or_default();
                    *end = run.last.saturating_add(1).max(*end);
                }
            }
        }
        Ok(ends)
    }

    /// What the whole table has.
    pub(super) fn table(&mut self, metadata: &TableMetadata) -> Result<Looked, EraseError> {
        let refs = Refs::of(metadata);
        let heads: BTreeSet<i64> = refs.all().map(|(_, at)| at.snapshot_id).collect();
        let mut listed: BTreeMap<i64, Vec<Arc<Vec<Line>>>> = BTreeMap::new();
        for snapshot in metadata.snapshots() {
            let lines = self.lines(metadata, snapshot)?;
            let is_head = heads.contains(&snapshot.snapshot_id());
            for line in lines.iter().flat_map(|lines| lines.iter()) {
                self.see(line, is_head)?;
            }
            listed.insert(snapshot.snapshot_id(), lines);
        }
        let mut looked = Looked::default();
        for (id, lines) in &listed {
            let lines = || lines.iter().flat_map(|lines| lines.iter());
            let has = |line: &&Line| self.rows_of(&line.path) > 0;
            if lines().any(|line| has(&line)) {
                looked.holding.insert(*id);
                let deletes = |line: &&Line| line.content == DataContentType::EqualityDeletes;
                let with = lines().filter(|line| has(line) || deletes(line));
                looked.with.extend(with.map(|line| line.path.clone()));
            }
        }
        let mut shown = BTreeSet::new();
        for (name, reference) in refs.all() {
            let lines = listed.get(&reference.snapshot_id).into_iter().flatten();
            let alive = lines
                .flat_map(|lines| lines.iter())
                .filter(|line| line.is_alive);
            if !reference.is_branch() {
                if looked.holding.contains(&reference.snapshot_id) {
                    looked.tags.insert(name.to_owned(), reference.snapshot_id);
                }
                continue;
            }
            let alive: Vec<&Line> = alive.collect();
            let deletes = alive
                .iter()
                .filter(|line| line.content == DataContentType::EqualityDeletes);
            let count = deletes.count();
            if count > 0 {
                let branch = name.to_owned();
                return Err(EraseError::EqualityDeletes { branch, count });
            }
            let rows = alive.iter().map(|line| self.rows_of(&line.path));
            looked.rows.insert(name.to_owned(), rows.sum());
            let with = alive.iter().filter(|line| self.rows_of(&line.path) > 0);
            shown.extend(with.map(|line| line.path.clone()));
        }
        looked.files = shown.len() as u64;
        Ok(looked)
    }

    /// What of a data file is erased.
    pub(super) fn part(&mut self, listed: &Listed) -> Result<Part, EraseError> {
        let path = listed.file.file_path();
        if let Some(known) = self.parts.get(path) {
            return Ok(known.clone());
        }
        let look = look(&self.files, listed)?.map_err(|why| closed(path, why))?;
        let file = DataFile {
            path,
            origins: &look.origins,
            sequence: Some(listed.sequence),
        };
        let entries: Vec<&Entry> = self.entries.iter().collect();
        let part = file.part(&self.files, &entries)?;
        self.parts.insert(path.to_owned(), part.clone());
        Ok(part)
    }

    /// The runs of a data file; `None` of another writer's.
    pub(super) fn runs(&self, path: &str) -> Result<Option<Arc<Vec<Run>>>, CatalogError> {
        self.footers.runs(&self.files, path)
    }

    fn rows_of(&self, path: &str) -> u64 {
        self.parts.get(path).map_or(0, Part::rows)
    }

    /// Looks into a file that a snapshot lists. One that only an old snapshot lists may be gone already.
    fn see(&mut self, line: &Line, is_head: bool) -> Result<(), EraseError> {
        let is_data = line.content == DataContentType::Data;
        if !is_data || !line.is_alive || self.parts.contains_key(&line.path) {
            return Ok(());
        }
        match self.part(&line.listed) {
            Err(error) if !is_head => {
                let is_there = self.files.exists(&line.path).map_err(CatalogError::from)?;
                match is_there {
                    true => Err(error),
                    false => Ok(()),
                }
            }
            seen => seen.map(drop),
        }
    }

    fn lines(
        &mut self,
        metadata: &TableMetadata,
        snapshot: &Snapshot,
    ) -> Result<Vec<Arc<Vec<Line>>>, EraseError> {
        let list = manifests::load_list(&self.files, metadata, snapshot)?;
        let lines = list.iter().map(|manifest| self.manifest(manifest));
        Ok(lines.collect::<Result<_, CatalogError>>()?)
    }

    fn manifest(&mut self, manifest: &ManifestFile) -> Result<Arc<Vec<Line>>, CatalogError> {
        if let Some(known) = self.manifests.get(&manifest.manifest_path) {
            return Ok(known.clone());
        }
        let read = manifests::load(&self.files, manifest)?;
        let line = |entry: &iceberg::spec::ManifestEntryRef| Line {
            path: entry.file_path().to_owned(),
            is_alive: entry.is_alive(),
            content: entry.content_type(),
            listed: Listed {
                spec_id: manifest.partition_spec_id,
                sequence: entry.sequence_number().unwrap_or(manifest.sequence_number),
                snapshot: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                file: entry.data_file().clone(),
            },
        };
        let lines: Arc<Vec<Line>> = Arc::new(read.entries().iter().map(line).collect());
        self.manifests
            .insert(manifest.manifest_path.clone(), lines.clone());
        Ok(lines)
    }
}
