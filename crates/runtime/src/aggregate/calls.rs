//! The aggregate calls of an operator, compiled; and their intermediate results for one window.

use super::count::Count;
use super::distinct::Distinct;
use super::extremes::{Booleans, ByteStrings, Cells, Choice, Chosen, Primitives};
use super::key::KeyCodec;
use super::lag::Lag;
use super::list::{Collected, Gathered, Listed};
use super::sum::{Average, DecimalMean, FloatMean, Sum, SumMean, WholeMean};
use super::variance::{Form, Variance};
use super::{Accumulator, NoAggregate, Rows};
use crate::kernel::RowError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    BinaryType, Date32Type, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    Utf8Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit};
use lw_formats::arrow_type;
use lw_graph::{AggregateCall, AggregateFunction};
use std::ops::Range;
use std::sync::Arc;

/// The calls of an operator, compiled.
#[derive(Clone)]
pub(crate) struct Calls(Arc<[Call]>);

struct Call {
    function: AggregateFunction,
    arguments: Vec<usize>,
    /// The arguments' types.
    types: Vec<DataType>,
    distinct: bool,
    filter: Option<usize>,
    ty: DataType,
    /// An average is `SUM / COUNT`.
    by_sum: bool,
}

/// Intermediate results of all calls, by group.
pub(crate) struct Aggregates {
    calls: Calls,
    by_call: Vec<Box<dyn Accumulator>>,
    groups: usize,
}

impl Calls {
    /// # Errors
    /// [`NoAggregate`] for the first call that cannot be computed.
    pub(crate) fn compile(calls: &[AggregateCall], input: &Schema) -> Result<Calls, NoAggregate> {
        Calls::compile_with(calls, input, false)
    }

    /// Those of a GROUP BY. Beside a variance Flink's planner makes `SUM / COUNT` of the averages too, and so their sums have
    /// the type of what is added.
    ///
    /// # Errors
    /// As [`Calls::compile`].
    pub(crate) fn of_groups(calls: &[AggregateCall], input: &Schema) -> Result<Calls, NoAggregate> {
        use AggregateFunction::{StddevPop, StddevSamp, VarPop, VarSamp};
        let is_variance = |call: &AggregateCall| {
            matches!(call.function, StddevPop | StddevSamp | VarPop | VarSamp)
        };
        match calls.iter().any(is_variance) {
            true => Calls::compile_with(calls, input, true),
            false => Calls::compile(calls, input),
        }
    }

    fn compile_with(
        calls: &[AggregateCall],
        input: &Schema,
        by_sum: bool,
    ) -> Result<Calls, NoAggregate> {
        let compiled = calls.iter().map(|call| {
            let of = |column: &usize| input.field(*column).data_type().clone();
            let call = Call {
                function: call.function.clone(),
                arguments: call.arguments.clone(),
                types: call.arguments.iter().map(of).collect(),
                // What is chosen by its value or its place is chosen once.
                distinct: call.distinct && choice(&call.function).is_none(),
                filter: call.filter,
                ty: arrow_type(&call.ty),
                by_sum,
            };
            call.accumulator().map(|_| call)
        });
        Ok(Calls(compiled.collect::<Result<_, _>>()?))
    }

    /// No group has anything yet.
    pub(crate) fn start(&self) -> Aggregates {
        let new = |call: &Call| call.accumulator().expect("compiled calls can be computed");
        Aggregates {
            by_call: self.0.iter().map(new).collect(),
            calls: self.clone(),
            groups: 0,
        }
    }
}

impl Aggregates {
    /// Takes rows of a chunk, each into its group. `groups` is how many there are, `first` as in [`Rows`].
    pub(crate) fn update(
        &mut self,
        columns: &RecordBatch,
        rows: &[u32],
        of_rows: &[u32],
        groups: usize,
        first: u64,
    ) {
        self.grow(groups);
        for (call, accumulator) in self.calls.0.iter().zip(&mut self.by_call) {
            let arguments = call
                .arguments
                .iter()
                .map(|column| columns.column(*column).clone());
            let arguments: Vec<ArrayRef> = arguments.collect();
            let all = Rows {
                arguments: &arguments,
                rows,
                groups: of_rows,
                first,
            };
            call.update(&mut **accumulator, &all, columns);
        }
    }

