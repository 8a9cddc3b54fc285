//! Typed columns under construction whose last rows can be taken back.
//!
//! Decoders append straight into the buffers that Arrow will own. A record that turns out to be damaged in its last byte
//! has by then touched any number of columns, so "no trace of a failed record" is one operation: [`Column::truncate`] to
//! the rows before it. It costs nothing for good records: there is no scratch copy and no second pass.
//!
//! Arrow's own builders cannot go back, and check their type on every append; this is why the columns are ours.

use crate::arrow::arrow_type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, ListArray, MapArray, StringArray, StructArray, make_array,
};
use arrow_buffer::{
    BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer,
};
use arrow_data::ArrayData;
use arrow_schema::{DataType, FieldRef, Fields};
use lw_graph::{LogicalType, TypeKind};
use std::sync::Arc;

/// One column, or the inside of a nested one.
pub(crate) struct Column {
    ty: DataType,
    pub(crate) nullable: bool,
    pub(crate) data: Data,
    nulls: NullBufferBuilder,
    rows: usize,
}

/// The values; the slot of a NULL holds zero.
pub(crate) enum Data {
    Boolean(BooleanBufferBuilder),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    /// UTF-8 was checked when it was appended.
    Text(Spans),
    Bytes(Spans),
    List(Ends, Box<Column>),
    Map(Ends, Box<Column>, Box<Column>),
    Row(Vec<Column>),
}

/// Byte strings end to end.
pub(crate) struct Spans {
    ends: Ends,
    bytes: Vec<u8>,
}

/// Where each row's items end in what lies below; one more entry than rows, the first is 0.
pub(crate) struct Ends(Vec<i32>);

/// The rows handed over at once would not fit Arrow's 32-bit offsets.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Ends {
    fn new() -> Ends {
        Ends(vec![0])
    }

    fn push(&mut self, end: usize) -> Result<(), TooLarge> {
        self.0.push(i32::try_from(end).map_err(|_| TooLarge)?);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) -> usize {
        self.0.truncate(rows + 1);
        *self.0.last().expect("the first entry is never removed") as usize
    }

    fn repeat_last(&mut self) {
        let last = *self.0.last().expect("the first entry is never removed");
        self.0.push(last);
    }

    fn take(&mut self) -> OffsetBuffer<i32> {
        let ends = refill(&mut self.0);
        self.0.push(0);
        OffsetBuffer::new(ScalarBuffer::from(ends))
    }
}

impl Spans {
    fn new() -> Spans {
        Spans {
            ends: Ends::new(),
            bytes: Vec::new(),
        }
    }

    fn push(&mut self, value: &[u8]) -> Result<(), TooLarge> {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len())
    }

    fn truncate(&mut self, rows: usize) {
        let end = self.ends.truncate(rows);
        self.bytes.truncate(end);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        // The next batch will likely be as large as this one.
        let next = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        (self.ends.take(), Buffer::from(bytes))
    }
}

