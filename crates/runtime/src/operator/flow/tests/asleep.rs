//! Scans that nothing comes in: what meets them is as Flink's classes say, which are written down here line by line and driven by a timer
//! for each millisecond.

use super::*;

/// How event time comes on at an operator of several inputs (`CombinedWatermarkStatus`).
pub(super) struct Combined {
    of: Vec<(i64, bool)>,
    pub(super) combined: i64,
}

impl Combined {
    pub(super) fn new(inputs: usize) -> Combined {
        Combined {
            of: vec![(i64::MIN, false); inputs],
            combined: i64::MIN,
        }
    }

    pub(super) fn watermark(&mut self, input: usize, millis: i64) {
        self.of[input].0 = self.of[input].0.max(millis);
        self.update();
    }

    fn idle(&mut self, input: usize, idle: bool) {
        self.of[input].1 = idle;
        self.update();
    }

    fn update(&mut self) {
        let active = self.of.iter().filter(|(_, idle)| !idle);
        let least = active.map(|(millis, _)| *millis).min();
        self.combined = least.map_or(self.combined, |least| least.max(self.combined));
    }
}

/// The channels of one input, which a union's are (`StatusWatermarkValve`).
struct Channels {
    of: Vec<Channel>,
    last: i64,
}

struct Channel {
    millis: i64,
    active: bool,
    aligned: bool,
}

impl Channels {
    fn new(channels: usize) -> Channels {
        let channel = |_| Channel {
            millis: i64::MIN,
            active: true,
            aligned: true,
        };
        Channels {
            of: (0..channels).map(channel).collect(),
            last: i64::MIN,
        }
    }

    fn watermark(&mut self, channel: usize, millis: i64) {
        let of = &mut self.of[channel];
        if millis > of.millis {
            of.millis = millis;
            of.aligned |= millis >= self.last;
            self.least();
        }
    }

    fn idle(&mut self, channel: usize, idle: bool) {
        let of = &mut self.of[channel];
        of.active = !idle;
        of.aligned = !idle && of.millis >= self.last;
        let (millis, any) = (of.millis, self.of.iter().any(|of| of.active));
        match (idle, any) {
            (true, false) if millis == self.last => {
                let all = self.of.iter().map(|of| of.millis);
                self.last = self.last.max(all.max().expect("there are channels"));
            }
            (true, true) if millis == self.last => self.least(),
            _ => {}
        }
    }

    fn least(&mut self) {
        let aligned = self.of.iter().filter(|of| of.aligned);
        if let Some(least) = aligned.map(|of| of.millis).min() {
            self.last = self.last.max(least);
        }
    }
}

/// Which scans are idle, as a timer tells it.
struct Timer {
    timeouts: [Option<i64>; 2],
    came: [i64; 2],
    idle: [bool; 2],
    now: i64,
}

impl Timer {
    fn new(timeouts: [Option<i64>; 2], begins: i64) -> Timer {
        Timer {
            timeouts,
            came: [begins; 2],
            idle: [false; 2],
            now: begins,
        }
    }

    /// A record of a scan comes.
    fn comes(&mut self, scan: usize, at: i64, mut told: impl FnMut(usize, bool)) {
        while self.now < at {
            self.now += 1;
            for scan in 0..2 {
                let timeout = self.timeouts[scan].unwrap_or(i64::MAX);
                if !self.idle[scan] && self.now - self.came[scan] > timeout {
                    self.idle[scan] = true;
                    told(scan, true);
                }
            }
        }
        if std::mem::take(&mut self.idle[scan]) {
            told(scan, false);
        }
        self.came[scan] = at;
    }
}

/// Records, and when each was appended.
fn some_timed() -> impl Strategy<Value = (Vec<Record>, Vec<i64>)> {
    let pauses = proptest::collection::vec(0..14_i64, 60);
    (some_records(), pauses).prop_map(|(records, pauses)| {
        let mut at = 100;
        let appended = pauses.into_iter().take(records.len()).map(|pause| {
            at += pause;
            at
        });
        let appended = appended.collect();
        (records, appended)
    })
}

fn some_timeouts() -> impl Strategy<Value = [Option<i64>; 2]> {
    let timeout = || proptest::option::weighted(0.8, 1..15_i64);
    [timeout(), timeout()]
}

/// Rows of a union of two scans, each with the watermark before it.
fn union(timeouts: [Option<i64>; 2]) -> JobGraph {
    let mut graph = Graph::default();
    let scans = [0, 1].map(|scan| graph.scan_with(TOPICS[scan], timeouts[scan]));
    let union = graph.add(Op::Union, &scans, columns());
    let watermark = with(columns(), &[("w", TypeKind::Timestamp(3))]);
    let watermark = graph.add(Op::CurrentWatermark, &[union], watermark);
    graph.sink(watermark)
}

