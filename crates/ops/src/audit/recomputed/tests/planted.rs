//! Mistakes planted into the job that fills the table, which stops and goes on behind every record: the audit notices each by itself,
//! from the log and from the ledger's word on a log that is gone.

use super::goes_on::{Counting, counts};
use super::one_order::OneOrder;
use super::*;
use crate::audit::ledger::Ledger;
use lw_runtime::connector::{
    CommitOutcome, Committer, Connectors, NamedSink, Output, Owner, Sink, Staged,
};
use lw_runtime::job::{InsertSpec, JobSpec, Settings, Surroundings};
use lw_runtime::manifest::{Pending, SplitRange, TableChain};
use lw_runtime::operator::Meetings;
use lw_runtime::pipelines::{PlannedScript, Planner};
use lw_runtime::pool::Pool;
use lw_runtime::state::{Budget, Frozen, Limits};
use lw_runtime::{Chunk, Commits, Rules, SteppedJob};
use lw_sim::{SimClock, SimDisk};
use lw_storage::{Config, Storage};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// What a job reads: one table, or several of which none is waited for that nothing comes in for longer than this.
#[derive(Clone, Copy)]
struct Read {
    log: &'static str,
    topics: &'static [&'static str],
    idle: Option<i64>,
}

/// 3, 13 and 28 come when their windows have fired.
const ONE: Read = Read {
    log: "t0:1 t0:2 t0:12 t0:3 t0:21 t0:13 t0:24 t0:35 t0:28 t0:41",
    topics: &["t"],
    idle: None,
};
const FIRED: &str = "0=2 10=1 20=2 30=1";

/// b is not waited for from a0:25 on, and so [20, 30) has fired when its 28 comes; nor is it then, before it has come as far.
const TWO: Read = Read {
    log: "a0:1 b0:2 a0:12+6 a0:25+6 a0:36 b0:28 a0:47",
    topics: &["a", "b"],
    idle: Some(10),
};

impl Read {
    fn graph(&self) -> JobGraph {
        let tumble = Counting::Windows(WindowShape::Tumble { size: 10 });
        counts(tumble, self.topics, self.idle)
    }
}

/// What a table was told, oldest first.
type Told = Arc<Mutex<Vec<Pending>>>;

struct World {
    log: OneOrder,
    told: Told,
}

impl Connectors for World {
    fn source(&self, _: &SourceSpec, _: &str) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(self.log.clone()))
    }

    fn scans(&self, _: &[&SourceSpec], _: &str) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(self.log.clone()))
    }

    fn sink(&self, _: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
        let sink = MemorySink(Vec::new());
        Ok((Box::new(sink), Box::new(MemoryTable(self.told.clone()))))
    }

    fn publish_offsets(&self, _: &str, _: &[SplitOffset]) {}
}

/// `[start, count]` of each window.
struct MemorySink(Vec<Value>);

impl Sink for MemorySink {
    fn table(&self) -> &str {
        "ns.t"
    }
    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        let counts: &Int64Array = batch.columns.column(0).as_primitive();
        let starts: &TimestampMicrosecondArray = batch.columns.column(1).as_primitive();
        let rows = starts.values().iter().zip(counts.values());
        self.0
            .extend(rows.map(|(start, count)| json!([start / 1000, count])));
        Ok(())
    }
    fn dead_letters(&mut self, _: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        unreachable!("nothing fails")
    }
    fn buffered_bytes(&self) -> usize {
        0
    }
    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        Ok(vec![Staged {
            table: self.table().to_string(),
            rows: self.0.len() as u64,
            files: std::mem::take(&mut self.0),
            bytes: 0,
            schema_id: 0,
        }])
    }
}

struct MemoryTable(Told);

impl Committer for MemoryTable {
    fn commit(&mut self, _: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        let mut told = self.0.lock().expect("nobody panics here");
        let is_new = |pending: &&Pending| told.iter().all(|known| known.uuid != pending.uuid);
        let new: Vec<Pending> = chain.chain.iter().filter(is_new).cloned().collect();
        told.extend(new);
        Ok(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: None,
        })
    }
}

