//! A row for each element of an array, a map or a multiset: the input's columns, the element's, and its number where it is asked for.
//!
//! A row without an element is gone, or stands once with NULL behind it (`LEFT JOIN UNNEST`). An element that is a ROW is its fields. One
//! that is NULL is none; with numbers the row fails that has it, as in Flink, unless the ROW has one field alone. A multiset is a map of
//! how often each value is there, and gives it that often.

use super::row_wise::{RowWise, each_row};
use super::spread::{On, spread};
use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use crate::kernel::{Evaluator, RowError};
use crate::origins::Origin;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::take::take;
use std::sync::Arc;

pub(super) struct Unnest {
    /// How many columns the input has.
    width: usize,
    column: usize,
    kind: Kind,
    /// A row that has no element is there once.
    outer: bool,
    ordinality: bool,
    on: Option<On>,
    output: SchemaRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    /// An entry is a key and a value.
    Map,
    /// The value of an entry is how often its key is there.
    Multiset,
}

/// The elements of a chunk's rows, one behind the other.
#[derive(Default)]
struct Elements {
    /// The row that each is of.
    rows: Vec<u32>,
    /// Where it stands among the column's values.
    at: Vec<Option<u32>>,
    /// From 1 in each row.
    numbers: Vec<Option<i32>>,
    /// How many there are before each row, and at the end.
    before: Vec<usize>,
}

impl Elements {
    fn with_capacity(rows: usize) -> Elements {
        Elements {
            rows: Vec::with_capacity(rows),
            at: Vec::with_capacity(rows),
            numbers: Vec::with_capacity(rows),
            before: Vec::with_capacity(rows + 1),
        }
    }

    fn add(&mut self, row: usize, at: Option<u32>, number: Option<i32>) {
        self.rows.push(row as u32);
        self.at.push(at);
        self.numbers.push(number);
    }

    /// Those that are kept; a row that has none is there once, where that is wanted.
    fn only(&self, kept: &BooleanArray, outer: bool) -> Elements {
        let mut left = Elements::with_capacity(self.rows.len());
        for (row, of_row) in self.before.windows(2).enumerate() {
            let before = left.rows.len();
            left.before.push(before);
            for element in (of_row[0]..of_row[1]).filter(|element| kept.value(*element)) {
                left.add(row, self.at[element], self.numbers[element]);
            }
            if outer && left.rows.len() == before {
                left.add(row, None, None);
            }
        }
        left.before.push(left.rows.len());
        left
    }
}

impl Unnest {
    /// `None` when the column has no elements, or they are not what the output has.
    pub(super) fn new(
        column: usize,
        (outer, ordinality): (bool, bool),
        input: &SchemaRef,
        output: SchemaRef,
    ) -> Option<Unnest> {
        let of_element = input.fields().len()..output.fields().len() - usize::from(ordinality);
        let fields = &output.fields()[of_element];
        let kind = match input.field(column).data_type() {
            DataType::List(_) => Kind::Array,
            DataType::Map(entries, _) => {
                let DataType::Struct(entry) = entries.data_type() else {
                    return None;
                };
                let is_entry = fields.len() == 2 && fields[0].data_type() == entry[0].data_type();
                match is_entry {
                    true => Kind::Map,
                    false => Kind::Multiset,
                }
            }
            _ => return None,
        };
        Some(Unnest {
            width: input.fields().len(),
            column,
            kind,
            outer,
            ordinality,
            on: None,
            output,
        })
    }

    /// A row has only elements for which the condition is TRUE, over these columns and those of the element.
    pub(super) fn on(self, reads: &[usize], is: Evaluator) -> Unnest {
        let behind = &self.output.fields()[self.width..];
        Unnest {
            on: Some(On::new(reads, is, &self.output, behind)),
            ..self
        }
    }

    /// The elements that rows have; or a row whose condition cannot be computed.
    fn elements(&self, of: &RecordBatch) -> Result<Result<Elements, RowError>, ArrowError> {
        let column = of.column(self.column);
        let Some(on) = &self.on else {
            return Ok(Ok(self.all_elements(column, self.outer)));
        };
        let all = self.all_elements(column, false);
        let behind = self.element_columns(of, &all)?;
        let kept = on.holds(of, &all.rows, behind)?;
        Ok(kept.map(|kept| all.only(&kept, self.outer)))
    }

