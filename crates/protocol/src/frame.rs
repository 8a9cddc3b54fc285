//! Requests and responses around their bodies: the headers, and decoding that cannot be talked into allocating.
//!
//! ```text
//! request  = length i32 · api key i16 · api version i16 · correlation id i32 · client id nullable string
//!            · (flexible versions) tagged fields · body
//! response = length i32 · correlation id i32 · (flexible versions) tagged fields · body
//! ```
//!
//! `kafka_protocol` reserves an array's declared count before it reads the first element: four bytes from a stranger
//! and the process asks for 200 GB. [`decode`] feeds it through a buffer that refuses such counts. See [`Guarded`].

mod produce;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::messages::ApiKey;
use crate::varint::{read_unsigned, write_unsigned};

pub use produce::check_produce_counts;

/// Why a frame is not a request that we can read. The connection cannot go on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the header ends early")]
    ShortHeader,
    #[error("the client id is not UTF-8")]
    ClientId,
    #[error("the body does not parse: {0}")]
    Body(String),
    #[error("{0} bytes follow the body")]
    Trailing(usize),
}

/// The first eight bytes of a request: enough to know what it is and to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
}

impl RequestHead {
    /// # Errors
    /// When the frame is shorter than eight bytes.
    pub fn take(frame: &mut Bytes) -> Result<RequestHead, FrameError> {
        if frame.len() < 8 {
            return Err(FrameError::ShortHeader);
        }
        Ok(RequestHead {
            api_key: frame.get_i16(),
            api_version: frame.get_i16(),
            correlation_id: frame.get_i32(),
        })
    }
}

/// The rest of a request's header, which only a known API and version tell how to read.
///
/// # Errors
/// When it ends early or the client id is not text.
pub fn take_client_id(
    frame: &mut Bytes,
    key: ApiKey,
    version: i16,
) -> Result<Option<StrBytes>, FrameError> {
    let length = frame.try_get_i16().map_err(|_| FrameError::ShortHeader)?;
    let client_id = match usize::try_from(length) {
        Err(_) => None,
        Ok(length) if length > frame.len() => return Err(FrameError::ShortHeader),
        Ok(length) => {
            Some(StrBytes::try_from(frame.split_to(length)).map_err(|_| FrameError::ClientId)?)
        }
    };
    if key.request_header_version(version) >= 2 {
        skip_tagged_fields(frame)?;
    }
    Ok(client_id)
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), FrameError> {
    let mut rest = frame.as_ref();
    let count = read_unsigned(&mut rest).ok_or(FrameError::ShortHeader)?;
    for _ in 0..count {
        read_unsigned(&mut rest).ok_or(FrameError::ShortHeader)?;
        let size = read_unsigned(&mut rest).ok_or(FrameError::ShortHeader)?;
        rest = usize::try_from(size)
            .ok()
            .and_then(|size| rest.get(size..))
            .ok_or(FrameError::ShortHeader)?;
    }
    frame.advance(frame.len() - rest.len());
    Ok(())
}

/// Decodes a request's body; the whole frame must be used up.
///
/// # Errors
/// When the body is short, wrong, declares a count that its bytes cannot hold, or is followed by something.
pub fn decode<R: Request>(body: Bytes, version: i16) -> Result<R, FrameError> {
    decode_message::<R>(body, version, R::header_version(version) >= 2)
}

/// [`decode`] for any message; `flexible` says how its lengths are written.
///
/// # Errors
/// As [`decode`].
pub fn decode_message<M: Decodable>(
    body: Bytes,
    version: i16,
    flexible: bool,
) -> Result<M, FrameError> {
    if !flexible {
        // The trial run of the doc of `Guarded`.
        run::<M>(
            Guarded {
                bytes: body.clone(),
                reading: Reading::FixedClamped,
            },
            version,
        )?;
        return run(
            Guarded {
                bytes: body,
                reading: Reading::Fixed,
            },
            version,
        );
    }
    run(
        Guarded {
            bytes: body,
            reading: Reading::Flexible { varint_left: 0 },
        },
        version,
    )
}

fn run<M: Decodable>(mut bytes: Guarded, version: i16) -> Result<M, FrameError> {
    let message = M::decode(&mut bytes, version).map_err(|e| FrameError::Body(e.to_string()))?;
    match bytes.bytes.len() {
        0 => Ok(message),
        left => Err(FrameError::Trailing(left)),
    }
}

