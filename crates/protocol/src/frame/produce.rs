//! How many topics and partitions a Produce request has, before anything of it is decoded.
//!
//! Produce alone may be a hundred megabytes long, and its decoder reserves ten times a partition's bytes on a count's
//! word. So its skeleton is walked first: nothing is kept, and a count without partitions behind it ends the walk.
//!
//! ```text
//! transactional id · acks i16 · timeout i32 · [ name, or uuid since version 13 · [ index i32 · records ] ]
//! ```

use bytes::Buf;

use super::FrameError;
use crate::varint::read_unsigned;

/// More than any broker has; as decoded they take about 100 MB.
const MAX_ENTRIES: usize = 1 << 20;

/// # Errors
/// When the body ends early or names more than a million topics and partitions.
pub fn check_produce_counts(body: &[u8], version: i16) -> Result<(), FrameError> {
    let walk = Walk {
        rest: body,
        flexible: version >= 9,
        entries: 0,
    };
    match walk.request(version) {
        Some(entries) if entries <= MAX_ENTRIES => Ok(()),
        Some(_) => Err(FrameError::Body(format!(
            "it names more than {MAX_ENTRIES} topics and partitions"
        ))),
        None => Err(FrameError::Body("it ends early".into())),
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    flexible: bool,
    entries: usize,
}

impl Walk<'_> {
    /// Topics and partitions. Each takes bytes, so the walk ends.
    fn request(mut self, version: i16) -> Option<usize> {
        self.text()?;
        self.skip(2 + 4)?;
        for _ in 0..self.count()? {
            self.entries += 1;
            match version {
                ..13 => self.text()?,
                _ => self.skip(16)?,
            }
            for _ in 0..self.count()? {
                self.entries += 1;
                self.skip(4)?;
                let records = self.count()?;
                self.skip(records)?;
                self.tags()?;
            }
            self.tags()?;
        }
        self.tags()?;
        Some(self.entries)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    fn text(&mut self) -> Option<()> {
        let length = match self.flexible {
            true => return self.count().and_then(|length| self.skip(length)),
            false => self.rest.try_get_i16().ok()?,
        };
        self.skip(usize::try_from(length).unwrap_or(0))
    }

    /// A number of elements or bytes; null is none.
    fn count(&mut self) -> Option<usize> {
        if self.flexible {
            let count = read_unsigned(&mut self.rest)?;
            return usize::try_from(count.saturating_sub(1)).ok();
        }
        let count = self.rest.try_get_i32().ok()?;
        Some(usize::try_from(count).unwrap_or(0))
    }

    fn tags(&mut self) -> Option<()> {
        if self.flexible {
            for _ in 0..read_unsigned(&mut self.rest)? {
                read_unsigned(&mut self.rest)?;
                let size = read_unsigned(&mut self.rest)?;
                self.skip(usize::try_from(size).ok()?)?;
            }
        }
        Some(())
    }
}
