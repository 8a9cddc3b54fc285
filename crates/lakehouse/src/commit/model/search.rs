//! The search of a model: breadth first through all states that its moves lead to.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Who moved, for "is there anything left that happens by itself".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mover {
    /// A process or the catalog.
    Protocol,
    /// A fault or a user.
    World,
}

/// What an exploration found.
pub(super) struct Explored {
    pub(super) states: usize,
    /// The invariant and the shortest history that breaks it.
    pub(super) broken: Option<(&'static str, Vec<String>)>,
}

/// Goes through all states. `violated` learns whether a state is one in which nothing happens by itself any more.
pub(super) fn search<S: Clone + Eq + Hash>(
    first: S,
    successors: impl Fn(&S) -> Vec<(Mover, String, S)>,
    violated: impl Fn(&S, bool) -> Option<&'static str>,
) -> Explored {
    // Each state's number; of each number, whence and by what it came.
    let mut seen = HashMap::from([(first.clone(), 0_usize)]);
    let mut came: Vec<(usize, String)> = vec![(0, String::new())];
    let mut queue = VecDeque::from([(0, first)]);
    while let Some((number, state)) = queue.pop_front() {
        let next = successors(&state);
        let at_rest = next.iter().all(|(mover, ..)| *mover == Mover::World);
        if let Some(invariant) = violated(&state, at_rest) {
            return Explored {
                states: seen.len(),
                broken: Some((invariant, history(&came, number))),
            };
        }
        for (_, label, state) in next {
            let fresh = came.len();
            if let std::collections::hash_map::Entry::Vacant(entry) = seen.entry(state.clone()) {
                entry.insert(fresh);
                came.push((number, label));
                queue.push_back((fresh, state));
            }
        }
    }
    Explored {
        states: seen.len(),
        broken: None,
    }
}

fn history(came: &[(usize, String)], mut number: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while number != 0 {
        let (from, label) = &came[number];
        steps.push(label.clone());
        number = *from;
    }
    steps.reverse();
    steps
}
