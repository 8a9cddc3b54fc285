//! An exhaustive model of the commit protocol: does any interleaving lose or double a row, or undo a rollback silently?
//!
//! The port of the project's model to the function that the product runs. Explored breadth first, within [`SCOPES`]:
//! reading, checkpoints, coalesced commits, lost replies, conflicts with foreign writers, crashes, a zombie process whose
//! requests arrive late, a user's rollback, a restore from an older checkpoint, expiry of old snapshots; commits to another
//! branch, which leave `main` alone and still make a request stale, requests that are given up and arrive later, and requests
//! that a proxy sends twice, whose answer is a conflict though the first had landed; rewinds, and `main` taken forward again to
//! what they gave up (`words`).
//!
//! - manifest = (generation, offset, last, chain): the only write-ahead record; a checkpoint swaps it by generation.
//! - table = snapshots, oldest first, each (sequence, parent, marker); `expired` counts the oldest that are gone.
//! - property = (uuid, sequence) of the newest marker, set with it atomically; a rollback does not undo it.
//! - attempts: what a process sent and was not told to have landed; their files are followed in `fates`.
//!
//! Compactions are a model of their own, `rewrites`, and so are promotions of branches, `promotes`.
//!
//! The invariants are the functions `i1_…` to `i7_…`. The `MUTANTS` here and there are plausible shortcuts; each must be caught.

mod fates;
mod promotes;
mod rewrites;
mod search;
mod words;

use super::decide::{Decision, Facts, decide};
use fates::{Attempts, FateRule, Files, Written, settled, the_fate};
use search::{Explored, Mover, search};
use std::collections::BTreeSet;

type Uuid = u16;
type Sequence = u16;
type Row = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pending {
    uuid: Uuid,
    previous: Option<Uuid>,
    start: Row,
    end: Row,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Manifest {
    generation: u8,
    offset: Row,
    last: Option<Uuid>,
    chain: Vec<Pending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    sequence: Sequence,
    parent: Sequence,
    marker: Option<Pending>,
    /// The files that it wrote, where they are followed. Every later snapshot lists them too.
    files: Option<Files>,
}

/// A request under way to the catalog: it was made against `base` snapshots, is to be the `sequence`th, and confirms the first
/// `confirms` of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    base: usize,
    sequence: Sequence,
    confirms: usize,
    commits: Vec<Pending>,
    files: Option<Files>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    generation: u8,
    read: Row,
    staged_from: Row,
    chain: Vec<Pending>,
    last: Option<Uuid>,
    confirmed: usize,
    request: Option<Request>,
    attempts: Attempts,
}

/// How often each fault may still strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    foreign: u8,
    crashes: u8,
    zombies: u8,
    rollbacks: u8,
    restores: u8,
    expiries: u8,
    lost_replies: u8,
    branches: u8,
    /// Given up by the process, and still under way.
    late: u8,
    /// Sent twice by a proxy.
    twice: u8,
    /// How many requests have files that are followed.
    files: u8,
    rewinds: u8,
    forwards: u8,
}

const fn budget(b: [u8; 7]) -> Budget {
    budget_of(b, [0; 4], [0; 2])
}

const fn budget_of_files(b: [u8; 7], f: [u8; 4]) -> Budget {
    budget_of(b, f, [0; 2])
}

const fn budget_of(b: [u8; 7], f: [u8; 4], w: [u8; 2]) -> Budget {
    Budget {
        foreign: b[0],
        crashes: b[1],
        zombies: b[2],
        rollbacks: b[3],
        restores: b[4],
        expiries: b[5],
        lost_replies: b[6],
        branches: f[0],
        late: f[1],
        twice: f[2],
        files: f[3],
        rewinds: w[0],
        forwards: w[1],
    }
}

