//! Names of columns in Parquet files: Iceberg's own, which are not always those of the table.
//!
//! Iceberg's writers give a column that Avro could not name another name in the file (`sepal.length` → `sepal_x2Elength`),
//! and its readers find columns by field id. To readers that look a column up by its name in the file, PyIceberg's filters
//! among them, a dot would mean a field of a struct. The rule is [`name_in_files`].

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use lw_graph::name_in_files;
use std::collections::HashSet;
use std::sync::Arc;

/// The table's columns as its files name them; ids and types are the same.
///
/// # Errors
/// The name that a file cannot have, or that two columns of one level would share.
pub(crate) fn stored(schema: &Schema) -> Result<SchemaRef, String> {
    let fields = stored_fields(schema.fields())?;
    Ok(Arc::new(Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    )))
}

fn stored_fields(fields: &Fields) -> Result<Fields, String> {
    let mut seen = HashSet::new();
    let mut stored = Vec::with_capacity(fields.len());
    for field in fields {
        let other = stored_field(field)?;
        if !seen.insert(other.name().clone()) {
            return Err(format!(
                "two of its columns would be called {} in a file",
                other.name()
            ));
        }
        stored.push(other);
    }
    Ok(stored.into())
}

fn stored_field(field: &FieldRef) -> Result<FieldRef, String> {
    if field.name().is_empty() {
        return Err("a column has an empty name".to_owned());
    }
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(stored_fields(fields)?),
        DataType::List(element) => DataType::List(stored_field(element)?),
        DataType::LargeList(element) => DataType::LargeList(stored_field(element)?),
        DataType::Map(entries, sorted) => DataType::Map(stored_field(entries)?, *sorted),
        other => other.clone(),
    };
    let stored = Field::new(name_in_files(field.name()), data_type, field.is_nullable());
    Ok(Arc::new(stored.with_metadata(field.metadata().clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_too_and_no_two_alike() {
        let inner = Field::new("a.b", DataType::Int32, true);
        let outer = Field::new("s t", DataType::Struct(vec![inner].into()), true);
        let named = stored(&Schema::new(vec![outer])).expect("good names");
        let DataType::Struct(fields) = named.field(0).data_type() else {
            panic!("a struct");
        };
        assert_eq!(
            (named.field(0).name().as_str(), fields[0].name().as_str()),
            ("s_x20t", "a_x2Eb")
        );
        let clash = ["a.b", "a_x2Eb"].map(|name| Field::new(name, DataType::Int32, true));
        assert_eq!(
            stored(&Schema::new(clash.to_vec())).err().as_deref(),
            Some("two of its columns would be called a_x2Eb in a file")
        );
        let empty = Schema::new(vec![Field::new("", DataType::Int32, true)]);
        assert_eq!(
            stored(&empty).err().as_deref(),
            Some("a column has an empty name")
        );
    }
}
