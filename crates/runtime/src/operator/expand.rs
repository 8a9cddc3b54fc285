//! Gives each row once for each set of keys (`GROUPING SETS`): behind its columns stand the keys, NULL where the set is without
//! them, and the set's number.

use super::row_wise::{RowWise, each_row};
use super::{Operator, OperatorError, Out};
use crate::chunk::{Chunk, Mark, Origins};
use crate::kernel::RowError;
use crate::origins::Origin;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use lw_graph::Operator as Op;
use std::sync::Arc;

pub(super) struct Expand {
    pub(super) keys: Vec<usize>,
    pub(super) sets: Vec<Vec<bool>>,
    pub(super) schema: SchemaRef,
}

impl Expand {
    fn expanded(&self, of: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (rows, sets) = (of.num_rows() as u64, self.sets.len() as u64);
        // Row by row: where each stands when it is there once, and when there is one copy behind the other.
        let once = UInt64Array::from_iter_values((0..rows * sets).map(|at| at / sets));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for column in of.columns() {
            columns.push(take(column, &once, None)?);
        }
        let copies = (0..rows * sets).map(|at| (at % sets) * rows + at / sets);
        let copies = UInt64Array::from_iter_values(copies);
        for (at, key) in self.keys.iter().enumerate() {
            let column = of.column(*key);
            let of_none = new_null_array(column.data_type(), column.len());
            let has = self.sets.iter().map(|set| set[at]);
            let copied: Vec<&dyn Array> = has
                .map(|has| if has { &**column } else { &*of_none })
                .collect();
            columns.push(take(&concat(&copied)?, &copies, None)?);
        }
        let numbers: Vec<i64> = self.sets.iter().map(|set| Op::set_number(set)).collect();
        let numbers = (0..rows).flat_map(|_| numbers.iter().copied());
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

impl RowWise for Expand {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        let sets = self.sets.len();
        let columns = self.expanded(&chunk.columns)?;
        let marks = chunk.marks.iter().map(|mark| Mark {
            row: mark.row * sets,
            ..*mark
        });
        let origins = match &chunk.origins {
            Origins::Of(runs) => {
                let each = |origin: Origin| std::iter::repeat_n(origin, sets);
                Origins::Of(runs.iter().flat_map(each).collect())
            }
            Origins::Derived(rows) => Origins::Derived(rows * sets),
        };
        let splits = chunk.splits.clone();
        Ok(Ok(Chunk::with(columns, marks.collect(), origins, splits)))
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty.with_columns(RecordBatch::new_empty(self.schema.clone()))
    }
}

impl Operator for Expand {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        each_row(self, chunk, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origins::Runs;
    use arrow_array::StringArray;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_schema::{DataType, Field, Schema};

    #[test]
    fn each_row_stands_once_for_each_set_with_its_origin_and_its_mark() {
        let field = |name: &str, ty: DataType| Field::new(name, ty, true);
        let input = vec![field("k", DataType::Utf8), field("v", DataType::Int64)];
        let mut output = input.clone();
        output.push(field("k$1", DataType::Utf8));
        output.push(Field::new("$e", DataType::Int64, false));
        let columns = RecordBatch::try_new(
            Arc::new(Schema::new(input)),
            vec![
                Arc::new(StringArray::from(vec![Some("a"), None])),
                Arc::new(Int64Array::from(vec![1, 2])),
            ],
        );
        let origins = [(0, 7), (1, 9)].map(|(split, offset)| Origin { split, offset });
        let mark = |row: usize| Mark { row, watermark: 5 };
        let chunk = Chunk::with(
            columns.unwrap(),
            vec![mark(1)],
            Origins::Of(origins.into_iter().collect()),
            Arc::new([]),
        );
        let mut expand = Expand {
            keys: vec![0],
            sets: vec![vec![true], vec![false]],
            schema: Arc::new(Schema::new(output)),
        };
        let mut out = Out::default();
        expand.data(0, chunk, &mut out).unwrap();
        let given = out.chunks.pop().unwrap();
        let text = |column: usize| -> Vec<Option<String>> {
            let column = given.columns.column(column).as_string::<i32>();
            column.iter().map(|value| value.map(String::from)).collect()
        };
        let a = || Some("a".to_string());
        assert_eq!(text(0), [a(), a(), None, None], "the column itself stays");
        assert_eq!(
            text(2),
            [a(), None, None, None],
            "the key is NULL where its set is without it"
        );
        let numbers = given.columns.column(3).as_primitive::<Int64Type>();
        assert_eq!(
            numbers.values(),
            &[0, 1, 0, 1],
            "a NULL key and none are told apart"
        );
        assert_eq!(
            given.marks,
            [mark(2)],
            "the mark stands behind both copies of the first row"
        );
        let twice: Runs = origins
            .into_iter()
            .flat_map(|origin| [origin, origin])
            .collect();
        assert_eq!(given.origins, Origins::Of(twice));
    }
}
