//! Windows of ten milliseconds that count: a log of event times, `-` for a tombstone, and a table of `start=count`.

mod goes_on;
mod one_order;
mod planted;

use super::super::tests::{Log, evidence, key, marked};
use super::super::{MarkedRange, Query, RolledBack};
use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_graph::{
    AggregateCall, AggregateFunction, Expr, Field, FormatSpec, JobGraph, KafkaSource, Node,
    Operator, OperatorUid, SinkSpec, SourceColumn, SourceSpec, StartupMode, TypeKind, Window as Of,
    WindowProperty, WindowShape, Windowing,
};
use lw_runtime::connector::{ConnectorError, Polled, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::operator::Flow;
use lw_runtime::{DeadLetter, Origin, Split};
use std::sync::Arc;
use std::time::Duration;

/// A log whose numbers are milliseconds; and whether it says when its batches were appended.
struct Timed(Log, bool);

impl Source for Timed {
    fn cut_at(&mut self, _: &[SplitOffset]) {}
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.0.open(offsets, until)
    }
    fn splits(&self) -> Arc<[Split]> {
        self.0.splits()
    }
    fn poll(&mut self, bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = self.0.poll(bytes, timeout)?;
        for chunk in &mut polled.batches {
            let millis = chunk.columns.column(0).as_primitive::<Int32Type>();
            let micros = millis.values().iter().map(|at| i64::from(*at) * 1000);
            let column = Arc::new(TimestampMicrosecondArray::from_iter_values(micros));
            chunk.columns =
                RecordBatch::try_from_iter([("ts", column as ArrayRef)]).expect("one column");
        }
        Ok(polled)
    }
    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        self.0.records(origins)
    }
    fn positions(&self) -> Vec<SplitOffset> {
        self.0.positions()
    }
    fn keeps_time(&self) -> bool {
        self.1
    }
    fn lag(&self) -> u64 {
        0
    }
}

/// `SELECT window_start, COUNT(*) AS n … GROUP BY window_start, window_end`
fn graph() -> JobGraph {
    graph_over(WindowShape::Tumble { size: 10 }, false)
}

