//! Where the records of a file are: lines, but for the lines that a quoted field of CSV goes over.

use lw_graph::FormatSpec;
use std::io::{self, Read};
use std::path::Path;

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// Cuts a file into records.
pub(super) struct Records<R> {
    from: R,
    cutter: Cutter,
    block: Vec<u8>,
    /// What of the block is not looked at yet.
    at: usize,
    end: usize,
}

/// What ends a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cutter {
    /// Of CSV: an end of line between two of them is none.
    quote: Option<u8>,
    escape: Option<u8>,
    delimiter: Option<u8>,
    /// A line with nothing in it is no record.
    passes_empty: bool,
}

impl Cutter {
    pub(super) fn of(format: &FormatSpec) -> Cutter {
        let FormatSpec::Csv(csv) = format else {
            return Cutter {
                passes_empty: !matches!(format, FormatSpec::Raw),
                ..Cutter::default()
            };
        };
        let byte = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
        Cutter {
            quote: csv.quote.and_then(byte),
            escape: csv.escape.and_then(byte),
            delimiter: byte(csv.delimiter),
            passes_empty: csv.comments,
        }
    }

    pub(super) fn passes_empty(&self) -> bool {
        self.passes_empty
    }
}

/// Where the cutter is inside of a record.
#[derive(Default)]
struct Place {
    quoted: bool,
    escaped: bool,
    /// Something of the field was there already: a quote in it opens nothing.
    inside: bool,
}

impl Place {
    /// Whether the record ends in front of this byte, which ends its line.
    fn passes(&mut self, byte: u8, cutter: &Cutter) -> bool {
        if std::mem::take(&mut self.escaped) {
            return false;
        }
        if cutter.escape == Some(byte) {
            self.escaped = true;
            self.inside = true;
            return false;
        }
        if cutter.quote == Some(byte) && (self.quoted || !self.inside) {
            self.quoted = !self.quoted;
            // Two of them are one that belongs to the field: the second opens it again.
            self.inside = false;
            return false;
        }
        if self.quoted {
            return false;
        }
        if byte == b'\n' {
            *self = Place::default();
            return true;
        }
        self.inside = cutter.delimiter != Some(byte);
        false
    }
}

impl<R: Read> Records<R> {
    pub(super) fn new(from: R, cutter: Cutter) -> Records<R> {
        Records {
            from,
            cutter,
            block: vec![0; BLOCK],
            at: 0,
            end: 0,
        }
    }

    /// Appends the next record to `into`, with the end of its line; how many bytes that were. None are left at 0.
    pub(super) fn next(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut place = Place::default();
        let mut taken = 0;
        loop {
            if self.at == self.end {
                self.at = 0;
                self.end = self.from.read(&mut self.block)?;
                if self.end == 0 {
                    return Ok(taken);
                }
            }
            let rest = &self.block[self.at..self.end];
            let ends = rest
                .iter()
                .position(|byte| place.passes(*byte, &self.cutter));
            let used = ends.map_or(rest.len(), |end| end + 1);
            into.extend_from_slice(&rest[..used]);
            self.at += used;
            taken += used;
            if ends.is_some() {
                return Ok(taken);
            }
        }
    }
}

/// A file as it is: how many records it has, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) records: i64,
    pub(super) bytes: u64,
    /// CRC-32C of all of it.
    pub(super) check: u32,
    /// Where the record behind `at` begins, as was asked.
    pub(super) position: u64,
}

/// Reads all of a file, and finds where its `at`-th record begins.
pub(super) fn content(path: &Path, cutter: Cutter, at: i64) -> io::Result<Content> {
    let mut records = Records::new(std::fs::File::open(path)?, cutter);
    let mut content = Content {
        records: 0,
        bytes: 0,
        check: 0,
        position: 0,
    };
    let mut record = Vec::new();
    loop {
        if content.records == at {
            content.position = content.bytes;
        }
        record.clear();
        let taken = records.next(&mut record)?;
        if taken == 0 {
            return Ok(content);
        }
        content.records += 1;
        content.bytes += taken as u64;
        content.check = crc32c::crc32c_append(content.check, &record);
    }
}

/// A record without the end of its line.
pub(super) fn trimmed(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}
