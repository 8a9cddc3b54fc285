//! The engine: what all queries of a server share, and what one of them may take.
//!
//! ```text
//! Engine    threads of its own · one memory pool · a place to spill · so many queries at once
//!   └ Session   the catalogs that names are looked up in
//!       └ Rows      one running query: batches as they come, at most so many rows, for at most so long
//! ```
//!
//! A query that wants more memory than the pool has spills where it can (sorts, groups) and fails with
//! [`QueryError::Memory`] where it cannot (joins): the broker beside it does not notice. Dropping [`Rows`], or the
//! future that would have given them, ends the query.

use crate::error::QueryError;
use crate::left_out::LeftOut;
use crate::rows::{Limits, Rows};
use crate::snapshots_for::{self, SnapshotsFor};
use crate::tables::Namespaces;
use crate::views::Scope;
use crate::{Catalogs, as_of, micros, show};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What `namespace.table` means where no catalog is named; never written in a query.
pub(crate) const DEFAULT_CATALOG: &str = "lakeward";

/// What all queries together may take of the machine.
#[derive(Clone, Debug)]
pub struct Budget {
    pub memory_bytes: usize,
    /// Bytes in the system's folder for temporary files.
    pub spill_bytes: u64,
    pub threads: usize,
    /// More wait until one ends, within their own time limit.
    pub queries: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Budget {
            memory_bytes: 256 << 20,
            spill_bytes: 4 << 30,
            threads: cores.clamp(1, 4),
            queries: 8,
        }
    }
}

/// Runs queries.
pub struct Engine {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    env: Arc<RuntimeEnv>,
    budget: Budget,
    turns: Arc<Semaphore>,
}

impl Engine {
    /// # Errors
    /// When its threads cannot be started.
    pub fn start(budget: Budget) -> Result<Engine, QueryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(budget.threads)
            .thread_name("query")
            .enable_all()
            .build()?;
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::OsTmpDirectory)
            .with_max_temp_directory_size(budget.spill_bytes);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(budget.memory_bytes)))
            .with_disk_manager_builder(spill)
            .build_arc()?;
        Ok(Engine {
            runtime: Some(runtime),
            env,
            turns: Arc::new(Semaphore::new(budget.queries)),
            budget,
        })
    }

    pub fn session(&self, catalogs: Arc<dyn Catalogs>) -> Session {
        Session {
            catalogs,
            env: self.env.clone(),
            budget: self.budget.clone(),
            turns: self.turns.clone(),
            handle: self.handle(),
        }
    }

    /// Bytes that all queries hold at the moment, and how many they may.
    pub fn memory(&self) -> (usize, usize) {
        let reserved = self.env.memory_pool.reserved();
        (reserved, self.budget.memory_bytes)
    }

    /// Waits for a future on the engine's threads: for callers that have no runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle().block_on(future)
    }

    fn handle(&self) -> Handle {
        let runtime = self.runtime.as_ref();
        runtime
            .expect("the engine has its threads until it is dropped")
            .handle()
            .clone()
    }
}

/// The last owner may be a task of another runtime, where waiting for ours to end would panic.
impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Queries over the same catalogs.
#[derive(Clone)]
pub struct Session {
    pub(crate) catalogs: Arc<dyn Catalogs>,
    env: Arc<RuntimeEnv>,
    budget: Budget,
    turns: Arc<Semaphore>,
    handle: Handle,
}

impl Session {
    /// Starts a query, `SHOW TABLES`, `SHOW DATABASES` or `DESCRIBE`, and waits until its columns are known.
    ///
    /// # Errors
    /// When the text is not a query, names what is not there, or its time is up before it began.
    pub async fn query(&self, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
        let (session, text) = (self.clone(), sql.to_owned());
        let left_out = LeftOut::default();
        let begin = {
            let left_out = left_out.clone();
            async move { session.begin(&text, &left_out).await }
        };
        Rows::start(&self.handle, begin, limits, left_out).await
    }

    async fn begin(
        self,
        sql: &str,
        left_out: &LeftOut,
    ) -> Result<(SendableRecordBatchStream, Option<OwnedSemaphorePermit>), QueryError> {
        let turn = self.turns.clone().acquire_owned().await.ok();
        if let Some(question) = show::parse(sql) {
            let catalogs = self.catalogs.clone();
            let answer = tokio::task::spawn_blocking(move || question.answer(&*catalogs)).await;
            return Ok((answer.map_err(QueryError::panic)??, turn));
        }
        let context = self.context(left_out, &Scope::default())?;
        let queries_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let query = as_of::statement(&context, sql).await?;
        let plan = micros::plan(&context, query).await?;
        queries_only.verify_plan(&plan)?;
        let frame = context.execute_logical_plan(plan).await?;
        left_out.run();
        Ok((frame.execute_stream().await?, turn))
    }

    /// A context for the SQL of a query, or of a view that it names.
    pub(crate) fn context(
        &self,
        left_out: &LeftOut,
        scope: &Scope,
    ) -> datafusion::error::Result<SessionContext> {
        let catalog = scope.catalog.as_deref().unwrap_or(DEFAULT_CATALOG);
        let namespace = scope.namespace.as_deref().unwrap_or("default");
        // Whatever has several inputs or readers spreads over the threads; rows are not dealt out one by one.
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(catalog, namespace)
            .with_information_schema(true)
            .with_target_partitions(self.budget.threads)
            .with_round_robin_repartition(false);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let execution = &mut config.options_mut().execution;
        // A sort keeps this much aside to merge what it spilled; the default would be the whole of a small pool.
        execution.sort_spill_reservation_bytes = (self.budget.memory_bytes / 32).min(10 << 20);
        // What a sort holds when its memory is used up is sorted as one batch before it is spilled. Merging the batches
        // that came in, as is the default, needs their keys once more just when nothing is left: narrow rows failed there.
        execution.sort_in_place_threshold_bytes = self.budget.memory_bytes;
        let context = SessionContext::new_with_config_rt(config, self.env.clone());
        let names = self.catalogs.names();
        let namespaces = |name: Option<String>| {
            let within = scope.within.clone();
            Arc::new(Namespaces::new(
                self.clone(),
                name,
                left_out.clone(),
                within,
            ))
        };
        for name in &names {
            context.register_catalog(name, namespaces(Some(name.clone())));
        }
        context.register_catalog(DEFAULT_CATALOG, namespaces(None));
        if let Some(alias) = scope.alias.as_ref().filter(|alias| !names.contains(alias)) {
            context.register_catalog(alias, namespaces(scope.catalog.clone()));
        }
        let holders = SnapshotsFor::new(self.catalogs.clone(), left_out.clone());
        context.register_udtf(snapshots_for::NAME, Arc::new(holders));
        micros::teach(&context)?;
        Ok(context)
    }
}
