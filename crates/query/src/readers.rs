//! Which reader of a scan reads what.
//!
//! ```text
//! files by name   │ a.parquet │ b.parquet              │ c │
//! two readers     │     reader 0     │     reader 1        │
//! ```
//!
//! Every reader gets as many bytes as every other, neighbours together. A large file is parted: a part has the row groups
//! whose middle lies in it, so that each is read once. One that has deletes stays whole, and with it what they cost to load.

use iceberg::scan::FileScanTask;

/// Less than this is read sooner by one reader than by two.
const WORTH_A_READER: u64 = 4 << 20;

#[derive(Clone)]
pub(crate) struct Readers {
    parts: Vec<Vec<FileScanTask>>,
    /// All of them, each once.
    pub(crate) files: usize,
}

impl Readers {
    pub(crate) fn one(files: Vec<FileScanTask>) -> Readers {
        Readers {
            files: files.len(),
            parts: vec![files],
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn of(&self, reader: usize) -> Vec<FileScanTask> {
        self.parts[reader].clone()
    }

    pub(crate) fn first(&self) -> Option<&FileScanTask> {
        self.parts.iter().flatten().next()
    }

    /// The same files for as many readers as there is work for.
    pub(crate) fn split(&self, most: usize) -> Readers {
        let bytes: u64 = self.parts.iter().flatten().map(|file| file.length).sum();
        let worth = usize::try_from(bytes / WORTH_A_READER).unwrap_or(usize::MAX);
        let share = bytes.div_ceil(most.min(worth).max(1) as u64).max(1);
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut room = share;
        for file in self.parts.iter().flatten() {
            let mut rest = Some(file.clone());
            while let Some(file) = rest.take() {
                let (now, later) = cut(file, room);
                room = room.saturating_sub(now.length);
                part.push(now);
                rest = later;
                if room == 0 {
                    parts.push(std::mem::take(&mut part));
                    room = share;
                }
            }
        }
        if !part.is_empty() || parts.is_empty() {
            parts.push(part);
        }
        Readers {
            parts,
            files: self.files,
        }
    }
}

/// The first bytes of a file, and the rest of it.
fn cut(file: FileScanTask, room: u64) -> (FileScanTask, Option<FileScanTask>) {
    if file.length <= room || !file.deletes.is_empty() {
        return (file, None);
    }
    let part = |start, length| FileScanTask {
        start,
        length,
        record_count: None,
        ..file.clone()
    };
    let now = part(file.start, room);
    let later = part(file.start + room, file.length - room);
    (now, Some(later))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::scan::FileScanTaskDeleteFile;
    use iceberg::spec::{DataContentType, DataFileFormat, Schema};
    use std::sync::Arc;

    /// Files as `name` and MiB, `!` for one with deletes; parts as `name@start+length`.
    fn check(files: &str, most: usize, expected: &str) {
        let schema = Arc::new(Schema::builder().build().expect("no columns"));
        let file = |text: &str| {
            let (name, mib) = text.split_once(':').expect("name:MiB");
            let deletes = mib.ends_with('!').then(|| {
                FileScanTaskDeleteFile::builder()
                    .with_file_path("d".to_owned())
                    .with_file_size_in_bytes(1)
                    .with_file_type(DataContentType::PositionDeletes)
                    .with_partition_spec_id(0)
                    .build()
            });
            let bytes = mib.trim_end_matches('!').parse::<u64>().expect("a number") << 20;
            FileScanTask::builder()
                .with_file_size_in_bytes(bytes)
                .with_start(0)
                .with_length(bytes)
                .with_record_count(Some(1))
                .with_data_file_path(name.to_owned())
                .with_data_file_format(DataFileFormat::Parquet)
                .with_schema(schema.clone())
                .with_project_field_ids(Vec::new())
                .with_deletes(deletes.into_iter().collect())
                .with_case_sensitive(true)
                .build()
        };
        let readers = Readers::one(files.split_whitespace().map(file).collect()).split(most);
        let part = |file: &FileScanTask| {
            format!(
                "{}@{}+{}",
                file.data_file_path,
                file.start >> 20,
                file.length >> 20
            )
        };
        let parts = readers.parts.iter().map(|files| {
            let files: Vec<String> = files.iter().map(part).collect();
            files.join(" ")
        });
        assert_eq!(parts.collect::<Vec<_>>().join(" | "), expected);
    }

    #[test]
    fn readers_share_the_bytes() {
        check("a:10 b:30", 2, "a@0+10 b@0+10 | b@10+20");
        check("a:60", 3, "a@0+20 | a@20+20 | a@40+20");
        check("a:20 b:20", 2, "a@0+20 | b@0+20");
    }

    #[test]
    fn little_is_read_by_one() {
        check("a:3 b:4", 4, "a@0+3 b@0+4");
        check("a:4 b:4", 4, "a@0+4 | b@0+4");
        check("", 4, "");
    }

    #[test]
    fn a_file_with_deletes_stays_whole() {
        check("a:40! b:20", 2, "a@0+40 | b@0+20");
    }
}
