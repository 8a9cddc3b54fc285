//! Rows whose time has come, and their results.

use super::super::held::At;
use super::Sums;
use crate::aggregate::Calls;
use crate::aggregate::groups::Groups;
use crate::chunk::Mark;
use crate::operator::{OperatorError, Out, Places};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::{take, take_record_batch};
use lw_stdx::calendar::utc;
use std::ops::Range;

/// What is given of a chunk.
#[derive(Default)]
pub(super) struct Given {
    /// Every row that is of use.
    pub(super) pool: Vec<At>,
    /// The rows that are given, by their places in the pool.
    rows: Vec<u32>,
    /// The result of each.
    of_rows: Vec<u32>,
    results: Vec<Of>,
    /// Rows of which frames are stretches.
    pub(super) lines: Vec<Line>,
    /// How many rows all frames have.
    pub(super) reach: usize,
    /// Groups whose frames have places in the pool.
    pub(super) touched: Vec<u32>,
    pub(super) marks: Vec<Mark>,
    /// How many rows' places were told.
    placed: usize,
}

/// Rows one behind the other: those of a key, or where frames have no bound, all that are new.
#[derive(Default)]
pub(super) struct Line {
    /// In the pool.
    pub(super) places: Vec<u32>,
    /// Where the next frame begins.
    pub(super) from: usize,
}

/// What a result is of: all rows of its frame, or where that has no bound, those that are new.
struct Of {
    group: u32,
    /// Where the sums are that they go into, if frames have no bound.
    sums: u32,
    time: i64,
    line: usize,
    frame: Range<usize>,
}

/// What makes output of rows.
pub(super) struct Giver {
    pub(super) calls: Calls,
    pub(super) keys: Vec<usize>,
    pub(super) output: SchemaRef,
}

impl Given {
    fn place(&mut self, at: At) -> u32 {
        let place = u32::try_from(self.pool.len()).expect("rows of a chunk are counted in 32 bits");
        self.pool.push(at);
        place
    }

    /// A new line, of rows that were given before.
    pub(super) fn line(&mut self, before: impl Iterator<Item = At>) -> usize {
        let places = before.map(|at| self.place(at)).collect();
        self.lines.push(Line { places, from: 0 });
        self.lines.len() - 1
    }

    /// The next row, at the end of a line; [`Given::result`] follows.
    pub(super) fn row(&mut self, line: usize, at: At) {
        let place = self.place(at);
        self.rows.push(place);
        self.lines[line].places.push(place);
    }

    /// The result of the last `rows`: of what a line has from where the next frame begins.
    /// They are of a group, go into these sums where frames have no bound, and have one time.
    pub(super) fn result(
        &mut self,
        (group, sums, time): (u32, u32, i64),
        rows: usize,
        line: usize,
    ) {
        let number = self.results.len() as u32;
        self.of_rows.extend(std::iter::repeat_n(number, rows));
        let frame = self.lines[line].from..self.lines[line].places.len();
        self.reach += frame.len();
        self.results.push(Of {
            group,
            sums,
            time,
            line,
            frame,
        });
    }

    fn frame(&self, of: &Of) -> &[u32] {
        &self.lines[of.line].places[of.frame.clone()]
    }

    /// Rows that were given since are those of a mark.
    pub(super) fn tell_places(&mut self, mark: i64, groups: &Groups, out: &mut Out) {
        let Some(places) = &mut out.places else {
            return;
        };
        for result in &self.of_rows[self.placed..] {
            let of = &self.results[*result as usize];
            places.push(mark, &[of.time], groups, of.group);
        }
        self.placed = self.of_rows.len();
    }

    /// About how much memory it takes to compute it.
    pub(super) fn weight(&self, slides: bool) -> usize {
        match slides {
            true => self.pool.len(),
            false => self.pool.len().max(self.reach),
        }
    }

    /// Of marks between the same rows the last says it all.
    pub(super) fn mark(&mut self, watermark: i64) {
        let row = self.rows.len();
        self.marks.pop_if(|last| last.row == row);
        self.marks.push(Mark { row, watermark });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.marks.is_empty()
    }
}

