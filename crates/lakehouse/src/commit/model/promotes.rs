//! An exhaustive model of a promotion beside everything that others do to a table.
//!
//! A pipeline has three commits pending: an append, a promotion of row 1 by a branch's file, an append. It decides by the product's own
//! [`decide`](crate::commit::decide), and whether the promotion fits by [`verdict`]; what goes is worked out for the head each time.
//! Meanwhile files are compacted, rows deleted by their places, files taken out; requests arrive late, twice or never, replies get lost,
//! and the process dies and begins again with its chain.
//!
//! - row = its offset, and whether the new plan made it. - file = the rows in it.
//! - snapshot = how often it lists each file, and the rows that a reader must see in it.
//!
//! Invariants: P1 a reader sees each row that is there, once, and no other; P2 nothing that others deleted comes back; P3 at rest all that
//! was pending is there, or the promotion was given up because others
//! changed its rows, or deleted some of a file that has rows of it.

use super::search::{Explored, Mover, search};
use crate::commit::decide::{Decision, Facts, decide};
use crate::replay::{Range, Verdict, verdict};
use std::collections::{BTreeMap, BTreeSet};

type File = u8;
/// Its offset, and whether the new plan made it.
type Row = (u8, bool);
type Uuid = u8;

/// What is promoted, and by which file.
const PROMOTED: u8 = 1;
const BRANCH: File = 9;
/// The files of appends are this, and their rows.
const APPENDED: File = 100;
const CHAIN: [Uuid; 3] = [11, 12, 13];
/// The rows of the appends.
const APPENDS: [Option<u8>; 3] = [Some(3), None, Some(4)];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    sequence: i64,
    data: BTreeMap<File, u8>,
    deletes: BTreeSet<(File, u8)>,
    holds: BTreeSet<Row>,
    /// Others changed the promoted row before it was.
    changed: bool,
    is_promoted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Append(File),
    Promote {
        removed: BTreeSet<File>,
        copies: BTreeSet<File>,
    },
    GiveUp,
    /// Of a mutant: `main` becomes what the branch is.
    Move,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    head: i64,
    sequence: i64,
    /// The place in the chain.
    place: usize,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    compactions: u8,
    deletes: u8,
    drops: u8,
    lost: u8,
    late: u8,
    twice: u8,
    crashes: u8,
    /// The user has named what others do.
    named: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: BTreeMap<File, BTreeSet<Row>>,
    table: Vec<Snapshot>,
    property: (Uuid, i64),
    confirmed: usize,
    waits: Option<Request>,
    network: Vec<Request>,
    budget: Budget,
    given_up: bool,
}

#[derive(Clone, Copy)]
struct Rules {
    decide: fn(&Facts<'_, Uuid, i64>) -> Decision,
    verdict: fn(&Range) -> Verdict,
    removal: fn(&State) -> BTreeSet<File>,
    moves: bool,
}

const OURS: Rules = Rules {
    decide,
    verdict,
    removal: found,
    moves: false,
};

const NONE: Budget = Budget {
    compactions: 0,
    deletes: 0,
    drops: 0,
    lost: 0,
    late: 0,
    twice: 0,
    crashes: 0,
    named: false,
};

const SCOPES: [(&str, Budget); 4] = [
    (
        "compactions and requests",
        Budget {
            compactions: 2,
            lost: 1,
            late: 1,
            twice: 1,
            ..NONE
        },
    ),
    (
        "a crash",
        Budget {
            compactions: 1,
            lost: 1,
            late: 1,
            crashes: 2,
            ..NONE
        },
    ),
    (
        "others delete",
        Budget {
            compactions: 1,
            deletes: 2,
            drops: 1,
            late: 1,
            crashes: 1,
            ..NONE
        },
    ),
    (
        "others delete, and were named",
        Budget {
            compactions: 1,
            deletes: 2,
            drops: 1,
            lost: 1,
            named: true,
            ..NONE
        },
    ),
];

impl State {
    /// Two commits, of which the promoted row has a file of its own, and the branch is done.
    fn first(budget: Budget) -> State {
        let files = [(1, [(1, false)]), (2, [(2, false)]), (BRANCH, [(1, true)])];
        State {
            rows: files.map(|(file, rows)| (file, rows.into())).into(),
            table: vec![Snapshot {
                sequence: 1,
                data: [(1, 1), (2, 1)].into(),
                deletes: BTreeSet::new(),
                holds: [(1, false), (2, false)].into(),
                changed: false,
                is_promoted: false,
            }],
            property: (10, 1),
            confirmed: 0,
            waits: None,
            network: Vec::new(),
            budget,
            given_up: false,
        }
    }

