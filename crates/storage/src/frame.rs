//! WAL files: a header, then frames, then whatever the file held before.
//!
//! ```text
//! header (64)  0 magic "LWWAL\0\0\0" · 8 format u32 · 12 zero u32 · 16 file id u64 · 24 first lsn u64
//!              32 end of the previous file u64 · 40 zero · 60 CRC-32C u32 of 0..60
//! frame        0 CRC-32C u32 · 4 payload length u32 (> 0) · 8 lsn u64 · 16 payload: records (record.rs)
//! ```
//!
//! A file is preallocated and may be a recycled one, so behind the last frame stand zeros, frames of an earlier life, or
//! frames of this life that a crash cut off and nobody was told of. **Frame CRCs are chained**: each covers the CRC
//! before it, the first the header's. So a frame is valid only after exactly the history that it was written after. A
//! stale frame that happens to stand where the next one would begin cannot come back to life, whatever its age.
//!
//! Frames are not aligned. Rewriting the sector that holds the end of a durable frame is safe as far as sectors are
//! written whole: both versions of it hold the same durable bytes.

use std::io;

use bytes::{BufMut, BytesMut};
use lw_stdx::disk::{File, read_full};

use crate::codec::{Damaged, Reader, Writer};

pub(crate) const FILE_HEADER: u64 = 64;
pub(crate) const FRAME_HEADER: usize = 16;
pub(crate) const FORMAT: u32 = 1;
/// Largest payload of one frame: above any sane batch, small enough to hold in memory a few times.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;
const MAGIC: &[u8; 8] = b"LWWAL\0\0\0";

/// What a WAL file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) id: u64,
    pub(crate) first_lsn: u64,
    /// Where the frames of the file before this one end; 0 for the first.
    pub(crate) previous_end: u64,
}

impl FileHeader {
    /// The 64 bytes, and the CRC that the chain of frames starts from.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = Writer(Vec::with_capacity(FILE_HEADER as usize));
        out.0.extend_from_slice(MAGIC);
        out.u32(FORMAT);
        out.u32(0);
        out.u64(self.id);
        out.u64(self.first_lsn);
        out.u64(self.previous_end);
        out.0.resize(60, 0);
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        (out.0, crc)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<(FileHeader, u32), Damaged> {
        let head: &[u8; 64] = bytes
            .first_chunk()
            .ok_or(Damaged("the header is cut short"))?;
        let mut reader = Reader::new(head);
        if reader.take(8, "magic")? != MAGIC {
            return Err(Damaged("this is not a WAL file"));
        }
        if reader.u32("format")? != FORMAT {
            return Err(Damaged("the WAL format is unknown"));
        }
        reader.u32("reserved")?;
        let header = FileHeader {
            id: reader.u64("file id")?,
            first_lsn: reader.u64("first lsn")?,
            previous_end: reader.u64("previous end")?,
        };
        let crc = crc32c::crc32c(&head[..60]);
        if crc != u32::from_le_bytes(head[60..].try_into().expect("four bytes")) {
            return Err(Damaged("the header's checksum does not hold"));
        }
        Ok((header, crc))
    }

    pub(crate) fn read(file: &dyn File) -> io::Result<Result<(FileHeader, u32), Damaged>> {
        let mut head = [0; FILE_HEADER as usize];
        read_full(file, &mut head, 0)?;
        Ok(FileHeader::decode(&head))
    }
}

/// A place between two frames, and all that the next frame depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) file: u64,
    pub(crate) position: u64,
    /// CRC of the frame (or header) before.
    pub(crate) chain: u32,
    /// Lsn of the last frame before.
    pub(crate) lsn: u64,
}

impl Place {
    pub(crate) fn after_header(header: &FileHeader, chain: u32) -> Place {
        Place {
            file: header.id,
            position: FILE_HEADER,
            chain,
            lsn: header.first_lsn - 1,
        }
    }
}

