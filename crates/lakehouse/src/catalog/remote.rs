//! Any other Iceberg REST catalog (`'uri'` of a sink) as a [`TableCatalog`].
//!
//! What matters is what a reply means for exactly-once: a 409 says that nothing happened, a lost connection or a 500 says
//! nothing at all ([`Kind::Unknown`]), and only a connection that was never made says that nothing can have happened.
//!
//! Table files must be local: this version has no object store client of its own, and says so when a table is elsewhere.

use super::{LoadedTable, NewTable, TableCatalog};
use crate::error::{CatalogError, Kind};
use crate::storage::Files;
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);
/// What REST paths put between the levels of a namespace.
const LEVEL: &str = "%1F";

/// A REST catalog elsewhere.
pub struct RemoteCatalog {
    http: Http,
    /// `http://…/v1` and the catalog's prefix, no slash at the end.
    base: String,
    files: Files,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoadResult {
    metadata_location: Option<String>,
    metadata: TableMetadata,
}

#[derive(Deserialize, Default)]
struct ConfigResult {
    #[serde(default)]
    defaults: std::collections::HashMap<String, String>,
    #[serde(default)]
    overrides: std::collections::HashMap<String, String>,
}

impl RemoteCatalog {
    /// Asks the catalog for its configuration.
    ///
    /// # Errors
    /// When there is no REST catalog at `uri`.
    pub fn connect(
        uri: &str,
        warehouse: Option<&str>,
        token: Option<String>,
        files: Files,
    ) -> Result<RemoteCatalog, CatalogError> {
        let http = Http::start(token)?;
        let root = format!("{}/v1", uri.trim_end_matches('/').trim_end_matches("/v1"));
        let query = warehouse.map_or(String::new(), |warehouse| {
            format!("?warehouse={}", encoded(warehouse))
        });
        let config: ConfigResult = http.json(Method::Get, format!("{root}/config{query}"), None)?;
        let prefix = config
            .overrides
            .get("prefix")
            .or(config.defaults.get("prefix"));
        let base = match prefix
            .map(|prefix| prefix.trim_matches('/'))
            .filter(|prefix| !prefix.is_empty())
        {
            Some(prefix) => format!("{root}/{prefix}"),
            None => root,
        };
        Ok(RemoteCatalog { http, base, files })
    }

    fn tables(&self, namespace: &NamespaceIdent) -> String {
        let levels: Vec<String> = namespace.iter().map(|level| encoded(level)).collect();
        format!("{}/namespaces/{}/tables", self.base, levels.join(LEVEL))
    }

    fn table(&self, table: &TableIdent) -> String {
        format!("{}/{}", self.tables(&table.namespace), encoded(&table.name))
    }
}

fn loaded(ident: &TableIdent, result: LoadResult) -> LoadedTable {
    LoadedTable {
        ident: ident.clone(),
        metadata: Arc::new(result.metadata),
        metadata_location: result.metadata_location,
    }
}

impl TableCatalog for RemoteCatalog {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let result = self.http.json(Method::Get, self.table(table), None)?;
        Ok(loaded(table, result))
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        let body = json!({"namespace": namespace, "properties": {}});
        match self.http.json::<Value>(
            Method::Post,
            format!("{}/namespaces", self.base),
            Some(body),
        ) {
            Err(error) if matches!(error.kind, Kind::AlreadyExists | Kind::CommitFailed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        let mut properties = new.properties;
        properties.insert(
            "format-version".to_owned(),
            (new.format_version as u8).to_string(),
        );
        let body = json!({
            "name": table.name,
            "schema": new.schema,
            "properties": properties,
            "location": new.location,
            "stage-create": false,
        });
        let result = self
            .http
            .json(Method::Post, self.tables(&table.namespace), Some(body))?;
        Ok(loaded(table, result))
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        let body = json!({"identifier": table, "requirements": requirements, "updates": updates});
        let result = self
            .http
            .json(Method::Post, self.table(table), Some(body))?;
        Ok(loaded(table, result))
    }

    fn files(&self) -> &Files {
        &self.files
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
}

struct Call {
    method: Method,
    url: String,
    body: Option<Value>,
    reply: SyncSender<Result<(u16, Vec<u8>), CatalogError>>,
}

/// An HTTP client for blocking callers: one thread owns the async one, and ends when this is dropped.
struct Http {
    calls: Option<SyncSender<Call>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Http {
    fn start(token: Option<String>) -> Result<Http, CatalogError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| {
                CatalogError::caused(Kind::Internal, "no HTTP client can be made", error)
            })?;
        let (calls, queue) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("rest-catalog".to_owned())
            .spawn(move || runtime.block_on(serve(client, token, queue)))?;
        Ok(Http {
            calls: Some(calls),
            thread: Some(thread),
        })
    }

    fn json<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        url: String,
        body: Option<Value>,
    ) -> Result<T, CatalogError> {
        let gone = || CatalogError::new(Kind::Internal, "the HTTP thread has ended");
        let (reply, answer) = sync_channel(1);
        let call = Call {
            method,
            url: url.clone(),
            body,
            reply,
        };
        self.calls
            .as_ref()
            .ok_or_else(gone)?
            .send(call)
            .map_err(|_| gone())?;
        let (status, bytes) = answer.recv().map_err(|_| gone())??;
        if !(200..300).contains(&status) {
            return Err(refusal(status, &bytes, &url));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            CatalogError::caused(
                Kind::Unknown,
                format!("the answer of {url} is not understood"),
                error,
            )
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns its queue")]
async fn serve(client: reqwest::Client, token: Option<String>, queue: Receiver<Call>) {
    while let Ok(call) = queue.recv() {
        let mut request = match call.method {
            Method::Get => client.get(&call.url),
            Method::Post => client.post(&call.url),
        };
        if let Some(token) = &token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        // The caller may be gone; then nobody wants the answer.
        let _ = call.reply.send(send(request, &call.url).await);
    }
}

async fn send(request: reqwest::RequestBuilder, url: &str) -> Result<(u16, Vec<u8>), CatalogError> {
    let lost = |error: reqwest::Error| {
        let kind = if error.is_connect() {
            Kind::Unavailable
        } else {
            Kind::Unknown
        };
        CatalogError::caused(kind, format!("no answer from the catalog at {url}"), error)
    };
    let response = request.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    Ok((status, response.bytes().await.map_err(lost)?.to_vec()))
}

fn refusal(status: u16, bytes: &[u8], url: &str) -> CatalogError {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
    let (kind, message) = (text("type"), text("message"));
    let kind = match (status, kind.as_str()) {
        (404, "NoSuchNamespaceException") => Kind::NoSuchNamespace,
        (404, _) => Kind::NoSuchTable,
        (409, "AlreadyExistsException") => Kind::AlreadyExists,
        (409, _) => Kind::CommitFailed,
        (503 | 429, _) => Kind::Unavailable,
        (500.., _) => Kind::Unknown,
        _ => Kind::BadRequest,
    };
    let message = if message.is_empty() {
        format!("{url} answers {status}")
    } else {
        message
    };
    CatalogError::new(kind, message)
}

/// A path segment or query value.
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
