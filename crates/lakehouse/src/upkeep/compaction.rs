//! Compaction: small files become few, with the same rows.
//!
//! A pipeline adds a file with each commit, and every reader opens all of them. So from time to time neighbours are copied into
//! one file, by these steps:
//!
//! 1. The head is listed. A file is *small* below three quarters of `write.target-file-size-bytes`; one that deletes may hide
//!    rows of stays as it is, they speak of it by its name.
//! 2. Small files go into [`bins`], oldest first: never across partitions, partition specs, or the schemas of files.
//! 3. Each bin is copied ([`files`]), its rows in their order, a batch at a time, into a file as the table's properties ask. Origins are put together: the audit verifies
//!    a compacted table row by row as before.
//! 4. The copies take the place of their bins in one commit, which [`conflicts`](crate::commit::conflicts) may still forbid:
//!    then it is begun again from the new head.
//! 5. What was replaced stays where it is, for the snapshots that list it. When they have expired it goes: copies as
//!    [`leftovers`](super::leftovers), like what came into no table, a pipeline's own files by
//!    [`replaced`](crate::writer::replaced).
//!
//! Appends meanwhile do no harm, nor does a compaction to them: a pipeline whose commit comes second loads the table again, and
//! finds nothing in its way.

mod bins;
mod files;
mod plan;

use super::leftovers::{self, Leftover, REACH};
use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::attempt::Fate;
use crate::commit::branch::Ref;
use crate::commit::change::{Change, Made, Rewrite};
use crate::commit::conflicts::{Conflict, Verdict};
use crate::commit::listing::{Listed, Listing};
use crate::commit::publish::{Published, Publisher, Step};
use crate::commit::rules::Rules;
use crate::commit::snapshot::check_version;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::writer::{replaced, settings};
use bins::Small;
use files::Origins;
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, TableMetadata};
use lw_runtime::manifest::Manifest;
use lw_stdx::clock::Clock;
use plan::{Bin, Found, Groups, Plan, folder, limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Whether a server compacts the table by itself, which it does unless this is `false`.
pub const ENABLED: &str = "lakeward.compaction.enabled";
/// So many small files become one; fewer where they fill it.
pub const MIN_INPUT_FILES: &str = "lakeward.compaction.min-input-files";
/// Iceberg's own number.
const MIN_FILES: usize = 5;
/// Bytes that one commit replaces, unless the first bin alone has more.
const MOST_BYTES: u64 = 512 << 20;
/// Conflicts in a row after which a table is left to those who change it.
const CONFLICTS: u32 = 3;
/// Files whose fate is asked for; older ones are found by their names.
const DOUBTFUL: usize = 32;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As few files as there can be, as somebody asks for it.
    Full,
    /// What pays: no row is copied more often than its file has doubled. Of other writers' files none.
    Steady,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    pub table: String,
    pub files_before: u64,
    pub bytes_before: u64,
    pub files_after: u64,
    /// `None`: nothing was written, so nobody knows.
    pub bytes_after: Option<u64>,
    /// Files that were replaced, and the rows in them.
    pub replaced: u64,
    pub rows: u64,
    pub made: u64,
    /// In memory, as they were copied.
    pub arrow_bytes: u64,
    pub commits: u64,
    /// Attempts that others were in the way of.
    pub conflicts: u64,
    /// Small files that stay as they are, by the reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// Compacts tables of one catalog.
pub struct Compactor {
    publisher: Publisher,
    reach: i64,
    /// Written, and not seen in their table.
    doubtful: Vec<(TableIdent, Leftover)>,
}

/// Files that were written, to be brought into their table.
pub(crate) struct Prepared {
    ident: TableIdent,
    table: Uuid,
    rewrite: Rewrite,
    arrow_bytes: u64,
}

/// What became of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Landed,
    Conflict(String),
}

impl Compactor {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> Compactor {
        Compactor {
            publisher: Publisher::new(catalog, clock, ids, Rules::OURS),
            reach: REACH,
            doubtful: Vec::new(),
        }
    }

    /// The two steps of a compaction by themselves: others come between them.
    #[cfg(test)]
    pub(crate) fn copies(&mut self, ident: &TableIdent) -> Result<Option<Prepared>, CatalogError> {
        let (_, prepared) = self.prepare(ident, Effort::Full, &mut || true)?;
        Ok(prepared)
    }

