//! The wiring: which connector, and which catalog, a specification means on this server.

use crate::config::{CatalogPlace, Config};
use crate::lookups::IcebergLookup;
use lw_broker::Broker;
use lw_connectors::datagen::{self, Datagen};
use lw_connectors::filesystem::{self, Filesystem};
use lw_connectors::in_turn::InTurn;
use lw_connectors::kafka::{Altered, EmbeddedKafka, EmbeddedLog, RemoteLog};
use lw_connectors::print::{Blackhole, NothingToCommit, Print};
use lw_graph::{
    DeltaSink, FileSource, IcebergSink, KafkaSource, LookupPlace, LookupTable, SinkSpec, SourceSpec,
};
use lw_lakehouse::catalog::remote::{RemoteCatalog, RemoteOptions};
use lw_lakehouse::{
    Catalog, CatalogError, DeltaCommitter, DeltaTableSink, Files, IcebergCommitter,
    IcebergTableSink, Ids, TableCatalog,
};
use lw_ops::metrics::{Lag, Reader};
use lw_query::Engine;
use lw_registry::Registry;
use lw_runtime::connector::{
    ConnectorError, Connectors, ErrorKind, LookupSource, NamedSink, Output, Owner, Source,
    not_of_one_log,
};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pool::Pool;
use lw_schemas::SchemaLookup;
use lw_stdx::clock::Clock;
use lw_storage::Storage;
use lw_storage::source::{LogSource, SourceError, TopicBounds};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What scripts and queries call the catalog of this server.
const EMBEDDED: &str = "embedded";
/// Lines of `print` that are kept for `lakeward run` to fetch.
const KEPT_LINES: usize = 10_000;

/// Makes connectors out of this server's parts.
pub struct Wiring {
    storage: Storage,
    broker: Arc<Broker>,
    registry: Arc<Registry>,
    catalog: Catalog,
    files: Files,
    config: Config,
    clock: Arc<dyn Clock>,
    /// Reads tables that rows are looked up in.
    engine: Arc<Engine>,
    /// Its threads decode what the pipelines read.
    pool: Pool,
    printed: Arc<Mutex<BTreeMap<String, Printed>>>,
    /// By consumer group and table of the script.
    readers: Mutex<BTreeMap<(String, String), Weak<Altered>>>,
    /// The clusters elsewhere that are read, by consumer group and topic: where its offsets are shown.
    elsewhere: Mutex<BTreeMap<(String, String), Arc<RemoteLog>>>,
}

/// The newest lines of a pipeline's `print` sinks.
#[derive(Default)]
struct Printed {
    lines: VecDeque<String>,
    /// Number of the line behind the last one.
    next: u64,
}

