//! The audit over small logs and tables, told in text: what is clean, and that each kind of damage is found.
//!
//! A log is `partition: values`, one offset each: a number is a row, `x` cannot be decoded, `-` is a tombstone. A table is a
//! list of files, each a list of runs `partition@first-last=values`.

use super::*;
use arrow_array::Int32Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use lw_graph::Value;
use lw_graph::{Expr, Field, JobGraph, Node, Operator, Schema, SinkSpec, SourceSpec, TypeKind};
use lw_runtime::Origin;
use lw_runtime::connector::{Polled, Progress};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::operator::Flow;
use lw_runtime::{Chunk, DeadLetter, Split};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

fn schema() -> Schema {
    Schema::new(vec![Field::new("v", TypeKind::Int.nullable())])
}

pub(super) fn rows(values: &[i32]) -> RecordBatch {
    let column = Arc::new(Int32Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("v", column as arrow_array::ArrayRef)]).expect("one column")
}

/// A log in memory, read as the audit reads one: all of it in one poll, up to the ends that were asked for.
pub(super) struct Log {
    partitions: Vec<Vec<&'static str>>,
    from: Vec<i64>,
    until: Vec<i64>,
}

impl Log {
    /// Of one partition.
    pub(super) fn of(partition: &[&'static str]) -> Log {
        Log::of_all(&[partition])
    }

    /// One partition is read after the other.
    pub(super) fn of_all(partitions: &[&[&'static str]]) -> Log {
        Log {
            partitions: partitions.iter().map(|of| of.to_vec()).collect(),
            from: Vec::new(),
            until: Vec::new(),
        }
    }
}

impl Source for Log {
    fn cut_at(&mut self, _: &[SplitOffset]) {}
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.from = vec![0; self.partitions.len()];
        self.until = vec![0; self.partitions.len()];
        offsets
            .iter()
            .for_each(|at| self.from[at.partition as usize] = at.next);
        until
            .into_iter()
            .flatten()
            .for_each(|at| self.until[at.partition as usize] = at.next);
        Ok(())
    }

    fn splits(&self) -> Arc<[Split]> {
        let split = |partition| Split {
            topic: "t".into(),
            partition: partition as i32,
        };
        (0..self.partitions.len()).map(split).collect()
    }

    fn poll(&mut self, _max_bytes: usize, _timeout: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = Polled {
            appended: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: Vec::new(),
            finished: true,
        };
        for (split, records) in self.partitions.iter().enumerate() {
            let (from, until) = (
                self.from[split],
                self.until[split].min(records.len() as i64),
            );
            let mut skipped = 0;
            for offset in from..until {
                let origin = Origin {
                    split: split as u32,
                    offset,
                };
                match records[offset as usize] {
                    "-" => skipped += 1,
                    "x" => polled.dead_letters.push(letter(split as i32, offset)),
                    value => polled.batches.push(Chunk::new(
                        rows(&[value.parse().expect("a number")]),
                        [origin].into_iter().collect(),
                        self.splits(),
                    )),
                }
            }
            polled.progress.push(Progress {
                split: split as u32,
                from,
                to: until,
                control: 0,
                skipped,
            });
        }
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let letters = origins.iter();
        Ok(letters
            .map(|origin| letter(origin.split as i32, origin.offset))
            .collect())
    }

    fn positions(&self) -> Vec<SplitOffset> {
        Vec::new()
    }

    fn lag(&self) -> u64 {
        0
    }
}

fn letter(partition: i32, offset: i64) -> DeadLetter {
    DeadLetter {
        topic: "t".into(),
        partition,
        offset,
        timestamp: 0,
        key: None,
        value: Some(bytes_of(offset)),
        stage: "decode",
        code: String::new(),
        error: String::new(),
    }
}

/// The value of the record at this offset.
fn bytes_of<T: From<Vec<u8>>>(offset: i64) -> T {
    format!("record {offset}").into_bytes().into()
}

/// `SELECT v`
fn flow() -> Flow {
    flow_of(vec![column()])
}

/// `SELECT v AS v, v AS w`
fn two_columns() -> Flow {
    flow_of(vec![column(), column()])
}

/// `SELECT 0`
fn zeros() -> Flow {
    flow_of(vec![Expr::Literal {
        value: Value::Integer(0),
        ty: TypeKind::Int.nullable(),
    }])
}

fn column() -> Expr {
    Expr::Column {
        index: 0,
        name: "v".into(),
        ty: TypeKind::Int.nullable(),
    }
}

fn flow_of(projected: Vec<Expr>) -> Flow {
    let source = SourceSpec::Kafka(lw_graph::KafkaSource {
        table: "t".into(),
        topics: vec!["t".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: lw_graph::StartupMode::Earliest,
        bounded: false,
        format: lw_graph::FormatSpec::Raw,
        key: None,
        value_schema: schema(),
        columns: vec![lw_graph::SourceColumn::Value(0)],
    });
    let out = Schema::new(
        (0..projected.len())
            .map(|at| Field::new(["v", "w"][at], TypeKind::Int.nullable()))
            .collect(),
    );
    let operators = [
        Operator::Source(source),
        Operator::Project(projected),
        Operator::Sink(SinkSpec::Blackhole),
    ];
    let node = |(id, operator): (usize, Operator)| Node {
        operator,
        inputs: if id == 0 { Vec::new() } else { vec![id - 1] },
        schema: if id == 0 { schema() } else { out.clone() },
    };
    Flow::compile(&JobGraph {
        nodes: operators.into_iter().enumerate().map(node).collect(),
    })
    .expect("a tree")
}

/// One file per line; runs as `partition@first-last=values`.
fn files(text: &str) -> (Vec<AuditedFile>, Vec<Vec<i32>>) {
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for (index, line) in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .enumerate()
    {
        let (mut runs, mut all) = (Vec::new(), Vec::new());
        for run in line.split_whitespace() {
            let (place, values) = run.split_once('=').expect("place=values");
            // `~` where other files have rows in between.
            let (place, shared) = match place.strip_prefix('~') {
                Some(place) => (place, true),
                None => (place, false),
            };
            let (partition, offsets) = place.split_once('@').expect("partition@offsets");
            let (first, last) = offsets.split_once('-').expect("first-last");
            let values: Vec<i32> = values
                .split(',')
                .map(|value| value.parse().expect("a number"))
                .collect();
            runs.push(Run {
                topic: "t".into(),
                partition: partition.parse().expect("a number"),
                first: first.parse().expect("a number"),
                last: last.parse().expect("a number"),
                rows: values.len() as u64,
                skipped: Some(Vec::new()),
                shared,
            });
            all.extend(values);
        }
        files.push(AuditedFile {
            path: format!("file-{index}"),
            runs,
        });
        contents.push(all);
    }
    (files, contents)
}

/// Audits a table over a log of one partition whose commits account for `[0, end)`.
fn check(log: &[&'static str], end: i64, table: &str, expected: &str) {
    check_commits(log, &[(0..end, true)], None, table, expected);
}

/// The same for commits that account for these ranges, each with whether it follows on the one before it; and for a rollback
/// that took offsets away, with whether it was adopted.
fn check_commits(
    log: &[&'static str],
    commits: &[(Range<i64>, bool)],
    rolled_back: Option<(Range<i64>, bool)>,
    table: &str,
    expected: &str,
) {
    let report = audited(log, commits, rolled_back, table, None, 0);
    let t = &report.totals;
    let mut lines = vec![format!(
        "ok={} rows={} filtered={} dead={} gaps={} duplicates={}",
        report.ok, t.rows, t.filtered, t.dead_letters, t.gaps, t.duplicates
    )];
    lines.extend(report.findings);
    assert_eq!(lines.join("\n"), expected);
}

fn audited(
    log: &[&'static str],
    commits: &[(Range<i64>, bool)],
    rolled_back: Option<(Range<i64>, bool)>,
    table: &str,
    letters: Option<&[i64]>,
    log_start: i64,
) -> Report {
    let mut evidence = evidence(log, table);
    evidence.ranges = commits.iter().map(marked).collect();
    evidence.rolled_back = rolled_back.map(|(offsets, adopted)| RolledBack {
        adopted,
        ranges: vec![marked(&(offsets, true))],
    });
    evidence.letters = letters.map(letters_at);
    evidence.log_starts = BTreeMap::from([(key(), log_start)]);
    audit(evidence).expect("log and table can be read")
}

pub(super) fn key() -> Key {
    ("t".to_string(), 0)
}

pub(super) fn marked((offsets, follows): &(Range<i64>, bool)) -> MarkedRange {
    MarkedRange {
        topic: "t".into(),
        partition: 0,
        start: offsets.start,
        end: offsets.end,
        follows: *follows,
    }
}

pub(super) fn letters_at(offsets: &[i64]) -> Letters {
    Letters {
        table: "ns.t__dead_letters".into(),
        rows: BTreeMap::from([(
            key(),
            offsets.iter().map(|at| letter_at(*at, *at)).collect(),
        )]),
        pending: BTreeMap::new(),
        erased: None,
    }
}

/// A letter at one offset that holds the record of another.
fn letter_at(offset: i64, record: i64) -> Letter {
    Letter::new(offset, None, Some(&bytes_of::<Vec<u8>>(record)))
}

/// A table with these files over a log of one partition; one query made all of it, in one commit.
pub(super) fn evidence(log: &[&'static str], table: &str) -> Evidence<'static> {
    let (files, contents) = files(table);
    Evidence {
        table: "ns.t".into(),
        ranges: vec![marked(&(0..log.len() as i64, true))],
        rolled_back: None,
        read_file: Box::new(move |file| {
            let index: usize = file.path["file-".len()..].parse().expect("a number");
            Ok(Box::new(std::iter::once(Ok(rows(&contents[index])))))
        }),
        files,
        queries: vec![query(log, "", None, flow())],
        ledger: Ledger::of("ns.t"),
        extent: Extent::Table,
        notes: Vec::new(),
        letters: None,
        late: None,
        cancelled: &|| false,
        log_starts: BTreeMap::from([(key(), 0)]),
        others: Others::default(),
        erased: None,
    }
}

/// `SELECT 0`, from the first offset on.
pub(super) fn other_query(log: &[&'static str]) -> Query<'static> {
    query(log, "b", Some(0), zeros())
}

/// A query over the log; the commits name it where it has a place to begin at.
pub(super) fn query(
    log: &[&'static str],
    name: &str,
    from: Option<i64>,
    flow: Flow,
) -> Query<'static> {
    let log = log.to_vec();
    // A query of one column has the first of them.
    let columns = ["v", "w"].map(ColumnName::plain).to_vec();
    Query {
        name: name.to_string(),
        from: from.map(|from| (key(), from)).into_iter().collect(),
        stated: from.is_some(),
        make: Box::new(move || {
            Ok(Executable {
                source: Box::new(Log::of(&log)),
                flow,
                columns,
            })
        }),
    }
}

/// The verdict, what was verified, the findings and the notes.
pub(super) fn verdict(report: &Report) -> String {
    let t = &report.totals;
    let mut lines = vec![format!(
        "{:?} verified={} of {} rows={} filtered={} dead={} gaps={}",
        report.verdict, t.verified, t.offsets, t.rows, t.filtered, t.dead_letters, t.gaps
    )];
    lines.extend(report.findings.iter().cloned());
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

/// The same over a log that begins at `log_start`; `letters` are the offsets in the table of dead letters.
fn check_letters(
    log: &[&'static str],
    table: &str,
    letters: &[i64],
    log_start: i64,
    expected: &str,
) {
    let end = log.len() as i64;
    let report = audited(
        log,
        &[(0..end, true)],
        None,
        table,
        Some(letters),
        log_start,
    );
    let t = &report.totals;
    let mut lines = vec![format!(
        "{:?} verified={} rows={} dead={} unverified={} gaps={} duplicates={}",
        report.verdict, t.verified, t.rows, t.dead_letters, t.unverified, t.gaps, t.duplicates
    )];
    lines.extend(report.findings);
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn a_table_that_holds_what_the_log_says_is_clean() {
    check(
        &["1", "2", "x", "-", "5"],
        5,
        "0@0-1=1,2\n0@4-4=5",
        "ok=true rows=3 filtered=1 dead=1 gaps=0 duplicates=0",
    );
}

#[test]
fn what_lies_behind_the_commits_is_not_asked_for() {
    check(
        &["1", "2", "3"],
        2,
        "0@0-1=1,2",
        "ok=true rows=2 filtered=0 dead=0 gaps=0 duplicates=0",
    );
}

#[test]
fn a_lost_file_is_a_gap() {
    check(
        &["1", "2", "3"],
        3,
        "0@0-1=1,2",
        "ok=false rows=2 filtered=0 dead=0 gaps=1 duplicates=0\nt[0]: 1 offsets give rows that the table does not hold",
    );
}

#[test]
fn a_file_committed_twice_is_found() {
    check(
        &["1", "2"],
        2,
        "0@0-1=1,2\n0@0-1=1,2",
        "ok=false rows=2 filtered=0 dead=0 gaps=0 duplicates=2\n\
         t[0]: offsets 0 to 1 stand in the table twice\n\
         t[0] offsets 0 to 1 in file-0: 2 rows in the table, 0 from the log",
    );
}

#[test]
fn a_changed_value_is_found_by_its_hash() {
    check(
        &["1", "2"],
        2,
        "0@0-1=1,3",
        "ok=false rows=2 filtered=0 dead=0 gaps=0 duplicates=0\n\
         t[0] offsets 0 to 1 in file-0: 2 rows differ from what the log gives",
    );
}

#[test]
fn rows_that_no_commit_accounts_for_are_found() {
    check(
        &["1", "2", "3"],
        2,
        "0@0-1=1,2\n0@2-2=3",
        "ok=false rows=2 filtered=0 dead=0 gaps=0 duplicates=0\n\
         t[0]: file-1 holds offsets 2 to 2, which no commit accounts for\n\
         t[0] offsets 2 to 2 in file-1: 1 rows in the table, 0 from the log",
    );
}

#[test]
fn what_a_rollback_took_away_is_a_gap() {
    check_commits(
        &["1", "2", "3", "x", "5"],
        &[(0..2, true)],
        Some((2..5, false)),
        "0@0-1=1,2",
        "ok=false rows=2 filtered=0 dead=1 gaps=2 duplicates=0\n\
         the table was rolled back, or that snapshot was expired by another writer: the last commit ended at t[0]@5\n\
         t[0]: 2 offsets give rows that the table does not hold",
    );
}

#[test]
fn rows_whose_commit_was_only_expired_are_no_gap() {
    check_commits(
        &["1", "2", "3"],
        &[],
        Some((0..3, false)),
        "0@0-2=1,2,3",
        "ok=false rows=3 filtered=0 dead=0 gaps=0 duplicates=0\n\
         the table was rolled back, or that snapshot was expired by another writer: the last commit ended at t[0]@3",
    );
}

#[test]
fn an_adopted_rollback_stays_a_gap_before_and_after_the_next_commit() {
    check_commits(
        &["1", "2", "3", "4"],
        &[(0..1, true)],
        Some((1..3, true)),
        "0@0-0=1",
        "ok=false rows=1 filtered=0 dead=0 gaps=2 duplicates=0\n\
         the table was rolled back and adopted: without that it would end at t[0]@3\n\
         t[0]: 2 offsets give rows that the table does not hold",
    );
    check_commits(
        &["1", "2", "3", "4"],
        &[(0..1, true), (3..4, false)],
        None,
        "0@0-0=1\n0@3-3=4",
        "ok=false rows=2 filtered=0 dead=0 gaps=2 duplicates=0\n\
         t[0]: offsets 1 to 2 were rolled back, and the table was adopted without them\n\
         t[0]: 2 offsets give rows that the table does not hold",
    );
}

#[test]
fn commits_that_do_not_meet_are_found() {
    check_commits(
        &["1", "2", "3", "4"],
        &[(0..1, true), (2..4, true)],
        None,
        "0@0-0=1\n0@2-3=3,4",
        "ok=false rows=3 filtered=0 dead=0 gaps=1 duplicates=0\n\
         t[0]: a hole between two commits: one ends at 1, the next begins at 2\n\
         t[0]: 1 offsets give rows that the table does not hold",
    );
    check_commits(
        &["1", "2"],
        &[(0..2, true), (1..2, true)],
        None,
        "0@0-1=1,2",
        "ok=false rows=2 filtered=0 dead=0 gaps=0 duplicates=0\n\
         t[0]: an overlap of two commits: one ends at 2, the next begins at 1",
    );
}

#[test]
fn dead_letters_are_looked_up_in_their_table() {
    let log = ["1", "x", "3", "x"];
    let table = "0@0-0=1\n0@2-2=3";
    check_letters(
        &log,
        table,
        &[1, 3],
        0,
        "Right verified=4 rows=2 dead=2 unverified=0 gaps=0 duplicates=0",
    );
    check_letters(
        &log,
        table,
        &[3],
        0,
        "Wrong verified=4 rows=2 dead=1 unverified=0 gaps=1 duplicates=0\n\
         t[0]: 1 records fail and are not in ns.t__dead_letters, the first at offset 1\n\
         t[0]: 1 offsets give rows that the table does not hold",
    );
    check_letters(
        &log,
        table,
        &[1, 2, 3, 3],
        0,
        "Wrong verified=4 rows=2 dead=2 unverified=0 gaps=0 duplicates=1\n\
         t[0]: ns.t__dead_letters holds 1 records that do not fail, the first at offset 2\n\
         t[0]: 1 records stand in ns.t__dead_letters twice",
    );
}

#[test]
fn letters_hold_the_record_that_failed() {
    let log = ["1", "x", "x", "x"];
    let mut swapped = evidence(&log, "0@0-0=1");
    let mut letters = letters_at(&[1]);
    let rows = letters.rows.get_mut(&key()).expect("there is one");
    // The second one was lost by the log while its letter was written, which cannot be told from a letter without bytes.
    rows.extend([Letter::new(2, None, None), letter_at(3, 1)]);
    swapped.letters = Some(letters);
    assert_eq!(
        verdict(&audit(swapped).unwrap()),
        "Wrong verified=4 of 4 rows=1 filtered=0 dead=3 gaps=0\n\
         t[0]: 1 letters in ns.t__dead_letters do not hold the record that failed, the first at offset 3"
    );
}

#[test]
fn letters_that_are_not_committed_yet_are_not_missing() {
    let mut early = evidence(&["1", "x", "x"], "0@0-0=1");
    let mut letters = letters_at(&[1]);
    letters.pending = BTreeMap::from([(key(), std::iter::once(2..3).collect())]);
    early.letters = Some(letters);
    assert_eq!(
        verdict(&audit(early).unwrap()),
        "RightAsFarAsVerified verified=2 of 3 rows=1 filtered=0 dead=1 gaps=0"
    );
}

#[test]
fn a_run_that_straddles_the_logs_start_is_compared_for_what_the_log_has() {
    let log = ["1", "2", "3", "4"];
    check_letters(
        &log,
        "0@0-3=1,2,3,4",
        &[],
        2,
        "RightAsFarAsVerified verified=2 rows=2 dead=0 unverified=2 gaps=0 duplicates=0",
    );
    check_letters(
        &log,
        "0@0-3=1,2,3,5",
        &[],
        2,
        "Wrong verified=2 rows=2 dead=0 unverified=2 gaps=0 duplicates=0\n\
         t[0] offsets 2 to 3 in file-0: 2 rows differ from what the log gives",
    );
    // Three rows of four offsets, and none is listed as skipped: nothing says which is whose.
    check_letters(
        &log,
        "0@0-3=1,2,3",
        &[],
        2,
        "RightAsFarAsVerified verified=0 rows=0 dead=0 unverified=4 gaps=0 duplicates=0",
    );
}

#[test]
fn files_of_partitions_have_the_rows_of_one_stretch_between_them() {
    let log = ["1", "2", "3", "4", "5"];
    let right = "Right verified=5 of 5 rows=5 filtered=0 dead=0 gaps=0";
    let table = |files: &str| verdict(&audit(evidence(&log, files)).unwrap());
    assert_eq!(table("~0@0-2=1,3\n~0@1-4=2,4,5"), right);
    assert_eq!(table("~0@0-4=1,5\n~0@1-3=2,4\n~0@2-2=3"), right);
    // Each a stretch of its own.
    assert_eq!(table("~0@0-1=1,2\n~0@2-4=3,4,5"), right);
    let wrong = "Wrong verified=5 of 5 rows=5 filtered=0 dead=0 gaps=0\n\
         t[0] offsets 0 to 4 in file-0 and 1 more of its partitions:";
    for (files, why) in [
        (
            "~0@0-2=1,3\n~0@1-4=2,4",
            "4 rows in the table, 5 from the log",
        ),
        (
            "~0@0-2=1,3\n~0@1-4=2,3,4,5",
            "6 rows in the table, 5 from the log",
        ),
        (
            "~0@0-2=1,7\n~0@1-4=2,4,5",
            "5 rows differ from what the log gives",
        ),
    ] {
        assert_eq!(table(files), format!("{wrong} {why}"));
    }
    // Where they say which offsets are theirs, one that is nobody's is a gap.
    let mut lost = evidence(&log, "~0@0-4=1,5\n~0@1-3=2,4");
    lost.files[0].runs[0].skipped = Some(vec![(1, 4)]);
    lost.files[1].runs[0].skipped = Some(vec![(2, 3)]);
    let found = verdict(&audit(lost).unwrap());
    let first = found.lines().next();
    assert_eq!(
        first,
        Some("Wrong verified=5 of 5 rows=4 filtered=0 dead=0 gaps=1")
    );
    // Files that do not say that they share are not believed to.
    assert!(table("0@0-2=1,3\n~0@1-4=2,4,5").starts_with("Wrong"));
    // Below the log's start nothing is compared; and of a file that lies there wholly nothing need be.
    check_letters(
        &log,
        "~0@0-1=1,2\n~0@1-4=3,4,5",
        &[],
        2,
        "RightAsFarAsVerified verified=0 rows=0 dead=0 unverified=5 gaps=0 duplicates=0",
    );
}

#[test]
fn an_audit_that_verified_nothing_is_no_success() {
    check_letters(
        &["1"],
        "0@0-0=1",
        &[],
        1,
        "RightAsFarAsVerified verified=0 rows=0 dead=0 unverified=1 gaps=0 duplicates=0",
    );
    check_letters(
        &[],
        "",
        &[],
        0,
        "RightAsFarAsVerified verified=0 rows=0 dead=0 unverified=0 gaps=0 duplicates=0",
    );
}

#[test]
fn each_stretch_is_judged_by_the_query_that_made_it() {
    let log = ["1", "2", "3", "4"];
    let table = "0@0-1=1,2\n0@2-3=0,0";
    let mut replaced = evidence(&log, table);
    let stints = [("a", 0, flow()), ("b", 2, zeros())];
    let stints = stints.map(|(name, from, flow)| query(&log, name, Some(from), flow));
    replaced.queries.extend(stints);
    let report = audit(replaced).unwrap();
    assert_eq!(
        verdict(&report),
        "Right verified=4 of 4 rows=4 filtered=0 dead=0 gaps=0"
    );

    // Whoever took the new query for all of it would find this.
    let mut judged = evidence(&log, table);
    judged.queries = vec![query(&log, "b", Some(0), zeros())];
    assert_eq!(
        verdict(&audit(judged).unwrap()),
        "Wrong verified=4 of 4 rows=4 filtered=0 dead=0 gaps=0\n\
         t[0] offsets 0 to 1 in file-0: 2 rows differ from what the log gives"
    );
}

#[test]
fn a_query_that_cannot_be_executed_again_leaves_its_stretch_unverified() {
    let log = ["1", "2", "3", "x"];
    let mut lost = evidence(&log, "0@0-1=7,7\n0@2-2=3");
    lost.queries.push(Query {
        make: Box::new(|| Err("its script is not kept any more".to_string())),
        ..query(&log, "a", Some(0), flow())
    });
    lost.queries.push(query(&log, "b", Some(2), flow()));
    lost.letters = Some(letters_at(&[0, 3]));
    assert_eq!(
        verdict(&audit(lost).unwrap()),
        "RightAsFarAsVerified verified=2 of 4 rows=1 filtered=0 dead=1 gaps=0\n\
         note: t[0]: the query that made offsets 0 to 1 cannot be executed again: its script is not kept any more"
    );
}

#[test]
fn a_column_that_the_query_writes_and_the_file_does_not_have_is_a_difference() {
    let log = ["1", "2"];
    let mut dropped = evidence(&log, "0@0-1=1,2");
    dropped
        .queries
        .push(query(&log, "a", Some(0), two_columns()));
    assert_eq!(
        verdict(&audit(dropped).unwrap()),
        "Wrong verified=2 of 2 rows=2 filtered=0 dead=0 gaps=0\n\
         t[0] offsets 0 to 1 in file-0: the file does not have what the query writes: w"
    );
    // Nothing says that this query made the file: it may be older than the column.
    let mut older = evidence(&log, "0@0-1=1,2");
    older.queries = vec![query(&log, "", None, two_columns())];
    let expected = "Right verified=2 of 2 rows=2 filtered=0 dead=0 gaps=0";
    assert_eq!(verdict(&audit(older).unwrap()), expected);
}

/// Files have the names that columns had when they were written: a field's id says which it is.
#[test]
fn a_column_is_the_field_that_its_name_is_bound_to() {
    use arrow_array::{ArrayRef, Int64Array};
    let log = ["1", "2", "3", "4"];
    let field = |name: &str, id: i32, ty: arrow_schema::DataType| {
        let id = ("PARQUET:field_id".to_string(), id.to_string());
        arrow_schema::Field::new(name, ty, true).with_metadata([id].into())
    };
    let batch = |columns: Vec<(arrow_schema::Field, ArrayRef)>| {
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let schema = Arc::new(arrow_schema::Schema::new(fields));
        RecordBatch::try_new(schema, columns).expect("columns of one length")
    };
    let (narrow, wide) = (arrow_schema::DataType::Int32, arrow_schema::DataType::Int64);
    let before = batch(vec![(
        field("v", 1, narrow.clone()),
        Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef,
    )]);
    // It was renamed and widened, and another column has its name.
    let after = batch(vec![
        (
            field("v", 2, narrow),
            Arc::new(Int32Array::from(vec![None, None])) as ArrayRef,
        ),
        (
            field("x", 1, wide),
            Arc::new(Int64Array::from(vec![3, 4])) as ArrayRef,
        ),
    ]);
    let judged = |column: ColumnName| {
        let mut evidence = evidence(&log, "0@0-1=1,2\n0@2-3=3,4");
        let files = [before.clone(), after.clone()];
        evidence.read_file = Box::new(move |file| {
            let index: usize = file.path["file-".len()..].parse().expect("a number");
            Ok(Box::new(std::iter::once(Ok(files[index].clone()))))
        });
        evidence.queries = vec![Query {
            make: Box::new(move || {
                Ok(Executable {
                    source: Box::new(Log::of(&log)),
                    flow: flow(),
                    columns: vec![column],
                })
            }),
            ..query(&log, "a", Some(0), flow())
        }];
        verdict(&audit(evidence).unwrap())
    };
    let bound = ColumnName {
        bound: Some(1),
        had: vec![2, 1],
        ..ColumnName::plain("v")
    };
    let right = "Right verified=4 of 4 rows=4 filtered=0 dead=0 gaps=0";
    assert_eq!(judged(bound), right);
    assert_eq!(
        judged(ColumnName::plain("v")),
        "Wrong verified=4 of 4 rows=4 filtered=0 dead=0 gaps=0\n\
         t[0] offsets 2 to 3 in file-1: 2 rows differ from what the log gives"
    );
}

#[test]
fn nobody_waits_for_an_audit_that_was_cancelled() {
    let (polls, log) = (std::cell::Cell::new(0), ["1", "2"]);
    let cancelled = || {
        polls.set(polls.get() + 1);
        polls.get() > 1
    };
    let mut evidence = evidence(&log, "0@0-1=1,2");
    evidence.cancelled = &cancelled;
    assert!(matches!(audit(evidence), Err(AuditError::Cancelled)));
    assert_eq!(
        polls.get(),
        2,
        "asked before each batch of the table and each poll of the log"
    );
}

#[test]
fn a_file_is_in_memory_a_batch_at_a_time() {
    let log: Vec<&str> = vec!["1"; 50];
    let mut streamed = evidence(&log, &format!("0@0-49={}", ["1"; 50].join(",")));
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = most.clone();
    streamed.read_file = Box::new(move |_| {
        let seen = seen.clone();
        let buffer = Int32Array::from(vec![1]).values().clone();
        Ok(Box::new((0..50).map(move |_| {
            // Whoever keeps a batch keeps its share of the one buffer.
            let alive = buffer.inner().strong_count();
            seen.fetch_max(alive, std::sync::atomic::Ordering::Relaxed);
            let column: arrow_array::ArrayRef = Arc::new(Int32Array::new(buffer.clone(), None));
            RecordBatch::try_from_iter([("v", column)]).map_err(|error| error.to_string())
        })))
    });
    let report = audit(streamed).unwrap();
    assert_eq!(report.verdict, Verdict::Right);
    let most = most.load(std::sync::atomic::Ordering::Relaxed);
    assert!(most <= 3, "{most} batches were alive at once");
}

/// Rows of this value were erased, of records before this offset.
fn erased(value: i32, below: i64) -> Erased<'static> {
    let which: Box<WhichErased<'static>> = Box::new(move |_, rows, _, runs| {
        let values = rows.column(0).as_primitive::<Int32Type>().values();
        let is_it = |(at, found): (Origin, &i32)| *found == value && at.offset < below;
        let which: Vec<bool> = runs.iter().zip(values).map(is_it).collect();
        Ok(which.contains(&true).then_some(which))
    });
    Erased {
        which,
        still_there: Vec::new(),
    }
}

#[test]
fn rows_that_were_erased_are_not_asked_for_and_are_found_where_they_came_back() {
    let log = ["1", "2", "3", "2", "x"];
    let check = |table: &str, expected: &str, offsets: u64| {
        let mut evidence = evidence(&log, table);
        evidence.erased = Some(erased(2, 3));
        let report = audit(evidence).unwrap();
        assert_eq!(report.totals.erased, offsets, "{table}");
        assert_eq!(verdict(&report), expected);
    };
    // What came later has the same value and is new.
    let right = "Right verified=5 of 5 rows=3 filtered=0 dead=1 gaps=0";
    check("0@0-0=1\n0@2-3=3,2", right, 1);
    check(
        "0@0-3=1,2,3,2",
        "Wrong verified=5 of 5 rows=3 filtered=0 dead=1 gaps=0\n\
         t[0] offsets 0 to 3 in file-0: 4 rows in the table, 3 from the log",
        1,
    );
    check(
        "0@0-0=1\n0@2-2=3",
        "Wrong verified=5 of 5 rows=2 filtered=0 dead=1 gaps=1\n\
         t[0]: 1 offsets give rows that the table does not hold",
        1,
    );
}
