//! The Iceberg REST catalog protocol over the embedded catalog.
//!
//! Served: configuration, namespaces, tables and views (also registered and renamed, tables also staged), single and
//! multi-table commits, metrics (counted), a token endpoint for clients that insist on one. What the engines really
//! send shaped it: DuckDB stages every creation and uses `transactions/commit` even for one table, Spark and Trino ask for
//! views, Java assumes endpoints unless they are listed, so they are listed. Any `?warehouse=` is accepted: there is one.
//!
//! A handler parses, calls the catalog on a blocking thread (it waits for the disk) and answers; it decides nothing.

mod access;
mod forms;
mod namespaces;
mod tables;
#[cfg(test)]
mod tests;
mod views;

use super::Catalog;
use super::embedded::LIFETIME;
use crate::error::{CatalogError, Kind};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use forms::Once;
use lw_stdx::secret;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// A commit of a wide table with many snapshots is some megabytes.
const BODY_LIMIT: usize = 64 << 20;

/// What is served; Java clients take the list at its word.
const ENDPOINTS: [&str; 26] = [
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
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/register-view",
    "POST /v1/{prefix}/views/rename",
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
            get(namespaces::list).post(namespaces::create),
        )
        .route(
            "/v1/namespaces/{namespace}",
            get(namespaces::load)
                .head(namespaces::exists)
                .delete(namespaces::drop),
        )
        .route(
            "/v1/namespaces/{namespace}/properties",
            post(namespaces::update),
        )
        .route(
            "/v1/namespaces/{namespace}/tables",
            get(tables::list).post(tables::create),
        )
        .route(
            "/v1/namespaces/{namespace}/register",
            post(tables::register),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(tables::load)
                .head(tables::exists)
                .post(tables::commit)
                .delete(tables::drop),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}/metrics",
            post(tables::metrics),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}/credentials",
            get(tables::credentials),
        )
        .route("/v1/tables/rename", post(tables::rename))
        .route("/v1/transactions/commit", post(tables::commit_all))
        .route(
            "/v1/namespaces/{namespace}/views",
            get(views::list).post(views::create),
        )
        .route(
            "/v1/namespaces/{namespace}/register-view",
            post(views::register),
        )
        .route(
            "/v1/namespaces/{namespace}/views/{view}",
            get(views::load)
                .head(views::exists)
                .post(views::replace)
                .delete(views::drop),
        )
        .route("/v1/views/rename", post(views::rename))
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
            Kind::NoSuchFile => (404, "NotFoundException"),
            Kind::AlreadyExists => (409, "AlreadyExistsException"),
            Kind::NamespaceNotEmpty => (409, "NamespaceNotEmptyException"),
            Kind::CommitFailed | Kind::Repeated => (409, "CommitFailedException"),
            Kind::Malformed => (400, "BadRequestException"),
            // Java's clients call a bad request malformed, whatever is wrong with it, and this by what it says.
            Kind::BadRequest => (400, "IllegalArgumentException"),
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

async fn config(State(catalog): State<Catalog>) -> Response {
    Json(json!({
        "defaults": {},
        "overrides": {"warehouse": catalog.warehouse()},
        "endpoints": ENDPOINTS,
        "idempotency-key-lifetime": format!("PT{}M", LIFETIME.as_secs() / 60),
    }))
    .into_response()
}

/// Runs what changes the catalog where it may wait for the disk: once, when the request has a key. `again` answers for what
/// was done when it came before.
async fn changing<T: Send + 'static>(
    catalog: Catalog,
    once: Once,
    body: &[u8],
    work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    again: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, Refusal> {
    let catalog = once.over(catalog, body);
    blocking(catalog, |catalog| catalog.carry_out(work, again)).await
}

/// As [`changing`], of what is answered without a body.
async fn done(
    catalog: Catalog,
    once: Once,
    body: &[u8],
    work: impl FnOnce(&Catalog) -> Result<(), CatalogError> + Send + 'static,
) -> Answer {
    changing(catalog, once, body, work, |_| Ok(())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
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

async fn unknown(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    CatalogError::new(
        Kind::Malformed,
        format!("no such endpoint: {method} {}", uri.path()),
    )
    .into()
}
