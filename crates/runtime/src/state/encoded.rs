//! Sections of state as bytes: an Arrow IPC stream, compressed with zstd. Frozen by [`crate::manifest::FORMAT`].

use super::{Section, StateError, StateReader};
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Fast: a checkpoint waits for it.
const LEVEL: i32 = 1;

/// An operator's state in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorState {
    /// How far event time had come at the operator, milliseconds since 1970.
    pub watermark: Option<i64>,
    pub sections: Vec<StoredSection>,
}

/// A section of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSection {
    pub name: String,
    /// The first of its key groups, and the one behind the last.
    pub groups: (u16, u16),
    pub rows: u64,
    /// The compressed rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Bytes>,
    /// Where they are, when they are too large to stand here.
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

impl StoredSection {
    /// How many bytes its compressed rows are.
    pub fn bytes(&self) -> u64 {
        let inline = self.inline.as_ref().map(|bytes| bytes.0.len() as u64);
        inline.unwrap_or_else(|| self.file.as_ref().map_or(0, |file| file.bytes))
    }
}

impl OperatorState {
    /// # Errors
    /// When Arrow cannot write the rows.
    pub fn encode(state: &StateReader) -> Result<OperatorState, StateError> {
        let sections = state.all().iter().map(|section| {
            Ok(StoredSection {
                name: section.name.clone(),
                groups: (section.groups.start, section.groups.end),
                rows: section.rows.num_rows() as u64,
                inline: Some(Bytes(encode(&section.rows)?)),
                file: None,
            })
        });
        Ok(OperatorState {
            watermark: state.watermark(),
            sections: sections.collect::<Result<_, _>>()?,
        })
    }

    /// # Errors
    /// When the bytes are damaged, or stand in a file that was not read.
    pub fn decode(&self) -> Result<StateReader, StateError> {
        let sections = self.sections.iter().map(|stored| {
            let bytes = stored.inline.as_ref();
            let bytes = bytes.ok_or_else(|| damaged(&stored.name, "its file was not read"))?;
            let rows = decode(&stored.name, &bytes.0)?;
            if rows.num_rows() as u64 != stored.rows {
                return Err(damaged(
                    &stored.name,
                    "it does not have the rows that it is to have",
                ));
            }
            Ok(Section {
                name: stored.name.clone(),
                groups: stored.groups.0..stored.groups.1,
                rows,
            })
        });
        let sections = sections.collect::<Result<_, _>>()?;
        Ok(StateReader::new(self.watermark, sections))
    }

    /// How many bytes its compressed rows are.
    pub fn bytes(&self) -> u64 {
        self.sections.iter().map(StoredSection::bytes).sum()
    }
}

fn encode(rows: &RecordBatch) -> Result<Vec<u8>, StateError> {
    let failed = |error: ArrowError| StateError::new(format!("state cannot be written: {error}"));
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    let stream = writer.into_inner().map_err(failed)?;
    zstd::bulk::compress(&stream, LEVEL)
        .map_err(|error| StateError::new(format!("state cannot be compressed: {error}")))
}

fn decode(name: &str, bytes: &[u8]) -> Result<RecordBatch, StateError> {
    let stream = zstd::stream::decode_all(bytes).map_err(|error| damaged(name, error))?;
    let mut reader = StreamReader::try_new(&*stream, None).map_err(|error| damaged(name, error))?;
    match (reader.next(), reader.next()) {
        (Some(Ok(rows)), None) => Ok(rows),
        (Some(Err(error)), _) => Err(damaged(name, error)),
        _ => Err(damaged(name, "it is not one batch")),
    }
}

fn damaged(name: &str, why: impl std::fmt::Display) -> StateError {
    StateError::new(format!(
        "the section '{name}' of the state cannot be read: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn state() -> StateReader {
        let keys = StringArray::from(vec![Some("a"), None, Some("")]);
        let sums = Float64Array::from(vec![f64::NAN, -0.0, 1.5]);
        let rows = RecordBatch::try_from_iter([
            ("key", Arc::new(keys) as ArrayRef),
            ("sum", Arc::new(sums) as ArrayRef),
        ]);
        let section = Section {
            name: "groups".to_string(),
            groups: 0..128,
            rows: rows.expect("two columns"),
        };
        StateReader::new(Some(7), vec![section])
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let stored = OperatorState::encode(&state()).expect("it can be written");
        let read = stored.decode().expect("it can be read");
        assert_eq!(read.watermark(), Some(7));
        let (wrote, read) = (&state().all()[0].rows.clone(), &read.all()[0].rows);
        assert_eq!(wrote.column(0), read.column(0));
        let bits = |rows: &RecordBatch| {
            let sums = rows.column(1).as_any().downcast_ref::<Float64Array>();
            let sums = sums.expect("it is one").values().iter();
            sums.map(|sum| sum.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(wrote), bits(read));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = OperatorState::encode(&state()).expect("it can be written");
        let mut torn = good.clone();
        let bytes = torn.sections[0].inline.as_mut().expect("it is no file");
        bytes.0.truncate(bytes.0.len() / 2);
        let mut short = good.clone();
        short.sections[0].rows += 1;
        for bad in [torn, short] {
            let error = bad.decode().expect_err("it is damaged").to_string();
            let said = "the section 'groups' of the state cannot be read";
            assert!(error.starts_with(said), "{error}");
        }
    }
}
