//! `datagen`: rows that are made up, for a pipeline that wants to be looked at before there is data.
//!
//! Row n is a function of n, the table's name and the field's: a run that is repeated gives the same rows, one that starts
//! again goes on where it was, and a dead letter's row can be made anew. The position is the number of the next row, in one
//! split that bears the table's name. Flink's rows are random, and others after every start.
//!
//! `'rows-per-second'` holds the rows back by the clock, from the opening on. A read that was told its end (`until`) is one
//! that looks at rows which were there before: it does not wait.

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, StringBuilder};
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow_schema::DataType;
use lw_graph::{DatagenSource, Field, Generator, Schema, SourceColumn, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Progress, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Chunk, DeadLetter, Origin, Runs, Split};
use lw_stdx::clock::Clock;
use lw_storage::source::{PartitionBounds, TopicBounds};
use parking_lot::{Condvar, Mutex};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Rows of one poll at most: two seconds of a slow sink must not become one batch.
const ROWS_AT_ONCE: i64 = 8192;

/// Makes the rows of one table.
pub struct Datagen {
    spec: DatagenSource,
    clock: Arc<dyn Clock>,
    splits: Arc<[Split]>,
    next: i64,
    /// Where the table ends, or the read.
    end: i64,
    /// Rows that are wanted wherever they are: without a pace, and without an end of the table.
    looking_back: bool,
    /// Since when, and from which row on, the pace counts.
    opened: (Duration, i64),
    cuts: Vec<i64>,
}

impl Datagen {
    pub fn new(spec: &DatagenSource, clock: Arc<dyn Clock>) -> Datagen {
        let split = Split {
            topic: spec.table.as_str().into(),
            partition: 0,
        };
        Datagen {
            spec: spec.clone(),
            splits: Arc::new([split]),
            next: 0,
            end: table_end(spec),
            looking_back: false,
            opened: (clock.elapsed(), 0),
            clock,
            cuts: Vec::new(),
        }
    }

    /// The row behind the last that the pace allows now.
    fn due(&self) -> i64 {
        let (since, from) = self.opened;
        let allowed = self.ran(since).as_secs_f64() * self.spec.rows_per_second as f64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of a number that is too large gives the largest"
        )]
        from.saturating_add(allowed as i64)
    }

    fn ran(&self, since: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(since)
    }

    /// Up to where a poll reads now.
    fn limit(&self) -> i64 {
        let due = match self.looking_back {
            true => i64::MAX,
            false => self.due(),
        };
        let cut = self.cuts.iter().copied().filter(|cut| *cut > self.next);
        let cut = cut.min().unwrap_or(i64::MAX);
        let most = self.next.saturating_add(ROWS_AT_ONCE);
        self.end.min(due).min(cut).min(most)
    }

    /// Waits for the next row to be due, but not longer than `timeout`.
    fn wait(&self, timeout: Duration) {
        let (since, from) = self.opened;
        let wanted = (self.next - from + 1) as f64 / self.spec.rows_per_second as f64;
        let wanted = Duration::try_from_secs_f64(wanted).unwrap_or(Duration::MAX);
        let left = wanted.saturating_sub(self.ran(since));
        // Nobody wakes it: it is the time that passes.
        Condvar::new().wait_for(&mut Mutex::new(()).lock(), left.min(timeout));
    }

    fn make(&self, rows: Range<i64>) -> Result<RecordBatch, ConnectorError> {
        let columns = self.spec.columns.iter().map(|column| match column {
            SourceColumn::Value(field) => *field,
            SourceColumn::Key(_) | SourceColumn::Metadata(_) | SourceColumn::Appended => {
                unreachable!("the planner knows no key, no metadata and no clock of datagen")
            }
        });
        let columns: Vec<usize> = columns.collect();
        let arrays = columns.iter().map(|field| {
            let of = &self.spec.value_schema.fields[*field];
            let seed = seed(&self.spec.table, &of.name);
            column(of, &self.spec.fields[*field], seed, rows.clone())
        });
        let arrays: Vec<ArrayRef> = arrays.collect();
        let fields = columns
            .iter()
            .map(|field| self.spec.value_schema.fields[*field].clone());
        let schema = lw_formats::arrow_schema(&Schema::new(fields.collect()));
        let count = usize::try_from(rows.end - rows.start).expect("rows of one poll are few");
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
    }

    fn at(&self, next: i64) -> SplitOffset {
        SplitOffset {
            topic: self.spec.table.clone(),
            partition: 0,
            next,
        }
    }
}

/// All rows are there at any time, as an audit sees it.
pub fn bounds(spec: &DatagenSource) -> TopicBounds {
    TopicBounds {
        id: Uuid::nil(),
        partitions: vec![PartitionBounds {
            partition: 0,
            start: 0,
            end: table_end(spec),
        }],
    }
}

/// The number of rows that the table has: its sequences end it too.
fn table_end(spec: &DatagenSource) -> i64 {
    let rows = spec
        .rows
        .map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
    let sequences = spec.fields.iter().filter_map(|field| match field {
        Generator::Sequence { start, end } => Some(end.saturating_sub(*start).saturating_add(1)),
        _ => None,
    });
    sequences.chain(rows).min().unwrap_or(i64::MAX)
}

