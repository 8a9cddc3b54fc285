//! WAL files: a header, then frames, then whatever the file held before.
//!
//! ```text
//! header (64)  0 magic "LWWAL\0\0\0" · 8 format u32 · 12 link u32: check of the last frame of the file before (0: none)
//!             16 file id u64 · 24 first lsn u64 · 32 end of the file before u64 · 40 zeros · 60 CRC-32C u32 of 0..60
//! frame (28+)  0 check: CRC-32C u32 of 4..28, seeded with life and position
//!              4 link u32: check of the frame before, of the file's header for the first
//!              8 payload length u32 (0: a mark) · 12 CRC-32C u32 of the payload
//!             16 lsn u64 · 24 synced u32 · 28 payload: records (record.rs)
//! ```
//!
//! A file is preallocated and may be a recycled one, so behind the last frame stand zeros, frames of an earlier life, or
//! frames of this life that a crash cut off and nobody was told of. Two questions are asked of what stands there:
//!
//! - **Is it the next frame?** Each frame names the one before it by its check (`link`), through all files: a frame counts
//!   only after exactly the history that it was written after. A stale one that happens to stand where the next would
//!   begin cannot come back to life, whatever its age.
//! - **Was it ever here?** The check is seeded with the file's *life* (the CRC of its header, which no other life shares)
//!   and with the position, so a head proves by itself, without the frames before it, that we wrote it at this place of
//!   this file. And it says how far the file was **synced** by then. That tells a torn tail from damage: a bad frame that
//!   a later head calls synced was whole once and may have been acknowledged (`scan.rs` looks for such a head).
//!
//! Frames of one group state the same `synced`, the group's begin: of what one fdatasync covers, any part may be missing
//! after a power cut, and none of it proves anything about the rest. A **mark** is a head without payload, written behind
//! a group after its fdatasync when no other group follows at once. It makes the last group provable too.
//!
//! Frames are not aligned. Rewriting the sector that holds the end of a durable frame is safe as far as sectors are
//! written whole: both versions of it hold the same durable bytes.

use std::io;

use bytes::{BufMut, BytesMut};
use lw_stdx::disk::{File, read_full};

use crate::codec::{Damaged, Reader, Writer};
use crate::numbers::{FileNumber, Lsn};

pub(crate) const FILE_HEADER: u64 = 64;
pub(crate) const FRAME_HEADER: usize = 28;
/// Largest payload of one frame: above any sane batch, small enough to hold in memory a few times.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;
/// 1 had no `synced` and no checks that hold by themselves.
pub(crate) const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"LWWAL\0\0\0";
/// Positions in a file are u32 on disk.
pub(crate) const MAX_FILE: u64 = u32::MAX as u64;

/// What a WAL file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) id: FileNumber,
    pub(crate) first_lsn: Lsn,
    /// Check of the last frame of the file before this one, and where it ends; both 0 for the first file.
    pub(crate) link: u32,
    pub(crate) previous_end: u64,
}

impl FileHeader {
    /// The header of the file that follows one whose frames end at `end`.
    pub(crate) fn after(end: &Place) -> FileHeader {
        FileHeader {
            id: end.file.next(),
            first_lsn: end.lsn.next(),
            link: end.link,
            previous_end: end.position,
        }
    }

    /// The 64 bytes, and the place of the first frame.
    pub(crate) fn encode(&self) -> (Vec<u8>, Place) {
        let mut out = Writer(Vec::with_capacity(FILE_HEADER as usize));
        out.0.extend_from_slice(MAGIC);
        out.u32(FORMAT);
        out.u32(self.link);
        out.u64(self.id.0);
        out.u64(self.first_lsn.0);
        out.u64(self.previous_end);
        out.0.resize(60, 0);
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        (out.0, self.begin(crc))
    }

    /// Reads the 64 bytes back, and the place of the first frame.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(FileHeader, Place), Damaged> {
        let head: &[u8; FILE_HEADER as usize] = bytes
            .first_chunk()
            .ok_or(Damaged("the header is cut short"))?;
        let mut reader = Reader::new(head);
        if reader.take(8, "magic")? != MAGIC {
            return Err(Damaged("this is not a WAL file"));
        }
        if reader.u32("format")? != FORMAT {
            return Err(Damaged("the WAL format is unknown"));
        }
        let link = reader.u32("link")?;
        let header = FileHeader {
            id: FileNumber(reader.u64("file id")?),
            first_lsn: Lsn(reader.u64("first lsn")?),
            link,
            previous_end: reader.u64("previous end")?,
        };
        reader.take(20, "zeros")?;
        let crc = reader.u32("checksum")?;
        if crc != crc32c::crc32c(&head[..60]) {
            return Err(Damaged("the header's checksum does not hold"));
        }
        // Zero is no lsn: the place before the first frame has the one before.
        if header.first_lsn == Lsn(0) {
            return Err(Damaged("the first lsn is 0"));
        }
        Ok((header, header.begin(crc)))
    }

    pub(crate) fn read(file: &dyn File) -> io::Result<Result<(FileHeader, Place), Damaged>> {
        let mut head = [0; FILE_HEADER as usize];
        let got = read_full(file, &mut head, 0)?;
        Ok(FileHeader::decode(&head[..got]))
    }

    fn begin(&self, crc: u32) -> Place {
        Place {
            file: self.id,
            life: crc,
            position: FILE_HEADER,
            link: crc,
            lsn: Lsn(self.first_lsn.0 - 1),
        }
    }
}

