//! The batches inside a frame: where each stands, and its place in the WAL's order.

use lw_protocol::BatchHeader;

use crate::codec::{Damaged, Reader};
use crate::index::Entry;
use crate::numbers::{Lsn, Offset, Order};
use crate::record::{LogId, Record, decode};

/// Walks the headers of a record set, each with its position in it.
pub(crate) fn for_each_batch(
    batches: &[u8],
    mut visit: impl FnMut(BatchHeader, u64) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut at = 0;
    while at < batches.len() {
        let header = BatchHeader::parse(&batches[at..]).map_err(|_| Damaged("batch header"))?;
        let len = header.total_len();
        if len > batches.len() - at {
            return Err(Damaged("batch length"));
        }
        visit(header, at as u64)?;
        at += len;
    }
    Ok(())
}

/// Of a batch that was appended at `at`, in the log's own time.
pub(crate) fn entry(header: &BatchHeader, position: u64, order: Order, at: i64) -> Entry {
    Entry {
        base: Offset(header.base_offset),
        last: Offset(header.last_offset()),
        max_timestamp: header.max_timestamp,
        order,
        position: u32::try_from(position).expect("a WAL file is under 4 GiB"),
        len: header.total_len() as u32,
        appended_at: at,
    }
}

/// The batches of a frame as index entries, without a state: for rebuilding a sealed file's sidecar.
pub(crate) fn entries_of(
    lsn: Lsn,
    position: u64,
    payload: &[u8],
    mut visit: impl FnMut(LogId, Entry),
) -> Result<(), Damaged> {
    let mut count = 0;
    let mut reader = Reader::new(payload);
    while !reader.is_empty() {
        if let Record::Append {
            log,
            appended_at,
            batches,
        } = decode(&mut reader)?
        {
            let start = position + (reader.position() - batches.len()) as u64;
            for_each_batch(batches, |header, at| {
                let order = Order::of(lsn, count)?;
                visit(log, entry(&header, start + at, order, appended_at));
                count += 1;
                Ok(())
            })?;
        }
    }
    Ok(())
}
