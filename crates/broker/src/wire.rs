//! What passes between sockets and handlers: a request as it came in, an answer on its way out.
//!
//! `net` moves these and `api` makes them; neither knows the other's inside. A [`Reply`] is bytes on their way to a
//! client in as many pieces as they came in: a fetched batch is sent from the memory that storage read it into, as one of
//! the shared slices that one `writev` takes, not from one copied buffer.

use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use lw_protocol::frame::{self, FrameError, RequestHead};
use lw_protocol::messages::ApiKey;
use lw_protocol::{ErrorCode, StrBytes, apis};

use crate::budget::Held;

/// A host and port as the protocol writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: StrBytes,
    pub(crate) port: i32,
}

/// Why a request ends its connection instead of being answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Hangup {
    #[error("api key {0} is not served here")]
    UnknownApi(i16),
    #[error("{api:?} version {version} is not served; {min} to {max} are")]
    UnsupportedVersion {
        api: ApiKey,
        version: i16,
        min: i16,
        max: i16,
    },
    #[error("{api:?} version {version}: {source}")]
    Unreadable {
        api: ApiKey,
        version: i16,
        source: FrameError,
    },
    #[error("the request header: {0}")]
    Header(FrameError),
    #[error("the handler of {0:?} failed; this is a bug")]
    Panicked(ApiKey),
    #[error("{api:?} with acks=0 failed: {code}")]
    Unacknowledged { api: ApiKey, code: ErrorCode },
    #[error("the reply of {api:?} could not be written: {source}; this is a bug")]
    Unwritable { api: ApiKey, source: FrameError },
}

/// A reply under way. `None` is acks=0: nothing is sent.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Option<Reply>, Hangup>> + Send>>;

/// A request whose header was read: what a connection passes on.
pub(crate) struct Incoming {
    pub(crate) head: RequestHead,
    pub(crate) api: ApiKey,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) body: Bytes,
    /// The memory that a large request takes, held until nobody has its bytes.
    pub(crate) held: Option<Arc<Held>>,
}

impl Incoming {
    /// Reads a frame's header.
    ///
    /// # Errors
    /// When the API or its version is not served, or the bytes are no header. ApiVersions is served in every version:
    /// a client that speaks a newer one is told what we speak.
    pub(crate) fn parse(mut frame: Bytes, held: Option<Held>) -> Result<Incoming, Hangup> {
        let held = held.map(Arc::new);
        let head = RequestHead::take(&mut frame).map_err(Hangup::Header)?;
        let api = apis::find(head.api_key).ok_or(Hangup::UnknownApi(head.api_key))?;
        if api.serves(head.api_version) {
            let client_id = frame::take_client_id(&mut frame, api.key, head.api_version)
                .map_err(Hangup::Header)?;
            return Ok(Incoming {
                head,
                api: api.key,
                client_id,
                body: frame,
                held,
            });
        }
        if api.key == ApiKey::ApiVersions {
            return Ok(Incoming {
                head,
                api: api.key,
                client_id: None,
                body: Bytes::new(),
                held,
            });
        }
        let (version, min, max) = (head.api_version, api.min, api.max);
        Err(Hangup::UnsupportedVersion {
            api: api.key,
            version,
            min,
            max,
        })
    }

    /// Only produce requests may start while others of their connection are unanswered.
    pub(crate) fn may_overlap(&self) -> bool {
        self.api == ApiKey::Produce
    }
}

/// A whole response frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    parts: VecDeque<Bytes>,
    left: usize,
    /// The memory of fetched records, until they are sent.
    held: Option<Arc<Held>>,
}

impl Reply {
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(Arc::new(held));
    }

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
