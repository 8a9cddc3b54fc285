//! One client's connection: frames, order, limits.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use lw_protocol::StrBytes;
use lw_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api;
use crate::budget::Held;
use crate::net::{Shutdown, stopped};
use crate::wire::{Answer, Endpoint, Hangup, Incoming, Reply};
use crate::{Broker, Fault};

/// Requests under way on one connection; a client's own window is 5 or so.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes of requests under way: beyond this the socket fills and the client waits.
const MAX_BYTES_IN_FLIGHT: usize = 32 << 20;
/// What is read ahead of a frame that may not start yet, so that a client that goes away is noticed.
const READ_AHEAD: usize = 64 << 10;
const FIRST_READ: usize = 8 << 10;
/// What a request without records may have. A list of a million entries fits; each takes about ten times its bytes in
/// memory once it is read, which a Produce request's hundred megabytes of opaque records do not.
const MAX_WITHOUT_RECORDS: usize = 16 << 20;
/// No more than this, or what has come already, is reserved on a frame's word about its length.
const TRUSTED: usize = 256 << 10;

/// A frame up to this is read without asking the budget, so that heartbeats pass when memory is short.
const UNCOUNTED: usize = 16 << 10;
/// How long a large frame may take to come, besides a second for each megabyte: it holds memory that others wait for.
const FRAME_TIME: Duration = Duration::from_secs(60);

/// The API key, as it follows the length.
const PRODUCE: [u8; 2] = (ApiKey::Produce as i16).to_be_bytes();

