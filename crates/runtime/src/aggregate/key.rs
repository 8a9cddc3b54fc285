//! The keys of rows as what can be hashed, compared and kept: `GROUP BY k` becomes one number or one run of bytes per row.
//!
//! One whole number stays a number. Everything else is bytes whose order is the order of the keys, column by column, NULL first:
//!
//! ```text
//! column   00                                     NULL
//!          01 value                               otherwise
//! value    8 bytes, sign flipped, big-endian      whole numbers, BOOLEAN, dates and times; FLOAT and DOUBLE by their total order
//!          16 bytes, sign flipped, big-endian     DECIMAL
//!          bytes, 00 as 00 FF, then 00 00         text and bytes; the only column of a key needs no end and no escapes
//! ```
//!
//! Two keys are equal where their bytes are: NULL equals NULL, NaN equals NaN, 0.0 and −0.0 differ, as in a Flink row.

use super::groups::{Groups, Stored};
use crate::state::{key_group, key_group_of};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Decimal128Array, Float32Array, Float64Array, Int64Array,
    StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use std::sync::Arc;
use thiserror::Error;

/// A column of this type cannot be part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rows cannot be grouped by a column of type {0}")]
pub(crate) struct NoKey(pub(crate) DataType);

/// How the columns of a key become numbers or bytes, and back.
#[derive(Clone, Debug)]
pub(crate) struct KeyCodec {
    columns: Vec<(Cell, DataType)>,
    /// One whole number is held as such.
    number: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// Anything that is a 64-bit number underneath.
    Whole,
    Decimal,
    Text,
    Bytes,
}

/// The keys of a chunk's rows.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(super) hashes: Vec<u64>,
    pub(super) of: Of,
}

#[derive(Debug)]
pub(super) enum Of {
    /// No columns: all rows have one key.
    Nothing,
    Whole {
        values: Vec<i64>,
        nulls: Option<NullBuffer>,
    },
    Bytes {
        /// Where each row's key ends.
        ends: Vec<usize>,
        bytes: Vec<u8>,
    },
}

impl Keys {
    /// # Panics
    /// When keys are not bytes.
    pub(super) fn bytes_of(&self, row: usize) -> &[u8] {
        let Of::Bytes { ends, bytes } = &self.of else {
            unreachable!("asked of keys that are bytes");
        };
        let from = row.checked_sub(1).map_or(0, |before| ends[before]);
        &bytes[from..ends[row]]
    }
}

/// A number as its bytes are among those of keys.
pub(super) fn whole_bytes(value: Option<i64>, to: &mut Vec<u8>) {
    match value {
        None => to.push(0),
        Some(value) => {
            to.push(1);
            to.extend((value ^ i64::MIN).to_be_bytes());
        }
    }
}

