//! The four codecs of record batches, each with a bound on what it may inflate to.
//!
//! Snappy comes in two dresses: xerial's (Java, most clients: a magic and length-prefixed blocks) and raw; we read both
//! and write xerial's, which every client reads. LZ4 is the frame format with independent blocks: Java cannot read
//! dependent ones, so a batch that has them is refused before anyone is stuck on it.

mod lz4;

use std::io::{Read, Write};

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};

pub use lz4::check_lz4_frame;

/// How a batch's records are compressed; the numbers are the attribute bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("compression codec {0} does not exist")]
    Unknown(i16),
    #[error("{codec} data is corrupt: {detail}")]
    Corrupt { codec: &'static str, detail: String },
    #[error("{codec} data inflates to more than {limit} bytes")]
    TooLarge { codec: &'static str, limit: usize },
    #[error("LZ4 frames with dependent blocks are not supported; compress with independent blocks")]
    DependentBlocks,
}

impl Compression {
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// # Errors
    /// When no codec has these bits.
    pub fn from_bits(bits: i16) -> Result<Compression, CodecError> {
        match bits {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            other => Err(CodecError::Unknown(other)),
        }
    }

    pub(crate) fn bits(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The name in `compression.type`; `uncompressed` is the topic's word for none.
    pub fn from_topic_config(name: &str) -> Option<Compression> {
        match name {
            "uncompressed" | "none" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Inflates `bytes` to at most `limit` bytes.
///
/// # Errors
/// When the data is corrupt or inflates to more.
pub fn decompress(codec: Compression, bytes: &[u8], limit: usize) -> Result<Bytes, CodecError> {
    let inflated = match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => read_bounded(
            codec,
            flate2::read::MultiGzDecoder::new(bytes),
            bytes.len(),
            limit,
        ),
        Compression::Snappy => snappy_decompress(bytes, limit),
        Compression::Lz4 => return lz4::decompress(bytes, limit),
        Compression::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).map_err(|e| corrupt(codec, e))?;
            read_bounded(codec, decoder, bytes.len(), limit)
        }
    };
    inflated.map(Bytes::from)
}

/// Compresses with each codec's usual level.
///
/// # Errors
/// When the codec itself fails (out of memory).
pub fn compress(codec: Compression, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder
                .write_all(bytes)
                .and_then(|()| encoder.finish())
                .map_err(|e| corrupt(codec, e))
        }
        Compression::Snappy => snappy_compress(bytes),
        Compression::Lz4 => {
            let info = FrameInfo::new().block_mode(BlockMode::Independent);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).map_err(|e| corrupt(codec, e))?;
            encoder.finish().map_err(|e| corrupt(codec, e))
        }
        Compression::Zstd => zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL)
            .map_err(|e| corrupt(codec, e)),
    }
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and lowest compatible version.
const XERIAL_HEADER: usize = 16;
const XERIAL_BLOCK: usize = 32 << 10;

fn snappy_decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_MAGIC) {
        snappy_block(bytes, &mut out, limit)?;
        return Ok(out);
    }
    let short = || corrupt(Compression::Snappy, "a block ends early");
    let mut rest = bytes.get(XERIAL_HEADER..).ok_or_else(short)?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(short)?;
        snappy_block(block, &mut out, limit)?;
        rest = after;
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(short())
    }
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    let length = snap::raw::decompress_len(block).map_err(|e| corrupt(Compression::Snappy, e))?;
    // The declared length is the peer's word; snappy cannot shrink below a 64th or so, so more than that is a lie.
    if length > block.len().saturating_mul(64) + 64 {
        return Err(corrupt(
            Compression::Snappy,
            "a block declares more than it can hold",
        ));
    }
    let start = out.len();
    if start + length > limit {
        return Err(CodecError::TooLarge {
            codec: Compression::Snappy.name(),
            limit,
        });
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|e| corrupt(Compression::Snappy, e))?;
    out.truncate(start + written);
    Ok(())
}

fn snappy_compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(XERIAL_HEADER + bytes.len() / 2);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK) {
        let block = encoder
            .compress_vec(block)
            .map_err(|e| corrupt(Compression::Snappy, e))?;
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(out)
}

fn read_bounded(
    codec: Compression,
    reader: impl Read,
    hint: usize,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(hint.saturating_mul(4).min(limit));
    reader
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| corrupt(codec, e))?;
    if out.len() > limit {
        return Err(CodecError::TooLarge {
            codec: codec.name(),
            limit,
        });
    }
    Ok(out)
}

fn corrupt(codec: Compression, detail: impl std::fmt::Display) -> CodecError {
    CodecError::Corrupt {
        codec: codec.name(),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_codec_round_trips(bytes in proptest::collection::vec(0u8..8, 0..100_000)) {
            for codec in Compression::ALL {
                let packed = compress(codec, &bytes).unwrap();
                prop_assert_eq!(&decompress(codec, &packed, bytes.len()).unwrap(), &bytes, "{:?}", codec);
            }
        }

        #[test]
        fn garbage_is_an_error_not_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for codec in Compression::ALL {
                let _ = decompress(codec, &bytes, 1 << 20);
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0u8; 4 << 20];
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let packed = compress(codec, &zeros).unwrap();
            let error = decompress(codec, &packed, 1 << 20).unwrap_err();
            assert_eq!(
                error,
                CodecError::TooLarge {
                    codec: codec.name(),
                    limit: 1 << 20
                }
            );
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let packed = snap::raw::Encoder::new()
            .compress_vec(b"raw, not framed")
            .unwrap();
        assert_eq!(
            decompress(Compression::Snappy, &packed, 100).unwrap(),
            b"raw, not framed".as_slice()
        );
    }
}