/// Why a connection ended before its client said so.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("a frame declares {declared} bytes; between 8 and {limit} are read")]
    FrameLength { declared: i32, limit: usize },
    #[error("the client went away in the middle of a frame")]
    Truncated,
    #[error("a large request did not come to its end in time")]
    Slow,
    #[error("{0}")]
    Hangup(#[from] Hangup),
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(super) struct Connection {
    // Who talks.
    broker: Arc<Broker>,
    peer: SocketAddr,
    endpoint: Endpoint,
    // What has come and is not yet a request.
    buffer: BytesMut,
    // What is under way.
    answers: FuturesOrdered<Answer>,
    sizes: VecDeque<usize>,
    /// The one request that nothing may overtake or start beside.
    alone: bool,
    /// The memory of the frame at the front, when it is a large one, and until when the frame has to be whole.
    held: Option<(Held, Instant)>,
    /// Waits for that memory; nothing is read meanwhile.
    reserving: Option<BoxFuture<'static, Held>>,
    /// A request that was read and waits for the ones before it.
    next: Option<(Incoming, usize)>,
}

impl Connection {
    /// Serves one client to the end, and says why it ended when the client did not choose it.
    pub(super) async fn serve(
        broker: Arc<Broker>,
        stream: TcpStream,
        peer: SocketAddr,
        shutdown: Shutdown,
    ) {
        let metrics = broker.metrics().clone();
        metrics.connections_opened.add(1);
        match Connection::run(broker, stream, peer, shutdown).await {
            // A reset or a broken pipe is a client that died or lost patience: everyday life.
            Ok(()) | Err(Ended::Io(_)) => tracing::debug!(%peer, "connection closed"),
            Err(reason) => {
                if let Ended::Hangup(Hangup::Panicked(_)) = reason {
                    metrics.panics.add(1);
                }
                metrics.connections_refused.add(1);
                tracing::warn!(%peer, %reason, "closed the connection");
            }
        }
        metrics.connections_closed.add(1);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the deadline of an idle connection: sockets live on the real clock"
    )]
    async fn run(
        broker: Arc<Broker>,
        mut stream: TcpStream,
        peer: SocketAddr,
        mut shutdown: Shutdown,
    ) -> Result<(), Ended> {
        stream.set_nodelay(true)?;
        let max_idle = broker.config.max_idle;
        let endpoint = endpoint(&broker, stream.local_addr()?);
        let mut this = Connection {
            broker,
            peer,
            endpoint,
            buffer: BytesMut::new(),
            answers: FuturesOrdered::new(),
            sizes: VecDeque::new(),
            alone: false,
            held: None,
            reserving: None,
            next: None,
        };
        let mut stopping = *shutdown.borrow();
        let idle = sleep(max_idle);
        tokio::pin!(idle);
        loop {
            if !stopping {
                this.start_what_may_start()?;
            }
            if stopping && this.answers.is_empty() {
                return Ok(());
            }
            this.reserve()?;
            let wants_bytes = this.wants_bytes();
            if wants_bytes {
                this.make_room();
            }
            let whole_by = this
                .held
                .as_ref()
                .map(|(_, by)| *by)
                .filter(|_| wants_bytes);
            tokio::select! {
                biased;
                Some(answer) = this.answers.next(), if !this.answers.is_empty() => {
                    this.sizes.pop_front();
                    this.alone = false;
                    if let Some(mut reply) = answer? {
                        send(&mut stream, &mut reply, max_idle).await?;
                    }
                }
                read = stream.read_buf(&mut this.buffer), if wants_bytes => {
                    if read? == 0 {
                        return this.at_end(&mut stream).await;
                    }
                }
                held = reserved(&mut this.reserving), if this.reserving.is_some() => {
                    let patience = FRAME_TIME + Duration::from_micros(held.bytes() as u64);
                    this.reserving = None;
                    this.held = Some((held, Instant::now() + patience));
                }
                () = sleep_until(whole_by.unwrap_or_else(Instant::now)), if whole_by.is_some() => {
                    return Err(Ended::Slow);
                }
                () = &mut idle, if this.answers.is_empty() => return Ok(()),
                () = stopped(&mut shutdown), if !stopping => stopping = true,
            }
            idle.as_mut().reset(Instant::now() + max_idle);
        }
    }

    /// Starts requests in order until one must wait or bytes run out.
    fn start_what_may_start(&mut self) -> Result<(), Ended> {
        loop {
            if self.next.is_none() {
                let Some(frame) = self.take_frame()? else {
                    return Ok(());
                };
                let size = frame.len();
                let held = self.held.take().map(|(held, _)| held);
                self.next = Some((Incoming::parse(frame, held)?, size));
            }
            let Some((incoming, size)) = self.next.take_if(|(incoming, size)| {
                self.answers.is_empty()
                    || (incoming.may_overlap()
                        && !self.alone
                        && self.answers.len() < MAX_IN_FLIGHT
                        && self.sizes.iter().sum::<usize>() + *size <= MAX_BYTES_IN_FLIGHT)
            }) else {
                return Ok(());
            };
            self.alone = !incoming.may_overlap();
            self.sizes.push_back(size);
            let answer = self.start(incoming);
            self.answers.push_back(answer);
        }
    }

    /// Runs the handler up to its first wait; a panic becomes the end of this connection.
    fn start(&self, incoming: Incoming) -> Answer {
        let api = incoming.api;
        self.broker.metrics().count_request(api);
        let begin = AssertUnwindSafe(|| {
            self.broker.plant(Fault::PanicInHandler(api));
            api::dispatch(&self.broker, self.peer, &self.endpoint, incoming)
        });
        match std::panic::catch_unwind(begin) {
            Ok(answer) => guard(self.broker.clone(), api, answer),
            Err(_) => Box::pin(std::future::ready(Err(Hangup::Panicked(api)))),
        }
    }

    /// Splits the first whole frame off the buffer.
    fn take_frame(&mut self) -> Result<Option<Bytes>, Ended> {
        let Some(length) = self.frame_length()? else {
            return Ok(None);
        };
        if self.buffer.len() < 4 + length || (length > UNCOUNTED && self.held.is_none()) {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + length);
        Ok(Some(frame.split_off(4).freeze()))
    }

    /// The length that the frame at the front declares.
    fn frame_length(&self) -> Result<Option<usize>, Ended> {
        let Some(&declared) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        let declared = i32::from_be_bytes(declared);
        let mut limit = self.broker.config.max_request_bytes;
        if self.buffer.get(4..6).is_some_and(|key| key != PRODUCE) {
            limit = limit.min(MAX_WITHOUT_RECORDS);
        }
        match usize::try_from(declared) {
            Ok(length) if (8..=limit).contains(&length) => Ok(Some(length)),
            _ => Err(Ended::FrameLength { declared, limit }),
        }
    }

    fn wants_bytes(&self) -> bool {
        self.reserving.is_none() && (self.next.is_none() || self.buffer.len() < READ_AHEAD)
    }

    /// Asks for the memory of a large frame at the front before it is read, once it is the next to be read.
    fn reserve(&mut self) -> Result<(), Ended> {
        if self.held.is_some() || self.reserving.is_some() || self.next.is_some() {
            return Ok(());
        }
        if let Some(length) = self.frame_length()?
            && let Some(key) = self.buffer.get(4..6)
            && length > UNCOUNTED
        {
            // The parts of a request that is no records take several times its bytes once they are read.
            let bytes = if key == PRODUCE { length } else { length * 8 };
            let budget = self.broker.requests.clone();
            self.reserving = Some(Box::pin(async move { budget.take(bytes).await }));
        }
        Ok(())
    }

    /// Makes room for what the frame at the front still lacks, within what it has proven so far.
    fn make_room(&mut self) {
        let lacks = match self.frame_length() {
            Ok(Some(length)) if length <= UNCOUNTED || self.held.is_some() => {
                (4 + length).saturating_sub(self.buffer.len())
            }
            _ => 0,
        };
        let room = lacks.min(self.buffer.len().max(TRUSTED)).max(FIRST_READ);
        if self.buffer.capacity() - self.buffer.len() < room.min(FIRST_READ.max(lacks)) {
            self.buffer.reserve(room);
        }
    }

    /// The client will send no more. Produced records that are under way are still answered, in case it still reads.
    async fn at_end(mut self, stream: &mut TcpStream) -> Result<(), Ended> {
        if self.alone {
            return Ok(());
        }
        let max_idle = self.broker.config.max_idle;
        while let Some(answer) = self.answers.next().await {
            if let Some(mut reply) = answer? {
                send(stream, &mut reply, max_idle).await?;
            }
        }
        if self.next.is_some() || !self.buffer.is_empty() {
            Err(Ended::Truncated)
        } else {
            Ok(())
        }
    }
}

