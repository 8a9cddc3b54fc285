//! Snapshots that held erased rows end, and the files that had them go at once.
//!
//! Other than expiry, this asks for no number of snapshots to keep, and no hour of grace: a query that reads such a file fails with a word.
//! What branches and tags name stays (E1). The commit that ends the snapshots also writes down which files nobody lists then, so that
//! whoever goes on after a crash removes them.

use super::error::EraseError;
use super::files::DataFile;
use super::look::{Looked, Looker};
use super::record::{Entry, Erased, PROPERTY, Stage};
use super::{Eraser, Left, Pipelines};
use crate::catalog::LoadedTable;
use crate::commit::attempt::remove;
use crate::commit::branch::Ref;
use crate::commit::change::Change;
use crate::commit::listing::{last_name, named_by_any, named_by_kept};
use crate::commit::publish::{Published, Step};
use crate::error::CatalogError;
use crate::storage::Files;
use crate::upkeep::compaction::files::Origins;
use crate::upkeep::expiry::{is_inside, unnamed};
use crate::upkeep::leftovers;
use crate::upkeep::refs::Refs;
use crate::view::builder;
use crate::view::footers::runs_of;
use crate::writer::names::Stamp;
use crate::writer::orphans::{data_folder, find};
use crate::writer::replaced::pending;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

impl Eraser {
    /// Ends the snapshots; says how many.
    pub(super) fn expire(
        &mut self,
        ident: &TableIdent,
        ids: &[Uuid],
        looker: &mut Looker,
    ) -> Result<u64, EraseError> {
        let files = self.publisher.catalog.files().clone();
        let mut ended = BTreeSet::new();
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, _>, CatalogError> {
            let metadata = &*loaded.metadata;
            let looked = match looker.table(metadata) {
                Ok(looked) => looked,
                Err(EraseError::Catalog(error)) => return Err(error),
                Err(error) => return Ok(Step::Over(Err(error))),
            };
            if let Some((branch, _)) = looked.rows.iter().find(|(_, rows)| **rows > 0) {
                let why = format!("the branch '{branch}' shows rows of the key again");
                return Ok(Step::Over(Err(EraseError::Busy(why))));
            }
            let gone = looked.free(&Refs::of(metadata));
            let mut erased = Erased::of(metadata)?;
            let is_written =
                |entry: &Entry| !ids.contains(&entry.id) || entry.stage > Stage::Recorded;
            if gone.is_empty() && erased.entries().iter().all(is_written) {
                return Ok(Step::Over(Ok(())));
            }
            let going = going(&files, metadata, &gone, &looked)?;
            let of = erased
                .entries()
                .iter()
                .filter(|entry| ids.contains(&entry.id));
            for mut entry in of.cloned().collect::<Vec<Entry>>() {
                entry.stage = entry.stage.max(Stage::Rewritten);
                entry.going.extend(going.iter().cloned());
                erased = erased.with(entry);
            }
            ended.extend(gone.iter().copied());
            Ok(Step::Send(Change::Expire {
                gone,
                set: HashMap::from([(PROPERTY.to_owned(), erased.to_property())]),
            }))
        };
        let main = Ref::main();
        match self.publisher.publish(ident, &main, decide)? {
            Published::Over(answer) => answer?,
            Published::Landed(_) => {}
            Published::Busy(error) => return Err(EraseError::Busy(error.to_string())),
        }
        Ok(ended.len() as u64)
    }

    /// Removes the files that entries say are going, and files with erased rows that no snapshot lists; says how many, and which stay.
    pub(super) fn remove(
        &mut self,
        ident: &TableIdent,
        ids: &[Uuid],
        pipelines: &Pipelines<'_>,
    ) -> Result<(u64, Vec<Left>), EraseError> {
        let catalog = self.publisher.catalog.clone();
        let (files, metadata) = (catalog.files(), self.load(ident)?.metadata);
        let erased = Erased::of(&metadata)?;
        let mut gone: BTreeSet<String> = BTreeSet::new();
        for entry in erased
            .entries()
            .iter()
            .filter(|entry| ids.contains(&entry.id))
        {
            gone.extend(entry.going.iter().cloned());
        }
        let entries: Vec<&Entry> = erased
            .entries()
            .iter()
            .filter(|one| ids.contains(&one.id))
            .collect();
        let mut left = Vec::new();
        for path in unlisted(files, &metadata, &entries)? {
            match may_go(last_name(&path), &metadata, pipelines)? {
                Ok(()) => drop(gone.insert(path)),
                Err(why) => left.push(Left {
                    what: path,
                    why: why.to_owned(),
                }),
            }
        }
        let names: BTreeSet<String> = gone.iter().map(|path| last_name(path).to_owned()).collect();
        let load = || catalog.load(ident);
        let listed = named_by_kept(files, metadata.clone(), &load, &names)?;
        gone.retain(|path| !listed.contains(last_name(path)));
        let outside = |path: &&String| !is_inside(&metadata, path);
        for path in gone.iter().filter(outside) {
            let why =
                "it is outside of the table's location, and may be another table's".to_owned();
            left.push(Left {
                what: path.clone(),
                why,
            });
        }
        let mut there = Vec::new();
        for path in gone.into_iter().filter(|path| is_inside(&metadata, path)) {
            if files.exists(&path).map_err(CatalogError::from)? {
                there.push(path);
            }
        }
        remove(files, &there);
        // Or a crash would bring them back.
        let folders = there.iter().filter_map(|path| path.rsplit_once('/'));
        for folder in folders
            .map(|(folder, _)| folder)
            .collect::<BTreeSet<&str>>()
        {
            files.sync_folder(folder).map_err(CatalogError::from)?;
        }
        let mut removed = 0;
        for path in there {
            if files.exists(&path).map_err(CatalogError::from)? {
                let why = "it could not be removed".to_owned();
                left.push(Left { what: path, why });
            } else {
                removed += 1;
            }
        }
        Ok((removed, left))
    }