impl KeyCodec {
    /// # Errors
    /// [`NoKey`] for the first column that cannot be part of a key.
    pub(crate) fn new<'a>(
        types: impl IntoIterator<Item = &'a DataType>,
    ) -> Result<KeyCodec, NoKey> {
        let columns = types.into_iter().map(|ty| Ok((cell(ty)?, ty.clone())));
        let columns = columns.collect::<Result<Vec<_>, NoKey>>()?;
        let number = matches!(columns.as_slice(), [(Cell::Whole, _)]);
        Ok(KeyCodec { columns, number })
    }

    /// As [`KeyCodec::new`], for keys that are to be bytes whatever they are of.
    pub(super) fn of_bytes<'a>(
        types: impl IntoIterator<Item = &'a DataType>,
    ) -> Result<KeyCodec, NoKey> {
        let codec = KeyCodec::new(types)?;
        Ok(KeyCodec {
            number: false,
            ..codec
        })
    }

    /// A table for such keys, empty.
    pub(crate) fn groups(&self) -> Groups {
        Groups::new(match self.columns.as_slice() {
            [] => Stored::Nothing,
            _ if self.number => Stored::Whole {
                values: Vec::new(),
                null: None,
            },
            _ => Stored::Bytes {
                ends: Vec::new(),
                bytes: Vec::new(),
            },
        })
    }

    /// The key of each of `rows` rows.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Keys {
        match (self.columns.as_slice(), columns) {
            ([], _) => Keys {
                hashes: vec![hash_of(&[]); rows],
                of: Of::Nothing,
            },
            (_, [column]) if self.number => {
                let column = as_whole(column);
                let hash =
                    |row: usize| hash_whole((!column.is_null(row)).then(|| column.value(row)));
                Keys {
                    hashes: (0..rows).map(hash).collect(),
                    of: Of::Whole {
                        values: column.values().to_vec(),
                        nulls: column
                            .nulls()
                            .filter(|nulls| nulls.null_count() > 0)
                            .cloned(),
                    },
                }
            }
            _ => {
                let (mut ends, mut bytes) = (Vec::with_capacity(rows), Vec::new());
                let readers: Vec<Reader> = columns.iter().map(Reader::new).collect();
                let alone = readers.len() == 1;
                for row in 0..rows {
                    readers
                        .iter()
                        .for_each(|reader| reader.append(row, alone, &mut bytes));
                    ends.push(bytes.len());
                }
                let mut from = 0;
                let hash = |end: &usize| hash_of(&bytes[std::mem::replace(&mut from, *end)..*end]);
                Keys {
                    hashes: ends.iter().map(hash).collect(),
                    of: Of::Bytes { ends, bytes },
                }
            }
        }
    }

    /// The group of the key space that each row's key is in.
    pub(crate) fn key_groups(&self, columns: &[ArrayRef], rows: usize) -> Vec<u16> {
        let readers: Vec<Reader> = columns.iter().map(Reader::new).collect();
        let null = key_group(&[0]);
        match &readers[..] {
            [Reader::Text(array)] => {
                let group = |text: Option<&str>| text.map(|text| key_group_of(1, text.as_bytes()));
                return array
                    .iter()
                    .map(|text| group(text).unwrap_or(null))
                    .collect();
            }
            [Reader::Whole(array)] => {
                let group = |value: i64| key_group_of(1, &(value ^ i64::MIN).to_be_bytes());
                let groups = array.iter().map(|value| value.map_or(null, group));
                return groups.collect();
            }
            _ => {}
        }
        let (alone, mut key) = (readers.len() == 1, Vec::new());
        let group = |row: usize| {
            key.clear();
            readers
                .iter()
                .for_each(|reader| reader.append(row, alone, &mut key));
            key_group(&key)
        };
        (0..rows).map(group).collect()
    }

    /// The key columns of some groups.
    pub(crate) fn decode(&self, groups: &Groups, wanted: &[u32]) -> Vec<ArrayRef> {
        match (&groups.stored, self.columns.as_slice()) {
            (Stored::Nothing, _) => Vec::new(),
            (Stored::Whole { values, null }, [(_, ty), ..]) => {
                let of = |group: &u32| (*null != Some(*group)).then(|| values[*group as usize]);
                let column: Int64Array = wanted.iter().map(of).collect();
                vec![from_whole(column, ty)]
            }
            (Stored::Bytes { .. }, _) => {
                self.read(wanted.iter().map(|group| groups.bytes_of(*group)).collect())
            }
            (Stored::Whole { .. }, _) => unreachable!("a number is the key of one column"),
        }
    }

    /// The columns of keys that are bytes.
    pub(super) fn read(&self, mut keys: Vec<&[u8]>) -> Vec<ArrayRef> {
        let alone = self.columns.len() == 1;
        let column = |(cell, ty): &(Cell, DataType)| read_column(*cell, ty, alone, &mut keys);
        self.columns.iter().map(column).collect()
    }
}

fn cell(ty: &DataType) -> Result<Cell, NoKey> {
    match ty {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _)
        | DataType::Duration(TimeUnit::Millisecond) => Ok(Cell::Whole),
        DataType::Decimal128(..) => Ok(Cell::Decimal),
        DataType::Utf8 => Ok(Cell::Text),
        DataType::Binary => Ok(Cell::Bytes),
        other => Err(NoKey(other.clone())),
    }
}

