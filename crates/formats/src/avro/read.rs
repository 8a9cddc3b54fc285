//! Execution of a plan: bytes of one record straight into columns.

use super::Fault;
use super::cursor::Cursor;
use super::plan::{Action, Decimal, Node, RecordPlan, Skip, Unit};
use crate::column::{Column, Data};
use crate::text::{MICROS_PER_DAY, power_of_ten};
use lw_schemas::AvroSchema;
use lw_schemas::avro::{Kind, TypeId};
use std::collections::HashSet;

/// A writer's schema may contain itself; its data then nests as deep as it likes.
const MAX_DEPTH: usize = 128;

/// Reads one record. On an error the columns hold part of a row, and `at` says which field of the plan it was.
pub(crate) fn record(
    plan: &RecordPlan,
    writer: &AvroSchema,
    cursor: &mut Cursor<'_>,
    columns: &mut [Column],
    at: &mut usize,
) -> Result<(), Fault> {
    for (i, field) in plan.fields.iter().enumerate() {
        *at = i;
        match &field.action {
            Action::Into(index, node) => value(node, writer, cursor, &mut columns[*index])?,
            Action::Skip(how) => skip(how, writer, cursor)?,
        }
    }
    for index in &plan.absent {
        columns[*index].push_null();
    }
    Ok(())
}

fn value(
    node: &Node,
    writer: &AvroSchema,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
) -> Result<(), Fault> {
    match node {
        Node::NullOr { null_at, other } => {
            let index = cursor.long()?;
            if index == i64::from(*null_at) {
                column.push_null();
                return Ok(());
            }
            if index != 1 - i64::from(*null_at) {
                return Err(Fault::Union { index, branches: 2 });
            }
            value(other, writer, cursor, column)
        }
        Node::Int => {
            let number = cursor.int()?;
            integer(i64::from(number), column);
            Ok(())
        }
        Node::Long => {
            let number = cursor.long()?;
            integer(number, column);
            Ok(())
        }
        Node::Text => {
            let bytes = cursor.bytes()?;
            // Most text is short and ASCII, which is told at eight bytes a time.
            if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
                return Err(Fault::Utf8);
            }
            column.push_bytes(bytes).map_err(|_| Fault::BatchFull)
        }
        Node::Bytes => {
            let bytes = cursor.bytes()?;
            column.push_bytes(bytes).map_err(|_| Fault::BatchFull)
        }
        Node::Time {
            long,
            unit,
            step,
            of_day,
        } => {
            let number = if *long {
                cursor.long()?
            } else {
                i64::from(cursor.int()?)
            };
            let micros = micros(number, *unit)
                .and_then(|micros| match *step {
                    1 => Some(micros),
                    step => micros.checked_sub(micros.rem_euclid(step)),
                })
                .filter(|micros| !of_day || (0..MICROS_PER_DAY).contains(micros));
            integer(micros.ok_or(Fault::Time)?, column);
            Ok(())
        }
        Node::Boolean => {
            let truth = cursor.boolean()?;
            if let Data::Boolean(values) = &mut column.data {
                values.append(truth);
            }
            column.settle();
            Ok(())
        }
        Node::Float => {
            let number = f32::from_le_bytes(cursor.array()?);
            match &mut column.data {
                Data::F32(values) => values.push(number),
                Data::F64(values) => values.push(f64::from(number)),
                _ => unreachable!("the plan was compiled for this column's type"),
            }
            column.settle();
            Ok(())
        }
        Node::Double => {
            let number = f64::from_le_bytes(cursor.array()?);
            match &mut column.data {
                Data::F64(values) => values.push(number),
                _ => unreachable!("the plan was compiled for this column's type"),
            }
            column.settle();
            Ok(())
        }
        Node::Decimal(rule) => {
            let bytes = cursor.bytes()?;
            if bytes.is_empty() {
                return Err(Fault::EmptyDecimal);
            }
            match decimal(bytes, *rule) {
                Some((unscaled, rounded)) => {
                    cursor.rounded += usize::from(rounded);
                    if let Data::I128(values) = &mut column.data {
                        values.push(unscaled);
                    }
                    column.settle();
                    Ok(())
                }
                // Flink gives NULL for a decimal that does not fit.
                None if column.nullable => {
                    column.push_null();
                    Ok(())
                }
                None => Err(Fault::Decimal),
            }
        }
        Node::Null => {
            column.push_null();
            Ok(())
        }
        Node::Refuse(reason) => Err(Fault::Unresolved(reason.clone())),
        Node::Union(branches) => {
            let index = cursor.long()?;
            let branch = usize::try_from(index).ok().and_then(|i| branches.get(i));
            match branch {
                Some(node) => value(node, writer, cursor, column),
                None => Err(Fault::Union {
                    index,
                    branches: branches.len(),
                }),
            }
        }
        Node::Row(plan) => {
            let Data::Row(members) = &mut column.data else {
                unreachable!("the plan was compiled for this column's type")
            };
            record(plan, writer, cursor, members, &mut 0)?;
            column.settle();
            Ok(())
        }
        Node::List(item) => list(item, writer, cursor, column),
        Node::Map(item) => map(item, writer, cursor, column),
    }
}

fn list(
    item: &Node,
    writer: &AvroSchema,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
) -> Result<(), Fault> {
    let Data::List(_, items) = &mut column.data else {
        unreachable!("the plan was compiled for this column's type")
    };
    loop {
        let (count, _) = cursor.block()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            value(item, writer, cursor, items)?;
        }
    }
    column.close_items().map_err(|_| Fault::BatchFull)
}

