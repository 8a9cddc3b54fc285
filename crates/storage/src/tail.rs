//! The newest bytes of the log, kept as the buffers that were written, so that readers at the tail cost no I/O.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::numbers::FileNumber;

#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// In WAL order: file, position, bytes.
    groups: VecDeque<(FileNumber, u64, Bytes)>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, file: FileNumber, position: u64, bytes: Bytes, keep: usize) {
        self.bytes += bytes.len();
        self.groups.push_back((file, position, bytes));
        while self.bytes > keep {
            let Some((_, _, oldest)) = self.groups.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    /// Positions in these files mean other bytes from now on.
    pub(crate) fn forget(&mut self, files: &RangeInclusive<FileNumber>) {
        self.groups.retain(|(file, _, _)| !files.contains(file));
        self.bytes = self.groups.iter().map(|(_, _, bytes)| bytes.len()).sum();
    }

    /// The bytes at a place, if they are still here.
    pub(crate) fn get(&self, file: FileNumber, position: u64, len: usize) -> Option<Bytes> {
        let after = self
            .groups
            .partition_point(|(f, p, _)| (*f, *p) <= (file, position));
        let (group_file, start, bytes) = self.groups.get(after.checked_sub(1)?)?;
        let from = usize::try_from(position - start).ok()?;
        let inside = *group_file == file && from + len <= bytes.len();
        inside.then(|| bytes.slice(from..from + len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ranges_of_kept_groups_are_found() {
        let mut tail = Tail::default();
        tail.push(FileNumber(1), 64, Bytes::from_static(b"0123456789"), 24);
        tail.push(FileNumber(1), 74, Bytes::from_static(b"abcdefghij"), 24);
        tail.push(FileNumber(2), 64, Bytes::from_static(b"ABCD"), 24);
        for (file, position, len, expected) in [
            (1, 66, 3, Some("234")),
            (1, 74, 10, Some("abcdefghij")),
            (1, 72, 4, None), // across two groups: a frame never is
            (2, 65, 3, Some("BCD")),
            (2, 65, 4, None),
            (3, 64, 1, None),
            (1, 10, 1, None),
        ] {
            let got = tail.get(FileNumber(file), position, len);
            assert_eq!(
                got,
                expected.map(|text| Bytes::from_static(text.as_bytes()))
            );
        }
        tail.push(FileNumber(2), 68, Bytes::from_static(b"X"), 24);
        assert_eq!(
            tail.get(FileNumber(1), 66, 3),
            None,
            "the oldest group made room"
        );
        assert!(tail.get(FileNumber(1), 74, 1).is_some());
    }
}
