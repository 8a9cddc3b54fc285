//! Why a request about a pipeline is refused, with something to type.

use super::record::Unreadable;
use super::state::StateFate;
use super::takeover::Refusal;
use crate::connector::ConnectorError;
use crate::manifest::SplitOffset;
use crate::savepoint::SavepointError;
use crate::store::StoreError;
use lw_storage::CommitError;
use thiserror::Error;

/// Why a request about a pipeline was refused.
#[derive(Debug, Error)]
pub enum PipelineError {
    #[error("there is no pipeline '{name}'")]
    Unknown { name: String, known: Vec<String> },
    #[error("pipeline '{name}' exists with another script")]
    Differs { name: String, difference: String },
    #[error("table '{table}' is written by pipeline '{owner}'")]
    Owned { table: String, owner: String },
    #[error("table '{table}' carries the marker of pipeline '{owner}'")]
    ForeignMarker {
        table: String,
        owner: String,
        ends: Vec<SplitOffset>,
    },
    #[error("pipeline '{name}' cannot be rewound: {refusal}")]
    CannotRewind { name: String, refusal: Refusal },
    #[error(
        "pipeline '{name}' has the state of aggregates, which is of the offsets that it stands at"
    )]
    HasState { name: String },
    #[error("the new script would drop what pipeline '{name}' has counted")]
    WouldDropState {
        name: String,
        dropped: Vec<StateFate>,
    },
    #[error("the new script drops no state of operator '{uid}'")]
    NoState {
        uid: String,
        dropped: Vec<StateFate>,
    },
    #[error("pipeline '{name}' is there already")]
    Exists { name: String },
    #[error("pipeline '{name}' is a replay")]
    IsReplay {
        name: String,
        table: String,
        branch: String,
    },
    #[error("replay '{name}' cannot be promoted")]
    NotPromoted { name: String, why: String },
    #[error("table '{table}' is not where the savepoint left it")]
    TableElsewhere {
        table: String,
        savepoint: String,
        newest: String,
        visible: String,
    },
    #[error("the savepoint is of another topic '{topic}'")]
    OtherLog { topic: String },
    #[error("{0}")]
    Savepoint(#[from] SavepointError),
    #[error("pipeline '{name}' cannot be read: {reason}")]
    Unreadable { name: String, reason: String },
    #[error("the script has no INSERT INTO, so there is nothing to run")]
    Nothing,
    #[error("{0}")]
    Connector(ConnectorError),
    #[error("the pipeline's record cannot be written")]
    Storage(#[source] CommitError),
    #[error("{0}")]
    Manifest(#[from] StoreError),
}

impl From<Unreadable> for PipelineError {
    fn from(unreadable: Unreadable) -> PipelineError {
        PipelineError::Unreadable {
            name: unreadable.name,
            reason: unreadable.reason,
        }
    }
}

impl PipelineError {
    /// Something to type.
    pub fn hint(&self) -> String {
        match self {
            PipelineError::Unknown { known, .. } if known.is_empty() => "No pipeline exists yet: `lakeward run FILE.sql` makes one.".into(),
            PipelineError::Unknown { known, .. } => format!("Pipelines: {}.", known.join(", ")),
            PipelineError::Differs { .. } => "Add --replace to let the new text take over at the same offsets, or give it another name with SET 'pipeline.name' = '…'.".into(),
            PipelineError::Owned { owner, .. } => format!("One pipeline writes a table. `lakeward pipeline drop {owner}` ends the other one."),
            PipelineError::ForeignMarker { .. } => "Add --adopt to go on at the marker's offsets, or write to another table.".into(),
            PipelineError::Unreadable { name, .. } => format!("Start the version of Lakeward that wrote it. `lakeward pipeline drop {name}` gives the name and its tables free."),
            PipelineError::HasState { .. } => "What its windows have counted cannot be taken back or passed over. Drop the pipeline (`lakeward pipeline drop`) and run its script anew, into another table or after emptying this one.".into(),
            PipelineError::WouldDropState { dropped, .. } => format!("Add {} to let it go: what takes its place begins empty where the pipeline stands. Or leave the query as it is, and give the new one a table and a pipeline of its own.", flags(dropped)),
            PipelineError::NoState { dropped, .. } if dropped.is_empty() => "Leave --drop-state out.".into(),
            PipelineError::NoState { dropped, .. } => format!("It drops {}.", flags(dropped)),
            PipelineError::Exists { name } => format!("Add --replace to put it back to where the savepoint stands, or give the script another name with SET 'pipeline.name' = '…', or drop the one that is there: `lakeward pipeline drop {name}`."),
            PipelineError::IsReplay { table, branch, .. } => format!("`lakeward replay {table} --branch {branch}` goes on with it; another range or script needs another branch."),
            PipelineError::NotPromoted { .. } => "`lakeward pipeline list` shows what runs, and how far replays are.".into(),
            PipelineError::TableElsewhere { .. } => "Roll the table back to the snapshot of the savepoint's last commit (`lakeward table show` lists them with their offsets), or let the script fill another table, from the beginning.".into(),
            PipelineError::OtherLog { .. } => "Start it on the log that it was taken of: offsets mean nothing in another one. Elsewhere, run the script from the beginning.".into(),
            PipelineError::Savepoint(error) => error.hint(),
            PipelineError::CannotRewind { name, .. } => format!("`lakeward pipeline resume {name} --adopt` goes on without reading them again."),
            PipelineError::Connector(error) => error.hint.clone(),
            PipelineError::Nothing => "Add an INSERT INTO … SELECT statement, or use `lakeward sql -e` for a query.".into(),
            PipelineError::Manifest(error) => error.hint(),
            PipelineError::Storage(_) => String::new(),
        }
    }

    /// Sentences with more.
    pub fn detail(&self) -> String {
        match self {
            PipelineError::Differs { difference, .. } => difference.clone(),
            PipelineError::ForeignMarker { ends, .. } => format!(
                "The table ends at {}. A new pipeline would write those records a second time.",
                offsets_text(ends)
            ),
            PipelineError::TableElsewhere { savepoint, newest, visible, .. } => format!(
                "The savepoint left it at {savepoint}; its newest commit ends at {newest}, and readers see it up to {visible}. Going on would write records a second time, or leave some out."
            ),
            PipelineError::NotPromoted { why, .. } => {
                let (first, rest) = why.split_at(1);
                format!("{}{rest}.", first.to_uppercase())
            }
            PipelineError::IsReplay { table, branch, .. } => format!("It computes a range of offsets into the branch '{branch}' of {table}, and is done with it once."),
            PipelineError::OtherLog { .. } => "A topic of this name is there, with another id: it was deleted and created again, or it is of another server.".into(),
            PipelineError::WouldDropState { dropped, .. } => {
                let lost = dropped.iter().map(|it| {
                    format!(
                        "{} {}, which fills {}",
                        it.operator,
                        it.uid,
                        it.tables.join(", ")
                    )
                });
                let lost = lost.collect::<Vec<String>>().join("; ");
                format!(
                    "The script has no operator any more for the state of {lost}: its open windows would be lost with all that is read already."
                )
            }
            PipelineError::Unreadable { .. } => {
                "Its record and its checkpoints are kept as they are.".into()
            }
            PipelineError::Connector(error) => error.detail.clone(),
            PipelineError::Storage(error) => error.to_string(),
            _ => String::new(),
        }
    }
}

/// `--drop-state 0123456789abcdef --drop-state …`
fn flags(dropped: &[StateFate]) -> String {
    let flags = dropped.iter().map(|it| format!("--drop-state {}", it.uid));
    flags.collect::<Vec<String>>().join(" ")
}

/// `topic[0]@5, topic[1]@7`, shortened after eight partitions.
pub fn offsets_text(offsets: &[SplitOffset]) -> String {
    const SHOWN: usize = 8;
    if offsets.is_empty() {
        return "no offsets".into();
    }
    let mut shown: Vec<String> = offsets
        .iter()
        .take(SHOWN)
        .map(|offset| format!("{}[{}]@{}", offset.topic, offset.partition, offset.next))
        .collect();
    if offsets.len() > SHOWN {
        shown.push(format!("… ({} partitions)", offsets.len()));
    }
    shown.join(", ")
}
