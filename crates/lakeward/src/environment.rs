//! What the planner asks about the world, answered from the configuration, the log and the registry.

use crate::config::{CatalogPlace, Config};
use lw_runtime::pipelines::{PlannedJob, PlannedScript, Planner, query_id};
use lw_schemas::SchemaLookup;
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

/// The planner's jobs as pipelines have them: each INSERT by itself.
pub fn jobs(planned: Vec<lw_sql::Job>) -> Vec<PlannedJob> {
    let jobs = planned.into_iter().flat_map(|job| {
        let group = job.graph.sources().find_map(|source| match source {
            lw_graph::SourceSpec::Kafka(kafka) => kafka.group_id.clone(),
        });
        let inserts = job.inserts.into_iter();
        inserts.map(move |insert| PlannedJob {
            group: group.clone(),
            query: Some(query_id(&insert.definition)),
            graph: job.graph.path_to(insert.sink),
            table: insert.table,
        })
    });
    jobs.collect()
}

impl Environment for World {
    fn bootstrap(&self, servers: &str) -> Result<Cluster, Missing> {
        self.config.bootstrap(servers)
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

    fn subject_of(&self, topic: &str) -> Option<String> {
        let subject = format!("{topic}-value");
        self.subjects.has_subject(&subject).then_some(subject)
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

    fn subject_of(&self, _: &str) -> Option<String> {
        None
    }
}
