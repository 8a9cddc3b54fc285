//! The embedded catalog's records and how operations change them: pure, no disk, no lock.
//!
//! Layout in `Table::Catalog` (frozen; a namespace's levels are joined by `0x1f`, as in REST paths):
//!
//! ```text
//! n/<namespace>           {"properties": {…}, "tables_changed": 7}
//! t/<namespace>/<table>   {"metadata_location": "file:///…", "uuid": "…", "location": "file:///…"}
//!                         (0x1e between namespace and table; records before 0.2 have no location: it is in the metadata)
//! v/<namespace>/<view>    the same of a view
//! k/<uuid>                {"at": 1700000000000, "request": "POST /v1/… 00ff", "refused": {"kind": "…", "message": "…"}}
//!                         (a request that was carried out, or refused for good; gone when its time is over)
//! ```
//!
//! Every change is a list of compare-and-swaps for one frame of the log: all of it happens or nothing does. Adding or
//! removing a table, a view, or a namespace inside, also swaps the namespace's record (`tables_changed`), so that dropping a
//! namespace and creating something in it cannot both succeed. A table and a view never have the same name: whoever adds the
//! one expects the other's key to be absent.
//!
//! The words of errors are those of Iceberg's own catalogs: engines show them, and some look into them.

use super::names::{check_name, check_names};
use crate::error::{CatalogError, Kind};
use bytes::Bytes;
use iceberg::spec::{TableMetadata, ViewMetadata};
use iceberg::{NamespaceIdent, TableIdent};
use lw_storage::{Expect, Op, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// The records as an operation sees them.
pub(crate) trait Records {
    fn get(&self, key: &[u8]) -> Option<Bytes>;
    fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)>;
}

impl Records for lw_storage::Storage {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        lw_storage::Storage::get(self, Table::Catalog, key)
    }

    fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        lw_storage::Storage::scan(self, Table::Catalog, prefix)
    }
}

/// What a name in a namespace stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Table,
    View,
}

impl Relation {
    const ALL: [Relation; 2] = [Relation::Table, Relation::View];

    fn letter(self) -> char {
        match self {
            Relation::Table => 't',
            Relation::View => 'v',
        }
    }

    fn other(self) -> Relation {
        match self {
            Relation::Table => Relation::View,
            Relation::View => Relation::Table,
        }
    }

    pub(crate) fn missing(self, name: &TableIdent) -> CatalogError {
        let kind = match self {
            Relation::Table => Kind::NoSuchTable,
            Relation::View => Kind::NoSuchView,
        };
        CatalogError::new(kind, format!("{self:#} does not exist: {name}"))
    }
}

/// `table`, and `Table` with `#`.
impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self, f.alternate()) {
            (Relation::Table, false) => "table",
            (Relation::Table, true) => "Table",
            (Relation::View, false) => "view",
            (Relation::View, true) => "View",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceRecord {
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) tables_changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    pub(crate) metadata_location: String,
    pub(crate) uuid: Uuid,
    /// Its folder, so that nothing else gets it: told here, or each look would read all metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
}

impl Pointer {
    pub(crate) fn to_table(metadata_location: &str, metadata: &TableMetadata) -> Pointer {
        Pointer {
            metadata_location: metadata_location.to_owned(),
            uuid: metadata.uuid(),
            location: Some(metadata.location().to_owned()),
        }
    }

    pub(crate) fn to_view(metadata_location: &str, metadata: &ViewMetadata) -> Pointer {
        Pointer {
            metadata_location: metadata_location.to_owned(),
            uuid: metadata.uuid(),
            location: Some(metadata.location().to_owned()),
        }
    }
}

/// What changes in a namespace's properties, as REST answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertiesChanged {
    pub updated: Vec<String>,
    pub removed: Vec<String>,
    pub missing: Vec<String>,
}

const LEVEL: &str = "\u{1f}";
const NAME: &str = "\u{1e}";
const REQUESTS: &str = "k/";