/// Rows to be read; the faults: foreign commit, crash, zombie, rollback, restore, foreign expiry, lost reply; and how many
/// states that gives. The number is the original model's: a move that is lost in this port would change it.
const SCOPES: [(&str, Row, Budget, usize); 6] = [
    (
        "crashes and conflicts",
        3,
        budget([1, 2, 0, 0, 0, 0, 1]),
        123_810,
    ),
    ("a zombie", 3, budget([0, 0, 1, 0, 0, 0, 1]), 14_083),
    (
        "a zombie and a crash",
        2,
        budget([1, 1, 1, 0, 0, 0, 0]),
        19_059,
    ),
    (
        "rollback and expiry",
        3,
        budget([2, 0, 0, 1, 0, 2, 0]),
        16_945,
    ),
    (
        "rollback and crash",
        3,
        budget([1, 1, 0, 1, 0, 0, 1]),
        31_400,
    ),
    ("restore", 3, budget([1, 1, 0, 0, 1, 1, 0]), 104_519),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    manifest: Manifest,
    older: Vec<Manifest>,
    table: Vec<Snapshot>,
    sequence: Sequence,
    expired: usize,
    property: Option<(Uuid, Sequence)>,
    processes: Vec<Process>,
    network: Vec<(usize, u8, Request)>,
    next_uuid: Uuid,
    written: Written,
    budget: Budget,
    paused: bool,
    /// A pause is in order: an older checkpoint was restored, or a foreign expiry cut off our newest marker.
    excused: bool,
    /// Rows that the user took out by a rollback.
    rolled: BTreeSet<Row>,
    /// What rollbacks took out, where somebody may yet take `main` there again.
    gone: Vec<Snapshot>,
}

/// What a rule sees.
struct View<'a> {
    chain: &'a [Pending],
    last: Option<Uuid>,
    table: &'a [Snapshot],
    expired: usize,
    property: Option<(Uuid, Sequence)>,
    outrun: bool,
}

