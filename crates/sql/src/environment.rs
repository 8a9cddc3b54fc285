//! What the planner asks about the world: where the names of a script really are.
//!
//! The server answers from `lakeward.toml`, the embedded log and the registry; tests answer from a few lines of text.

use lw_graph::{Expr, Field, LogicalType};

/// The world around a script, as it is when the script is planned.
pub trait Environment {
    /// Where `properties.bootstrap.servers` points.
    ///
    /// # Errors
    /// [`Missing`] when `[bootstrap]` has no entry for it.
    fn bootstrap(&self, servers: &str) -> Result<Cluster, Missing>;

    /// Whether an address is that of this server's registry. Nothing says so unless somebody did.
    fn registry_is_here(&self, _url: &str) -> bool {
        false
    }

    /// Where a `'catalog-name'` is.
    ///
    /// # Errors
    /// [`Missing`] when `[catalogs]` has no entry for it.
    fn catalog(&self, name: &str) -> Result<CatalogPlace, Missing>;

    /// The place that a `'warehouse'` is mapped to.
    ///
    /// # Errors
    /// [`Missing`] when no prefix of `[warehouses]` covers it.
    fn warehouse(&self, place: &str) -> Result<String, Missing>;

    /// Whether the embedded log has this topic.
    fn topic_exists(&self, topic: &str) -> bool;

    /// The topics of the embedded log.
    fn topics(&self) -> Vec<String>;

    /// What the embedded log has of a topic; `None` where it has no such topic, or nobody has looked.
    fn topic(&self, _topic: &str) -> Option<Topic> {
        None
    }

    /// Why the engine cannot compute a call with a pattern or a path, in words. `None` where it can, or nobody has looked.
    fn problem_of(&self, _expr: &Expr) -> Option<String> {
        None
    }

    /// What is wrong with a regular expression of Java's, in words. `None` where nothing is, or nobody has looked.
    fn problem_of_pattern(&self, _pattern: &str) -> Option<String> {
        None
    }

    /// Whether there is a time zone of this name.
    fn has_zone(&self, _zone: &str) -> bool {
        true
    }

    /// The subject under which a topic's values are registered (`<topic>-value`), if there is one.
    fn subject_of(&self, topic: &str) -> Option<String>;

    /// The fields of the newest schema that is registered for a topic's values, each as the column that it would be; `None` for a
    /// field that no column reads. Nothing where there is none, or nobody has looked.
    fn registered(&self, _topic: &str) -> Vec<(String, Option<LogicalType>)> {
        Vec::new()
    }

    /// Why no record of that schema can be read as these columns, in words. `None` where one can, or nobody has looked.
    fn problem_of_columns(&self, _topic: &str, _columns: &[Field]) -> Option<String> {
        None
    }

    /// The subject under which a topic's keys are registered (`<topic>-key`), if there is one and somebody has looked.
    fn key_subject_of(&self, _topic: &str) -> Option<String> {
        None
    }
}

/// A topic of the embedded log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    pub partitions: u32,
    /// For how many milliseconds its records are kept at least; `None` is for ever.
    pub retention: Option<i64>,
}

/// A Kafka cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// This server's own log.
    Embedded,
    /// Somebody else's brokers.
    External,
}

/// An Iceberg catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogPlace {
    /// This server's own catalog.
    Embedded,
    /// An Iceberg REST catalog.
    Rest { uri: String },
}

/// `lakeward.toml` has no entry for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The names that it has.
    pub known: Vec<String>,
}
