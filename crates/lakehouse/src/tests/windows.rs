//! The simulation of a job with state: windows of event time are counted from the log into a table, or the rows of each key by OVER
//! ([`idle`]), and rows that come too late are kept beside it, under power cuts and lost replies, from a seed.
//!
//! The job is the runtime's own, over the real storage, catalog and files on a simulated disk. In the end the table holds what
//! reading the log row by row gives, and each record is accounted for once:
//!
//! - W1: one row for each key and window that fired, or each row that the watermark reached, with the right count, and no other;
//! - W2: each late record is in the late table once, and no other is;
//! - W3: the commits account for each record as taken in, late or dead, and for all of them.
//!
//! Planted bugs of the runtime must be caught.

use super::sim::job;
use super::world::{Fault, HandClock, Network, World, ident, owner, spec};
use crate::commit::rules::Rules;
use crate::{Ids, TableView};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use lw_graph::{
    AggregateCall, AggregateFunction, Expr, Field, FormatSpec, JobGraph, KafkaSource, LateRows,
    Node, Operator, OperatorUid, Schema, SinkSpec, SourceColumn, SourceSpec, StartupMode, TypeKind,
    Window, WindowProperty, WindowShape, Windowing,
};
use lw_runtime::connector::ConnectorError;
use lw_runtime::job::{InsertSpec, JobSpec, Settings};
use lw_runtime::state::{Frozen, Limits, Written};
use lw_runtime::{Commits, SteppedJob};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::calendar::utc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod idle;

const STEPS: usize = 60;
const SIZE: i64 = 5_000;
const TABLE: &str = "events";
const START: i64 = 1_767_225_600_000;
const POWER_STAYS: Trouble = Trouble::PowerOff {
    after: u64::MAX / 2,
};

/// What stands at an offset.
enum Record {
    At(i64),
    NoTime,
    NoJson,
}

/// Follows from its place, so that a log that lost its end to a power cut is filled up with the same. Time jumps back and forth
/// by more than a window.
fn record(partition: i32, offset: i64) -> Record {
    match offset % 11 {
        4 => Record::NoJson,
        7 => Record::NoTime,
        _ => {
            let jitter = (offset * 7_919 + i64::from(partition) * 104_729) % 17;
            Record::At(START + offset * 2_000 + jitter * 1_000)
        }
    }
}

