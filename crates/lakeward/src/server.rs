//! The composition root: opens the storage, starts every part on its socket, and ends them in the right order.
//!
//! Start: storage (recovery) → registry, broker, catalog → sockets → ready file → pipelines resume. Nothing listens before
//! what it serves is loaded. End: pipelines take a last checkpoint → sockets close → storage checkpoints.

mod memory;
mod places;
#[cfg(test)]
mod tests;

pub use places::{files, place};

use crate::args::Up;
use crate::config::Config;
use crate::connectors::Wiring;
use crate::environment::{World, jobs};
use crate::failure::failure;
use crate::tables::{AuditTrouble, AuditsAhead, Periodic, Tables};
use anyhow::Context;
use lw_broker::{Broker, BrokerConfig};
use lw_gateway::shell::{self, Dialect, Policy, Token};
use lw_gateway::{Parts, Planned, Refusal, Script, Status};
use lw_lakehouse::{Catalog, Ids};
use lw_ops::metrics::{Disk, Observed, Queries, Reports, States};
use lw_query::Engine;
use lw_registry::Registry;
use lw_runtime::job::Surroundings;
use lw_runtime::pipelines::Pipelines;
use lw_runtime::pool::Pool;
use lw_runtime::state::Budget;
use lw_sql::{Diagnostics, Environment};
use lw_stdx::clock::{Clock, SystemClock};
use lw_stdx::disk::RealDisk;
use lw_storage::{OpenError, Storage, Uuid};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A server that answers.
pub struct Serving {
    status: Status,
    runtime: tokio::runtime::Runtime,
    shutdown: watch::Sender<bool>,
    pipelines: Arc<Pipelines>,
    audits: AuditsAhead,
    compactions: Periodic,
    storage: Storage,
}

impl Serving {
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Ends the server: nothing that was read is left uncommitted, nothing that was acknowledged is lost.
    pub fn drain(self) {
        self.pipelines.drain();
        drop((self.audits, self.compactions));
        let _ = self.shutdown.send(true);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        self.storage.close();
    }
}

/// `lakeward up`: serves until SIGINT or SIGTERM.
pub fn up(options: Up) -> anyhow::Result<ExitCode> {
    let since = SystemClock::new();
    let serving = start(&options)?;
    let status = serving.status();
    tracing::info!(
        kafka = status.kafka,
        registry = status.registry,
        catalog = status.catalog,
        http = status.http,
        warehouse = status.warehouse,
        ready_ms = since.elapsed().as_millis() as u64,
        "ready"
    );
    serving.runtime.block_on(asked_to_end())?;
    tracing::info!("draining");
    serving.drain();
    Ok(ExitCode::SUCCESS)
}

async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

/// Starts everything on `options`' addresses; returns once all sockets answer.
pub fn start(options: &Up) -> anyhow::Result<Serving> {
    let config = Config::load(options.config.as_deref(), &options.data_dir)?;
    let token = crate::client::token();
    check_exposure(options, token.is_some())?;
    let doors = Doors {
        hosts: config.http.allowed_hosts.clone(),
        token,
    };
    let loaded = Loaded::from(options, &config)?;
    let sockets = loaded.runtime.block_on(Sockets::bind(options))?;
    let status = sockets.status(&loaded.warehouse)?;
    let (parts, tables) = loaded.parts(options, config, status.clone())?;
    let (parts, pipelines) = (Arc::new(parts), tables.pipelines().clone());
    let (shutdown, ended) = watch::channel(false);
    for (what, serving) in sockets.served(&loaded, parts, &doors, &ended) {
        let fallen = loaded.fallen.clone();
        loaded.runtime.spawn(watched(what, serving, fallen));
    }
    if let Some(file) = &options.ready_file {
        write_ready(file, &status)?;
    }
    pipelines.resume_all();
    tables.hold_unaudited();
    loaded.storage.holds_ready();
    let kept_up = tables.clone();
    let compactions = Periodic::start(
        "compactions",
        Tables::COMPACTS_EVERY,
        move |turn| {
            kept_up.finish_erasures(turn);
            kept_up.keep_up(turn)
        },
        |panic| {
            if let Some(words) = panic {
                tracing::error!(words, "a compaction panicked; please report it");
            }
        },
    )?;
    Ok(Serving {
        status,
        runtime: loaded.runtime,
        shutdown,
        pipelines,
        compactions,
        audits: AuditsAhead::start(
            move |is_over| tables.audit_ahead(is_over),
            AuditsAhead::EVERY,
            loaded.audits,
        )?,
        storage: loaded.storage,
    })
}

