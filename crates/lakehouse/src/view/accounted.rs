//! Which offsets a table accounts for: what its kept commits say, and what stands around them.
//!
//! ```text
//!    begins              the kept commits' ranges               ends
//!      ├── front ──────────┤──────┤─────┤──────────┤── back ──────┤
//! ```
//!
//! Old snapshots expire, and what they accounted for is still to be there. Where reading began and where the table ends
//! stand in the newest marker, so a partition whose files are all gone and a front that was lost are asked for too. A table
//! whose markers do not say where it begins, begins with its oldest rows: that is all there is to go by.

use super::TableView;
use lw_runtime::manifest::SplitOffset;
use std::collections::{BTreeMap, BTreeSet};

/// The offsets `[start, end)` of a partition that a commit accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    /// As [`SnapshotView::follows`](super::SnapshotView::follows).
    pub follows: bool,
}

type Split = (String, i32);

impl TableView {
    /// All offsets that the head accounts for, in no order.
    pub fn accounted(&self) -> Vec<Accounted> {
        let commits = self.snapshots.iter().flat_map(|snapshot| {
            snapshot.ranges.iter().map(|range| Accounted {
                topic: range.topic.clone(),
                partition: range.partition,
                start: range.start,
                end: range.end,
                follows: snapshot.follows,
            })
        });
        let commits: Vec<Accounted> = commits.collect();
        let oldest = self.snapshots.last();
        let complete = oldest.is_none_or(|oldest| oldest.parent.is_none());
        let mut rows = BTreeMap::new();
        let runs = self.data_files.iter().filter_map(|file| file.runs.as_ref());
        for run in runs.flat_map(|runs| runs.iter()) {
            let split = (run.topic.clone(), run.partition);
            stretch(&mut rows, split, run.first, run.last + 1);
        }
        if complete {
            rows.clear();
        }
        around(commits, rows, self.begins(), self.ends())
    }

    /// Where partitions end of which nothing says where they begin: an older version committed them, and neither its commits
    /// nor their rows are there any more.
    pub fn without_begin(&self) -> Vec<SplitOffset> {
        let accounted = self.accounted();
        let known: BTreeSet<(&str, i32)> = accounted
            .iter()
            .map(|range| (range.topic.as_str(), range.partition))
            .collect();
        let begins = self.begins();
        let ends = self.ends().into_iter();
        ends.filter(|((topic, partition), _)| !known.contains(&(topic.as_str(), *partition)))
            .filter(|(split, end)| *end > 0 && !begins.contains_key(split))
            .map(|((topic, partition), next)| SplitOffset {
                topic,
                partition,
                next,
            })
            .collect()
    }

    /// As the newest marker ever committed says it: what a rollback took away began there too.
    fn begins(&self) -> BTreeMap<Split, i64> {
        by_split(self.marker.as_ref().map(|marker| marker.begins()))
    }

    fn ends(&self) -> BTreeMap<Split, i64> {
        let newest = self.snapshots.iter().find_map(|view| view.marker.as_ref());
        by_split(newest.map(|marker| marker.ends()))
    }
}

fn by_split(offsets: Option<Vec<SplitOffset>>) -> BTreeMap<Split, i64> {
    let offsets = offsets.into_iter().flatten();
    offsets
        .map(|at| ((at.topic, at.partition), at.next))
        .collect()
}

