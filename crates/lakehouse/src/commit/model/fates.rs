//! The files of the model's commits: who wrote them, what a process is told, and what it does about them.
//!
//! A process that sent a commit keeps it as an attempt until it is confirmed. When it has loaded the table again it asks
//! what became of each ([`the_fate`] is the port of [`Fate`]'s rule) and removes the files of the dead; a crash leaves the
//! files of its attempts to nobody. Two invariants speak of files alone: `i6_…` and `i7_…`.

use std::collections::BTreeSet;

use super::{Budget, OURS, Row, Rules, Sequence, Snapshot, State, budget_of_files, explore};
use crate::commit::attempt::Fate;

/// The manifests of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Files(u8);

/// What was ever written, and what is gone of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Written {
    attempts: u8,
    /// By processes.
    removed: BTreeSet<Files>,
    /// Left to nobody by a crash.
    forgotten: BTreeSet<Files>,
}

impl Written {
    pub(super) fn by_another_attempt(&mut self) -> Files {
        self.attempts += 1;
        Files(self.attempts)
    }

    pub(super) fn forget(&mut self, attempts: &Attempts) {
        let files = attempts.0.iter().map(|attempt| attempt.files);
        self.forgotten.extend(files);
    }
}

/// What a process was told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Nothing,
    Conflict,
}

/// A request that was sent and not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    files: Files,
    sequence: Sequence,
    told: Told,
}

/// Those of one process whose files are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    pub(super) fn sent(&mut self, files: Option<Files>, sequence: Sequence) {
        self.0.extend(files.map(|files| Attempt {
            files,
            sequence,
            told: Told::Nothing,
        }));
    }

    pub(super) fn conflict(&mut self, files: Option<Files>) {
        let attempts = self.0.iter_mut();
        for attempt in attempts.filter(|attempt| Some(attempt.files) == files) {
            attempt.told = Told::Conflict;
        }
    }

    pub(super) fn confirmed(&mut self, files: Option<Files>) {
        self.0.retain(|attempt| Some(attempt.files) != files);
    }
}

/// What a process sees of an attempt when it has loaded the table.
pub(super) struct Seen<'a> {
    attempt: &'a Attempt,
    /// Kept, oldest first.
    kept: &'a [Snapshot],
    /// Snapshots list the files of all before them.
    listed: bool,
    last_sequence: Sequence,
}

pub(super) type FateRule = fn(&Seen<'_>) -> Fate;

pub(super) fn the_fate(seen: &Seen<'_>) -> Fate {
    if seen.listed {
        Fate::Landed
    } else if seen.last_sequence >= seen.attempt.sequence {
        Fate::Dead
    } else {
        Fate::Open
    }
}

const MUTANTS: [(&str, FateRule); 4] = [
    ("a conflict is believed", |seen| match seen.attempt.told {
        Told::Conflict => Fate::Dead,
        Told::Nothing => the_fate(seen),
    }),
    ("no answer means that nothing happened", |seen| {
        match seen.attempt.told {
            Told::Nothing => Fate::Dead,
            Told::Conflict => the_fate(seen),
        }
    }),
    ("what is not there will not come", |seen| {
        match seen.listed {
            true => Fate::Landed,
            false => Fate::Dead,
        }
    }),
    ("only its own snapshot is looked for", |seen| {
        let own = |snapshot: &Snapshot| snapshot.files == Some(seen.attempt.files);
        the_fate(&Seen {
            listed: seen.kept.iter().any(own),
            ..*seen
        })
    }),
];

/// The state when a process has loaded the table and settled what earlier attempts left: the files of the dead are removed.
pub(super) fn settled(state: &State, process: usize, fate: FateRule) -> State {
    let mut next = state.clone();
    for attempt in &state.processes[process].attempts.0 {
        let fate = fate(&Seen {
            attempt,
            kept: &state.table[state.expired..],
            listed: state
                .table
                .iter()
                .any(|snapshot| snapshot.files == Some(attempt.files)),
            last_sequence: state.sequence,
        });
        if fate == Fate::Dead {
            next.written.removed.insert(attempt.files);
        }
        if fate != Fate::Open {
            let attempts = &mut next.processes[process].attempts.0;
            attempts.retain(|other| other.files != attempt.files);
        }
    }
    next
}

pub(super) const I6: &str = "I6: a file that a snapshot lists was removed";

pub(super) fn i6_no_listed_file_is_removed(state: &State) -> bool {
    let mut files = state.table.iter().filter_map(|snapshot| snapshot.files);
    !files.any(|files| state.written.removed.contains(&files))
}

pub(super) fn i7_at_rest_only_the_open_stay(state: &State) -> bool {
    let attempts = state.processes.iter().flat_map(|one| &one.attempts.0);
    let open: BTreeSet<Files> = attempts.map(|attempt| attempt.files).collect();
    let listed = state.table.iter().filter_map(|snapshot| snapshot.files);
    let listed: BTreeSet<Files> = listed.collect();
    let written = &state.written;
    let sets = [&open, &listed, &written.removed, &written.forgotten];
    (1..=written.attempts)
        .map(Files)
        .all(|one| sets.iter().any(|set| set.contains(&one)))
}

/// Scopes in which the files of requests are followed: the faults as in the parent's scopes, then commits to another branch,
/// requests that arrive late, requests that are sent twice, and how many requests are followed.
const SCOPES: [(&str, Row, Budget); 4] = [
    (
        "lost, late and doubled requests",
        3,
        budget_of_files([0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 4]),
    ),
    (
        "others on main and on a branch",
        2,
        budget_of_files([1, 0, 0, 0, 0, 0, 1], [1, 1, 0, 4]),
    ),
    (
        "a doubled request and expiry",
        2,
        budget_of_files([1, 0, 0, 0, 0, 1, 1], [0, 0, 1, 4]),
    ),
    (
        "a late request and a crash",
        2,
        budget_of_files([1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 3]),
    ),
];

#[test]
fn no_file_of_a_commit_that_landed_is_removed() {
    for (name, rows, budget) in SCOPES {
        let explored = explore(OURS, rows, budget);
        if let Some((invariant, history)) = explored.broken {
            panic!("{name}: {invariant}\n    {}", history.join("\n    "));
        }
        assert!(
            explored.states > 500,
            "{name}: only {} states",
            explored.states
        );
    }
}

#[test]
fn every_shortcut_to_a_fate_is_caught() {
    for (name, fate) in MUTANTS {
        let rules = Rules { fate, ..OURS };
        let caught = SCOPES.iter().find_map(|(_, rows, budget)| {
            let (invariant, _) = explore(rules, *rows, *budget).broken?;
            Some(invariant)
        });
        assert_eq!(caught, Some(I6), "{name}");
    }
}
