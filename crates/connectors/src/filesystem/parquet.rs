//! Files of Apache Parquet: a record is a row, read a row group at a time, of the columns that are asked for.
//!
//! Columns are found by their names. One that a file does not have is NULL; one of another type than it is declared stops the
//! pipeline, as on Flink, whose mapping of types this is ([`reads`]). A value that its column cannot hold makes the row a dead letter:
//! it has no bytes, only its place.

use super::records::Content;
use super::{Fault, Taken, name, unreadable};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, ListArray, MapArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StructArray, new_null_array,
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Fields, Schema as ArrowSchema, TimeUnit};
use arrow_select::filter::filter_record_batch;
use lw_formats::{arrow_schema, arrow_type};
use lw_graph::{Field, FileSource, LogicalType, Schema, SourceColumn, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::{Origin, Runs};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Rows that are decoded at once.
const ROWS: usize = 4096;
/// Bytes that are read at once to know what a file holds.
const BLOCK: usize = 256 << 10;
/// A type carries microseconds.
const DIGITS: u8 = 6;

/// The columns that are read, in the order of the output.
pub(super) struct Columns {
    fields: Vec<Field>,
}

/// The rows of a file from where it was opened.
pub(super) struct Rows {
    reader: ParquetRecordBatchReader,
    fields: Vec<Field>,
    /// By column: which one of those that are read it is; `None` where the file does not have it.
    places: Vec<Option<usize>>,
    /// Decoded and not taken.
    left: RecordBatch,
    /// About what a row of it takes.
    row_bytes: usize,
}

impl Columns {
    pub(super) fn of(spec: &FileSource) -> Columns {
        let fields = spec.columns.iter().filter_map(|column| match column {
            SourceColumn::Value(index) => Some(spec.value_schema.fields[*index].clone()),
            SourceColumn::Key(_) | SourceColumn::Metadata(_) | SourceColumn::Appended => None,
        });
        Columns {
            fields: fields.collect(),
        }
    }

    /// The rows of a file from the `next`-th on.
    ///
    /// # Errors
    /// When it cannot be read, is no Parquet, or a column of it is of another type than it is declared.
    pub(super) fn open(&self, path: &Path, next: i64) -> Result<Rows, ConnectorError> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let footer = footer(&file).map_err(|error| damaged(path, &error))?;
        let places = self.places(path, footer.schema())?;
        let roots: Vec<usize> = places.iter().flatten().copied().collect();
        let mask = ProjectionMask::roots(footer.parquet_schema(), roots.iter().copied());
        let groups = footer.metadata().row_groups();
        let (mut first, mut skipped) = (0, 0);
        while groups
            .get(first)
            .is_some_and(|group| skipped + group.num_rows() <= next)
        {
            skipped += groups[first].num_rows();
            first += 1;
        }
        let inside = usize::try_from(next - skipped).unwrap_or(0);
        let groups = (first..groups.len()).collect();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(groups)
            .with_offset(inside)
            .with_projection(mask)
            .with_batch_size(ROWS)
            .build()
            .map_err(|error| damaged(path, &error))?;
        // What is read stands in the order of the file.
        let mut read = roots;
        read.sort_unstable();
        let place = |root: usize| read.binary_search(&root).ok();
        let places = places.into_iter().map(|root| root.and_then(place));
        Ok(Rows {
            reader,
            fields: self.fields.clone(),
            places: places.collect(),
            left: RecordBatch::new_empty(Arc::new(ArrowSchema::empty())),
            row_bytes: 1,
        })
    }

    /// By column: where it stands in the file.
    fn places(
        &self,
        path: &Path,
        file: &ArrowSchema,
    ) -> Result<Vec<Option<usize>>, ConnectorError> {
        let place = |field: &Field| {
            let found = file.column_with_name(&field.name);
            match found {
                None if !field.ty.nullable => Err(missing(path, field)),
                None => Ok(None),
                Some((at, found)) if reads(found.data_type(), &field.ty) => Ok(Some(at)),
                Some((_, found)) => Err(other_type(path, field, found.data_type())),
            }
        };
        self.fields.iter().map(place).collect()
    }
}