pub(crate) fn namespace_key(namespace: &NamespaceIdent) -> Vec<u8> {
    format!("n/{}", namespace.join(LEVEL)).into_bytes()
}

fn prefix(relation: Relation, namespace: &NamespaceIdent) -> Vec<u8> {
    format!("{}/{}{NAME}", relation.letter(), namespace.join(LEVEL)).into_bytes()
}

fn key(relation: Relation, name: &TableIdent) -> Vec<u8> {
    let mut key = prefix(relation, &name.namespace);
    key.extend_from_slice(name.name.as_bytes());
    key
}

/// Namespaces directly below `parent`, or at the top.
pub(crate) fn list_namespaces(
    records: &dyn Records,
    parent: Option<&NamespaceIdent>,
) -> Result<Vec<NamespaceIdent>, CatalogError> {
    if let Some(parent) = parent {
        namespace(records, parent)?;
    }
    let depth = parent.map_or(0, |parent| parent.len());
    let mut found: Vec<NamespaceIdent> = Vec::new();
    for (key, _) in records.scan(b"n/") {
        let levels: Vec<String> = text(&key[2..])?.split(LEVEL).map(str::to_owned).collect();
        let below =
            parent.is_none_or(|parent| levels.len() > depth && levels[..depth] == parent[..]);
        if below && levels.len() == depth + 1 {
            found.push(NamespaceIdent::from_vec(levels)?);
        }
    }
    Ok(found)
}

pub(crate) fn namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<NamespaceRecord, CatalogError> {
    Ok(namespace_bytes(records, name)?.1)
}

fn namespace_bytes(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<(Bytes, NamespaceRecord), CatalogError> {
    let bytes = records
        .get(&namespace_key(name))
        .ok_or_else(|| no_namespace(name))?;
    let record = decode(&bytes)?;
    Ok((bytes, record))
}

pub(crate) fn create_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
    properties: BTreeMap<String, String>,
) -> Result<Vec<Op>, CatalogError> {
    check_names(name.iter())?;
    if records.get(&namespace_key(name)).is_some() {
        return Err(CatalogError::new(
            Kind::AlreadyExists,
            format!("Namespace already exists: {name}"),
        ));
    }
    let mut ops = Vec::new();
    // The parents of a nested namespace come with it. The first one that is there is touched: it must not be dropped
    // meanwhile, and cannot be dropped later without a look at what is in it.
    let mut parent = name.parent();
    while let Some(above) = parent {
        if records.get(&namespace_key(&above)).is_some() {
            ops.push(touch(records, &above)?);
            break;
        }
        ops.push(put(
            namespace_key(&above),
            &NamespaceRecord::default(),
            Expect::Absent,
        ));
        parent = above.parent();
    }
    let record = NamespaceRecord {
        properties,
        tables_changed: 0,
    };
    ops.push(put(namespace_key(name), &record, Expect::Absent));
    Ok(ops)
}

pub(crate) fn update_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
    removals: &[String],
    updates: &BTreeMap<String, String>,
) -> Result<(Vec<Op>, PropertiesChanged), CatalogError> {
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        return Err(CatalogError::new(
            Kind::Unprocessable,
            format!("property is both set and removed: {both}"),
        ));
    }
    let (old, mut record) = namespace_bytes(records, name)?;
    let mut changed = PropertiesChanged::default();
    for key in removals {
        match record.properties.remove(key) {
            Some(_) => changed.removed.push(key.clone()),
            None => changed.missing.push(key.clone()),
        }
    }
    for (key, value) in updates {
        record.properties.insert(key.clone(), value.clone());
        changed.updated.push(key.clone());
    }
    Ok((
        vec![put(namespace_key(name), &record, Expect::Value(old))],
        changed,
    ))
}

