//! The tables of a job that rows are looked up in: loaded as a whole, looked at each so often, and pinned.
//!
//! What a row is joined with must not hang on when it is read. So a table is read at one version, and another one takes its place at a
//! barrier only:
//!
//! 1. A thread of the job's looks what version a table has now, and loads it beside the running job ([`Lookups::watch`]).
//! 2. The source task takes what was loaded between two polls ([`Lookups::swap`]), and says so before the rows that it joins with it.
//! 3. The driver takes no such row before what it has is sealed. So each commit is of one version, and says which.
//! 4. The manifest says with which versions the offsets behind its position are joined: a restart reads them with the same ones.
//!
//! A version that the table does not have any more cannot be read again. Nothing that was joined with it behind the position is in any
//! table, so the job goes on with the newest one; and says so.

mod held;
#[cfg(test)]
mod tests;

pub(crate) use held::Held;

use crate::connector::{ConnectorError, Connectors, ErrorKind, LookupSource};
use crate::job::{JobStatus, LookupStatus, panicked};
use crate::operator::{Flow, Parallelism};
use held::Holding;
use lw_graph::{JobGraph, Lookup, NodeId};
use lw_stdx::clock::Clock;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Versions of tables, by [`lw_graph::LookupTable::id`].
pub type Pins = BTreeMap<String, String>;

/// Where a join finds the rows of its table.
pub(crate) type Slot = Arc<Mutex<Arc<Held>>>;

/// The tables of a job.
pub(crate) struct Lookups {
    tables: BTreeMap<String, Vec<Slot>>,
    by_node: BTreeMap<NodeId, Slot>,
    pins: Pins,
    /// What was loaded and is not taken yet, by table.
    ready: Arc<Mutex<BTreeMap<String, Loaded>>>,
    /// Until somebody watches.
    loaders: Vec<Loader>,
    watcher: Option<Watcher>,
    status: Arc<JobStatus>,
    clock: Arc<dyn Clock>,
}

/// A version of a table, for each join with it.
struct Loaded {
    version: String,
    held: Vec<Arc<Held>>,
}

/// Reads one table.
struct Loader {
    id: String,
    /// The joins with it.
    lookups: Vec<Lookup>,
    source: Box<dyn LookupSource>,
    /// What was loaded last.
    version: String,
    /// What was wrong when it was looked at last.
    told: Option<String>,
}

impl Lookups {
    /// Loads the tables of a graph: at the versions that are pinned, and else at those that they have now.
    ///
    /// # Errors
    /// When a table is not there, cannot be read, or is too large.
    pub(crate) fn open(
        graph: &JobGraph,
        connectors: &dyn Connectors,
        pinned: &Pins,
        status: Arc<JobStatus>,
        clock: Arc<dyn Clock>,
    ) -> Result<Lookups, ConnectorError> {
        let mut lookups = Lookups::none(status, clock);
        let mut joins: BTreeMap<String, Vec<(NodeId, &Lookup)>> = BTreeMap::new();
        for (node, lookup) in graph.lookups() {
            let of_table = joins.entry(lookup.table.id()).or_default();
            of_table.push((node, lookup));
        }
        for (id, joins) in joins {
            lookups.open_table(id, &joins, connectors, pinned)?;
        }
        Ok(lookups)
    }

    /// Those of a graph that looks nothing up.
    pub(crate) fn none(status: Arc<JobStatus>, clock: Arc<dyn Clock>) -> Lookups {
        Lookups {
            tables: BTreeMap::new(),
            by_node: BTreeMap::new(),
            pins: Pins::new(),
            ready: Arc::default(),
            loaders: Vec::new(),
            watcher: None,
            status,
            clock,
        }
    }

    /// Loads the tables of a graph at these versions, for who executes again what was joined with them.
    fn at(
        graph: &JobGraph,
        connectors: &dyn Connectors,
        pins: &Pins,
    ) -> Result<BTreeMap<NodeId, Slot>, ConnectorError> {
        let mut slots = BTreeMap::new();
        for (node, lookup) in graph.lookups() {
            let (name, id) = (&lookup.table.name, lookup.table.id());
            let Some(version) = pins.get(&id) else {
                let message = format!(
                    "rows were looked up in table '{name}', and the commits that say in which version of it are gone"
                );
                return Err(ConnectorError::new(ErrorKind::Fix, message));
            };
            let mut source = connectors.lookup(&lookup.table)?;
            if !source.has(version)? {
                let message = format!(
                    "rows were looked up in version {version} of table '{name}', which is gone"
                );
                return Err(ConnectorError::new(ErrorKind::Fix, message));
            }
            let mut holding = Holding::new(lookup)?;
            source.read(version, &lookup.columns, &mut |batch| holding.take(batch))?;
            slots.insert(node, Arc::new(Mutex::new(Arc::new(holding.finish()?))));
        }
        Ok(slots)
    }