/// What there is before anything listens.
struct Loaded {
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Runtime,
    storage: Storage,
    registry: Arc<Registry>,
    broker: Arc<Broker>,
    warehouse: String,
    catalog: Catalog,
    fallen: Fallen,
    audits: AuditTrouble,
}

impl Loaded {
    fn from(options: &Up, config: &Config) -> anyhow::Result<Loaded> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let storage = open_storage(&options.data_dir, clock.clone())?;
        let warehouse = places::warehouse(options)?;
        let runtime = io_runtime()?;
        let registry =
            Arc::new(Registry::open(storage.clone()).context("the registry cannot be loaded")?);
        let broker = {
            let _entered = runtime.enter();
            Broker::new(
                storage.clone(),
                BrokerConfig {
                    clock: clock.clone(),
                    ..BrokerConfig::default()
                },
            )
        };
        let files = files(config, &warehouse)?;
        places::claim(&files, config, &warehouse, &storage.cluster_id())?;
        let catalog = Catalog::open_allowing(
            storage.clone(),
            files,
            &warehouse,
            &config.allowed_locations(),
            Ids::random(),
        )?;
        Ok(Loaded {
            clock,
            runtime,
            storage,
            registry,
            broker,
            warehouse,
            catalog,
            fallen: Fallen::default(),
            audits: AuditTrouble::default(),
        })
    }

    /// What the API asks, and the tables with their pipelines among it.
    fn parts(
        &self,
        options: &Up,
        config: Config,
        status: Status,
    ) -> anyhow::Result<(Parts, Arc<Tables>)> {
        let engine = crate::query::start(options.query_memory)?;
        let wiring = Arc::new(Wiring::new(
            self.storage.clone(),
            self.broker.clone(),
            self.registry.clone(),
            self.catalog.clone(),
            config.clone(),
            self.clock.clone(),
            engine.clone(),
        ));
        let world = Arc::new(World {
            config,
            storage: self.storage.clone(),
            subjects: self.registry.clone(),
        });
        let around = Surroundings {
            storage: self.storage.clone(),
            connectors: wiring.clone(),
            planner: world.clone(),
            clock: self.clock.clone(),
            memory: Budget::of(memory::for_states(options.state_memory)),
            new_id: Arc::new(new_id),
            pool: Pool::new(cores()),
        };
        let memory = around.memory.clone();
        let pipelines = Arc::new(Pipelines::open(around, options.commit_interval));
        let tables = Arc::new(Tables::new(wiring.clone(), pipelines.clone()));
        let scraped = Scraped {
            storage: self.storage.clone(),
            broker: self.broker.clone(),
            registry: self.registry.clone(),
            catalog: self.catalog.clone(),
            wiring,
            pipelines,
            tables: tables.clone(),
            engine,
            memory,
            clock: self.clock.clone(),
        };
        let health = Health {
            storage: self.storage.clone(),
            broker: self.broker.clone(),
            registry: self.registry.clone(),
            fallen: self.fallen.clone(),
            audits: self.audits.clone(),
        };
        let parts = parts(scraped, world, tables.clone(), status, health);
        Ok((parts, tables))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell that ids of pipelines come from"
)]
fn new_id() -> Uuid {
    Uuid::new_v4()
}

/// How many the process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn io_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores().clamp(2, 8))
        .thread_name("io")
        .enable_all()
        .build()
}