/// The commits, and what lies before and behind them: from the begins or the oldest rows up to the ends.
fn around(
    mut commits: Vec<Accounted>,
    rows: BTreeMap<Split, (i64, i64)>,
    begins: BTreeMap<Split, i64>,
    ends: BTreeMap<Split, i64>,
) -> Vec<Accounted> {
    let mut known = BTreeMap::new();
    for range in &commits {
        let split = (range.topic.clone(), range.partition);
        stretch(&mut known, split, range.start, range.end);
    }
    let mut missing = Vec::new();
    let splits: BTreeSet<&Split> = rows.keys().chain(ends.keys()).collect();
    for split in splits {
        let row = rows.get(split).copied();
        let (begin, end) = (begins.get(split).copied(), ends.get(split).copied());
        let front = begin.into_iter().chain(row.map(|(first, _)| first)).min();
        let (from, to) = match (known.get(split).copied(), row) {
            (Some((start, until)), _) => {
                missing.push((split, front.unwrap_or(start), start));
                (until, end.unwrap_or(until))
            }
            (None, Some((first, behind))) => (front.unwrap_or(first), end.unwrap_or(behind)),
            (None, None) => match (begin, end) {
                (Some(begin), Some(end)) => (begin, end),
                _ => continue,
            },
        };
        missing.push((split, from, to));
    }
    commits.extend(
        missing
            .into_iter()
            .filter(|(_, start, end)| start < end)
            .map(|((topic, partition), start, end)| Accounted {
                topic: topic.clone(),
                partition: *partition,
                start,
                end,
                follows: true,
            }),
    );
    commits
}

fn stretch(spans: &mut BTreeMap<Split, (i64, i64)>, split: Split, start: i64, end: i64) {
    let span = spans.entry(split).or_insert((start, end));
    *span = (span.0.min(start), span.1.max(end));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each list is `partition@start-end` and, for `begins` and `ends`, `partition@offset`.
    fn check(commits: &str, rows: &str, begins: &str, ends: &str, expected: &str) {
        let spans = |text: &str| -> Vec<(Split, (i64, i64))> {
            let span = |word: &str| {
                let (partition, offsets) = word.split_once('@').expect("partition@offsets");
                let (start, end) = offsets.split_once('-').unwrap_or((offsets, offsets));
                let split = ("t".to_owned(), partition.parse().expect("a number"));
                (
                    split,
                    (
                        start.parse().expect("a number"),
                        end.parse().expect("a number"),
                    ),
                )
            };
            text.split_whitespace().map(span).collect()
        };
        let commit = |((topic, partition), (start, end))| Accounted {
            topic,
            partition,
            start,
            end,
            follows: true,
        };
        let commits = spans(commits).into_iter().map(commit).collect();
        let offsets = |text: &str| -> BTreeMap<Split, i64> {
            let offsets = spans(text).into_iter();
            offsets.map(|(split, (at, _))| (split, at)).collect()
        };
        let rows = spans(rows).into_iter().collect();
        let found = around(commits, rows, offsets(begins), offsets(ends));
        let text = |range: &Accounted| format!("{}@{}-{}", range.partition, range.start, range.end);
        let text: Vec<String> = found.iter().map(text).collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn with_all_commits_kept_they_are_all_there_is() {
        check(
            "0@0-5 0@5-9 1@3-4",
            "",
            "0@0 1@3",
            "0@9 1@4",
            "0@0-5 0@5-9 1@3-4",
        );
    }

    #[test]
    fn rows_below_the_kept_commits_are_asked_for() {
        check("0@5-9", "0@2-9", "", "0@9", "0@5-9 0@2-5");
    }

    #[test]
    fn a_partition_without_a_kept_commit_ends_where_the_marker_says() {
        check("0@5-9", "0@5-9 1@0-4", "", "0@9 1@7", "0@5-9 1@0-7");
    }

    #[test]
    fn what_the_marker_claims_behind_the_last_commit_is_asked_for() {
        check("0@0-5", "", "", "0@8", "0@0-5 0@5-8");
    }

    #[test]
    fn a_front_without_rows_is_asked_for() {
        check("0@5-9", "0@3-9", "0@1", "0@9", "0@5-9 0@1-5");
        // Where another pipeline's rows were adopted, they lie below its own begin.
        check("0@5-9", "0@3-9", "0@4", "0@9", "0@5-9 0@3-5");
    }

    #[test]
    fn a_partition_with_neither_commit_nor_row_is_asked_for() {
        check("0@5-9", "0@5-9", "0@5 1@2", "0@9 1@7", "0@5-9 1@2-7");
        check("0@5-9", "0@5-9", "0@5", "0@9 1@7", "0@5-9");
    }
}