/// A file's schema, of what Parquet says alone: what another engine has noted beside it is that one's business.
fn footer(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let footer = ArrowReaderMetadata::load(file, options)?;
    // 96 bits reach further than nanoseconds do in 64.
    let columns = footer.parquet_schema().root_schema().get_fields().iter();
    let is_old = |column: &parquet::schema::types::TypePtr| {
        column.is_primitive() && column.get_physical_type() == Physical::INT96
    };
    let columns: Vec<bool> = columns.map(is_old).collect();
    if !columns.contains(&true) {
        return Ok(footer);
    }
    let fields = footer.schema().fields().iter().zip(&columns);
    let fields = fields.map(|(field, is_old)| {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let field = field.as_ref().clone();
        match is_old {
            true => field.with_data_type(micros),
            false => field,
        }
    });
    let schema = ArrowSchema::new(fields.collect::<Fields>());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(footer.metadata().clone(), options)
}

impl Rows {
    /// The rows `[from, to)`, about `max_bytes` of them and at least one; `None` where the file ends before.
    pub(super) fn take(
        &mut self,
        path: &Path,
        from: Origin,
        to: i64,
        max_bytes: usize,
    ) -> Result<Option<Taken>, ConnectorError> {
        if self.left.num_rows() == 0 {
            let Some(batch) = self.reader.next() else {
                return Ok(None);
            };
            self.left = batch.map_err(|error| damaged(path, &error))?;
            let rows = self.left.num_rows().max(1);
            self.row_bytes = (self.left.get_array_memory_size() / rows).max(1);
        }
        let rows = self.left.num_rows();
        let most = (max_bytes / self.row_bytes).max(1);
        let wanted = usize::try_from(to - from.offset).unwrap_or(0);
        let count = rows.min(most).min(wanted);
        let part = self.left.slice(0, count);
        self.left = self.left.slice(count, rows - count);
        let taken = self.taken(&part, from);
        taken.map(Some).map_err(|error| damaged(path, &error))
    }