/// The numbers underneath, in the order of the values.
fn as_whole(array: &ArrayRef) -> Int64Array {
    match array.data_type() {
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .unary(|value| i64::from(ordered_32(value.to_bits().cast_signed()))),
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .unary(|value| ordered_64(value.to_bits().cast_signed())),
        DataType::Int64 => array.as_primitive().clone(),
        _ => arrow_cast::cast(array, &DataType::Int64)
            .expect("C2: a key of this kind is a number underneath")
            .as_primitive()
            .clone(),
    }
}

fn from_whole(column: Int64Array, ty: &DataType) -> ArrayRef {
    match ty {
        DataType::Float32 => {
            let bits = |value: i64| ordered_32(value as i32).cast_unsigned();
            let floats: Float32Array = column.unary(|value| f32::from_bits(bits(value)));
            Arc::new(floats)
        }
        DataType::Float64 => {
            let floats: Float64Array =
                column.unary(|value| f64::from_bits(ordered_64(value).cast_unsigned()));
            Arc::new(floats)
        }
        DataType::Int64 => Arc::new(column),
        // Through the type's own width where there is no direct way.
        DataType::Date32 => {
            let days = arrow_cast::cast(&column, &DataType::Int32).expect("C2: days are 32 bits");
            arrow_cast::cast(&days, ty).expect("C2: days are a date")
        }
        _ => arrow_cast::cast(&column, ty).expect("C2: the number came from this type"),
    }
}

