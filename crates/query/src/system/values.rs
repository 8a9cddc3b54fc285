//! Iceberg's single values in Arrow's columns: partitions, and bounds as people read them.

use arrow_array::{ArrayRef, StructArray};
use arrow_schema::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use iceberg::arrow::type_to_arrow_type;
use iceberg::spec::{
    Datum, Literal, PartitionSpecRef, PrimitiveLiteral, Struct, StructType, TableMetadata, Type,
};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tables::damaged;

/// The fields of all partition specs that a table ever had, in the order of their ids: what an older spec did not have is NULL.
pub(super) struct Partitioning {
    fields: BTreeMap<i32, (String, Type)>,
    specs: BTreeMap<i32, StructType>,
}

impl Partitioning {
    pub(super) fn of(metadata: &TableMetadata) -> Result<Partitioning> {
        let mut specs: Vec<&PartitionSpecRef> = metadata.partition_specs_iter().collect();
        specs.sort_by_key(|spec| spec.spec_id());
        let mut found = Partitioning {
            fields: BTreeMap::new(),
            specs: BTreeMap::new(),
        };
        for spec in specs {
            let Some(kind) = partition_type(spec, metadata) else {
                continue;
            };
            for field in kind.fields() {
                let named = (field.name.clone(), (*field.field_type).clone());
                found.fields.insert(field.id, named);
            }
            found.specs.insert(spec.spec_id(), kind);
        }
        Ok(found)
    }

    /// The type of a partition in a spec; `None` for a spec of a column that is no longer there.
    pub(super) fn of_spec(&self, spec: i32) -> Option<&StructType> {
        self.specs.get(&spec)
    }

    /// A column of partitions, each in its spec; `None` where the table was never partitioned.
    pub(super) fn column(&self, partitions: &[(i32, &Struct)]) -> Result<Option<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (id, (name, kind)) in &self.fields {
            let arrow = type_to_arrow_type(kind).map_err(damaged)?;
            let values = partitions.iter().map(|(spec, partition)| {
                let literal = self.value(*spec, *id, partition);
                scalar(literal, &arrow)
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            columns.push(match values.is_empty() {
                true => arrow_array::new_empty_array(&arrow),
                false => ScalarValue::iter_to_array(values)?,
            });
            fields.push(Field::new(name, arrow, true));
        }
        let partitions = StructArray::new(Fields::from(fields), columns, None);
        Ok(Some(Arc::new(partitions)))
    }

    fn value<'a>(&self, spec: i32, field: i32, partition: &'a Struct) -> Option<&'a Literal> {
        let fields = self.of_spec(spec)?.fields();
        let at = fields.iter().position(|found| found.id == field)?;
        partition.fields().get(at)?.as_ref()
    }
}

fn partition_type(spec: &PartitionSpecRef, metadata: &TableMetadata) -> Option<StructType> {
    let current = spec.partition_type(metadata.current_schema());
    let mut schemas = metadata.schemas_iter();
    current
        .ok()
        .or_else(|| schemas.find_map(|schema| spec.partition_type(schema).ok()))
}

fn scalar(literal: Option<&Literal>, kind: &DataType) -> Result<ScalarValue> {
    use PrimitiveLiteral as Value;
    let Some(Literal::Primitive(value)) = literal else {
        return ScalarValue::try_from(kind);
    };
    let plain = match value {
        Value::Boolean(value) => ScalarValue::from(*value),
        Value::Int(value) => ScalarValue::from(*value),
        Value::Long(value) => ScalarValue::from(*value),
        Value::Float(value) => ScalarValue::from(value.0),
        Value::Double(value) => ScalarValue::from(value.0),
        Value::String(value) => ScalarValue::from(value.as_str()),
        Value::Binary(value) => ScalarValue::Binary(Some(value.clone())),
        Value::UInt128(value) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        Value::Int128(value) => match kind {
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(*value), *precision, *scale)
            }
            _ => return ScalarValue::try_from(kind),
        },
        Value::AboveMax | Value::BelowMin => return ScalarValue::try_from(kind),
    };
    match plain.data_type() == *kind {
        true => Ok(plain),
        // An integer is a date or a time where the column is one.
        false => plain.cast_to(kind),
    }
}

/// A bound, without the quotes that a literal in a query has.
pub(super) fn bound(value: &Datum) -> String {
    match value.literal() {
        PrimitiveLiteral::String(text) => text.clone(),
        _ => value.to_string(),
    }
}