impl Giver {
    /// The output's rows. `sums` go on, behind so many rows.
    ///
    /// # Errors
    /// When a column that has no NULL has no value, or a result cannot be computed.
    pub(super) fn rows(
        &self,
        given: &Given,
        pool: &RecordBatch,
        sums: Option<(&mut Sums, u64)>,
    ) -> Result<RecordBatch, OperatorError> {
        let rows = take_record_batch(pool, &UInt32Array::from(given.rows.clone()))?;
        let mut columns = rows.columns().to_vec();
        if given.rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.output.clone()));
        }
        let results = match sums {
            Some(sums) => self.going_on(given, pool, sums)?,
            None => self.anew(given, pool)?,
        };
        let of_rows = UInt32Array::from(given.of_rows.clone());
        for result in results {
            let field = self.output.field(columns.len());
            let column = take(&result, &of_rows, None)?;
            if !field.is_nullable() && column.null_count() > 0 {
                let row = (0..column.len()).find(|row| column.is_null(*row));
                let result = given.of_rows[row.unwrap_or(0)];
                let what = "it is NOT NULL, and a number has more digits than its type";
                return Err(self.no_value(columns.len(), what, given, pool, result as usize));
            }
            columns.push(column);
        }
        Ok(RecordBatch::try_new(self.output.clone(), columns)?)
    }

    /// Each result is of its frame alone.
    fn anew(&self, given: &Given, pool: &RecordBatch) -> Result<Vec<ArrayRef>, OperatorError> {
        let (mut rows, mut begins) = (Vec::new(), Vec::new());
        for line in &given.lines {
            begins.push(rows.len());
            rows.extend_from_slice(&line.places);
        }
        let stretches = given.results.iter().map(|of| {
            let begin = begins[of.line];
            begin + of.frame.start..begin + of.frame.end
        });
        let stretches: Vec<Range<usize>> = stretches.collect();
        let mut aggregates = self.calls.start();
        aggregates.slide(pool, &rows, &stretches);
        let all: Vec<u32> = (0..stretches.len() as u32).collect();
        let results = aggregates.finish(&all).enumerate();
        let named = |(call, result): (usize, Result<ArrayRef, _>)| {
            result.map_err(|error: crate::kernel::RowError| {
                let column = pool.num_columns() + call;
                self.no_value(column, &error.message, given, pool, error.row)
            })
        };
        results.map(named).collect()
    }

    /// Results go on from those of the rows before. The first of each key are computed at once, then the second, and so on.
    fn going_on(
        &self,
        given: &Given,
        pool: &RecordBatch,
        (sums, before): (&mut Sums, u64),
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let (mut seen, mut rounds): (_, Vec<Vec<usize>>) = (vec![0_usize; sums.len()], Vec::new());
        for (number, of) in given.results.iter().enumerate() {
            let round = &mut seen[of.sums as usize];
            match rounds.get_mut(*round) {
                Some(results) => results.push(number),
                None => rounds.push(vec![number]),
            }
            *round += 1;
        }
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        for round in &rounds {
            let (mut rows, mut of_rows) = (Vec::new(), Vec::new());
            let of_round = round.iter().map(|number| &given.results[*number]);
            for of in of_round.clone() {
                rows.extend_from_slice(given.frame(of));
                of_rows.resize(rows.len(), of.sums);
            }
            sums.update(pool, &rows, &of_rows, before);
            let finished: Vec<u32> = of_round.map(|of| of.sums).collect();
            let mut columns = Vec::new();
            for result in sums.finish(&finished) {
                let column = pool.num_columns() + columns.len();
                columns.push(result.map_err(|error| {
                    self.no_value(column, &error.message, given, pool, round[error.row])
                })?);
            }
            parts.push(columns);
        }
        let order: Vec<usize> = rounds.into_iter().flatten().collect();
        Ok(in_order(&parts, &order)?)
    }

    /// Names the key and the time.
    fn no_value(
        &self,
        column: usize,
        what: &str,
        given: &Given,
        pool: &RecordBatch,
        result: usize,
    ) -> OperatorError {
        let of = &given.results[result];
        let row = given.frame(of)[of.frame.len() - 1] as usize;
        let shown = self.keys.iter().map(|key| {
            array_value_to_string(pool.column(*key), row).unwrap_or_else(|error| error.to_string())
        });
        let key = shown.collect::<Vec<_>>().join(", ");
        let of_key = self.keys.iter();
        let of_key: Vec<ArrayRef> = of_key.map(|key| pool.column(*key).clone()).collect();
        let (name, time) = (self.output.field(column).name(), utc(of.time));
        OperatorError::Value {
            message: format!("column '{name}' has no value: {what} (key ({key}), OVER at {time})"),
            hint: "cast what is aggregated to another type, or to fewer digits".to_string(),
            place: Places::alone(&[of.time], &of_key, row),
        }
    }
}

/// Columns of parts whose rows, one behind the other, belong at `order`.
fn in_order(parts: &[Vec<ArrayRef>], order: &[usize]) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut places = vec![0_u32; order.len()];
    for (place, number) in (0..).zip(order) {
        places[*number] = place;
    }
    let places = UInt32Array::from(places);
    let count = parts.first().map_or(0, Vec::len);
    let column = |column: usize| {
        let of: Vec<&dyn Array> = parts.iter().map(|part| &*part[column]).collect();
        take(&concat(&of)?, &places, None)
    };
    (0..count).map(column).collect()
}
