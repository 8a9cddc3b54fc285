//! The log is gone up to some place, and the ledger has its word on what was there: wherever that is, the table is compared as a whole,
//! also where nothing but the query's own state says what comes next: over idle partitions, of `OVER`, of several tables.

use super::one_order::{OneOrder, value_at};
use super::*;
use crate::audit::Verdict;
use crate::audit::ledger::Ledger;
use lw_graph::{Frame, FrameUnit};
use lw_sim::{SimClock, SimDisk};
use std::path::Path;

/// What is computed of the rows.
#[derive(Clone, Copy)]
pub(super) enum Counting {
    /// `COUNT(*)` by window.
    Windows(WindowShape),
    /// `COUNT(*) OVER (ORDER BY ts)`, by rows and without bound; with a time to live.
    Over { ttl: Option<i64> },
}

/// Counts what is in these topics, each a table with a watermark of its own.
pub(super) fn counts(of: Counting, topics: &[&str], idle: Option<i64>) -> JobGraph {
    let base = graph();
    let mut nodes: Vec<Node> = Vec::new();
    let mut scans = Vec::new();
    for topic in topics {
        let (mut source, mut watermark) = (base.nodes[0].clone(), base.nodes[1].clone());
        if let Operator::Source(SourceSpec::Kafka(kafka)) = &mut source.operator {
            kafka.topics = vec![topic.to_string()];
            kafka.table = topic.to_string();
        }
        if let Operator::Watermark { idle: of_scan, .. } = &mut watermark.operator {
            *of_scan = idle;
        }
        watermark.inputs = vec![nodes.len()];
        nodes.extend([source, watermark]);
        scans.push(nodes.len() - 1);
    }
    let mut input = scans[0];
    if scans.len() > 1 {
        nodes.push(Node {
            operator: Operator::Union,
            inputs: scans,
            schema: base.nodes[1].schema.clone(),
        });
        input = nodes.len() - 1;
    }
    let mut counted = base.nodes[2].clone();
    counted.inputs = vec![input];
    let Operator::WindowAggregate {
        windowing,
        aggregates,
        ..
    } = &mut counted.operator
    else {
        unreachable!("it counts windows");
    };
    match of {
        Counting::Windows(shape) => {
            if let Windowing::Assign(window) = windowing {
                window.shape = shape;
            }
        }
        Counting::Over { ttl } => {
            let aggregates = aggregates.clone();
            let column = base.nodes[1].schema.fields[0].clone();
            counted.schema =
                lw_graph::Schema::new(vec![column, Field::new("n", TypeKind::BigInt.not_null())]);
            counted.operator = Operator::Over {
                uid: OperatorUid::of("o"),
                keys: Vec::new(),
                time: 0,
                frame: Frame {
                    unit: FrameUnit::Rows,
                    preceding: None,
                },
                aggregates,
                ttl,
            };
        }
    }
    let schema = counted.schema.clone();
    nodes.push(counted);
    nodes.push(Node {
        operator: Operator::Sink(SinkSpec::Blackhole),
        inputs: vec![nodes.len() - 1],
        schema,
    });
    JobGraph { nodes }
}

/// The columns of the table, in the query's order.
fn columns(of: Counting) -> [&'static str; 2] {
    match of {
        Counting::Windows(_) => ["n", "window_start"],
        Counting::Over { .. } => ["window_start", "n"],
    }
}

/// A table over a log, and what its audit says.
struct Sample {
    log: &'static str,
    of: Counting,
    topics: &'static [&'static str],
    idle: Option<i64>,
    /// `start=count`
    rows: &'static str,
    /// The offsets of the rows that came too late.
    late: &'static [(&'static str, i64)],
    /// Those of the records that cannot be decoded.
    failed: &'static [(&'static str, i64)],
    /// Partitions whose first rows event time waits for; none: all of them.
    awaited: &'static [&'static str],
    /// Where a bounded read ends.
    ends: &'static [(&'static str, i64)],
    right: &'static str,
}

/// `t0` is partition 0 of topic `t`.
fn split(place: &str) -> Key {
    let (topic, partition) = place.split_at(1);
    (topic.to_string(), partition.parse().expect("a number"))
}

