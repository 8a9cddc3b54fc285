//! An exhaustive model of an erasure beside all that may bring its rows back.
//!
//! An eraser writes down what is erased, takes it out of the heads of two branches, ends the snapshots that hold it and removes their files. Meanwhile
//! the pipeline reads, seals and commits, by a record that it sees when it begins an epoch; a user rolls `main` back and lets the
//! pipeline read again what went; files are compacted; requests arrive late or never are answered; the eraser dies and somebody
//! goes on.
//!
//! - row = its offset; those with odd offsets have the key. Rows below `below` are erased, once there is a record.
//! - snapshot = what it lists, and where the pipeline's marker ends in it.
//!
//! Invariants: X1 once it is done, no file has an erased row, ever again; X2 no other row is lost or doubled in a head; X3 no file that a kept
//! snapshot lists was removed.

use super::search::{Explored, Mover, search};
use crate::commit::change::{Change, Erase, Made, Removal};
use crate::commit::conflicts::{Verdict, check};
use crate::commit::listing::{Listed, Listing};
use iceberg::spec::Struct;
use std::collections::{BTreeMap, BTreeSet, HashMap};

type File = u8;
type Row = u8;

/// Rows in the log.
const LOG: Row = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    parent: Option<i64>,
    /// With their data sequence numbers.
    data: BTreeMap<File, i64>,
    end: Row,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    Recorded,
    Rewritten,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    below: Row,
    stage: Stage,
    going: BTreeSet<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Branch {
    Main,
    Fix,
}

