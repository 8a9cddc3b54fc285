//! The coordinator as a table: what happens, and what it wants done. Time is in seconds, the interval is 10.

use super::*;
use crate::chunk::Split;
use crate::connector::{Pause, Progress};
use crate::task::account::Standing;
use std::sync::Arc;

const TABLE: &str = "lake.t";

struct Case {
    coordinator: Coordinator,
    seconds: u64,
    read: i64,
    ids: std::cell::Cell<u128>,
}

impl Case {
    /// Positioned, with nothing read.
    fn reading() -> Case {
        let mut case = Case::over(Manifest::new(Uuid::nil()));
        assert_eq!(case.says(Input::Begin), "");
        assert!(case.coordinator.wants_position());
        assert_eq!(case.positioned(), "save");
        case
    }

    fn over(manifest: Manifest) -> Case {
        let interval = Duration::from_secs(10);
        let insert = Insert {
            name: TABLE.to_string(),
            main: TABLE.to_string(),
            plan: "plan".to_string(),
            has_state: false,
            topics: Topics::All,
        };
        Case {
            coordinator: Coordinator::new(manifest, vec![insert], interval, Rules::OURS),
            seconds: 100,
            read: 0,
            ids: std::cell::Cell::new(0),
        }
    }

    fn says(&mut self, input: Input) -> String {
        let now = Now {
            elapsed: Duration::from_secs(self.seconds),
            wall_ms: 0,
        };
        let ids = &self.ids;
        let new_id = || {
            ids.set(ids.get() + 1);
            Uuid::from_u128(ids.get())
        };
        let actions = self.coordinator.handle(now, input, &new_id);
        let actions: Vec<String> = actions.iter().map(text).collect();
        actions.join(", ")
    }

    fn positioned(&mut self) -> String {
        self.says(Input::Positioned(Positioned {
            topics: BTreeMap::new(),
            ends: None,
            offsets: Vec::new(),
        }))
    }

    /// One more record of the one partition.
    fn reads(&mut self, held: usize) -> String {
        let mut ledger = Ledger::default();
        ledger.advance(&Progress {
            split: 0,
            from: self.read,
            to: self.read + 1,
            control: 0,
            skipped: 1,
        });
        self.read += 1;
        let split = Split {
            topic: "in".into(),
            partition: 0,
        };
        let account = Account {
            ledgers: vec![ledger],
            standing: Standing {
                splits: Arc::new([split]),
                ..Standing::default()
            },
            ..Account::default()
        };
        let account = Box::new(account);
        self.says(Input::Read { account, held })
    }

    fn sealed(&mut self) -> String {
        self.says(Input::Sealed {
            staged: vec![Vec::new()],
            states: BTreeMap::new(),
        })
    }

    fn after(&mut self, seconds: u64) -> String {
        self.seconds += seconds;
        self.says(Input::Tick)
    }

    /// An epoch of one record is sealed and its commit ordered.
    fn epoch(&mut self) {
        assert_eq!(self.reads(1), "");
        assert_eq!(self.after(10), "seal");
        let ordered = self.sealed();
        assert!(ordered.starts_with("save, commit"), "{ordered}");
    }

    fn confirmed(&mut self, confirmed: usize) -> String {
        self.answered(Ok(CommitOutcome::Confirmed {
            confirmed,
            snapshot_id: None,
        }))
    }

    fn answered(&mut self, outcome: Result<CommitOutcome, ConnectorError>) -> String {
        self.says(Input::Committed {
            sink: 0,
            table: TABLE.to_string(),
            outcome,
            mine: true,
        })
    }

    /// Sequence numbers of what is pending.
    fn pending(&self) -> Vec<u64> {
        let chain = &self.coordinator.manifest.sinks[TABLE].chain.chain;
        chain.iter().map(|pending| pending.sequence).collect()
    }
}

