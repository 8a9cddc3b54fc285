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
//! "s3://lakehouse/" = "file:///srv/warehouse/"   # or "warehouse/": a folder in the data folder; or "s3://bucket/prefix/"
//! [s3]                                           # how stores are reached; what it does not say, AWS_* and the machine's role do
//! endpoint = "http://127.0.0.1:9000"
//! [s3.bucket.archive]                            # what is different for a bucket
//! region = "eu-central-1"
//! [catalog]                                      # where tables may be, besides the warehouse and the places above
//! allow-locations = ["file:///srv/spark/"]
//! [http]                                         # names of this server, besides localhost and every address
//! allowed-hosts = ["lakeward.example"]
//! ```

use crate::failure::failure;
use anyhow::{Context, bail};
use lw_lakehouse::catalog::remote::RemoteOptions;
use lw_lakehouse::storage::s3::{S3Options, is_object, split};
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
    pub s3: Option<S3Options>,
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
            let config: Config =
                toml::from_str(&text).map_err(|error| without_secrets(&text, error))?;
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
            if !is_place(place) {
                bail!(
                    "[warehouses] \"{prefix}\" is \"{place}\"; only file:///…, s3://BUCKET/… and folders in the data folder, such as \"warehouse/\", are supported"
                );
            }
        }
        for place in &self.catalog.allow_locations {
            if !is_place(place) {
                bail!(
                    "[catalog] allow-locations has \"{place}\"; only file:///… and s3://BUCKET/… are supported"
                );
            }
        }
        if let Some(why) = self.s3.as_ref().and_then(|s3| s3.check().err()) {
            bail!("{why}");
        }
        Ok(())
    }

    /// How stores are reached, if anything is in one: a catalog elsewhere may put tables there when `[s3]` is given.
    pub fn stores(&self, warehouse: &str) -> Option<S3Options> {
        let places = self.allowed_locations();
        let mut places = places.iter().map(String::as_str).chain([warehouse]);
        let used = self.s3.is_some() || places.any(is_object);
        used.then(|| self.s3.clone().unwrap_or_default())
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

/// The error with the line that it is about, unless that may hold a secret.
fn without_secrets(text: &str, error: toml::de::Error) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let begin = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |end| end + 1);
    let line = text
        .get(begin..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let number = text.get(..begin).map_or(0, |before| before.lines().count()) + 1;
    match ["secret", "token", "key", "credential"]
        .iter()
        .any(|word| line.contains(word))
    {
        true => anyhow::anyhow!("line {number}: {}", error.message()),
        false => error.into(),
    }
}

fn is_place(place: &str) -> bool {
    place.starts_with("file:///") || (is_object(place) && split(place).is_ok())
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
    fn a_store_is_a_place_and_is_configured_only_where_there_is_one() {
        let config: Config = toml::from_str("[warehouses]\n\"s3://w/\" = \"s3://bucket/w/\"\n[s3]\nendpoint = \"http://h:1\"\n[s3.bucket.other]\nregion = \"r\"").expect("valid");
        config.check().expect("all are places");
        assert_eq!(
            config.warehouse("s3://w/t").as_deref(),
            Some("s3://bucket/w/t")
        );
        assert!(config.stores("file:///w").is_some());
        assert!(Config::default().stores("file:///w").is_none());
        assert!(Config::default().stores("s3://bucket/w").is_some());
        let config: Config = toml::from_str("[warehouses]\n\"a\" = \"s3a://b/\"").expect("valid");
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "[warehouses] \"a\" is \"s3a://b/\"; only file:///…, s3://BUCKET/… and folders in the data folder, such as \"warehouse/\", are supported"
        );
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = folder.path().join("lakeward.toml");
        std::fs::write(&named, "[s3]\nsecret-access-keys = \"s3cr3t\"").expect("written");
        let error = Config::load(Some(&named), folder.path()).expect_err("it is unknown");
        let told = format!("{error:#}");
        assert!(
            told.contains("line 2: unknown field `secret-access-keys`"),
            "{told}"
        );
        assert!(!told.contains("s3cr3t"), "{told}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("[catalog]\nhive = \"embedded\"").is_err());
    }
}
