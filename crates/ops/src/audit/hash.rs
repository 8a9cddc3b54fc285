//! Rows as numbers: two multisets of rows are the same when their counts and the sums of their rows' hashes are.
//!
//! A row's hash is made from its values and the *field ids* of their columns, so it is the same however a table's columns
//! were moved, renamed or widened between two files:
//!
//! 1. A value is hashed with its kind. `int` and `long` are one kind, `float` and `double` another; decimals count by their
//!    unscaled number and scale, texts and bytes by their bytes. Every NaN is one value; `-0.0` is not `0.0`.
//! 2. A list is its elements in order. A map is its entries in the order of their hashes: entries have no order. A struct is
//!    the sum of its fields, each mixed with its field id. NULL in a list or map has a number of its own.
//! 3. A row is the sum of its columns, each mixed with its field id. A NULL adds nothing, as a column that a file does not
//!    have adds nothing: readers see the same in both.
//!
//! Frozen: sums of rows may outlive a process.

use super::AuditError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// Under this key the metadata of a Parquet file's fields have their Iceberg field ids.
const FIELD_ID: &str = "PARQUET:field_id";

/// Count and multiset hash of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) rows: u64,
    #[serde(with = "hexadecimal")]
    hash: u128,
}

impl Sum {
    pub(super) fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(u128::from(hash));
    }

    /// A row less.
    pub(super) fn take_off(&mut self, hash: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.hash = self.hash.wrapping_sub(u128::from(hash));
    }

    pub(super) fn take(&mut self, other: &Sum) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }

    /// What has to come to it to make `whole`; nothing where it has as many rows already.
    pub(super) fn missing_to(&self, whole: &Sum) -> Option<Sum> {
        let rows = whole.rows.checked_sub(self.rows).filter(|rows| *rows > 0)?;
        let hash = whole.hash.wrapping_sub(self.hash);
        Some(Sum { rows, hash })
    }
}

/// JSON has no whole numbers of 128 bits.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{hash:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// One hash per offset, to tell which records failed and not only how many.
pub(super) fn offset_hash(offset: i64) -> u64 {
    word(Kind::Integer as u64, offset.cast_unsigned())
}

/// What a field's values are mixed with: its field id, else its name.
pub(super) fn key_of(field: &Field) -> u64 {
    match id_of(field) {
        Some(id) => word(Kind::Field as u64, i64::from(id).cast_unsigned()),
        None => bytes(Kind::Name, field.name().as_bytes()),
    }
}