/// A place between two frames, and all that the next frame depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) file: FileNumber,
    /// CRC of the file's header.
    pub(crate) life: u32,
    pub(crate) position: u64,
    /// Check of the frame (or header) before.
    pub(crate) link: u32,
    /// Lsn of the last frame before.
    pub(crate) lsn: Lsn,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) check: u32,
    link: u32,
    pub(crate) len: u32,
    payload_crc: u32,
    pub(crate) lsn: Lsn,
    /// The file was synced up to here when this head was written.
    pub(crate) synced: u32,
}

impl FrameHead {
    fn encode(&self, life: u32, position: u64) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[4..8].copy_from_slice(&self.link.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.synced.to_le_bytes());
        let check = check(life, position, &bytes);
        bytes[..4].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The head at `position`, if these bytes were written there in this life of the file.
    pub(crate) fn decode(
        bytes: &[u8; FRAME_HEADER],
        life: u32,
        position: u64,
    ) -> Option<FrameHead> {
        let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("in 28"));
        let head = FrameHead {
            check: number(0),
            link: number(4),
            len: number(8),
            payload_crc: number(12),
            lsn: FrameHead::peek_lsn(bytes),
            synced: number(24),
        };
        let sound = head.check == check(life, position, bytes)
            && u64::from(head.synced) <= position
            && head.len as usize <= MAX_PAYLOAD;
        sound.then_some(head)
    }

    /// The lsn that a head in these bytes would have: what a search looks at first.
    pub(crate) fn peek_lsn(bytes: &[u8; FRAME_HEADER]) -> Lsn {
        Lsn(u64::from_le_bytes(
            *bytes[16..].first_chunk().expect("in 28"),
        ))
    }

    /// Whether this is the frame that was written next at `place`.
    pub(crate) fn follows(&self, place: &Place) -> bool {
        self.link == place.link && self.lsn == place.lsn.next()
    }

    pub(crate) fn is_mark(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn holds(&self, payload: &[u8]) -> bool {
        self.payload_crc == crc32c::crc32c(payload)
    }

    /// The place behind this frame, which stands at `place`.
    pub(crate) fn end(&self, place: &Place) -> Place {
        Place {
            position: place.position + (FRAME_HEADER + self.len as usize) as u64,
            link: self.check,
            lsn: self.lsn,
            ..*place
        }
    }
}

fn check(life: u32, position: u64, head: &[u8; FRAME_HEADER]) -> u32 {
    let seed = crc32c::crc32c_append(life, &position.to_le_bytes());
    crc32c::crc32c_append(seed, &head[4..])
}

/// Writes the frames of one group behind one another.
pub(crate) struct Group {
    /// Where the group begins, which is how far the file is synced.
    synced: u64,
    place: Place,
    bytes: BytesMut,
}

impl Group {
    /// A group at `place`, in an empty buffer.
    pub(crate) fn at(place: Place, buffer: BytesMut) -> Group {
        Group {
            synced: place.position,
            place,
            bytes: buffer,
        }
    }

    /// Adds a frame whose payload `write` writes; returns the place behind it.
    pub(crate) fn frame(&mut self, write: impl FnOnce(&mut BytesMut)) -> Place {
        let start = self.bytes.len();
        self.bytes.put_bytes(0, FRAME_HEADER);
        write(&mut self.bytes);
        let (head, payload) = self.bytes[start..].split_at_mut(FRAME_HEADER);
        assert!(
            (1..=MAX_PAYLOAD).contains(&payload.len()),
            "a frame has a payload, and it fits"
        );
        let bytes = head_at(&self.place, self.synced, payload);
        head.copy_from_slice(&bytes);
        self.place = FrameHead::decode(&bytes, self.place.life, self.place.position)
            .expect("a head reads back")
            .end(&self.place);
        self.place
    }

    pub(crate) fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}

/// The mark at `place`: everything before it is synced.
pub(crate) fn mark(place: &Place) -> [u8; FRAME_HEADER] {
    head_at(place, place.position, &[])
}

fn head_at(place: &Place, synced: u64, payload: &[u8]) -> [u8; FRAME_HEADER] {
    let head = FrameHead {
        check: 0,
        link: place.link,
        len: payload.len() as u32,
        payload_crc: crc32c::crc32c(payload),
        lsn: place.lsn.next(),
        synced: u32::try_from(synced).expect("a WAL file is under 4 GiB"),
    };
    head.encode(place.life, place.position)
}
