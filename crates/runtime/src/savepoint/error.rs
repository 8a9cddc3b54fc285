//! Why a savepoint cannot be written or gone on from, with something to type.

use crate::manifest::Unreadable;
use std::fmt;
use thiserror::Error;

/// Why a savepoint cannot be written or gone on from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SavepointError {
    #[error("{folder} is no savepoint: {what}")]
    None { folder: String, what: NoSavepoint },
    #[error("the savepoint in {folder} has format {found}; this version reads format 1")]
    Newer {
        folder: String,
        found: u64,
        /// The version that wrote it.
        version: String,
    },
    #[error("the savepoint in {folder} is damaged: {why}")]
    Damaged { folder: String, why: String },
    #[error("the savepoint in {folder} cannot be gone on from: {why}")]
    Manifest { folder: String, why: Unreadable },
    #[error("{folder} is not empty")]
    Taken { folder: String },
    #[error("{path} cannot be written or read: {why}")]
    Disk { path: String, why: String },
    /// What is pending may be in the table or not.
    #[error("table '{table}' has not confirmed all commits of the pipeline")]
    Pending { table: String },
    #[error("{0}")]
    State(String),
    #[error("where the job that fills {tables} stands cannot be read: {why}")]
    Job { tables: String, why: String },
    #[error("the job that fills {tables} ended before it could be saved")]
    Ended { tables: String },
}

/// What is in the place of a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSavepoint {
    Nothing,
    Flinks,
    Unfinished,
    Other,
}

impl fmt::Display for NoSavepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoSavepoint::Nothing => "there is no folder of this name, or nothing is in it",
            NoSavepoint::Flinks => "Apache Flink made it, and its state is in Java's form",
            NoSavepoint::Unfinished => {
                "it has no savepoint.json, so its writing did not come to an end"
            }
            NoSavepoint::Other => "it has no savepoint.json",
        })
    }
}

impl SavepointError {
    /// Something to type; may be empty.
    pub fn hint(&self) -> String {
        match self {
            SavepointError::None { what, .. } => match what {
                NoSavepoint::Flinks => "Stop the Flink job, and run the script here into a new table, or from the offsets where it stopped ('scan.startup.mode' = 'specific-offsets').",
                NoSavepoint::Unfinished => "Remove the folder, and take the savepoint again: `lakeward pipeline savepoint NAME`.",
                NoSavepoint::Nothing | NoSavepoint::Other => "Give the folder that `lakeward pipeline savepoint` printed. It is one of the machine that the server runs on.",
            }.to_string(),
            SavepointError::Newer { version, .. } => format!("Start it with Lakeward {version}, which wrote it."),
            SavepointError::Damaged { .. } => "Take it from another copy, or take a new savepoint. Nothing was changed.".to_string(),
            SavepointError::Manifest { why: Unreadable::Damaged(_), .. } => "Take it from another copy, or take a new savepoint. Nothing was changed.".to_string(),
            SavepointError::Manifest { .. } => "Start it with the version of Lakeward that wrote it.".to_string(),
            SavepointError::Taken { .. } => "Give a folder that is not there yet, or is empty.".to_string(),
            SavepointError::Disk { .. } | SavepointError::State(_) | SavepointError::Job { .. } => String::new(),
            SavepointError::Pending { .. } => "Resume the pipeline, and take the savepoint once its commits get through: `lakeward pipeline show` says what keeps them.".to_string(),
            SavepointError::Ended { .. } => "`lakeward pipeline show` says why. Take the savepoint again when it runs or is stopped.".to_string(),
        }
    }
}
