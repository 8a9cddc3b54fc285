//! How a client reaches a table's files: the store's address for everybody, keys for who asks and only where they are lent.
//!
//! A client asks with `X-Iceberg-Access-Delegation: vended-credentials`, or at the table's `credentials`. What it gets are the
//! server's own keys, which can do all that the server can. So by default it gets none, and uses its own; the operator may lend ours
//! with `lend-credentials`, where everybody who reaches the catalog may read and write the warehouse.

use super::Refusal;
use crate::catalog::{Catalog, LoadedTable, TableCatalog};
use crate::error::CatalogError;
use crate::storage::s3;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;

const ASKED: &str = "x-iceberg-access-delegation";
const VENDED: &str = "vended-credentials";

/// Whether a client wants keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delegation {
    Asked,
    No,
}

impl<S: Sync> FromRequestParts<S> for Delegation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Delegation, Infallible> {
        let values = parts.headers.get_all(ASKED).iter();
        let mut ways = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        Ok(match ways.any(|way| way.trim() == VENDED) {
            true => Delegation::Asked,
            false => Delegation::No,
        })
    }
}

/// What an answer says of it.
#[derive(Default)]
pub(super) struct Access {
    pub(super) config: BTreeMap<String, String>,
    pub(super) credentials: Vec<Value>,
}

impl Access {
    /// Nothing for a local table.
    pub(super) async fn to(
        catalog: &Catalog,
        table: &LoadedTable,
        delegation: Delegation,
    ) -> Result<Access, Refusal> {
        let location = table.metadata.location();
        if !s3::is_object(location) || catalog.files().stores().is_none() {
            return Ok(Access::default());
        }
        let location = location.to_owned();
        // Keys may have to be fetched from the machine.
        super::blocking(catalog.clone(), move |catalog| {
            let stores = catalog.files().stores().expect("it was looked at");
            let lent = match delegation {
                Delegation::Asked => stores.lent_properties(&location)?,
                Delegation::No => None,
            };
            match lent {
                Some(config) => Ok(Access {
                    credentials: vec![json!({"prefix": location, "config": config})],
                    config,
                }),
                None => Ok::<_, CatalogError>(Access {
                    config: stores.client_properties(&location)?,
                    credentials: Vec::new(),
                }),
            }
        })
        .await
    }
}
