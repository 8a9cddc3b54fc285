//! Bytes on their way to a client, in as many pieces as they came in.
//!
//! A fetched batch is sent from the memory that storage read it into: the reply is a list of shared slices that one
//! `writev` takes, not one copied buffer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// A whole response frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    parts: VecDeque<Bytes>,
    left: usize,
}

impl Reply {
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.left += part.len();
            self.parts.push_back(part);
        }
    }

    pub(crate) fn push_front(&mut self, part: Bytes) {
        self.left += part.len();
        self.parts.push_front(part);
    }
}

impl From<Bytes> for Reply {
    fn from(whole: Bytes) -> Reply {
        let mut reply = Reply::default();
        reply.push(whole);
        reply
    }
}

impl Buf for Reply {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(
            count <= self.left,
            "a reply is not sent further than its end"
        );
        self.left -= count;
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_sent_in_order_whatever_the_writes_take() {
        for step in 1..8 {
            let mut reply = Reply::default();
            for part in ["ab", "", "c", "defgh"] {
                reply.push(Bytes::from_static(part.as_bytes()));
            }
            let mut sent = Vec::new();
            while reply.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = reply.chunks_vectored(&mut slices);
                let offered: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|slice| slice.to_vec())
                    .collect();
                let taken = step.min(offered.len());
                sent.extend_from_slice(&offered[..taken]);
                reply.advance(taken);
            }
            assert_eq!(sent, b"abcdefgh");
        }
    }
}