fn text(action: &Action) -> String {
    match action {
        Action::Seal => "seal".to_string(),
        Action::Save => "save".to_string(),
        Action::Commit { table, chain, .. } => {
            let sequences: Vec<u64> = chain.chain.iter().map(|p| p.sequence).collect();
            format!("commit {sequences:?} to {table}")
        }
        Action::Publish(ends) => format!("publish {}", ends[0].next),
        Action::Savepoint => "savepoint".to_string(),
        Action::Confirmed { .. } => "confirmed".to_string(),
        Action::Retried { error, .. } => format!("retried after \"{error}\""),
        Action::End(Ok(ended)) => format!("end: {ended:?}"),
        Action::End(Err(error)) => format!("end: {error}"),
    }
}

#[test]
fn rows_are_taken_while_what_was_sealed_is_written_down() {
    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(10), "seal");
    // These are of the next epoch, which is not sealed before this one is written down, however long that takes.
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(100), "");
    assert_eq!(case.says(Input::Barrier), "");
    let sealed = case.sealed();
    assert!(sealed.starts_with("save, commit [1]"), "{sealed}");
    assert!(sealed.ends_with(", seal"), "{sealed}");
    let ends = |case: &Case| {
        let chain = &case.coordinator.manifest.sinks[TABLE].chain.chain;
        let ranges = chain.iter().flat_map(|pending| &pending.ranges);
        ranges.map(|range| (range.start, range.end)).collect()
    };
    let found: Vec<(i64, i64)> = ends(&case);
    assert_eq!(found, [(0, 1)]);
    case.sealed();
    let found: Vec<(i64, i64)> = ends(&case);
    assert_eq!(found, [(0, 1), (1, 2)]);
}

#[test]
fn an_end_waits_for_what_was_sealed() {
    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(10), "seal");
    assert_eq!(case.says(Input::Ended(End::Stopped)), "");
    assert!(case.sealed().starts_with("save, commit"));
    assert!(case.confirmed(1).ends_with("end: Stopped"));
}

fn down() -> ConnectorError {
    ConnectorError::new(ErrorKind::Retry, "the catalog is down")
}

#[test]
fn the_manifest_is_saved_before_the_table_hears_of_it() {
    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(9), "");
    assert_eq!(case.after(1), "seal");
    assert_eq!(case.sealed(), "save, commit [1] to lake.t");
    assert_eq!(case.confirmed(1), "confirmed, save, publish 1");
    assert_eq!(case.pending(), [0; 0]);
}

#[test]
fn what_a_crash_left_is_committed_before_anything_is_read() {
    let mut before = Case::reading();
    before.epoch();
    let mut case = Case::over(before.coordinator.manifest.clone());
    assert_eq!(case.says(Input::Begin), "commit [1] to lake.t");
    assert!(!case.coordinator.wants_position() && !case.coordinator.wants_rows());
    assert_eq!(case.confirmed(1), "confirmed, save, publish 1");
    assert!(case.coordinator.wants_position());
    assert_eq!(case.positioned(), "save");
    assert!(case.coordinator.wants_rows());
}

#[test]
fn nothing_is_sealed_before_states_are_arranged_and_rows_are_taken_meanwhile() {
    let mut case = Case::over(Manifest::new(Uuid::nil()));
    case.coordinator.arranges();
    assert_eq!(case.says(Input::Begin), "");
    assert_eq!(case.positioned(), "save");
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(20), "", "it is due");
    assert_eq!(
        case.coordinator.wakes(),
        Duration::MAX,
        "time helps nothing"
    );
    assert_eq!(case.says(Input::Barrier), "");
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.says(Input::Ended(End::Stopped)), "");
    assert_eq!(case.says(Input::Arranged), "seal");
    assert_eq!(case.sealed(), "save, commit [1] to lake.t");
    assert!(case.confirmed(1).ends_with("end: Stopped"));
}

#[test]
fn rows_are_taken_while_a_commit_is_under_way_and_sealed_once_it_is_over() {
    let mut case = Case::reading();
    case.epoch();
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.reads(1), "");
    // Due, but the catalog takes its time: no pile of small files.
    assert_eq!(case.after(3600), "");
    assert_eq!(case.confirmed(1), "confirmed, save, publish 1, seal");
    assert_eq!(case.sealed(), "save, commit [2] to lake.t");
}

