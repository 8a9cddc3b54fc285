//! A broker by itself, to try clients against: `cargo run -p lw-broker --example serve -- DIR 127.0.0.1:9092`.
//! A third argument, HOST:PORT, is what clients are told to dial: a proxy that records frames, say.

use std::sync::Arc;

use lw_broker::{Broker, BrokerConfig};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("which folder?")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let storage = Storage::open(
        Arc::new(RealDisk),
        Arc::new(SystemClock::new()),
        Config::new(&dir),
    )?;
    let advertised = match args
        .next()
        .as_deref()
        .and_then(|address| address.rsplit_once(':'))
    {
        Some((host, port)) => Some((host.to_owned(), port.parse()?)),
        None => None,
    };
    let config = BrokerConfig {
        advertised,
        log_dir: dir,
        ..BrokerConfig::default()
    };
    let broker = Broker::new(storage.clone(), config);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let server = tokio::spawn(async move { broker.serve(listener, shutdown).await });
    tokio::signal::ctrl_c().await?;
    stop.send(true)?;
    server.await?;
    storage.close();
    Ok(())
}
