//! How buckets are reached: `[s3]` in `lakeward.toml`, what it does not say from the environment (`AWS_*`), and what that
//! does not say from the machine's role, as Amazon's own clients find it.
//!
//! Secrets are in [`Secret`], which prints as dots; what an error quotes is searched for them too ([`super::words`]).

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one request: a part of 8 MiB at 2 Mbit/s.
const TIMEOUT: Duration = Duration::from_secs(30);
const REGION: &str = "us-east-1";

/// What is not to be printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// `[s3]`, for every bucket, with what is different for some.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct S3Options {
    /// `http://127.0.0.1:9000`; without it, Amazon's of the region.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `http://host/bucket/key`, which is the default, and not `http://bucket.host/key`.
    pub path_style: Option<bool>,
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    /// A file as Amazon's command line has it, in `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// The section of it.
    pub profile: Option<String>,
    /// Clients of the catalog that ask for credentials get ours.
    pub lend_credentials: Option<bool>,
    /// What is different for the buckets of these names.
    pub bucket: BTreeMap<String, S3Options>,
}

/// A bucket's answer to "how do I get there".
pub(super) struct Reached {
    /// With the bucket in it.
    pub(super) url: String,
    pub(super) region: String,
    endpoint: Option<String>,
    path_style: bool,
    pub(super) lends: bool,
    /// As far as they are known before the first request.
    pub(super) secrets: Vec<String>,
    client_options: ClientOptions,
}

impl S3Options {
    /// # Errors
    /// What cannot be meant, said so that it can be mended.
    pub fn check(&self) -> Result<(), String> {
        for (name, one) in &self.bucket {
            if !one.bucket.is_empty() {
                return Err(format!("[s3.bucket.{name}] has a `bucket` of its own"));
            }
            one.check_one()
                .map_err(|why| format!("[s3.bucket.{name}] {why}"))?;
        }
        self.check_one().map_err(|why| format!("[s3] {why}"))
    }

    fn check_one(&self) -> Result<(), String> {
        let keys = (
            self.access_key_id.is_some(),
            self.secret_access_key.is_some(),
        );
        if let (true, false) | (false, true) = keys {
            return Err("needs access-key-id and secret-access-key, or neither".to_owned());
        }
        if keys.0 && self.credentials_file.is_some() {
            return Err("has keys and a credentials-file; keep one of them".to_owned());
        }
        if self.profile.is_some() && self.credentials_file.is_none() {
            return Err("has a profile and no credentials-file to find it in".to_owned());
        }
        match &self.endpoint {
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Err(format!("endpoint is \"{url}\"; write https://…"))
            }
            _ => Ok(()),
        }
    }

    /// What holds for one bucket. Keys are one thing with their file: a bucket that has either does not get the other from above.
    fn of(&self, bucket: &str) -> S3Options {
        let Some(own) = self.bucket.get(bucket).cloned() else {
            return self.clone();
        };
        let keys = match own.access_key_id.is_some() || own.credentials_file.is_some() {
            true => own.clone(),
            false => self.clone(),
        };
        S3Options {
            endpoint: own.endpoint.or_else(|| self.endpoint.clone()),
            region: own.region.or_else(|| self.region.clone()),
            path_style: own.path_style.or(self.path_style),
            lend_credentials: own.lend_credentials.or(self.lend_credentials),
            bucket: BTreeMap::new(),
            ..keys
        }
    }

    /// The client of a bucket.
    pub(super) fn connect(&self, bucket: &str) -> io::Result<(AmazonS3, Reached)> {
        let own = self.of(bucket);
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(region) = &own.region {
            builder = builder.with_region(region);
        }
        builder = own.with_keys(builder)?;
        let told = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
        let region = told(&builder, AmazonS3ConfigKey::Region).unwrap_or_else(|| REGION.to_owned());
        let of_environment = told(&builder, AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| told(&builder, AmazonS3ConfigKey::Endpoint));
        let endpoint = own.endpoint.or(of_environment);
        let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
        let path_style = own.path_style.unwrap_or(true);
        let url = url(endpoint.as_deref(), &region, bucket, path_style);
        let plain = url.starts_with("http://");
        let client_options = ClientOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(TIMEOUT)
            .with_allow_http(plain);
        let secrets = [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::SecretAccessKey,
            AmazonS3ConfigKey::Token,
        ];
        let secrets = secrets.into_iter().filter_map(|key| told(&builder, key));
        let secrets = secrets.filter(|secret| !secret.is_empty()).collect();
        // The client's own rule: with "virtual hosts" an endpoint is taken as it is, so it gets the address with the bucket in it.
        let store = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, &url)
            .with_virtual_hosted_style_request(true)
            .with_client_options(client_options.clone())
            .with_retry(retries())
            .build()
            .map_err(|error| unusable(bucket, &error.to_string()))?;
        let reached = Reached {
            url,
            region,
            endpoint,
            path_style,
            lends: own.lend_credentials.unwrap_or(false),
            secrets,
            client_options,
        };
        Ok((store, reached))
    }

    fn with_keys(&self, builder: AmazonS3Builder) -> io::Result<AmazonS3Builder> {
        let keys = match (
            &self.access_key_id,
            &self.secret_access_key,
            &self.credentials_file,
        ) {
            (Some(id), Some(secret), _) => Keys {
                id: id.clone(),
                secret: secret.clone(),
                token: self.session_token.clone(),
            },
            (_, _, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    let message = format!(
                        "the credentials-file {} cannot be read: {error}",
                        file.display()
                    );
                    io::Error::new(io::ErrorKind::Unsupported, message)
                })?;
                let profile = self.profile.as_deref().unwrap_or("default");
                Keys::find(&text, profile).ok_or_else(|| {
                    let message = format!(
                        "the credentials-file {} has no aws_access_key_id and aws_secret_access_key under [{profile}]",
                        file.display()
                    );
                    io::Error::new(io::ErrorKind::Unsupported, message)
                })?
            }
            _ => return Ok(builder),
        };
        // A token of the environment belongs to the environment's keys.
        let token = keys.token.as_ref().map_or("", Secret::reveal);
        let builder = builder
            .with_access_key_id(keys.id.reveal())
            .with_secret_access_key(keys.secret.reveal());
        Ok(
            match (token, builder.get_config_value(&AmazonS3ConfigKey::Token)) {
                ("", None) => builder,
                ("", Some(_)) => {
                    let message = "AWS_SESSION_TOKEN is set and the keys are from lakeward.toml, without a token: unset it, or leave the keys to the environment";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, message));
                }
                (token, _) => builder.with_token(token),
            },
        )
    }
}