#[test]
fn a_full_sink_is_sealed_behind_the_pending_commits_up_to_a_bound() {
    let mut case = Case::reading();
    case.epoch();
    for _ in 1..MOST_PENDING {
        assert_eq!(case.reads(SEAL_BYTES), "seal");
        // The one commit goes on alone; the others follow it together.
        assert_eq!(case.sealed(), "save");
    }
    assert_eq!(case.reads(SEAL_BYTES), "");
    assert!(!case.coordinator.wants_rows(), "the sink is full");
    let confirmed = case.confirmed(1);
    let all: Vec<u64> = (2..=MOST_PENDING as u64).collect();
    assert_eq!(
        confirmed,
        format!("confirmed, commit {all:?} to lake.t, seal")
    );
    assert_eq!(case.pending(), all, "what was not confirmed stays");
}

#[test]
fn a_failed_commit_is_tried_again_with_growing_pauses() {
    let mut case = Case::reading();
    case.epoch();
    let retried = "retried after \"the catalog is down\"";
    for wait in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        assert_eq!(case.answered(Err(down())), retried);
        let now = Duration::from_secs(case.seconds);
        assert_eq!(case.coordinator.wakes() - now, Duration::from_millis(wait));
        assert_eq!(case.after(10), "commit [1] to lake.t");
    }
    assert_eq!(case.confirmed(1), "confirmed, save, publish 1");
}

#[test]
fn a_stop_commits_what_was_read_and_waits_out_no_outage() {
    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(Input::Stop), "");
    assert_eq!(case.says(Input::Ended(End::Stopped)), "seal");
    assert_eq!(case.sealed(), "save, commit [1] to lake.t");
    assert_eq!(case.answered(Err(down())), "end: the catalog is down");

    let mut case = Case::reading();
    case.epoch();
    case.answered(Err(down()));
    assert_eq!(case.says(Input::Stop), "commit [1] to lake.t");
    assert_eq!(case.says(Input::Ended(End::Stopped)), "");
    assert_eq!(
        case.confirmed(1),
        "confirmed, save, publish 1, end: Stopped"
    );
}

#[test]
fn a_source_that_fails_leaves_what_it_gave_and_a_bug_nothing() {
    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    let gone = ConnectorError::new(ErrorKind::Fix, "the topic is gone");
    assert_eq!(case.says(Input::Ended(End::Failed(gone))), "seal");
    assert_eq!(case.sealed(), "save, commit [1] to lake.t");
    assert_eq!(
        case.confirmed(1),
        "confirmed, save, publish 1, end: the topic is gone"
    );

    let mut case = Case::reading();
    assert_eq!(case.reads(1), "");
    let bug = ConnectorError::new(ErrorKind::Bug, "the source panicked");
    let ended = case.says(Input::Ended(End::Failed(bug)));
    assert_eq!(ended, "end: the source panicked");
}

#[test]
fn a_pause_is_for_the_owner_of_the_manifest() {
    let pause = || Pause {
        table: TABLE.to_string(),
        reason: "rolled back".to_string(),
        table_offsets: Vec::new(),
        marker_offsets: Vec::new(),
        checkpoint_offsets: Vec::new(),
    };
    for (mine, ends) in [(true, "end: Paused"), (false, "end: Fenced")] {
        let mut case = Case::reading();
        case.epoch();
        let said = case.says(Input::Committed {
            sink: 0,
            table: TABLE.to_string(),
            outcome: Ok(CommitOutcome::Paused(pause())),
            mine,
        });
        assert!(said.starts_with(ends), "{said}");
    }
}

#[test]
fn a_topic_of_another_id_is_not_read() {
    let topics = |id| BTreeMap::from([("in".to_string(), Uuid::from_u128(id))]);
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.topics = topics(1);
    let mut case = Case::over(manifest);
    case.says(Input::Begin);
    let said = case.says(Input::Positioned(Positioned {
        topics: topics(2),
        ends: None,
        offsets: Vec::new(),
    }));
    assert_eq!(said, "end: topic 'in' was deleted and created again");
}

