//! What the planner asks about the world: where the names of a script really are.
//!
//! The server answers from `lakeward.toml`, the embedded log and the registry; tests answer from a few lines of text.

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

    /// The subject under which a topic's values are registered (`<topic>-value`), if there is one.
    fn subject_of(&self, topic: &str) -> Option<String>;
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
