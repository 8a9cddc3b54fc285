//! The ledger stands in for a log that is gone: a table that was right stays right, and one that is changed afterwards, or was
//! wrong before the log went, is found.

use super::*;
use crate::audit::tests::{evidence, key, letters_at, marked, other_query, verdict};
use crate::audit::{audit, audit_for_ledger};

const LOG: [&str; 5] = ["1", "2", "x", "-", "5"];
const TABLE: &str = "0@0-1=1,2\n0@4-4=5";

/// What the ledger keeps of an audit of `[start, end)` over a table with these files.
fn entries(table: &str, start: i64, end: i64) -> Vec<Entry> {
    let mut evidence = evidence(&LOG, table);
    evidence.ranges = vec![marked(&(start..end, true))];
    audit_for_ledger(evidence).unwrap().1
}

fn kept(entries: Vec<Entry>) -> Ledger {
    let mut ledger = Ledger::of("ns.t");
    let ends = entries.iter().map(|entry| (key(), entry.end)).collect();
    ledger.keep(entries, &ends);
    Ledger::read(&ledger.to_bytes()).unwrap()
}

/// Audits the table when the log begins at `log_start`.
fn check(ledger: &Ledger, table: &str, letters: &[i64], log_start: i64, expected: &str) {
    let mut evidence = evidence(&LOG, table);
    evidence.ledger = ledger.clone();
    evidence.letters = Some(letters_at(letters));
    evidence.log_starts = BTreeMap::from([(key(), log_start)]);
    assert_eq!(verdict(&audit(evidence).unwrap()), expected);
}

#[test]
fn what_was_audited_before_the_log_went_is_verified_for_ever() {
    let ledger = kept(entries(TABLE, 0, 5));
    let right = "Right verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0";
    for log_start in [0, 2, 5] {
        check(&ledger, TABLE, &[2], log_start, right);
    }
    let unverified = "RightAsFarAsVerified verified=0 of 5 rows=0 filtered=0 dead=0 gaps=0\n\
         note: t[0]: offsets 0 to 4 are not verified: the log begins at 5, and no audit had looked at them before it let them go";
    check(&Ledger::of("ns.t"), TABLE, &[2], 5, unverified);
}

#[test]
fn a_table_that_changes_after_the_log_went_is_found() {
    let ledger = kept(entries(TABLE, 0, 5));
    check(
        &ledger,
        "0@0-1=1,2\n0@4-4=6",
        &[2],
        5,
        "Wrong verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0\n\
         t[0] offsets 0 to 4: 3 rows differ from what the log gave when it was there",
    );
    check(
        &ledger,
        "0@0-1=1,2",
        &[3],
        5,
        "Wrong verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0\n\
         t[0] offsets 0 to 4: 2 rows in the table, 3 from the log when it was there\n\
         t[0] offsets 0 to 4: ns.t__dead_letters holds 1 records, and 1 failed when the log was there; they are not the same",
    );
}

#[test]
fn the_ledger_keeps_the_logs_word_and_not_the_tables() {
    // It was wrong when it was looked at: a row was lost and another changed.
    let ledger = kept(entries("0@0-1=1,7", 0, 5));
    let wrong = "Wrong verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0\n\
         t[0] offsets 0 to 4: 2 rows in the table, 3 from the log when it was there";
    check(&ledger, "0@0-1=1,7", &[2], 5, wrong);
    // Since then it was mended.
    let right = "Right verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0";
    check(&ledger, TABLE, &[2], 5, right);
}

#[test]
fn the_ledger_and_the_log_meet() {
    let ledger = kept(entries(TABLE, 0, 2));
    let right = "Right verified=5 of 5 rows=3 filtered=1 dead=1 gaps=0";
    check(&ledger, TABLE, &[2], 1, right);
    let part = "RightAsFarAsVerified verified=3 of 5 rows=3 filtered=0 dead=0 gaps=0\n\
         note: t[0]: offsets 2 to 3 are not verified: the log begins at 4, and no audit had looked at them before it let them go";
    check(&ledger, TABLE, &[2], 4, part);
    // A run that reaches over the entry's end: whose rows are whose cannot be told.
    let apart = "RightAsFarAsVerified verified=0 of 5 rows=0 filtered=0 dead=0 gaps=0\n\
         note: t[0]: offsets 0 to 4 are not verified: the log begins at 4, and no audit had looked at them before it let them go";
    check(&ledger, "0@0-4=1,2,5", &[2], 4, apart);
}

#[test]
fn what_another_query_filled_anew_is_not_judged_by_the_old_word() {
    let ledger = kept(entries(TABLE, 0, 5));
    let mut evidence = evidence(&LOG, "0@0-1=0,0\n0@4-4=0");
    evidence.ledger = ledger;
    evidence.queries.push(other_query(&LOG));
    evidence.log_starts = BTreeMap::from([(key(), 5)]);
    let expected = "RightAsFarAsVerified verified=0 of 5 rows=0 filtered=0 dead=0 gaps=0\n\
         note: t[0]: offsets 0 to 4 are not verified: the log begins at 5, and no audit had looked at them before it let them go";
    assert_eq!(verdict(&audit(evidence).unwrap()), expected);
}