/// Files that one, or nothing, takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    branch: Branch,
    sequence: i64,
    removed: BTreeMap<File, i64>,
    added: Option<File>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    head: i64,
    sequence: i64,
    work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Eraser {
    Idle,
    /// It saw where the table ends, and where its heads are.
    Loaded {
        below: Row,
        heads: [i64; 2],
    },
    Works,
    /// Copied; whether the last reply was lost.
    Holds {
        work: Work,
        unknown: bool,
    },
    Waits(Request),
    Removes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reader {
    next: Row,
    /// Of the epoch that is open, and whether it saw the record when it began.
    open: Option<(BTreeSet<Row>, bool)>,
    /// Sealed and not committed: its file, if it has rows, and where it ends.
    sealed: Option<(Option<File>, Row)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    reads: u8,
    rollbacks: u8,
    compactions: u8,
    late: u8,
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: BTreeMap<File, BTreeSet<Row>>,
    disk: BTreeSet<File>,
    kept: BTreeMap<i64, Snapshot>,
    main: i64,
    fix: i64,
    sequence: i64,
    /// Where the marker ends in the property.
    end: Row,
    record: Option<Record>,
    reader: Reader,
    /// `main` was taken back, and the pipeline waits for a word.
    paused: bool,
    eraser: Eraser,
    network: Vec<Request>,
    budget: Budget,
}

#[derive(Clone, Copy)]
struct Rules {
    /// From which stage on an epoch that begins obeys the record, if ever.
    obeys: Option<Stage>,
    /// Heads are written anew only while the marker ends where the record says.
    looks_back: bool,
    conflict: fn(&Listing, &Change<'_>) -> Verdict,
}

const OURS: Rules = Rules {
    obeys: Some(Stage::Recorded),
    looks_back: true,
    conflict: check,
};

const NONE: Budget = Budget {
    reads: 0,
    rollbacks: 0,
    compactions: 0,
    late: 0,
    crashes: 0,
};

const SCOPES: [(&str, Budget); 4] = [
    (
        "a pipeline goes on",
        Budget {
            reads: 1,
            compactions: 1,
            ..NONE
        },
    ),
    (
        "a rewind",
        Budget {
            rollbacks: 1,
            ..NONE
        },
    ),
    (
        "a crash",
        Budget {
            reads: 1,
            crashes: 1,
            ..NONE
        },
    ),
    (
        "late requests",
        Budget {
            late: 1,
            compactions: 1,
            ..NONE
        },
    ),
];

fn has_key(row: Row) -> bool {
    row % 2 == 1
}

impl State {
    /// Two commits of the pipeline, and a branch that began behind the first.
    fn first(budget: Budget) -> State {
        let snapshot = |parent, files: &[(File, i64)], end| Snapshot {
            parent,
            data: files.iter().copied().collect(),
            end,
        };
        State {
            rows: [(1, [0, 1].into()), (2, [2, 3].into())].into(),
            disk: [1, 2].into(),
            kept: [
                (1, snapshot(None, &[(1, 1)], 2)),
                (2, snapshot(Some(1), &[(1, 1)], 2)),
                (3, snapshot(Some(1), &[(1, 1), (2, 3)], 4)),
            ]
            .into(),
            main: 3,
            fix: 2,
            sequence: 3,
            end: 4,
            record: None,
            reader: Reader {
                next: 4,
                open: None,
                sealed: None,
            },
            paused: false,
            eraser: Eraser::Idle,
            network: Vec::new(),
            budget,
        }
    }

    fn head(&self, branch: Branch) -> i64 {
        match branch {
            Branch::Main => self.main,
            Branch::Fix => self.fix,
        }
    }

    fn is_erased(&self, row: Row) -> bool {
        let record = self.record.as_ref();
        has_key(row) && record.is_some_and(|record| row < record.below)
    }

    fn has_erased(&self, file: File) -> bool {
        self.rows[&file].iter().any(|row| self.is_erased(*row))
    }

    fn holds(&self, snapshot: &Snapshot) -> bool {
        snapshot.data.keys().any(|file| self.has_erased(*file))
    }

    fn new_file(&mut self, rows: BTreeSet<Row>) -> File {
        let file = self.rows.keys().max().map_or(1, |file| file + 1);
        self.rows.insert(file, rows);
        self.disk.insert(file);
        file
    }

    /// A new head, like the one before but for what is done to it.
    fn commit(&mut self, branch: Branch, change: impl FnOnce(&mut Snapshot, i64)) {
        self.sequence += 1;
        let parent = self.head(branch);
        let mut snapshot = self.kept[&parent].clone();
        snapshot.parent = Some(parent);
        change(&mut snapshot, self.sequence);
        self.kept.insert(self.sequence, snapshot);
        match branch {
            Branch::Main => self.main = self.sequence,
            Branch::Fix => self.fix = self.sequence,
        }
    }

    fn is_listed(&self, file: File) -> bool {
        self.kept
            .values()
            .any(|snapshot| snapshot.data.contains_key(&file))
    }

    fn listing(&self, branch: Branch) -> Listing {
        let data = self.kept[&self.head(branch)].data.iter();
        let data = data.map(|(file, sequence)| (path(*file), self.listed(*file, *sequence)));
        Listing {
            data: data.collect(),
            ..Listing::default()
        }
    }

    fn listed(&self, file: File, sequence: i64) -> Listed {
        let rows = self.rows[&file].len();
        Listed::made(&path(file), sequence, Struct::empty(), rows)
    }

    fn verdict(&self, work: &Work, rules: Rules) -> Verdict {
        let removed = work.removed.iter();
        let removal = Removal {
            sequence: work.sequence,
            removed: removed
                .map(|(file, sequence)| self.listed(*file, *sequence))
                .collect(),
            copies: work
                .added
                .iter()
                .map(|file| Made {
                    spec_id: 0,
                    file: self.listed(*file, work.sequence).file,
                })
                .collect(),
        };
        let erase = Erase {
            marker: None,
            property: None,
            says: HashMap::new(),
            without: &removal,
        };
        (rules.conflict)(&self.listing(work.branch), &Change::Erase(Box::new(erase)))
    }
}

fn path(file: File) -> String {
    format!("file-{file:03}")
}

type Moves = Vec<(Mover, String, State)>;

fn successors(state: &State, rules: Rules) -> Moves {
    let mut moves = Moves::new();
    eraser_moves(state, rules, &mut moves);
    for index in 0..state.network.len() {
        catalog_moves(state, index, &mut moves);
    }
    pipeline_moves(state, rules, &mut moves);
    world_moves(state, &mut moves);
    moves
}

fn eraser_moves(state: &State, rules: Rules, moves: &mut Moves) {
    let mut next = state.clone();
    let label = match &state.eraser {
        Eraser::Waits(_) => return,
        Eraser::Idle => match &state.record {
            Some(record) if record.stage == Stage::Done => return,
            Some(_) => {
                next.eraser = Eraser::Works;
                "goes on"
            }
            None => {
                let mut rows = state.kept.values().flat_map(|one| one.data.keys());
                let is_behind =
                    rows.any(|file| state.rows[file].iter().any(|row| *row >= state.end));
                if is_behind {
                    return;
                }
                next.eraser = Eraser::Loaded {
                    below: state.end,
                    heads: [state.main, state.fix],
                };
                "looks at the table"
            }
        },
        Eraser::Loaded { below, heads } => {
            if *heads != [state.main, state.fix] {
                next.eraser = Eraser::Idle;
                "looks again"
            } else {
                next.record = Some(Record {
                    below: *below,
                    stage: Stage::Recorded,
                    going: BTreeSet::new(),
                });
                next.eraser = Eraser::Works;
                "writes down what is erased"
            }
        }
        Eraser::Works => match works(state, rules, &mut next) {
            Some(label) => label,
            None => return,
        },
        Eraser::Holds { work, unknown } => match (state.verdict(work, rules), unknown) {
            (Verdict::Fits, false) => {
                ask(state, work.clone(), &mut next);
                "asks for its commit"
            }
            // Whether it is under way nobody knows: it is left alone.
            (Verdict::Fits, true) => {
                next.eraser = Eraser::Idle;
                "gives up"
            }
            (Verdict::Landed | Verdict::Conflict(_), _) => {
                next.eraser = Eraser::Works;
                "looks at the head again"
            }
        },
        Eraser::Removes => {
            removes(state, &mut next);
            "removes files"
        }
    };
    moves.push((Mover::Protocol, label.to_owned(), next));
}

fn ask(state: &State, work: Work, next: &mut State) {
    let request = Request {
        head: state.head(work.branch),
        sequence: state.sequence + 1,
        work,
    };
    next.network.push(request.clone());
    next.eraser = Eraser::Waits(request);
}

/// Writes a head anew, or ends snapshots when there is none to be.
fn works(state: &State, rules: Rules, next: &mut State) -> Option<&'static str> {
    let record = state.record.as_ref()?;
    if rules.looks_back && state.end < record.below {
        return None;
    }
    for branch in [Branch::Main, Branch::Fix] {
        let head = &state.kept[&state.head(branch)];
        let with = head
            .data
            .iter()
            .filter(|(file, _)| state.has_erased(**file));
        let removed: BTreeMap<File, i64> = with.map(|(file, at)| (*file, *at)).collect();
        if removed.is_empty() {
            continue;
        }
        let left = removed.keys().flat_map(|file| &state.rows[file]);
        let left: BTreeSet<Row> = left.copied().filter(|row| !state.is_erased(*row)).collect();
        let work = Work {
            branch,
            sequence: state.head(branch),
            removed,
            added: (!left.is_empty()).then(|| next.new_file(left)),
        };
        next.eraser = Eraser::Holds {
            work,
            unknown: false,
        };
        return Some("copies what is left of a head");
    }
    let heads = [state.main, state.fix];
    let ends = |(id, snapshot): &(&i64, &Snapshot)| !heads.contains(id) && state.holds(snapshot);
    let gone: Vec<i64> = state.kept.iter().filter(ends).map(|(id, _)| *id).collect();
    next.kept.retain(|id, _| !gone.contains(id));
    let files = gone
        .iter()
        .flat_map(|id| state.kept[id].data.keys().copied());
    let going = files.filter(|file| state.has_erased(*file) && !next.is_listed(*file));
    let going: BTreeSet<File> = going.collect();
    let record = next.record.as_mut()?;
    record.stage = record.stage.max(Stage::Rewritten);
    record.going.extend(going);
    next.eraser = Eraser::Removes;
    Some("ends snapshots")
}

fn removes(state: &State, next: &mut State) {
    let Some(record) = &state.record else { return };
    let pending = state.reader.sealed.iter().find_map(|(file, _)| *file);
    let unlisted = state.disk.iter().filter(|file| {
        let dead = record.going.contains(file) || state.has_erased(**file);
        dead && !state.is_listed(**file) && pending != Some(**file)
    });
    for file in unlisted {
        next.disk.remove(file);
    }
    let is_clean = next.disk.iter().all(|file| !state.has_erased(*file));
    if let Some(record) = next.record.as_mut().filter(|_| is_clean) {
        record.stage = Stage::Done;
        record.going.clear();
    }
    next.eraser = Eraser::Idle;
}

/// The catalog takes a request, whenever it arrives.
fn catalog_moves(state: &State, index: usize, moves: &mut Moves) {
    let request = &state.network[index];
    let mut next = state.clone();
    next.network.remove(index);
    let Work {
        branch,
        sequence,
        removed,
        added,
    } = &request.work;
    let is_as_it_was =
        request.head == state.head(*branch) && request.sequence == state.sequence + 1;
    if is_as_it_was {
        next.commit(*branch, |snapshot, _| {
            snapshot.data.retain(|file, _| !removed.contains_key(file));
            snapshot.data.extend(added.map(|file| (file, *sequence)));
        });
    }
    if state.eraser == Eraser::Waits(request.clone()) {
        next.eraser = match is_as_it_was {
            true => Eraser::Works,
            false => Eraser::Holds {
                work: request.work.clone(),
                unknown: false,
            },
        };
    }
    let label = if is_as_it_was { "it lands" } else { "409" };
    moves.push((Mover::Protocol, label.to_owned(), next));
}

fn pipeline_moves(state: &State, rules: Rules, moves: &mut Moves) {
    if state.paused {
        return;
    }
    let reader = &state.reader;
    if state.budget.reads > 0 && reader.next < LOG {
        let mut next = state.clone();
        next.budget.reads -= 1;
        let row = reader.next;
        next.reader.next += 1;
        let stage = state.record.as_ref().map(|record| record.stage);
        let sees = rules.obeys.is_some_and(|from| stage >= Some(from));
        let (rows, obeys) = next.reader.open.get_or_insert((BTreeSet::new(), sees));
        if !(*obeys && state.is_erased(row)) {
            rows.insert(row);
        }
        moves.push((Mover::World, format!("the pipeline reads row {row}"), next));
    }
    if let (Some((rows, _)), None) = (&reader.open, &reader.sealed) {
        let mut next = state.clone();
        next.reader.open = None;
        let file = (!rows.is_empty()).then(|| next.new_file(rows.clone()));
        next.reader.sealed = Some((file, reader.next));
        moves.push((Mover::Protocol, "it seals".to_owned(), next));
    }
    if let Some((file, end)) = reader.sealed {
        let mut next = state.clone();
        next.reader.sealed = None;
        next.commit(Branch::Main, |snapshot, sequence| {
            snapshot.data.extend(file.map(|file| (file, sequence)));
            snapshot.end = end;
        });
        next.end = end;
        moves.push((Mover::Protocol, "it commits".to_owned(), next));
    }
}

fn world_moves(state: &State, moves: &mut Moves) {
    let mut world = |label: &str, next| moves.push((Mover::World, label.to_owned(), next));
    let budget = state.budget;
    let parent = state.kept[&state.main].parent;
    if let Some(parent) = parent.filter(|id| budget.rollbacks > 0 && state.kept.contains_key(id)) {
        let mut next = state.clone();
        next.budget.rollbacks -= 1;
        next.main = parent;
        next.paused = true;
        world("a user rolls back", next);
    }
    if state.paused {
        let mut next = state.clone();
        next.paused = false;
        next.end = state.kept[&state.main].end;
        next.reader = Reader {
            next: next.end,
            open: None,
            sealed: None,
        };
        // Rows of before are read again, for which there has to be something to read.
        next.budget.reads = next.budget.reads.max(2);
        moves.push((Mover::Protocol, "the pipeline goes back".to_owned(), next));
        return;
    }
    let is_shown = state
        .record
        .as_ref()
        .is_some_and(|one| one.stage == Stage::Recorded);
    let data = &state.kept[&state.main].data;
    if budget.compactions > 0 && !is_shown && data.len() > 1 {
        let mut next = state.clone();
        next.budget.compactions -= 1;
        let rows = data.keys().flat_map(|file| state.rows[file].clone());
        let file = next.new_file(rows.collect());
        let read = state.main;
        next.commit(Branch::Main, |snapshot, _| {
            snapshot.data = [(file, read)].into()
        });
        moves.push((Mover::World, "files become one".to_owned(), next));
    }
    if let Eraser::Waits(request) = &state.eraser
        && budget.late > 0
    {
        let mut next = state.clone();
        next.budget.late -= 1;
        next.eraser = Eraser::Holds {
            work: request.work.clone(),
            unknown: true,
        };
        moves.push((Mover::World, "no answer in time".to_owned(), next));
    }
    if budget.crashes > 0 && state.eraser != Eraser::Idle {
        let mut next = state.clone();
        next.budget.crashes -= 1;
        next.eraser = Eraser::Idle;
        moves.push((Mover::World, "the eraser dies".to_owned(), next));
    }
}

const X1: &str = "X1: a row that was erased is in a file";
const X2: &str = "X2: a row that was not is lost or doubled";
const X3: &str = "X3: a file that a snapshot lists was removed";

fn violated(state: &State, _at_rest: bool) -> Option<&'static str> {
    let is_done = state
        .record
        .as_ref()
        .is_some_and(|one| one.stage == Stage::Done);
    if is_done && state.disk.iter().any(|file| state.has_erased(*file)) {
        return Some(X1);
    }
    for snapshot in state.kept.values() {
        if !snapshot.data.keys().all(|file| state.disk.contains(file)) {
            return Some(X3);
        }
    }
    for (head, end) in [(state.main, state.kept[&state.main].end), (state.fix, 2)] {
        let shown = state.kept[&head]
            .data
            .keys()
            .flat_map(|file| &state.rows[file]);
        let shown: Vec<Row> = shown.copied().collect();
        for row in 0..end {
            let times = shown.iter().filter(|shown| **shown == row).count();
            if times > 1 || times == 0 && !state.is_erased(row) {
                return Some(X2);
            }
        }
    }
    None
}