fn value(partition: i32, offset: i64) -> String {
    match record(partition, offset) {
        Record::NoJson => format!("no JSON at {offset}"),
        Record::NoTime => format!(r#"{{"part":{partition},"at":null}}"#),
        Record::At(at) => {
            let at = utc(at).replace('T', " ").replace('Z', "");
            format!(r#"{{"part":{partition},"at":"{at}"}}"#)
        }
    }
}

/// What a job counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// `INSERT INTO events SELECT part, COUNT(*), window_start FROM TUMBLE(…, 5 s) GROUP BY part, window_start, window_end`.
    OfWindows,
    /// `INSERT INTO events SELECT part, COUNT(*) OVER (PARTITION BY part ORDER BY at ROWS …), at`, with a time to live.
    OfKeys,
}

fn graph(what: Counts) -> JobGraph {
    let read = Schema::new(vec![
        Field::new("part", TypeKind::Int.not_null()),
        Field::new("at", TypeKind::Timestamp(3).nullable()),
    ]);
    let counted = Schema::new(vec![
        Field::new("part", TypeKind::Int.not_null()),
        Field::new("c", TypeKind::BigInt.not_null()),
        Field::new("window_start", TypeKind::Timestamp(3).not_null()),
    ]);
    let source = KafkaSource {
        table: "source".to_owned(),
        topics: vec![job::TOPIC.to_owned()],
        bootstrap: "here".to_owned(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Json {
            fail_on_missing_field: true,
            ignore_parse_errors: false,
            iso_timestamps: false,
        },
        key: None,
        value_schema: read.clone(),
        columns: (0..2).map(SourceColumn::Value).collect(),
    };
    let time = Expr::Column {
        index: 1,
        name: "at".to_owned(),
        ty: read.fields[1].ty.clone(),
    };
    let window = Window {
        shape: WindowShape::Tumble { size: SIZE },
        offset: 0,
        time: 1,
        zone: None,
    };
    let count = AggregateCall {
        function: AggregateFunction::Count,
        arguments: Vec::new(),
        distinct: false,
        filter: None,
        ty: TypeKind::BigInt.not_null(),
    };
    let counts = Operator::WindowAggregate {
        uid: OperatorUid::of("counts"),
        windowing: Windowing::Assign(window),
        keys: vec![0],
        aggregates: vec![count.clone()],
        properties: vec![WindowProperty::Start],
    };
    let watermark = Operator::Watermark {
        column: 1,
        expression: time,
        idle: None,
    };
    let mut sink = spec(counted.fields.clone());
    sink.late = LateRows::SideTable;
    let mut operators = vec![
        (Operator::Source(SourceSpec::Kafka(source)), &read),
        (watermark, &read),
    ];
    let over = idle::over(&read, count);
    match what {
        Counts::OfWindows => operators.push((counts, &counted)),
        Counts::OfKeys => operators.extend(
            over.iter()
                .map(|(operator, gives)| (operator.clone(), gives)),
        ),
    }
    operators.push((Operator::Sink(SinkSpec::Iceberg(sink)), &counted));
    let nodes = operators.into_iter().enumerate();
    let nodes = nodes.map(|(id, (operator, schema))| Node {
        operator,
        inputs: id.checked_sub(1).into_iter().collect(),
        schema: schema.clone(),
    });
    JobGraph {
        nodes: nodes.collect(),
    }
}

fn job_spec(what: Counts, commit_interval: Duration, shards: usize) -> JobSpec {
    JobSpec {
        owner: owner(),
        inserts: vec![InsertSpec {
            table: format!("lake.{TABLE}"),
            occurrence: 0,
            plan: "plan".to_owned(),
        }],
        graph: graph(what),
        group: "group".to_owned(),
        settings: Settings {
            commit_interval,
            shards: Some(shards),
        },
        finished: Arc::new(|| {}),
    }
}

/// What the table has to hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Truth {
    /// Key, start of the window or time of the row, count; how often that is there.
    rows: BTreeMap<(i32, i64, i64), u32>,
    late: BTreeSet<(i32, i64)>,
    taken: u64,
    dead: u64,
}

/// Reads records in this order, one by one.
fn truth(order: &[(i32, i64)]) -> Truth {
    let (mut truth, mut windows) = (Truth::default(), BTreeMap::new());
    let (mut by_split, mut watermark) = (BTreeMap::new(), i64::MIN);
    for (partition, offset) in order {
        let Record::At(at) = record(*partition, *offset) else {
            truth.dead += 1;
            continue;
        };
        let start = at.div_euclid(SIZE) * SIZE;
        if watermark >= start + SIZE - 1 {
            truth.late.insert((*partition, *offset));
        } else {
            *windows.entry((*partition, start)).or_default() += 1;
            truth.taken += 1;
        }
        let known = by_split.entry(*partition).or_insert(at);
        *known = at.max(*known);
        if by_split.len() == 2 {
            watermark = watermark.max(by_split.values().copied().min().expect("two"));
        }
    }
    windows.retain(|(_, start), _| watermark >= start + SIZE - 1);
    let rows = windows.into_iter();
    truth.rows = rows
        .map(|((key, start), count)| ((key, start, count), 1))
        .collect();
    truth
}

struct Machine {
    what: Counts,
    random: StdRng,
    disk: SimDisk,
    clock: Arc<HandClock>,
    ids: Ids,
    engine: lw_runtime::Rules,
    /// Some seal when they are told to, others at each ticket too.
    interval: Duration,
    /// Records in the order in which they were appended.
    order: Vec<(i32, i64)>,
    cuts: u32,
}

struct Process {
    world: World,
    network: Arc<Network>,
    job: SteppedJob,
}

impl Machine {
    fn new(what: Counts, seed: u64, engine: lw_runtime::Rules) -> Machine {
        Machine {
            what,
            random: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed, Arc::new(SimClock::new())),
            clock: HandClock::at(1_700_000_000_000),
            ids: Ids::seeded(seed),
            engine: lw_runtime::Rules {
                // Some states stand in files, and are written by what changed.
                state: match seed % 2 {
                    0 => Limits::NONE,
                    _ => engine.state,
                },
                ..engine
            },
            interval: match seed % 3 {
                0 => Duration::ZERO,
                _ => Duration::MAX,
            },
            order: Vec::new(),
            cuts: 0,
        }
    }

    /// Runs a history; what is wrong in the end, and how many late rows there were.
    fn run(&mut self) -> Result<usize, String> {
        let mut process = None;
        for _ in 0..STEPS {
            let done = match &mut process {
                None => self.start().map(|started| process = Some(started)),
                Some(running) => self.step(running),
            };
            if self.disk.is_off() {
                process = None;
                self.cuts += 1;
                self.disk.crash();
            } else {
                done.map_err(|error| format!("{}: {}", error.message, error.detail))?;
                self.disk.cause(POWER_STAYS);
            }
        }
        drop(process);
        self.disk.cause(POWER_STAYS);
        let told = |error: ConnectorError| format!("{}: {}", error.message, error.detail);
        let mut process = self.start().map_err(told)?;
        self.finish(&mut process).map_err(told)?;
        self.check(&process)
    }

    fn start(&mut self) -> Result<Process, ConnectorError> {
        let world = World::open_stepped(
            Arc::new(self.disk.clone()),
            Path::new("/server"),
            self.clock.clone(),
            self.ids.clone(),
        );
        let network = world.network();
        // A log that lost its end has fewer records than were appended; of the batch that the power went in, nobody knows.
        if job::create_topic(&world.storage, &self.ids).is_ok() {
            let ends = [0, 1].map(|part| job::end(&world.storage, part));
            self.order
                .retain(|(part, offset)| *offset < ends[*part as usize]);
            for (part, end) in (0..2).zip(ends) {
                let known = self.order.iter().filter(|(of, _)| *of == part).count();
                self.order
                    .extend((known as i64..end).map(|offset| (part, offset)));
            }
        }
        let commits = match self.random.random_bool(0.5) {
            true => Commits::AtOnce,
            false => Commits::WhenAsked,
        };
        let around = job::around(&world, &network, Rules::OURS);
        // Whoever goes on shares the keys out otherwise.
        let shards = [1, 2, 7][self.cuts as usize % 3];
        let spec = job_spec(self.what, self.interval, shards);
        let job = SteppedJob::start(&spec, &around, commits, self.engine)?;
        Ok(Process {
            world,
            network,
            job,
        })
    }

    fn step(&mut self, process: &mut Process) -> Result<(), ConnectorError> {
        self.clock.go(self.random.random_range(0..5_000));
        if self.random.random_bool(0.2) {
            let after = self.random.random_range(0..40);
            self.disk.cause(Trouble::PowerOff { after });
        }
        let job = &mut process.job;
        match self.random.random_range(0..12) {
            0..=3 => self.produce(process),
            4..=6 => {
                let max_bytes = if self.random.random_bool(0.5) {
                    1
                } else {
                    1 << 20
                };
                job.poll(max_bytes)?;
            }
            7..=8 => job.checkpoint()?,
            9..=10 => {
                job.tick()?;
                while job.commit()? {}
            }
            _ => {
                let faults = [Fault::ReplyLost, Fault::RequestLost, Fault::Resent];
                let fault = faults[self.random.random_range(0..3)];
                let mut next = process.network.faults.lock().expect("nothing panics there");
                next.push_back(Some(fault));
            }
        }
        Ok(())
    }

    fn produce(&mut self, process: &Process) {
        let storage = &process.world.storage;
        for part in 0..2 {
            let count = self.random.random_range(0..4);
            let from = job::end(storage, part);
            if count > 0 && job::append(storage, part, count, value).is_ok() {
                self.order
                    .extend((from..from + count).map(|offset| (part, offset)));
            }
        }
    }

    /// Undisturbed, all is read and committed.
    fn finish(&mut self, process: &mut Process) -> Result<(), ConnectorError> {
        let mut faults = process.network.faults.lock().expect("nothing panics there");
        faults.clear();
        drop(faults);
        loop {
            self.clock.go(60_000);
            let job = &mut process.job;
            job.tick()?;
            let mut moved = job.commit()?;
            moved |= job.poll(1 << 20)?;
            job.checkpoint()?;
            moved |= job
                .manifest()
                .chains()
                .any(|(_, chain)| !chain.chain.is_empty());
            if !moved {
                return Ok(());
            }
        }
    }

    fn check(&self, process: &Process) -> Result<usize, String> {
        let truth = match self.what {
            Counts::OfWindows => truth(&self.order),
            Counts::OfKeys => idle::truth(&process.world.storage),
        };
        let world = &process.world;
        let table = |name: &str| TableView::open(&world.catalog, &ident(&format!("lake.{name}")));
        let view = table(TABLE).map_err(|error| error.to_string())?;
        let mut found: BTreeMap<(i32, i64, i64), u32> = BTreeMap::new();
        for batch in rows(&view) {
            let keys = batch.column(0).as_primitive::<Int32Type>().values();
            let counts = batch.column(1).as_primitive::<Int64Type>().values();
            let starts = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let row = (keys[row], starts.value(row) / 1000, counts[row]);
                *found.entry(row).or_default() += 1;
            }
        }
        if found != truth.rows {
            return Err(format!(
                "W1: the table has {found:?} instead of {:?}",
                truth.rows
            ));
        }
        let mut late = BTreeSet::new();
        if let Ok(view) = table(&format!("{TABLE}__late")) {
            for batch in rows(&view) {
                let parts = batch.column(1).as_primitive::<Int32Type>().values();
                let offsets = batch.column(2).as_primitive::<Int64Type>().values();
                for at in parts.iter().copied().zip(offsets.iter().copied()) {
                    if !late.insert(at) {
                        return Err(format!("W2: {at:?} is kept twice"));
                    }
                }
            }
        }
        if late != truth.late {
            return Err(format!("W2: {late:?} are late instead of {:?}", truth.late));
        }
        let (mut taken, mut dead, mut counted) = (0, 0, 0);
        for range in view.snapshots.iter().flat_map(|snapshot| &snapshot.ranges) {
            taken += range.rows;
            dead += range.dead_letters;
            counted += range.late;
        }
        let found = (taken, dead, counted);
        if found != (truth.taken, truth.dead, truth.late.len() as u64) {
            return Err(format!(
                "W3: (taken in, dead, late) is {found:?}, {truth:?}"
            ));
        }
        Ok(late.len())
    }
}

