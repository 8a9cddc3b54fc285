//! One socket of the client: frames out and in, in the newest version that both sides know.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use lw_protocol::frame::{self, FrameError};
use lw_protocol::messages::{ApiKey, ApiVersionsRequest};
use lw_protocol::{Decodable, HeaderVersion, Request};

use crate::{ClientError, TIMEOUT, refused};

const CLIENT_ID: &str = "lakeward";
/// Longer replies than this are not ours.
const MAX_REPLY: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket and what its broker speaks.
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
    versions: HashMap<i16, (i16, i16)>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Connection, ClientError> {
        let failed = |source| ClientError::Connect {
            address: address.to_owned(),
            source,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT) {
                Ok(stream) => return Connection::negotiate(address, stream),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn negotiate(address: &str, stream: TcpStream) -> Result<Connection, ClientError> {
        let mut connection = Connection {
            address: address.to_owned(),
            stream,
            correlation_id: 0,
            versions: HashMap::new(),
        };
        let prepared = connection
            .stream
            .set_nodelay(true)
            .and_then(|()| connection.stream.set_read_timeout(Some(TIMEOUT)))
            .and_then(|()| connection.stream.set_write_timeout(Some(TIMEOUT)));
        prepared.map_err(|source| connection.io(source))?;
        // Version 0 is understood by every broker, and its reply by us.
        let reply = connection.exchange(&ApiVersionsRequest::default(), 0)?;
        refused(reply.error_code, None, || {
            format!("asking {address} what it speaks")
        })?;
        let versions = reply
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)));
        connection.versions = versions.collect();
        Ok(connection)
    }

    /// The newest version that both sides speak.
    pub(super) fn version_of<R: Request>(&self) -> Result<i16, ClientError> {
        let api = ApiKey::try_from(R::KEY).expect("a request of ours has a known key");
        let ours = R::VERSIONS;
        let (min, max) = *self
            .versions
            .get(&R::KEY)
            .ok_or(ClientError::Unsupported { api })?;
        match max.min(ours.max) {
            version if version >= min.max(ours.min) => Ok(version),
            _ => Err(ClientError::Unsupported { api }),
        }
    }

    pub(super) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        self.call_up_to(request, i16::MAX)
    }

    pub(super) fn call_up_to<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
    ) -> Result<R::Response, ClientError> {
        let version = self.version_of::<R>()?.min(newest);
        self.exchange(request, version)
    }

    fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = frame::encode_request(self.correlation_id, version, CLIENT_ID, request)?;
        self.stream
            .write_all(&frame)
            .map_err(|source| self.io(source))?;
        let mut reply = self.read_frame()?;
        let header_version = R::Response::header_version(version);
        let correlation_id = frame::take_response_header(&mut reply, header_version)?;
        if correlation_id != self.correlation_id {
            let another = FrameError::Body("it answers another request".into());
            return Err(ClientError::Reply(another));
        }
        Ok(R::Response::decode(&mut reply, version)
            .map_err(|error| FrameError::Body(error.to_string()))?)
    }

    fn read_frame(&mut self) -> Result<Bytes, ClientError> {
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .map_err(|source| self.io(source))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_REPLY {
            return Err(ClientError::Reply(FrameError::Body(format!(
                "it declares {length} bytes"
            ))));
        }
        let mut frame = Vec::new();
        let read = Read::by_ref(&mut self.stream)
            .take(length as u64)
            .read_to_end(&mut frame);
        match read {
            Ok(read) if read == length => Ok(frame.into()),
            Ok(_) => Err(self.io(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.io(error)),
        }
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io {
            address: self.address.clone(),
            source,
        }
    }
}