struct NoPlanner;

impl Planner for NoPlanner {
    fn plan(&self, _: &str) -> Result<PlannedScript, String> {
        Err("there are no scripts".to_string())
    }
}

/// The commits of a job that stops behind every record and goes on.
fn filled_by(rules: Rules, read: Read) -> Vec<Pending> {
    let (told, log) = (Told::default(), OneOrder::of(read.log));
    let clock = Arc::new(SimClock::new());
    let disk = SimDisk::new(7, clock.clone());
    let config = Config {
        wal_file_bytes: 16 << 10,
        min_free_bytes: 4 << 10,
        ..Config::new("/data")
    };
    let storage = Storage::open_stepped(Arc::new(disk), clock.clone(), config).expect("it opens");
    let ids = Arc::new(AtomicU64::new(1));
    let around = Surroundings {
        storage,
        connectors: Arc::new(World {
            log: log.clone(),
            told: told.clone(),
        }),
        planner: Arc::new(NoPlanner),
        clock,
        memory: Budget::none(),
        new_id: Arc::new(move || Uuid::from_u128(ids.fetch_add(1, Ordering::Relaxed).into())),
        pool: Pool::none(),
    };
    let spec = JobSpec {
        owner: Owner {
            pipeline: Uuid::from_u128(1),
            name: "p".into(),
        },
        inserts: vec![InsertSpec {
            table: "ns.t".into(),
            occurrence: 0,
            plan: "q".into(),
        }],
        graph: read.graph(),
        group: "g".into(),
        settings: Settings {
            commit_interval: Duration::ZERO,
            shards: Some(1),
        },
        finished: Arc::new(|| {}),
    };
    for _ in 0..log.len() {
        let job = SteppedJob::start(&spec, &around, Commits::AtOnce, rules);
        let mut job = job.expect("it begins");
        // With this interval what was read is sealed at once.
        job.poll(1).expect("it reads");
    }
    let told = told.lock().expect("nobody panics here");
    told.clone()
}

/// What the audit of its table says, with all of the log and with what the ledger has of the first records.
fn audited(rules: Rules, read: Read) -> [Vec<String>; 2] {
    let commits = filled_by(rules, read);
    let files = commits.iter().flat_map(|commit| &commit.files);
    let rows = files.map(|row| format!("{}={}", row[0], row[1]));
    let rows: &'static str = rows.collect::<Vec<String>>().join(" ").leak();
    let ranges = commits.iter().flat_map(|commit| &commit.ranges);
    let ranges: Vec<SplitRange> = ranges.cloned().collect();
    let disk = SimDisk::new(7, Arc::new(SimClock::new()));
    let how = Recomputation {
        windows: vec!["window_start".into()],
        late: ranges
            .iter()
            .map(|range| ToldLate {
                topic: range.topic.clone(),
                partition: range.partition,
                offsets: range.start..range.end,
                late: range.late,
            })
            .collect(),
        shelf: Some(Shelf::under(Arc::new(disk), Path::new("/data"), "ns.t")),
        ..Recomputation::default()
    };
    let log = OneOrder::of(read.log);
    let (first, all) = (log.ends_of(log.len() / 2 + 1), log.ends_of(log.len()));
    let starts: BTreeMap<Key, i64> = all.keys().map(|key| (key.clone(), 0)).collect();
    let over = |until: &BTreeMap<Key, i64>, log_starts: &BTreeMap<Key, i64>| {
        let mut evidence = evidence(&[], "0@0-0=0");
        evidence.files[0].runs.clear();
        evidence.read_file = Box::new(move |_| Ok(Box::new(std::iter::once(Ok(counted(rows))))));
        evidence.log_starts.clone_from(log_starts);
        let is_within = |range: &&SplitRange| {
            let end = until.get(&(range.topic.clone(), range.partition));
            end.is_some_and(|end| range.end <= *end)
        };
        let within = ranges.iter().filter(is_within).map(|range| MarkedRange {
            topic: range.topic.clone(),
            partition: range.partition,
            start: range.start,
            end: range.end,
            follows: true,
        });
        evidence.ranges = within.collect();
        evidence.queries[0].make = Box::new(move || {
            Ok(Executable {
                source: Box::new(OneOrder::of(read.log)),
                flow: Flow::compile(&read.graph()).expect("a tree"),
                columns: vec!["n".into(), "window_start".into()],
            })
        });
        evidence
    };
    let mut look = over(&first, &starts);
    look.extent = Extent::Ranges;
    let (_, word) = audit_recomputed_for_ledger(look, &how).expect("it can be read");
    let mut ledger = Ledger::of("ns.t");
    ledger.keep_word(word, &first);
    [&starts, &first].map(|log_starts| {
        let mut evidence = over(&all, log_starts);
        evidence.ledger = ledger.clone();
        let report = audit_recomputed(evidence, &how).expect("it can be read");
        let mut lines = vec![format!("{:?}", report.verdict)];
        lines.extend(report.findings);
        lines.extend(report.notes);
        lines
    })
}

