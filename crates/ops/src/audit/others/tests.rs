//! Tables that other writers wrote to: what is theirs is counted apart, what is gone is told, what they wrote anew is found again.

use super::super::tests::{evidence, key, rows};
use super::super::{Report, Verdict, audit};
use super::*;

const LOG: [&str; 6] = ["1", "2", "3", "4", "5", "5"];
/// A file of the pipeline with all of it.
const WHOLE: &str = "0@0-5=1,2,3,4,5,5";

/// Files of others, with the snapshot that each came with having only added rows or not; and rows of the pipeline's first file that are
/// hidden.
fn report(table: &str, files: &[(bool, &'static [i32])], hidden: &[u64]) -> Report {
    let mut evidence = evidence(&LOG, table);
    let ours = std::mem::replace(&mut evidence.read_file, Box::new(|_| unreachable!()));
    let mut ours = ours;
    let theirs: Vec<&'static [i32]> = files.iter().map(|(_, rows)| *rows).collect();
    evidence.read_file = Box::new(move |file| match file.path.strip_prefix("their-") {
        Some(index) => {
            let values = theirs[index.parse::<usize>().expect("a number")];
            Ok(Box::new(std::iter::once(Ok(rows(values)))))
        }
        None => ours(file),
    });
    let files = files.iter().enumerate();
    evidence.others.files = files
        .map(|(index, (added, rows))| OthersFile {
            path: format!("their-{index}"),
            rows: rows.len() as u64,
            added: *added,
        })
        .collect();
    if !hidden.is_empty() {
        let hidden = hidden.to_vec();
        evidence.others.hidden = BTreeMap::from([("file-0".to_owned(), hidden)]);
    }
    audit(evidence).expect("log and table can be read")
}

#[test]
fn rows_that_others_added_are_counted_apart() {
    let report = report(WHOLE, &[(true, &[7, 8, 1])], &[]);
    assert_eq!(report.verdict, Verdict::Right, "{:?}", report.findings);
    assert_eq!((report.foreign_rows, report.rewritten_rows), (3, 0));
    assert_eq!(report.totals.rows, 6);
}

#[test]
fn rows_that_others_deleted_are_told_by_their_offsets() {
    let report = report(WHOLE, &[], &[1, 4]);
    assert_eq!(report.verdict, Verdict::Wrong);
    assert_eq!(
        report.findings,
        ["t[0]: another writer deleted 2 rows, of offsets 1, 4"]
    );
}

#[test]
fn rows_that_others_wrote_anew_are_found_by_their_values() {
    let report = report("0@0-1=1,2", &[(false, &[5, 99, 4, 3, 5])], &[]);
    assert_eq!(report.verdict, Verdict::Right, "{:?}", report.findings);
    assert_eq!((report.foreign_rows, report.rewritten_rows), (1, 4));
    assert_eq!((report.totals.rows, report.totals.table_rows), (6, 6));
}

#[test]
fn a_row_that_is_not_in_what_was_written_anew_is_missing() {
    let lost = report("0@0-1=1,2", &[(false, &[3, 4, 5])], &[]);
    assert_eq!(lost.verdict, Verdict::Wrong);
    assert_eq!(
        lost.findings,
        ["t[0]: 1 offsets give rows that the table does not hold"]
    );
    // A row that was only added is no witness.
    let added = report("0@0-4=1,2,3,4,5", &[(true, &[5])], &[]);
    assert_eq!(added.totals.gaps, 1);
}

#[test]
fn a_row_that_was_doubled_on_the_way_is_told() {
    let report = report("0@0-1=1,2", &[(false, &[3, 4, 5, 5, 4])], &[]);
    assert_eq!(report.verdict, Verdict::Wrong);
    assert_eq!(
        report.findings,
        ["1 rows stand more often in files that another writer wrote anew than the log gives them"]
    );
}

#[test]
fn what_was_written_anew_after_the_log_let_it_go_is_verified_as_one_lot() {
    let again = |files: &[(bool, &'static [i32])]| {
        let mut whole = evidence(&LOG, WHOLE);
        whole.log_starts = BTreeMap::from([(key(), 0)]);
        let (_, entries) = super::super::audit_for_ledger(whole).expect("it can be read");
        let mut ledger = super::super::Ledger::of("ns.t");
        ledger.keep(entries, &BTreeMap::from([(key(), 6)]));
        let mut evidence = evidence(&LOG, "0@0-1=1,2");
        evidence.ledger = ledger;
        evidence.log_starts = BTreeMap::from([(key(), 6)]);
        let theirs: Vec<&'static [i32]> = files.iter().map(|(_, rows)| *rows).collect();
        let mut ours = std::mem::replace(&mut evidence.read_file, Box::new(|_| unreachable!()));
        evidence.read_file = Box::new(move |file| match file.path.strip_prefix("their-") {
            Some(index) => {
                let values = theirs[index.parse::<usize>().expect("a number")];
                Ok(Box::new(std::iter::once(Ok(rows(values)))))
            }
            None => ours(file),
        });
        evidence.others.files = vec![OthersFile {
            path: "their-0".to_owned(),
            rows: files[0].1.len() as u64,
            added: false,
        }];
        audit(evidence).expect("log and table can be read")
    };
    let found = again(&[(false, &[3, 4, 5, 5])]);
    assert_eq!(found.verdict, Verdict::Right, "{:?}", found);
    assert_eq!(found.rewritten_rows, 4);
    let mixed = again(&[(false, &[3, 4, 5, 5, 77])]);
    assert_eq!(mixed.verdict, Verdict::RightAsFarAsVerified);
    assert_eq!((mixed.totals.rows, mixed.totals.unverified), (0, 6));
    assert_eq!(
        mixed.notes,
        [
            "t[0]: offsets 0 to 5 are not verified: another writer wrote rows of them anew after the log had let them go, and they cannot be told from its own"
        ]
    );
}

#[test]
fn an_offset_is_known_where_each_gave_one_row() {
    let run = |skipped: Option<Vec<(i64, i64)>>, rows: u64| Run {
        topic: "t".into(),
        partition: 0,
        first: 10,
        last: 19,
        rows,
        skipped,
        shared: false,
    };
    let skips = run(Some(vec![(12, 14), (16, 17)]), 7);
    let offsets: Vec<_> = (0..7).map(|row| offset_of(&skips, row)).collect();
    assert_eq!(offsets, [10, 11, 14, 15, 17, 18, 19].map(Some));
    assert_eq!(offset_of(&run(None, 7), 0), None);
    assert_eq!(offset_of(&run(Some(Vec::new()), 30), 0), None);
}