/// The same over other windows; `copied`: a window function of its own stands below, as where a WHERE asks for its columns.
fn graph_over(shape: WindowShape, copied: bool) -> JobGraph {
    let time = TypeKind::Timestamp(3);
    let read = lw_graph::Schema::new(vec![Field::new("ts", time.clone().nullable())]);
    let count = TypeKind::BigInt.not_null();
    let counted = lw_graph::Schema::new(vec![
        Field::new("n", count.clone()),
        Field::new("window_start", time.clone().not_null()),
    ]);
    let source = KafkaSource {
        table: "t".into(),
        topics: vec!["t".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        key: None,
        value_schema: read.clone(),
        columns: vec![SourceColumn::Value(0)],
    };
    let column = Expr::Column {
        index: 0,
        name: "ts".into(),
        ty: time.nullable(),
    };
    let window = Of {
        shape,
        offset: 0,
        time: 0,
        zone: None,
    };
    let bounds = ["window_start", "window_end", "window_time"].into_iter();
    let bounds = bounds.map(|name| Field::new(name, TypeKind::Timestamp(3).not_null()));
    let assigned = lw_graph::Schema::new(read.fields.iter().cloned().chain(bounds).collect());
    let windowing = match copied {
        true => Windowing::Attached {
            start: 1,
            end: 2,
            zone: None,
        },
        false => Windowing::Assign(window.clone()),
    };
    let assign = Operator::WindowAssign {
        uid: OperatorUid::of("a"),
        window,
        partition: Vec::new(),
    };
    let aggregate = Operator::WindowAggregate {
        uid: OperatorUid::of("w"),
        windowing,
        keys: Vec::new(),
        aggregates: vec![AggregateCall {
            function: AggregateFunction::Count,
            arguments: Vec::new(),
            distinct: false,
            filter: None,
            ty: count,
        }],
        properties: vec![WindowProperty::Start],
    };
    let watermark = Operator::Watermark {
        column: 0,
        expression: column,
        idle: None,
    };
    let mut operators = vec![
        (Operator::Source(SourceSpec::Kafka(source)), &read),
        (watermark, &read),
        (aggregate, &counted),
        (Operator::Sink(SinkSpec::Blackhole), &counted),
    ];
    if copied {
        operators.insert(2, (assign, &assigned));
    }
    let node = |(id, (operator, schema)): (usize, (Operator, &lw_graph::Schema))| Node {
        operator,
        inputs: if id == 0 { Vec::new() } else { vec![id - 1] },
        schema: schema.clone(),
    };
    JobGraph {
        nodes: operators.into_iter().enumerate().map(node).collect(),
    }
}

fn executable(log: &[&'static str]) -> Executable {
    executable_of(&graph(), log)
}

fn executable_of(graph: &JobGraph, log: &[&'static str]) -> Executable {
    executable_over(graph, Log::of(log))
}

fn executable_over(graph: &JobGraph, log: Log) -> Executable {
    Executable {
        source: Box::new(Timed(log, true)),
        flow: Flow::compile(graph).expect("a tree"),
        columns: vec!["n".into(), "window_start".into()],
    }
}

/// `start=count` as rows of a file.
fn counted(table: &str) -> RecordBatch {
    let rows = table.split_whitespace().map(|row| {
        let (start, count) = row.split_once('=').expect("start=count");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        (number(start) * 1000, number(count))
    });
    let (starts, counts): (Vec<i64>, Vec<i64>) = rows.unzip();
    let columns = [
        ("n", Arc::new(Int64Array::from(counts)) as ArrayRef),
        (
            "window_start",
            Arc::new(TimestampMicrosecondArray::from(starts)) as ArrayRef,
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("two columns")
}

fn how() -> Recomputation {
    let windows = graph().window_columns(3).into_iter();
    assert_eq!(windows.collect::<Vec<_>>(), [(1, WindowProperty::Start)]);
    Recomputation {
        windows: vec!["window_start".into()],
        ..Recomputation::default()
    }
}

/// What commits of these offsets say of late records of partition 0.
fn told(offsets: Range<i64>, late: u64) -> ToldLate {
    told_of(0, offsets, late)
}

fn told_of(partition: i32, offsets: Range<i64>, late: u64) -> ToldLate {
    ToldLate {
        topic: "t".to_string(),
        partition,
        offsets,
        late,
    }
}

fn check(log: &[&'static str], table: &'static str, how: &Recomputation, expected: &[&str]) {
    check_evidence(log, table, how, expected, |_| ());
}

/// `verdict rows late unverified, windows compared/differ`, and what is said.
fn check_evidence(
    log: &[&'static str],
    table: &'static str,
    how: &Recomputation,
    expected: &[&str],
    change: impl FnOnce(&mut Evidence<'static>),
) {
    let log_of_query = log.to_vec();
    let mut evidence = evidence(log, "0@0-0=0");
    evidence.files[0].runs.clear();
    evidence.read_file = Box::new(move |_| Ok(Box::new(std::iter::once(Ok(counted(table))))));
    evidence.queries = vec![Query {
        name: String::new(),
        from: BTreeMap::new(),
        stated: false,
        make: Box::new(move || Ok(executable(&log_of_query))),
    }];
    change(&mut evidence);
    let report = audit_recomputed(evidence, how).expect("log and table can be read");
    let t = &report.totals;
    let windows = report.windows.unwrap_or_default();
    let mut lines = vec![format!(
        "{:?} rows={} late={} unverified={} windows={}/{}",
        report.verdict, t.rows, t.late, t.unverified, windows.compared, windows.differ
    )];
    lines.extend(report.findings);
    lines.extend(report.notes);
    assert_eq!(lines, expected);
}

/// The window [20, 30) has not fired; 3 comes when [0, 10) has.
const TIMES: [&str; 7] = ["1", "2", "12", "3", "-", "13", "21"];

#[test]
fn windows_that_fired_are_compared_and_late_records_are_in_none() {
    check(
        &TIMES,
        "0=2 10=2",
        &how(),
        &["Right rows=5 late=1 unverified=0 windows=2/0"],
    );
    // At the end of a bounded read all have fired.
    let ended = Recomputation {
        ended: true,
        ..how()
    };
    check(
        &TIMES,
        "0=2 10=2 20=1",
        &ended,
        &["Right rows=5 late=1 unverified=0 windows=3/0"],
    );
}

/// What it gave hangs on when it read, and nobody knows that any more.
#[test]
fn a_query_that_goes_by_when_records_came_elsewhere_is_not_judged() {
    let idle = |keeps_time: bool, expected: &[&str]| {
        check_evidence(&TIMES, "0=2", &how(), expected, |evidence| {
            let mut graph = graph();
            let Operator::Watermark { idle, .. } = &mut graph.nodes[1].operator else {
                unreachable!("the watermark stands on the source");
            };
            *idle = Some(1000);
            evidence.queries[0].make = Box::new(move || {
                let log = Log::of(&TIMES);
                Ok(Executable {
                    source: Box::new(Timed(log, keeps_time)),
                    ..executable_of(&graph, &TIMES)
                })
            });
        });
    };
    let differs =
        "window window_start 1970-01-01T00:00:00.010: the table holds 0 rows, the log gives 1";
    idle(
        true,
        &["Wrong rows=5 late=1 unverified=0 windows=2/1", differs],
    );
    idle(
        false,
        &[
            "RightAsFarAsVerified rows=0 late=0 unverified=7 windows=0/0",
            NO_TIME,
        ],
    );
}

#[test]
fn a_window_that_is_wrong_is_named() {
    let at = "window window_start 1970-01-01T00:00:00.010";
    let differs = |say: &str| format!("{at}: {say}");
    let wrong = "Wrong rows=5 late=1 unverified=0 windows=2/1";
    for (table, say) in [
        ("0=2 10=1", "its 1 rows are not those that the log gives"),
        ("0=2", "the table holds 0 rows, the log gives 1"),
        ("0=2 10=2 10=2", "the table holds 2 rows, the log gives 1"),
    ] {
        check(&TIMES, table, &how(), &[wrong, &differs(say)]);
    }
    // Without its columns all rows are one lot.
    let without = Recomputation::default();
    let said = "the table: the table holds 1 rows, the log gives 2";
    check(
        &TIMES,
        "0=2",
        &without,
        &["Wrong rows=5 late=1 unverified=0 windows=1/1", said],
    );
}

#[test]
fn what_the_commits_say_of_late_records_is_compared() {
    let by = |commits: &[(Range<i64>, u64)]| Recomputation {
        late: commits
            .iter()
            .map(|(offsets, late)| told(offsets.clone(), *late))
            .collect(),
        ..how()
    };
    let right = "Right rows=5 late=1 unverified=0 windows=2/0";
    let wrong = "Wrong rows=5 late=1 unverified=0 windows=2/0";
    let check = |how: Recomputation, expected: &[&str]| check(&TIMES, "0=2 10=2", &how, expected);
    check(by(&[(0..7, 1)]), &[right]);
    check(by(&[(3..7, 1), (0..3, 0)]), &[right]);
    let said = "t[0]: the commits say that 0 records were late, the log gives 1";
    check(by(&[(0..7, 0)]), &[wrong, said]);
    let said = "t[0]: the commits say that 2 records were late, the log gives 1";
    check(by(&[(0..3, 0), (3..7, 2)]), &[wrong, said]);
    // What the others said is gone with their commits.
    check(by(&[(3..7, 0)]), &[right]);
}

#[test]
fn a_partition_that_may_have_come_later_is_told_beside_a_difference() {
    let joined = |late| Recomputation {
        late: vec![told(0..7, late)],
        joined: vec![("t".to_string(), 1)],
        ..how()
    };
    let right = "Right rows=5 late=1 unverified=0 windows=2/0";
    check(&TIMES, "0=2 10=2", &joined(1), &[right]);
    check(
        &TIMES,
        "0=2 10=2",
        &joined(0),
        &[
            "Wrong rows=5 late=1 unverified=0 windows=2/0",
            "t[0]: the commits say that 0 records were late, the log gives 1",
            "t[1] is not in the table's first commit: if it was created while the pipeline ran, event time waited for it only from then on, and records that were late may not be late here",
        ],
    );
}

/// Partition 1 came when [10, 20) had fired: its first row was late, as no row of it was waited for.
#[test]
fn a_partition_that_appeared_later_is_waited_for_as_it_was_then() {
    const LOG: [&str; 3] = ["1", "12", "25"];
    let check = |awaited: Option<&[i32]>, expected: &[&str]| {
        let split = |partition: &i32| ("t".to_string(), *partition);
        let how = Recomputation {
            late: vec![told(0..3, 0), told_of(1, 0..1, 1)],
            awaited: awaited.map(|awaited| awaited.iter().map(split).collect()),
            ..how()
        };
        check_evidence(&LOG, "0=1 10=1", &how, expected, |evidence| {
            evidence.ranges.push(MarkedRange {
                partition: 1,
                ..marked(&(0..1, true))
            });
            evidence.log_starts.insert(split(&1), 0);
            let log = || Log::of_all(&[&LOG, &["13"]]);
            evidence.queries[0].make = Box::new(move || Ok(executable_over(&graph(), log())));
        });
    };
    check(
        Some(&[0]),
        &["Right rows=3 late=1 unverified=0 windows=2/0"],
    );
    check(
        None,
        &[
            "Wrong rows=4 late=0 unverified=0 windows=2/1",
            "t[1]: the commits say that 1 records were late, the log gives 0",
            "window window_start 1970-01-01T00:00:00.010: the table holds 1 rows, the log gives 0",
        ],
    );
}

/// 4 comes when [-5, 5) has fired and [0, 10) has not, 3 when both have.
#[test]
fn a_record_that_is_late_for_some_of_its_windows_is_in_the_others_and_not_late() {
    const LOG: [&str; 5] = ["1", "7", "4", "12", "3"];
    let shape = WindowShape::Hop { slide: 5, size: 10 };
    for copied in [false, true] {
        let told = Recomputation {
            late: vec![told(0..5, 1)],
            ..how()
        };
        check_evidence(
            &LOG,
            "-5=1 0=3",
            &told,
            &["Right rows=4 late=1 unverified=0 windows=2/0"],
            |evidence| {
                evidence.queries[0].make =
                    Box::new(move || Ok(executable_of(&graph_over(shape, copied), &LOG)));
            },
        );
    }
}

#[test]
fn what_cannot_be_recomputed_as_a_whole_is_unverified() {
    let unverified = "RightAsFarAsVerified rows=0 late=0 unverified=7 windows=0/0";
    let check = |said: &str, change: &dyn Fn(&mut Evidence<'static>)| {
        check_evidence(
            &TIMES,
            "0=2 10=2",
            &how(),
            &[unverified, said],
            |evidence| change(evidence),
        );
    };
    check(
        "t[0]: the log no longer has what the table was made from since offset 0, and an aggregate cannot be computed from a part of it",
        &|evidence| evidence.log_starts = BTreeMap::from([(key(), 3)]),
    );
    let other = |name: &str, from: i64| Query {
        name: name.to_string(),
        from: BTreeMap::from([(key(), from)]),
        stated: true,
        make: Box::new(|| Ok(executable(&TIMES))),
    };
    check(
        "several queries made the table, one after the other, and an aggregate of both cannot be computed by either",
        &|evidence| {
            evidence.queries.push(other("a", 0));
            evidence.queries.push(other("b", 3));
        },
    );
    check(
        "the table was rolled back: which windows it lost cannot be told from offsets",
        &|evidence| {
            evidence.ranges = vec![marked(&(0..3, true)), marked(&(3..7, false))];
        },
    );
}

/// As [`TIMES`], and on: 28 comes when [20, 30) has fired, [40, 50) has not.
const ON: [&str; 10] = ["1", "2", "12", "3", "-", "13", "21", "35", "28", "41"];
/// What they come to.
const FIRED: &str = "0=2 10=2 20=1 30=1";

/// The query can be executed from these offsets, where no event time was greater than these.
fn from_bases(bases: &[(i64, i64)]) -> Recomputation {
    let base = |(end, reached): &(i64, i64)| Base {
        ends: BTreeMap::from([(key(), *end)]),
        reached: *reached,
        awaited: BTreeSet::from([key()]),
    };
    Recomputation {
        start: Some(0),
        reach: Some(10),
        bases: bases.iter().map(base).collect(),
        // A commit of which only a part is executed again says nothing to compare with.
        late: vec![told(0..10, 0)],
        ..how()
    }
}

#[test]
fn windows_behind_a_base_are_compared_where_the_log_has_lost_the_rest() {
    let gone = "t[0]: the log no longer has what the table was made from since offset 0, and an aggregate cannot be computed from a part of it";
    let only = |after: &str| {
        format!("{gone}: only windows that begin after 1970-01-01T00:00:00.{after}Z are compared")
    };
    let check = |bases: &[(i64, i64)], table: &'static str, expected: &[&str]| {
        check_evidence(&ON, table, &from_bases(bases), expected, |evidence| {
            evidence.log_starts = BTreeMap::from([(key(), 3)]);
        });
    };
    // Nobody is asked about [0, 10) and [10, 20), and [20, 30) may have rows of before.
    let right = "RightAsFarAsVerified rows=5 late=1 unverified=3 windows=1/0";
    check(&[(2, 2), (3, 12)], FIRED, &[right, &only("022")]);
    check(&[(3, 12)], "0=7 10=2 20=1 30=1", &[right, &only("022")]);
    let wrong = "Wrong rows=5 late=1 unverified=3 windows=1/1";
    let said =
        "window window_start 1970-01-01T00:00:00.030: its 1 rows are not those that the log gives";
    check(
        &[(3, 12)],
        "0=2 10=2 20=1 30=2",
        &[wrong, said, &only("022")],
    );
    // Further from the beginning event time had come further.
    let nothing = "RightAsFarAsVerified rows=2 late=1 unverified=7 windows=0/0";
    check(&[(7, 21)], FIRED, &[nothing, &only("031")]);
    // The log has lost what is behind the last base too, or nobody knows how far event time had come.
    let unverified = "RightAsFarAsVerified rows=0 late=0 unverified=10 windows=0/0";
    let none = format!(
        "{gone}; no commit that is kept says how far event time had come with all of the log behind it there"
    );
    check(&[(2, 2)], FIRED, &[unverified, &none]);
}

#[test]
fn why_there_is_no_base_is_told() {
    let gone = "t[0]: the log no longer has what the table was made from since offset 0, and an aggregate cannot be computed from a part of it";
    let how = Recomputation {
        start: None,
        baseless: Some("OVER goes on from row to row".to_string()),
        ..from_bases(&[(3, 12)])
    };
    let said = format!("{gone}; OVER goes on from row to row");
    let expected = [
        "RightAsFarAsVerified rows=0 late=0 unverified=10 windows=0/0",
        &said,
    ];
    check_evidence(&ON, FIRED, &how, &expected, |evidence| {
        evidence.log_starts = BTreeMap::from([(key(), 3)]);
    });
}

/// Behind the base 28 came too late, which is later than all that the windows of before have: so it did. 15 may be of before, and 3 is.
#[test]
fn late_records_behind_a_base_are_compared_as_far_as_they_are_late_for_certain() {
    let gone = "t[0]: the log no longer has what the table was made from since offset 0, and an aggregate cannot be computed from a part of it: only windows that begin after 1970-01-01T00:00:00.022Z are compared";
    let more = "ns.t__late: whether it holds more than what came too late is not compared";
    const WITH_LATER: [&str; 11] = ["1", "2", "12", "3", "-", "13", "21", "35", "28", "41", "15"];
    let check = |told_late: u64, kept: &[i64], said: &[&str]| {
        let how = Recomputation {
            late: vec![told(0..3, 0), told(3..11, told_late)],
            ..from_bases(&[(3, 12)])
        };
        let letter = |offset: &i64| {
            let value = format!("record {offset}");
            Letter::new(*offset, None, Some(value.as_bytes()))
        };
        let late = Letters {
            table: "ns.t__late".into(),
            rows: BTreeMap::from([(key(), kept.iter().map(letter).collect())]),
            pending: BTreeMap::new(),
            erased: None,
        };
        let verdict = match said {
            [] => "RightAsFarAsVerified rows=5 late=2 unverified=3 windows=1/0",
            _ => "Wrong rows=5 late=2 unverified=3 windows=1/0",
        };
        let expected = [&[verdict], said, &[more, gone]].concat();
        check_evidence(&WITH_LATER, FIRED, &how, &expected, |evidence| {
            evidence.log_starts = BTreeMap::from([(key(), 3)]);
            evidence.late = Some(late);
        });
    };
    check(3, &[3, 8, 10], &[]);
    check(1, &[8], &[]);
    let fewer = "t[0]: the commits say that 0 records were late, the log gives 1 at least";
    check(0, &[3, 8], &[fewer]);
    let missing = "t[0]: 1 rows came too late and are not in ns.t__late, the first at offset 8";
    check(3, &[3, 10], &[missing]);
}

#[test]
fn windows_behind_the_last_change_of_the_query_are_compared() {
    let query = |name: &str, from: i64| Query {
        name: name.to_string(),
        from: BTreeMap::from([(key(), from)]),
        stated: true,
        make: Box::new(|| Ok(executable(&ON))),
    };
    let said = "several queries made the table, one after the other, and an aggregate of both cannot be computed by either: only windows that begin after 1970-01-01T00:00:00.022Z are compared";
    check_evidence(
        &ON,
        FIRED,
        &from_bases(&[(2, 2), (3, 12)]),
        &[
            "RightAsFarAsVerified rows=5 late=1 unverified=3 windows=1/0",
            said,
        ],
        |evidence| {
            evidence.queries.push(query("a", 0));
            evidence.queries.push(query("b", 3));
        },
    );
}

#[test]
fn windows_behind_a_rollback_that_was_adopted_are_compared() {
    let said = "the table was rolled back: which windows it lost cannot be told from offsets: only windows that begin after 1970-01-01T00:00:00.022Z are compared";
    check_evidence(
        &ON,
        "30=1",
        &from_bases(&[(2, 2), (3, 12)]),
        &[
            "RightAsFarAsVerified rows=5 late=1 unverified=3 windows=1/0",
            said,
        ],
        |evidence| {
            evidence.ranges = vec![
                marked(&(0..2, true)),
                marked(&(2..3, false)),
                marked(&(3..10, true)),
            ];
        },
    );
}

/// The table shows what had fired at its head; what the commits behind that were, is open.
#[test]
fn a_table_that_was_rolled_back_is_compared_up_to_its_head() {
    let check = |table: &'static str, expected: &[&str]| {
        check_evidence(&ON, table, &how(), expected, |evidence| {
            evidence.ranges = vec![marked(&(0..7, true))];
            evidence.rolled_back = Some(RolledBack {
                adopted: false,
                ranges: vec![marked(&(7..10, true))],
            });
        });
    };
    let rolled_back = "the table was rolled back, or that snapshot was expired by another writer: the last commit ended at t[0]@10";
    let note =
        "the table was rolled back: what the commits behind its head had fired is not compared";
    let wrong = "Wrong rows=5 late=1 unverified=3 windows=2/0";
    check("0=2 10=2", &[wrong, rolled_back, note]);
    let worse = "Wrong rows=5 late=1 unverified=3 windows=2/1";
    let said =
        "window window_start 1970-01-01T00:00:00.010: the table holds 0 rows, the log gives 1";
    check("0=2", &[worse, rolled_back, said, note]);
}

/// Offset 3 of [`TIMES`] came too late; a letter holds `record N` of offset N, as the log does.
#[test]
fn the_table_of_late_rows_holds_those_that_came_too_late() {
    let right = "Right rows=5 late=1 unverified=0 windows=2/0";
    let wrong = "Wrong rows=5 late=1 unverified=0 windows=2/0";
    let check = |kept: &[Letter], pending: Option<Range<i64>>, expected: &[&str]| {
        let late = Letters {
            table: "ns.t__late".into(),
            rows: BTreeMap::from([(key(), kept.to_vec())]),
            pending: BTreeMap::from([(key(), Vec::from_iter(pending))]),
            erased: None,
        };
        check_evidence(&TIMES, "0=2 10=2", &how(), expected, |evidence| {
            evidence.late = Some(late);
        });
    };
    let letter = |offset: i64, value: &str| Letter::new(offset, None, Some(value.as_bytes()));
    let (it, other) = (letter(3, "record 3"), letter(3, "record 4"));
    check(&[it], None, &[right]);
    let missing = "t[0]: 1 rows came too late and are not in ns.t__late, the first at offset 3";
    let more = "t[0]: ns.t__late holds 1 rows that did not come too late, the first at offset 3";
    check(&[], None, &[wrong, missing]);
    check(&[other], None, &[wrong, missing, more]);
    check(&[it, it], None, &[wrong, more]);
    let early = letter(1, "record 1");
    let said = "t[0]: ns.t__late holds 1 rows that did not come too late, the first at offset 1";
    check(&[early, it], None, &[wrong, said]);
    // What is still to be committed there is not missing yet.
    check(&[], Some(2..5), &[right]);
}
