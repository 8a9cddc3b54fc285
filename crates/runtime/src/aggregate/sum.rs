//! `SUM` and `AVG`.
//!
//! A sum has the type of what is added: whole numbers wrap, a DECIMAL keeps its scale and gets 38 digits. When those do not
//! suffice the sum is NULL, and stays NULL whatever is added.

use super::{Accumulator, Rows};
use crate::kernel::{RowError, divide_decimal};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, Int64Array, PrimitiveArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use lw_formats::text::power_of_ten;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// Adds two values; `None` where the type does not hold the result.
pub(super) trait Plus: ArrowPrimitiveType {
    fn plus(a: Self::Native, b: Self::Native) -> Option<Self::Native>;
    /// The sum of a stretch of values is that of all up to its end without that of all up to its start.
    const SLIDES: bool;
}

macro_rules! plus {
    ($slides:literal: $($ty:ty),*) => {$(
        impl Plus for $ty {
            // Whole numbers wrap, in whatever order and at whatever point they are added.
            const SLIDES: bool = $slides;
            fn plus(a: Self::Native, b: Self::Native) -> Option<Self::Native> {
                Some(a.add_wrapping(b))
            }
        }
    )*};
}

plus!(true: Int8Type, Int16Type, Int32Type, Int64Type);
plus!(false: Float32Type, Float64Type);

impl Plus for Decimal128Type {
    // One that does not fit stays NULL, and what is before a stretch must not make it so.
    const SLIDES: bool = false;

    fn plus(a: i128, b: i128) -> Option<i128> {
        const DIGITS: u32 = 38;
        let sum = a.checked_add(b)?;
        (sum.unsigned_abs() < power_of_ten(DIGITS).unsigned_abs()).then_some(sum)
    }
}

/// Sums and counts by group.
struct Totals<S: Plus> {
    ty: DataType,
    sums: Vec<S::Native>,
    /// The sum became NULL.
    overflowed: Vec<bool>,
    counts: Vec<i64>,
}

impl<S: Plus> Totals<S> {
    fn new(ty: DataType) -> Totals<S> {
        Totals {
            ty,
            sums: Vec::new(),
            overflowed: Vec::new(),
            counts: Vec::new(),
        }
    }

    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, S::Native::default());
        self.overflowed.resize(groups, false);
        self.counts.resize(groups, 0);
    }

    #[inline]
    fn add(&mut self, group: usize, value: S::Native) {
        match S::plus(self.sums[group], value) {
            Some(sum) => self.sums[group] = sum,
            None => self.overflowed[group] = true,
        }
        self.counts[group] += 1;
    }

    #[inline]
    fn begin(&mut self, group: usize, value: S::Native) {
        self.sums[group] = value;
        self.counts[group] = 1;
    }

    /// Each stretch of rows into the group of its number; `value` is that of a row, and `None` where it is NULL.
    fn slide(
        &mut self,
        rows: &[u32],
        stretches: &[Range<usize>],
        value: impl Fn(usize) -> Option<S::Native>,
    ) {
        let mut up_to = vec![(S::Native::default(), 0)];
        for row in rows {
            let (sum, count) = up_to[up_to.len() - 1];
            up_to.push(match value(*row as usize) {
                Some(value) => (sum.add_wrapping(value), count + 1),
                None => (sum, count),
            });
        }
        for (group, stretch) in stretches.iter().enumerate() {
            let ((before, without), (sum, count)) = (up_to[stretch.start], up_to[stretch.end]);
            self.sums[group] = sum.sub_wrapping(before);
            self.counts[group] = count - without;
        }
    }

    /// The sum and how many values it is of; `None` where there is no sum.
    fn total(&self, group: u32) -> Option<(S::Native, i64)> {
        let group = group as usize;
        let (count, overflowed) = (self.counts[group], self.overflowed[group]);
        (count > 0 && !overflowed).then(|| (self.sums[group], count))
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let groups = groups.iter().map(|group| *group as usize);
        let sum = |group: usize| (!self.overflowed[group]).then(|| self.sums[group]);
        let sums: PrimitiveArray<S> = groups.clone().map(sum).collect();
        let counts = Int64Array::from_iter_values(groups.map(|group| self.counts[group]));
        vec![
            Arc::new(sums.with_data_type(self.ty.clone())),
            Arc::new(counts),
        ]
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        // A checkpoint of an older version has the sums of some averages in another type.
        let sums = cast(&state[0], &self.ty).expect("a sum is a number");
        let sums = sums.as_primitive::<S>();
        let counts = state[1].as_primitive::<Int64Type>().values();
        for ((sum, count), group) in sums.iter().zip(counts).zip(groups) {
            let group = *group as usize;
            if *count == 0 {
                continue;
            }
            if self.counts[group] == 0 {
                self.counts[group] = *count;
                self.sums[group] = sum.unwrap_or_default();
                self.overflowed[group] = sum.is_none();
                continue;
            }
            match sum.and_then(|sum| S::plus(self.sums[group], sum)) {
                Some(sum) => self.sums[group] = sum,
                None => self.overflowed[group] = true,
            }
            self.counts[group] += count;
        }
    }

    fn size(&self) -> usize {
        self.sums.len() * (size_of::<S::Native>() + 9)
    }
}

/// `SUM`.
pub(super) struct Sum<T: Plus>(Totals<T>);

impl<T: Plus> Sum<T> {
    pub(super) fn new(ty: DataType) -> Sum<T> {
        Sum(Totals::new(ty))
    }
}