/// Whether the log is there or gone, a finding of the audit says this.
fn is_caught(rules: Rules, said: &str) {
    is_caught_over(ONE, rules, said);
}

fn is_caught_over(read: Read, rules: Rules, said: &str) {
    for lines in audited(rules, read) {
        assert_eq!(lines[0], "Wrong");
        assert!(lines.iter().any(|line| line.contains(said)), "{lines:?}");
    }
}

#[test]
fn a_job_without_mistakes_is_right() {
    for read in [ONE, TWO] {
        assert_eq!(audited(Rules::OURS, read), [["Right"], ["Right"]]);
    }
    let commits = filled_by(Rules::OURS, ONE);
    let files = commits.iter().flat_map(|commit| &commit.files);
    let rows = files.map(|row| format!("{}={}", row[0], row[1]));
    assert_eq!(rows.collect::<Vec<String>>().join(" "), FIRED);
}

#[test]
fn a_late_row_that_counts_twice_is_caught() {
    let rules = Rules {
        late: |rows| [rows, rows].concat(),
        ..Rules::OURS
    };
    is_caught(rules, "records were late, the log gives");
}

#[test]
fn a_watermark_that_is_not_restored_is_caught() {
    let rules = Rules {
        frozen: |mut frozen| {
            frozen.values_mut().for_each(|state| state.watermark(None));
            frozen
        },
        ..Rules::OURS
    };
    is_caught(
        rules,
        "window window_start 1970-01-01T00:00:00.020: the table holds 2 rows, the log gives 1",
    );
}

#[test]
fn state_that_is_lost_is_caught() {
    let rules = Rules {
        frozen: |mut frozen| {
            let states = frozen.values_mut();
            states.for_each(|state| state.sections.clear());
            frozen
        },
        ..Rules::OURS
    };
    is_caught(rules, "the table holds 0 rows, the log gives 1");
}

/// What windows gave goes to the table behind the barrier that their state is of.
#[test]
fn a_barrier_inside_of_a_ticket_is_caught() {
    let rules = Rules {
        lands_first: false,
        ..Rules::OURS
    };
    is_caught(rules, "the table holds 0 rows, the log gives 1");
}

#[test]
fn changes_that_are_lost_are_caught() {
    fn without_rows(mut frozen: Frozen) -> Frozen {
        for written in frozen.values_mut().flat_map(|state| &mut state.sections) {
            if written.changes.is_some() {
                written.rows.clear();
            }
        }
        frozen
    }
    let rules = Rules {
        frozen: without_rows,
        state: Limits::NONE,
        ..Rules::OURS
    };
    is_caught(rules, "are not those that the log gives");
}

/// Whoever forgets how far event time had come without b waits for it behind its 28: [30, 40) does not fire.
#[test]
fn a_table_that_was_asleep_and_is_waited_for_again_is_caught() {
    let rules = Rules {
        meetings: |_| Meetings::default(),
        ..Rules::OURS
    };
    let said =
        "window window_start 1970-01-01T00:00:00.030: the table holds 0 rows, the log gives 1";
    is_caught_over(TWO, rules, said);
}
