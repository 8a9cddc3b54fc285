//! Tables over HTTP, and commits to many of them.

use super::access::{Access, Delegation};
use super::forms::{Once, Page, Snapshots, etag, is_known, loaded, namespace, parse};
use super::{Answer, blocking, changing, done};
use crate::catalog::embedded::{Creation, Purge, Register, Report, TableChange};
use crate::catalog::pointers::Relation;
use crate::catalog::{Catalog, TableCatalog};
use crate::error::{CatalogError, Kind};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json};
use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;

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
    #[serde(default)]
    overwrite: bool,
}

#[derive(Deserialize)]
pub(super) struct LoadTable {
    #[serde(default)]
    snapshots: Snapshots,
}

#[derive(Deserialize)]
pub(super) struct Rename {
    pub(super) source: TableIdent,
    pub(super) destination: TableIdent,
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
pub(super) struct DropTable {
    purge_requested: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SentReport {
    report_type: Report,
}

pub(super) async fn list(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let name = namespace(&name)?;
    let all = blocking(catalog, move |catalog| catalog.list_tables(&name)).await?;
    let (tables, next) = page.cut(all, |table| table.name.clone());
    Ok(Json(json!({"identifiers": tables, "next-page-token": next})).into_response())
}

pub(super) async fn create(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    delegation: Delegation,
    once: Once,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: CreateTable = parse(&body)?;
    let staged = request.stage_create;
    let ident = TableIdent::new(namespace, request.name);
    let creation = Creation {
        ident: ident.clone(),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        location: request.location,
        properties: request.properties.unwrap_or_default(),
    };
    let create = move |catalog: &Catalog| match staged {
        true => catalog.stage_table(creation),
        false => catalog.create_table(creation),
    };
    let load = move |catalog: &Catalog| catalog.load(&ident);
    let table = changing(catalog.clone(), once, &body, create, load).await?;
    let access = Access::to(&catalog, &table, delegation).await?;
    loaded(&catalog, &table, &access, Snapshots::All)
}

pub(super) async fn register(
    State(catalog): State<Catalog>,
    Path(name): Path<String>,
    delegation: Delegation,
    once: Once,
    body: Bytes,
) -> Answer {
    let namespace = namespace(&name)?;
    let request: RegisterTable = parse(&body)?;
    let ident = TableIdent::new(namespace, request.name);
    let how = match request.overwrite {
        true => Register::Replace,
        false => Register::New,
    };
    let asked = ident.clone();
    let register =
        move |catalog: &Catalog| catalog.register_table(&asked, &request.metadata_location, how);
    let load = move |catalog: &Catalog| catalog.load(&ident);
    let table = changing(catalog.clone(), once, &body, register, load).await?;
    let access = Access::to(&catalog, &table, delegation).await?;
    loaded(&catalog, &table, &access, Snapshots::All)
}

pub(super) async fn load(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    Query(query): Query<LoadTable>,
    delegation: Delegation,
    headers: HeaderMap,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let table = blocking(catalog.clone(), move |catalog| catalog.load_stored(&ident)).await?;
    match etag(&table, query.snapshots) {
        Some(tag) if is_known(&headers, &tag) => {
            Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response())
        }
        _ => {
            let access = Access::to(&catalog, &table, delegation).await?;
            loaded(&catalog, &table, &access, query.snapshots)
        }
    }
}

pub(super) async fn exists(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let asked = ident.clone();
    if blocking(catalog, move |catalog| catalog.table_exists(&asked)).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Relation::Table.missing(&ident).into())
    }
}

pub(super) async fn commit(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    delegation: Delegation,
    once: Once,
    body: Bytes,
) -> Answer {
    let request: CommitTable = parse(&body)?;
    let ident = TableIdent::new(namespace(&name)?, table);
    let asked = ident.clone();
    let commit = move |catalog: &Catalog| {
        TableCatalog::commit(catalog, &asked, request.requirements, request.updates)
    };
    let load = move |catalog: &Catalog| catalog.load(&ident);
    let table = changing(catalog.clone(), once, &body, commit, load).await?;
    let access = Access::to(&catalog, &table, delegation).await?;
    loaded(&catalog, &table, &access, Snapshots::All)
}

pub(super) async fn commit_all(State(catalog): State<Catalog>, once: Once, body: Bytes) -> Answer {
    let request: CommitTransaction = parse(&body)?;
    let mut changes = Vec::with_capacity(request.table_changes.len());
    for change in request.table_changes {
        let ident = change.identifier.ok_or_else(|| {
            CatalogError::new(Kind::Malformed, "a table change needs an identifier")
        })?;
        changes.push(TableChange {
            ident,
            requirements: change.requirements,
            updates: change.updates,
        });
    }
    let commit = move |catalog: &Catalog| catalog.commit_tables(changes).map(|_| ());
    done(catalog, once, &body, commit).await
}

pub(super) async fn drop(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    Query(query): Query<DropTable>,
    once: Once,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let purge = match query.purge_requested {
        Some(text) if text.eq_ignore_ascii_case("true") => Purge::Files,
        _ => Purge::Nothing,
    };
    let drop = move |catalog: &Catalog| catalog.drop_table(&ident, purge);
    done(catalog, once, &[], drop).await
}

pub(super) async fn rename(State(catalog): State<Catalog>, once: Once, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    let rename =
        move |catalog: &Catalog| catalog.rename_table(&request.source, &request.destination);
    done(catalog, once, &body, rename).await
}

/// Scan and commit reports of clients: counted. What they say of each column and file is not kept.
pub(super) async fn metrics(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let sent: SentReport = parse(&body)?;
    blocking(catalog, move |catalog| {
        catalog.count_report(&ident, sent.report_type)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who comes here asks for keys; those of a folder are none.
pub(super) async fn credentials(
    State(catalog): State<Catalog>,
    Path((name, table)): Path<(String, String)>,
) -> Answer {
    let ident = TableIdent::new(namespace(&name)?, table);
    let table = blocking(catalog.clone(), move |catalog| catalog.load(&ident)).await?;
    let access = Access::to(&catalog, &table, Delegation::Asked).await?;
    Ok(Json(json!({"storage-credentials": access.credentials})).into_response())
}
