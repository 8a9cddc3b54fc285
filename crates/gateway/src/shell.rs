//! The one HTTP shell: what every request to the registry, the catalog and the API passes before a handler sees it.
//!
//! ```text
//! socket ─► connection limit ─► head within its time ─► Host ─► Origin ─► token ─► media type ─► body within limit and time
//!        ─► handler within its time, a panic caught ─► every refusal in the protocol's own shape
//! ```
//!
//! Loopback is no fence against browsers: any page may send requests to 127.0.0.1. It cannot choose two headers: `Host` names
//! the server that the page believes to talk to (a rebound name is refused), and `Origin` names the page (a foreign one is
//! refused). What a page may send without `Origin` has no body and no effect. A token keeps out everybody else.
//!
//! What stays without a shape: bytes that are no HTTP at all; the connection answers a bare 400 and ends.

mod dialect;
mod guard;
#[cfg(test)]
mod tests;
mod token;

pub use dialect::Dialect;
pub use token::Token;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Who may ask, and for how much.
#[derive(Clone, Debug)]
pub struct Policy {
    pub dialect: Dialect,
    /// Names that this server goes by, besides `localhost` and every address: `*` is any name.
    pub hosts: Vec<String>,
    /// Asked of everybody when there is one.
    pub token: Option<Token>,
    pub limits: Limits,
}

/// How much one client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    pub body: usize,
    /// Also how long a connection may be idle.
    pub head_time: Duration,
    pub body_time: Duration,
    pub handler_time: Duration,
}

impl Policy {
    /// The policy of a server on loopback.
    pub fn new(dialect: Dialect) -> Policy {
        Policy {
            dialect,
            hosts: Vec::new(),
            token: None,
            limits: dialect.limits(),
        }
    }
}

/// Serves until `ended` says so; requests that are under way are then answered first.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    policy: Policy,
    mut ended: watch::Receiver<bool>,
) {
    let limits = policy.limits;
    let permits = Arc::new(Semaphore::new(limits.connections));
    let router = guarded(router, policy);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = is_over(&mut ended) => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: it passes when a connection ends.
                tracing::warn!(%error, "a connection could not be accepted");
                let _ =
                    tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>())
                        .await;
                continue;
            }
        };
        let (router, ended) = (router.clone(), ended.clone());
        connections.spawn(async move {
            converse(stream, router, limits, ended).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The router behind its guard, for whoever has a socket of another kind.
pub fn guarded(router: Router, policy: Policy) -> Router {
    let policy = Arc::new(policy);
    router.layer(axum::middleware::from_fn_with_state(policy, guard::guard))
}

/// Waits for the end; a sender that is gone is one, too.
async fn is_over(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn converse(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = is_over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}