struct Keys {
    id: Secret,
    secret: Secret,
    token: Option<Secret>,
}

impl Keys {
    /// From a file of `name = value` lines in sections.
    fn find(text: &str, profile: &str) -> Option<Keys> {
        let mut own = BTreeMap::new();
        let mut is_own = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                is_own = section.trim() == profile;
            } else if let (true, Some((name, value))) = (is_own, line.split_once('=')) {
                own.insert(name.trim(), value.trim());
            }
        }
        let secret = |name: &str| own.get(name).map(|value| Secret::new(*value));
        Some(Keys {
            id: secret("aws_access_key_id")?,
            secret: secret("aws_secret_access_key")?,
            token: secret("aws_session_token"),
        })
    }
}

impl Reached {
    pub(super) fn client(&self) -> io::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(&self.client_options);
        client.map_err(io::Error::other)
    }

    pub(super) fn client_properties(&self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::from([
            ("s3.region".to_owned(), self.region.clone()),
            ("client.region".to_owned(), self.region.clone()),
        ]);
        if let Some(endpoint) = &self.endpoint {
            properties.insert("s3.endpoint".to_owned(), endpoint.clone());
        }
        let path_style = self.path_style && self.endpoint.is_some();
        properties.insert("s3.path-style-access".to_owned(), path_style.to_string());
        properties
    }
}

fn url(endpoint: Option<&str>, region: &str, bucket: &str, path_style: bool) -> String {
    let amazons = format!("https://s3.{region}.amazonaws.com");
    let endpoint = endpoint.unwrap_or(&amazons);
    match endpoint.split_once("://") {
        Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
        _ => format!("{endpoint}/{bucket}"),
    }
}

/// A store that is not well for a moment is waited for here; for longer, by the pipeline, which says so.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(15),
    }
}

fn unusable(bucket: &str, why: &str) -> io::Error {
    let message = format!("s3://{bucket} cannot be reached as it is configured: {why}");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_own_where_it_says_so() {
        let options: S3Options = serde_json::from_value(serde_json::json!({
            "endpoint": "http://store:9000", "region": "here", "access-key-id": "a", "secret-access-key": "b",
            "bucket": {"other": {"region": "there", "credentials-file": "/keys"}},
        }))
        .unwrap();
        options.check().unwrap();
        let other = options.of("other");
        assert_eq!(other.endpoint.as_deref(), Some("http://store:9000"));
        assert_eq!(other.region.as_deref(), Some("there"));
        assert_eq!(other.access_key_id, None);
        assert_eq!(options.of("first").region.as_deref(), Some("here"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_no_secret_is_printed() {
        let cases = [
            (
                r#"{"access-key-id": "a"}"#,
                "[s3] needs access-key-id and secret-access-key, or neither",
            ),
            (
                r#"{"access-key-id": "a", "secret-access-key": "b", "credentials-file": "f"}"#,
                "[s3] has keys and a credentials-file; keep one of them",
            ),
            (
                r#"{"endpoint": "store:9000"}"#,
                "[s3] endpoint is \"store:9000\"; write https://…",
            ),
            (
                r#"{"bucket": {"b": {"profile": "p"}}}"#,
                "[s3.bucket.b] has a profile and no credentials-file to find it in",
            ),
        ];
        for (json, expected) in cases {
            let options: S3Options = serde_json::from_str(json).unwrap();
            assert_eq!(options.check(), Err(expected.to_owned()));
        }
        let json = r#"{"access-key-id": "AKIA1", "secret-access-key": "s3cr3t", "session-token": "t0ken"}"#;
        let options: S3Options = serde_json::from_str(json).unwrap();
        let text = format!("{options:?}");
        assert!(
            !["AKIA1", "s3cr3t", "t0ken"]
                .iter()
                .any(|secret| text.contains(secret)),
            "{text}"
        );
    }

    #[test]
    fn keys_are_found_in_their_section() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n# c\n[p]\naws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n";
        let found = |profile| {
            Keys::find(text, profile).map(|keys| (keys.id.0, keys.token.map(|token| token.0)))
        };
        assert_eq!(found("default"), Some(("A".to_owned(), None)));
        assert_eq!(found("p"), Some(("C".to_owned(), Some("E".to_owned()))));
        assert_eq!(found("q"), None);
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_name_of_the_host() {
        assert_eq!(url(None, "eu", "b", true), "https://s3.eu.amazonaws.com/b");
        assert_eq!(url(None, "eu", "b", false), "https://b.s3.eu.amazonaws.com");
        assert_eq!(url(Some("http://h:1"), "eu", "b", true), "http://h:1/b");
        assert_eq!(url(Some("http://h:1"), "eu", "b", false), "http://b.h:1");
    }
}