    /// With a wrong rule, or a shorter reach: simulations show that they would notice.
    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules, reach: i64) -> Compactor {
        self.publisher.rules = rules;
        self.reach = reach;
        self
    }

    /// What [`compact`](Compactor::compact) would do. Nothing is written.
    ///
    /// # Errors
    /// When the table cannot be read, or is one that we do not write.
    pub fn plan(&self, ident: &TableIdent, effort: Effort) -> Result<Compacted, CatalogError> {
        let plan = self.look(ident, effort)?;
        let replaced = plan.bins.iter().flat_map(|bin| &bin.files);
        let replaced: Vec<&Listed> = replaced.map(|(listed, _)| listed).collect();
        let (gone, made) = (replaced.len() as u64, plan.bins.len() as u64);
        Ok(Compacted {
            replaced: gone,
            rows: replaced.iter().map(|one| one.file.record_count()).sum(),
            made,
            files_after: plan.found.files - gone + made,
            bytes_after: (gone == 0).then_some(plan.found.bytes),
            ..plan.found.report(ident)
        })
    }

    /// Compacts a table, a part of it with each commit; ends early once `go_on` says so, which is asked with each batch of rows.
    ///
    /// # Errors
    /// When the table cannot be read or written, or a commit got no reply: then it may have landed or not.
    pub fn compact(
        &mut self,
        ident: &TableIdent,
        effort: Effort,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Compacted, CatalogError> {
        let mut done: Option<Compacted> = None;
        let mut in_a_row = 0;
        while in_a_row < CONFLICTS {
            let (found, prepared) = self.prepare(ident, effort, go_on)?;
            let so_far = done.get_or_insert_with(|| found.report(ident));
            let Some(prepared) = prepared else {
                break;
            };
            let (removed, added) = (prepared.rewrite.removed(), prepared.rewrite.added());
            let (replaced, made) = (removed.len() as u64, added.len() as u64);
            let rows: u64 = removed.iter().map(|one| one.file.record_count()).sum();
            let arrow_bytes = prepared.arrow_bytes;
            match self.publish(prepared)? {
                Outcome::Landed => {
                    so_far.replaced += replaced;
                    so_far.rows += rows;
                    so_far.made += made;
                    so_far.arrow_bytes += arrow_bytes;
                    so_far.commits += 1;
                    in_a_row = 0;
                }
                Outcome::Conflict(why) => {
                    tracing::info!(table = %ident, why, "a compaction is begun again");
                    so_far.conflicts += 1;
                    in_a_row += 1;
                }
            }
            if effort == Effort::Steady || !go_on() {
                break;
            }
        }
        let done = done.expect("there was a look");
        let (files, bytes) = match done.commits {
            0 => (done.files_before, done.bytes_before),
            _ => {
                let after = Found::of(&self.list(&self.load(ident)?.metadata)?);
                (after.files, after.bytes)
            }
        };
        Ok(Compacted {
            files_after: files,
            bytes_after: Some(bytes),
            ..done
        })
    }

    /// Removes data files of the pipeline of this manifest that were replaced, and that no kept snapshot lists any more; says how
    /// many. Only for a catalog that is this process's own, and a table that one job alone fills.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn remove_replaced(
        &self,
        ident: &TableIdent,
        manifest: impl FnOnce() -> Option<Manifest>,
    ) -> Result<usize, CatalogError> {
        let catalog = &self.publisher.catalog;
        let load = || catalog.load(ident);
        replaced::sweep(
            catalog.files(),
            load,
            manifest,
            self.publisher.rules.pending,
        )
    }

    /// Copies the first bins; `None` where none is worth it, or it was told to stop. Beside it what was found.
    fn prepare(
        &mut self,
        ident: &TableIdent,
        effort: Effort,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Found, Option<Prepared>), CatalogError> {
        let plan = self.look(ident, effort)?;
        let metadata = plan.table.metadata.clone();
        self.settle(ident, &metadata);
        if plan.bins.is_empty() {
            return Ok((plan.found, None));
        }
        let mut leftover = Leftover {
            table: metadata.uuid(),
            paths: Vec::new(),
            asked: None,
        };
        let copied = self.copy(&plan, &mut leftover.paths, go_on);
        let Ok(Some((removed, added, arrow_bytes))) = copied else {
            self.give_up(ident, leftover, &metadata);
            return copied.map(|_| (plan.found, None));
        };
        let prepared = Prepared {
            ident: ident.clone(),
            table: metadata.uuid(),
            rewrite: Rewrite::new(plan.sequence, removed, added),
            arrow_bytes,
        };
        Ok((plan.found, Some(prepared)))
    }

    /// Brings the copies into the table.
    ///
    /// # Errors
    /// When the table cannot be loaded, refuses us, or does not answer: then they may land yet.
    pub(crate) fn publish(&mut self, prepared: Prepared) -> Result<Outcome, CatalogError> {
        let Prepared {
            ident,
            table,
            rewrite,
            ..
        } = prepared;
        let (files, rules) = (self.publisher.catalog.files().clone(), self.publisher.rules);
        let (branch, reach, rewrite) = (Ref::main(), self.reach, &rewrite);
        let mut asked = None;
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, Verdict>, CatalogError> {
            let metadata = &loaded.metadata;
            if metadata.uuid() != table {
                return Ok(Step::Over(Verdict::Conflict(Conflict::Replaced)));
            }
            let head = Listing::of(&files, metadata, branch.head(metadata))?;
            let change = Change::Rewrite(rewrite);
            let next = metadata.next_sequence_number();
            Ok(match (rules.conflict)(&head, &change) {
                Verdict::Fits if next > rewrite.sequence() + reach => {
                    Step::Over(Verdict::Conflict(Conflict::Late))
                }
                Verdict::Fits => {
                    asked = Some(next);
                    Step::Send(change)
                }
                verdict => Step::Over(verdict),
            })
        };
        let published = self.publisher.publish(&ident, &branch, decide);
        let why = match published {
            Ok(Published::Landed(_) | Published::Over(Verdict::Landed)) => {
                return Ok(Outcome::Landed);
            }
            Ok(Published::Over(Verdict::Conflict(conflict))) => Ok(conflict.to_string()),
            Ok(Published::Over(Verdict::Fits)) => unreachable!("what fits is sent"),
            Ok(Published::Busy(error)) => Ok(error.to_string()),
            Err(error) => Err(error),
        };
        let paths = rewrite.added().iter();
        let leftover = Leftover {
            table,
            paths: paths.map(|made| made.file.file_path().to_owned()).collect(),
            asked,
        };
        match self.publisher.catalog.load(&ident) {
            Ok(loaded) => self.give_up(&ident, leftover, &loaded.metadata),
            Err(_) => self.doubtful.push((ident, leftover)),
        }
        why.map(Outcome::Conflict)
    }

    /// What came into no table goes, as soon as it can be told.
    fn give_up(&mut self, ident: &TableIdent, leftover: Leftover, metadata: &TableMetadata) {
        self.doubtful.push((ident.clone(), leftover));
        if self.doubtful.len() > DOUBTFUL {
            self.doubtful.remove(0);
        }
        self.settle(ident, metadata);
    }

    /// Removes the files of compactions that can no longer land, of this process and of others.
    fn settle(&mut self, ident: &TableIdent, metadata: &TableMetadata) {
        let (files, fate) = (
            self.publisher.catalog.files(),
            self.publisher.rules.leftover,
        );
        self.doubtful.retain(|(table, leftover)| {
            if table != ident {
                return true;
            }
            match leftover.settle(files, metadata, fate) {
                Ok(fate) => fate == Fate::Open,
                Err(error) => {
                    tracing::warn!(table = %ident, %error, "files of a compaction stay");
                    true
                }
            }
        });
        match leftovers::sweep(files, metadata, self.reach) {
            Ok(0) => {}
            Ok(files) => {
                tracing::info!(table = %ident, files, "files of old compactions were removed");
            }
            Err(error) => {
                tracing::warn!(table = %ident, %error, "files of old compactions stay");
            }
        }
    }

    fn load(&self, ident: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let table = self.publisher.catalog.load(ident)?;
        check_version(ident, &table.metadata)?;
        if table.metadata.format_version() == FormatVersion::V1 {
            let message = format!(
                "the table {ident} has Iceberg format version 1, which does not tell old rows from new ones: upgrade it to version 2"
            );
            return Err(CatalogError::new(Kind::Unsupported, message));
        }
        Ok(table)
    }

    fn list(&self, metadata: &TableMetadata) -> Result<Listing, CatalogError> {
        let files = self.publisher.catalog.files();
        Listing::of(files, metadata, Ref::main().head(metadata))
    }

    /// What there is to be done at the head.
    fn look(&self, ident: &TableIdent, effort: Effort) -> Result<Plan, CatalogError> {
        let table = self.load(ident)?;
        let metadata = &table.metadata;
        settings::check(metadata.properties()).map_err(|why| {
            let message = format!("the table {ident} cannot be compacted: {why}");
            CatalogError::new(Kind::BadRequest, message)
        })?;
        let listing = self.list(metadata)?;
        let mut found = Found::of(&listing);
        let limits = limits(metadata, effort);
        let mut oldest_first: Vec<&Listed> = listing.data.values().collect();
        oldest_first.sort_by_key(|one| one.sequence);
        let mut groups = Groups::default();
        let mut small = Vec::new();
        for listed in oldest_first {
            let bytes = listed.file.file_size_in_bytes();
            if bytes >= limits.large() {
                continue;
            }
            let look = if listing.is_hit(listed) {
                Err("rows may be deleted")
            } else if listing.doubled.contains(listed.file.file_path()) {
                Err("listed twice")
            } else {
                files::look(self.publisher.catalog.files(), listed)?
            };
            let look = match look {
                Ok(look) if effort == Effort::Steady && look.origins == Origins::Foreign => {
                    Err("of another writer")
                }
                look => look,
            };
            match look {
                Ok(look) => small.push((groups.of(listed, &look), listed, look)),
                Err(why) => *found.left_out.entry(why).or_default() += 1,
            }
        }
        let sizes = small.iter().map(|(group, one, look)| Small {
            group: *group,
            bytes: one.file.file_size_in_bytes(),
            runs: match &look.origins {
                Origins::Listed(runs) => runs.len(),
                Origins::Derived | Origins::Foreign => 0,
            },
        });
        let sizes: Vec<Small> = sizes.collect();
        let bin = |places: Vec<usize>| Bin {
            files: places
                .into_iter()
                .map(|place| (small[place].1.clone(), small[place].2.clone()))
                .collect(),
        };
        let bins = bins::bins(&sizes, limits).into_iter().map(bin).collect();
        Ok(Plan {
            sequence: Ref::main()
                .head(metadata)
                .map_or(0, |head| head.sequence_number()),
            bins,
            found,
            table,
        })
    }

    /// Copies bins, as many as one commit is to have. `None`: it was told to stop.
    #[expect(
        clippy::type_complexity,
        reason = "what goes, what comes, and how much that was"
    )]
    fn copy(
        &self,
        plan: &Plan,
        written: &mut Vec<String>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<(Vec<Listed>, Vec<Made>, u64)>, CatalogError> {
        let (files, metadata) = (self.publisher.catalog.files(), &plan.table.metadata);
        let (mut removed, mut added, mut arrow_bytes) = (Vec::new(), Vec::new(), 0);
        let mut bytes = 0;
        for bin in &plan.bins {
            let of_bin = bin
                .files
                .iter()
                .map(|(one, _)| one.file.file_size_in_bytes());
            bytes += of_bin.sum::<u64>();
            if bytes > MOST_BYTES && !added.is_empty() {
                break;
            }
            let name =
                leftovers::file_name(metadata.uuid(), plan.sequence, self.publisher.ids.next());
            let location = format!("{}/{name}", folder(metadata, &bin.files[0].0));
            written.push(location.clone());
            let Some((made, memory)) = files::copy(files, metadata, &bin.files, location, go_on)?
            else {
                return Ok(None);
            };
            arrow_bytes += memory;
            removed.extend(bin.files.iter().map(|(listed, _)| listed.clone()));
            added.push(made);
        }
        Ok(Some((removed, added, arrow_bytes)))
    }
}

/// Whether a server may compact the table by itself.
pub fn is_enabled(metadata: &TableMetadata) -> bool {
    let value = metadata.properties().get(ENABLED);
    value.is_none_or(|value| !value.trim().eq_ignore_ascii_case("false"))
}
