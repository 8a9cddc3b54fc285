//! CAST of ARRAYs, MAPs and ROWs: their members are cast as one column.
//!
//! A member that has no value is a fault of the row that it stands in, if that row is active.

use super::super::operand::{Active, Operand, RowError};
use super::Cast;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, make_array};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{DataType, Field};
use std::sync::Arc;

impl Cast {
    /// # Panics
    /// When it is not one from ARRAY to ARRAY, MAP to MAP or ROW to ROW.
    pub(super) fn nested(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        let array: ArrayRef = match &self.ty {
            DataType::List(element) => {
                let list = value.array.as_list::<i32>();
                let within = Within::lists(value, active, list.value_offsets());
                let elements = within.cast(&self.members[0], list.values(), element)?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Arc::new(ListArray::new(element.clone(), offsets, elements, nulls))
            }
            DataType::Map(entry, _) => {
                let map = value.array.as_map();
                let DataType::Struct(fields) = entry.data_type() else {
                    unreachable!("a MAP's entries have a key and a value")
                };
                let within = Within::lists(value, active, map.value_offsets());
                let keys = within.cast(&self.members[0], map.keys(), &fields[0])?;
                let values = within.cast(&self.members[1], map.values(), &fields[1])?;
                let entries = StructArray::new(fields.clone(), vec![keys, values], None);
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, false))
            }
            DataType::Struct(fields) => {
                let row = value.array.as_struct();
                let within = Within::fields(value, active);
                let columns = self.members.iter().zip(row.columns()).zip(fields);
                let columns =
                    columns.map(|((cast, column), field)| within.cast(cast, column, field));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::new(
                    fields.clone(),
                    columns,
                    row.nulls().cloned(),
                ))
            }
            other => unreachable!("{other} is not nested"),
        };
        Ok(value.with(array))
    }
}

/// Which row each member stands in.
struct Within {
    /// `None` for members of rows that are not active.
    owners: Vec<Option<usize>>,
}

impl Within {
    fn lists(value: &Operand, active: &Active, offsets: &[i32]) -> Within {
        let place = |at: usize| usize::try_from(offsets[at]).expect("offsets are not negative");
        let mut owners = vec![None; place(value.array.len())];
        for index in 0..value.array.len() {
            if value.array.is_valid(index) {
                let owner = active.owner(index, value.constant);
                owners[place(index)..place(index + 1)].fill(owner);
            }
        }
        Within { owners }
    }

    fn fields(value: &Operand, active: &Active) -> Within {
        let owner = |index| {
            let known = value.array.is_valid(index);
            known.then(|| active.owner(index, value.constant)).flatten()
        };
        Within {
            owners: (0..value.array.len()).map(owner).collect(),
        }
    }

    fn cast(&self, cast: &Cast, members: &ArrayRef, field: &Field) -> Result<ArrayRef, RowError> {
        // A column may go on behind the last member that belongs to a row.
        let members = members.slice(0, self.owners.len());
        let mut wanted = BooleanBufferBuilder::new(members.len());
        self.owners
            .iter()
            .for_each(|owner| wanted.append(owner.is_some()));
        let active = Active::all(members.len()).and(&wanted.finish());
        let of = |index: usize| self.owners[index].expect("only active members fail");
        let result = cast.run(&Operand::column(members), &active);
        let result = result.map_err(|error| RowError {
            row: of(error.row),
            ..error
        })?;
        let column = result.into_array(self.owners.len());
        if field.is_nullable() || column.logical_null_count() == 0 {
            return Ok(column);
        }
        let missing =
            (0..column.len()).find(|at| column.is_null(*at) && self.owners[*at].is_some());
        match missing {
            Some(at) => Err(RowError {
                row: of(at),
                code: "not_null",
                message: "NULL within a type that says NOT NULL".to_string(),
            }),
            // Values that nobody looks at.
            None => {
                let data = column.to_data().into_builder().nulls(None).build();
                Ok(make_array(data.expect("the same values")))
            }
        }
    }
}