#[test]
fn what_was_not_found_again_in_the_log_is_not_kept() {
    let mut evidence = evidence(&LOG[..3], TABLE);
    evidence.ranges = vec![marked(&(0..5, true))];
    assert_eq!(audit_for_ledger(evidence).unwrap().1, []);
    let mut late = super::super::tests::evidence(&LOG, TABLE);
    late.log_starts = BTreeMap::from([(key(), 1)]);
    assert_eq!(audit_for_ledger(late).unwrap().1, []);
}

#[test]
fn entries_that_meet_become_one_when_they_are_too_many() {
    let log: Vec<&'static str> = vec!["1"; 40];
    let mut ledger = Ledger::of("ns.t");
    for at in 0..40 {
        let mut evidence = evidence(&log, &format!("0@{at}-{at}=1"));
        evidence.ranges = vec![marked(&(at..at + 1, true))];
        let (_, entries) = audit_for_ledger(evidence).unwrap();
        ledger.keep(entries, &BTreeMap::from([(key(), at + 1)]));
    }
    assert_eq!(ledger.entries.len(), MOST_ENTRIES);
    assert_eq!((ledger.entries[0].start, ledger.entries[0].end), (0, 25));
    assert!(ledger.entries.iter().all(Entry::is_whole));
    assert_eq!(ledger.looked_at(), BTreeMap::from([(key(), 40)]));
    let table: Vec<String> = (0..40).map(|at| format!("0@{at}-{at}=1")).collect();
    let mut after = evidence(&log, &table.join("\n"));
    after.ledger = ledger;
    after.log_starts = BTreeMap::from([(key(), 40)]);
    let right = "Right verified=40 of 40 rows=40 filtered=0 dead=0 gaps=0";
    assert_eq!(verdict(&audit(after).unwrap()), right);
}

#[test]
fn a_rewind_forgets_what_lies_above_it() {
    let mut ledger = kept(entries(TABLE, 0, 2));
    ledger.keep(entries(TABLE, 2, 5), &BTreeMap::from([(key(), 5)]));
    ledger.forget_above(&BTreeMap::from([(key(), 2)]));
    assert_eq!(ledger.looked_at(), BTreeMap::from([(key(), 2)]));
    assert_eq!(ledger.entries.len(), 1);
    ledger.keep(entries(TABLE, 2, 5), &BTreeMap::from([(key(), 5)]));
    assert_eq!(ledger.entries.len(), 2);
}

#[test]
#[should_panic(expected = "A1")]
fn entries_never_overlap() {
    let mut ledger = kept(entries(TABLE, 0, 5));
    ledger.keep(entries(TABLE, 2, 5), &BTreeMap::new());
}

/// Frozen: ledgers outlive the server that wrote them.
#[test]
fn the_layout_stays() {
    let ledger = kept(entries(TABLE, 0, 5));
    let text = String::from_utf8(ledger.to_bytes()).unwrap();
    let expected = concat!(
        r#"{"format":1,"table":"ns.t","entries":[{"topic":"t","partition":0,"start":0,"end":5,"#,
        r#""made_by":[{"from":0,"query":""}],"records":3,"#,
        r#""rows":{"rows":3,"hash":"00000000000000021da78ea3b8a0fd46"},"filtered":1,"control":0,"#,
        r#""letters":{"rows":1,"hash":"0000000000000000d0e913150da911f4"}}],"#,
        r#""looked_at":[{"topic":"t","partition":0,"end":5}]}"#,
    );
    assert_eq!(text, expected);
    let newer = text.replace("\"format\":1", "\"format\":2");
    assert_eq!(
        Ledger::read(newer.as_bytes()),
        Err("it has format 2; this version reads format 1".to_string())
    );
}

#[test]
fn what_is_erased_from_the_table_is_taken_off_once() {
    let mut ledger = kept(entries(TABLE, 0, 5));
    let taken = Taken {
        rows: crate::audit::tests::rows(&[2]),
        from: vec![(key(), 1, true)],
    };
    let taken = [taken];
    assert!(!ledger.knows_erasure("a"));
    ledger.erase("a", &taken).unwrap();
    assert!(ledger.knows_erasure("a"));
    let ledger = Ledger::read(&ledger.to_bytes()).unwrap();
    let right = "Right verified=5 of 5 rows=2 filtered=1 dead=1 gaps=0";
    check(&ledger, "0@0-0=1\n0@4-4=5", &[2], 5, right);
    check(
        &ledger,
        TABLE,
        &[2],
        5,
        "Wrong verified=5 of 5 rows=2 filtered=1 dead=1 gaps=0\n\
         t[0] offsets 0 to 4: 3 rows in the table, 2 from the log when it was there",
    );
}