fn explore(rules: Rules, budget: Budget) -> Explored {
    search(
        State::first(budget),
        |state| successors(state, rules),
        violated,
    )
}

#[test]
fn what_is_erased_stays_so_whatever_comes_between() {
    for (name, budget) in SCOPES {
        let explored = explore(OURS, budget);
        if let Some((invariant, history)) = explored.broken {
            panic!("{name}: {invariant}\n    {}", history.join("\n    "));
        }
        let states = explored.states;
        assert!(states > 15, "{name}: only {states} states");
    }
}

#[test]
fn every_shortcut_of_an_erasure_is_caught() {
    fn fits(_: &Listing, _: &Change<'_>) -> Verdict {
        Verdict::Fits
    }
    let mutants: [(&str, Rules, &str); 4] = [
        (
            "the sink does not obey",
            Rules {
                obeys: None,
                ..OURS
            },
            X1,
        ),
        (
            "the record comes last",
            Rules {
                obeys: Some(Stage::Done),
                looks_back: false,
                ..OURS
            },
            X1,
        ),
        (
            "it goes on over a rewind",
            Rules {
                looks_back: false,
                ..OURS
            },
            X1,
        ),
        (
            "nothing is asked",
            Rules {
                conflict: fits,
                ..OURS
            },
            X2,
        ),
    ];
    for (name, rules, by) in mutants {
        let caught = SCOPES.iter().find_map(|(_, budget)| {
            let (invariant, _) = explore(rules, *budget).broken?;
            Some(invariant)
        });
        assert_eq!(caught, Some(by), "{name}");
    }
}