/// The records at these places, in a table beside the audited one.
fn letters(table: &str, places: &[(&str, i64)]) -> Letters {
    let mut letters = Letters {
        table: table.to_string(),
        ..Letters::default()
    };
    for (place, offset) in places {
        let letter = Letter::new(*offset, None, Some(&value_at(*offset)));
        letters.rows.entry(split(place)).or_default().push(letter);
    }
    letters
}

impl Sample {
    fn how(&self, shelf: &Shelf) -> Recomputation {
        Recomputation {
            windows: match self.of {
                Counting::Windows(_) => vec!["window_start".into()],
                Counting::Over { .. } => Vec::new(),
            },
            awaited: match self.awaited {
                [] => None,
                awaited => Some(awaited.iter().map(|place| split(place)).collect()),
            },
            ends: self
                .ends
                .iter()
                .map(|(at, end)| (split(at), *end))
                .collect(),
            shelf: Some(shelf.clone()),
            ..Recomputation::default()
        }
    }

    /// The evidence of `rows` where commits end at these places; the log is gone up to `gone`.
    fn evidence(&self, rows: &'static str, commits: &[usize], gone: usize) -> Evidence<'static> {
        let log = OneOrder::of(self.log);
        let mut evidence = evidence(&[], "0@0-0=0");
        evidence.files[0].runs.clear();
        evidence.read_file = Box::new(move |_| Ok(Box::new(std::iter::once(Ok(counted(rows))))));
        evidence.log_starts = log
            .ends_of(log.len())
            .into_keys()
            .map(|key| (key, 0))
            .collect();
        evidence.log_starts.extend(log.ends_of(gone));
        evidence.ranges.clear();
        let mut stands: BTreeMap<Key, i64> = BTreeMap::new();
        for commit in commits {
            for (key, end) in log.ends_of(*commit) {
                let start = stands.insert(key.clone(), end).unwrap_or(0);
                evidence.ranges.push(MarkedRange {
                    topic: key.0,
                    partition: key.1,
                    start,
                    end,
                    follows: true,
                });
            }
        }
        let (graph, columns) = (counts(self.of, self.topics, self.idle), columns(self.of));
        evidence.queries = vec![Query {
            name: "q".to_string(),
            from: BTreeMap::new(),
            stated: true,
            make: Box::new(move || {
                Ok(Executable {
                    source: Box::new(log),
                    flow: Flow::compile(&graph).expect("a tree"),
                    columns: columns.map(ColumnName::plain).to_vec(),
                })
            }),
        }];
        evidence
    }

    /// What the ledger keeps of a look at all up to a commit, behind what it had.
    fn look(&self, shelf: &Shelf, ledger: Ledger, at: usize, gone: usize) -> Ledger {
        let mut evidence = self.evidence(self.rows, &[at], gone);
        evidence.extent = Extent::Ranges;
        evidence.ledger = ledger.clone();
        let (report, word) = audit_recomputed_for_ledger(evidence, &self.how(shelf)).expect("read");
        assert_eq!(report.findings, [""; 0]);
        let mut ledger = ledger;
        let ends = OneOrder::of(self.log).ends_of(at);
        ledger.keep_word(word, &ends);
        assert!(ledger.word().is_some(), "at {at}: {:?}", report.notes);
        shelf.keep_only(ledger.word().map(Word::flow).into_iter());
        Ledger::read(&ledger.to_bytes()).expect("it was just written")
    }

    /// What an audit of `rows` says when the log is gone up to `gone`, of which the ledger has the word.
    fn audit(
        &self,
        rows: &'static str,
        late: &[(&str, i64)],
        (shelf, ledger): (&Shelf, &Ledger),
        gone: usize,
    ) -> Vec<String> {
        let all = OneOrder::of(self.log).len();
        let mut evidence = self.evidence(rows, &[gone, all], gone);
        evidence.ledger = ledger.clone();
        evidence.late = Some(letters("ns.t__late", late));
        evidence.letters = Some(letters("ns.t__dead_letters", self.failed));
        let report = audit_recomputed(evidence, &self.how(shelf)).expect("it can be read");
        let (t, windows) = (&report.totals, report.windows.unwrap_or_default());
        let mut lines = vec![format!(
            "{:?} rows={} late={} unverified={} windows={}/{}",
            report.verdict, t.rows, t.late, t.unverified, windows.compared, windows.differ
        )];
        lines.extend(report.findings);
        lines.extend(report.notes);
        lines
    }

    /// Wherever the log is gone: by one look there, and by a look at each record before, each behind the one before.
    fn check(&self) {
        let mut by_each = (shelf(), Ledger::of("ns.t"));
        for gone in 1..=OneOrder::of(self.log).len() {
            let by_one = shelf();
            let ledger = self.look(&by_one, Ledger::of("ns.t"), gone, 0);
            by_each.1 = self.look(&by_each.0, by_each.1, gone, gone - 1);
            for (shelf, ledger) in [(&by_one, &ledger), (&by_each.0, &by_each.1)] {
                let audit = |rows, late| self.audit(rows, late, (shelf, ledger), gone);
                assert_eq!(
                    audit(self.rows, self.late),
                    [self.right],
                    "gone up to {gone}"
                );
                let (_, without) = self.rows.split_once(' ').expect("several rows");
                let lost = audit(without, self.late);
                assert!(lost[0].starts_with("Wrong"), "gone up to {gone}: {lost:?}");
                if let Some((_, fewer)) = self.late.split_first() {
                    let lost = audit(self.rows, fewer);
                    assert!(lost[0].starts_with("Wrong"), "gone up to {gone}: {lost:?}");
                    assert!(
                        lost[1].contains("ns.t__late"),
                        "gone up to {gone}: {lost:?}"
                    );
                }
            }
        }
    }
}

fn shelf() -> Shelf {
    let disk = SimDisk::new(7, Arc::new(SimClock::new()));
    Shelf::under(Arc::new(disk), Path::new("/data"), "audit/p/ns.t")
}

/// 3 comes when [0, 10) has fired, 28 when [20, 30) has; [40, 50) has not.
const ONE: &str = "t0:1 t0:2 t0:12 t0:3 t0:13 t0:21 t0:35 t0:28 t0:41";

const TUMBLE: Sample = Sample {
    log: ONE,
    of: Counting::Windows(WindowShape::Tumble { size: 10 }),
    topics: &["t"],
    idle: None,
    rows: "0=2 10=2 20=1 30=1",
    late: &[("t0", 3), ("t0", 7)],
    failed: &[],
    awaited: &[],
    ends: &[],
    right: "Right rows=7 late=2 unverified=0 windows=4/0",
};

#[test]
fn windows_are_compared_when_the_log_is_gone() {
    TUMBLE.check();
}

#[test]
fn windows_that_reach_over_the_place_are_compared() {
    let shape = WindowShape::Hop { slide: 5, size: 10 };
    let hop = Sample {
        of: Counting::Windows(shape),
        rows: "-5=2 0=2 5=2 10=2 15=1 20=1 30=1",
        right: "Right rows=7 late=2 unverified=0 windows=7/0",
        ..TUMBLE
    };
    hop.check();
    let session = Sample {
        of: Counting::Windows(WindowShape::Session { gap: 5 }),
        rows: "1=2 12=2 21=1 35=1",
        ..TUMBLE
    };
    session.check();
}

/// What a row is given is of all rows before it: no commit could be a base.
#[test]
fn rows_of_over_are_compared_when_the_log_is_gone() {
    let over = Sample {
        of: Counting::Over { ttl: None },
        rows: "1=1 2=2 12=3 13=4 21=5 35=6 41=7",
        right: "Right rows=7 late=2 unverified=0 windows=1/0",
        ..TUMBLE
    };
    over.check();
}

/// Nothing comes for 16 ms before 13: the rows before it are forgotten, where the log is gone too.
#[test]
fn what_over_has_forgotten_is_forgotten_behind_the_place_too() {
    let over = Sample {
        log: "t0:1 t0:2+4 t0:12+9 t0:3 t0:13+16 t0:21+1",
        of: Counting::Over { ttl: Some(10) },
        rows: "1=1 2=2 12=3 13=1 21=2",
        late: &[("t0", 3)],
        right: "Right rows=5 late=1 unverified=0 windows=1/0",
        ..TUMBLE
    };
    over.check();
}

/// Partition 1 is silent for longer than 10 ms when 25 comes: [0, 10) fires before it, and 3 is late. Who forgot when something came
/// in it last would wait for it.
#[test]
fn idle_partitions_are_idle_behind_the_place_too() {
    let idle = Sample {
        log: "t0:1 t1:2 t0:12+6 t0:25+6 t1:3 t0:36",
        idle: Some(10),
        rows: "0=2 10=1",
        late: &[("t1", 1)],
        right: "Right rows=5 late=1 unverified=0 windows=2/0",
        ..TUMBLE
    };
    idle.check();
}

/// Event time is that of the table that is farther behind.
#[test]
fn several_tables_are_compared_together() {
    let both = Sample {
        log: "a0:1 b0:2 a0:12 b0:13 a0:3 b0:21 a0:35 b1:36",
        topics: &["a", "b"],
        rows: "0=2 10=2",
        late: &[("a0", 2)],
        right: "Right rows=7 late=1 unverified=0 windows=2/0",
        ..TUMBLE
    };
    // Partition 1 of b is waited for from the beginning on: nothing fires before its first row.
    let one_of_each = Sample {
        log: "a0:1 b0:2 a0:12 b0:13 a0:3 b0:21 a0:35",
        right: "Right rows=6 late=1 unverified=0 windows=2/0",
        ..both
    };
    one_of_each.check();
    let waiting = Sample {
        rows: "0=3 10=2",
        late: &[],
        right: "Right rows=8 late=0 unverified=0 windows=2/0",
        ..both
    };
    waiting.check();
}

/// Nothing comes in b for longer than 10 ms when a0:25 comes: nothing waits for b any more, and so [20, 30) has fired when its 28 comes.
/// As b is behind then, it is not waited for before it has come as far.
#[test]
fn a_table_that_was_asleep_is_asleep_behind_the_place_too() {
    let asleep = Sample {
        log: "a0:1 b0:2 a0:12+6 a0:25+6 a0:36 b0:28 a0:47",
        topics: &["a", "b"],
        idle: Some(10),
        rows: "0=2 10=1 20=1 30=1",
        late: &[("b0", 1)],
        right: "Right rows=6 late=1 unverified=0 windows=4/0",
        ..TUMBLE
    };
    asleep.check();
}

/// Event time did not wait for the first row of partition 1, which was not there when the query began.
#[test]
fn a_partition_that_appeared_later_is_not_waited_for_behind_the_place_either() {
    let later = Sample {
        log: "t0:1 t0:12 t1:3 t0:25 t1:26",
        awaited: &["t0"],
        rows: "0=1 10=1",
        late: &[("t1", 0)],
        right: "Right rows=4 late=1 unverified=0 windows=2/0",
        ..TUMBLE
    };
    later.check();
}

/// Partition 1 has been read to its end, and event time is that of the other one.
#[test]
fn a_partition_at_its_end_is_at_its_end_behind_the_place_too() {
    let bounded = Sample {
        log: "t0:1 t1:2 t1:5 t0:12 t0:3 t0:25",
        ends: &[("t1", 2)],
        rows: "0=3 10=1",
        late: &[("t0", 2)],
        right: "Right rows=5 late=1 unverified=0 windows=2/0",
        ..TUMBLE
    };
    bounded.check();
}

#[test]
fn dead_letters_are_compared_when_the_log_is_gone() {
    let failing = Sample {
        log: "t0:1 t0:x t0:12 t0:3 t0:x t0:25",
        rows: "0=1 10=1",
        late: &[("t0", 3)],
        failed: &[("t0", 1), ("t0", 4)],
        right: "Right rows=3 late=1 unverified=0 windows=2/0",
        ..TUMBLE
    };
    failing.check();
    let shelf = shelf();
    let first = failing.look(&shelf, Ledger::of("ns.t"), 2, 0);
    let ledger = failing.look(&shelf, first, 6, 2);
    let one_is_missing = Sample {
        failed: &[("t0", 4)],
        ..failing
    };
    let said = one_is_missing.audit(failing.rows, failing.late, (&shelf, &ledger), 6);
    assert_eq!(
        said,
        [
            "Wrong rows=3 late=1 unverified=0 windows=2/0",
            "t[0] offsets 0 to 5: ns.t__dead_letters holds 1 records, and 2 failed when the log was there; they are not the same"
        ]
    );
}

/// What another query made is not judged by the word, nor what lies above a place to which the table was brought back.
#[test]
fn a_word_is_of_its_query_and_of_what_the_table_has() {
    let shelf = shelf();
    let ledger = TUMBLE.look(&shelf, Ledger::of("ns.t"), 5, 0);
    let audit = |change: &dyn Fn(&mut Evidence<'static>)| {
        let mut evidence = TUMBLE.evidence(TUMBLE.rows, &[5, 9], 5);
        evidence.ledger = ledger.clone();
        change(&mut evidence);
        let report = audit_recomputed(evidence, &TUMBLE.how(&shelf)).expect("it can be read");
        (report.verdict, report.totals.unverified)
    };
    assert_eq!(audit(&|_| ()), (Verdict::Right, 0));
    let unverified = |offsets| (Verdict::RightAsFarAsVerified, offsets);
    let another_query = audit(&|evidence| evidence.queries[0].name = "other".to_string());
    assert_eq!(another_query, unverified(9));
    let more_is_gone = audit(&|evidence| evidence.log_starts = BTreeMap::from([(key(), 7)]));
    assert_eq!(more_is_gone, unverified(9));
    let ends_before = audit(&|evidence| {
        evidence.ranges.truncate(1);
        evidence.ranges[0].end = 4;
    });
    assert_eq!(ends_before, unverified(4));
    let begins_later = audit(&|evidence| evidence.ranges[0].start = 2);
    assert_eq!(begins_later, unverified(7));
    let without_a_partition = audit(&|evidence| {
        let ledger = changed(&ledger, |word| {
            let mut split = word["splits"][0].clone();
            split["partition"] = 1.into();
            word["splits"].as_array_mut().expect("a list").push(split);
        });
        evidence.ledger = ledger;
    });
    assert_eq!(without_a_partition, unverified(9));
    let mut rewound = ledger.clone();
    rewound.forget_above(&OneOrder::of(ONE).ends_of(5));
    assert!(rewound.word().is_some());
    rewound.forget_above(&OneOrder::of(ONE).ends_of(4));
    assert!(rewound.word().is_none(), "a rewind fills it anew");
}

/// The ledger, if its word had been written otherwise.
fn changed(ledger: &Ledger, change: impl FnOnce(&mut serde_json::Value)) -> Ledger {
    let mut json: serde_json::Value = serde_json::from_slice(&ledger.to_bytes()).expect("JSON");
    change(&mut json["word"]);
    Ledger::read(json.to_string().as_bytes()).expect("it is one of ours")
}

#[test]
fn states_that_cannot_be_restored_leave_the_table_unverified() {
    let shelf = shelf();
    let ledger = TUMBLE.look(&shelf, Ledger::of("ns.t"), 5, 0);
    let of_another = changed(&ledger, |word| {
        let operators = word["flow"]["operators"].as_object_mut();
        let operators = operators.expect("by name");
        let states = std::mem::take(operators).into_iter();
        let another = OperatorUid::of("another").to_string();
        operators.extend(states.map(|(_, state)| (another.clone(), state)));
    });
    let said = TUMBLE.audit(TUMBLE.rows, TUMBLE.late, (&shelf, &of_another), 5);
    assert_eq!(
        said[0],
        "RightAsFarAsVerified rows=0 late=0 unverified=9 windows=0/0"
    );
    let reason = "the log no longer has what the table was made from, and the ledger of its audits is of no use: ";
    assert!(said[1].starts_with(reason), "{said:?}");
}

/// A word is of all that the table accounts for, and its rows can be known again.
#[test]
fn no_word_is_given_on_what_was_not_found() {
    let word = |at: usize, change: &dyn Fn(&mut Evidence<'static>)| {
        let mut evidence = TUMBLE.evidence(TUMBLE.rows, &[at], 0);
        evidence.extent = Extent::Ranges;
        change(&mut evidence);
        let found = audit_recomputed_for_ledger(evidence, &TUMBLE.how(&shelf()));
        found.expect("it can be read").1
    };
    assert!(word(9, &|_| ()).is_some());
    assert_eq!(word(9, &|evidence| evidence.ranges[0].end = 10), None);
    // Of a table without a file nobody knows how rows are written; before there is a row, nobody has to.
    let without_files = |evidence: &mut Evidence<'static>| evidence.files.clear();
    assert_eq!(word(9, &without_files), None);
    assert!(word(2, &without_files).is_some());
}

/// Frozen: ledgers outlive the server that wrote them. What operators know is as manifests have it.
#[test]
fn the_layout_of_a_word_stays() {
    let shelf = shelf();
    let first = TUMBLE.look(&shelf, Ledger::of("ns.t"), 5, 0);
    let ledger: serde_json::Value = serde_json::from_slice(&first.to_bytes()).expect("JSON");
    assert_eq!(ledger["format"], 1);
    let next = TUMBLE.look(&shelf, first, 6, 5);
    let next: serde_json::Value = serde_json::from_slice(&next.to_bytes()).expect("JSON");
    assert_eq!(
        next["word"]["number"], 1,
        "its files are not those that the first one is read from"
    );
    let mut word = ledger["word"].clone();
    let flow = word["flow"].take();
    let sum = |rows: u64, hash: &str| serde_json::json!({ "rows": rows, "hash": hash });
    let hashes = [
        &word["windows"][0]["hash"],
        &word["splits"][0]["late_rows"]["hash"],
    ];
    let hashes = hashes.map(|hash| hash.as_str().expect("it is a text").to_string());
    assert!(hashes.iter().all(|hash| hash.len() == 32));
    let nothing = "0".repeat(32);
    let expected = serde_json::json!({
        "number": 0, "query": "q", "since": null, "older": null, "flow": null,
        "splits": [{
            "topic": "t", "partition": 0, "start": 0, "end": 5, "records": 4,
            "rows": sum(0, &nothing), "filtered": 0, "control": 0, "letters": sum(0, &nothing),
            "late": 1, "late_rows": sum(1, &hashes[1]),
        }],
        "windows": [{ "window": [0], "rows": 1, "hash": hashes[0] }],
    });
    assert_eq!(word, expected);
    assert_eq!(flow["marked"], 13);
    assert_eq!(flow["splits"][0]["watermark"], 13);
    let operators = flow["operators"].as_object().expect("by their names");
    assert_eq!(operators.len(), 1);
}

/// A thousand windows are kept each for itself, those before them as one.
#[test]
fn windows_before_the_newest_have_one_sum() {
    let count = 1_500;
    let windows: Vec<String> = (0..count).map(|n| format!("{}=1", n * 10)).collect();
    let log: Vec<String> = (0..=count).map(|n| format!("t0:{}", n * 10)).collect();
    let windows: &'static str = windows.join(" ").leak();
    let table = Sample {
        log: log.join(" ").leak(),
        rows: windows,
        late: &[],
        right: "Right rows=1501 late=0 unverified=0 windows=1500/0",
        ..TUMBLE
    };
    let shelf = shelf();
    let ledger = table.look(&shelf, Ledger::of("ns.t"), 700, 0);
    let ledger = table.look(&shelf, ledger, count + 1, 700);
    let audit = |rows| table.audit(rows, &[], (&shelf, &ledger), count + 1);
    assert_eq!(audit(windows), [table.right]);
    let (_, without) = windows.split_once(' ').expect("many rows");
    assert_eq!(
        audit(without),
        [
            "Wrong rows=1501 late=0 unverified=0 windows=1500/1",
            "the windows up to window_start 1970-01-01T00:00:04.990: the table holds 499 rows, the log gives 500"
        ]
    );
    let (without, _) = windows.rsplit_once(' ').expect("many rows");
    assert_eq!(
        audit(without),
        [
            "Wrong rows=1501 late=0 unverified=0 windows=1500/1",
            "window window_start 1970-01-01T00:00:14.990: the table holds 0 rows, the log gives 1"
        ]
    );
}
