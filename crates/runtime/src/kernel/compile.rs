//! From typed expressions to a tree of kernels.

use super::KernelError;
use super::operand::{Active, Operand, RowError};
use arrow_array::RecordBatch;
use lw_graph::{Expr, LogicalType};

/// A compiled expression and its type.
pub(super) struct Node {
    pub(super) ty: LogicalType,
    op: Op,
}

enum Op {
    Column(usize),
}

pub(super) fn compile(expr: &Expr) -> Result<Node, KernelError> {
    let op = match expr {
        Expr::Column { index, .. } => Op::Column(*index),
        other => return Err(KernelError::new(format!("{other} is not supported yet"))),
    };
    Ok(Node {
        ty: expr.ty().clone(),
        op,
    })
}

impl Node {
    pub(super) fn evaluate(
        &self,
        batch: &RecordBatch,
        active: &Active,
    ) -> Result<Operand, RowError> {
        let _ = active;
        match &self.op {
            Op::Column(index) => Ok(Operand::column(batch.column(*index).clone())),
        }
    }
}
