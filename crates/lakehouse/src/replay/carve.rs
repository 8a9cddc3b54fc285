//! Which rows of a data file are of a range of offsets: runs in, rows that stay out. Pure.
//!
//! ```text
//! runs     │ in[0] 5…9 │ in[1] 0…3 │        rows stand in runs, in offset order
//! range      in[0] 7…                       these go
//! stays    │ 5…6 │     │ 0…3       │
//! ```
//!
//! A run that begins or ends outside is cut where the offset stands. That can be said where each offset has one row or none and the run
//! lists which have none. Where records have several rows (`UNNEST`), or too many offsets are left out to be listed, it cannot: such a
//! run is a whole.

use crate::writer::runs::Run;
use std::collections::BTreeMap;
use std::ops::Range;

/// Offsets by partition, the ends exclusive.
pub(crate) type Offsets = BTreeMap<(String, i32), Range<i64>>;

/// How much of a file is of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Nothing,
    All,
    /// These rows are not, which have these runs.
    Some(Kept),
}

/// Rows of a file that stay, by their places in it, and their runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) rows: Vec<Range<u64>>,
    pub(crate) runs: Vec<Run>,
}

/// The range ends in the middle of a run, and nobody can tell at which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) Run);

/// # Errors
/// The run that cannot be cut.
pub(crate) fn part(runs: &[Run], range: &Offsets) -> Result<Part, Whole> {
    let mut kept = Kept::default();
    let (mut at, mut gone) = (0, 0);
    for run in runs {
        let split = (run.topic.clone(), run.partition);
        let none = 0..0;
        let cut = range.get(&split).unwrap_or(&none);
        let before = cut_to(run, i64::MIN..cut.start)?;
        let behind = cut_to(run, cut.end.max(cut.start)..i64::MAX)?;
        let (first, last) = (rows(&before), rows(&behind));
        let is_whole = cut.is_empty() || first == run.rows || last == run.rows;
        if is_whole {
            kept.rows.push(at..at + run.rows);
            kept.runs.push(run.clone());
        } else {
            gone += run.rows - first - last;
            kept.rows.push(at..at + first);
            kept.rows.push(at + run.rows - last..at + run.rows);
            kept.runs.extend(before.into_iter().chain(behind));
        }
        at += run.rows;
    }
    kept.rows.retain(|rows| !rows.is_empty());
    Ok(match (gone, kept.rows.is_empty()) {
        (0, _) => Part::Nothing,
        (_, true) => Part::All,
        (_, false) => Part::Some(kept),
    })
}

fn rows(run: &Option<Run>) -> u64 {
    run.as_ref().map_or(0, |run| run.rows)
}

