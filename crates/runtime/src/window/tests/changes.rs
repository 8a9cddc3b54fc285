//! A checkpoint of what changed has what changed, and one of the format before is gone on from.

use super::super::join::WindowJoin;
use super::*;
use crate::state::{StateReader, StateWriter};
use lw_graph::JoinKind;

/// How many rows of a section a checkpoint has: all, or of what changed, with how many ids are dropped.
fn written(operator: &mut dyn Operator, section: &str, all: bool) -> (usize, usize) {
    let mut writer = StateWriter::default();
    if !all {
        writer = writer.asking_for_changes();
    }
    operator.snapshot(&mut writer).expect("a state");
    let mut sections = writer.sections.iter();
    let Some(found) = sections.find(|written| written.name == section) else {
        return (0, 0);
    };
    let rows = found.rows.iter().map(RecordBatch::num_rows);
    let dropped = found.changes.iter().flat_map(|changes| &changes.dropped);
    (rows.sum(), dropped.map(RecordBatch::num_rows).sum())
}

/// A row of each of a hundred keys, at its own time.
fn hundred_keys() -> Vec<Row> {
    (0..100).map(|key| (key % 10, key, None)).collect()
}

#[test]
fn of_sessions_by_themselves_those_of_keys_that_changed_are_written() {
    let Windowing::Assign(window) = assign(WindowShape::Session { gap: 20 }, 0) else {
        unreachable!("a window function");
    };
    let columns = (arrow_schema(&input()), arrow_schema(&with_windows(false)));
    let mut sessions = SessionRows::new((&window, 20), &[1], columns).expect("a window");
    let mut take = |rows: &[Row], all| {
        let mut out = Out::default();
        sessions
            .data(0, chunk(rows, 0), &mut out)
            .expect("rows have times");
        written(&mut sessions, "rows of sessions", all)
    };
    assert_eq!(take(&hundred_keys(), true), (100, 0));
    assert_eq!(take(&[], false), (0, 0));
    assert_eq!(
        take(&[(12, 3, None)], false),
        (2, 0),
        "its session has two rows"
    );
    // 5 is 20 behind all rows but those of keys 3 and 7, which have just come.
    assert_eq!(take(&[(15, 7, Some(30))], false), (2, 98));
}

/// A join of each row with those of its window and key.
fn join() -> WindowJoin {
    let side = with_windows(false);
    let mut output = side.clone();
    output.fields.extend(side.fields.iter().cloned());
    let attached = || Windowing::Attached {
        start: 3,
        end: 4,
        zone: None,
    };
    let columns = (
        [arrow_schema(&side), arrow_schema(&side)],
        arrow_schema(&output),
    );
    let join = WindowJoin::new(
        JoinKind::Inner,
        &[attached(), attached()],
        &[(1, 1)],
        None,
        columns,
    );
    join.expect("attached windows")
}

/// How many rows come out when these come in.
fn came(join: &mut WindowJoin, side: usize, rows: &[Row]) -> usize {
    let mut out = Out::default();
    let windows = assigned(WindowShape::Tumble { size: 10 }, 0, chunk(rows, 0));
    join.data(side, windows, &mut out).expect("rows have times");
    out.chunks.iter().map(Chunk::rows).sum()
}

#[test]
fn of_a_join_the_rows_that_came_are_written_and_windows_that_fired_are_dropped() {
    let mut join = join();
    came(&mut join, 0, &hundred_keys());
    came(&mut join, 1, &hundred_keys()[..7]);
    assert_eq!(written(&mut join, "left rows", true), (100, 0));
    assert_eq!(
        written(&mut join, "right rows", false),
        (0, 0),
        "all were written"
    );
    came(&mut join, 0, &[(3, 5, None), (12, 5, None)]);
    assert_eq!(written(&mut join, "left rows", false), (2, 0));
    came(&mut join, 1, &[(11, 5, Some(10))]);
    let given = came(&mut join, 0, &[(14, 5, Some(10))]);
    assert_eq!(given, 8, "seven pairs, and one more of key 5");
    let mut delta = StateWriter::default().asking_for_changes();
    join.snapshot(&mut delta).expect("a state");
    for (section, rows) in [("left rows", 1), ("right rows", 1)] {
        let mut sections = delta.sections.iter();
        let found = sections
            .find(|written| written.name == section)
            .expect("it is written");
        let dropped = &found.changes.as_ref().expect("what changed").dropped;
        assert_eq!(
            found.rows.iter().map(RecordBatch::num_rows).sum::<usize>(),
            rows
        );
        assert_eq!(
            dropped[0].num_columns(),
            2,
            "a window is dropped with all of its rows"
        );
        assert_eq!(dropped[0].num_rows(), 1);
    }
}

/// Up to manifest format 5 the rows of a join had no numbers, and other names.
#[test]
fn a_join_goes_on_from_the_format_before() {
    let mut before = join();
    came(&mut before, 0, &[(3, 5, None), (4, 6, None), (5, 5, None)]);
    came(&mut before, 1, &[(6, 5, None)]);
    let mut writer = StateWriter::default();
    before.snapshot(&mut writer).expect("a state");
    let state = writer.finish();
    let mut sections = state.all().to_vec();
    for section in &mut sections {
        if let Some(side) = section.name.strip_suffix(" rows") {
            section.name = side.to_string();
            drop(section.rows.remove_column(2));
        }
    }
    assert!(sections.iter().any(|section| section.name == "left"));
    let mut join = join();
    let before = StateReader::new(state.watermark(), sections);
    join.restore(&before).expect("a state of the format before");
    assert_eq!(
        written(&mut join, "left rows", false),
        (3, 0),
        "under its new name all is new"
    );
    let mut given = 0;
    for side in [0, 1] {
        let mut out = Out::default();
        join.end(side, &mut out).expect("the end");
        given += out.chunks.iter().map(Chunk::rows).sum::<usize>();
    }
    assert_eq!(given, 2);
}