    fn all_elements(&self, column: &dyn Array, outer: bool) -> Elements {
        let rows = column.len();
        let mut elements = Elements::with_capacity(rows);
        let (offsets, times) = match self.kind {
            Kind::Array => (column.as_list::<i32>().offsets(), None),
            Kind::Map => (column.as_map().offsets(), None),
            Kind::Multiset => {
                let map = column.as_map();
                (
                    map.offsets(),
                    Some(map.values().as_primitive::<Int32Type>()),
                )
            }
        };
        let skipped = self.skipped(column);
        for row in 0..rows {
            elements.before.push(elements.rows.len());
            let mut number = 0;
            if column.is_valid(row) {
                for at in offsets[row]..offsets[row + 1] {
                    if skipped
                        .as_ref()
                        .is_some_and(|nulls| nulls.is_null(at as usize))
                    {
                        continue;
                    }
                    let times = times.map_or(1, |times| times.value(at as usize));
                    for _ in 0..times {
                        number += 1;
                        elements.add(row, Some(at as u32), Some(number));
                    }
                }
            }
            if number == 0 && outer {
                elements.add(row, None, None);
            }
        }
        elements.before.push(elements.rows.len());
        elements
    }

    /// Which elements are none: a ROW that is NULL.
    fn skipped(&self, column: &dyn Array) -> Option<NullBuffer> {
        let values = match self.kind {
            Kind::Array => column.as_list::<i32>().values(),
            Kind::Map => return None,
            Kind::Multiset => column.as_map().keys(),
        };
        let rows = values.as_struct_opt().filter(|_| !self.ordinality)?;
        rows.nulls().cloned()
    }

    /// Rows that fail for an element that is no ROW to take fields from. What comes of them is the failed record's, and is taken back.
    fn check_rows(&self, chunk: &Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let column = chunk.columns.column(self.column);
        let (values, offsets) = match self.kind {
            Kind::Array => (
                column.as_list::<i32>().values(),
                column.as_list::<i32>().offsets(),
            ),
            Kind::Map => return Ok(()),
            Kind::Multiset => (column.as_map().keys(), column.as_map().offsets()),
        };
        let rows = values.as_struct_opt().filter(|rows| rows.num_columns() > 1);
        let nulls = rows
            .filter(|_| self.ordinality)
            .and_then(|rows| rows.nulls());
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
            return Ok(());
        };
        let fails = |row: &usize| {
            let mut elements = offsets[*row]..offsets[*row + 1];
            column.is_valid(*row) && elements.any(|at| nulls.is_null(at as usize))
        };
        let (code, message) = (
            "unnest.null-row",
            "an element is NULL, and its fields are asked for with its number",
        );
        let mut failing = (0..column.len()).filter(fails);
        match chunk.origins.runs() {
            Some(runs) => {
                let origins: Vec<Origin> = runs.iter().collect();
                failing.for_each(|row| out.fail(origins[row], code, message));
                Ok(())
            }
            None => failing.next().map_or(Ok(()), |row| {
                Err(OperatorError::Row {
                    row,
                    code: code.to_string(),
                    message: message.to_string(),
                })
            }),
        }
    }

    /// What is behind the input's columns.
    fn element_columns(
        &self,
        of: &RecordBatch,
        elements: &Elements,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let column = of.column(self.column);
        let mut at = UInt32Array::from(elements.at.clone());
        let values: Vec<ArrayRef> = match self.kind {
            Kind::Array => flattened(column.as_list::<i32>().values(), &mut at),
            Kind::Map => column.as_map().entries().columns().to_vec(),
            Kind::Multiset => flattened(column.as_map().keys(), &mut at),
        };
        let values = values.iter().map(|values| take(values, &at, None));
        let mut columns: Vec<ArrayRef> = values.collect::<Result<_, _>>()?;
        if self.ordinality {
            columns.push(Arc::new(Int32Array::from(elements.numbers.clone())));
        }
        Ok(columns)
    }
}

/// The columns of values: a ROW's fields, which are NULL where it is.
fn flattened(values: &ArrayRef, at: &mut UInt32Array) -> Vec<ArrayRef> {
    let Some(rows) = values.as_struct_opt() else {
        return vec![values.clone()];
    };
    if rows.null_count() > 0 {
        let there = at
            .iter()
            .map(|at| at.filter(|at| rows.is_valid(*at as usize)));
        *at = there.collect();
    }
    rows.columns().to_vec()
}

