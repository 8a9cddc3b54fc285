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
//! 5. What was replaced stays where it is, for the snapshots that list it. When they have expired, the [sweep](super::sweep)
//!    removes it.
//!
//! Appends meanwhile do no harm, nor does a compaction to them: whoever comes second loads the table again, and finds nothing in
//! the way. The copies are made once, however often their commit has to be [tried again](landing).

mod bins;
pub(crate) mod files;
mod landing;
mod plan;

pub(crate) use landing::{Outcome, Prepared};

use super::leftovers::{self, Leftover, REACH};
use super::sweep::{GRACE, Sweeper, Within};
use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::branch::Ref;
use crate::commit::change::{Made, Rewrite};
use crate::commit::listing::{Listed, Listing};
use crate::commit::publish::Publisher;
use crate::commit::rules::Rules;
use crate::commit::snapshot::check_version;
use crate::erasure::Erased;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::writer::replaced::Sealed;
use crate::writer::settings;
use bins::Small;
use files::Origins;
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, TableMetadata};
use lw_stdx::clock::Clock;
pub(crate) use plan::folder;
use plan::{Bin, Found, Groups, Lonely, Plan, limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a server compacts the table by itself, which it does unless this is `false`.
pub const ENABLED: &str = "lakeward.compaction.enabled";
/// So many small files become one; fewer where they fill it.
pub const MIN_INPUT_FILES: &str = "lakeward.compaction.min-input-files";
/// Iceberg's own number.
const MIN_FILES: usize = 5;
/// Bytes that one commit replaces, unless the first bin alone has more.
const MOST_BYTES: u64 = 512 << 20;
/// Heads that copies are offered to before they are given up: it is the copying that costs.
const ROUNDS: usize = 50;
/// Copies that are given up in a row, after which a table is left to those who change it.
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
    /// Why it was left half done, or not at all: what the last one met.
    pub gave_up: Option<String>,
    /// Small files that stay as they are, by the reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl Compacted {
    fn add(&mut self, more: &Compacted) {
        self.replaced += more.replaced;
        self.rows += more.rows;
        self.made += more.made;
        self.arrow_bytes += more.arrow_bytes;
        self.commits += 1;
        self.gave_up = None;
    }
}

/// Compacts tables of one catalog.
pub struct Compactor {
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    reach: i64,
    sweeper: Sweeper,
    /// Written, and not seen in their table.
    doubtful: Vec<(TableIdent, Leftover)>,
}

impl Compactor {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> Compactor {
        let mut publisher = Publisher::new(catalog, clock.clone(), ids, Rules::OURS);
        publisher.rounds = ROUNDS;
        Compactor {
            publisher,
            clock,
            reach: REACH,
            sweeper: Sweeper::new(GRACE),
            doubtful: Vec::new(),
        }
    }

    /// The two steps of a compaction by themselves: others come between them.
    #[cfg(test)]
    pub(crate) fn copies(&mut self, ident: &TableIdent) -> Result<Option<Prepared>, CatalogError> {
        let (_, prepared) = self.prepare(ident, Effort::Full, &mut || true)?;
        Ok(prepared)
    }

    /// With a wrong rule, a shorter reach, and no grace: simulations show that they would notice.
    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules, reach: i64) -> Compactor {
        self.publisher.rules = rules;
        self.reach = reach;
        self.sweeper.grace = std::time::Duration::ZERO;
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
        loop {
            let (found, prepared) = self.prepare(ident, effort, go_on)?;
            let so_far = done.get_or_insert_with(|| found.report(ident));
            let Some(prepared) = prepared else {
                so_far.gave_up = None;
                break;
            };
            let (more, is_all) = (prepared.report(), prepared.is_all);
            match self.publish(prepared)? {
                Outcome::Landed => {
                    so_far.add(&more);
                    in_a_row = 0;
                    // What came meanwhile is the next one's: or with a busy pipeline this would not end.
                    if is_all {
                        break;
                    }
                }
                Outcome::Conflict(why) => {
                    tracing::debug!(table = %ident, why, "others were in the way of a compaction");
                    so_far.conflicts += 1;
                    so_far.gave_up = Some(why);
                    in_a_row += 1;
                }
            }
            if in_a_row == CONFLICTS || effort == Effort::Steady || !go_on() {
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

    /// Removes data files that no snapshot lists any more: copies that came to nothing or were replaced, and those of the
    /// pipeline that fills the table, where it is said what that has sealed. Says how many. Only for a catalog that is this
    /// process's own. What a query may still read is remembered, and goes with a later sweep.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn sweep(
        &mut self,
        ident: &TableIdent,
        sealed: impl FnOnce() -> Option<Sealed>,
    ) -> Result<usize, CatalogError> {
        let within = Within {
            catalog: &*self.publisher.catalog,
            rules: &self.publisher.rules,
            reach: self.reach,
            now: self.clock.elapsed(),
        };
        self.sweeper.sweep(ident, &within, sealed)
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
            is_all: added.len() == plan.bins.len(),
            ident: ident.clone(),
            table: metadata.uuid(),
            rewrite: Rewrite::new(plan.sequence, removed, added),
            arrow_bytes,
        };
        Ok((plan.found, Some(prepared)))
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
        // Rows that go would be as new as those that they stand beside.
        if Erased::of(&table.metadata)?.shown() {
            let message = format!(
                "an erasure of the table {ident} is not done: `lakeward table erase {ident} --continue` goes on with it"
            );
            return Err(CatalogError::new(Kind::CommitFailed, message));
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
        oldest_first.retain(|one| one.file.file_size_in_bytes() < limits.large());
        let lonely = Lonely::among(&oldest_first, limits);
        let mut groups = Groups::default();
        let mut small = Vec::new();
        for listed in oldest_first {
            let look = if listing.is_hit(listed) {
                Err("rows may be deleted")
            } else if listing.doubled.contains(listed.file.file_path()) {
                Err("listed twice")
            } else if lonely.has(listed) {
                continue;
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
            let Some((made, memory)) =
                files::copy(files, metadata, &bin.files, None, location, go_on)?
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
