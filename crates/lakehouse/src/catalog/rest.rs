//! The Iceberg REST catalog protocol over the embedded catalog.
//!
//! Served: configuration, namespaces, tables (also staged, registered, renamed), single and multi-table commits, metrics
//! (taken and dropped), a token endpoint for clients that insist on one. Refused by name: views. What the engines really
//! send shaped it: DuckDB stages every creation and uses `transactions/commit` even for one table, Spark and Trino ask for
//! views, Java assumes endpoints unless they are listed, so they are listed. Any `?warehouse=` is accepted: there is one.
//!
//! A handler parses, calls the catalog on a blocking thread (it waits for the disk) and answers; it decides nothing.

use super::embedded::{Catalog, Creation, Purge, TableChange};
use super::{LoadedTable, TableCatalog};
use crate::error::{CatalogError, Kind};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_stdx::secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A commit of a wide table with many snapshots is some megabytes.
const BODY_LIMIT: usize = 64 << 20;

/// What is served; Java clients take the list at its word.
const ENDPOINTS: [&str; 21] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/oauth/tokens",
];

/// The routes, to be served by whoever owns the listener.
pub fn router(catalog: Catalog) -> Router {
    router_with_token(catalog, None)
}

/// The routes of a catalog whose shell asks for a token: `credential`s with it as their secret get it.
pub fn router_with_token(catalog: Catalog, secret: Option<Arc<str>>) -> Router {
    let token = move |body: Bytes| std::future::ready(token(secret.as_deref(), &body));
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/oauth/tokens", post(token))
        .route(
            "/v1/namespaces",
            get(list_namespaces).post(create_namespace),
        )
        .route(
            "/v1/namespaces/{namespace}",
            get(load_namespace)
                .head(namespace_exists)
                .delete(drop_namespace),
        )
        .route(
            "/v1/namespaces/{namespace}/properties",
            post(update_namespace),
        )
        .route(
            "/v1/namespaces/{namespace}/tables",
            get(list_tables).post(create_table),
        )
        .route("/v1/namespaces/{namespace}/register", post(register_table))
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(load_table)
                .head(table_exists)
                .post(commit_table)
                .delete(drop_table),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}/metrics",
            post(metrics),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}/credentials",
            get(credentials),
        )
        .route(
            "/v1/namespaces/{namespace}/views",
            get(list_views).post(create_view),
        )
        .route(
            "/v1/namespaces/{namespace}/views/{view}",
            get(load_view).head(load_view),
        )
        .route("/v1/tables/rename", post(rename_table))
        .route("/v1/transactions/commit", post(commit_transaction))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(catalog)
}

type Answer = Result<Response, Refusal>;

struct Refusal(CatalogError);

impl<E: Into<CatalogError>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind) = match self.0.kind {
            Kind::NoSuchNamespace => (404, "NoSuchNamespaceException"),
            Kind::NoSuchTable => (404, "NoSuchTableException"),
            Kind::NoSuchView => (404, "NoSuchViewException"),
            Kind::AlreadyExists => (409, "AlreadyExistsException"),
            Kind::NamespaceNotEmpty => (409, "NamespaceNotEmptyException"),
            Kind::CommitFailed => (409, "CommitFailedException"),
            Kind::BadRequest => (400, "BadRequestException"),
            Kind::Unprocessable => (422, "UnprocessableEntityException"),
            Kind::Unsupported => (406, "UnsupportedOperationException"),
            Kind::Unavailable => (503, "ServiceUnavailableException"),
            Kind::Unknown => (500, "CommitStateUnknownException"),
            Kind::Internal => (500, "InternalServerError"),
        };
        if status >= 500 {
            tracing::error!(error = %self.0, source = ?self.0.source, "a catalog request failed");
        }
        let body = json!({"error": {"message": self.0.message, "type": kind, "code": status}});
        let status = StatusCode::from_u16(status).expect("the list has valid codes");
        (status, Json(body)).into_response()
    }
}

/// Runs a catalog operation where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    catalog: Catalog,
    work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || work(&catalog)).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            Err(CatalogError::caused(Kind::Internal, "the operation broke off", error).into())
        }
    }
}

// Configuration.

async fn config(State(catalog): State<Catalog>) -> Response {
    Json(json!({
        "defaults": {},
        "overrides": {"warehouse": catalog.warehouse()},
        "endpoints": ENDPOINTS,
    }))
    .into_response()
}

