//! Rows of a table that rows are looked up in, in the types in which the script declares its columns.
//!
//! A column is read as what it is, or as something wider. What does not fit is no dead letter: it is no record of a log. It keeps the
//! version of the table from being taken.

use crate::filesystem::parquet::{as_declared, converted, reads};
use arrow_array::cast::AsArray;
use arrow_array::types::Time64MicrosecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use lw_formats::arrow_schema;
use lw_graph::{Field, LogicalType, Schema, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use std::sync::Arc;

/// The rows with the columns as they are declared, which the batch has in their order.
///
/// # Errors
/// When a column is of another type, a value does not fit, or one is missing where NOT NULL is declared.
pub fn declared(
    batch: &RecordBatch,
    columns: &Schema,
    table: &str,
) -> Result<RecordBatch, ConnectorError> {
    let declared = columns.fields.iter().zip(batch.columns());
    let arrays = declared.map(|(field, written)| column(field, written, table));
    let arrays = arrays.collect::<Result<Vec<ArrayRef>, _>>()?;
    RecordBatch::try_new(arrow_schema(columns), arrays)
        .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
}

fn column(field: &Field, written: &ArrayRef, table: &str) -> Result<ArrayRef, ConnectorError> {
    let written = &plain(written)?;
    let found = written.data_type();
    let read = match widened(written, &field.ty) {
        Some(wider) => wider,
        None if reads(found, &field.ty) => converted(written, &field.ty),
        None => return Err(other_type(table, field, found)),
    };
    let read = read.map_err(|_| no_value(table, field))?;
    if read.logical_null_count() > written.logical_null_count() {
        return Err(no_value(table, field));
    }
    if !field.ty.nullable && read.logical_null_count() > 0 {
        let message = format!(
            "column '{}' of table '{table}' is declared NOT NULL and is NULL in a row",
            field.name
        );
        return Err(ConnectorError::new(ErrorKind::Fix, message).hint(format!(
            "Declare `{}` without NOT NULL, and in no PRIMARY KEY.",
            field.name
        )));
    }
    Ok(read)
}

/// Strings as the engine of streams has them; queries give views.
fn plain(written: &ArrayRef) -> Result<ArrayRef, ConnectorError> {
    match written.data_type() {
        DataType::Utf8View => cast(written, &DataType::Utf8)
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error)),
        _ => Ok(written.clone()),
    }
}

/// What tables have and files do not, and what is read as something wider.
fn widened(
    written: &ArrayRef,
    ty: &LogicalType,
) -> Option<Result<ArrayRef, arrow_schema::ArrowError>> {
    let to = match (&ty.kind, written.data_type()) {
        (TypeKind::BigInt, DataType::Int32) => DataType::Int64,
        (TypeKind::Double, DataType::Float32) => DataType::Float64,
        (TypeKind::Binary(_) | TypeKind::Varbinary(_), DataType::LargeBinary) => DataType::Binary,
        (TypeKind::Time(digits), DataType::Time64(TimeUnit::Microsecond)) => {
            let step = 10_i64.pow(u32::from(6_u8.saturating_sub(*digits)));
            let micros = written.as_primitive::<Time64MicrosecondType>();
            let micros: PrimitiveArray<Time64MicrosecondType> =
                micros.unary(|micros| micros - micros.rem_euclid(step));
            return Some(Ok(Arc::new(micros)));
        }
        _ => return None,
    };
    Some(cast(written, &to))
}

fn no_value(table: &str, field: &Field) -> ConnectorError {
    let message = format!(
        "a value of column '{}' of table '{table}' is no {}",
        field.name, field.ty.kind
    );
    ConnectorError::new(ErrorKind::Fix, message).hint(format!(
        "Declare `{}` with a wider type, or as the table has it.",
        field.name
    ))
}

fn other_type(table: &str, field: &Field, found: &DataType) -> ConnectorError {
    let is = as_declared(found).unwrap_or_else(|| found.to_string());
    let message = format!(
        "column '{}' of table '{table}' is {is}, and declared {}",
        field.name, field.ty.kind
    );
    let error = ConnectorError::new(ErrorKind::Fix, message)
        .detail("A column is read as what it is, or as something wider.");
    match as_declared(found) {
        Some(ty) => error.hint(format!(
            "Declare `{}` as {ty}, and CAST it in the query.",
            field.name
        )),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        Int32Array, LargeBinaryArray, StringArray, StringViewArray, Time64MicrosecondArray,
    };

    fn read(written: ArrayRef, ty: LogicalType) -> String {
        let field = arrow_schema::Field::new("c", written.data_type().clone(), true);
        let schema = arrow_schema::Schema::new(vec![field]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![written]).expect("one column");
        let columns = Schema::new(vec![Field::new("c", ty)]);
        match declared(&batch, &columns, "lake.d") {
            Ok(read) => format!("{:?}", read.column(0)).replace(['\n', ' '], ""),
            Err(error) => error.message,
        }
    }

    #[test]
    fn a_column_is_read_as_it_is_or_wider() {
        let numbers = || Arc::new(Int32Array::from(vec![Some(300), None])) as ArrayRef;
        let given = "PrimitiveArray<Int64>[300,null,]";
        assert_eq!(read(numbers(), TypeKind::BigInt.nullable()), given);
        assert_eq!(
            read(numbers(), TypeKind::TinyInt.nullable()),
            "a value of column 'c' of table 'lake.d' is no TINYINT"
        );
        assert_eq!(
            read(numbers(), TypeKind::Int.not_null()),
            "column 'c' of table 'lake.d' is declared NOT NULL and is NULL in a row"
        );
        assert_eq!(
            read(numbers(), TypeKind::string().nullable()),
            "column 'c' of table 'lake.d' is INT, and declared STRING"
        );
        let texts = Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
        assert_eq!(
            read(texts, TypeKind::Int.nullable()),
            "column 'c' of table 'lake.d' is STRING, and declared INT"
        );
        let views = || Arc::new(StringViewArray::from(vec![Some("a"), None])) as ArrayRef;
        assert_eq!(
            read(views(), TypeKind::string().nullable()),
            "StringArray[\"a\",null,]"
        );
        assert_eq!(
            read(views(), TypeKind::Int.nullable()),
            "column 'c' of table 'lake.d' is STRING, and declared INT"
        );
        let bytes = Arc::new(LargeBinaryArray::from(vec![&b"a"[..]])) as ArrayRef;
        let given = read(bytes, TypeKind::bytes().nullable());
        assert_eq!(given, "BinaryArray[[97],]");
        let times = Arc::new(Time64MicrosecondArray::from(vec![1_234_567])) as ArrayRef;
        let given = read(times, TypeKind::Time(3).nullable());
        assert!(given.ends_with("[00:00:01.234,]"), "{given}");
    }
}
