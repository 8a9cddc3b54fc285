//! Values within ARRAYs and MAPs: where they are, whether they are the same, and columns made of them.
//!
//! A kernel over arrays computes no values. It names the [`Place`]s of those that are there already, and all that were named for all rows
//! are taken at once. So one kernel serves every type of element.

use super::super::operand::Fault;
use super::Value;
use super::args::{Args, Column};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::{DataType, SortOptions};
use arrow_select::interleave::interleave;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// Where a value is: in which of the [`Members`]' sources, and at which index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    source: usize,
    index: usize,
}

/// Keys, each with its value.
pub(in super::super) type Entries = Vec<(Place, Place)>;

/// The values that the arguments of a call are or hold: each argument is a source; behind an ARRAY come its elements, behind a MAP its
/// keys and its values.
pub(super) struct Members {
    sources: Vec<ArrayRef>,
    /// The first source of each argument.
    first: Vec<usize>,
    /// Of each pair of sources, made when it is asked for.
    comparators: Vec<OnceCell<DynComparator>>,
}

impl Members {
    pub(super) fn new(args: &[super::Operand]) -> Members {
        let mut sources: Vec<ArrayRef> = Vec::new();
        let mut first = Vec::new();
        for arg in args {
            first.push(sources.len());
            sources.push(arg.array.clone());
            match arg.array.data_type() {
                DataType::List(_) => sources.push(arg.array.as_list::<i32>().values().clone()),
                DataType::Map(..) => {
                    sources.push(arg.array.as_map().keys().clone());
                    sources.push(arg.array.as_map().values().clone());
                }
                _ => {}
            }
        }
        let pairs = sources.len() * sources.len();
        Members {
            sources,
            first,
            comparators: (0..pairs).map(|_| OnceCell::new()).collect(),
        }
    }

    /// NULL is before all values, and the same as NULL.
    pub(super) fn order(&self, a: Place, b: Place) -> Ordering {
        let pair = a.source * self.sources.len() + b.source;
        let compare = self.comparators[pair].get_or_init(|| {
            let [a, b] = [a, b].map(|place| &self.sources[place.source]);
            make_comparator(a, b, SortOptions::default())
                .expect("the function's row says that these are of one type")
        });
        compare(a.index, b.index)
    }

    pub(super) fn same(&self, a: Place, b: Place) -> bool {
        self.order(a, b) == Ordering::Equal
    }

    pub(super) fn is_null(&self, place: Place) -> bool {
        self.sources[place.source].is_null(place.index)
    }

    /// The text at a place of text.
    pub(super) fn text(&self, place: Place) -> &str {
        self.sources[place.source]
            .as_string::<i32>()
            .value(place.index)
    }

    /// The values at these places, as one column.
    pub(super) fn take(
        &self,
        places: impl ExactSizeIterator<Item = Option<Place>>,
        ty: &DataType,
    ) -> ArrayRef {
        let nothing = new_null_array(ty, 1);
        // Other sources may be of other types: a MAP's values beside its keys.
        let mut arrays: Vec<&dyn Array> = vec![nothing.as_ref()];
        let mut moved = vec![0; self.sources.len()];
        for (source, array) in self.sources.iter().enumerate() {
            if array.data_type() == ty {
                moved[source] = arrays.len();
                arrays.push(array.as_ref());
            }
        }
        let indices: Vec<(usize, usize)> = places
            .map(|place| match place {
                None => (0, 0),
                Some(place) => {
                    let array = moved[place.source];
                    let of = self.sources[place.source].data_type();
                    assert!(
                        array > 0,
                        "a value taken is of the type of the result, {ty}: {of}"
                    );
                    (array, place.index)
                }
            })
            .collect();
        interleave(&arrays, &indices).expect("the arrays have one type and the places are in them")
    }
}

impl Args<'_> {
    pub(super) fn members(&self) -> &Members {
        self.members.get_or_init(|| Members::new(self.operands))
    }

    /// The value at a place, for a set.
    pub(super) fn sorted(&self, place: Place) -> Sorted<'_> {
        let members = self.members();
        Sorted { members, place }
    }

    /// The value of an argument.
    pub(super) fn place(&self, arg: usize, row: usize) -> Place {
        Place {
            source: self.members().first[arg],
            index: self.at(arg, row),
        }
    }

    /// The elements of an ARRAY.
    pub(super) fn elements(
        &self,
        arg: usize,
        row: usize,
    ) -> impl DoubleEndedIterator<Item = Place> + ExactSizeIterator + Clone {
        let source = self.members().first[arg] + 1;
        self.span(arg, row)
            .map(move |index| Place { source, index })
    }

    /// The keys of a MAP, each with its value.
    pub(super) fn entries(
        &self,
        arg: usize,
        row: usize,
    ) -> impl ExactSizeIterator<Item = (Place, Place)> + Clone {
        let keys = self.members().first[arg] + 1;
        self.span(arg, row).map(move |index| {
            let key = Place {
                source: keys,
                index,
            };
            let value = Place {
                source: keys + 1,
                index,
            };
            (key, value)
        })
    }

    fn span(&self, arg: usize, row: usize) -> Range<usize> {
        let offsets = match self.columns[arg] {
            Column::List(array) => array.value_offsets(),
            Column::Map(array) => array.value_offsets(),
            _ => unreachable!("the function's row says that argument {arg} is an ARRAY or a MAP"),
        };
        let at = self.at(arg, row);
        let place = |at: usize| usize::try_from(offsets[at]).expect("offsets are not negative");
        place(at)..place(at + 1)
    }

    /// A type may say NOT NULL of what a row has no value for: a number of too many digits.
    pub(super) fn hold(&self, places: &[Place], nullable: bool) -> Value<()> {
        if !nullable && places.iter().any(|place| self.members().is_null(*place)) {
            return Err(Fault {
                code: "not_null",
                message: "NULL within a type that says NOT NULL".to_string(),
            });
        }
        Ok(Some(()))
    }
}

/// A place, ordered by the value that is there.
#[derive(Clone, Copy)]
pub(super) struct Sorted<'m> {
    members: &'m Members,
    place: Place,
}

impl Ord for Sorted<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.members.order(self.place, other.place)
    }
}

impl PartialOrd for Sorted<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sorted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sorted<'_> {}

/// Leaves the last value of each key, at the place of the first.
#[expect(
    clippy::mutable_key_type,
    reason = "a place is in order by the values in arrays, which do not change; comparators are only made late"
)]
pub(super) fn keep_last(members: &Members, entries: &mut Entries) {
    let mut known: BTreeMap<Sorted<'_>, usize> = BTreeMap::new();
    let mut kept = 0;
    for at in 0..entries.len() {
        let (place, value) = entries[at];
        match known.entry(Sorted { members, place }) {
            Entry::Occupied(earlier) => entries[*earlier.get()].1 = value,
            Entry::Vacant(new) => {
                new.insert(kept);
                entries[kept] = (place, value);
                kept += 1;
            }
        }
    }
    entries.truncate(kept);
}
