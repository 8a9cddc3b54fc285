//! What a connector is to the runtime: a source that can be positioned, a sink that seals, a committer that decides.
//!
//! L3 crates implement these traits, L5 hands them in through [`Connectors`]; the runtime knows no system by name.

use crate::chunk::{Chunk, DeadLetter, Split, SplitId};
use crate::manifest::{Manifest, Pending, Place, SplitOffset, TableChain, sink_name};
pub use crate::operator::LateRow;
use crate::origins::Origin;
use arrow_array::RecordBatch;
use lw_graph::{JobGraph, LateRows, LookupTable, Schema, SinkSpec, SourceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use uuid::Uuid;

/// What went wrong in a source, sink or committer, and what to do about it.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ConnectorError {
    pub kind: ErrorKind,
    /// Short, lower case, no full stop.
    pub message: String,
    /// Sentences with more; may be empty.
    pub detail: String,
    /// Something to type or to change; may be empty.
    pub hint: String,
}

/// Coarse kind of an error: what its receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again after a while: a reply was lost, a disk is full, a catalog is down.
    Retry,
    /// The user must change something (script, toml, table).
    Fix,
    /// Going on would leave records out for good: the user decides.
    Pause,
    /// Somebody changed a table, and rows do not fit it any more: nothing is lost, and the user changes it back, or the script.
    Misfit,
    /// A bug of ours, or damaged data.
    Bug,
}

