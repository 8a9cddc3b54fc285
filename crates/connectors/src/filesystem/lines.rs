//! Files of lines: records are decoded as they are cut, and one is found again by its number.

use super::records::{Cutter, Records, content, trimmed};
use super::{Fault, Taken};
use lw_formats::Decoder;
use lw_runtime::{Origin, Runs};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

/// Decodes records of lines; `None` where the file ends before `to`.
pub(super) fn take(
    decoder: &mut dyn Decoder,
    records: &mut Records<File>,
    passes_empty: bool,
    from: Origin,
    to: i64,
    max_bytes: usize,
) -> io::Result<Option<Taken>> {
    let (mut origins, mut faults, mut skipped) = (Runs::default(), Vec::new(), 0);
    let (mut offset, mut bytes, mut record) = (from.offset, 0, Vec::new());
    while offset < to && (bytes == 0 || bytes < max_bytes) {
        record.clear();
        let taken = records.next(&mut record)?;
        if taken == 0 {
            return Ok(None);
        }
        bytes += taken;
        let (value, origin) = (trimmed(&record), Origin { offset, ..from });
        offset += 1;
        if value.is_empty() && passes_empty {
            skipped += 1;
            continue;
        }
        match decoder.push(Some(value)) {
            Ok(decoded) => {
                skipped += u64::from(decoded.rows == 0);
                let rows = u32::try_from(decoded.rows).expect("a record has few rows");
                origins.push(origin, rows);
            }
            Err(error) => faults.push(Fault {
                offset: origin.offset,
                value: Some(value.to_vec()),
                code: error.code,
                error: error.message,
            }),
        }
    }
    Ok(Some(Taken {
        columns: decoder.finish(),
        origins,
        faults,
        skipped,
        next: offset,
        bytes: bytes as u64,
    }))
}

/// A record by its number.
pub(super) fn at(path: &Path, cutter: Cutter, number: i64) -> io::Result<Option<Vec<u8>>> {
    let content = content(path, cutter, number)?;
    if number >= content.records {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(content.position))?;
    let mut record = Vec::new();
    Records::new(file, cutter).next(&mut record)?;
    Ok(Some(trimmed(&record).to_vec()))
}
