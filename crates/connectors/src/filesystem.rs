//! `filesystem`: the records of files, one file after the other.
//!
//! A file is what a topic is elsewhere: it has one partition, and the offset of a record is its number in it. The files are those
//! that are there when reading begins, in the order of their paths, and the read is over at the end of the last. Where it stands
//! is in the manifest, and so is what each file holds, as the topic's id: one that was changed since is not gone on with.
//!
//! Each file is read twice, to count its records and to decode them. Whoever reads waits for no one.

mod records;

use lw_formats::Decoder;
use lw_graph::{FileSource, SourceColumn};
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Progress, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Chunk, DeadLetter, Origin, Runs, Split};
use lw_storage::source::{PartitionBounds, TopicBounds};
use records::{Content, Cutter, Records, content, trimmed};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Reads the files of one table.
pub struct Filesystem {
    spec: FileSource,
    decoder: Box<dyn Decoder>,
    cutter: Cutter,
    /// In the order in which they are read.
    files: Vec<Reading>,
    splits: Arc<[Split]>,
    /// The file that is open, and its records from where it stands.
    open: Option<(usize, Records<File>)>,
    cuts: Vec<SplitOffset>,
}

/// How far a file is.
struct Reading {
    path: PathBuf,
    next: i64,
    end: i64,
    /// What it holds; `None` where it is read to its end and gone.
    content: Option<Content>,
}

impl Filesystem {
    /// # Errors
    /// [`ErrorKind::Fix`] when the format cannot decode the columns.
    pub fn new(spec: &FileSource) -> Result<Filesystem, ConnectorError> {
        let columns = spec.columns.iter().map(|column| match column {
            SourceColumn::Value(index) => *index,
            SourceColumn::Metadata(_) => unreachable!("the planner knows no metadata of files"),
        });
        let columns: Vec<usize> = columns.collect();
        let decoder = lw_formats::decoder(&spec.format, &spec.value_schema, &columns, None);
        let decoder = decoder.map_err(|error| {
            ConnectorError::new(ErrorKind::Fix, &error)
                .detail(error.detail)
                .hint(error.hint)
        })?;
        Ok(Filesystem {
            decoder,
            cutter: Cutter::of(&spec.format),
            spec: spec.clone(),
            files: Vec::new(),
            splits: Arc::new([]),
            open: None,
            cuts: Vec::new(),
        })
    }