/// Counts of a window of each scan, together, and how many there were in a longer window.
fn counts_of_counts(timeouts: [Option<i64>; 2]) -> JobGraph {
    let mut graph = Graph::default();
    let scans = [0, 1].map(|scan| graph.scan_with(TOPICS[scan], timeouts[scan]));
    let counts = scans.map(|scan| graph.counts(scan, SIZE));
    let schema = graph.0[counts[0]].schema.clone();
    let union = graph.add(Op::Union, &counts, schema.clone());
    let of_ends = vec![
        column(1, TypeKind::Timestamp(3)),
        column(0, TypeKind::BigInt),
    ];
    let fields = [("ts", TypeKind::Timestamp(3)), ("c", TypeKind::BigInt)];
    let ends = graph.add(
        Op::Project(of_ends),
        &[union],
        with(Schema::new(Vec::new()), &fields),
    );
    let all = graph.counts(ends, 4 * SIZE);
    graph.sink(all)
}

fn run(
    graph: JobGraph,
    shards: usize,
    (records, appended): &(Vec<Record>, Vec<i64>),
    cuts: &[(usize, bool)],
) -> Job {
    let mut job = Job::new(graph, shards);
    job.appended.clone_from(appended);
    job.run(records, cuts);
    job
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_union_waits_for_no_scan_that_is_asleep(
        timeouts in some_timeouts(),
        timed in some_timed(),
        cuts in some_cuts(),
    ) {
        let job = run(union(timeouts), 1, &timed, &cuts);
        let (records, appended) = &timed;
        let mut valve = Channels::new(2);
        let mut timer = Timer::new(timeouts, appended.first().copied().unwrap_or(0));
        let mut expected = Vec::new();
        for (place, ((scan, time, _), at)) in records.iter().zip(appended).enumerate() {
            timer.comes(*scan, *at, |scan, idle| valve.idle(scan, idle));
            let before = (valve.last > i64::MIN).then_some(valve.last);
            expected.push(vec![Some(place as i64), before]);
            valve.watermark(*scan, *time);
        }
        prop_assert_eq!(job.numbers(&[2, 3]), expected);
    }

    #[test]
    fn a_join_waits_for_no_scan_that_is_asleep(
        kind in some_kind(),
        timeouts in some_timeouts(),
        timed in some_timed(),
        cuts in some_cuts(),
        shards in proptest::sample::select(vec![1, 2, 7]),
    ) {
        let job = run(joined(kind, false, false, timeouts), shards, &timed, &cuts);
        let (records, appended) = &timed;
        let mut model = Model::new(kind, false, 2);
        let mut timer = Timer::new(timeouts, appended.first().copied().unwrap_or(0));
        for (place, (record, at)) in records.iter().zip(appended).enumerate() {
            timer.comes(record.0, *at, |scan, idle| {
                model.scans.idle(scan, idle);
                model.fire();
            });
            model.take(*record, place as i64, &[record.0]);
        }
        model.end();
        prop_assert_eq!(job.pairs(kind), model.rows);
        prop_assert_eq!(sorted(&job.late), sorted(&model.late));
    }

    /// What is known behind state of who is waited for hangs on no poll and no restart.
    #[test]
    fn what_meets_behind_state_is_the_same_for_polls_of_any_size(
        timeouts in some_timeouts(),
        timed in some_timed(),
        cuts in some_cuts(),
    ) {
        let one_by_one: Vec<(usize, bool)> = (0..timed.0.len()).map(|at| (at, false)).collect();
        let found = [&cuts, &one_by_one].map(|cuts| {
            let job = run(counts_of_counts(timeouts), 1, &timed, cuts);
            (job.numbers(&[0, 1]), job.late.len())
        });
        prop_assert_eq!(&found[0], &found[1]);
    }
}

/// `a` goes on, and nothing comes in `b` any more: what is behind aggregates of both does not wait for it either.
#[test]
fn a_window_over_windows_of_two_scans_fires_while_one_is_asleep() {
    let of_a = [5, 25, 45, 65, 85].map(|time| (0, time, Some(1)));
    let records: Vec<Record> = [(1, 3, Some(1))].into_iter().chain(of_a).collect();
    let fired = |timeout: Option<i64>| {
        let mut job = Job::new(counts_of_counts([None, timeout]), 1);
        job.appended = (0..6).map(|n| 100 + 10 * n).collect();
        job.poll(&records, 0);
        job.numbers(&[0, 1])
    };
    assert_eq!(
        fired(None),
        Vec::<Vec<Option<i64>>>::new(),
        "b has come to 3"
    );
    // From 131 on b is asleep, with its window [0, 10) open: what there is of [0, 40) is of a.
    assert_eq!(fired(Some(30)), [[Some(2), Some(40)], [Some(2), Some(80)]]);
}
