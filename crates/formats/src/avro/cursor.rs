//! Avro's binary encoding: primitives read off a slice.

use super::Fault;
use lw_stdx::varint;

/// Items of arrays and maps that take no bytes (`null`, a record without fields) are limited to this many per record.
const EMPTY_ITEMS: usize = 1 << 16;

/// Values passed over, for each byte and each such item. A schema of forty lines can nest records so that no bytes at all
/// stand for 2^40 of them.
const STEPS: usize = 16;

/// A place in a record.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    /// Items that may still come: no record holds more items that take bytes than it has bytes.
    items_left: usize,
    /// Values that may still be passed over.
    steps_left: usize,
    /// Decimals of which a digit was lost.
    pub(crate) rounded: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        let items = bytes.len().saturating_add(EMPTY_ITEMS);
        Cursor {
            rest: bytes,
            items_left: items,
            steps_left: items.saturating_mul(STEPS),
            rounded: 0,
        }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Counts a value that is passed over by the writer's schema.
    pub(crate) fn step(&mut self) -> Result<(), Fault> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Fault::TooManySteps)?;
        Ok(())
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Fault::Truncated),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Fault::Truncated),
        }
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(Fault::Boolean(byte)),
        }
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, Fault> {
        let Some((value, length)) = varint::read(self.rest) else {
            return Err(match self.rest.len() {
                ..10 => Fault::Truncated,
                _ => Fault::Overlong,
            });
        };
        if length == 10 && self.rest[9] > 1 {
            return Err(Fault::Overlong);
        }
        self.rest = &self.rest[length..];
        Ok(unzigzag(value))
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::Overlong)
    }

    /// A string's or byte string's content.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.long()?;
        match usize::try_from(len) {
            Ok(len) => self.take(len),
            Err(_) => Err(Fault::Length(len)),
        }
    }

    /// The head of the next block of an array or map: how many items, and how many bytes they take if the writer says.
    /// 0 items is the end.
    pub(crate) fn block(&mut self) -> Result<(usize, Option<usize>), Fault> {
        let count = self.long()?;
        let size = if count < 0 {
            let size = self.long()?;
            Some(usize::try_from(size).map_err(|_| Fault::Length(size))?)
        } else {
            None
        };
        let count = usize::try_from(count.unsigned_abs()).map_err(|_| Fault::TooManyItems)?;
        self.items_left = self
            .items_left
            .checked_sub(count)
            .ok_or(Fault::TooManyItems)?;
        Ok((count, size))
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