pub(crate) fn drop_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<Vec<Op>, CatalogError> {
    let (old, _) = namespace_bytes(records, name)?;
    let has = |relation| !records.scan(&prefix(relation, name)).is_empty();
    if Relation::ALL.into_iter().any(has) || !list_namespaces(records, Some(name))?.is_empty() {
        return Err(CatalogError::new(
            Kind::NamespaceNotEmpty,
            format!("Namespace {name} is not empty"),
        ));
    }
    Ok(vec![Op::Put {
        table: Table::Catalog,
        key: namespace_key(name).into(),
        value: None,
        expect: Expect::Value(old),
    }])
}

/// The tables, or the views, of a namespace.
pub(crate) fn list(
    records: &dyn Records,
    relation: Relation,
    name: &NamespaceIdent,
) -> Result<Vec<TableIdent>, CatalogError> {
    namespace(records, name)?;
    let prefix = prefix(relation, name);
    records
        .scan(&prefix)
        .iter()
        .map(|(key, _)| {
            Ok(TableIdent::new(
                name.clone(),
                text(&key[prefix.len()..])?.to_owned(),
            ))
        })
        .collect()
}

/// A pointer and its bytes, which a later swap expects.
pub(crate) fn pointer(
    records: &dyn Records,
    relation: Relation,
    name: &TableIdent,
) -> Result<Option<(Bytes, Pointer)>, CatalogError> {
    match records.get(&key(relation, name)) {
        None => Ok(None),
        Some(bytes) => {
            let pointer = decode(&bytes)?;
            Ok(Some((bytes, pointer)))
        }
    }
}

/// What is there must be; that its namespace is missing says the same, and readers ask for the table.
pub(crate) fn existing(
    records: &dyn Records,
    relation: Relation,
    name: &TableIdent,
) -> Result<(Bytes, Pointer), CatalogError> {
    pointer(records, relation, name)?.ok_or_else(|| relation.missing(name))
}

/// That nothing has a name which a new table or view wants.
pub(crate) fn check_free(
    records: &dyn Records,
    relation: Relation,
    name: &TableIdent,
) -> Result<(), CatalogError> {
    let taken = |message: String| Err(CatalogError::new(Kind::AlreadyExists, message));
    if records.get(&key(relation, name)).is_some() {
        return taken(format!("{relation:#} already exists: {name}"));
    }
    let other = relation.other();
    if records.get(&key(other, name)).is_some() {
        return taken(format!("{other:#} with same name already exists: {name}"));
    }
    Ok(())
}

/// The first pointer of a new table or view.
pub(crate) fn add(
    records: &dyn Records,
    relation: Relation,
    name: &TableIdent,
    new: &Pointer,
) -> Result<Vec<Op>, CatalogError> {
    check_name(name)?;
    namespace(records, &name.namespace)?;
    check_free(records, relation, name)?;
    Ok(vec![
        touch(records, &name.namespace)?,
        put(key(relation, name), new, Expect::Absent),
        absent(key(relation.other(), name)),
    ])
}

/// The swap of a pointer that is there.
pub(crate) fn swap(relation: Relation, name: &TableIdent, old: Bytes, new: &Pointer) -> Op {
    put(key(relation, name), new, Expect::Value(old))
}

pub(crate) fn remove(
    records: &dyn Records,
    relation: Relation,
    name: &TableIdent,
) -> Result<(Vec<Op>, Pointer), CatalogError> {
    let (old, pointer) = existing(records, relation, name)?;
    let ops = vec![
        touch(records, &name.namespace)?,
        delete(key(relation, name), old),
    ];
    Ok((ops, pointer))
}

pub(crate) fn rename(
    records: &dyn Records,
    relation: Relation,
    from: &TableIdent,
    to: &TableIdent,
) -> Result<Vec<Op>, CatalogError> {
    let (old, pointer) = existing(records, relation, from)?;
    check_name(to)?;
    namespace(records, &to.namespace)?;
    for taken in Relation::ALL {
        if records.get(&key(taken, to)).is_some() {
            let message = format!("Cannot rename {from} to {to}. {taken:#} already exists");
            return Err(CatalogError::new(Kind::AlreadyExists, message));
        }
    }
    let mut ops = vec![
        delete(key(relation, from), old),
        put(key(relation, to), &pointer, Expect::Absent),
        absent(key(relation.other(), to)),
        touch(records, &from.namespace)?,
    ];
    if from.namespace != to.namespace {
        ops.push(touch(records, &to.namespace)?);
    }
    Ok(ops)
}

