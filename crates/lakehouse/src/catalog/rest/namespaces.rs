//! Namespaces over HTTP.

use super::forms::{Once, Page, namespace, parse};
use super::{Answer, blocking, changing, done};
use crate::catalog::Catalog;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use iceberg::NamespaceIdent;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

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

pub(super) async fn list(State(catalog): State<Catalog>, Query(page): Query<Page>) -> Answer {
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

pub(super) async fn create(State(catalog): State<Catalog>, once: Once, body: Bytes) -> Answer {
    let request: CreateNamespace = parse(&body)?;
    let answer = json!({"namespace": request.namespace, "properties": request.properties});
    let create =
        move |catalog: &Catalog| catalog.create_namespace(&request.namespace, request.properties);
    changing(catalog, once, &body, create, |_| Ok(())).await?;
    Ok(Json(answer).into_response())
}

pub(super) async fn load(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    let asked = name.clone();
    let properties = blocking(catalog, move |catalog| catalog.namespace(&asked)).await?;
    Ok(Json(json!({"namespace": name, "properties": properties})).into_response())
}

pub(super) async fn exists(State(catalog): State<Catalog>, Path(name): Path<String>) -> Answer {
    let name = namespace(&name)?;
    blocking(catalog, move |catalog| catalog.namespace(&name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn drop(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    once: Once,
) -> Answer {
    let name = namespace(&name)?;
    let drop = move |catalog: &Catalog| catalog.drop_namespace(&name);
    done(catalog, once, &[], drop).await
}

pub(super) async fn update(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    once: Once,
    body: Bytes,
) -> Answer {
    let name = namespace(&name)?;
    let request: UpdateNamespace = parse(&body)?;
    let update = move |catalog: &Catalog| {
        catalog.update_namespace(&name, &request.removals, &request.updates)
    };
    let changed = changing(catalog, once, &body, update, Catalog::told_before).await?;
    Ok(Json(changed).into_response())
}