    fn open_table(
        &mut self,
        id: String,
        joins: &[(NodeId, &Lookup)],
        connectors: &dyn Connectors,
        pinned: &Pins,
    ) -> Result<(), ConnectorError> {
        let mut source = connectors.lookup(&joins[0].1.table)?;
        let mut gone = None;
        let version = match pinned.get(&id) {
            Some(pin) if source.has(pin)? => pin.clone(),
            pin => {
                let newest = source.newest()?;
                gone = pin.map(|pin| {
                    format!("version {pin}, with which the open rows were joined, is gone from the table; they are read again with {newest}")
                });
                newest
            }
        };
        if let Some(gone) = &gone {
            tracing::warn!(table = id, gone, "rows are looked up in another version");
        }
        let mut loader = Loader {
            lookups: joins.iter().map(|(_, lookup)| (*lookup).clone()).collect(),
            id: id.clone(),
            source,
            version: version.clone(),
            told: None,
        };
        let loaded = loader.load(&version, &|| false)?;
        self.show(&id, &loaded, gone);
        let slots = loaded.held.into_iter();
        let slots: Vec<Slot> = slots.map(|held| Arc::new(Mutex::new(held))).collect();
        for ((node, _), slot) in joins.iter().zip(&slots) {
            self.by_node.insert(*node, slot.clone());
        }
        self.tables.insert(id.clone(), slots);
        self.pins.insert(id, version);
        self.loaders.push(loader);
        Ok(())
    }

    /// By node: where its join finds the table's rows.
    pub(crate) fn slots(&self) -> &BTreeMap<NodeId, Slot> {
        &self.by_node
    }

    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes what was loaded since; rows are joined with it from now on. Says with which versions, where that has changed.
    pub(crate) fn swap(&mut self) -> Option<Pins> {
        if self.tables.is_empty() {
            return None;
        }
        let ready = std::mem::take(&mut *self.ready.lock());
        if ready.is_empty() {
            return None;
        }
        for (id, loaded) in ready {
            self.show(&id, &loaded, None);
            for (slot, held) in self.tables[&id].iter().zip(loaded.held) {
                *slot.lock() = held;
            }
            self.pins.insert(id, loaded.version);
        }
        Some(self.pins.clone())
    }

    fn show(&self, id: &str, loaded: &Loaded, note: Option<String>) {
        let shown = LookupStatus {
            table: id.to_string(),
            version: loaded.version.clone(),
            rows: loaded
                .held
                .iter()
                .map(|held| held.columns.num_rows() as u64)
                .max()
                .unwrap_or(0),
            bytes: loaded.held.iter().map(|held| held.bytes()).sum(),
            loaded_at_ms: self.clock.now_ms(),
            note,
        };
        self.status.update(|status| {
            status.lookups.retain(|known| known.table != id);
            status.lookups.push(shown);
        });
    }

    /// Looks at all tables once, whatever the time is.
    ///
    /// # Errors
    /// What keeps one from being loaded.
    pub(crate) fn look(&mut self) -> Result<(), ConnectorError> {
        for loader in &mut self.loaders {
            if let Some(loaded) = loader.look(&|| false)? {
                self.ready.lock().insert(loader.id.clone(), loaded);
            }
        }
        Ok(())
    }

    /// Looks at the tables in a thread of its own from now on, each so often as it says.
    ///
    /// # Errors
    /// When there is no thread.
    pub(crate) fn watch(&mut self) -> Result<(), ConnectorError> {
        if self.loaders.is_empty() {
            return Ok(());
        }
        let loaders = std::mem::take(&mut self.loaders);
        let watching = Watching {
            due: loaders
                .iter()
                .map(|of| self.clock.elapsed() + of.interval())
                .collect(),
            loaders,
            ready: self.ready.clone(),
            status: self.status.clone(),
            clock: self.clock.clone(),
        };
        self.watcher = Some(Watcher::start(watching)?);
        Ok(())
    }
}

impl Loader {
    fn interval(&self) -> Duration {
        let refresh = self.lookups.iter().map(|lookup| lookup.table.refresh).min();
        Duration::from_millis(refresh.unwrap_or(0).max(1).unsigned_abs())
    }

    /// The version that the table has now, where it is another one than was loaded last.
    fn look(&mut self, stops: &dyn Fn() -> bool) -> Result<Option<Loaded>, ConnectorError> {
        let newest = self.source.newest()?;
        if newest == self.version {
            return Ok(None);
        }
        let loaded = self.load(&newest, stops)?;
        self.version = newest;
        Ok(Some(loaded))
    }

