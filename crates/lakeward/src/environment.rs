//! What the planner asks about the world, answered from the configuration, the log and the registry.

use crate::config::{CatalogPlace, Config};
use lw_graph::{Expr, Field, LogicalType, SourceSpec};
use lw_runtime::kernel::{Evaluator, WholePattern};
use lw_runtime::pipelines::{PlannedInsert, PlannedJob, PlannedScript, Planner, query_id};
use lw_runtime::zone::Zone;
use lw_schemas::SchemaLookup;
use lw_sql::JobInsert;
use lw_sql::environment::{self, Cluster, Environment, Missing};
use lw_storage::Storage;
use std::sync::Arc;

/// The world as this server sees it.
pub struct World {
    pub config: Config,
    pub storage: Storage,
    pub subjects: Arc<dyn SchemaLookup>,
}

impl Planner for World {
    /// The script of a pipeline that is stored, planned by what the world is now.
    fn plan(&self, sql: &str) -> Result<PlannedScript, String> {
        let plan = lw_sql::plan_script(sql, "the stored script", self);
        let plan = plan.map_err(|diagnostics| {
            let first = diagnostics.0.first();
            first.map_or_else(String::new, |first| first.message.clone())
        })?;
        Ok(PlannedScript {
            jobs: jobs(plan.jobs),
            settings: plan.settings,
        })
    }
}

/// The planner's jobs as pipelines have them.
pub fn jobs(planned: Vec<lw_sql::Job>) -> Vec<PlannedJob> {
    // Which of the INSERTs into its table each is, counted in the order of the script whatever jobs they are in.
    let inserts = planned.iter().flat_map(|job| &job.inserts);
    let mut places: Vec<(usize, String)> = inserts
        .map(|insert| (insert.text_span.start, insert.table.clone()))
        .collect();
    places.sort();
    let job = |mut job: lw_sql::Job| {
        job.inserts.sort_by_key(|insert| insert.sink);
        let sources: Vec<&SourceSpec> = job.graph.sources().collect();
        let group = match sources.as_slice() {
            [only] => only.group_id().cloned(),
            _ => None,
        };
        let shared = job.inserts.len() > 1;
        let insert = |insert: JobInsert| {
            let earlier = |(at, table): &&(usize, String)| {
                *table == insert.table && *at < insert.text_span.start
            };
            PlannedInsert {
                occurrence: places.iter().filter(earlier).count(),
                query: Some(query_id(&insert.definition)),
                alone: shared.then_some(insert.graph),
                table: insert.table,
            }
        };
        PlannedJob {
            inserts: job.inserts.into_iter().map(insert).collect(),
            graph: job.graph,
            group,
        }
    };
    planned.into_iter().map(job).collect()
}

impl Environment for World {
    fn bootstrap(&self, servers: &str) -> Result<Cluster, Missing> {
        self.config.bootstrap(servers)
    }

    fn registry_is_here(&self, url: &str) -> bool {
        self.config.registry_is_here(url)
    }

    fn catalog(&self, name: &str) -> Result<environment::CatalogPlace, Missing> {
        self.config.catalog(name)
    }

    fn warehouse(&self, place: &str) -> Result<String, Missing> {
        Environment::warehouse(&self.config, place)
    }

    fn topic_exists(&self, topic: &str) -> bool {
        self.storage.topic(topic).is_some()
    }

    fn topics(&self) -> Vec<String> {
        let topics = self.storage.topics();
        topics
            .iter()
            .filter(|topic| !topic.internal)
            .map(|topic| topic.name.clone())
            .collect()
    }

    fn topic(&self, topic: &str) -> Option<environment::Topic> {
        let topic = self.storage.topic(topic)?;
        Some(environment::Topic {
            partitions: u32::try_from(topic.partitions).ok()?,
            retention: topic.config.retention().ms,
        })
    }

    fn problem_of(&self, expr: &Expr) -> Option<String> {
        Evaluator::new(expr).err().map(|error| error.to_string())
    }

    fn problem_of_pattern(&self, pattern: &str) -> Option<String> {
        let pattern = WholePattern::new(pattern);
        pattern.err().map(|error| error.to_string())
    }

    fn has_zone(&self, zone: &str) -> bool {
        Zone::parse(zone).is_some()
    }

    fn subject_of(&self, topic: &str) -> Option<String> {
        let subject = format!("{topic}-value");
        self.subjects.has_subject(&subject).then_some(subject)
    }