    /// A file where it is to be read from; `end` where that is decided.
    fn reading(
        &self,
        path: PathBuf,
        next: i64,
        end: Option<i64>,
    ) -> Result<Reading, ConnectorError> {
        let content = match content(&path, self.cutter, next) {
            Ok(content) => content,
            // All of it is read: it may go.
            Err(error) if error.kind() == io::ErrorKind::NotFound && end == Some(next) => {
                return Ok(Reading {
                    path,
                    next,
                    end: next,
                    content: None,
                });
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        Ok(Reading {
            path,
            next,
            end: end.unwrap_or(content.records),
            content: Some(content),
        })
    }

    /// Up to where a poll of this file reads.
    fn limit(&self, file: usize) -> i64 {
        let Reading { next, end, .. } = self.files[file];
        let topic = &*self.splits[file].topic;
        let cuts = self.cuts.iter().filter(|cut| cut.topic == topic);
        let cut = cuts.map(|cut| cut.next).filter(|cut| *cut > next).min();
        cut.map_or(end, |cut| cut.min(end))
    }

    /// The records of a file from where it stands.
    fn open_at(&mut self, file: usize) -> Result<Records<File>, ConnectorError> {
        let open = self.open.take_if(|(open, _)| *open == file);
        if let Some((_, records)) = open {
            return Ok(records);
        }
        let Reading { path, content, .. } = &self.files[file];
        let position = content.as_ref().map_or(0, |content| content.position);
        let opened = File::open(path).and_then(|mut opened| {
            opened.seek(SeekFrom::Start(position))?;
            Ok(opened)
        });
        let opened = opened.map_err(|error| unreadable(path, &error))?;
        Ok(Records::new(opened, self.cutter))
    }

    fn letter(&self, origin: Origin) -> DeadLetter {
        let Split { topic, partition } = &self.splits[origin.split as usize];
        DeadLetter {
            topic: topic.clone(),
            partition: *partition,
            offset: origin.offset,
            timestamp: 0,
            key: None,
            value: None,
            stage: "decode",
            code: String::new(),
            error: String::new(),
        }
    }

    fn at(&self, file: usize, next: i64) -> SplitOffset {
        SplitOffset {
            topic: self.splits[file].topic.to_string(),
            partition: 0,
            next,
        }
    }
}

impl Source for Filesystem {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        let at = |path: &Path| {
            let mut known = offsets.iter();
            let known = known.find(|at| Path::new(&at.topic) == path);
            known.map_or(0, |at| at.next)
        };
        let mut files = Vec::new();
        match until {
            Some(until) => {
                for end in until {
                    let path = PathBuf::from(&end.topic);
                    files.push(self.reading(path.clone(), at(&path), Some(end.next))?);
                }
            }
            None => {
                for path in paths(&self.spec)? {
                    files.push(self.reading(path.clone(), at(&path), None)?);
                }
            }
        }
        let split = |file: &Reading| Split {
            topic: name(&file.path).into(),
            partition: 0,
        };
        self.splits = files.iter().map(split).collect();
        self.files = files;
        self.open = None;
        self.cuts.clear();
        Ok(())
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        self.cuts.extend_from_slice(cuts);
    }

    fn topics(&self) -> BTreeMap<String, Uuid> {
        let files = self.files.iter();
        let known = files.filter_map(|file| Some((name(&file.path), id(file.content.as_ref()?))));
        known.collect()
    }

    fn another(&self, file: &str) -> Option<ConnectorError> {
        Some(changed(file))
    }

    fn ends(&self) -> Option<Vec<SplitOffset>> {
        let ends = self.files.iter().enumerate();
        Some(ends.map(|(file, at)| self.at(file, at.end)).collect())
    }

    fn splits(&self) -> Arc<[Split]> {
        self.splits.clone()
    }

    fn poll(&mut self, max_bytes: usize, _: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = Polled {
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: Vec::new(),
            finished: false,
            appended: Vec::new(),
        };
        let mut unread = (0..self.files.len()).filter(|file| {
            let Reading { next, end, .. } = self.files[*file];
            next < end
        });
        let Some(file) = unread.next() else {
            polled.finished = true;
            return Ok(polled);
        };
        let (from, to) = (self.files[file].next, self.limit(file));
        let split = u32::try_from(file).expect("files of a table are few");
        let mut records = self.open_at(file)?;
        let (mut origins, mut skipped) = (Runs::default(), 0);
        let (mut offset, mut bytes, mut record) = (from, 0, Vec::new());
        while offset < to && (bytes == 0 || bytes < max_bytes) {
            record.clear();
            let taken = records.next(&mut record);
            let taken = taken.map_err(|error| unreadable(&self.files[file].path, &error))?;
            if taken == 0 {
                return Err(changed(&name(&self.files[file].path)));
            }
            bytes += taken;
            let (value, origin) = (trimmed(&record), Origin { split, offset });
            offset += 1;
            if value.is_empty() && self.cutter.passes_empty() {
                skipped += 1;
                continue;
            }
            match self.decoder.push(Some(value)) {
                Ok(decoded) => {
                    skipped += u64::from(decoded.rows == 0);
                    let rows = u32::try_from(decoded.rows).expect("a record has few rows");
                    origins.push(origin, rows);
                }
                Err(error) => polled.dead_letters.push(DeadLetter {
                    value: Some(value.to_vec()),
                    code: error.code.to_string(),
                    error: error.message,
                    ..self.letter(origin)
                }),
            }
        }
        self.files[file].next = offset;
        if let Some(content) = &mut self.files[file].content {
            content.position += bytes as u64;
        }
        self.open = Some((file, records));
        let columns = self.decoder.finish();
        if !origins.is_empty() {
            let batch = Chunk::new(columns, origins, self.splits.clone());
            polled.batches.push(batch);
        }
        polled.progress.push(Progress {
            split,
            from,
            to: offset,
            control: 0,
            skipped,
        });
        polled.finished = self.files.iter().all(|file| file.next >= file.end);
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let mut letters = Vec::new();
        for origin in origins {
            let path = &self.files[origin.split as usize].path;
            let value = record_at(path, self.cutter, origin.offset);
            letters.push(DeadLetter {
                value: value.map_err(|error| unreadable(path, &error))?,
                stage: "evaluate",
                ..self.letter(*origin)
            });
        }
        Ok(letters)
    }

    fn positions(&self) -> Vec<SplitOffset> {
        let files = self.files.iter().enumerate();
        files.map(|(file, at)| self.at(file, at.next)).collect()
    }

    fn lag(&self) -> u64 {
        let left = self.files.iter().map(|file| file.end - file.next);
        u64::try_from(left.sum::<i64>()).unwrap_or(0)
    }
}

/// A file as an audit sees it; `None` where it is gone.
///
/// # Errors
/// When it cannot be read.
pub fn look(spec: &FileSource, file: &str) -> io::Result<Option<TopicBounds>> {
    match content(Path::new(file), Cutter::of(&spec.format), 0) {
        Ok(content) => Ok(Some(TopicBounds {
            id: id(&content),
            partitions: vec![PartitionBounds {
                partition: 0,
                start: 0,
                end: content.records,
            }],
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A record by its number.
fn record_at(path: &Path, cutter: Cutter, number: i64) -> io::Result<Option<Vec<u8>>> {
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

/// Says what a file holds: its length and its checksum.
fn id(content: &Content) -> Uuid {
    Uuid::from_u128(u128::from(content.bytes) << 64 | u128::from(content.check))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// The files of a table, by path: all below the folder, but for those whose names, or whose folders', begin with `.` or `_`.
fn paths(spec: &FileSource) -> Result<Vec<PathBuf>, ConnectorError> {
    let root = Path::new(&spec.path);
    let mut found = Vec::new();
    gather(root, &mut found).map_err(|error| unreadable(root, &error))?;
    found.sort();
    match found.iter().find(|path| path.to_str().is_none()) {
        Some(path) => {
            let message = format!("the name of {} is no text", path.display());
            Err(ConnectorError::new(ErrorKind::Fix, message).hint("Rename the file."))
        }
        None => Ok(found),
    }
}

fn gather(path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with(['.', '_']);
        if !hidden {
            gather(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Offsets in it are of what it held before.
fn changed(file: &str) -> ConnectorError {
    ConnectorError::new(ErrorKind::Fix, format!("file '{file}' was changed"))
        .detail("Its records are counted, and some of them may be read already; nothing was read of what it holds now.")
        .hint("Put back what it held, or drop the pipeline (`lakeward pipeline drop`) and run its script with another table. New records come in new files.")
}

fn unreadable(path: &Path, error: &io::Error) -> ConnectorError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => ErrorKind::Fix,
        _ => ErrorKind::Retry,
    };
    let message = format!("file '{}' cannot be read: {error}", path.display());
    ConnectorError::new(kind, message)
        .hint("The path of a 'filesystem' table is one of the machine that the server runs on.")
}

#[cfg(test)]
mod tests;
