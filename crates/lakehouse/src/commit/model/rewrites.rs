//! An exhaustive model of compactions beside everything that others do to a table.
//!
//! A compactor copies the files that it sees into one and asks for its commit, by the product's own
//! [`conflicts`](crate::commit::conflicts) and [`leftovers`](crate::upkeep::leftovers). Meanwhile a pipeline appends, others
//! delete rows by their places, overwrite files, and a user rolls back. Requests arrive late, twice or never; replies get
//! lost; the process may die and its successor begins with nothing.
//!
//! - file = the rows in it, by its number; a compactor's file is one of those that it made.
//! - snapshot = what it lists, and the rows that a reader must see in it.
//!
//! Invariants: R1 a reader sees each row that is there, once, and no other; R2 no file that a kept snapshot lists was removed;
//! R3 at rest a file that came into no table is gone, is still asked for, or was left by a dead process.

use super::search::{Explored, Mover, search};
use crate::commit::attempt::Fate;
use crate::commit::change::{Change, Made, Rewrite};
use crate::commit::conflicts::{Verdict, check};
use crate::commit::listing::{Delete, Hides, Listed, Listing};
use crate::upkeep::leftovers::{Sent, fate};
use iceberg::spec::Struct;
use std::collections::{BTreeMap, BTreeSet};

type File = u8;
type Row = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    sequence: i64,
    /// With their data sequence numbers.
    data: BTreeMap<File, i64>,
    /// Places that are deleted, each with its sequence number.
    deletes: BTreeSet<(File, Row, i64)>,
    /// What a reader must see.
    holds: BTreeSet<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    /// The head that it was made for, and its own sequence number.
    head: i64,
    sequence: i64,
    work: Work,
}