    /// Rows as they are declared, and those that are not so.
    fn taken(&self, part: &RecordBatch, from: Origin) -> Result<Taken, ArrowError> {
        let count = part.num_rows();
        let mut faults: Vec<Option<(&'static str, String)>> = vec![None; count];
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, place) in self.fields.iter().zip(&self.places) {
            let Some(place) = place else {
                columns.push(new_null_array(&arrow_type(&field.ty), count));
                continue;
            };
            let written = part.column(*place);
            let read = converted(written, &field.ty)?;
            find_faults(field, written, &read, &mut faults);
            columns.push(read);
        }
        let is_row: BooleanArray = faults.iter().map(|fault| Some(fault.is_none())).collect();
        // Whatever is declared NOT NULL may be NULL until those rows are out.
        let nullable = self.fields.iter().map(|field| {
            let ty = field.ty.clone().with_nullable(true);
            Field::new(field.name.clone(), ty)
        });
        let lax = arrow_schema(&Schema::new(nullable.collect()));
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(lax, columns, &options)?;
        let batch = match is_row.true_count() == count {
            true => batch,
            false => filter_record_batch(&batch, &is_row)?,
        };
        let declared = arrow_schema(&Schema::new(self.fields.clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        let mut taken = Taken {
            columns: RecordBatch::try_new_with_options(declared, columns, &options)?,
            origins: Runs::default(),
            faults: Vec::new(),
            skipped: 0,
            next: from.offset,
            bytes: 0,
        };
        for fault in faults {
            let offset = taken.next;
            taken.next += 1;
            match fault {
                None => taken.origins.push(Origin { offset, ..from }, 1),
                Some((code, error)) => taken.faults.push(Fault {
                    offset,
                    value: None,
                    code,
                    error,
                }),
            }
        }
        Ok(taken)
    }
}

/// Finds rows in which a value was lost on the way, or is missing.
fn find_faults(
    field: &Field,
    written: &ArrayRef,
    read: &ArrayRef,
    faults: &mut [Option<(&'static str, String)>],
) {
    let lost = read.logical_null_count() > written.logical_null_count();
    let missing = !field.ty.nullable && read.logical_null_count() > 0;
    if !lost && !missing {
        return;
    }
    for (row, fault) in faults.iter_mut().enumerate() {
        if fault.is_some() || read.is_valid(row) {
            continue;
        }
        if written.is_valid(row) {
            let message = format!("field '{}': the value is no {}", field.name, field.ty.kind);
            *fault = Some(("parquet.value", message));
        } else if !field.ty.nullable {
            let message = format!(
                "field '{}' is declared NOT NULL and has no value",
                field.name
            );
            *fault = Some(("parquet.null", message));
        }
    }
}

/// Whether a column that is written so is read as this type. As on Flink it is what the file says, and nothing that it could be
/// made into: what has fewer digits than it is declared with is no problem, and what counts another way is.
pub(crate) fn reads(from: &DataType, ty: &LogicalType) -> bool {
    use DataType as Arrow;
    match (&ty.kind, from) {
        (TypeKind::Boolean, Arrow::Boolean)
        | (TypeKind::BigInt, Arrow::Int64 | Arrow::UInt64)
        | (TypeKind::Float, Arrow::Float32)
        | (TypeKind::Double, Arrow::Float64)
        | (TypeKind::Char(_) | TypeKind::Varchar(_), Arrow::Utf8 | Arrow::Binary)
        | (
            TypeKind::Binary(_) | TypeKind::Varbinary(_),
            Arrow::Utf8 | Arrow::Binary | Arrow::FixedSizeBinary(_),
        )
        | (TypeKind::Date, Arrow::Date32 | Arrow::Int32)
        | (TypeKind::Time(_), Arrow::Time32(TimeUnit::Millisecond) | Arrow::Int32)
        | (TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_), Arrow::Timestamp(..)) => true,
        (
            TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int,
            Arrow::Int8
            | Arrow::Int16
            | Arrow::Int32
            | Arrow::UInt8
            | Arrow::UInt16
            | Arrow::UInt32,
        ) => true,
        (TypeKind::Decimal { precision, scale }, Arrow::Decimal128(digits, behind)) => {
            digits <= precision && i16::from(*behind) == i16::from(*scale)
        }
        (TypeKind::Array(of), Arrow::List(element)) => reads(element.data_type(), of),
        (TypeKind::Map(key, value), Arrow::Map(entries, _)) => match entries.data_type() {
            Arrow::Struct(fields) if fields.len() == 2 => {
                reads(fields[0].data_type(), key) && reads(fields[1].data_type(), value)
            }
            _ => false,
        },
        (TypeKind::Row(fields), Arrow::Struct(written)) => fields.iter().all(|field| {
            let found = written.find(&field.name);
            found.is_none_or(|(_, found)| reads(found.data_type(), &field.ty))
        }),
        _ => false,
    }
}

/// The values in the type that columns have here; NULL where one does not fit, which inside of others is an error.
pub(crate) fn converted(array: &ArrayRef, ty: &LogicalType) -> Result<ArrayRef, ArrowError> {
    let target = arrow_type(ty);
    Ok(match (&ty.kind, &target) {
        (TypeKind::Array(of), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = all_of(list.values(), of)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls)?)
        }
        (TypeKind::Map(key, value), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let columns = vec![all_of(map.keys(), key)?, all_of(map.values(), value)?];
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map is of entries".to_string()));
            };
            let inner = StructArray::try_new(fields.clone(), columns, None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let map = MapArray::try_new(entries.clone(), offsets, inner, nulls, *sorted)?;
            Arc::new(map)
        }
        (TypeKind::Row(fields), DataType::Struct(declared)) => {
            let row = array.as_struct();
            let columns = fields
                .iter()
                .map(|field| match row.column_by_name(&field.name) {
                    Some(column) => all_of(column, &field.ty),
                    None => Ok(new_null_array(&arrow_type(&field.ty), row.len())),
                });
            let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
            let row = StructArray::try_new(declared.clone(), columns, row.nulls().cloned())?;
            Arc::new(row)
        }
        (TypeKind::Timestamp(digits) | TypeKind::TimestampLtz(digits), _) => {
            let zone = matches!(ty.kind, TypeKind::TimestampLtz(_)).then_some("UTC");
            let step = step(*digits);
            let micros: PrimitiveArray<TimestampMicrosecondType> =
                micros(array)?.unary(|micros| micros.wrapping_sub(micros.rem_euclid(step)));
            Arc::new(micros.with_timezone_opt(zone))
        }
        (TypeKind::Time(digits), _) => {
            let millis = cast(array, &DataType::Time32(TimeUnit::Millisecond))?;
            let micros = cast(&millis, &target)?;
            let step = step(*digits);
            let micros = micros.as_primitive::<Time64MicrosecondType>();
            let micros: PrimitiveArray<Time64MicrosecondType> =
                micros.unary(|micros| micros.wrapping_sub(micros.rem_euclid(step)));
            Arc::new(micros)
        }
        _ => cast(array, &target)?,
    })
}

/// Values inside of others: one that does not fit cannot be told apart.
fn all_of(array: &ArrayRef, ty: &LogicalType) -> Result<ArrayRef, ArrowError> {
    let read = converted(array, ty)?;
    match read.logical_null_count() > array.logical_null_count() {
        true => Err(ArrowError::CastError(format!("a value is no {}", ty.kind))),
        false => Ok(read),
    }
}

/// Microseconds that the last of so many digits of a second stands for.
fn step(digits: u8) -> i64 {
    10_i64.pow(u32::from(DIGITS.saturating_sub(digits)))
}

/// Times in microseconds, rounded down; NULL where they are too far away for that.
fn micros(array: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>, ArrowError> {
    let times = |by: i64| move |time: i64| time.checked_mul(by);
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            seconds.unary_opt(times(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let millis = array.as_primitive::<TimestampMillisecondType>();
            millis.unary_opt(times(1000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>();
            micros.unary(|micros| micros)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            nanos.unary(|nanos| nanos.div_euclid(1000))
        }
        other => return Err(ArrowError::CastError(format!("{other} is no time"))),
    })
}

/// Reads all of a file, and how many rows it says that it has.
pub(super) fn content(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let mut content = Content {
        records: 0,
        bytes: 0,
        check: 0,
        position: 0,
    };
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        content.bytes += read as u64;
        content.check = crc32c::crc32c_append(content.check, &block[..read]);
    }
    let footer = ParquetMetaDataReader::new().parse_and_finish(&file);
    let footer = footer.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    content.records = footer.file_metadata().num_rows();
    Ok(content)
}

fn damaged(path: &Path, error: &dyn std::error::Error) -> ConnectorError {
    let message = format!("file '{}' cannot be read as Parquet: {error}", name(path));
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("Its rows up to there are in the table, and none of those behind.")
        .hint("Take the file out of the folder, or put a whole one in its place.")
}

fn missing(path: &Path, field: &Field) -> ConnectorError {
    let message = format!("file '{}' has no column '{}'", name(path), field.name);
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("It would be NULL in all rows, and is declared NOT NULL.")
        .hint(format!("Declare `{}` without NOT NULL.", field.name))
}

fn other_type(path: &Path, field: &Field, found: &DataType) -> ConnectorError {
    let message = format!(
        "column '{}' of file '{}' is {found}, and declared {}",
        field.name,
        name(path),
        field.ty.kind
    );
    let error = ConnectorError::new(ErrorKind::Fix, message)
        .detail("Of Parquet a column is read as what it was written as.");
    match as_declared(found) {
        Some(ty) => error.hint(format!(
            "Declare `{}` as {ty}, and CAST it in the query.",
            field.name
        )),
        None => error,
    }
}

/// The type as which such a column is read.
pub(crate) fn as_declared(found: &DataType) -> Option<String> {
    Some(match found {
        DataType::Boolean => "BOOLEAN".to_string(),
        DataType::Int8 => "TINYINT".to_string(),
        DataType::Int16 | DataType::UInt8 => "SMALLINT".to_string(),
        DataType::Int32 | DataType::UInt16 | DataType::UInt32 => "INT".to_string(),
        DataType::Int64 | DataType::UInt64 => "BIGINT".to_string(),
        DataType::Float32 => "FLOAT".to_string(),
        DataType::Float64 => "DOUBLE".to_string(),
        DataType::Utf8 => "STRING".to_string(),
        DataType::Binary | DataType::FixedSizeBinary(_) => "BYTES".to_string(),
        DataType::Date32 => "DATE".to_string(),
        DataType::Time32(_) => "TIME(3)".to_string(),
        DataType::Timestamp(_, None) => "TIMESTAMP(6)".to_string(),
        DataType::Timestamp(..) => "TIMESTAMP_LTZ(6)".to_string(),
        DataType::Decimal128(digits, behind) => format!("DECIMAL({digits}, {behind})"),
        _ => return None,
    })
}
