//! A table that gets a commit every ten seconds: what a commit, a reader's look and the metadata cost in the first hour and in the last.
//!
//! `cargo xtask bench week` runs it over a week, `--partitions 1000` with a table of as many, of which each commit has ten. Among the
//! tests it runs over some minutes, and what it measures is not judged; how much there is to read always is.

#![expect(clippy::print_stdout, reason = "what was measured is told")]

use super::partitions::make;
use super::world::{HandClock, Pipeline, TABLE, World, ident};
use crate::TableCatalog;
use crate::commit::manifests;
use crate::upkeep::compaction::{Compactor, Effort};
use iceberg::spec::Transform;
use lw_runtime::manifest::TableChain;
use lw_stdx::clock::{Clock, SystemClock};
use std::time::Duration;

const EVERY_MS: i64 = 10_000;
const HOUR: usize = 360;
/// Commits between two looks of the server's compaction.
const COMPACTED_EVERY: usize = 8;
/// Of a partition. A size doubles from one tier of files to the next, and a tier has less than five: enough for a thousand million rows.
const MOST_FILES: usize = 150;

/// What an hour took.
struct Hour {
    commits: Vec<Duration>,
    compactions: Duration,
    look: Duration,
    metadata_bytes: usize,
    snapshots: usize,
    manifests: usize,
    files: usize,
}

impl Hour {
    fn tell(&mut self, number: u32) {
        self.commits.sort_unstable();
        let micros = |at: usize| self.commits[at * (self.commits.len() - 1) / 100].as_micros();
        println!(
            "{number:>5} {:>10} {:>9} {:>15} {:>8} {:>10} {:>10} {:>10} {:>6}",
            micros(50),
            micros(99),
            self.compactions.as_millis(),
            self.look.as_micros(),
            self.metadata_bytes >> 10,
            self.snapshots,
            self.manifests,
            self.files,
        );
    }
}

struct Week {
    world: World,
    hand: std::sync::Arc<HandClock>,
    pipeline: Pipeline,
    compactor: Compactor,
    machine: SystemClock,
}

impl Week {
    fn new(partitions: u32) -> Week {
        let hand = HandClock::new();
        let world = World::at(hand.clone());
        if partitions > 1 {
            make(&world, &[(2, "bucket", Transform::Bucket(partitions))]);
        }
        Week {
            pipeline: Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]),
            compactor: Compactor::new(world.network(), world.clock.clone(), world.ids.clone()),
            machine: SystemClock::new(),
            world,
            hand,
        }
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut Week) -> T) -> (Duration, T) {
        let begun = self.machine.elapsed();
        let done = work(self);
        (self.machine.elapsed().saturating_sub(begun), done)
    }

    fn hour(&mut self, commits: usize) -> Hour {
        let (mut took, mut compactions) = (Vec::new(), Duration::ZERO);
        for number in 0..commits {
            self.hand.go(EVERY_MS);
            self.pipeline.read([6, 4]);
            self.pipeline.checkpoint();
            let (one, _) = self.timed(|week| week.pipeline.commit());
            took.push(one);
            if number % COMPACTED_EVERY == COMPACTED_EVERY - 1 {
                let (one, done) = self.timed(|week| {
                    week.compactor
                        .compact(&ident(TABLE), Effort::Steady, &mut || true)
                });
                done.expect("it can be compacted");
                compactions += one;
            }
        }
        let (look, view) = self.timed(|week| week.world.view());
        let metadata = self.world.metadata();
        let head = metadata.current_snapshot().expect("there is a head");
        let list = manifests::load_list(self.world.catalog.files(), &metadata, head);
        Hour {
            commits: took,
            compactions,
            look,
            metadata_bytes: serde_json::to_vec(&*metadata).expect("plain data").len(),
            snapshots: metadata.snapshots().len(),
            manifests: list.expect("a list").len(),
            files: view.data_files.len(),
        }
    }
}

#[test]
fn a_table_of_a_week_costs_what_one_of_an_hour_costs() {
    let asked = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let hours = asked("LAKEWARD_BENCH_HOURS");
    let partitions = asked("LAKEWARD_BENCH_PARTITIONS").unwrap_or(1);
    let mut week = Week::new(partitions);
    println!(
        " hour  commit µs    99 % µs  compactions ms  look µs   metadata KiB  snapshots  manifests  files"
    );
    for number in 0..hours.unwrap_or(1) {
        let mut hour = week.hour(if hours.is_some() { HOUR } else { 40 });
        hour.tell(number + 1);
        assert!(
            hour.metadata_bytes < 1 << 20,
            "{} bytes",
            hour.metadata_bytes
        );
        let most = MOST_FILES * partitions as usize;
        assert!(hour.files < most, "{} files", hour.files);
        assert!(hour.manifests <= 101, "{} manifests", hour.manifests);
    }
    assert_eq!(week.world.rows(), week.pipeline.expected());
}