    /// Takes stretches of `rows`, which may overlap, each into the group of its number; all groups are empty.
    pub(crate) fn slide(
        &mut self,
        columns: &RecordBatch,
        rows: &[u32],
        stretches: &[Range<usize>],
    ) {
        self.grow(stretches.len());
        // Row by row, for calls that take each stretch anew.
        let mut all: Option<(Vec<u32>, Vec<u32>)> = None;
        for (call, accumulator) in self.calls.0.iter().zip(&mut self.by_call) {
            let arguments = call.arguments.iter();
            let arguments: Vec<ArrayRef> = arguments
                .map(|column| columns.column(*column).clone())
                .collect();
            if call.slides(&**accumulator) {
                let rows = Rows {
                    arguments: &arguments,
                    rows,
                    groups: &[],
                    first: 0,
                };
                accumulator.slide(&rows, stretches);
                continue;
            }
            let (rows, groups) = all.get_or_insert_with(|| each(rows, stretches));
            let all = Rows {
                arguments: &arguments,
                rows,
                groups,
                first: 0,
            };
            call.update(&mut **accumulator, &all, columns);
        }
    }

    /// Whether each call takes stretches of rows for what it takes their rows for once.
    pub(crate) fn slides(&self) -> bool {
        let mut calls = self.calls.0.iter().zip(&self.by_call);
        calls.all(|(call, accumulator)| call.slides(&**accumulator))
    }

    fn grow(&mut self, groups: usize) {
        if groups > self.groups {
            self.groups = groups;
            self.by_call.iter_mut().for_each(|one| one.grow(groups));
        }
    }

    /// What it holds of some groups, a row each, by call.
    pub(crate) fn state(&self, groups: &[u32]) -> Vec<Vec<ArrayRef>> {
        self.by_call.iter().map(|one| one.state(groups)).collect()
    }

    /// Takes row `i` of a state into `of_rows[i]`.
    pub(crate) fn merge(&mut self, state: &[Vec<ArrayRef>], of_rows: &[u32], groups: usize) {
        self.grow(groups);
        for (accumulator, state) in self.by_call.iter_mut().zip(state) {
            accumulator.merge(state, of_rows);
        }
    }

    /// The results of some groups, by call.
    pub(crate) fn finish(
        &self,
        groups: &[u32],
    ) -> impl Iterator<Item = Result<ArrayRef, RowError>> {
        self.by_call.iter().map(|one| one.finish(groups))
    }

    /// What it holds in memory, about.
    pub(crate) fn size(&self) -> usize {
        self.by_call.iter().map(|one| one.size()).sum()
    }
}

/// Each row of each stretch, and the stretch's number.
fn each(rows: &[u32], stretches: &[Range<usize>]) -> (Vec<u32>, Vec<u32>) {
    let (mut all, mut groups) = (Vec::new(), Vec::new());
    for (group, stretch) in (0..).zip(stretches) {
        all.extend_from_slice(&rows[stretch.clone()]);
        groups.resize(all.len(), group);
    }
    (all, groups)
}

/// The rows for which the condition is TRUE, and their groups.
fn wanted(all: &Rows<'_>, condition: &BooleanArray) -> (Vec<u32>, Vec<u32>) {
    let is_true = |row: u32| {
        let row = row as usize;
        condition.is_valid(row) && condition.value(row)
    };
    let pairs = all.rows.iter().zip(all.groups);
    pairs.filter(|(row, _)| is_true(**row)).unzip()
}

