//! What requests and answers of all kinds have in common: paths, pages, bodies, versions.

use super::access::Access;
use super::{Answer, Refusal};
use crate::catalog::embedded::Request;
use crate::catalog::{Catalog, LoadedTable, document};
use crate::error::{CatalogError, Kind};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Json};
use iceberg::NamespaceIdent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) parent: Option<String>,
    page_token: Option<String>,
    page_size: Option<usize>,
}

impl Page {
    /// This page of a sorted list, and the token of the next one. A token is the last name of its page.
    pub(super) fn cut<T>(
        &self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
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

pub(super) fn namespace(path: &str) -> Result<NamespaceIdent, CatalogError> {
    Ok(NamespaceIdent::from_strs(path.split('\u{1f}'))?)
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(body).map_err(|error| {
        CatalogError::caused(
            Kind::Malformed,
            format!("the request is not understood: {error}"),
            error,
        )
    })
}

/// The key under which a request came, where it has one, and which request it is.
pub(super) struct Once(Option<(Uuid, String)>);

impl<S: Sync> FromRequestParts<S> for Once {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Once, Refusal> {
        let Some(key) = parts.headers.get("idempotency-key") else {
            return Ok(Once(None));
        };
        let text = key.to_str().unwrap_or_default();
        let key = Uuid::parse_str(text).ok().filter(|_| text.len() == 36);
        let key = key.ok_or_else(|| {
            let message = "the Idempotency-Key is not a UUID of 36 characters";
            CatalogError::new(Kind::Malformed, message)
        })?;
        Ok(Once(Some((key, format!("{} {}", parts.method, parts.uri)))))
    }
}

impl Once {
    /// The catalog for this request.
    pub(super) fn over(self, catalog: Catalog, body: &[u8]) -> Catalog {
        match self.0 {
            None => catalog,
            Some((key, line)) => catalog.once(Request {
                key,
                what: format!("{line} {:016x}", fingerprint(body)),
            }),
        }
    }
}

/// FNV-1a: tells the requests of a client that confuses its keys apart, and is the same in every version of ours.
fn fingerprint(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Which snapshots of a table an answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Snapshots {
    #[default]
    All,
    /// Those that a branch or a tag names. Clients that ask so come back for the others when they need one.
    Refs,
}

/// A metadata file never changes, so its name is the version; what of it was asked for is in the tag too.
pub(super) fn etag(table: &LoadedTable, snapshots: Snapshots) -> Option<String> {
    let location = table.metadata_location.as_ref()?;
    let name = location.rsplit('/').next()?;
    let part = match snapshots {
        Snapshots::All => "",
        Snapshots::Refs => ";refs",
    };
    Some(format!("\"{name}{part}\""))
}

/// Whether the client has what is behind this tag.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag)
}

/// A table as an answer has it.
pub(super) fn loaded(
    catalog: &Catalog,
    table: &LoadedTable,
    access: &Access,
    snapshots: Snapshots,
) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Loaded<'a> {
        metadata: &'a RawValue,
        config: &'a BTreeMap<String, String>,
        storage_credentials: &'a [Value],
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata_location: Option<&'a str>,
    }
    let mut metadata = catalog.document(table);
    if snapshots == Snapshots::Refs {
        metadata = document::of_refs(&metadata).into();
    }
    let body = Json(Loaded {
        metadata: &metadata,
        config: &access.config,
        storage_credentials: &access.credentials,
        metadata_location: table.metadata_location.as_deref(),
    });
    match etag(table, snapshots).and_then(|tag| tag.parse::<header::HeaderValue>().ok()) {
        Some(tag) => Ok(([(header::ETAG, tag)], body).into_response()),
        None => Ok(body.into_response()),
    }
}
