//! `lakeward.toml`: where the names in a script really are.
//!
//! ```toml
//! [bootstrap]                                    # properties.bootstrap.servers
//! "kafka-1:9092,kafka-2:9092" = "embedded"       # or "external": the cluster that the address names, read over the network
//! [registries]                                   # avro-confluent.url of topics elsewhere
//! "http://registry:8081" = "embedded"            # their schemas are in this server's registry
//! [catalogs]                                     # catalog-name
//! hive = "embedded"                              # or { uri = "https://…", warehouse = "…", credential = "id:secret" }
//! [warehouses]                                   # prefix → place; the longest prefix wins
//! "s3://lakehouse/" = "file:///srv/warehouse/"   # or "warehouse/": a folder in the data folder
//! [catalog]                                      # where tables may be, besides the warehouse and the places above
//! allow-locations = ["file:///srv/spark/"]
//! [http]                                         # names of this server, besides localhost and every address
//! allowed-hosts = ["lakeward.example"]
//! ```

use crate::failure::failure;
use anyhow::{Context, bail};
use lw_lakehouse::catalog::remote::RemoteOptions;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The server's configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub bootstrap: BTreeMap<String, String>,
    pub registries: BTreeMap<String, String>,
    pub catalogs: BTreeMap<String, CatalogPlace>,
    pub warehouses: BTreeMap<String, String>,
    pub catalog: CatalogRules,
    pub http: HttpRules,
}

/// What `[bootstrap]` says of a cluster that is not this server.
const EXTERNAL: &str = "external";

/// What the embedded catalog allows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CatalogRules {
    pub allow_locations: Vec<String>,
}

/// Who the HTTP sockets talk to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HttpRules {
    pub allowed_hosts: Vec<String>,
}

/// Where a catalog is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum CatalogPlace {
    Name(String),
    /// A REST catalog elsewhere, by the properties that Iceberg's clients know.
    Rest(BTreeMap<String, String>),
}

impl Config {
    /// Reads the file that was named, else `lakeward.toml` if it is there.
    ///
    /// # Errors
    /// When a named file is missing, or the file is not a configuration.
    pub fn load(named: Option<&Path>, data_dir: &Path) -> anyhow::Result<Config> {
        let path = named.unwrap_or(Path::new("lakeward.toml"));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match named {
                None => return Ok(Config::default()),
                Some(_) => {
                    return Err(failure(
                        format!("there is no configuration at {}", path.display()),
                        "Give --config the path of a file; without it, lakeward.toml in this folder is read if there is one.",
                    ));
                }
            },
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let read = || {
            let config: Config = toml::from_str(&text)?;
            let config = config.within(data_dir)?;
            config.check()?;
            Ok(config)
        };
        read().map_err(|error: anyhow::Error| {
            error.context(format!("{} is not a configuration", path.display()))
        })
    }

    /// A warehouse without a scheme is a folder in the data folder, so that an example works wherever it is started.
    fn within(mut self, data_dir: &Path) -> anyhow::Result<Config> {
        let data_dir = std::path::absolute(data_dir)?;
        for place in self.warehouses.values_mut() {
            if !place.contains(':') && !place.starts_with('/') {
                *place = format!("file://{}/{place}", data_dir.display());
            }
        }
        Ok(self)
    }

    fn check(&self) -> anyhow::Result<()> {
        for (servers, place) in &self.bootstrap {
            if place != "embedded" && place != EXTERNAL {
                bail!(
                    "[bootstrap] \"{servers}\" is \"{place}\"; write \"embedded\" for this server, or \"external\" for the cluster at that address"
                );
            }
        }
        for (url, place) in &self.registries {
            if place != "embedded" {
                bail!(
                    "[registries] \"{url}\" is \"{place}\"; write \"embedded\" for this server's, no other registry is read yet"
                );
            }
        }
        for (name, place) in &self.catalogs {
            match place {
                CatalogPlace::Name(place) if place == "embedded" => {}
                CatalogPlace::Name(place) => bail!(
                    "[catalogs] {name} is \"{place}\"; write \"embedded\" or {{ uri = \"https://…\" }}"
                ),
                CatalogPlace::Rest(properties) => {
                    RemoteOptions::parse(properties)
                        .with_context(|| format!("[catalogs] {name}"))?;
                }
            }
        }
        for (prefix, place) in &self.warehouses {
            if !place.starts_with("file:///") {
                bail!(
                    "[warehouses] \"{prefix}\" is \"{place}\"; only file:///… and folders in the data folder, such as \"warehouse/\", are supported yet"
                );
            }
        }
        for place in &self.catalog.allow_locations {
            if !place.starts_with("file:///") {
                bail!("[catalog] allow-locations has \"{place}\"; only file:///… is supported yet");
            }
        }
        Ok(())
    }