    fn head(&self) -> &Snapshot {
        self.table.last().expect("a table has a first snapshot")
    }

    fn next_file(&self) -> File {
        let copies = self.rows.keys().filter(|file| **file < APPENDED);
        copies.max().map_or(1, |file| file + 1)
    }

    /// A file of the visible rows of others, but those of the range where they are left out.
    fn copy(&mut self, files: &BTreeSet<File>, is_wanted: impl Fn(&Row) -> bool) -> BTreeSet<File> {
        let rows = files.iter().flat_map(|file| self.rows[file].clone());
        let rows: BTreeSet<Row> = rows.filter(is_wanted).collect();
        if rows.is_empty() {
            return BTreeSet::new();
        }
        let file = self.next_file();
        self.rows.insert(file, rows);
        [file].into()
    }

    fn commit(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.head().clone();
        snapshot.sequence += 1;
        change(&mut snapshot);
        self.table.push(snapshot);
    }

    fn range(&self) -> Range {
        let (head, found) = (self.head(), found(self));
        let count = |file: &File| {
            let rows = self.rows[file].iter().filter(|row| row.0 == PROMOTED);
            rows.count() as u64 * u64::from(head.data[file])
        };
        let is_hit = |file: &&File| head.deletes.iter().any(|(other, _)| other == *file);
        let is_cut = |file: &&File| self.rows[*file].iter().any(|row| row.0 != PROMOTED);
        Range {
            is_listed: head.data.contains_key(&BRANCH),
            rows: found.iter().map(count).sum(),
            then: 1,
            hit: found.iter().any(|file| is_hit(&file)),
            cut_and_hit: found.iter().filter(is_cut).any(|file| is_hit(&file)),
            others: head.changed || !head.deletes.is_empty(),
            unnamed: !self.budget.named,
        }
    }
}

/// The files that have rows of the range.
fn found(state: &State) -> BTreeSet<File> {
    let of_range = |file: &&File| state.rows[*file].iter().any(|row| row.0 == PROMOTED);
    state.head().data.keys().filter(of_range).copied().collect()
}

type Moves = Vec<(Mover, String, State)>;

fn successors(state: &State, rules: Rules) -> Moves {
    let mut moves = Moves::new();
    process_moves(state, rules, &mut moves);
    for index in 0..state.network.len() {
        catalog_moves(state, index, &mut moves);
    }
    world_moves(state, &mut moves);
    moves
}

fn process_moves(state: &State, rules: Rules, moves: &mut Moves) {
    if state.waits.is_some() || state.confirmed == CHAIN.len() {
        return;
    }
    let visible: Vec<i64> = state.table.iter().map(|one| one.sequence).collect();
    let decision = (rules.decide)(&Facts {
        chain: &CHAIN[state.confirmed..],
        last: Some(match state.confirmed {
            0 => 10,
            more => CHAIN[more - 1],
        }),
        property: Some(state.property),
        visible: &visible,
        horizon: None,
        outrun: false,
        contiguous: true,
    });
    let mut next = state.clone();
    let done = match decision {
        Decision::Done => {
            next.confirmed = CHAIN.len();
            moves.push((Mover::Protocol, "recognises all".to_owned(), next));
            return;
        }
        Decision::Commit { done } => state.confirmed + done,
        Decision::Pause(_) => return,
    };
    next.confirmed = done;
    let work = match APPENDS[done] {
        Some(row) => {
            next.rows.insert(APPENDED + row, [(row, false)].into());
            Work::Append(APPENDED + row)
        }
        None if rules.moves => Work::Move,
        None => match (rules.verdict)(&state.range()) {
            Verdict::Fits => {
                let removed = (rules.removal)(state);
                let copies = next.copy(&removed, |row| row.0 != PROMOTED);
                Work::Promote { removed, copies }
            }
            Verdict::Promoted | Verdict::TakenOut | Verdict::Changed | Verdict::Deleted => {
                Work::GiveUp
            }
        },
    };
    let request = Request {
        head: state.head().sequence,
        sequence: state.head().sequence + 1,
        place: done,
        work,
    };
    next.network.push(request.clone());
    next.waits = Some(request);
    moves.push((Mover::Protocol, format!("sends {done}"), next));
}

/// The catalog takes a request, whenever it arrives.
fn catalog_moves(state: &State, index: usize, moves: &mut Moves) {
    let request = &state.network[index];
    let waits = state.waits.as_ref() == Some(request);
    let mut next = state.clone();
    next.network.remove(index);
    if waits {
        next.waits = None;
    }
    let mut protocol = |label: &str, next| moves.push((Mover::Protocol, label.to_owned(), next));
    if request.head != state.head().sequence {
        protocol("409", next);
        return;
    }
    let fork = state.table[0].data.clone();
    next.commit(|snapshot| match &request.work {
        Work::Append(file) => {
            *snapshot.data.entry(*file).or_default() += 1;
            snapshot.holds.insert((file - APPENDED, false));
        }
        Work::Promote { removed, copies } => {
            snapshot.data.retain(|file, _| !removed.contains(file));
            for file in copies.iter().chain([&BRANCH]) {
                *snapshot.data.entry(*file).or_default() += 1;
            }
            snapshot.deletes.retain(|(file, _)| !removed.contains(file));
            snapshot.holds.retain(|row| row.0 != PROMOTED);
            snapshot.holds.insert((PROMOTED, true));
            snapshot.is_promoted = true;
        }
        Work::GiveUp => {}
        Work::Move => {
            snapshot.data = fork;
            snapshot.data.remove(&1);
            snapshot.data.insert(BRANCH, 1);
            snapshot.holds.retain(|row| row.0 != PROMOTED);
            snapshot.holds.insert((PROMOTED, true));
            snapshot.is_promoted = true;
        }
    });
    next.property = (CHAIN[request.place], next.head().sequence);
    next.given_up |= request.work == Work::GiveUp;
    let mut landed = next.clone();
    if waits {
        landed.confirmed = request.place + 1;
    }
    protocol("it lands", landed);
    if waits && state.budget.lost > 0 {
        let mut lost = next.clone();
        lost.budget.lost -= 1;
        protocol("it lands, and the reply is lost", lost);
    }
    if waits && state.budget.twice > 0 {
        let mut twice = next;
        twice.budget.twice -= 1;
        twice.network.push(request.clone());
        protocol("it lands, and is sent again", twice);
    }
}

fn world_moves(state: &State, moves: &mut Moves) {
    let mut world = |label: String, next| moves.push((Mover::World, label, next));
    let (head, budget) = (state.head(), state.budget);
    let clean: BTreeSet<File> = head.data.keys().copied().collect();
    let is_clean = |file: &File| !head.deletes.iter().any(|(other, _)| other == file);
    let clean: BTreeSet<File> = clean.into_iter().filter(is_clean).collect();
    if budget.compactions > 0 && clean.len() > 1 {
        let mut next = state.clone();
        next.budget.compactions -= 1;
        let copies = next.copy(&clean, |_| true);
        next.commit(|snapshot| {
            snapshot.data.retain(|file, _| !clean.contains(file));
            snapshot.data.extend(copies.iter().map(|file| (*file, 1)));
        });
        world("files are compacted".to_owned(), next);
    }
    for file in head.data.keys() {
        for row in state.rows[file]
            .iter()
            .filter(|row| head.holds.contains(row))
        {
            if budget.deletes > 0 {
                let mut next = state.clone();
                next.budget.deletes -= 1;
                next.commit(|snapshot| {
                    snapshot.deletes.insert((*file, row.0));
                    snapshot.holds.remove(row);
                    snapshot.changed |= row.0 == PROMOTED && !snapshot.is_promoted;
                });
                world(format!("others delete row {} of file {file}", row.0), next);
            }
        }
        let alone = state.rows[file].len() == 1 && is_clean(file);
        if budget.drops > 0 && alone {
            let mut next = state.clone();
            next.budget.drops -= 1;
            next.commit(|snapshot| {
                let rows = &state.rows[file];
                snapshot.data.remove(file);
                snapshot.holds.retain(|row| !rows.contains(row));
                let of_range = rows.iter().any(|row| row.0 == PROMOTED);
                snapshot.changed |= of_range && !snapshot.is_promoted;
            });
            world(format!("others take out file {file}"), next);
        }
    }
    if state.waits.is_some() && budget.late > 0 {
        let mut next = state.clone();
        next.budget.late -= 1;
        next.waits = None;
        world("no answer in time, it is still under way".to_owned(), next);
    }
    if budget.crashes > 0 {
        let mut next = state.clone();
        next.budget.crashes -= 1;
        next.waits = None;
        next.confirmed = 0;
        world("crash and restart".to_owned(), next);
    }
}

/// The rows of a snapshot as a reader finds them, doubled ones twice.
fn seen(state: &State, snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, times) in &snapshot.data {
        for _ in 0..*times {
            let is_there = |row: &&Row| !snapshot.deletes.contains(&(*file, row.0));
            rows.extend(state.rows[file].iter().filter(is_there));
        }
    }
    rows.sort_unstable();
    rows
}

