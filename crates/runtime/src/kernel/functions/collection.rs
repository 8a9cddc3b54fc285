//! Functions over arrays and maps: what they count and take is found by their offsets, without copying a row.
//!
//! NULL is the same as NULL. A MAP's entries stay in the order in which they were written.

#![expect(
    clippy::mutable_key_type,
    reason = "a place is in order by the values in arrays, which do not change; comparators are only made late"
)]

use super::super::operand::{Active, Fault, Operand, RowError};
use super::super::rows::shape;
use super::members::Place;
use super::{Args, Kernel, Registered, Value, long};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int32Array, ListArray, StructArray, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_ord::ord::make_comparator;
use arrow_schema::{DataType, SortOptions};
use arrow_select::take::take;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(super) const KERNELS: &[Registered] = &[
    Registered::new("CARDINALITY", Kernel::Columns(cardinality)),
    Registered::new("ELEMENT AT", Kernel::Columns(element_at)),
    array("ARRAY", |a, row, out| {
        out.extend((0..a.len()).map(|arg| a.place(arg, row)));
        Ok(Some(()))
    })
    .sees_null(),
    Registered::new(
        "MAP",
        Kernel::Map(|a, row, out| {
            let entries = (0..a.len()).step_by(2);
            out.extend(entries.map(|arg| (a.place(arg, row), a.place(arg + 1, row))));
            Ok(Some(()))
        }),
    )
    .sees_null(),
    Registered::new("ROW", Kernel::Columns(row_of)),
    Registered::new(
        "ELEMENT",
        Kernel::Member(|a, row| {
            let mut elements = a.elements(0, row);
            if elements.len() > 1 {
                return Err(Fault {
                    code: "argument",
                    message: "Array has more than one element.".to_string(),
                });
            }
            Ok(elements.next())
        }),
    ),
    Registered::new(
        "ARRAY_CONTAINS",
        Kernel::Boolean(|a, row| {
            if a.is_null(0, row) {
                return Ok(None);
            }
            let wanted = a.place(1, row);
            Ok(Some(
                a.elements(0, row)
                    .any(|place| a.members().same(place, wanted)),
            ))
        }),
    )
    .sees_null(),
    Registered::new(
        "ARRAY_POSITION",
        Kernel::Whole(|a, row| {
            let wanted = a.place(1, row);
            let found = a
                .elements(0, row)
                .position(|place| a.members().same(place, wanted));
            long(found.map_or(0, |before| before + 1))
        }),
    ),
    array("ARRAY_REMOVE", |a, row, out| {
        if a.is_null(0, row) {
            return Ok(None);
        }
        let unwanted = a.place(1, row);
        out.extend(
            a.elements(0, row)
                .filter(|place| !a.members().same(*place, unwanted)),
        );
        Ok(Some(()))
    })
    .sees_null(),
    array("ARRAY_APPEND", |a, row, out| {
        if a.is_null(0, row) {
            return Ok(None);
        }
        out.extend(a.elements(0, row));
        out.push(a.place(1, row));
        Ok(Some(()))
    })
    .sees_null(),
    array("ARRAY_PREPEND", |a, row, out| {
        if a.is_null(0, row) {
            return Ok(None);
        }
        out.push(a.place(1, row));
        out.extend(a.elements(0, row));
        Ok(Some(()))
    })
    .sees_null(),
    array("ARRAY_DISTINCT", |a, row, out| {
        let mut seen = BTreeSet::new();
        out.extend(
            a.elements(0, row)
                .filter(|place| seen.insert(a.sorted(*place))),
        );
        Ok(Some(()))
    }),
    array("ARRAY_REVERSE", |a, row, out| {
        out.extend(a.elements(0, row).rev());
        Ok(Some(()))
    }),
    array("ARRAY_SLICE", slice),
    array("ARRAY_SORT", sort),
    array("ARRAY_UNION", |a, row, out| {
        let mut seen = BTreeSet::new();
        let both = a.elements(0, row).chain(a.elements(1, row));
        out.extend(both.filter(|place| seen.insert(a.sorted(*place))));
        Ok(Some(()))
    }),
    array("ARRAY_CONCAT", |a, row, out| {
        (0..a.len()).for_each(|arg| out.extend(a.elements(arg, row)));
        Ok(Some(()))
    }),
    array("ARRAY_EXCEPT", |a, row, out| {
        let mut seen: BTreeSet<_> = a.elements(1, row).map(|place| a.sorted(place)).collect();
        out.extend(
            a.elements(0, row)
                .filter(|place| seen.insert(a.sorted(*place))),
        );
        Ok(Some(()))
    }),
    array("ARRAY_INTERSECT", |a, row, out| {
        let mut wanted: BTreeSet<_> = a.elements(1, row).map(|place| a.sorted(place)).collect();
        out.extend(
            a.elements(0, row)
                .filter(|place| wanted.remove(&a.sorted(*place))),
        );
        Ok(Some(()))
    }),
    Registered::new(
        "ARRAY_MAX",
        Kernel::Member(|a, row| {
            let known = a
                .elements(0, row)
                .filter(|place| !a.members().is_null(*place));
            Ok(known.max_by(|a_place, b_place| a.members().order(*a_place, *b_place)))
        }),
    ),
    Registered::new(
        "ARRAY_MIN",
        Kernel::Member(|a, row| {
            let known = a
                .elements(0, row)
                .filter(|place| !a.members().is_null(*place));
            Ok(known.min_by(|a_place, b_place| a.members().order(*a_place, *b_place)))
        }),
    ),
    Registered::new("ARRAY_JOIN", Kernel::Text(join)),
    array("MAP_KEYS", |a, row, out| {
        out.extend(a.entries(0, row).map(|(key, _)| key));
        Ok(Some(()))
    }),
    array("MAP_VALUES", |a, row, out| {
        out.extend(a.entries(0, row).map(|(_, value)| value));
        Ok(Some(()))
    }),
    Registered::new("MAP_ENTRIES", Kernel::Columns(entries)),
    Registered::new(
        "MAP_UNION",
        Kernel::Map(|a, row, out| {
            (0..a.len()).for_each(|arg| out.extend(a.entries(arg, row)));
            Ok(Some(()))
        }),
    ),
    Registered::new(
        "MAP_FROM_ARRAYS",
        Kernel::Map(|a, row, out| {
            let (keys, values) = (a.elements(0, row), a.elements(1, row));
            if keys.len() != values.len() {
                return Err(Fault {
                    code: "argument",
                    message: format!("{} keys and {} values", keys.len(), values.len()),
                });
            }
            out.extend(keys.zip(values));
            Ok(Some(()))
        }),
    ),
];

