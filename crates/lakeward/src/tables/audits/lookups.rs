//! What commits say of the tables that rows were looked up in: each stretch of offsets is executed again with the versions that it was
//! joined with.

use super::ends;
use lw_lakehouse::view::SnapshotView;
use lw_ops::audit::ahead::Ends;
use lw_runtime::Pins;
use lw_runtime::manifest::{SplitOffset, SplitRange};

/// Offsets whose rows were joined with the same versions of tables, by one plan.
pub(super) struct LookedUp {
    pub(super) plan: Option<String>,
    pub(super) pins: Pins,
    pub(super) from: Ends,
}

/// What the kept commits say of the tables that rows were looked up in, oldest first; nothing, where none was.
pub(super) fn looked_up(snapshots: &[SnapshotView]) -> Vec<LookedUp> {
    let mut stretches: Vec<LookedUp> = Vec::new();
    let commits = snapshots.iter().rev();
    for commit in commits.filter(|commit| commit.marker.is_some()) {
        let lookups = commit.lookups.clone();
        let joined = match lookups.is_empty() {
            false => lookups,
            true if stretches.is_empty() => continue,
            // Another query, that looks nothing up.
            true => vec![(starts(&commit.ranges), Pins::new())],
        };
        for (from, pins) in joined {
            match stretches.last_mut() {
                Some(last) if last.plan == commit.plan && last.pins == pins => {
                    for (split, start) in ends(from) {
                        last.from.entry(split).or_insert(start);
                    }
                }
                _ => stretches.push(LookedUp {
                    plan: commit.plan.clone(),
                    pins,
                    from: ends(from),
                }),
            }
        }
    }
    stretches
}

fn starts(ranges: &[SplitRange]) -> Vec<SplitOffset> {
    let start = |range: &SplitRange| SplitOffset {
        topic: range.topic.clone(),
        partition: range.partition,
        next: range.start,
    };
    ranges.iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::super::recomputation::tests::snapshot;
    use super::*;
    use serde_json::json;

    fn at(partition: i32, next: i64) -> SplitOffset {
        SplitOffset {
            topic: "t".into(),
            partition,
            next,
        }
    }

    /// A commit by a plan; by partition and offset, what it was joined with from there on.
    fn joined(plan: &str, ranges: &str, lookups: &[(&[(i32, i64)], &str)]) -> SnapshotView {
        let lookups = lookups.iter().map(|(from, version)| {
            let from = from.iter().map(|(partition, next)| at(*partition, *next));
            let pins = Pins::from([("d".to_string(), version.to_string())]);
            (from.collect(), pins)
        });
        SnapshotView {
            plan: Some(plan.to_string()),
            lookups: lookups.collect(),
            ..snapshot(1, ranges, json!({}), None)
        }
    }

    /// `plan version partition@offset …`, oldest first.
    fn check(newest_first: &[SnapshotView], expected: &[&str]) {
        let shown = looked_up(newest_first).into_iter().map(|stretch| {
            let version = stretch.pins.get("d").map_or("-", String::as_str);
            let from = stretch.from.iter();
            let from = from.map(|((_, partition), next)| format!(" {partition}@{next}"));
            let from: String = from.collect();
            format!("{} {version}{from}", stretch.plan.unwrap_or_default())
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_stretch_goes_on_until_another_version_or_another_plan() {
        let plain = || joined("p", "0@0-5", &[]);
        check(&[plain()], &[]);
        let first = || joined("p", "0@5-9", &[(&[(0, 5)], "1")]);
        // A partition that came later is of the stretch too; one commit may have rows of several versions.
        let second = || {
            joined(
                "p",
                "0@9-12 1@0-7",
                &[(&[(0, 9), (1, 0)], "1"), (&[(1, 4)], "2")],
            )
        };
        check(&[second(), first(), plain()], &["p 1 0@5 1@0", "p 2 1@4"]);
        // A query that looks nothing up ends it, and so does one that looks up in the same version.
        let nothing = joined("q", "0@12-20", &[]);
        let other = joined("r", "0@20-21", &[(&[(0, 20)], "2")]);
        check(
            &[other, nothing, second(), first()],
            &["p 1 0@5 1@0", "p 2 1@4", "q - 0@12", "r 2 0@20"],
        );
    }
}
