//! OVER with a time to live: keys that nothing comes of are forgotten, at the same rows whatever is cut, by the log's own time.

use super::*;
use lw_graph::{Frame, FrameUnit};
use lw_storage::source::LogSource;

/// Shorter than most pauses of a history; the time passes in steps of a millisecond.
const TTL: i64 = 2_000;

/// The operators between the watermark and the sink, with what each gives.
pub(super) fn over(read: &Schema, count: AggregateCall) -> [(Operator, Schema); 2] {
    let number = Field::new("c", TypeKind::BigInt.not_null());
    let mut given = read.clone();
    given.fields.push(number.clone());
    let over = Operator::Over {
        uid: OperatorUid::of("numbers"),
        keys: vec![0],
        time: 1,
        frame: Frame {
            unit: FrameUnit::Rows,
            preceding: None,
        },
        aggregates: vec![count],
        ttl: Some(TTL),
    };
    let time = Field::new("window_start", TypeKind::Timestamp(3).not_null());
    let counted = Schema::new(vec![read.fields[0].clone(), number, time]);
    let columns = [0, 2, 1].map(|index| Expr::Column {
        index,
        name: given.fields[index].name.clone(),
        ty: given.fields[index].ty.clone(),
    });
    let project = Operator::Project(columns.to_vec());
    [(over, given), (project, counted)]
}

/// A key as Flink keeps it.
#[derive(Default)]
struct Key {
    count: i64,
    /// Event times of the rows that the watermark has not reached, as they came.
    waiting: Vec<i64>,
    /// The processing-time timer.
    forget: Option<i64>,
}

impl Key {
    /// Time goes on.
    fn pass(&mut self, now: i64) {
        while let Some(at) = self.forget.filter(|at| *at <= now) {
            match self.waiting.is_empty() {
                true => *self = Key::default(),
                false => self.forget = Some(at + TTL * 3 / 2),
            }
        }
    }

    /// Something of it came.
    fn touch(&mut self, now: i64) {
        if self.forget.is_none_or(|at| now + TTL > at) {
            self.forget = Some(now + TTL * 3 / 2);
        }
    }

    /// The watermark rises: the rows that it reaches, with their numbers.
    fn rise(&mut self, watermark: i64, now: i64) -> Vec<(i64, i64)> {
        let mut reached: Vec<i64> = self.waiting.extract_if(.., |at| *at <= watermark).collect();
        reached.sort_unstable();
        let number = |at| {
            self.touch(now);
            self.count += 1;
            (at, self.count)
        };
        reached.into_iter().map(number).collect()
    }
}

/// Reads the log batch by batch, each at its time.
pub(super) fn truth(storage: &lw_storage::Storage) -> Truth {
    let mut truth = Truth::default();
    let mut keys: BTreeMap<i32, Key> = BTreeMap::new();
    let (mut by_split, mut watermark) = (BTreeMap::new(), i64::MIN);
    let mut next = BTreeMap::from([(0, 0), (1, 0)]);
    loop {
        let batches = storage
            .read(job::TOPIC, &next, 1 << 20)
            .expect("the log is whole");
        if batches.is_empty() {
            return truth;
        }
        for batch in batches {
            let (partition, now) = (batch.partition, batch.appended_at);
            assert!(now > 0, "the log says when a batch was appended");
            let from = next
                .insert(partition, batch.next)
                .expect("it has two partitions");
            for offset in from..batch.next {
                let Record::At(at) = record(partition, offset) else {
                    truth.dead += 1;
                    continue;
                };
                keys.values_mut().for_each(|key| key.pass(now));
                let key = keys.entry(partition).or_default();
                key.touch(now);
                if at <= watermark {
                    truth.late.insert((partition, offset));
                } else {
                    key.waiting.push(at);
                    truth.taken += 1;
                }
                let known = by_split.entry(partition).or_insert(at);
                *known = at.max(*known);
                if by_split.len() < 2 {
                    continue;
                }
                watermark = watermark.max(by_split.values().copied().min().expect("two"));
                for (partition, key) in &mut keys {
                    for (at, number) in key.rise(watermark, now) {
                        *truth.rows.entry((*partition, at, number)).or_default() += 1;
                    }
                }
            }
        }
    }
}

/// How often a key began anew.
fn forgotten(truth: &Truth) -> usize {
    let firsts = truth.rows.iter().filter(|((_, _, number), _)| *number == 1);
    firsts.map(|(_, times)| *times as usize).sum()
}

#[test]
fn sim_keys_are_forgotten_at_the_same_rows_whatever_is_cut() {
    let (mut cuts, mut begun) = (0, 0);
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        let mut machine = Machine::new(Counts::OfKeys, *seed, lw_runtime::Rules::OURS);
        if let Err(what) = machine.run() {
            panic!(
                "seed {seed}: {what}\nagain: LAKEWARD_SIM_SEED={seed} cargo test --release -p lw-lakehouse sim_keys"
            );
        }
        cuts += machine.cuts;
        machine.disk.cause(POWER_STAYS);
        let process = machine.start().expect("it was started before");
        begun += forgotten(&truth(&process.world.storage));
    }
    if seeds.len() >= 60 {
        assert!(
            cuts > 60 && begun > 180,
            "only {cuts} power cuts, {begun} beginnings of two keys: nothing is forgotten"
        );
    }
}

/// Each section of that name is written with a mistake.
fn with_section(mut frozen: Frozen, name: &str, mistake: fn(&mut Written)) -> Frozen {
    let written = frozen.values_mut().flat_map(|state| &mut state.sections);
    let named = written.filter(|written| written.name == name);
    named.for_each(mistake);
    frozen
}

#[test]
fn sim_keys_catches_a_key_that_is_forgotten_in_use() {
    let found = caught_in(
        Counts::OfKeys,
        lw_runtime::Rules {
            // Whoever goes on finds the timers as they were set first.
            frozen: |frozen| {
                with_section(frozen, "idle", |written| {
                    for rows in &mut written.rows {
                        let mut columns = rows.columns().to_vec();
                        let last = columns.len() - 1;
                        columns[last] =
                            Arc::new(arrow_array::Int64Array::from(vec![1; rows.num_rows()]));
                        *rows = arrow_array::RecordBatch::try_new(rows.schema(), columns)
                            .expect("as before");
                    }
                })
            },
            ..lw_runtime::Rules::OURS
        },
    );
    assert!(found.starts_with("W1"), "{found}");
}

#[test]
fn sim_keys_catches_timers_that_are_lost() {
    let found = caught_in(
        Counts::OfKeys,
        lw_runtime::Rules {
            frozen: |frozen| with_section(frozen, "idle", |written| written.rows.clear()),
            ..lw_runtime::Rules::OURS
        },
    );
    assert!(found.starts_with("W1"), "{found}");
}

#[test]
fn sim_keys_catches_a_forgotten_key_that_comes_back() {
    let found = caught_in(
        Counts::OfKeys,
        lw_runtime::Rules {
            frozen: |frozen| {
                with_changes(frozen, |written| {
                    let changes = written.changes.as_mut();
                    changes.expect("those are asked for").dropped.clear();
                })
            },
            ..lw_runtime::Rules::OURS
        },
    );
    assert!(found.starts_with("W1"), "{found}");
}
