//! Operators over windows of event time.
//!
//! [`shape`] is the arithmetic, [`place`] finds each row's slice by it, [`sessions`] cuts what has no grid. What an operator does with rows
//! stands at the head of its file:
//! [`assign`], [`aggregate`], [`session`], [`session_rows`], [`rank`], [`over`], [`join`].

mod aggregate;
mod assign;
mod held;
mod join;
mod kept;
mod output;
mod over;
mod place;
mod rank;
mod session;
mod session_rows;
mod sessions;
mod shape;
#[cfg(test)]
mod tests;

use crate::operator::{FlowError, Operator};
use aggregate::WindowAggregate;
use arrow_schema::SchemaRef;
use assign::WindowAssign;
use join::WindowJoin;
use lw_formats::arrow_schema;
use lw_graph::{Node, Operator as Op, Window, WindowShape, Windowing};
use over::Over;
use rank::{Ranks, WindowRank};
use session::SessionAggregate;
use session_rows::SessionRows;

/// The operator of a node over windows; `None` for one that there is none for yet.
///
/// # Errors
/// [`FlowError`] when it cannot be computed over columns of the inputs.
pub(crate) fn operator(
    inputs: &[SchemaRef],
    node: &Node,
) -> Result<Option<Box<dyn Operator>>, FlowError> {
    let columns = (inputs[0].clone(), arrow_schema(&node.schema));
    Ok(Some(match &node.operator {
        Op::WindowAssign {
            window, partition, ..
        } => match window.shape {
            WindowShape::Session { gap } => {
                Box::new(SessionRows::new((window, gap), partition, columns)?)
            }
            _ => Box::new(WindowAssign::new(window, columns)?),
        },
        Op::WindowAggregate {
            windowing:
                Windowing::Assign(
                    window @ Window {
                        shape: WindowShape::Session { gap },
                        ..
                    },
                ),
            keys,
            aggregates,
            properties,
            ..
        } => Box::new(SessionAggregate::new(
            (window, *gap),
            keys,
            aggregates,
            properties,
            columns,
        )?),
        Op::WindowAggregate {
            windowing,
            keys,
            aggregates,
            properties,
            ..
        } => Box::new(WindowAggregate::new(
            windowing, keys, aggregates, properties, columns,
        )?),
        Op::WindowRank {
            windowing,
            keys,
            order,
            first,
            last,
            rank,
            latest,
            ..
        } => Box::new(WindowRank::new(
            windowing,
            (keys, order),
            Ranks::new(*first, *last, *latest),
            *rank,
            columns,
        )?),
        Op::Over {
            keys,
            time,
            frame,
            aggregates,
            ttl,
            ..
        } => {
            let frame = (*frame, *ttl);
            Box::new(Over::new((keys, *time), frame, aggregates, columns)?)
        }
        Op::WindowJoin {
            kind,
            windows,
            keys,
            condition,
            ..
        } => {
            let both = [inputs[0].clone(), inputs[1].clone()];
            let columns = (both, columns.1);
            let condition = condition.as_ref();
            Box::new(WindowJoin::new(*kind, windows, keys, condition, columns)?)
        }
        _ => return Ok(None),
    }))
}