/// What the API asks.
fn parts(
    scraped: Scraped,
    world: Arc<World>,
    tables: Arc<Tables>,
    status: Status,
    health: Health,
) -> Parts {
    let wiring = scraped.wiring.clone();
    let pipelines = scraped.pipelines.clone();
    Parts {
        check: {
            let world = world.clone();
            Box::new(move |script| check(script, &*world))
        },
        plan: {
            let world = world.clone();
            Box::new(move |script| plan(script, &world))
        },
        query: crate::query::parts(tables.clone(), scraped.engine.clone()),
        tables: {
            let tables = tables.clone();
            Box::new(move || tables.list())
        },
        table: {
            let tables = tables.clone();
            Box::new(move |name| tables.show(name))
        },
        change_ref: {
            let tables = tables.clone();
            Box::new(move |table, change| tables.change_ref(table, change))
        },
        roll_back: {
            let tables = tables.clone();
            Box::new(move |table, back| tables.roll_back(table, back))
        },
        replay: {
            let tables = tables.clone();
            let plan = move |script: &Script| plan(script, &world);
            Box::new(move |table, asked| tables.replay(table, asked, &plan))
        },
        promote: {
            let tables = tables.clone();
            Box::new(move |table, asked| tables.promote(table, asked))
        },
        erase: {
            let tables = tables.clone();
            Box::new(move |table, asked| tables.erase(table, asked))
        },
        compact: {
            let tables = tables.clone();
            Box::new(move |table, how, cancelled| tables.compact(table, how, cancelled))
        },
        audit: Box::new(move |table, cancelled| tables.audit(table, cancelled)),
        output: Box::new(move |pipeline, from| wiring.printed(pipeline, from)),
        metrics: Box::new(move || scraped.render()),
        trouble: Box::new(move || health.trouble()),
        pipelines,
        status,
    }
}

/// The parts whose end must not go unnoticed.
struct Health {
    storage: Storage,
    broker: Arc<Broker>,
    registry: Arc<Registry>,
    fallen: Fallen,
    audits: AuditTrouble,
}

/// A socket that is not served any more, though nobody ended it.
type Fallen = Arc<parking_lot::Mutex<Option<&'static str>>>;

impl Health {
    /// Why some part does not do what it is there for, if that is so: what `/healthz` is red with.
    fn trouble(&self) -> Option<String> {
        let stats = self.storage.stats();
        if let Some(failed) = &stats.failed {
            return Some(format!("nothing is written any more: {failed}"));
        }
        let fallen = *self.fallen.lock();
        fallen
            .map(|what| format!("the {what} socket is not served any more"))
            .or_else(|| self.broker.trouble())
            .or_else(|| self.registry.trouble())
            .or_else(|| self.audits.lock().clone())
            .or_else(|| {
                stats.write_blocked.then(|| {
                    format!(
                        "writes are refused: {} bytes free on the data folder's disk",
                        stats.disk_free
                    )
                })
            })
    }
}

/// Serves, and says so when that ends by a panic: connections have guards of their own, this is about who accepts them.
async fn watched(what: &'static str, serving: Service, fallen: Fallen) {
    let ended = tokio::spawn(serving).await;
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(socket = what, "it is not served any more; this is a bug");
        *fallen.lock() = Some(what);
    }
}

/// What serves a socket until the server ends.
type Service = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Beyond this machine nobody is served who was not asked, unless the operator says so.
fn check_exposure(options: &Up, token: bool) -> anyhow::Result<()> {
    let sockets = [
        ("kafka", options.kafka, false),
        ("registry", options.registry, token),
        ("catalog", options.catalog, token),
        ("http", options.http, token),
    ];
    let mut open = sockets
        .iter()
        .filter(|(_, address, guarded)| !guarded && !address.ip().is_loopback());
    let Some((what, address, _)) = open.next() else {
        return Ok(());
    };
    if options.insecure_no_token {
        tracing::warn!(socket = what, %address, "serving beyond this machine without asking who it is");
        return Ok(());
    }
    let hint = match *what {
        "kafka" => {
            "Kafka's socket cannot ask for a token yet. Keep it on 127.0.0.1, or say --insecure-no-token where the network is trusted."
        }
        _ => {
            "Give it a secret with --token-file FILE, or say --insecure-no-token where the network is trusted."
        }
    };
    Err(failure(
        format!("--{what} {address} would serve everybody who reaches this machine"),
        hint,
    ))
}

