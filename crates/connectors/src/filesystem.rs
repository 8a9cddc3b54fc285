//! `filesystem`: the records of files, one file after the other.
//!
//! A file is what a topic is elsewhere: it has one partition, and the offset of a record is its number in it. The files are those
//! that are there when reading begins, in the order of their paths, and the read is over at the end of the last. Where it stands
//! is in the manifest, and so is what each file holds, as the topic's id: one that was changed since is not gone on with.
//!
//! Each file is read twice, to count its records and to decode them. Whoever reads waits for no one, unless the folder is watched: then
//! it is looked for new files ever and again, and they are read in the order in which they were found, those of one look by path. Their
//! ends are written down with what is read of them. A file counts with the records that it has when it is found, and an empty one is
//! not found at all.

mod folder;
mod lines;
pub(crate) mod parquet;
mod records;

use crate::undecodable;
use arrow_array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow_select::take::take;
use lw_formats::Decoder;
use lw_graph::{Field, FileFormat, FileSource, MetadataKey, Schema, SourceColumn};
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Progress, Source};
use lw_runtime::kernel::WholePattern;
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Chunk, DeadLetter, Origin, Runs, Split};
use lw_stdx::clock::Clock;
use lw_storage::source::{PartitionBounds, TopicBounds};
use parking_lot::{Condvar, Mutex};
use records::{Content, Cutter, Records};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Reads the files of one table.
pub struct Filesystem {
    spec: FileSource,
    form: Form,
    /// In the order in which they are read.
    files: Vec<Reading>,
    splits: Arc<[Split]>,
    /// The file that is open, where it stands.
    open: Option<(usize, Open)>,
    cuts: Vec<SplitOffset>,
    clock: Arc<dyn Clock>,
    /// When it was looked for new files.
    looked: Duration,
    /// Those that were found since anybody asked.
    found: Vec<usize>,
    /// What the paths of all files match.
    pattern: Option<WholePattern>,
}

/// How the files are read.
enum Form {
    Lines {
        decoder: Box<dyn Decoder>,
        cutter: Cutter,
    },
    Parquet(parquet::Columns),
}

/// What is left of a file.
enum Open {
    Lines(Records<File>),
    Parquet(Box<parquet::Rows>),
}

/// How far a file is.
struct Reading {
    path: PathBuf,
    next: i64,
    end: i64,
    /// What it holds; `None` where it is read to its end and gone.
    content: Option<Content>,
    /// What its path says, each the one value of a column.
    says: Vec<ArrayRef>,
}

/// What a poll took of a file.
struct Taken {
    /// The columns that the file holds.
    columns: RecordBatch,
    origins: Runs,
    faults: Vec<Fault>,
    skipped: u64,
    /// The offset behind it.
    next: i64,
    bytes: u64,
}

/// A record that is no row.
struct Fault {
    offset: i64,
    value: Option<Vec<u8>>,
    code: &'static str,
    error: String,
}

impl Reading {
    /// One value.
    fn metadata(&self, key: MetadataKey) -> ArrayRef {
        let text = |text: String| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        match key {
            MetadataKey::FilePath => text(name(&self.path)),
            MetadataKey::FileName => {
                let name = self.path.file_name();
                text(name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()))
            }
            MetadataKey::FileSize => {
                let size = self.content.as_ref().map_or(0, |content| content.bytes);
                Arc::new(Int64Array::from(vec![
                    i64::try_from(size).unwrap_or(i64::MAX),
                ]))
            }
            of_record => unreachable!("the planner knows no {of_record:?} of files"),
        }
    }
}

impl Filesystem {
    /// # Errors
    /// [`ErrorKind::Fix`] when the format cannot decode the columns.
    pub fn new(spec: &FileSource, clock: Arc<dyn Clock>) -> Result<Filesystem, ConnectorError> {
        let form = match &spec.format {
            FileFormat::Parquet => Form::Parquet(parquet::Columns::of(spec)),
            FileFormat::Lines(format) => {
                let columns = spec.columns.iter().filter_map(|column| match column {
                    SourceColumn::Value(index) => Some(*index),
                    SourceColumn::Key(_) | SourceColumn::Metadata(_) | SourceColumn::Appended => {
                        None
                    }
                });
                let columns: Vec<usize> = columns.collect();
                let decoder = lw_formats::decoder(format, &spec.value_schema, &columns, None);
                Form::Lines {
                    decoder: decoder.map_err(undecodable)?,
                    cutter: Cutter::of(format),
                }
            }
        };
        let pattern = spec.pattern.as_deref().map(WholePattern::new);
        let pattern = pattern.transpose();
        Ok(Filesystem {
            pattern: pattern.map_err(|error| ConnectorError::new(ErrorKind::Fix, error))?,
            form,
            spec: spec.clone(),
            files: Vec::new(),
            splits: Arc::new([]),
            open: None,
            cuts: Vec::new(),
            looked: clock.elapsed(),
            found: Vec::new(),
            clock,
        })
    }

