//! Joins of windows: the rows of two inputs that are in the same window and have the same keys, when the window fires.
//!
//! Until then each window holds the rows of both sides as they came, by key. A key with NULL in it is equal to none. Which pairs there
//! are is asked when the window fires, and in Flink's order: keys as they are ordered, the rows of the outer loop as they came, and for each those
//! of the other side; the loop over a RIGHT join's right side is the outer one. What is left over of a FULL join's right side follows
//! on its key.
//!
//! A row is late by the watermark that its own input says (which tells of all inputs, where rows of the log come in), or that both have
//! passed, where an input that is idle is not waited for; and a window fires when both have passed its end: so nothing comes to a window
//! that has fired.

use super::place::{Slice, Windows};
use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys};
use crate::chunk::{Chunk, Mark, Split, push_mark};
use crate::kernel::{Evaluator, RowError};
use crate::operator::{FlowError, Kind, Late, Operator, OperatorError, Out, Places, Ports};
use crate::state::{StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_array::{RecordBatchOptions, new_null_array};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::take::{take_arrays, take_record_batch};
use lw_graph::{Expr, JoinKind, Windowing};
use lw_stdx::calendar::utc;
use std::collections::BTreeMap;
use std::sync::Arc;

mod rows;
mod saved;

use rows::Rows;

/// So many pairs are asked for at once, at least.
const PAIRS: usize = 8192;

const LEFT: usize = 0;
const RIGHT: usize = 1;

pub(crate) struct WindowJoin {
    kind: JoinKind,
    sides: [Side; 2],
    codec: KeyCodec,
    condition: Option<Condition>,
    output: SchemaRef,

    open: BTreeMap<Slice, Window>,
    /// By side: windows of which rows are in the last checkpoint, and that are gone.
    gone: [Vec<Slice>; 2],
    ports: Ports,
    splits: Arc<[Split]>,
}

struct Side {
    windows: Windows,
    keys: Vec<usize>,
    schema: SchemaRef,
}

struct Condition {
    is: Evaluator,
    /// Of both sides' columns.
    schema: SchemaRef,
}

/// What a window has of both sides.
struct Window {
    groups: Groups,
    sides: [Rows; 2],
}

/// A row of the outer loop with those that it may be paired with, or what is left over of its key.
enum Step {
    Row { row: u32, pairs: usize },
    KeyEnds,
}

/// Rows of the sides that stand beside each other in the output.
#[derive(Default)]
struct Pairs {
    left: Vec<Option<u32>>,
    right: Vec<Option<u32>>,
}

impl Pairs {
    fn push(&mut self, left: Option<u32>, right: Option<u32>) {
        self.left.push(left);
        self.right.push(right);
    }
}

impl WindowJoin {
    /// # Errors
    /// [`FlowError`] when a column can be no key, the windows are not attached below, or the condition has no kernel.
    pub(crate) fn new(
        kind: JoinKind,
        windows: &[Windowing; 2],
        keys: &[(usize, usize)],
        condition: Option<&Expr>,
        (inputs, output): ([SchemaRef; 2], SchemaRef),
    ) -> Result<WindowJoin, FlowError> {
        let unknown = |message: String| FlowError::Expression(message);
        let side = |side: usize| {
            if let Windowing::Assign(_) = windows[side] {
                return Err(unknown("a join is of windows that stand below".to_string()));
            }
            let found = Windows::new(&windows[side], &inputs[side]);
            let keys = keys.iter().map(|key| [key.0, key.1][side]);
            Ok(Side {
                windows: found.map_err(|error| unknown(error.to_string()))?,
                keys: keys.collect(),
                schema: inputs[side].clone(),
            })
        };
        let sides = [side(LEFT)?, side(RIGHT)?];
        let types = |side: &Side| {
            let types = side.keys.iter();
            types
                .map(|key| side.schema.field(*key).data_type().clone())
                .collect::<Vec<_>>()
        };
        if types(&sides[LEFT]) != types(&sides[RIGHT]) {
            return Err(unknown("the keys of a join are of two types".to_string()));
        }
        let codec = KeyCodec::new(&types(&sides[LEFT]));
        let condition = condition.map(|condition| {
            let fields = inputs.iter().flat_map(|input| input.fields().iter());
            Ok(Condition {
                is: Evaluator::new(condition).map_err(|error| unknown(error.to_string()))?,
                schema: Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())),
            })
        });
        Ok(WindowJoin {
            kind,
            sides,
            codec: codec.map_err(|error| unknown(error.to_string()))?,
            condition: condition.transpose()?,
            output,
            open: BTreeMap::new(),
            gone: Default::default(),
            ports: Ports::new(Kind::Inputs, 2),
            splits: Arc::new([]),
        })
    }

    fn keys(&self, side: usize, columns: &RecordBatch) -> Keys {
        let keys = self.sides[side].keys.iter();
        let keys: Vec<ArrayRef> = keys.map(|key| columns.column(*key).clone()).collect();
        self.codec.encode(&keys, columns.num_rows())
    }

    /// Whether it gives rows of a side that have no partner.
    fn gives_alone(&self, side: usize) -> bool {
        match self.kind {
            JoinKind::Anti => side == LEFT,
            kind => kind.pads()[1 - side],
        }
    }

    /// Which rows need not be kept: their keys are equal to none, and nothing is given of a row without a partner.
    fn lonely(&self, side: usize, columns: &RecordBatch) -> Option<Vec<bool>> {
        let keys = self.sides[side].keys.iter().map(|key| columns.column(*key));
        let with_null: Vec<&ArrayRef> = keys.filter(|key| key.null_count() > 0).collect();
        if with_null.is_empty() || self.gives_alone(side) {
            return None;
        }
        let rows = 0..columns.num_rows();
        let is_null = |row: usize| with_null.iter().any(|key| key.is_null(row));
        Some(rows.map(is_null).collect())
    }

    fn add(
        &mut self,
        side: usize,
        columns: &RecordBatch,
        rows: BTreeMap<Slice, Vec<u32>>,
        keys: &Keys,
    ) -> Result<(), OperatorError> {
        for (slice, rows) in rows {
            let window = self.open.entry(slice).or_insert_with(|| Window {
                groups: self.codec.groups(),
                sides: [Rows::default(), Rows::default()],
            });
            let mut groups = Vec::new();
            window.groups.intern(keys, &rows, &mut groups);
            let rows = take_record_batch(columns, &UInt32Array::from(rows))?;
            window.sides[side].add(rows, &groups)?;
        }
        Ok(())
    }

    fn fires(&self, slice: &Slice) -> i64 {
        self.sides[LEFT].windows.wall.fires(slice.end)
    }

    /// Windows fire that the watermark lets fire, and the mark follows on them.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<(), OperatorError> {
        while let Some(first) = self.open.first_entry()
            && self.sides[LEFT].windows.wall.fires(first.key().end) <= watermark
        {
            let (slice, window) = first.remove_entry();
            for (gone, rows) in self.gone.iter_mut().zip(&window.sides) {
                gone.extend((rows.written > 0).then_some(slice));
            }
            self.fire((slice, &window), watermark, out)?;
        }
        match out.chunks.last_mut() {
            Some(last) => push_mark(&mut last.marks, last.origins.rows(), watermark),
            None => {
                let none = RecordBatch::new_empty(self.output.clone());
                let mark = Mark { row: 0, watermark };
                out.emit(Chunk::derived(none, vec![mark], self.splits.clone()));
            }
        }
        Ok(())
    }

    fn fire(
        &self,
        (slice, window): (Slice, &Window),
        watermark: i64,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let rows = [
            window.sides[LEFT].all(&self.sides[LEFT].schema)?,
            window.sides[RIGHT].all(&self.sides[RIGHT].schema)?,
        ];
        let outer = match self.kind {
            JoinKind::Right => RIGHT,
            _ => LEFT,
        };
        let mut has_partner = vec![false; rows[RIGHT].num_rows()];
        // Steps are of the key that they stand with.
        let (mut steps, mut asked) = (Vec::new(), Pairs::default());
        let sorted = window.groups.sorted();
        let equals = self.equals_something(&window.groups, &sorted);
        for (group, equals) in sorted.into_iter().zip(equals) {
            for row in window.sides[outer].of(group) {
                let others = match equals {
                    true => window.sides[1 - outer].of(group),
                    false => &[],
                };
                for other in others {
                    match outer {
                        LEFT => asked.push(Some(*row), Some(*other)),
                        _ => asked.push(Some(*other), Some(*row)),
                    }
                }
                let (row, pairs) = (*row, others.len());
                steps.push((group, Step::Row { row, pairs }));
                if asked.left.len() >= PAIRS {
                    let (steps, asked) = (std::mem::take(&mut steps), std::mem::take(&mut asked));
                    self.give(
                        (slice, window, watermark),
                        &rows,
                        (steps, asked),
                        &mut has_partner,
                        out,
                    )?;
                }
            }
            steps.push((group, Step::KeyEnds));
        }
        self.give(
            (slice, window, watermark),
            &rows,
            (steps, asked),
            &mut has_partner,
            out,
        )
    }

    /// By group: whether its key is equal to itself.
    fn equals_something(&self, groups: &Groups, sorted: &[u32]) -> Vec<bool> {
        let columns = self.codec.decode(groups, sorted);
        let equals = |row: usize| columns.iter().all(|column| column.is_valid(row));
        (0..sorted.len()).map(equals).collect()
    }

    /// Emits what comes of some steps.
    fn give(
        &self,
        (slice, window, watermark): (Slice, &Window, i64),
        rows: &[RecordBatch; 2],
        (steps, asked): (Vec<(u32, Step)>, Pairs),
        has_partner: &mut [bool],
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let is = self.is(slice, rows, &asked)?;
        let mut given = Pairs::default();
        let mut at = 0;
        let mut placed = 0;
        for (group, step) in steps {
            let (row, pairs) = match step {
                Step::Row { row, pairs } => (row, at..at + pairs),
                Step::KeyEnds => {
                    if self.kind == JoinKind::Full {
                        let alone = window.sides[RIGHT].of(group).iter();
                        let alone = alone.filter(|row| !has_partner[**row as usize]);
                        alone.for_each(|row| given.push(None, Some(*row)));
                    }
                    (0, at..at)
                }
            };
            let ends = matches!(step, Step::KeyEnds);
            at = pairs.end;
            let mut any = false;
            for pair in pairs.filter(|pair| is.as_ref().is_none_or(|is| is.value(*pair))) {
                any = true;
                let (left, right) = (asked.left[pair], asked.right[pair]);
                if self.kind.gives_right() {
                    given.push(left, right);
                }
                if let Some(right) = right {
                    has_partner[right as usize] = true;
                }
            }
            match (self.kind, any) {
                _ if ends => {}
                (JoinKind::Left | JoinKind::Full, false) => given.push(Some(row), None),
                (JoinKind::Right, false) => given.push(None, Some(row)),
                (JoinKind::Semi, true) | (JoinKind::Anti, false) => given.push(Some(row), None),
                _ => {}
            }
            if let Some(places) = &mut out.places {
                for _ in placed..given.left.len() {
                    let times = [slice.end, slice.start];
                    places.push(watermark, &times, &window.groups, group);
                }
                placed = given.left.len();
            }
        }
        if !given.left.is_empty() {
            let columns = self.columns(rows, given)?;
            out.emit(Chunk::derived(columns, Vec::new(), self.splits.clone()));
        }
        Ok(())
    }

    /// Which of the pairs the condition is TRUE for; all of them without one.
    fn is(
        &self,
        slice: Slice,
        rows: &[RecordBatch; 2],
        asked: &Pairs,
    ) -> Result<Option<BooleanArray>, OperatorError> {
        let Some(Condition { is, schema }) = &self.condition else {
            return Ok(None);
        };
        let mut columns = taken(&rows[LEFT], &asked.left)?;
        columns.extend(taken(&rows[RIGHT], &asked.right)?);
        let options = RecordBatchOptions::new().with_row_count(Some(asked.left.len()));
        let pairs = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let is = is.evaluate(&pairs);
        let is = is.map_err(|error| self.no_answer(slice, &pairs, &error))?;
        let is = is.as_boolean();
        Ok(Some(is.iter().map(|is| Some(is == Some(true))).collect()))
    }

    fn no_answer(&self, slice: Slice, pairs: &RecordBatch, error: &RowError) -> OperatorError {
        let keys = self.sides[LEFT].keys.iter().map(|key| {
            array_value_to_string(pairs.column(*key), error.row)
                .unwrap_or_else(|error| error.to_string())
        });
        let key = keys.collect::<Vec<_>>().join(", ");
        let (start, end) = (utc(slice.start), utc(slice.end));
        let of_key = self.sides[LEFT].keys.iter();
        let of_key: Vec<ArrayRef> = of_key.map(|key| pairs.column(*key).clone()).collect();
        OperatorError::Value {
            place: Places::alone(&[slice.end, slice.start], &of_key, error.row),
            message: format!(
                "the condition of a join cannot be computed: {} (key ({key}), window from {start} to {end})",
                error.message
            ),
            hint: "let the expression give NULL where it has no value (TRY_CAST, NULLIF)"
                .to_string(),
        }
    }

    fn columns(&self, rows: &[RecordBatch; 2], given: Pairs) -> Result<RecordBatch, ArrowError> {
        let mut columns = taken(&rows[LEFT], &given.left)?;
        if self.kind.gives_right() {
            columns.extend(taken(&rows[RIGHT], &given.right)?);
        }
        RecordBatch::try_new(self.output.clone(), columns)
    }
}

