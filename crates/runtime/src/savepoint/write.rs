//! Writes a savepoint: the files of state of each job, then what says what they are, and `savepoint.json` last.

use super::{
    ABOUT, About, FORMAT, Files, PLANS, SCRIPT, STATE, SavedInsert, SavedJob, SavepointError, Sum,
    pending, state_files, state_name,
};
use crate::manifest::Manifest;
use crate::pipelines::PlanText;
use lw_stdx::disk::{Disk, Entry, write_atomic};
use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;

/// The pipeline that a savepoint is of.
pub(crate) struct Saved<'a> {
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) plans: &'a [PlanText],
    pub(crate) settings: &'a BTreeMap<String, String>,
    pub(crate) inserts: Vec<SavedInsert>,
    /// Wall clock, milliseconds since 1970.
    pub(crate) created_ms: i64,
}

/// Begins a savepoint, with its script, so that nobody else takes the folder.
///
/// # Errors
/// [`SavepointError::Taken`] where a file is in the folder already, and what the disk says.
pub(crate) fn reserve(disk: &dyn Disk, folder: &Path, sql: &str) -> Result<(), SavepointError> {
    let there = |folder: &Path| disk.list(folder).unwrap_or_default();
    // A savepoint that was given up leaves the folders.
    let is_own = |entry: &Entry| {
        entry.is_dir && entry.name == STATE && there(&folder.join(STATE)).is_empty()
    };
    match there(folder).iter().all(is_own) {
        true => put(disk, folder, SCRIPT, sql.as_bytes()),
        false => Err(SavepointError::Taken {
            folder: folder.display().to_string(),
        }),
    }
}

/// Removes what was written of a savepoint that does not come to an end. What stays has no `savepoint.json`, and so is none.
pub(crate) fn discard(disk: &dyn Disk, folder: &Path) {
    for folder in [folder.to_path_buf(), folder.join(STATE)] {
        let files = disk.list(&folder).unwrap_or_default().into_iter();
        for file in files.filter(|entry| !entry.is_dir) {
            let path = folder.join(file.name);
            if let Err(error) = disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "a file of an unfinished savepoint stays");
            }
        }
    }
}

/// Copies the files of state that a manifest names, from where the job has them. They are durable when it returns.
///
/// # Errors
/// When one is damaged, or the disk says so; and when a commit is pending.
pub(crate) fn write_state(
    disk: &dyn Disk,
    states: &Path,
    folder: &Path,
    manifest: &Manifest,
) -> Result<Files, SavepointError> {
    if let Some(table) = pending(manifest) {
        let table = table.to_string();
        return Err(SavepointError::Pending { table });
    }
    let mut files = Files::new();
    for file in state_files(manifest) {
        let read = file.read(disk, states);
        let bytes = read.map_err(|error| SavepointError::State(error.to_string()))?;
        put(disk, folder, &state_name(&file.name), &bytes)?;
        files.insert(state_name(&file.name), Sum::of(&bytes));
    }
    Ok(files)
}

/// Writes all that is not there already. The folder is a savepoint when it returns.
///
/// # Errors
/// What the disk says.
///
/// # Panics
/// When a commit is pending in a manifest (S2).
pub(crate) fn write(
    disk: &dyn Disk,
    folder: &Path,
    pipeline: Saved<'_>,
    jobs: &[(String, Manifest)],
    mut files: Files,
) -> Result<(), SavepointError> {
    let mut add = |name: &str, bytes: &[u8]| {
        put(disk, folder, name, bytes)?;
        files.insert(name.to_string(), Sum::of(bytes));
        Ok(())
    };
    add(
        PLANS,
        &serde_json::to_vec_pretty(pipeline.plans).expect("plain data"),
    )?;
    let mut saved = Vec::new();
    for (n, (key, manifest)) in jobs.iter().enumerate() {
        assert_eq!(
            pending(manifest),
            None,
            "S2: no commit is pending in a savepoint"
        );
        let name = format!("manifest-{n}.json");
        let bytes = serde_json::to_vec_pretty(manifest);
        add(&name, &bytes.expect("a manifest has only string keys"))?;
        saved.push(SavedJob {
            key: key.clone(),
            manifest: name,
        });
    }
    files.insert(SCRIPT.to_string(), Sum::of(pipeline.sql.as_bytes()));
    let mut about = About {
        format: FORMAT,
        check: 0,
        lakeward: env!("CARGO_PKG_VERSION").to_string(),
        pipeline: pipeline.id,
        name: pipeline.name.to_string(),
        created_ms: pipeline.created_ms,
        settings: pipeline.settings.clone(),
        inserts: pipeline.inserts,
        jobs: saved,
        files,
    };
    about.check = about.sum();
    let bytes = serde_json::to_vec_pretty(&about).expect("plain data");
    put(disk, folder, ABOUT, &bytes)
}

fn put(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> Result<(), SavepointError> {
    let path = folder.join(name);
    let parent = path.parent().expect("it is in the folder");
    let written = disk.create_dir_all(parent);
    let written = written.and_then(|()| write_atomic(disk, &path, bytes));
    written.map_err(|error| failed(&path, &error))
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> SavepointError {
    SavepointError::Disk {
        path: path.display().to_string(),
        why: error.to_string(),
    }
}
