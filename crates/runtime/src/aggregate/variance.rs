//! `VAR_*` and `STDDEV_*`, computed as Flink plans them: from the sum of the squares, the sum and the count, in the types that its
//! arithmetic gives. So the variance of whole numbers is cut where they are divided, and a DECIMAL is rounded at every step.
//!
//! ```text
//! variance   (sum(x × x) − sum(x) × sum(x) / count(x)) / count(x)        VAR_SAMP: / (count(x) − 1), NULL where that is 0
//! deviation  POWER(variance, 0.5)
//! ```

use super::calls::sum_of;
use super::count::Count;
use super::{Accumulator, NoAggregate, Rows};
use crate::kernel::{Evaluator, RowError};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Divided by one less.
    pub(super) of_sample: bool,
    pub(super) root: bool,
}

pub(super) struct Variance {
    square: Evaluator,
    squares: Box<dyn Accumulator>,
    sums: Box<dyn Accumulator>,
    counts: Count,
    result: Evaluator,
    ty: DataType,
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
        let compile = |expression: &Expr| Evaluator::new(expression).map_err(|_| unknown());
        let x = cast(column(0, of.clone()), &to);
        let square = call(Function::Times, vec![x.clone(), x]).ok_or_else(unknown)?;
        let (squares_ty, sum_ty) = (sum_type(square.ty()), sum_type(&of));
        let expression = formula(form, &squares_ty, &sum_ty, &to).ok_or_else(unknown)?;
        Ok(Variance {
            squares: sum_of(&arrow(square.ty()), &arrow(&squares_ty)).ok_or_else(unknown)?,
            sums: sum_of(argument, &arrow(&sum_ty)).ok_or_else(unknown)?,
            square: compile(&square)?,
            counts: Count::default(),
            result: compile(&expression)?,
            ty: result.clone(),
        })
    }
}

/// Over the columns sum of the squares, sum and count.
fn formula(form: Form, squares: &LogicalType, sum: &LogicalType, to: &LogicalType) -> Option<Expr> {
    let count = column(2, TypeKind::BigInt.not_null());
    let sum = cast(column(1, sum.clone()), to);
    let mean = call(
        Function::Divide,
        vec![
            call(Function::Times, vec![sum.clone(), sum])?,
            count.clone(),
        ],
    )?;
    let off = call(Function::Minus, vec![column(0, squares.clone()), mean])?;
    let divisor = match form.of_sample {
        false => count,
        true => {
            let one = literal(Value::Integer(1), TypeKind::BigInt);
            let alone = call(Function::Equal, vec![count.clone(), one.clone()])?;
            let fewer = call(Function::Minus, vec![count, one])?;
            let ty = TypeKind::BigInt.nullable();
            let none = Expr::Literal {
                value: Value::Null,
                ty: ty.clone(),
            };
            Expr::Case {
                branches: vec![(alone, none)],
                otherwise: Box::new(fewer),
                ty,
            }
        }
    };
    let variance = call(Function::Divide, vec![off, divisor])?;
    if !form.root {
        return Some(cast(variance, to));
    }
    let double = TypeKind::Double.nullable();
    let half = literal(Value::Double(0.5), TypeKind::Double);
    let root = call(
        Function::named("POWER")?,
        vec![cast(variance, &double), half],
    )?;
    Some(cast(root, to))
}

fn call(function: Function, args: Vec<Expr>) -> Option<Expr> {
    Expr::call(function, args).ok()
}

fn column(index: usize, ty: LogicalType) -> Expr {
    Expr::Column {
        index,
        name: "x".to_string(),
        ty,
    }
}

fn literal(value: Value, kind: TypeKind) -> Expr {
    Expr::Literal {
        value,
        ty: kind.not_null(),
    }
}

fn cast(expression: Expr, to: &LogicalType) -> Expr {
    if expression.ty().kind == to.kind {
        return expression;
    }
    let (expr, ty) = (Box::new(expression), to.clone());
    Expr::Cast {
        expr,
        ty,
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

fn sum_type(of: &LogicalType) -> LogicalType {
    match of.kind {
        TypeKind::Decimal { scale, .. } => {
            let precision = 38;
            TypeKind::Decimal { precision, scale }.nullable()
        }
        _ => of.clone(),
    }
}

fn arrow(ty: &LogicalType) -> DataType {
    lw_formats::arrow_type(ty)
}

/// One batch of such columns.
fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields = columns
        .iter()
        .map(|column| Field::new("x", column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns)
        .expect("C2: columns of one length, of the types that they have")
}

impl Accumulator for Variance {
    fn grow(&mut self, groups: usize) {
        self.squares.grow(groups);
        self.sums.grow(groups);
        self.counts.grow(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        // A number times itself is a number, or NULL where it has too many digits.
        let squares = self.square.evaluate(&batch(rows.arguments.to_vec()));
        let squares = [squares.expect("C2: nothing in a product fails")];
        self.squares.update(&Rows {
            arguments: &squares,
            ..*rows
        });
        self.sums.update(rows);
        self.counts.update(rows);
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let parts = [
            self.squares.state(groups),
            self.sums.state(groups),
            self.counts.state(groups),
        ];
        parts.into_iter().flatten().collect()
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let (squares, rest) = state.split_at(self.squares.state(&[]).len());
        let (sums, counts) = rest.split_at(self.sums.state(&[]).len());
        self.squares.merge(squares, groups);
        self.sums.merge(sums, groups);
        self.counts.merge(counts, groups);
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let parts = vec![
            self.squares.finish(groups)?,
            self.sums.finish(groups)?,
            self.counts.finish(groups)?,
        ];
        let column = Field::new("x", self.ty.clone(), true);
        self.result.evaluate_into(&batch(parts), &column)
    }

    fn size(&self) -> usize {
        self.squares.size() + self.sums.size() + self.counts.size()
    }
}
