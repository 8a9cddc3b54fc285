//! How savepoints of pipelines are taken.
//!
//! A job at work is asked for its manifest: it seals what it has read, holds its next seal back until all of that is committed, and then
//! hands it out between two inputs, with its files of state in place. A job at rest has it in the log. The jobs of a pipeline fill
//! different tables, so each is taken at a place of its own.

use super::record::{Desired, Record};
use super::{PipelineError, Pipelines};
use crate::job::{Control, Job, JobState, Save, Stop};
use crate::manifest::{Manifest, SplitOffset};
use crate::savepoint::{self, Files, SavedInsert, SavepointError};
use crate::state::folder as state_folder;
use lw_stdx::disk::Disk;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a savepoint waits for the commits before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A savepoint as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavepointView {
    pub folder: String,
    pub pipeline: String,
    /// Bytes of state in it.
    pub state_bytes: u64,
    /// Where the pipeline goes on from it.
    pub offsets: Vec<SplitOffset>,
}

/// A job's manifest, with the files of state that were copied for it.
type Taken = (Manifest, Files);

/// What is still to come of a job that was asked.
struct Asked {
    tables: String,
    answer: Receiver<Result<Taken, SavepointError>>,
    /// Nobody waits any more.
    given_up: Arc<AtomicBool>,
}

/// Where the manifest of a job comes from.
enum Given {
    At(Box<Taken>),
    Asked(Asked),
}

impl Pipelines {
    /// Writes a savepoint of a pipeline, which goes on as it was, into `to`; without it, into a new folder of the server's.
    ///
    /// # Errors
    /// [`PipelineError::Savepoint`]; what was written of it is removed then.
    pub fn savepoint(&self, name: &str, to: Option<&Path>) -> Result<SavepointView, PipelineError> {
        let (record, folder, given) = {
            let _change = self.changes.lock();
            let record = self.known(name)?;
            let folder = self.reserve(&record, to)?;
            let given = self.ask_all(&record, &folder);
            (record, folder, given)
        };
        let taken = given.and_then(|given| given.into_iter().map(Given::wait).collect());
        self.write_savepoint(&record, &folder, taken)
    }

