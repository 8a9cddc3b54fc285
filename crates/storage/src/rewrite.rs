//! Which log files are worth rewriting: facts in, a run of neighbours out.
//!
//! A WAL file holds batches of every topic that was written at the time. Retention ends for one topic after the other, and
//! a topic that is kept for ever (`_schemas`) would keep every file that holds a batch of it, with all the dead bytes
//! around. So when little of a file is alive, its live batches are copied into a smaller one (`upkeep/copying.rs`).
//!
//! - A file is **sparse** when at most a quarter of it is alive: copying a byte frees at least three. Sparse neighbours
//!   become one file.
//! - What rewriting leaves is **small**, and there is one for each run. Eight thin (sparse or small) neighbours become
//!   one, so their number stays bounded by the log's size and a byte is copied few times.
//!
//! Only neighbours are joined, and the order of each batch goes with it: reading a topic across partitions in WAL order
//! gives the same as before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::index::{Head, Segment};
use crate::numbers::FileNumber;

/// What is known of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Use {
    /// Logs that still need it; at 0 it is dead.
    pub(crate) logs: usize,
    /// Bytes of their segments in it.
    pub(crate) live: u64,
    /// Bytes of all that was written to it.
    pub(crate) end: u64,
    /// The last of the WAL files whose batches it holds; its own id unless it was rewritten.
    pub(crate) through: FileNumber,
}

/// So many thin neighbours are joined though none of them is sparse.
const JOIN: usize = 8;

impl Use {
    /// Of a file whose logs are still to be added.
    pub(crate) fn of(head: &Head) -> Use {
        Use {
            logs: 0,
            live: 0,
            end: head.end,
            through: head.through,
        }
    }

    pub(crate) fn add(&mut self, segment: &Segment) {
        self.logs += 1;
        self.live += segment.bytes;
    }

    /// Whether so few live bytes of a file with bytes up to `end` make it worth rewriting.
    pub(crate) fn is_sparse(live: u64, end: u64) -> bool {
        live * 4 <= end
    }
}

/// The next run to rewrite, of the files before the checkpoint's. `full` is the size of a WAL file, `stuck` are files that
/// could not be rewritten.
pub(crate) fn due(
    files: &BTreeMap<FileNumber, Use>,
    checkpoint_file: FileNumber,
    full: u64,
    stuck: &BTreeSet<FileNumber>,
) -> Option<RangeInclusive<FileNumber>> {
    let mut run: Vec<(FileNumber, Use)> = Vec::new();
    for (id, file) in files.range(..checkpoint_file) {
        let small = file.end <= full / 4;
        let thin =
            file.logs > 0 && (Use::is_sparse(file.live, file.end) || small) && !stuck.contains(id);
        let fits = run.iter().map(|(_, f)| f.live).sum::<u64>() + file.live <= full;
        if !(thin && fits) {
            if let Some(found) = pick(&run) {
                return Some(found);
            }
            run.clear();
        }
        if thin {
            run.push((*id, *file));
        }
    }
    pick(&run)
}

fn pick(run: &[(FileNumber, Use)]) -> Option<RangeInclusive<FileNumber>> {
    let is_sparse = |(_, file): &&(FileNumber, Use)| Use::is_sparse(file.live, file.end);
    let joined = match run.len() >= JOIN {
        true => run,
        false => {
            let first = run.iter().position(|file| is_sparse(&file))?;
            let count = run[first..].iter().take_while(is_sparse).count();
            &run[first..first + count]
        }
    };
    Some(joined.first()?.0..=joined.last()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `live/end` of each file from 1 on; `-` is dead, `!` stuck. A WAL file has 64.
    fn picked(files: &str, checkpoint_file: u64) -> String {
        let mut stuck = BTreeSet::new();
        let mut uses = BTreeMap::new();
        for (id, text) in (1..).map(FileNumber).zip(files.split_whitespace()) {
            if text == "-" {
                uses.insert(id, Use::default());
                continue;
            }
            let (live, end) = text.trim_start_matches('!').split_once('/').unwrap();
            if text.starts_with('!') {
                stuck.insert(id);
            }
            let file = Use {
                logs: 1,
                live: live.parse().unwrap(),
                end: end.parse().unwrap(),
                through: id,
            };
            uses.insert(id, file);
        }
        due(&uses, FileNumber(checkpoint_file), 64, &stuck).map_or("nothing".to_owned(), |run| {
            format!("{}..={}", run.start(), run.end())
        })
    }

    #[test]
    fn sparse_neighbours_and_many_small_ones_are_due() {
        let small = "1/1 ".repeat(7);
        for (files, checkpoint_file, expected) in [
            ("", 9, "nothing"),
            ("60/64 30/64 17/64", 9, "nothing"),
            ("60/64 16/64 60/64", 9, "2..=2"),
            ("60/64 1/64 2/64 60/64 3/64", 9, "2..=3"),
            ("60/64 1/64 - 2/64", 9, "2..=2"),
            ("60/64 !1/64 2/64", 9, "3..=3"),
            ("60/64 1/64", 2, "nothing"), // replay begins in file 2
            (&small, 99, "nothing"),
            (&format!("{small} 3/64"), 99, "1..=8"),
            (&format!("{small} 1/1 60/64"), 99, "1..=8"),
            (&format!("{small} 40/64 1/1"), 99, "nothing"),
            // Joined they would not fit into a file.
            (&"16/16 ".repeat(9), 99, "nothing"),
            (&"16/64 ".repeat(9), 99, "1..=4"),
        ] {
            assert_eq!(picked(files, checkpoint_file), expected, "{files}");
        }
    }
}