impl RowWise for Unnest {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        let elements = match self.elements(&chunk.columns)? {
            Ok(elements) => elements,
            Err(error) => return Ok(Err(error)),
        };
        let behind = self.element_columns(&chunk.columns, &elements)?;
        let rows = (&elements.rows[..], &elements.before[..]);
        Ok(Ok(spread(chunk, rows, behind, &self.output)?))
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty.with_columns(RecordBatch::new_empty(self.output.clone()))
    }
}

impl Operator for Unnest {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.check_rows(&chunk, out)?;
        each_row(self, chunk, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Mark, Origins};
    use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::{Int64Array, StructArray};
    use arrow_buffer::OffsetBuffer;
    use arrow_cast::pretty::pretty_format_batches;
    use arrow_schema::{Field, Fields, Schema};
    use lw_graph::{Expr, Function, TypeKind, Value};

    fn unnested(unnest: (bool, bool), values: ArrayRef, element: Vec<Field>) -> (String, Chunk) {
        let number = Field::new("n", DataType::Int64, false);
        let of = Field::new("of", values.data_type().clone(), true);
        let mut output = vec![number.clone(), of.clone()];
        let input = Arc::new(Schema::new(vec![number, of]));
        output.extend(element);
        if unnest.1 {
            output.push(Field::new("ordinality", DataType::Int32, true));
        }
        let rows = values.len() as i64;
        let columns = RecordBatch::try_new(
            input.clone(),
            vec![Arc::new(Int64Array::from_iter_values(0..rows)), values],
        );
        let origin = |offset| Origin { split: 0, offset };
        let mark = |row: i64| Mark {
            row: row as usize,
            watermark: row,
        };
        let chunk = Chunk::with(
            columns.unwrap(),
            (0..=rows).map(mark).collect(),
            Origins::Of((0..rows).map(origin).collect()),
            Arc::new([]),
        );
        let mut unnest = Unnest::new(1, unnest, &input, Arc::new(Schema::new(output))).unwrap();
        let mut out = Out::default();
        unnest.data(0, chunk, &mut out).unwrap();
        let given = out.chunks.pop().unwrap();
        if let [failure] = out.failures.as_slice() {
            return (format!("{} fails", failure.origin.offset), given);
        }
        let shown: Vec<usize> = (0..given.columns.num_columns())
            .filter(|at| *at != 1)
            .collect();
        let shown = pretty_format_batches(&[given.columns.project(&shown).unwrap()]).unwrap();
        let lines = shown.to_string();
        let rows = lines.lines().skip(3).filter(|line| line.starts_with('|'));
        let cells = rows.map(|line| {
            line.replace([' ', '|'], " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(",")
        });
        (cells.collect::<Vec<_>>().join(" "), given)
    }

    /// `[7, NULL]`, nothing, NULL, `[9]`
    fn arrays() -> ArrayRef {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(7), None]);
        lists.append_value(std::iter::empty::<Option<i32>>());
        lists.append_null();
        lists.append_value([Some(9)]);
        Arc::new(lists.finish())
    }

    fn element(name: &str, ty: DataType) -> Field {
        Field::new(name, ty, true)
    }

    #[test]
    fn each_element_is_a_row_behind_its_marks_and_of_its_record() {
        let of_int = vec![element("e", DataType::Int32)];
        let (_, given) = unnested((false, false), arrays(), of_int);
        let offsets = given.origins.runs().unwrap().iter();
        let offsets: Vec<i64> = offsets.map(|origin| origin.offset).collect();
        assert_eq!(offsets, [0, 0, 3]);
        let marks: Vec<(usize, i64)> = given.marks.iter().map(|m| (m.row, m.watermark)).collect();
        assert_eq!(
            marks,
            [(0, 0), (2, 3), (3, 4)],
            "of several marks at one place the last counts"
        );
    }

    #[test]
    fn an_array_gives_its_elements_with_their_numbers() {
        let of_int = || vec![element("e", DataType::Int32)];
        let given = |unnest| unnested(unnest, arrays(), of_int()).0;
        assert_eq!(given((false, true)), "0,7,1 0,2 3,9,1");
        assert_eq!(given((true, true)), "0,7,1 0,2 1 2 3,9,1");
    }

    /// `10 / e > 2`: 7 does not meet it, 2 does, 0 cannot be computed.
    #[test]
    fn a_row_of_which_no_element_meets_the_condition_is_there_without_one() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(7), Some(2), Some(3)]);
        lists.append_value([Some(7), None]);
        lists.append_value(std::iter::empty::<Option<i32>>());
        lists.append_value([Some(2), Some(0)]);
        lists.append_null();
        let lists: ArrayRef = Arc::new(lists.finish());
        let integer = |value| Expr::Literal {
            value: Value::Integer(value),
            ty: TypeKind::Int.not_null(),
        };
        let of_element = Expr::Column {
            index: 1,
            name: "e".into(),
            ty: TypeKind::Int.nullable(),
        };
        let divided = Expr::call(Function::Divide, vec![integer(10), of_element]).unwrap();
        let is = Expr::call(Function::Greater, vec![divided, integer(2)]).unwrap();
        let number = Field::new("n", DataType::Int64, false);
        let of = Field::new("of", lists.data_type().clone(), true);
        let input = Arc::new(Schema::new(vec![number.clone(), of.clone()]));
        let output = Schema::new(vec![
            number,
            of,
            element("e", DataType::Int32),
            element("ordinality", DataType::Int32),
        ]);
        let unnest = Unnest::new(1, (true, true), &input, Arc::new(output)).unwrap();
        let mut unnest = unnest.on(&[0], Evaluator::new(&is).unwrap());
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let columns = RecordBatch::try_new(input, vec![numbers, lists]).unwrap();
        let origins = (0..5).map(|offset| Origin { split: 0, offset }).collect();
        let chunk = Chunk::new(columns, origins, Arc::new([]));
        let mut out = Out::default();
        unnest.data(0, chunk, &mut out).unwrap();
        let failed: Vec<i64> = out.failures.iter().map(|of| of.origin.offset).collect();
        assert_eq!(failed, [3], "10 / 0");
        let given = out.chunks.pop().unwrap().columns;
        let shown = pretty_format_batches(&[given.project(&[0, 2, 3]).unwrap()]).unwrap();
        let shown = shown.to_string();
        let rows: Vec<&str> = shown
            .lines()
            .skip(3)
            .filter(|line| line.starts_with('|'))
            .collect();
        let wanted = [
            "| 0 | 2 | 2          |",
            "| 0 | 3 | 3          |",
            "| 1 |   |            |",
            "| 2 |   |            |",
            "| 4 |   |            |",
        ];
        assert_eq!(rows, wanted);
    }

    #[test]
    fn a_map_gives_entries_and_a_multiset_each_value_as_often_as_it_is_there() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for (key, value) in [("a", 2), ("b", 0), ("c", 1)] {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true).unwrap();
        let maps: ArrayRef = Arc::new(maps.finish());
        let entry = vec![element("k", DataType::Utf8), element("v", DataType::Int32)];
        let (given, _) = unnested((false, true), maps.clone(), entry.clone());
        assert_eq!(given, "0,a,2,1 0,b,0,2 0,c,1,3");
        let (given, _) = unnested((false, true), maps, entry[..1].to_vec());
        assert_eq!(given, "0,a,1 0,a,2 0,c,3");
    }

    #[test]
    fn a_row_is_its_fields_and_one_that_is_null_is_no_element() {
        let fields = Fields::from(vec![
            element("a", DataType::Int32),
            element("b", DataType::Int32),
        ]);
        let column = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
        let rows = StructArray::new(
            fields.clone(),
            vec![column(vec![1, 2]), column(vec![3, 4])],
            Some(NullBuffer::from(vec![true, false])),
        );
        let item = Arc::new(Field::new(
            "element",
            DataType::Struct(fields.clone()),
            true,
        ));
        let offsets = OffsetBuffer::from_lengths([2]);
        let lists = arrow_array::ListArray::new(item, offsets, Arc::new(rows), None);
        let lists: ArrayRef = Arc::new(lists);
        let of_row = || fields.iter().map(|field| field.as_ref().clone()).collect();
        let given = |unnest| unnested(unnest, lists.clone(), of_row()).0;
        assert_eq!(given((false, false)), "0,1,3");
        assert_eq!(given((false, true)), "0 fails", "with a number");
    }
}
