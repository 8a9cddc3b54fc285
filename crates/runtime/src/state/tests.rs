//! What is written is what is read, whole or by what changed, folded or not.

use super::*;
use crate::operator::Operator;
use crate::pool::Pool;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use lw_sim::{SimClock, SimDisk};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn files() -> StateFiles {
    let disk = SimDisk::new(7, Arc::new(SimClock::new()));
    StateFiles::under(Arc::new(disk), Path::new("/data"), "job")
}

fn encoded(written: StateWriter, files: &StateFiles) -> OperatorState {
    OperatorState::behind(None, written, &mut files.writing(1, "1")).expect("it can be written")
}

/// The checkpoints of an operator, each but the first by what changed.
pub(crate) struct Checkpoints {
    files: StateFiles,
    last: Option<OperatorState>,
    count: u64,
}

impl Checkpoints {
    pub(crate) fn new() -> Checkpoints {
        Checkpoints {
            files: files(),
            last: None,
            count: 0,
        }
    }

    pub(crate) fn take(&mut self, operator: &mut dyn Operator) {
        let mut writer = StateWriter::default();
        let last = self.last.as_ref();
        if last.is_some_and(|last| last.goes_on(&operator.groups())) {
            writer = writer.asking_for_changes();
        }
        operator.snapshot(&mut writer).expect("a state");
        self.count += 1;
        let mut to = self.files.writing(1, &self.count.to_string());
        let next = OperatorState::behind(self.last.as_ref(), writer, &mut to);
        self.last = Some(next.expect("it can be stored"));
    }

    /// What the last says.
    pub(crate) fn last(&self) -> StateReader {
        let last = self.last.as_ref().expect("one was taken");
        last.read(&self.files, &Pool::none()).expect("it is there")
    }
}

fn written() -> StateWriter {
    let keys = StringArray::from(vec![Some("a"), None, Some("")]);
    let sums = Float64Array::from(vec![f64::NAN, -0.0, 1.5]);
    let rows = RecordBatch::try_from_iter([
        ("key", Arc::new(keys) as ArrayRef),
        ("sum", Arc::new(sums) as ArrayRef),
    ]);
    let mut writer = StateWriter::default();
    writer.watermark(Some(7));
    writer.section("groups", rows.expect("two columns"));
    writer
}

#[test]
fn what_is_written_is_what_is_read() {
    for inline in [0, 1 << 20] {
        let mut files = files();
        files.limits.inline = inline;
        let stored = encoded(written(), &files);
        assert_eq!(stored.files().count(), usize::from(inline == 0));
        let read = stored.read(&files, &Pool::new(2)).expect("it can be read");
        assert_eq!(read.watermark(), Some(7));
        let wrote = written().finish();
        let (wrote, read) = (&wrote.all()[0].rows, &read.all()[0].rows);
        assert_eq!(wrote.column(0), read.column(0));
        let bits = |rows: &RecordBatch| {
            let sums = rows.column(1).as_any().downcast_ref::<Float64Array>();
            let sums = sums.expect("it is one").values().iter();
            sums.map(|sum| sum.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(wrote), bits(read));
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let files = files();
    let good = encoded(written(), &files);
    let mut torn = good.clone();
    let bytes = torn.stored_mut().next().expect("rows").inline.as_mut();
    let bytes = &mut bytes.expect("it is no file").0;
    bytes.truncate(bytes.len() / 2);
    let mut short = good.clone();
    short.stored_mut().next().expect("rows").rows += 1;
    for bad in [torn, short] {
        let error = bad
            .read(&files, &Pool::new(2))
            .expect_err("it is damaged")
            .to_string();
        let said = "the section 'groups' of the state cannot be read";
        assert!(error.starts_with(said), "{error}");
    }
}

/// As `format` 4 wrote it.
#[test]
fn a_section_of_the_format_before_is_read() {
    let files = files();
    let now = encoded(written(), &files);
    let rows = &now.sections[0].links[0].rows[0];
    let bytes = serde_json::to_value(&rows.inline).expect("plain data");
    let before = serde_json::json!({
        "watermark": 7,
        "sections": [{ "name": "groups", "groups": [0, 128], "rows": 3, "inline": bytes }],
    });
    let read: OperatorState = serde_json::from_value(before).expect("it is known");
    assert_eq!(read, now);
    let strange = serde_json::json!({ "name": "groups", "groups": [0, 128] });
    serde_json::from_value::<StoredSection>(strange).expect_err("it has no rows");
}

/// Window, key, and a value of each row.
type Row = (i64, i64, i64);

fn batch(rows: &[Row], columns: usize) -> RecordBatch {
    let column = |of: fn(&Row) -> i64| {
        let values = Int64Array::from_iter_values(rows.iter().map(of));
        Arc::new(values) as ArrayRef
    };
    let all = [
        column(|row| row.0),
        column(|row| row.1),
        column(|row| row.2),
    ];
    let names = ["window", "key", "value"].into_iter();
    RecordBatch::try_from_iter(names.zip(all).take(columns)).expect("columns of one length")
}

fn rows_of(read: &StateReader) -> Vec<Row> {
    let mut rows = Vec::new();
    for section in read.sections("rows") {
        let column = |at: usize| section.rows.column(at).as_primitive::<Int64Type>();
        rows.extend((0..section.rows.num_rows()).map(|row| {
            let value = |at: usize| column(at).value(row);
            (value(0), value(1), value(2))
        }));
    }
    rows
}

/// What happens to a state between two checkpoints.
#[derive(Clone, Debug)]
enum Step {
    /// The window's key has these rows now.
    Set(i64, i64, Vec<i64>),
    DropKey(i64, i64),
    DropWindow(i64),
    /// All that was said since the last one.
    Checkpoint,
    Fold,
}

fn step() -> impl Strategy<Value = Step> {
    let (window, key) = (0..3_i64, 0..4_i64);
    prop_oneof![
        4 => (window.clone(), key.clone(), prop::collection::vec(0..100_i64, 1..3)).prop_map(|(window, key, values)| Step::Set(window, key, values)),
        2 => (window.clone(), key).prop_map(|(window, key)| Step::DropKey(window, key)),
        1 => window.prop_map(Step::DropWindow),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Fold),
    ]
}

/// A map in place of an operator, with what it says when it is asked what changed.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(i64, i64), Vec<i64>>,
    changed: BTreeMap<(i64, i64), ()>,
    windows: Vec<i64>,
}

