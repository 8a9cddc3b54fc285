//! Data files of a pipeline that compactions replaced, or that others took out of the table: which of them can go.
//!
//! As with [`orphans`](super::orphans), the name and the manifest decide. A file of this pipeline and table, of a generation and
//! checkpoint that are no later than the manifest's, was sealed into a manifest. If it is not pending any more, its commit
//! was confirmed, or a word gave it up; either way nothing will commit it again, because the catalog is this
//! process's own: no request of before is under way to it. If no kept snapshot lists it then, nobody can read it from now on.
//!
//! A pipeline also keeps the manifests of `INSERT`s that its script had once, for the case that they come back. What those have
//! pending stays as well.

use super::names::Stamp;
use crate::commit::listing::last_name;
use crate::error::CatalogError;
use crate::staged;
use lw_runtime::manifest::Manifest;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What the job that alone fills a table has sealed, and what may yet be committed.
#[derive(Debug)]
pub struct Sealed {
    /// The job's.
    pub manifest: Manifest,
    /// Of other jobs that the pipeline has or had.
    pub beside: Vec<Manifest>,
}

impl Sealed {
    /// Whether a file of this name was sealed into the manifest or one before it, for this table.
    pub(crate) fn has_sealed(&self, name: &str, table: Uuid) -> bool {
        Stamp::parse(name).is_some_and(|stamp| {
            stamp.pipeline == self.manifest.pipeline
                && stamp.table == table
                && stamp.generation <= self.manifest.generation
                && stamp.checkpoint <= self.manifest.checkpoint_id
        })
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.beside.iter().chain([&self.manifest])
    }
}

/// Whether some pipeline wrote a file of this name for the table.
pub(crate) fn is_of(name: &str, table: Uuid) -> bool {
    Stamp::parse(name).is_some_and(|stamp| stamp.table == table)
}

/// Names of the files that pending commits name, to whichever tables of the job.
pub(crate) fn pending(manifest: &Manifest) -> Result<BTreeSet<String>, CatalogError> {
    let commits = manifest.chains().flat_map(|(_, chain)| &chain.chain);
    let files = commits.flat_map(|pending| &pending.files);
    files
        .map(|file| Ok(last_name(staged::path(file)?).to_owned()))
        .collect()
}
