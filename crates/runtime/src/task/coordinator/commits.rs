//! The commits of a job's tables: which are ordered, which are tried again and when, and what is dropped when they are confirmed.

use super::{Action, Confirmation, Coordinator, Insert, Now};
use crate::connector::{CommitOutcome, ConnectorError, ErrorKind};
use crate::manifest::{SinkState, SplitOffset};
use crate::task::Ended;
use std::time::Duration;

/// The pause after a table's first failed commit, and the longest one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// A commit that is not over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Commit {
    UnderWay { backoff: Duration },
    Waits { until: Duration, backoff: Duration },
}

impl Coordinator {
    /// Sealed epochs that some main table does not have yet.
    pub(super) fn pending(&self) -> usize {
        let states = self.states();
        let pending = states.map(|(_, _, state)| state.chain.chain.len());
        pending.max().unwrap_or(0)
    }

    /// Where each partition ends in all main tables, those that have nothing of it left out.
    pub(super) fn confirmed_by_all(&self) -> Vec<SplitOffset> {
        let mut least: Vec<SplitOffset> = Vec::new();
        let last = self
            .states()
            .filter_map(|(_, _, state)| state.chain.last.as_ref());
        for end in last.flat_map(|last| &last.ends) {
            match least.iter_mut().find(|at| at.same_split(end)) {
                Some(at) => at.next = at.next.min(end.next),
                None => least.push(end.clone()),
            }
        }
        least
    }

    /// The sinks that the manifest has an entry of.
    fn states(&self) -> impl Iterator<Item = (usize, &Insert, &SinkState)> {
        let inserts = self.inserts.iter().enumerate();
        inserts.filter_map(|(sink, insert)| {
            let state = self.manifest.sinks.get(&insert.name)?;
            Some((sink, insert, state))
        })
    }

    pub(super) fn order_commits(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut orders = Vec::new();
        for (sink, insert, state) in self.states() {
            let chains = std::iter::once((&insert.main, &state.chain)).chain(&state.sides);
            for (table, chain) in chains.filter(|(_, chain)| !chain.chain.is_empty()) {
                let backoff = match self.commits.get(&(sink, table.clone())) {
                    Some(Commit::UnderWay { .. }) => continue,
                    Some(Commit::Waits { until, .. }) if *until > now.elapsed => continue,
                    Some(Commit::Waits { backoff, .. }) => *backoff,
                    None => FIRST_BACKOFF,
                };
                orders.push((sink, table.clone(), chain.clone(), backoff));
            }
        }
        for (sink, table, chain, backoff) in orders {
            let under_way = Commit::UnderWay { backoff };
            self.commits.insert((sink, table.clone()), under_way);
            actions.push(Action::Commit { sink, table, chain });
        }
    }

    pub(super) fn committed(
        &mut self,
        now: Now,
        commit: (usize, String),
        outcome: Result<CommitOutcome, ConnectorError>,
        mine: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(Commit::UnderWay { backoff }) = self.commits.remove(&commit) else {
            panic!("K3: only a commit that was ordered is answered, {commit:?} was not");
        };
        match outcome {
            Ok(CommitOutcome::Confirmed {
                confirmed,
                snapshot_id,
            }) => self.confirmed(commit, confirmed, snapshot_id, actions),
            // A fenced process must not bother its user: the new owner decides.
            Ok(CommitOutcome::Paused(_)) if !mine => self.over(Ok(Ended::Fenced), actions),
            Ok(CommitOutcome::Paused(pause)) => self.over(Ok(Ended::Paused(pause)), actions),
            Err(error) if error.kind == ErrorKind::Retry && !self.stopping => {
                let waits = Commit::Waits {
                    until: now.elapsed + backoff,
                    backoff: (backoff * 2).min(LONGEST_BACKOFF),
                };
                self.commits.insert(commit.clone(), waits);
                let (sink, table) = commit;
                actions.push(Action::Retried { sink, table, error });
            }
            Err(error) => self.over(Err(error), actions),
        }
    }

    fn confirmed(
        &mut self,
        (sink, table): (usize, String),
        confirmed: usize,
        snapshot_id: Option<i64>,
        actions: &mut Vec<Action>,
    ) {
        let insert = &self.inserts[sink];
        let (is_main, dropped_by) = (table == insert.main, self.rules.dropped_by);
        let state = self.manifest.sinks.get_mut(&insert.name);
        let chain = state.and_then(|state| match is_main {
            true => Some(&mut state.chain),
            false => state.sides.get_mut(&table),
        });
        let chain = chain.expect("K3: a commit that was ordered has its chain");
        let done = &chain.chain[..confirmed];
        if is_main {
            let ranges = done.iter().flat_map(|pending| &pending.ranges);
            let event_time = done.iter().filter_map(|pending| pending.max_event_time);
            let confirmation = Confirmation {
                rows: ranges.map(|range| range.rows).sum(),
                event_time: event_time.max(),
                snapshot_id,
            };
            actions.push(Action::Confirmed { sink, confirmation });
        }
        // Epochs that were sealed since the commit was ordered stay.
        chain.confirm(dropped_by(confirmed, chain.chain.len()));
        self.unsaved = true;
    }

    /// What waits is tried once more, and at once.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping = true;
        for commit in self.commits.values_mut() {
            if let Commit::Waits { until, .. } = commit {
                *until = now.elapsed;
            }
        }
    }
}