    fn load(&mut self, version: &str, stops: &dyn Fn() -> bool) -> Result<Loaded, ConnectorError> {
        let mut held = Vec::with_capacity(self.lookups.len());
        for lookup in &self.lookups {
            let mut holding = Holding::new(lookup)?;
            self.source
                .read(version, &lookup.columns, &mut |batch| match stops() {
                    true => Err(ConnectorError::new(ErrorKind::Retry, "the job ends")),
                    false => holding.take(batch),
                })?;
            held.push(Arc::new(holding.finish()?));
        }
        Ok(Loaded {
            version: version.to_string(),
            held,
        })
    }
}

impl Flow {
    /// As [`Flow::compile`], of a graph that looks rows up: in these versions of their tables.
    ///
    /// # Errors
    /// Where a version is not named or is gone, or as [`Flow::compile`]; in words.
    pub fn pinned(
        graph: &JobGraph,
        connectors: &dyn Connectors,
        pins: &Pins,
    ) -> Result<Flow, String> {
        let slots = Lookups::at(graph, connectors, pins).map_err(|error| error.to_string())?;
        let flow = Flow::looking_up(graph, &Parallelism::none(), &slots);
        flow.map_err(|error| error.to_string())
    }
}

/// What the thread has.
struct Watching {
    loaders: Vec<Loader>,
    /// By table: when it is looked at next.
    due: Vec<Duration>,
    ready: Arc<Mutex<BTreeMap<String, Loaded>>>,
    status: Arc<JobStatus>,
    clock: Arc<dyn Clock>,
}

impl Watching {
    fn run(mut self, over: &Over) {
        loop {
            let now = self.clock.elapsed();
            for at in 0..self.loaders.len() {
                if self.due[at] <= now && !over.is_over() {
                    self.look(at, over);
                    self.due[at] = self.clock.elapsed() + self.loaders[at].interval();
                }
            }
            let next = self.due.iter().min().copied().unwrap_or(Duration::MAX);
            if over.wait(next.saturating_sub(self.clock.elapsed())) {
                return;
            }
        }
    }

    /// A table that cannot be read is as it was: rows are joined with what is known of it, and the job says so.
    fn look(&mut self, at: usize, over: &Over) {
        let loader = &mut self.loaders[at];
        let problem = match loader.look(&|| over.is_over()) {
            Ok(Some(loaded)) => {
                self.ready.lock().insert(loader.id.clone(), loaded);
                None
            }
            Ok(None) => None,
            Err(_) if over.is_over() => return,
            Err(error) => Some(match error.hint.is_empty() {
                true => error.message,
                false => format!("{}. {}", error.message, error.hint),
            }),
        };
        if problem == loader.told {
            return;
        }
        match &problem {
            Some(problem) => tracing::warn!(
                table = loader.id,
                version = loader.version,
                problem,
                "the table cannot be loaded again; rows are looked up in what is known of it"
            ),
            None => tracing::info!(table = loader.id, "the table can be loaded again"),
        }
        let (id, note) = (&loader.id, problem.clone());
        self.status.update(|status| {
            let mut shown = status.lookups.iter_mut();
            if let Some(shown) = shown.find(|shown| shown.table == *id) {
                shown.note = note.map(|note| format!("cannot be loaded again: {note}"));
            }
        });
        loader.told = problem;
    }
}

/// Whether the thread is to end.
#[derive(Default)]
struct Over {
    is: Mutex<bool>,
    told: Condvar,
}

impl Over {
    fn is_over(&self) -> bool {
        *self.is.lock()
    }

    /// Waits so long, or until it is over; says whether it is.
    fn wait(&self, at_most: Duration) -> bool {
        let mut is = self.is.lock();
        if !*is {
            self.told.wait_for(&mut is, at_most);
        }
        *is
    }
}

/// The thread; whoever drops this waits for it.
struct Watcher {
    over: Arc<Over>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    fn start(watching: Watching) -> Result<Watcher, ConnectorError> {
        let over = Arc::new(Over::default());
        let told = over.clone();
        let thread = std::thread::Builder::new()
            .name("lookup".into())
            .spawn(move || {
                let status = watching.status.clone();
                let run = std::panic::AssertUnwindSafe(|| watching.run(&told));
                if let Err(payload) = std::panic::catch_unwind(run) {
                    let error = panicked("loading tables again", &*payload);
                    tracing::error!(%error, "rows are looked up in what is known of their tables");
                    let note = Some(error.to_string());
                    status.update(|status| {
                        let shown = status.lookups.iter_mut();
                        shown.for_each(|shown| shown.note.clone_from(&note));
                    });
                }
            })
            .map_err(|error| {
                let message = format!("no thread to load tables: {error}");
                ConnectorError::new(ErrorKind::Retry, message)
            })?;
        Ok(Watcher {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        *self.over.is.lock() = true;
        self.over.told.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