    /// Whether a script's `properties.bootstrap.servers` are another cluster's.
    pub fn is_elsewhere(&self, servers: &str) -> bool {
        self.bootstrap
            .get(servers)
            .is_some_and(|place| place == EXTERNAL)
    }

    /// The places where tables may be, besides the warehouse.
    pub fn allowed_locations(&self) -> Vec<String> {
        let mapped = self.warehouses.values();
        mapped
            .chain(&self.catalog.allow_locations)
            .cloned()
            .collect()
    }

    /// The place that the longest matching prefix maps `location` to.
    pub fn warehouse(&self, location: &str) -> Option<String> {
        self.warehouses
            .iter()
            .filter(|(prefix, _)| location.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(prefix, place)| format!("{place}{}", &location[prefix.len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let config: Config = toml::from_str(
            "[warehouses]\n\"s3://lakehouse/\" = \"file:///a/\"\n\"s3://lakehouse/gold/\" = \"file:///b/\"",
        )
        .expect("valid");
        assert_eq!(
            config.warehouse("s3://lakehouse/x").as_deref(),
            Some("file:///a/x")
        );
        assert_eq!(
            config.warehouse("s3://lakehouse/gold/x").as_deref(),
            Some("file:///b/x")
        );
        assert_eq!(config.warehouse("s3://other/"), None);
    }

    #[test]
    fn a_configuration_that_was_named_and_is_missing_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = folder.path().join("lakeward.toml");
        let error = Config::load(Some(&named), folder.path()).expect_err("it is missing");
        assert!(
            error
                .to_string()
                .starts_with("there is no configuration at "),
            "{error}"
        );
        std::fs::write(&named, "[warehouses]\n\"s3://w/\" = \"warehouse/\"").expect("written");
        let config = Config::load(Some(&named), folder.path()).expect("it is there");
        let place = format!("file://{}/warehouse/t", folder.path().display());
        assert_eq!(config.warehouse("s3://w/t"), Some(place));
    }

    #[test]
    fn a_property_that_no_catalog_has_is_refused_by_name() {
        let text = "[catalogs]\nlake = { uri = \"http://c\", tokn = \"x\" }";
        let config: Config = toml::from_str(text).expect("valid");
        let error = format!("{:#}", config.check().unwrap_err());
        let expected =
            "[catalogs] lake: a REST catalog has no property 'tokn'; did you mean 'token'?";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_registry_is_this_servers_or_not_named() {
        let config: Config =
            toml::from_str("[registries]\n\"http://r:8081\" = \"http://elsewhere:8081\"")
                .expect("valid");
        assert_eq!(
            config.check().expect_err("no other is read").to_string(),
            "[registries] \"http://r:8081\" is \"http://elsewhere:8081\"; write \"embedded\" for this server's, no other registry is read yet"
        );
    }

    #[test]
    fn a_cluster_is_this_server_or_the_one_at_the_address() {
        let config: Config =
            toml::from_str("[bootstrap]\n\"a:1\" = \"embedded\"\n\"b:1\" = \"external\"")
                .expect("valid");
        config.check().expect("both are places");
        assert!(
            config.is_elsewhere("b:1")
                && !config.is_elsewhere("a:1")
                && !config.is_elsewhere("c:1")
        );
        let config: Config = toml::from_str("[bootstrap]\n\"a:1\" = \"b:1\"").expect("valid");
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "[bootstrap] \"a:1\" is \"b:1\"; write \"embedded\" for this server, or \"external\" for the cluster at that address"
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("[catalog]\nhive = \"embedded\"").is_err());
    }
}
