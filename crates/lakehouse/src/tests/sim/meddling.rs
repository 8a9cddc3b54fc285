//! What others do to the table meanwhile, and what the table must then hold.
//!
//! For every snapshot the machine knows the rows: those of a foreign one because it was there when they were changed, those
//! of ours by the snapshot's own word, which is what its parent held and the offsets that its summary lists. Each is then read
//! by the specification and compared. So a delete that our commit undoes, a foreign file that it loses, and an entry that a
//! merge brings back are all seen, in the snapshot where it happens.

use super::job::{self, Fate, fate};
use super::{Machine, POWER_STAYS, Process, Said, Stop, few_kept, last_name};
use crate::catalog::NewTable;
use crate::commit::marker::{Marker, ranges_of_snapshot};
use crate::schema::table_schema;
use crate::tests::foreign::{Change, Engine, Row, THEIRS};
use crate::tests::world::{TABLE, World, columns, foreign_commit, ident};
use crate::{CatalogError, TableCatalog};
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, Snapshot, TableMetadata};
use lw_graph::Schema;
use lw_runtime::Commits;
use lw_runtime::connector::{ConnectorError, ErrorKind};
use rand::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Machine {
    /// A table that another engine made and wrote before the pipeline came.
    pub(super) fn history_of_others(&mut self, world: &World) -> Result<(), Stop> {
        self.disk.cause(POWER_STAYS);
        let spec = few_kept();
        let new = NewTable {
            schema: table_schema(&Schema::new(columns()), &[], FormatVersion::V2)?,
            properties: spec.properties.into_iter().collect(),
            partition_spec: None,
            format_version: FormatVersion::V2,
            location: None,
        };
        world.catalog.ensure_namespace(ident(TABLE).namespace())?;
        TableCatalog::create(&world.catalog, &ident(TABLE), new)?;
        self.history.push("others made the table".to_owned());
        for _ in 0..self.random.random_range(1..6) {
            self.rewritten_by_others(world)?;
        }
        if self.random.random_bool(0.5) {
            self.tagged_by_a_user(world)?;
        }
        Ok(())
    }

    /// Something that others do to a table that is there.
    pub(super) fn meddle(&mut self, process: &Process) -> Result<(), Stop> {
        let world = &process.world;
        if world.head()?.is_none() {
            return Ok(());
        }
        match self.random.random_range(0..8) {
            0 => {
                self.history.push("foreign commit".to_owned());
                let id = foreign_commit(&world.catalog, &world.ids)?;
                self.foreign.insert(id);
            }
            1 => {
                self.history.push("foreign commit to a branch".to_owned());
                world.try_branch_commit("audit")?;
            }
            2 | 3 => self.tagged_by_a_user(world)?,
            _ => self.rewritten_by_others(world)?,
        }
        Ok(())
    }

    fn tagged_by_a_user(&mut self, world: &World) -> Result<(), Stop> {
        let metadata = world.catalog.load(&ident(TABLE))?.metadata;
        let snapshots = metadata.snapshots();
        let mut ids: Vec<i64> = snapshots.map(|snapshot| snapshot.snapshot_id()).collect();
        ids.sort_unstable();
        let tagged = ids[self.random.random_range(0..ids.len())];
        self.history.push(format!("user tags {tagged}"));
        world.try_tag(&format!("tag-{tagged}"), tagged)?;
        self.tagged.insert(tagged);
        Ok(())
    }

    /// Another engine appends, overwrites, deletes or compacts. What it did must be known: the power stays on meanwhile.
    fn rewritten_by_others(&mut self, world: &World) -> Result<(), Stop> {
        self.disk.cause(POWER_STAYS);
        let held = self.held_by_head(world)?;
        let change = self.change(&held);
        self.history.push(format!("others: {change:?}"));
        let engine = Engine {
            catalog: &world.catalog,
            ids: &world.ids,
            totals: self.random.random_bool(0.5),
        };
        let id = engine.commit(&change)?;
        let mut holds = held;
        match change {
            Change::Append(rows) => holds.extend(rows),
            Change::Overwrite(rows) | Change::Delete(rows) => {
                holds.retain(|row| !rows.contains(row));
                let ours = rows.into_iter().filter(|row| row.0 != THEIRS);
                self.taken.extend(ours.map(|row| (row, Said::deleted())));
            }
            Change::Rewrite => {}
        }
        self.holds.insert(id, holds);
        self.foreign.insert(id);
        Ok(())
    }

    fn change(&mut self, held: &BTreeSet<Row>) -> Change {
        let kind = self.random.random_range(0..4);
        if kind == 0 || held.is_empty() {
            let count = self.random.random_range(1..4);
            self.theirs += count;
            return Change::Append(
                (self.theirs - count..self.theirs)
                    .map(|off| (THEIRS, off))
                    .collect(),
            );
        }
        let all: Vec<Row> = held.iter().copied().collect();
        let count = self.random.random_range(1..4);
        let picked: BTreeSet<Row> = (0..count)
            .map(|_| all[self.random.random_range(0..all.len())])
            .collect();
        let rows = picked.into_iter().collect();
        match kind {
            1 => Change::Overwrite(rows),
            2 => Change::Delete(rows),
            _ => Change::Rewrite,
        }
    }

    /// The rows of ours in the head.
    pub(super) fn rows(&mut self, world: &World) -> Result<Vec<Row>, CatalogError> {
        let metadata = world.catalog.load(&ident(TABLE))?.metadata;
        let Some(head) = metadata.current_snapshot() else {
            return Ok(Vec::new());
        };
        let files = world.catalog.files();
        let contents = self.reader.snapshot(files, &metadata, head)?;
        let rows = contents.rows.iter().copied();
        Ok(rows.filter(|row| row.0 != THEIRS).collect())
    }

    fn held_by_head(&mut self, world: &World) -> Result<BTreeSet<Row>, Stop> {
        let metadata = world.catalog.load(&ident(TABLE))?.metadata;
        let Some(head) = metadata.current_snapshot() else {
            return Ok(BTreeSet::new());
        };
        self.learn(&metadata)?;
        Ok(self.holds[&head.snapshot_id()].clone())
    }

    /// What the snapshots that came since the last look must hold.
    fn learn(&mut self, metadata: &TableMetadata) -> Result<(), Stop> {
        for snapshot in in_order(metadata) {
            let id = snapshot.snapshot_id();
            if self.holds.contains_key(&id) {
                continue;
            }
            let mut holds = match snapshot.parent_snapshot_id() {
                None => BTreeSet::new(),
                Some(parent) => self.holds.get(&parent).cloned().ok_or_else(|| {
                    Stop::Violation(format!("S9: {id} follows {parent}, which never was"))
                })?,
            };
            if Marker::of_snapshot(snapshot).is_some() {
                for range in ranges_of_snapshot(snapshot) {
                    let rows = (range.start..range.end).filter(|off| fate(*off) == Fate::Row);
                    holds.extend(rows.map(|off| (range.partition, off)));
                }
            }
            self.holds.insert(id, holds);
        }
        Ok(())
    }

    /// Whatever the table keeps can be read and holds what it must, and it keeps what others need.
    pub(super) fn harmless(&mut self, process: &Process) -> Result<(), Stop> {
        let mut late = process.network.tagged.lock().expect("nothing panics there");
        self.tagged.extend(late.drain(..));
        drop(late);
        let (catalog, violation) = (&process.world.catalog, |what| Err(Stop::Violation(what)));
        let files = catalog.files();
        let metadata = catalog.load(&ident(TABLE))?.metadata;
        self.learn(&metadata)?;
        for snapshot in in_order(&metadata) {
            let id = snapshot.snapshot_id();
            let damaged = |error| Stop::Violation(format!("S7: the kept {id} is damaged: {error}"));
            let contents = self
                .reader
                .snapshot(files, &metadata, snapshot)
                .map_err(damaged)?;
            for file in &contents.needs {
                if !files.exists(file).map_err(CatalogError::from)? {
                    return violation(format!("S7: the kept {id} needs {file}, which is gone"));
                }
            }
            if contents.rows.windows(2).any(|two| two[0] == two[1]) {
                let rows = &contents.rows;
                return violation(format!("S1: {id} has doubled rows: {rows:?}"));
            }
            if !contents.rows.iter().eq(&self.holds[&id]) {
                return violation(format!(
                    "S9: {id} holds {:?} and should hold {:?}",
                    contents.rows, self.holds[&id]
                ));
            }
            let totals = &snapshot.summary().additional_properties;
            if let Some(total) = totals.get("total-data-files")
                && *total != contents.data_files.to_string()
            {
                return violation(format!(
                    "S9: {id} has {} data files and says {total}",
                    contents.data_files
                ));
            }
            self.known
                .extend(contents.listed.iter().map(|file| last_name(file)));
        }
        let gone = |id: &&i64| metadata.snapshot_by_id(**id).is_none();
        if let Some(tagged) = self.tagged.iter().find(gone) {
            return violation(format!("S8: the tagged {tagged} is gone"));
        }
        if let Some(theirs) = self.foreign.iter().find(gone) {
            return violation(format!("S10: the foreign {theirs} is gone"));
        }
        Ok(())
    }

    /// At last a user upgrades the table to a version that we do not write: then it is left alone, in words.
    pub(super) fn upgraded(&mut self, process: &mut Process) -> Result<(), Stop> {
        if process.paused || self.rolled_back {
            return Ok(());
        }
        let violation = |what: String| Err(Stop::Violation(what));
        let Some(mut job) = process.job.take() else {
            return Ok(());
        };
        job::produce(&process.world.storage, 0, 5)?;
        job.poll(1 << 20)?;
        job.checkpoint()?;
        self.history.push("user upgrades the table".to_owned());
        let upgrade = TableUpdate::UpgradeFormatVersion {
            format_version: FormatVersion::V3,
        };
        process.world.commit(vec![upgrade]);
        let catalog = process.world.catalog.clone();
        let before = catalog.load(&ident(TABLE))?.metadata;
        let refused = |what: &str, result: Result<(), ConnectorError>| match result {
            Err(error) if error.kind == ErrorKind::Fix => Ok(()),
            other => Err(Stop::Violation(format!(
                "S11: version 3, and the {what}: {other:?}"
            ))),
        };
        match job.commit() {
            // It was made before the upgrade.
            Ok(false) => {
                job::produce(&process.world.storage, 0, 5)?;
                refused("sink", job.poll(1 << 20).and_then(|_| job.checkpoint()))?;
            }
            other => refused("commit", other.map(|_| ()))?,
        }
        drop(job);
        match self.start_job(process, Commits::WhenAsked) {
            Err(Stop::Violation(what)) if what.contains("version 3") => {}
            _ => return violation("S11: version 3, and a new job begins".to_owned()),
        }
        let after = catalog.load(&ident(TABLE))?.metadata;
        if !Arc::ptr_eq(&before, &after) && before != after {
            return violation("S11: the table of version 3 was changed".to_owned());
        }
        self.harmless(process)
    }
}

/// Parents before their children.
fn in_order(metadata: &TableMetadata) -> Vec<&Snapshot> {
    let mut all: Vec<&Snapshot> = metadata.snapshots().map(|snapshot| &**snapshot).collect();
    all.sort_unstable_by_key(|snapshot| snapshot.sequence_number());
    all
}