const P1: &str = "P1: a reader does not see what is there";
const P2: &str = "P2: what others deleted came back";
const P3: &str = "P3: what was pending is not there";

fn violated(state: &State, at_rest: bool) -> Option<&'static str> {
    for snapshot in &state.table {
        if !seen(state, snapshot).iter().eq(&snapshot.holds) {
            return Some(P1);
        }
        if snapshot.is_promoted && snapshot.changed && !state.budget.named {
            return Some(P2);
        }
    }
    // Whether a delete beside the range hides a row of it is not looked up: one of a file that has some is enough.
    let is_of_range = |file: &File| state.rows[file].iter().any(|row| row.0 == PROMOTED);
    let touched =
        |one: &Snapshot| one.changed || one.deletes.iter().any(|(file, _)| is_of_range(file));
    let head = state.head();
    let wanted = state.confirmed == CHAIN.len()
        && (head.is_promoted || state.given_up && state.table.iter().any(touched));
    (at_rest && !wanted).then_some(P3)
}

fn explore(rules: Rules, budget: Budget) -> Explored {
    search(
        State::first(budget),
        |state| successors(state, rules),
        violated,
    )
}

#[test]
fn a_promotion_lands_once_and_undoes_nothing_that_was_not_named() {
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
fn every_shortcut_of_a_promotion_is_caught() {
    let mutants: [(&str, Rules, &[&str]); 5] = [
        (
            "what goes stands in the checkpoint",
            Rules {
                removal: |_| [1].into(),
                ..OURS
            },
            &[P1],
        ),
        (
            "nobody asks whether rows were deleted",
            Rules {
                verdict: |_| Verdict::Fits,
                ..OURS
            },
            &[P1, P2],
        ),
        (
            "rows are not counted",
            Rules {
                verdict: |range| {
                    verdict(&Range {
                        rows: range.then,
                        ..*range
                    })
                },
                ..OURS
            },
            &[P2],
        ),
        (
            "main becomes the branch",
            Rules {
                moves: true,
                ..OURS
            },
            &[P1],
        ),
        (
            "it is sent without a look at the marker",
            Rules {
                decide: |_| Decision::Commit { done: 0 },
                ..OURS
            },
            &[P1],
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