/// IEEE 754's total order as that of a signed number, and back: it is its own inverse.
fn ordered_32(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

fn ordered_64(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

enum Reader {
    Whole(Int64Array),
    Decimal(Decimal128Array),
    Text(StringArray),
    Bytes(BinaryArray),
}

impl Reader {
    fn new(array: &ArrayRef) -> Reader {
        match array.data_type() {
            DataType::Decimal128(..) => {
                Reader::Decimal(array.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Utf8 => Reader::Text(array.as_string().clone()),
            DataType::Binary => Reader::Bytes(array.as_binary().clone()),
            _ => Reader::Whole(as_whole(array)),
        }
    }

    fn append(&self, row: usize, alone: bool, to: &mut Vec<u8>) {
        let null = match self {
            Reader::Whole(array) => array.is_null(row),
            Reader::Decimal(array) => array.is_null(row),
            Reader::Text(array) => array.is_null(row),
            Reader::Bytes(array) => array.is_null(row),
        };
        if null {
            to.push(0);
            return;
        }
        to.push(1);
        match self {
            Reader::Whole(array) => to.extend((array.value(row) ^ i64::MIN).to_be_bytes()),
            Reader::Decimal(array) => to.extend((array.value(row) ^ i128::MIN).to_be_bytes()),
            Reader::Text(array) => append_bytes(array.value(row).as_bytes(), alone, to),
            Reader::Bytes(array) => append_bytes(array.value(row), alone, to),
        }
    }
}

fn append_bytes(value: &[u8], alone: bool, to: &mut Vec<u8>) {
    if alone {
        to.extend(value);
        return;
    }
    for byte in value {
        to.push(*byte);
        if *byte == 0 {
            to.push(0xFF);
        }
    }
    to.extend([0, 0]);
}

/// Takes a column off the front of each key.
fn read_column(cell: Cell, ty: &DataType, alone: bool, keys: &mut [&[u8]]) -> ArrayRef {
    let present = |key: &mut &[u8]| {
        let (marker, rest) = key.split_first().expect("C2: a key has all its columns");
        *key = rest;
        *marker == 1
    };
    match cell {
        Cell::Whole => {
            let value =
                |key: &mut &[u8]| present(key).then(|| i64::from_be_bytes(take(key)) ^ i64::MIN);
            from_whole(keys.iter_mut().map(value).collect(), ty)
        }
        Cell::Decimal => {
            let value =
                |key: &mut &[u8]| present(key).then(|| i128::from_be_bytes(take(key)) ^ i128::MIN);
            let column: Decimal128Array = keys.iter_mut().map(value).collect();
            Arc::new(column.with_data_type(ty.clone()))
        }
        Cell::Text => {
            let text = |bytes| String::from_utf8(bytes).expect("C2: it was text");
            let value = |key: &mut &[u8]| present(key).then(|| text(take_bytes(key, alone)));
            Arc::new(keys.iter_mut().map(value).collect::<StringArray>())
        }
        Cell::Bytes => {
            let value = |key: &mut &[u8]| present(key).then(|| take_bytes(key, alone));
            Arc::new(keys.iter_mut().map(value).collect::<BinaryArray>())
        }
    }
}

fn take<const N: usize>(key: &mut &[u8]) -> [u8; N] {
    let (value, rest) = key.split_first_chunk().expect("C2: a value has its width");
    *key = rest;
    *value
}

fn take_bytes(key: &mut &[u8], alone: bool) -> Vec<u8> {
    if alone {
        return std::mem::take(key).to_vec();
    }
    let mut value = Vec::new();
    loop {
        let (byte, rest) = key.split_first().expect("C2: bytes have their end");
        match (byte, rest) {
            (0, [0, rest @ ..]) => {
                *key = rest;
                return value;
            }
            (0, [_, rest @ ..]) => *key = rest,
            _ => *key = rest,
        }
        value.push(*byte);
    }
}

/// As the bytes of the same key would be hashed, so that a key's group does not depend on how it is held.
fn hash_whole(value: Option<i64>) -> u64 {
    match value {
        None => hash_of(&[0]),
        Some(value) => {
            let number = (value ^ i64::MIN).cast_unsigned();
            finish(round(round(SEED, 1 << 56 | number >> 8), number << 56 | 9))
        }
    }
}

/// Eight bytes at a time, the last with what is left and the length.
pub(crate) fn hash_of(key: &[u8]) -> u64 {
    let (words, rest) = key.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(SEED, |hash, word| round(hash, u64::from_be_bytes(*word)));
    let last = match (key.last_chunk::<8>(), rest.len()) {
        (_, 0) => 0,
        // The last eight bytes without those that were in a word already.
        (Some(last), left) => u64::from_be_bytes(*last) << (64 - 8 * left),
        (None, _) => {
            let bytes = rest
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            bytes << (64 - 8 * rest.len())
        }
    };
    finish(round(hash, last | key.len() as u64 & 0xFF))
}

pub(super) const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

pub(super) fn round(hash: u64, word: u64) -> u64 {
    let mixed = word.wrapping_mul(0x87C3_7B91_1142_53D5).rotate_left(31);
    let mixed = mixed.wrapping_mul(0x4CF5_AD43_2745_937F);
    (hash ^ mixed)
        .rotate_left(27)
        .wrapping_mul(5)
        .wrapping_add(0x52DC_E729)
}

/// The finaliser of MurmurHash3.
pub(super) fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

/// Each row's place among others, as bytes: columns with whether they ascend and whether NULL comes first.
pub(crate) fn places(order: &[(ArrayRef, bool, bool)], rows: usize) -> Vec<Box<[u8]>> {
    let readers: Vec<Reader> = order
        .iter()
        .map(|(column, ..)| Reader::new(column))
        .collect();
    let place = |row: usize| {
        let mut place = Vec::new();
        for (reader, (_, ascending, nulls_first)) in readers.iter().zip(order) {
            let from = place.len();
            reader.append(row, false, &mut place);
            let (marker, value) = place[from..].split_first_mut().expect("there is a marker");
            if *marker == 0 && !nulls_first {
                *marker = 2;
            }
            if !ascending {
                value.iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        place.into_boxed_slice()
    };
    (0..rows).map(place).collect()
}
