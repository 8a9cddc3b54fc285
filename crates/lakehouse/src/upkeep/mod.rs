//! Upkeep: what keeps a table small while a pipeline commits to it for months.
//!
//! The first law is that nothing is harmed that we did not make: snapshots, files and statistics of others go only when
//! the table's own settings ask for that, and no file outside the table's location is ever removed.

pub mod compaction;
pub(crate) mod expiry;
pub(crate) mod leftovers;
pub(crate) mod refs;
pub(crate) mod sweep;

use iceberg::spec::TableMetadata;

/// Iceberg's word for "these files may be another table's".
pub(crate) const GC_ENABLED: &str = "gc.enabled";

/// Whether snapshots may be expired and files purged, as Iceberg's engines read the property: where it is there and is not
/// `true`, in whatever case, they may not. The sweep of our own aborted files asks nothing of it: as with Iceberg's writers,
/// what never was in a table is not its garbage.
pub(crate) fn gc_is_enabled(metadata: &TableMetadata) -> bool {
    let value = metadata.properties().get(GC_ENABLED);
    value.is_none_or(|value| value.eq_ignore_ascii_case("true"))
}