/// Starts a frame in `out`; the payload follows, then [`finish`].
pub(crate) fn begin(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, FRAME_HEADER);
    start
}

/// Fills in the header of the frame that began at `start`; returns the place after it.
pub(crate) fn finish(out: &mut BytesMut, start: usize, before: Place) -> Place {
    let frame = &mut out[start..];
    let len = frame.len() - FRAME_HEADER;
    assert!(len > 0 && len <= MAX_PAYLOAD, "a frame's payload fits");
    let lsn = before.lsn + 1;
    frame[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    frame[8..16].copy_from_slice(&lsn.to_le_bytes());
    let chain = crc32c::crc32c_append(before.chain, &frame[4..]);
    frame[..4].copy_from_slice(&chain.to_le_bytes());
    Place {
        file: before.file,
        position: before.position + frame.len() as u64,
        chain,
        lsn,
    }
}

/// One frame as found in a file.
pub(crate) struct Frame<'a> {
    pub(crate) lsn: u64,
    /// Where the payload stands in the file.
    pub(crate) position: u64,
    pub(crate) payload: &'a [u8],
}

/// How far to read and what to take for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The live end of the log: the first frame that does not check ends it.
    Tail,
    /// A sealed file whose frames end at this position: a wrong CRC inside is left to the batches' own CRCs.
    Sealed { end: u64 },
}

/// Reads frames from `from` on and gives each to `visit`; returns the place after the last good one.
pub(crate) fn scan<E: From<io::Error>>(
    file: &dyn File,
    from: Place,
    trust: Trust,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), E>,
) -> Result<Place, E> {
    let mut window = Window::new(file);
    let mut at = from;
    loop {
        if trust == (Trust::Sealed { end: at.position }) {
            return Ok(at);
        }
        let Some(head) = window.get(at.position, FRAME_HEADER)? else {
            return Ok(at);
        };
        let mut reader = Reader::new(head);
        let fields = (|| {
            Ok((
                reader.u32("crc")?,
                reader.u32("length")?,
                reader.u64("lsn")?,
            ))
        })();
        let (crc, len, lsn) = fields.map_err(|Damaged(what)| io::Error::other(what))?;
        let len = len as usize;
        if len == 0 || len > MAX_PAYLOAD || lsn != at.lsn + 1 {
            return Ok(at);
        }
        let Some(frame) = window.get(at.position, FRAME_HEADER + len)? else {
            return Ok(at);
        };
        let sound = crc32c::crc32c_append(at.chain, &frame[4..]) == crc;
        if !sound && trust == Trust::Tail {
            return Ok(at);
        }
        visit(Frame {
            lsn,
            position: at.position + FRAME_HEADER as u64,
            payload: &frame[FRAME_HEADER..],
        })?;
        at = Place {
            file: at.file,
            position: at.position + (FRAME_HEADER + len) as u64,
            chain: crc,
            lsn,
        };
    }
}

/// A sliding view of a file: one megabyte, more when a frame is longer.
struct Window<'a> {
    file: &'a dyn File,
    start: u64,
    bytes: Vec<u8>,
}

const WINDOW: usize = 1 << 20;

impl<'a> Window<'a> {
    fn new(file: &'a dyn File) -> Window<'a> {
        Window {
            file,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// `len` bytes at `position`, or `None` when the file ends before.
    fn get(&mut self, position: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let held =
            position >= self.start && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            // A garbage length must not make us allocate more than the file has.
            let left = self.file.len()?.saturating_sub(position);
            if (len as u64) > left {
                return Ok(None);
            }
            let want = (len.max(WINDOW) as u64).min(left) as usize;
            self.bytes.resize(want, 0);
            let got = read_full(self.file, &mut self.bytes, position)?;
            self.bytes.truncate(got);
            self.start = position;
            if got < len {
                return Ok(None);
            }
        }
        let from = (position - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }
}