fn map(
    item: &Node,
    writer: &AvroSchema,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
) -> Result<(), Fault> {
    let Data::Map(_, keys, values) = &mut column.data else {
        unreachable!("the plan was compiled for this column's type")
    };
    let mut seen = HashSet::new();
    loop {
        let (count, _) = cursor.block()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let key = cursor.bytes()?;
            if std::str::from_utf8(key).is_err() {
                return Err(Fault::Utf8);
            }
            if !seen.insert(key) {
                return Err(Fault::MapKey);
            }
            keys.push_bytes(key).map_err(|_| Fault::BatchFull)?;
            value(item, writer, cursor, values)?;
        }
    }
    column.close_items().map_err(|_| Fault::BatchFull)
}

/// A whole number into whatever width the column has; narrow integers wrap as in Flink.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "Java's casts"
)]
fn integer(number: i64, column: &mut Column) {
    match &mut column.data {
        Data::I64(values) => values.push(number),
        Data::I32(values) => values.push(number as i32),
        Data::I16(values) => values.push(number as i16),
        Data::I8(values) => values.push(number as i8),
        Data::F64(values) => values.push(number as f64),
        Data::F32(values) => values.push(number as f32),
        _ => unreachable!("the plan was compiled for this column's type"),
    }
    column.settle();
}

fn micros(number: i64, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Millis => number.checked_mul(1000),
        Unit::Micros => Some(number),
        Unit::Nanos => Some(number.div_euclid(1000)),
    }
}

/// Big-endian two's complement of any length, brought to the column's scale (half up), and whether that lost a digit; `None` when
/// it does not fit.
fn decimal(bytes: &[u8], rule: Decimal) -> Option<(i128, bool)> {
    let negative = bytes[0] & 0x80 != 0;
    let fill = if negative { 0xff } else { 0 };
    let (padding, digits) = bytes.split_at(bytes.len().saturating_sub(16));
    if padding.iter().any(|byte| *byte != fill) {
        return None;
    }
    let mut wide = [fill; 16];
    wide[16 - digits.len()..].copy_from_slice(digits);
    let unscaled = i128::from_be_bytes(wide);
    if (unscaled < 0) != negative {
        return None;
    }
    let (scaled, rounded) = if rule.to_scale >= rule.from_scale {
        let factor = crate::text::checked_power_of_ten(rule.to_scale - rule.from_scale)?;
        (unscaled.checked_mul(factor)?, false)
    } else {
        match crate::text::checked_power_of_ten(rule.from_scale - rule.to_scale) {
            Some(divisor) => {
                let scaled = crate::text::divide_half_up(unscaled, divisor);
                (scaled, unscaled % divisor != 0)
            }
            None => (0, unscaled != 0),
        }
    };
    debug_assert!(rule.limit <= power_of_ten(38), "precision is at most 38");
    (scaled.unsigned_abs() < rule.limit.unsigned_abs()).then_some((scaled, rounded))
}

#[inline]
fn skip(how: &Skip, writer: &AvroSchema, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    match how {
        Skip::Fixed(len) => cursor.take(*len).map(drop),
        Skip::Varint => cursor.long().map(drop),
        Skip::Spans => cursor.bytes().map(drop),
        Skip::NullOr { null_at, other } => match cursor.long()? {
            index if index == i64::from(*null_at) => Ok(()),
            index if index == 1 - i64::from(*null_at) => skip(other, writer, cursor),
            index => Err(Fault::Union { index, branches: 2 }),
        },
        Skip::Type(id) => skip_type(writer, *id, cursor, MAX_DEPTH),
    }
}

fn skip_type(
    writer: &AvroSchema,
    id: TypeId,
    cursor: &mut Cursor<'_>,
    depth: usize,
) -> Result<(), Fault> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Fault::TooDeep);
    };
    cursor.step()?;
    match &writer.get(id).kind {
        Kind::Null => Ok(()),
        Kind::Boolean => cursor.boolean().map(drop),
        Kind::Int | Kind::Long => cursor.long().map(drop),
        Kind::Float => cursor.take(4).map(drop),
        Kind::Double => cursor.take(8).map(drop),
        Kind::Bytes | Kind::String => cursor.bytes().map(drop),
        Kind::Fixed(fixed) => cursor.take(fixed.size).map(drop),
        Kind::Enum(symbols) => {
            let index = cursor.long()?;
            match usize::try_from(index) {
                Ok(i) if i < symbols.symbols.len() => Ok(()),
                _ => Err(Fault::Symbol(index)),
            }
        }
        Kind::Union(branches) => {
            let index = cursor.long()?;
            let branch = usize::try_from(index).ok().and_then(|i| branches.get(i));
            match branch {
                Some(branch) => skip_type(writer, *branch, cursor, depth),
                None => Err(Fault::Union {
                    index,
                    branches: branches.len(),
                }),
            }
        }
        Kind::Record(record) => record
            .fields
            .iter()
            .try_for_each(|field| skip_type(writer, field.ty, cursor, depth)),
        Kind::Array(items) => {
            skip_blocks(cursor, |cursor| skip_type(writer, *items, cursor, depth))
        }
        Kind::Map(values) => skip_blocks(cursor, |cursor| {
            cursor.bytes()?;
            skip_type(writer, *values, cursor, depth)
        }),
    }
}

fn skip_blocks<'a>(
    cursor: &mut Cursor<'a>,
    mut item: impl FnMut(&mut Cursor<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    loop {
        match cursor.block()? {
            (0, _) => return Ok(()),
            (_, Some(size)) => cursor.take(size).map(drop)?,
            (count, None) => (0..count).try_for_each(|_| item(cursor))?,
        }
    }
}
