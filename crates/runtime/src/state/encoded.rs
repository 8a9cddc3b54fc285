//! Rows of state as bytes: an Arrow IPC stream, compressed with zstd. Frozen by [`crate::manifest::FORMAT`].

use super::StateError;
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Fast: a checkpoint waits for it.
const LEVEL: i32 = 1;

/// Rows as they are stored: here, or in a file where they are large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRows {
    pub rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<StateFile>,
}

/// Bytes as base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub(super) Vec<u8>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        STANDARD.encode(bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Bytes, base64::DecodeError> {
        STANDARD.decode(text).map(Bytes)
    }
}

/// A file of compressed rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    pub name: String,
    pub bytes: u64,
    /// CRC-32C.
    pub check: u32,
}

impl StoredRows {
    /// How many bytes they are, compressed.
    pub fn bytes(&self) -> u64 {
        let inline = self.inline.as_ref().map(|bytes| bytes.0.len() as u64);
        inline.unwrap_or_else(|| self.file.as_ref().map_or(0, |file| file.bytes))
    }
}

pub(super) fn encode(rows: &RecordBatch) -> Result<Vec<u8>, StateError> {
    let failed = |error: ArrowError| StateError::new(format!("state cannot be written: {error}"));
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    let stream = writer.into_inner().map_err(failed)?;
    zstd::bulk::compress(&stream, LEVEL)
        .map_err(|error| StateError::new(format!("state cannot be compressed: {error}")))
}

/// The rows that `stored` says are these bytes, of the section `name`.
pub(super) fn decode(
    name: &str,
    stored: &StoredRows,
    bytes: &[u8],
) -> Result<RecordBatch, StateError> {
    let mut stream = inflated(bytes).map_err(|error| damaged(name, error))?;
    let mut decoder = StreamDecoder::new();
    let mut next = || decoder.decode(&mut stream);
    let (first, more) = next()
        .and_then(|first| Ok((first, next()?)))
        .map_err(|error| damaged(name, error))?;
    decoder.finish().map_err(|error| damaged(name, error))?;
    match (first, more) {
        (Some(rows), None) if rows.num_rows() as u64 == stored.rows => Ok(rows),
        (Some(_), None) => Err(damaged(
            name,
            "it does not have the rows that it is to have",
        )),
        _ => Err(damaged(name, "it is not one batch")),
    }
}

/// The columns of a batch are read out of these bytes without another copy.
fn inflated(bytes: &[u8]) -> std::io::Result<Buffer> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes);
    let size = size.ok().flatten().unwrap_or(0);
    let mut stream = Vec::new();
    // What is damaged may state any size: it is room that is asked for, and no more is believed of it.
    let room = stream.try_reserve_exact(usize::try_from(size).unwrap_or(0));
    room.map_err(std::io::Error::other)?;
    zstd::stream::copy_decode(bytes, &mut stream)?;
    Ok(Buffer::from_vec(stream))
}

pub(super) fn damaged(name: &str, why: impl std::fmt::Display) -> StateError {
    StateError::new(format!(
        "the section '{name}' of the state cannot be read: {why}"
    ))
}
