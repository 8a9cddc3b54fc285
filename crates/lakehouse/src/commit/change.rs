//! What a commit is to do to a table.
//!
//! A kind says what it adds and what it takes away; the [producer](super::snapshot::SnapshotProducer) makes a snapshot of it
//! (where a reference moves or columns change, there is none to make), and [`publish`](super::publish) brings that into the table. Whether it
//! still fits a table that others have changed since it was made is [`conflicts`](super::conflicts)' to say.

use super::listing::Listed;
use super::marker::Marker;
use super::moves::MoveRef;
use iceberg::spec::{DataFile, Schema};
use lw_runtime::manifest::Pending;
use std::collections::HashMap;

#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// Pending commits of a pipeline. Without any the snapshot holds what the head holds, and only the marker is new.
    Append {
        marker: Box<Marker>,
        pending: &'a [Pending],
    },
    /// The branch or tag begins, moves or ends; nothing is written, and there is no snapshot.
    MoveRef(MoveRef),
    /// The table's columns are these; nothing is written either.
    Columns(Box<Schema>),
    /// Properties of the table; no more than that.
    Properties {
        set: HashMap<String, String>,
        removed: Vec<String>,
    },
    /// The same rows in other files.
    Rewrite(&'a Rewrite),
    /// A branch that is not there yet begins as this snapshot is, without some of its rows.
    Fork {
        marker: Box<Marker>,
        /// What its snapshot says beside the marker.
        says: (&'static str, String),
        from: i64,
        without: &'a Removal,
    },
    /// `main` gets the rows of a branch in place of its own.
    Promote(Box<Promote<'a>>),
    /// Rows leave a branch for good.
    Erase(Box<Erase<'a>>),
    /// Snapshots end, and the table gets these properties.
    Expire {
        gone: Vec<i64>,
        set: HashMap<String, String>,
    },
}

/// A pending promotion, as it is for one head.
#[derive(Debug)]
pub(crate) struct Promote<'a> {
    pub(crate) marker: Marker,
    pub(crate) pending: &'a Pending,
    /// What its snapshot says beside the marker.
    pub(crate) says: (&'static str, String),
    /// What goes; `None`: it does not fit the head, and nothing comes either.
    pub(crate) without: Option<Removal>,
}

/// Rows that leave a branch for good, as that is for one head.
#[derive(Debug)]
pub(crate) struct Erase<'a> {
    /// The head's newest marker, stated once more: the snapshot that has it may end next. `None`: no pipeline ever wrote there.
    pub(crate) marker: Option<Marker>,
    /// What the branch's property says from then on, where that changes.
    pub(crate) property: Option<Marker>,
    /// What else its snapshot says.
    pub(crate) says: HashMap<String, String>,
    pub(crate) without: &'a Removal,
}

/// Rows that go: those of whole files, and of others some, whose remaining rows are copied.
#[derive(Debug)]
pub(crate) struct Removal {
    /// The sequence number of the snapshot that the rows were read from. The copies have it too: what was deleted later is deleted
    /// from them as well.
    pub(crate) sequence: i64,
    pub(crate) removed: Vec<Listed>,
    pub(crate) copies: Vec<Made>,
}

impl Removal {
    /// How many rows go.
    pub(crate) fn rows(&self) -> u64 {
        let gone = self.removed.iter().map(|one| one.file.record_count());
        let kept = self.copies.iter().map(|made| made.file.record_count());
        gone.sum::<u64>() - kept.sum::<u64>()
    }
}

/// Files that take the place of others.
#[derive(Debug)]
pub(crate) struct Rewrite {
    /// The sequence number of the snapshot that the rows were read from. The new files have it too: what was deleted later is
    /// deleted from them as well.
    sequence: i64,
    removed: Vec<Listed>,
    added: Vec<Made>,
}

/// A data file that no snapshot lists yet.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) spec_id: i32,
    pub(crate) file: DataFile,
}

impl Rewrite {
    /// # Panics
    /// When not as many rows come as go.
    pub(crate) fn new(sequence: i64, removed: Vec<Listed>, added: Vec<Made>) -> Rewrite {
        let gone: u64 = removed.iter().map(|one| one.file.record_count()).sum();
        let come: u64 = added.iter().map(|one| one.file.record_count()).sum();
        assert_eq!(gone, come, "C2: a rewrite keeps the number of rows");
        assert!(
            removed.iter().all(|one| one.sequence <= sequence),
            "C3: no row of a rewrite is newer than the snapshot that it was read from"
        );
        Rewrite {
            sequence,
            removed,
            added,
        }
    }

    pub(crate) fn sequence(&self) -> i64 {
        self.sequence
    }

    pub(crate) fn removed(&self) -> &[Listed] {
        &self.removed
    }

    pub(crate) fn added(&self) -> &[Made] {
        &self.added
    }
}
