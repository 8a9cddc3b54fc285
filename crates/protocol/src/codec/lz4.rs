//! LZ4's frames, inflated block by block to where their bytes are wanted. The library's own reader of frames copies each block
//! twice, which was a tenth of what a pipeline spends on a record; its blocks are what is used here.
//!
//! ```text
//! magic  flags  sizes  [contents: 8 B]  [dictionary: 4 B]  sum of these      any number of frames, one behind the other
//! length of a block, the high bit for one that is not compressed | the block | [sum]      any number of blocks
//! 0  [sum of the contents]
//! ```
//!
//! Source: LZ4 frame format 1.6.4. Sums are XXH32, the header's a byte of it.

use super::{CodecError, Compression, corrupt};
use bytes::Bytes;
use lz4_flex::block::decompress_into;
use std::cell::Cell;
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const BLOCK_SUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_SUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;
/// Of a block's length: its bytes are not compressed.
const STORED: u32 = 1 << 31;

/// Looks at the frame's flags only: is it LZ4's frame format, with blocks that stand alone?
///
/// # Errors
/// When it is not a frame, or its blocks depend on each other.
pub fn check_lz4_frame(bytes: &[u8]) -> Result<(), CodecError> {
    let flags = match bytes.split_first_chunk() {
        Some((magic, [flags, ..])) if *magic == MAGIC => *flags,
        _ => return Err(broken("not an LZ4 frame")),
    };
    match flags & INDEPENDENT {
        0 => Err(CodecError::DependentBlocks),
        _ => Ok(()),
    }
}

/// What is in one frame or several.
pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Bytes, CodecError> {
    check_lz4_frame(bytes)?;
    let mut out = Inflated::spare();
    let mut rest = Rest(bytes);
    while !rest.0.is_empty() {
        check_lz4_frame(rest.0)?;
        frame(&mut rest, &mut out, limit)?;
    }
    Ok(Bytes::from_owner(out))
}

fn frame(rest: &mut Rest<'_>, out: &mut Inflated, limit: usize) -> Result<(), CodecError> {
    let (from, header) = (out.length, header(rest)?);
    loop {
        let length = rest.number()?;
        if length == 0 {
            break;
        }
        let block = rest.take((length & !STORED) as usize)?;
        if header.flags & BLOCK_SUMS != 0 && rest.number()? != XxHash32::oneshot(0, block) {
            return Err(broken("a block has another sum than it says"));
        }
        if block.len() > header.largest {
            return Err(broken("a block is larger than its frame says"));
        }
        match length & STORED {
            0 => inflate(block, header.largest, out, limit)?,
            _ if out.length + block.len() > limit => return Err(too_large(limit)),
            _ => {
                out.room(block.len()).copy_from_slice(block);
                out.length += block.len();
            }
        }
    }
    let contents = &out.as_ref()[from..];
    if header
        .contents
        .is_some_and(|size| size != contents.len() as u64)
    {
        return Err(broken("a frame has more or fewer bytes than it says"));
    }
    if header.flags & CONTENT_SUM != 0 && rest.number()? != XxHash32::oneshot(0, contents) {
        return Err(broken("the contents have another sum than the frame says"));
    }
    Ok(())
}

/// Appends what is in a compressed block.
fn inflate(
    block: &[u8],
    largest: usize,
    out: &mut Inflated,
    limit: usize,
) -> Result<(), CodecError> {
    let left = limit - out.length;
    // No block of so many bytes becomes more (a byte of a length stands for 255), so that a short one does not ask for a large room.
    let room = largest.min(block.len().saturating_mul(255));
    match decompress_into(block, out.room(room.min(left))) {
        Ok(length) => out.length += length,
        Err(_) if room > left => return Err(too_large(limit)),
        Err(error) => return Err(broken(error)),
    }
    Ok(())
}

/// What came out of frames, in bytes that the thread used before: to clear new ones each time took half as long as to inflate into
/// them.
struct Inflated {
    /// Longer than what is in them: behind it they hold what was there before.
    bytes: Vec<u8>,
    length: usize,
}

/// A thread keeps no more than this for the next time: what most clients put in a batch.
const MOST_SPARE: usize = 2 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Inflated {
    fn spare() -> Inflated {
        Inflated {
            bytes: SPARE.take(),
            length: 0,
        }
    }

    /// So many bytes behind what is there.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.length + bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.length..end]
    }
}