impl ConnectorError {
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> ConnectorError {
        ConnectorError {
            kind,
            message: message.to_string(),
            detail: String::new(),
            hint: String::new(),
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> ConnectorError {
        self.detail = detail.into();
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> ConnectorError {
        self.hint = hint.into();
        self
    }
}

/// Records decoded from one poll.
#[derive(Debug, Default)]
pub struct Polled {
    /// Decoded rows with the output columns of the table that each batch is of; empty batches are left out.
    pub batches: Vec<Chunk>,
    pub dead_letters: Vec<DeadLetter>,
    /// How far each partition has come with this poll.
    pub progress: Vec<Progress>,
    /// A bounded source has delivered its last record.
    pub finished: bool,
    /// When the batches that rows are of were appended, in their order; a source that does not know says nothing.
    pub appended: Vec<Appended>,
}

/// When a batch was appended to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub split: SplitId,
    /// The offset behind its last record.
    pub to: i64,
    /// Milliseconds of a time that only goes forward, the same at every reading; 0 where nobody knows.
    pub at: i64,
}

impl Polled {
    /// What was decoded behind it.
    ///
    /// # Panics
    /// When a split's progress does not begin where it ended (L1).
    pub fn append(&mut self, later: Polled) {
        self.batches.extend(later.batches);
        self.dead_letters.extend(later.dead_letters);
        for later in later.progress {
            match self
                .progress
                .iter_mut()
                .find(|known| known.split == later.split)
            {
                Some(known) => {
                    assert_eq!(
                        known.to, later.from,
                        "L1: a split's progress has no hole and no overlap"
                    );
                    known.to = later.to;
                    known.control += later.control;
                    known.skipped += later.skipped;
                }
                None => self.progress.push(later),
            }
        }
        self.finished |= later.finished;
        self.appended.extend(later.appended);
    }
}

/// The offsets `[from, to)` of one split that a poll passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub split: SplitId,
    pub from: i64,
    pub to: i64,
    /// Offsets taken by control records (transaction markers).
    pub control: u64,
    /// Records without a value that the format passes over (tombstones): they count as filtered.
    pub skipped: u64,
}

/// A replayable input.
pub trait Source: Send {
    /// Positions the source: at `offsets` for the partitions named there. Where there are none at all, reading begins by the
    /// table's startup mode; a partition that is missing among others is new, and is read from its start.
    /// With `until` it reads exactly up to these offsets (nothing of partitions not named there) and then is finished.
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError>;
    /// From its positioning on, no poll reads over one of these offsets: it ends there, and the next one begins there. Who does
    /// not want all of what a poll gave needs to know what its counts are of.
    fn cut_at(&mut self, cuts: &[SplitOffset]);
    /// The ids of the topics that it was positioned in; a later poll fails when one of them is another topic by then.
    fn topics(&self) -> BTreeMap<String, Uuid> {
        BTreeMap::new()
    }
    /// Topics that have come since this was asked last, with their ids and where reading them ends: what is known of topics that come
    /// once and whole. It is written down with what is read of them.
    fn appeared(&mut self) -> Vec<(SplitOffset, Uuid)> {
        Vec::new()
    }
    /// Why nothing is read of a topic that is another one than its offsets are of, where that is not that it was made again.
    fn another(&self, _topic: &str) -> Option<ConnectorError> {
        None
    }
    /// Where a bounded read ends, as it was positioned; `None` for a read without an end.
    fn ends(&self) -> Option<Vec<SplitOffset>> {
        None
    }
    /// All splits, in the order of their [`SplitId`].
    fn splits(&self) -> Arc<[Split]>;
    /// Waits up to `timeout` for records and decodes about `max_bytes` of them.
    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError>;
    /// Reads records of the last poll again, for the dead letters of operators; only position, timestamp, key and value are
    /// set. A record that the log does not have any more becomes a letter without bytes.
    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError>;
    /// Next offset per split.
    fn positions(&self) -> Vec<SplitOffset>;
    /// Place of the last batch that was read; `None` before the first, and where the splits have no order between them.
    fn place(&self) -> Option<Place> {
        None
    }
    /// Whether the times of [`Polled::appended`] go on over restarts, and are the same at every reading.
    fn keeps_time(&self) -> bool {
        true
    }
    /// Records between the position and the end of the log, summed over the splits.
    fn lag(&self) -> u64;
}

/// A table that rows are looked up in, as it was at any of its versions.
pub trait LookupSource: Send {
    /// The version that it has now.
    fn newest(&mut self) -> Result<String, ConnectorError>;
    /// Whether a version can still be read.
    fn has(&mut self, version: &str) -> Result<bool, ConnectorError>;
    /// Gives all rows of a version, with these columns, in the types in which they are declared.
    fn read(
        &mut self,
        version: &str,
        columns: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError>;
}

/// What a seal made durable for one table.
#[derive(Debug)]
pub struct Staged {
    /// `namespace.table`.
    pub table: String,
    pub files: Vec<serde_json::Value>,
    pub rows: u64,
    pub bytes: u64,
    pub schema_id: i32,
}

/// What the name of a table's late rows ends in.
pub const LATE: &str = "__late";

/// An output. Rows become visible only through its [`Committer`].
pub trait Sink: Send {
    /// `namespace.table` of the main output, under which offsets are accounted even when a seal staged no file.
    fn table(&self) -> &str;
    /// The tables beside the main one that this sink fills (dead letters), whether they exist yet or not.
    fn side_tables(&self) -> Vec<String> {
        Vec::new()
    }
    /// Tells the sink, before anything is written, which manifest its process has taken over: files carry the generation and
    /// the checkpoint in their names, and what earlier processes left in no manifest can go.
    fn begin(&mut self, _manifest: &Manifest) -> Result<(), ConnectorError> {
        Ok(())
    }
    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError>;
    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError>;
    /// What it does with rows that come too late.
    fn late_rows(&self) -> LateRows {
        LateRows::Drop
    }
    /// Takes rows that came too late, with the records that they are of; only asked of a sink that keeps them.
    fn keep_late(
        &mut self,
        _rows: &[LateRow],
        _records: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// Is told of rows that came too late to be in what is written, whatever it does with them.
    fn late(&mut self, _rows: Vec<LateRow>) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// Bytes held in memory and not yet in a file.
    fn buffered_bytes(&self) -> usize;
    /// Makes everything written so far durable and says what has to be committed. Files are on disk when it returns.
    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError>;
}

/// Who commits: stands in every marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pipeline: Uuid,
    pub name: String,
}

/// The result of bringing a table up to date.
#[derive(Debug)]
pub enum CommitOutcome {
    /// The first `confirmed` entries of the chain are in the table (all of them, unless the chain was split).
    Confirmed {
        confirmed: usize,
        snapshot_id: Option<i64>,
    },
    /// Committing on would lose or double rows: the user decides (DESIGN §5.6).
    Paused(Pause),
}

/// Why a commit was not made, with the offset vectors that the user decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub table: String,
    /// One sentence: "the table was rolled back below the last commit of this pipeline".
    pub reason: String,
    /// Where the table ends, as readers of its head see it; empty when they see no commit of ours.
    pub table_offsets: Vec<SplitOffset>,
    /// Where the newest commit ever made ended; empty when the table remembers none.
    pub marker_offsets: Vec<SplitOffset>,
    /// Where the pipeline's checkpoint stands.
    pub checkpoint_offsets: Vec<SplitOffset>,
}

/// Commits a chain of pending commits to one table; decides from what the table says, never retries blindly.
///
/// The defaults are those of a sink whose output has no table to ask.
pub trait Committer: Send {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError>;
    /// What a table says of the commits that were made to it; `None` where there is no table to ask.
    fn standing(&mut self, _table: &str) -> Result<Option<Standing>, ConnectorError> {
        Ok(None)
    }
    /// Makes the next commit follow on the table as it now is; only the table's marker changes, no row comes or goes.
    fn restate(&mut self, _table: &str, _which: Restate) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// Whether the files of pending commits are still there, and mean the same in the table as it now is. A table that was
    /// dropped and created again may have other columns under the same names.
    fn can_commit(&mut self, _table: &str, _chain: &[Pending]) -> Result<bool, ConnectorError> {
        Ok(true)
    }
}

/// What a table says of the commits that were made to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest commit ever made to the branch. A rollback does not undo it.
    pub marker: Option<TableMarker>,
    /// The newest commit that readers of the head see: where the visible table ends.
    pub visible: Option<TableMarker>,
    /// The snapshot that `marker` names is the head or an ancestor of it.
    pub on_branch: bool,
    /// All snapshots down to the first are kept, so a commit that is not seen is not there.
    pub complete: bool,
    /// The lowest offset per partition that any kept snapshot accounts for, rolled back or not.
    pub starts: Vec<SplitOffset>,
    /// Ids of the plans that the table's history names: an audit asks what they mean.
    pub plans: BTreeSet<String>,
}

