//! What a commit decides, each decision a pure function of what was loaded.
//!
//! They are fields rather than calls for one reason: a simulation that finds nothing proves something only if it finds what
//! is planted, so tests swap one of them for a plausible shortcut and show that it is caught.

use super::attempt::{Attempt, Fate};
use super::change::Change;
use super::conflicts::{self, Verdict};
use super::decide::{Decision, Facts, decide};
use super::listing::Listing;
use super::snapshot;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::upkeep::expiry;
use crate::upkeep::leftovers::{self, Sent};
use crate::upkeep::refs::Refs;
use crate::writer::replaced;
use iceberg::TableIdent;
use iceberg::spec::{ManifestEntry, ManifestFile, TableMetadata};
use lw_runtime::manifest::Manifest;
use std::collections::BTreeSet;
use uuid::Uuid;

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// What is to be done about the pending commits.
    pub(crate) decide: fn(&Facts<'_, Uuid, i64>) -> Decision,
    /// Whether we write such a table at all.
    pub(crate) admit: fn(&TableIdent, &TableMetadata) -> Result<(), CatalogError>,
    /// What became of an earlier request.
    pub(crate) fate: fn(&Attempt, &Files, &TableMetadata) -> Result<Fate, CatalogError>,
    /// Whether the new snapshot lists a manifest that the head lists.
    pub(crate) carry: fn(&ManifestFile) -> bool,
    /// Whether a merged manifest keeps an entry.
    pub(crate) keep: fn(&ManifestEntry) -> bool,
    /// Whether a change still fits the head.
    pub(crate) conflict: fn(&Listing, &Change<'_>) -> Verdict,
    /// What became of a rewrite whose files nobody confirmed.
    pub(crate) leftover: fn(&Sent) -> Fate,
    /// Names of files that are still to be committed.
    pub(crate) pending: fn(&Manifest) -> Result<BTreeSet<String>, CatalogError>,
    /// Which snapshots end when one more becomes the head, at this time.
    pub(crate) expire: fn(&TableMetadata, &Refs, i64) -> Vec<i64>,
}

impl Rules {
    pub(crate) const OURS: Rules = Rules {
        decide,
        admit: snapshot::check_version,
        fate: Attempt::fate,
        carry: |manifest| manifest.has_added_files() || manifest.has_existing_files(),
        keep: ManifestEntry::is_alive,
        conflict: conflicts::check,
        leftover: leftovers::fate,
        pending: replaced::pending,
        expire: expiry::expired,
    };
}
