//! The records inside a batch: borrowed views out, bytes in.
//!
//! ```text
//! length varint · attributes i8 · timestamp delta varlong · offset delta varint
//! · key length varint (-1 null) + bytes · value length varint (-1 null) + bytes
//! · header count varint · { key length varint + UTF-8 · value length varint (-1 null) + bytes }*
//! ```
//!
//! Header keys may repeat and their order counts (KIP-82), so headers stay a list.

use bytes::{BufMut, Bytes};

use crate::batch::{BatchError, BatchHeader};
use crate::varint::{read_zigzag, write_zigzag};

/// A batch's records, decompressed.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
}

impl Records {
    pub(crate) fn new(header: BatchHeader, bytes: Bytes) -> Records {
        Records { header, bytes }
    }

    /// The decompressed bytes that the views of [`Records::iter`] borrow from.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Walks the records in order. The first broken one ends the walk with an error.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            header: self.header,
            rest: &self.bytes,
            left: self.header.record_count.max(0),
        }
    }

    /// Walks the records from number `first` on. Those before it are stepped over by their lengths and not looked at, which is for
    /// who knows that they are whole.
    pub fn iter_from(&self, first: usize) -> RecordIter<'_> {
        let mut iter = self.iter();
        for _ in 0..first.min(iter.left as usize) {
            let length =
                read_zigzag(&mut iter.rest).and_then(|length| usize::try_from(length).ok());
            let Some(rest) = length.and_then(|length| iter.rest.get(length..)) else {
                // They were not whole: the walk is one to the error.
                (iter.rest, iter.left) = (&[], 1);
                break;
            };
            iter.rest = rest;
            iter.left -= 1;
        }
        iter
    }
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: usize,
}

impl<'a> Record<'a> {
    pub fn header_count(&self) -> usize {
        self.header_count
    }

    /// The headers in the order that the producer gave, repeated keys included.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| {
            let key = read_bytes(&mut rest).ok()??;
            Some((key, read_bytes(&mut rest).ok()?))
        })
    }
}

/// Iterator of [`Records::iter`].
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    left: i32,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    // Where records are read it becomes part of the loop: a record is a dozen words, which are else written down three times.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = read(&self.header, &mut self.rest);
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The count is the producer's word: never reserve more than the bytes can hold (7 bytes per record at least).
        (
            (self.left as usize).min(self.rest.len() / 7),
            Some(self.left as usize),
        )
    }
}

/// Steps from length to length: are there `count` records, and nothing else?
pub(crate) fn check_lengths(mut rest: &[u8], count: i32) -> Result<(), BatchError> {
    for _ in 0..count {
        let length = read_zigzag(&mut rest).and_then(|length| usize::try_from(length).ok());
        rest = length.and_then(|length| rest.get(length..)).ok_or(SHORT)?;
    }
    match rest {
        [] => Ok(()),
        _ => Err(BatchError::Inconsistent(
            "the batch holds more than the records that its header counts",
        )),
    }
}

const SHORT: BatchError = BatchError::Inconsistent("a record ends before its fields do");

#[inline]
fn read<'a>(header: &BatchHeader, rest: &mut &'a [u8]) -> Result<Record<'a>, BatchError> {
    let length = read_zigzag(rest).ok_or(SHORT)?;
    let length = usize::try_from(length).map_err(|_| SHORT)?;
    let (mut body, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    body = body.get(1..).ok_or(SHORT)?; // attributes: no bit is defined
    let timestamp_delta = read_zigzag(&mut body).ok_or(SHORT)?;
    let offset_delta = read_zigzag(&mut body).ok_or(SHORT)?;
    let key = read_bytes(&mut body)?;
    let value = read_bytes(&mut body)?;
    let header_count = read_zigzag(&mut body)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(SHORT)?;
    let timestamp = match header.is_log_append_time() {
        true => header.max_timestamp,
        false => header.base_timestamp.wrapping_add(timestamp_delta),
    };
    let record = Record {
        offset: header.base_offset.wrapping_add(offset_delta),
        timestamp,
        key,
        value,
        headers: body,
        header_count,
    };
    if header_count > 0 && record.headers().count() != header_count {
        return Err(SHORT);
    }
    Ok(record)
}

/// A length and its bytes; a negative length is null.
#[inline]
fn read_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    let length = read_zigzag(rest).ok_or(SHORT)?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let (bytes, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    Ok(Some(bytes))
}

/// Appends one record.
pub(crate) fn write(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) {
    // The length comes first and is itself of variable length: write the body behind, then put it in front.
    let mut body =
        Vec::with_capacity(32 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
    body.put_i8(0);
    write_zigzag(&mut body, timestamp_delta);
    write_zigzag(&mut body, i64::from(offset_delta));
    write_bytes(&mut body, key);
    write_bytes(&mut body, value);
    write_zigzag(&mut body, headers.len() as i64);
    for (name, content) in headers {
        write_bytes(&mut body, Some(name.as_bytes()));
        write_bytes(&mut body, *content);
    }
    write_zigzag(out, body.len() as i64);
    out.extend_from_slice(&body);
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        return write_zigzag(out, -1);
    };
    write_zigzag(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}
