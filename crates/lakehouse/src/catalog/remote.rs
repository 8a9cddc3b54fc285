//! Any other Iceberg REST catalog (under `[catalogs]`, or `'uri'` of a sink) as a [`TableCatalog`].
//!
//! What matters is what a reply means for exactly-once:
//!
//! | reply | what happened | kind |
//! |---|---|---|
//! | no connection, 429 | nothing | [`Kind::Unavailable`] |
//! | 409 | nothing: a requirement does not hold | [`Kind::CommitFailed`] |
//! | none, 5xx, or not what was asked for, to a request that changes something | nobody knows | [`Kind::Unknown`] |
//! | 404 without Iceberg's error body | nothing: a proxy answered, not a catalog | [`Kind::Unavailable`] |
//! | 200 | what the metadata in it shows | |
//!
//! The catalog says where a table's files are. They must be local, or in a store that `[s3]` in `lakeward.toml` says how to reach: what a
//! catalog sends of addresses and keys is not used.

mod http;
#[cfg(test)]
mod tests;

use super::{LoadedTable, NewTable, TableCatalog};
use crate::error::{CatalogError, Kind};
use crate::storage::Files;
use http::{Http, Method};
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What REST paths put between the levels of a namespace unless the catalog says otherwise.
const SEPARATOR: &str = "%1F";
const DEFAULT_SCOPE: &str = "catalog";

/// How to reach a catalog, by the names that Iceberg's own clients give these properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteOptions {
    pub uri: String,
    /// The catalog's own name for what is asked of it, passed on as it is.
    pub warehouse: Option<String>,
    pub prefix: Option<String>,
    pub auth: Auth,
    /// Sent with every request: `header.NAME`.
    pub headers: Vec<(String, String)>,
}

/// How requests prove who they come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    /// `token`: a bearer token, as it is.
    Token(String),
    /// `credential`: exchanged for bearer tokens by OAuth 2.
    Credential {
        client_id: Option<String>,
        client_secret: String,
        scope: String,
        /// Where tokens are.
        server: String,
    },
}

/// Secrets are not for logs.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Token(_) => "Token(…)",
            Auth::Credential { .. } => "Credential(…)",
        })
    }
}

impl RemoteOptions {
    /// Properties of a catalog beside `header.NAME`.
    pub const KNOWN: [&str; 7] = [
        "uri",
        "warehouse",
        "prefix",
        "token",
        "credential",
        "scope",
        "oauth2-server-uri",
    ];

    /// # Errors
    /// [`Kind::BadRequest`], naming the property, when one is missing, unknown or contradicts another.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<RemoteOptions, CatalogError> {
        let refuse = |message: String| Err(CatalogError::new(Kind::BadRequest, message));
        let get = |key: &str| properties.get(key).filter(|value| !value.is_empty());
        let mut headers = Vec::new();
        for (key, value) in properties {
            match key.strip_prefix("header.") {
                Some(name) if !name.is_empty() => headers.push((name.to_owned(), value.clone())),
                _ if RemoteOptions::KNOWN.contains(&key.as_str()) => {}
                _ => {
                    let known = RemoteOptions::KNOWN;
                    return refuse(match lw_stdx::suggest::nearest(key, known) {
                        Some(near) => format!(
                            "a REST catalog has no property '{key}'; did you mean '{near}'?"
                        ),
                        None => format!(
                            "the property '{key}' of a REST catalog is not supported; known are {} and header.NAME",
                            known.join(", ")
                        ),
                    });
                }
            }
        }
        let Some(uri) = get("uri") else {
            return refuse("a REST catalog needs its address: uri = \"http://…\"".to_owned());
        };
        if !uri.starts_with("http://") && !uri.starts_with("https://") {
            return refuse(format!(
                "uri is \"{uri}\", not an address that begins with http:// or https://"
            ));
        }
        let auth = match (get("token"), get("credential")) {
            (Some(_), Some(_)) => {
                return refuse("a REST catalog takes a token or a credential, not both".to_owned());
            }
            (Some(token), None) => Auth::Token(token.clone()),
            (None, Some(credential)) => {
                let (id, secret) = match credential.split_once(':') {
                    Some((id, secret)) => (Some(id.to_owned()), secret),
                    None => (None, credential.as_str()),
                };
                let server = get("oauth2-server-uri").cloned();
                Auth::Credential {
                    client_id: id,
                    client_secret: secret.to_owned(),
                    scope: get("scope")
                        .map_or(DEFAULT_SCOPE, String::as_str)
                        .to_owned(),
                    server: server.unwrap_or_else(|| format!("{}/oauth/tokens", root(uri))),
                }
            }
            (None, None) => Auth::None,
        };
        for key in ["scope", "oauth2-server-uri"] {
            if get(key).is_some() && get("credential").is_none() {
                return refuse(format!("'{key}' has no effect without a credential"));
            }
        }
        Ok(RemoteOptions {
            uri: uri.clone(),
            warehouse: get("warehouse").cloned(),
            prefix: get("prefix").cloned(),
            auth,
            headers,
        })
    }
}