/// Where there is no secret, clients that insist on a token get one. Otherwise it is exchanged for itself, as OAuth's client
/// credentials are: errors have OAuth's shape here, as the specification says.
fn token(own: Option<&str>, form: &[u8]) -> Response {
    let given = form_field(form, "client_secret");
    let token = match own {
        None => "lakeward",
        Some(own)
            if given
                .as_deref()
                .is_some_and(|given| secret::same(given.as_bytes(), own.as_bytes())) =>
        {
            own
        }
        Some(_) => {
            let body = json!({
                "error": "invalid_client",
                "error_description": "the client's secret is not this server's token",
            });
            return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
        }
    };
    Json(json!({
        "access_token": token,
        "token_type": "bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "expires_in": 86_400,
    }))
    .into_response()
}

fn form_field(form: &[u8], wanted: &str) -> Option<String> {
    let uri = format!("/?{}", std::str::from_utf8(form).ok()?);
    let uri: axum::http::Uri = uri.parse().ok()?;
    let Query(mut fields) = Query::<HashMap<String, String>>::try_from_uri(&uri).ok()?;
    fields.remove(wanted)
}

// Namespaces.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    parent: Option<String>,
    page_token: Option<String>,
    page_size: Option<usize>,
}

impl Page {
    /// This page of a sorted list, and the token of the next one. A token is the last name of its page.
    fn cut<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let Some(size) = self.page_size.filter(|size| *size > 0) else {
            return (all, None);
        };
        if let Some(after) = self.page_token.as_deref().filter(|token| !token.is_empty()) {
            all.retain(|item| name(item).as_str() > after);
        }
        let more = all.len() > size;
        all.truncate(size);
        let next = all.last().filter(|_| more).map(name);
        (all, next)
    }
}