impl<T: Plus> Accumulator for Sum<T> {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let column = rows.arguments[0].as_primitive::<T>();
        let values = column.values();
        for (row, group) in rows.of_values(column) {
            // Not added to 0: a sum of nothing but −0.0 is −0.0.
            match self.0.counts[group] {
                0 => self.0.begin(group, values[row]),
                _ => self.0.add(group, values[row]),
            }
        }
    }

    fn slides(&self) -> bool {
        T::SLIDES
    }

    fn slide(&mut self, rows: &Rows<'_>, stretches: &[Range<usize>]) {
        let column = rows.arguments[0].as_primitive::<T>();
        let value = |row| column.is_valid(row).then(|| column.value(row));
        self.0.slide(rows.rows, stretches, value);
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        self.0.state(groups)
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        self.0.merge(state, groups);
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let totals = groups.iter().map(|group| self.0.total(*group));
        let sums: PrimitiveArray<T> = totals.map(|total| Some(total?.0)).collect();
        Ok(Arc::new(sums.with_data_type(self.0.ty.clone())))
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// The average of one type: what it is added in, and how the sum is divided.
pub(super) trait Mean: Send {
    type Argument: ArrowPrimitiveType;
    type Sum: Plus;
    type Result: ArrowPrimitiveType;
    fn widen(
        value: <Self::Argument as ArrowPrimitiveType>::Native,
    ) -> <Self::Sum as ArrowPrimitiveType>::Native;
    /// `count` is not 0.
    fn divide(
        sum: <Self::Sum as ArrowPrimitiveType>::Native,
        count: i64,
        scales: (u8, u8),
    ) -> Option<<Self::Result as ArrowPrimitiveType>::Native>;
}

/// Averages of whole numbers are added in 64 bits and cut towards zero.
pub(super) struct WholeMean<T>(PhantomData<T>);
/// Averages of floating-point numbers are added in 64 bits.
pub(super) struct FloatMean<T>(PhantomData<T>);
pub(super) struct DecimalMean;
/// Averages that are computed as `SUM / COUNT`: of what `SUM` gives, where whole numbers wrap.
pub(super) struct SumMean<T>(PhantomData<T>);

macro_rules! means {
    ($of:ident, $sum:ty, $wide:ty: $($ty:ty = $native:ty),*) => {$(
        impl Mean for $of<$ty> {
            type Argument = $ty;
            type Sum = $sum;
            type Result = $ty;
            fn widen(value: $native) -> $wide {
                value.into()
            }
            fn divide(sum: $wide, count: i64, _: (u8, u8)) -> Option<$native> {
                Some((sum / count as $wide) as $native)
            }
        }
    )*};
}

means!(WholeMean, Int64Type, i64: Int8Type = i8, Int16Type = i16, Int32Type = i32, Int64Type = i64);
means!(FloatMean, Float64Type, f64: Float32Type = f32, Float64Type = f64);

macro_rules! means_of_sums {
    ($sum:ty, $wide:ty: $($ty:ty = $native:ty),*) => {$(
        impl Mean for SumMean<$ty> {
            type Argument = $ty;
            type Sum = $sum;
            type Result = $ty;
            fn widen(value: $native) -> <$sum as ArrowPrimitiveType>::Native {
                value.into()
            }
            fn divide(sum: <$sum as ArrowPrimitiveType>::Native, count: i64, _: (u8, u8)) -> Option<$native> {
                // The sum's last bits are those of a sum that wrapped all along.
                let sum = sum as $native;
                Some((<$wide>::from(sum) / count as $wide) as $native)
            }
        }
    )*};
}

means_of_sums!(Int64Type, i64: Int8Type = i8, Int16Type = i16, Int32Type = i32);
means_of_sums!(Float32Type, f64: Float32Type = f32);

impl Mean for DecimalMean {
    type Argument = Decimal128Type;
    type Sum = Decimal128Type;
    type Result = Decimal128Type;
    fn widen(value: i128) -> i128 {
        value
    }
    fn divide(sum: i128, count: i64, (from, to): (u8, u8)) -> Option<i128> {
        divide_decimal(sum, from, count, to)
    }
}

/// `AVG`.
pub(super) struct Average<M: Mean> {
    result: DataType,
    /// Of a DECIMAL: the argument's, and the result's.
    scales: (u8, u8),
    totals: Totals<M::Sum>,
}

impl<M: Mean> Average<M> {
    pub(super) fn new(argument: &DataType, result: DataType) -> Average<M> {
        let scale = |ty: &DataType| match ty {
            DataType::Decimal128(_, scale) => scale.unsigned_abs(),
            _ => 0,
        };
        let sum = match argument {
            DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
            _ => M::Sum::DATA_TYPE,
        };
        Average {
            scales: (scale(argument), scale(&result)),
            totals: Totals::new(sum),
            result,
        }
    }
}

impl<M: Mean> Accumulator for Average<M> {
    fn grow(&mut self, groups: usize) {
        self.totals.grow(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let column = rows.arguments[0].as_primitive::<M::Argument>();
        let values = column.values();
        for (row, group) in rows.of_values(column) {
            self.totals.add(group, M::widen(values[row]));
        }
    }

    fn slides(&self) -> bool {
        M::Sum::SLIDES
    }

    fn slide(&mut self, rows: &Rows<'_>, stretches: &[Range<usize>]) {
        let column = rows.arguments[0].as_primitive::<M::Argument>();
        let value = |row| column.is_valid(row).then(|| M::widen(column.value(row)));
        self.totals.slide(rows.rows, stretches, value);
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        self.totals.state(groups)
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        self.totals.merge(state, groups);
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let of = |group: &u32| {
            let (sum, count) = self.totals.total(*group)?;
            M::divide(sum, count, self.scales)
        };
        let means: PrimitiveArray<M::Result> = groups.iter().map(of).collect();
        Ok(Arc::new(means.with_data_type(self.result.clone())))
    }

    fn size(&self) -> usize {
        self.totals.size()
    }
}