/// A REST catalog elsewhere.
pub struct RemoteCatalog {
    http: Http,
    /// `http://…/v1` and the catalog's prefix, no slash at the end.
    base: String,
    separator: String,
    files: Files,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoadResult {
    metadata_location: Option<String>,
    metadata: TableMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct NamespacePage {
    namespaces: Vec<NamespaceIdent>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TablePage {
    identifiers: Vec<TableIdent>,
    next_page_token: Option<String>,
}

#[derive(Deserialize, Default)]
struct ConfigResult {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
}

impl RemoteCatalog {
    /// Asks the catalog for its configuration: it may send its clients elsewhere, and say how its paths are made.
    ///
    /// # Errors
    /// When there is no REST catalog at the address, or it refuses us.
    pub fn connect(options: &RemoteOptions, files: Files) -> Result<RemoteCatalog, CatalogError> {
        let http = Http::start(options.auth.clone(), options.headers.clone())?;
        let query = match &options.warehouse {
            Some(warehouse) => format!("?warehouse={}", encoded(warehouse)),
            None => String::new(),
        };
        let url = format!("{}/config{query}", root(&options.uri));
        let config: ConfigResult = ask(&http, Method::Get, &url, None)?;
        // What the server overrides wins over what the user says, that over the server's defaults.
        let property = |key: &str, ours: Option<&String>| {
            let theirs = config.overrides.get(key);
            theirs.or(ours).or(config.defaults.get(key)).cloned()
        };
        let mut base = root(&property("uri", Some(&options.uri)).unwrap_or_default());
        let prefix = property("prefix", options.prefix.as_ref()).unwrap_or_default();
        if let Some(prefix) = Some(prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty()) {
            base = format!("{base}/{prefix}");
        }
        Ok(RemoteCatalog {
            http,
            base,
            separator: property("namespace-separator", None).unwrap_or(SEPARATOR.to_owned()),
            files,
        })
    }

    fn tables(&self, namespace: &NamespaceIdent) -> String {
        let levels: Vec<String> = namespace.iter().map(|level| encoded(level)).collect();
        let namespace = levels.join(&self.separator);
        format!("{}/namespaces/{namespace}/tables", self.base)
    }

    fn table(&self, table: &TableIdent) -> String {
        format!("{}/{}", self.tables(&table.namespace), encoded(&table.name))
    }

    /// The namespaces just below one. A catalog that knows no namespaces in namespaces refuses the question, or answers with
    /// all that it has: neither has anything below.
    fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>, CatalogError> {
        let query = parent.map(|parent| {
            let levels: Vec<String> = parent.iter().map(|level| encoded(level)).collect();
            format!("parent={}", levels.join(&self.separator))
        });
        let url = format!("{}/namespaces", self.base);
        let found = self.pages(&url, query.as_deref(), |page: NamespacePage| {
            (page.namespaces, page.next_page_token)
        });
        match (found, parent) {
            (Err(error), Some(_)) if matches!(error.kind, Kind::BadRequest | Kind::Unsupported) => {
                Ok(Vec::new())
            }
            (Ok(mut found), Some(parent)) => {
                let depth = parent.len();
                found.retain(|below| below.len() > depth && below[..depth] == parent[..]);
                Ok(found)
            }
            (found, _) => found,
        }
    }

    fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError> {
        self.pages(&self.tables(namespace), None, |page: TablePage| {
            (page.identifiers, page.next_page_token)
        })
    }

    /// All pages of a list.
    fn pages<P, T>(
        &self,
        url: &str,
        query: Option<&str>,
        read: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, CatalogError>
    where
        P: for<'de> Deserialize<'de>,
    {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        loop {
            let at = token
                .as_deref()
                .map(|token| format!("pageToken={}", encoded(token)));
            let query: Vec<&str> = query.into_iter().chain(at.as_deref()).collect();
            let question = if query.is_empty() {
                url.to_owned()
            } else {
                format!("{url}?{}", query.join("&"))
            };
            let (found, next) = read(self.ask(Method::Get, &question, None)?);
            all.extend(found);
            match next.filter(|next| !next.is_empty()) {
                None => return Ok(all),
                Some(next) if token.as_ref() == Some(&next) => {
                    let message = format!("the pages of {url} have no end");
                    return Err(CatalogError::new(Kind::Internal, message));
                }
                next => token = next,
            }
        }
    }

    /// One that is there already is fine.
    fn create_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        let body = json!({"namespace": namespace, "properties": {}});
        let url = format!("{}/namespaces", self.base);
        match self.ask::<Value>(Method::Post, &url, Some(&body)) {
            Err(error) if matches!(error.kind, Kind::AlreadyExists | Kind::CommitFailed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<T, CatalogError> {
        ask(&self.http, method, url, body)
    }
}

impl TableCatalog for RemoteCatalog {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let result = self.ask(Method::Get, &self.table(table), None)?;
        Ok(loaded(table, result))
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        match (self.create_namespace(namespace), namespace.parent()) {
            (Err(error), Some(parent)) if error.kind == Kind::NoSuchNamespace => {
                self.ensure_namespace(&parent)?;
                self.create_namespace(namespace)
            }
            (outcome, _) => outcome,
        }
    }

    /// After an unknown reply the table is looked for: it is there, or creating it is tried again later.
    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        let mut properties = new.properties;
        properties.insert(
            "format-version".to_owned(),
            (new.format_version as u8).to_string(),
        );
        let mut body = json!({
            "name": table.name,
            "schema": new.schema,
            "properties": properties,
            "stage-create": false,
        });
        if let Some(spec) = new.partition_spec {
            body["partition-spec"] = json!(spec);
        }
        if let Some(location) = new.location {
            body["location"] = location.into();
        }
        match self.ask(Method::Post, &self.tables(&table.namespace), Some(&body)) {
            Ok(result) => Ok(loaded(table, result)),
            Err(mut unknown) if unknown.kind == Kind::Unknown => self.load(table).map_err(|_| {
                unknown.kind = Kind::Unavailable;
                unknown
            }),
            Err(error) => Err(error),
        }
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        let body = json!({"identifier": table, "requirements": requirements, "updates": updates});
        let result: LoadResult = self.ask(Method::Post, &self.table(table), Some(&body))?;
        let shown = updates.iter().all(|update| match update {
            TableUpdate::AddSnapshot { snapshot } => {
                let added = result.metadata.snapshot_by_id(snapshot.snapshot_id());
                added.is_some()
            }
            _ => true,
        });
        if !shown {
            let message = "the catalog's answer to a commit does not show its snapshot";
            return Err(CatalogError::new(Kind::Unknown, message));
        }
        Ok(loaded(table, result))
    }

    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError> {
        super::walk(
            |parent| self.list_namespaces(parent),
            |namespace| self.list_tables(namespace),
        )
    }

    fn files(&self) -> &Files {
        &self.files
    }
}

fn loaded(ident: &TableIdent, result: LoadResult) -> LoadedTable {
    LoadedTable {
        ident: ident.clone(),
        metadata: Arc::new(result.metadata),
        metadata_location: result.metadata_location,
    }
}

fn ask<T: for<'de> Deserialize<'de>>(
    http: &Http,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Result<T, CatalogError> {
    let answer = http.call(method, url, body.map(|body| body.to_string().into_bytes()))?;
    if !(200..300).contains(&answer.status) {
        return Err(refusal(method, answer.status, &answer.body, url));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        let message = format!("the answer of {url} is not understood");
        CatalogError::caused(Kind::Unknown, message, error)
    })
}

#[derive(Deserialize)]
struct Refused {
    error: ErrorModel,
}

#[derive(Deserialize)]
struct ErrorModel {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// What a status that is no success says about what happened.
fn refusal(method: Method, status: u16, body: &[u8], url: &str) -> CatalogError {
    let model = serde_json::from_slice::<Refused>(body).ok();
    let name = model.as_ref().map_or("", |refused| &refused.error.kind);
    let kind = match status {
        404 if model.is_none() => Kind::Unavailable,
        404 if name.contains("Namespace") => Kind::NoSuchNamespace,
        404 if name == "NotFoundException" => Kind::NoSuchFile,
        404 => Kind::NoSuchTable,
        409 if name.contains("AlreadyExists") => Kind::AlreadyExists,
        409 => Kind::CommitFailed,
        422 => Kind::Unprocessable,
        406 | 501 => Kind::Unsupported,
        429 => Kind::Unavailable,
        500.. if method == Method::Post => Kind::Unknown,
        500.. => Kind::Unavailable,
        _ => Kind::BadRequest,
    };
    let message = match model.map(|refused| refused.error.message) {
        Some(message) if !message.is_empty() => message,
        _ => format!("{url} answers {status}, and not as an Iceberg REST catalog does"),
    };
    let message = match status {
        401 | 403 | 419 => format!("the catalog does not let us in ({status}): {message}"),
        _ => message,
    };
    CatalogError::new(kind, message)
}

/// `http://host/v1` of an address with or without it.
fn root(uri: &str) -> String {
    format!("{}/v1", uri.trim_end_matches('/').trim_end_matches("/v1"))
}

/// A path segment, or a value of a query or a form.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