    /// A file where it is to be read from; `end` where that is decided.
    fn reading(
        &self,
        path: PathBuf,
        next: i64,
        end: Option<i64>,
    ) -> Result<Reading, ConnectorError> {
        let content = match content(&self.spec.format, &path, next) {
            Ok(content) => Some(content),
            // All of it is read: it may go.
            Err(error) if error.kind() == io::ErrorKind::NotFound && end == Some(next) => None,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let records = content.as_ref().map_or(next, |content| content.records);
        Ok(Reading {
            says: folder::partition(&self.spec, &path)?,
            path,
            next,
            end: end.unwrap_or(records),
            content,
        })
    }

    /// The file that is read next.
    fn unread(&self) -> Option<usize> {
        let mut files = self.files.iter();
        files.position(|file| file.next < file.end)
    }

    /// Adds files that have come since.
    fn look(&mut self) -> Result<(), ConnectorError> {
        self.looked = self.clock.elapsed();
        let known: BTreeSet<&Path> = self.files.iter().map(|file| &*file.path).collect();
        let mut new = folder::paths(&self.spec, self.pattern.as_ref())?;
        new.retain(|path| !known.contains(&**path));
        for path in new {
            let file = self.reading(path, 0, None)?;
            if file.end > 0 {
                self.found.push(self.files.len());
                self.files.push(file);
            }
        }
        if self.splits.len() < self.files.len() {
            self.splits = self.files.iter().map(split).collect();
        }
        Ok(())
    }

    /// Looks for new files when it is time to, for which it waits up to `timeout`.
    fn watch(&mut self, every: u64, timeout: Duration) -> Result<(), ConnectorError> {
        let due = self.looked + Duration::from_millis(every);
        let left = due.saturating_sub(self.clock.elapsed());
        if !left.is_zero() && !timeout.is_zero() {
            // Nobody wakes it: it is the time that passes.
            Condvar::new().wait_for(&mut Mutex::new(()).lock(), left.min(timeout));
        }
        match self.clock.elapsed() >= due {
            true => self.look(),
            false => Ok(()),
        }
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
    fn open_at(&mut self, file: usize) -> Result<Open, ConnectorError> {
        let open = self.open.take_if(|(open, _)| *open == file);
        if let Some((_, open)) = open {
            return Ok(open);
        }
        let Reading {
            path,
            content,
            next,
            ..
        } = &self.files[file];
        let cutter = match &self.form {
            Form::Parquet(columns) => {
                let rows = columns.open(path, *next)?;
                return Ok(Open::Parquet(Box::new(rows)));
            }
            Form::Lines { cutter, .. } => *cutter,
        };
        let position = content.as_ref().map_or(0, |content| content.position);
        let opened = File::open(path).and_then(|mut opened| {
            opened.seek(SeekFrom::Start(position))?;
            Ok(opened)
        });
        let opened = opened.map_err(|error| unreadable(path, &error))?;
        Ok(Open::Lines(Records::new(opened, cutter)))
    }

    /// Takes records `[from, to)` of a file, about `max_bytes` of them and at least one.
    fn take(
        &mut self,
        file: usize,
        from: Origin,
        to: i64,
        max_bytes: usize,
    ) -> Result<Taken, ConnectorError> {
        let mut open = self.open_at(file)?;
        let path = &self.files[file].path;
        let taken = match (&mut self.form, &mut open) {
            (Form::Lines { decoder, cutter }, Open::Lines(records)) => {
                let passes_empty = cutter.passes_empty();
                let taken = lines::take(&mut **decoder, records, passes_empty, from, to, max_bytes);
                taken.map_err(|error| unreadable(path, &error))?
            }
            (Form::Parquet(_), Open::Parquet(rows)) => rows.take(path, from, to, max_bytes)?,
            _ => unreachable!("a file is opened in the form of its table"),
        };
        let taken = taken.ok_or_else(|| changed(&name(path)))?;
        self.open = Some((file, open));
        Ok(taken)
    }

    /// The columns of the files, and what is known of each beside them, in the order that the plan wants.
    fn arranged(&self, file: usize, read: RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let columns = &self.spec.columns;
        let mut all = columns.iter();
        if all.all(|column| matches!(column, SourceColumn::Value(_))) {
            return Ok(read);
        }
        let bug = |error| ConnectorError::new(ErrorKind::Bug, error);
        let rows = read.num_rows();
        let first = UInt32Array::from(vec![0; rows]);
        let mut values = read.columns().iter().cloned();
        let (mut arrays, mut fields) = (Vec::new(), Vec::new());
        let file = &self.files[file];
        for column in columns {
            match column {
                SourceColumn::Key(at) => {
                    arrays.push(take(&file.says[*at], &first, None).map_err(bug)?);
                    fields.push(self.spec.partitions.fields[*at].clone());
                }
                SourceColumn::Value(at) => {
                    arrays.push(values.next().expect("every projected column is read"));
                    fields.push(self.spec.value_schema.fields[*at].clone());
                }
                SourceColumn::Metadata(key) => {
                    arrays.push(take(&file.metadata(*key), &first, None).map_err(bug)?);
                    fields.push(Field::new(format!("{key:?}"), key.ty()));
                }
                SourceColumn::Appended => unreachable!("the planner knows no clock of files"),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = lw_formats::arrow_schema(&Schema::new(fields));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(bug)
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
        let mut files: Vec<Reading> = Vec::new();
        match until {
            Some(until) => {
                for end in until {
                    let path = PathBuf::from(&end.topic);
                    files.push(self.reading(path.clone(), at(&path), Some(end.next))?);
                }
            }
            None => {
                for path in folder::paths(&self.spec, self.pattern.as_ref())? {
                    files.push(self.reading(path.clone(), at(&path), None)?);
                }
            }
        }
        if self.spec.watch.is_some() {
            files.retain(|file| file.end > 0);
        }
        self.splits = files.iter().map(split).collect();
        self.files = files;
        self.open = None;
        self.cuts.clear();
        self.found.clear();
        match self.spec.watch {
            // Those that are there beside the known ones come first of what is to come.
            Some(_) => self.look(),
            None => Ok(()),
        }
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        self.cuts.extend_from_slice(cuts);
    }

    fn topics(&self) -> BTreeMap<String, Uuid> {
        let files = self.files.iter();
        let known = files.filter_map(|file| Some((name(&file.path), id(file.content.as_ref()?))));
        known.collect()
    }

    fn appeared(&mut self) -> Vec<(SplitOffset, Uuid)> {
        let found = std::mem::take(&mut self.found).into_iter();
        let known = found.filter_map(|file| {
            let Reading { end, content, .. } = &self.files[file];
            Some((self.at(file, *end), id(content.as_ref()?)))
        });
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

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = Polled::default();
        if let (None, Some(every)) = (self.unread(), self.spec.watch) {
            self.watch(every, timeout)?;
        }
        let Some(file) = self.unread() else {
            polled.finished = self.spec.watch.is_none();
            return Ok(polled);
        };
        let (from, to) = (self.files[file].next, self.limit(file));
        let split = u32::try_from(file).expect("files of a table are few");
        let first = Origin {
            split,
            offset: from,
        };
        let taken = self.take(file, first, to, max_bytes)?;
        for fault in taken.faults {
            let origin = Origin {
                offset: fault.offset,
                ..first
            };
            polled.dead_letters.push(DeadLetter {
                value: fault.value,
                code: fault.code.to_string(),
                error: fault.error,
                ..self.letter(origin)
            });
        }
        self.files[file].next = taken.next;
        if let Some(content) = &mut self.files[file].content {
            content.position += taken.bytes;
        }
        if !taken.origins.is_empty() {
            let columns = self.arranged(file, taken.columns)?;
            let batch = Chunk::new(columns, taken.origins, self.splits.clone());
            polled.batches.push(batch);
        }
        polled.progress.push(Progress {
            split,
            from,
            to: taken.next,
            control: 0,
            skipped: taken.skipped,
        });
        polled.finished = self.spec.watch.is_none() && self.unread().is_none();
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let mut letters = Vec::new();
        for origin in origins {
            let path = &self.files[origin.split as usize].path;
            let value = match &self.form {
                Form::Lines { cutter, .. } => lines::at(path, *cutter, origin.offset),
                // A row has no bytes of its own.
                Form::Parquet(_) => Ok(None),
            };
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
    match content(&spec.format, Path::new(file), 0) {
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

/// Reads all of a file, and finds where its `at`-th record begins.
fn content(format: &FileFormat, path: &Path, at: i64) -> io::Result<Content> {
    match format {
        FileFormat::Lines(lines) => records::content(path, Cutter::of(lines), at),
        FileFormat::Parquet => parquet::content(path),
    }
}

/// Says what a file holds: its length and its checksum.
fn id(content: &Content) -> Uuid {
    Uuid::from_u128(u128::from(content.bytes) << 64 | u128::from(content.check))
}

fn split(file: &Reading) -> Split {
    Split {
        topic: name(&file.path).into(),
        partition: 0,
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Offsets in it are of what it held before.
fn changed(file: &str) -> ConnectorError {
    ConnectorError::new(ErrorKind::Fix, format!("file '{file}' was changed"))
        .detail("Its records are counted, and some of them may be read already; nothing was read of what it holds now.")
        .hint("Put back what it held, or drop the pipeline (`lakeward pipeline drop`) and run its script with another table. New records come in new files.")
}

fn unreadable(path: &Path, error: &io::Error) -> ConnectorError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => {
            ErrorKind::Fix
        }
        _ => ErrorKind::Retry,
    };
    let message = format!("file '{}' cannot be read: {error}", path.display());
    ConnectorError::new(kind, message)
        .hint("The path of a 'filesystem' table is one of the machine that the server runs on.")
}

#[cfg(test)]
mod tests;