fn choice(function: &AggregateFunction) -> Option<Choice> {
    match function {
        AggregateFunction::Min => Some(Choice::Least),
        AggregateFunction::Max => Some(Choice::Greatest),
        AggregateFunction::FirstValue => Some(Choice::First),
        AggregateFunction::LastValue => Some(Choice::Last),
        _ => None,
    }
}

impl Call {
    fn slides(&self, accumulator: &dyn Accumulator) -> bool {
        self.filter.is_none() && accumulator.slides()
    }

    /// Takes those of the rows that its filter lets pass.
    fn update(&self, accumulator: &mut dyn Accumulator, all: &Rows<'_>, columns: &RecordBatch) {
        let Some(filter) = self.filter else {
            return accumulator.update(all);
        };
        let (rows, groups) = wanted(all, columns.column(filter).as_boolean());
        accumulator.update(&Rows {
            rows: &rows,
            groups: &groups,
            ..*all
        });
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>, NoAggregate> {
        let plain = self.plain()?;
        if !self.distinct {
            return Ok(plain);
        }
        let values = KeyCodec::of_bytes(&self.types)?;
        Ok(Box::new(Distinct::new(values, plain)))
    }

    /// As without DISTINCT.
    fn plain(&self) -> Result<Box<dyn Accumulator>, NoAggregate> {
        if let Some(choice) = choice(&self.function) {
            return self.chosen(choice);
        }
        match self.function {
            AggregateFunction::Count => Ok(Box::new(Count::default())),
            AggregateFunction::Sum => {
                sum_of(&self.types[0], &self.ty).ok_or_else(|| self.unknown())
            }
            AggregateFunction::VarPop => self.variance(false, false),
            AggregateFunction::VarSamp => self.variance(true, false),
            AggregateFunction::StddevPop => self.variance(false, true),
            AggregateFunction::StddevSamp => self.variance(true, true),
            AggregateFunction::Avg => self.average(),
            AggregateFunction::ListAgg { ref separator } if self.types == [DataType::Utf8] => {
                Ok(Box::new(Listed::new(separator)))
            }
            AggregateFunction::ArrayAgg => {
                let values = KeyCodec::of_bytes(&self.types)?;
                Ok(Box::new(Gathered::new(values, &self.ty)))
            }
            AggregateFunction::Lag { offset }
                if self.types.iter().all(|ty| *ty == self.types[0]) =>
            {
                let values = KeyCodec::of_bytes(&self.types[..1])?;
                Ok(Box::new(Lag::new(offset, values)))
            }
            AggregateFunction::Collect => {
                let values = KeyCodec::of_bytes(&self.types)?;
                Ok(Box::new(Collected::new(values, &self.ty)))
            }
            AggregateFunction::ListAgg { .. }
            | AggregateFunction::Lag { .. }
            | AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::FirstValue
            | AggregateFunction::LastValue => Err(self.unknown()),
        }
    }

    fn variance(&self, of_sample: bool, root: bool) -> Result<Box<dyn Accumulator>, NoAggregate> {
        let form = Form { of_sample, root };
        Ok(Box::new(Variance::new(form, &self.types[0], &self.ty)?))
    }

    fn unknown(&self) -> NoAggregate {
        NoAggregate::Argument {
            function: self.function.name(),
            argument: self.types.first().cloned().unwrap_or(DataType::Null),
        }
    }

    fn average(&self) -> Result<Box<dyn Accumulator>, NoAggregate> {
        let (of, ty) = (&self.types[0], self.ty.clone());
        Ok(match (of, &self.ty) {
            (DataType::Int8, DataType::Int8) if self.by_sum => {
                Box::new(Average::<SumMean<Int8Type>>::new(of, ty))
            }
            (DataType::Int16, DataType::Int16) if self.by_sum => {
                Box::new(Average::<SumMean<Int16Type>>::new(of, ty))
            }
            (DataType::Int32, DataType::Int32) if self.by_sum => {
                Box::new(Average::<SumMean<Int32Type>>::new(of, ty))
            }
            (DataType::Float32, DataType::Float32) if self.by_sum => {
                Box::new(Average::<SumMean<Float32Type>>::new(of, ty))
            }
            (DataType::Int8, DataType::Int8) => {
                Box::new(Average::<WholeMean<Int8Type>>::new(of, ty))
            }
            (DataType::Int16, DataType::Int16) => {
                Box::new(Average::<WholeMean<Int16Type>>::new(of, ty))
            }
            (DataType::Int32, DataType::Int32) => {
                Box::new(Average::<WholeMean<Int32Type>>::new(of, ty))
            }
            (DataType::Int64, DataType::Int64) => {
                Box::new(Average::<WholeMean<Int64Type>>::new(of, ty))
            }
            (DataType::Float32, DataType::Float32) => {
                Box::new(Average::<FloatMean<Float32Type>>::new(of, ty))
            }
            (DataType::Float64, DataType::Float64) => {
                Box::new(Average::<FloatMean<Float64Type>>::new(of, ty))
            }
            (DataType::Decimal128(..), DataType::Decimal128(..)) => {
                Box::new(Average::<DecimalMean>::new(of, ty))
            }
            _ => return Err(self.unknown()),
        })
    }

    fn chosen(&self, choice: Choice) -> Result<Box<dyn Accumulator>, NoAggregate> {
        let of = &self.types[0];
        Ok(match of {
            DataType::Boolean => chosen::<Booleans>(choice, of),
            DataType::Int8 => chosen::<Primitives<Int8Type>>(choice, of),
            DataType::Int16 => chosen::<Primitives<Int16Type>>(choice, of),
            DataType::Int32 => chosen::<Primitives<Int32Type>>(choice, of),
            DataType::Int64 => chosen::<Primitives<Int64Type>>(choice, of),
            DataType::Float32 => chosen::<Primitives<Float32Type>>(choice, of),
            DataType::Float64 => chosen::<Primitives<Float64Type>>(choice, of),
            DataType::Decimal128(..) => chosen::<Primitives<Decimal128Type>>(choice, of),
            DataType::Date32 => chosen::<Primitives<Date32Type>>(choice, of),
            DataType::Time64(TimeUnit::Microsecond) => {
                chosen::<Primitives<Time64MicrosecondType>>(choice, of)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                chosen::<Primitives<TimestampMicrosecondType>>(choice, of)
            }
            DataType::Duration(TimeUnit::Millisecond) => {
                chosen::<Primitives<DurationMillisecondType>>(choice, of)
            }
            DataType::Utf8 => chosen::<ByteStrings<Utf8Type>>(choice, of),
            DataType::Binary => chosen::<ByteStrings<BinaryType>>(choice, of),
            _ => return Err(self.unknown()),
        })
    }
}

/// The sum of a column of a type; `None` for what is no number, or another result.
pub(super) fn sum_of(of: &DataType, to: &DataType) -> Option<Box<dyn Accumulator>> {
    let ty = to.clone();
    Some(match (of, to) {
        (DataType::Int8, DataType::Int8) => Box::new(Sum::<Int8Type>::new(ty)),
        (DataType::Int16, DataType::Int16) => Box::new(Sum::<Int16Type>::new(ty)),
        (DataType::Int32, DataType::Int32) => Box::new(Sum::<Int32Type>::new(ty)),
        (DataType::Int64, DataType::Int64) => Box::new(Sum::<Int64Type>::new(ty)),
        (DataType::Float32, DataType::Float32) => Box::new(Sum::<Float32Type>::new(ty)),
        (DataType::Float64, DataType::Float64) => Box::new(Sum::<Float64Type>::new(ty)),
        (DataType::Decimal128(_, from), DataType::Decimal128(38, to)) if from == to => {
            Box::new(Sum::<Decimal128Type>::new(ty))
        }
        _ => return None,
    })
}

fn chosen<C: Cells + 'static>(choice: Choice, ty: &DataType) -> Box<dyn Accumulator> {
    Box::new(Chosen::<C>::new(choice, ty))
}
