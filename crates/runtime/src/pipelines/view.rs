//! A pipeline as it is shown.

use super::record::{Desired, Record, Unreadable};
use super::replay::ReplayView;
use super::{PipelineError, Pipelines};
use crate::job::{JobState, Status};
use serde::Serialize;
use uuid::Uuid;

/// A pipeline as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub name: String,
    pub id: Uuid,
    pub state: String,
    pub created_ms: i64,
    pub sql: String,
    /// Of a pipeline that fills a branch: how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayView>,
    pub jobs: Vec<Status>,
}

impl Pipelines {
    pub(super) fn view(&self, record: &Record) -> View {
        let running = self.running.lock();
        let jobs: Vec<Status> = running
            .get(&record.name)
            .map(|jobs| jobs.iter().map(|job| job.status.get()).collect())
            .unwrap_or_default();
        View {
            name: record.name.clone(),
            id: record.id,
            state: state_text(record.desired, &jobs).to_string(),
            created_ms: record.created_ms,
            sql: record.sql.clone(),
            replay: self.replay_view(record),
            jobs,
        }
    }
}

/// A pipeline whose record cannot be read: it is there, it does not run, and it says why.
pub(super) fn view_unreadable(unreadable: Unreadable) -> View {
    let error = PipelineError::from(unreadable.clone());
    let failed = JobState::Failed {
        error: error.to_string(),
        detail: error.detail(),
        hint: error.hint(),
    };
    View {
        name: unreadable.name,
        id: unreadable.id.unwrap_or_default(),
        state: "failed".to_string(),
        created_ms: 0,
        sql: unreadable.sql.into(),
        replay: None,
        jobs: vec![Status::of(unreadable.tables, failed)],
    }
}

fn state_text(desired: Desired, jobs: &[Status]) -> &'static str {
    let any = |matches: fn(&JobState) -> bool| jobs.iter().any(|job| matches(&job.state));
    if any(|state| matches!(state, JobState::Failed { .. })) {
        "failed"
    } else if any(|state| matches!(state, JobState::Paused(_))) {
        "paused"
    } else if any(|state| matches!(state, JobState::Restarting { .. })) {
        "restarting"
    } else if jobs
        .iter()
        .any(|job| matches!(job.state, JobState::Running | JobState::Starting))
    {
        "running"
    } else if desired == Desired::Stopped {
        "stopped"
    } else if !jobs.is_empty() && jobs.iter().all(|job| job.state == JobState::Finished)
        || desired == Desired::Finished
    {
        "finished"
    } else {
        "stopped"
    }
}
