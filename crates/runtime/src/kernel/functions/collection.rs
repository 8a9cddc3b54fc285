//! Functions over arrays and maps: what they count and take is found by their offsets, without copying a row.

use super::super::operand::{Active, Operand, RowError};
use super::super::rows::shape;
use super::{Kernel, Registered};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int32Array, UInt32Array};
use arrow_cast::cast;
use arrow_ord::ord::make_comparator;
use arrow_schema::{DataType, SortOptions};
use arrow_select::take::take;
use std::ops::Range;
use std::sync::Arc;

pub(super) const KERNELS: &[Registered] = &[
    Registered::new("CARDINALITY", Kernel::Columns(cardinality)),
    Registered::new("ELEMENT AT", Kernel::Columns(element_at)),
];

fn offsets(of: &ArrayRef) -> &[i32] {
    match of.data_type() {
        DataType::Map(..) => of.as_map().value_offsets(),
        _ => of.as_list::<i32>().value_offsets(),
    }
}

fn span(offsets: &[i32], at: usize) -> Range<usize> {
    let place = |at: usize| usize::try_from(offsets[at]).expect("offsets are not negative");
    place(at)..place(at + 1)
}

#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn cardinality(args: &[Operand], _: &Active) -> Result<Operand, RowError> {
    let of = &args[0].array;
    let counts = offsets(of).windows(2).map(|pair| pair[1] - pair[0]);
    let counts = Int32Array::new(counts.collect(), of.logical_nulls());
    Ok(args[0].with(Arc::new(counts)))
}

/// Finds the place of each row's element among the elements of all rows, and takes them at once.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn element_at(args: &[Operand], active: &Active) -> Result<Operand, RowError> {
    let [of, at] = args else {
        unreachable!("the function's row wants two arguments")
    };
    let (rows, constant) = shape(&[of, at], active);
    let places = offsets(&of.array);
    let known = |row: usize| of.array.is_valid(of.at(row)) && at.array.is_valid(at.at(row));
    let mut elements = Vec::with_capacity(rows);
    let values = match of.array.data_type() {
        DataType::Map(..) => {
            let map = of.array.as_map();
            let same = make_comparator(map.keys(), &at.array, SortOptions::default())
                .expect("the key has the type of the map's keys");
            elements.extend((0..rows).map(|row| {
                let mut entries = span(places, of.at(row));
                known(row).then(|| entries.find(|entry| same(*entry, at.at(row)).is_eq()))?
            }));
            map.values()
        }
        _ => {
            let indexes = cast(&at.array, &DataType::Int64).expect("a whole number");
            let indexes = indexes.as_primitive::<Int64Type>();
            elements.extend((0..rows).map(|row| {
                let entries = span(places, of.at(row));
                let index = known(row).then(|| indexes.value(at.at(row)))?;
                let before = usize::try_from(index.checked_sub(1)?).ok()?;
                (before < entries.len()).then(|| entries.start + before)
            }));
            of.array.as_list::<i32>().values()
        }
    };
    let elements: UInt32Array = elements
        .into_iter()
        .map(|place| place.map(|place| u32::try_from(place).expect("offsets have 31 bits")))
        .collect();
    let array = take(values, &elements, None).expect("the places are those of elements");
    Ok(Operand { array, constant })
}