const fn array(
    name: &'static str,
    f: fn(&Args<'_>, usize, &mut Vec<Place>) -> Value<()>,
) -> Registered {
    Registered::new(name, Kernel::Array(f))
}

/// Places count from 1, or from the end where they are negative; both ends belong to the slice.
fn slice(a: &Args<'_>, row: usize, out: &mut Vec<Place>) -> Value<()> {
    let elements = a.elements(0, row);
    let count = i64::try_from(elements.len()).expect("offsets have 31 bits");
    let place = |place: i64| if place < 0 { place + count + 1 } else { place };
    let from = place(a.whole(1, row)).max(1);
    let to = match a.len() {
        2 => count,
        _ => match place(a.whole(2, row)) {
            0 => 1,
            to => to.min(count),
        },
    };
    if from <= to {
        let [skipped, taken] = [from - 1, to - from + 1].map(|n| usize::try_from(n).unwrap_or(0));
        out.extend(elements.skip(skipped).take(taken));
    }
    Ok(Some(()))
}

fn sort(a: &Args<'_>, row: usize, out: &mut Vec<Place>) -> Value<()> {
    let rises = a.len() < 2 || a.boolean(1, row);
    let null_first = if a.len() > 2 {
        a.boolean(2, row)
    } else {
        rises
    };
    let members = a.members();
    out.extend(a.elements(0, row));
    out.sort_by(|a, b| match (members.is_null(*a), members.is_null(*b)) {
        (false, false) if rises => members.order(*a, *b),
        (false, false) => members.order(*b, *a),
        (true, true) => Ordering::Equal,
        (first, _) => (first != null_first).cmp(&(first == null_first)),
    });
    Ok(Some(()))
}

fn join(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let between = a.text(1, row);
    let for_null = (a.len() > 2).then(|| a.text(2, row));
    let texts = a
        .elements(0, row)
        .filter_map(|place| match a.members().is_null(place) {
            true => for_null,
            false => Some(a.members().text(place)),
        });
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(text);
    }
    Ok(Some(()))
}

/// A ROW of the arguments.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn row_of(args: &[Operand], active: &Active, ty: &DataType) -> Result<Operand, RowError> {
    let DataType::Struct(fields) = ty else {
        unreachable!("the function's row says that it is a ROW")
    };
    let (rows, constant) = shape(&args.iter().collect::<Vec<_>>(), active);
    let columns: Vec<ArrayRef> = args
        .iter()
        .map(|arg| arg.clone().into_array(rows))
        .collect();
    // A value that nobody asked for may be NULL where its type is not.
    let unasked = fields.iter().zip(&columns).filter_map(|(field, column)| {
        let nulls = column.logical_nulls();
        nulls.filter(|_| !field.is_nullable())
    });
    let nulls = unasked.reduce(|a, b| NullBuffer::union(Some(&a), Some(&b)).unwrap_or(a));
    let array = Arc::new(StructArray::new(fields.clone(), columns, nulls));
    Ok(Operand { array, constant })
}

#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn entries(args: &[Operand], _: &Active, ty: &DataType) -> Result<Operand, RowError> {
    let map = args[0].array.as_map();
    let DataType::List(entry) = ty else {
        unreachable!("the function's row says that it is an ARRAY")
    };
    let DataType::Struct(fields) = entry.data_type() else {
        unreachable!("the function's row says that its elements are ROWs")
    };
    let columns = vec![map.keys().clone(), map.values().clone()];
    let rows = Arc::new(StructArray::new(fields.clone(), columns, None));
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    let array = ListArray::new(entry.clone(), offsets, rows, nulls);
    Ok(args[0].with(Arc::new(array)))
}

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
fn cardinality(args: &[Operand], _: &Active, _: &DataType) -> Result<Operand, RowError> {
    let of = &args[0].array;
    let counts = offsets(of).windows(2).map(|pair| pair[1] - pair[0]);
    let counts = Int32Array::new(counts.collect(), of.logical_nulls());
    Ok(args[0].with(Arc::new(counts)))
}

/// Finds the place of each row's element among the elements of all rows, and takes them at once.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn element_at(args: &[Operand], active: &Active, _: &DataType) -> Result<Operand, RowError> {
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