#[derive(Deserialize)]
struct CreateNamespace {
    namespace: NamespaceIdent,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct UpdateNamespace {
    #[serde(default)]
    removals: Vec<String>,
    #[serde(default)]
    updates: BTreeMap<String, String>,
}

async fn list_namespaces(State(catalog): State<Catalog>, Query(page): Query<Page>) -> Answer {
    let parent = match page.parent.as_deref().filter(|parent| !parent.is_empty()) {
        Some(parent) => Some(namespace(parent)?),
        None => None,
    };
    let all = blocking(catalog, move |catalog| {
        catalog.list_namespaces(parent.as_ref())
    })
    .await?;
    let (names, next) = page.cut(all, |name| name.to_url_string());
    Ok(Json(json!({"namespaces": names, "next-page-token": next})).into_response())
}

async fn create_namespace(State(catalog): State<Catalog>, body: Bytes) -> Answer {
    let request: CreateNamespace = parse(&body)?;
    let answer = json!({"namespace": request.namespace, "properties": request.properties});
    blocking(catalog, move |catalog| {
        catalog.create_namespace(&request.namespace, request.properties)
    })
    .await?;
    Ok(Json(answer).into_response())
}

async fn load_namespace(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    let asked = name.clone();
    let properties = blocking(catalog, move |catalog| catalog.namespace(&asked)).await?;
    Ok(Json(json!({"namespace": name, "properties": properties})).into_response())
}

async fn namespace_exists(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    blocking(catalog, move |catalog| catalog.namespace(&name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn drop_namespace(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    blocking(catalog, move |catalog| catalog.drop_namespace(&name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn update_namespace(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let name = namespace(&name)?;
    let request: UpdateNamespace = parse(&body)?;
    let changed = blocking(catalog, move |catalog| {
        catalog.update_namespace(&name, &request.removals, &request.updates)
    })
    .await?;
    Ok(Json(changed).into_response())
}

// Tables.

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateTable {
    name: String,
    location: Option<String>,
    schema: Schema,
    partition_spec: Option<UnboundPartitionSpec>,
    write_order: Option<SortOrder>,
    #[serde(default)]
    stage_create: bool,
    /// Some clients send `null`.
    properties: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegisterTable {
    name: String,
    metadata_location: String,
}

#[derive(Deserialize)]
struct RenameTable {
    source: TableIdent,
    destination: TableIdent,
}

#[derive(Deserialize)]
struct CommitTable {
    identifier: Option<TableIdent>,
    #[serde(default)]
    requirements: Vec<TableRequirement>,
    #[serde(default)]
    updates: Vec<TableUpdate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CommitTransaction {
    table_changes: Vec<CommitTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DropTable {
    purge_requested: Option<String>,
}

async fn list_tables(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let name = namespace(&name)?;
    let all = blocking(catalog, move |catalog| catalog.list_tables(&name)).await?;
    let (tables, next) = page.cut(all, |table| table.name.clone());
    Ok(Json(json!({"identifiers": tables, "next-page-token": next})).into_response())
}

async fn create_table(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: CreateTable = parse(&body)?;
    let staged = request.stage_create;
    let creation = Creation {
        ident: TableIdent::new(namespace, request.name),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        location: request.location,
        properties: request.properties.unwrap_or_default(),
    };
    let table = blocking(catalog, move |catalog| {
        if staged {
            catalog.stage_table(creation)
        } else {
            catalog.create_table(creation)
        }
    })
    .await?;
    Ok(answer(&table))
}

async fn register_table(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: RegisterTable = parse(&body)?;
    let ident = TableIdent::new(namespace, request.name);
    let table = blocking(catalog, move |catalog| {
        catalog.register_table(&ident, &request.metadata_location)
    })
    .await?;
    Ok(answer(&table))
}

async fn load_table(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let table = blocking(catalog, move |catalog| catalog.load(&ident)).await?;
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    match (known, etag(&table)) {
        (Some(known), Some(current)) if known == current => {
            Ok(StatusCode::NOT_MODIFIED.into_response())
        }
        _ => Ok(answer(&table)),
    }
}

async fn table_exists(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let asked = ident.clone();
    if blocking(catalog, move |catalog| catalog.table_exists(&asked)).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(super::pointers::no_table(&ident).into())
    }
}

async fn commit_table(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let request: CommitTable = parse(&body)?;
    let change = TableChange {
        ident: TableIdent::new(namespace(&name)?, table),
        requirements: request.requirements,
        updates: request.updates,
    };
    let mut tables = blocking(catalog, move |catalog| catalog.commit_tables(vec![change])).await?;
    Ok(answer(&tables.remove(0)))
}

async fn commit_transaction(State(catalog): State<Catalog>, body: Bytes) -> Answer {
    let request: CommitTransaction = parse(&body)?;
    let mut changes = Vec::with_capacity(request.table_changes.len());
    for change in request.table_changes {
        let ident = change.identifier.ok_or_else(|| {
            CatalogError::new(Kind::BadRequest, "a table change needs an identifier")
        })?;
        changes.push(TableChange {
            ident,
            requirements: change.requirements,
            updates: change.updates,
        });
    }
    blocking(catalog, move |catalog| catalog.commit_tables(changes)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn drop_table(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    Query(query): Query<DropTable>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let purge = match query.purge_requested {
        Some(text) if text.eq_ignore_ascii_case("true") => Purge::Files,
        _ => Purge::Nothing,
    };
    blocking(catalog, move |catalog| catalog.drop_table(&ident, purge)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn rename_table(State(catalog): State<Catalog>, body: Bytes) -> Answer {
    let request: RenameTable = parse(&body)?;
    blocking(catalog, move |catalog| {
        catalog.rename_table(&request.source, &request.destination)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Scan and commit reports of clients; nothing is done with them.
async fn metrics() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The warehouse is a folder: there is nothing to be vended.
async fn credentials() -> Response {
    Json(json!({"storage-credentials": []})).into_response()
}

// Views.

async fn list_views(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    blocking(catalog, move |catalog| catalog.namespace(&name)).await?;
    Ok(Json(json!({"identifiers": []})).into_response())
}

async fn load_view(Path((name, view)): Path<(String, String)>) -> Answer {
    let name = namespace(&name)?;
    Err(CatalogError::new(
        Kind::NoSuchView,
        format!("view does not exist: {name}.{view}"),
    )
    .into())
}

async fn create_view() -> Answer {
    Err(CatalogError::new(Kind::Unsupported, "views are not supported yet").into())
}

async fn unknown(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    CatalogError::new(
        Kind::BadRequest,
        format!("no such endpoint: {method} {}", uri.path()),
    )
    .into()
}

// Forms.

fn namespace(path: &str) -> Result<NamespaceIdent, CatalogError> {
    Ok(NamespaceIdent::from_strs(path.split('\u{1f}'))?)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(body).map_err(|error| {
        CatalogError::caused(
            Kind::BadRequest,
            format!("the request is not understood: {error}"),
            error,
        )
    })
}

/// A metadata file never changes, so its name is the version.
fn etag(table: &LoadedTable) -> Option<String> {
    let location = table.metadata_location.as_ref()?;
    let name = location.rsplit('/').next()?;
    Some(format!("\"{name}\""))
}

fn answer(table: &LoadedTable) -> Response {
    let mut body = json!({
        "metadata": &*table.metadata,
        "config": {},
        "storage-credentials": [],
    });
    if let Some(location) = &table.metadata_location {
        body["metadata-location"] = Value::String(location.clone());
    }
    match etag(table).and_then(|tag| tag.parse::<header::HeaderValue>().ok()) {
        Some(tag) => ([(header::ETAG, tag)], Json(body)).into_response(),
        None => Json(body).into_response(),
    }
}
