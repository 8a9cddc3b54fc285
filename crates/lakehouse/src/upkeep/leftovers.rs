//! Leftovers: files that a compaction wrote and that came into no table, or are in none any more.
//!
//! ```text
//! compacted-<table, 32 hex digits>-<sequence>-<uuid>.parquet        where the files are that it replaces
//! ```
//!
//! A compaction writes whole files before it asks for its commit, and what became of a request nobody knows from its reply (see
//! [`attempt`](crate::commit::attempt)). So a file goes only when the table, loaded again, shows that it is in none of the
//! snapshots that are kept, and that no request can bring it into one any more:
//!
//! 1. *While the process lives* it knows the newest sequence number that it asked for with these files. Once the table has given
//!    that one out, no such request can land.
//! 2. *Afterwards* the name is all there is. It says the sequence number of the snapshot that was read, and no request is made
//!    for one that is more than [`REACH`] beyond it.
//!
//! The second is asked by the [sweep](super::sweep), which also finds so the files of a compaction that a later one replaced, once the
//! last snapshot that lists them has expired.

use crate::catalog::LoadedTable;
use crate::commit::attempt::{Fate, remove};
use crate::commit::listing::{last_name, named_by_kept};
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::TableMetadata;
use std::sync::Arc;
use uuid::Uuid;

/// How many commits a table may have while one compaction of it is under way: 17 minutes of one a second.
pub(crate) const REACH: i64 = 1000;

const PREFIX: &str = "compacted-";
const SUFFIX: &str = ".parquet";

/// What is known of files that were sent to a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// The newest sequence number that was asked for with them; `None`: no request named them.
    pub(crate) asked: Option<i64>,
    /// A snapshot that the table keeps lists one of them.
    pub(crate) listed: bool,
    /// The newest sequence number that the table has given out.
    pub(crate) given: i64,
}

/// Only the dead leave files that may go.
pub(crate) fn fate(sent: &Sent) -> Fate {
    if sent.listed {
        Fate::Landed
    } else if sent.asked.is_none_or(|asked| sent.given >= asked) {
        Fate::Dead
    } else {
        Fate::Open
    }
}

/// Files that were written, and not seen in the table.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) table: Uuid,
    pub(crate) paths: Vec<String>,
    pub(crate) asked: Option<i64>,
}

impl Leftover {
    /// Removes the files when they are dead; says what they are.
    pub(crate) fn settle(
        &self,
        files: &Files,
        metadata: &Arc<TableMetadata>,
        load: &dyn Fn() -> Result<LoadedTable, CatalogError>,
        fate: fn(&Sent) -> Fate,
    ) -> Result<Fate, CatalogError> {
        if metadata.uuid() != self.table {
            return Ok(Fate::Open);
        }
        let names = self.paths.iter().map(|path| last_name(path).to_owned());
        let is_listed = || named_by_kept(files, metadata.clone(), load, &names.collect());
        let fate = fate(&Sent {
            asked: self.asked,
            // What nobody asked for is nowhere.
            listed: self.asked.is_some() && !is_listed()?.is_empty(),
            given: metadata.last_sequence_number(),
        });
        if fate == Fate::Dead {
            remove(files, &self.paths);
        }
        Ok(fate)
    }
}

/// What a new file is called.
pub(crate) fn file_name(table: Uuid, sequence: i64, id: Uuid) -> String {
    format!("{PREFIX}{}-{sequence}-{id}{SUFFIX}", table.simple())
}

/// The table and the sequence number in a name; `None` for every name that is not exactly one of ours.
pub(crate) fn parse(name: &str) -> Option<(Uuid, i64)> {
    let rest = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let mut parts = rest.splitn(3, '-');
    let table = Uuid::try_parse(parts.next()?).ok()?;
    let sequence = parts.next()?.parse().ok()?;
    let id = Uuid::try_parse(parts.next()?).ok()?;
    (file_name(table, sequence, id) == name).then_some((table, sequence))
}

/// Whether no request can bring a file of this name into the table any more.
pub(crate) fn is_out_of_reach(name: &str, metadata: &TableMetadata, reach: i64) -> bool {
    let given = metadata.last_sequence_number();
    parse(name).is_some_and(|(table, sequence)| {
        table == metadata.uuid() && given >= sequence.saturating_add(reach)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read() {
        let (table, id) = (Uuid::from_u128(5), Uuid::from_u128(9));
        let name = file_name(table, 12, id);
        let expected = "compacted-00000000000000000000000000000005-12-00000000-0000-0000-0000-000000000009.parquet";
        assert_eq!(name, expected);
        assert_eq!(parse(&name), Some((table, 12)));
        for foreign in [
            name.replace("compacted", "Compacted"),
            name.replace("-12-", "-012-"),
            name.replace("-12-", "-"),
            name.replace(".parquet", ".orc"),
            format!("x{name}"),
        ] {
            assert_eq!(parse(&foreign), None, "{foreign}");
        }
    }

    #[test]
    fn only_what_no_request_can_bring_in_any_more_is_dead() {
        let cases = [
            (None, false, 7, Fate::Dead),
            (Some(8), false, 7, Fate::Open),
            (Some(8), false, 8, Fate::Dead),
            (Some(8), true, 8, Fate::Landed),
            (Some(8), true, 7, Fate::Landed),
        ];
        for (asked, listed, given, expected) in cases {
            let sent = Sent {
                asked,
                listed,
                given,
            };
            assert_eq!(fate(&sent), expected, "{sent:?}");
        }
    }
}