/// Swaps a namespace's record because what is in it changes.
fn touch(records: &dyn Records, name: &NamespaceIdent) -> Result<Op, CatalogError> {
    let (old, mut record) = namespace_bytes(records, name)?;
    record.tables_changed += 1;
    Ok(put(namespace_key(name), &record, Expect::Value(old)))
}

fn put(key: Vec<u8>, value: &impl Serialize, expect: Expect) -> Op {
    let value = serde_json::to_vec(value).expect("records are plain maps and strings");
    Op::Put {
        table: Table::Catalog,
        key: key.into(),
        value: Some(value.into()),
        expect,
    }
}

fn delete(key: Vec<u8>, old: Bytes) -> Op {
    Op::Put {
        table: Table::Catalog,
        key: key.into(),
        value: None,
        expect: Expect::Value(old),
    }
}

/// Holds a frame back unless there is nothing at `key`.
fn absent(key: Vec<u8>) -> Op {
    Op::Put {
        table: Table::Catalog,
        key: key.into(),
        value: None,
        expect: Expect::Absent,
    }
}

/// The record of a request that came before.
pub(crate) fn request(records: &dyn Records, key: Uuid) -> Option<Bytes> {
    records.get(&request_key(key))
}

/// All requests that are remembered.
pub(crate) fn request_keys(records: &dyn Records) -> Result<Vec<(Uuid, Bytes)>, CatalogError> {
    let mut requests = Vec::new();
    for (key, value) in records.scan(REQUESTS.as_bytes()) {
        let key = Uuid::parse_str(text(&key[REQUESTS.len()..])?).map_err(|error| {
            CatalogError::caused(Kind::Internal, "a key of the catalog cannot be read", error)
        })?;
        requests.push((key, value));
    }
    Ok(requests)
}

pub(crate) fn add_request(key: Uuid, record: &impl Serialize) -> Op {
    put(request_key(key), record, Expect::Absent)
}

pub(crate) fn forget_request(key: Uuid) -> Op {
    Op::Put {
        table: Table::Catalog,
        key: request_key(key).into(),
        value: None,
        expect: Expect::Any,
    }
}

fn request_key(key: Uuid) -> Vec<u8> {
    format!("{REQUESTS}{key}").into_bytes()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CatalogError::caused(
            Kind::Internal,
            "a record of the catalog cannot be read",
            error,
        )
    })
}

fn text(bytes: &[u8]) -> Result<&str, CatalogError> {
    std::str::from_utf8(bytes).map_err(|error| {
        CatalogError::caused(Kind::Internal, "a key of the catalog cannot be read", error)
    })
}

/// Every table and view, with where its metadata is and its folder where the record tells.
pub(crate) fn all(
    records: &dyn Records,
) -> Result<Vec<(Relation, TableIdent, Pointer)>, CatalogError> {
    let mut found = Vec::new();
    for relation in Relation::ALL {
        for (key, value) in records.scan(format!("{}/", relation.letter()).as_bytes()) {
            let Some((levels, name)) = text(&key[2..])?.rsplit_once(NAME) else {
                continue;
            };
            let namespace = NamespaceIdent::from_strs(levels.split(LEVEL))?;
            let ident = TableIdent::new(namespace, name.to_owned());
            found.push((relation, ident, decode(&value)?));
        }
    }
    Ok(found)
}

pub(crate) fn no_namespace(name: &NamespaceIdent) -> CatalogError {
    CatalogError::new(
        Kind::NoSuchNamespace,
        format!("Namespace does not exist: {name}"),
    )
}
