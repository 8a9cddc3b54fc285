//! Reading a WAL file's frames in order, and telling a torn tail from damage.
//!
//! [`scan`] follows the links until something is not the next frame. In the live end of the log that is normally the end:
//! zeros, a stale frame, or a frame of the last group that the power cut tore. [`evidence`] then looks at everything
//! behind it for a head that says otherwise: one of this life of the file, written when the file was already synced past
//! the place. What stood there had been durable, so its loss is not a crash's doing, and the log must not be cut there.
//!
//! Why there is no false alarm: a head states what was synced before it was written, the synced part only grows, and a
//! crash cuts behind it. So no head of this life, not even one that an earlier cut left behind, states a place behind a
//! rightful end of the log.

use std::io;

use lw_stdx::disk::{File, read_full};

use crate::frame::{FRAME_HEADER, FrameHead, Place};
use crate::numbers::Lsn;

/// One frame as found in a file.
pub(crate) struct Frame<'a> {
    pub(crate) lsn: Lsn,
    /// Where the payload stands in the file.
    pub(crate) position: u64,
    pub(crate) payload: &'a [u8],
}

/// How far to read and what to take for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The live end of the log: the first frame that does not check ends it.
    Tail,
    /// A sealed file whose frames end at this position: a damaged payload is left to the batches' own CRCs.
    Sealed { end: u64 },
}

/// Reads frames from `from` on and gives each to `visit`; returns the place behind the last good one.
pub(crate) fn scan<E: From<io::Error>>(
    file: &dyn File,
    from: Place,
    trust: Trust,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), E>,
) -> Result<Place, E> {
    let mut window = Window::new(file)?;
    let mut at = from;
    loop {
        if trust == (Trust::Sealed { end: at.position }) {
            return Ok(at);
        }
        let Some(head) = window.head(at.life, at.position)? else {
            return Ok(at);
        };
        if head.is_mark() || !head.follows(&at) {
            return Ok(at);
        }
        let position = at.position + FRAME_HEADER as u64;
        let Some(payload) = window.get(position, head.len as usize)? else {
            return Ok(at);
        };
        if trust == Trust::Tail && !head.holds(payload) {
            return Ok(at);
        }
        visit(Frame {
            lsn: head.lsn,
            position,
            payload,
        })?;
        at = head.end(&at);
    }
}

/// That the log once went on where it now seems to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The file had been synced at least up to here.
    pub(crate) synced: u64,
    /// Whole frames behind the damage that were written after it had been synced.
    pub(crate) frames: u64,
}

/// Looks behind `end` for heads which say that the file was synced past it.
pub(crate) fn evidence(file: &dyn File, end: Place) -> io::Result<Option<Evidence>> {
    let mut window = Window::new(file)?;
    let mut found: Option<Evidence> = None;
    let mut position = end.position;
    while let Some(next) = window.next_head(&end, position)? {
        let (at, head) = next;
        position = at + 1;
        let whole = match window.get(at + FRAME_HEADER as u64, head.len as usize)? {
            Some(payload) => head.holds(payload),
            None => false,
        };
        if whole {
            // What stands inside a whole frame is its payload, whatever it looks like.
            position = at + (FRAME_HEADER + head.len as usize) as u64;
        }
        if u64::from(head.synced) > end.position {
            let evidence = found.get_or_insert(Evidence {
                synced: 0,
                frames: 0,
            });
            evidence.synced = evidence.synced.max(u64::from(head.synced));
            evidence.frames += u64::from(whole && !head.is_mark());
        }
    }
    Ok(found)
}

/// A sliding view of a file: one megabyte, more when a frame is longer.
struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

const WINDOW: usize = 1 << 20;
/// Zeros are passed over in steps of this.
const STRIDE: usize = 1 << 10;

impl<'a> Window<'a> {
    fn new(file: &'a dyn File) -> io::Result<Window<'a>> {
        Ok(Window {
            file,
            len: file.len()?,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// `len` bytes at `position`, or `None` when the file ends before.
    fn get(&mut self, position: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = self.start + self.bytes.len() as u64;
        if position < self.start || position + len as u64 > end {
            // A garbage length must not make us allocate more than the file has.
            let left = self.len.saturating_sub(position);
            if (len as u64) > left {
                return Ok(None);
            }
            self.bytes
                .resize((len.max(WINDOW) as u64).min(left) as usize, 0);
            let got = read_full(self.file, &mut self.bytes, position)?;
            self.bytes.truncate(got);
            self.start = position;
            if got < len {
                return Ok(None);
            }
        }
        let from = (position - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }

    fn head(&mut self, life: u32, position: u64) -> io::Result<Option<FrameHead>> {
        let bytes = self.get(position, FRAME_HEADER)?;
        Ok(bytes
            .and_then(|bytes| bytes.first_chunk())
            .and_then(|bytes| FrameHead::decode(bytes, life, position)))
    }

    /// The first head of this life at `position` or behind whose frame comes after `end`.
    fn next_head(
        &mut self,
        end: &Place,
        mut position: u64,
    ) -> io::Result<Option<(u64, FrameHead)>> {
        // Each frame has a byte of payload at least: a bound that all but a few positions fail at.
        let first = end.lsn.next();
        let lsns = first..=Lsn(first.0 + self.len / FRAME_HEADER as u64);
        while self.get(position, FRAME_HEADER)?.is_some() {
            let from = (position - self.start) as usize;
            let view = &self.bytes[from..];
            let mut at = 0;
            while let Some(bytes) = view[at..].first_chunk() {
                let lsn = FrameHead::peek_lsn(bytes);
                let here = position + at as u64;
                if lsns.contains(&lsn)
                    && let Some(head) = FrameHead::decode(bytes, end.life, here)
                {
                    return Ok(Some((here, head)));
                }
                at += match lsn == Lsn(0) && view[at..].starts_with(&[0; STRIDE]) {
                    true => STRIDE - FRAME_HEADER,
                    false => 1,
                };
            }
            position += at as u64;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
