//! Views over HTTP.

use super::forms::{Once, Page, namespace, parse};
use super::tables::Rename;
use super::{Answer, blocking, changing, done};
use crate::catalog::embedded::LoadedView;
use crate::catalog::pointers::Relation;
use crate::catalog::views::to_json;
use crate::catalog::{Catalog, ViewCreation, ViewRequirement};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use iceberg::spec::{Schema, ViewVersion};
use iceberg::{TableIdent, ViewUpdate};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateView {
    name: String,
    location: Option<String>,
    schema: Schema,
    view_version: ViewVersion,
    /// Some clients send `null`.
    properties: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegisterView {
    name: String,
    metadata_location: String,
}

#[derive(Deserialize)]
struct CommitView {
    #[serde(default)]
    requirements: Vec<ViewRequirement>,
    updates: Vec<ViewUpdate>,
}

pub(super) async fn list(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let name = namespace(&name)?;
    let all = blocking(catalog, move |catalog| catalog.list_views(&name)).await?;
    let (views, next) = page.cut(all, |view| view.name.clone());
    Ok(Json(json!({"identifiers": views, "next-page-token": next})).into_response())
}

pub(super) async fn create(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    once: Once,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: CreateView = parse(&body)?;
    let ident = TableIdent::new(namespace, request.name);
    let creation = ViewCreation {
        ident: ident.clone(),
        location: request.location,
        schema: request.schema,
        version: request.view_version,
        properties: request.properties.unwrap_or_default(),
    };
    let create = move |catalog: &Catalog| catalog.create_view(creation);
    let load = move |catalog: &Catalog| catalog.load_view(&ident);
    let view = changing(catalog, once, &body, create, load).await?;
    Ok(loaded(&view))
}

pub(super) async fn register(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    once: Once,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: RegisterView = parse(&body)?;
    let ident = TableIdent::new(namespace, request.name);
    let asked = ident.clone();
    let register =
        move |catalog: &Catalog| catalog.register_view(&asked, &request.metadata_location);
    let load = move |catalog: &Catalog| catalog.load_view(&ident);
    let view = changing(catalog, once, &body, register, load).await?;
    Ok(loaded(&view))
}

pub(super) async fn load(
    State(catalog): State<Catalog>,
    Path((name, view)): Path<(String, String)>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, view);
    let view = blocking(catalog, move |catalog| catalog.load_view(&ident)).await?;
    Ok(loaded(&view))
}

pub(super) async fn exists(
    State(catalog): State<Catalog>,
    Path((name, view)): Path<(String, String)>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, view);
    let asked = ident.clone();
    if blocking(catalog, move |catalog| catalog.view_exists(&asked)).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Relation::View.missing(&ident).into())
    }
}

pub(super) async fn replace(
    State(catalog): State<Catalog>,
    Path((name, view)): Path<(String, String)>,
    once: Once,
    body: Bytes,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, view);
    let request: CommitView = parse(&body)?;
    let asked = ident.clone();
    let replace = move |catalog: &Catalog| {
        catalog.commit_view(&asked, &request.requirements, &request.updates)
    };
    let load = move |catalog: &Catalog| catalog.load_view(&ident);
    let view = changing(catalog, once, &body, replace, load).await?;
    Ok(loaded(&view))
}

pub(super) async fn drop(
    State(catalog): State<Catalog>,
    Path((name, view)): Path<(String, String)>,
    once: Once,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, view);
    let drop = move |catalog: &Catalog| catalog.drop_view(&ident);
    done(catalog, once, &[], drop).await
}

pub(super) async fn rename(State(catalog): State<Catalog>, once: Once, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    let rename =
        move |catalog: &Catalog| catalog.rename_view(&request.source, &request.destination);
    done(catalog, once, &body, rename).await
}

fn loaded(view: &LoadedView) -> Response {
    Json(json!({
        "metadata-location": view.metadata_location,
        "metadata": to_json(&view.metadata),
        "config": {},
    }))
    .into_response()
}