pub(super) fn id_of(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// One hash per row. Columns come with what they are mixed with.
pub(super) fn row_hashes(columns: &[(u64, ArrayRef)], rows: usize) -> Result<Vec<u64>, AuditError> {
    let mut sums = vec![0_u64; rows];
    for (key, column) in columns {
        for (sum, value) in sums.iter_mut().zip(values(column)?) {
            if let Some(value) = value {
                *sum = sum.wrapping_add(word(*key, value));
            }
        }
    }
    Ok(sums.into_iter().map(scramble).collect())
}

/// One hash for a record's key and value.
pub(super) fn record_hash(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let part = |part: Option<&[u8]>| match part {
        Some(part) => bytes(Kind::Bytes, part),
        None => Kind::Null as u64,
    };
    word(part(key), part(value))
}

/// What kind of value a hash is of, so that `1` and `'1'` differ.
#[derive(Clone, Copy)]
enum Kind {
    Field = 1,
    Name,
    Null,
    Boolean,
    Integer,
    Float,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    List,
    Map,
    Struct,
}

/// One hash per element; `None` for NULL.
fn values(array: &ArrayRef) -> Result<Vec<Option<u64>>, AuditError> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Null => vec![None; array.len()],
        T::Boolean => {
            let booleans = array.as_boolean().iter();
            booleans
                .map(|value| Some(word(Kind::Boolean as u64, u64::from(value?))))
                .collect()
        }
        T::Int8 => numbers::<Int8Type>(array, Kind::Integer, 1),
        T::Int16 => numbers::<Int16Type>(array, Kind::Integer, 1),
        T::Int32 => numbers::<Int32Type>(array, Kind::Integer, 1),
        T::Int64 => numbers::<Int64Type>(array, Kind::Integer, 1),
        T::Float32 => {
            let floats = array.as_primitive::<Float32Type>().iter();
            floats.map(|value| Some(float(f64::from(value?)))).collect()
        }
        T::Float64 => {
            let floats = array.as_primitive::<Float64Type>().iter();
            floats.map(|value| Some(float(value?))).collect()
        }
        T::Decimal128(_, scale) => {
            let kind = word(Kind::Decimal as u64, (*scale).cast_unsigned().into());
            let decimals = array.as_primitive::<Decimal128Type>().iter();
            decimals
                .map(|value| {
                    let value = value?.cast_unsigned();
                    Some(word(word(kind, (value >> 64) as u64), value as u64))
                })
                .collect()
        }
        T::Utf8 => texts(array.as_string::<i32>().iter()),
        T::LargeUtf8 => texts(array.as_string::<i64>().iter()),
        T::Utf8View => texts(array.as_string_view().iter()),
        T::Binary => blobs(array.as_binary::<i32>().iter()),
        T::LargeBinary => blobs(array.as_binary::<i64>().iter()),
        T::BinaryView => blobs(array.as_binary_view().iter()),
        T::FixedSizeBinary(_) => blobs(array.as_fixed_size_binary().iter()),
        T::Date32 => numbers::<Date32Type>(array, Kind::Date, 1),
        T::Time32(TimeUnit::Second) => {
            numbers::<Time32SecondType>(array, Kind::Time, 1_000_000_000)
        }
        T::Time32(_) => numbers::<Time32MillisecondType>(array, Kind::Time, 1_000_000),
        T::Time64(TimeUnit::Nanosecond) => numbers::<Time64NanosecondType>(array, Kind::Time, 1),
        T::Time64(_) => numbers::<Time64MicrosecondType>(array, Kind::Time, 1_000),
        T::Timestamp(unit, _) => match unit {
            TimeUnit::Second => {
                numbers::<TimestampSecondType>(array, Kind::Timestamp, 1_000_000_000)
            }
            TimeUnit::Millisecond => {
                numbers::<TimestampMillisecondType>(array, Kind::Timestamp, 1_000_000)
            }
            TimeUnit::Microsecond => {
                numbers::<TimestampMicrosecondType>(array, Kind::Timestamp, 1_000)
            }
            TimeUnit::Nanosecond => numbers::<TimestampNanosecondType>(array, Kind::Timestamp, 1),
        },
        T::List(_) => {
            let list = array.as_list::<i32>();
            let elements = values(list.values())?;
            per_range(array, list.value_offsets(), |range| {
                let start = word(Kind::List as u64, range.len() as u64);
                elements[range].iter().fold(start, |hash, element| {
                    word(hash, element.unwrap_or(Kind::Null as u64))
                })
            })
        }
        T::Map(_, _) => {
            let map = array.as_map();
            let (keys, of_keys) = (values(map.keys())?, values(map.values())?);
            let null = Kind::Null as u64;
            per_range(array, map.value_offsets(), |range| {
                let start = word(Kind::Map as u64, range.len() as u64);
                let mut entries: Vec<u64> = range
                    .map(|at| word(keys[at].unwrap_or(null), of_keys[at].unwrap_or(null)))
                    .collect();
                entries.sort_unstable();
                entries.into_iter().fold(start, word)
            })
        }
        T::Struct(fields) => {
            let columns: Vec<(u64, ArrayRef)> = fields
                .iter()
                .map(|field| key_of(field))
                .zip(array.as_struct().columns().iter().cloned())
                .collect();
            let rows = row_hashes(&columns, array.len())?.into_iter().enumerate();
            rows.map(|(at, hash)| {
                let there = array.is_valid(at);
                there.then(|| word(Kind::Struct as u64, hash))
            })
            .collect()
        }
        other => {
            let message = format!("the audit cannot compare values of the type {other}");
            return Err(ArrowError::NotYetImplemented(message).into());
        }
    })
}

/// Numbers of one kind in the kind's smallest unit, so that the same time in milliseconds and microseconds is one value.
fn numbers<T>(array: &ArrayRef, kind: Kind, unit: i128) -> Vec<Option<u64>>
where
    T: ArrowPrimitiveType<Native: Into<i128>>,
{
    let of = |value: T::Native| {
        let value = (value.into() * unit).cast_unsigned();
        word(word(kind as u64, (value >> 64) as u64), value as u64)
    };
    let numbers = array.as_primitive::<T>().iter();
    numbers.map(|value| value.map(of)).collect()
}

fn float(value: f64) -> u64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    word(Kind::Float as u64, value.to_bits())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Vec<Option<u64>> {
    values
        .map(|value| Some(bytes(Kind::Text, value?.as_bytes())))
        .collect()
}

fn blobs<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Option<u64>> {
    values
        .map(|value| Some(bytes(Kind::Bytes, value?)))
        .collect()
}

/// One hash for each list or map, from the elements in its range.
fn per_range(
    array: &ArrayRef,
    offsets: &[i32],
    hash: impl Fn(std::ops::Range<usize>) -> u64,
) -> Vec<Option<u64>> {
    let ranges = offsets.windows(2).enumerate();
    ranges
        .map(|(at, ends)| {
            let there = array.is_valid(at);
            there.then(|| hash(ends[0] as usize..ends[1] as usize))
        })
        .collect()
}

fn bytes(kind: Kind, bytes: &[u8]) -> u64 {
    let start = word(kind as u64, bytes.len() as u64);
    bytes.chunks(8).fold(start, |hash, chunk| {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        word(hash, u64::from_le_bytes(eight))
    })
}

/// Goes on from `hash` with eight more bytes.
fn word(hash: u64, next: u64) -> u64 {
    scramble(
        hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(scramble(next)),
    )
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output, and no two inputs meet.
fn scramble(value: u64) -> u64 {
    let mut hash = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