impl Source for Datagen {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.next = offsets.first().map_or(0, |at| at.next);
        self.looking_back = until.is_some();
        self.end = match until {
            Some(until) => until.first().map_or(self.next, |at| at.next),
            None => table_end(&self.spec),
        };
        self.opened = (self.clock.elapsed(), self.next);
        self.cuts.clear();
        Ok(())
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        self.cuts.extend(cuts.iter().map(|cut| cut.next));
    }

    fn ends(&self) -> Option<Vec<SplitOffset>> {
        (self.end < i64::MAX).then(|| vec![self.at(self.end)])
    }

    fn splits(&self) -> Arc<[Split]> {
        self.splits.clone()
    }

    fn poll(&mut self, _: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = Polled {
            appended: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: Vec::new(),
            finished: self.next >= self.end,
        };
        if !polled.finished && self.limit() <= self.next {
            self.wait(timeout);
        }
        let to = self.limit();
        if to <= self.next {
            return Ok(polled);
        }
        let mut origins = Runs::default();
        for offset in self.next..to {
            origins.push(Origin { split: 0, offset }, 1);
        }
        let columns = self.make(self.next..to)?;
        polled
            .batches
            .push(Chunk::new(columns, origins, self.splits.clone()));
        polled.progress.push(Progress {
            split: 0,
            from: self.next,
            to,
            control: 0,
            skipped: 0,
        });
        self.next = to;
        polled.finished = self.next >= self.end;
        Ok(polled)
    }

    /// There are no bytes: the row's number says all.
    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let Split { topic, partition } = &self.splits[0];
        let letter = |origin: &Origin| DeadLetter {
            topic: topic.clone(),
            partition: *partition,
            offset: origin.offset,
            timestamp: 0,
            key: None,
            value: None,
            stage: "evaluate",
            code: String::new(),
            error: String::new(),
        };
        Ok(origins.iter().map(letter).collect())
    }

    fn positions(&self) -> Vec<SplitOffset> {
        vec![self.at(self.next)]
    }

    fn lag(&self) -> u64 {
        u64::try_from(self.due().min(self.end) - self.next).unwrap_or(0)
    }
}

/// The same for a field of a table, always.
fn seed(table: &str, field: &str) -> u64 {
    let bytes = table.bytes().chain([0]).chain(field.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// 64 bits that look like chance: splitmix64's mixing of a counter.
fn mixed(seed: u64, counter: u64) -> u64 {
    let mut z = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A row's whole number.
fn whole(generator: &Generator, seed: u64, row: i64) -> i64 {
    match generator {
        Generator::Sequence { start, .. } => start.saturating_add(row),
        Generator::Whole { min, max } => {
            let span = i128::from(*max) - i128::from(*min) + 1;
            let drawn = i128::from(mixed(seed, row.cast_unsigned())) % span;
            i64::try_from(i128::from(*min) + drawn).expect("it is between two of them")
        }
        _ => unreachable!("the planner gives whole columns whole numbers"),
    }
}

fn real(generator: &Generator, seed: u64, row: i64) -> f64 {
    match generator {
        Generator::Real { min, max } => {
            let drawn = (mixed(seed, row.cast_unsigned()) >> 11) as f64 / (1_u64 << 53) as f64;
            // Not by their difference, which may be more than a number can be.
            min * (1.0 - drawn) + max * drawn
        }
        other => whole(other, seed, row) as f64,
    }
}

/// Four bits at a time.
fn nibbles(seed: u64, row: i64, length: u32) -> impl Iterator<Item = u8> {
    let row_seed = mixed(seed, row.cast_unsigned());
    (0..length).map(move |n| (mixed(row_seed, u64::from(n / 16)) >> (n % 16 * 4)) as u8 & 15)
}

fn column(field: &Field, generator: &Generator, seed: u64, rows: Range<i64>) -> ArrayRef {
    macro_rules! whole {
        ($ty:ty) => {{
            let values = rows.map(|row| {
                whole(generator, seed, row)
                    .try_into()
                    .expect("checked by the planner")
            });
            Arc::new(PrimitiveArray::<$ty>::from_iter_values(values))
        }};
    }
    match &field.ty.kind {
        TypeKind::Boolean => {
            let mut truths = BooleanBuilder::new();
            rows.for_each(|row| truths.append_value(mixed(seed, row.cast_unsigned()) & 1 == 1));
            Arc::new(truths.finish())
        }
        TypeKind::TinyInt => whole!(Int8Type),
        TypeKind::SmallInt => whole!(Int16Type),
        TypeKind::Int => whole!(Int32Type),
        TypeKind::BigInt => whole!(Int64Type),
        #[expect(clippy::cast_possible_truncation, reason = "FLOAT has fewer digits")]
        TypeKind::Float => {
            let values = rows.map(|row| real(generator, seed, row) as f32);
            Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(values))
        }
        TypeKind::Double => {
            let values = rows.map(|row| real(generator, seed, row));
            Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(values))
        }
        TypeKind::Decimal { precision, scale } => {
            // In units of the last digit.
            let values = rows.map(|row| i128::from(whole(generator, seed, row)));
            let array = PrimitiveArray::<Decimal128Type>::from_iter_values(values);
            Arc::new(array.with_data_type(DataType::Decimal128(*precision, scale.cast_signed())))
        }
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let mut bytes = BinaryBuilder::new();
            for row in rows {
                let length = length(generator);
                let halves: Vec<u8> = nibbles(seed, row, length * 2).collect();
                let value = halves.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
                bytes.append_value(value.collect::<Vec<u8>>());
            }
            Arc::new(bytes.finish())
        }
        _ => {
            let mut text = StringBuilder::new();
            for row in rows {
                match generator {
                    Generator::Letters { length } => {
                        let digits = nibbles(seed, row, *length);
                        let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
                        text.append_value(digits.map(digit).collect::<String>());
                    }
                    numbers => text.append_value(whole(numbers, seed, row).to_string()),
                }
            }
            Arc::new(text.finish())
        }
    }
}

fn length(generator: &Generator) -> u32 {
    match generator {
        Generator::Letters { length } => *length,
        _ => unreachable!("the planner gives bytes a length"),
    }
}

#[cfg(test)]
mod tests;