    /// Copies that came into no head.
    pub(super) fn clear(
        &self,
        ident: &TableIdent,
        copies: &super::heads::Copies,
    ) -> Result<(), CatalogError> {
        let catalog = &self.publisher.catalog;
        let metadata = catalog.load(ident)?.metadata;
        let paths: Vec<String> = copies
            .values()
            .map(|made| made.file.file_path().to_owned())
            .collect();
        let names: BTreeSet<String> = paths
            .iter()
            .map(|path| last_name(path).to_owned())
            .collect();
        let listed = named_by_kept(catalog.files(), metadata, &|| catalog.load(ident), &names)?;
        let unlisted = paths
            .into_iter()
            .filter(|path| !listed.contains(last_name(path)));
        remove(catalog.files(), &unlisted.collect::<Vec<String>>());
        Ok(())
    }
}

/// The files that nobody lists once these snapshots have ended: those with erased rows, and what listed them.
fn going(
    files: &Files,
    before: &TableMetadata,
    gone: &[i64],
    looked: &Looked,
) -> Result<Vec<String>, CatalogError> {
    let after = before.clone().into_builder(None).remove_snapshots(gone);
    let after = after.build()?.metadata;
    let mut going = unnamed(files, before, &after, gone)?;
    let names: BTreeSet<String> = looked
        .with
        .iter()
        .map(|path| last_name(path).to_owned())
        .collect();
    let stay = named_by_any(files, &after, &names)?;
    let data = looked
        .with
        .iter()
        .filter(|path| !stay.contains(last_name(path)));
    going.extend(data.cloned());
    going.sort_unstable();
    Ok(going)
}

/// Data files in the table's folder that have erased rows and that no snapshot lists.
fn unlisted(
    files: &Files,
    metadata: &TableMetadata,
    entries: &[&Entry],
) -> Result<Vec<String>, EraseError> {
    let folder = data_folder(metadata);
    if !is_inside(metadata, &folder) {
        return Ok(Vec::new());
    }
    let is_whole = |name: &str| name.ends_with(".parquet");
    let mut found = find(files, &folder, &is_whole)?;
    // One that is being written has no end yet.
    found.retain(|one| is_whole(&one.entry.name));
    let names: BTreeSet<String> = found.iter().map(|one| one.entry.name.clone()).collect();
    let listed = named_by_any(files, metadata, &names)?;
    let mut with = Vec::new();
    for one in found.iter().filter(|one| !listed.contains(&one.entry.name)) {
        let path = format!("{}/{}", one.folder, one.entry.name);
        let Ok(read) = builder(files, &path) else {
            // It went meanwhile, or is none.
            continue;
        };
        let origins = match runs_of(read.metadata(), &path)? {
            None => Origins::Foreign,
            Some(runs) if runs.is_empty() => Origins::Derived,
            Some(runs) => Origins::Listed(runs),
        };
        let file = DataFile {
            path: &path,
            origins: &origins,
            sequence: None,
        };
        if file.part(files, entries)?.rows() > 0 {
            with.push(path);
        }
    }
    Ok(with)
}

/// Whether nothing can bring a file of this name into the table any more; `Err` inside: why it stays.
fn may_go(
    name: &str,
    metadata: &TableMetadata,
    pipelines: &Pipelines<'_>,
) -> Result<Result<(), &'static str>, EraseError> {
    let table = metadata.uuid();
    if leftovers::parse(name).is_some_and(|(of, _)| of == table) {
        return Ok(Ok(()));
    }
    let Some(stamp) = Stamp::parse(name).filter(|stamp| stamp.table == table) else {
        return Ok(Err("no snapshot lists it, and another writer made it"));
    };
    let Some(manifests) = (pipelines.manifests)(stamp.pipeline) else {
        return Ok(Err(
            "no snapshot lists it, and what its pipeline has sealed cannot be read",
        ));
    };
    for manifest in &manifests {
        if pending(manifest)?.contains(name) {
            return Ok(Err("its pipeline has yet to commit it"));
        }
    }
    let is_over = manifests.iter().all(|manifest| {
        stamp.generation < manifest.generation || stamp.checkpoint <= manifest.checkpoint_id
    });
    Ok(match is_over {
        true => Ok(()),
        false => Err("its pipeline is about to seal it"),
    })
}

/// The table must be of a version that we erase from, and its files its own.
pub(super) fn check(metadata: &TableMetadata) -> Result<(), EraseError> {
    let version = metadata.format_version() as u8;
    if version != 2 {
        return Err(EraseError::Version(version));
    }
    match crate::upkeep::gc_is_enabled(metadata) {
        true => Ok(()),
        false => Err(EraseError::Kept),
    }
}