fn rows(view: &TableView) -> Vec<arrow_array::RecordBatch> {
    let files = view.data_files.iter();
    files
        .flat_map(|file| view.read_rows(file).expect("committed files are there"))
        .collect()
}

#[test]
fn sim_windows_are_right_whatever_is_cut() {
    let (mut cuts, mut late) = (0, 0);
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        let mut machine = Machine::new(Counts::OfWindows, *seed, lw_runtime::Rules::OURS);
        match machine.run() {
            Ok(found) => {
                cuts += machine.cuts;
                late += found;
            }
            Err(what) => panic!(
                "seed {seed}: {what}\nagain: LAKEWARD_SIM_SEED={seed} cargo test --release -p lw-lakehouse sim_windows"
            ),
        }
    }
    if seeds.len() >= 60 {
        assert!(
            cuts > 60 && late > 100,
            "only {cuts} power cuts, {late} late rows: nothing strikes"
        );
    }
}

/// What some history is found wrong by.
fn caught(engine: lw_runtime::Rules) -> String {
    caught_in(Counts::OfWindows, engine)
}

fn caught_in(what: Counts, engine: lw_runtime::Rules) -> String {
    let found = (0..200).find_map(|seed| {
        let run = || Machine::new(what, seed, engine).run().err();
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(found) => found,
            Err(panic) => panic.downcast_ref::<String>().cloned(),
        }
    });
    found.expect("no history notices the mistake")
}