/// Files that one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    sequence: i64,
    removed: BTreeMap<File, i64>,
    added: File,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Compactor {
    Idle,
    /// Copied; the newest sequence number that was asked for, and whether the last reply was lost.
    Holds {
        work: Work,
        asked: Option<i64>,
        unknown: bool,
    },
    /// Waits for a reply.
    Waits {
        work: Work,
        sequence: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    compactions: u8,
    appends: u8,
    deletes: u8,
    overwrites: u8,
    rollbacks: u8,
    /// A reply is lost, a request given up and still under way, sent twice.
    lost: u8,
    late: u8,
    twice: u8,
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: BTreeMap<File, BTreeSet<Row>>,
    table: Vec<Snapshot>,
    /// Rolled back, and kept.
    off: Vec<Snapshot>,
    sequence: i64,
    compactor: Compactor,
    /// Given up, with the newest sequence number that was asked for.
    doubtful: BTreeMap<File, Option<i64>>,
    network: Vec<Request>,
    made: BTreeSet<File>,
    removed: BTreeSet<File>,
    forgotten: BTreeSet<File>,
    budget: Budget,
}

#[derive(Clone, Copy)]
struct Rules {
    conflict: fn(&Listing, &Change<'_>) -> Verdict,
    leftover: fn(&Sent) -> Fate,
}

const OURS: Rules = Rules {
    conflict: check,
    leftover: fate,
};

const NONE: Budget = Budget {
    compactions: 0,
    appends: 0,
    deletes: 0,
    overwrites: 0,
    rollbacks: 0,
    lost: 0,
    late: 0,
    twice: 0,
    crashes: 0,
};

const SCOPES: [(&str, Budget); 4] = [
    (
        "appends and lost replies",
        Budget {
            compactions: 2,
            appends: 2,
            lost: 1,
            late: 1,
            twice: 1,
            ..NONE
        },
    ),
    (
        "deletes and overwrites",
        Budget {
            compactions: 2,
            appends: 1,
            deletes: 1,
            overwrites: 1,
            late: 1,
            ..NONE
        },
    ),
    (
        "a rollback",
        Budget {
            compactions: 1,
            appends: 1,
            deletes: 1,
            rollbacks: 1,
            lost: 1,
            late: 1,
            ..NONE
        },
    ),
    (
        "a crash",
        Budget {
            compactions: 2,
            appends: 1,
            deletes: 1,
            late: 1,
            crashes: 1,
            ..NONE
        },
    ),
];

impl State {
    fn first(budget: Budget) -> State {
        let snapshot = |sequence: i64, files: &[(File, i64)]| Snapshot {
            sequence,
            data: files.iter().copied().collect(),
            deletes: BTreeSet::new(),
            holds: files.iter().map(|(file, _)| *file).collect(),
        };
        State {
            // Two commits of a pipeline, whose file's number is that of its row.
            rows: [(1, [1].into()), (2, [2].into())].into(),
            table: vec![snapshot(1, &[(1, 1)]), snapshot(2, &[(1, 1), (2, 2)])],
            off: Vec::new(),
            sequence: 2,
            compactor: Compactor::Idle,
            doubtful: BTreeMap::new(),
            network: Vec::new(),
            made: BTreeSet::new(),
            removed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            budget,
        }
    }

    fn head(&self) -> &Snapshot {
        self.table.last().expect("a table has a first snapshot")
    }

    fn next_file(&self) -> File {
        self.rows.keys().max().map_or(1, |file| file + 1)
    }

    /// A new head, like the one before but for what is done to it.
    fn commit(&mut self, change: impl FnOnce(&mut Snapshot, i64)) {
        self.sequence += 1;
        let mut snapshot = self.head().clone();
        snapshot.sequence = self.sequence;
        change(&mut snapshot, self.sequence);
        self.table.push(snapshot);
    }

    fn listing(&self) -> Listing {
        let head = self.head();
        let data = head.data.iter().map(|(file, sequence)| {
            let listed = self.listed(*file, *sequence);
            (path(*file), listed)
        });
        let deletes = head.deletes.iter().map(|(file, _, sequence)| Delete {
            hides: Hides::Places {
                first: Some(path(*file)),
                last: Some(path(*file)),
            },
            spec_id: 0,
            partition: Struct::empty(),
            sequence: *sequence,
        });
        Listing {
            data: data.collect(),
            deletes: deletes.collect(),
            ..Listing::default()
        }
    }

    fn listed(&self, file: File, sequence: i64) -> Listed {
        let rows = self.rows[&file].len();
        Listed::made(&path(file), sequence, Struct::empty(), rows)
    }

    fn rewrite(&self, work: &Work) -> Rewrite {
        let removed = work.removed.iter();
        let removed = removed.map(|(file, sequence)| self.listed(*file, *sequence));
        let added = Made {
            spec_id: 0,
            file: self.listed(work.added, work.sequence).file,
        };
        Rewrite::new(work.sequence, removed.collect(), vec![added])
    }

    /// What becomes of files that were given up, once the table has been loaded.
    fn settle(&mut self, rules: Rules) {
        for (file, asked) in self.doubtful.clone() {
            let fate = (rules.leftover)(&Sent {
                asked,
                listed: self.kept().any(|one| one.data.contains_key(&file)),
                given: self.sequence,
            });
            if fate == Fate::Dead {
                self.removed.insert(file);
            }
            if fate != Fate::Open {
                self.doubtful.remove(&file);
            }
        }
    }

    fn kept(&self) -> impl Iterator<Item = &Snapshot> {
        self.table.iter().chain(&self.off)
    }

    fn give_up(&mut self, file: File, asked: Option<i64>, rules: Rules) {
        self.compactor = Compactor::Idle;
        self.doubtful.insert(file, asked);
        self.settle(rules);
    }
}

fn path(file: File) -> String {
    format!("file-{file:03}")
}

type Moves = Vec<(Mover, String, State)>;

fn successors(state: &State, rules: Rules) -> Moves {
    let mut moves = Moves::new();
    compactor_moves(state, rules, &mut moves);
    for index in 0..state.network.len() {
        catalog_moves(state, index, &mut moves);
    }
    world_moves(state, &mut moves);
    moves
}

fn compactor_moves(state: &State, rules: Rules, moves: &mut Moves) {
    let mut protocol = |label: &str, next| moves.push((Mover::Protocol, label.to_owned(), next));
    match &state.compactor {
        Compactor::Waits { .. } => {}
        Compactor::Idle => {
            let mut next = state.clone();
            next.settle(rules);
            if next != *state {
                protocol("settles", next);
            }
            let listing = state.listing();
            let head = state.head();
            let whole = head.data.iter().filter(|(file, sequence)| {
                let listed = state.listed(**file, **sequence);
                !listing.is_hit(&listed)
            });
            let removed: BTreeMap<File, i64> = whole.map(|(file, at)| (*file, *at)).collect();
            if state.budget.compactions == 0 || removed.len() < 2 {
                return;
            }
            let mut next = state.clone();
            next.budget.compactions -= 1;
            let added = state.next_file();
            let rows = removed.keys().flat_map(|file| state.rows[file].clone());
            let rows: BTreeSet<Row> = rows.collect();
            next.rows.insert(added, rows);
            next.made.insert(added);
            next.compactor = Compactor::Holds {
                work: Work {
                    sequence: head.sequence,
                    removed,
                    added,
                },
                asked: None,
                unknown: false,
            };
            moves.push((Mover::World, "a compaction begins".to_owned(), next));
        }
        Compactor::Holds {
            work,
            asked,
            unknown,
        } => {
            let mut next = state.clone();
            let verdict =
                (rules.conflict)(&state.listing(), &Change::Rewrite(&state.rewrite(work)));
            match verdict {
                Verdict::Landed => {
                    next.compactor = Compactor::Idle;
                    protocol("sees that it landed", next);
                }
                Verdict::Conflict(why) => {
                    next.give_up(work.added, *asked, rules);
                    protocol(&format!("gives up: {why}"), next);
                }
                // Whether it is under way nobody knows: it is left alone.
                Verdict::Fits if *unknown => {
                    next.give_up(work.added, *asked, rules);
                    protocol("leaves it", next);
                }
                Verdict::Fits => {
                    let sequence = state.sequence + 1;
                    next.network.push(Request {
                        head: state.head().sequence,
                        sequence,
                        work: work.clone(),
                    });
                    next.compactor = Compactor::Waits {
                        work: work.clone(),
                        sequence,
                    };
                    protocol("asks for its commit", next);
                }
            }
        }
    }
}

/// The catalog takes a request, whenever it arrives.
fn catalog_moves(state: &State, index: usize, moves: &mut Moves) {
    let request = &state.network[index];
    let waits = matches!(&state.compactor, Compactor::Waits { work, sequence }
        if *work == request.work && *sequence == request.sequence);
    let mut next = state.clone();
    next.network.remove(index);
    let told = |next: &mut State, unknown: bool| {
        if waits {
            next.compactor = Compactor::Holds {
                work: request.work.clone(),
                asked: Some(request.sequence),
                unknown,
            };
        }
    };
    let mut protocol = |label: &str, next| moves.push((Mover::Protocol, label.to_owned(), next));
    if request.head != state.head().sequence || request.sequence != state.sequence + 1 {
        told(&mut next, false);
        protocol("409", next);
        return;
    }
    let Work {
        sequence,
        removed,
        added,
    } = &request.work;
    next.commit(|snapshot, _| {
        snapshot.data.retain(|file, _| !removed.contains_key(file));
        snapshot.data.insert(*added, *sequence);
    });
    let mut landed = next.clone();
    if waits {
        landed.compactor = Compactor::Idle;
    }
    protocol("it lands", landed);
    if waits && state.budget.lost > 0 {
        let mut lost = next.clone();
        lost.budget.lost -= 1;
        told(&mut lost, true);
        protocol("it lands, and the reply is lost", lost);
    }
    if waits && state.budget.twice > 0 {
        let mut twice = next;
        twice.budget.twice -= 1;
        told(&mut twice, false);
        protocol("it lands, is sent again, 409", twice);
    }
}

fn world_moves(state: &State, moves: &mut Moves) {
    let mut world = |label: String, next| moves.push((Mover::World, label, next));
    let (head, budget) = (state.head(), state.budget);
    if budget.appends > 0 {
        let mut next = state.clone();
        next.budget.appends -= 1;
        let file = state.next_file();
        next.rows.insert(file, [file].into());
        next.commit(|snapshot, sequence| {
            snapshot.data.insert(file, sequence);
            snapshot.holds.insert(file);
        });
        world("a pipeline appends".to_owned(), next);
    }
    for file in head.data.keys() {
        if budget.deletes > 0 {
            for row in state.rows[file]
                .iter()
                .filter(|row| head.holds.contains(row))
            {
                let mut next = state.clone();
                next.budget.deletes -= 1;
                next.commit(|snapshot, sequence| {
                    snapshot.deletes.insert((*file, *row, sequence));
                    snapshot.holds.remove(row);
                });
                world(format!("others delete row {row} of file {file}"), next);
            }
        }
        if budget.overwrites > 0 {
            let mut next = state.clone();
            next.budget.overwrites -= 1;
            next.commit(|snapshot, _| {
                snapshot.data.remove(file);
                snapshot.holds.retain(|row| !state.rows[file].contains(row));
            });
            world(format!("others overwrite file {file}"), next);
        }
    }
    if budget.rollbacks > 0 && state.table.len() > 1 {
        let mut next = state.clone();
        next.budget.rollbacks -= 1;
        next.off.extend(next.table.pop());
        world("a user rolls back".to_owned(), next);
    }
    if let Compactor::Waits { work, sequence } = &state.compactor
        && budget.late > 0
    {
        let mut next = state.clone();
        next.budget.late -= 1;
        next.compactor = Compactor::Holds {
            work: work.clone(),
            asked: Some(*sequence),
            unknown: true,
        };
        world("no answer in time, it is still under way".to_owned(), next);
    }
    if budget.crashes > 0 && state.compactor != Compactor::Idle {
        let mut next = state.clone();
        next.budget.crashes -= 1;
        if let Compactor::Holds { work, .. } | Compactor::Waits { work, .. } = &state.compactor {
            next.forgotten.insert(work.added);
        }
        next.forgotten.extend(next.doubtful.keys().copied());
        next.doubtful.clear();
        next.compactor = Compactor::Idle;
        world("crash and restart".to_owned(), next);
    }
}

/// The rows of a snapshot as a reader finds them, doubled ones twice.
fn seen(state: &State, snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, at) in &snapshot.data {
        let is_deleted = |row: &Row| {
            let mut deletes = snapshot.deletes.iter();
            deletes.any(|(other, place, deleted)| other == file && place == row && deleted >= at)
        };
        rows.extend(state.rows[file].iter().filter(|row| !is_deleted(row)));
    }
    rows.sort_unstable();
    rows
}

const R1: &str = "R1: a reader does not see what is there";
const R2: &str = "R2: a file that a snapshot lists was removed";
const R3: &str = "R3: a file that came into no table was forgotten";

fn violated(state: &State, at_rest: bool) -> Option<&'static str> {
    for snapshot in state.kept() {
        if !seen(state, snapshot).iter().eq(&snapshot.holds) {
            return Some(R1);
        }
        if snapshot
            .data
            .keys()
            .any(|file| state.removed.contains(file))
        {
            return Some(R2);
        }
    }
    let is_known = |file: &File| {
        state.kept().any(|one| one.data.contains_key(file))
            || state.removed.contains(file)
            || state.forgotten.contains(file)
            || state.doubtful.contains_key(file)
    };
    let idle = at_rest && state.compactor == Compactor::Idle;
    (idle && !state.made.iter().all(is_known)).then_some(R3)
}