    /// Stops a pipeline and writes a savepoint of where it then stands.
    ///
    /// # Errors
    /// As [`Pipelines::savepoint`]; the pipeline runs on then if it ran, unless event time has ended in it.
    pub fn stop_with_savepoint(
        &self,
        name: &str,
        how: Stop,
        to: Option<&Path>,
    ) -> Result<SavepointView, PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        let folder = self.reserve(&record, to)?;
        let was_running = self.halt(name, how);
        let jobs = 0..record.jobs.len();
        let taken = jobs.map(|index| self.at_rest(&record, index, &folder));
        let written = self.write_savepoint(&record, &folder, taken.collect());
        if written.is_err() && was_running && how == Stop::Keeps {
            self.start(&record);
            return written;
        }
        self.end(name, how);
        record.desired = Desired::Stopped;
        self.save(&record)?;
        written
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        self.around.storage.folder().0
    }

    /// The folder of a savepoint, which nothing else is in, and nobody else takes from now on.
    fn reserve(&self, record: &Record, to: Option<&Path>) -> Result<PathBuf, PipelineError> {
        let folder = to.map_or_else(|| self.own_folder(record), Path::to_path_buf);
        savepoint::reserve(&*self.disk(), &folder, &record.sql)?;
        Ok(folder)
    }

    /// `<data>/savepoints/<pipeline>-<milliseconds since 1970>`
    fn own_folder(&self, record: &Record) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = record.name.chars().map(plain).collect();
        let data = self.around.storage.folder().1;
        data.join("savepoints")
            .join(format!("{name}-{}", self.around.clock.now_ms()))
    }

    /// Asks the jobs at work for their manifests, and takes those of the others.
    fn ask_all(&self, record: &Record, folder: &Path) -> Result<Vec<Given>, SavepointError> {
        let jobs = (0..record.jobs.len()).map(|index| {
            let running = self.running.lock();
            let job = running.get(&record.name).and_then(|jobs| jobs.get(index));
            let asked = job.and_then(|job| self.ask_job(job, folder));
            drop(running);
            match asked {
                Some(asked) => Ok(Given::Asked(asked)),
                None => {
                    let taken = self.at_rest(record, index, folder)?;
                    Ok(Given::At(Box::new(taken)))
                }
            }
        });
        jobs.collect()
    }

    /// `None` where the job is not at work.
    fn ask_job(&self, job: &Job, folder: &Path) -> Option<Asked> {
        let status = job.status.get();
        if !matches!(
            status.state,
            JobState::Starting | JobState::Running | JobState::Restarting { .. }
        ) {
            return None;
        }
        let (sender, answer) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let save: Save = Box::new({
            let (disk, states) = (self.disk(), state_folder(&self.around.storage));
            let (folder, given_up) = (folder.to_path_buf(), given_up.clone());
            move |manifest| {
                if !given_up.load(Ordering::Acquire) {
                    let files = savepoint::write_state(&*disk, &states, &folder, manifest);
                    // Whoever has stopped waiting since removes what was written.
                    let _ = sender.send(files.map(|files| (manifest.clone(), files)));
                }
            }
        });
        let control: Arc<Control> = job.control();
        control.save(save).then(|| Asked {
            tables: status.tables(),
            answer,
            given_up,
        })
    }

    /// What a job that is not at work has in the log.
    fn at_rest(
        &self,
        record: &Record,
        index: usize,
        folder: &Path,
    ) -> Result<Taken, SavepointError> {
        let job = &record.jobs[index];
        let read = self.manifest_of(record, job);
        let (_, manifest) = read.map_err(|error| SavepointError::Job {
            tables: job.tables(),
            why: error.to_string(),
        })?;
        let states = state_folder(&self.around.storage);
        let files = savepoint::write_state(&*self.disk(), &states, folder, &manifest)?;
        Ok((manifest, files))
    }

    /// Writes what was taken down, or removes what was written of it.
    fn write_savepoint(
        &self,
        record: &Record,
        folder: &Path,
        taken: Result<Vec<Taken>, SavepointError>,
    ) -> Result<SavepointView, PipelineError> {
        let disk = self.disk();
        let written = taken.and_then(|taken| {
            let (mut jobs, mut files) = (Vec::new(), Files::new());
            for (job, (manifest, of_state)) in record.jobs.iter().zip(taken) {
                let key = job.manifest_key(record.id);
                let own = key.split_once('/').map_or(&*key, |(_, own)| own);
                jobs.push((own.to_string(), manifest));
                files.extend(of_state);
            }
            let view = view(record, folder, &jobs);
            let about = savepoint::Saved {
                id: record.id,
                name: &record.name,
                sql: &record.sql,
                plans: &record.plans,
                settings: &record.settings,
                inserts: saved_inserts(record),
                created_ms: self.around.clock.now_ms(),
            };
            savepoint::write(&*disk, folder, about, &jobs, files)?;
            Ok(view)
        });
        match &written {
            Ok(view) => {
                tracing::info!(
                    pipeline = view.pipeline,
                    folder = view.folder,
                    "savepoint written"
                );
            }
            Err(_) => savepoint::discard(&*disk, folder),
        }
        Ok(written?)
    }
}

impl Given {
    fn wait(self) -> Result<Taken, SavepointError> {
        let asked = match self {
            Given::At(taken) => return Ok(*taken),
            Given::Asked(asked) => asked,
        };
        match asked.answer.recv_timeout(PATIENCE) {
            Ok(taken) => taken,
            Err(RecvTimeoutError::Disconnected) => Err(SavepointError::Ended {
                tables: asked.tables,
            }),
            Err(RecvTimeoutError::Timeout) => {
                asked.given_up.store(true, Ordering::Release);
                Err(SavepointError::Pending {
                    table: asked.tables,
                })
            }
        }
    }
}

fn view(record: &Record, folder: &Path, jobs: &[(String, Manifest)]) -> SavepointView {
    let states = jobs.iter().flat_map(|(_, manifest)| manifest.states());
    SavepointView {
        folder: folder.display().to_string(),
        pipeline: record.name.clone(),
        state_bytes: states.map(|state| state.bytes()).sum(),
        offsets: jobs
            .iter()
            .flat_map(|(_, manifest)| manifest.position())
            .collect(),
    }
}

fn saved_inserts(record: &Record) -> Vec<SavedInsert> {
    let of_job = |job: &super::PlannedJob| {
        let insert = |index: usize| SavedInsert {
            sink: job.inserts[index].sink_name(),
            plan: job.inserts[index].plan_id(&record.sql, &record.settings),
            states: super::planned::states_of(job.alone(index))
                .into_iter()
                .map(|(operator, uid)| (uid, operator.to_string()))
                .collect(),
        };
        (0..job.inserts.len()).map(insert).collect::<Vec<_>>()
    };
    record.jobs.iter().flat_map(of_job).collect()
}
