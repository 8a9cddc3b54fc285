//! What to audit before retention takes it: from where looking ended up to where a commit ends.
//!
//! Both ends lie where commits end, so that no run of rows is cut. Where the log's start has passed the place already (the disk
//! was full, or a user deleted records), looking goes on at the next commit's end.

use super::Key;
use std::collections::BTreeMap;
use std::ops::Range;

/// Offsets of one look, unless the next commit alone has more: other audits wait for it.
const MOST_OFFSETS: i64 = 2_000_000;

/// Where a table's commits end, by partition.
pub type Ends = BTreeMap<Key, i64>;

/// The next offsets to look at: by partition from `looked_at` (else from where the table begins) up to one of `commits`, the
/// ends of commits, newest first. `None` where there is nothing new.
pub fn next_look(
    looked_at: &Ends,
    begins: &Ends,
    commits: &[Ends],
    log_starts: &Ends,
) -> Option<BTreeMap<Key, Range<i64>>> {
    let from = |key: &Key| -> Option<i64> {
        let at = *looked_at.get(key).or(begins.get(key))?;
        let start = log_starts.get(key).copied().unwrap_or(i64::MAX);
        if start <= at {
            return Some(at);
        }
        let later = commits.iter().filter_map(|ends| ends.get(key).copied());
        later.filter(|end| *end >= start).min()
    };
    let look = |ends: &Ends| -> BTreeMap<Key, Range<i64>> {
        let range = |(key, end): (&Key, &i64)| Some((key.clone(), from(key)?..*end));
        let ranges = ends.iter().filter_map(range);
        ranges.filter(|(_, range)| !range.is_empty()).collect()
    };
    let size = |look: &BTreeMap<Key, Range<i64>>| -> i64 {
        look.values().map(|range| range.end - range.start).sum()
    };
    let mut smallest = None;
    for ends in commits {
        let look = look(ends);
        match size(&look) {
            0 => break,
            some if some <= MOST_OFFSETS => return Some(look),
            _ => smallest = Some(look),
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `partition@offset`
    fn ends(text: &str) -> Ends {
        let at = |word: &str| {
            let (partition, offset) = word.split_once('@').expect("partition@offset");
            let key = ("t".to_string(), partition.parse().expect("a number"));
            (key, offset.parse().expect("a number"))
        };
        text.split_whitespace().map(at).collect()
    }

    fn check(looked_at: &str, begins: &str, commits: &[&str], starts: &str, expected: &str) {
        let commits: Vec<Ends> = commits.iter().map(|text| ends(text)).collect();
        let look = next_look(&ends(looked_at), &ends(begins), &commits, &ends(starts));
        let text = |((_, partition), range): (&Key, &Range<i64>)| {
            format!("{partition}@{}-{}", range.start, range.end)
        };
        let look: Vec<String> = look.iter().flatten().map(text).collect();
        assert_eq!(look.join(" "), expected);
    }

    #[test]
    fn looking_goes_on_where_it_ended_and_up_to_the_newest_commit() {
        check("", "0@3 1@0", &["0@9 1@4", "0@5"], "0@0 1@0", "0@3-9 1@0-4");
        check("0@9", "0@3 1@0", &["0@9 1@4", "0@5"], "0@0 1@0", "1@0-4");
        check("0@9 1@4", "0@3 1@0", &["0@9 1@4"], "0@5 1@2", "");
    }

    #[test]
    fn what_the_log_lost_is_passed_over_up_to_a_commit() {
        check("0@3", "0@0", &["0@9", "0@7", "0@5"], "0@6", "0@7-9");
        check("0@3", "0@0", &["0@9", "0@7", "0@5"], "0@12", "");
        // A topic that is gone, or another one now.
        check("0@3", "0@0", &["0@9"], "", "");
    }

    #[test]
    fn a_look_is_bounded_where_commits_let_it_be() {
        let much = ["0@5000000", "0@3000000", "0@1500000", "0@100"];
        check("", "0@0", &much, "0@0", "0@0-1500000");
        check("0@1500000", "0@0", &much, "0@0", "0@1500000-3000000");
        check("", "0@0", &much[..2], "0@0", "0@0-3000000");
    }
}