fn explore(rules: Rules, budget: Budget) -> Explored {
    search(
        State::first(budget),
        |state| successors(state, rules),
        violated,
    )
}

#[test]
fn a_compaction_changes_no_row_whatever_comes_between() {
    for (name, budget) in SCOPES {
        let explored = explore(OURS, budget);
        if let Some((invariant, history)) = explored.broken {
            panic!("{name}: {invariant}\n    {}", history.join("\n    "));
        }
        let states = explored.states;
        assert!(states > 250, "{name}: only {states} states");
    }
}

#[test]
fn every_shortcut_of_a_compaction_is_caught() {
    fn fits(_: &Listing, _: &Change<'_>) -> Verdict {
        Verdict::Fits
    }
    fn without_deletes(head: &Listing, change: &Change<'_>) -> Verdict {
        let blind = Listing {
            data: head.data.clone(),
            ..Listing::default()
        };
        check(&blind, change)
    }
    fn without_a_look_at_its_own(head: &Listing, change: &Change<'_>) -> Verdict {
        match check(head, change) {
            Verdict::Landed => Verdict::Conflict(crate::commit::conflicts::Conflict::Late),
            other => other,
        }
    }
    let mutants: [(&str, Rules, &[&str]); 5] = [
        (
            "nothing is asked",
            Rules {
                conflict: fits,
                ..OURS
            },
            &[R1],
        ),
        (
            "deletes are not looked at",
            Rules {
                conflict: without_deletes,
                ..OURS
            },
            &[R1],
        ),
        (
            "a conflict is believed",
            Rules {
                conflict: without_a_look_at_its_own,
                leftover: |_| Fate::Dead,
            },
            &[R2],
        ),
        (
            "what is not listed will not come",
            Rules {
                leftover: |sent| match sent.listed {
                    true => Fate::Landed,
                    false => Fate::Dead,
                },
                ..OURS
            },
            &[R2],
        ),
        (
            "what may have landed stays for good",
            Rules {
                leftover: |_| Fate::Landed,
                ..OURS
            },
            &[R3],
        ),
    ];
    for (name, rules, by) in mutants {
        let caught = SCOPES.iter().find_map(|(_, budget)| {
            let (invariant, _) = explore(rules, *budget).broken?;
            Some(invariant)
        });
        assert!(
            caught.is_some_and(|invariant| by.contains(&invariant)),
            "{name}: {caught:?}"
        );
    }
}