impl Wiring {
    pub fn new(
        storage: Storage,
        broker: Arc<Broker>,
        registry: Arc<Registry>,
        catalog: Catalog,
        config: Config,
        clock: Arc<dyn Clock>,
        engine: Arc<Engine>,
    ) -> Wiring {
        Wiring {
            storage,
            broker,
            registry,
            files: catalog.files().clone(),
            catalog,
            config,
            clock,
            engine,
            pool: Pool::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            printed: Arc::default(),
            readers: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    /// The log that the topics of tables are in.
    fn log(&self, tables: &[(&KafkaSource, Arc<Altered>)], group: &str) -> Arc<dyn EmbeddedLog> {
        let (kafka, _) = tables[0];
        if !self.config.is_elsewhere(&kafka.bootstrap) {
            return Arc::new(Log {
                storage: self.storage.clone(),
                broker: self.broker.clone(),
            });
        }
        let remote = Arc::new(RemoteLog::new(&kafka.bootstrap));
        let mut elsewhere = self.elsewhere.lock();
        for (kafka, _) in tables {
            let own = kafka.group_id.as_deref().filter(|_| tables.len() > 1);
            for topic in &kafka.topics {
                let key = (own.unwrap_or(group).to_string(), topic.clone());
                elsewhere.insert(key, remote.clone());
            }
        }
        remote
    }

    /// A topic as the table's log has it now; none where it is not there. Without a table it is this server's own.
    ///
    /// # Errors
    /// When a cluster elsewhere cannot be asked.
    pub fn look(
        &self,
        source: Option<&SourceSpec>,
        topic: &str,
    ) -> Result<Option<TopicBounds>, SourceError> {
        let topics = [topic.to_string()];
        let found = match source {
            Some(SourceSpec::Kafka(kafka)) if self.config.is_elsewhere(&kafka.bootstrap) => {
                RemoteLog::new(&kafka.bootstrap).look(&topics)
            }
            Some(SourceSpec::Datagen(made_up)) => return Ok(Some(datagen::bounds(made_up))),
            Some(SourceSpec::Files(files)) => {
                let found = filesystem::look(files, topic);
                return found.map_err(|error| SourceError::Unreadable(error.to_string()));
            }
            _ => self.storage.look(&topics),
        };
        match found {
            Ok(mut found) => Ok(found.pop()),
            Err(SourceError::UnknownTopic { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first record of a topic that is of this time or later, milliseconds since 1970.
    ///
    /// # Errors
    /// When the log cannot be asked.
    pub fn offset_at(
        &self,
        source: &KafkaSource,
        topic: &str,
        partition: i32,
        millis: i64,
    ) -> Result<Option<i64>, SourceError> {
        match self.config.is_elsewhere(&source.bootstrap) {
            true => RemoteLog::new(&source.bootstrap).offset_at(topic, partition, millis),
            false => {
                let log = Log {
                    storage: self.storage.clone(),
                    broker: self.broker.clone(),
                };
                log.offset_at(topic, partition, millis)
            }
        }
    }

    /// Lines from number `from` on, and the number to ask for next.
    pub fn printed(&self, pipeline: &str, from: u64) -> (Vec<String>, u64) {
        let printed = self.printed.lock();
        let Some(printed) = printed.get(pipeline) else {
            return (Vec::new(), 0);
        };
        let oldest = printed.next - printed.lines.len() as u64;
        let skip = from.saturating_sub(oldest).min(printed.lines.len() as u64);
        (
            printed.lines.iter().skip(skip as usize).cloned().collect(),
            printed.next,
        )
    }
}

/// A pipeline's lines go where `lakeward run` looks for them.
fn keep_line(printed: &Mutex<BTreeMap<String, Printed>>, pipeline: &str, line: &str) {
    let mut printed = printed.lock();
    let printed = printed.entry(pipeline.to_string()).or_default();
    printed.lines.push_back(line.to_string());
    printed.next += 1;
    if printed.lines.len() > KEPT_LINES {
        printed.lines.pop_front();
    }
}

/// The embedded log with its groups.
struct Log {
    storage: Storage,
    broker: Arc<Broker>,
}

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.storage
    }

    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError> {
        let Some(found) = self.storage.topic(topic) else {
            return Err(SourceError::UnknownTopic {
                name: topic.to_string(),
                known: Vec::new(),
            });
        };
        let found = self
            .storage
            .offset_for_time(found.id, partition, timestamp)
            .map_err(|error| SourceError::Unreadable(error.to_string()))?;
        Ok(found.map(|(offset, _)| offset))
    }

    fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<i64>, SourceError> {
        let lags = self.broker.group_lag().into_iter();
        let mut of_it = lags
            .filter(|lag| lag.group == group && lag.topic == topic && lag.partition == partition);
        Ok(of_it.next().map(|lag| lag.committed))
    }
}

impl Connectors for Wiring {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        self.scans(&[spec], group)
    }

    fn scans(&self, specs: &[&SourceSpec], group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        self.read(specs, group, |table| self.counters(group, table))
    }

    fn lookup(&self, table: &LookupTable) -> Result<Box<dyn LookupSource>, ConnectorError> {
        match &table.place {
            LookupPlace::Iceberg(place) => {
                let catalog = self.catalog_of(place)?;
                let engine = self.engine.clone();
                Ok(Box::new(IcebergLookup::new(
                    place.clone(),
                    catalog,
                    engine,
                )?))
            }
        }
    }

    fn sink(&self, sink: NamedSink<'_>, owner: &Owner) -> Result<Output, ConnectorError> {
        match sink.spec {
            SinkSpec::Iceberg(iceberg) => {
                refuse_catalog_properties(iceberg)?;
                let catalog = self.catalog_of(iceberg)?;
                let iceberg = &self.placed(iceberg);
                let sink = IcebergTableSink::open(
                    iceberg,
                    catalog.clone(),
                    owner,
                    sink.plan,
                    self.clock.clone(),
                    Ids::random(),
                )?;
                let mut committer = IcebergCommitter::new(
                    catalog,
                    owner.clone(),
                    self.clock.clone(),
                    Ids::random(),
                );
                if let Some(branch) = &iceberg.branch {
                    committer = committer.on_branch(branch);
                }
                Ok((Box::new(sink), Box::new(committer)))
            }
            SinkSpec::Delta(delta) => {
                let location = self.delta_location(delta);
                let sink = DeltaTableSink::open(
                    delta,
                    &location,
                    self.files.clone(),
                    owner,
                    self.clock.clone(),
                    Ids::random(),
                )?;
                let committer = DeltaCommitter::new(
                    self.files.clone(),
                    &delta.table_path,
                    &location,
                    owner.clone(),
                    self.clock.clone(),
                    Ids::random(),
                );
                Ok((Box::new(sink), Box::new(committer)))
            }
            SinkSpec::Print { identifier } => {
                let (printed, pipeline) = (self.printed.clone(), owner.name.clone());
                let lines = Arc::new(move |line: &str| keep_line(&printed, &pipeline, line));
                Ok((
                    Box::new(Print::new("print", identifier, lines)),
                    Box::new(NothingToCommit),
                ))
            }
            SinkSpec::Blackhole => Ok((
                Box::new(Blackhole::new("blackhole")),
                Box::new(NothingToCommit),
            )),
        }
    }

    fn publish_offsets(&self, group: &str, offsets: &[SplitOffset]) {
        let mut by_topic: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
        // Files that are read beside topics are nothing that Kafka's tools know; no topic has a slash in its name.
        for offset in offsets.iter().filter(|at| !at.topic.contains('/')) {
            by_topic
                .entry(&offset.topic)
                .or_default()
                .insert(offset.partition, offset.next);
        }
        for (topic, offsets) in by_topic {
            let key = (group.to_string(), topic.to_string());
            let remote = self.elsewhere.lock().get(&key).cloned();
            let published = match remote {
                Some(remote) => remote.commit(group, topic, &offsets),
                None => self
                    .broker
                    .publish_offsets(group, topic, &offsets)
                    .map_err(|error| error.to_string()),
            };
            if let Err(error) = published {
                tracing::warn!(group, topic, %error, "the pipeline's offsets are not shown to Kafka's tools");
            }
        }
    }
}

impl Wiring {
    /// Where a sink's tables are: a REST catalog elsewhere, else the embedded one.
    ///
    /// # Errors
    /// When the other catalog cannot be reached, or its entry in `lakeward.toml` is wrong.
    pub fn catalog_of(&self, sink: &IcebergSink) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        match &sink.uri {
            None => Ok(Arc::new(self.catalog.clone())),
            Some(uri) => self.connect(&self.remote(sink, uri)),
        }
    }

    /// The catalog that `[catalogs]` has under a name; `embedded` is always one.
    ///
    /// # Errors
    /// As [`Wiring::catalog_of`].
    pub fn catalog_named(&self, name: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        match self.config.catalogs.get(name) {
            Some(CatalogPlace::Rest(properties)) => self.connect(properties),
            _ => Ok(Arc::new(self.catalog.clone())),
        }
    }

    /// Whether the catalog of this name, or the one that is meant without, is the embedded one: it alone gives its views out.
    pub fn keeps_views(&self, name: Option<&str>) -> bool {
        let place = name.and_then(|name| self.config.catalogs.get(name));
        !matches!(place, Some(CatalogPlace::Rest(_)))
    }

    /// The names that [`Wiring::catalog_named`] knows.
    pub fn catalog_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.config.catalogs.keys().cloned().collect();
        names.push(EMBEDDED.to_string());
        names
    }

    /// Where a Delta table is: what its script says, as `lakeward.toml` maps it.
    pub fn delta_location(&self, sink: &DeltaSink) -> String {
        let path = &sink.table_path;
        self.config.warehouse(path).unwrap_or_else(|| path.clone())
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn embedded(&self) -> &Catalog {
        &self.catalog
    }

    fn connect(
        &self,
        properties: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        let options = RemoteOptions::parse(properties)?;
        Ok(Arc::new(RemoteCatalog::connect(
            &options,
            self.files.clone(),
        )?))
    }

    /// The properties of the catalog at `uri`. Those in `lakeward.toml` are for the address there alone: a script that
    /// names another one does not get the credentials.
    fn remote(&self, sink: &IcebergSink, uri: &str) -> BTreeMap<String, String> {
        let mut properties = match self.config.catalogs.get(&sink.catalog) {
            Some(CatalogPlace::Rest(entry)) if entry.get("uri").is_some_and(|at| at == uri) => {
                entry.clone()
            }
            _ => BTreeMap::from([("uri".to_string(), uri.to_string())]),
        };
        if let Some(warehouse) = &sink.warehouse {
            let entry = properties.entry("warehouse".to_string());
            entry.or_insert_with(|| warehouse.clone());
        }
        properties
    }

    /// The sink with its warehouse where `lakeward.toml` says that it is. A catalog elsewhere has places of its own.
    fn placed(&self, sink: &IcebergSink) -> IcebergSink {
        let place = sink.warehouse.clone().filter(|_| sink.uri.is_none());
        let warehouse = place.map(|place| self.config.warehouse(&place).unwrap_or(place));
        IcebergSink {
            warehouse,
            ..sink.clone()
        }
    }

    /// Values that became others than their records have, by reader, as metrics have them.
    pub fn readers(&self) -> Vec<Reader> {
        let mut readers = self.readers.lock();
        readers.retain(|_, altered| altered.strong_count() > 0);
        let counts = readers.iter().filter_map(|((group, table), altered)| {
            let altered = altered.upgrade()?;
            Some(Reader {
                group: group.clone(),
                table: table.clone(),
                ignored: altered.ignored.load(Ordering::Relaxed),
                rounded: altered.rounded.load(Ordering::Relaxed),
            })
        });
        counts.collect()
    }

    /// The counters of a table's reader, which its next attempt goes on with as long as this one holds them.
    fn counters(&self, group: &str, table: &str) -> Arc<Altered> {
        let mut readers = self.readers.lock();
        let key = (group.to_string(), table.to_string());
        if let Some(altered) = readers.get(&key).and_then(Weak::upgrade) {
            return altered;
        }
        let altered = Arc::new(Altered::default());
        readers.insert(key, Arc::downgrade(&altered));
        altered
    }

    /// A source for whom nothing is counted and nothing committed: the audit's, which reads back and waits for nothing to come.
    ///
    /// # Errors
    /// As [`EmbeddedKafka::new`].
    pub fn reader(
        &self,
        specs: &[&SourceSpec],
        group: &str,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        let looked_back_on = specs.iter().map(|spec| match (*spec).clone() {
            SourceSpec::Kafka(topics) => SourceSpec::Kafka(KafkaSource {
                bounded: true,
                ..topics
            }),
            SourceSpec::Files(files) => SourceSpec::Files(FileSource {
                watch: None,
                ..files
            }),
            made_up @ SourceSpec::Datagen(_) => made_up,
        });
        let specs: Vec<SourceSpec> = looked_back_on.collect();
        self.read(&specs.iter().collect::<Vec<_>>(), group, |_| Arc::default())
    }

    /// A source of one table, or of several: files before topics, which are in one log.
    fn read(
        &self,
        specs: &[&SourceSpec],
        group: &str,
        altered: impl Fn(&str) -> Arc<Altered>,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        if let [SourceSpec::Datagen(made_up)] = specs {
            return Ok(Box::new(Datagen::new(made_up, self.clock.clone())));
        }
        if let [SourceSpec::Files(files)] = specs {
            return Ok(Box::new(Filesystem::new(files, self.clock.clone())?));
        }
        let is_of_files = |spec: &&SourceSpec| matches!(spec, SourceSpec::Files(_));
        if specs.iter().any(is_of_files) {
            return self.in_turn(specs, group, altered);
        }
        let names = || specs.iter().map(|spec| spec.table()).collect::<Vec<_>>();
        let mut tables = Vec::with_capacity(specs.len());
        for spec in specs {
            match spec {
                SourceSpec::Kafka(kafka) => tables.push((kafka, altered(&kafka.table))),
                SourceSpec::Datagen(_) | SourceSpec::Files(_) => {
                    return Err(not_of_one_log(&names()));
                }
            }
        }
        let place = |kafka: &KafkaSource| {
            let elsewhere = self.config.is_elsewhere(&kafka.bootstrap);
            elsewhere.then(|| kafka.bootstrap.clone())
        };
        let (first, others) = tables
            .split_first()
            .ok_or_else(|| not_of_one_log(&names()))?;
        if others.iter().any(|other| place(other.0) != place(first.0)) {
            return Err(not_of_one_log(&names()));
        }
        let log = self.log(&tables, group);
        let lookup = Some(self.registry.clone() as Arc<dyn SchemaLookup>);
        let source = EmbeddedKafka::of_tables(&tables, group, log, lookup)?;
        Ok(Box::new(source.in_pool(self.pool.clone())))
    }

    /// The files of each table to their end, and then the topics of all others.
    fn in_turn(
        &self,
        specs: &[&SourceSpec],
        group: &str,
        altered: impl Fn(&str) -> Arc<Altered>,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        let (mut parts, mut others) = (Vec::new(), Vec::new());
        for spec in specs {
            match spec {
                SourceSpec::Files(files) => {
                    let source = Filesystem::new(files, self.clock.clone())?;
                    let source: Box<dyn Source> = Box::new(source);
                    parts.push((source, vec![(*spec).clone()]));
                }
                SourceSpec::Kafka(_) | SourceSpec::Datagen(_) => others.push(*spec),
            }
        }
        if !others.is_empty() {
            if others
                .iter()
                .any(|spec| matches!(spec, SourceSpec::Datagen(_)))
            {
                let names: Vec<&str> = specs.iter().map(|spec| spec.table()).collect();
                return Err(not_of_one_log(&names));
            }
            let source = self.read(&others, group, altered)?;
            parts.push((source, others.into_iter().cloned().collect()));
        }
        Ok(Box::new(InTurn::new(parts)?))
    }
}

/// Options of WITH become properties of the table, for all its readers to see: no place for how its catalog is reached.
fn refuse_catalog_properties(sink: &IcebergSink) -> Result<(), ConnectorError> {
    let of_catalog =
        |key: &&String| RemoteOptions::KNOWN.contains(&key.as_str()) || key.starts_with("header.");
    let Some(key) = sink.properties.keys().find(of_catalog) else {
        return Ok(());
    };
    let message = format!("option '{key}' is the catalog's, not the table's");
    Err(ConnectorError::new(ErrorKind::Fix, message)
        .detail("Options that are not the connector's own become properties of the table, which all its readers see.")
        .hint(format!(
            "Remove it, and write under [catalogs] in lakeward.toml:  {} = {{ uri = \"…\", {key} = \"…\" }}",
            sink.catalog
        )))
}

/// Lag of every group, as metrics have it.
pub fn lags(broker: &Broker) -> Vec<Lag> {
    let lags = broker.group_lag().into_iter();
    lags.map(|lag| Lag {
        group: lag.group,
        topic: lag.topic,
        partition: lag.partition,
        records: lag.lag,
    })
    .collect()
}