/// These rows; NULL where there is none.
fn taken(rows: &RecordBatch, wanted: &[Option<u32>]) -> Result<Vec<ArrayRef>, ArrowError> {
    if rows.num_rows() == 0 {
        let columns = rows.columns().iter();
        let nulls = columns.map(|column| new_null_array(column.data_type(), wanted.len()));
        return Ok(nulls.collect());
    }
    take_arrays(rows.columns(), &UInt32Array::from(wanted.to_vec()), None)
}

impl Operator for WindowJoin {
    fn data(&mut self, side: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let slices = self.sides[side].windows.slices(&chunk)?;
        let keys = self.keys(side, &chunk.columns);
        let lonely = self.lonely(side, &chunk.columns);
        let mut pending: BTreeMap<Slice, Vec<u32>> = BTreeMap::new();
        let own = self.ports.inputs()[side].marked;
        let mut watermark = own.max(self.ports.marked()).unwrap_or(i64::MIN);
        for (rows, mark) in chunk.stretches() {
            for (row, slice) in rows.clone().zip(&slices[rows]) {
                if self.fires(slice) <= watermark {
                    let event_time = self.sides[side].windows.event_time(&chunk, row);
                    out.late(Late {
                        row,
                        event_time,
                        watermark,
                    });
                } else if !lonely.as_ref().is_some_and(|lonely| lonely[row]) {
                    pending.entry(*slice).or_default().push(row as u32);
                }
            }
            let Some(mark) = mark.filter(|mark| *mark > watermark) else {
                continue;
            };
            watermark = mark;
            if let Some(both) = self.ports.raise(side, watermark) {
                watermark = watermark.max(both);
                if pending.keys().any(|slice| self.fires(slice) <= both) {
                    let rows = std::mem::take(&mut pending);
                    self.add(side, &chunk.columns, rows, &keys)?;
                }
                self.rise(both, out)?;
            }
        }
        self.add(side, &chunk.columns, pending, &keys)
    }

    fn end(&mut self, side: usize, out: &mut Out) -> Result<(), OperatorError> {
        match self.ports.end(side) {
            Some(both) => self.rise(both, out),
            None => Ok(()),
        }
    }

    fn idles(&mut self, side: usize, idle: bool, out: &mut Out) -> Result<(), OperatorError> {
        match self.ports.idles(side, idle) {
            Some(both) => self.rise(both, out),
            None => Ok(()),
        }
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        self.write(to)
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.take_up(from)
    }

    fn state_bytes(&self) -> usize {
        let of = |window: &Window| {
            let sides = window.sides.iter().map(Rows::size);
            window.groups.size() + sides.sum::<usize>()
        };
        self.open.values().map(of).sum()
    }
}