/// Writes all of it, unless the client stops reading for too long.
async fn send(stream: &mut TcpStream, reply: &mut Reply, max_idle: Duration) -> Result<(), Ended> {
    match tokio::time::timeout(max_idle, stream.write_all_buf(reply)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Ended::Io(io::ErrorKind::TimedOut.into())),
    }
}

/// The memory that is waited for.
async fn reserved(reserving: &mut Option<BoxFuture<'static, Held>>) -> Held {
    match reserving {
        Some(held) => held.await,
        None => std::future::pending().await,
    }
}

fn guard(broker: Arc<Broker>, api: ApiKey, answer: Answer) -> Answer {
    let answer = async move {
        broker.plant(Fault::PanicInAnswer(api));
        answer.await
    };
    Box::pin(
        AssertUnwindSafe(answer)
            .catch_unwind()
            .map(move |outcome| outcome.unwrap_or(Err(Hangup::Panicked(api)))),
    )
}

/// What this client calls us: the configured address, or the one that it dialled.
fn endpoint(broker: &Broker, local: SocketAddr) -> Endpoint {
    match &broker.config.advertised {
        Some((host, port)) => Endpoint {
            host: StrBytes::from_string(host.clone()),
            port: i32::from(*port),
        },
        None => {
            // A client on IPv4 that reached a socket of both families is told its IPv4 address.
            let host = local.ip().to_canonical().to_string();
            Endpoint {
                host: StrBytes::from_string(host),
                port: i32::from(local.port()),
            }
        }
    }
}