pub fn open_storage(dir: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Storage> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the data folder {}", dir.display()))?;
    Storage::open(Arc::new(RealDisk), clock, lw_storage::Config::new(dir)).map_err(|error| match error {
        OpenError::Locked { pid } => failure(
            format!("the data folder {} is in use by process {pid}", dir.display()),
            format!("One server owns a data folder. Stop process {pid}, or give this one another --data-dir."),
        ),
        other => anyhow::Error::new(other).context(format!("cannot open the data folder {}", dir.display())),
    })
}

/// Who may pass the HTTP sockets.
struct Doors {
    hosts: Vec<String>,
    token: Option<Token>,
}

impl Doors {
    fn policy(&self, dialect: Dialect) -> Policy {
        Policy {
            hosts: self.hosts.clone(),
            token: self.token.clone(),
            ..Policy::new(dialect)
        }
    }
}

/// The bound sockets, not yet served.
struct Sockets {
    kafka: TcpListener,
    registry: TcpListener,
    catalog: TcpListener,
    http: TcpListener,
}

impl Sockets {
    async fn bind(options: &Up) -> anyhow::Result<Sockets> {
        Ok(Sockets {
            kafka: bind("kafka", options.kafka).await?,
            registry: bind("registry", options.registry).await?,
            catalog: bind("catalog", options.catalog).await?,
            http: bind("http", options.http).await?,
        })
    }

    fn status(&self, warehouse: &str) -> anyhow::Result<Status> {
        Ok(Status {
            version: VERSION,
            pid: std::process::id(),
            kafka: self.kafka.local_addr()?.to_string(),
            registry: format!("http://{}", self.registry.local_addr()?),
            catalog: format!("http://{}", self.catalog.local_addr()?),
            http: format!("http://{}", self.http.local_addr()?),
            warehouse: warehouse.to_string(),
        })
    }

    /// What serves each of them, by the socket's name.
    fn served(
        self,
        loaded: &Loaded,
        parts: Arc<Parts>,
        doors: &Doors,
        ended: &watch::Receiver<bool>,
    ) -> [(&'static str, Service); 4] {
        let secret = doors.token.as_ref().map(|token| token.reveal().into());
        let http = |listener, router, dialect| -> Service {
            let policy = doors.policy(dialect);
            Box::pin(shell::serve(listener, router, policy, ended.clone()))
        };
        let registry = loaded.registry.router();
        let catalog = loaded.catalog.clone();
        let catalog = lw_lakehouse::catalog::rest::router_with_token(catalog, secret);
        let api = lw_gateway::router(parts);
        let kafka = {
            let (broker, ended) = (loaded.broker.clone(), ended.clone());
            async move { broker.serve(self.kafka, ended).await }
        };
        [
            ("kafka", Box::pin(kafka)),
            ("registry", http(self.registry, registry, Dialect::Registry)),
            ("catalog", http(self.catalog, catalog, Dialect::Catalog)),
            ("http", http(self.http, api, Dialect::Api)),
        ]
    }
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        failure(
            format!("cannot listen on {address} for {what}: {error}"),
            format!("Give another address with --{what}; port 0 picks a free one."),
        )
    })
}

/// Written under another name first, so that whoever waits for it never reads half of it.
fn write_ready(file: &Path, status: &Status) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    std::fs::write(&part, serde_json::to_vec(status)?)
        .with_context(|| format!("cannot write {}", part.display()))?;
    std::fs::rename(&part, file).with_context(|| format!("cannot write {}", file.display()))
}

