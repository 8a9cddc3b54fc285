//! Footers of data files: read by themselves, and kept.

use super::damaged;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::writer::runs::{FOOTER_KEY, Run};
use bytes::Bytes;
use lw_stdx::disk::File;
use parking_lot::Mutex;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

/// Runs that are kept. A file of a pipeline has about as many as its topic has partitions.
const MOST_RUNS: usize = 100_000;
/// The reader of pages asks for some bytes at a time.
const READ_AHEAD: usize = 64 << 10;

/// What footers said, by path: data files never change.
#[derive(Default)]
pub struct Footers {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    runs: usize,
    by_path: HashMap<String, Option<Arc<Vec<Run>>>>,
}

impl Footers {
    /// The runs in a file's footer; `None` when it has none or is no Parquet file.
    pub(crate) fn runs(
        &self,
        files: &Files,
        path: &str,
    ) -> Result<Option<Arc<Vec<Run>>>, CatalogError> {
        if let Some(known) = self.kept.lock().by_path.get(path) {
            return Ok(known.clone());
        }
        let runs = read_runs(files, path)?.map(Arc::new);
        let mut kept = self.kept.lock();
        let weight = 1 + runs.as_ref().map_or(0, |runs| runs.len());
        if kept.runs + weight > MOST_RUNS {
            *kept = Kept::default();
        }
        kept.runs += weight;
        kept.by_path.insert(path.to_owned(), runs.clone());
        Ok(runs)
    }
}

fn read_runs(files: &Files, path: &str) -> Result<Option<Vec<Run>>, CatalogError> {
    if !path.ends_with(".parquet") {
        return Ok(None);
    }
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&Ranged::open(files, path)?)
        .map_err(|error| damaged(path, error))?;
    runs_of(&metadata, path)
}

/// The runs that a footer lists.
pub(crate) fn runs_of(
    metadata: &ParquetMetaData,
    path: &str,
) -> Result<Option<Vec<Run>>, CatalogError> {
    let entry = metadata
        .file_metadata()
        .key_value_metadata()
        .and_then(|entries| entries.iter().find(|entry| entry.key == FOOTER_KEY))
        .and_then(|entry| entry.value.as_deref());
    entry
        .map(|text| serde_json::from_str(text).map_err(|error| damaged(path, error)))
        .transpose()
}

/// A file that the Parquet reader reads where it needs to.
pub(crate) struct Ranged {
    file: Arc<dyn File>,
    length: u64,
}

impl Ranged {
    pub(super) fn open(files: &Files, path: &str) -> Result<Ranged, CatalogError> {
        let file = files.open(path)?;
        let length = file.len()?;
        Ok(Ranged { file, length })
    }
}

impl Length for Ranged {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Ranged {
    type T = BufReader<Rest>;

    fn get_read(&self, start: u64) -> ParquetResult<BufReader<Rest>> {
        let rest = Rest {
            file: self.file.clone(),
            at: start,
        };
        Ok(BufReader::with_capacity(READ_AHEAD, rest))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.saturating_add(length as u64) > self.length {
            return Err(ParquetError::EOF("the file ends before that".to_owned()));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// The file from an offset on.
pub(crate) struct Rest {
    file: Arc<dyn File>,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
