//! The model's rewinds, and a hand that takes `main` forward again, to what a rollback had taken out.
//!
//! Behind a rewind the property names what readers see. Is `main` then moved to snapshots that were given up, their rows are
//! there and the pipeline is about to read them again: the property is an ancestor, and yet not the end.

use super::{
    Budget, Manifest, Moves, OURS, Pending, Row, Rules, Sequence, State, View, budget_of, explore,
    rows_of, started, the_rule,
};

/// Readers see a commit that ends behind the property's, or the property is gone.
pub(super) fn outrun(state: &State) -> bool {
    let Some((seen, _)) = visible(state) else {
        return false;
    };
    let Some((at, _)) = state.property else {
        return true;
    };
    let mut snapshots = state.table.iter().chain(&state.gone);
    let marker = snapshots.find_map(|snapshot| snapshot.marker.filter(|one| one.uuid == at));
    marker.is_some_and(|marker| seen.end > marker.end)
}

/// The newest commit that readers see, and the number of its snapshot.
fn visible(state: &State) -> Option<(Pending, Sequence)> {
    let mut kept = state.table[state.expired..].iter().rev();
    kept.find_map(|snapshot| Some((snapshot.marker?, snapshot.sequence)))
}

pub(super) fn moves(state: &State, moves: &mut Moves) {
    if !state.network.is_empty() {
        return;
    }
    if state.budget.rewinds > 0 && state.paused {
        moves.world("user says rewind", rewound(state));
    }
    if let Some(next) = moved_forward(state) {
        moves.world("somebody takes main forward again", next);
    }
}

fn rewound(state: &State) -> State {
    let mut next = state.clone();
    next.budget.rewinds -= 1;
    let visible = visible(state);
    next.property = visible.map(|(marker, sequence)| (marker.uuid, sequence));
    next.manifest = Manifest {
        generation: state.manifest.generation + 1,
        offset: visible.map_or(0, |(marker, _)| marker.end),
        last: visible.map(|(marker, _)| marker.uuid),
        chain: Vec::new(),
    };
    next.processes = vec![started(&next.manifest)];
    next.paused = false;
    next.excused = false;
    next.rolled.clear();
    next
}

/// `main` goes to what the last rollback took out, whatever was committed in its place since.
fn moved_forward(state: &State) -> Option<State> {
    let mut next = state.clone();
    next.budget.forwards = state.budget.forwards.checked_sub(1)?;
    let back = next.gone.pop()?;
    let mut parents = state.table.iter();
    let parent = parents.position(|snapshot| snapshot.sequence == back.parent)?;
    let away = next.table.split_off(parent + 1);
    next.rolled.extend(away.iter().flat_map(rows_of));
    next.rolled.retain(|row| !rows_of(&back).contains(row));
    next.table.push(back);
    next.excused = true;
    Some(next)
}

/// The faults as in the parent's scopes; then rewinds and moves forward.
const SCOPES: [(&str, Row, Budget); 2] = [
    (
        "rewound and moved forward",
        3,
        budget_of([0, 0, 0, 1, 0, 0, 1], [0; 4], [2, 1]),
    ),
    (
        "and a crash beside others",
        3,
        budget_of([1, 1, 0, 1, 0, 0, 0], [0; 4], [1, 1]),
    ),
];

#[test]
fn what_a_rewind_gave_up_is_not_doubled_when_it_comes_back() {
    for (name, rows, budget) in SCOPES {
        let explored = explore(OURS, rows, budget);
        if let Some((invariant, history)) = explored.broken {
            panic!("{name}: {invariant}\n    {}", history.join("\n    "));
        }
        assert!(
            explored.states > 3000,
            "{name}: only {} states",
            explored.states
        );
    }
}

#[test]
fn a_rule_that_does_not_look_behind_the_property_is_caught() {
    fn property_is_the_end(view: &View<'_>) -> super::Decision {
        the_rule(&View {
            outrun: false,
            ..*view
        })
    }
    let rules = Rules {
        decide: property_is_the_end,
        ..OURS
    };
    for (name, rows, budget) in SCOPES {
        let broken = explore(rules, rows, budget).broken;
        let invariant = broken.map(|(invariant, _)| invariant);
        assert_eq!(invariant, Some("I1: a row is doubled"), "{name}");
    }
}