fn plan(script: &Script, world: &World) -> Result<Planned, Refusal> {
    let Script { sql, name, file } = script;
    let plan = lw_sql::plan_script(sql, file, world)
        .map_err(|diagnostics| refused(&diagnostics, file, sql))?;
    Ok(Planned {
        name: plan.pipeline_name.unwrap_or_else(|| name.clone()),
        jobs: jobs(plan.jobs),
        settings: plan.settings,
        explanations: plan
            .explanations
            .into_iter()
            .map(|explanation| explanation.text)
            .collect(),
        notices: {
            let notices = plan.notices.iter();
            let notices = notices.map(|notice| notice.render(file, sql));
            let more = plan.advice.len();
            let more = (more > 0).then(|| format!("{more} more to know: lakeward check {file}"));
            notices.chain(more).collect()
        },
    })
}

/// What there is to say about a script that could run.
pub fn check(script: &Script, world: &dyn Environment) -> Result<Value, Refusal> {
    let Script { sql, file, .. } = script;
    let plan = lw_sql::plan_script(sql, file, world)
        .map_err(|diagnostics| refused(&diagnostics, file, sql))?;
    let said = Diagnostics(plan.notices.into_iter().chain(plan.advice).collect());
    let messages = said.located(file, sql).into_iter().map(|message| {
        let rendered = message.diagnostic.render(file, sql);
        let mut message = serde_json::to_value(message).expect("text and numbers");
        message["rendered"] = rendered.into();
        message
    });
    let inserts = plan.jobs.iter().flat_map(|job| &job.inserts);
    let tables: BTreeSet<&str> = inserts.map(|insert| insert.table.as_str()).collect();
    Ok(json!({ "tables": tables, "messages": messages.collect::<Vec<_>>() }))
}

/// The first diagnostic as the message, all of them rendered with their places in the script.
pub(crate) fn refused(diagnostics: &Diagnostics, file: &str, text: &str) -> Refusal {
    let first = diagnostics.0.first();
    let mut refusal = Refusal::new(
        400,
        first.map_or("the script was refused", |first| &first.message),
    );
    refusal.detail = first
        .and_then(|first| first.detail.clone())
        .unwrap_or_default();
    refusal.hint = first
        .and_then(|first| first.hint.clone())
        .unwrap_or_default();
    refusal.rendered = diagnostics.render(file, text).into();
    refusal.diagnostics = diagnostics
        .located(file, text)
        .iter()
        .map(|message| serde_json::to_value(message).expect("text and numbers"))
        .collect();
    refusal
}

/// The parts that `/metrics` looks at.
struct Scraped {
    storage: Storage,
    broker: Arc<Broker>,
    registry: Arc<Registry>,
    catalog: Catalog,
    wiring: Arc<Wiring>,
    pipelines: Arc<Pipelines>,
    tables: Arc<Tables>,
    engine: Arc<Engine>,
    memory: Budget,
    clock: Arc<dyn Clock>,
}

impl Scraped {
    fn queries(&self) -> Queries {
        let (used, limit) = self.engine.memory();
        Queries {
            used_bytes: used as u64,
            limit_bytes: limit as u64,
        }
    }

    fn reports(&self) -> Reports {
        let (scans, commits) = self.catalog.reports();
        Reports { scans, commits }
    }

    fn render(&self) -> String {
        let stats = self.storage.stats();
        lw_ops::metrics::render(&Observed {
            version: VERSION,
            uptime_seconds: self.clock.elapsed().as_secs_f64(),
            now_ms: self.clock.now_ms(),
            broker: self.broker.metrics(),
            memory: self.broker.memory(),
            queries: self.queries(),
            states: States {
                used_bytes: self.memory.taken(),
                limit_bytes: self.memory.limit(),
            },
            registry: self.registry.metrics(),
            reports: self.reports(),
            pipelines: &self.pipelines.list(),
            filled: &self.tables.filled(),
            readers: &self.wiring.readers(),
            lags: &crate::connectors::lags(&self.broker),
            disk: Disk {
                free_bytes: stats.disk_free,
                total_bytes: stats.disk_total,
                write_blocked: stats.write_blocked,
                syncs: stats.fsyncs,
                sync_seconds: stats.fsync_time.as_secs_f64(),
                log_bytes: stats.wal_bytes,
            },
        })
    }
}