type Rule = fn(&View<'_>) -> Decision;

fn the_rule(view: &View<'_>) -> Decision {
    let chain: Vec<Uuid> = view.chain.iter().map(|pending| pending.uuid).collect();
    let kept = &view.table[view.expired..];
    let visible: Vec<Sequence> = kept.iter().map(|snapshot| snapshot.sequence).collect();
    decide(&Facts {
        chain: &chain,
        last: view.last,
        property: view.property,
        visible: &visible,
        horizon: kept.first().map(|oldest| oldest.parent),
        outrun: view.outrun,
        contiguous: true,
    })
}

fn single(sequence: Sequence) -> [Snapshot; 1] {
    [Snapshot {
        sequence,
        parent: 0,
        marker: None,
        files: None,
    }]
}

fn only_the_last_is_looked_for(view: &View<'_>) -> Decision {
    match view.property {
        Some((at, _)) if view.chain.last().is_some_and(|pending| pending.uuid == at) => {
            Decision::Done
        }
        _ => Decision::Commit { done: 0 },
    }
}

/// Believes the newest marker that it sees, and does not ask whether a newer one was rolled back.
fn newest_visible_marker(view: &View<'_>) -> Decision {
    let seen = view.table[view.expired..]
        .iter()
        .filter_map(|snapshot| Some((snapshot.marker?.uuid, snapshot.sequence)))
        .next_back();
    let newest = seen.or(if view.expired > 0 {
        view.property
    } else {
        None
    });
    let table = single(newest.map_or(0, |(_, sequence)| sequence));
    the_rule(&View {
        table: &table,
        expired: 0,
        property: newest,
        ..*view
    })
}

fn property_alone(view: &View<'_>) -> Decision {
    let Some((_, sequence)) = view.property else {
        return the_rule(view);
    };
    the_rule(&View {
        table: &single(sequence),
        expired: 0,
        ..*view
    })
}

fn an_unknown_marker_is_no_obstacle(view: &View<'_>) -> Decision {
    let known = match view.property {
        None => true,
        Some((at, _)) => {
            view.last == Some(at) || view.chain.iter().any(|pending| pending.uuid == at)
        }
    };
    if known {
        the_rule(view)
    } else {
        Decision::Commit { done: 0 }
    }
}

const MUTANTS: [(&str, Rule); 5] = [
    ("blind retry", |_| Decision::Commit { done: 0 }),
    (
        "only the last of the chain is looked for",
        only_the_last_is_looked_for,
    ),
    ("newest visible marker, no property", newest_visible_marker),
    ("property alone", property_alone),
    (
        "an unknown marker is no obstacle",
        an_unknown_marker_is_no_obstacle,
    ),
];

fn started(manifest: &Manifest) -> Process {
    Process {
        generation: manifest.generation,
        read: manifest.offset,
        staged_from: manifest.offset,
        chain: manifest.chain.clone(),
        last: manifest.last,
        confirmed: 0,
        request: None,
        attempts: Attempts::default(),
    }
}

fn taken_over(manifest: &Manifest) -> Manifest {
    Manifest {
        generation: manifest.generation + 1,
        ..manifest.clone()
    }
}

struct Moves {
    list: Vec<(Mover, String, State)>,
}

impl Moves {
    fn protocol(&mut self, label: String, state: State) {
        self.list.push((Mover::Protocol, label, state));
    }

    fn world(&mut self, label: &str, state: State) {
        self.list.push((Mover::World, label.to_owned(), state));
    }
}

fn successors(state: &State, rows: Row, rules: Rules) -> Vec<(Mover, String, State)> {
    let mut moves = Moves { list: Vec::new() };
    for index in 0..state.processes.len() {
        process_moves(state, index, rows, rules, &mut moves);
    }
    for index in 0..state.network.len() {
        catalog_moves(state, index, &mut moves);
    }
    world_moves(state, &mut moves);
    moves.list
}

fn process_moves(state: &State, index: usize, rows: Row, rules: Rules, moves: &mut Moves) {
    let process = &state.processes[index];
    let me = format!("p{}", process.generation);
    let mine = state.manifest.generation == process.generation;
    if process.read < rows {
        let mut next = state.clone();
        next.processes[index].read += 1;
        moves.protocol(format!("{me} reads row {}", process.read), next);
    }
    if process.request.is_some() {
        return;
    }
    if mine && (process.read > process.staged_from || process.confirmed > 0) {
        moves.protocol(format!("{me} checkpoints"), checkpointed(state, index));
    }
    if process.confirmed >= process.chain.len() || state.paused {
        return;
    }
    // The table is loaded: what earlier attempts left is settled first.
    let state = &settled(state, index, rules.fate);
    let process = &state.processes[index];
    let decision = (rules.decide)(&View {
        chain: &process.chain,
        last: process.last,
        table: &state.table,
        expired: state.expired,
        property: state.property,
        outrun: words::outrun(state),
    });
    let mut next = state.clone();
    match decision {
        // Before pausing, look at the manifest: a fenced process just ends.
        Decision::Pause(_) if !mine => {
            let me = &mut next.processes[index];
            (me.read, me.staged_from, me.chain, me.confirmed) = (rows, rows, Vec::new(), 0);
            moves.protocol(format!("p{} is fenced", process.generation), next);
        }
        Decision::Pause(cause) => {
            next.paused = true;
            moves.protocol(format!("{me} pauses: {cause:?}"), next);
        }
        Decision::Done => {
            next.processes[index].confirmed = process.chain.len();
            moves.protocol(format!("{me} recognises all"), next);
        }
        Decision::Commit { done } => {
            // Pending appends may coalesce: any number of them in one request.
            for confirms in done + 1..=process.chain.len() {
                let mut next = state.clone();
                let files = (state.budget.files > 0).then(|| {
                    next.budget.files -= 1;
                    next.written.by_another_attempt()
                });
                let request = Request {
                    base: state.table.len(),
                    sequence: state.sequence + 1,
                    confirms,
                    commits: process.chain[done..confirms].to_vec(),
                    files,
                };
                let attempts = &mut next.processes[index].attempts;
                attempts.sent(files, request.sequence);
                next.network
                    .push((index, process.generation, request.clone()));
                next.processes[index].request = Some(request);
                moves.protocol(format!("{me} sends {done}..{confirms}"), next);
            }
        }
    }
}

fn checkpointed(state: &State, index: usize) -> State {
    let mut next = state.clone();
    let process = &mut next.processes[index];
    if process.confirmed > 0 {
        process.last = Some(process.chain[process.confirmed - 1].uuid);
        process.chain.drain(..process.confirmed);
        process.confirmed = 0;
    }
    if process.read > process.staged_from {
        process.chain.push(Pending {
            uuid: state.next_uuid,
            previous: process
                .chain
                .last()
                .map(|pending| pending.uuid)
                .or(process.last),
            start: process.staged_from,
            end: process.read,
        });
        process.staged_from = process.read;
    }
    let manifest = Manifest {
        generation: process.generation,
        offset: process.read,
        last: process.last,
        chain: process.chain.clone(),
    };
    next.next_uuid += 1;
    next.older
        .insert(0, std::mem::replace(&mut next.manifest, manifest));
    next.older.truncate(2);
    next
}

/// The catalog takes a request, whenever it arrives.
fn catalog_moves(state: &State, index: usize, moves: &mut Moves) {
    let (sender, generation, request) = &state.network[index];
    let owner = state.processes.get(*sender).is_some_and(|process| {
        process.generation == *generation && process.request.as_ref() == Some(request)
    });
    let mut next = state.clone();
    next.network.remove(index);
    if owner {
        next.processes[*sender].request = None;
    }
    if request.base != state.table.len() || request.sequence != state.sequence + 1 {
        if owner {
            next.processes[*sender].attempts.conflict(request.files);
        }
        moves.protocol("catalog answers 409".to_owned(), next);
        return;
    }
    let (first, last) = (
        request.commits[0],
        request.commits[request.commits.len() - 1],
    );
    next.sequence += 1;
    next.property = Some((last.uuid, next.sequence));
    next.table.push(Snapshot {
        sequence: next.sequence,
        parent: state.table.last().map_or(0, |head| head.sequence),
        marker: Some(Pending {
            uuid: last.uuid,
            previous: first.previous,
            start: first.start,
            end: last.end,
        }),
        files: request.files,
    });
    if state.budget.twice > 0 && owner {
        let mut twice = next.clone();
        twice.budget.twice -= 1;
        twice.processes[*sender].attempts.conflict(request.files);
        moves.protocol("commit, sent again, 409".to_owned(), twice);
    }
    if state.budget.lost_replies > 0 && owner {
        let mut lost = next.clone();
        lost.budget.lost_replies -= 1;
        moves.protocol("commit, reply lost".to_owned(), lost);
    }
    if owner {
        let me = &mut next.processes[*sender];
        me.confirmed = request.confirms;
        me.attempts.confirmed(request.files);
    }
    moves.protocol(
        format!("catalog commits {}..{}", first.start, last.end),
        next,
    );
}

fn world_moves(state: &State, moves: &mut Moves) {
    let kept = state.table.len() - state.expired;
    if state.budget.crashes > 0 && !state.processes.is_empty() {
        let mut next = state.clone();
        next.budget.crashes -= 1;
        next.manifest = taken_over(&state.manifest);
        let crashed = next.processes.pop();
        if let Some(crashed) = crashed {
            next.written.forget(&crashed.attempts);
        }
        next.processes.push(started(&next.manifest));
        moves.world("crash and restart", next);
    }
    if state.budget.zombies > 0 && state.processes.len() == 1 {
        let mut next = state.clone();
        next.budget.zombies -= 1;
        next.manifest = taken_over(&state.manifest);
        next.processes.push(started(&next.manifest));
        moves.world("a second process takes over, the first lives on", next);
    }
    if state.budget.foreign > 0 {
        let mut next = state.clone();
        next.budget.foreign -= 1;
        next.sequence += 1;
        next.table.push(Snapshot {
            sequence: next.sequence,
            parent: state.table.last().map_or(0, |head| head.sequence),
            marker: None,
            files: None,
        });
        moves.world("foreign commit", next);
    }
    if state.budget.branches > 0 {
        let mut next = state.clone();
        next.budget.branches -= 1;
        next.sequence += 1;
        moves.world("a commit to another branch", next);
    }
    for index in 0..state.processes.len() {
        if state.budget.late > 0 && state.processes[index].request.is_some() {
            let mut next = state.clone();
            next.budget.late -= 1;
            next.processes[index].request = None;
            moves.world("no answer in time, the request is still under way", next);
        }
    }
    if state.budget.expiries > 0 && kept > 1 {
        let mut next = state.clone();
        next.budget.expiries -= 1;
        next.expired += 1;
        let cut = state.property.is_some()
            && on_branch(state, state.expired)
            && !on_branch(state, next.expired);
        next.excused |= cut;
        moves.world("oldest snapshot expires", next);
    }
    if state.budget.rollbacks > 0 && kept > 1 && state.network.is_empty() {
        let mut next = state.clone();
        next.budget.rollbacks -= 1;
        let gone = next.table.pop();
        next.rolled.extend(gone.iter().flat_map(rows_of));
        next.gone.extend(gone.filter(|_| state.budget.forwards > 0));
        moves.world("user rolls back one snapshot", next);
    }
    words::moves(state, moves);
    if state.budget.restores > 0
        && state.network.is_empty()
        && let Some(old) = state.older.last()
    {
        let mut next = state.clone();
        next.budget.restores -= 1;
        next.manifest = Manifest {
            generation: state.manifest.generation + 1,
            ..old.clone()
        };
        next.processes = vec![started(&next.manifest)];
        next.excused = true;
        moves.world("user restores an older checkpoint", next);
    }
}

fn on_branch(state: &State, expired: usize) -> bool {
    let Some((_, at)) = state.property else {
        return false;
    };
    let kept = &state.table[expired..];
    kept.iter().any(|snapshot| snapshot.sequence == at)
        || kept.first().is_some_and(|oldest| oldest.parent == at)
}

fn rows_of(snapshot: &Snapshot) -> std::ops::Range<Row> {
    snapshot
        .marker
        .map_or(0..0, |marker| marker.start..marker.end)
}

fn rows_in(state: &State) -> Vec<Row> {
    state.table.iter().flat_map(rows_of).collect()
}

fn i1_no_row_is_doubled(got: &[Row]) -> bool {
    got.iter().collect::<BTreeSet<_>>().len() == got.len()
}

fn i2_no_row_is_missing_below_another(got: &[Row]) -> bool {
    let mut sorted = got.to_vec();
    sorted.sort_unstable();
    sorted
        .iter()
        .enumerate()
        .all(|(index, row)| index == usize::from(*row))
}

fn i3_no_rollback_is_undone(state: &State, got: &[Row]) -> bool {
    !got.iter().any(|row| state.rolled.contains(row))
}

fn i4_at_rest_all_rows_landed_or_it_paused(state: &State, got: &[Row], rows: Row) -> bool {
    state.paused || !state.rolled.is_empty() || got.len() == usize::from(rows)
}

fn i5_pauses_only_for_a_reason(state: &State) -> bool {
    !state.paused || !state.rolled.is_empty() || state.excused
}

fn violated(state: &State, at_rest: bool, rows: Row) -> Option<&'static str> {
    let got = rows_in(state);
    if !i1_no_row_is_doubled(&got) {
        return Some("I1: a row is doubled");
    }
    if !i2_no_row_is_missing_below_another(&got) {
        return Some("I2: a row is missing below another");
    }
    if !i3_no_rollback_is_undone(state, &got) {
        return Some("I3: a rollback is undone without a word");
    }
    if at_rest && !i4_at_rest_all_rows_landed_or_it_paused(state, &got, rows) {
        return Some("I4: rows are lost without a word");
    }
    if !fates::i6_no_listed_file_is_removed(state) {
        return Some(fates::I6);
    }
    if at_rest && !fates::i7_at_rest_only_the_open_stay(state) {
        return Some("I7: files of an attempt were forgotten");
    }
    if at_rest && !i5_pauses_only_for_a_reason(state) {
        return Some("I5: paused though nobody meddled");
    }
    None
}