#[test]
fn sim_windows_catches_a_watermark_that_is_not_restored() {
    let found = caught(lw_runtime::Rules {
        frozen: |mut frozen| {
            frozen.values_mut().for_each(|state| state.watermark(None));
            frozen
        },
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with('W'), "{found}");
}

#[test]
fn sim_windows_catches_state_that_is_lost() {
    let found = caught(lw_runtime::Rules {
        frozen: |mut frozen| {
            let states = frozen.values_mut();
            states.for_each(|state| state.sections.clear());
            frozen
        },
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with("W1"), "{found}");
}

/// Each section that is written by what changed is so written with a mistake.
fn with_changes(mut frozen: Frozen, mistake: fn(&mut Written)) -> Frozen {
    let written = frozen.values_mut().flat_map(|state| &mut state.sections);
    let changed = written.filter(|written| written.changes.is_some());
    changed.for_each(mistake);
    frozen
}

#[test]
fn sim_windows_catches_changes_that_are_lost() {
    let found = caught(lw_runtime::Rules {
        frozen: |frozen| with_changes(frozen, |written| written.rows.clear()),
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with('W'), "{found}");
}

#[test]
fn sim_windows_catches_a_drop_that_is_forgotten() {
    let found = caught(lw_runtime::Rules {
        frozen: |frozen| {
            with_changes(frozen, |written| {
                let changes = written.changes.as_mut();
                changes.expect("those are asked for").dropped.clear();
            })
        },
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with("W1"), "{found}");
}

#[test]
fn sim_windows_catches_a_barrier_inside_of_a_ticket() {
    let found = caught(lw_runtime::Rules {
        lands_first: false,
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with('W'), "{found}");
}

#[test]
fn sim_windows_catches_a_late_row_that_counts_twice() {
    let found = caught(lw_runtime::Rules {
        late: |rows| [rows, rows].concat(),
        ..lw_runtime::Rules::OURS
    });
    assert!(found.starts_with("W3"), "{found}");
}