impl Model {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Set(window, key, values) => {
                self.rows.insert((*window, *key), values.clone());
                self.changed.insert((*window, *key), ());
            }
            Step::DropKey(window, key) => {
                self.rows.remove(&(*window, *key));
                self.changed.insert((*window, *key), ());
            }
            Step::DropWindow(window) => {
                self.rows.retain(|(of, _), _| of != window);
                self.changed.retain(|(of, _), _| of != window);
                self.windows.push(*window);
            }
            Step::Checkpoint | Step::Fold => {}
        }
    }

    fn flat<'a>(rows: impl Iterator<Item = (&'a (i64, i64), &'a Vec<i64>)>) -> Vec<Row> {
        rows.flat_map(|((window, key), values)| values.iter().map(|value| (*window, *key, *value)))
            .collect()
    }

    fn write(&mut self, writer: &mut StateWriter) {
        let changed = std::mem::take(&mut self.changed);
        let windows = std::mem::take(&mut self.windows);
        if !writer.is_delta() {
            return writer.section("rows", batch(&Model::flat(self.rows.iter()), 3));
        }
        let rows = self.rows.iter().filter(|(at, _)| changed.contains_key(at));
        let rows = batch(&Model::flat(rows), 3);
        let gone = changed.keys().filter(|at| !self.rows.contains_key(at));
        let gone: Vec<Row> = gone.map(|(window, key)| (*window, *key, 0)).collect();
        let windows: Vec<Row> = windows.iter().map(|window| (*window, 0, 0)).collect();
        let mut changes = writer.changes("rows", &[0, 1]);
        changes.rows(rows);
        changes.dropped(batch(&gone, 2));
        changes.dropped(batch(&windows, 1));
    }
}

proptest! {
    #[test]
    fn what_changed_and_what_is_folded_come_to_the_whole(steps in prop::collection::vec(step(), 1..60), inline in any::<bool>()) {
        let mut files = files();
        if !inline {
            files.limits = Limits::NONE;
        }
        let (mut model, mut stored) = (Model::default(), None::<OperatorState>);
        for (n, step) in steps.iter().chain([&Step::Checkpoint]).enumerate() {
            model.take(step);
            match step {
                Step::Checkpoint => {
                    let mut writer = match stored {
                        None => StateWriter::default(),
                        Some(_) => StateWriter::default().asking_for_changes(),
                    };
                    model.write(&mut writer);
                    let mut to = files.writing(1, &n.to_string());
                    let next = OperatorState::behind(stored.as_ref(), writer, &mut to).expect("stored");
                    let mut found = rows_of(&next.read(&files, &Pool::new(2)).expect("it is whole"));
                    found.sort_unstable();
                    let mut rows = Model::flat(model.rows.iter());
                    rows.sort_unstable();
                    prop_assert_eq!(found, rows);
                    stored = Some(next);
                }
                Step::Fold => {
                    if let Some(stored) = &mut stored && let Some(section) = stored.sections.first().cloned() {
                        let folded = section.folded(&files, &mut files.writing(1, &format!("fold{n}"))).expect("folded");
                        prop_assert!(stored.fold(&section, folded));
                        prop_assert_eq!(stored.sections[0].links.len(), 1);
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_folded_stands_behind_nothing_that_came_meanwhile() {
    let files = files();
    let mut to = files.writing(1, "1");
    let mut link = |before: Option<&OperatorState>, rows: &[Row]| {
        let mut writer = match before {
            None => StateWriter::default(),
            Some(_) => StateWriter::default().asking_for_changes(),
        };
        match before {
            None => writer.section("rows", batch(rows, 3)),
            Some(_) => writer.changes("rows", &[0, 1]).rows(batch(rows, 3)),
        }
        OperatorState::behind(before, writer, &mut to).expect("stored")
    };
    let first = link(None, &[(0, 0, 1), (0, 1, 1)]);
    let second = link(Some(&first), &[(0, 0, 2)]);
    let mut third = link(Some(&second), &[(0, 1, 3)]);
    let section = second.sections[0].clone();
    let folded = section.folded(&files, &mut files.writing(1, "fold1"));
    let folded = folded.expect("folded");
    assert!(third.fold(&section, folded.clone()));
    assert_eq!(third.sections[0].links.len(), 2);
    let mut rows = rows_of(&third.read(&files, &Pool::new(2)).expect("it is whole"));
    rows.sort_unstable();
    assert_eq!(rows, [(0, 0, 2), (0, 1, 3)]);
    // It was written as a whole meanwhile: what was folded is of no use.
    let mut whole = link(None, &[(5, 5, 5)]);
    assert!(!whole.fold(&section, folded));
}