#[derive(Clone, Copy)]
struct Rules {
    decide: Rule,
    fate: FateRule,
}

const OURS: Rules = Rules {
    decide: the_rule,
    fate: the_fate,
};

/// Breadth first through all states.
fn explore(rules: Rules, rows: Row, budget: Budget) -> Explored {
    let manifest = Manifest {
        generation: 0,
        offset: 0,
        last: None,
        chain: Vec::new(),
    };
    let first = State {
        processes: vec![started(&manifest)],
        manifest,
        older: Vec::new(),
        table: Vec::new(),
        sequence: 0,
        expired: 0,
        property: None,
        network: Vec::new(),
        next_uuid: 1,
        written: Written::default(),
        budget,
        paused: false,
        excused: false,
        rolled: BTreeSet::new(),
        gone: Vec::new(),
    };
    search(
        first,
        |state| successors(state, rows, rules),
        |state, at_rest| violated(state, at_rest, rows),
    )
}

#[test]
fn the_rule_holds_in_every_scope() {
    for (name, rows, budget, states) in SCOPES {
        let explored = explore(OURS, rows, budget);
        if let Some((invariant, history)) = explored.broken {
            panic!("{name}: {invariant}\n    {}", history.join("\n    "));
        }
        assert_eq!(
            explored.states, states,
            "{name}: another number of states than the original model"
        );
    }
}

#[test]
fn every_mutant_is_caught() {
    for (name, mutant) in MUTANTS {
        let rules = Rules {
            decide: mutant,
            ..OURS
        };
        let caught = SCOPES
            .iter()
            .any(|(_, rows, budget, _)| explore(rules, *rows, *budget).broken.is_some());
        assert!(caught, "no scope catches: {name}");
    }
}
