//! `VAR_*` and `STDDEV_*`, added up in 64-bit floating point by Welford's algorithm, row by row in their order, as Flink does whatever
//! the argument's type is; the result is then cast to that type.
//!
//! ```text
//! variance   m2 / count, VAR_SAMP: / (count − 1), NULL where that is 0        m2 is the sum of squared distances from the mean
//! deviation  its square root
//! ```

use super::{Accumulator, NoAggregate, Rows};
use crate::kernel::{Evaluator, RowError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use lw_graph::{Expr, LogicalType, TypeKind};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Divided by one less.
    pub(super) of_sample: bool,
    pub(super) root: bool,
}

pub(super) struct Variance {
    form: Form,
    to_double: Evaluator,
    from_double: Evaluator,
    groups: Vec<Moments>,
}

#[derive(Clone, Copy, Default)]
struct Moments {
    count: i64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        self.mean += off / self.count as f64;
        self.m2 += off * (value - self.mean);
    }

    fn merge(&mut self, other: Moments) {
        if self.count == 0 {
            *self = other;
        } else if other.count > 0 {
            let count = self.count + other.count;
            let off = other.mean - self.mean;
            self.mean += off * other.count as f64 / count as f64;
            let both = self.count as f64 * other.count as f64;
            self.m2 += other.m2 + off * off * both / count as f64;
            self.count = count;
        }
    }

    fn result(self, form: Form) -> Option<f64> {
        let divisor = self.count - i64::from(form.of_sample);
        let variance = (divisor > 0).then(|| self.m2 / divisor as f64)?;
        Some(if form.root { variance.sqrt() } else { variance })
    }
}

impl Variance {
    /// # Errors
    /// [`NoAggregate`] when the argument is no number.
    pub(super) fn new(
        form: Form,
        argument: &DataType,
        result: &DataType,
    ) -> Result<Variance, NoAggregate> {
        let unknown = || NoAggregate::Argument {
            function: if form.root { "STDDEV" } else { "VARIANCE" },
            argument: argument.clone(),
        };
        let of = number(argument).ok_or_else(unknown)?;
        let to = number(result).ok_or_else(unknown)?;
        let double = || TypeKind::Double.nullable();
        let cast = |from, to| Evaluator::new(&cast(from, to)).map_err(|_| unknown());
        Ok(Variance {
            form,
            to_double: cast(of, double())?,
            from_double: cast(double(), to)?,
            groups: Vec::new(),
        })
    }
}

/// The only column, of one type, as another.
fn cast(from: LogicalType, to: LogicalType) -> Expr {
    let column = Expr::Column {
        index: 0,
        name: "x".to_string(),
        ty: from.clone(),
    };
    if from == to {
        return column;
    }
    Expr::Cast {
        expr: Box::new(column),
        ty: to,
        or_null: false,
    }
}

fn number(ty: &DataType) -> Option<LogicalType> {
    let kind = match ty {
        DataType::Int8 => TypeKind::TinyInt,
        DataType::Int16 => TypeKind::SmallInt,
        DataType::Int32 => TypeKind::Int,
        DataType::Int64 => TypeKind::BigInt,
        DataType::Float32 => TypeKind::Float,
        DataType::Float64 => TypeKind::Double,
        DataType::Decimal128(precision, scale) => TypeKind::Decimal {
            precision: *precision,
            scale: scale.unsigned_abs(),
        },
        _ => return None,
    };
    Some(kind.nullable())
}

fn alone(column: ArrayRef) -> RecordBatch {
    let field = Field::new("x", column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![column]).expect("C2: one column of its own type")
}

impl Accumulator for Variance {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, Moments::default());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let values = self.to_double.evaluate(&alone(rows.arguments[0].clone()));
        let values = values.expect("C2: every number is near one of 64 bits");
        let values = values.as_primitive::<Float64Type>();
        for (row, group) in rows.of_values(values) {
            self.groups[group].add(values.value(row));
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let of = groups.iter().map(|group| self.groups[*group as usize]);
        let (means, m2s) = (of.clone().map(|of| of.mean), of.clone().map(|of| of.m2));
        vec![
            Arc::new(Int64Array::from_iter_values(of.map(|of| of.count))),
            Arc::new(Float64Array::from_iter_values(means)),
            Arc::new(Float64Array::from_iter_values(m2s)),
        ]
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let counts = state[0].as_primitive::<Int64Type>().values();
        let means = state[1].as_primitive::<Float64Type>().values();
        let m2s = state[2].as_primitive::<Float64Type>().values();
        for (row, group) in groups.iter().enumerate() {
            let (count, mean, m2) = (counts[row], means[row], m2s[row]);
            self.groups[*group as usize].merge(Moments { count, mean, m2 });
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let of = groups.iter().map(|group| self.groups[*group as usize]);
        let results: Float64Array = of.map(|moments| moments.result(self.form)).collect();
        self.from_double.evaluate(&alone(Arc::new(results)))
    }

    fn size(&self) -> usize {
        self.groups.len() * size_of::<Moments>()
    }
}