impl AsRef<[u8]> for Inflated {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Inflated {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() <= MOST_SPARE {
            // Where the thread is at its end there is no next time.
            let _ = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}

struct Header {
    flags: u8,
    /// The most that a block has.
    largest: usize,
    /// How many bytes all blocks have, if the frame says so.
    contents: Option<u64>,
}

fn header(rest: &mut Rest<'_>) -> Result<Header, CodecError> {
    let all = rest.0;
    rest.take(MAGIC.len())?;
    let [flags, sizes] = rest.array()?;
    if flags & 0xC0 != VERSION {
        return Err(broken("a frame is of another version"));
    }
    if flags & DICTIONARY != 0 {
        return Err(broken("a frame wants a dictionary"));
    }
    let largest = match sizes >> 4 & 7 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => return Err(broken("a frame has blocks of no size that there is")),
    };
    let contents = match flags & CONTENT_SIZE {
        0 => None,
        _ => Some(u64::from_le_bytes(rest.array()?)),
    };
    let described = &all[MAGIC.len()..all.len() - rest.0.len()];
    let [sum] = rest.array()?;
    if sum != XxHash32::oneshot(0, described).to_be_bytes()[2] {
        return Err(broken("a frame's header has another sum than it says"));
    }
    Ok(Header {
        flags,
        largest,
        contents,
    })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }
}

fn ends_early() -> CodecError {
    broken("a frame ends early")
}

fn broken(detail: impl std::fmt::Display) -> CodecError {
    corrupt(Compression::Lz4, detail)
}

fn too_large(limit: usize) -> CodecError {
    CodecError::TooLarge {
        codec: Compression::Lz4.name(),
        limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    use proptest::prelude::*;
    use std::io::{Read, Write};

    const LIMIT: usize = 1 << 20;

    fn packed(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The library's reader of frames.
    fn by_library(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let read = FrameDecoder::new(bytes)
            .take(LIMIT as u64 + 1)
            .read_to_end(&mut out);
        read.ok().map(|_| out).filter(|out| out.len() <= LIMIT)
    }

    fn infos() -> impl Strategy<Value = (FrameInfo, Vec<u8>)> {
        let sizes = prop_oneof![Just(BlockSize::Max64KB), Just(BlockSize::Max256KB)];
        let bytes = proptest::collection::vec(0u8..4, 0..200_000);
        (sizes, any::<[bool; 3]>(), bytes).prop_map(|(size, [blocks, all, told], bytes)| {
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(size);
            let info = info.block_checksums(blocks).content_checksum(all);
            (info.content_size(told.then_some(bytes.len() as u64)), bytes)
        })
    }

    proptest! {
        #[test]
        fn frames_are_read_as_the_library_reads_them((info, bytes) in infos(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut frame = packed(info, &bytes);
            prop_assert_eq!(decompress(&frame, LIMIT), Ok(bytes.clone().into()));
            let two = [frame.clone(), frame.clone()].concat();
            prop_assert_eq!(decompress(&two, LIMIT), Ok([bytes.clone(), bytes].concat().into()));
            // Damaged: what it makes of it, or an error where it has one. It lets a frame without an end pass, and block sizes of old.
            *at.get_mut(&mut frame) ^= 1_u8 << bit;
            if let Ok(read) = decompress(&frame, LIMIT) {
                prop_assert_eq!(by_library(&frame), Some(read.to_vec()));
            }
        }

        #[test]
        fn a_frame_that_ends_early_is_an_error((info, bytes) in infos(), at in any::<prop::sample::Index>()) {
            let frame = packed(info, &bytes);
            prop_assert!(decompress(&frame[..at.index(frame.len())], LIMIT).is_err());
        }
    }

    #[test]
    fn what_was_inflated_before_does_not_show() {
        let info = || FrameInfo::new().block_mode(BlockMode::Independent);
        let (long, short) = (packed(info(), &[7; 5000]), packed(info(), &[1, 2, 3]));
        let first = decompress(&long, LIMIT).unwrap();
        // The first is still held: these are other bytes.
        assert_eq!(decompress(&short, LIMIT).unwrap(), vec![1, 2, 3]);
        assert_eq!(first, vec![7; 5000]);
        drop(first);
        assert_eq!(decompress(&short, LIMIT).unwrap(), vec![1, 2, 3]);
        assert!(
            SPARE.take().len() >= 5000,
            "they are kept for the next time"
        );
    }

    #[test]
    fn dependent_blocks_are_refused() {
        let frame = packed(FrameInfo::new().block_mode(BlockMode::Linked), &[7; 1000]);
        assert_eq!(decompress(&frame, 10_000), Err(CodecError::DependentBlocks));
    }

    #[test]
    fn a_block_as_large_as_the_limit_is_read() {
        let bytes = vec![7; 5000];
        let frame = packed(FrameInfo::new().block_mode(BlockMode::Independent), &bytes);
        assert_eq!(decompress(&frame, bytes.len()), Ok(bytes.into()));
        let error = CodecError::TooLarge {
            codec: "lz4",
            limit: 4999,
        };
        assert_eq!(decompress(&frame, 4999), Err(error));
    }
}