impl Column {
    pub(crate) fn new(ty: &LogicalType) -> Column {
        let data = match &ty.kind {
            // A bare NULL type has no values; any representation serves.
            TypeKind::Null | TypeKind::TinyInt => Data::I8(Vec::new()),
            TypeKind::Boolean => Data::Boolean(BooleanBufferBuilder::new(0)),
            TypeKind::SmallInt => Data::I16(Vec::new()),
            TypeKind::Int | TypeKind::Date | TypeKind::IntervalMonths => Data::I32(Vec::new()),
            TypeKind::BigInt
            | TypeKind::Time(_)
            | TypeKind::Timestamp(_)
            | TypeKind::TimestampLtz(_)
            | TypeKind::IntervalMillis => Data::I64(Vec::new()),
            TypeKind::Float => Data::F32(Vec::new()),
            TypeKind::Double => Data::F64(Vec::new()),
            TypeKind::Decimal { .. } => Data::I128(Vec::new()),
            TypeKind::Char(_) | TypeKind::Varchar(_) => Data::Text(Spans::new()),
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => Data::Bytes(Spans::new()),
            TypeKind::Array(of) => Data::List(Ends::new(), Box::new(Column::new(of))),
            TypeKind::Map(key, value) => {
                let key = key.as_ref().clone().with_nullable(false);
                Data::Map(
                    Ends::new(),
                    Box::new(Column::new(&key)),
                    Box::new(Column::new(value)),
                )
            }
            TypeKind::Row(fields) => {
                Data::Row(fields.iter().map(|field| Column::new(&field.ty)).collect())
            }
        };
        Column {
            ty: arrow_type(ty),
            nullable: ty.nullable,
            data,
            nulls: NullBufferBuilder::new(0),
            rows: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Marks the value that was just put into `data` as a row of its own.
    #[inline]
    pub(crate) fn settle(&mut self) {
        self.nulls.append_non_null();
        self.rows += 1;
    }

    #[inline]
    pub(crate) fn push_null(&mut self) {
        match &mut self.data {
            Data::Boolean(values) => values.append(false),
            Data::I8(values) => values.push(0),
            Data::I16(values) => values.push(0),
            Data::I32(values) => values.push(0),
            Data::I64(values) => values.push(0),
            Data::F32(values) => values.push(0.0),
            Data::F64(values) => values.push(0.0),
            Data::I128(values) => values.push(0),
            Data::Text(spans) | Data::Bytes(spans) => spans.ends.repeat_last(),
            Data::List(ends, _) | Data::Map(ends, _, _) => ends.repeat_last(),
            Data::Row(columns) => columns.iter_mut().for_each(Column::push_null),
        }
        self.nulls.append_null();
        self.rows += 1;
    }

    #[inline]
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), TooLarge> {
        match &mut self.data {
            Data::Text(spans) | Data::Bytes(spans) => spans.push(value)?,
            _ => unreachable!("the plan was compiled for this column's type"),
        }
        self.settle();
        Ok(())
    }

    /// Ends a list or map whose items have been appended below.
    pub(crate) fn close_items(&mut self) -> Result<(), TooLarge> {
        match &mut self.data {
            Data::List(ends, items) => ends.push(items.len())?,
            Data::Map(ends, keys, _) => ends.push(keys.len())?,
            _ => unreachable!("only lists and maps have items"),
        }
        self.settle();
        Ok(())
    }

    /// Forgets all rows from `rows` on, complete or not.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.data {
            Data::Boolean(values) => values.truncate(rows),
            Data::I8(values) => values.truncate(rows),
            Data::I16(values) => values.truncate(rows),
            Data::I32(values) => values.truncate(rows),
            Data::I64(values) => values.truncate(rows),
            Data::F32(values) => values.truncate(rows),
            Data::F64(values) => values.truncate(rows),
            Data::I128(values) => values.truncate(rows),
            Data::Text(spans) | Data::Bytes(spans) => spans.truncate(rows),
            Data::List(ends, items) => items.truncate(ends.truncate(rows)),
            Data::Map(ends, keys, values) => {
                let end = ends.truncate(rows);
                keys.truncate(end);
                values.truncate(end);
            }
            Data::Row(columns) => columns.iter_mut().for_each(|column| column.truncate(rows)),
        }
        self.nulls.truncate(rows);
        self.rows = self.rows.min(rows);
    }

    /// Hands the rows over and starts anew.
    pub(crate) fn take(&mut self) -> ArrayRef {
        let len = std::mem::take(&mut self.rows);
        let nulls = self.nulls.finish();
        match &mut self.data {
            Data::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::I8(values) if self.ty == DataType::Null => {
                values.clear();
                Arc::new(arrow_array::NullArray::new(len))
            }
            Data::I8(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::I16(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::I32(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::I64(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::F32(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::F64(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::I128(values) => primitive(&self.ty, len, nulls, Buffer::from(refill(values))),
            Data::Text(spans) => {
                let (offsets, bytes) = spans.take();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Data::Bytes(spans) => {
                let (offsets, bytes) = spans.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Data::List(ends, items) => {
                let field = item_field(&self.ty).clone();
                Arc::new(ListArray::new(field, ends.take(), items.take(), nulls))
            }
            Data::Map(ends, keys, values) => {
                let field = item_field(&self.ty).clone();
                let entries = StructArray::new(
                    members(field.data_type()).clone(),
                    vec![keys.take(), values.take()],
                    None,
                );
                Arc::new(MapArray::new(field, ends.take(), entries, nulls, false))
            }
            Data::Row(columns) => {
                let arrays = columns.iter_mut().map(Column::take).collect();
                Arc::new(StructArray::new(members(&self.ty).clone(), arrays, nulls))
            }
        }
    }
}

/// Takes the values and leaves room for as many again.
fn refill<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

fn primitive(ty: &DataType, len: usize, nulls: Option<NullBuffer>, values: Buffer) -> ArrayRef {
    let data = ArrayData::builder(ty.clone())
        .len(len)
        .add_buffer(values)
        .nulls(nulls)
        .build()
        .expect("one value of the type's width per row");
    make_array(data)
}

fn item_field(ty: &DataType) -> &FieldRef {
    match ty {
        DataType::List(field) | DataType::Map(field, _) => field,
        _ => unreachable!("only lists and maps have items"),
    }
}

fn members(ty: &DataType) -> &Fields {
    match ty {
        DataType::Struct(fields) => fields,
        _ => unreachable!("only rows have members"),
    }
}