/// Which marker a table gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restate {
    /// The newest commit's, on the head as it now is: what a rollback took away stays away.
    Newest,
    /// That of the newest commit that is visible, or none: what a rollback took away is open again.
    Visible,
}

/// The marker that a table carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMarker {
    pub owner: Owner,
    pub uuid: Uuid,
    pub sequence: u64,
    pub ends: Vec<SplitOffset>,
}

impl TableMarker {
    /// Ends behind `other` on some partition: going on from there would read rows again that are accounted for here.
    pub fn outruns(&self, other: &TableMarker) -> bool {
        let behind = |end: &SplitOffset| {
            let mut others = other.ends.iter();
            let other = others.find(|other| other.same_split(end));
            other.is_none_or(|other| other.next < end.next)
        };
        self.ends.iter().any(behind)
    }
}

/// A sink with the committer of its tables.
pub type Output = (Box<dyn Sink>, Box<dyn Committer>);

/// A sink of a job, of which it may have several of one kind.
#[derive(Clone, Debug)]
pub struct NamedSink<'a> {
    /// The table of its `INSERT`.
    pub table: &'a str,
    /// Which of the script's `INSERT`s into that table it is of; 0 wherever it is a table.
    pub occurrence: usize,
    /// Id of the plan that computes the rows; only a job that runs says it.
    pub plan: Option<&'a str>,
    pub spec: &'a SinkSpec,
    /// The columns of the rows that it is given.
    pub schema: &'a Schema,
}

impl<'a> NamedSink<'a> {
    /// The sinks of a graph, with the tables, occurrences and plans of their `INSERT`s, in its order.
    pub(crate) fn all(
        graph: &'a JobGraph,
        inserts: impl Iterator<Item = (&'a str, usize, Option<&'a str>)>,
    ) -> impl Iterator<Item = NamedSink<'a>> {
        let sinks = inserts.zip(graph.sinks());
        sinks.map(|((table, occurrence, plan), (node, spec))| NamedSink {
            table,
            occurrence,
            plan,
            spec,
            schema: &graph.nodes[node].schema,
        })
    }

    /// What the job's manifest calls it.
    pub fn name(&self) -> String {
        sink_name(self.table, self.occurrence)
    }
}

/// Tables that are read together are of one log: its order is the order of their records, which every reading gives again.
pub fn not_of_one_log(tables: &[&str]) -> ConnectorError {
    let message = format!("tables {} are not of one log", tables.join(", "));
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("A query over several tables reads them in the order of the log that their topics are in; between two logs, or beside rows that are made up, there is none.")
        .hint("Bring the records into topics of one cluster first, each with an INSERT of its own.")
}

/// Makes connectors from specifications; given by the composition root.
pub trait Connectors: Send + Sync {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError>;
    /// One source of several tables, in the order of the log that they are of, behind those that are files. A chunk that it gives is
    /// of one of them.
    ///
    /// # Errors
    /// When they are not of one log, beside those of [`Connectors::source`].
    fn scans(&self, specs: &[&SourceSpec], group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        match specs {
            [one] => self.source(one, group),
            _ => {
                let tables: Vec<&str> = specs.iter().map(|spec| spec.table()).collect();
                Err(not_of_one_log(&tables))
            }
        }
    }
    /// The table that rows are looked up in.
    ///
    /// # Errors
    /// When it cannot be reached, or rows cannot be looked up in such a table here.
    fn lookup(&self, table: &LookupTable) -> Result<Box<dyn LookupSource>, ConnectorError> {
        let message = format!("no row can be looked up in table '{}' here", table.name);
        Err(ConnectorError::new(ErrorKind::Fix, message))
    }
    /// Creates the table if it is missing.
    fn sink(&self, sink: NamedSink<'_>, owner: &Owner) -> Result<Output, ConnectorError>;
    /// Publishes a pipeline's offsets as a consumer group, for lag tools. Best effort after the commit.
    fn publish_offsets(&self, group: &str, offsets: &[SplitOffset]);
}