/// A view of a message's bytes under which no declared count can be larger than the bytes that are left.
///
/// Flexible versions write every length and count as a varint: a varint above the bytes left is an error at once.
/// (A boolean or `i8` begins no varint: its legal values have the high bit clear, except −1, which is read as `i8`.)
/// Fixed versions write counts as `i32`, which cannot be told from other numbers. So they are decoded twice. In the
/// trial run, every `i32` above the bytes left is replaced by one more than the bytes left: plain numbers do not steer
/// the parse, so they do no harm; an array of that many elements, each at least one byte, must run dry and fails; so
/// after a trial that succeeds no count in the message was too large, and the real run is safe.
struct Guarded {
    bytes: Bytes,
    reading: Reading,
}

enum Reading {
    FixedClamped,
    Fixed,
    /// How many bytes of the varint at hand are still to come.
    Flexible {
        varint_left: usize,
    },
}

impl Guarded {
    /// Called with a varint's first byte still unread; refuses a value that no bytes can back.
    fn check_varint(&mut self) -> Result<(), TryGetError> {
        let left = self.bytes.len();
        let Reading::Flexible { varint_left } = &mut self.reading else {
            return Ok(());
        };
        if *varint_left > 0 {
            *varint_left -= 1;
            return Ok(());
        }
        let mut rest = self.bytes.as_ref();
        // A single byte is at most 127: as a count it is harmless, and it may be a boolean.
        if rest.first().is_some_and(|&byte| byte < 0x80) {
            return Ok(());
        }
        let refused = TryGetError {
            requested: usize::MAX,
            available: left,
        };
        let value = read_unsigned(&mut rest).ok_or(refused)?;
        let length = left - rest.len();
        // Compact lengths are written plus one.
        if value > rest.len() as u64 + 1 {
            return Err(TryGetError {
                requested: value as usize,
                available: left,
            });
        }
        *varint_left = length - 1;
        Ok(())
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        self.check_varint()?;
        self.bytes.try_get_u8()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.bytes.try_get_i32()?;
        let too_many = i32::try_from(self.bytes.len() + 1).unwrap_or(i32::MAX);
        match self.reading {
            Reading::FixedClamped => Ok(value.min(too_many)),
            Reading::Fixed | Reading::Flexible { .. } => Ok(value),
        }
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.split_to(size)
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        if self.bytes.len() < size {
            return Err(NotEnoughBytesError);
        }
        Ok(self.bytes.split_to(size))
    }
}

/// A whole response frame: length, header, body.
///
/// # Errors
/// When a field cannot be said in this version, which is a bug of the handler's.
pub fn encode_response<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, FrameError> {
    let body = |e: &dyn std::fmt::Display| FrameError::Body(e.to_string());
    let mut frame =
        BytesMut::with_capacity(64 + response.compute_size(version).map_err(|e| body(&e))?);
    frame.put_i32(0);
    put_response_header(&mut frame, correlation_id, R::header_version(version));
    response.encode(&mut frame, version).map_err(|e| body(&e))?;
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The header of a response: the correlation id and, in flexible versions, no tagged fields.
pub fn put_response_header(frame: &mut BytesMut, correlation_id: i32, header_version: i16) {
    frame.put_i32(correlation_id);
    if header_version >= 1 {
        frame.put_u8(0);
    }
}

/// What [`put_response_header`] wrote, for clients: the correlation id.
///
/// # Errors
/// When it ends early.
pub fn take_response_header(frame: &mut Bytes, header_version: i16) -> Result<i32, FrameError> {
    let correlation_id = frame.try_get_i32().map_err(|_| FrameError::ShortHeader)?;
    if header_version >= 1 {
        skip_tagged_fields(frame)?;
    }
    Ok(correlation_id)
}

/// An unsigned varint: how flexible versions write lengths and counts.
pub fn put_unsigned(out: &mut BytesMut, value: u64) {
    write_unsigned(out, value);
}

/// A whole request frame, for clients.
///
/// # Errors
/// When a field cannot be said in this version.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    version: i16,
    client_id: &str,
    request: &R,
) -> Result<Bytes, FrameError> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(R::KEY);
    frame.put_i16(version);
    frame.put_i32(correlation_id);
    frame.put_i16(client_id.len() as i16);
    frame.put_slice(client_id.as_bytes());
    if R::header_version(version) >= 2 {
        frame.put_u8(0);
    }
    request
        .encode(&mut frame, version)
        .map_err(|e| FrameError::Body(e.to_string()))?;
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests;