#[test]
fn a_savepoint_is_of_a_seal_that_is_committed_and_nothing_is_sealed_before() {
    let mut case = Case::reading();
    assert_eq!(case.says(Input::Savepoint), "savepoint", "nothing was read");

    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(Input::Savepoint), "seal");
    assert_eq!(case.sealed(), "save, commit [1] to lake.t");
    // What is read on is held back, however long the catalog takes, and however much it is.
    assert_eq!(case.reads(1), "");
    assert_eq!(case.after(3600), "");
    assert_eq!(case.reads(SEAL_BYTES), "");
    assert!(!case.coordinator.wants_rows());
    assert_eq!(
        case.confirmed(1),
        "confirmed, save, publish 1, savepoint, seal"
    );
    assert_eq!(case.sealed(), "save, commit [2] to lake.t");
    assert_eq!(case.confirmed(1), "confirmed, save, publish 3");
}

#[test]
fn a_savepoint_waits_for_the_commits_before_it() {
    let mut case = Case::reading();
    case.epoch();
    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(Input::Savepoint), "seal");
    assert_eq!(case.sealed(), "save");
    assert_eq!(case.confirmed(1), "confirmed, commit [2] to lake.t");
    assert_eq!(case.confirmed(1), "confirmed, save, publish 2, savepoint");
    // A bounded read that ends meanwhile ends behind it.
    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(Input::Savepoint), "seal");
    assert_eq!(case.says(Input::Ended(End::Finished)), "");
    assert_eq!(case.sealed(), "save, commit [3] to lake.t");
    assert_eq!(
        case.confirmed(1),
        "confirmed, save, publish 3, savepoint, end: Finished"
    );
}

/// `of commits | of the open range`: the version that each is joined with.
fn versions(case: &Case) -> String {
    let version = |pins: &Pins| pins.get("d").cloned().unwrap_or_default();
    let manifest = case.coordinator.manifest();
    let chain = manifest.sinks.get(TABLE).into_iter();
    let chain = chain.flat_map(|sink| &sink.chain.chain);
    let of_commits: Vec<String> = chain.map(|pending| version(&pending.lookups)).collect();
    format!("{} | {}", of_commits.join(" "), version(&manifest.lookups))
}

fn pinned(version: &str) -> Input {
    Input::Pinned(Pins::from([("d".to_string(), version.to_string())]))
}

#[test]
fn a_commit_is_of_one_version_of_a_table_and_the_manifest_says_which_is_next() {
    let mut case = Case::over(Manifest::new(Uuid::nil()));
    let first = Pins::from([("d".to_string(), "1".to_string())]);
    case.coordinator.looks_up(&first);
    assert_eq!(case.says(Input::Begin), "");
    assert_eq!(case.positioned(), "save");
    assert_eq!(versions(&case), " | 1", "before anything is joined with it");
    // Rows are there that were joined with the first version: they are sealed, and nothing is taken until then.
    assert_eq!(case.reads(1), "");
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.says(pinned("2")), "seal");
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.reads(1), "");
    let ordered = case.sealed();
    assert!(ordered.starts_with("save, commit"), "{ordered}");
    assert_eq!(versions(&case), "1 | 2");
    // While a seal is on its way the next one waits for it, and rows wait for both.
    assert_eq!(case.says(Input::Barrier), "seal");
    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(pinned("3")), "");
    assert!(!case.coordinator.wants_rows(), "rows of version 3");
    assert_eq!(case.sealed(), "save, seal");
    assert!(case.coordinator.wants_rows());
    assert_eq!(case.reads(1), "");
    assert_eq!(case.sealed(), "save");
    assert_eq!(versions(&case), "1 2 2 | 3");
    // Without rows since the last seal nothing is to be sealed; it is written down before any row is joined with it.
    assert_eq!(case.says(Input::Barrier), "seal");
    assert_eq!(case.sealed(), "save");
    assert_eq!(case.says(pinned("4")), "save");
    assert_eq!(versions(&case), "1 2 2 3 | 4");
    // What is being sealed is not behind the position of a manifest that is written meanwhile.
    assert_eq!(case.reads(1), "");
    assert_eq!(case.says(Input::Barrier), "seal");
    assert_eq!(case.says(pinned("5")), "");
    assert_eq!(versions(&case), "1 2 2 3 | 4");
    assert_eq!(case.sealed(), "save");
    assert_eq!(versions(&case), "1 2 2 3 4 | 5");
}
