//! Runs: where in the log the rows of a data file came from.
//!
//! The rows of a file stand in runs: stretches of rows of one partition, in offset order. The Parquet footer lists them
//! under [`FOOTER_KEY`], and compaction must carry the list on. The audit reads it back and compares, run by run, with what
//! the log says; no other record of a pipeline about itself is evidence.
//!
//! Layout: JSON, a list in the order of the rows. `skipped` lists offsets between `first` and `last` without a row, as
//! `[from, to)`; when those are more than [`MOST_SKIPPED`] ranges it is `null` and only `skipped_offsets` is known. `shared` is
//! there where it is true.

use lw_runtime::Split;
use lw_runtime::origins;
use serde::{Deserialize, Serialize};

/// The key in the Parquet footer.
pub const FOOTER_KEY: &str = "lakeward.runs";
/// A filter that keeps every other row must not make the footer larger than the data.
const MOST_SKIPPED: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub topic: String,
    pub partition: i32,
    /// Offset of the first row.
    pub first: i64,
    /// Offset of the last row, inclusive.
    pub last: i64,
    pub rows: u64,
    pub skipped_offsets: u64,
    pub skipped: Option<Vec<(i64, i64)>>,
    /// Offsets in between may have their rows in other files: those of other partitions of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// Collects the runs of one file while its rows are written.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    list: Vec<Run>,
    shared: bool,
}

impl Runs {
    /// Of a file that gets the rows of one partition of the table alone.
    pub(crate) fn shared() -> Runs {
        Runs {
            list: Vec::new(),
            shared: true,
        }
    }

    /// Accounts for rows in the order in which they are written.
    ///
    /// # Panics
    /// When the rows of one stretch are not in offset order: the audit could not tell what is missing.
    pub(crate) fn add(&mut self, origins: &origins::Runs, splits: &[Split]) {
        let mut current = None;
        for stretch in origins.runs() {
            if current != Some(stretch.split) {
                current = Some(stretch.split);
                let split = &splits[stretch.split as usize];
                let goes_on = self.list.last().is_some_and(|run| {
                    *run.topic == *split.topic
                        && run.partition == split.partition
                        && run.last <= stretch.first
                });
                if !goes_on {
                    self.list.push(Run {
                        topic: split.topic.to_string(),
                        partition: split.partition,
                        first: stretch.first,
                        last: stretch.first,
                        rows: 0,
                        skipped_offsets: 0,
                        skipped: Some(Vec::new()),
                        shared: self.shared,
                    });
                }
            }
            self.list
                .last_mut()
                .expect("a run was begun")
                .append(stretch);
        }
    }

    pub(crate) fn into_list(self) -> Vec<Run> {
        self.list
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&self.list).expect("runs are plain data")
    }
}

impl Run {
    fn append(&mut self, stretch: &origins::Run) {
        let offset = stretch.first;
        assert!(self.last <= offset, "rows of a run are in offset order");
        let gap = offset - self.last - 1;
        if gap > 0 {
            self.skipped_offsets += gap.unsigned_abs();
            match &mut self.skipped {
                Some(skipped) if skipped.len() < MOST_SKIPPED => {
                    skipped.push((self.last + 1, offset))
                }
                other => *other = None,
            }
        }
        self.last = stretch.last();
        self.rows += stretch.rows() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lw_runtime::Origin;
    use std::sync::Arc;

    fn splits() -> Vec<Split> {
        [0, 1]
            .map(|partition| Split {
                topic: Arc::from("t"),
                partition,
            })
            .to_vec()
    }

    #[test]
    fn gaps_are_listed_and_several_rows_of_a_record_are_one_offset() {
        let mut runs = Runs::default();
        let rows = [(0, 5), (0, 5), (0, 6), (0, 9), (1, 0), (0, 10)];
        let rows = rows.map(|(split, offset)| Origin { split, offset });
        runs.add(&rows.into_iter().collect(), &splits());
        expect_test::expect![[r#"[{"topic":"t","partition":0,"first":5,"last":9,"rows":4,"skipped_offsets":2,"skipped":[[7,9]]},{"topic":"t","partition":1,"first":0,"last":0,"rows":1,"skipped_offsets":0,"skipped":[]},{"topic":"t","partition":0,"first":10,"last":10,"rows":1,"skipped_offsets":0,"skipped":[]}]"#]]
        .assert_eq(&runs.to_json());
    }

    #[test]
    fn too_many_gaps_are_only_counted() {
        let mut runs = Runs::default();
        let rows = (0..10_000).map(|row| Origin {
            split: 0,
            offset: row * 2,
        });
        runs.add(&rows.collect(), &splits());
        assert_eq!(
            (runs.list[0].skipped_offsets, &runs.list[0].skipped),
            (9_999, &None)
        );
    }
}
