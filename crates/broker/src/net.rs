//! The network shell: sockets in, frames out, nothing decided.
//!
//! One task per connection. It reads frames into one buffer that grows only with bytes that came, starts their handlers
//! in order, and writes the answers in the same order. Produce requests overlap, so that many of them share one sync of
//! the log; any other request starts when everything before it is answered, as in Kafka. Bytes that are no request end
//! this connection with one log line; a handler that panics does the same, and nobody else notices.

mod connection;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Broker;
use crate::net::connection::Connection;

/// Turns true when the server is to stop.
pub type Shutdown = watch::Receiver<bool>;

/// How long requests in flight may take to finish after shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Accepts until shutdown, then waits for the connections to finish what they began.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel does not say when it has descriptors again"
)]
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener, mut shutdown: Shutdown) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if connections.len() >= broker.config.max_connections => {
                    broker.metrics().connections_over_limit.add(1);
                    if let Some(unsaid) = broker.turned_away.now(broker.config.clock.elapsed()) {
                        tracing::warn!(%peer, limit = broker.config.max_connections, unsaid, "closed a new connection: there are too many");
                    }
                }
                Ok((stream, peer)) => {
                    connections.spawn(Connection::serve(broker.clone(), stream, peer, shutdown.clone()));
                }
                Err(error) => {
                    // Mostly no file descriptors left: accepting again at once would spin.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    broker.metrics().panics.add(1);
                    tracing::error!("a connection failed outside of a handler; this is a bug");
                }
            }
            () = stopped(&mut shutdown) => break,
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.abort_all();
    }
}

/// Returns when the server is to stop, or when whoever could say so is gone.
async fn stopped(shutdown: &mut Shutdown) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
