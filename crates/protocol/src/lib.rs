//! The Kafka wire protocol as a broker needs it: frames, record batches, codecs, the table of served APIs.
//!
//! It knows no sockets, no topics and no disk. Message bodies are `kafka_protocol`'s generated structs; what that crate
//! drops or does not guard is ours: the 61-byte batch header with all its fields, patching a batch in place, bounded
//! decompression, bounded array counts, duplicate record headers.
//!
//! Read first: [`batch::BatchHeader`] (what the hot path looks at), [`frame::RequestHead`] (how a request begins),
//! [`apis::APIS`] (what we serve).
//!
//! Invariants: nothing is allocated from a length that a peer declared before that many bytes have arrived; a batch's
//! bytes after the partition leader epoch never change unless its CRC is computed anew.
//!
//! Layer L0: uses `stdx` only.

pub mod apis;
pub mod batch;
pub mod codec;
pub mod frame;
pub mod record;
mod varint;

pub use batch::{Batch, BatchBuilder, BatchError, BatchHeader};
pub use codec::Compression;
pub use kafka_protocol::error::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, StrBytes,
};
