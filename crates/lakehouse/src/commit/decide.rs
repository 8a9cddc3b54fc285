//! The commit decision: facts about a table in, "done", "commit the rest" or "pause" out.
//!
//! A pipeline may find its table in any state: its last commit landed and the reply was lost, a foreign writer got in
//! between, a user rolled the table back, or an older checkpoint was restored. Whatever it then does must neither lose nor
//! double a row, and must not undo what a user did on purpose. The rule (DESIGN §5.6), in the order in which it is asked:
//!
//! 1. The property's snapshot is not an ancestor of the head → **pause**. The oldest snapshot that is kept still names its
//!    parent, so one snapshot below the horizon is known too; below that nothing is.
//! 2. Readers see a commit of ours that ends behind the property's → **pause**: after a rewind somebody moved the branch
//!    forward again, to commits that were given up.
//! 3. The property's uuid is the k-th of the pending chain → the first k are in the table, commit the rest.
//! 4. It is the uuid before the chain, and its end is the chain's start on every partition → commit all.
//! 5. No property, no commit of ours that readers see and nothing before the chain → first commit.
//! 6. Anything else → **pause**: an older checkpoint was restored, or the table has another owner.
//!
//! Why the property and not the newest marker among the snapshots: a rollback does not undo it, and expiry cannot remove it.
//! Why not the property alone: it would not notice the rollback. `model.rs` explores all of this exhaustively and shows the
//! history by which each shortcut loses.

/// What the committer knows when it decides. `U` identifies commits, `S` snapshots.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a, U, S> {
    /// Pending commits, oldest first.
    pub chain: &'a [U],
    /// The commit before the chain, as the checkpoint remembers it.
    pub last: Option<U>,
    /// The newest marker ever committed to this branch, with its snapshot: kept in a property of the table.
    pub property: Option<(U, S)>,
    /// Ancestors of the branch's head that are still kept, head included, in any order.
    pub visible: &'a [S],
    /// The parent that the oldest of `visible` names.
    pub horizon: Option<S>,
    /// The newest commit of ours that readers see ends behind the property's, or there is no property.
    pub outrun: bool,
    /// The property's end is the chain's start on every partition that both name.
    pub contiguous: bool,
}

/// What to do about a chain of pending commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All of the chain is in the table.
    Done,
    /// The first `done` are in the table; commit the others.
    Commit {
        done: usize,
    },
    Pause(Cause),
}

/// Why going on would lose or double rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Rolled back below the newest marker, replaced, or the marker's snapshot was expired by someone else.
    OffBranch,
    /// Moved forward after a rewind, to commits that were given up: their rows are there and would come again.
    Outrun,
    /// The newest marker is neither in the chain nor just before it.
    Unknown,
    /// The checkpoint remembers a commit, the table has none: it was dropped and created again. Or the table shows one, and the
    /// property is gone: what it said of a rollback is not known any more.
    MarkerGone,
    /// The marker is the one before the chain, yet the offsets do not meet.
    Gap,
}

/// The rule. Pure; see the head of this file.
pub fn decide<U: PartialEq + Copy, S: PartialEq + Copy>(facts: &Facts<'_, U, S>) -> Decision {
    let Some((at, snapshot)) = facts.property else {
        return match facts.last {
            None if !facts.outrun => Decision::Commit { done: 0 },
            _ => Decision::Pause(Cause::MarkerGone),
        };
    };
    if !on_branch(&snapshot, facts.visible, facts.horizon.as_ref()) {
        return Decision::Pause(Cause::OffBranch);
    }
    if facts.outrun {
        return Decision::Pause(Cause::Outrun);
    }
    if let Some(position) = facts.chain.iter().position(|uuid| *uuid == at) {
        return match position + 1 {
            all if all == facts.chain.len() => Decision::Done,
            done => Decision::Commit { done },
        };
    }
    if facts.last != Some(at) {
        return Decision::Pause(Cause::Unknown);
    }
    if !facts.contiguous {
        return Decision::Pause(Cause::Gap);
    }
    Decision::Commit { done: 0 }
}

/// Step 1: the snapshot is an ancestor of the head, or the one that the oldest kept ancestor still names.
pub fn on_branch<S: PartialEq>(snapshot: &S, visible: &[S], horizon: Option<&S>) -> bool {
    visible.contains(snapshot) || !visible.is_empty() && horizon == Some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(
        chain: &'a [u32],
        last: Option<u32>,
        property: Option<(u32, i64)>,
        visible: &'a [i64],
        horizon: Option<i64>,
    ) -> Facts<'a, u32, i64> {
        Facts {
            chain,
            last,
            property,
            visible,
            horizon,
            outrun: false,
            contiguous: true,
        }
    }

    #[test]
    fn every_branch_of_the_rule() {
        use Cause::{Gap, MarkerGone, OffBranch, Outrun, Unknown};
        use Decision::{Commit, Done, Pause};
        let cases = [
            (
                "first commit",
                facts(&[1], None, None, &[], None),
                Commit { done: 0 },
            ),
            (
                "first commit beside foreign snapshots",
                facts(&[1], None, None, &[7], None),
                Commit { done: 0 },
            ),
            (
                "the table lost its marker",
                facts(&[2], Some(1), None, &[7], None),
                Pause(MarkerGone),
            ),
            (
                "goes on after the last",
                facts(&[2], Some(1), Some((1, 10)), &[10], None),
                Commit { done: 0 },
            ),
            (
                "the reply was lost",
                facts(&[1, 2], None, Some((2, 10)), &[10], None),
                Done,
            ),
            (
                "part of the chain landed",
                facts(&[1, 2, 3], None, Some((2, 10)), &[10], None),
                Commit { done: 2 },
            ),
            (
                "the marker is just below the horizon",
                facts(&[2], Some(1), Some((1, 10)), &[12, 11], Some(10)),
                Commit { done: 0 },
            ),
            (
                "rolled back",
                facts(&[2], Some(1), Some((1, 10)), &[9], Some(8)),
                Pause(OffBranch),
            ),
            (
                "the branch is gone",
                facts(&[2], Some(1), Some((1, 10)), &[], None),
                Pause(OffBranch),
            ),
            (
                "an older checkpoint was restored",
                facts(&[2], Some(1), Some((5, 10)), &[10], None),
                Pause(Unknown),
            ),
            (
                "a foreign owner",
                facts(&[1], None, Some((9, 10)), &[10], None),
                Pause(Unknown),
            ),
        ];
        for (name, facts, expected) in cases {
            assert_eq!(decide(&facts), expected, "{name}");
        }
        let mut gap = facts(&[2], Some(1), Some((1, 10)), &[10], None);
        gap.contiguous = false;
        assert_eq!(decide(&gap), Pause(Gap), "offsets do not meet");
        let mut unmarked = facts(&[1], None, None, &[10], None);
        unmarked.outrun = true;
        assert_eq!(decide(&unmarked), Pause(MarkerGone), "the property is gone");
        for (chain, last, at) in [(&[2][..], Some(1), 1), (&[1, 2], None, 1), (&[1], None, 1)] {
            let mut outrun = facts(chain, last, Some((at, 10)), &[11, 10], None);
            outrun.outrun = true;
            assert_eq!(decide(&outrun), Pause(Outrun), "moved forward");
        }
    }
}