    fn key_subject_of(&self, topic: &str) -> Option<String> {
        let subject = format!("{topic}-key");
        self.subjects.has_subject(&subject).then_some(subject)
    }

    fn registered(&self, topic: &str) -> Vec<(String, Option<LogicalType>)> {
        let newest = self.subjects.subject_latest(&format!("{topic}-value"));
        let columns = newest.map(|(_, _, text)| lw_formats::registered_columns(&text));
        columns.and_then(Result::ok).unwrap_or_default()
    }

    fn problem_of_columns(&self, topic: &str, columns: &[Field]) -> Option<String> {
        let (_, _, text) = self.subjects.subject_latest(&format!("{topic}-value"))?;
        lw_formats::why_unreadable(&text, columns)
    }
}

/// The world as far as a file tells of it: a script that is looked at without a server may name any topic.
impl Environment for Config {
    fn bootstrap(&self, servers: &str) -> Result<Cluster, Missing> {
        match self.bootstrap.get(servers).map(String::as_str) {
            Some("embedded") => Ok(Cluster::Embedded),
            Some(_) => Ok(Cluster::External),
            None => Err(Missing {
                known: self.bootstrap.keys().cloned().collect(),
            }),
        }
    }

    fn registry_is_here(&self, url: &str) -> bool {
        self.registries.contains_key(url)
    }

    fn catalog(&self, name: &str) -> Result<environment::CatalogPlace, Missing> {
        match self.catalogs.get(name) {
            Some(CatalogPlace::Name(_)) => Ok(environment::CatalogPlace::Embedded),
            Some(CatalogPlace::Rest(properties)) => Ok(environment::CatalogPlace::Rest {
                uri: properties["uri"].clone(),
            }),
            None => Err(Missing {
                known: self.catalogs.keys().cloned().collect(),
            }),
        }
    }

    fn warehouse(&self, place: &str) -> Result<String, Missing> {
        Config::warehouse(self, place).ok_or_else(|| Missing {
            known: self.warehouses.keys().cloned().collect(),
        })
    }

    fn topic_exists(&self, _: &str) -> bool {
        true
    }

    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    fn problem_of(&self, expr: &Expr) -> Option<String> {
        Evaluator::new(expr).err().map(|error| error.to_string())
    }

    fn problem_of_pattern(&self, pattern: &str) -> Option<String> {
        let pattern = WholePattern::new(pattern);
        pattern.err().map(|error| error.to_string())
    }

    fn has_zone(&self, zone: &str) -> bool {
        Zone::parse(zone).is_some()
    }

    fn subject_of(&self, _: &str) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest knows an `INSERT` by its table, and where several go into one, by its number among them.
    #[test]
    fn inserts_are_counted_in_the_order_of_the_script_whatever_jobs_they_are_in() {
        let config = Config {
            bootstrap: [("k".to_string(), "embedded".to_string())].into(),
            ..Config::default()
        };
        let source = "WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'k', 'format' = 'json')";
        let script = format!(
            "CREATE TABLE a (i INT) {source}; CREATE TABLE b (i INT) {source};
             CREATE TABLE x (i INT) WITH ('connector' = 'blackhole');
             CREATE TABLE y (i INT) WITH ('connector' = 'blackhole');
             EXECUTE STATEMENT SET BEGIN
               INSERT INTO x SELECT i FROM a; INSERT INTO x SELECT i FROM b; INSERT INTO y SELECT i FROM b;
               INSERT INTO x SELECT i + 1 FROM a;
             END;"
        );
        let plan = lw_sql::plan_script(&script, "s.sql", &config).expect("a script");
        let jobs = jobs(plan.jobs);
        let names = |job: &PlannedJob| -> Vec<String> {
            job.inserts.iter().map(PlannedInsert::sink_name).collect()
        };
        let names: Vec<Vec<String>> = jobs.iter().map(names).collect();
        let (x, y) = ("default_database.x", "default_database.y");
        assert_eq!(
            names,
            [
                [x.to_string(), format!("2/{x}")],
                [format!("1/{x}"), y.to_string()]
            ]
        );
        for job in &jobs {
            assert_eq!(job.graph.sinks().count(), 2);
            let alone = (0..2).map(|index| job.alone(index));
            assert!(alone.into_iter().all(|graph| graph.sinks().count() == 1));
        }
    }
}