/// What of a run has these offsets; `None` where nothing does.
fn cut_to(run: &Run, offsets: Range<i64>) -> Result<Option<Run>, Whole> {
    if offsets.start <= run.first && run.last < offsets.end {
        return Ok(Some(run.clone()));
    }
    if offsets.end <= run.first || run.last < offsets.start || offsets.is_empty() {
        return Ok(None);
    }
    let of_offsets = (run.last - run.first + 1).unsigned_abs() - run.skipped_offsets;
    let Some(skipped) = run.skipped.as_ref().filter(|_| run.rows == of_offsets) else {
        return Err(Whole(run.clone()));
    };
    let mut first = offsets.start.max(run.first);
    let mut last = offsets.end.min(run.last + 1) - 1;
    // An offset without a row is where no run begins or ends.
    for (from, to) in skipped {
        if (*from..*to).contains(&first) {
            first = *to;
        }
    }
    for (from, to) in skipped.iter().rev() {
        if (*from..*to).contains(&last) {
            last = *from - 1;
        }
    }
    if first > last {
        return Ok(None);
    }
    let within = |(from, to): &&(i64, i64)| first < *from && *to <= last;
    let skipped: Vec<(i64, i64)> = skipped.iter().filter(within).copied().collect();
    let skipped_offsets = skipped.iter().map(|(from, to)| (to - from).unsigned_abs());
    let skipped_offsets = skipped_offsets.sum();
    Ok(Some(Run {
        first,
        last,
        rows: (last - first + 1).unsigned_abs() - skipped_offsets,
        skipped_offsets,
        skipped: Some(skipped),
        ..run.clone()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `partition@first-last`, with `x` and an offset for each that has no row.
    fn run(text: &str) -> Run {
        let mut words = text.split('x');
        let (partition, offsets) = words
            .next()
            .and_then(|it| it.split_once('@'))
            .expect("a run");
        let (first, last) = offsets.split_once('-').expect("first-last");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let (first, last) = (number(first), number(last));
        let skipped: Vec<(i64, i64)> = words.map(|at| (number(at), number(at) + 1)).collect();
        Run {
            topic: "in".to_owned(),
            partition: partition.parse().expect("a number"),
            first,
            last,
            rows: (last - first + 1).unsigned_abs() - skipped.len() as u64,
            skipped_offsets: skipped.len() as u64,
            skipped: Some(skipped),
            shared: false,
        }
    }

    fn range(text: &str) -> Offsets {
        let one = |word: &str| {
            let (partition, offsets) = word.split_once('@').expect("partition@from-until");
            let (from, until) = offsets.split_once('-').expect("from-until");
            let number = |text: &str| text.parse().expect("a number");
            let partition = partition.parse().expect("a number");
            (("in".to_owned(), partition), number(from)..number(until))
        };
        text.split_whitespace().map(one).collect()
    }

    fn check(runs: &str, offsets: &str, expected: &str) {
        let runs: Vec<Run> = runs.split_whitespace().map(run).collect();
        let told = match part(&runs, &range(offsets)) {
            Ok(Part::Nothing) => "nothing".to_owned(),
            Ok(Part::All) => "all".to_owned(),
            Ok(Part::Some(kept)) => {
                let runs = kept.runs.iter().map(|run| {
                    let skipped = run.skipped.as_ref().expect("they are listed").iter();
                    let skipped: String = skipped.map(|(from, _)| format!("x{from}")).collect();
                    format!("{}@{}-{}{skipped}", run.partition, run.first, run.last)
                });
                let runs: Vec<String> = runs.collect();
                format!("{:?} {}", kept.rows, runs.join(" "))
            }
            Err(Whole(run)) => format!("{}@{} is a whole", run.partition, run.first),
        };
        assert_eq!(told, expected, "{offsets}");
    }

    #[test]
    fn rows_go_whose_offsets_are_of_the_range() {
        let runs = "0@5-9x7 1@0-3 0@10-12";
        check(runs, "0@0-5", "nothing");
        check(runs, "2@0-50", "nothing");
        check(runs, "0@0-99 1@0-99", "all");
        check(runs, "1@0-4", "[0..4, 8..11] 0@5-9x7 0@10-12");
        check(runs, "0@5-10", "[4..8, 8..11] 1@0-3 0@10-12");
        check(runs, "0@8-11", "[0..2, 4..8, 9..11] 0@5-6 1@0-3 0@11-12");
        check(
            runs,
            "1@1-2",
            "[0..4, 4..5, 6..8, 8..11] 0@5-9x7 1@0-0 1@2-3 0@10-12",
        );
        // Only what has no row is of the range.
        check(runs, "0@7-8", "nothing");
    }

    #[test]
    fn a_run_with_several_rows_of_a_record_is_a_whole() {
        let mut runs = [run("0@5-9")];
        runs[0].rows = 6;
        assert_eq!(part(&runs, &range("0@0-99")), Ok(Part::All));
        assert_eq!(part(&runs, &range("0@0-5 0@10-12")), Ok(Part::Nothing));
        assert_eq!(part(&runs, &range("0@7-99")), Err(Whole(runs[0].clone())));
        runs[0] = run("0@5-9");
        runs[0].skipped = None;
        assert_eq!(part(&runs, &range("0@6-8")), Err(Whole(runs[0].clone())));
    }

    /// Every range over every small run: what is left is what a list of rows says.
    #[test]
    fn what_stays_is_what_is_outside() {
        for holes in 0..32_u32 {
            let has =
                |offset: &i64| *offset == 10 || *offset == 16 || holes & (1 << (offset - 11)) == 0;
            let offsets: Vec<i64> = (10..=16).filter(has).collect();
            let skipped = (10..=16).filter(|at| !has(at)).map(|at| format!("x{at}"));
            let whole = run(&format!("0@10-16{}", skipped.collect::<String>()));
            for (from, until) in (8..19).flat_map(|from| (from..20).map(move |to| (from, to))) {
                let range = range(&format!("0@{from}-{until}"));
                let kept: BTreeSet<i64> = match part(std::slice::from_ref(&whole), &range)
                    .expect("it can be cut")
                {
                    Part::All => BTreeSet::new(),
                    Part::Nothing => offsets.iter().copied().collect(),
                    Part::Some(kept) => {
                        let by_runs = kept.runs.iter().flat_map(|run| {
                            let skipped = run.skipped.clone().expect("they are listed");
                            let is_there = move |at: &i64| {
                                !skipped.iter().any(|(from, to)| (*from..*to).contains(at))
                            };
                            (run.first..=run.last).filter(is_there)
                        });
                        let by_runs: Vec<i64> = by_runs.collect();
                        let by_rows = kept.rows.iter().flat_map(|rows| rows.clone());
                        let by_rows: Vec<i64> = by_rows.map(|row| offsets[row as usize]).collect();
                        assert_eq!(by_runs, by_rows, "{holes} {from}-{until}");
                        by_rows.into_iter().collect()
                    }
                };
                let outside = offsets
                    .iter()
                    .copied()
                    .filter(|at| !(from..until).contains(at));
                assert_eq!(
                    kept,
                    outside.collect::<BTreeSet<i64>>(),
                    "{holes} {from}-{until}"
                );
            }
        }
    }
}
